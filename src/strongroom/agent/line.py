"""
One HTTP connection to the agent: what is no request, what is too slow, what is too much.

Under it stands llhttp, which refuses what two readers could understand differently: two lengths, a length
beside chunks, folded headers, bare line feeds.

Rules of this file:

1. One request at a time: what comes before its answer was sent is refused, and so are a body in chunks, one
   that waits to be asked for (`Expect`), an upgrade, and anything of which the end is missing for too long.
2. What went through another program (`Forwarded`, `Via`) or comes from a browser (`Origin`, `Sec-Fetch-*`)
   is refused: its sender is not who the kernel says.
3. What is refused before it became a request ends the connection: where the next one begins is not certain.
4. Nothing here answers with anything of the request.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import httptools

from strongroom.agent.web import Asked, Caller, Reply
from strongroom.errors import AccessDeniedError, InvalidInputError, StrongroomError
from strongroom.wire.failure import (
    CrossSiteError,
    OverloadError,
    RequestTimeoutError,
    TooLargeError,
    answer_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from strongroom.agent.http import Web

__all__ = ["MAX_BODY_BYTES", "MAX_HEAD_BYTES", "Line"]

MAX_HEAD_BYTES = 16_384  # 16 KiB: request line and headers
MAX_BODY_BYTES = 262_144  # 256 KiB
_MAX_HEADERS = 64
_MAX_LEAVING = 256
_LEAVING_SECONDS = 1.0
_UNREAD_SECONDS = 30.0  # an answer of which nothing is taken for so long
_NEVER = float("inf")
_TOKEN = b"x-strongroom-token"
_ONCE = frozenset({b"host", b"content-type", b"content-length", b"last-event-id", _TOKEN})
_FORWARDED = (b"forwarded", b"via", b"x-forwarded", b"x-real-ip", b"x-client-ip")
_BROWSER = (b"origin", b"sec-", b"access-control-")
_OVERRIDES = frozenset({b"x-http-method-override", b"x-http-method", b"x-method-override"})
_RETRY = timedelta(seconds=1)


class LengthError(InvalidInputError):
    """A body has no length."""

    code = "length_required"


class ExpectationError(InvalidInputError):
    """A request waits to be asked for its body."""

    code = "expectation_failed"


class HeadError(TooLargeError):
    """The head of a request is over a limit."""


_STATUS: dict[type[StrongroomError], int] = {LengthError: 411, ExpectationError: 417, HeadError: 431}


class Line(asyncio.Protocol):
    """
    One connection.

    Args:
        web: what it shares with others.
        is_tcp: it came over the loopback address.

    Attributes:
        ends_at: when it is closed unless something happens, by the loop's clock.
    """

    def __init__(self, web: Web, *, is_tcp: bool) -> None:
        self._web = web
        self._is_tcp = is_tcp
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._peer: tuple[int, Sequence[int]] | None = None
        self._caller: Caller | None = None
        self._pid = 0
        self._who: object = "tcp"
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_stopped = False  # nothing more is read
        self._is_answering = False
        self._is_streaming = False
        self._is_last = False  # the connection ends with this answer
        self._is_piled = False  # more came than one request
        self.ends_at = _NEVER
        self._fresh()

    def _fresh(self) -> None:
        """Await another request."""
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._is_head = True
        self._is_whole = False

    # --- the connection ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        try:
            self._identify(transport)
        except StrongroomError as error:
            self._turn_away(error)
            return
        self.ends_at = self._loop.time() + self._web.bounds.receipt_seconds

    def _identify(self, transport: asyncio.Transport) -> None:
        web = self._web
        if not self._is_tcp:
            peer = web.peers.admit(transport)
            self._peer, self._who, self._pid = (peer.uid, peer.gids), peer.uid, peer.pid
            self._caller = web.known(*self._peer, peer.pid)
        if web.is_draining or not web.admit(self, self._who):
            raise OverloadError("the agent has no connection left", retry_after=_RETRY)

    def _check_welcome(self) -> None:
        # Settings may have been taken anew since it connected.
        if self._peer is not None and not self._web.host.may_connect(*self._peer):
            raise AccessDeniedError(
                "this user may not connect to this agent any more", reason="the agent's own rule"
            )

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- as asyncio has it
        self._is_stopped = True
        self._web.leave(self, self._who)
        self._writable.set()
        if self._task is not None:
            self._task.cancel()

    def eof_received(self) -> bool:
        """Answer what was asked before the other side ended its own."""
        if not self._is_answering or self._is_stopped or self._is_streaming:
            return False
        self._is_last = True
        return True

    def drain(self) -> None:
        """Take no further request; what has begun is answered still."""
        self._is_last = True
        if not self._is_answering and not self._head_bytes and not self._is_stopped:
            self._transport.close()

    def end(self) -> None:
        """Close, without waiting for anybody."""
        self._is_stopped = True
        self._transport.abort()

    def expire(self) -> None:
        """Close what is past its time; who was in the middle of a request is told."""
        if self._is_stopped or not self._writable.is_set():
            self._web.closed["unread"] += 1
            self.end()
        elif self._head_bytes or not self._is_head:
            self._web.closed["slow"] += 1
            self._turn_away(RequestTimeoutError("the request did not arrive in time"))
        else:
            self._web.closed["idle"] += 1
            self._transport.close()

    def pause_writing(self) -> None:
        self._writable.clear()
        self.ends_at = self._loop.time() + _UNREAD_SECONDS

    def resume_writing(self) -> None:
        self._writable.set()
        if not self._is_stopped:
            self.ends_at = _NEVER if self._is_answering else self._loop.time() + self._web.bounds.idle_seconds

    # --- a request ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._is_stopped:
            return
        if self._is_answering:
            self._is_piled = self._is_piled or bool(data.strip(b"\r\n"))
            return
        if not self._head_bytes:
            self.ends_at = self._loop.time() + self._web.bounds.receipt_seconds
        while data and self._takes_more():
            room = MAX_HEAD_BYTES - self._head_bytes if self._is_head else len(data)
            part, data = data[:room], data[room:]
            if self._is_head:
                self._head_bytes += len(part)
            self._feed(part)
        if self._is_whole and not self._is_stopped:
            self._is_piled = self._is_piled or bool(data.strip(b"\r\n"))
            self._answer()

    def _takes_more(self) -> bool:
        return not (self._is_stopped or self._is_whole)

    def _feed(self, part: bytes) -> None:
        try:
            self._parser.feed_data(part)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._is_whole:
                self._is_piled = True
            elif not self._is_stopped:
                self._refuse(InvalidInputError("the request is not HTTP/1.1"))
            return
        if self._is_head and self._head_bytes >= MAX_HEAD_BYTES and not self._is_whole:
            self._refuse(HeadError("the head of the request is too large", limit=MAX_HEAD_BYTES))

    def on_message_begin(self) -> None:
        """Hear of the parser that a request begins."""
        if self._is_whole:
            self._is_piled = True
            raise _StopParsing

    def on_url(self, url: bytes) -> None:
        """Hear of its address, or of a part of it."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Hear of one of its headers."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Hear that its head is complete; refuse what will never be answered before its body comes."""
        self._is_head = False
        # Asked now: of a request that is complete, the parser knows no more.
        self._is_last = self._is_last or not self._parser.should_keep_alive()
        try:
            self._check_head()
        except StrongroomError as error:
            self._refuse(error)
        if self._is_stopped:
            raise _StopParsing

    def on_body(self, body: bytes) -> None:
        """Hear of a part of its body."""
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES:
            self._refuse(_too_large())
            raise _StopParsing
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Hear that it is whole."""
        self._is_whole = True

    def _check_head(self) -> None:
        if len(self._headers) > _MAX_HEADERS:
            raise HeadError(f"the request has more than {_MAX_HEADERS} headers", limit=_MAX_HEADERS)
        if self._parser.should_upgrade():
            raise InvalidInputError("the agent speaks HTTP/1.1 and nothing beside it")
        if self._target[:1] != b"/":
            raise InvalidInputError("the address must begin with a slash")
        seen: set[bytes] = set()
        for name, value in self._headers:
            if name in _ONCE and name in seen:
                raise InvalidInputError("the request has a header twice that it may have once")
            seen.add(name)
            if name == b"transfer-encoding":
                raise LengthError("the body must have a length, and come in one piece")
            if name == b"expect":
                raise ExpectationError("the body must come with the request", hint="send no Expect header")
            if name == b"content-length" and int(value) > MAX_BODY_BYTES:  # llhttp took it for a number
                raise _too_large()
        if b"host" not in seen:
            raise InvalidInputError("the request must have one Host header")

    def _refuse(self, error: StrongroomError) -> None:
        self._web.closed["malformed"] += 1
        self._turn_away(error)

    # --- an answer ---------------------------------------------------------------------------------

    def _answer(self) -> None:
        headers = dict(self._headers)
        method = self._parser.get_method().decode("ascii")
        self._is_head_only = method == "HEAD"
        self._is_last = self._is_last or self._is_piled
        try:
            caller = self._checked(headers)
        except StrongroomError as error:
            self._is_last = True
            self._send(_refusal(error))
            return
        asked = Asked(method, self._target, headers, b"".join(self._body), caller)
        reply = self._web.routes.answer(asked)
        if isinstance(reply, Reply) and isinstance(reply.body, bytes):
            self._send(reply)
            return
        self._is_answering = True
        self.ends_at = _NEVER
        self._task = self._loop.create_task(self._answer_later(reply))

    def _checked(self, headers: dict[bytes, bytes]) -> Caller | None:
        """Give who asks, where the request may come from where it says it does."""
        for name in headers:
            if name.startswith(_FORWARDED):
                raise InvalidInputError(
                    "the request went through another program", hint="ask the agent directly, not by a proxy"
                )
            if name.startswith(_BROWSER):
                raise CrossSiteError("the agent answers no browser", reason="a browser sent it")
            if name in _OVERRIDES:
                raise InvalidInputError("a method cannot be overridden by a header")
        if not self._is_tcp:
            self._check_welcome()
            if self._caller is not None and self._peer is not None:
                self._caller = self._web.still(self._caller, self._peer[1], self._pid)
            return self._caller
        self._web.check_host(headers[b"host"])
        return self._web.claimed(headers.get(_TOKEN))

    async def _answer_later(self, reply: Reply | Awaitable[Reply]) -> None:
        found = reply if isinstance(reply, Reply) else await reply
        if isinstance(found.body, bytes):
            self._send(found)
        elif self._is_head_only:
            self._send(found._replace(body=b""))
        else:
            await self._stream(found, found.body)

    async def _stream(self, reply: Reply, parts: AsyncIterator[bytes]) -> None:
        self._is_streaming = True
        # Without a length the end of the connection is the end of the answer, in every version of HTTP.
        self._write(reply, b"connection: close\r\n\r\n")
        try:
            async for part in parts:
                await self._writable.wait()
                if self._transport.is_closing() or self._is_piled:
                    break
                self._transport.write(part)
        finally:
            close = getattr(parts, "aclose", None)
            if close is not None:
                await close()
            self._transport.close()

    def _send(self, reply: Reply) -> None:
        """Send a whole answer, and be ready for the next request."""
        self._is_answering = False
        if self._transport.is_closing():
            return
        body = reply.body if isinstance(reply.body, bytes) else b""
        rest = b"connection: close\r\n" if self._is_last else b""
        rest += b"content-length: %d\r\n\r\n" % len(body)
        self._write(reply, rest if self._is_head_only else rest + body)
        if self._is_piled:
            self._refuse(InvalidInputError("the agent takes one request at a time", hint="await each answer"))
        elif self._is_last:
            self._leave()
        else:
            self._fresh()
            self.ends_at = self._loop.time() + self._web.bounds.idle_seconds

    def _write(self, reply: Reply, rest: bytes) -> None:
        self._web.statuses[reply.status] += 1
        given = b"".join(b"%b: %b\r\n" % header for header in reply.headers)
        head = self._web.head(reply.status)
        self._transport.write(b"%b%bcontent-type: %b\r\n%b" % (head, given, reply.media_type, rest))

    def _turn_away(self, error: StrongroomError) -> None:
        """Send the refusal as the last, and close once it was taken."""
        self._is_stopped = self._is_last = True
        reply = _refusal(error)
        body = reply.body if isinstance(reply.body, bytes) else b""
        self._write(reply, b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        self._leave()

    def _leave(self) -> None:
        # Closing at once would reset a TCP connection where something was sent that nobody read, and the
        # answer would be lost with it. So our side ends first, and what comes still is dropped for a moment.
        self._is_stopped = True
        web = self._web
        if not self._transport.can_write_eof() or len(web.leaving) >= _MAX_LEAVING:
            self._transport.close()
            return
        self._transport.write_eof()
        web.go(self, self._who)
        self.ends_at = self._loop.time() + _LEAVING_SECONDS


class _StopParsing(Exception):  # noqa: N818 -- a jump out of the parser, caught in this file
    """The request was refused while it was parsed."""


def _too_large() -> TooLargeError:
    return TooLargeError(f"a body has at most {MAX_BODY_BYTES} bytes", limit=MAX_BODY_BYTES)


def _refusal(error: StrongroomError) -> Reply:
    status, body, headers = answer_of(error)
    return Reply(_STATUS.get(type(error), status), body, headers=headers)
