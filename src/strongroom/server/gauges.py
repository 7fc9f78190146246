"""What is measured when figures are asked for: caches, the audit log, keys. `metrics.py` counts the rest."""

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

_KEYS_SECONDS = 60.0
_CACHE = ("hits", "misses", "stale", "evictions", "entries", "bytes", "absences")


def measure(metrics: Metrics, house: House, is_ready: Callable[[], bool]) -> None:
    """Let *metrics* ask *house* for what it can only tell when asked."""
    for name in _CACHE:
        metrics.gauge(f"strongroom_cache_{name}", partial(_cache, house, name))
    metrics.gauge("strongroom_audit_pending", lambda: _audit(house, 0))
    metrics.gauge("strongroom_audit_lag_seconds", lambda: _audit(house, 1))
    metrics.gauge("strongroom_key_age_seconds", _KeyAges(house))
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


def _cache(house: House, name: str) -> Values:
    for deployment in _each(house):
        yield (deployment.name,), float(getattr(deployment.cache.statistics(), name))


def _audit(house: House, which: int) -> Values:
    for deployment in _each(house):
        lag = getattr(deployment.recorder, "lag", None)
        if lag is not None:
            yield (deployment.name,), float(lag()[which])


class _KeyAges:
    """The age of the oldest key of each state. Asking the store counts rows, so it is asked once a minute."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._known: dict[tuple[str, str], datetime] = {}
        self._until = 0.0

    def __call__(self) -> Values:
        if time.monotonic() >= self._until:
            self._known = {labels: made for each in _each(self._house) for labels, made in _oldest(each)}
            self._until = time.monotonic() + _KEYS_SECONDS
        now = datetime.now(timezone.utc)
        for labels, made in self._known.items():
            yield labels, (now - made).total_seconds()


def _oldest(deployment: Deployment) -> list[tuple[tuple[str, str], datetime]]:
    found: dict[tuple[str, str], datetime] = {}
    with suppress(StrongroomError):  # a store that gives no answer now has no figures
        for key in deployment.root.keys.status():
            labels = (deployment.name, key.state)
            found[labels] = min(found.get(labels, key.created_at), key.created_at)
    return list(found.items())
