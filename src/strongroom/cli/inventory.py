"""`strongroom inventory`: every name, where it lives, what it hides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, single
from strongroom.cli.entry import ROW_COLUMNS, facts_of_row, note_nothing, pages_of
from strongroom.cli.output import show_rows
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.model.ref import KINDS, Kind, Ref

if TYPE_CHECKING:
    from strongroom.service.inventory import Row
    from strongroom.service.room import Room

app = single()


@command(app, "inventory")
def inventory(
    context: typer.Context,
    *,
    kind: Annotated[
        Kind | None, typer.Option(metavar="KIND", help="connection or variable; all if unsaid.")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Only names that begin so.")] = "",
    after: Annotated[
        str | None, typer.Option(metavar="KIND:NAME", help="Only what comes after this one.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most so many; all if unsaid.")
    ] = None,
) -> None:
    """
    List every name and where it lives, never its value.

    HIDES names the backends further down that hold the same name and are not asked for it.

    Example:
      $ strongroom inventory
      $ strongroom inventory --kind connection --prefix orders --output json
    """
    session: Session = context.obj
    with session.room() as room:
        show(room, session, kind=kind, prefix=prefix, after=_after(after, session), limit=limit)


def show(
    room: Room,
    session: Session,
    *,
    kind: Kind | None = None,
    prefix: str = "",
    after: Ref | None = None,
    limit: int | None = None,
) -> int:
    """Show the inventory, note what it cannot hold, and tell how many names there were."""
    trouble: dict[str, StrongroomError] = {}

    def note_trouble(backend: str, error: StrongroomError) -> None:
        trouble[backend] = error

    def fetch(last: Ref | None, wanted: int) -> list[Row]:
        return room.inventory.page(
            kind,
            team=session.team,
            prefix=prefix,
            after=last or after,
            limit=wanted,
            on_trouble=note_trouble,
        )

    pages = ([facts_of_row(row) for row in page] for page in pages_of(fetch, limit=limit))
    count = show_rows(session, ROW_COLUMNS, pages)
    for backend, why in trouble.items():
        terminal.warn(f"the names of {backend} are missing here: {why}", session)
    if not count and not trouble:
        note_nothing(session, "is nothing", is_narrowed=bool(kind or prefix or after))
    for backend in room.inventory.not_listable:
        terminal.note(f"the backend {backend} cannot tell what it holds", session)
    for clash in room.inventory.clashes():
        names = ", ".join(str(ref) for ref in clash.refs)
        terminal.warn(f"{clash.backend} cannot keep {names} apart: all are {clash.spelling} there", session)
    return count


def _after(text: str | None, session: Session) -> Ref | None:
    if text is None:
        return None
    kind, separator, name = text.partition(":")
    known = next((known for known in KINDS if known == kind), None)
    if known is None or not separator:
        raise InvalidInputError("--after must name kind and name", hint="as in --after connection:orders_db")
    return session.ref(known, name)
