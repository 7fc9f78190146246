"""`strongroom access sessions`: who is logged in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.entry import Yes
from strongroom.cli.output import Column, sentence, show_rows
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from strongroom.service.access import SessionRow

__all__ = ["attach"]

app = noun(
    "sessions",
    """
    See who is logged in, and end it.

    Example:
      $ strongroom access sessions list
      $ strongroom access sessions revoke --all person:bert
    """,
)

_COLUMNS = (
    Column("id", "ID"),
    Column("actor", "WHO", styles={"": "bold"}),
    Column("how", "BEGUN WITH", 2),
    Column("source", "FROM", 1),
    Column("begun", "SINCE", 1),
    Column("seen", "LAST USED"),
    Column("expires", "ENDS", 2),
)


def attach(parent: typer.Typer) -> None:
    """Declare this subgroup on *parent*."""
    parent.add_typer(app)


@command(app, "list")
def list_(
    context: typer.Context,
    *,
    of: Annotated[str | None, typer.Option(metavar="WHO", help="Only of person:NAME or local:UID.")] = None,
) -> None:
    """
    List the sessions that stand, newest first.

    Example:
      $ strongroom access sessions list
      $ strongroom access sessions list --of person:anna
    """
    session: Session = context.obj
    with session.room() as room:
        rows = [_facts(row) for row in room.access.sessions.list(of)]
    show_rows(session, _COLUMNS, [rows], nothing="nobody is logged in")


def _facts(row: SessionRow) -> dict[str, object]:
    return {
        "id": row.id,
        "actor": row.actor,
        "how": row.how,
        "source": row.source,
        "begun": row.begun,
        "seen": row.seen,
        "expires": row.expires,
    }


@command(app, "revoke")
def revoke(
    context: typer.Context,
    *,
    session_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Of the session.", show_default=False)
    ] = None,
    all_of: Annotated[
        str | None, typer.Option("--all", metavar="WHO", help="Every session of person:NAME or local:UID.")
    ] = None,
    yes: Yes = False,
) -> None:
    """
    End a session, or with --all every one of somebody.

    Within a second nobody is let in with it.

    Example:
      $ strongroom access sessions revoke 1f2e3d4c5b6a7988
      $ strongroom access sessions revoke --all person:bert
    """
    session: Session = context.obj
    if (session_id is None) == (all_of is None):
        raise InvalidInputError("say which session, or --all of whom", hint="strongroom access sessions list")
    with session.room() as room:
        if all_of is not None:
            terminal.confirm(f"end every session of {terminal.clean(all_of)}", is_agreed=yes)
            room.access.sessions.revoke_all(all_of)
            sentence(session, f"every session of {all_of} has ended", {"actor": all_of})
        else:
            room.access.sessions.revoke(str(session_id))
            sentence(session, f"session {session_id} has ended", {"id": session_id})
