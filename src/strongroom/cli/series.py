"""`strongroom series`: how much a server answers, and where the answers came from."""

from __future__ import annotations

from typing import Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, single
from strongroom.cli.output import Column, show_rows
from strongroom.cli.session import Session

app = single()

_COLUMNS = (
    Column("when", "FROM"),
    Column("cache", "FROM CACHE", is_number=True),
    Column("backend", "FROM A BACKEND", is_number=True),
    Column("stale", "STALE", is_number=True),
    Column("refused", "REFUSED", is_number=True),
)


@command(app, "series")
def series(
    context: typer.Context,
    *,
    minutes: Annotated[
        int, typer.Option("--minutes", metavar="N", min=1, max=1440, help="How far back.")
    ] = 1440,
    every: Annotated[
        int, typer.Option("--every", metavar="N", min=1, max=1440, help="Minutes that are one line.")
    ] = 60,
) -> None:
    """
    Show how much a server answers, and where the answers came from.

    A server counts by the minute and keeps 24 hours, since it was started. A time in which nobody counted
    has no line.

    Example:
      $ strongroom --profile prod series
      $ strongroom --profile prod series --minutes 60 --every 5
    """
    session: Session = context.obj
    with session.room() as room:
        found = room.series.span(minutes)
    rows = [
        {"when": f"{one.at:%Y-%m-%d %H:%M}Z", **one._asdict(), "minutes": every} for one in found.every(every)
    ]
    show_rows(session, _COLUMNS, [rows])
    terminal.note(f"counted since {found.since:%Y-%m-%d %H:%M}Z", session)
