"""Being told of changes: one connection for all, and looking by oneself where nobody tells."""

from __future__ import annotations

import os
import threading

import pytest

from parts.agent import until
from parts.peer import Peer, error, usual
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient

KEY = ("variable", "region", None)
OTHER = ("connection", "orders_db", "data")


class Bell:
    """Counts how often it was rung."""

    def __init__(self):
        self.rung = 0

    def __call__(self):
        self.rung += 1


@pytest.fixture
def peer(tmp_path):
    with Peer(tmp_path) as running:
        yield running


def told(peer, *, of=frames.FOLLOW):
    return [frames.read_read(payload)[:3] for type_, _, payload in list(peer.seen) if type_ == of]


class Listening(AgentClient):
    """A client that ends with its test what the test listens to: its thread would look for ever."""

    def __init__(self, path):
        super().__init__(path)
        self.ends = []

    def listen(self, key, wake):
        end = super().listen(key, wake)
        self.ends.append(end)
        return end


@pytest.fixture
def client(peer):
    made = Listening(peer.path)
    yield made
    for end in made.ends:
        end()


def notice(kind, name, team=None, version="2"):
    return frames.frame(frames.NOTICE, 0, frames.pack_notice(kind, name, team, version))


def test_a_notice_rings_for_whom_it_is_about(peer, client):
    region, orders = Bell(), Bell()
    client.listen(KEY, region)
    client.listen(OTHER, orders)
    until(lambda: region.rung and orders.rung, what="both to be followed")
    before = orders.rung
    peer.say(notice(*KEY[:2]))
    until(lambda: region.rung == 2)
    assert orders.rung == before
    peer.say(notice("connection", "orders_db", "data"))
    until(lambda: orders.rung == before + 1)
    assert peer.lines == 1
    assert set(told(peer)) == {KEY, OTHER}


def test_a_gap_rings_for_everybody(peer, client):
    region, orders = Bell(), Bell()
    client.listen(KEY, region)
    client.listen(OTHER, orders)
    until(lambda: region.rung and orders.rung)
    peer.say(frames.frame(frames.NOTICE, 0, frames.pack_gap()))
    until(lambda: region.rung == 2 and orders.rung == 2)


def test_two_who_follow_one_entry_are_both_rung_and_it_is_followed_once(peer, client):
    one, two = Bell(), Bell()
    end = client.listen(KEY, one)
    client.listen(KEY, two)
    until(lambda: one.rung)
    peer.say(notice(*KEY[:2]))
    until(lambda: two.rung)
    assert told(peer) == [KEY]
    end()
    end()
    rung = one.rung
    peer.say(notice(*KEY[:2]))
    until(lambda: two.rung >= 2)
    assert one.rung == rung


def listening():
    return sum(thread.name == "strongroom notices" for thread in threading.enumerate())


def test_after_the_last_one_the_connection_ends_and_the_next_opens_another(peer, client):
    bell, before = Bell(), listening()
    end, other = client.listen(KEY, bell), client.listen(OTHER, Bell())
    until(lambda: bell.rung)
    other()
    until(lambda: told(peer, of=frames.UNFOLLOW) == [OTHER])
    end()
    until(lambda: listening() == before, what="the thread to end")
    again = Bell()
    client.listen(KEY, again)
    until(lambda: again.rung)
    assert peer.lines == 2


def test_after_a_restart_of_the_agent_everything_is_followed_and_looked_at_again(peer, client):
    bell = Bell()
    client.listen(KEY, bell)
    until(lambda: bell.rung)
    peer.stop()
    peer.start()
    until(lambda: bell.rung >= 2, what="another look after the restart")
    peer.say(notice(*KEY[:2]))
    until(lambda: bell.rung >= 3)
    assert told(peer) == [KEY, KEY]


def test_an_agent_that_does_not_tell_is_no_reason_to_stop(peer, client):
    peer.answer = lambda line, type_, number, payload: (
        error(number, "unsupported") if type_ == frames.FOLLOW else usual(line, type_, number, payload)
    )
    bell = Bell()
    client.listen(KEY, bell)
    until(lambda: bell.rung)
    assert client.variable("region") == "region"


def test_a_forked_child_listens_on_a_connection_of_its_own(peer, client):
    bell = Bell()
    client.listen(KEY, bell)
    until(lambda: bell.rung)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            own = Bell()
            client.listen(OTHER, own)
            until(lambda: own.rung)
            os.write(writing, b"rung")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 10) == b"rung"
    os.close(reading)
    os.close(writing)
    rung = bell.rung
    peer.say(notice(*KEY[:2]))
    until(lambda: bell.rung > rung)
