"""
A long list in any order as one actor may see it.

Rules of this file:

1. Whether an actor sees a name is decided once and remembered for a while, as long as the same policy decides
   and the name has not changed. That is for places and counts: what is given out is decided anew.
2. Names he does not see leave no gap: they count for no page and no total, and no place tells of them.
"""

from __future__ import annotations

import time
from array import array
from typing import TYPE_CHECKING, NamedTuple

from strongroom.model.entry import EntryState
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from strongroom.model.ref import Kind
    from strongroom.policy import Policy
    from strongroom.service.guard import Sight
    from strongroom.service.inventory import Row
    from strongroom.service.order import Kept
    from strongroom.service.shelf import Column, Rank

__all__ = ["Ordered", "Seen", "Way"]

_SEEN_SECONDS = 60.0
_MAX_VIEWS = 64  # a byte for each name of the list
_MAX_ANSWERS = 16  # four bytes for each name of the answer
_BATCH = 250  # names decided at once
_UNKNOWN, _VISIBLE, _HIDDEN = 0, 1, 2


class Way(NamedTuple):
    """One column to order by, up or down."""

    column: Column
    is_down: bool = False


class Seen(NamedTuple):
    """
    Who looks, and how that is decided.

    Args:
        who: tells actors and questions apart.
        sights: all of which must see a name.
        policy: that decides now.
        rows: gives the rows of names, for policies that ask what is public about them.
    """

    who: Hashable
    sights: tuple[Sight, ...]
    policy: Policy
    rows: Callable[[Sequence[str]], list[Row]]

    @property
    def is_whole(self) -> bool:
        """Whether every name there is may be seen."""
        return all(sight.is_whole for sight in self.sights)

    def sees(self, row: Row) -> bool:
        """Tell whether *row* may be seen; of one that was tampered with nothing is believed."""
        metadata = None if row.state is EntryState.TAMPERED else row.metadata
        return all(sight.sees(row.ref, metadata) for sight in self.sights)


class _View(NamedTuple):
    """What was decided of each slot."""

    policy: Policy
    made_at: float
    slots: bytearray


class _Answer(NamedTuple):
    """The slots that answer a question, and what they hold for."""

    version: int
    view: _View | None
    slots: array[int]


class Ordered:
    """
    The names of one kind and team, as they stood when it was made.

    Args:
        kept: the list.
        seen: who looks.
    """

    def __init__(self, kept: Kept, seen: Seen) -> None:
        self.kind: Kind = kept.kind
        self.team = kept.team
        self._kept = kept
        self._shelf = kept.shelf
        self._seen = seen
        self._view = None if seen.is_whole else self._viewed()

    def _viewed(self) -> _View:
        views, now = self._kept.views, time.monotonic()
        with self._kept.lock:
            found = views.get(self._seen.who)
            if (
                not isinstance(found, _View)
                or found.policy is not self._seen.policy
                or now - found.made_at > _SEEN_SECONDS
            ):
                found = _View(self._seen.policy, now, bytearray())
                views[self._seen.who] = found
            views.move_to_end(self._seen.who)
            while len(views) > _MAX_VIEWS:
                views.popitem(last=False)
        return found

    # --- one after the other ----------------------------------------------------------------------

    def after(
        self, way: Way, rank: Rank | None = None, *, is_with: bool = False, prefix: str = ""
    ) -> Iterator[Rank]:
        """
        Yield where the names stand that the actor may see.

        Args:
            way: in which order.
            rank: only what comes after this one.
            is_with: what stands exactly there, too.
            prefix: only names that begin so.
        """
        slots = self._shelf.slots(way.column, is_down=way.is_down, after=rank, is_with=is_with)
        key, names = self._shelf.key(way.column), self._shelf.names
        for slot in self._visible(one for one in slots if names[one].startswith(prefix)):
            yield key(slot)

    def _visible(self, slots: Iterator[int]) -> Iterator[int]:
        if self._view is None:
            yield from slots
            return
        known, batch = self._view.slots, list[int]()
        with self._kept.lock:
            known.extend(bytes(max(0, len(self._shelf.names) - len(known))))
        for slot in slots:
            if known[slot] == _HIDDEN:
                continue
            batch.append(slot)
            if len(batch) >= _BATCH:
                yield from self._decided(batch)
                batch = []
        yield from self._decided(batch)

    def _decided(self, slots: Sequence[int]) -> list[int]:
        assert self._view is not None  # noqa: S101 -- asked by the caller
        known, names = self._view.slots, self._shelf.names
        unknown = [slot for slot in slots if known[slot] == _UNKNOWN]
        if unknown:
            visible = self._names_seen([names[slot] for slot in unknown])
            for slot in unknown:
                known[slot] = _VISIBLE if names[slot] in visible else _HIDDEN
        return [slot for slot in slots if known[slot] == _VISIBLE]

    def _names_seen(self, names: Sequence[str]) -> set[str]:
        if self._seen.policy.needs_facts:
            return {row.ref.name for row in self._seen.rows(names) if self._seen.sees(row)}
        refs = [Ref(self.kind, name, self.team) for name in names]
        return {ref.name for ref in refs if all(sight.sees(ref, None) for sight in self._seen.sights)}

    # --- by number ----------------------------------------------------------------------------------

    def window(
        self,
        ways: Sequence[Way],
        begin: int,
        count: int,
        *,
        prefix: str = "",
        fits: Callable[[str], bool] | None = None,
        question: Hashable = None,
    ) -> tuple[list[str], int]:
        """
        Give up to *count* names from the number *begin* on, and how many there are in all.

        Args:
            ways: by which to order, the first one first; where all are equal, by name in the direction of
                the first.
            begin: names before the first.
            count: names at most.
            prefix: only names that begin so.
            fits: tells whether a name is wanted; None for all.
            question: tells apart what *fits* wants.
        """
        slots = self._answered(_whole(ways), prefix, fits, question)
        names = self._shelf.names
        return [names[slot] for slot in slots[begin : begin + count]], len(slots)

    def _answered(
        self, ways: tuple[Way, ...], prefix: str, fits: Callable[[str], bool] | None, question: Hashable
    ) -> Sequence[int]:
        key = (ways, prefix, question, None if self._view is None else self._seen.who)
        answers = self._kept.answers
        with self._kept.lock:
            found, version = answers.get(key), self._shelf.version
            if isinstance(found, _Answer) and found.version == version and found.view is self._view:
                answers.move_to_end(key)
                return found.slots
        made = self._wanted(ways, prefix, fits)
        if self._view is not None or not isinstance(made, array):
            made = array("I", self._visible(iter(made)))
        with self._kept.lock:
            answers[key] = _Answer(version, self._view, made)
            while len(answers) > _MAX_ANSWERS:
                answers.popitem(last=False)
        return made

    def _wanted(
        self, ways: tuple[Way, ...], prefix: str, fits: Callable[[str], bool] | None
    ) -> Sequence[int]:
        names, slots = self._shelf.names, self._sorted(ways)
        if prefix:
            beginning = self._shelf.beginning(prefix)
            slots = [slot for slot in slots if slot in beginning] if beginning else ()
        return slots if fits is None else [slot for slot in slots if fits(names[slot])]

    def _sorted(self, ways: tuple[Way, ...]) -> Sequence[int]:
        first = ways[0]
        if len(ways) == 1:
            return self._shelf.slots(first.column, is_down=first.is_down)
        slots = list(self._shelf.slots("name"))
        for way in reversed(ways):
            slots.sort(key=self._shelf.alone(way.column), reverse=way.is_down)
        return slots

    @property
    def has_any(self) -> bool:
        """Whether the actor may see any name, or would if there were one."""
        return self._view is None or next(self.after(Way("name")), None) is not None


def _whole(ways: Sequence[Way]) -> tuple[Way, ...]:
    """Give what of *ways* counts: nothing after the name, and no name that follows its own way."""
    found: list[Way] = []
    for way in ways:
        if way.column == "name":
            if not found or way.is_down != found[0].is_down or len(found) > 1:
                found.append(way)
            return tuple(found)
        found.append(way)
    if len(found) > 1:
        found.append(Way("name", found[0].is_down))
    return tuple(found)
