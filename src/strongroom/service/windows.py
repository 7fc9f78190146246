"""
Have counted uses recorded once their windows end, whoever reads meanwhile.

Not for what a window is, nor for counting (`reading.py`).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.service.reading import Reading

__all__ = ["Windows"]

_TICK_SECONDS = 1.0  # between two looks


class Windows:
    """
    Close the windows of *readings* as they end; on a thread of its own, a daemon.

    Args:
        readings: whose uses are counted.
        on_trouble: told why counts are not on record; on any thread.
    """

    def __init__(
        self, readings: Sequence[Reading], on_trouble: Callable[[StrongroomError], None] = lambda _error: None
    ) -> None:
        self._readings = tuple(readings)
        self._on_trouble = on_trouble
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, reading: Reading) -> None:
        """Look at *reading* too."""
        self._readings = (*self._readings, reading)

    def remove(self, reading: Reading) -> None:
        """Record what is still counted of *reading*, and look at it no more."""
        self._readings = tuple(one for one in self._readings if one is not reading)
        self._close(reading, is_last=True)

    def start(self) -> None:
        """Begin to look. Safe to call twice."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="strongroom-uses", daemon=True)
            self._thread.start()

    def _look(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            self._close_ended(is_last=False)

    def _close_ended(self, *, is_last: bool) -> None:
        for reading in self._readings:
            self._close(reading, is_last=is_last)

    def _close(self, reading: Reading, *, is_last: bool) -> None:
        # A count that cannot be recorded now is one that its first use already stands for.
        try:
            reading.close_windows(is_last=is_last)
        except StrongroomError as error:
            self._on_trouble(error)

    def close(self) -> None:
        """Record what is still counted, and look no more. Safe to call twice."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._close_ended(is_last=True)
