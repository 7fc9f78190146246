"""
Who listens to a stream: whether he still may, and how often at once.

Not for what is told (`api/changes.py`, `ui/events.py`).
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.errors import NotAuthenticatedError, RateLimitedError, StrongroomError
from strongroom.server.auth import cookie_name, credential_of
from strongroom.service.access.workload import is_signed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.server.endpoint import Call

__all__ = ["LISTENING", "is_good"]

_MAX_OF_ONE_ACTOR = 20


def is_good(call: Call, *, is_use: bool = True) -> Callable[[], bool]:
    """
    Give what tells, on the loop, whether the credential of *call* still proves the same actor.

    Args:
        call: the request that listens.
        is_use: that it is asked counts as a use of its session. A page that stands open is none.
    """
    name = cookie_name(call.deployment, call.house.first, is_secure=call.is_secure)
    credential = credential_of(call.headers, name, allows_basic=False)
    return _Proving(call, credential.text, is_use=is_use)


class _Proving:
    """Proves a credential again and again, without holding the loop where somebody has to be asked for it."""

    def __init__(self, call: Call, text: str, *, is_use: bool) -> None:
        self._call = call
        self._text = text
        self._is_use = is_use
        self._asking: asyncio.Future[bool] | None = None

    def __call__(self) -> bool:
        asking = self._asking
        if asking is not None:
            if asking.done():
                self._asking = None
            return not asking.done() or asking.result()
        try:
            return self._at_once()
        except StrongroomError:  # sealed meanwhile, for one
            return False

    def _at_once(self) -> bool:
        try:
            return self._proves(waits=False)
        except NotAuthenticatedError:  # it has to be proven again, or is nobody's any more
            if self._call.place.access.is_fresh and not is_signed(self._text):
                return self._is_good()
        self._asking = asyncio.ensure_future(self._asked())
        return True

    async def _asked(self) -> bool:
        try:
            found: bool = await self._call.aside(self._is_good)
        except StrongroomError:  # too much is under way to find out
            return False
        return found

    def _is_good(self) -> bool:
        try:
            return self._proves(waits=True)
        except StrongroomError:
            return False

    def _proves(self, *, waits: bool) -> bool:
        # Another role is another actor: what it may see is decided anew with a new stream.
        found = self._call.place.access.authenticate(
            self._text, source=self._call.source, waits=waits, is_use=self._is_use
        )
        return found.actor == self._call.identity.actor


class _Listening:
    """Counts the streams of each actor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def one(self, who: tuple[str, str]) -> Iterator[None]:
        """
        Count one more of *who* meanwhile.

        Raises:
            RateLimitedError: there are too many.
        """
        with self._lock:
            if self._counts[who] >= _MAX_OF_ONE_ACTOR:
                raise RateLimitedError(
                    f"one identity may follow changes {_MAX_OF_ONE_ACTOR} times at once",
                    retry_after=timedelta(seconds=10),
                )
            self._counts[who] += 1
        try:
            yield
        finally:
            with self._lock:
                self._counts[who] -= 1
                if not self._counts[who]:
                    del self._counts[who]


LISTENING = _Listening()
"""The streams of this process."""
