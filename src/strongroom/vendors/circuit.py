"""
Decide when a place is asked and when a question is asked again. Pure: no I/O, time comes as an argument.

Rules of this file:

1. `FAILURES_TO_OPEN` failures in a row open the circuit; any success in between starts the count anew.
2. An open circuit lets exactly one question through after `hold` (the probe), however many threads ask.
   Its success closes the circuit; its failure holds it for another `hold`.
3. What was under way when the circuit changed does not change it again: only the probe does.
4. A probe that never reports is given up after `lease`, so that nothing stays open for ever.
5. Of every ten first questions at most one may be asked again (`Budget`), with nothing to start from.

Threads: every method may be called from several threads at once.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

__all__ = ["Budget", "Circuit", "Permit"]

FAILURES_TO_OPEN = 5  # in a row
_COST = 10  # one retry costs what ten first questions earn: 10 %
_MOST = 10 * _COST  # retries a quiet hour can save up


class Permit(NamedTuple):
    """
    The leave to ask once. Report on it with `Circuit.report`.

    Args:
        period: how often the circuit had changed when it was given.
        is_probe: the one question that decides whether an open circuit closes.
    """

    period: int
    is_probe: bool = False


class Circuit:
    """
    Stop asking a place that fails, and find out by itself when it is back.

    Args:
        hold_seconds: how long nobody asks before the next probe.
        lease_seconds: how long a probe may take; `hold_seconds` at least.
    """

    def __init__(self, hold_seconds: float, lease_seconds: float = 0.0) -> None:
        self._hold = hold_seconds
        self._lease = max(hold_seconds, lease_seconds)
        self._lock = threading.Lock()
        self._failures = 0
        self._period = 0
        self._probe_at: float | None = None  # None while closed
        self._permit = Permit(0)

    @property
    def is_open(self) -> bool:
        return self._probe_at is not None

    def ask(self, now: float) -> Permit | float:
        """Give the leave to ask now, or the seconds until somebody may, more than 0."""
        if not self.is_open:  # read without the lock: one question more or less does no harm
            return self._permit
        with self._lock:
            probe_at = self._probe_at
            if probe_at is None:
                return self._permit
            if now < probe_at:
                return probe_at - now
            self._probe_at = now + self._lease
            self._period += 1
            return Permit(self._period, is_probe=True)

    def report(self, permit: Permit, now: float, *, is_success: bool | None) -> bool:
        """
        Tell how the question went; give True when the circuit has opened or closed because of it.

        Args:
            permit: what `ask` gave.
            now: the same clock as for `ask`.
            is_success: None when it says nothing of the place; the next question may then be the probe.
        """
        if is_success and not self._failures and not permit.is_probe:
            return False
        with self._lock:
            if permit.period != self._period:
                return False
            if permit.is_probe:
                return self._judge(now, is_success=is_success)
            if is_success is None:
                return False
            self._failures = 0 if is_success else self._failures + 1
            return self._failures >= FAILURES_TO_OPEN and self._open(now)

    def _judge(self, now: float, *, is_success: bool | None) -> bool:
        if is_success:
            self._failures = 0
            self._probe_at = None
            self._period += 1
            self._permit = Permit(self._period)
            return True
        self._probe_at = now if is_success is None else now + self._hold
        return False

    def _open(self, now: float) -> bool:
        self._probe_at = now + self._hold
        self._period += 1
        return True


class Budget:
    """Count what may be asked again: at most one tenth of what was asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._credit = 0

    def earn(self) -> None:
        """Note one first question."""
        with self._lock:
            self._credit = min(self._credit + 1, _MOST)

    def spend(self) -> bool:
        """Take one retry; False when there is none to take."""
        with self._lock:
            if self._credit < _COST:
                return False
            self._credit -= _COST
            return True
