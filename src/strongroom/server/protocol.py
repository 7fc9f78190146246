"""
One connection: how long a request may take to arrive, how much of it there may be, and how many at once.

Uvicorn's protocol has no such bounds. Under it stands llhttp, which refuses what two readers could
understand differently: two lengths, a length beside chunks, folded headers, bare line feeds.

Rules of this file:

1. A request arrives whole within `receipt_seconds` of its first byte, or of the connection where it is the
   first; a client that sends a byte a second is closed like one that sends none. An answer that nobody
   takes is closed too.
2. A body has a length. One in chunks is refused (411): no client of ours sends one, and what proxies and
   servers disagree about is in there.
3. At the bound of connections the oldest that is in its TLS handshake makes room, then the oldest that
   never asked anything, then the oldest that is idle; only then is the new one refused (503). So honest
   clients get in while others hold lines open.
4. Nothing here answers with anything of the request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn, cast

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from strongroom.server.request import CERTIFICATE
from strongroom.server.tls import shown_by
from strongroom.wire.head import HEADERS, new_id

if TYPE_CHECKING:
    import socket
    import ssl
    from collections import Counter
    from collections.abc import Awaitable, Iterable
    from collections.abc import Set as AbstractSet

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from strongroom.server.hot import Hot
    from strongroom.server.request import Scope

__all__ = ["Door", "Hello", "Line", "refusal"]

_MAX_HEAD_BYTES = 65_536  # request line and headers
_MAX_HEADERS = 100
_MAX_HELD_BYTES = 65_536
_MAX_LEAVING = 256
_STREAM = (b"content-type", b"text/event-stream")
_LEAVING_SECONDS = 1.0
_SWEEP_SECONDS = 0.25
_UNREAD_SECONDS = 30.0  # an answer of which nothing is taken for so long
_NEVER = float("inf")


def refusal(status: int, code: str, message: str, hint: str | None = None) -> bytes:
    """Give a whole answer that refuses a request which never became one, and closes the connection."""
    error = {"code": code, "message": message} | ({"hint": hint} if hint else {})
    body = msgspec.json.encode({"error": error})
    headers = [
        *HEADERS,
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", new_id().encode()),
    ]
    if status in (429, 503):
        headers.append((b"retry-after", b"1"))
    return STATUS_LINE[status] + b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n" + body


class Door:
    """
    What the connections of one server share.

    Args:
        most: connections at once.
        receipt_seconds: for a request to arrive.
        idle_seconds: for the next request to begin.
        closed: counts the connections that were ended here, by reason.
        hot: answers reads at once.

    Attributes:
        lines: every open connection.
    """

    def __init__(
        self,
        *,
        most: int,
        receipt_seconds: float,
        idle_seconds: float,
        closed: Counter[str],
        hot: Hot | None = None,
    ) -> None:
        self.most = most
        # The sweep comes up to one period late, and the bound is a promise.
        self.receipt_seconds = receipt_seconds - _SWEEP_SECONDS
        self.idle_seconds = idle_seconds
        self.closed = closed
        self.lines: dict[Line, None] = {}
        self.silent: dict[Line, None] = {}  # never asked anything, oldest first
        self.idle: dict[Line, None] = {}  # between two requests, longest first
        self.leaving: dict[Line, None] = {}  # were told to go
        self.hellos: dict[Hello, None] = {}  # in their TLS handshake, oldest first
        self.hot_paths: AbstractSet[bytes] = frozenset()
        if hot is not None:
            self.hot_paths = hot.paths
            self.attempt = hot.attempt
            self.token_of = hot.token_of
            self.timed = hot.timed
            self.failed = hot.failed
            self._head = hot.head
        self._date: list[tuple[bytes, bytes]] = []
        self._begun = b""

    def whole(self, status: int, body: bytes, date: list[tuple[bytes, bytes]], more: bytes = b"") -> bytes:
        """
        Give a whole answer of *status* with *body*, JSON.

        The engine's own headers, *date*, are another list every second; *more* are headers as they are sent.
        """
        if date is not self._date:
            self._date = date
            ours = b"".join(b"%b: %b\r\n" % header for header in date)
            self._begun = b"%b%bcontent-type: application/json\r\n" % (ours, self._head)
        return b"%b%b%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            STATUS_LINE[status],
            self._begun,
            more,
            new_id().encode(),
            len(body),
            body,
        )

    def admit(self, line: Line) -> bool:
        """Let *line* in; False where there is no room and none can be made."""
        if not self._has_room():
            return False
        self.lines[line] = None
        self.silent[line] = None
        return True

    def greet(self, hello: Hello) -> bool:
        """Let a handshake begin; False as `admit`."""
        if not self._has_room():
            return False
        self.hellos[hello] = None
        return True

    def _has_room(self) -> bool:
        if len(self.lines) + len(self.hellos) < self.most:
            return True
        waiting: Iterable[Line | Hello] = self.hellos or self.silent or self.idle
        oldest = next(iter(waiting), None)
        if oldest is None:
            self.closed["full"] += 1
            return False
        self.closed["room"] += 1
        oldest.end()
        return True

    def leave(self, line: Line) -> None:
        """Forget a line that ended."""
        self.lines.pop(line, None)
        self.silent.pop(line, None)
        self.idle.pop(line, None)
        self.leaving.pop(line, None)

    def close(self) -> None:
        """End whatever is open still."""
        for hello in list(self.hellos):
            hello.end()
        for line in [*self.lines, *self.leaving]:
            line.end()

    async def sweep(self) -> None:
        """End what is past its time, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = loop.time()
            for line in [line for line in (*self.lines, *self.leaving) if line.ends_at <= now]:
                line.expire()


class Hello:
    """
    A connection in its TLS handshake, which counts among the others and makes room as they do.

    Args:
        line: what speaks once the handshake is done.
        seconds: for the handshake.
    """

    def __init__(self, line: Line, door: Door, context: ssl.SSLContext, seconds: float) -> None:
        self._line = line
        self._door = door
        self._context = context
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        line.hello = self

    def begin(self, plain: socket.socket) -> None:
        """Shake hands over *plain*, which is closed where that fails."""
        if not self._door.greet(self):
            plain.close()  # nothing can be said before the handshake
            return
        self._task = asyncio.get_running_loop().create_task(self._shake_hands(plain))

    async def _shake_hands(self, plain: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: self._line, plain, ssl=self._context, ssl_handshake_timeout=self._seconds
            )
        except (OSError, asyncio.CancelledError):
            self._door.closed["handshake"] += 1
            plain.close()
        finally:
            self._door.hellos.pop(self, None)

    def end(self) -> None:
        """Close, without waiting for anybody."""
        self._door.hellos.pop(self, None)
        if self._task is not None:
            self._task.cancel()


class Line(HttpToolsProtocol):
    """
    One connection.

    Attributes:
        ends_at: when it is closed unless something happens, by the loop's clock.
        hello: its TLS handshake, where there was one.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: Door,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._door = door
        self._clock = self.loop.time
        self._is_receiving = True
        self._head_bytes = 0
        self._is_head = True
        self._is_let_in = False
        self._is_stopped = False
        self._is_last = False
        self._endless: RequestResponseCycle | None = None
        self._tail = b""
        self._held: list[bytes] | None = None
        self._held_bytes = 0
        self._known_headers: list[tuple[bytes, bytes]] | None = None
        self._known_token: str | None = None
        self.ends_at = _NEVER
        self.hello: Hello | None = None

    # --- the connection ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if self.hello is not None:
            self._door.hellos.pop(self.hello, None)  # its place is ours now
        if not self._door.admit(self):
            self.transport = transport
            self._turn_away(refusal(503, "overloaded", "this server has no connection left"))
            return
        self._is_let_in = True
        super().connection_made(transport)
        if self.hello is not None and (shown := shown_by(transport)) is not None:
            # What every request of this connection has in its scope.
            self.app_state = {**self.app_state, CERTIFICATE: shown}
        self.ends_at = self._clock() + self._door.receipt_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.leave(self)
        self._is_stopped = True
        if self._is_let_in:
            super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """
        Answer what was asked before the other side ended its own, where a connection can be half open.

        A stream without an end is no answer to wait for: that its reader has gone is heard in this way alone.
        """
        if self._is_stopped or not self._is_answering() or not self.transport.can_write_eof():
            return None
        if self._endless is self.cycle:
            return None
        self._is_last = True
        self.cycle.keep_alive = False
        return True

    def end(self) -> None:
        """Close, without waiting for anybody."""
        self._door.leave(self)
        for cycle in [self.cycle, *(waiting for waiting, _ in self.pipeline)]:
            if cycle is not None:
                cycle.disconnected = True  # what is answered still is written nowhere
        if self.transport is not None:
            self.transport.abort()

    def expire(self) -> None:
        """Close what is past its time; who was in the middle of a request is told."""
        if self._is_stopped:
            self.end()
        elif self.flow.write_paused:
            self._door.closed["unread"] += 1
            self.end()
        elif self._is_receiving and not self._is_answering():
            self._door.closed["slow"] += 1
            if self._is_head and not self._head_bytes:
                self.end()
                return
            self._turn_away(refusal(408, "request_timeout", "the request did not arrive in time"))
        elif self._is_receiving:
            self._door.closed["slow"] += 1
            self.end()
        else:
            self._door.closed["idle"] += 1
            self.end()

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    # --- a request ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if not self._is_let_in or self._is_stopped or self.transport.is_closing():
            return
        if self._is_head:
            if not self._is_receiving:
                self._begin()
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES and self._is_endless(data):
                self._refuse(431, "too_large", "the head of the request is too large")
                return
            self._tail = data[-3:]
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self._is_stopped:
                self._refuse(400, "invalid_input", "the request is not HTTP/1.1")

    def _begin(self) -> None:
        self._is_receiving = True
        self._door.idle.pop(self, None)
        self.ends_at = self._clock() + self._door.receipt_seconds

    def _is_endless(self, data: bytes) -> bool:
        # A body may have come along with the head in one piece: then the head is what stands before it.
        room = max(0, _MAX_HEAD_BYTES - (self._head_bytes - len(data)))
        return b"\r\n\r\n" not in self._tail + data[:room]

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._is_stopped = True
        self._door.closed["malformed"] += 1
        if self._is_answering():
            # What was asked properly is answered, and is the last: a refusal now would be taken for its rest.
            self.cycle.keep_alive = False
            self._is_receiving = False
            self.ends_at = _NEVER
            return
        self._turn_away(refusal(status, code, message))

    def _turn_away(self, answer: bytes) -> None:
        """
        Send *answer* as the last, and close once it was taken.

        Closing at once would reset the connection where something was sent that nobody read, and the answer
        would be lost with it. So our side ends first, and what comes still is dropped for a moment.
        """
        self._is_stopped = True
        self._door.leave(self)
        self.transport.write(answer)
        if not self.transport.can_write_eof() or len(self._door.leaving) >= _MAX_LEAVING:
            self.transport.close()
            return
        self.transport.write_eof()
        self._door.leaving[self] = None
        self.ends_at = self._clock() + _LEAVING_SECONDS

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_head = True
        if not self._is_receiving:  # pipelined
            self._begin()

    def on_headers_complete(self) -> None:
        self._is_head = False
        self._head_bytes = 0
        if len(self.headers) > _MAX_HEADERS:
            self._stop(431, "too_large", f"the request has more than {_MAX_HEADERS} headers")
        if self.parser.should_upgrade():
            self._stop(400, "invalid_input", "this server speaks HTTP/1.1 and nothing beside it")
        if self.url[:1] != b"/":
            self._stop(400, "invalid_input", "the address must begin with a slash")
        hosts = 0
        for name, _ in self.headers:
            if name == b"transfer-encoding":
                self._stop(411, "length_required", "the body must have a length, and come in one piece")
            hosts += name == b"host"
        if hosts != 1:
            self._stop(400, "invalid_input", "the request must have one Host header")
        if self._may_hold():
            self._held = []
        else:
            super().on_headers_complete()

    def _stop(self, status: int, code: str, message: str) -> NoReturn:
        """Refuse the request, and tell the parser so."""
        self._refuse(status, code, message)
        raise _StopParsing

    def on_body(self, body: bytes) -> None:
        if self._held is None:
            super().on_body(body)
            return
        self._held.append(body)
        self._held_bytes += len(body)
        if self._held_bytes > _MAX_HELD_BYTES:
            self._release()

    def on_message_complete(self) -> None:
        self._is_receiving = False
        self._is_head = True
        self._head_bytes = 0
        self._door.silent.pop(self, None)
        if self._held is not None:
            if self._answer_held():
                return
            self._release()
        if self._is_answering():
            self.ends_at = _NEVER
        else:
            self._rest()
        super().on_message_complete()

    # --- a request that may be answered at once ----------------------------------------------------

    def _may_hold(self) -> bool:
        """
        Tell whether this request waits for its body before anything is begun for it: a read that may be
        answered from what is at hand, in its turn, on a connection that goes on.
        """
        return (
            self.url in self._door.hot_paths
            and not self.expect_100_continue
            and not self._is_last
            and not self.flow.write_paused
            and not self._is_answering()
            and self.parser.get_method() == b"POST"
            and self.parser.get_http_version() == "1.1"
            and self.parser.should_keep_alive()
        )

    def _answer_held(self) -> bool:
        """Answer the held request, now or when its uses are on record; False where it is no plain one."""
        held = self._held or ()
        scope = cast("Scope", self.scope)
        scope["path"] = self.url.decode("ascii")
        scope["query_string"] = b""
        started = self._clock()
        if self.headers != self._known_headers:
            # A program sends the same headers again and again: they are looked at once.
            self._known_headers, self._known_token = self.headers, self._door.token_of(self.headers)
        token = self._known_token
        if token is None:
            return False
        answer = self._door.attempt(scope, held[0] if len(held) == 1 else b"".join(held), token)
        if answer is None:
            return False
        self._held, self._held_bytes = None, 0
        if isinstance(answer, bytes):
            self.transport.write(self._door.whole(200, answer, self.server_state.default_headers))
            self.server_state.total_requests += 1
            self._rest()
            self._door.timed(200, self._clock() - started)
        else:
            self.ends_at = _NEVER
            self.cycle = turn = _Turn()  # type: ignore[assignment]  # what comes next waits for it
            task = self.loop.create_task(self._answer_later(answer, turn, started))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return True

    async def _answer_later(self, answer: Awaitable[bytes], turn: _Turn, started: float) -> None:
        status, headers = 200, b""
        try:
            data = await answer
        except Exception as error:  # noqa: BLE001 -- the last resort, as in `guard.py`
            status, data, headers = self._door.failed(error)
        turn.response_complete = True
        self._door.timed(status, self._clock() - started)
        if turn.disconnected or self.transport.is_closing():
            return
        if not turn.keep_alive:
            headers += b"connection: close\r\n"
        self.transport.write(self._door.whole(status, data, self.server_state.default_headers, headers))
        if turn.keep_alive:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.transport.close()

    def _release(self) -> None:
        """Let the held request go the way of all others."""
        held, self._held, self._held_bytes = self._held or (), None, 0
        super().on_headers_complete()
        for part in held:
            super().on_body(part)

    # --- an answer ---------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 -- uvicorn's
        if self._is_last and cycle is self.cycle:
            cycle.keep_alive = False
        send = cycle.send

        async def send_if_open(message: Any) -> None:  # noqa: ANN401 -- ASGI's
            # Between the end of a connection and being told of it, writing would fail.
            if self.transport.is_closing():
                cycle.disconnected = True
            if message["type"] == "http.response.start" and _STREAM in message.get("headers", ()):
                self._endless = cycle
                if self._is_last:
                    self.transport.close()
            await send(message)

        cycle.send = send_if_open  # type: ignore[method-assign]  # its only way out
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif not self._is_receiving:
            self._rest()

    def _rest(self) -> None:
        self._door.idle[self] = None
        self.ends_at = self._clock() + self._door.idle_seconds

    def pause_writing(self) -> None:
        super().pause_writing()
        self.ends_at = self._clock() + _UNREAD_SECONDS

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._is_receiving:
            self.ends_at = _NEVER if self._is_answering() else self._clock() + self._door.idle_seconds

    def shutdown(self) -> None:
        """Take no further request; what has begun to arrive is answered still."""
        self._is_last = True
        if self._is_receiving and self._head_bytes + self._held_bytes + (not self._is_head):
            return
        super().shutdown()


class _Turn:
    """Stands where a request that is answered later has its cycle, so that the next one waits its turn."""

    __slots__ = ("disconnected", "keep_alive", "message_event", "response_complete")

    def __init__(self) -> None:
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = True
        self.message_event = _SILENT


class _Silent:
    """An event nobody waits for."""

    def set(self) -> None:
        """Do nothing."""


_SILENT = _Silent()


class _StopParsing(Exception):  # noqa: N818 -- a jump out of the parser, caught in this file
    """The request was refused while it was parsed."""
