"""Events as they come over a wire that fails: bounded, resumed, half-open, and never taken for silence."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from strongroom.backend import Watched
from strongroom.caller import Client, Credential, ServerAddress
from strongroom.caller import stream as streams
from strongroom.caller.stream import Event, Events, Hearing
from strongroom.errors import BackendUnavailableError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

PATIENCE = 15
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
BEGIN = b"retry: 2000\nid: first\n: listening\n\n"
TEST = b'event: test\ndata: {"order":"o1","kind":"connection","name":"db","team":null}\n\n'
POLICY = b'event: policy\ndata: {"revision":"r1"}\n\n'


def change(name, number, version="1"):
    data = f'{{"kind":"variable","name":"{name}","team":null,"version":"{version}"}}'
    return f"event: change\nid: id-{number}\ndata: {data}\n\n".encode()


class Script:
    """A server that plays one scene a connection: what it sends, then whether it hangs or closes."""

    def __init__(self, *scenes):
        self.scenes = list(scenes)
        self.requests = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._open = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(connection)
            with suppress(OSError):  # the client went first
                self._play(connection)

    def _play(self, connection):
        self.requests.append(self._head_of(connection))
        scene = self.scenes.pop(0) if len(self.scenes) > 1 else self.scenes[0]
        for part in scene:
            if part == "hang":
                return
            if part == "close":
                break
            connection.sendall(part)
        else:
            connection.sendall(b"0\r\n\r\n")
        connection.close()

    @staticmethod
    def _head_of(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                break
            data += part
        return data.decode()

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody who waits for a connection
        self._thread.join(PATIENCE)
        self._listening.close()
        for connection in self._open:
            connection.close()


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


@contextmanager
def hearing(*scenes, draw=lambda: 0.0):
    script = Script(*scenes)
    client = Client(
        ServerAddress(f"http://127.0.0.1:{script.port}"), Credential(Secret("srm_t_x"), setting="a test")
    )
    heard = []
    found = Hearing(client, heard.append, draw=draw)
    try:
        yield script, heard, found
    finally:
        found.close()
        client.close()
        script.close()


def until(claim):
    deadline = time.monotonic() + PATIENCE
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# --- events out of bytes ---------------------------------------------------------------------------------


def test_events_are_the_same_however_they_are_cut():
    data = BEGIN + POLICY + b": still here\r\n\r\n" + change("a", 1) + b"data: x\r\ndata: y\r\n\r\n"
    whole = Events().feed(data)
    assert whole == [
        Event("", "", None),
        Event("", "", "first"),
        Event("policy", '{"revision":"r1"}', None),
        Event("", "", None),
        Event("change", '{"kind":"variable","name":"a","team":null,"version":"1"}', "id-1"),
        Event("message", "x\ny", None),
    ]
    for size in (1, 2, 3, 7, 50):
        events = Events()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [event for piece in pieces for event in events.feed(piece)] == whole


@pytest.mark.parametrize(
    "data",
    [b"x" * 65_537, b"data: x\n" * 10_000, b"data: \xff\n", b"data: " + b"y" * 70_000 + b"\n\n"],
)
def test_what_has_no_end_or_is_no_text_is_refused(data):
    with pytest.raises(BackendUnavailableError):
        Events().feed(data)


def test_an_id_that_could_not_be_sent_again_is_passed_over():
    assert Events().feed(b"id: a b\r\ndata: x\n\n") == [Event("message", "x", None)]
    assert Events().feed(b"id: " + b"i" * 101 + b"\ndata: x\n\n") == [Event("message", "x", None)]


# --- one stream after the other --------------------------------------------------------------------------


def test_listening_goes_on_after_the_last_event_that_was_heard():
    first = (HEAD, chunk(BEGIN + change("a", 1) + change("b", 2)))
    with hearing(first, (HEAD, chunk(BEGIN), "hang")) as (script, heard, _):
        until(lambda: len(script.requests) == 2)
        assert "last-event-id" not in script.requests[0].lower()
        assert "last-event-id: id-2" in script.requests[1].lower()
        until(lambda: len(heard) >= 3)
        refs = {Ref("variable", "a"): "1", Ref("variable", "b"): "1"}
        assert heard[:2] == [Watched(is_gap=True), Watched(refs=refs)]
        assert sum(one.is_gap for one in heard) == 1


def test_a_gap_of_the_servers_is_told_between_what_stands_around_it():
    data = BEGIN + change("a", 1) + b"event: gap\nid: g\ndata: {}\n\n" + change("b", 2)
    with hearing((HEAD, chunk(data), "hang")) as (_, heard, _):
        until(lambda: len(heard) >= 4)
        assert heard == [
            Watched(is_gap=True),
            Watched(refs={Ref("variable", "a"): "1"}),
            Watched(is_gap=True),
            Watched(refs={Ref("variable", "b"): "1"}),
        ]


def test_a_place_the_server_does_not_know_is_given_up_for_a_gap():
    body = b'{"error":{"code":"invalid_input","message":"this is the id of no event"}}'
    refusal = (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(body)
        + body,
        "close",
    )
    begun = (HEAD, chunk(BEGIN + change("a", 1)))
    with hearing(begun, refusal, (HEAD, chunk(BEGIN), "hang")) as (script, heard, _):
        until(lambda: sum(one.is_gap for one in heard) == 2)
        assert "last-event-id" not in script.requests[-1].lower()


@pytest.mark.parametrize(
    "scene",
    [
        (HEAD, b"zz\r\n", "close"),
        (HEAD, chunk(b"event: change\ndata: {}\n\n"), "close"),
        (
            HEAD,
            chunk(b'event: change\ndata: {"kind":"variable","name":"..","team":null,"version":null}\n\n'),
            "close",
        ),
        (HEAD, chunk(b"event: policy\ndata: []\n\n"), "close"),
        (HEAD, chunk(b"event: test\ndata: {}\n\n"), "close"),
        (HEAD, chunk(TEST.replace(b'"db"', b'".."')), "close"),
        (HEAD, chunk(b"x" * 70_000), "close"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", "close"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x\r\nContent-Length: 0\r\n\r\n", "close"),
        (b"nonsense\r\n\r\n", "close"),
        ("close",),
    ],
)
def test_what_is_no_stream_of_events_is_lost_and_tried_again(scene):
    with hearing(scene) as (script, heard, found):
        until(lambda: len(script.requests) >= 2)
        until(lambda: any(one.is_lost for one in heard))
        until(lambda: found.trouble is not None)
        assert not any(one.refs for one in heard)


def test_a_test_that_is_asked_for_is_told_after_the_changes_before_it():
    with hearing((HEAD, chunk(BEGIN + change("a", 1) + TEST + change("b", 2)), "hang")) as (_, heard, _):
        until(lambda: any(Ref("variable", "b") in one.refs for one in heard))
        told = [one for one in heard if one.refs or one.tests]
        assert [(list(one.refs), one.tests) for one in told] == [
            ([Ref("variable", "a")], ()),
            ([], (("o1", Ref("connection", "db")),)),
            ([Ref("variable", "b")], ()),
        ]


def test_a_stream_that_falls_silent_is_lost_whatever_the_connection_says(monkeypatch):
    monkeypatch.setattr(streams, "_SILENCE_SECONDS", 1.0)  # a bound, not a function of ours
    with hearing((HEAD, chunk(BEGIN + POLICY), "hang")) as (script, heard, _):
        until(lambda: len(script.requests) >= 2)
        until(lambda: any(one.is_lost for one in heard))
        assert Watched(policy="r1") in heard


def test_pauses_grow_to_a_bound_and_are_spread():
    with hearing((HEAD, chunk(BEGIN), "hang"), draw=lambda: 1.0) as (_, _, found):
        pauses = [found._pause(failures) for failures in range(8)]
        assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0]
        found._draw = lambda: 0.0
        assert [found._pause(failures) for failures in range(4)] == [0.0, 0.25, 0.5, 1.0]


def test_ending_from_the_thread_that_tells_ends_and_waits_for_nobody():
    script = Script((HEAD, chunk(BEGIN), "hang"))
    client = Client(ServerAddress(f"http://127.0.0.1:{script.port}"), Credential(Secret("srm_t_x")))
    ended = threading.Event()
    box = []

    def notice(_heard):
        box[0].close()
        ended.set()

    ready = threading.Event()
    box.append(Hearing(client, lambda heard: (ready.wait(PATIENCE), notice(heard))))
    ready.set()
    assert ended.wait(PATIENCE)
    client.close()
    script.close()
