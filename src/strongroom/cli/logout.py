"""`strongroom logout`: forget a server."""

from __future__ import annotations

from typing import Annotated

import typer

from strongroom import remote
from strongroom.cli import terminal
from strongroom.cli.app import command, single
from strongroom.cli.output import sentence
from strongroom.cli.session import Session

app = single()


@command(app, "logout")
def logout(
    context: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every profile.")] = False,
) -> None:
    """
    End the session at a server and forget the profile.

    A session ends at the server too. One of an identity provider goes on there until a browser ends it at the
    address that is printed. A token that was kept is only removed here: whoever else has it can use it until
    it ends or is revoked with `strongroom access tokens revoke`.

    Example:
      $ strongroom logout
      $ strongroom logout --profile prod
      $ strongroom logout --all
    """
    session: Session = context.obj
    profiles = remote.Profiles(session.environ)
    named = session.profile or session.environ.get("STRONGROOM_PROFILE") or remote.DEFAULT
    for name in profiles.names() if everything else [named]:
        ended = remote.leave(profiles, name)
        if ended.trouble is not None:
            terminal.warn(f"the session of {name} may go on at the server: {ended.trouble}", session)
        facts = {"profile": name, "ended": ended.trouble is None, "provider_logout": ended.provider_logout}
        sentence(session, f"the profile {name} is forgotten", facts)
        if ended.provider_logout is not None:
            terminal.note(f"to log out at the identity provider too: {ended.provider_logout}", session)
