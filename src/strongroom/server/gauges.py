"""What is measured when figures are asked for: caches, the record, keys, backups. `metrics.py` counts."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.server.metrics import Metrics
    from strongroom.service.house import Deployment, House

    Values = Iterator[tuple[tuple[str, ...], float]]

__all__ = ["measure"]

_ASKED_SECONDS = 60.0
_CACHE = ("hits", "misses", "stale", "evictions", "entries", "bytes", "absences")


def measure(metrics: Metrics, house: House, is_ready: Callable[[], bool]) -> None:
    """Let *metrics* ask *house* for what it can only tell when asked."""
    for name in _CACHE:
        metrics.gauge(f"strongroom_cache_{name}", partial(_cache, house, name))
    metrics.gauge("strongroom_audit_pending", lambda: _audit(house, 0))
    metrics.gauge("strongroom_audit_lag_seconds", lambda: _audit(house, 1))
    asked = _Asked(house)
    metrics.gauge("strongroom_key_age_seconds", asked.ages)
    metrics.gauge("strongroom_key_wraps", asked.wraps)
    metrics.gauge("strongroom_key_wrappers", asked.wrappers)
    metrics.gauge("strongroom_backup_age_seconds", asked.backups)
    metrics.gauge("strongroom_connections_tested", lambda: _tested(house))
    metrics.gauge("strongroom_sealed", lambda: _sealed(house))
    metrics.gauge("strongroom_break_glass", lambda: _broken(house))
    metrics.gauge("strongroom_read_only", lambda: [((), float(house.mode.read_only))])
    metrics.gauge("strongroom_ready", lambda: [((), float(is_ready()))])


def _each(house: House) -> list[Deployment]:
    return [house.deployment(name) for name in house.names]


def _sealed(house: House) -> Values:
    for name in house.names:
        yield (name,), 0.0
    for name in house.seals.names:
        yield (name,), 1.0


def _broken(house: House) -> Values:
    for deployment in _each(house):
        with suppress(StrongroomError):  # rows that cannot be believed have no figures
            yield (deployment.name,), float(len(deployment.access.break_glass.list()))


def _tested(house: House) -> Values:
    for deployment in _each(house):
        with suppress(StrongroomError):  # as `_broken`
            last = [found[0] for found in deployment.trials.all().values() if found]
            good = sum(trial.is_ok for trial in last)
            yield (deployment.name, "ok"), float(good)
            yield (deployment.name, "failed"), float(len(last) - good)


def _cache(house: House, name: str) -> Values:
    for deployment in _each(house):
        yield (deployment.name,), float(getattr(deployment.cache.statistics(), name))


def _audit(house: House, which: int) -> Values:
    for deployment in _each(house):
        lag = getattr(deployment.recorder, "lag", None)
        if lag is not None:
            yield (deployment.name,), float(lag()[which])


class _Asked:
    """What is known of keys and backups. It costs a question to the store or the disk: once a minute."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._until = 0.0
        self._made: dict[tuple[str, str], datetime] = {}
        self._wraps: dict[str, int] = {}
        self._wrappers: dict[str, int] = {}
        self._backups: dict[str, datetime] = {}

    def ages(self) -> Values:
        """The age of the oldest key of each state."""
        self._look()
        now = datetime.now(timezone.utc)
        for labels, made in self._made.items():
            yield labels, (now - made).total_seconds()

    def wraps(self) -> Values:
        """How many values the most used sealing key has sealed."""
        self._look()
        for name, count in self._wraps.items():
            yield (name,), float(count)

    def wrappers(self) -> Values:
        """How many outer keys open the sealing key that has fewest."""
        self._look()
        for name, count in self._wrappers.items():
            yield (name,), float(count)

    def backups(self) -> Values:
        """The age of the newest backup."""
        self._look()
        now = datetime.now(timezone.utc)
        for name, at in self._backups.items():
            yield (name,), (now - at).total_seconds()

    def _look(self) -> None:
        if time.monotonic() < self._until:
            return
        self._until = time.monotonic() + _ASKED_SECONDS
        self._made, self._wraps, self._wrappers, self._backups = {}, {}, {}, {}
        for each in _each(self._house):
            with suppress(StrongroomError):  # a store that gives no answer now has no figures
                self._take_keys(each)
            with suppress(StrongroomError, OSError):
                at = each.root.backups.newest()
                if at is not None:
                    self._backups[each.name] = at

    def _take_keys(self, each: Deployment) -> None:
        keys = each.root.keys.status()
        for key in keys:
            labels = (each.name, key.state)
            self._made[labels] = min(self._made.get(labels, key.created_at), key.created_at)
        sealing = [key for key in keys if key.state == "active"]
        if sealing:
            self._wraps[each.name] = max(key.wraps for key in sealing)
            self._wrappers[each.name] = min(len(key.wrapped_by) for key in sealing)
