"""
What a read is answered with: entries and errors as the bytes of the wire.

Not for framing (`caller/frames.py`) nor for who asks (`door.py`).

Rules of this file:

1. The bytes of an entry are made once and kept beside it. They are given out only while the reader still
   has that very entry at hand (`service/reading.py`), so that nothing is answered from here alone.
2. What is made before its use is on record stays here until it is (`KeptBack`), and an error leaves
   instead of it where it cannot be recorded.
3. All of it is let go of every minute, and on `forget`: no secret stays here longer than elsewhere.
4. An error is told as over HTTP: what `wire/failure.py` says of it, with no path of this machine.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from strongroom.caller import frames
from strongroom.errors import StrongroomError
from strongroom.service.lookup import parse_stored
from strongroom.service.reading import Answer
from strongroom.wire.failure import members_of

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind, Ref
    from strongroom.service.host import Host

    Key = tuple[Kind, str, str | None]
    Held = tuple[Ref, Entry, bytes, int]

__all__ = ["Answers", "KeptBack", "Remembered", "refusal_of"]

_OUTCOMES = {outcome: number for number, outcome in enumerate(frames.OUTCOMES)}
_MAX_BYTES = 16_777_216  # 16 MiB of answers kept beside their entries
_MAX_ANSWER_BYTES = 262_144  # a larger one is made each time: copying it costs more than making it
_HELD_BYTES = 512  # of what stands beside the bytes


class Remembered:
    """
    Answers beside their entries, by the question as it came.

    Attributes:
        held: (ref, entry, body, flags) by the payload of a READ; always the same dict.
    """

    def __init__(self) -> None:
        self.held: dict[bytes, Held] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.held)

    def keep(self, question: bytes, held: Held) -> None:
        """Keep an answer for the next time the same is asked."""
        size = len(held[2]) + len(question) + _HELD_BYTES
        if size > _MAX_ANSWER_BYTES:
            return
        if self._bytes + size > _MAX_BYTES:
            self.forget()
        self._bytes += size
        self.held[question] = held

    def forget(self) -> None:
        """Let go of everything: no secret stays here longer than elsewhere."""
        self.held.clear()
        self._bytes = 0


class _Leaving(Protocol):
    """The connection of a question, as far as its answer needs it (`protocol.py`)."""

    def write(self, data: bytes) -> None: ...
    def keep_back(self, more: int) -> None: ...
    def unanswered(self, number: int, answer: Answer) -> bytes: ...


class KeptBack:
    """
    The answer to one READ: made while its use is being recorded, and kept back until it is.

    Args:
        line: whose question it is.
        number: of the question.
        ref: what was asked for.
    """

    __slots__ = ("_answer", "_is_settled", "_line", "_number", "_ref")

    def __init__(self, line: _Leaving, number: int, ref: Ref) -> None:
        self._line = line
        self._number = number
        self._ref = ref
        self._answer = b""
        self._is_settled = False

    def fill(self, answer: bytes) -> bytes | None:
        """Take the *answer*; give what leaves now, None where that is later."""
        if self._is_settled:
            return self._answer or answer
        self._answer = answer
        self._line.keep_back(1)
        return None

    def settle(self, error: StrongroomError | None) -> None:
        """Let it leave, or the *error* instead of it."""
        self._is_settled, is_filled = True, bool(self._answer)
        if error is not None:
            self._answer = self._line.unanswered(self._number, Answer(self._ref, error=error))
        if is_filled:
            self._line.write(self._answer)
            self._line.keep_back(-1)


class Answers:
    """
    Makes the answers of one host.

    Attributes:
        remembered: those that were made lately.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.times = host.cache.times
        self.remembered = Remembered()

    def at_hand(self, number: int, question: bytes, ref: Ref, flags: int, entry: Entry) -> bytes:
        """Give the whole frame that answers *question*, whose *entry* is at hand, and keep it."""
        try:
            body = self._body(entry, ref.kind, flags)
        except StrongroomError as error:
            return self.refused(number, error, "invalid")
        held = (ref, entry, body, self._state(entry) | frames.CACHED)
        # Who is given what is lent is taken note of each time.
        if self._host.cache.entry(ref) is entry and not entry.is_lent:
            self.remembered.keep(question, held)
        return self.again(number, held)

    def from_memory(self, number: int, question: bytes, flags: int, answer: Answer) -> bytes:
        """Give the whole frame that answers *question* by an *answer* for which nobody had to be asked."""
        entry = answer.entry
        if entry is None or entry.is_stale:
            return self.frame(number, answer.ref.kind, flags, answer, asked_ago=-1.0)
        held = self.remembered.held.get(question)
        if held is not None and held[1] is entry:
            return self.again(number, held)
        return self.at_hand(number, question, answer.ref, flags, entry)

    def again(self, number: int, held: Held) -> bytes:
        """Give the frame that answers *number* with what is kept."""
        ref, _, body, state = held
        made = frames.pack_answer(number, frames.FOUND, body, state, *self._milliseconds(ref, held[1]))
        if len(made) <= frames.MAX_ANSWER_BYTES:
            return made
        return frames.pack_answer(number, frames.INVALID, frames.pack_refused(_too_large()))

    def refused(self, number: int, error: StrongroomError, outcome: str = "invalid") -> bytes:
        """Give the whole frame of a READ that *error* ended before anything was looked up."""
        return frames.pack_answer(number, _OUTCOMES[outcome], frames.pack_refused(refusal_of(error)))

    def refused_result(self, error: StrongroomError) -> bytes:
        """Give the same as it stands among many."""
        return frames.pack_result(frames.INVALID, frames.pack_refused(refusal_of(error)))

    def frame(self, number: int, kind: Kind, flags: int, answer: Answer, *, asked_ago: float) -> bytes:
        """
        Give the whole frame that answers one READ.

        Args:
            number: of the question.
            kind: of what was asked for.
            flags: of the question.
            answer: what became of it.
            asked_ago: seconds since the question came; what is older than that was remembered. Below zero:
                all of it was.
        """
        outcome, body, state, age, ttl = self._told(kind, flags, answer, asked_ago)
        made = frames.pack_answer(number, outcome, body, state, age, ttl)
        if len(made) <= frames.MAX_ANSWER_BYTES:
            return made
        return frames.pack_answer(number, frames.INVALID, frames.pack_refused(_too_large()))

    def result(self, kind: Kind, flags: int, answer: Answer, *, asked_ago: float) -> bytes:
        """Give one answer as it stands among many."""
        outcome, body, state, age, ttl = self._told(kind, flags, answer, asked_ago)
        return frames.pack_result(outcome, body, state, age, ttl)

    def _told(
        self, kind: Kind, flags: int, answer: Answer, asked_ago: float
    ) -> tuple[int, bytes, int, int | None, int | None]:
        outcome, entry, error = answer.outcome, answer.entry, answer.error
        if entry is not None:
            try:
                body = self._body(entry, kind, flags)
            except StrongroomError as trouble:
                outcome, error = "invalid", trouble
            else:
                age, ttl = self._milliseconds(answer.ref, entry)
                state = self._state(entry)
                if age is not None and age > asked_ago * 1000:
                    state |= frames.CACHED
                return frames.FOUND, body, state, age, ttl
        number = _OUTCOMES[outcome]
        if error is None:
            return number, frames.pack_nothing(), 0, None, None
        return number, frames.pack_refused(refusal_of(error)), 0, None, None

    def _state(self, entry: Entry) -> int:
        state = (frames.STALE if entry.is_stale else 0) | (frames.LENT if entry.is_lent else 0)
        return state | (frames.STRICT if self._host.is_strict(entry.ref, entry) else 0)

    def _milliseconds(self, key: Key, entry: Entry) -> tuple[int | None, int | None]:
        if not entry.is_stale and self._host.cache.entry(key) is not entry:
            # Of the parsers' snapshot, of a run's pins, or made of several: the cache's times are another's.
            return int(self._host.age_of(entry) * 1000), None
        times = self.times(key)
        return (None, None) if times is None else (int(times[0] * 1000), int(times[1] * 1000))

    def _body(self, entry: Entry, kind: Kind, flags: int) -> bytes:
        if kind != "connection" or flags & frames.RAW:
            return frames.pack_text(entry.backend, entry.version, entry.secret.reveal())
        dialect: Dialect = "sdk" if flags & frames.SDK else self._host.settings.lookup.dialect
        return frames.pack_fields(entry.backend, entry.version, _fields(parse_stored(entry, dialect)))


def _fields(found: Connection) -> frames.Fields:
    return (
        found.conn_type,
        found.description,
        found.host,
        found.login,
        None if found.password is None else found.password.reveal(),
        found.schema,
        found.port,
        None if found.extra is None else json.dumps(found.extra.reveal(), allow_nan=False),
    )


def refusal_of(error: StrongroomError) -> frames.Refusal:
    """Give what *error* says on the wire."""
    told = members_of(error)
    hint, seconds, reason = told.get("hint"), told.get("retry_after"), getattr(error, "reason", None)
    return frames.Refusal(
        str(told["code"]),
        str(told["message"]),
        None if hint is None else str(hint),
        int(seconds * 1000) if isinstance(seconds, int) else None,
        reason if isinstance(reason, str) and reason else None,
    )


def _too_large() -> frames.Refusal:
    return frames.Refusal("too_large", f"the answer is over {frames.MAX_ANSWER_BYTES} bytes")
