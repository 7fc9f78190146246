"""`strongroom seal`: have a server forget the keys of a deployment."""

from __future__ import annotations

from typing import Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, single
from strongroom.cli.output import sentence
from strongroom.cli.sealing import find_place, signed_in, tell_state
from strongroom.cli.session import Session

app = single()


@command(app, "seal")
def seal(
    context: typer.Context,
    *,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the record.")] = "",
    is_status: Annotated[
        bool, typer.Option("--status", help="Only tell whether the deployment is sealed.")
    ] = False,
    is_agreed: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """
    Have a server forget the keys of a deployment.

    It answers nothing of it until `strongroom unseal`.

    The server that runs over the store of this machine, or the one that is asked. That one process is sealed:
    others over the same store go on, and one that is started anew opens by itself where its wrappers let it.
    To close a store for good, take the outer key away: docs/wrappers.md.

    Example:
      $ strongroom seal --reason "a host was stolen"
      $ strongroom seal --status
    """
    session: Session = context.obj
    place = find_place(session)
    if is_status:
        tell_state(session, place)
        return
    terminal.confirm(f"seal {place.what}: nobody reads there until it is opened", is_agreed=is_agreed)
    from strongroom.remote import sealing  # noqa: PLC0415 -- `--help` does without

    with signed_in(session, place) as credential:
        found = sealing.seal(place.address, credential, reason=reason)
    sentence(session, f"{place.what} is sealed", {"sealed": found.is_sealed})
