"""Bytes of anybody's making, for the codec and both ends of the socket; atheris goes on in `make trials`."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parts.agent import missing
from parts.fuzz import HELLO, ROOT, TARGETS, AgentEnd, ClientEnd, codec, corpus, frozen
from strongroom.caller import frames

ATHERIS = ROOT / ".venv-atheris" / "bin" / "python"
SECONDS = int(os.environ.get("STRONGROOM_FUZZ_SECONDS", "0"))
TYPES = [frames.HELLO, frames.READ, frames.READ_MANY, frames.CLAIM, frames.FOLLOW, frames.UNFOLLOW]
TYPES += [frames.EXPLAIN, frames.ADMIN, frames.PING, frames.NOTICE, frames.ERROR, 0x00, 0x2A, 0x82]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
PING = frames.frame(frames.PING, 77, b"still there")
PONG = (frames.PING | frames.ANSWER, 77, b"still there")


def tries(count):
    return settings(
        max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
    )


anything = st.one_of(st.binary(max_size=400), st.sampled_from(frozen() or [HELLO]))


@st.composite
def nearly_frames(draw):
    """Frames of known and unknown types whose payloads are wrong in some place, or not at all."""
    payload = draw(
        st.one_of(
            st.binary(max_size=200),
            st.builds(frames.pack_hello, TEXTS, st.integers(0, 2**32 - 1)),
            st.builds(frames.pack_ref, st.sampled_from(frames.KINDS), TEXTS, st.none() | TEXTS),
            st.builds(frames.pack_json, TEXTS),
        )
    )
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(payload) - 1)))
        payload = payload[:at] + draw(st.binary(max_size=3)) + payload[at + draw(st.integers(0, 3)) :]
    return frames.frame(draw(st.sampled_from(TYPES)), draw(st.integers(0, 2**32 - 1)), payload)


def cut(draw, data):
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return [data[begin:end] for begin, end in zip([0, *places], [*places, len(data)], strict=True)]


@pytest.fixture(scope="module")
def agent_end(tmp_path_factory):
    found = AgentEnd(tmp_path_factory.mktemp("fuzz"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def client_end(tmp_path_factory):
    found = ClientEnd(tmp_path_factory.mktemp("fuzz"))
    yield found
    found.close()


# --- the codec -------------------------------------------------------------------------------------------


@tries(1000)
@given(anything)
def test_reading_any_bytes_gives_a_value_or_the_one_error(data):
    codec(data)


@tries(500)
@given(st.sampled_from(frozen() or [HELLO]), st.data())
def test_a_frozen_frame_with_a_byte_changed_is_read_or_refused(frame, data):
    at = data.draw(st.integers(0, len(frame) - 1))
    damaged = frame[:at] + bytes([data.draw(st.integers(0, 255))]) + frame[at + 1 :]
    codec(damaged)
    codec(damaged[9:])
    codec(frame[:at])


@tries(100)
@given(st.sampled_from(frames.KINDS), TEXTS, st.none() | TEXTS, st.integers(0, 7))
def test_a_question_is_read_as_it_was_packed(kind, name, team, flags):
    _, number, payload, _ = frames.take(frames.pack_read(9, kind, name, team, flags), 0, 10_000)
    assert number == 9
    assert frames.read_read(payload) == (kind, name, team, flags)
    assert frames.read_read(payload + b"of a later minor version") == (kind, name, team, flags)


@tries(100)
@given(st.tuples(*[st.none() | TEXTS] * 3, *[st.none() | st.integers(-1, 2**31 - 1)] * 2, st.none() | TEXTS))
def test_a_claim_is_read_as_it_was_packed(run):
    unsaid = (None, None, None, None)
    assert frames.read_claim(frames.pack_claim(run)) == (*run, *unsaid)


# --- the agent's end -------------------------------------------------------------------------------------


@tries(150)
@given(st.lists(nearly_frames(), max_size=6), st.data())
def test_whatever_frames_come_the_agent_answers_in_whole_frames_and_goes_on(agent_end, sent, data):
    pieces = cut(data.draw, HELLO + b"".join(sent) + PING)
    found = agent_end.frames(pieces)
    assert found[0][0] == frames.HELLO | frames.ANSWER, found[0]
    if not any(frame[4] == frames.HELLO for frame in sent):  # a second one may be of another version
        assert PONG in found, "one frame that cannot be understood ended the connection"


@tries(150)
@given(anything, st.data())
def test_whatever_bytes_come_the_agent_answers_in_whole_frames(agent_end, garbage, data):
    agent_end.frames(cut(data.draw, garbage))
    agent_end.frames(cut(data.draw, HELLO + garbage))
    assert PONG in agent_end.frames([HELLO + PING]), "others are not served any more"


@tries(150)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda method, path, name, value, body: (
                b"%b %b HTTP/1.1\r\nHost: x\r\n%b: %b\r\n\r\n%b" % (method, path, name, value, body)
            ),
            st.sampled_from([b"GET", b"POST", b"HEAD", b"PUT", b"BREW"]),
            st.sampled_from([b"/v1/whoami", b"/v1/read", b"/v1/explain/variable/a", b"/", b"*", b"//"])
            | st.binary(max_size=40),
            st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Via"])
            | st.binary(max_size=20),
            st.sampled_from([b"0", b"5", b"-1", b"chunked", b"close", b"upgrade"]) | st.binary(max_size=20),
            st.binary(max_size=60),
        ),
    ),
    st.data(),
)
def test_whatever_is_said_over_http_is_answered_whole_and_never_by_a_failure(agent_end, said, data):
    agent_end.answers(cut(data.draw, said))
    assert agent_end.answers([b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"]) == [200]


# --- the client's end ------------------------------------------------------------------------------------


@tries(60)
@given(st.one_of(st.binary(max_size=300), st.lists(nearly_frames(), max_size=4).map(b"".join)))
def test_whatever_an_agent_says_its_client_has_an_answer_or_an_error_of_ours(client_end, said):
    client_end.hear(said)


@pytest.mark.parametrize("frame", frozen() or [HELLO])
def test_a_client_takes_no_frozen_frame_amiss(client_end, frame):
    client_end.hear(frame)
    client_end.hear(HELLO + frame)


# --- atheris ---------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SECONDS, reason="a long trial: make trials, or STRONGROOM_FUZZ_SECONDS=60")
@pytest.mark.parametrize("target", TARGETS)
def test_atheris_finds_nothing(tmp_path, target):
    if not ATHERIS.exists():
        missing("atheris is missing: scripts/make-peers PYTHON trials installs it")
    corpus(tmp_path / "corpus", target)
    done = subprocess.run(
        [
            str(ATHERIS),
            str(ROOT / "tests" / "parts" / "atheris_run.py"),
            target,
            str(tmp_path / "corpus"),
            f"-max_total_time={SECONDS}",
            "-max_len=4096",
            "-timeout=30",
            f"-artifact_prefix={tmp_path}/",
        ],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )
    print("\n".join(done.stderr.splitlines()[-3:]))
    assert done.returncode == 0, done.stderr[-4000:]
