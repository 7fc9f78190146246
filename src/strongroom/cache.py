"""
Remember answers: for how long, what may stand in during an outage, and one question at a time.

Not for deciding or recording: whoever must see every fill stands between cache and chain.

Rules of this file:

1. An entry is fresh for `ttl` (±10 %, so that a herd does not return together), for less where the
   backend says so, and never past its own `not_after` or `expires_at`.
2. One question per Ref is under way at a time; whoever else wants it waits for that one.
3. An absence is remembered for `absent_ttl` in a table of its own, so that a flood of unknown
   names cannot push out entries.
4. A stale entry is served only after *unavailable*, inside `stale_if_error`, and is marked. After
   any other answer (absent, denied, invalid …) what was remembered is forgotten.
5. Own writes are seen at once: `drop` forgets, and a question that was under way at that moment
   answers those who wait but is not remembered.
6. The hit path takes no lock: tables map a key to an immutable row, and reading a dict is atomic.
7. Where changes may have been missed, what is held is asked for anew before it is given out, but kept for
   an outage (`expire`). An answer equal to the one held leaves that very object in its place.

Source: docs/design.md, "Looking something up", rules 1, 4, 8 and 9; RFC 5861 §4 (stale-if-error).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from strongroom.backend import Backend, Batched
from strongroom.bulkhead import Flight
from strongroom.errors import BackendUnavailableError, RateLimitedError, StrongroomError
from strongroom.model.explanation import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from strongroom.backend import Writable
    from strongroom.model.entry import Draft, Entry
    from strongroom.model.ref import Kind, Ref

    Key = tuple[Kind, str, str | None]

__all__ = ["UNKNOWN", "Cache", "Held", "Lifetimes", "Statistics", "boot_seconds", "draw"]

# Seconds since boot. It goes on while the machine is suspended, where CLOCK_MONOTONIC stands still
# and would let an entry outlive its time by a night.
boot_seconds: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


def _nobody(_ref: Ref, _entry: Entry | None) -> None:
    """Tell nobody what is remembered."""


def draw() -> float:
    """Give a random number from 0 to 1."""
    # Not the module `random`: it costs a cold process milliseconds, and forked children share its state.
    return int.from_bytes(os.urandom(4), "big") / 4_294_967_296  # 2 to the 32


_ENTRY_BYTES = 1024  # an Entry, its Ref, row and metadata without the text, rounded up


class _Unknown:
    """Says that nothing is remembered; None says that the absence is."""


UNKNOWN: Final = _Unknown()


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """
    What a cache did since it was made. Hits may be a few short where threads count at once.

    Args:
        hits: fresh entries and remembered absences given out.
        misses: questions to the inner backend.
        stale: stale entries given out.
        evictions: entries and absences pushed out by the bounds.
        entries: entries held now.
        bytes: their size now, as counted against the bound.
        absences: absences held now.
    """

    hits: int
    misses: int
    stale: int
    evictions: int
    entries: int
    bytes: int
    absences: int


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


class _Row:
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
    rows: dict[Key, _Row], timer: Callable[[], float], clock: Callable[[], datetime]
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


class _Desk:
    """What belongs to one process: the lock for changes and the flights under way."""

    __slots__ = ("flights", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.flights: dict[Ref, Flight[Entry | None]] = {}


class Cache(Backend):
    """
    Remember what *inner* answers.

    Args:
        inner: the chain, or what guards it.
        lifetimes: how long and how much.
        clock: wall clock, UTC; only for dates that entries carry.
        timer: seconds that only go up, in suspend too: `boot_seconds`.
        draw: gives a random number from 0 to 1, for the jitter.
        patience: how long to wait for a question that somebody else has under way.
        stale_bound: gives how long past its time an entry may be served in an outage, where that is less
            than `stale_if_error`; None for no such bound.

    Attributes:
        lifetimes: how long and how much, now.
        revision: goes up whenever an entry comes, goes, or is confirmed.
        on_kept: called with what was remembered for a Ref, None for an absence, by the thread that asked;
            it must not block.
        peek: gives the fresh entry remembered under a key, a Ref or the plain tuple (kind, name,
            team). Takes no lock and asks nobody; None means nothing fresh is held, not that there
            is nothing.

    Threads: may be used from several threads at once. After a fork the child keeps what was
        remembered and starts with no question under way.
    Consistency: own changes are seen at once if they go through `writing` or call `drop`; changes
        behind our back within `ttl`.
    """

    def __init__(  # noqa: PLR0913 -- what comes from outside
        self,
        inner: Backend,
        lifetimes: Lifetimes | None = None,
        *,
        clock: Callable[[], datetime],
        timer: Callable[[], float] = boot_seconds,
        draw: Callable[[], float] = draw,
        patience: timedelta = timedelta(seconds=15),
        stale_bound: Callable[[Ref, Entry], timedelta | None] | None = None,
    ) -> None:
        self.name = inner.name
        self.is_local = inner.is_local
        self._inner = inner
        self.lifetimes = lifetimes or Lifetimes()
        self._stale_bound = stale_bound
        self.on_kept: Callable[[Ref, Entry | None], None] = _nobody
        self._clock = clock
        self._timer = timer
        self._draw = draw
        self._patience = patience.total_seconds()
        self._rows: dict[Key, _Row] = {}
        self._absences: dict[Key, tuple[float, float]] = {}  # asked at, fresh until
        self._stale: dict[Key, tuple[Entry, float]] = {}  # served without asking again until
        self._desks: dict[int, _Desk] = {}
        self._bytes = 0
        self.revision = 0
        self._hits = self._misses = self._stale_served = self._evictions = 0
        self.peek = _peeking(self._rows, timer, clock)

    # --- hits ---

    def recall(self, key: Key) -> Entry | _Unknown | None:
        """
        Give what may be answered without asking: a fresh entry, None for a remembered absence, a
        stale entry while an outage is paused; else `UNKNOWN`.
        """
        entry = self.peek(key)
        if entry is not None:
            return entry
        absence = self._absences.get(key)
        if absence is not None and absence[1] > self._timer():
            self._hits += 1
            return None
        stale = self._stale.get(key)
        if stale is not None and stale[1] > self._timer() and self._may_stand_in(self._rows.get(key)):
            self._stale_served += 1
            return stale[0]
        return UNKNOWN

    def remembered(self, ref: Ref) -> Remembered | None:
        """Tell what is held for *ref*, fresh or not, for an explanation; counts as no hit."""
        now = self._timer()
        row = self._rows.get(ref)
        if row is not None:
            return Remembered(
                backend=row.entry.backend,
                version=row.entry.version,
                age=timedelta(seconds=now - row.asked_at + row.older),
                is_fresh=row.fresh_until > now and not self._is_past_its_date(row),
            )
        absence = self._absences.get(ref)
        if absence is None or absence[1] <= now:
            return None
        return Remembered(backend=None, version=None, age=timedelta(seconds=now - absence[0]), is_fresh=True)

    def times(self, key: Key) -> tuple[float, float] | None:
        """Tell how many seconds old what *key* gives is, those at a server included, and how long fresh."""
        row = self._rows.get(key)
        if row is None:
            return None
        now = self._timer()
        return now - row.asked_at + row.older, max(0.0, row.fresh_until - now)

    def entry(self, key: Key) -> Entry | None:
        """Give the entry held under *key*, fresh or not: to know it, not to give it out."""
        row = self._rows.get(key)
        return None if row is None else row.entry

    def glance(self, key: Key) -> Entry | None:
        """Give the fresh entry remembered under *key*, counting no hit."""
        row = self._rows.get(key)
        is_fresh = row is not None and row.fresh_until > self._timer() and not self._is_past_its_date(row)
        return row.entry if row is not None and is_fresh else None

    # --- misses ---

    def read(self, ref: Ref) -> Entry | None:
        """
        Give the entry of *ref* from memory, or ask; None when it is nowhere.

        Raises:
            BackendUnavailableError: no answer now, and nothing remembered may stand in.
            As the inner backend's `read`.
        """
        answer = self.recall(ref)
        if not isinstance(answer, _Unknown):
            return answer
        return self._through(ref)

    def refresh(self, ref: Ref) -> Entry | None:
        """Ask anew, whatever is remembered, and remember the answer. Raises as `read`."""
        return self._through(ref, anew=True)

    def renew(self, ref: Ref) -> Entry | None:
        """
        Ask anew ahead of readers: as `refresh`, but what comes of it counts as read only when it is.

        Raises:
            As `read`.
        """
        flight, is_mine = self.board(ref, anew=True)
        if is_mine:
            flight.run(lambda: self._ask(ref, flight, is_asked=False))
            return flight.answer()
        if not flight.wait(self._patience):
            raise self._no_patience(ref)
        return flight.shared_answer()

    def _through(self, ref: Ref, *, anew: bool = False) -> Entry | None:
        while True:
            flight, is_mine = self.board(ref, anew=anew)
            if is_mine:
                self.fly(ref, flight)
                return flight.answer()
            if not flight.wait(self._patience):
                # A thread may have died between boarding and flying.
                self.abandon(ref, flight)
                raise self._no_patience(ref)
            # Ctrl-C in the thread that asked is not an answer: somebody else asks again.
            if flight.error is None or isinstance(flight.error, Exception):
                return flight.shared_answer()

    def board(self, ref: Ref, *, anew: bool = False) -> tuple[Flight[Entry | None], bool]:
        """
        Give the flight of *ref*, landed where the answer is remembered, and whether it is the
        caller's to `fly`. Exactly one caller is told True; he must call `fly` or `cancel`.

        Args:
            ref: what to look up.
            anew: do not answer from memory.
        """
        desk = self._desk()
        with desk.lock:
            under_way = desk.flights.get(ref)
            if under_way is not None:
                return under_way, False
            flight: Flight[Entry | None] = Flight()
            # Between a miss and this lock somebody may have brought the answer.
            answer = UNKNOWN if anew else self.recall(ref)
            if not isinstance(answer, _Unknown):
                flight.land(answer)
                return flight, False
            desk.flights[ref] = flight
            return flight, True

    def fly(self, ref: Ref, flight: Flight[Entry | None]) -> None:
        """Ask the inner backend on this thread, remember the answer, and land *flight* with it."""
        flight.run(lambda: self._ask(ref, flight))

    def cancel(self, ref: Ref, flight: Flight[Entry | None], error: BaseException) -> None:
        """End *flight* with *error* without having asked."""
        self._leave(ref, flight)
        flight.land(error=error)

    def abandon(self, ref: Ref, flight: Flight[Entry | None]) -> None:
        """Let the next one ask anew. Who waits for *flight* goes on waiting; its answer is not remembered."""
        self._leave(ref, flight)

    # --- many at once ---

    @property
    def is_batched(self) -> bool:
        """Whether many misses at once are asked faster than one by one."""
        return isinstance(self._inner, Batched) and self._inner.is_batched

    def read_many(self, refs: Sequence[Ref], *, anew: bool = False) -> list[Entry | StrongroomError | None]:
        """Give for each of *refs*, in order, what `read` (*anew*: `refresh`) would give, or raise."""
        mine, flights = self._board_many(refs, anew=anew)
        self._fly_many(mine)
        return [
            self._landed(ref, flight, is_mine=ref in mine) for ref, flight in zip(refs, flights, strict=True)
        ]

    def renew_many(self, refs: Sequence[Ref]) -> list[Entry | StrongroomError | None]:
        """Do what `renew` does for each of *refs*, and give what it would give or raise."""
        mine, flights = self._board_many(refs, anew=True)
        self._fly_many(mine, is_asked=False)
        return [
            self._landed(ref, flight, is_mine=ref in mine) for ref, flight in zip(refs, flights, strict=True)
        ]

    def _board_many(
        self, refs: Sequence[Ref], *, anew: bool
    ) -> tuple[dict[Ref, Flight[Entry | None]], list[Flight[Entry | None]]]:
        mine: dict[Ref, Flight[Entry | None]] = {}
        flights: list[Flight[Entry | None]] = []
        for ref in refs:
            flight, is_mine = self.board(ref, anew=anew)
            flights.append(flight)
            if is_mine:
                mine[ref] = flight
        return mine, flights

    def _fly_many(self, mine: dict[Ref, Flight[Entry | None]], *, is_asked: bool = True) -> None:
        """Ask for all of *mine* in one go, and land each with what came of it."""
        inner, refs = self._inner, list(mine)
        if not refs:
            return
        asked_at = self._timer()
        given: Sequence[Entry | StrongroomError | None] = ()
        try:
            if isinstance(inner, Batched) and inner.is_batched:
                given = inner.read_many(refs)
        except StrongroomError as error:
            given = [copy(error) for _ in refs]
        except BaseException as error:
            for ref, flight in mine.items():
                self.cancel(ref, flight, error)
            raise
        for index, (ref, flight) in enumerate(mine.items()):
            answer = partial(_given, given[index], asked_at) if given else None
            flight.run(partial(self._ask, ref, flight, is_asked=is_asked, answer=answer))

    def _landed(
        self, ref: Ref, flight: Flight[Entry | None], *, is_mine: bool
    ) -> Entry | StrongroomError | None:
        try:
            if is_mine:
                return flight.answer()
            return self._shared(ref, flight)
        except StrongroomError as error:
            return error

    def _shared(self, ref: Ref, flight: Flight[Entry | None]) -> Entry | None:
        if not flight.wait(self._patience):
            self.abandon(ref, flight)
            raise self._no_patience(ref)
        if flight.error is None or isinstance(flight.error, Exception):
            return flight.shared_answer()
        return self._through(ref)

    def _ask(
        self,
        ref: Ref,
        flight: Flight[Entry | None],
        *,
        is_asked: bool = True,
        answer: Callable[[], tuple[Entry | None, float]] | None = None,
    ) -> Entry | None:
        """Ask, or take *answer*, given together with others and when they were asked for; and remember it."""
        # Before the question: an answer is at least as old as its question.
        asked_at = self._timer()
        self._misses += 1
        try:
            if answer is None:
                entry = self._inner.read(ref)
            else:
                entry, asked_at = answer()
        except (BackendUnavailableError, RateLimitedError) as error:
            return self._stand_in(ref, flight, error, is_asked=is_asked)
        except StrongroomError:
            self._leave(ref, flight, forget=True)
            raise
        except BaseException:
            self._leave(ref, flight)
            raise
        entry, is_kept = self._keep(ref, flight, entry, asked_at, is_asked=is_asked)
        if is_kept:
            self.on_kept(ref, entry)
        return entry

    def _stand_in(
        self, ref: Ref, flight: Flight[Entry | None], error: StrongroomError, *, is_asked: bool
    ) -> Entry:
        """Give the last good entry in an outage, or raise *error*."""
        desk = self._desk()
        with desk.lock:
            row = self._rows.get(ref)
            is_current = self._is_under_way(desk, ref, flight)
            if error.is_final or row is None or not is_current or not self._may_stand_in(row):
                self._pop_flight(desk, ref, flight)
                raise error
            stale = replace(row.entry, is_stale=True)
            self._stale[ref] = (stale, self._timer() + self.lifetimes.outage_pause.total_seconds())
            self._pop_flight(desk, ref, flight)
        self._stale_served += is_asked
        return stale

    def _may_stand_in(self, row: _Row | None) -> bool:
        return row is not None and row.keep_until > self._timer() and not self._is_past_its_date(row)

    def _is_past_its_date(self, row: _Row) -> bool:
        return row.ends_at is not None and row.ends_at <= self._clock()

    # --- the tables; every change is made under the desk's lock ---

    def _keep(
        self,
        ref: Ref,
        flight: Flight[Entry | None],
        entry: Entry | None,
        asked_at: float,
        *,
        is_asked: bool,
    ) -> tuple[Entry | None, bool]:
        """Remember an answer; give it, as the object that is remembered, and whether it was its turn."""
        desk = self._desk()
        with desk.lock:
            # A flight that was dropped meanwhile may carry what stood before the write.
            is_current = self._is_under_way(desk, ref, flight)
            if is_current:
                before = self._rows.get(ref)
                given = entry
                if entry is not None and before is not None and _is_same(before.entry, entry):
                    entry = before.entry  # whoever has something at hand that belongs to it may go on
                self._forget(ref)
                if entry is None or given is None:
                    self._keep_absence(ref, asked_at)
                elif entry.is_stale:
                    self._keep_stale(ref, entry, asked_at, before)
                else:
                    self._keep_entry(ref, entry, given, asked_at, is_asked=is_asked)
            self._pop_flight(desk, ref, flight)
        return entry, is_current

    def _keep_entry(self, ref: Ref, entry: Entry, given: Entry, asked_at: float, *, is_asked: bool) -> None:
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
        row = _Row(entry, asked_at, asked_at + fresh, asked_at + keep, is_asked=is_asked)
        row.older = self._older(given, asked_at)
        if keep > 0:
            self._put(ref, row)

    def _older(self, given: Entry, asked_at: float) -> float:
        """Give how many seconds a server had *given* before it was asked; that machine's clock may be off."""
        if given.fresh_for is None:
            return 0.0
        read_ago = (self._clock() - given.read_at).total_seconds()
        most = self.lifetimes.ttl.total_seconds() + self.lifetimes.stale_if_error.total_seconds()
        return min(max(0.0, read_ago - (self._timer() - asked_at)), most)

    def _keep_stale(self, ref: Ref, entry: Entry, asked_at: float, before: _Row | None) -> None:
        """
        Remember what an inner cache (a server's) bridges an outage with: its bound is the bound, and it is
        asked as seldom as a place that is out. What was held here itself is good for as long as it was.
        """
        pause = self._timer() + self.lifetimes.outage_pause.total_seconds()
        is_own = before is not None and before.entry.version == entry.version
        keep = max(pause, before.keep_until) if before is not None and is_own else pause
        row = _Row(entry, asked_at, 0.0, keep)
        row.older = self._older(entry, asked_at)
        self._stale[ref] = (entry, pause)
        self._put(ref, row)

    def _stale_seconds(self, ref: Ref, entry: Entry) -> float:
        most = self.lifetimes.stale_if_error.total_seconds()
        bound = None if self._stale_bound is None else self._stale_bound(ref, entry)
        return most if bound is None else min(most, bound.total_seconds())

    def _put(self, ref: Ref, row: _Row) -> None:
        if row.ends_at is not None:
            left = (row.ends_at - self._clock()).total_seconds()
            row.fresh_until = min(row.fresh_until, self._timer() + left)
            row.keep_until = min(row.keep_until, self._timer() + left)
        if row.bytes > self.lifetimes.max_bytes:
            return
        self._rows[ref] = row
        self.revision += 1
        self._bytes += row.bytes
        self._make_room()

    def _keep_absence(self, ref: Ref, asked_at: float) -> None:
        ttl = self.lifetimes.absent_ttl.total_seconds() * self._jitter()
        if ttl <= 0 or self.lifetimes.max_absences <= 0:
            return
        self._absences[ref] = (asked_at, asked_at + ttl)
        if len(self._absences) > self.lifetimes.max_absences:
            del self._absences[next(iter(self._absences))]
            self._evictions += 1

    def _make_room(self) -> None:
        """
        Let go of what nobody may be given any more, then of the oldest: one that was used since it
        came, or since it was last spared, goes to the back of the queue instead.
        """
        now = self._timer()
        for key in [key for key, _ in zip(self._rows, range(2), strict=False)]:
            if self._rows[key].keep_until <= now:
                self._forget(key)
        chances = len(self._rows)  # bounded, because readers go on hitting while we look
        while len(self._rows) > self.lifetimes.max_entries or self._bytes > self.lifetimes.max_bytes:
            key = next(iter(self._rows))
            row = self._rows[key]
            if row.hits > row.spared_at and chances > 0:
                chances -= 1
                row.spared_at = row.hits
                self._rows[key] = self._rows.pop(key)
            else:
                self._forget(key)
                self._evictions += 1

    def _jitter(self) -> float:
        return 0.9 + 0.2 * self._draw()  # ±10 %

    def _forget(self, key: Key) -> None:
        row = self._rows.pop(key, None)
        if row is not None:
            self.revision += 1
            self._bytes -= row.bytes
            self._hits += row.hits
        self._absences.pop(key, None)
        self._stale.pop(key, None)

    # --- flights ---

    def _desk(self) -> _Desk:
        """Give this process's desk; a forked child gets a fresh one, whatever the parent's lock was doing."""
        process = os.getpid()
        desk = self._desks.get(process)
        if desk is None:
            for parent in list(self._desks):
                self._desks.pop(parent, None)
                self._bytes = sum(row.bytes for row in list(self._rows.values()))
            desk = self._desks.setdefault(process, _Desk())
        return desk

    def _is_under_way(self, desk: _Desk, ref: Ref, flight: Flight[Entry | None]) -> bool:
        return desk.flights.get(ref) is flight

    def _pop_flight(self, desk: _Desk, ref: Ref, flight: Flight[Entry | None]) -> None:
        if self._is_under_way(desk, ref, flight):
            del desk.flights[ref]

    def _leave(self, ref: Ref, flight: Flight[Entry | None], *, forget: bool = False) -> None:
        desk = self._desk()
        with desk.lock:
            if forget and self._is_under_way(desk, ref, flight):
                self._forget(ref)
            self._pop_flight(desk, ref, flight)

    def _no_patience(self, ref: Ref) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"{ref} is being asked for since {self._patience:.3g} s without an answer", backend=self.name
        )

    # --- changes ---

    def drop(self, *refs: Ref) -> list[Key]:
        """
        Forget *refs*: the next read asks. Dropping a global Ref drops it for every team, because a
        team's lookup may have been answered by it. Give the keys that were read lately.
        """
        shared = {(ref.kind, ref.name) for ref in refs if ref.team is None}
        desk = self._desk()
        wanted: list[Key] = []
        with desk.lock:
            for ref in refs:
                wanted += self._dropped(desk, ref)
            for table in (self._rows, self._absences, desk.flights) if shared else ():
                for key in [key for key in table if key[2] is not None and key[:2] in shared]:
                    wanted += self._dropped(desk, key)
        return wanted

    def _dropped(self, desk: _Desk, key: Key) -> list[Key]:
        row = self._rows.get(key)
        is_wanted = row is not None and self._is_wanted(row)
        self._forget(key)
        desk.flights.pop(key, None)  # type: ignore[call-overload]  # equal to the Ref it stands for
        return [key] if is_wanted else []

    def _is_wanted(self, row: _Row) -> bool:
        """Tell whether it was read lately: during a lifetime that has not long ended."""
        is_recent = row.asked_at > self._timer() - 1.1 * self.lifetimes.ttl.total_seconds()
        return is_recent and (row.is_asked or row.hits > 0)

    def drop_from(self, backends: Collection[str]) -> None:
        """Forget what *backends* answered."""
        desk = self._desk()
        with desk.lock:
            for key in [key for key, row in self._rows.items() if row.entry.backend in backends]:
                self._forget(key)

    def expire(self, backends: Collection[str] | None = None) -> list[Key]:
        """
        Take nothing for fresh that *backends* answered (None: any), and no absence: it is asked for anew
        before it is given out, or served stale in an outage. Give the keys that were read lately.
        """
        desk = self._desk()
        wanted: list[Key] = []
        with desk.lock:
            for key, row in self._rows.items():
                if backends is None or row.entry.backend in backends:
                    if row.fresh_until > 0 and self._is_wanted(row):
                        wanted.append(key)
                    row.fresh_until = 0.0
            self._absences.clear()
            desk.flights.clear()  # their answers may be older than this
        return wanted

    def clear(self) -> None:
        """Forget everything."""
        desk = self._desk()
        with desk.lock:
            for key in [*self._rows, *self._absences]:
                self._forget(key)
            desk.flights.clear()

    def use(self, inner: Backend, lifetimes: Lifetimes) -> None:
        """Ask *inner* from now on; what is under way elsewhere is not remembered, what is held is kept."""
        desk = self._desk()
        with desk.lock:
            self.name, self.is_local = inner.name, inner.is_local
            self._inner, self.lifetimes = inner, lifetimes
            desk.flights.clear()

    # --- what is held ---

    def __len__(self) -> int:
        return len(self._rows)

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
            for key, row in list(self._rows.items())
            if self._may_stand_in(row)
        ]
        return sorted(found, key=lambda held: held.age, reverse=True)

    def restore(self, ref: Ref, entry: Entry, *, age: timedelta, left: timedelta) -> bool:
        """
        Remember *entry* from an earlier life, to be served in an outage only.

        Args:
            ref: under which it was asked for.
            entry: as it was held then.
            age: since it was asked for.
            left: how long it may stand in.

        Returns:
            whether it is remembered: nothing newer is held, and there is room for it.
        """
        desk = self._desk()
        now = self._timer()
        row = _Row(entry, now - age.total_seconds(), 0.0, now + left.total_seconds(), is_asked=False)
        with desk.lock:
            is_full = len(self._rows) >= self.lifetimes.max_entries
            if ref in self._rows or is_full or self._bytes + row.bytes > self.lifetimes.max_bytes:
                return False
            self._put(ref, row)
            return True

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
        for key, row in list(self._rows.items()):
            # Ten thousand rows are looked through each time, and nearly all of them end here.
            if not now < row.fresh_until <= latest:
                continue
            left, span = row.fresh_until - now, row.fresh_until - row.asked_at
            if left <= min(max(share * span, within), span / 2) and (row.hits > 0 or key in followed):
                found.append((key, left, row.entry.fresh_for is not None))
        return found

    def writing(self, place: Writable) -> Writable:
        """Give *place* so that every change made through it is dropped here, whether it went well or not."""
        return _Writing(place, self)

    def statistics(self) -> Statistics:
        """Tell what it did and holds."""
        return Statistics(
            hits=self._hits + sum(row.hits for row in list(self._rows.values())),
            misses=self._misses,
            stale=self._stale_served,
            evictions=self._evictions,
            entries=len(self._rows),
            bytes=self._bytes,
            absences=len(self._absences),
        )

    def close(self) -> None:
        self.clear()
        self._inner.close()


class _Writing:
    """A writable place whose changes a cache hears of. A write that failed may have happened: dropped too."""

    def __init__(self, place: Writable, cache: Cache) -> None:
        self._place = place
        self._cache = cache

    def write(self, draft: Draft) -> str | None:
        try:
            return self._place.write(draft)
        finally:
            self._cache.drop(draft.ref)

    def write_many(self, drafts: Sequence[Draft]) -> list[str | None]:
        try:
            return self._place.write_many(drafts)
        finally:
            self._cache.drop(*_refs(drafts))

    def delete(self, ref: Ref, *, expected_version: str | None = None, author: str) -> bool:
        try:
            return self._place.delete(ref, expected_version=expected_version, author=author)
        finally:
            self._cache.drop(ref)


def _given(answer: Entry | StrongroomError | None, asked_at: float) -> tuple[Entry | None, float]:
    if isinstance(answer, StrongroomError):
        raise answer
    return answer, asked_at


def _is_same(entry: Entry, other: Entry) -> bool:
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


def _refs(drafts: Iterable[Draft]) -> list[Ref]:
    return [draft.ref for draft in drafts]
