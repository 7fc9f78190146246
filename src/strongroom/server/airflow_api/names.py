"""
The names of a list, remembered while a client goes from page to page.

Airflow's pages have an offset and a count of all, so each of them needs every name there is. They are read
once and kept for a few seconds, for one actor, and only as long as nothing was changed in the store and the
same policy decides.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from strongroom.model.ref import Kind
    from strongroom.policy import Actor, Policy
    from strongroom.server.endpoint import Call

    Key = tuple[str, Kind, Actor]

__all__ = ["KEPT_SECONDS", "NAMES", "Names"]

KEPT_SECONDS = 15.0  # what changes in a place that tells us nothing is seen that much later
_MAX_NAMES = 300_000  # of all lists together


class _Kept(NamedTuple):
    """The names of one list, and what must be as it was for them to count."""

    names: Sequence[str]
    sequence: int
    policy: Policy
    read_at: float


class Names:
    """
    The lists of one process.

    Threads: may be used from several at once.

    Args:
        timer: seconds that only go up.
        most: names in all of them together.
    """

    def __init__(self, *, timer: Callable[[], float] = time.monotonic, most: int = _MAX_NAMES) -> None:
        self._timer = timer
        self._most = most
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()

    def of(self, call: Call, kind: Kind, read: Callable[[], Iterable[str]]) -> Sequence[str]:
        """
        Give the names of a list in order: those that *read* gives, or that were remembered and still count.

        Raises:
            Whatever *read* raises; then nothing is remembered.
        """
        place = call.place
        place.feed.poll()  # a change of ours, or of another process, is seen in the very next list
        key = (call.deployment, kind, call.identity.actor)
        sequence, policy, now = place.feed.last, place.guard.current(), self._timer()
        with self._lock:
            kept = self._kept.get(key)
            if (
                kept is not None
                and kept.sequence == sequence
                and kept.policy is policy
                and now - kept.read_at < KEPT_SECONDS
            ):
                self._kept.move_to_end(key)
                return kept.names
        names = tuple(read())
        with self._lock:
            self._kept[key] = _Kept(names, sequence, policy, now)
            self._kept.move_to_end(key)
            self._forget(now)
        return names

    def _forget(self, now: float) -> None:
        for key in [key for key, one in self._kept.items() if now - one.read_at >= KEPT_SECONDS]:
            del self._kept[key]
        total = sum(len(one.names) for one in self._kept.values())
        while total > self._most and self._kept:
            _, oldest = self._kept.popitem(last=False)
            total -= len(oldest.names)


NAMES = Names()
