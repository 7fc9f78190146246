"""
Reads a minute over the last 24 hours, as the process that serves them counted them.

Not for figures that a monitoring keeps (`server/metrics.py`): here is what a person looks at, without one.

Rules of this file:

1. Nothing is counted here. What is counted anyway is looked at once a minute, and what it grew by is kept.
2. It is told since when. A minute in which nobody looked (the process stood still, or was not there) is
   missing, and no zero.
3. What the kept minutes cost is bounded: five numbers a minute, for 24 hours.
"""

from __future__ import annotations

import threading
from collections import deque
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import InvalidInputError, SettingsError
from strongroom.policy import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.cache import Cache
    from strongroom.policy import Actor
    from strongroom.service.guard import Guard

__all__ = ["MINUTES", "Minute", "Ring", "Series", "Span", "Ticker"]

MINUTES = 1440
"""How many are kept: 24 hours."""

_MINUTE = timedelta(minutes=1)
_MINUTE_SECONDS = 60


class Minute(NamedTuple):
    """
    What was read in one minute.

    Args:
        at: its beginning, UTC.
        cache: answers out of memory, absences that are remembered too.
        backend: answers that a backend was asked for, whatever it said.
        stale: older answers that stood in for a backend that gave none.
        refused: reads that policy refused.
    """

    at: datetime
    cache: int = 0
    backend: int = 0
    stale: int = 0
    refused: int = 0

    @property
    def answered(self) -> int:
        """All answers; refusals are none."""
        return self.cache + self.backend + self.stale


class Span(NamedTuple):
    """
    What was read in a span of time.

    Args:
        since: when counting began, or the oldest of `minutes` where that is later.
        until: when this was looked at.
        minutes: in order; the last one may still go on. One in which nobody looked is missing.
    """

    since: datetime
    until: datetime
    minutes: tuple[Minute, ...]

    @property
    def total(self) -> Minute:
        """All of them together."""
        return Minute(self.since, *_sums(self.minutes))

    def every(self, minutes: int) -> tuple[Minute, ...]:
        """Add up as many *minutes* as follow one another, each beginning at a whole multiple of them."""
        seconds = minutes * _MINUTE_SECONDS
        groups: dict[float, list[Minute]] = {}
        for minute in self.minutes:
            start = minute.at.timestamp() // seconds * seconds
            groups.setdefault(start, []).append(minute)
        return tuple(
            Minute(datetime.fromtimestamp(start, timezone.utc), *_sums(found))
            for start, found in groups.items()
        )

    @property
    def hit_rate(self) -> float | None:
        """Which part of the answers came out of memory, from 0 to 1; None where nothing was answered."""
        total = self.total
        return total.cache / total.answered if total.answered else None


class Ring:
    """
    The minutes of one deployment, since it was opened in this process.

    Args:
        cache: of the deployment; what it counts is looked at.
        now: when counting begins, UTC.

    Attributes:
        refused: tells how many reads policy has refused since the process began; whoever counts them sets it.

    Threads: may be used from several threads at once.
    """

    def __init__(self, cache: Cache, now: datetime) -> None:
        self._cache = cache
        self._lock = threading.Lock()
        self._began = now.astimezone(timezone.utc)
        self._kept: deque[Minute] = deque(maxlen=MINUTES)
        self._minute = _minute_of(now)
        self._refused: Callable[[], int] = lambda: 0
        self._last = self._look()

    def count_refusals(self, refused: Callable[[], int]) -> None:
        """Take how many reads were refused from *refused* from now on; it only grows."""
        with self._lock:
            self._refused = refused
            self._last = (*self._last[:3], refused())

    def tick(self, now: datetime) -> None:
        """Keep the minute that has ended by *now*; nothing where none has."""
        with self._lock:
            minute = _minute_of(now)
            if minute == self._minute:
                return
            counts = self._look()
            # A clock that was set back must not tell of a minute twice.
            if not self._kept or self._minute > self._kept[-1].at:
                self._kept.append(Minute(self._minute, *_grown(self._last, counts)))
            self._minute, self._last = minute, counts

    def span(self, now: datetime, minutes: int = MINUTES) -> Span:
        """Give the last *minutes*, the one that goes on included."""
        self.tick(now)
        with self._lock:
            running = Minute(self._minute, *_grown(self._last, self._look()))
            edge = running.at - (minutes - 1) * _MINUTE
            found = tuple(minute for minute in self._kept if edge <= minute.at < running.at)
        return Span(max(self._began, edge), now, (*found, running))

    def _look(self) -> tuple[int, int, int, int]:
        counted = self._cache.statistics()
        return counted.hits, counted.asked, counted.stale, self._refused()


def _sums(minutes: Sequence[Minute]) -> list[int]:
    return [sum(column) for column in zip(*(minute[1:] for minute in minutes), strict=True)]


def _grown(last: tuple[int, ...], now: tuple[int, ...]) -> tuple[int, ...]:
    # A thread that counts while somebody looks may make a figure a few short for a moment.
    return tuple(max(0, after - before) for before, after in zip(last, now, strict=True))


def _minute_of(now: datetime) -> datetime:
    return now.astimezone(timezone.utc).replace(second=0, microsecond=0)


class Series:
    """
    Look at reads over time as one actor.

    Args:
        ring: of the deployment; None where no server keeps one.
        clock: wall clock, UTC.
    """

    def __init__(
        self, ring: Ring | None, guard: Guard, actor: Actor, *, clock: Callable[[], datetime]
    ) -> None:
        self._ring = ring
        self._guard = guard
        self._actor = actor
        self._clock = clock

    def span(self, minutes: int = MINUTES) -> Span:
        """
        Give the last *minutes*, as far as they were counted.

        Raises:
            AccessDeniedError: the actor may not describe the room.
            InvalidInputError: *minutes* is not from 1 to 1440.
            SettingsError: there is no server here, so nothing is counted.
        """
        if not 1 <= minutes <= MINUTES:
            raise InvalidInputError(f"minutes are from 1 to {MINUTES}", limit=MINUTES)
        ring = self._ring
        if ring is None:
            raise SettingsError(
                "no server serves this room here, so no reads are counted",
                hint="strongroom --profile NAME series",
            )
        return self._guard.act(self._actor, Action.DESCRIBE, None, lambda: ring.span(self._clock(), minutes))


class Ticker:
    """
    Have rings keep each minute as it ends; on a thread of its own, a daemon.

    Args:
        clock: wall clock, UTC.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._rings: tuple[Ring, ...] = ()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, ring: Ring) -> None:
        """Look after *ring* too."""
        self._rings = (*self._rings, ring)

    def remove(self, ring: Ring) -> None:
        """Look after *ring* no more."""
        self._rings = tuple(one for one in self._rings if one is not ring)

    def start(self) -> None:
        """Begin to look. Safe to call twice."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="strongroom-series", daemon=True)
            self._thread.start()

    def _look(self) -> None:
        # Right after each minute's end: what it grew by until then is that minute's.
        while not self._ended.wait(_MINUTE_SECONDS - self._clock().timestamp() % _MINUTE_SECONDS):
            for ring in self._rings:
                ring.tick(self._clock())

    def close(self) -> None:
        """Look no more. Safe to call twice."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
