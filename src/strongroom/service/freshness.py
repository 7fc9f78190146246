"""
Keep a cache fresh: hear of changes, look again before lifetimes end, wake who follows.

Not for deciding who may read or be told: what is fetched here is the chain's answer, for nobody in
particular.

Rules of this file:

1. What a place tells of is forgotten first. What was read lately of it, or is followed, is then fetched again
   at once; the rest when somebody asks.
2. Where changes may have been missed (a gap), nothing that stood before is served without having been asked
   for anew. It is kept, for an outage.
3. What was read during its last lifetime is looked at again shortly before that ends; what nobody reads is
   not, so that an idle host asks nobody.
4. Many hosts hear of one change in the same moment. Fetching ahead is spread over `SPREAD_SECONDS`; a reader
   who comes meanwhile asks himself, so that nobody is given what was old.
5. Who follows is woken when another entry is at hand, not when there is a rumour of one. Of what no place
   tells anything, one look every few seconds serves all who follow it.
6. The work is bounded: so many threads, and what waits is one line per name.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from strongroom.backend import Watchable
from strongroom.bulkhead import Bulkhead
from strongroom.errors import StrongroomError
from strongroom.model.ref import Ref
from strongroom.service.agenda import Agenda, Due
from strongroom.service.following import Following

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from strongroom.backend import Watched
    from strongroom.cache import Cache
    from strongroom.chain import Chain
    from strongroom.model.entry import Entry

    Heard = Callable[[Mapping[Ref, str | None] | None], None]

__all__ = ["SPREAD_SECONDS", "Freshness", "Hearing"]

SPREAD_SECONDS = 0.2  # over which fetching ahead after a notice is spread
_GAP_SPREAD_SECONDS = 2.0  # the same after a gap, when every host of a server has lost all it held
_SHORTEST_LOOK_SECONDS = 0.5  # between two looks at what is lent, however short it may live
_RETRY_SECONDS = (1.0, 2.0, 5.0)  # after trouble with what is followed; the last one from then on
_THREADS = 4
_BATCH = 200  # fetched in one go, where a place answers many at once
_WAITING = 1000
_SHORTEST_PERIOD_SECONDS = 0.1
_LONGEST_PERIOD_SECONDS = 15.0  # looking through 10,000 entries takes about 3 ms
_LEAD = 0.1  # of a lifetime that is left when its entry is looked at again
_SILENCE_SECONDS = 30.0  # a watch that gives no sign of life for so long is not listened to any more


class Hearing(NamedTuple):
    """
    What is heard of one backend.

    Args:
        is_live: it tells of every change.
        at: its last sign of life (UTC); None before the first.
        gaps: how often changes may have been missed.
    """

    is_live: bool
    at: datetime | None
    gaps: int


class _Watch:
    """The watch of one backend."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_live = False
        self.heard_at: float | None = None
        self.told_at: datetime | None = None
        self.gaps = 0
        self.end: Callable[[], None] = lambda: None


class Freshness:
    """
    Keep *cache* fresh.

    Args:
        cache: of the chain.
        timer: seconds that only go up, those of the cache.
        clock: wall clock, UTC, for what is told.
        draw: gives a random number from 0 to 1.
        is_revalidating: look again before lifetimes end.
        follow_interval: between two looks at what is followed and no place tells of.

    Attributes:
        is_revalidating: as given; may be changed.
        renewed: how often an entry was fetched ahead of readers.

    Threads: may be used from several threads at once. Its own are daemons.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        timer: Callable[[], float],
        clock: Callable[[], datetime],
        draw: Callable[[], float],
        is_revalidating: bool = True,
        follow_interval: timedelta = timedelta(seconds=5),
    ) -> None:
        self._cache = cache
        self._timer = timer
        self._clock = clock
        self._draw = draw
        self.is_revalidating = is_revalidating
        self._follow_seconds = follow_interval.total_seconds()
        self._on_notice: Callable[[str, Watched], None] = lambda _name, _notice: None
        self._chain: Chain | None = None
        self._told_of: frozenset[str] = frozenset()
        self._watches: dict[str, _Watch] = {}
        self._listeners: tuple[Heard, ...] = ()
        self._lock = threading.Lock()
        self._agenda = Agenda(timer)
        self._following = Following(cache, self._followed_anew)
        self._crew = Bulkhead("the renewal of entries", threads=_THREADS, waiting=_WAITING)
        self._thread: threading.Thread | None = None
        self._looked_at = timer()
        self.renewed = 0

    # --- what is watched ---------------------------------------------------------------------------

    def use(
        self,
        chain: Chain,
        on_notice: Callable[[str, Watched], None] | None = None,
        *,
        told_of: Collection[str] = (),
    ) -> None:
        """
        Listen to the backends of *chain*, and to no others any more.

        Args:
            chain: what the cache asks.
            on_notice: told of every notice first: (name of the backend, notice). It must not block.
            told_of: backends whose changes are told by `drop` and `clear`, or that never change.
        """
        self._told_of = frozenset(told_of)
        self._on_notice = on_notice or (lambda _name, _notice: None)
        before, self._watches, self._chain = self._watches, {}, chain
        for watch in before.values():
            watch.end()
        for link in chain.links:
            if isinstance(link.backend, Watchable):
                watch = self._watches[link.name] = _Watch(link.name)
                watch.end = link.backend.watch(partial(self._heard, watch))
        for ref in self._following.refs():
            self._agenda.put(ref, self._timer())

    def hearing(self, backend: str) -> Hearing | None:
        """Tell what is heard of *backend*; None where it tells of nothing by itself."""
        watch = self._watches.get(backend)
        return None if watch is None else Hearing(self._is_live(watch), watch.told_at, watch.gaps)

    def _is_live(self, watch: _Watch) -> bool:
        heard_at = watch.heard_at
        return watch.is_live and heard_at is not None and self._timer() - heard_at < _SILENCE_SECONDS

    def _heard(self, watch: _Watch, notice: Watched) -> None:
        if self._watches.get(watch.name) is not watch:
            return  # of a chain that is used no more
        watch.heard_at, watch.told_at = self._timer(), self._clock()
        watch.is_live = not notice.is_lost
        # Who may first: a right that was taken away must not outlive the value.
        self._on_notice(watch.name, notice)
        if notice.is_gap:
            watch.gaps += 1
            self.gap(watch.name)
        if notice.refs:
            self.changed(notice.refs, backend=watch.name)

    def listen(self, heard: Heard) -> Callable[[], None]:
        """
        Call *heard* with every change that is heard of, by name with its version where that is told, and
        with None where some may have been missed. It must not block. Give what ends that.
        """
        with self._lock:
            self._listeners = (*self._listeners, heard)

        def end() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one is not heard)

        return end

    # --- what has changed --------------------------------------------------------------------------

    def drop(self, *refs: Ref) -> None:
        """Do what `changed` does where no versions are told."""
        self.changed(dict.fromkeys(refs))

    def clear(self) -> None:
        """Do what `gap` does, of all backends."""
        self.gap(None)

    def changed(self, refs: Mapping[Ref, str | None], *, backend: str | None = None) -> None:
        """
        Forget *refs* and fetch again what is wanted of them.

        Args:
            refs: with the version that stands now, where it is told.
            backend: who tells; what it tells the version of and is held in that version stays.
        """
        news = [ref for ref, version in refs.items() if not self._is_held(ref, version, backend)]
        wanted = self._cache.drop(*news)
        for heard in self._listeners if news else ():
            heard({ref: refs[ref] for ref in news})
        self._fetch_soon([*wanted, *self._following.touched_by(news)], SPREAD_SECONDS)

    def gap(self, backend: str | None) -> None:
        """Take nothing for fresh that *backend* could have changed meanwhile; None: any backend."""
        names = None if backend is None or self._chain is None else _from(self._chain, backend)
        wanted = self._cache.expire(names)
        for heard in self._listeners:
            heard(None)
        self._fetch_soon([*wanted, *self._following.refs()], _GAP_SPREAD_SECONDS)

    def withdrawn(self, ref: Ref) -> None:
        """Fetch nothing ahead of *ref*, for which something else is lent now, unless it is followed."""
        self._agenda.drop(ref)
        self.look_again(ref)

    def look_again(self, ref: Ref | None) -> None:
        """Fetch what is followed of *ref*, or of everything: it was forgotten on purpose."""
        followed = self._following.refs() if ref is None else self._following.touched_by([ref])
        self._fetch_soon(followed, SPREAD_SECONDS)

    def _is_held(self, ref: Ref, version: str | None, backend: str | None) -> bool:
        if version is None or backend is None:
            return False
        entry = self._cache.glance(ref)
        return entry is not None and entry.ref == ref and (entry.backend, entry.version) == (backend, version)

    def _fetch_soon(self, keys: Iterable[tuple[str, str, str | None]], spread: float) -> None:
        now = self._timer()
        for key in keys:
            self._agenda.put(_ref(key), now + spread * self._draw())

    # --- who follows -------------------------------------------------------------------------------

    def follow(self, ref: Ref, wake: Callable[[Ref, str | None], None]) -> Callable[[], None]:
        """
        Call *wake* when another entry is served for *ref*, as `Host.follow` says. Follow first and read
        then: what changes in between is told.
        """
        return self._following.follow(ref, wake)

    @property
    def followed(self) -> int:
        """How many entries are followed."""
        return len(self._following)

    def _followed_anew(self, ref: Ref, is_known: bool) -> None:  # noqa: FBT001 -- told by `Following`
        if is_known:
            self._next_look(ref)
        else:
            self._agenda.put(ref, self._timer())

    # --- the work ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look again and to fetch ahead. Safe to call twice."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="strongroom-freshness", daemon=True)
            self._thread.start()

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do *work* once in so many seconds, on a thread of its own, or when all ends."""
        self._agenda.put_work(work, self._timer() + seconds)

    def close(self) -> None:
        """End everything and wait for the looking. Safe to call twice."""
        watches, self._watches = self._watches, {}
        for watch in watches.values():
            watch.end()
        works = self._agenda.close()
        if self._thread is not None:
            self._thread.join()
        self._crew.close()
        for work in works:
            work()

    def _run(self) -> None:
        while True:
            period = self._period()
            due = self._agenda.take(self._looked_at + period)
            if due is None:
                return
            for work in self._in_batches(due):
                self._start(work)
            if self._timer() >= self._looked_at + period:
                self._looked_at = self._timer()
                self._look(period)

    def _in_batches(self, due: Sequence[Due]) -> Iterator[Due]:
        """Give *due* with what can be fetched in one go as one piece of work."""
        refs = [one.ref for one in due if one.ref is not None]
        if len(refs) == 1 or not self._cache.is_batched:
            yield from due
            return
        yield from (one for one in due if one.ref is None)
        for start in range(0, len(refs), _BATCH):
            yield Due(None, partial(self._renew_many, refs[start : start + _BATCH]))

    def _start(self, due: Due) -> None:
        ref, work = due
        try:
            if ref is not None:
                self._crew.submit(partial(self._renew, ref))
            elif work is not None:
                self._crew.submit(work)
        except StrongroomError:  # the line is full: what is due waits a moment more
            at = self._timer() + SPREAD_SECONDS
            if ref is not None:
                self._agenda.put(ref, at)
            elif work is not None:
                self._agenda.put_work(work, at)

    def _period(self) -> float:
        """Give the time between two looks at what is about to end."""
        ttl = self._cache.lifetimes.ttl.total_seconds()
        return min(_LONGEST_PERIOD_SECONDS, max(_SHORTEST_PERIOD_SECONDS, ttl / 20))

    def _look(self, period: float) -> None:
        followed = self._following.refs()
        for ref in followed:
            self._next_look(ref)  # a watch may have been lost since
        if not self.is_revalidating:
            return
        now = self._timer()
        for key, left, is_of_server in self._cache.ending(_LEAD, 2 * period, followed):
            # Asked before its own cache asks anew, a server would answer what it has, for less and less time.
            at = left if is_of_server else min(left, period * self._draw())
            self._agenda.put(_ref(key), now + at)

    def _renew(self, ref: Ref) -> None:
        try:
            answer: Entry | StrongroomError | None = self._cache.renew(ref)
        except StrongroomError as error:
            answer = error
        self._renewed(ref, answer)

    def _renew_many(self, refs: Sequence[Ref]) -> None:
        for ref, answer in zip(refs, self._cache.renew_many(refs), strict=True):
            self._renewed(ref, answer)

    def _renewed(self, ref: Ref, answer: Entry | StrongroomError | None) -> None:
        self.renewed += 1
        if isinstance(answer, StrongroomError) or (answer is not None and answer.is_stale):
            self._failed(ref)
        else:
            self._next_look(ref)

    def _failed(self, ref: Ref) -> None:
        # A reader of it will ask himself; who follows only hears from here.
        failures = self._following.failed(ref)
        if failures is not None:
            wait = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
            self._agenda.put(ref, self._timer() + wait * self._jitter())

    def _next_look(self, ref: Ref) -> None:
        if ref in self._following and not self.is_told_of(ref):
            self._agenda.put(ref, self._timer() + min(self._follow_seconds * self._jitter(), self._left(ref)))

    def _left(self, ref: Ref) -> float:
        """Give the seconds until what is lent for *ref* has to be renewed."""
        entry, times = self._cache.glance(ref), self._cache.times(ref)
        if entry is None or not entry.is_lent or times is None:
            return self._follow_seconds * 2
        return max(times[1], _SHORTEST_LOOK_SECONDS)

    def _jitter(self) -> float:
        return 0.9 + 0.2 * self._draw()  # ±10 %

    def is_told_of(self, ref: Ref) -> bool:
        """Tell whether every backend that could answer *ref* tells of changes, now."""
        chain = self._chain
        if chain is None:
            return False
        for link in chain.links:
            if link.why_not(ref) is not None or link.name in self._told_of:
                continue
            watch = self._watches.get(link.name)
            if watch is None or not self._is_live(watch):
                return False
        return True


def _ref(key: tuple[str, str, str | None]) -> Ref:
    return key if isinstance(key, Ref) else Ref(*key)  # type: ignore[arg-type]  # its kind was one when it was kept


def _from(chain: Chain, backend: str) -> frozenset[str]:
    """Give the backends whose answers *backend* could have changed: itself, and those asked after it."""
    names = [link.name for link in chain.links]
    return frozenset(names[names.index(backend) :] if backend in names else names)
