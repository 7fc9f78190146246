"""
Remember answers: for how long, what may stand in during an outage, and one question at a time.

Not for deciding or recording: whoever must see every fill stands between cache and chain. Not for what is
held, for how long, and what goes where there is no room: `holding.py`.

Rules of this file:

1. One question per Ref is under way at a time; whoever else wants it waits for that one.
2. A stale entry is served only after *unavailable*, inside `stale_if_error`, and is marked. After
   any other answer (absent, denied, invalid …) what was remembered is forgotten.
3. Own writes are seen at once: `drop` forgets, and a question that was under way at that moment
   answers those who wait but is not remembered.
4. The hit path takes no lock.
5. Where changes may have been missed, what is held is asked for anew before it is given out, but kept for
   an outage (`expire`). An answer equal to the one held leaves that very object in its place.

Source: docs/design.md, "Looking something up", rules 1, 4, 8 and 9; RFC 5861 §4 (stale-if-error).
"""

from __future__ import annotations

import os
import threading
from copy import copy
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final

from strongroom.backend import Backend, Batched
from strongroom.bulkhead import Flight
from strongroom.errors import BackendUnavailableError, RateLimitedError, StrongroomError
from strongroom.holding import Held, Holding, Lifetimes, Row, boot_seconds, draw, is_same

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from datetime import datetime

    from strongroom.backend import Writable
    from strongroom.model.entry import Draft, Entry
    from strongroom.model.ref import Kind, Ref

    Key = tuple[Kind, str, str | None]

__all__ = ["UNKNOWN", "Cache", "Held", "Lifetimes", "Statistics", "boot_seconds", "draw"]


def _nobody(_ref: Ref, _entry: Entry | None) -> None:
    """Tell nobody what is remembered."""


class _Unknown:
    """Says that nothing is remembered; None says that the absence is."""


UNKNOWN: Final = _Unknown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """
    What a cache did since it was made. Hits may be a few short where threads count at once.

    Args:
        hits: fresh entries and remembered absences given out.
        misses: questions to the inner backend.
        asked: of these, those that somebody waited for and that no stale entry stood in for.
        stale: stale entries given out.
        evictions: entries and absences pushed out by the bounds.
        entries: entries held now.
        bytes: their size now, as counted against the bound.
        absences: absences held now.
    """

    hits: int
    misses: int
    asked: int
    stale: int
    evictions: int
    entries: int
    bytes: int
    absences: int


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
        on_kept: called with what was remembered for a Ref, None for an absence, by the thread that asked;
            it must not block.
        peek: gives the fresh entry remembered under a key, a Ref or the plain tuple (kind, name,
            team). Takes no lock and asks nobody; None means nothing fresh is held, not that there
            is nothing.
        glance, entry, times, remembered, held, ending: as of `Holding`.

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
        self._holding = holding = Holding(
            lifetimes or Lifetimes(), clock=clock, timer=timer, draw=draw, stale_bound=stale_bound
        )
        # What only reads what is held is asked there: every warm read of a process ends in one of these.
        self.peek, self.glance, self.entry, self.times = (
            holding.peek,
            holding.glance,
            holding.entry,
            holding.times,
        )
        self.remembered, self.held, self.ending = holding.remembered, holding.held, holding.ending
        self._rows, self._absences = holding.rows, holding.absences
        self.on_kept: Callable[[Ref, Entry | None], None] = _nobody
        self._timer = timer
        self._patience = patience.total_seconds()
        self._desks: dict[int, _Desk] = {}
        self._absent_hits = self._misses = self._stale_served = 0
        self._not_for_readers = 0  # of the misses: asked ahead of readers, or a stale entry was given instead

    @property
    def lifetimes(self) -> Lifetimes:
        """How long and how much, now."""
        return self._holding.lifetimes

    @property
    def revision(self) -> int:
        """What goes up whenever an entry comes, goes, or is confirmed."""
        return self._holding.revision

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
            self._absent_hits += 1
            return None
        stale = self._holding.stale.get(key)
        if stale is not None and stale[1] > self._timer() and self._holding.may_stand_in(self._rows.get(key)):
            self._stale_served += 1
            return stale[0]
        return UNKNOWN

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
        self._not_for_readers += not is_asked
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
            if error.is_final or row is None or not is_current or not self._holding.may_stand_in(row):
                self._pop_flight(desk, ref, flight)
                raise error
            stale = replace(row.entry, is_stale=True)
            self._holding.stale[ref] = (stale, self._timer() + self.lifetimes.outage_pause.total_seconds())
            self._pop_flight(desk, ref, flight)
        self._stale_served += is_asked
        self._not_for_readers += is_asked
        return stale

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
                if entry is not None and before is not None and is_same(before.entry, entry):
                    entry = before.entry  # whoever has something at hand that belongs to it may go on
                self._holding.forget(ref)
                if entry is None or given is None:
                    self._holding.keep_absence(ref, asked_at)
                elif entry.is_stale:
                    self._holding.keep_stale(ref, entry, asked_at, before)
                else:
                    self._holding.keep_entry(ref, entry, given, asked_at, is_asked=is_asked)
            self._pop_flight(desk, ref, flight)
        return entry, is_current

    # --- flights ---

    def _desk(self) -> _Desk:
        """Give this process's desk; a forked child gets a fresh one, whatever the parent's lock was doing."""
        process = os.getpid()
        desk = self._desks.get(process)
        if desk is None:
            for parent in list(self._desks):
                self._desks.pop(parent, None)
                self._holding.count_anew()
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
                self._holding.forget(ref)
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
        is_wanted = row is not None and self._holding.is_wanted(row)
        self._holding.forget(key)
        desk.flights.pop(key, None)  # type: ignore[call-overload]  # equal to the Ref it stands for
        return [key] if is_wanted else []

    def drop_from(self, backends: Collection[str]) -> None:
        """Forget what *backends* answered."""
        desk = self._desk()
        with desk.lock:
            for key in [key for key, row in self._rows.items() if row.entry.backend in backends]:
                self._holding.forget(key)

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
                    if row.fresh_until > 0 and self._holding.is_wanted(row):
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
                self._holding.forget(key)
            desk.flights.clear()

    def use(self, inner: Backend, lifetimes: Lifetimes) -> None:
        """Ask *inner* from now on; what is under way elsewhere is not remembered, what is held is kept."""
        desk = self._desk()
        with desk.lock:
            self.name, self.is_local = inner.name, inner.is_local
            self._inner, self._holding.lifetimes = inner, lifetimes
            desk.flights.clear()

    # --- what is held ---

    def __len__(self) -> int:
        return len(self._rows)

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
        row = Row(entry, now - age.total_seconds(), 0.0, now + left.total_seconds(), is_asked=False)
        with desk.lock:
            is_full = len(self._rows) >= self.lifetimes.max_entries
            if ref in self._rows or is_full or self._holding.bytes + row.bytes > self.lifetimes.max_bytes:
                return False
            self._holding.put(ref, row)
            return True

    def writing(self, place: Writable) -> Writable:
        """Give *place* so that every change made through it is dropped here, whether it went well or not."""
        return _Writing(place, self)

    def statistics(self) -> Statistics:
        """Tell what it did and holds."""
        return Statistics(
            hits=self._absent_hits + self._holding.hits + sum(row.hits for row in list(self._rows.values())),
            misses=self._misses,
            asked=self._misses - self._not_for_readers,
            stale=self._stale_served,
            evictions=self._holding.evictions,
            entries=len(self._rows),
            bytes=self._holding.bytes,
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


def _refs(drafts: Iterable[Draft]) -> list[Ref]:
    return [draft.ref for draft in drafts]
