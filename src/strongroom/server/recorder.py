"""
Records of many requests in one sync: what gathers while one batch is written is the next batch.

Not the log itself (`audit`). No timer decides when a batch is full: a lone request waits for one sync, many
at once share one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING

from strongroom.errors import NotRecordedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.audit import AuditLog, Event

    Waiting = tuple[tuple[Event, ...], Callable[[NotRecordedError | None], None], float]

__all__ = ["Gathering"]

_MAX_BATCH = 1000  # events of one sync, so that nobody waits for a very long one


class Gathering:
    """
    A recorder in front of an audit log.

    Args:
        log: what makes records durable.
        timer: seconds that only go up.

    Threads: may be used from several threads and loops at once.
    """

    def __init__(self, log: AuditLog, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._timer = timer
        self._waiting: deque[Waiting] = deque()
        self._wake = threading.Condition()
        self._is_closed = False
        self._oldest = 0.0
        self._thread = threading.Thread(target=self._write, name="strongroom audit", daemon=True)
        self._thread.start()

    def append(self, *events: Event) -> None:
        """
        Make *events* durable, in order, before returning.

        Raises:
            NotRecordedError: they could not be written.
        """
        done = threading.Event()
        refused: list[NotRecordedError] = []

        def tell(error: NotRecordedError | None) -> None:
            if error is not None:
                refused.append(error)
            done.set()

        self._submit(events, tell)
        done.wait()
        if refused:
            raise copy(refused[0])

    async def aappend(self, *events: Event) -> None:
        """Do what `append` does, without blocking the loop."""
        loop = asyncio.get_running_loop()
        landed: asyncio.Future[None] = loop.create_future()

        def land(error: NotRecordedError | None) -> None:
            if not landed.done():
                if error is None:
                    landed.set_result(None)
                else:
                    landed.set_exception(copy(error))

        def tell(error: NotRecordedError | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(land, error)

        self._submit(events, tell)
        await landed

    def lag(self) -> tuple[int, float]:
        """Tell how many requests wait for their sync, and the seconds the oldest has waited."""
        with self._wake:
            count = len(self._waiting)
            since = self._oldest or (self._waiting[0][2] if self._waiting else 0.0)
        return count, self._timer() - since if since else 0.0

    def close(self) -> None:
        """Write what waits, and let go of the log."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._thread.join()
        self._log.close()

    def _submit(self, events: tuple[Event, ...], tell: Callable[[NotRecordedError | None], None]) -> None:
        with self._wake:
            if not self._is_closed:
                self._waiting.append((events, tell, self._timer()))
                self._wake.notify()
                return
        tell(NotRecordedError("the audit log is closed", folder=str(self._log.folder)))

    def _write(self) -> None:
        while batch := self._next():
            error: NotRecordedError | None = None
            try:
                self._log.append(*(event for events, _, _ in batch for event in events))
            except NotRecordedError as refusal:
                error = refusal
            for _, tell, _ in batch:
                tell(error)

    def _next(self) -> list[Waiting]:
        with self._wake:
            self._oldest = 0.0
            self._wake.wait_for(lambda: bool(self._waiting) or self._is_closed)
            batch: list[Waiting] = []
            count = 0
            while self._waiting and count < _MAX_BATCH:
                batch.append(self._waiting.popleft())
                count += len(batch[-1][0])
            if batch:
                self._oldest = batch[0][2]
            return batch
