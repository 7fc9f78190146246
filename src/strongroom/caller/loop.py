"""
Ask the agent of this machine from asyncio, without threads.

Rules of this file:

1. Each loop has a connection of its own, and all tasks of the loop share it: questions follow one another
   without waiting, and answers find their way back by id.
2. Nothing is shared between loops but the address, so no lock is, and a loop that ends takes its connection
   with it.
3. A task that is cancelled forgets its question. The answer to it, which comes all the same, is dropped.
4. Whose process answers is looked at, and what broke off is asked again, as in `agent.py`.
5. For which run is asked is looked at in the task that asks, and said in one piece with its question: the
   tasks of a loop may be of many runs.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, cast
from weakref import WeakKeyDictionary, ref

from strongroom.caller import frames
from strongroom.caller.agent import (
    answer_in,
    answers_in,
    claim_frame,
    connection_in,
    json_in,
    question,
    said,
    text_in,
)
from strongroom.caller.channel import (
    ASKED,
    NO_SIGNAL,
    Broken,
    away,
    check_hello,
    connected,
    late,
    refused,
    taken,
)

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Sequence

    from strongroom.caller.agent import AgentClient
    from strongroom.model.connection import Connection

__all__ = ["LoopClient"]

_RECEIVED = 262_144  # bytes; answers to many tasks come in one piece
_MOST_BROKEN = 5  # as in agent.py
_MAX_ID = 0xFFFFFFFF
_READ_ANSWER = frames.READ | frames.ANSWER
_MANY = frames.READ_MANY | frames.ANSWER


class LoopClient:
    """
    Ask the agent on one socket, from any loop.

    Threads: may be used from several loops in several threads, and after a fork.

    Args:
        client: whose socket, whose word at the beginning, and whose claims these are.
        patience, timeout: as `AgentClient`.
    """

    def __init__(self, client: AgentClient, *, patience: float, timeout: float) -> None:
        self.path = client.path
        self._greeting = client.greeting
        self._client = client
        self._is_claiming = client.claims is not None
        self._patience = patience
        self._timeout = timeout
        self._away_since: float | None = None
        # Only its loop holds a line, so that closing the loop closes the line there and then.
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, ref[_Line]] = WeakKeyDictionary()

    async def variable(self, name: str, team: str | None = None) -> str | None:
        """Give what `AgentClient.variable` gives."""
        payload = await self._asked_one("variable", name, team, 0)
        text = frames.read_text(payload)
        return text if text is not None else text_in(answer_in(payload, self.path), name, team)

    async def variable_json(self, name: str, team: str | None = None) -> tuple[object] | None:
        """Give what `AgentClient.variable_json` gives."""
        answer = await self.read("variable", name, team)
        return None if answer.outcome == frames.ABSENT else (json_in(answer, name, team),)

    async def connection(
        self, name: str, team: str | None = None, *, dialect: str | None = None, flags: int = 0
    ) -> Connection | None:
        """Give what `AgentClient.connection` gives."""
        answer = await self.read(
            "connection", name, team, flags=flags | (frames.SDK if dialect == "sdk" else 0)
        )
        return None if answer.outcome == frames.ABSENT else connection_in(answer, name, team)

    async def read(self, kind: str, name: str, team: str | None = None, *, flags: int = 0) -> frames.Answer:
        """Give what `AgentClient.read` gives."""
        return answer_in(await self._asked_one(kind, name, team, flags), self.path)

    async def read_many(self, refs: Sequence[frames.Key], *, flags: int = 0) -> list[frames.Answer]:
        """Give what `AgentClient.read_many` gives."""
        answers: list[frames.Answer] = []
        for first in range(0, len(refs), frames.MAX_BATCH):
            answers += await self._batch(refs[first : first + frames.MAX_BATCH], flags)
        return answers

    async def _batch(self, refs: Sequence[frames.Key], flags: int) -> list[frames.Answer]:
        payload = said(lambda: frames.pack_read_many(refs, flags))
        parts = await self._asked(lambda number: frames.frame(frames.READ_MANY, number, payload), _MANY)
        return answers_in(parts, len(refs), self.path)

    # --- one question --------------------------------------------------------------------------------

    async def _asked_one(self, kind: str, name: str, team: str | None, flags: int) -> bytes:
        (payload,) = await self._asked(lambda number: question(number, kind, name, team, flags), _READ_ANSWER)
        return payload

    async def _asked(self, make: Callable[[int], bytes], wants: int) -> list[bytes]:
        pause, times = 0.005, 0
        while True:
            try:
                answer = await self._answer(make, wants)
            except Broken as broken:
                now = monotonic()
                since = self._away_since
                if since is None:
                    self._away_since = since = now
                times += broken.was_sent
                if now - since > self._patience or times > _MOST_BROKEN:
                    raise away(self.path, broken) from None
            else:
                self._away_since = None
                return answer
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)

    def _run(self) -> frames.Run | None:
        return self._client.run

    async def _answer(self, make: Callable[[int], bytes], wants: int) -> list[bytes]:
        loop = asyncio.get_running_loop()
        known = self._lines.get(loop)
        line = None if known is None else known()
        if line is None or line.is_closed:
            run = self._client.run
            line = _Line(self.path, self._greeting(run), self._timeout)
            line.claimed = run
            self._lines[loop] = ref(line)
        elif self._is_claiming:
            return await line.ask(make, wants, for_run=self._run)
        return await line.ask(make, wants)


class _Asked:
    """A question under way."""

    __slots__ = ("future", "parts", "wants")

    def __init__(self, wants: int, future: asyncio.Future[list[bytes]]) -> None:
        self.wants = wants
        self.future = future
        self.parts: list[bytes] = []


class _Line:
    """
    The connection of one loop, used on that loop only.

    It holds no reference to its loop: both end together, without anybody having to close anything. And it
    asks the loop to watch a plain socket, since a transport that nobody closed complains when it is let go.
    """

    def __init__(self, path: str, greeting: bytes, timeout: float) -> None:
        self._socket: _socket.socket | None = None
        self._socket = connected(path, None)
        self._path = path
        self._timeout = timeout
        self._held = bytearray()
        self._out = bytearray(greeting)
        self._is_waiting = False  # for room to send
        self._number = ASKED
        self._asked: dict[int, _Asked] = {}
        self.claimed: frames.Run | None = None
        self.is_closed = False
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def __del__(self) -> None:
        # No word to the loop: in a forked child its watching is shared with the parent.
        if self._socket is not None:
            self._socket.close()

    async def ask(
        self,
        make: Callable[[int], bytes],
        wants: int,
        *,
        for_run: Callable[[], frames.Run | None] | None = None,
    ) -> list[bytes]:
        """
        Give the payloads that answer what *make* makes for an id.

        Args:
            make: gives the question.
            wants: the type of the answer.
            for_run: gives for which run it is, where that may be another than before.

        Raises:
            Broken: the connection ended on the way. Any error of ours: what the agent says.
        """
        number = self._next_id()
        data = make(number)
        loop = asyncio.get_running_loop()
        asked = _Asked(wants, loop.create_future())
        self._asked[number] = asked
        timer = loop.call_later(self._timeout, self._expire, asked)
        try:
            self._send(data if for_run is None else self._claim(for_run()) + data)
            return await asked.future
        finally:
            timer.cancel()
            self._asked.pop(number, None)

    def _claim(self, run: frames.Run | None) -> bytes:
        if run == self.claimed:
            return b""
        self.claimed = run
        return claim_frame(run)

    def _next_id(self) -> int:
        number = self._number
        while True:
            number = number + 1 if number < _MAX_ID else ASKED
            if number not in self._asked:
                self._number = number
                return number

    def _expire(self, asked: _Asked) -> None:
        if not asked.future.done():
            asked.future.set_exception(late(self._path))

    # --- out -----------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        self._out += data
        if not self._is_waiting:
            self._flush()

    def _flush(self) -> None:
        opened = cast("_socket.socket", self._socket)
        try:
            sent = opened.send(self._out, NO_SIGNAL)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._readable()  # what it said before it ended
            self._end(Broken())
            return
        del self._out[:sent]
        if self._out:
            self._is_waiting = True
            asyncio.get_running_loop().add_writer(opened.fileno(), self._writable)

    def _writable(self) -> None:
        self._is_waiting = False
        asyncio.get_running_loop().remove_writer(cast("_socket.socket", self._socket).fileno())
        self._flush()

    # --- in ------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        if self.is_closed:
            return
        try:
            data = cast("_socket.socket", self._socket).recv(_RECEIVED)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._end(Broken(was_sent=True))
            return
        self._held += data
        try:
            while (found := taken(self._held, self._path)) is not None:
                self._take(*found)
        except Exception as error:  # noqa: BLE001 -- whatever it is, those who wait are told, not the loop
            self._end(error)

    def _take(self, type_: int, number: int, payload: bytes) -> None:
        asked = self._asked.get(number)
        if asked is not None:
            self._give(asked, type_, payload)
        elif type_ == frames.ERROR and number <= ASKED:
            raise refused(payload, self._path, ends_connection=True)
        elif type_ == frames.HELLO | frames.ANSWER:
            check_hello(payload, self._path)

    def _give(self, asked: _Asked, type_: int, payload: bytes) -> None:
        if asked.future.done():
            return
        if type_ == frames.ERROR:
            asked.future.set_exception(refused(payload, self._path, ends_connection=False))
        elif type_ == asked.wants:
            asked.parts.append(payload)
            has_more = type_ == _MANY and payload[:1] and payload[0] & 1
            if not has_more:
                asked.future.set_result(asked.parts)

    def _end(self, error: Exception) -> None:
        """Tell everybody who waits, once, and close."""
        if self.is_closed:
            return
        self.is_closed = True
        opened = cast("_socket.socket", self._socket)
        loop = asyncio.get_running_loop()
        loop.remove_reader(opened.fileno())
        loop.remove_writer(opened.fileno())
        opened.close()
        for asked in self._asked.values():
            if not asked.future.done():
                asked.future.set_exception(error)
