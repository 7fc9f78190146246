"""For which run is asked, question by question: in threads, in coroutines, and in nobody else's name."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from parts.agent import until
from parts.peer import Peer, usual
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient, claim_frame

RUN = ContextVar("run", default=None)


def run(dag, source="task"):
    return (dag, None, None, None, None, None, None, None, None, source)


@pytest.fixture
def peer(tmp_path):
    with Peer(tmp_path) as running:
        running.told = []

        def answered(line, type_, number, payload):
            running.told.append((type_, id(line), payload))
            return usual(line, type_, number, payload)

        running.answer = answered
        yield running


@pytest.fixture
def client(peer):
    return AgentClient(peer.path, claims=RUN.get)


def claimed(peer):
    """Give for which DAG each name was read, by the order of frames on each connection."""
    now, found = {}, []
    for type_, line, payload in peer.told:
        if type_ == frames.HELLO:
            now[line] = None
        elif type_ == frames.CLAIM:
            now[line] = frames.read_claim(payload)[0]
        elif type_ == frames.READ:
            found.append((frames.read_read(payload)[1], now[line]))
    return found


def test_a_claim_goes_ahead_of_a_question_only_where_it_changed(client, peer):
    for dag in ("a", "a", "b", None, None, "b"):
        RUN.set(None if dag is None else run(dag))
        client.variable("x")
    RUN.set(None)
    assert peer.lines == 1
    claim, read = frames.CLAIM, frames.READ
    assert [type_ for type_, _, _ in peer.seen] == [
        *(frames.HELLO, claim, read, read),
        *(claim, read, claim, read, read, claim, read),
    ]
    said = [frames.read_claim(payload)[0] for type_, _, payload in peer.seen if type_ == claim]
    assert said == ["a", "b", None, "b"]


def test_threads_that_share_connections_ask_each_in_its_own_name(client, peer):
    def reading(dag):
        RUN.set(run(dag))
        for number in range(25):
            assert client.variable(f"{dag}/{number}") == f"{dag}/{number}"

    threads = [threading.Thread(target=reading, args=(f"dag{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    found = claimed(peer)
    assert len(found) == 200
    assert [name for name, dag in found if name.partition("/")[0] != dag] == []


def test_coroutines_that_share_a_connection_ask_each_in_its_own_name(client, peer):
    async def reading(dag):
        RUN.set(run(dag, "trigger"))
        for number in range(10):
            assert await client.native().variable(f"{dag}/{number}") == f"{dag}/{number}"

    async def all_of_them():
        await asyncio.gather(*(reading(f"dag{number}") for number in range(20)))

    asyncio.run(all_of_them())
    assert peer.lines == 1
    found = claimed(peer)
    assert len(found) == 200
    assert [name for name, dag in found if name.partition("/")[0] != dag] == []


def test_a_question_asked_again_after_a_break_is_in_the_name_of_who_asks(client, peer):
    RUN.set(run("first"))
    client.variable("x")
    RUN.set(run("second"))
    client.close()
    client.variable("y")
    RUN.set(None)
    assert claimed(peer) == [("x", "first"), ("y", "second")]


def test_what_is_claimed_once_for_all_goes_before_what_each_question_says(client, peer):
    RUN.set(run("of the question"))
    client.claim(run("of all"))
    client.variable("x")
    client.claim(None)
    client.variable("y")
    RUN.set(None)
    assert claimed(peer) == [("x", "of all"), ("y", "of the question")]


@pytest.mark.parametrize(
    "said", [None, run("x" * 70_000), run("\ud800"), (1, 2), (*run("d")[:3], 2**40, *run("d")[4:])]
)
def test_what_cannot_be_said_of_a_run_is_not_said(said):
    _, _, payload, _ = frames.take(claim_frame(said), 0, frames.MAX_REQUEST_BYTES)
    assert frames.read_claim(payload) == (None,) * 10


def test_who_follows_follows_in_his_own_name(client, peer):
    RUN.set(run("following"))
    end = client.listen(("variable", "x", None), lambda: None)
    RUN.set(None)
    until(lambda: frames.FOLLOW in [type_ for type_, _, _ in peer.seen])
    end()
    said = [frames.read_claim(payload)[0] for type_, _, payload in peer.seen if type_ == frames.CLAIM]
    assert said == ["following"]
