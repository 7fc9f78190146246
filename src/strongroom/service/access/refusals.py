"""
Records of those who were refused: the first of a kind at once, the rest as a count.

A flood of wrong tokens or passwords leaves one record a minute for each source and reason, and not one for
each attempt, so that nothing else is crowded out of the log (AU06). Records are made by the watcher of the
registry, never on the way of a request that is let in.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from strongroom.audit import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.service.guard import Recorder

__all__ = ["NOBODY", "Refusals"]

NOBODY = "nobody"
"""Who it would have been, where that is not known."""

WINDOW = timedelta(seconds=60)
_MOST_KINDS = 1_000  # told apart in one window; what is more is counted together
_REST = "many sources"


class _Kind(NamedTuple):
    actor: str
    source: str
    reason: str


class Refusals:
    """
    Gather refusals until they are recorded.

    Threads: safe.
    """

    def __init__(self, recorder: Recorder, clock: Callable[[], datetime]) -> None:
        self._recorder = recorder
        self._clock = clock
        self._lock = Lock()
        self._counts: Counter[_Kind] = Counter()
        self._told: dict[_Kind, datetime] = {}

    def add(self, actor: str, source: str, reason: str) -> None:
        """
        Gather one.

        Args:
            actor: who it would have been, where that is known; never what was typed.
            source: where it came from.
            reason: of ours; nothing that was typed.
        """
        kind = _Kind(actor, source, reason)
        with self._lock:
            if kind not in self._counts and len(self._counts) >= _MOST_KINDS:
                kind = _Kind(NOBODY, _REST, reason)
            self._counts[kind] += 1

    def record(self, *, is_last: bool = False) -> None:
        """
        Record what is due: kinds that were not recorded within the last minute.

        Args:
            is_last: record everything, as when the process ends.

        Raises:
            NotRecordedError: it cannot be written; it is tried again with the next call.
        """
        now = self._clock()
        with self._lock:
            self._told = {kind: at for kind, at in self._told.items() if now - at < WINDOW}
            due = {kind: count for kind, count in self._counts.items() if is_last or kind not in self._told}
            for kind in due:
                del self._counts[kind]
                self._told[kind] = now
        if due:
            try:
                self._recorder.append(*(_event(kind, count) for kind, count in due.items()))
            except BaseException:
                with self._lock:
                    self._counts.update(due)
                    for kind in due:
                        self._told.pop(kind, None)
                raise


def _event(kind: _Kind, count: int) -> Event:
    times = f", {count} times" if count > 1 else ""
    source = f", from {kind.source}" if kind.source else ""
    return Event(
        actor=kind.actor,
        assurance=0,
        action="login",
        outcome="denied",
        reason=f"{kind.reason}{source}{times}",
        source=kind.source or None,
        count=count if count > 1 else None,
    )
