"""
One connection on the socket: frames in, answers out.

Not for what is answered (`answers.py`, `batches.py`, `errands.py`), for which run (`claims.py`), nor for who
may connect (`door.py`). The frames: docs/protocol.md.

Rules of this file:

1. A read whose answer is at hand is answered where its frame is parsed: no task, no future, no lock. One
   that only waits for its record is answered by a call. What else must be waited for is a task, and all are
   answered under their id whenever they are done.
2. Nothing a client does holds up another one: it has so many frames a turn, so many questions under way and
   so many bytes waiting for it; beyond that it is not read from until there is room.
3. A frame that began arrives whole within `receipt_seconds`, and so does the first one; an answer is taken
   within `unread_seconds`. A connection that is only quiet costs nothing and stays.
4. A frame that cannot be understood is answered by one ERROR. The connection goes on where the next frame
   can be found, and ends where it cannot.
5. What a connection may ask is decided by who opened it, as the kernel said then.
"""

from __future__ import annotations

import asyncio
from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, cast

from strongroom.agent import errands
from strongroom.agent.answers import KeptBack, refusal_of
from strongroom.agent.batches import read_many
from strongroom.agent.claims import announce, claim
from strongroom.agent.floor import Peer
from strongroom.agent.following import MAX_FOLLOWED, Following
from strongroom.caller import frames
from strongroom.errors import AccessDeniedError, InvalidInputError, StrongroomError
from strongroom.model.ref import Ref
from strongroom.service.reading import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from strongroom.agent.announced import Process
    from strongroom.agent.floor import Floor
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind
    from strongroom.policy import Run
    from strongroom.service.reading import Reader

    Key = tuple[Kind, str, str | None]

__all__ = ["MAX_FOLLOWED", "MAX_IN_FLIGHT", "Line"]

MAX_IN_FLIGHT = 64
"""Most questions of one connection that are waited for at once."""
_MAX_A_TURN = 256  # frames of one connection, then others have theirs
_HIGH_BYTES = 262_144  # waiting to be taken, then the connection is not read from
_LOW_BYTES = 65_536

# The hit is answered without a call of ours in between: each would cost it a tenth.
_HEAD = Struct(">IBI").unpack_from
_PACK = Struct(">IBIBBII").pack
_HEAD_BYTES = frames.HEAD_BYTES
_LENGTH_BYTES = 4
_LEAST = 5  # type and id
_MOST = frames.MAX_REQUEST_BYTES
_READ = frames.READ
_READ_ANSWER = frames.READ | frames.ANSWER
_FOUND = frames.FOUND
_NO_TIMES = (0.0, 0.0)
_MAX_SECONDS = 4_294_967.0  # what milliseconds in 32 bits can say: 49 days


class Line(asyncio.Protocol):
    """
    One connection.

    Attributes:
        peer: who opened it.
        announcer: the process above it that announced a run, or None.
        seen: when it last sent something, by the loop's clock.
        ends_at: when it is ended unless something happens.
        reads: answered so far.
        tasks: what is waited for.
    """

    __slots__ = (
        "_clock",
        "_floor",
        "_following",
        "_held",
        "_is_blocked",
        "_is_due",
        "_is_greeted",
        "_is_paused",
        "_is_plain",
        "_is_stopped",
        "_needed",
        "_out",
        "_parser",
        "_peek",
        "_reader",
        "_remembered",
        "_room",
        "_run",
        "_times",
        "_transport",
        "_unrecorded",
        "announcer",
        "ends_at",
        "peer",
        "reads",
        "seen",
        "tasks",
    )

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._held = bytearray()
        self._needed = 0
        self._unrecorded = 0  # reads that wait for their record
        self._is_blocked = False
        self._is_due = False
        self._is_greeted = False
        self._is_paused = False
        self._is_plain = False  # greeted, and nothing is held
        self._is_stopped = True
        self._clock = floor.clock
        self._remembered = floor.answers.remembered.held
        self._times = floor.answers.times
        self._run: Run | None = None
        self._reader: Reader | None = None
        self._parser: Reader | None = None  # made with the first question of a parser
        self._room: asyncio.Future[None] | None = None
        self._following = Following(self, floor)
        self.announcer: Process | None = None
        self.peer = _NOBODY
        self.seen = self.ends_at = 0.0
        self.reads = 0
        self._out: list[bytes] = []  # answered in this turn, and not sent yet
        self.tasks: set[asyncio.Task[None]] = set()

    # --- the connection ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        floor = self._floor
        try:
            peer = floor.admit(transport)
        except StrongroomError as error:
            self._turn_away(error)
            return
        refused = floor.enter(self, peer)
        if refused is not None:
            floor.count("full")
            self._turn_away(refused)
            return
        self.peer = peer
        self.announcer = floor.announced.above(peer.pid)
        self._is_stopped = False
        self._transport.set_write_buffer_limits(_HIGH_BYTES, _LOW_BYTES)
        self.seen = self._clock()
        self._expect(self._floor.bounds.receipt_seconds)
        self.renew()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- the engine's promise
        self._is_stopped = True
        self._is_plain = False
        self._held = bytearray()
        self._floor.leave(self)
        self._following.end()
        for task in self.tasks:
            task.cancel()  # the question goes on where others wait for it

    def renew(self) -> None:
        """Read by the reader that the host has for this peer now."""
        host, run = self._floor.host, self.run
        self._reader = host.reader(self.peer.uid, run)
        self._parser = None
        self._peek = self._reader.peek
        # What runs are given may be another entry than the others', and so its answer another, too.
        is_pinned = host.settings.cache.pin != "off" and run is not None
        self._remembered = {} if is_pinned else self._floor.answers.remembered.held

    def is_quiet(self, before: float) -> bool:
        """Tell whether nothing came since *before*, nothing is under way and nothing is followed."""
        return self.seen < before and not self.is_busy and not self.followed and not self._is_paused

    def claim(self, run: Run | None) -> None:
        """Ask for *run* from now on, unless one was announced."""
        self._run = run
        self.renew()

    @property
    def floor(self) -> Floor:
        """What all connections share."""
        return self._floor

    @property
    def run(self) -> Run | None:
        """For which run it asks: the announced one, else what it says."""
        return self._floor.announced.run_of(self.announcer) or self._run

    @property
    def reader(self) -> Reader:
        """The reads of who asks."""
        return cast("Reader", self._reader)

    @property
    def is_stopped(self) -> bool:
        """Whether nothing more is taken."""
        return self._is_stopped

    @property
    def is_paused(self) -> bool:
        """Whether answers are not taken as fast as they come."""
        return self._is_paused

    @property
    def is_busy(self) -> bool:
        """Whether anything it asked is under way."""
        return bool(self.tasks or self._unrecorded)

    @property
    def followed(self) -> int:
        """Entries it follows."""
        return len(self._following)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait to be taken."""
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    def stop(self) -> None:
        """Take no further frame."""
        self._is_stopped = True
        self._is_plain = False
        self._transport.pause_reading()

    def finish(self) -> None:
        """Close once what was answered is taken."""
        self._is_stopped = True
        self._is_plain = False
        self._send_out()
        self._transport.close()

    def end(self) -> None:
        """Close without waiting for anybody."""
        self._is_stopped = True
        self._is_plain = False
        self._floor.leave(self)
        self._transport.abort()

    def dismiss(self) -> None:
        """Close, because who opened it may not connect any more."""
        self._turn_away(
            AccessDeniedError(
                f"the user {self.peer.uid} may not connect to this agent any more",
                reason="the agent's own rule",
            )
        )

    def expire(self) -> None:
        """Close what is past its time; who was in the middle of a frame is told."""
        self._floor.count("unread" if self._is_paused else "slow")
        if self._is_paused:
            self.end()
            return
        self._turn_away(
            _Refused(
                "timeout", f"a frame did not arrive whole within {self._floor.bounds.receipt_seconds:g} s"
            )
        )

    def _turn_away(self, error: StrongroomError | _Refused) -> None:
        """Say why, once, and close."""
        self._is_stopped = True
        self._is_plain = False
        self._floor.leave(self)
        self._send_out()
        self.write(_error(0, error))
        self._transport.close()

    def _expect(self, seconds: float) -> None:
        self._is_due = True
        self._floor.expect(self, seconds)

    # --- frames in -----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        # Nearly always this is one question whose answer is at hand, and all of that stands here.
        if self._is_plain and len(data) > _HEAD_BYTES:
            held = self._remembered.get(data[_HEAD_BYTES:])
            length, type_, number = _HEAD(data)
            if held is not None and type_ == _READ and length == len(data) - 4:
                key, known, body, state = held
                entry = self._peek(key)
                if entry is known:
                    age, ttl = self._times(key) or _NO_TIMES
                    if age + ttl > _MAX_SECONDS:
                        age, ttl = min(age, _MAX_SECONDS), min(ttl, _MAX_SECONDS)
                    head = _PACK(
                        len(body) + 15, _READ_ANSWER, number, _FOUND, state, int(age * 1000), int(ttl * 1000)
                    )
                    self._transport.write(head + body)
                    self.reads += 1
                    self.seen = self._clock()
                    return
                if entry is not None:
                    self.write(self._read(number, data[_HEAD_BYTES:], entry) or b"")
                    return
        if self._is_stopped:
            return
        if self._is_blocked or self._held:
            self._held += data
            if self._is_blocked or len(self._held) < self._needed:
                return
            data = bytes(self._held)
            self._held.clear()
        self.seen = self._clock()
        self._go(data)

    def _go(self, data: bytes) -> None:
        """Answer the frames in *data*, as many as have their turn, and hold the rest."""
        at, end, turns, size = 0, len(data), _MAX_A_TURN, 0
        out = self._out
        try:
            while end - at >= _HEAD_BYTES:
                length, type_, number = _HEAD(data, at)
                after = at + 4 + length
                if after > end or length < _LEAST or length > _MOST:
                    break
                payload = data[at + _HEAD_BYTES : after]
                is_read = type_ == _READ and self._is_greeted
                answer = self._read(number, payload) if is_read else self._other(type_, number, payload)
                at = after
                turns -= 1
                if answer:
                    out.append(answer)
                    size += len(answer)
                    if size > _HIGH_BYTES:
                        self._send_out()
                        size = 0
                if not turns or self._is_stopped or self._is_full():
                    break
        finally:
            if out:
                self._send_out()
        if not self._is_stopped:
            self._hold(data[at:] if at < end else b"", is_turn_over=not turns)

    def _is_full(self) -> bool:
        return self._is_paused or len(self.tasks) + self._unrecorded >= MAX_IN_FLIGHT

    def _hold(self, rest: bytes, *, is_turn_over: bool) -> None:
        """Keep what could not be answered yet: its turn is over, there is no room, or it is not all there."""
        self._held += rest
        if is_turn_over or self._is_full():
            self._is_plain = False
            if not self._is_blocked:
                self._is_blocked = True
                self._transport.pause_reading()
            if is_turn_over:
                self._floor.loop.call_soon(self._go_on)
            if not self._is_paused:
                self._satisfied()  # it is not the other side that keeps us waiting
        elif rest:
            self._is_plain = False
            self._await_rest(rest)
        else:
            self._is_plain = self._is_greeted
            if self._is_greeted:
                self._satisfied()

    def _await_rest(self, rest: bytes) -> None:
        """See to it that the frame which begins with *rest* comes, if it can be one."""
        self._needed = _LENGTH_BYTES
        if len(rest) >= _LENGTH_BYTES:
            try:
                frames.take(rest, 0, _MOST)  # raises where it can be none
            except frames.BrokenFrameError as error:
                self._floor.count("broken")
                self._turn_away(_Refused(error.code, str(error)))
                return
            self._needed += int.from_bytes(rest[:_LENGTH_BYTES], "big")
        self._expect(self._floor.bounds.receipt_seconds)

    def _satisfied(self) -> None:
        if self._is_due:
            self._is_due = False
            self._floor.satisfied(self)

    def _go_on(self) -> None:
        """Read on, where there is room again."""
        if self._is_stopped or not self._is_blocked or self._is_full():
            return
        self._is_blocked = False
        self._transport.resume_reading()
        data = bytes(self._held)
        self._held.clear()
        self._go(data)

    # --- reads ---------------------------------------------------------------------------------------

    def _read(self, number: int, question: bytes, entry: Entry | None = None) -> bytes | None:
        """
        Give the answer to a READ where *entry* is at hand, keeping it for the next time; else ask for it.

        Args:
            number: of the question.
            question: its payload.
            entry: what is at hand, if that was looked for already: its use is counted.
        """
        answers = self._floor.answers
        held = self._remembered.get(question)
        if held is not None:
            # Asked before: who asks now may be another, but what the bytes say is known.
            ref, flags = held[0], question[1]
            entry = entry or self._peek(ref)
            if entry is held[1]:
                self.reads += 1
                return answers.again(number, held)
        else:
            try:
                kind, name, team, flags = frames.read_read(question)
                ref = Ref(cast("Kind", kind), name, team)
            except frames.BrokenFrameError as error:
                return _error(number, _Refused(error.code, str(error)))
            except InvalidInputError as error:
                return answers.refused(number, error)
        reader = self.reader_for(flags)
        if not flags & frames.BYPASS_CACHE:
            entry = entry or reader.peek(ref)
            if entry is not None:
                self.reads += 1
                self._floor.keep_turning()
                if entry.is_lent:
                    self._floor.lending.given(self, ref, entry, flags)
                return answers.at_hand(number, question, ref, flags, entry)
            kept = KeptBack(self, number, ref)
            answer = reader.prompt(ref, kept.settle)
            if answer is not None:
                self.reads += 1
                self._floor.keep_turning()
                if answer.entry is not None and answer.entry.is_lent:
                    self._floor.lending.given(self, ref, answer.entry, flags)
                return kept.fill(answers.from_memory(number, question, flags, answer))
        self.spawn(number, partial(self._ask, reader, number, ref, flags))
        return None

    def reader_for(self, flags: int) -> Reader:
        """Give the reads of who asks, as a parser's where the question says that it is one."""
        if not flags & frames.PARSE or flags & frames.BYPASS_CACHE:
            return self.reader
        if self._parser is None:
            self._parser = self._floor.host.parser(self.peer.uid, self.run)
        return self._parser

    def keep_back(self, more: int) -> None:
        """Count answers that wait for their record; read on where there are fewer."""
        self._unrecorded += more
        if self._is_blocked and more < 0:
            self._go_on()

    def unanswered(self, number: int, answer: Answer) -> bytes:
        """Give the frame of an *answer* without a value."""
        return self._floor.answers.frame(number, answer.ref.kind, 0, answer, asked_ago=0.0)

    async def _ask(self, reader: Reader, number: int, ref: Ref, flags: int) -> None:
        asked_at = self._floor.clock()
        (answer,) = await self.answers(reader, (ref,), flags)
        self.reads += 1
        ago = self._floor.clock() - asked_at
        self.write(self._floor.answers.frame(number, ref.kind, flags, answer, asked_ago=ago))

    async def answers(self, reader: Reader, refs: Sequence[Ref], flags: int) -> list[Answer]:
        """Give what became of *refs*; what is refused is told."""
        lending = self._floor.lending
        answered = lending.asks(refs)
        try:
            found = await self._answers(reader, refs, flags)
            for answer in found:
                if answer.entry is not None and answer.entry.is_lent:
                    lending.given(self, answer.ref, answer.entry, flags)
        finally:
            answered()
        return found

    async def _answers(self, reader: Reader, refs: Sequence[Ref], flags: int) -> list[Answer]:
        try:
            if not flags & frames.BYPASS_CACHE:
                return await reader.aread_many(refs)
            run = self._floor.host.reading.bridge().run
            return [await run(partial(_anew, reader, ref)) for ref in refs]
        except StrongroomError as error:  # none of them can be given
            return [Answer(ref, error=error) for ref in refs]

    # --- everything else -----------------------------------------------------------------------------

    def _other(self, type_: int, number: int, payload: bytes) -> bytes | None:
        """Give the answer to any other frame, or see to it that it comes."""
        if not self._is_greeted and type_ != frames.HELLO:
            self._turn_away(_Refused("malformed_frame", "the first frame must be a HELLO"))
            return None
        handler = _HANDLERS.get(type_)
        try:
            if handler is None:
                return _error(number, _Refused("unsupported", "this agent does not know this type of frame"))
            return handler(self, number, payload)
        except frames.BrokenFrameError as error:
            if not self._is_greeted:
                self._turn_away(_Refused(error.code, str(error)))
                return None
            return _error(number, _Refused(error.code, str(error)))
        except StrongroomError as error:
            return _error(number, error)

    def _hello(self, number: int, payload: bytes) -> bytes | None:
        hello = frames.read_hello(payload)
        if hello.major != frames.MAJOR:
            self._turn_away(
                _Refused(
                    "unsupported_version",
                    f"the client speaks version {hello.major}.{hello.minor} of the protocol and this agent"
                    f" {frames.MAJOR}.{frames.MINOR}",
                    "let both be of one version of strongroom",
                )
            )
            return None
        self._is_greeted = True
        return frames.frame(frames.HELLO | frames.ANSWER, number, self._floor.hello)

    def _ping(self, number: int, payload: bytes) -> bytes:
        return frames.frame(frames.PING | frames.ANSWER, number, payload)

    def _follow(self, number: int, payload: bytes) -> bytes | None:
        self._following.begin(number, _ref(payload))
        return None

    def _unfollow(self, number: int, payload: bytes) -> bytes:
        self._following.leave(_ref(payload))
        return frames.frame(frames.UNFOLLOW | frames.ANSWER, number)

    def _explain(self, number: int, payload: bytes) -> None:
        errands.explain(self, number, _ref(payload))

    # --- answers out ---------------------------------------------------------------------------------

    def _send_out(self) -> None:
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self.write(data)

    def write(self, data: bytes) -> None:
        """Send *data*, unless the connection is gone."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def spawn(self, number: int, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do *work* beside, and tell what goes wrong under *number*."""
        task = self._floor.loop.create_task(self._tried(number, work))
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if self._is_blocked:
            self._go_on()

    async def _tried(self, number: int, work: Callable[[], Coroutine[None, None, None]]) -> None:
        try:
            await work()
        except StrongroomError as error:
            self.write(_error(number, error))
        except frames.BrokenFrameError as error:
            self.write(_error(number, _Refused(error.code, str(error))))
        except Exception as error:  # noqa: BLE001 -- the agent's last resort: others are served on
            self._floor.unexpected(error)
            self.write(
                _error(number, _Refused("error", "the agent could not answer this", "its log tells more"))
            )

    def pause_writing(self) -> None:
        self._is_paused = True
        self._room = self._room or self._floor.loop.create_future()
        self._floor.unread(self)

    def resume_writing(self) -> None:
        self._is_paused = False
        self._floor.read(self)
        self._satisfied()
        if self._room is not None:
            self._room.set_result(None)
            self._room = None
        self._following.tell()
        self._go_on()

    async def has_room(self) -> None:
        """Wait until answers are taken again, or never will be."""
        while self._room is not None and not self._transport.is_closing():
            await asyncio.shield(self._room)


class _Refused(NamedTuple):
    """A refusal that has a code of the protocol and no error of ours."""

    code: str
    message: str
    hint: str | None = None


def _error(number: int, error: StrongroomError | _Refused) -> bytes:
    refusal = frames.Refusal(*error) if isinstance(error, _Refused) else refusal_of(error)
    return frames.frame(frames.ERROR, number, frames.pack_refusal(refusal))


def _ref(payload: bytes) -> Ref:
    kind, name, team, _ = frames.read_read(payload)
    return Ref(cast("Kind", kind), name, team)


def _anew(reader: Reader, ref: Ref) -> Answer:
    try:
        entry = reader.refresh(ref)
        if entry is not None and entry.metadata.references:
            entry = reader.resolved(entry)
    except StrongroomError as error:
        return Answer(ref, error=error)
    return Answer(ref, entry)


_HANDLERS: dict[int, Callable[[Line, int, bytes], bytes | None]] = {
    frames.HELLO: Line._hello,  # noqa: SLF001 -- the table of this file
    frames.READ: Line._read,  # noqa: SLF001
    frames.READ_MANY: read_many,
    frames.CLAIM: claim,
    frames.FOLLOW: Line._follow,  # noqa: SLF001
    frames.UNFOLLOW: Line._unfollow,  # noqa: SLF001
    frames.EXPLAIN: Line._explain,  # noqa: SLF001
    frames.ADMIN: errands.administer,
    frames.INVENTORY: errands.inventory,
    frames.ANNOUNCE: announce,
    frames.PING: Line._ping,  # noqa: SLF001
    frames.WRITE: errands.write,
}
_NOBODY = Peer(0, -1, -1, is_admin=False)
