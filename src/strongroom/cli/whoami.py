"""`strongroom whoami`: where commands ask, and as whom."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

from strongroom import remote
from strongroom.cli.app import command, single
from strongroom.cli.output import show_record
from strongroom.cli.session import Session
from strongroom.policy import Assurance

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

    Without a server that is this machine and the user of it. With one the server is asked: its answer is the
    proof that the token is good.

    Example:
      $ strongroom whoami
      $ strongroom whoami --profile prod --output json
    """
    session: Session = context.obj
    if not session.is_remote:
        with session.room() as room:
            record: dict[str, object] = {
                "asks": "this machine",
                "deployment": room.deployment,
                "actor": room.actor.id,
                "how": "the user of this machine",
                "assurance": int(room.actor.assurance),
                "level": _level(room.actor.assurance),
                "roles": [],
                "expires_at": None,
            }
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


def _glass(row: GlassRow) -> str:
    return f"an administrator until {row.expires_at:%Y-%m-%d %H:%M}Z: {row.reason}"


def _level(assurance: Assurance) -> str:
    return f"{assurance.level} ({assurance.meaning})"
