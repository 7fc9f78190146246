"""
The names that Airflow would find in all its places: what hides what, and which of them are wanted.

Not for looking at the places (`places.py`), nor for who may see it and how (`page.py`). No I/O, no value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = [
    "ENDING_DAYS",
    "Choice",
    "Chosen",
    "Line",
    "Note",
    "Place",
    "Taken",
    "chosen",
    "is_ending",
    "is_problem",
    "merged",
]

NOT_LOOKED_AT = "not looked at"
"""The state of a value that nobody looked at, as docs/inventory.md has it."""

Key = tuple[str, str, "str | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    One name in one place.

    Args:
        place: id of the place.
        shadows: ids of places further down that hold it too.
        shadowed_by: id of the place that answers instead; None where this one answers.
        state, problem: of the value, as our inventory says it (docs/inventory.md).
        read_at: when it was last read, as far as that is known.
        expires_at: when it ends.
    """

    kind: str
    name: str
    team: str | None
    place: str
    conn_type: str | None = None
    shadows: tuple[str, ...] = ()
    shadowed_by: str | None = None
    state: str = NOT_LOOKED_AT
    problem: str = ""
    version: str | None = None
    changed_at: datetime | None = None
    read_at: datetime | None = None
    expires_at: datetime | None = None
    owner: str | None = None

    @property
    def key(self) -> Key:
        """Kind, name and team."""
        return self.kind, self.name, self.team


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    One place that Airflow asks.

    Args:
        id: `strongroom:vault`, `environment` or `metadata`.
        label: for people.
        order: from 1 in the order asked; 0 where it is asked beside the others.
        is_listable: it can tell what it holds.
        trouble: why it could not be listed now; "" where it could.
    """

    id: str
    label: str
    order: int
    is_listable: bool = True
    trouble: str = ""


class Note(NamedTuple):
    """Something to be said over the list: `bad`, `warn` or `info`; a sentence, and what to do."""

    level: str
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """
    What there is at one moment.

    Args:
        at: when it was looked at.
        lines: by name, kind and team; of one name in the order in which places are asked.
        asked: what kind of place ours is: `agent`, `server`, `library`; "" where Airflow does not ask us.
        server: the address of our server's page, where one is configured.
    """

    at: datetime
    lines: tuple[Line, ...] = ()
    places: tuple[Place, ...] = ()
    notes: tuple[Note, ...] = ()
    asked: str = ""
    server: str = ""


# --- what hides what ---------------------------------------------------------------------------------


def merged(lines: Iterable[Line], places: Iterable[Place]) -> Iterator[Line]:
    """
    Give *lines* by name, kind and team, each with what hides it and what it hides.

    Places of the order 0 are asked beside: they neither hide nor are hidden by another place.
    """
    order = {place.id: place.order for place in places}
    ordered = sorted(lines, key=lambda one: (one.name, one.kind, one.team or "", order[one.place]))
    for _, group in groupby(ordered, key=lambda one: (one.name, one.kind)):
        several = list(group)
        yield from several if len(several) == 1 else _told(several, order)


def _told(several: list[Line], order: Mapping[str, int]) -> Iterator[Line]:
    for line in several:
        others = [
            one for one in several if one.place != line.place and order[one.place] and order[line.place]
        ]
        # A lookup for a team is answered by what is everybody's, too.
        above = [
            one for one in others if order[one.place] < order[line.place] and one.team in (line.team, None)
        ]
        below = [
            one for one in others if order[one.place] > order[line.place] and line.team in (one.team, None)
        ]
        hides = dict.fromkeys([*line.shadows, *(one.place for one in below)])
        answering = next((one.place for one in above if one.shadowed_by is None), None)
        shadowed_by = line.shadowed_by or answering
        yield replace(line, shadows=() if shadowed_by else tuple(hides), shadowed_by=shadowed_by)


# --- what is chosen of it ----------------------------------------------------------------------------


class Choice(NamedTuple):
    """
    Which lines are wanted.

    Args:
        search: stands in name, type, owner or team, in any case.
        places, kinds, types: ids; empty for all.
        only: "" for all, `hidden`, `problems` or `ending`.
    """

    search: str = ""
    places: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    only: str = ""


ENDING_DAYS = 14
"""An entry that ends within so many days is shown as one that ends soon."""


def is_problem(line: Line) -> bool:
    """Tell whether something is known to be wrong with the value."""
    return line.state not in ("ok", NOT_LOOKED_AT)


def is_ending(line: Line, now: datetime) -> bool:
    """Tell whether it ends soon, or has ended."""
    return line.expires_at is not None and (line.expires_at - now).days < ENDING_DAYS


class Chosen(NamedTuple):
    """
    The lines that are wanted, and how many there would be by another choice.

    Args:
        counts: by facet (`place`, `kind`, `only`) and value: lines with that value and all else as chosen.
    """

    lines: list[Line]
    counts: dict[str, dict[str, int]]


def chosen(lines: Iterable[Line], choice: Choice, now: datetime) -> Chosen:
    """Choose of *lines*."""
    needle = choice.search.casefold()
    counts: dict[str, dict[str, int]] = {"place": {}, "kind": {}, "only": {}}
    wanted: list[Line] = []
    tests: dict[str, Callable[[Line], bool]] = {
        "": lambda _line: True,
        "hidden": lambda line: line.shadowed_by is not None,
        "problems": is_problem,
        "ending": lambda line: is_ending(line, now),
    }
    for line in lines:
        if needle and not any(
            needle in text.casefold()
            for text in (line.name, line.conn_type or "", line.owner or "", line.team or "")
        ):
            continue
        fits_place = not choice.places or line.place in choice.places
        fits_kind = not choice.kinds or line.kind in choice.kinds
        fits_only = tests[choice.only](line)
        if fits_kind and fits_only:
            _count(counts["place"], line.place)
        if fits_place and fits_only:
            _count(counts["kind"], line.kind)
        if fits_place and fits_kind:
            for name, test in tests.items():
                if test(line):
                    _count(counts["only"], name)
            if fits_only:
                wanted.append(line)
    return Chosen(wanted, counts)


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1
