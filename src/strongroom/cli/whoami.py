"""`strongroom whoami`: where commands ask, and as whom."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from strongroom import remote
from strongroom.cli.app import command, single
from strongroom.cli.output import show_record
from strongroom.cli.session import Session
from strongroom.policy import Actor, Assurance

if TYPE_CHECKING:
    from strongroom.wire.access import GlassRow

app = single()

_LABELS = {
    "asks": "asks",
    "deployment": "deployment",
    "actor": "actor",
    "how": "by",
    "level": "assurance",
    "roles": "roles",
    "expires_at": "until",
    "break_glass": "BREAK-GLASS",
}


@command(app, "whoami")
def whoami(context: typer.Context) -> None:
    """
    Tell where commands ask, and as whom.

    Without a server that is this machine, or an agent on it, and the user of it. With one the server is
    asked: its answer is the proof that the token is good.

    Example:
      $ strongroom whoami
      $ strongroom whoami --profile prod --output json
    """
    session: Session = context.obj
    record: dict[str, object]
    if session.agent is not None:
        # The kernel tells the agent which user asks.
        asker = Actor(f"local:{os.geteuid()}", Assurance.HOST_USER)
        record = _local(f"the agent {session.agent}", None, asker)
    elif not session.is_remote:
        with session.room() as room:
            record = _local("this machine", room.deployment, room.actor)
    else:
        seen, url = remote.whoami(environ=session.environ, deployment=session.deployment)
        record = {
            "asks": urlsplit(url).netloc,
            "deployment": seen.deployment,
            "actor": seen.actor,
            "how": seen.how,
            "assurance": seen.assurance,
            "level": _level(Assurance(seen.assurance)),
            "roles": [
                role.name if role.team is None else f"{role.name} of {role.team}" for role in seen.roles
            ],
            "expires_at": seen.expires_at,
        }
        if seen.break_glass is not None:
            record["break_glass"] = _glass(seen.break_glass)
    show_record(session, record, labels=_LABELS)


def _local(asks: str, deployment: str | None, actor: Actor) -> dict[str, object]:
    """Describe who is known by being this user: the settings say so here, the kernel at an agent."""
    return {
        "asks": asks,
        "deployment": deployment,
        "actor": actor.id,
        "how": "the user of this machine",
        "assurance": int(actor.assurance),
        "level": _level(actor.assurance),
        "roles": [],
        "expires_at": None,
    }


def _glass(row: GlassRow) -> str:
    return f"an administrator until {row.expires_at:%Y-%m-%d %H:%M}Z: {row.reason}"


def _level(assurance: Assurance) -> str:
    return f"{assurance.level} ({assurance.meaning})"
