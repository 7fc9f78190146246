"""
Cross over to asyncio: the one bridge.

Backends, chain and cache are synchronous and have no asynchronous twin. Here a hit answers inline on
the loop, and a miss runs on a thread while the task waits.

Rules of this file:

1. A question under way is shared by threads and tasks alike, in any number of loops.
2. Cancelling a task ends its waiting, not the question: others may wait for it, and its answer is
   remembered.
3. No lock is held across an `await`, and nothing is kept per loop: a bridge may be used from
   several loops in several threads, and after a fork.
4. The threads are bounded. They only wait for a backend's own bounded threads (`bulkhead.py`), so
   give the bridge more of them than all those together: then one slow backend cannot take them all.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from strongroom.bulkhead import Bulkhead, Flight
from strongroom.errors import BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind, Ref

    Key = tuple[Kind, str, str | None]

__all__ = ["Bridge", "Crossing"]

T = TypeVar("T")


class _Remembering(Protocol):
    """What the bridge needs of a cache; `cache.Cache` has it."""

    name: str

    @property
    def peek(self) -> Callable[[Key], Entry | None]: ...

    def board(self, ref: Ref) -> tuple[Flight[Entry | None], bool]: ...

    def fly(self, ref: Ref, flight: Flight[Entry | None]) -> None: ...

    def cancel(self, ref: Ref, flight: Flight[Entry | None], error: BaseException) -> None: ...

    def abandon(self, ref: Ref, flight: Flight[Entry | None]) -> None: ...


class Crossing:
    """
    Do blocking work beside the loop.

    Args:
        name: of what is asked, for an outage.
        threads: work under way at once; see rule 4.
        waiting: those that may wait for a thread; beyond that they are refused.
        patience: how long a task waits for one answer.

    Threads: may be used from several threads and loops at once, and after a fork.
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int = 64,
        waiting: int = 1000,
        patience: timedelta = timedelta(seconds=15),
    ) -> None:
        self._name = name
        self._bulkhead = Bulkhead("the bridge to asyncio", threads=threads, waiting=waiting)
        self._patience = patience.total_seconds()

    async def run(self, work: Callable[[], T]) -> T:
        """
        Do *work* on a thread and give its answer. It goes on when the waiting task is cancelled.

        Raises:
            BackendUnavailableError: too much is under way, or no answer within the patience.
            Whatever *work* raises.
        """
        flight = self._bulkhead.submit(work)
        if not await self._landing(flight):
            raise self._no_patience()
        return flight.answer()

    def close(self) -> None:
        """Take no more work; what is under way ends by itself. Safe to call twice."""
        self._bulkhead.close()

    async def _landing(self, flight: Flight[T]) -> bool:
        """
        Wait until *flight* has landed; False when it has not within the patience. Whatever becomes of
        this task, the flight goes on.
        """
        if flight.is_landed:
            return True
        loop = asyncio.get_running_loop()
        landed: asyncio.Future[None] = loop.create_future()
        flight.when_landed(partial(_tell, loop, landed))
        try:
            await asyncio.wait_for(landed, self._patience)
        except asyncio.TimeoutError:
            return False
        return True

    def _no_patience(self) -> BackendUnavailableError:
        return BackendUnavailableError(f"no answer within {self._patience:.3g} s", backend=self._name)


class Bridge(Crossing):
    """
    Read through a cache from asyncio, and do other blocking work beside the loop.

    Args:
        cache: answers hits inline.
        threads: questions and other work under way at once; see rule 4.
        waiting: those that may wait for a thread; beyond that they are refused.
        patience: how long a task waits for one answer.

    Threads: may be used from several threads and loops at once, and after a fork.
    """

    def __init__(
        self,
        cache: _Remembering,
        *,
        threads: int = 64,
        waiting: int = 1000,
        patience: timedelta = timedelta(seconds=15),
    ) -> None:
        super().__init__(cache.name, threads=threads, waiting=waiting, patience=patience)
        self._cache = cache

    async def read(self, ref: Ref) -> Entry | None:
        """
        Give what `Cache.read` gives, without blocking the loop.

        Raises:
            BackendUnavailableError: no answer now, or too much is under way.
            As `Cache.read`.
        """
        entry = self._cache.peek(ref)
        if entry is not None:
            return entry
        while True:
            flight, is_mine = self._cache.board(ref)
            if is_mine:
                self._launch(ref, flight)
            if not await self._landing(flight):
                # Its thread hangs, or died between boarding and flying.
                self._cache.abandon(ref, flight)
                raise self._no_patience()
            # Ctrl-C in the thread that asked is not an answer: somebody else asks again.
            if is_mine or flight.error is None or isinstance(flight.error, Exception):
                return flight.shared_answer()

    def _launch(self, ref: Ref, flight: Flight[Entry | None]) -> None:
        try:
            self._bulkhead.submit(lambda: self._cache.fly(ref, flight))
        except BackendUnavailableError as error:
            # Whoever boarded meanwhile must not wait for a question that nobody asks.
            self._cache.cancel(ref, flight, error)


def _tell(loop: asyncio.AbstractEventLoop, landed: asyncio.Future[None]) -> None:
    """Tell *loop*, from any thread. It may be closed by now, with nobody left on it who waits."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_land, landed)


def _land(landed: asyncio.Future[None]) -> None:
    if not landed.done():  # cancelled, or out of patience
        landed.set_result(None)
