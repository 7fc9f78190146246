"""
What the server counts, in the form Prometheus reads. Every figure is described in docs/metrics.md.

Rules of this file:

1. Counting is adding to a plain number on the loop; the form is made when somebody asks for it.
2. No label holds a name of an entry, an actor or an address, so that figures may be kept by whoever runs
   the monitoring. `server.metrics_names` adds names of entries, for a bounded number of them.
3. Labels are bounded: routes by their template, backends and deployments by the settings.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client.core import Metric

    from strongroom.server.request import Request

    Gauge = Callable[[], Iterable[tuple[tuple[str, ...], float]]]

__all__ = ["CONTENT_TYPE", "FIGURES", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_MAX_NAMES = 10_000

FIGURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "strongroom_reads": ("Refs read by /v1/read", ("deployment", "outcome", "backend")),
    "strongroom_entry_reads": (
        "Refs read by name; only with server.metrics_names",
        ("deployment", "kind", "name"),
    ),
    "strongroom_requests": ("requests that ended", ("route", "method", "status")),
    "strongroom_request_seconds": ("how long requests took", ("route",)),
    "strongroom_refusals": ("requests that ended with an error", ("code",)),
    "strongroom_connections": ("connections that are open", ()),
    "strongroom_connections_closed": ("connections the server ended", ("reason",)),
    "strongroom_cache_hits": ("answers out of the cache", ("deployment",)),
    "strongroom_cache_misses": ("questions to the backends", ("deployment",)),
    "strongroom_cache_stale": ("stale entries given out in an outage", ("deployment",)),
    "strongroom_cache_evictions": ("entries pushed out by the bounds", ("deployment",)),
    "strongroom_cache_entries": ("entries held", ("deployment",)),
    "strongroom_cache_bytes": ("size of the entries held", ("deployment",)),
    "strongroom_cache_absences": ("absences held", ("deployment",)),
    "strongroom_audit_pending": ("records that wait for their sync", ("deployment",)),
    "strongroom_audit_lag_seconds": ("how long the oldest of them waits", ("deployment",)),
    "strongroom_key_age_seconds": ("age of the oldest key of the store", ("deployment", "state")),
    "strongroom_sealed": ("1 where no key is loaded that opens the store", ("deployment",)),
    "strongroom_break_glass": ("people who are administrators by break-glass now", ("deployment",)),
    "strongroom_key_wraps": ("values the most used sealing key has sealed", ("deployment",)),
    "strongroom_key_wrappers": ("outer keys that open the sealing key with fewest", ("deployment",)),
    "strongroom_backup_age_seconds": ("age of the newest backup in backup.folder", ("deployment",)),
    "strongroom_connections_tested": ("connections by their last test", ("deployment", "outcome")),
    "strongroom_read_only": ("1 in read-only mode", ()),
    "strongroom_ready": ("1 when /health/ready says so", ()),
    "strongroom_started_seconds": ("when the server started, since 1970", ()),
}
_COUNTERS = frozenset(
    {
        "strongroom_reads",
        "strongroom_entry_reads",
        "strongroom_requests",
        "strongroom_refusals",
        "strongroom_connections_closed",
        "strongroom_cache_hits",
        "strongroom_cache_misses",
        "strongroom_cache_stale",
        "strongroom_cache_evictions",
    }
)


class _Histogram:
    """How many took how long."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(_SECONDS, seconds)] += 1
        self.total += seconds


class Metrics:
    """
    The figures of one server.

    Args:
        with_names: count reads by name too.

    Attributes:
        reads: by (deployment, outcome, backend), for the read path to add to.
        closed: connections the server ended, by reason.

    Threads: for the loop alone; `render` reads from any thread.
    """

    def __init__(self, *, with_names: bool = False) -> None:
        self.reads: Counter[tuple[str, str, str]] = Counter()
        self.closed: Counter[str] = Counter()
        self.with_names = with_names
        self._names: Counter[tuple[str, str, str]] = Counter()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._refusals: Counter[str] = Counter()
        self._seconds: dict[str, _Histogram] = {}
        self._gauges: dict[str, Gauge] = {}
        self._started = time.time()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Figures(self))
        ProcessCollector(registry=self._registry)

    def gauge(self, name: str, measure: Gauge) -> None:
        """Ask *measure* for labels and value of the figure *name* whenever figures are wanted."""
        if name not in FIGURES:
            raise KeyError(name)
        self._gauges[name] = measure

    def ended(self, request: Request, method: str, seconds: float) -> None:
        """Count a request that ended."""
        self.timed(request.template or "none", method, request.status, seconds)
        if request.code:
            self._refusals[request.code] += 1

    def timed(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request by its route."""
        self._requests[route, method, status] += 1
        histogram = self._seconds.get(route)
        if histogram is None:
            histogram = self._seconds[route] = _Histogram()
        histogram.add(seconds)

    def named(self, deployment: str, kind: str, name: str) -> None:
        """Count a read of one entry, where names may be told."""
        key = (deployment, kind, name)
        if key in self._names or len(self._names) < _MAX_NAMES:
            self._names[key] += 1

    def render(self) -> bytes:
        """Give all figures in Prometheus' text form."""
        return generate_latest(self._registry)

    def figures(self) -> Iterator[tuple[str, Iterable[tuple[tuple[str, ...], float]]]]:
        """Give every figure but the histogram: its name, and its values by labels."""
        yield "strongroom_reads", list(self.reads.items())
        if self.with_names:
            yield "strongroom_entry_reads", list(self._names.items())
        yield (
            "strongroom_requests",
            [
                ((route, method, str(status)), count)
                for (route, method, status), count in list(self._requests.items())
            ],
        )
        yield "strongroom_refusals", [((code,), count) for code, count in list(self._refusals.items())]
        yield "strongroom_connections_closed", [((why,), count) for why, count in list(self.closed.items())]
        yield "strongroom_started_seconds", [((), self._started)]
        for name, measure in self._gauges.items():
            yield name, measure()

    def histograms(self) -> list[tuple[str, _Histogram]]:
        """Give how long requests took, by route."""
        return list(self._seconds.items())


class _Figures(Collector):
    """The figures as Prometheus' client collects them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        for name, values in self._metrics.figures():
            text, labels = FIGURES[name]
            family = (CounterMetricFamily if name in _COUNTERS else GaugeMetricFamily)(
                name, text, labels=labels
            )
            for given, value in values:
                family.add_metric(list(given), value)
            yield family
        text, labels = FIGURES["strongroom_request_seconds"]
        histogram = HistogramMetricFamily("strongroom_request_seconds", text, labels=labels)
        for route, found in self._metrics.histograms():
            count, buckets = 0, []
            for bound, inside in zip((*_SECONDS, float("inf")), found.counts, strict=True):
                count += inside
                buckets.append(("+Inf" if bound == float("inf") else repr(bound), float(count)))
            histogram.add_metric([route], buckets, found.total)
        yield histogram
