"""
A stacked picture of reads over time, as geometry in attributes: no script, no style a policy forbids.

Not for counting (`service/series.py`), nor for the picture that one may zoom (`static/reads.js`).

Rules of this file:

1. The baseline is zero, and three rules say what the height means.
2. A time in which nobody counted is a gap: no line is drawn across it.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, tzinfo

    from strongroom.service.series import Minute, Span

__all__ = ["Chart", "chart_of"]

WIDTH, HEIGHT = 1000, 150
_RULES = 3.6  # rules that fit into the height: three, and some air
_LABELS = 7
_STEPS = (1, 2, 4, 5, 10)
_FINE, _COARSE = 360, 5  # minutes up to which each is a point, and how many are one beyond


class Chart(NamedTuple):
    """
    The picture.

    Args:
        cache, backend, stale: paths of the three layers.
        rules: what the three rules stand for, the highest first.
        labels: times below it, the oldest first.
        least, most: answers a minute, for the sentence.
    """

    cache: str
    backend: str
    stale: str
    rules: tuple[int, ...]
    labels: tuple[str, ...]
    least: int
    most: int


class _Step(NamedTuple):
    """How long a point stands for, and how many minutes of it were counted."""

    seconds: int
    looked: Mapping[float, int]


class _Point(NamedTuple):
    """One moment of the picture: where it stands, and how many answers a minute of each layer."""

    x: float
    backend: float
    stale: float
    cache: float


def chart_of(span: Span, zone: tzinfo) -> Chart | None:
    """Give the picture of *span*; None where less than two minutes were counted."""
    minutes = span.minutes[:-1]  # the one that goes on would look like a fall
    if len(minutes) < 2:  # noqa: PLR2004 -- a line has two ends
        return None
    every = 1 if len(minutes) <= _FINE else _COARSE
    points = span._replace(minutes=minutes).every(every)
    looked = Counter(minute.at.timestamp() // (every * 60) for minute in minutes)
    start, end = points[0].at, max(points[-1].at, points[0].at + timedelta(minutes=1))
    runs = list(_runs(points, _Step(every * 60, looked), start, (end - start).total_seconds()))
    most = max((one.backend + one.stale + one.cache for run in runs for one in run), default=0.0)
    step = _step(most)
    scale = HEIGHT / _RULES / step
    return Chart(
        cache=_layer(runs, scale, 2),
        backend=_layer(runs, scale, 0),
        stale=_layer(runs, scale, 1),
        rules=(3 * step, 2 * step, step),
        labels=tuple(_labels(start, end, zone)),
        least=round(min((one.backend + one.stale + one.cache for run in runs for one in run), default=0.0)),
        most=round(most),
    )


def _runs(points: Sequence[Minute], step: _Step, start: datetime, seconds: float) -> Iterator[list[_Point]]:
    """Give the points of each time without a gap, each as answers a minute."""
    run: list[_Point] = []
    last = None
    for one in points:
        if last is not None and (one.at - last).total_seconds() > step.seconds:
            yield run
            run = []
        count = step.looked[one.at.timestamp() // step.seconds]
        x = (one.at - start).total_seconds() / seconds * WIDTH
        run.append(_Point(x, one.backend / count, one.stale / count, one.cache / count))
        last = one.at
    yield run


def _layer(runs: Sequence[Sequence[_Point]], scale: float, number: int) -> str:
    """Give the path of one layer: along its upper edge, and back along its lower one."""
    parts = []
    for run in runs:
        wide = list(run) if len(run) > 1 else [run[0], run[0]._replace(x=min(WIDTH, run[0].x + 2))]
        lower = [HEIGHT - scale * sum(one[1 : 1 + number]) for one in wide]
        upper = [HEIGHT - scale * sum(one[1 : 2 + number]) for one in wide]
        if lower == upper:
            continue
        there = " L".join(f"{one.x:.0f} {y:.1f}" for one, y in zip(wide, upper, strict=True))
        back = " L".join(
            f"{one.x:.0f} {y:.1f}" for one, y in zip(reversed(wide), reversed(lower), strict=True)
        )
        parts.append(f"M{there} L{back}Z")
    return "".join(parts)


def _step(most: float) -> int:
    """Give a round number of which 3.6 are no less than *most*."""
    power = 1
    while True:
        for step in _STEPS:
            if step * power * _RULES >= most:
                return step * power
        power *= 10


def _labels(start: datetime, end: datetime, zone: tzinfo) -> Iterator[str]:
    length = end - start
    minutes = int(length.total_seconds() // 60)
    count = max(2, min(_LABELS, minutes + 1))
    for number in range(count):
        at = (start + length * number / (count - 1)).astimezone(zone)
        yield f"{at:%H:%M}"
