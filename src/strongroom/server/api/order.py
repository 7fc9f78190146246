"""
Lists in another order than that of names, which is the one that backends keep.

Rules of this file:

1. An order goes by one column, then by kind and name, so that every row has one place in it; a list goes on
   after the place of the last row that was looked at, whatever has come or gone meanwhile.
2. A place is of a name that its actor may see. What is told of a name is looked up anew, for the page alone.
"""

from __future__ import annotations

from functools import partial
from heapq import merge
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from strongroom.model.ref import KINDS, MAX_NAME_CHARACTERS
from strongroom.server.api.asked import known_team
from strongroom.service.ordered import Way
from strongroom.service.shelf import Rank

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.model.ref import Kind
    from strongroom.server.api.asked import Troubles
    from strongroom.server.endpoint import Call
    from strongroom.service.inventory import Choice, Inventory, Row
    from strongroom.service.ordered import Ordered
    from strongroom.wire.entry import EntryQuery

__all__ = ["Place", "places_after", "rows_at"]

_LAST = "\U0010ffff" * (MAX_NAME_CHARACTERS + 1)  # after every name


class Place(NamedTuple):
    """Where a name stands: the value it is ordered by, its kind and itself."""

    value: str | int
    kind: Kind
    name: str


def places_after(
    call: Call, asked: EntryQuery, position: Sequence[str | int] | None, troubles: Troubles
) -> Iterator[Place]:
    """
    Yield the places of the list that is asked for.

    Args:
        call: the request.
        asked: which list, and in which order.
        position: of a cursor, a place written down; None for the beginning.
        troubles: told what backends could not be listed.

    Raises:
        InvalidInputError: there are too many names to put them in order.
    """
    way = Way(asked.sort, asked.order == "desc")
    after = None if position is None else Place(*position)  # type: ignore[arg-type]  # as it was written down
    kinds = (asked.kind,) if asked.kind else tuple(sorted(KINDS))
    lists = [
        call.room.inventory.ordered(kind, team=known_team(asked.team), on_trouble=troubles) for kind in kinds
    ]
    streams = [_of_kind(one, way, after, asked.prefix) for one in lists]
    return merge(*streams, key=partial(_key, way), reverse=way.is_down)


def _key(way: Way, place: Place) -> tuple[str | int, str, str]:
    return (place.name, place.kind, "") if way.column == "name" else place


def _of_kind(ordered: Ordered, way: Way, after: Place | None, prefix: str) -> Iterator[Place]:
    rank, is_with = (None, False) if after is None else _start(ordered.kind, way, after)
    for found in ordered.after(way, rank, is_with=is_with, prefix=prefix):
        yield Place(found.value, ordered.kind, found.name)


def _start(kind: Kind, way: Way, after: Place) -> tuple[Rank, bool]:
    """Give after which rank the names of *kind* come after *after*, and whether those with it do, too."""
    comes_later = kind < after.kind if way.is_down else kind > after.kind
    if way.column == "name" or kind == after.kind:
        return Rank(after.value, after.name), way.column == "name" and comes_later
    # All of this kind with the same value come either later or have been.
    return Rank(after.value, _LAST if way.is_down == comes_later else ""), False


def rows_at(
    inventory: Inventory, places: Sequence[Place], team: str | None, choice: Choice, troubles: Troubles
) -> Mapping[tuple[str, str], list[Row]]:
    """Give the rows of *places* by kind and name, as they are now and may be seen."""
    found: dict[tuple[str, str], list[Row]] = {}
    for kind, group in groupby(sorted(places, key=lambda one: one.kind), key=lambda one: one.kind):
        names = [place.name for place in group]
        for row in inventory.these(kind, names, team=team, choice=choice, on_trouble=troubles):
            found.setdefault((row.ref.kind, row.ref.name), []).append(row)
    return found
