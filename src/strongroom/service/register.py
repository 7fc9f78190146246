"""
The register: every line of every backend of a deployment, of all teams and kinds, in one index.

It is for what must answer at once about everything there is: the inventory page, the palette, what needs
attention. Not for giving out values, nor for deciding who may see a line (`registered.py`).

Rules of this file:

1. Backends are read as `Listing` reads them, from what was last seen of each; so the rows are those of
   `Inventory`, the answering one first and what it hides after it.
2. The store is outlined once, without authenticating, and followed by its feed from then on. What is shown
   of a line was looked up anew (`prove`); the rest is authenticated behind, a few at a time.
3. Backends that tell of no change are read again behind, when somebody asks and it was some time ago. One
   that gives no answer keeps the lines it had, and its trouble is told with the time it began.
4. A line has one health, the worst; what time alone changes is looked up when it is due.
5. When a server starts, it is read behind, resting half of the time while nobody waits for it; then each
   order is made, behind too. Who asks for many lines meanwhile is told at once that they are being read.
6. It holds no value, and at most `MAX_LINES` lines, each in about 700 bytes.
"""

from __future__ import annotations

import heapq
import threading
import time
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from strongroom.backend import Listable
from strongroom.errors import BackendUnavailableError, StrongroomError
from strongroom.listing import Listing
from strongroom.model.ref import KINDS, Kind, Ref
from strongroom.service.alike import Alike
from strongroom.service.facets import Facets
from strongroom.service.inventory import row_of, rows_of
from strongroom.service.mirror import MAX_LINES, FoldingMirror, Mirror, Mirrors, Silence, mirror_of, too_many
from strongroom.service.registration import ORDERS, VALUES, Registration, due_of, health_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from strongroom.chain import Chain
    from strongroom.model.entry import Metadata, Summary
    from strongroom.service.changes import Feed
    from strongroom.service.inventory import Row
    from strongroom.service.trials import Trial

__all__ = ["Register"]

_LOCAL_SECONDS, _FAR_SECONDS = 15.0, 60.0  # after which a backend that tells of no change is read again
_PATIENCE_SECONDS = 1.0  # for the first read of these
_MAX_CHANGES = 1000  # looked up one by one; after more of them everything is read anew
_PROVEN_AT_ONCE, _REST_SECONDS = 200, 0.004  # lines authenticated behind, and the rest after them
_FEW = 20_000  # lines of a first read that whoever has little patience waits for
_SLICE_SECONDS = 0.01  # worked behind before others go first for as long
_NO_READS: Mapping[Ref, datetime] = MappingProxyType({})
_NO_TESTS: Mapping[Ref, Sequence[Trial]] = MappingProxyType({})


class _Build:
    """The first read of all there is, on its way: over, or known to take long."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self.is_told = threading.Event()
        self.is_wanted = False
        self.trouble: StrongroomError | None = None


class Register:
    """
    Every line of one deployment, in this process.

    Threads: may be used from several at once; `lines` and what it gives are looked into under `lock`.

    Args:
        chain: whose lines.
        feed: tells what changed in the store.
        tracked: names of the backends whose every change *feed* tells.
        teams: gives the teams there are.
        clock: wall clock, UTC.
        reads: tells when names were last read, as far as that is known.
        tests: gives how tests of connections went, newest first; the same object while none went since.
        timer: seconds that only go up.
        aside: does work behind; unsaid, on a thread of its own.

    Attributes:
        lock: held while it is changed or looked into.
        lines: of all there is; whose reads were told is in `reads` alone.
    """

    def __init__(  # noqa: PLR0913 -- what it is made of and kept fresh by
        self,
        chain: Chain,
        feed: Feed,
        tracked: frozenset[str],
        *,
        teams: Callable[[], Iterable[str]],
        clock: Callable[[], datetime],
        reads: Callable[[], Mapping[Ref, datetime]] = lambda: _NO_READS,
        tests: Callable[[], Mapping[Ref, Sequence[Trial]]] | None = None,
        timer: Callable[[], float] = time.monotonic,
        aside: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._chain = chain
        self._feed = feed
        self._tracked = tracked
        self._tell_teams = teams
        self._clock = clock
        self._timer = timer
        self._aside = aside or self._on_a_thread
        self._threads: set[threading.Thread] = set()
        self._closing = threading.Event()
        self._reading = threading.Lock()
        self._starting = threading.RLock()  # nothing begins behind once it is closing
        self._build: _Build | None = None
        self._rested_at = 0.0
        self.reads = reads
        self._tests = tests or (lambda: _NO_TESTS)
        self.lock = threading.RLock()
        self.on_change: list[Callable[[int], None]] = []
        self._start_over()

    def _start_over(self) -> None:
        self.lines: Facets[Registration] = Facets(
            VALUES, lambda line: line.text, lambda line: line.place, ORDERS
        )
        self._failed: dict[Ref, str | None] = {}
        self._heard: object = None
        self._sequence = -1
        self._gaps = -1
        self._is_made = False
        self._is_refused = False
        self._slots: dict[Ref, tuple[int, ...]] = {}
        self._due: list[tuple[datetime, str, Ref]] = []
        self._due_at: dict[Ref, datetime] = {}
        self._facts: dict[Metadata, Metadata] = {}
        self._first_read = threading.Event()
        self.teams: tuple[str, ...] = ()
        self.generation = object()
        links = [link for link in self._chain.links if isinstance(link.backend, Listable)]
        self._ranks = {link.name: number for number, link in enumerate(self._chain.links, 1)}
        self._places = [mirror_of(link, is_tracked=link.name in self._tracked) for link in links]
        seen = tuple(replace(one.link, backend=cast("object", one)) for one in self._places)  # type: ignore[arg-type]  # all that `Listing` asks
        self._seen = cast("Chain", Mirrors(seen))
        spellings = {one.name: one.spell for one in self._places if isinstance(one, FoldingMirror)}
        self._alike = Alike(spellings, self._slots)

    def clear(self) -> None:
        """Forget every line: the backends stand in another order now, or are asked for other names."""
        with self.lock:
            self._start_over()

    def close(self) -> None:
        """End what runs behind, and wait for it. Safe to call twice."""
        with self._starting:
            self._closing.set()
        for thread in list(self._threads):
            thread.join()

    # --- kept fresh --------------------------------------------------------------------------------

    def refresh(self, patience: float | None = None) -> bool:
        """
        Take in what changed up to now in the store, and begin to read anew what tells of no change.

        Args:
            patience: seconds to wait for the first read of all; None for as long as it takes.

        Returns:
            Whether there is anything yet.

        Raises:
            InvalidInputError: there are too many lines.
            BackendUnavailableError: the store gives no answer, and never gave one.
        """
        if not self._is_made and not self._make(patience):
            return False
        try:
            self._feed.poll()  # a change of ours, or of another process, is seen in the very next page
            with self.lock:
                self._bring_up_to_date()
        except BackendUnavailableError as error:
            self._fell_silent([one for one in self._places if one.is_tracked], error)
        if any(not one.is_tracked and self._timer() >= one.due_at for one in self._places):
            self._aside(self._read_others)
            self._first_read.wait(_PATIENCE_SECONDS)
        return True

    def warm(self) -> None:
        """Begin to read behind what whoever comes will ask for; no other machine but the store's is asked."""
        with suppress(BackendUnavailableError):
            if not self._is_made:
                self._begin(is_wanted=False)

    def _make(self, patience: float | None) -> bool:
        """Begin to read all there is, or wait with who began; tell whether it is there."""
        build = self._begin(is_wanted=True)
        if patience is None:
            build.is_over.wait()
        else:
            build.is_told.wait(patience)
        if build.trouble is not None:
            raise copy(build.trouble)
        return build.is_over.is_set()

    def _begin(self, *, is_wanted: bool) -> _Build:
        with self._starting:
            if self._closing.is_set():
                raise _closed()
            build, is_first = self._build, self._build is None
            if build is None:
                build = self._build = _Build()
            build.is_wanted = build.is_wanted or is_wanted
            if is_first:
                self._aside(partial(self._read_first, build))
        return build

    def _rest(self) -> None:
        """Behind: let others go first for as long as it worked, unless somebody waits for all there is."""
        if self._closing.is_set():
            raise _closed()
        build = self._build
        worked = time.monotonic() - self._rested_at
        if worked >= _SLICE_SECONDS and (build is None or not build.is_wanted):
            self._closing.wait(min(worked, 10 * _SLICE_SECONDS))
        if worked >= _SLICE_SECONDS:
            self._rested_at = time.monotonic()

    def _read_first(self, build: _Build) -> None:
        try:
            self._feed.poll()
            with self.lock:
                self._bring_up_to_date()
        except StrongroomError as error:
            build.trouble = error
        finally:
            with self._starting:
                self._build = None
            build.is_over.set()
            build.is_told.set()
        if build.trouble is None and not build.is_wanted:
            self._read_others(is_near=True)

    def _bring_up_to_date(self) -> None:
        gaps, last = self._feed.gaps, self._feed.last
        changes, is_gap = self._feed.since(self._sequence, _MAX_CHANGES + 1)
        if not self._is_made or is_gap or gaps != self._gaps or len(changes) > _MAX_CHANGES:
            self._read_all()
        else:
            refs = {ref for change in changes for ref in self._touched(change.ref)}
            refs.update(self._overdue())
            self._look_up(refs)
            last = changes[-1].sequence if changes else last
        self._gaps, self._sequence = gaps, last
        self._heed_tests()
        for one in self._places:
            if one.is_tracked:
                one.silence = None

    def _touched(self, ref: Ref) -> Iterator[Ref]:
        """Give whose lines a change of *ref* may change: its own, and of a global one each team's."""
        if ref.team is not None and ref.team not in self.teams:
            self.teams = tuple(sorted({*self.teams, ref.team}))
        yield ref
        if ref.team is None:
            for team in self.teams:
                other = Ref(ref.kind, ref.name, team)
                if other in self._slots:
                    yield other

    def _overdue(self) -> Iterator[Ref]:
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            due, _, ref = heapq.heappop(self._due)
            if self._due_at.get(ref) == due:
                del self._due_at[ref]
            yield ref

    # --- all there is ------------------------------------------------------------------------------

    def _read_all(self) -> None:
        if self._is_made:
            places = self._places
            self._start_over()
            for old, new in zip(places, self._places, strict=True):
                if not old.is_tracked:
                    new.held, new.is_read, new.due_at = old.held, old.is_read, old.due_at
                    new.read_at, new.silence = old.read_at, old.silence
            if all(one.is_read for one in self._places if not one.is_tracked):
                self._first_read.set()
        self.teams = tuple(sorted(self._tell_teams()))
        for place in self._places:
            if place.is_tracked:
                place.held, place.is_read = place.outlined((None, *self.teams), self._have_read), False
        self._fill()
        for place in self._places:
            if place.is_tracked:
                place.held, place.is_read, place.read_at = {}, True, self._clock()
        self._is_made = True
        self._aside(partial(self._make_ready, self.generation))

    def _have_read(self, total: int) -> None:
        build = self._build
        if build is None:
            return  # it is read anew, for whoever waits
        if total > _FEW:
            build.is_told.set()
        self._rest()

    def _fill(self) -> None:
        found: list[list[Row]] = []
        now = self._clock()
        for kind in KINDS:
            for team in (None, *self.teams):
                alone, several = self._told_apart(kind, team)
                found += ([row_of(one.ref, one, now)] for one in alone)
                for line in self._listing(kind, team).these(several):
                    found.append(list(rows_of(line, now)))
        for rows in found:
            self._alike.add(rows[0])
        slot, lines = 0, []
        for rows in found:
            ref = rows[0].ref
            self._slots[ref] = tuple(range(slot, slot + len(rows)))
            lines += self._registered(rows, now)
            slot += len(rows)
        if len(lines) > MAX_LINES:
            raise too_many()
        self.lines.fill(lines)
        self.lines.order("name")

    def _told_apart(self, kind: Kind, team: str | None) -> tuple[list[Summary], list[str]]:
        """Give what one place alone can answer for, and the names for which `Listing` must be asked."""
        held = [one.held.get((kind, team), {}) for one in self._places]
        names = {name for one in held for name in one}
        if len(self._places) > 1 or any(isinstance(one, FoldingMirror) for one in self._places):
            return [], list(names)
        ((place, one),) = zip(self._places, held, strict=True)
        return [found for found in one.values() if place.link.why_not(found.ref) is None], []

    def _listing(self, kind: Kind, team: str | None) -> Listing:
        return Listing(self._seen, kind, team=team)

    # --- a few --------------------------------------------------------------------------------------

    def _look_up(self, refs: Iterable[Ref]) -> None:
        """Say anew what stands under *refs*."""
        wanted: dict[tuple[Kind, str | None], list[str]] = {}
        for ref in refs:
            wanted.setdefault((ref.kind, ref.team), []).append(ref.name)
        now = self._clock()
        for (kind, team), names in wanted.items():
            found = {line.ref.name: line for line in self._listing(kind, team).these(names)}
            for name in names:
                line = found.get(name)
                self._put(Ref(kind, name, team), [] if line is None else list(rows_of(line, now)))

    def prove(self, refs: Iterable[Ref]) -> None:
        """
        Look *refs* up anew where the store holds them: authenticated, as they stand now. Under `lock`.

        Raises:
            SealedError: its keys are not to be had.
        """
        tracked = {one.name for one in self._places if one.is_tracked}
        try:
            self._look_up(
                [
                    ref
                    for ref in dict.fromkeys(refs)
                    if any(self._line(slot).row.backend in tracked for slot in self._slots.get(ref, ()))
                ]
            )
        except BackendUnavailableError as error:
            self._fell_silent([one for one in self._places if one.is_tracked], error)

    def _line(self, slot: int) -> Registration:
        line = self.lines.lines[slot]
        assert line is not None  # noqa: S101 -- a slot of `_slots` has a line
        return line

    def slots_of(self, ref: Ref) -> tuple[int, ...]:
        """Give the slots of the lines of *ref*, the answering one first; () where there is none."""
        return self._slots.get(ref, ())

    def _put(self, ref: Ref, rows: list[Row]) -> None:
        slots = self._slots.get(ref, ())
        old = [self._line(slot).row for slot in slots]
        if old == rows:  # though time may say something else of them by now
            self._replace(ref, slots, self._registered(old))
            return
        alike = self._alike.partners(old[0]) if old else set()
        if old:
            self._alike.remove(old[0])
        if rows:
            self._alike.add(rows[0])
            alike |= self._alike.partners(rows[0])
        self._replace(ref, slots, self._registered(rows))
        for other in alike:
            if other in self._slots:
                slots = self._slots[other]
                self._replace(other, slots, self._registered([self._line(slot).row for slot in slots]))

    def _replace(self, ref: Ref, slots: tuple[int, ...], lines: list[Registration]) -> None:
        kept = []
        for slot, line in zip(slots, lines, strict=False):
            if self._line(slot) != line:
                self.lines.change(slot, line)
                self._tell(slot)
            kept.append(slot)
        for slot in slots[len(lines) :]:
            self.lines.remove(slot)
            self._tell(slot)
        for line in lines[len(slots) :]:
            kept.append(self.lines.add(line))
            self._tell(kept[-1])
        if kept:
            self._slots[ref] = tuple(kept)
        else:
            self._slots.pop(ref, None)
        if len(self.lines) > MAX_LINES:
            raise too_many()

    def _tell(self, slot: int) -> None:
        for callback in self.on_change:
            callback(slot)

    def _registered(self, rows: list[Row], now: datetime | None = None) -> list[Registration]:
        now, found = now or self._clock(), list[Registration]()
        for row in rows:
            facts = self._facts.setdefault(row.metadata, row.metadata)
            same = row if facts is row.metadata else replace(row, metadata=facts)
            clash = None
            if self._alike and not row.shadowed_by:
                clash = next(iter(sorted(self._alike.partners(row))), None)
            has_failed = row.ref in self._failed and self._failed[row.ref] == row.version
            health = health_of(same, now, has_failed=has_failed, is_clashing=clash is not None)
            due = due_of(same, now)
            if due is not None and self._due_at.get(row.ref) != due:
                self._due_at[row.ref] = due
                # No team compares with a team: it stands before what may be missing.
                heapq.heappush(self._due, (due, row.ref.team or "", row.ref))
            name = None if clash is None else clash.name
            found.append(Registration(same, health, self._ranks[row.backend], name))
        return found

    def _heed_tests(self) -> None:
        """Say anew how those lines are whose tests went another way since."""
        tests = self._tests()
        if tests is self._heard:
            return
        self._heard = tests
        old, self._failed = (
            self._failed,
            {ref: found[0].version for ref, found in tests.items() if found and not found[0].is_ok},
        )
        for ref in dict(old.items() ^ self._failed.items()):
            slots = self._slots.get(ref, ())
            if slots:
                self._replace(ref, slots, self._registered([self._line(slot).row for slot in slots]))

    # --- behind -------------------------------------------------------------------------------------

    def _on_a_thread(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                self._threads.discard(threading.current_thread())

        with self._starting:  # `close` waits for what has begun: it may find none that is about to
            if not self._closing.is_set():
                thread = threading.Thread(target=run, name="strongroom-register", daemon=True)
                self._threads.add(thread)
                thread.start()

    def _read_others(self, *, is_near: bool = False) -> None:
        """Read backends (*is_near*: of this host) that tell of no change, and look up what differs."""
        if not self._reading.acquire(blocking=False):
            return
        try:
            generation, teams = self.generation, (None, *self.teams)
            for place in self._places:
                if self._closing.is_set() or self.generation is not generation:
                    return
                if place.is_tracked or self._timer() < place.due_at:
                    continue
                if is_near and not place.link.backend.is_local:
                    continue
                place.due_at = self._timer() + (
                    _LOCAL_SECONDS if place.link.backend.is_local else _FAR_SECONDS
                )
                self._read_other(place, teams)
            if all(one.is_tracked or one.due_at > float("-inf") for one in self._places):
                self._first_read.set()
        finally:
            self._reading.release()

    def _read_other(self, place: Mirror, teams: tuple[str | None, ...]) -> None:
        try:
            held = {
                (kind, team): place.all_of(self._chain, kind, team)
                for kind in place.link.kinds
                for team in teams
            }
        except StrongroomError as error:
            self._fell_silent([place], error)
            return
        with self.lock:
            old, place.held = place.held, held
            place.is_read, place.read_at, place.silence = True, self._clock(), None
            refs = {
                ref
                for (kind, team) in old.keys() | held.keys()
                for name in _differing(old.get((kind, team), {}), held.get((kind, team), {}))
                for ref in self._touched(Ref(kind, name, team))
            }
            if self._is_made:
                self._look_up(refs)

    def _fell_silent(self, places: Iterable[Mirror], error: StrongroomError) -> None:
        for one in places:
            since = self._clock() if one.silence is None else one.silence.since
            one.silence = Silence(one.name, error, since, one.read_at)

    @property
    def silences(self) -> list[Silence]:
        """Which backends give no answer now."""
        return [one.silence for one in self._places if one.silence is not None]

    @property
    def unread(self) -> list[str]:
        """Names of the backends that are being read for the first time."""
        return [one.name for one in self._places if not one.is_read and one.silence is None]

    @property
    def not_listable(self) -> list[str]:
        """Names of the backends that cannot tell what they hold."""
        return [link.name for link in self._chain.links if not isinstance(link.backend, Listable)]

    @property
    def ranks(self) -> dict[str, int]:
        """The place of each backend in the chain, from 1."""
        return dict(self._ranks)

    def _make_ready(self, generation: object) -> None:
        with suppress(StrongroomError):
            self._order_all(generation)
            self._prove_all(generation)

    def _order_all(self, generation: object) -> None:
        """Make each order, so that the first who asks for it need not wait."""
        for name in ORDERS:
            with self.lock:
                if self.generation is not generation:
                    return
                lines, make = self.lines, self.lines.drafted(name)
            if make is not None:
                order = make(self._rest)
                with self.lock:
                    lines.keep(name, order)

    def _prove_all(self, generation: object) -> None:
        """Authenticate what was only outlined, a few lines at a time."""
        with self.lock:
            refs = iter(list(self._slots))
        while batch := list(islice(refs, _PROVEN_AT_ONCE)):
            if self._closing.wait(_REST_SECONDS):
                return
            with self.lock:
                if self.generation is not generation:
                    return
                try:
                    self.prove(batch)
                except StrongroomError:  # told by the next page
                    return


def _differing(old: dict[str, Summary], new: dict[str, Summary]) -> Iterator[str]:
    return (name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def _closed() -> BackendUnavailableError:
    return BackendUnavailableError("this server is closing", backend="register")
