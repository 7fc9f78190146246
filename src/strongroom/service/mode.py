"""
How a process runs, changed while it does.

Not for who may change it (`house.py`, `agent/admin.py`). An agent has one and no house, and its memory
counts, so this file imports nothing of either.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOG_LEVELS", "Mode", "level_of"]

LOG_LEVELS = ("debug", "info", "warning", "error")


class Mode:
    """
    How the process runs, changed while it does.

    Threads: may be used from several threads at once.

    Args:
        log_level: one of `LOG_LEVELS`.

    Attributes:
        read_only: no entry and nothing of who may is changed for the time being.
        log_level: what is logged.
    """

    def __init__(self, *, log_level: str = "info") -> None:
        self.read_only = False
        self.log_level = level_of(log_level)
        self._callbacks: list[Callable[[Mode], None]] = []
        self._lock = threading.Lock()

    def watch(self, callback: Callable[[Mode], None]) -> None:
        """Call *callback* now and after every change; it must not block or raise."""
        self._callbacks.append(callback)
        callback(self)

    def change(self, *, read_only: bool | None, log_level: str | None) -> None:
        """Set what is given. Only for who has decided whether that may be, and recorded it."""
        with self._lock:
            if read_only is not None:
                self.read_only = read_only
            if log_level is not None:
                self.log_level = log_level
        for callback in list(self._callbacks):
            callback(self)


def level_of(name: str) -> str:
    """
    Give *name* if it is one of `LOG_LEVELS`.

    Raises:
        InvalidInputError: there is no such log level.
    """
    if name not in LOG_LEVELS:
        raise InvalidInputError("there is no such log level", hint=f"one of {', '.join(LOG_LEVELS)}")
    return name
