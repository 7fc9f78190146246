"""
Frames between a process and the agent of its machine: the one codec of both ends.

Shape: u32 length of what follows, u8 type, u32 id, payload. Whole numbers are unsigned, big-endian. What
each type holds, limits and versions: docs/protocol.md; frozen vectors: tests/vectors/frames.json.

Rules of this file:

1. It does no I/O and keeps no value: bytes in, plain values out, and the other way round.
2. Whatever stands in a payload, reading it gives a value or raises `BrokenFrameError`, and nothing else.
3. Bytes behind the known fields of a payload are ignored: a later minor version adds at the end.
4. Every task process imports this file, so it imports nothing, and holds what a read needs and no more. The
   other payloads stand in `payload.py`; their names are given from here, too.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, TypeAlias

    from strongroom.caller.payload import (
        Hello,
        Refusal,
        pack_announced,
        pack_answer,
        pack_fields,
        pack_gap,
        pack_json,
        pack_nothing,
        pack_notice,
        pack_read_many,
        pack_ref,
        pack_refusal,
        pack_refused,
        pack_result,
        pack_results,
        pack_text,
        pack_version,
        read_announce,
        read_announced,
        read_claim,
        read_hello,
        read_json,
        read_notice,
        read_read,
        read_read_many,
        read_refusal,
        read_results,
        read_version,
    )

    Key: TypeAlias = tuple[str, str, "str | None"]
    Run: TypeAlias = tuple[
        "str | None",
        "str | None",
        "str | None",
        "int | None",
        "int | None",
        "str | None",
        "str | None",
        "str | None",
        "str | None",
        "str | None",
    ]
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

__all__ = [
    "ABSENT",
    "ADMIN",
    "ANNOUNCE",
    "ANSWER",
    "BYPASS_CACHE",
    "CACHED",
    "CHANGED",
    "CLAIM",
    "DENIED",
    "ERROR",
    "EXPLAIN",
    "FIELDS",
    "FIELD_NAMES",
    "FOLLOW",
    "FOLLOWED",
    "FOUND",
    "GAP",
    "HEAD_BYTES",
    "HELLO",
    "INVALID",
    "INVENTORY",
    "KINDS",
    "LENT",
    "MAGIC",
    "MAJOR",
    "MAX_ANSWER_BYTES",
    "MAX_BATCH",
    "MAX_REQUEST_BYTES",
    "MINOR",
    "NOTHING",
    "NOTICE",
    "OUTCOMES",
    "PARSE",
    "PING",
    "RAW",
    "READ",
    "READ_MANY",
    "REFUSAL",
    "SDK",
    "STALE",
    "STRICT",
    "TEXT",
    "UNAVAILABLE",
    "UNFOLLOW",
    "WRITE",
    "Answer",
    "BrokenFrameError",
    "Hello",
    "Refusal",
    "frame",
    "pack_announce",
    "pack_announced",
    "pack_answer",
    "pack_claim",
    "pack_fields",
    "pack_gap",
    "pack_hello",
    "pack_json",
    "pack_nothing",
    "pack_notice",
    "pack_read",
    "pack_read_many",
    "pack_ref",
    "pack_refusal",
    "pack_refused",
    "pack_result",
    "pack_results",
    "pack_text",
    "pack_version",
    "read_announce",
    "read_announced",
    "read_answer",
    "read_claim",
    "read_hello",
    "read_json",
    "read_notice",
    "read_read",
    "read_read_many",
    "read_refusal",
    "read_results",
    "read_text",
    "read_version",
    "take",
]

MAGIC = b"SRM"
MAJOR = 1
MINOR = 3

MAX_REQUEST_BYTES = 262_144
"""Most bytes after the length of a frame that a client sends: 256 KiB."""
MAX_ANSWER_BYTES = 16_777_216
"""Most bytes after the length of a frame that an agent sends: 16 MiB."""
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
ANNOUNCE = 0x0A
WRITE = 0x0B
INVENTORY = 0x0C
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
PARSE = 0x08
"""Answer from the snapshot that all who parse DAG files share. An agent of minor version 0 ignores it."""
FOLLOWED = 0x10
"""It is read to be followed, and let go of when that ends. An agent of minor version 2 ignores it."""

# Outcomes of a read, and flags of its answer.
FOUND = 0
ABSENT = 1
DENIED = 2
UNAVAILABLE = 3
INVALID = 4
OUTCOMES = ("found", "absent", "denied", "unavailable", "invalid")
STALE = 0x01
CACHED = 0x02
STRICT = 0x04
LENT = 0x08
"""Its login can be revoked: who follows it says at once when he does so no more. Since minor version 3."""

# What the body of a read's answer holds.
NOTHING = 0
TEXT = 1
FIELDS = 2
REFUSAL = 3

# What a notice tells.
CHANGED = 1
GAP = 2

FIELD_NAMES = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")
"""Of a connection, in the order in which they travel; `extra` is JSON text."""

HEAD_BYTES = 9
_LEAST = 5  # what a frame without payload has after its length: type and id
_STATE_BYTES = 10  # outcome, flags, age, ttl
_LONGEST = 0xFFFE
_NO_SHORT = 0xFFFF  # as the length of an optional text: there is none
_NO_LONG = 0xFFFFFFFF
_NO_NUMBER = -(2**31)
CODES = {"connection": 1, "variable": 2, "config": 3}
"""How a kind is written in a frame."""


class BrokenFrameError(ValueError):
    """
    The other end sent what is no frame of this protocol. Says what, and none of the bytes.

    Attributes:
        code: `malformed_frame`, `too_large`, or `unsupported_version`.
    """

    def __init__(self, message: str, code: str = "malformed_frame") -> None:
        super().__init__(message)
        self.code = code


class Answer:
    """
    What became of one read. It holds plaintext and does not print it.

    Attributes:
        outcome: `FOUND`, `ABSENT`, `DENIED`, `UNAVAILABLE` or `INVALID`.
        flags: `STALE`, `CACHED`, `STRICT`, `LENT`.
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
        flags: int = 0,
        age_ms: int | None = None,
        ttl_ms: int | None = None,
        backend: str | None = None,
        version: str | None = None,
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

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("an answer holds plaintext and cannot be pickled or copied")


# --- frames ------------------------------------------------------------------------------------------


def frame(type_: int, number: int, payload: bytes = b"") -> bytes:
    """Give the frame of *payload* under the id *number*."""
    return (len(payload) + _LEAST).to_bytes(4, "big") + bytes((type_,)) + number.to_bytes(4, "big") + payload


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
    begin = at + 4
    if len(data) < begin:
        return None
    length = int.from_bytes(data[at:begin], "big")
    if length > limit:
        raise BrokenFrameError(f"a frame is over {limit} bytes", "too_large")
    if length < _LEAST:
        raise BrokenFrameError("a frame is shorter than its head")
    end = begin + length
    if len(data) < end:
        return None
    number = int.from_bytes(data[at + 5 : at + HEAD_BYTES], "big")
    return data[begin], number, bytes(data[at + HEAD_BYTES : end]), end


# --- what begins a connection ------------------------------------------------------------------------


def pack_hello(version: str, flags: int = 0, *, major: int = MAJOR, minor: int = MINOR) -> bytes:
    """Give the payload of a HELLO, or of the answer to one."""
    return MAGIC + bytes((major, minor)) + short(version) + flags.to_bytes(4, "big")


def pack_claim(run: Run) -> bytes:
    """
    Give the payload of a CLAIM.

    Args:
        run: dag_id, task_id, run_id, map_index, try_number, bundle, and since minor version 1 ti_id,
            bundle_version, team, source; None where unsaid. It may end after the bundle.
    """
    dag_id, task_id, run_id, map_index, try_number, bundle, *later = run
    texts = maybe_short(dag_id) + maybe_short(task_id) + maybe_short(run_id)
    first = texts + _signed(map_index) + _signed(try_number) + maybe_short(bundle)
    # What says nothing more is what it was in minor version 0.
    return first + b"".join([maybe_short(text) for text in later]) if any(later) else first


def pack_announce(run: Run, token: str | None = None) -> bytes:
    """
    Give the payload of an ANNOUNCE.

    Args:
        run: as of `pack_claim`.
        token: since minor version 2, of Airflow for that run: by it the agent has the run verified.

    Raises:
        BrokenFrameError: a text is too long, or no Unicode.
    """
    if token is None:
        return pack_claim(run)
    # All of a claim's fields are said, so that what stands behind them is told from them.
    whole = b"".join([maybe_short(text) for text in run[6:]])
    return pack_claim((*run[:6], None, None, None, None)) + whole + short(token)


# --- a read --------------------------------------------------------------------------------------------


def pack_read(number: int, kind: str, name: str, team: str | None = None, flags: int = 0) -> bytes:
    """
    Give the frame (head and all) that asks for one entry.

    Raises:
        BrokenFrameError: the name or team is longer than a frame can say, or no Unicode.
    """
    return frame(READ, number, bytes((CODES[kind], flags)) + maybe_short(team) + short(name))


def read_text(payload: bytes) -> str | None:
    """Give the text in the answer to a READ; None where it holds none, which `read_answer` tells more of."""
    # The way of nearly every read: no object is made but the text.
    try:
        if payload[0] != FOUND:
            return None
        at = _STATE_BYTES
        for _ in (1, 2):  # backend and version
            length = payload[at] << 8 | payload[at + 1]
            at += 2 if length == _NO_SHORT else 2 + length
        if payload[at] != TEXT:
            return None
    except IndexError:
        return None
    begin = at + 5
    length = int.from_bytes(payload[at + 1 : begin], "big")
    found = payload[begin : begin + length]
    if len(payload) < begin or len(found) != length:
        return None
    try:
        return found.decode()
    except UnicodeDecodeError:
        return None


def read_answer(payload: bytes) -> Answer:
    """
    Give what became of a READ.

    Raises:
        BrokenFrameError: it is no such answer, a value is missing where one was found, or the reverse.
    """
    outcome, flags = byte_at(payload, 0), byte_at(payload, 1)
    if outcome >= len(OUTCOMES):
        raise broken("an answer")
    age_ms, ttl_ms = number_at(payload, 2), number_at(payload, 6)
    backend, at = read_maybe_short(payload, _STATE_BYTES)
    version, at = read_maybe_short(payload, at)
    answer = Answer(outcome, flags, or_none(age_ms), or_none(ttl_ms), backend, version)
    form = byte_at(payload, at)
    if (form in (TEXT, FIELDS)) is not (outcome == FOUND):
        raise BrokenFrameError("an answer holds a value and says there is none, or the reverse")
    if form == TEXT:
        answer.text, _ = read_long(payload, at + 1)
    elif form == FIELDS:
        answer.fields = _read_fields(payload, at + 1)
    elif form == REFUSAL:
        from strongroom.caller.payload import read_refusal as read  # noqa: PLC0415 -- see rule 4

        answer.refusal = read(payload, at + 1)
    return answer


def _read_fields(payload: bytes, at: int) -> Fields:
    conn_type, at = read_maybe_long(payload, at)
    description, at = read_maybe_long(payload, at)
    host, at = read_maybe_long(payload, at)
    login, at = read_maybe_long(payload, at)
    password, at = read_maybe_long(payload, at)
    schema, at = read_maybe_long(payload, at)
    port = number_at(payload, at)
    if 65535 < port != _NO_LONG:  # noqa: PLR2004 -- the largest port
        raise broken("a connection")
    extra, _ = read_maybe_long(payload, at + 4)
    return conn_type, description, host, login, password, schema, or_none(port), extra


# --- texts and numbers -------------------------------------------------------------------------------


def broken(what: str) -> BrokenFrameError:
    """Give the error of a frame that should hold *what*, and does not."""
    return BrokenFrameError(f"{what} is cut short or is none of this protocol")


def short(text: str) -> bytes:
    """Give *text* behind a u16 of its bytes."""
    try:
        found = text.encode()
    except UnicodeEncodeError:
        found = None
    if found is None:
        raise BrokenFrameError("a text holds half a surrogate pair, which is not Unicode")
    if len(found) > _LONGEST:
        raise BrokenFrameError(f"a text is over {_LONGEST} bytes", "too_large")
    return len(found).to_bytes(2, "big") + found


def maybe_short(text: str | None) -> bytes:
    """Give *text* as `short`, or what says that there is none."""
    return b"\xff\xff" if text is None else short(text)


def _signed(value: int | None) -> bytes:
    return (_NO_NUMBER if value is None else value).to_bytes(4, "big", signed=True)


def or_none(value: int) -> int | None:
    """Give *value*, or None where it says that there is none."""
    return None if value == _NO_LONG else value


def byte_at(payload: bytes, at: int) -> int:
    """Give the u8 at *at*. Raises BrokenFrameError: it ends before."""
    if at < len(payload):
        return payload[at]
    raise broken("a frame")


def number_at(payload: bytes, at: int) -> int:
    """Give the u32 at *at*. Raises BrokenFrameError: it ends before."""
    if at + 4 <= len(payload):
        return int.from_bytes(payload[at : at + 4], "big")
    raise broken("a frame")


def read_maybe_short(payload: bytes, at: int) -> tuple[str | None, int]:
    """Give the text at *at*, None where there is none, and where it ends. Raises BrokenFrameError."""
    if at + 2 > len(payload):
        raise broken("a frame")
    length = payload[at] << 8 | payload[at + 1]
    at += 2
    return (None, at) if length == _NO_SHORT else (_decoded(payload, at, length), at + length)


def read_long(payload: bytes, at: int) -> tuple[str, int]:
    """Give the text behind the u32 at *at*, and where it ends. Raises BrokenFrameError."""
    length = number_at(payload, at)
    return _decoded(payload, at + 4, length), at + 4 + length


def read_maybe_long(payload: bytes, at: int) -> tuple[str | None, int]:
    """Give the text behind the u32 at *at*, None where there is none, and where it ends."""
    if number_at(payload, at) == _NO_LONG:
        return None, at + 4
    return read_long(payload, at)


def _decoded(payload: bytes, at: int, length: int) -> str:
    found = payload[at : at + length]
    if len(found) == length:
        try:
            return found.decode()
        except UnicodeDecodeError:
            pass
    raise BrokenFrameError("a text is cut short or is not UTF-8")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from strongroom.caller import payload  # noqa: PLC0415 -- see rule 4

    found: object = getattr(payload, name)
    globals()[name] = found
    return found
