"""
What a server does for keys by itself: finish what was begun, and replace what is old.

Not for what a key is or may do: `keys.py`.

Rules of this file:

1. A job that nobody works on is gone on with: one that a person began from afar, one that was killed.
2. A key that has come to its age is replaced. One that has sealed too much is replaced by whoever wrote,
   server or not: `barrier/`.
3. Nothing is changed while the server changes nothing (read-only mode).
4. Trouble is told once, and tried again; it stops nobody.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.service.house import Deployment

__all__ = ["Keeper"]

_TICK_SECONDS = 2.0  # between two looks for a job
_AGE_SECONDS = 3600.0  # between two looks at the age of keys
_TROUBLE_SECONDS = 60.0  # before what failed is tried again

_log = logging.getLogger("strongroom.keys")


class Keeper:
    """
    Look after the keys of every open deployment; on a thread of its own, a daemon.

    Args:
        is_read_only: tells whether nothing may be changed for the time being.
    """

    def __init__(self, is_read_only: Callable[[], bool]) -> None:
        self._is_read_only = is_read_only
        self._deployments: dict[str, Deployment] = {}
        self._told: dict[str, str] = {}
        self._again_at: dict[str, float] = {}
        self._age_at = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def heed(self, name: str, deployment: Deployment | None) -> None:
        """Look after *deployment* from now on; None: it was sealed."""
        if deployment is None:
            self._deployments.pop(name, None)
        else:
            self._deployments[name] = deployment

    def start(self) -> None:
        """Begin to look. Safe to call twice."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="strongroom-keys", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End; a job is left where it is, for whoever goes on with it. Safe to call twice."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_TICK_SECONDS):
            if self._is_read_only():
                continue
            is_due = time.monotonic() >= self._age_at
            if is_due:
                self._age_at = time.monotonic() + _AGE_SECONDS
            for name, deployment in list(self._deployments.items()):
                if time.monotonic() >= self._again_at.get(name, 0.0):
                    self._tend(name, deployment, is_due=is_due)

    def _tend(self, name: str, deployment: Deployment, *, is_due: bool) -> None:
        now = datetime.now(timezone.utc)
        try:
            deployment.root.keys.keep(old_at=now if is_due else None, is_ended=lambda: self._is_left(name))
        except ConflictError:
            pass  # another server is at it
        except StrongroomError as error:
            self._again_at[name] = time.monotonic() + _TROUBLE_SECONDS
            self._tell(name, str(error))
        else:
            self._told.pop(name, None)

    def _is_left(self, name: str) -> bool:
        return self._ended.is_set() or self._is_read_only() or name not in self._deployments

    def _tell(self, name: str, trouble: str) -> None:
        if self._told.get(name) != trouble:
            self._told[name] = trouble
            _log.warning("the keys of the deployment %s cannot be looked after: %s", name, trouble)
