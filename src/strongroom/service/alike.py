"""
Names that cannot be kept apart: two that one backend spells alike, or that look alike to people.

Not for what a backend spells (`Naming` and `Folding` in `backend/`).
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, cast

from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Mapping

    from strongroom.service.inventory import Row

__all__ = ["Alike"]


class Alike:
    """
    An index of names by how they are spelled. Threads: under a lock of its owner's.

    Args:
        spellings: for each backend that folds names, what it makes of one; None: it has no such name.
        names: every name there is.
    """

    def __init__(self, spellings: Mapping[str, Callable[[Ref], str | None]], names: Container[Ref]) -> None:
        self._spellings = spellings
        self._names = names
        self._refs: dict[int, tuple[Ref, ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._refs)

    def add(self, row: Row) -> None:
        """Take in the name of *row*."""
        for key in self._spelled(row):
            self._refs[key] = (*self._refs.get(key, ()), row.ref)

    def remove(self, row: Row) -> None:
        """Let go of the name of *row*."""
        for key in self._spelled(row):
            rest = tuple(ref for ref in self._refs.get(key, ()) if ref != row.ref)
            if rest:
                self._refs[key] = rest
            else:
                self._refs.pop(key, None)

    def partners(self, row: Row) -> set[Ref]:
        """Give the names that cannot be kept apart from that of *row*."""
        if not self._refs:
            return set()
        ref = row.ref
        found = {other for key in self._spelled(row) for other in self._refs.get(key, ())}
        if ref.name.isascii():
            found.update(self._refs.get(_looks(ref), ()))
        else:
            plain = (ref.kind, unicodedata.normalize("NFKC", ref.name), ref.team)
            if cast("Ref", plain) in self._names:
                found.add(Ref(*plain))
        found.discard(ref)
        return found

    def _spelled(self, row: Row) -> Iterator[int]:
        for name, spell in self._spellings.items():
            # A backend's own listing gives one name for each spelling; other backends' names tell the clash.
            if row.backend == name and set(row.shadowed) <= {name}:
                continue
            spelling = spell(row.ref)
            if spelling is not None:
                yield hash((row.ref.team, name, spelling))
        if not row.ref.name.isascii():
            yield _looks(row.ref)


def _looks(ref: Ref) -> int:
    return hash((ref.team, ref.kind, unicodedata.normalize("NFKC", ref.name), "looks"))
