"""`strongroom keys`: the keys of the store, never their bytes."""

from __future__ import annotations

import typer

from strongroom.cli.app import command, noun
from strongroom.cli.output import Column, show_rows
from strongroom.cli.session import Session

app = noun(
    "keys",
    """
    Look at the keys of the store.

    Example:
      $ strongroom keys status
    """,
)

_COLUMNS = (
    Column("number", "#", is_number=True),
    Column("id", "ID"),
    Column("team", "TEAM", 1),
    Column("state", "STATE", styles={"active": "green"}),
    Column("sealed_versions", "SEALED", 2, is_number=True),
    Column("created_at", "CREATED", 3),
    Column("wrapped_by", "WRAPPED BY", 1),
)


@command(app, "status")
def status(context: typer.Context) -> None:
    """
    Show the keys, what wraps them, and how much each has sealed.

    Example:
      $ strongroom keys status
    """
    session: Session = context.obj
    with session.room() as room:
        keys = room.keys.status()
    rows = [
        {
            "number": key.number,
            "id": key.id,
            "team": key.team,
            "state": str(getattr(key.state, "value", key.state)),
            "sealed_versions": key.sealed_versions,
            "created_at": key.created_at,
            "wrapped_by": key.wrapped_by,
        }
        for key in keys
    ]
    show_rows(
        session,
        _COLUMNS,
        [rows],
        nothing="there is no store here, so there are no keys; `strongroom init` makes both",
    )
