"""The client of an agent on a loop: many tasks, one connection, answers by id."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import strongroom
from parts.agent import until
from parts.peer import Peer, error, refused, text, usual
from strongroom import errors
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient

SOURCE = str(Path(strongroom.__file__).parent.parent)


@pytest.fixture
def peer(tmp_path):
    with Peer(tmp_path) as running:
        yield running


def client_of(peer, **options):
    return AgentClient(peer.path, **options).native()


def test_tasks_of_a_loop_share_one_connection(peer):
    client = client_of(peer)

    async def ask():
        return await asyncio.gather(*(client.variable(f"v{number}") for number in range(200)))

    assert asyncio.run(ask()) == [f"v{number}" for number in range(200)]
    assert peer.lines == 1
    assert len({number for type_, number, _ in peer.seen if type_ == frames.READ}) == 200


def test_questions_do_not_wait_for_one_another_and_answers_come_in_any_order(peer):
    client = client_of(peer)
    held = []

    def backwards(line, type_, number, payload):
        if type_ != frames.READ:
            return usual(line, type_, number, payload)
        held.append(text(number, frames.read_read(payload)[1]))
        return b"".join(reversed(held)) if len(held) == 3 else b""

    peer.answer = backwards

    async def ask():
        return await asyncio.gather(*(client.variable(name) for name in "abc"))

    assert asyncio.run(ask()) == ["a", "b", "c"]


def test_a_cancelled_task_forgets_its_question_and_nobody_gets_its_answer(peer):
    client = client_of(peer)
    late = []

    def holding(line, type_, number, payload):
        if type_ == frames.READ and frames.read_read(payload)[1] == "slow":
            late.append(text(number, "slow"))
            return b""
        return b"".join(late) + usual(line, type_, number, payload)

    peer.answer = holding

    async def ask():
        slow = asyncio.create_task(client.variable("slow"))
        await asyncio.to_thread(until, lambda: late)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        return [await client.variable("next"), await client.variable("again")]

    assert asyncio.run(ask()) == ["next", "again"]
    assert peer.lines == 1


def test_each_loop_has_a_connection_of_its_own_which_ends_with_it(peer):
    client = client_of(peer)
    asyncio.run(client.variable("x"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        assert asyncio.run(client.variable("x")) == "x"
    assert peer.lines == 21
    until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before, what="their descriptors to close")
    got = []

    def run():
        got.append(asyncio.run(client.variable("thread")))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == ["thread"] * 4


def test_nothing_complains_when_a_loop_ends_with_its_connection_open(peer):
    script = """
import asyncio, sys
from strongroom.caller.agent import AgentClient
client = AgentClient(sys.argv[1]).native()
for _ in range(3):
    print(asyncio.run(client.variable("x")), end=" ")
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script, peer.path],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": SOURCE},
    )
    assert (done.stdout, done.stderr) == ("x x x ", "")


def test_a_connection_that_breaks_off_is_opened_again_for_all_who_wait(peer):
    client = client_of(peer)

    async def ask():
        assert await client.variable("first") == "first"
        peer.stop()
        asyncio.get_running_loop().call_later(0.3, peer.start)
        return await asyncio.gather(*(client.variable(f"v{number}") for number in range(20)))

    assert asyncio.run(ask()) == [f"v{number}" for number in range(20)]


def test_an_agent_that_is_away_is_unavailable_after_patience(tmp_path):
    client = AgentClient(str(tmp_path / "none.sock"), patience=0.05).native()
    with pytest.raises(errors.BackendUnavailableError, match="no agent answers"):
        asyncio.run(client.variable("x"))


def test_a_late_answer_is_unavailable_and_dropped(peer):
    client = client_of(peer, timeout=1)

    def hang(line, type_, number, payload):
        return b"" if type_ == frames.READ else usual(line, type_, number, payload)

    async def ask():
        peer.answer = hang
        with pytest.raises(errors.BackendUnavailableError, match="in time"):
            await client.variable("late")
        peer.answer = usual
        return await client.variable("next")

    assert asyncio.run(ask()) == "next"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda number: refused(number, "access_denied"), errors.AccessDeniedError),
        (lambda number: error(number, "rate_limited"), errors.RateLimitedError),
        (lambda _number: error(0, "access_denied"), errors.AccessDeniedError),
        (lambda _number: b"HTTP/1.1 200 OK\r\n\r\n", errors.BackendUnavailableError),
    ],
)
def test_refusals_are_the_errors_they_tell_of(peer, answer, kind):
    peer.answer = lambda line, type_, number, payload: (
        answer(number) if type_ == frames.READ else usual(line, type_, number, payload)
    )
    with pytest.raises(kind):
        asyncio.run(client_of(peer).variable("x"))


def test_many_connections_and_json_are_as_without_a_loop(peer):
    client = client_of(peer)
    refs = [("variable", f"v{number}", None) for number in range(1500)]
    assert [answer.text for answer in asyncio.run(client.read_many(refs))] == [name for _, name, _ in refs]
    body = frames.pack_fields("f", "1", ("a", None, "h", None, "pw", None, 1, '{"b": 1}'))
    peer.answer = lambda line, type_, number, payload: (
        frames.pack_answer(number, frames.FOUND, body)
        if type_ == frames.READ
        else usual(line, type_, number, payload)
    )
    found = asyncio.run(client.connection("x"))
    assert (found.host, found.extra["b"].reveal()) == ("h", 1)


def test_a_question_larger_than_the_socket_takes_at_once_is_sent_whole(peer):
    client = client_of(peer)
    refs = [("variable", f"{number}" + "x" * 200, None) for number in range(1000)]

    async def ask():
        return await asyncio.gather(*(client.read_many(refs) for _ in range(8)))

    for answers in asyncio.run(ask()):
        assert [answer.text for answer in answers] == [name for _, name, _ in refs]


def test_a_forked_child_has_loops_and_connections_of_its_own(peer):
    owner = AgentClient(peer.path)
    assert asyncio.run(owner.native().variable("parent")) == "parent"
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, asyncio.run(owner.native().variable("child")).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 100) == b"child"
    os.close(reading)
    os.close(writing)
    assert asyncio.run(owner.native().variable("parent")) == "parent"


def test_uvloop_is_a_loop_like_any_other(peer):
    uvloop = pytest.importorskip("uvloop", reason="it comes with the agent, which needs Python 3.11")
    client = client_of(peer)

    async def ask():
        return await asyncio.gather(*(client.variable(f"v{number}") for number in range(50)))

    loop = uvloop.new_event_loop()
    try:
        assert loop.run_until_complete(ask()) == [f"v{number}" for number in range(50)]
    finally:
        loop.close()
