"""
Frames between a process and the agent of its machine: the one codec of both ends.

Shape: u32 length of what follows, u8 type, u32 id, payload. Whole numbers are unsigned, big-endian. What
each type holds, limits and versions: docs/protocol.md; frozen vectors: tests/vectors/frames.json.

Rules of this file:

1. It does no I/O and keeps no value: bytes in, plain values out, and the other way round.
2. Whatever stands in a payload, reading it gives a value or raises `BrokenFrameError`, and nothing else.
3. Bytes behind the known fields of a payload are ignored: a later minor version adds at the end.
4. Every task process imports this file, so it imports `_struct` alone.
"""

from __future__ import annotations

from _struct import Struct, error  # type: ignore[attr-defined]  # it is there; struct.py takes it from here

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    Key: TypeAlias = tuple[str, str, "str | None"]
    Run: TypeAlias = tuple["str | None", "str | None", "str | None", "int | None", "int | None", "str | None"]
    Fields: TypeAlias = tuple[
        "str | None",
        "str | None",
        "str | None",
        "str | None",
        "str | None",
        "str | None",
        "int | None",
        "str | None",
    ]

MAGIC = b"SRM"
MAJOR = 1
MINOR = 0

MAX_REQUEST_BYTES = 256 * 1024
"""Most bytes after the length of a frame that a client sends."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""Most bytes after the length of a frame that an agent sends."""
MAX_BATCH = 1000
"""Most Refs in one `READ_MANY`."""

# Types of requests; an answer has the type of its request with the top bit set.
HELLO = 0x01
READ = 0x02
READ_MANY = 0x03
CLAIM = 0x04
FOLLOW = 0x05
UNFOLLOW = 0x06
EXPLAIN = 0x07
ADMIN = 0x08
PING = 0x09
ANSWER = 0x80
NOTICE = 0xA0
ERROR = 0xFF

# Kinds of entries, and flags of READ and READ_MANY.
KINDS = ("connection", "variable", "config")
BYPASS_CACHE = 0x01
"""Ask the backends anew."""
RAW = 0x02
"""Give a connection as its stored text and not field by field."""
SDK = 0x04
"""Read a stored connection as Airflow's tasks do (the dialect `sdk`)."""

# Outcomes of a read, and flags of its answer.
FOUND, ABSENT, DENIED, UNAVAILABLE, INVALID = range(5)
OUTCOMES = ("found", "absent", "denied", "unavailable", "invalid")
STALE = 0x01
CACHED = 0x02
STRICT = 0x04

# What the body of a read's answer holds.
NOTHING, TEXT, FIELDS, REFUSAL = range(4)

# What a notice tells.
CHANGED = 1
GAP = 2

FIELD_NAMES = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")
"""Of a connection, in the order in which they travel; `extra` is JSON text."""

HEAD_BYTES = 9
_LENGTH_BYTES = 4
_LEAST = HEAD_BYTES - _LENGTH_BYTES  # what a frame without payload has after its length
_HEAD = Struct(">IBI")
_HELLO = Struct(">3sBB")
_ASK = Struct(">IBIBBHH")
_ANSWER = Struct(">IBIBBII")
_STATE = Struct(">BBII")
_MANY = Struct(">BHH")
_SHORT = Struct(">H")
_LONG = Struct(">I")
_SIGNED = Struct(">i")
_NO_SHORT = 0xFFFF  # as the length of an optional text: there is none
_NO_LONG = 0xFFFFFFFF
_NO_NUMBER = -(2**31)
_NONE_SHORT = b"\xff\xff"
_NONE_LONG = b"\xff\xff\xff\xff"
_LONGEST = 0xFFFE
_LONGEST_TOLD = 8000  # characters of a message or hint
_MAX_MS = 0xFFFFFFFE
_MAX_PORT = 65535
_CODES = {kind: number for number, kind in enumerate(KINDS, 1)}


class BrokenFrameError(ValueError):
    """
    The other end sent what is no frame of this protocol. Says what, and none of the bytes.

    Attributes:
        code: `malformed_frame`, `too_large`, or `unsupported_version`.
    """

    def __init__(self, message: str, code: str = "malformed_frame") -> None:
        super().__init__(message)
        self.code = code


class Hello:
    """
    Who speaks.

    Attributes:
        major, minor: of the protocol.
        version: of strongroom, for people.
        flags: abilities; none is defined yet.
    """

    __slots__ = ("flags", "major", "minor", "version")

    def __init__(self, major: int, minor: int, version: str, flags: int) -> None:
        self.major = major
        self.minor = minor
        self.version = version
        self.flags = flags


class Refusal:
    """
    Why something is not given.

    Attributes:
        code: of an error of `strongroom.errors`, or of this protocol (docs/protocol.md).
        message, hint: for people; no values.
        retry_ms: when to ask again, or None.
        reason: which rule said so, or which state; None where there is none.
    """

    __slots__ = ("code", "hint", "message", "reason", "retry_ms")

    def __init__(
        self,
        code: str,
        message: str,
        hint: str | None = None,
        retry_ms: int | None = None,
        reason: str | None = None,
    ) -> None:
        self.code = code
        self.message = message
        self.hint = hint
        self.retry_ms = retry_ms
        self.reason = reason


class Answer:
    """
    What became of one read. It holds plaintext and does not print it.

    Attributes:
        outcome: `FOUND`, `ABSENT`, `DENIED`, `UNAVAILABLE` or `INVALID`.
        flags: `STALE`, `CACHED`, `STRICT`.
        age_ms: since the backend was asked, or None.
        ttl_ms: for how long it is fresh, or None.
        backend, version: of the entry, or None.
        text: where the outcome is found: a variable's, or a connection's stored text.
        fields: where a connection was found: in the order of `FIELD_NAMES`.
        refusal: why it was not given.
    """

    __slots__ = ("age_ms", "backend", "fields", "flags", "outcome", "refusal", "text", "ttl_ms", "version")

    def __init__(
        self,
        outcome: int,
        flags: int,
        age_ms: int | None,
        ttl_ms: int | None,
        backend: str | None,
        version: str | None,
    ) -> None:
        self.outcome = outcome
        self.flags = flags
        self.age_ms = age_ms
        self.ttl_ms = ttl_ms
        self.backend = backend
        self.version = version
        self.text: str | None = None
        self.fields: Fields | None = None
        self.refusal: Refusal | None = None


# --- frames ------------------------------------------------------------------------------------------


def frame(type_: int, number: int, payload: bytes = b"") -> bytes:
    """Give the frame of *payload* under the id *number*."""
    return _HEAD.pack(len(payload) + 5, type_, number) + payload


def take(data: bytes | bytearray, at: int, limit: int) -> tuple[int, int, bytes, int] | None:
    """
    Give type, id and payload of the frame that begins at *at*, and where the next one begins.

    Args:
        data: what has come so far.
        at: offset of its first byte.
        limit: most bytes after the length.

    Returns:
        None while the frame is not all there.

    Raises:
        BrokenFrameError: its length is beyond *limit* or too short for a frame; told before it is all there.
    """
    have = len(data) - at
    if have < _LENGTH_BYTES:
        return None
    (length,) = _LONG.unpack_from(data, at)
    if length > limit:
        raise BrokenFrameError(f"a frame is over {limit} bytes", "too_large")
    if length < _LEAST:
        raise BrokenFrameError("a frame is shorter than its head")
    if have < _LENGTH_BYTES + length:
        return None
    _, type_, number = _HEAD.unpack_from(data, at)
    end = at + 4 + length
    return type_, number, bytes(data[at + HEAD_BYTES : end]), end


# --- hello -------------------------------------------------------------------------------------------


def pack_hello(version: str, flags: int = 0, *, major: int = MAJOR, minor: int = MINOR) -> bytes:
    """Give the payload of a HELLO, or of the answer to one."""
    return _HELLO.pack(MAGIC, major, minor) + _short(version) + _LONG.pack(flags)


def read_hello(payload: bytes) -> Hello:
    """
    Give who speaks. What follows the magic is only read where the major version is ours.

    Raises:
        BrokenFrameError: it is no HELLO.
    """
    try:
        magic, major, minor = _HELLO.unpack_from(payload)
    except error:
        raise _broken("a HELLO") from None
    if magic != MAGIC:
        raise BrokenFrameError("the other end does not speak this protocol", "unsupported_version")
    if major != MAJOR:
        return Hello(major, minor, "", 0)
    version, at = _read_short(payload, 5)
    return Hello(major, minor, version, _number(payload, at))


# --- reads: the question -------------------------------------------------------------------------------


def pack_read(number: int, kind: str, name: str, team: str | None = None, flags: int = 0) -> bytes:
    """
    Give the frame (head and all) that asks for one entry.

    Raises:
        BrokenFrameError: the name or team is longer than a frame can say, or no Unicode.
    """
    text = _encoded(name)
    if team is None:
        return _ASK.pack(len(text) + 11, READ, number, _CODES[kind], flags, _NO_SHORT, len(text)) + text
    return frame(READ, number, bytes((_CODES[kind], flags)) + _short(team) + _SHORT.pack(len(text)) + text)


def read_read(payload: bytes) -> tuple[str, str, str | None, int]:
    """
    Give kind, name, team and flags of what is asked for.

    Raises:
        BrokenFrameError: it is no such question.
    """
    try:
        kind, flags = KINDS[payload[0] - 1] if payload[0] else "", payload[1]
    except IndexError:
        raise _broken("a question") from None
    if not kind:
        raise _broken("a question")
    team, at = _read_maybe_short(payload, 2)
    name, _ = _read_short(payload, at)
    return kind, name, team, flags


def pack_ref(kind: str, name: str, team: str | None = None, flags: int = 0) -> bytes:
    """Give the payload of FOLLOW, UNFOLLOW and EXPLAIN, which is that of READ."""
    return bytes((_CODES[kind], flags)) + _maybe_short(team) + _short(name)


def pack_read_many(refs: Sequence[Key], flags: int = 0) -> bytes:
    """
    Give the payload that asks for many.

    Args:
        refs: up to `MAX_BATCH` of (kind, name, team).
        flags: for all of them.

    Raises:
        BrokenFrameError: as `pack_read`.
    """
    parts = [bytes((flags,)), _SHORT.pack(len(refs))]
    parts += [bytes((_CODES[kind],)) + _maybe_short(team) + _short(name) for kind, name, team in refs]
    return b"".join(parts)


def read_read_many(payload: bytes) -> tuple[list[Key], int]:
    """
    Give (kind, name, team) of each that is asked for, and the flags.

    Raises:
        BrokenFrameError: it is no such question, or asks for more than `MAX_BATCH`.
    """
    flags, count = _byte(payload, 0), _half(payload, 1)
    if count > MAX_BATCH:
        raise BrokenFrameError(f"a batch is over {MAX_BATCH} names", "too_large")
    refs: list[Key] = []
    at = 3
    for _ in range(count):
        code = _byte(payload, at)
        if not 0 < code <= len(KINDS):
            raise _broken("a question")
        team, at = _read_maybe_short(payload, at + 1)
        name, at = _read_short(payload, at)
        refs.append((KINDS[code - 1], name, team))
    return refs, flags


# --- reads: the answer -----------------------------------------------------------------------------------


def pack_text(backend: str | None, version: str | None, text: str) -> bytes:
    """Give the body of an answer that holds a variable's text, or a connection's stored one."""
    return _maybe_short(backend) + _maybe_short(version) + bytes((TEXT,)) + _long(text)


def pack_fields(backend: str | None, version: str | None, fields: Fields) -> bytes:
    """Give the body of an answer that holds a connection field by field, in the order of `FIELD_NAMES`."""
    *texts, port, extra = fields
    parts = [_maybe_short(backend), _maybe_short(version), bytes((FIELDS,))]
    parts += [_maybe_long(text) for text in texts]
    parts += [_SIGNED.pack(-1 if port is None else port), _maybe_long(extra)]
    return b"".join(parts)


def pack_nothing(backend: str | None = None, version: str | None = None) -> bytes:
    """Give the body of an answer that holds neither a value nor a reason."""
    return _maybe_short(backend) + _maybe_short(version) + bytes((NOTHING,))


def pack_refused(refusal: Refusal, backend: str | None = None, version: str | None = None) -> bytes:
    """Give the body of an answer that says why nothing is given."""
    return _maybe_short(backend) + _maybe_short(version) + bytes((REFUSAL,)) + pack_refusal(refusal)


def pack_answer(
    number: int,
    outcome: int,
    body: bytes,
    flags: int = 0,
    age_ms: int | None = None,
    ttl_ms: int | None = None,
) -> bytes:
    """
    Give the frame (head and all) that answers a READ.

    Args:
        number: the id of the question.
        outcome: `FOUND` …
        body: of `pack_text`, `pack_fields`, `pack_nothing` or `pack_refused`; the same for one entry each
            time, so it may be kept beside it.
        flags: `STALE` …
        age_ms: None, or milliseconds; more than 49 days are said as 49 days.
        ttl_ms: likewise.
    """
    return (
        _ANSWER.pack(
            len(body) + 15,
            READ | ANSWER,
            number,
            outcome,
            flags,
            _milliseconds(age_ms),
            _milliseconds(ttl_ms),
        )
        + body
    )


def pack_result(
    outcome: int, body: bytes, flags: int = 0, age_ms: int | None = None, ttl_ms: int | None = None
) -> bytes:
    """Give one answer as it stands in that of a READ_MANY. Arguments as `pack_answer`."""
    return _STATE.pack(outcome, flags, _milliseconds(age_ms), _milliseconds(ttl_ms)) + body


def pack_results(first: int, results: Sequence[bytes], *, has_more: bool = False) -> bytes:
    """
    Give the payload that answers a READ_MANY, or a part of it.

    Args:
        first: the place of the first of *results* among the questions.
        results: each of `pack_result`.
        has_more: another frame with this id follows.
    """
    parts = [_MANY.pack(1 if has_more else 0, first, len(results))]
    for result in results:
        parts += (_LONG.pack(len(result)), result)
    return b"".join(parts)


def read_text(payload: bytes) -> str | None:
    """Give the text in the answer to a READ; None where it holds none, which `read_answer` tells more of."""
    # The way of nearly every read: no object is made but the text.
    try:
        if payload[0] != FOUND:
            return None
        at = 10
        for _ in (1, 2):  # backend and version
            length = payload[at] << 8 | payload[at + 1]
            at += 2 if length == _NO_SHORT else 2 + length
        if payload[at] != TEXT:
            return None
        length = _LONG.unpack_from(payload, at + 1)[0]
    except (IndexError, error):
        return None
    found = payload[at + 5 : at + 5 + length]
    try:
        return found.decode() if len(found) == length else None
    except UnicodeDecodeError:
        return None


def read_answer(payload: bytes) -> Answer:
    """
    Give what became of a READ.

    Raises:
        BrokenFrameError: it is no such answer, a value is missing where one was found, or the reverse.
    """
    try:
        outcome, flags, age_ms, ttl_ms = _STATE.unpack_from(payload)
    except error:
        raise _broken("an answer") from None
    if outcome >= len(OUTCOMES):
        raise _broken("an answer")
    backend, at = _read_maybe_short(payload, 10)
    version, at = _read_maybe_short(payload, at)
    answer = Answer(outcome, flags, _or_none(age_ms), _or_none(ttl_ms), backend, version)
    form = _byte(payload, at)
    if (form in (TEXT, FIELDS)) is not (outcome == FOUND):
        raise BrokenFrameError("an answer holds a value and says there is none, or the reverse")
    if form == TEXT:
        answer.text, _ = _read_long(payload, at + 1)
    elif form == FIELDS:
        answer.fields = _read_fields(payload, at + 1)
    elif form == REFUSAL:
        answer.refusal = read_refusal(payload, at + 1)
    return answer


def read_results(payload: bytes) -> tuple[int, list[Answer], bool]:
    """
    Give the place of the first answer, the answers of this frame, and whether another frame follows.

    Raises:
        BrokenFrameError: it is no such answer.
    """
    try:
        has_more, first, count = _MANY.unpack_from(payload)
    except error:
        raise _broken("an answer") from None
    answers: list[Answer] = []
    at = _MANY.size
    for _ in range(count):
        length = _number(payload, at)
        at += 4
        if len(payload) < at + length:
            raise _broken("an answer")
        answers.append(read_answer(payload[at : at + length]))
        at += length
    return first, answers, bool(has_more & 1)


# --- everything else ---------------------------------------------------------------------------------


def pack_refusal(refusal: Refusal) -> bytes:
    """Give the payload of an ERROR."""
    return (
        _short(_bounded(refusal.code))
        + _short(_bounded(refusal.message))
        + _maybe_short(_bounded(refusal.hint))
        + _LONG.pack(_milliseconds(refusal.retry_ms))
        + _maybe_short(_bounded(refusal.reason))
    )


def read_refusal(payload: bytes, at: int = 0) -> Refusal:
    """
    Give what an ERROR, or the refusal in an answer, says.

    Raises:
        BrokenFrameError: it is none.
    """
    code, at = _read_short(payload, at)
    message, at = _read_short(payload, at)
    hint, at = _read_maybe_short(payload, at)
    retry_ms = _or_none(_number(payload, at))
    reason, _ = _read_maybe_short(payload, at + 4)
    return Refusal(code, message, hint, retry_ms, reason)


def pack_claim(run: Run) -> bytes:
    """
    Give the payload of a CLAIM.

    Args:
        run: dag_id, task_id, run_id, map_index, try_number, bundle; None where unsaid.
    """
    dag_id, task_id, run_id, map_index, try_number, bundle = run
    return b"".join(
        (
            _maybe_short(dag_id),
            _maybe_short(task_id),
            _maybe_short(run_id),
            _SIGNED.pack(_NO_NUMBER if map_index is None else map_index),
            _SIGNED.pack(_NO_NUMBER if try_number is None else try_number),
            _maybe_short(bundle),
        )
    )


def read_claim(payload: bytes) -> Run:
    """
    Give what a CLAIM says of the run.

    Raises:
        BrokenFrameError: it is none.
    """
    dag_id, at = _read_maybe_short(payload, 0)
    task_id, at = _read_maybe_short(payload, at)
    run_id, at = _read_maybe_short(payload, at)
    map_index, try_number = _signed(payload, at), _signed(payload, at + 4)
    bundle, _ = _read_maybe_short(payload, at + 8)
    return dag_id, task_id, run_id, map_index, try_number, bundle


def pack_version(version: str | None) -> bytes:
    """Give the payload that answers a FOLLOW: the version that stands."""
    return _maybe_short(version)


def read_version(payload: bytes) -> str | None:
    """Give the version that a FOLLOW was answered with. Raises BrokenFrameError."""
    return _read_maybe_short(payload, 0)[0]


def pack_notice(kind: str, name: str, team: str | None = None, version: str | None = None) -> bytes:
    """Give the payload of a NOTICE: this entry changed; its *version* where that is known."""
    head = bytes((CHANGED, _CODES[kind]))
    return head + _maybe_short(team) + _short(name) + _maybe_short(version)


def pack_gap() -> bytes:
    """Give the payload of a NOTICE that says: anything may have changed, look at all that is followed."""
    return bytes((GAP, 0))


def read_notice(payload: bytes) -> tuple[str, str, str | None, str | None] | None:
    """
    Give kind, name, team and version of what changed; None: anything may have.

    Raises:
        BrokenFrameError: it is no notice.
    """
    what, code = _byte(payload, 0), _byte(payload, 1)
    if what != CHANGED:
        return None  # a gap, or what only a later minor version tells: looking is never wrong
    if not 0 < code <= len(KINDS):
        raise _broken("a notice")
    team, at = _read_maybe_short(payload, 2)
    name, at = _read_short(payload, at)
    version, _ = _read_maybe_short(payload, at)
    return KINDS[code - 1], name, team, version


def pack_json(text: str) -> bytes:
    """Give the payload of ADMIN, and of the answers to it and to EXPLAIN."""
    return _long(text)


def read_json(payload: bytes) -> str:
    """Give the JSON text of such a payload, unparsed. Raises BrokenFrameError."""
    return _read_long(payload, 0)[0]


# --- texts and numbers -------------------------------------------------------------------------------


def _broken(what: str) -> BrokenFrameError:
    return BrokenFrameError(f"{what} is cut short or is none of this protocol")


def _encoded(text: str) -> bytes:
    try:
        found = text.encode()
    except UnicodeEncodeError:
        pass
    else:
        if len(found) <= _LONGEST:
            return found
        raise BrokenFrameError(f"a text is over {_LONGEST} bytes", "too_large")
    raise BrokenFrameError("a text holds half a surrogate pair, which is not Unicode")


def _bounded(text: str | None) -> str | None:
    # Texts for people: rather cut than refused.
    return text if text is None or len(text) <= _LONGEST_TOLD else text[:_LONGEST_TOLD]


def _short(text: str | None) -> bytes:
    found = _encoded(text or "")
    return _SHORT.pack(len(found)) + found


def _maybe_short(text: str | None) -> bytes:
    return _NONE_SHORT if text is None else _short(text)


def _long(text: str) -> bytes:
    try:
        found = text.encode()
    except UnicodeEncodeError:
        pass
    else:
        return _LONG.pack(len(found)) + found
    raise BrokenFrameError("a value holds half a surrogate pair, which is not Unicode")


def _maybe_long(text: str | None) -> bytes:
    return _NONE_LONG if text is None else _long(text)


def _milliseconds(value: int | None) -> int:
    return _NO_LONG if value is None else min(max(value, 0), _MAX_MS)


def _or_none(value: int) -> int | None:
    return None if value == _NO_LONG else value


def _byte(payload: bytes, at: int) -> int:
    if at < len(payload):
        return payload[at]
    raise _broken("a frame")


def _half(payload: bytes, at: int) -> int:
    try:
        return _SHORT.unpack_from(payload, at)[0]  # type: ignore[no-any-return]
    except error:
        raise _broken("a frame") from None


def _number(payload: bytes, at: int) -> int:
    try:
        return _LONG.unpack_from(payload, at)[0]  # type: ignore[no-any-return]
    except error:
        raise _broken("a frame") from None


def _signed(payload: bytes, at: int) -> int | None:
    try:
        (value,) = _SIGNED.unpack_from(payload, at)
    except error:
        raise _broken("a frame") from None
    return None if value == _NO_NUMBER else value


def _read_short(payload: bytes, at: int) -> tuple[str, int]:
    length = _half(payload, at)
    return (_decoded(payload, at + 2, length), at + 2 + length)


def _read_maybe_short(payload: bytes, at: int) -> tuple[str | None, int]:
    length = _half(payload, at)
    if length == _NO_SHORT:
        return None, at + 2
    return (_decoded(payload, at + 2, length), at + 2 + length)


def _read_long(payload: bytes, at: int) -> tuple[str, int]:
    length = _number(payload, at)
    return (_decoded(payload, at + 4, length), at + 4 + length)


def _read_maybe_long(payload: bytes, at: int) -> tuple[str | None, int]:
    length = _number(payload, at)
    if length == _NO_LONG:
        return None, at + 4
    return (_decoded(payload, at + 4, length), at + 4 + length)


def _decoded(payload: bytes, at: int, length: int) -> str:
    found = payload[at : at + length]
    if len(found) == length:
        try:
            return found.decode()
        except UnicodeDecodeError:
            pass
    raise BrokenFrameError("a text is cut short or is not UTF-8")


def _read_fields(payload: bytes, at: int) -> Fields:
    texts: list[str | None] = []
    for _ in range(6):
        text, at = _read_maybe_long(payload, at)
        texts.append(text)
    port = _signed(payload, at)
    if port is None or port > _MAX_PORT:
        raise _broken("a connection")
    extra, _ = _read_maybe_long(payload, at + 4)
    conn_type, description, host, login, password, schema = texts
    return conn_type, description, host, login, password, schema, None if port < 0 else port, extra
