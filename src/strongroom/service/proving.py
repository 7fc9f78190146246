"""
Proving a log whole behind, and what came of it last: for whoever looks at a page and waits for no proof.

Not for proving (`strongroom.audit.verify`), nor for who may ask for it (`audit.py`).

Rules of this file:

1. One proof of a deployment runs at a time.
2. What is remembered says when it was found and up to where; it proves nothing of what came later.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from strongroom.audit import Verdict
from strongroom.errors import RateLimitedError, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Proof", "Proofs"]

_AGAIN = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """
    How the last proof ended, and how far the one is that runs.

    Args:
        verdict: of the last one that ended; None where there was none since the process began.
        at: when it ended, UTC.
        by: who asked for it.
        is_running: one is under way.
        checked: records that it has checked.
        trouble: why the last one could not be made; "" where it could.
    """

    verdict: Verdict | None = None
    at: datetime | None = None
    by: str = ""
    is_running: bool = False
    checked: int = 0
    trouble: str = ""


class Proofs:
    """
    The proofs of one deployment's log in this process.

    Threads: may be used from several threads at once.

    Args:
        clock: wall clock, UTC.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._last = Proof()
        self._thread: threading.Thread | None = None

    @property
    def last(self) -> Proof:
        """How it stands now."""
        return self._last

    def make(self, work: Callable[[Callable[[int], None]], Verdict], by: str) -> Verdict:
        """
        Do *work*, which is told whom to tell how far it is, and remember what came of it.

        Raises:
            RateLimitedError: another proof is under way.
            Whatever *work* raises.
        """
        self._begin(by)
        return self._made(work)

    def begin(self, work: Callable[[Callable[[int], None]], Verdict], by: str) -> None:
        """
        Do *work* behind, on a thread of its own; `last` tells how far it is.

        Raises:
            RateLimitedError: another proof is under way.
        """
        self._begin(by)
        self._thread = threading.Thread(
            target=self._quietly, args=(work,), name="strongroom-proof", daemon=True
        )
        self._thread.start()

    def _begin(self, by: str) -> None:
        if not self._turn.acquire(blocking=False):
            raise RateLimitedError(
                "another verification is under way", retry_after=_AGAIN, hint="wait and try again"
            )
        with self._lock:
            self._last = replace(self._last, is_running=True, checked=0, by=by, trouble="")

    def _quietly(self, work: Callable[[Callable[[int], None]], Verdict]) -> None:
        try:
            self._made(work)
        except StrongroomError:
            pass  # `last` tells it
        except Exception as error:  # noqa: BLE001 -- a thread of ours has nobody else to tell; its class alone
            self._tell(replace(self._last, trouble=f"it ended with {type(error).__name__}"))

    def _made(self, work: Callable[[Callable[[int], None]], Verdict]) -> Verdict:
        try:
            found = work(self._heard)
        except StrongroomError as error:
            self._tell(replace(self._last, is_running=False, trouble=str(error)))
            raise
        else:
            self._tell(Proof(verdict=found, at=self._clock(), by=self._last.by, checked=found.count))
            return found
        finally:
            self._tell(replace(self._last, is_running=False))
            self._turn.release()

    def _heard(self, checked: int) -> None:
        self._tell(replace(self._last, checked=checked))

    def _tell(self, now: Proof) -> None:
        with self._lock:
            self._last = now
