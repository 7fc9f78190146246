"""
Who follows which entry, and waking them when another one is at hand.

Not for looking whether anything changed (`freshness.py`).

Rules of this file:

1. A follower is woken by what the cache remembers, whoever asked for it, and only by what differs from what
   it remembered before: another value, an absence, an entry after an absence.
2. What an entry refers to is followed with it: what its reader is given changes with each.
3. A callback that fails harms nobody else.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.cache import Cache
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref

    Wake = Callable[[Ref, str | None], None]

__all__ = ["Following"]


class _Followed:
    """One Ref that is followed: what was remembered of it last, and whom to wake."""

    __slots__ = ("failures", "is_known", "parts", "seen", "wakes")

    def __init__(self) -> None:
        self.wakes: dict[object, Wake] = {}
        self.is_known = False
        self.seen: Entry | None = None
        self.parts: dict[Ref, Callable[[], None]] = {}
        self.failures = 0


class Following:
    """
    Those who follow entries of one cache.

    Args:
        cache: what is served; it tells here what it remembers.
        on_new: told that a Ref is followed which was not before, and whether it is remembered.

    Threads: may be used from several threads at once.
    """

    def __init__(self, cache: Cache, on_new: Callable[[Ref, bool], None]) -> None:
        self._cache = cache
        self._on_new = on_new
        self._followed: dict[Ref, _Followed] = {}
        self._lock = threading.RLock()
        cache.on_kept = self._kept

    def __len__(self) -> int:
        return len(self._followed)

    def __contains__(self, ref: Ref) -> bool:
        return ref in self._followed

    def refs(self) -> frozenset[Ref]:
        """Give all that are followed."""
        with self._lock:
            return frozenset(self._followed)

    def touched_by(self, refs: Iterable[Ref]) -> list[Ref]:
        """Give those followed that a change of *refs* could change: a global one counts for every team."""
        news = set(refs)
        shared = {(ref.kind, ref.name) for ref in news if ref.team is None}
        return [ref for ref in self.refs() if ref in news or (ref.kind, ref.name) in shared]

    def follow(self, ref: Ref, wake: Wake) -> Callable[[], None]:
        """Call *wake* as `Host.follow` says; give what ends that."""
        token = object()
        with self._lock:
            followed = self._followed.get(ref)
            is_new = followed is None
            if followed is None:
                followed = self._followed[ref] = _Followed()
                entry = self._cache.glance(ref)
                if entry is not None:
                    followed.seen, followed.is_known = entry, True
                    self._follow_parts(ref, followed, entry)
            followed.wakes[token] = wake
            is_known = followed.is_known
        if is_new:
            self._on_new(ref, is_known)
        return partial(self._unfollow, ref, token)

    def _unfollow(self, ref: Ref, token: object) -> None:
        with self._lock:
            followed = self._followed.get(ref)
            if followed is None or followed.wakes.pop(token, None) is None or followed.wakes:
                return
            del self._followed[ref]
            ends = list(followed.parts.values())
        for end in ends:
            end()

    def failed(self, ref: Ref) -> int | None:
        """Count that *ref* could not be looked at; give how often before in a row, None if not followed."""
        with self._lock:
            followed = self._followed.get(ref)
            if followed is None:
                return None
            followed.failures += 1
            return followed.failures - 1

    # --- what the cache tells ----------------------------------------------------------------------

    def _kept(self, ref: Ref, entry: Entry | None) -> None:
        if ref not in self._followed:  # read without the lock: nearly nothing is followed
            return
        with self._lock:
            followed = self._followed.get(ref)
            if followed is None:
                return
            is_news = followed.is_known and not _is_same(followed.seen, entry)
            followed.seen, followed.is_known, followed.failures = entry, True, 0
            self._follow_parts(ref, followed, entry)
            wakes = list(followed.wakes.values()) if is_news else []
        _wake(wakes, ref, entry)

    def _follow_parts(self, ref: Ref, followed: _Followed, entry: Entry | None) -> None:
        parts = [part for part in _parts(ref, entry) if part not in self._above(ref)]
        for part in [part for part in followed.parts if part not in parts]:
            followed.parts.pop(part)()
        for part in parts:
            if part not in followed.parts:
                followed.parts[part] = self.follow(part, partial(self._part_changed, ref))

    def _above(self, ref: Ref) -> set[Ref]:
        """Give *ref* and whatever refers to it, so that a circle is not followed round and round."""
        above, line = {ref}, [ref]
        while line:
            here = line.pop()
            for other, followed in self._followed.items():
                if here in followed.parts and other not in above:
                    above.add(other)
                    line.append(other)
        return above

    def _part_changed(self, whole: Ref, _part: Ref, _version: str | None) -> None:
        with self._lock:
            followed = self._followed.get(whole)
            if followed is None or not followed.is_known:
                return
            wakes, entry = list(followed.wakes.values()), followed.seen
        _wake(wakes, whole, entry)


def _wake(wakes: Iterable[Wake], ref: Ref, entry: Entry | None) -> None:
    for wake in wakes:
        # Somebody else's code, on the thread of a reader who has nothing to do with it.
        with suppress(Exception):
            wake(ref, None if entry is None else entry.version)


def _is_same(entry: Entry | None, other: Entry | None) -> bool:
    if entry is None or other is None:
        return entry is other
    return (entry.version, entry.backend) == (other.version, other.backend) and entry.secret == other.secret


def _parts(ref: Ref, entry: Entry | None) -> tuple[Ref, ...]:
    if entry is None or not entry.metadata.references:
        return ()
    from strongroom.model import template  # noqa: PLC0415 -- references are off by default

    with suppress(StrongroomError):
        return template.references_of(ref, entry.secret.reveal())
    return ()
