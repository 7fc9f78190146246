"""
The verbs both nouns have: list, delete, undelete, history and rollback, for one kind.

Not for what differs: `connections.py` and `variables.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command
from strongroom.cli.entry import (
    ROW_COLUMNS,
    At,
    Comment,
    ExpectedVersion,
    Yes,
    facts_of_row,
    name_argument,
    note_nothing,
    pages_of,
    standing,
    tell_written,
)
from strongroom.cli.output import Column, show_rows
from strongroom.cli.session import Session
from strongroom.errors import NotFoundError
from strongroom.model.ref import Kind, Ref
from strongroom.service.lookup import shell_word

if TYPE_CHECKING:
    from strongroom.model.entry import VersionInfo
    from strongroom.service.inventory import Row

__all__ = ["register"]


def register(app: typer.Typer, kind: Kind, *, example: str) -> None:
    """
    Declare list, delete, undelete, history and rollback for one kind on *app*.

    Args:
        app: of the noun.
        kind: connection or variable.
        example: a name that examples use.
    """
    for declare in (_list, _delete, _undelete, _history, _rollback):
        declare(app, kind, example)


def _list(app: typer.Typer, kind: Kind, example: str) -> None:
    @command(
        app,
        "list",
        text=f"""
        List {kind}s, without their values.

        The names of every backend that can list, in order. HIDES names the backends further down that
        hold the same name and are not asked for it.

        Example:
          $ strongroom {kind}s list
          $ strongroom {kind}s list --prefix {example[:4]} --output json
        """,
    )
    def list_(
        context: typer.Context,
        *,
        prefix: Annotated[str, typer.Option(metavar="TEXT", help="Only names that begin so.")] = "",
        after: Annotated[str, typer.Option(metavar="NAME", help="Only names after this one.")] = "",
        limit: Annotated[
            int | None, typer.Option(metavar="N", min=1, help="At most so many; all if unsaid.")
        ] = None,
    ) -> None:
        session: Session = context.obj
        with session.room() as room:

            def fetch(last: Ref | None, wanted: int) -> list[Row]:
                start = last.name if last else after
                return room.entries.list(kind, team=session.team, prefix=prefix, after=start, limit=wanted)

            columns = [column for column in ROW_COLUMNS if column.key != "kind"]
            pages = ([facts_of_row(row) for row in page] for page in pages_of(fetch, limit=limit))
            count = show_rows(session, columns, pages)
        if not count:
            note_nothing(session, f"are no {kind}s", is_narrowed=bool(prefix or after))


def _delete(app: typer.Typer, kind: Kind, example: str) -> None:
    @command(
        app,
        "delete",
        text=f"""
        Delete a {kind}.

        Its versions stay, where the backend keeps them: `undelete` brings it back.

        Example:
          $ strongroom {kind}s delete {example}
          $ strongroom {kind}s delete {example} --yes --expected-version 3
        """,
    )
    def delete(
        context: typer.Context,
        *,
        name: str = name_argument(kind, "What to delete."),
        expected_version: ExpectedVersion = None,
        at: At = None,
        yes: Yes = False,
    ) -> None:
        session: Session = context.obj
        ref = session.ref(kind, name)
        with session.room() as room:
            if not yes and at is None and standing(room, ref) is None:
                raise room.lookup.absent(ref)  # before a question about nothing
            terminal.confirm(f"delete {ref}", is_agreed=yes)
            written = room.entries.delete(ref, expected_version=expected_version, at=at)
        tell_written(session, ref, written, did="deleted from")


def _undelete(app: typer.Typer, kind: Kind, example: str) -> None:
    @command(
        app,
        "undelete",
        text=f"""
        Bring a deleted {kind} back.

        Example:
          $ strongroom {kind}s undelete {example}
        """,
    )
    def undelete(
        context: typer.Context,
        *,
        name: str = name_argument(kind, "What to bring back."),
        at: At = None,
    ) -> None:
        session: Session = context.obj
        ref = session.ref(kind, name)
        with session.room() as room:
            written = room.entries.undelete(ref, at=at)
        tell_written(session, ref, written, did="brought back in")


_HISTORY_COLUMNS = (
    Column("version", "VERSION", is_number=True),
    Column("current", "NOW", styles={"": "green"}),
    Column("created_at", "CREATED", 1),
    Column("author", "AUTHOR", 2),
    Column("same_as", "SAME AS", 3, is_number=True),
    Column("comment", "COMMENT"),
)


def _history(app: typer.Typer, kind: Kind, example: str) -> None:
    @command(
        app,
        "history",
        text=f"""
        Show the versions of a {kind}, newest first.

        SAME AS names the newest older version with the same value.

        Example:
          $ strongroom {kind}s history {example}
        """,
    )
    def history(
        context: typer.Context,
        *,
        name: str = name_argument(kind, "Whose versions to show."),
        at: At = None,
    ) -> None:
        session: Session = context.obj
        with session.room() as room:
            versions = room.entries.history(session.ref(kind, name), at=at)
        rows = [_facts_of_version(info, session) for info in versions]
        show_rows(session, _HISTORY_COLUMNS, [rows])


def _facts_of_version(info: VersionInfo, session: Session) -> dict[str, object]:
    return {
        "version": info.version,
        "current": ("now" if info.is_current else "") if session.output == "table" else info.is_current,
        "created_at": info.created_at,
        "author": info.author,
        "same_as": info.same_as,
        "comment": info.comment,
    }


def _rollback(app: typer.Typer, kind: Kind, example: str) -> None:
    @command(
        app,
        "rollback",
        text=f"""
        Write the value of an older version again, as a new version.

        A deleted {kind} comes back this way too. Nothing is lost: what stood before is a version as well.

        Example:
          $ strongroom {kind}s history {example}
          $ strongroom {kind}s rollback {example} 2 --comment "3 has the wrong host"
        """,
    )
    def rollback(
        context: typer.Context,
        *,
        name: str = name_argument(kind, "What to roll back."),
        version: str = typer.Argument(..., metavar="VERSION", help="Whose value to write again."),
        comment: Comment = "",
        at: At = None,
        yes: Yes = False,
    ) -> None:
        session: Session = context.obj
        ref = session.ref(kind, name)
        with session.room() as room:
            if version not in {info.version for info in room.entries.history(ref, at=at)}:
                raise NotFoundError(
                    f"{ref} has no such version",
                    hint=f"strongroom {kind}s history {shell_word(ref.name)} lists them",
                )
            terminal.confirm(f"write version {version} of {ref} again", is_agreed=yes)
            written = room.entries.rollback(ref, version, at=at, comment=comment)
        tell_written(session, ref, written, did=f"rolled back to {version} in")
