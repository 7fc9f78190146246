"""`strongroom connections lint`: what looks wrong in connections, and how other commands tell it."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command
from strongroom.cli.entry import pages_of
from strongroom.cli.kinds import kinds_of
from strongroom.cli.output import Column, show_rows, wrapped, write
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.service.lint import Linter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from strongroom.insight.remark import Remark
    from strongroom.model.connection import Connection
    from strongroom.model.entry import Metadata
    from strongroom.model.ref import Ref
    from strongroom.service.inventory import Row
    from strongroom.service.lint import Looked
    from strongroom.service.room import Room

__all__ = ["Look", "Strict", "TypeUnchecked", "linter_of", "register"]

T = TypeVar("T")

_EXIT_CODE = 9  # as entries that cannot be used: their owner acts
_INDENT = 14
_STYLES = {"note": "36", "warning": "33", "error": "1;31"}

Strict = Annotated[
    bool, typer.Option("--strict", help="Write nothing where lint finds an error (docs/lint.md).")
]
TypeUnchecked = Annotated[
    bool, typer.Option("--type-unchecked", help="Take a type that nobody here knows as it is.")
]


def linter_of(session: Session) -> Linter:
    """Give the linter of this session; it asks the Airflow on its search path where ours knows too little."""
    return Linter(kinds_of(session))


@dataclass(frozen=True, slots=True)
class Look:
    """
    What looks wrong in a connection that a command is about to write.

    Args:
        remarks: errors and warnings; notes are for `connections lint`.
    """

    session: Session
    remarks: tuple[Remark, ...]

    @classmethod
    def of(
        cls,
        session: Session,
        connection: Connection,
        metadata: Metadata | None,
        rest: Mapping[str, object],
        *,
        takes_any_type: bool = False,
    ) -> Look:
        """
        Look at *connection*, as it stands.

        Args:
            session: knows the types.
            connection: what a form of its own can hold.
            metadata: what will stand beside it.
            rest: what it extends and takes away; see `strongroom.model.overlay`.
            takes_any_type: the user said that the type is meant.
        """
        found = linter_of(session).remarks(
            connection,
            has_references=metadata is not None and metadata.references,
            extends=bool(rest),
        )
        told = (remark for remark in found if remark.level != "note")
        return cls(session, tuple(one for one in told if one.rule != "L2" or not takes_any_type))

    def around(self, write: Callable[[], T], *, strict: bool) -> T:
        """
        Write, unless *strict* and something is an error.

        Raises:
            InvalidInputError: an error was found; the others were told.
            Whatever *write* raises.
        """
        errors = [remark for remark in self.remarks if remark.level == "error"]
        if not strict or not errors:
            return write()
        for remark in errors[1:]:
            self._warn(remark)
        raise InvalidInputError(
            f"{errors[0].what} ({errors[0].rule}); nothing was written", hint=errors[0].fix or None
        )

    def tell(self, backend: str) -> None:
        """Tell beside the answer what looks wrong in what went to *backend*; nothing where all is fine."""
        settings = self.session.settings().backend.get(backend)
        for remark in self.remarks:
            if remark.rule != "L18" or settings is None or not settings.references:
                self._warn(remark)

    def _warn(self, remark: Remark) -> None:
        terminal.warn(f"{remark.what} ({remark.rule})", self.session, hint=remark.fix or None)


def register(app: typer.Typer) -> None:
    """Declare the command on the app of `connections`."""
    command(app, "lint")(lint)


def lint(
    context: typer.Context,
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Which; all if unsaid.", show_default=False),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
) -> None:
    """
    Say what looks wrong in connections.

    Looks at each by what its type asks for: misspelt options, secrets where everybody sees them, options
    that turn protection off, static keys of clouds. Reading them is recorded, like any read. The rules are
    in docs/lint.md. Ends with 9 if anything is an error.

    Example:
      $ strongroom connections lint
      $ strongroom connections lint orders_db --strict
      $ strongroom connections lint --output json | jq '.[].rule' | sort
    """
    session: Session = context.obj
    counted: Counter[str] = Counter()
    with session.room() as room:
        refs = [session.ref("connection", name) for name in names] if names else _all(room, session)
        looked = _counted(linter_of(session).look(room, refs), counted)
        if session.output == "table":
            for one in looked:
                _show(session, one)
        else:
            show_rows(session, [Column("name", "NAME")], [[row] for row in _rows(looked)])
    if session.output == "table":
        _sum_up(session, counted)
    if counted["error"] or (strict and counted["warning"]):
        raise typer.Exit(_EXIT_CODE)


def _all(room: Room, session: Session) -> Iterator[Ref]:
    def fetch(last: Ref | None, wanted: int) -> list[Row]:
        after = last.name if last else ""
        return room.entries.list("connection", team=session.team, after=after, limit=wanted)

    return (row.ref for page in pages_of(fetch, limit=None) for row in page)


def _counted(looked: Iterable[Looked], counted: Counter[str]) -> Iterator[Looked]:
    for one in looked:
        counted["looked"] += 1
        counted["told"] += bool(one.remarks)
        counted.update(remark.level for remark in one.remarks)
        yield one


def _rows(looked: Iterable[Looked]) -> Iterator[dict[str, object]]:
    for one in looked:
        for remark in one.remarks:
            yield {"connection": one.ref.name, "team": one.ref.team, **remark.to_dict()}


def _show(session: Session, looked: Looked) -> None:
    if not looked.remarks:
        return
    write(terminal.clean(str(looked.ref)))
    for remark in looked.remarks:
        head = f"{remark.level:<7}"
        if session.has_colour(sys.stdout):
            head = f"\x1b[{_STYLES[remark.level]}m{head}\x1b[0m"
        first, *rest = wrapped(terminal.clean(remark.what), indent=_INDENT)
        write(f"{head}  {remark.rule:<3}  {first}")
        for line in rest + (wrapped(terminal.clean(remark.fix), indent=_INDENT) if remark.fix else []):
            write(" " * _INDENT + line)
    write("")


def _sum_up(session: Session, counted: Counter[str]) -> None:
    if not counted["looked"]:
        terminal.note("there are no connections here to look at", session)
    elif not counted["told"]:
        write(f"{_number(counted['looked'], 'connection')}: nothing looks wrong")
    else:
        levels = [_number(counted[level], level) for level in reversed(_STYLES) if counted[level]]
        looked = _number(counted["looked"], "connection")
        write(f"{counted['told']:,} of {looked}: {', '.join(levels)}")


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
