"""
Do blocking work beside the loop: bounded, and refused at once where there is no room.

Not for lookups in flight (`asynchronous.py` shares those); here every piece of work is its own.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from strongroom.bulkhead import Bulkhead
from strongroom.errors import BackendUnavailableError
from strongroom.wire.failure import OverloadError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Threads"]

T = TypeVar("T")


class Threads:
    """
    The threads of one kind of work.

    Args:
        threads: pieces of work at once.
        waiting: those that may wait for a thread; one more is refused.
    """

    def __init__(self, name: str, *, threads: int, waiting: int) -> None:
        self._bulkhead = Bulkhead(name, threads=threads, waiting=waiting)

    async def run(self, work: Callable[[], T]) -> T:
        """
        Do *work* on a thread and give its answer. Cancelling ends the waiting, not the work.

        Raises:
            OverloadError: too much is under way.
            Whatever *work* raises.
        """
        try:
            flight = self._bulkhead.submit(work)
        except BackendUnavailableError:
            flight = None
        if flight is None:
            raise OverloadError("too much is under way on this server", retry_after=timedelta(seconds=1))
        if not flight.is_landed:
            loop = asyncio.get_running_loop()
            landed: asyncio.Future[None] = loop.create_future()
            flight.when_landed(partial(_tell, loop, landed))
            await landed
        return flight.answer()

    def close(self) -> None:
        """Take no more work."""
        self._bulkhead.close()


def _tell(loop: asyncio.AbstractEventLoop, landed: asyncio.Future[None]) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(_land, landed)


def _land(landed: asyncio.Future[None]) -> None:
    if not landed.done():
        landed.set_result(None)
