"""
How often one place was asked, what came of it and how long that took: figures of one process, in memory.

Not for records (`audit`), nor for what is exported to a monitoring system (`server/metrics.py`).

Rules of this file:

1. Nothing here knows names of entries or what was answered.
2. Counting takes no lock: where threads count at once the figures may be a few short, never wrong in shape.
3. Time arrives as an argument: seconds that only go up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MINUTES", "Figures", "Meter", "Minute"]

MINUTES = 60
"""How many minutes of the past are told apart."""

_LATEST = 512  # answers whose time is remembered
_TROUBLE = "unavailable"
_TWO = 2  # fewer answers have no quantiles


class Minute(NamedTuple):
    """
    One minute.

    Args:
        asked: questions in it.
        troubles: those among them that came back *unavailable*.
        milliseconds: what one took on average; 0 where nobody asked.
    """

    asked: int = 0
    troubles: int = 0
    milliseconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """
    What is known of one place since this process asks it.

    Args:
        asked: names it was asked for.
        outcomes: how many of those came to what: `found`, `absent`, `denied`, `unavailable`, `invalid`.
        median_ms, slowest_ms: of the last 512 answers: the middle one, and what 99 of 100 stay under; None
            where there is none.
        answered: seconds since its last answer; None where it never gave one.
        silent: seconds since it began to be unavailable; None while it answers, or was never asked.
        minutes: the last 60, oldest first; the last one is under way.
    """

    asked: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    median_ms: float | None = None
    slowest_ms: float | None = None
    answered: float | None = None
    silent: float | None = None
    minutes: tuple[Minute, ...] = ()


class Meter:
    """Count the questions to one place. Threads: may be used from several at once."""

    __slots__ = ("_answered", "_latest", "_minutes", "_outcomes", "_silent")

    def __init__(self) -> None:
        self._outcomes: dict[str, int] = {}
        self._latest: deque[float] = deque(maxlen=_LATEST)
        self._minutes: dict[int, list[float]] = {}
        self._answered: float | None = None
        self._silent: float | None = None

    def note(self, outcome: str, seconds: float, now: float) -> None:
        """
        Count one question.

        Args:
            outcome: what it came to.
            seconds: how long that took.
            now: when it did, in seconds that only go up.
        """
        outcomes = self._outcomes
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        row = self._minutes.get(int(now // 60)) or self._begun(int(now // 60))
        row[0] += 1
        row[2] += seconds
        if outcome == _TROUBLE:
            row[1] += 1
            if self._silent is None:
                self._silent = now
            return
        self._latest.append(seconds)
        self._answered, self._silent = now, None

    def _begun(self, minute: int) -> list[float]:
        row = self._minutes.setdefault(minute, [0, 0, 0.0])
        for old in [one for one in tuple(self._minutes) if one <= minute - MINUTES]:
            self._minutes.pop(old, None)
        return row

    def figures(self, now: float) -> Figures:
        """Give what is known at *now*."""
        from statistics import quantiles  # noqa: PLC0415 -- with all it brings, 0.7 MB of an agent that nobody asks

        outcomes, latest = dict(self._outcomes), list(self._latest)
        cuts = quantiles(latest, n=100) if len(latest) >= _TWO else latest * 99
        answered, silent = self._answered, self._silent
        return Figures(
            asked=sum(outcomes.values()),
            outcomes=outcomes,
            median_ms=cuts[49] * 1000 if cuts else None,
            # Beyond the slowest there is nothing: a quantile of few is only extrapolated.
            slowest_ms=min(cuts[98], max(latest)) * 1000 if cuts else None,
            answered=None if answered is None else now - answered,
            silent=None if silent is None else now - silent,
            minutes=tuple(self._past(int(now // 60))),
        )

    def _past(self, minute: int) -> Iterator[Minute]:
        for one in range(minute - MINUTES + 1, minute + 1):
            asked, troubles, seconds = self._minutes.get(one) or (0, 0, 0.0)
            yield Minute(int(asked), int(troubles), seconds / asked * 1000 if asked else 0.0)
