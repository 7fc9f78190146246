"""A server wants a fresh proof of who asks: ask for it, keep the new session, and go on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom import remote
from strongroom.caller import Credential
from strongroom.cli import browser, terminal
from strongroom.errors import NotAuthenticatedError
from strongroom.model.principal import PERSON
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.cli.session import Session
    from strongroom.remote import Begun, Profile

__all__ = ["prove"]


def prove(session: Session) -> Secret[str] | None:
    """
    Have the person of the profile in use prove anew who he is, and give the token of the session that begins.

    None where the profile is no session of a person's, or there is no terminal to ask on.

    Raises:
        NotAuthenticatedError: he does not, or somebody else did.
        As `remote.begin`.
    """
    name = _profile(session)
    found = None if name is None else remote.Profiles(session.environ).find(name)
    if name is None or found is None or not found.is_session or not found.actor.startswith(PERSON):
        return None
    if not terminal.can_ask():
        return None
    terminal.note("the server wants to know once more that it is you", session)
    begun = _begun(session, name, found)
    if begun.actor != found.actor:
        raise NotAuthenticatedError(
            f"that was {begun.actor}, and {found.actor} asks", hint=f"strongroom login --profile {name}"
        )
    remote.Profiles(session.environ).keep(name, replace(found, expires_at=begun.expires_at), begun.token)
    return begun.token


def _begun(session: Session, name: str, found: Profile) -> Begun:
    address = found.address(name)
    before = Credential(file=remote.Profiles(session.environ).token_file(name), setting=f"the profile {name}")
    if found.by_browser:
        return browser.log_in(address, session, again=True, instead=before)
    who = found.actor.removeprefix(PERSON)
    password = Secret(terminal.ask_secret(f"password of {terminal.clean(who)}: "))
    return remote.begin(address, who, password, instead=before)


def _profile(session: Session) -> str | None:
    """Give the profile whose token is sent, None where the token stands elsewhere."""
    environ = session.environ
    if environ.get("STRONGROOM_TOKEN") or environ.get("STRONGROOM_TOKEN_FILE"):
        return None
    named = session.profile or environ.get("STRONGROOM_PROFILE")
    url = environ.get("STRONGROOM_URL")
    if named or not url:
        return named or None
    return remote.Profiles(environ).of(url, session.deployment or environ.get("STRONGROOM_DEPLOYMENT"))
