"""
One version for one run: what a run was given first it is given again (`cache.pin = "run"`).

Rules of this file:

1. A pin is of (dag_id, run_id), as the run says, and of one entry. It is made when an entry is first given,
   after that was decided; every read is decided and recorded as ever.
2. It ends when the entry's own dates or its lease end, when the run has not asked for `max_age`, when the
   entry is flushed or its backend goes, and where room is needed, for the run that asked longest ago.
3. Never pinned: absences, trouble, stale entries, strict ones. Who asks anew (a follower, or
   `--bypass-cache`) is given what stands now, and moves no pin.
4. Memory alone: an agent that starts anew knows of no pins.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, cast

from strongroom.cache import UNKNOWN, boot_seconds
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from datetime import datetime, timedelta

    from strongroom.cache import Cache
    from strongroom.model.entry import Entry
    from strongroom.model.explanation import Remembered
    from strongroom.model.ref import Kind, Ref
    from strongroom.policy import Actor, Run

    Key = tuple[Kind, str, str | None]

__all__ = ["Pinned", "Pins"]

_MAX_PINS = 50_000
_MAX_BYTES = 67_108_864  # 64 MiB of texts, each counted for each run
_PIN_BYTES = 256  # of what stands beside an entry that the cache has, too


class _OfRun:
    """What one run was given."""

    __slots__ = ("asked_at", "bytes", "entries")

    def __init__(self) -> None:
        self.entries: dict[Key, Entry] = {}
        self.asked_at = 0.0
        self.bytes = 0


class Pins:
    """
    What each run was given first.

    Threads: may be used from several at once.

    Args:
        cache: what all read.
        max_age: how long after its last read a run is remembered.
        is_strict: whether an entry is strict.
        clock: wall clock, UTC.
        timer: seconds that only go up.
    """

    def __init__(
        self,
        cache: Cache,
        max_age: timedelta,
        *,
        is_strict: Callable[[Ref, Entry | None], bool],
        clock: Callable[[], datetime],
        timer: Callable[[], float] = boot_seconds,
    ) -> None:
        self.cache = cache
        self.max_age = max_age.total_seconds()
        self.is_strict = is_strict
        self.clock = clock
        self.timer = timer
        self._runs: dict[tuple[str, str], _OfRun] = {}
        self._turn = threading.Lock()
        self._count = self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def view(self, actor: Actor) -> Cache:
        """Give the cache as *actor* sees it: with the pins of its run, where it says of which it is."""
        run = actor.run
        if run is None or run.dag_id is None or run.run_id is None:
            return self.cache
        # It stands where a cache stands, as far as a reader uses one.
        return cast("Cache", Pinned(self, run))

    def held(self, run: tuple[str, str], key: Key) -> Entry | None:
        """Give what *run* was given for *key*, and may be given again."""
        known = self._runs.get(run)
        if known is None:
            return None
        now = self.timer()
        if now - known.asked_at > self.max_age:
            self._end(run)
            return None
        known.asked_at = now
        entry = known.entries.get(key)
        if entry is None or not self._is_over(entry):
            return entry
        with self._turn:
            self._forget(known, key)
        return None

    def keep(self, run: tuple[str, str], key: Key, entry: Entry) -> Entry:
        """Pin *entry* for *run* unless there is one by now; give the one that is pinned."""
        if entry.is_stale or self._is_over(entry) or self.is_strict(cast("Ref", key), entry):
            return entry
        with self._turn:
            known = self._runs.get(run)
            if known is None:
                self._sweep()
                known = self._runs[run] = _OfRun()
            known.asked_at = self.timer()
            kept = known.entries.setdefault(key, entry)
            if kept is entry:
                size = _size(entry)
                known.bytes += size
                self._bytes += size
                self._count += 1
                self._make_room()
        return kept

    def drop(self, *refs: Ref, run: Run | None = None) -> None:
        """Forget *refs*, for every team where they are global; of *run* alone where it is given."""
        wanted = {(ref.kind, ref.name, ref.team) for ref in refs}
        globally = {(ref.kind, ref.name) for ref in refs if ref.team is None}
        with self._turn:
            for name, known in self._runs.items():
                if run is None or name == (run.dag_id, run.run_id):
                    for key in [key for key in known.entries if key in wanted or key[:2] in globally]:
                        self._forget(known, key)

    def drop_from(self, backends: Collection[str]) -> None:
        """Forget what *backends* answered."""
        with self._turn:
            for known in self._runs.values():
                for key in [key for key, entry in known.entries.items() if entry.backend in backends]:
                    self._forget(known, key)

    def clear(self) -> None:
        """Forget everything."""
        with self._turn:
            self._runs.clear()
            self._count = self._bytes = 0

    # --- parts -------------------------------------------------------------------------------------

    def _is_over(self, entry: Entry) -> bool:
        now, known = self.clock(), entry.metadata
        dates = [date for date in (known.not_after, known.expires_at) if date is not None]
        if entry.lifetime is not None:
            dates.append(entry.read_at + entry.lifetime)
        return any(date <= now for date in dates)

    def _forget(self, known: _OfRun, key: Key) -> None:
        entry = known.entries.pop(key, None)
        if entry is not None:
            size = _size(entry)
            known.bytes -= size
            self._bytes -= size
            self._count -= 1

    def _end(self, run: tuple[str, str]) -> None:
        with self._turn:
            self._leave(run)

    def _leave(self, run: tuple[str, str]) -> None:
        known = self._runs.pop(run, None)
        if known is not None:
            self._bytes -= known.bytes
            self._count -= len(known.entries)

    def _sweep(self) -> None:
        before = self.timer() - self.max_age
        for run in [run for run, known in self._runs.items() if known.asked_at < before]:
            self._leave(run)

    def _make_room(self) -> None:
        while (self._count > _MAX_PINS or self._bytes > _MAX_BYTES) and len(self._runs) > 1:
            self._leave(min(self._runs, key=lambda run: self._runs[run].asked_at))
        if self._count > _MAX_PINS or self._bytes > _MAX_BYTES:
            for name in list(self._runs):
                self._leave(name)


class Pinned:
    """
    The common cache as one run sees it; as far as `Reader` uses a cache, it is one.

    Threads: as `Cache`.
    """

    def __init__(self, pins: Pins, run: Run) -> None:
        self.is_local = pins.cache.is_local
        self._pins = pins
        self._cache = pins.cache
        self._run = (cast("str", run.dag_id), cast("str", run.run_id))

    @property
    def is_batched(self) -> bool:
        """As of `Cache`."""
        return self._cache.is_batched

    def peek(self, key: Key) -> Entry | None:
        """Give what the run is given for *key*; None where that is not known."""
        return self._pins.held(self._run, key)

    def recall(self, key: Key) -> object:
        """Give what `Cache.recall` gives, or what is pinned."""
        held = self._pins.held(self._run, key)
        if held is not None:
            return held
        found = self._cache.recall(key)
        return found if found is None or found is UNKNOWN else self._kept(key, cast("Entry", found))

    def read(self, ref: Ref) -> Entry | None:
        """Give what is pinned, or what `Cache.read` gives, which is pinned then. Raises as that."""
        held = self._pins.held(self._run, ref)
        if held is not None:
            return held
        found = self._cache.read(ref)
        return None if found is None else self._kept(ref, found)

    def refresh(self, ref: Ref) -> Entry | None:
        """Ask anew; no pin counts, and none is moved. Raises as `Cache.refresh`."""
        return self._cache.refresh(ref)

    def read_many(self, refs: Sequence[Ref], *, anew: bool = False) -> list[Entry | StrongroomError | None]:
        """Give for each of *refs* what `read` (*anew*: `refresh`) would give, or raise."""
        if anew:
            return self._cache.read_many(refs, anew=True)
        told: list[Entry | StrongroomError | None] = [self._pins.held(self._run, ref) for ref in refs]
        places = [place for place, entry in enumerate(told) if entry is None]
        found = self._cache.read_many([refs[place] for place in places])
        for place, answer in zip(places, found, strict=True):
            is_entry = answer is not None and not isinstance(answer, StrongroomError)
            told[place] = self._kept(refs[place], cast("Entry", answer)) if is_entry else answer
        return told

    def remembered(self, ref: Ref) -> Remembered | None:
        """Tell what the common cache holds."""
        return self._cache.remembered(ref)

    def _kept(self, key: Key, entry: Entry) -> Entry:
        return self._pins.keep(self._run, key, entry)


def _size(entry: Entry) -> int:
    return sys.getsizeof(entry.secret.reveal()) + _PIN_BYTES
