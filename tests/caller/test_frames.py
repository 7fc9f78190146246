"""The codec of both ends against its frozen vectors, and against bytes that nobody meant."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.caller import frames
from strongroom.caller.frames import BrokenFrameError

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "frames.json").read_text())
LIMITS = {"client": frames.MAX_REQUEST_BYTES, "agent": frames.MAX_ANSWER_BYTES}


def _answer(answer):
    refusal = answer.refusal
    return {
        "outcome": frames.OUTCOMES[answer.outcome],
        "flags": answer.flags,
        "age_ms": answer.age_ms,
        "ttl_ms": answer.ttl_ms,
        "backend": answer.backend,
        "version": answer.version,
        "text": answer.text,
        "fields": None if answer.fields is None else list(answer.fields),
        "refusal": None if refusal is None else _refusal(refusal),
    }


def _refusal(refusal):
    return [refusal.code, refusal.message, refusal.hint, refusal.retry_ms, refusal.reason]


def _hello(payload):
    hello = frames.read_hello(payload)
    return {"major": hello.major, "minor": hello.minor, "version": hello.version, "flags": hello.flags}


def _read(payload):
    kind, name, team, flags = frames.read_read(payload)
    return {"kind": kind, "name": name, "team": team, "flags": flags}


def _read_many(payload):
    refs, flags = frames.read_read_many(payload)
    return {"flags": flags, "refs": [list(ref) for ref in refs]}


def _results(payload):
    first, answers, has_more = frames.read_results(payload)
    return {"first": first, "has_more": has_more, "answers": [_answer(answer) for answer in answers]}


def _notice(payload):
    notice = frames.read_notice(payload)
    return {"notice": None if notice is None else list(notice)}


def _announced(payload):
    run, token = frames.read_announce(payload)
    assert run == frames.read_claim(payload)  # as an agent of minor version 1 reads it
    return {"run": list(run)} | ({} if token is None else {"token": token})


def _level(payload):
    level, why = frames.read_announced(payload)
    return {"level": level, "why": why} if payload else {}


def _nothing(payload):
    assert payload == b""
    return {}


READERS = {
    frames.HELLO: _hello,
    frames.HELLO | frames.ANSWER: _hello,
    frames.READ: _read,
    frames.READ | frames.ANSWER: lambda payload: _answer(frames.read_answer(payload)),
    frames.READ_MANY: _read_many,
    frames.READ_MANY | frames.ANSWER: _results,
    frames.CLAIM: lambda payload: {"run": list(frames.read_claim(payload))},
    frames.CLAIM | frames.ANSWER: _nothing,
    frames.ANNOUNCE: _announced,
    frames.ANNOUNCE | frames.ANSWER: _level,
    frames.FOLLOW: _read,
    frames.FOLLOW | frames.ANSWER: lambda payload: {"version": frames.read_version(payload)},
    frames.UNFOLLOW: _read,
    frames.NOTICE: _notice,
    frames.EXPLAIN: _read,
    frames.EXPLAIN | frames.ANSWER: lambda payload: {"json": frames.read_json(payload)},
    frames.ADMIN: lambda payload: {"json": frames.read_json(payload)},
    frames.INVENTORY: lambda payload: {"json": frames.read_json(payload)},
    frames.INVENTORY | frames.ANSWER: lambda payload: {"json": frames.read_json(payload)},
    frames.PING: lambda payload: {"payload": payload.hex()},
    frames.PING | frames.ANSWER: lambda payload: {"payload": payload.hex()},
    frames.ERROR: lambda payload: {"refusal": _refusal(frames.read_refusal(payload))},
}
PAYLOADS = {
    "frame": lambda raw: frames.take(raw, 0, frames.MAX_ANSWER_BYTES),
    "hello": frames.read_hello,
    "read": frames.read_read,
    "read_many": frames.read_read_many,
    "claim": frames.read_claim,
    "announce": frames.read_announce,
    "announced": frames.read_announced,
    "answer": frames.read_answer,
    "results": frames.read_results,
    "error": frames.read_refusal,
    "notice": frames.read_notice,
    "json": frames.read_json,
    "version": frames.read_version,
}


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: vector["name"])
def test_every_frame_reads_as_it_always_did(vector):
    raw = bytes.fromhex(vector["hex"])
    type_, number, payload, end = frames.take(raw, 0, LIMITS[vector["from"]])
    assert (type_, number, end) == (vector["type"], vector["id"], len(raw))
    assert READERS[type_](payload) == vector["says"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_what_is_no_frame_is_refused_with_its_code(vector):
    raw = bytes.fromhex(vector["hex"])
    with pytest.raises(BrokenFrameError) as caught:
        PAYLOADS[vector["as"]](raw)
    assert caught.value.code == vector["code"]


def _gap_or_notice(says):
    notice = says["notice"]
    return frames.pack_gap() if notice is None else frames.pack_notice(*notice)


def _packed_results(says):
    results = [frames.pack_result(*_packed(each)) for each in says["answers"]]
    return frames.pack_results(says["first"], results, has_more=says["has_more"])


def _packed_hello(says):
    return frames.pack_hello(says["version"], says["flags"], minor=says["minor"])


def _packed_ref(says):
    return frames.pack_ref(says["kind"], says["name"], says["team"], says["flags"])


WRITERS = {
    frames.HELLO: _packed_hello,
    frames.HELLO | frames.ANSWER: _packed_hello,
    frames.READ: _packed_ref,
    frames.READ_MANY: lambda says: frames.pack_read_many(says["refs"], says["flags"]),
    frames.READ_MANY | frames.ANSWER: _packed_results,
    frames.CLAIM: lambda says: frames.pack_claim(says["run"]),
    frames.ANNOUNCE: lambda says: frames.pack_announce(says["run"], says.get("token")),
    frames.ANNOUNCE | frames.ANSWER: lambda says: frames.pack_announced(**says) if says else b"",
    frames.FOLLOW: _packed_ref,
    frames.FOLLOW | frames.ANSWER: lambda says: frames.pack_version(says["version"]),
    frames.UNFOLLOW: _packed_ref,
    frames.NOTICE: _gap_or_notice,
    frames.EXPLAIN: _packed_ref,
    frames.EXPLAIN | frames.ANSWER: lambda says: frames.pack_json(says["json"]),
    frames.ADMIN: lambda says: frames.pack_json(says["json"]),
    frames.INVENTORY: lambda says: frames.pack_json(says["json"]),
    frames.INVENTORY | frames.ANSWER: lambda says: frames.pack_json(says["json"]),
    frames.ERROR: lambda says: frames.pack_refusal(frames.Refusal(*says["refusal"])),
}


def _written(vector):
    says, number, type_ = vector["says"], vector["id"], vector["type"]
    if type_ == frames.READ | frames.ANSWER:
        return frames.pack_answer(number, *_packed(says))
    write = WRITERS.get(type_, lambda says: bytes.fromhex(says.get("payload", "")))
    raw = frames.frame(type_, number, write(says))
    if type_ == frames.READ:  # the way of nearly every read is one of its own
        assert frames.pack_read(number, says["kind"], says["name"], says["team"], says["flags"]) == raw
    return raw


def _packed(says):
    backend, version = says["backend"], says["version"]
    if says["fields"] is not None:
        body = frames.pack_fields(backend, version, says["fields"])
    elif says["text"] is not None:
        body = frames.pack_text(backend, version, says["text"])
    elif says["refusal"] is not None:
        body = frames.pack_refused(frames.Refusal(*says["refusal"]), backend, version)
    else:
        body = frames.pack_nothing(backend, version)
    return frames.OUTCOMES.index(says["outcome"]), body, says["flags"], says["age_ms"], says["ttl_ms"]


OURS = [one for one in VECTORS["frames"] if "minor 1" not in one["name"] and "major 2" not in one["name"]]


@pytest.mark.parametrize("vector", OURS, ids=lambda vector: vector["name"])
def test_every_frame_is_written_as_it_always_was(vector):
    assert _written(vector).hex() == vector["hex"]


def test_a_plain_text_is_read_the_short_way_and_nothing_else_is():
    for vector in VECTORS["frames"]:
        if vector["type"] == frames.READ | frames.ANSWER:
            payload = bytes.fromhex(vector["hex"])[frames.HEAD_BYTES :]
            assert frames.read_text(payload) == vector["says"]["text"]
    for vector in VECTORS["refused"]:
        assert frames.read_text(bytes.fromhex(vector["hex"])) is None


def test_a_frame_that_is_not_all_there_is_waited_for():
    raw = bytes.fromhex(VECTORS["frames"][4]["hex"])
    for end in range(len(raw)):
        assert frames.take(raw[:end], 0, frames.MAX_REQUEST_BYTES) is None
    assert frames.take(raw + raw, len(raw), frames.MAX_REQUEST_BYTES)[3] == 2 * len(raw)


def test_every_name_that_is_promised_is_there():
    for name in frames.__all__:
        assert getattr(frames, name) is not None
    with pytest.raises(AttributeError):
        _ = frames.nothing


def test_what_cannot_be_said_is_refused_before_it_is_sent():
    for name in ("a" * 65_535, "\ud800"):
        with pytest.raises(BrokenFrameError):
            frames.pack_read(3, "variable", name)
    with pytest.raises(BrokenFrameError):
        frames.pack_text(None, None, "\udfff")


@pytest.mark.parametrize("kind", ["read", "hello", "answer", "error", "json"])
def test_no_refusal_says_any_of_the_bytes(kind):
    with pytest.raises(BrokenFrameError) as caught:
        PAYLOADS[kind](b"\x00\xffcanary-1")
    assert "canary" not in str(caught.value)


# --- bytes that nobody meant -----------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
MAYBE = st.none() | NAMES
MILLISECONDS = st.none() | st.integers(0, 0xFFFFFFFE)


@given(st.sampled_from(sorted(PAYLOADS)), st.binary(max_size=200))
def test_any_payload_is_read_or_refused(kind, payload):
    with suppress(BrokenFrameError):
        PAYLOADS[kind](payload)
    frames.read_text(payload)


@given(st.sampled_from(VECTORS["frames"]), st.integers(0, 300), st.integers(0, 255), st.integers(-3, 3))
def test_a_payload_with_a_byte_changed_or_cut_is_read_or_refused(vector, at, byte, cut):
    payload = bytearray(bytes.fromhex(vector["hex"])[frames.HEAD_BYTES :])
    if payload:
        payload[at % len(payload)] = byte
    changed = bytes(payload[: len(payload) + min(cut, 0)]) + bytes(max(cut, 0))
    for read in PAYLOADS.values():
        with suppress(BrokenFrameError):
            read(changed)


@given(st.sampled_from(frames.KINDS), NAMES, MAYBE, st.integers(0, 255), st.integers(0, 2**32 - 1))
def test_questions_read_back(kind, name, team, flags, number):
    raw = frames.pack_read(number, kind, name, team, flags)
    type_, found, payload, end = frames.take(raw, 0, frames.MAX_REQUEST_BYTES)
    assert (type_, found, end) == (frames.READ, number, len(raw))
    assert frames.read_read(payload) == (kind, name, team, flags)


@given(
    st.tuples(*[MAYBE] * 6, st.none() | st.integers(0, 65535), MAYBE),
    MAYBE,
    MAYBE,
    MILLISECONDS,
    MILLISECONDS,
)
def test_connections_read_back(fields, backend, version, age_ms, ttl_ms):
    raw = frames.pack_answer(9, frames.FOUND, frames.pack_fields(backend, version, fields), 0, age_ms, ttl_ms)
    answer = frames.read_answer(raw[frames.HEAD_BYTES :])
    assert answer.fields == fields
    assert (answer.backend, answer.version, answer.age_ms, answer.ttl_ms) == (
        backend,
        version,
        age_ms,
        ttl_ms,
    )


RUNS = st.tuples(
    MAYBE, MAYBE, MAYBE, st.none() | st.integers(-1, 2**31 - 1), st.none() | st.integers(0, 99), MAYBE
)
_UNSAID = (None, None, None, None)


@given(RUNS, st.just(_UNSAID) | st.tuples(MAYBE, MAYBE, MAYBE, MAYBE))
def test_claims_read_back(run, later):
    later = later if any(later) else _UNSAID  # four empty texts say no more than none
    assert frames.read_claim(frames.pack_claim((*run, *later))) == (*run, *later)


@given(RUNS)
def test_a_claim_without_the_later_fields_is_one_of_minor_version_0(run):
    assert frames.pack_claim(run) == frames.pack_claim((*run, *_UNSAID))
    assert frames.read_claim(frames.pack_claim(run)) == (*run, *_UNSAID)
