"""
The way from a server to the process that writes its records, and back.

A frame is its length (4 bytes) and the events of one request in msgpack. They are answered in order: a byte
that says how, the number of the first and the last frame it is about, and the reason where they are not on
record.

Rules of this file:

1. An answer about a frame is final; a frame that was handed over and never answered counts as not recorded.
   One that was not handed over yet may go to another process.
2. Nobody waits longer than `PATIENCE_SECONDS`, whatever has become of the other side.
3. No task and no timer for a frame: one write for all that a turn of the loop brought, one timer while
   anything waits.
"""

from __future__ import annotations

import select
import struct
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence  # noqa: TC003 -- msgspec reads annotations at run time
from concurrent.futures import Future
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.audit.record import RefUse  # noqa: TC001 -- msgspec reads annotations at run time
from strongroom.errors import NotRecordedError

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from strongroom.audit.record import Event

__all__ = [
    "FRAME",
    "PATIENCE_SECONDS",
    "VERDICT",
    "LoopChannel",
    "Sent",
    "ThreadChannel",
    "decode",
    "encode",
    "frames",
]

PATIENCE_SECONDS = 5.0
HANGS_SECONDS = 30.0  # without any answer the process is given up and another one started
_LOOK_SECONDS = 0.5
_MAX_WAITING = 100_000  # frames; a frame of one event holds about 300 bytes
_RECEIVE_BYTES = 1_048_576
FRAME = struct.Struct("<I")
VERDICT = struct.Struct("<?QQI")  # is recorded, first frame, last frame, bytes of the reason


class Sent(msgspec.Struct, array_like=True, frozen=True):
    """An event on its way; the members are those of `Event` in its order, and it is made far quicker."""

    actor: str
    assurance: int
    action: str
    outcome: str
    kind: str | None = None
    name: str | None = None
    team: str | None = None
    reason: str = ""
    backend: str | None = None
    version: str | None = None
    request: str | None = None
    source: str | None = None
    run: Mapping[str, str | bool | int] | None = None
    policies: Sequence[str] = ()
    count: int | None = None
    since: str | None = None
    until: str | None = None
    refs: Sequence[RefUse] = ()
    agent: Mapping[str, str | int] | None = None


_members = attrgetter(*Sent.__struct_fields__)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Sent]).decode


def encode(events: Sequence[Event]) -> bytes:
    """Give the frame of *events*."""
    members = [event if isinstance(event, Sent) else _members(event) for event in events]
    try:
        data = _encode(members)
    except UnicodeEncodeError:
        data = _encode(
            _whole([_members(event) for event in events])
        )  # half a character stands in some text; it must not stop the record
    return FRAME.pack(len(data)) + data


def _whole(found: Any) -> Any:  # noqa: ANN401 -- any shape there may be
    if isinstance(found, str):
        return found.encode("utf-8", "replace").decode()
    if isinstance(found, dict):
        return {_whole(key): _whole(value) for key, value in found.items()}
    return [_whole(item) for item in found] if isinstance(found, list | tuple) else found


def decode(data: bytes | memoryview) -> list[Sent]:
    """Give the events of a frame without its length."""
    return _decode(data)


def frames(data: bytes) -> tuple[list[list[Sent] | None], bytes]:
    """Give the whole frames in *data*, None for one that holds no events, and what is left."""
    found: list[list[Sent] | None] = []
    at, end = 0, len(data)
    view = memoryview(data)
    while end - at >= FRAME.size:
        (length,) = FRAME.unpack_from(data, at)
        if end - at - FRAME.size < length:
            break
        at += FRAME.size
        try:
            found.append(_decode(view[at : at + length]))
        except msgspec.MsgspecError:
            found.append(None)  # its own sender's trouble, and nobody else's
        at += length
    return found, data[at:]


class _Waiting:
    """Frames that are under way, and who waits for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.handed: deque[tuple[float, Any]] = deque()  # each a future of asyncio or of threads
        self.kept: deque[tuple[float, Any]] = deque()
        self.outbox: list[bytes] = []
        self._answered = 0
        self._data = b""
        self.heard = time.monotonic()

    def __len__(self) -> int:
        return len(self.handed) + len(self.kept)

    def age(self) -> float:
        """Give the seconds that the oldest has waited."""
        for waiting in (self.handed, self.kept):
            if waiting:
                return time.monotonic() - waiting[0][0]
        return 0.0

    def keep(self, frame: bytes, future: Any) -> None:  # noqa: ANN401 -- any shape there may be
        if len(self) >= _MAX_WAITING:
            future.set_exception(self.refusal("too many records wait to be written"))
            return
        self.kept.append((time.monotonic(), future))
        self.outbox.append(frame)

    def hand_over(self) -> bytes:
        """Give what must be sent now; from here on it counts as handed over."""
        if not self.handed:
            self.heard = time.monotonic()
        self.handed += self.kept
        self.kept.clear()
        data = b"".join(self.outbox)
        self.outbox.clear()
        return data

    def take(self, data: bytes) -> None:
        """Take answers as they came, and tell those who wait."""
        self.heard = time.monotonic()
        data = self._data + data
        at = 0
        while len(data) - at >= VERDICT.size:
            is_recorded, _, last, length = VERDICT.unpack_from(data, at)
            if len(data) - at - VERDICT.size < length:
                break
            at += VERDICT.size + length
            error = None if is_recorded else self._reason(data[at - length : at])
            self._tell(last, error)
        self._data = data[at:]

    def _tell(self, last: int, error: NotRecordedError | None) -> None:
        while self._answered < last and self.handed:
            self._answered += 1
            _land(self.handed.popleft()[1], error)

    def lose(self) -> None:
        """Tell those whose frames were handed over that they are not on record, for all anybody knows."""
        self._answered, self._data = 0, b""
        lost, self.handed = self.handed, deque()
        error = self.refusal("the process that writes the records ended")
        for _, future in lost:
            _land(future, error)

    def give_up(self) -> None:
        """Tell those who have waited for too long."""
        limit = time.monotonic() - PATIENCE_SECONDS
        error = self.refusal(
            f"no answer from the process that writes the records within {PATIENCE_SECONDS:.0f} s"
        )
        for waiting in (self.handed, self.kept):
            for since, future in waiting:
                if since > limit:
                    break
                _land(future, error)
        # What nobody waits for any more need not be handed over.
        while self.kept and self.kept[0][1].done():
            self.kept.popleft()
            self.outbox.pop(0)

    def _reason(self, data: bytes) -> NotRecordedError:
        message, _, hint = data.decode("utf-8", "replace").partition("\0")
        return NotRecordedError(message, folder=str(self._folder), hint=hint or None)

    def refusal(self, why: str) -> NotRecordedError:
        return NotRecordedError(
            f"the audit record cannot be written to {self._folder} ({why}), so nothing is answered",
            folder=str(self._folder),
            hint="look at the server's own messages and at the disk of the audit folder",
        )


def _land(future: Any, error: NotRecordedError | None) -> None:  # noqa: ANN401 -- any shape there may be
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        # Each its own: a traceback is put together on the error.
        future.set_exception(NotRecordedError(str(error), folder=error.folder, hint=error.hint))


class LoopChannel:
    """
    The channel of one loop; used on it alone.

    Args:
        connect: gives a socket whose other end the process reads, None while there is no process.
        hangs: called where the process has not answered for too long.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        folder: Path,
        connect: Callable[[], socket.socket | None],
        hangs: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._connect = connect
        self._hangs = hangs
        self.waiting = _Waiting(folder)
        self._socket: socket.socket | None = None
        self._unsent = b""
        self._is_flushing = False
        self._timer: asyncio.TimerHandle | None = None

    def append(self, events: Sequence[Event]) -> asyncio.Future[None]:
        """Hand *events* over at the end of this turn of the loop; the future ends when they are durable."""
        future: asyncio.Future[None] = self._loop.create_future()
        self.waiting.keep(encode(events), future)
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self.flush)
        return future

    def flush(self) -> None:
        """Send what waits to be sent."""
        self._is_flushing = False
        if self._timer is None and self.waiting:
            self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)
        if self._unsent:
            return  # the writer callback goes on with it
        if self._socket is None and not self._open():
            return
        data = self.waiting.hand_over()
        if data:
            self._send(data)

    def _open(self) -> bool:
        self._socket = self._connect()
        if self._socket is None:
            return False
        self._socket.setblocking(False)  # noqa: FBT003 -- the name of the system
        self._loop.add_reader(self._socket, self._receive)
        return True

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lose()
            return
        was_waiting, self._unsent = bool(self._unsent), data[sent:]
        if self._unsent and not was_waiting:
            self._loop.add_writer(self._socket, self._resend)
        elif was_waiting and not self._unsent:
            self._loop.remove_writer(self._socket)
            self.flush()

    def _resend(self) -> None:
        self._send(self._unsent)

    def _receive(self) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.waiting.take(data)
        else:
            self.lose()

    def lose(self) -> None:
        """Let go of a process that ended; what was not handed over goes to the next one."""
        self._drop()
        self.waiting.lose()
        if self.waiting:
            self._loop.call_soon(self.flush)

    def _look(self) -> None:
        self._timer = None
        self.waiting.give_up()
        if not self.waiting:
            return
        if self.waiting.handed and time.monotonic() - self.waiting.heard > HANGS_SECONDS:
            self._hangs()
        self.flush()

    def _drop(self) -> None:
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
        self._socket, self._unsent = None, b""

    def close(self) -> None:
        """Let go of the socket; for the loop's own thread, or after the loop has ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self._loop.is_closed():
            if self._socket is not None:
                self._socket.close()
            self._socket = None
            return
        self._drop()
        self.waiting.lose()


class ThreadChannel:
    """The channel that threads share; arguments as of `LoopChannel`."""

    def __init__(
        self, folder: Path, connect: Callable[[], socket.socket | None], hangs: Callable[[], None]
    ) -> None:
        self._connect = connect
        self._hangs = hangs
        self.waiting = _Waiting(folder)
        self._turn = threading.Condition()
        self._socket: socket.socket | None = None
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def append(self, events: Sequence[Event]) -> Future[None]:
        """Hand *events* over; the future ends when they are durable."""
        future: Future[None] = Future()
        frame = encode(events)
        with self._turn:
            if self._is_closed:
                future.set_exception(self.waiting.refusal("the log is closed"))
                return future
            self.waiting.keep(frame, future)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="strongroom-audit", daemon=True)
                self._thread.start()
            self._flush()
        return future

    def _flush(self) -> None:
        """Send what waits; called with the turn held."""
        if self._socket is None:
            self._socket = self._connect()
            if self._socket is None:
                return
            self._socket.settimeout(PATIENCE_SECONDS)
            self._turn.notify_all()
        data = self.waiting.hand_over()
        if data:
            try:
                self._socket.sendall(data)
            except OSError:  # a part of it may be there: the other side must not take the rest for a frame
                self._lose()

    def _run(self) -> None:
        while True:
            with self._turn:
                if self._is_closed and not self.waiting:
                    break
                mine = self._socket
                if mine is None:
                    self._turn.wait(_LOOK_SECONDS)
                    self._look()
                    continue
            self._receive(mine)

    def _receive(self, mine: socket.socket) -> None:
        data: bytes | None = b""
        # Apart from sending, which may wait for longer on the same socket.
        with suppress(OSError, ValueError):  # ValueError: it was closed meanwhile
            waits = select.poll()
            waits.register(mine, select.POLLIN)
            data = mine.recv(_RECEIVE_BYTES) if waits.poll(int(_LOOK_SECONDS * 1000)) else None
        with self._turn:
            if self._socket is not mine:
                return
            if data:
                self.waiting.take(data)
            elif data is None:
                self._look()
            else:
                self._lose()

    def _look(self) -> None:
        self.waiting.give_up()
        if self.waiting.handed and time.monotonic() - self.waiting.heard > HANGS_SECONDS:
            self._hangs()
        if self.waiting.kept:
            self._flush()

    def _lose(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self.waiting.lose()

    def close(self) -> None:
        """Take no more, wait for what is under way, let go. Safe to call twice."""
        with self._turn:
            self._is_closed = True
            self._turn.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(PATIENCE_SECONDS + 1)
        with self._turn, suppress(OSError):
            self._lose()
