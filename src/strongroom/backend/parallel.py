"""
The same question about several things at once, on threads that live no longer than the answer.

Nothing is kept between calls, so there is nothing to close and nothing that a fork could break.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Generic, TypeVar

from strongroom.bulkhead import seconds_left, within

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["together"]

K = TypeVar("K")
V = TypeVar("V")

_SHARE = 0.95  # of the caller's time: the rest is for handing over what was answered within it


def together(
    work: Callable[[K], V], items: Sequence[K], *, threads: int, late: Callable[[], V], place: str
) -> dict[K, V]:
    """
    Do *work* for each of *items*, on *threads* of them at once, within the time the caller has.

    Args:
        work: must not raise; it finds the caller's deadline in `seconds_left`.
        items: without repeats.
        threads: at most; fewer for fewer items.
        late: gives what stands for an item that was not done in time.
        place: whose work it is, for the names of the threads.
    """
    left = seconds_left()
    if left is None:
        return _Crew(work, items, None, late).run(threads, place)
    with within(left * _SHARE):
        return _Crew(work, items, time.monotonic() + left * _SHARE, late).run(threads, place)


class _Crew(Generic[K, V]):
    """One call: what is still to be done, and what is done."""

    def __init__(
        self, work: Callable[[K], V], items: Sequence[K], ends_at: float | None, late: Callable[[], V]
    ) -> None:
        self._work = work
        self._items = items
        self._line = deque(items)
        self._ends_at = ends_at
        self._late = late
        self._done: dict[K, V] = {}

    def run(self, threads: int, place: str) -> dict[K, V]:
        crew = [
            threading.Thread(
                target=copy_context().run, args=(self._do,), name=f"strongroom {place} together", daemon=True
            )
            for _ in range(min(threads, len(self._items)))
        ]
        begun = [thread for thread in crew if self._began(thread)]
        if not begun:
            self._do()
        for thread in begun:
            thread.join(None if self._ends_at is None else max(self._ends_at - time.monotonic(), 0.0))
        self._line.clear()  # whoever is late begins nothing more
        done = self._done.copy()
        return {item: done[item] if item in done else self._late() for item in self._items}

    def _began(self, thread: threading.Thread) -> bool:
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads: those there are do it all
            return False
        return True

    def _do(self) -> None:
        while self._ends_at is None or time.monotonic() < self._ends_at:
            try:
                item = self._line.popleft()
            except IndexError:
                return
            self._done[item] = self._work(item)
