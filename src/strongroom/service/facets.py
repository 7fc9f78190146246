"""
Many lines by what they say: a bitmap for each value, orders, and words found anywhere in a line.

Pure: nothing here is asked of a backend, decided about an actor, or authenticated. A line has a slot, a small
number that is used again once the line is gone; a set of lines is an integer with a bit for each slot.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import OrderedDict
from itertools import chain, compress, islice, repeat
from operator import contains
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = ["Facets", "mask_of", "slots_in"]

L = TypeVar("L")

_MOST_VALUES = 256  # of one facet that have a bitmap; rarer ones are looked for line by line
_MOST_WORDS = 64  # whose lines are remembered
_AT_ONCE = 1000  # lines put in an order aside before others go first
_DIGITS = bytes([ord("0"), ord("1")]) + bytes(range(2, 256))
_FLAGS = bytes.maketrans(b"01", b"\0\1")


def mask_of(flags: bytes) -> int:
    """Give the set of the slots whose byte in *flags* is 1; the others are 0."""
    return int(flags.translate(_DIGITS)[::-1], 2) if flags else 0


def _flags_of(mask: int) -> bytes:
    return bin(mask)[:1:-1].encode().translate(_FLAGS)


def slots_in(mask: int) -> Iterator[int]:
    """Yield the slots of *mask*, the smallest first."""
    flags = _flags_of(mask)
    return compress(range(len(flags)), flags)


class Facets(Generic[L]):
    """
    Keep lines by what they say. Threads: one at a time, for changing and for asking.

    Args:
        values: by the name of a facet, how a line's values in it are told; of some values only the first
            so many have a bitmap, whatever they are.
        text: what words are looked for in; lower case.
        place: of a line in the order "name"; all compare, and no two lines have the same.
        orders: by the name of any other order, what a line is put in order by before its place.

    Attributes:
        lines: by slot; None where there is none.
        version: grows with every change.
        alive: the set of all lines.
    """

    def __init__(
        self,
        values: Mapping[str, Callable[[L], Sequence[str]]],
        text: Callable[[L], str],
        place: Callable[[L], tuple[Any, ...]],
        orders: Mapping[str, Callable[[L], Any]],
    ) -> None:
        self.lines: list[L | None] = []
        self.version = 0
        self.alive = 0
        self._values = dict(values)
        self._text = text
        self._place = place
        self._firsts = dict(orders)
        self._texts: list[str] = []
        self._free: list[int] = []
        self._bitmaps: dict[str, dict[str, bytearray]] = {name: {} for name in values}
        self._is_partial = dict.fromkeys(values, False)
        self._orders: dict[str, array[int]] = {}
        self._stale: dict[str, set[int]] = {}
        self._words: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.lines) - len(self._free)

    # --- changing ----------------------------------------------------------------------------------

    def fill(self, lines: Iterable[L]) -> None:
        """Add many lines to nothing."""
        for line in lines:
            self.lines.append(line)
            self._texts.append(self._text(line))
        for name, tell in self._values.items():
            self._fill(name, tell)
        self.alive = (1 << len(self.lines)) - 1
        self.version += 1

    def _fill(self, name: str, tell: Callable[[L], Sequence[str]]) -> None:
        bitmaps, size = self._bitmaps[name], (len(self.lines) + 7) >> 3
        for slot, line in enumerate(self.lines):
            for value in tell(line):  # type: ignore[arg-type]  # none is missing yet
                bitmap = bitmaps.get(value)
                if bitmap is None:
                    if len(bitmaps) >= _MOST_VALUES:
                        self._is_partial[name] = True
                        continue
                    bitmap = bitmaps[value] = bytearray(size)
                bitmap[slot >> 3] |= 1 << (slot & 7)

    def add(self, line: L) -> int:
        """Add *line*, and give its slot."""
        if self._free:
            slot = self._free.pop()
            self.lines[slot] = line
        else:
            slot = len(self.lines)
            self.lines.append(line)
            self._texts.append("")
        self.alive |= 1 << slot
        self._enter(slot, line)
        return slot

    def change(self, slot: int, line: L) -> None:
        """Put *line* in the place of the one that has *slot*."""
        self._leave(slot)
        self.lines[slot] = line
        self._enter(slot, line)

    def remove(self, slot: int) -> None:
        """Take the line of *slot* away."""
        self._leave(slot)
        self.lines[slot] = None
        self._texts[slot] = ""
        self.alive &= ~(1 << slot)
        self._free.append(slot)

    def _enter(self, slot: int, line: L) -> None:
        self.version += 1
        self._texts[slot] = self._text(line)
        for name, tell in self._values.items():
            for value in tell(line):
                self._set(name, value, slot)
        for stale in self._stale.values():
            stale.add(slot)

    def _leave(self, slot: int) -> None:
        self.version += 1
        line = self.lines[slot]
        assert line is not None  # noqa: S101 -- who holds a slot holds a line
        for name, tell in self._values.items():
            for value in tell(line):
                bitmap = self._bitmaps[name].get(value)
                if bitmap is not None:
                    bitmap[slot >> 3] &= ~(1 << (slot & 7))
        for stale in self._stale.values():
            stale.add(slot)

    def _set(self, name: str, value: str, slot: int) -> None:
        bitmaps = self._bitmaps[name]
        bitmap = bitmaps.get(value)
        if bitmap is None:
            if len(bitmaps) >= _MOST_VALUES:
                self._is_partial[name] = True
                return
            bitmap = bitmaps[value] = bytearray()
        if len(bitmap) <= slot >> 3:
            bitmap.extend(bytes((slot >> 3) + 1 - len(bitmap)))
        bitmap[slot >> 3] |= 1 << (slot & 7)

    def _key(self, name: str) -> Callable[[int], Any]:
        lines, place = self.lines, self._place
        if name == "name":
            return lambda slot: place(lines[slot])  # type: ignore[arg-type]  # a slot in an order has a line
        first = self._firsts[name]
        return lambda slot: (first(lines[slot]), place(lines[slot]))  # type: ignore[arg-type]  # as above

    # --- asking ------------------------------------------------------------------------------------

    def having(self, facet: str, value: str) -> int:
        """Give the lines that say *value*."""
        bitmap = self._bitmaps[facet].get(value)
        if bitmap is not None:
            return int.from_bytes(bitmap, "little")
        if not self._is_partial[facet]:
            return 0
        tell = self._values[facet]
        return mask_of(bytes(line is not None and value in tell(line) for line in self.lines))

    def counts(self, facet: str, among: int) -> dict[str, int]:
        """Tell how many lines *among* these say each value; of very many values some are left out."""
        bitmaps = self._bitmaps[facet]
        return {
            value: (int.from_bytes(bitmap, "little") & among).bit_count() for value, bitmap in bitmaps.items()
        }

    def containing(self, word: str) -> int:
        """Give the lines whose text holds *word*, which is in lower case."""
        found = self._words.get(word)
        if found is not None and found[0] == self.version:
            self._words.move_to_end(word)
            return found[1]
        mask = mask_of(bytes(map(contains, self._texts, repeat(word))))
        self._words[word] = (self.version, mask)
        self._words.move_to_end(word)
        while len(self._words) > _MOST_WORDS:
            self._words.popitem(last=False)
        return mask

    def order(self, name: str) -> array[int]:
        """Give the slots in one order; not a copy."""
        found, stale = self._orders.get(name), self._stale.get(name)
        if found is None:
            self._stale[name] = set()
            lines = self.lines
            if name == "name":
                slots = (slot for slot, line in enumerate(lines) if line is not None)
                found = array("I", sorted(slots, key=self._key(name)))
            else:
                first = self._firsts[name]
                # Sorting is stable: what is equal stays in the order of names.
                found = array("I", sorted(self.order("name"), key=lambda slot: first(lines[slot])))  # type: ignore[arg-type]  # as in `_key`
            self._orders[name] = found
        elif stale:
            found = self._orders[name] = self._mended(found, name, stale)
            stale.clear()
        return found

    def _mended(self, order: array[int], name: str, stale: set[int]) -> array[int]:
        """Give *order* with what changed since at its place: all of it at once, when somebody asks."""
        key = self._key(name)
        stays = bytearray(b"\1" * len(self.lines))
        for slot in stale:
            stays[slot] = 0
        found = array("I", compress(order, map(stays.__getitem__, order)))
        news = [slot for slot in stale if self.lines[slot] is not None]
        if len(news) > len(found) >> 4:
            return array("I", sorted([*found, *news], key=key))
        for slot in news:
            found.insert(bisect_left(found, key(slot), key=key), slot)
        return found

    def drafted(self, name: str) -> Callable[[Callable[[], None]], array[int]] | None:
        """
        Begin to make the order *name* aside, for `keep`: give what makes it, of the lines as they are now,
        while others change and ask; it calls its argument now and then. None where there is that order.
        """
        if name in self._orders:
            return None
        lines, names, first = list(self.lines), self.order("name")[:], self._firsts[name]
        self._stale[name] = set()

        def make(rest: Callable[[], None]) -> array[int]:
            alike: dict[Any, list[int]] = {}
            for start in range(0, len(names), _AT_ONCE):
                for slot in names[start : start + _AT_ONCE]:
                    alike.setdefault(first(lines[slot]), []).append(slot)  # type: ignore[arg-type]  # as in `_key`
                rest()
            return array("I", chain.from_iterable(alike[key] for key in sorted(alike)))

        return make

    def keep(self, name: str, order: array[int]) -> None:
        """Take the order *name* that was made aside, unless somebody could not wait for it."""
        self._orders.setdefault(name, order)

    def page(self, mask: int, order: str, begin: int, count: int, *, is_down: bool = False) -> list[int]:
        """Give up to *count* slots of *mask* in one order, from the number *begin* on."""
        slots: Sequence[int] = self.order(order)
        if is_down:
            slots = slots[::-1]
        if mask == self.alive:
            return list(slots[begin : begin + count])
        flags = _flags_of(mask).ljust(len(self.lines), b"\0")
        wanted = compress(slots, map(flags.__getitem__, slots))
        return list(islice(wanted, begin, begin + count))
