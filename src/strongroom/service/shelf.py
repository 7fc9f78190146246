"""
The names of one list in any order, small enough to keep: columns of what they are ordered by.

Rules of this file:

1. A name has a slot, and each order is an array of slots: a change moves one slot and copies no text.
   A name that changed gets a new slot, so that what was remembered of the old one counts for nothing.
2. Nothing here was authenticated or decided: it tells where a name stands, never what is told of it.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from itertools import takewhile
from typing import TYPE_CHECKING, Literal, NamedTuple

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.model.entry import Outline

__all__ = ["MAX_NAMES", "Column", "Rank", "Shelf", "too_many"]

Column = Literal["name", "changed_at", "conn_type", "description", "backend"]
MAX_NAMES = 200_000  # of one list
_MIN_WASTE = 1000  # slots of names that changed, before a shelf is worth making anew


class Rank(NamedTuple):
    """
    Where a name stands in an order.

    Args:
        value: by which it is ordered, before its name; what is unknown comes first.
    """

    value: str | int
    name: str


class Shelf:
    """
    Keep names in order; about 150 bytes each, and 4 more for each order that is asked for.

    Threads: changed and looked into under `lock`; `names` may be read without, for slots do not change.

    Args:
        found: each name once, in order, with the backend that answers for it.
        most: names at most.

    Attributes:
        names: by slot; those of names that changed or went are in no order any more.
        version: grows with every change.

    Raises:
        InvalidInputError: there are more than *most*.
    """

    def __init__(self, found: Iterable[tuple[str, Outline]], *, most: int = MAX_NAMES) -> None:
        self.lock = threading.RLock()
        self.names: list[str] = []
        self.version = 0
        self._changed = array("q")
        self._types: list[str] = []
        self._descriptions: list[str] = []
        self._backends: list[str] = []
        self._ends: dict[int, int] = {}
        self._texts: dict[str, str] = {}  # of equal ones only one is kept
        self._orders: dict[str, array[int]] = {"name": array("I")}
        for backend, outline in found:
            self._orders["name"].append(self._add(backend, outline))
            if len(self.names) > most:
                raise too_many(most)

    def __len__(self) -> int:
        return len(self._orders["name"])

    @property
    def is_worn(self) -> bool:
        """Whether so many names have changed that a new one is smaller."""
        return len(self.names) - len(self) > max(_MIN_WASTE, len(self) // 2)

    def _add(self, backend: str, outline: Outline) -> int:
        slot = len(self.names)
        self.names.append(outline.name)
        self._changed.append(outline.changed_at or 0)
        self._types.append(self._kept(outline.conn_type))
        self._descriptions.append(self._kept(outline.description))
        self._backends.append(self._kept(backend))
        if outline.expires_at is not None:
            self._ends[slot] = outline.expires_at
        return slot

    def _kept(self, text: str | None) -> str:
        # Before any text, an empty one too, comes what there is not.
        said = "" if text is None else f"={text}"
        return self._texts.setdefault(said, said)

    def put(self, name: str, found: tuple[str, Outline] | None) -> None:
        """Say anew what stands under *name*: who answers for it and its outline; None for nobody."""
        with self.lock:
            self.version += 1
            old = self._slot(name)
            if old is not None:
                for column, order in self._orders.items():
                    key = self.key(column)
                    del order[bisect_left(order, key(old), key=key)]
                self._ends.pop(old, None)
            if found is None:
                return
            slot = self._add(*found)
            for column, order in self._orders.items():
                key = self.key(column)
                order.insert(bisect_left(order, key(slot), key=key), slot)

    def _slot(self, name: str) -> int | None:
        order, key = self._orders["name"], self.key("name")
        index = bisect_left(order, Rank("", name), key=key)
        return order[index] if index < len(order) and self.names[order[index]] == name else None

    def ended(self, now: int) -> list[str]:
        """Give the names that are gone by *now* (microseconds since 1970 UTC)."""
        return [self.names[slot] for slot, end in self._ends.items() if end <= now] if self._ends else []

    def key(self, column: str) -> Callable[[int], Rank]:
        """Give what tells where the name of a slot stands in the order of *column*."""
        names = self.names
        if column == "changed_at":
            changed = self._changed
            return lambda slot: Rank(changed[slot], names[slot])
        texts = {"conn_type": self._types, "description": self._descriptions, "backend": self._backends}
        if column in texts:
            found = texts[column]
            return lambda slot: Rank(found[slot], names[slot])
        return lambda slot: Rank("", names[slot])

    def alone(self, column: str) -> Callable[[int], str | int]:
        """Give what tells the value of *column* alone."""
        key = self.key(column)
        return (lambda slot: key(slot).name) if column == "name" else (lambda slot: key(slot).value)

    def order(self, column: str) -> array[int]:
        """Give the slots in the order of *column*, and of names where that is equal; not a copy."""
        found = self._orders.get(column)
        if found is None:
            found = self._orders[column] = array("I", sorted(self._orders["name"], key=self.key(column)))
        return found

    def beginning(self, prefix: str) -> frozenset[int]:
        """Give the slots of the names that begin with *prefix*."""
        slots = self.slots("name", after=Rank("", prefix), is_with=True)
        return frozenset(takewhile(lambda slot: self.names[slot].startswith(prefix), slots))

    def slots(
        self, column: str, *, is_down: bool = False, after: Rank | None = None, is_with: bool = False
    ) -> array[int]:
        """
        Give the slots in the order of *column*.

        Args:
            column: by which.
            is_down: the greatest first.
            after: only what comes after this one, the way it goes.
            is_with: that one, too.
        """
        with self.lock:
            order, key = self.order(column), self.key(column)
            bisect = bisect_left if is_down != is_with else bisect_right
            if not is_down:
                return order[0 if after is None else bisect(order, after, key=key) :]
            end = len(order) if after is None else bisect(order, after, key=key)
            return order[end - 1 :: -1] if end else array("I")


def too_many(most: int = MAX_NAMES) -> InvalidInputError:
    """Say that there are more names than are kept in order."""
    return InvalidInputError(
        f"more than {most} names would be put in order",
        limit=most,
        hint="leave sort and order out",
    )
