"""
What a store names, for stores that list without order: asked for whole, and given in order a page at a time.

Not for the store's questions (`fetch` brings them) or for what a name may be (`Naming`).

Rules of this file:

1. A listing is asked for once: who comes while it is under way waits for the same answer.
2. It serves for 10 s, so that pages fit together; a first page that is asked for later asks anew.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left, bisect_right
from itertools import islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

from strongroom.bulkhead import Flight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.model.ref import Kind

__all__ = ["NameIndex", "NameIndexes"]


class _Side(NamedTuple):
    """What one process has: by name, so that nothing is shared over a fork."""

    names: list[str]
    until: float
    age: object  # between two changes


class NameIndex:
    """
    Names in the order of their code points, kept for a while.

    Args:
        fetch: gives every name, in any order, repeats allowed; its errors are whoever asked's.
        seconds: how long an answer serves.
        timer: seconds that only go up.

    Threads: may be used from several threads at once, and after a fork.
    Consistency: a name that came or went in the last *seconds* may be missing or still be there, unless
        `forget` was called since.
    """

    def __init__(
        self,
        fetch: Callable[[], Iterable[str]],
        *,
        seconds: float = 10.0,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._timer = timer
        self._kept: _Side | None = None
        self._age = object()
        # By process id: a child must not wait for a listing that only its parent's thread would end.
        self._flights: dict[int, Flight[list[str]]] = {}

    def names(self, *, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
        """
        Give up to *limit* names that begin with *prefix* and are greater than *after*, in order.

        Raises:
            Whatever *fetch* raises.
        """
        every = self._every()
        start = max(bisect_left(every, prefix), bisect_right(every, after) if after else 0)
        wanted = takewhile(lambda name: name.startswith(prefix), islice(every, start, None))
        return list(islice(wanted, limit))

    def forget(self) -> None:
        """Ask anew for the next page: something was written or deleted here."""
        self._kept = None
        self._flights.pop(os.getpid(), None)
        self._age = object()  # last, so that whoever takes it asks after the change

    def _every(self) -> list[str]:
        kept, age = self._kept, self._age
        if kept is not None and kept.age is age and self._timer() < kept.until:
            return kept.names
        mine: Flight[list[str]] = Flight()
        # `setdefault` is atomic: of those who come together, one asks.
        flight = self._flights.setdefault(os.getpid(), mine)
        if flight is not mine:
            flight.wait()
            return flight.shared_answer()
        try:
            flight.run(lambda: sorted(set(self._fetch())))
            if flight.error is None and self._flights.get(os.getpid()) is flight:
                self._kept = _Side(flight.answer(), self._timer() + self._seconds, age)
        finally:
            if self._flights.get(os.getpid()) is flight:
                self._flights.pop(os.getpid(), None)
        return flight.answer()


class NameIndexes:
    """
    The indexes of one backend, each made when it is first asked for: one a kind and team.

    Args:
        fetch: gives every name of a kind and team; as of `NameIndex`.

    Threads, Consistency: as `NameIndex`.
    """

    def __init__(self, fetch: Callable[[Kind, str | None], Iterable[str]]) -> None:
        self._fetch = fetch
        self._indexes: dict[tuple[Kind, str | None], NameIndex] = {}

    def names(
        self, kind: Kind, team: str | None = None, *, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[str]:
        """Give a page of what is named of this *kind* and *team*; as `NameIndex.names`."""
        index = self._indexes.get((kind, team))
        if index is None:
            index = self._indexes.setdefault((kind, team), NameIndex(lambda: self._fetch(kind, team)))
        return index.names(prefix=prefix, after=after, limit=limit)

    def forget(self) -> None:
        """Ask anew for all of them; as `NameIndex.forget`."""
        for index in tuple(self._indexes.values()):
            index.forget()
