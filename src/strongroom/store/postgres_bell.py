"""
The bell of a store in a PostgreSQL: every commit of a writer rings it (`NOTIFY`), wherever somebody listens.

It is heard within a millisecond, and nothing depends on it: who missed it, because the session was lost or a
pooler keeps notifications to itself, learns the same from the number that `data_version` gives.
"""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.errors import StrongroomError

__all__ = ["PostgresBell"]


class _Listening(Protocol):
    """A session that listens."""

    def fileno(self) -> int:
        """Give its socket."""

    def drained(self) -> bool:
        """Take what has arrived, and tell whether a notification was in it."""

    def close(self) -> None:
        """Say goodbye."""


class PostgresBell:
    """
    Waits on a session of its own.

    Threads: one waits; any may close.

    Args:
        listen: opens a session that listens; raises our errors.
        translate: gives our error for what the session raises.
    """

    def __init__(
        self, listen: Callable[[], _Listening], translate: Callable[[Exception], StrongroomError]
    ) -> None:
        self._listen = listen
        self._translate = translate
        self._session: _Listening | None = None
        self._woken, self._wake = os.pipe()
        self._descriptors: tuple[int, ...] = (self._woken, self._wake)
        self._is_closed = False
        self._closing = threading.Lock()  # a descriptor that was closed may be another's by now

    def wait(self, seconds: float) -> bool:
        """
        Wait until somebody commits, and tell whether somebody did; at most *seconds*.

        Raises:
            BackendUnavailableError, BackendConfigError: the session was lost, or there is none to be had;
                what was rung meanwhile was not heard.
        """
        if self._is_closed:
            return False
        session = self._session
        if session is None:
            session = self._session = self._listen()
        try:
            return session.drained() or self._wait(session, seconds)
        except Exception as error:  # noqa: BLE001 -- raised, in our words
            self._session = None
            session.close()
            raise self._translate(error) from None

    def _wait(self, session: _Listening, seconds: float) -> bool:
        poll = select.poll()
        poll.register(session.fileno(), select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        poll.poll(seconds * 1000)
        return session.drained()

    def close(self) -> None:
        """Let who waits go on, and no wait be one any more."""
        with self._closing:
            if not self._is_closed:
                self._is_closed = True
                os.write(self._wake, b".")

    def end(self) -> None:
        """Let go of the session; nobody waits any more. Safe to call twice."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
        with self._closing:
            self._is_closed = True
            descriptors, self._descriptors = self._descriptors, ()
        for descriptor in descriptors:
            os.close(descriptor)
