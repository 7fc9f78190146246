"""
The payloads of frames that are not on the way of every read; rules and shapes as `frames.py`.

Both ends use them through `frames`, which loads this file when one of its names is asked for. A task
process may need it, so it imports `struct` alone.
"""

from __future__ import annotations

from struct import Struct

from strongroom.caller.frames import (
    ANSWER,
    CHANGED,
    CODES,
    FIELDS,
    GAP,
    KINDS,
    MAGIC,
    MAJOR,
    MAX_BATCH,
    NOTHING,
    READ,
    REFUSAL,
    TEXT,
    BrokenFrameError,
    broken,
    byte_at,
    maybe_short,
    number_at,
    or_none,
    read_answer,
    read_long,
    read_maybe_short,
    short,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.caller.frames import Answer, Fields, Key, Run

_ANSWER = Struct(">IBIBBII")
_STATE = Struct(">BBII")
_LONG = Struct(">I")
_HELLO_BYTES = 5
_MANY_BYTES = 5
_MAX_MS = 0xFFFFFFFE
_NONE_LONG = b"\xff\xff\xff\xff"
_NO_LONG = 0xFFFFFFFF
_LONGEST_TOLD = 8000  # characters of a message or hint


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


# --- hello, claim, errors --------------------------------------------------------------------------------


def read_hello(payload: bytes) -> Hello:
    """
    Give who speaks. What follows the magic is only read where the major version is ours.

    Raises:
        BrokenFrameError: it is no HELLO.
    """
    if len(payload) < _HELLO_BYTES:
        raise broken("a HELLO")
    if payload[:3] != MAGIC:
        raise BrokenFrameError("the other end does not speak this protocol", "unsupported_version")
    if payload[3] != MAJOR:
        return Hello(payload[3], payload[4], "", 0)
    version, at = _read_short(payload, _HELLO_BYTES)
    return Hello(payload[3], payload[4], version, number_at(payload, at))


def read_claim(payload: bytes) -> Run:
    """
    Give what a CLAIM says of the run; one of minor version 0 ends after the bundle.

    Raises:
        BrokenFrameError: it is none.
    """
    dag_id, at = read_maybe_short(payload, 0)
    task_id, at = read_maybe_short(payload, at)
    run_id, at = read_maybe_short(payload, at)
    map_index, try_number = _read_signed(payload, at), _read_signed(payload, at + 4)
    bundle, at = read_maybe_short(payload, at + 8)
    first = dag_id, task_id, run_id, map_index, try_number, bundle
    if at == len(payload):
        return *first, None, None, None, None
    ti_id, at = read_maybe_short(payload, at)
    bundle_version, at = read_maybe_short(payload, at)
    team, at = read_maybe_short(payload, at)
    source, _ = read_maybe_short(payload, at)
    return *first, ti_id, bundle_version, team, source


def read_announce(payload: bytes) -> tuple[Run, str | None]:
    """
    Give what an ANNOUNCE says of the run, and the token for it; None without one.

    Raises:
        BrokenFrameError: it is none.
    """
    at = _claim_end(payload)
    token = None if at is None or at == len(payload) else read_maybe_short(payload, at)[0]
    return read_claim(payload), token


def _claim_end(payload: bytes) -> int | None:
    """Give where a claim ends that says all of its fields; None for one of minor version 0."""
    at = 0
    for _ in ("dag_id", "task_id", "run_id"):
        _, at = read_maybe_short(payload, at)
    _, at = read_maybe_short(payload, at + 8)
    if at == len(payload):
        return None
    for _ in ("ti_id", "bundle_version", "team", "source"):
        _, at = read_maybe_short(payload, at)
    return at


def pack_announced(level: int, why: str | None = None) -> bytes:
    """
    Give the payload of the answer to an ANNOUNCE.

    Args:
        level: how the run is proven now (`policy.Assurance`).
        why: it is no verified run, where a token was brought.
    """
    return bytes((level,)) + maybe_short(_bounded(why))


def read_announced(payload: bytes) -> tuple[int, str | None]:
    """
    Give level and reason in the answer to an ANNOUNCE; an agent before minor version 2 says neither.

    Raises:
        BrokenFrameError: it is none.
    """
    return (0, None) if not payload else (payload[0], read_maybe_short(payload, 1)[0])


def pack_refusal(refusal: Refusal) -> bytes:
    """Give the payload of an ERROR."""
    return (
        short(_bounded(refusal.code) or "")
        + short(_bounded(refusal.message) or "")
        + maybe_short(_bounded(refusal.hint))
        + _LONG.pack(_milliseconds(refusal.retry_ms))
        + maybe_short(_bounded(refusal.reason))
    )


def read_refusal(payload: bytes, at: int = 0) -> Refusal:
    """
    Give what an ERROR, or the refusal in an answer, says.

    Raises:
        BrokenFrameError: it is none.
    """
    code, at = _read_short(payload, at)
    message, at = _read_short(payload, at)
    hint, at = read_maybe_short(payload, at)
    retry_ms = or_none(number_at(payload, at))
    reason, _ = read_maybe_short(payload, at + 4)
    return Refusal(code, message, hint, retry_ms, reason)


# --- reads: the question -------------------------------------------------------------------------------


def read_read(payload: bytes) -> tuple[str, str, str | None, int]:
    """
    Give kind, name, team and flags of what is asked for.

    Raises:
        BrokenFrameError: it is no such question.
    """
    kind, flags = _kind_at(payload, 0), byte_at(payload, 1)
    team, at = read_maybe_short(payload, 2)
    name, _ = _read_short(payload, at)
    return kind, name, team, flags


def pack_ref(kind: str, name: str, team: str | None = None, flags: int = 0) -> bytes:
    """Give the payload of FOLLOW, UNFOLLOW and EXPLAIN, which is that of READ."""
    return bytes((CODES[kind], flags)) + maybe_short(team) + short(name)


def pack_read_many(refs: Sequence[Key], flags: int = 0) -> bytes:
    """
    Give the payload that asks for many.

    Args:
        refs: up to `MAX_BATCH` of (kind, name, team).
        flags: for all of them.

    Raises:
        BrokenFrameError: as `pack_read`.
    """
    parts = [bytes((flags,)), len(refs).to_bytes(2, "big")]
    parts += [bytes((CODES[kind],)) + maybe_short(team) + short(name) for kind, name, team in refs]
    return b"".join(parts)


def read_read_many(payload: bytes) -> tuple[list[Key], int]:
    """
    Give (kind, name, team) of each that is asked for, and the flags.

    Raises:
        BrokenFrameError: it is no such question, or asks for more than `MAX_BATCH`.
    """
    flags, count = byte_at(payload, 0), _half(payload, 1)
    if count > MAX_BATCH:
        raise BrokenFrameError(f"a batch is over {MAX_BATCH} names", "too_large")
    refs: list[Key] = []
    at = 3
    for _ in range(count):
        kind = _kind_at(payload, at)
        team, at = read_maybe_short(payload, at + 1)
        name, at = _read_short(payload, at)
        refs.append((kind, name, team))
    return refs, flags


# --- reads: the answer -----------------------------------------------------------------------------------


def pack_text(backend: str | None, version: str | None, text: str) -> bytes:
    """Give the body of an answer that holds a variable's text, or a connection's stored one."""
    return maybe_short(backend) + maybe_short(version) + bytes((TEXT,)) + _put_long(text)


def pack_fields(backend: str | None, version: str | None, fields: Fields) -> bytes:
    """Give the body of an answer that holds a connection field by field, in the order of `FIELD_NAMES`."""
    conn_type, description, host, login, password, schema, port, extra = fields
    parts = [maybe_short(backend), maybe_short(version), bytes((FIELDS,))]
    parts += [_maybe_long(text) for text in (conn_type, description, host, login, password, schema)]
    parts += [_NONE_LONG if port is None else _LONG.pack(port), _maybe_long(extra)]
    return b"".join(parts)


def pack_nothing(backend: str | None = None, version: str | None = None) -> bytes:
    """Give the body of an answer that holds neither a value nor a reason."""
    return maybe_short(backend) + maybe_short(version) + bytes((NOTHING,))


def pack_refused(refusal: Refusal, backend: str | None = None, version: str | None = None) -> bytes:
    """Give the body of an answer that says why nothing is given."""
    return maybe_short(backend) + maybe_short(version) + bytes((REFUSAL,)) + pack_refusal(refusal)


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
    age, ttl = _milliseconds(age_ms), _milliseconds(ttl_ms)
    return _ANSWER.pack(len(body) + 15, READ | ANSWER, number, outcome, flags, age, ttl) + body


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
    parts = [bytes((1 if has_more else 0,)), first.to_bytes(2, "big"), len(results).to_bytes(2, "big")]
    for result in results:
        parts += (_LONG.pack(len(result)), result)
    return b"".join(parts)


def read_results(payload: bytes) -> tuple[int, list[Answer], bool]:
    """
    Give the place of the first answer, the answers of this frame, and whether another frame follows.

    Raises:
        BrokenFrameError: it is no such answer.
    """
    has_more, first, count = byte_at(payload, 0), _half(payload, 1), _half(payload, 3)
    answers: list[Answer] = []
    at = _MANY_BYTES
    for _ in range(count):
        length = number_at(payload, at)
        at += 4
        if len(payload) < at + length:
            raise broken("an answer")
        answers.append(read_answer(payload[at : at + length]))
        at += length
    return first, answers, bool(has_more & 1)


# --- following, and JSON -----------------------------------------------------------------------------


def pack_version(version: str | None) -> bytes:
    """Give the payload that answers a FOLLOW: the version that stands."""
    return maybe_short(version)


def read_version(payload: bytes) -> str | None:
    """Give the version that a FOLLOW was answered with. Raises BrokenFrameError."""
    return read_maybe_short(payload, 0)[0]


def pack_notice(kind: str, name: str, team: str | None = None, version: str | None = None) -> bytes:
    """Give the payload of a NOTICE: this entry changed; its *version* where that is known."""
    return bytes((CHANGED, CODES[kind])) + maybe_short(team) + short(name) + maybe_short(version)


def pack_gap() -> bytes:
    """Give the payload of a NOTICE that says: anything may have changed, look at all that is followed."""
    return bytes((GAP, 0))


def read_notice(payload: bytes) -> tuple[str, str, str | None, str | None] | None:
    """
    Give kind, name, team and version of what changed; None: anything may have.

    Raises:
        BrokenFrameError: it is no notice.
    """
    if byte_at(payload, 0) != CHANGED:
        return None  # a gap, or what only a later minor version tells: looking is never wrong
    kind = _kind_at(payload, 1)
    team, at = read_maybe_short(payload, 2)
    name, at = _read_short(payload, at)
    version, _ = read_maybe_short(payload, at)
    return kind, name, team, version


def pack_json(text: str) -> bytes:
    """Give the payload of ADMIN, and of the answers to it and to EXPLAIN."""
    return _put_long(text)


def read_json(payload: bytes) -> str:
    """Give the JSON text of such a payload, unparsed. Raises BrokenFrameError."""
    return read_long(payload, 0)[0]


# --- texts and numbers -------------------------------------------------------------------------------


def _bounded(text: str | None) -> str | None:
    # Texts for people: rather cut than refused.
    return text if text is None or len(text) <= _LONGEST_TOLD else text[:_LONGEST_TOLD]


def _put_long(text: str) -> bytes:
    try:
        found = text.encode()
    except UnicodeEncodeError:
        pass
    else:
        return _LONG.pack(len(found)) + found
    raise BrokenFrameError("a value holds half a surrogate pair, which is not Unicode")


def _maybe_long(text: str | None) -> bytes:
    return _NONE_LONG if text is None else _put_long(text)


def _milliseconds(value: int | None) -> int:
    return _NO_LONG if value is None else min(max(value, 0), _MAX_MS)


def _kind_at(payload: bytes, at: int) -> str:
    code = byte_at(payload, at)
    if not 0 < code <= len(KINDS):
        raise broken("a kind")
    return KINDS[code - 1]


def _half(payload: bytes, at: int) -> int:
    return byte_at(payload, at) << 8 | byte_at(payload, at + 1)


def _read_signed(payload: bytes, at: int) -> int | None:
    value = number_at(payload, at)
    value = value - 2**32 if value >= 2**31 else value
    return None if value == -(2**31) else value


def _read_short(payload: bytes, at: int) -> tuple[str, int]:
    text, end = read_maybe_short(payload, at)
    if text is None:
        raise broken("a text")
    return text, end
