"""
A refused login, and how long nobody tries it again: a lock-out by the store would be worse than a wait.

Not for places that give no answer: those have a circuit (`circuit.py`), and no answer is no refusal.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from strongroom.errors import StrongroomError

__all__ = ["FIRST_SECONDS", "LAST_SECONDS", "Pause"]

FIRST_SECONDS = 5.0  # after a refusal; each further one doubles it
LAST_SECONDS = 60.0


class _Refusal(NamedTuple):
    error: StrongroomError
    until: float
    seconds: float


class Pause:
    """
    Remember a refusal for whoever comes next.

    Args:
        clock: seconds that only go up.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._refusal: _Refusal | None = None

    @property
    def is_on(self) -> bool:
        """Whether a refusal is so young that nobody should try again."""
        return self._refusal is not None and self._clock() < self._refusal.until

    def check(self) -> None:
        """
        Give nobody a try while the pause lasts.

        Raises:
            The refusal, without the frames of the login that met it.
        """
        refusal = self._refusal
        if refusal is not None and self._clock() < refusal.until:
            raise copy(refusal.error)

    def begin(self, error: StrongroomError, *, wait: timedelta | None = None) -> None:
        """
        Let nobody log in for a while.

        Args:
            error: the refusal, for those who come meanwhile.
            wait: as long as this, where the store says how long.
        """
        before = self._refusal
        seconds = FIRST_SECONDS if before is None else min(before.seconds * 2, LAST_SECONDS)
        until = self._clock() + (seconds if wait is None else wait.total_seconds())
        self._refusal = _Refusal(copy(error), until, seconds)

    def end(self) -> None:
        """Forget the refusal: a login worked, or there is another one now."""
        self._refusal = None
