"""`strongroom access break-glass`: an administrator's role in need, for a while, heard by everybody."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.output import Column, sentence, show_rows
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from strongroom.service.access import GlassRow

__all__ = ["attach"]

app = noun(
    "break-glass",
    """
    Be an administrator for a while, in need.

    Whom policy lets (the action break_glass) takes the role without asking anybody. It takes a reason, ends
    by itself, and is recorded, logged as an alarm and counted.

    Example:
      $ strongroom access break-glass begin --reason "INC-42" --for 1h
      $ strongroom access break-glass list
    """,
)

_COLUMNS = (
    Column("actor", "WHO", styles={"": "bold"}),
    Column("reason", "REASON"),
    Column("source", "FROM", 2),
    Column("begun", "SINCE", 1),
    Column("expires", "ENDS"),
)
_SPAN = re.compile(r"([0-9]{1,6})([smh])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}


def attach(parent: typer.Typer) -> None:
    """Declare this subgroup on *parent*."""
    parent.add_typer(app)


@command(app, "begin")
def begin(
    context: typer.Context,
    *,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; it is recorded.")] = None,
    lasting: Annotated[str, typer.Option("--for", metavar="SPAN", help="30m, 1h; it ends by itself.")] = "1h",
) -> None:
    """
    Be an administrator from now on, for a while.

    Everybody who watches hears of it: the record, the log, the figures. A server asks for a fresh proof of
    who you are.

    Example:
      $ strongroom access break-glass begin --reason "INC-42: silence"
      $ strongroom access break-glass begin --reason "INC-42" --for 30m
    """
    session: Session = context.obj
    if reason is None or not reason.strip():
        raise InvalidInputError(
            "breaking the glass takes a reason", hint='--reason "what is broken, and where"'
        )
    span = _SPAN.fullmatch(lasting)
    if span is None:
        raise InvalidInputError("--for is no span of time", hint="--for 30m, or 1h")
    with session.room() as room:
        row = room.access.break_glass.begin(reason, timedelta(**{_UNITS[span[2]]: int(span[1])}))
    sentence(session, f"{row.actor} is an administrator until {row.expires:%Y-%m-%d %H:%M}Z", _facts(row))
    terminal.note(
        "it is on record and everybody hears of it; to end it: strongroom access break-glass end", session
    )


@command(app, "end")
def end(
    context: typer.Context,
    *,
    actor: Annotated[
        str | None,
        typer.Argument(metavar="[WHO]", help="person:NAME; your own if unsaid.", show_default=False),
    ] = None,
) -> None:
    """
    End it before its time.

    Your own, or as an administrator somebody else's.

    Example:
      $ strongroom access break-glass end
      $ strongroom access break-glass end person:anna
    """
    session: Session = context.obj
    with session.room() as room:
        room.access.break_glass.end(actor)
    whose = "you are" if actor is None else f"{actor} is"
    sentence(session, f"{whose} no administrator by break-glass any more", {"actor": actor})


@command(app, "list")
def list_(context: typer.Context) -> None:
    """
    List who is an administrator this way now.

    Who does not administer sees himself alone. What was is in the record:
    strongroom audit tail --action break_glass.

    Example:
      $ strongroom access break-glass list
    """
    session: Session = context.obj
    with session.room() as room:
        rows = [_facts(row) for row in room.access.break_glass.list()]
    show_rows(session, _COLUMNS, [rows], nothing="the glass is whole")


def _facts(row: GlassRow) -> dict[str, object]:
    return {
        "actor": row.actor,
        "reason": row.reason,
        "source": row.source,
        "begun": row.begun,
        "expires": row.expires,
    }
