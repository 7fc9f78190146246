"""
One snapshot of what DAG files read while they are parsed, for all parsers together.

A DAG file is parsed again and again, whether its runs need the value or not. What stands at its top level is
answered from here, for a time of its own, so that parsing asks the stores seldom however short the lifetimes
of values are. Decisions and records are made as for every read (`reading.py`).

Rules of this file:

1. An entry, or an absence, is given while it is not older than the lifetime of the snapshot, counted from
   when its store was asked, whatever its own lifetime. Dates it carries, and what its store lends it for, end
   it earlier.
2. Strict entries are never kept, nor is trouble.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.backend import Backend
from strongroom.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from strongroom.cache import Lifetimes
    from strongroom.errors import StrongroomError
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref

__all__ = ["renew", "snapshot_of"]

_NOT_KEPT = timedelta(0)


def snapshot_of(
    cache: Cache,
    lifetime: timedelta,
    *,
    is_strict: Callable[[Ref, Entry | None], bool],
    clock: Callable[[], datetime],
) -> Cache:
    """
    Give a snapshot in front of *cache*.

    Args:
        cache: what all others read; it is asked for what the snapshot does not hold.
        lifetime: how old an answer of the snapshot is at most; zero keeps nothing.
        is_strict: whether an entry is strict.
        clock: wall clock, UTC.
    """
    # No jitter: the bound is one, and it is one agent that asks, not a herd.
    return Cache(*_parts(cache, lifetime, is_strict), clock=clock, draw=lambda: 0.5)


def renew(
    snapshot: Cache, cache: Cache, lifetime: timedelta, *, is_strict: Callable[[Ref, Entry | None], bool]
) -> None:
    """Let *snapshot* begin anew, empty, by settings that may be others. Arguments as `snapshot_of`."""
    snapshot.use(*_parts(cache, lifetime, is_strict))
    snapshot.clear()


def _parts(
    cache: Cache, lifetime: timedelta, is_strict: Callable[[Ref, Entry | None], bool]
) -> tuple[Backend, Lifetimes]:
    lifetimes = replace(cache.lifetimes, ttl=lifetime, absent_ttl=lifetime, stale_if_error=timedelta(0))
    return _Behind(cache, lifetime, is_strict), lifetimes


class _Behind(Backend):
    """The common cache, as the snapshot asks it."""

    def __init__(
        self, cache: Cache, lifetime: timedelta, is_strict: Callable[[Ref, Entry | None], bool]
    ) -> None:
        self.name = cache.name
        self.is_local = cache.is_local
        self._cache = cache
        self._lifetime = lifetime
        self._is_strict = is_strict

    @property
    def is_batched(self) -> bool:
        return self._cache.is_batched

    def read(self, ref: Ref) -> Entry | None:
        return self._lent(ref, self._cache.read(ref))

    def read_many(self, refs: Sequence[Ref]) -> list[Entry | StrongroomError | None]:
        found = self._cache.read_many(refs)
        return [
            answer if isinstance(answer, Exception) else self._lent(ref, answer)
            for ref, answer in zip(refs, found, strict=True)
        ]

    def _lent(self, ref: Ref, entry: Entry | None) -> Entry | None:
        if entry is None:
            return None
        if self._is_strict(ref, entry):
            return replace(entry, lifetime=_NOT_KEPT)
        times = self._cache.times(ref)
        age = timedelta(0) if times is None else timedelta(seconds=times[0])
        return replace(entry, fresh_for=max(timedelta(0), self._lifetime - age))
