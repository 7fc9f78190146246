"""
What a cache holds: entries, absences, for how long each, and what goes where there is no room.

Not for asking, nor for what becomes of an answer (`cache.py`).

Rules of this file:

1. It asks nobody and takes no lock. Whoever changes what is held holds the lock of the cache; who reads takes
   none: tables map a key to a row, and reading a dict is atomic.
2. An entry is fresh for `ttl` (±10 %, so that a herd does not return together), for less where the
   backend says so, and never past its own `not_after` or `expires_at`.
3. Absences have a table of their own, so that a flood of unknown names cannot push out entries.
4. Everything is bounded. Where there is no room the oldest goes that was not used since it came.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from strongroom.model.explanation import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind, Ref

    Key = tuple[Kind, str, str | None]

__all__ = ["Held", "Holding", "Lifetimes", "Row", "boot_seconds", "draw", "is_same"]

# Seconds since boot. It goes on while the machine is suspended, where CLOCK_MONOTONIC stands still
# and would let an entry outlive its time by a night.
boot_seconds: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


def draw() -> float:
    """Give a random number from 0 to 1."""
    # Not the module `random`: it costs a cold process milliseconds, and forked children share its state.
    return int.from_bytes(os.urandom(4), "big") / 4_294_967_296  # 2 to the 32


_ENTRY_BYTES = 1024  # an Entry, its Ref, row and metadata without the text, rounded up


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """
    How long and how much a cache remembers.

    Args:
        ttl: how long an entry is fresh; zero asks every time.
        stale_if_error: how long after that it may be served while its backend is unavailable.
        absent_ttl: how long an absence is remembered.
        outage_pause: after an outage was met, how long a stale entry is served without asking again.
        max_entries: entries kept at most.
        max_bytes: their texts together, as they lie in memory, at most.
        max_absences: absences kept at most; each is a name of up to 250 characters.
    """

    ttl: timedelta = timedelta(seconds=300)
    stale_if_error: timedelta = timedelta(seconds=900)
    absent_ttl: timedelta = timedelta(seconds=10)
    outage_pause: timedelta = timedelta(seconds=5)
    max_entries: int = 10_000
    max_bytes: int = 67_108_864  # 64 MiB
    max_absences: int = 10_000


class Held(NamedTuple):
    """
    One entry that is remembered.

    Args:
        ref: under which it was asked for; of its team, where the global one answered.
        age: since it was asked for.
        is_fresh: False when it would only be served in an outage.
    """

    ref: Ref
    entry: Entry
    age: timedelta
    is_fresh: bool


class Row:
    """One remembered entry. In the table nothing of it changes but the count of its hits, and to its end."""

    __slots__ = (
        "asked_at",
        "bytes",
        "ends_at",
        "entry",
        "fresh_until",
        "hits",
        "is_asked",
        "keep_until",
        "older",
        "spared_at",
    )

    def __init__(
        self, entry: Entry, asked_at: float, fresh_until: float, keep_until: float, *, is_asked: bool = True
    ) -> None:
        self.entry = entry
        self.asked_at = asked_at
        self.fresh_until = fresh_until
        self.keep_until = keep_until
        dates = [date for date in (entry.metadata.not_after, entry.metadata.expires_at) if date is not None]
        self.ends_at = min(dates) if dates else None
        # The size alone leaves: a cache that counted characters could hold four times its bound.
        self.bytes = sys.getsizeof(entry.secret.reveal()) + _ENTRY_BYTES
        self.hits = 0
        self.is_asked = is_asked  # by a reader, not ahead of one
        self.older = 0.0  # seconds that a server had it before it was asked
        self.spared_at = 0  # hits at the time it was last spared from eviction


def _peeking(
    rows: dict[Key, Row], timer: Callable[[], float], clock: Callable[[], datetime]
) -> Callable[[Key], Entry | None]:
    # A closure, not a method: every warm read of a process ends here, and `self` would cost it a sixth.
    def peek(key: Key) -> Entry | None:
        try:
            row = rows[key]  # faster than `get` where it is held
        except KeyError:
            return None
        if row.fresh_until <= timer():
            return None
        # A jump of the wall clock must not carry an entry past its own date.
        if row.ends_at is not None and row.ends_at <= clock():
            return None
        row.hits += 1
        return row.entry

    return peek


class Holding:
    """
    Entries and absences, by key.

    Threads: read by any; changed by one at a time.

    Args:
        lifetimes: how long and how much.
        clock, timer, draw, stale_bound: as of `Cache`.

    Attributes:
        lifetimes: as given; may be changed.
        rows: entries that are held.
        absences: when each was asked for, and until when it counts.
        stale: entries that stand in, and until when without asking again.
        bytes: of all rows.
        hits: of rows that are gone.
        evictions: rows and absences pushed out by the bounds.
        revision: goes up whenever an entry comes, goes, or is confirmed.
        peek: as of `Cache`.
    """

    def __init__(
        self,
        lifetimes: Lifetimes,
        *,
        clock: Callable[[], datetime],
        timer: Callable[[], float],
        draw: Callable[[], float],
        stale_bound: Callable[[Ref, Entry], timedelta | None] | None,
    ) -> None:
        self.lifetimes = lifetimes
        self._clock = clock
        self._timer = timer
        self._draw = draw
        self._stale_bound = stale_bound
        self.rows: dict[Key, Row] = {}
        self.absences: dict[Key, tuple[float, float]] = {}
        self.stale: dict[Key, tuple[Entry, float]] = {}
        self.bytes = self.hits = self.evictions = self.revision = 0
        self.peek = _peeking(self.rows, timer, clock)

    # --- what is held ---

    def remembered(self, ref: Ref) -> Remembered | None:
        """Tell what is held for *ref*, fresh or not, for an explanation; counts as no hit."""
        now = self._timer()
        row = self.rows.get(ref)
        if row is not None:
            return Remembered(
                backend=row.entry.backend,
                version=row.entry.version,
                age=timedelta(seconds=now - row.asked_at + row.older),
                is_fresh=row.fresh_until > now and not self.is_past_its_date(row),
            )
        absence = self.absences.get(ref)
        if absence is None or absence[1] <= now:
            return None
        return Remembered(backend=None, version=None, age=timedelta(seconds=now - absence[0]), is_fresh=True)

    def times(self, key: Key) -> tuple[float, float] | None:
        """Tell how many seconds old what *key* gives is, those at a server included, and how long fresh."""
        row = self.rows.get(key)
        if row is None:
            return None
        now = self._timer()
        return now - row.asked_at + row.older, max(0.0, row.fresh_until - now)

    def entry(self, key: Key) -> Entry | None:
        """Give the entry held under *key*, fresh or not: to know it, not to give it out."""
        row = self.rows.get(key)
        return None if row is None else row.entry

    def glance(self, key: Key) -> Entry | None:
        """Give the fresh entry remembered under *key*, counting no hit."""
        row = self.rows.get(key)
        is_fresh = row is not None and row.fresh_until > self._timer() and not self.is_past_its_date(row)
        return row.entry if row is not None and is_fresh else None

    def may_stand_in(self, row: Row | None) -> bool:
        """Tell whether *row* may be served, if only in an outage."""
        return row is not None and row.keep_until > self._timer() and not self.is_past_its_date(row)

    def is_past_its_date(self, row: Row) -> bool:
        """Tell whether a date that the entry carries is over."""
        return row.ends_at is not None and row.ends_at <= self._clock()

    def is_wanted(self, row: Row) -> bool:
        """Tell whether it was read lately: during a lifetime that has not long ended."""
        is_recent = row.asked_at > self._timer() - 1.1 * self.lifetimes.ttl.total_seconds()
        return is_recent and (row.is_asked or row.hits > 0)

    def held(self) -> list[Held]:
        """Give what is remembered and may be served, if only in an outage; oldest questions first."""
        now = self._timer()
        found = [
            Held(
                cast("Ref", key),
                row.entry,
                timedelta(seconds=now - row.asked_at + row.older),
                row.fresh_until > now,
            )
            for key, row in list(self.rows.items())
            if self.may_stand_in(row)
        ]
        return sorted(found, key=lambda held: held.age, reverse=True)

    def ending(
        self, share: float, within: float, followed: Collection[Key] = ()
    ) -> list[tuple[Key, float, bool]]:
        """
        Give what was read during its lifetime, or is *followed*, and is fresh for a little while only; with
        the seconds that are left, and whether that is as long as a server takes it for fresh.

        Args:
            share: of its lifetime.
            within: seconds; the longer of both counts, but no more than half of the lifetime.
            followed: keys that count as read.
        """
        now = self._timer()
        latest = now + max(share * 1.1 * self.lifetimes.ttl.total_seconds(), within)
        found: list[tuple[Key, float, bool]] = []
        for key, row in list(self.rows.items()):
            # Ten thousand rows are looked through each time, and nearly all of them end here.
            if not now < row.fresh_until <= latest:
                continue
            left, span = row.fresh_until - now, row.fresh_until - row.asked_at
            if left <= min(max(share * span, within), span / 2) and (row.hits > 0 or key in followed):
                found.append((key, left, row.entry.fresh_for is not None))
        return found

    # --- changes ---

    def keep_entry(self, ref: Ref, entry: Entry, given: Entry, asked_at: float, *, is_asked: bool) -> None:
        """Remember *entry*; *given* says the same and what the backend says of it now."""
        fresh = self.lifetimes.ttl.total_seconds() * self._jitter()
        keep = fresh + self._stale_seconds(ref, entry)
        if given.fresh_for is not None:
            # A cache behind asks anew by then: this one must not be the older of the two.
            fresh = min(fresh, given.fresh_for.total_seconds())
        if entry.lifetime is not None:
            # What the backend lends for a time is not kept longer, in an outage neither.
            lifetime = entry.lifetime.total_seconds()
            fresh, keep = min(fresh, lifetime), min(keep, lifetime)
        row = Row(entry, asked_at, asked_at + fresh, asked_at + keep, is_asked=is_asked)
        row.older = self._older(given, asked_at)
        if keep > 0:
            self.put(ref, row)

    def _older(self, given: Entry, asked_at: float) -> float:
        """Give how many seconds a server had *given* before it was asked; that machine's clock may be off."""
        if given.fresh_for is None:
            return 0.0
        read_ago = (self._clock() - given.read_at).total_seconds()
        most = self.lifetimes.ttl.total_seconds() + self.lifetimes.stale_if_error.total_seconds()
        return min(max(0.0, read_ago - (self._timer() - asked_at)), most)

    def keep_stale(self, ref: Ref, entry: Entry, asked_at: float, before: Row | None) -> None:
        """
        Remember what an inner cache (a server's) bridges an outage with: its bound is the bound, and it is
        asked as seldom as a place that is out. What was held here itself is good for as long as it was.
        """
        pause = self._timer() + self.lifetimes.outage_pause.total_seconds()
        is_own = before is not None and before.entry.version == entry.version
        keep = max(pause, before.keep_until) if before is not None and is_own else pause
        row = Row(entry, asked_at, 0.0, keep)
        row.older = self._older(entry, asked_at)
        self.stale[ref] = (entry, pause)
        self.put(ref, row)

    def _stale_seconds(self, ref: Ref, entry: Entry) -> float:
        most = self.lifetimes.stale_if_error.total_seconds()
        bound = None if self._stale_bound is None else self._stale_bound(ref, entry)
        return most if bound is None else min(most, bound.total_seconds())

    def put(self, ref: Ref, row: Row) -> None:
        """Hold *row*, at most to the end of its entry, and make room for it."""
        if row.ends_at is not None:
            left = (row.ends_at - self._clock()).total_seconds()
            row.fresh_until = min(row.fresh_until, self._timer() + left)
            row.keep_until = min(row.keep_until, self._timer() + left)
        if row.bytes > self.lifetimes.max_bytes:
            return
        self.rows[ref] = row
        self.revision += 1
        self.bytes += row.bytes
        self._make_room()

    def keep_absence(self, ref: Ref, asked_at: float) -> None:
        """Remember that *ref* is nowhere."""
        ttl = self.lifetimes.absent_ttl.total_seconds() * self._jitter()
        if ttl <= 0 or self.lifetimes.max_absences <= 0:
            return
        self.absences[ref] = (asked_at, asked_at + ttl)
        if len(self.absences) > self.lifetimes.max_absences:
            del self.absences[next(iter(self.absences))]
            self.evictions += 1

    def _make_room(self) -> None:
        """
        Let go of what nobody may be given any more, then of the oldest: one that was used since it
        came, or since it was last spared, goes to the back of the queue instead.
        """
        now = self._timer()
        for key in [key for key, _ in zip(self.rows, range(2), strict=False)]:
            if self.rows[key].keep_until <= now:
                self.forget(key)
        chances = len(self.rows)  # bounded, because readers go on hitting while we look
        while len(self.rows) > self.lifetimes.max_entries or self.bytes > self.lifetimes.max_bytes:
            key = next(iter(self.rows))
            row = self.rows[key]
            if row.hits > row.spared_at and chances > 0:
                chances -= 1
                row.spared_at = row.hits
                self.rows[key] = self.rows.pop(key)
            else:
                self.forget(key)
                self.evictions += 1

    def _jitter(self) -> float:
        return 0.9 + 0.2 * self._draw()  # ±10 %

    def forget(self, key: Key) -> None:
        """Hold nothing of *key* any more."""
        row = self.rows.pop(key, None)
        if row is not None:
            self.revision += 1
            self.bytes -= row.bytes
            self.hits += row.hits
        self.absences.pop(key, None)
        self.stale.pop(key, None)

    def count_anew(self) -> None:
        """Count the bytes: a fork may have come in the middle of a change."""
        self.bytes = sum(row.bytes for row in list(self.rows.values()))


def is_same(entry: Entry, other: Entry) -> bool:
    """Tell whether both say the same, but for when they were read."""
    return (
        entry.version == other.version
        and entry.ref == other.ref
        and entry.backend == other.backend
        and entry.metadata == other.metadata
        and entry.lifetime == other.lifetime
        and entry.is_stale == other.is_stale
        and entry.secret == other.secret
    )
