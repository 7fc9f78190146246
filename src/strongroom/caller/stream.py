"""
Hear of changes from a server: its server-sent events, for as long as somebody listens.

Rules of this file:

1. Where listening goes on is the id of the last event; what the server cannot go on from is told as a gap,
   and so is the beginning: what changed before it was not heard.
2. A stream that is silent for longer than its server's signs of life come apart has ended, whatever the
   connection says (half-open).
3. After trouble it is tried again, later each time up to a bound, at a random moment: many agents of a server
   that was gone do not come back at once.
4. Everything has a bound: a line, an event, an id, what is told at once.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import random
import re
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from strongroom.backend import Watched
from strongroom.caller.refusal import broken
from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.model.ref import Ref
from strongroom.wire.place import ChangeRow, PolicyNotice
from strongroom.wire.tested import TestNotice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.caller.client import Client
    from strongroom.vendors.listening import Listening

__all__ = ["Event", "Events", "Hearing"]

_MAX_LINE_BYTES = 65_536
_MAX_EVENT_BYTES = 65_536
_ID = re.compile(r"[A-Za-z0-9_=.-]{1,100}", re.ASCII)
_SILENCE_SECONDS = 8.0  # of a server that gives a sign of life every 2 s
_PATIENT_SECONDS = 25.0  # until it is known to: an older one gives one every 10 s
_SOUND_SECONDS = 5.0  # a stream that lasted so long was one
_FIRST_SECONDS, _MOST_SECONDS = 0.25, 5.0  # before the first new try, and before any
_END_SECONDS = 5.0
_APART = ("gap", "policy", "test")  # a notice of its own each


class Event(NamedTuple):
    """
    One event.

    Args:
        type: `message` where it says none.
        data: its lines, joined.
        id: where to go on from after it; None where it says nothing of that.
    """

    type: str
    data: str
    id: str | None


class Events:
    """
    Events out of bytes as they come.

    A comment is given as an event of the type "", since it is a sign of life.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._type = ""
        self._data: list[str] = []
        self._size = 0
        self._id: str | None = None

    def feed(self, data: bytes) -> list[Event]:
        """
        Give the events that *data* ends.

        Raises:
            BackendUnavailableError: a line or an event is over its bound, or is no UTF-8.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            raise broken("a line of an event without an end")
        return [event for line in lines for event in self._line(line.removesuffix(b"\r"))]

    def _line(self, line: bytes) -> Iterator[Event]:
        if not line:
            if self._data:
                yield Event(self._type or "message", "\n".join(self._data), self._id)
            elif self._id is not None:
                yield Event("", "", self._id)
            self._type, self._data, self._size, self._id = "", [], 0, None
            return
        if line.startswith(b":"):
            yield Event("", "", None)
            return
        self._size += len(line)
        if self._size > _MAX_EVENT_BYTES:
            raise broken("an event without an end")
        self._field(*_split(line))

    def _field(self, name: str, value: str) -> None:
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and _ID.fullmatch(value):
            self._id = value


def _split(line: bytes) -> tuple[str, str]:
    try:
        name, _, value = line.decode().partition(":")
    except UnicodeDecodeError:
        name = ""
    else:
        return name, value.removeprefix(" ")
    raise broken("an event that is no UTF-8")


class Hearing:
    """
    Listen to the changes of a server, and tell of them; a thread of its own, a daemon.

    Args:
        client: asks the server as whoever listens.
        on_notice: as of `Watchable.watch`.
        draw: gives a random number from 0 to 1.
        path: where events are.

    Attributes:
        trouble: what ended the last stream; None where the server did, or none has ended.
    """

    def __init__(
        self,
        client: Client,
        on_notice: Callable[[Watched], None],
        *,
        draw: Callable[[], float] = random.random,
        path: str = "/changes",
    ) -> None:
        self._client = client
        self._on_notice = on_notice
        self._draw = draw
        self._path = path
        self._ended = threading.Event()
        self._turn = threading.Lock()
        self._open: Listening | None = None
        self._last: str | None = None
        self._policy: str | None = None
        self._is_lost = False
        self.trouble: StrongroomError | None = None
        self._thread = threading.Thread(target=self._hear, name="strongroom-hearing", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Tell nothing any more. Safe to call twice, and from the thread that tells."""
        self._ended.set()
        with self._turn:
            if self._open is not None:
                self._open.interrupt()

    def close(self) -> None:
        """End, and wait for a notice under way. Safe to call twice."""
        self.end()
        if threading.current_thread() is not self._thread:
            self._thread.join(_END_SECONDS)

    # --- one stream after the other ----------------------------------------------------------------

    def _hear(self) -> None:
        failures = 0
        while not self._ended.is_set():
            begun_at = time.monotonic()
            self.trouble = self._listen()
            is_sound = time.monotonic() - begun_at >= _SOUND_SECONDS
            # One that was sound and ended, as a drained server's or an old session's, goes on at once.
            failures = (0 if is_sound else failures) + (not is_sound or self.trouble is not None)
            if self.trouble is not None or failures > 1:
                self._tell_lost()
            self._ended.wait(self._pause(failures))

    def _pause(self, failures: int) -> float:
        most = min(_MOST_SECONDS, _FIRST_SECONDS * 2.0 ** min(failures, 10))
        return most * (0.5 + self._draw() / 2) if failures else most * self._draw()

    def _listen(self) -> StrongroomError | None:
        """Listen until that ends, and give why; None where the server ended it."""
        try:
            listening = self._begun()
        except InvalidInputError as error:
            self._last = None  # it cannot go on from there
            return error
        except StrongroomError as error:
            return error
        try:
            for notices in self._told(listening):
                for notice in notices:
                    self._tell(notice)
        except StrongroomError as error:
            return error
        finally:
            with self._turn:
                self._open = None
            listening.close()
        return None

    def _begun(self) -> Listening:
        headers = {} if self._last is None else {"Last-Event-ID": self._last}
        listening = self._client.listen(self._path, headers)
        with self._turn:
            self._open = listening
            if self._ended.is_set():
                listening.interrupt()
        return listening

    def _told(self, listening: Listening) -> Iterator[list[Watched]]:
        """Give what comes, as notices."""
        events, silence = Events(), _PATIENT_SECONDS
        is_first = self._last is None
        while data := listening.some(silence):
            found = events.feed(data)
            if any(event.type == "policy" for event in found):
                silence = _SILENCE_SECONDS
            if is_first and found:
                is_first = False
                yield [Watched(is_gap=True)]
            yield list(self._notices(found))

    def _notices(self, events: list[Event]) -> Iterator[Watched]:
        """Give the notices of *events*, changes in a row as one."""
        refs: dict[Ref, str | None] = {}
        for event in events:
            if event.type == "change":
                ref, version = _change(event)
                refs.pop(ref, None)
                refs[ref] = version
            elif event.type in _APART and refs:
                yield Watched(refs=refs)
                refs = {}
            if event.type == "gap":
                yield Watched(is_gap=True)
            elif event.type == "policy":
                yield Watched(policy=_revision(event))
            elif event.type == "test":
                yield Watched(tests=(_test(event),))
            if event.id is not None:
                self._last = event.id
        if refs:
            yield Watched(refs=refs)
        elif events and not any(event.type in _APART for event in events):
            yield Watched()

    # --- telling -----------------------------------------------------------------------------------

    def _tell_lost(self) -> None:
        if not self._is_lost and not self._ended.is_set():
            self._is_lost = True
            self._call(Watched(is_lost=True))

    def _tell(self, notice: Watched) -> None:
        if not self._ended.is_set():
            self._is_lost = False
            self._call(notice)

    def _call(self, notice: Watched) -> None:
        with suppress(Exception):  # what a listener raises must not end what everybody waits for
            self._on_notice(notice)


def _change(event: Event) -> tuple[Ref, str | None]:
    try:
        row = msgspec.json.decode(event.data, type=ChangeRow)
        return Ref(row.kind, row.name, row.team), row.version
    except (msgspec.MsgspecError, RecursionError, InvalidInputError):
        pass
    raise broken("a change that is none")


def _test(event: Event) -> tuple[str, Ref]:
    try:
        told = msgspec.json.decode(event.data, type=TestNotice)
        return told.order, Ref(told.kind, told.name, told.team)
    except (msgspec.MsgspecError, RecursionError, InvalidInputError):
        pass
    raise broken("a test that is none")


def _revision(event: Event) -> str:
    try:
        return msgspec.json.decode(event.data, type=PolicyNotice).revision
    except (msgspec.MsgspecError, RecursionError):
        pass
    raise broken("a policy that is none")
