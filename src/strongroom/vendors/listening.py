"""
An answer that has no end: what comes of it, each wait bounded.

One thread listens; any other may end that with `interrupt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.vendors.http1 import Failure
from strongroom.vendors.stream import Deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.errors import BackendUnavailableError
    from strongroom.vendors.http1 import Begun
    from strongroom.vendors.stream import Stream

__all__ = ["Listening"]


class Listening:
    """
    An answer whose body is read as it comes. Prints as its status alone.

    Args:
        stream: the connection, which is this one's from now on.
        begun: the head of the answer.
        unavailable: gives the error of a failure.

    Attributes:
        status, headers: of the answer.
    """

    def __init__(
        self,
        stream: Stream,
        begun: Begun,
        unavailable: Callable[[str, str | None], BackendUnavailableError],
    ) -> None:
        self.status = begun.status
        self.headers: Mapping[str, str] = begun.headers
        self._stream = stream
        self._body = begun.body
        self._unavailable = unavailable

    def __repr__(self) -> str:
        return f"Listening({self.status}, …)"

    def some(self, seconds: float) -> bytes:
        """
        Give what came next, b"" at the end.

        Args:
            seconds: how long it may be silent.

        Raises:
            BackendUnavailableError: it was silent for longer, or the connection ended before its end.
        """
        self._stream.wait_until(Deadline(seconds, seconds))
        try:
            return self._body.some()
        except Failure as caught:
            failure = caught
        raise self._unavailable(str(failure), failure.hint)

    def rest(self, seconds: float, most: int) -> bytes:
        """
        Give all that comes until the end, of up to *most* bytes.

        Raises:
            BackendUnavailableError: as `some`, of the whole; or there is more.
        """
        self._stream.wait_until(Deadline(seconds, seconds))
        parts: list[bytes] = []
        size = 0
        while True:
            try:
                part = self._body.some()
            except Failure as caught:
                raise self._unavailable(str(caught), caught.hint) from None
            size += len(part)
            if not part:
                return b"".join(parts)
            if size > most:
                raise self._unavailable(f"gave an answer whose body is over {most} bytes", None)
            parts.append(part)

    def interrupt(self) -> None:
        """End the wait of the thread that listens. Any thread; safe to call twice."""
        self._stream.interrupt()

    def close(self) -> None:
        """Close the connection. By the thread that listens, or after it; safe to call twice."""
        self._stream.close()
