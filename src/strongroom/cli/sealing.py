"""What `seal` and `unseal` share: which server is meant, and who asks it."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from strongroom.caller import Credential, ServerAddress
from strongroom.cli.output import show_record
from strongroom.errors import NotAuthenticatedError, NotFoundError
from strongroom.remote.profile import whereabouts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.cli.session import Session
    from strongroom.model.secret import Secret

__all__ = ["Place", "code_of", "credential_of", "find_place", "signed_in", "tell_state"]

_LABELS = {"state": "state", "since": "since", "opens": "opens"}


class Place(NamedTuple):
    """
    Which deployment of which server is meant.

    Args:
        credential: of whoever asks; None on the server's own machine.
        what: the deployment, for people.
        is_here: the server runs over the store of this machine.
    """

    address: ServerAddress
    credential: Credential | None
    what: str
    is_here: bool


def find_place(session: Session) -> Place:
    """
    Find the server: the one that is asked, or that which runs over the store of this machine.

    Raises:
        NotFoundError: none runs here.
        SettingsError: the settings, or where the server is, are wrong.
    """
    if session.is_remote:
        address, credential = whereabouts(session.environ, deployment=session.deployment)
        return Place(address, credential, _named(address.deployment), is_here=False)
    return _here(session)


def _here(session: Session) -> Place:
    from strongroom.cli.behind import reachable  # noqa: PLC0415 -- as everything of a server
    from strongroom.server import background  # noqa: PLC0415 -- as above
    from strongroom.settings import load  # noqa: PLC0415 -- as above

    session.require_here("a server of this machine is sealed")
    first = load(session.config, environ=session.environ)  # one process serves all, beside the first's store
    running = background.awaited(first)
    if running is None:
        raise NotFoundError("no server runs over this store", hint="strongroom serve starts one")
    wanted = session.deployment or session.environ.get("STRONGROOM_DEPLOYMENT") or None
    ca = session.environ.get("STRONGROOM_CA")
    address = ServerAddress(
        url=reachable(running.address, first),
        deployment=None if wanted in (None, first.deployment) else wanted,
        ca=None if ca is None else Path(ca).absolute(),
    )
    return Place(address, None, _named(wanted or first.deployment), is_here=True)


def _named(deployment: str | None) -> str:
    return "the first deployment" if deployment is None else f"the deployment {deployment}"


def credential_of(place: Place) -> Credential | None:
    """Give the credential of whoever asks a server elsewhere, where there is one."""
    if place.credential is not None:
        try:
            place.credential.token()
        except NotAuthenticatedError:
            return None
    return place.credential


def code_of(session: Session) -> Secret[str]:
    """
    Give a single-use code of the owner of this machine, who opens the store himself.

    Raises:
        As `Session.room`.
    """
    with session.room() as room:
        return room.access.login_link()


@contextmanager
def signed_in(session: Session, place: Place) -> Iterator[Credential]:
    """Give the credential of whoever asks; on the server's own machine that of its owner."""
    if place.credential is not None:
        yield place.credential
        return
    from strongroom.remote.session import begin_with_code  # noqa: PLC0415 -- as everything of a server

    begun = begin_with_code(place.address, code_of(session))
    yield Credential(begun.token)


def tell_state(session: Session, place: Place) -> None:
    """Show whether it is sealed."""
    from strongroom.remote.sealing import seal_state  # noqa: PLC0415 -- as everything of a server

    found = seal_state(place.address)
    opens = ["a passphrase"] if found.takes_passphrase else []
    opens += ["an administrator"] if found.is_by_hand else []
    if found.retry_after is not None:
        opens.append(f"by itself, tried again in {found.retry_after:.0f} s")
    record: dict[str, object] = {
        "state": "sealed" if found.is_sealed else "open",
        "since": found.since,
        "opens": ", ".join(opens) if found.is_sealed else None,
        "sealed": found.is_sealed,
        "by_hand": found.is_by_hand,
        "takes_passphrase": found.takes_passphrase,
        "retry_after": found.retry_after,
    }
    show_record(session, record, labels=_LABELS)
