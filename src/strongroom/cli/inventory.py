"""`strongroom inventory`: every name, where it lives, what it hides, and how it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, single
from strongroom.cli.entry import ROW_COLUMNS, facts_of_row, note_nothing
from strongroom.cli.main import exit_code
from strongroom.cli.output import show_rows
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.model.entry import EntryState
from strongroom.model.ref import KINDS, Kind, Ref

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.service.inventory import Choice, Row, Tally
    from strongroom.service.room import Room

app = single()

_PAGE = 200  # names: soon on the screen, and enough to tell how wide the columns are


@command(app, "inventory")
def inventory(
    context: typer.Context,
    *,
    kind: Annotated[
        Kind | None, typer.Option(metavar="KIND", help="connection or variable; all if unsaid.")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Only names that begin so.")] = "",
    backend: Annotated[
        list[str] | None,
        typer.Option(metavar="BACKEND", help="Only what this one holds, hidden or not; repeatable."),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="Only entries in this state, as unparsable; repeatable."),
    ] = None,
    problems: Annotated[
        bool, typer.Option("--problems", help="Only entries with which something is wrong.")
    ] = False,
    with_shadowed: Annotated[
        bool, typer.Option("--all", "--shadowed", help="Hidden entries too, each a line of its own.")
    ] = False,
    after: Annotated[
        str | None, typer.Option(metavar="KIND:NAME", help="Only what comes after this one.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most so many names; all if unsaid.")
    ] = None,
) -> None:
    """
    List every name, where it lives and how it is, never its value.

    HIDES names the backends further down that hold the same name and are not asked for it; --all
    shows their entries too. A state is ok, expired, unparsable, tampered, plain-text, wrong-key,
    not-a-token, or not-looked-at (a dash, in JSON null) where a store would have to be asked for each
    value to tell. A backend that gives no answer is told of, the others are listed, and the
    exit code is not 0.

    Example:
      $ strongroom inventory
      $ strongroom inventory --problems
      $ strongroom inventory --kind connection --prefix orders --output json
    """
    from strongroom.service.inventory import Choice  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    choice = Choice(
        prefix=prefix,
        states=tuple(_state(text) for text in state or ()),
        backends=tuple(backend or ()),
        only_problems=problems,
        with_shadowed=with_shadowed,
    )
    with session.room() as room:
        trouble = _Listed(room, session, kind, choice).show(_after(after, session), limit)
    if trouble:
        raise typer.Exit(exit_code(trouble[0]))


class _Listed:
    """One listing on its way to the user."""

    def __init__(self, room: Room, session: Session, kind: Kind | None, choice: Choice) -> None:
        self._room = room
        self._session = session
        self._kind = kind
        self._choice = choice
        self._trouble: dict[str, StrongroomError] = {}

    def show(self, after: Ref | None, limit: int | None) -> list[StrongroomError]:
        """Show the rows as they come, then what is to be said of them; give the trouble there was."""
        tally = self._room.inventory.tally()
        pages = ([facts_of_row(row) for row in page] for page in self._pages(after, limit, tally))
        count = show_rows(self._session, ROW_COLUMNS, pages)
        for backend, why in self._trouble.items():
            self._tell(backend, why)
        if not count and not self._trouble:
            note_nothing(self._session, "is nothing", is_narrowed=self._is_narrowed(after))
        self._note(tally)
        return list(self._trouble.values())

    def _pages(self, after: Ref | None, limit: int | None, tally: Tally) -> Iterator[list[Row]]:
        return self._room.inventory.pages(
            self._kind,
            team=self._session.team,
            choice=self._choice,
            after=after,
            size=_PAGE,
            limit=limit,
            on_trouble=self._hear,
            tally=tally,
        )

    def _hear(self, backend: str, why: StrongroomError) -> None:
        self._trouble[backend] = why

    def _tell(self, backend: str, why: StrongroomError) -> None:
        if self._session.output == "json":
            terminal.tell_error(why, self._session)
        else:
            terminal.warn(f"the names of {backend} are missing here: {why}", self._session, hint=why.hint)

    def _note(self, tally: Tally) -> None:
        for backend in self._room.inventory.not_listable:
            terminal.note(f"the backend {backend} cannot tell what it holds", self._session)
        unreadable = tally.counts.unreadable
        if unreadable and not self._choice.only_problems and not self._choice.states:
            names = "1 name has" if unreadable == 1 else f"{unreadable:,} names have"
            terminal.note(f"{names} no usable value: strongroom inventory --problems", self._session)
        for clash in tally.clashes:
            alike = [str(ref) for ref in clash.refs]
            facts = {"code": "clash", "backend": clash.backend, "names": alike, "spelling": clash.spelling}
            terminal.warn(clash.problem, self._session, facts=facts)

    def _is_narrowed(self, after: Ref | None) -> bool:
        choice = self._choice
        return bool(
            self._kind or after or choice.prefix or choice.backends or choice.states or choice.only_problems
        )


def _state(text: str) -> EntryState:
    """Read a state as people type it: `plain-text`."""
    try:
        return EntryState(text.replace("-", " ").replace("_", " ").lower())
    except ValueError:
        known = ", ".join(state.value.replace(" ", "-") for state in EntryState)
    raise InvalidInputError("--state is no state of an entry", hint=f"one of {known}")


def _after(text: str | None, session: Session) -> Ref | None:
    if text is None:
        return None
    kind, separator, name = text.partition(":")
    known = next((known for known in KINDS if known == kind), None)
    if known is None or not separator:
        raise InvalidInputError("--after must name kind and name", hint="as in --after connection:orders_db")
    return session.ref(known, name)
