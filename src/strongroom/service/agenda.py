"""What is to be done, and when: one line for each name, so that a flood of notices is little work."""

from __future__ import annotations

import heapq
import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.ref import Ref

__all__ = ["Agenda", "Due"]


class Due(NamedTuple):
    """What is to be done now: look at *ref*, or else *work*."""

    ref: Ref | None
    work: Callable[[], None] | None


class Agenda:
    """
    Lines in the order of their time.

    Threads: any may put; one takes.

    Args:
        timer: seconds that only go up.
    """

    def __init__(self, timer: Callable[[], float]) -> None:
        self._timer = timer
        self._heap: list[tuple[float, int, Due]] = []
        self._at: dict[Ref, float] = {}
        self._count = 0
        self._is_closed = False
        self._changed = threading.Condition()

    def put(self, ref: Ref, at: float) -> None:
        """Look at *ref* at that time; where that is to be done earlier, it stays at that."""
        with self._changed:
            if self._is_closed or self._at.get(ref, at + 1) <= at:
                return
            self._at[ref] = at
            self._push(at, Due(ref, None))

    def drop(self, ref: Ref) -> None:
        """Do not look at *ref*; where it is global, not at any team's of its name either."""
        with self._changed:
            for each in [one for one in self._at if one == ref or (ref.team is None and one[:2] == ref[:2])]:
                del self._at[each]

    def put_work(self, work: Callable[[], None], at: float) -> None:
        """Do *work* at that time. After the end it is done at once."""
        with self._changed:
            if not self._is_closed:
                self._push(at, Due(None, work))
                return
        work()

    def _push(self, at: float, due: Due) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, due))
        if self._heap[0][1] == self._count:
            self._changed.notify()

    def take(self, until: float) -> list[Due] | None:
        """Wait until something is due, or until *until*; give what is due, None where all has ended."""
        with self._changed:
            while not self._is_closed:
                now = self._timer()
                if due := self._due(now):
                    return due
                if now >= until:
                    return []
                first = self._heap[0][0] if self._heap else until
                self._changed.wait(max(0.0, min(first, until) - now))
            return None

    def _due(self, now: float) -> list[Due]:
        found: list[Due] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, due = heapq.heappop(self._heap)
            if due.ref is None:
                found.append(due)
            elif self._at.get(due.ref) == at:  # else it was put for an earlier time since, and done
                del self._at[due.ref]
                found.append(due)
        return found

    def close(self) -> list[Callable[[], None]]:
        """End the waiting, and give the work that is left undone."""
        with self._changed:
            self._is_closed = True
            left = [due.work for _, _, due in sorted(self._heap, key=lambda line: line[:2]) if due.work]
            self._heap.clear()
            self._changed.notify_all()
            return left
