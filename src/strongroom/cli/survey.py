"""What all places hold together, as `strongroom up` shows it: counted, and the problems first."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.cli.entry import facts_of_row
from strongroom.cli.output import Column, show_rows, write
from strongroom.cli.session import Session
from strongroom.cli.terminal import clean
from strongroom.errors import StrongroomError
from strongroom.model.entry import EntryState
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from strongroom.service.discovery import Place
    from strongroom.service.inventory import Clash, Counts, Row
    from strongroom.service.room import Room

__all__ = ["Survey", "counted", "facts_of_place", "show_places", "show_survey"]

_SHOWN = 20  # names; the inventory has them all
_CLASHES_SHOWN = 10
_STATES: Mapping[EntryState, str] = {
    EntryState.UNPARSABLE: "that {do} not parse",
    EntryState.EXPIRED: "expired",
}
_COLUMNS = (
    Column("name", "NAME", styles={"": "bold"}),
    Column("kind", "KIND", 2),
    Column("conn_type", "TYPE", 3),
    Column("backend", "BACKEND"),
    Column("shadowed", "HIDES", 1, styles={"": "yellow"}),
    Column("version", "VERSION", 4, is_number=True),
    Column("changed_at", "CHANGED", 4, styles={"": "dim"}),
)
# Where there is any it is what people look for: on a narrow terminal it folds, and does not go.
_PROBLEM = Column("problem", "PROBLEM", styles={"": "red"})
_PLACE_COLUMNS = (
    Column("name", "PLACE", styles={"": "bold"}),
    Column("title", "WHAT", 1),
    Column("where", "NAMED BY", 2),
    Column("entries", "ENTRIES", is_number=True),
    Column("reason", "NOT ASKED", styles={"": "yellow"}),
)


@dataclass(slots=True)
class Survey:
    """
    What the inventory holds.

    Args:
        trouble: by the name of a place, why it could not be opened or listed.
        first: the names to show, those with problems before the others.
        entries: by the name of a place, how many entries it holds.
        silent: places that cannot tell what they hold.
        missing: what no store of ours holds and could be read: what an import would bring in. What a vault
            answers stays there: a copy would miss its rotation and escape its policies.
    """

    trouble: dict[str, StrongroomError]
    counts: Counts
    clashes: tuple[Clash, ...]
    first: list[Row] = field(default_factory=list)
    entries: Counter[str] = field(default_factory=Counter)
    states: Counter[EntryState] = field(default_factory=Counter)
    silent: tuple[str, ...] = ()
    missing: list[Ref] = field(default_factory=list)

    @classmethod
    def of(cls, room: Room, session: Session, trouble: dict[str, StrongroomError]) -> Survey:
        """Read the inventory of *room* once from end to end; *trouble* is added to."""
        tally = room.inventory.tally()
        made = cls(trouble=trouble, counts=tally.counts, clashes=(), silent=room.inventory.not_listable)
        kinds = {row.name: row.kind for row in room.backends.list()}
        stores = {name for name, kind in kinds.items() if kind == "native"}
        vaults = {name for name, kind in kinds.items() if kind == "vault"}

        def tell(name: str, error: StrongroomError) -> None:
            if name in stores:  # our own store is no place among others
                raise error
            trouble.setdefault(name, error)

        shown: tuple[list[Row], ...] = ([], [], [])
        pages = room.inventory.pages(team=session.team, tally=tally, on_trouble=tell)
        for row in (row for page in pages for row in page):
            made._count(row, stores, vaults)
            group = shown[_rank(row)]
            if len(group) < _SHOWN:
                group.append(row)
        made.first = [row for group in shown for row in group][:_SHOWN]
        made.counts, made.clashes, made.entries = tally.counts, tally.clashes, tally.entries
        return made

    def _count(self, row: Row, stores: set[str], vaults: set[str]) -> None:
        if not row.is_readable:
            self.states[row.state] += 1
        elif row.backend not in vaults and stores.isdisjoint((row.backend, *row.shadowed)):
            self.missing.append(row.ref)

    @property
    def example(self) -> Row | None:
        """The first name a job could be handed."""
        return next((row for row in self.first if row.is_readable), None)

    @property
    def total(self) -> int:
        """How many names there are."""
        return self.counts.connections + self.counts.variables

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        counts = self.counts
        head = f"{counted(counts.connections, 'connection')} and {counted(counts.variables, 'variable')}"
        parts = [f"{head} in {counted(counts.places, 'place')}"]
        if counts.shadowed:
            parts.append(f"{counts.shadowed:,} shadowed")
        parts += self._bad()
        if counts.clashes:
            parts.append(f"{counts.clashes:,} clash{'' if counts.clashes == 1 else 'es'}")
        return " · ".join(parts)

    def _bad(self) -> Iterator[str]:
        for state, words in _STATES.items():
            if count := self.states[state]:
                yield f"{count:,} {words.format(do='does' if count == 1 else 'do')}"
        if rest := sum(count for state, count in self.states.items() if state not in _STATES):
            yield f"{rest:,} that cannot be read"

    def facts(self) -> dict[str, object]:
        """Give the counts and problems for JSON and YAML."""
        counts = self.counts
        return {
            "connections": counts.connections,
            "variables": counts.variables,
            "places": counts.places,
            "shadowed": counts.shadowed,
            "unreadable": counts.unreadable,
            "clashes": [
                {
                    "backend": clash.backend,
                    "names": [str(ref) for ref in clash.refs],
                    "spelling": clash.spelling,
                }
                for clash in self.clashes
            ],
            "names": [facts_of_row(row) for row in self.first],
        }


def _rank(row: Row) -> int:
    """What nobody can read goes first, then what hides another or wants looking at."""
    if not row.is_readable:
        return 0
    return 1 if row.shadowed or row.state.is_problem else 2


def show_places(session: Session, places: Sequence[Place], survey: Survey) -> None:
    """Show where was looked, and what there could not be asked."""
    rows = [facts_of_place(place, survey) for place in places]
    show_rows(session, _PLACE_COLUMNS, [rows])
    sys.stdout.flush()


def facts_of_place(place: Place, survey: Survey) -> dict[str, object]:
    """Give what is known of one place, and how many entries it holds where it was asked."""
    trouble = survey.trouble.get(place.name) if place.name else None
    reason = str(trouble) if trouble else place.reason
    if place.name in survey.silent:
        reason = reason or "it cannot tell what it holds"
    return {
        "name": place.name,
        "kind": place.kind,
        "title": place.title,
        "where": place.where,
        "entries": None if reason else survey.entries[place.name],
        "reason": reason,
        "warnings": place.warnings,
    }


def show_survey(session: Session, survey: Survey) -> None:
    """Show the counts, the first names and the clashes."""
    if not survey.total:
        write("there is nothing in it yet")
        return
    write(survey.sentence)
    write("")
    columns = (*_COLUMNS, _PROBLEM) if any(row.problem for row in survey.first) else _COLUMNS
    show_rows(session, columns, [[facts_of_row(row) for row in survey.first]])
    if survey.total > len(survey.first):
        write(f"… and {survey.total - len(survey.first):,} more: strongroom inventory")
    for clash in survey.clashes[:_CLASHES_SHOWN]:
        write(clean(f"clash: {clash.problem}"))
    if len(survey.clashes) > _CLASHES_SHOWN:
        write(f"… and {len(survey.clashes) - _CLASHES_SHOWN:,} more clashes: strongroom doctor")
    sys.stdout.flush()


def counted(count: int, what: str) -> str:
    """Give *count* of *what* in words."""
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count:,} {what if count == 1 else plural}"
