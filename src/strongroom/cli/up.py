"""`strongroom up`: the first command: make what is missing, show what there is and what to type next."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from shutil import get_terminal_size
from typing import TYPE_CHECKING

import typer

from strongroom.cli.app import command, single
from strongroom.cli.entry import ROW_COLUMNS, facts_of_row, pages_of
from strongroom.cli.init import create, places
from strongroom.cli.output import sentence, show_rows, write
from strongroom.cli.session import Session
from strongroom.cli.terminal import clean, warn
from strongroom.errors import BackendConfigError
from strongroom.service.lookup import shell_word

if TYPE_CHECKING:
    from strongroom.model.ref import Ref
    from strongroom.service.inventory import Row
    from strongroom.service.room import Room
    from strongroom.settings import Settings

app = single()

_SHOWN = 20  # names; the inventory has them all


@command(app, "up")
def up(context: typer.Context) -> None:
    """
    Make what is missing, and show what there is.

    Makes an encrypted store and its key, shows every name, and the next three commands to type. Usable
    again at any time: what is there is left as it is.

    Example:
      $ strongroom up
    """
    session: Session = context.obj
    settings = session.settings()
    is_new = not settings.store.path.exists()
    with _room(session, settings, is_new=is_new) as room:
        found = _Found.of(room, session)
    is_new = is_new and settings.store.path.exists()
    made = places(settings)
    commands = _next(found)
    if session.output != "table":
        facts = {**made, "made": is_new, "connections": found.connections, "variables": found.variables}
        sentence(session, "", facts | {"hidden": found.hidden, "next": [typed for typed, _ in commands]})
        return
    if settings.store.path.exists():
        write(clean(f"{'made' if is_new else 'found'} the store {made['store']}"))
        write(clean(f"its key is {made['key']}: keep {_copy(settings)} in another place"))
        write("")
    _show(session, found)
    write("")
    write("next:")
    width = max(len(typed) for typed, _ in commands)
    is_wide = (
        sys.stdout.isatty() and 4 + width + max(len(why) for _, why in commands) > get_terminal_size().columns
    )
    for typed, why in commands:
        write(clean(f"  {typed}") + f"\n      {why}" if is_wide else clean(f"  {typed:<{width}}  {why}"))


def _room(session: Session, settings: Settings, *, is_new: bool) -> Room:
    """Make what is missing; where a store could not be made at all, open what else there is."""
    from strongroom.assembly import require_store_tools  # noqa: PLC0415 -- it loads the store

    try:
        require_store_tools()
    except BackendConfigError as error:
        if not is_new:
            raise
        warn(f"no store was made: {error}", session, hint=error.hint)
        return session.room()
    return create(session, settings)


@dataclass(slots=True)
class _Found:
    """What the inventory holds, counted, and its first rows."""

    connections: int = 0
    variables: int = 0
    hidden: int = 0
    places: set[str] = field(default_factory=set)
    first: list[Row] = field(default_factory=list)
    example: Row | None = None

    @classmethod
    def of(cls, room: Room, session: Session) -> _Found:
        found = cls()
        for row in _rows(room, session):
            found._count(row)
        return found

    def _count(self, row: Row) -> None:
        self.connections += row.ref.kind == "connection"
        self.variables += row.ref.kind == "variable"
        self.hidden += bool(row.shadowed)
        self.places.update((row.backend, *row.shadowed))
        if len(self.first) < _SHOWN:
            self.first.append(row)
        self.example = self.example or row

    @property
    def total(self) -> int:
        return self.connections + self.variables


def _rows(room: Room, session: Session) -> Iterator[Row]:
    def fetch(last: Ref | None, wanted: int) -> list[Row]:
        return room.inventory.page(team=session.team, after=last, limit=wanted)

    for page in pages_of(fetch, limit=None):
        yield from page


def _show(session: Session, found: _Found) -> None:
    if not found.total:
        write("there is nothing in it yet")
        return
    counts = f"{_counted(found.connections, 'connection')} and {_counted(found.variables, 'variable')}"
    hidden = f", {found.hidden} hiding another of the same name" if found.hidden else ""
    write(f"{counts} in {_counted(len(found.places), 'place')}{hidden}")
    write("")
    show_rows(session, ROW_COLUMNS, [[facts_of_row(row) for row in islice(found.first, _SHOWN)]])
    if found.total > _SHOWN:
        write(f"… and {found.total - _SHOWN:,} more: strongroom inventory")
    sys.stdout.flush()


def _copy(settings: Settings) -> str:
    return "a copy" if any(wrapper.path for wrapper in settings.store.wrappers) else "it"


def _next(found: _Found) -> list[tuple[str, str]]:
    """Give the three commands to type next, each with why."""
    if found.example is None:
        return [
            ("strongroom connections import connections.json", "bring in an Airflow export"),
            ("strongroom variables set region", "or type in a first value"),
            ("strongroom doctor", "see what is as it should be"),
        ]
    ref = found.example.ref
    name = shell_word(ref.name)
    return [
        (f"strongroom explain {ref.kind} {name}", "see what answers, and why"),
        (f"strongroom run --{ref.kind} {name} -- python job.py", "hand it to a job"),
        ("strongroom doctor", "see what is as it should be"),
    ]


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
