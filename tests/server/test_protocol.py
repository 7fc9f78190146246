"""One connection and many: what is no request, what is too slow, and what is too much."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from contextlib import ExitStack, closing

import pytest

from parts.http import HOST, MALFORMED, exchange, status
from parts.server import serving
from strongroom.server.app import Api
from strongroom.server.endpoint import Answer, Endpoint


def send(server, data, *, shut=False):
    """Send bytes on a connection of their own and give all that comes back until it is closed."""
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        return exchange(connection, data, shut=shut)


# --- what is no request ----------------------------------------------------------------------------------


UNREADABLE = MALFORMED | {
    "too many headers": b"GET /health/live HTTP/1.1\r\n"
    + HOST
    + b"".join(b"X-%d: y\r\n" % n for n in range(101))
    + b"\r\n",
    "a head without an end": b"GET /health/live HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 70_000,
    "an address without an end": b"GET /" + b"a" * 70_000,
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_TL03_TL08_what_two_readers_could_read_differently_is_refused(server, name):
    answer = send(server, UNREADABLE[name])
    assert status(answer) in (400, 411, 431)
    assert answer.count(b"HTTP/1.1 4") == 1, "the rest was taken for another request"
    head, _, body = answer.partition(b"\r\n\r\n")
    assert json.loads(body)["error"]["code"] in ("invalid_input", "length_required", "too_large")
    assert b"x-content-type-options: nosniff" in head
    for given in (b"evil.example", b"websocket", b"aaaa"):
        assert given not in answer


def test_TL03_nothing_is_smuggled_behind_a_refused_request(server):
    smuggled = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    for data in UNREADABLE.values():
        assert send(server, data + smuggled, shut=True).count(b"\r\nx-request-id") <= 1


def test_a_body_that_ends_early_is_answered_by_nobody(server):
    data = (
        b"POST /v1/read HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: 100\r\nContent-Type: application/json\r\n\r\n{"
    )
    assert b"200" not in send(server, data, shut=True)[:20]


def test_a_request_that_comes_byte_by_byte_is_read(server):
    request = b"GET /health/live HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index in range(len(request)):
            connection.sendall(request[index : index + 1])
        assert status(connection.recv(65536)) == 200


def test_a_large_body_beside_its_head_is_no_large_head(server):
    value = "x" * 900_000
    body = json.dumps({"value": value}).encode()
    for split in (0, 1, 2, 3):
        head = (
            "PUT /v1/entries/variable/large HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {server.admin}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode()
        with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
            at = len(head) - split
            connection.sendall(head[:at])
            time.sleep(0.02)
            connection.sendall(head[at:] + body)
            assert status(connection.recv(65536)) in (200, 201)


# --- what is too slow --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A server that gives a request two seconds, so that the test need not wait for ten."""
    settings = "[server]\nreceipt_seconds = 2\nidle_seconds = 3\n[server.limits]\nstranger_per_second = 0\n"
    with serving(tmp_path_factory.mktemp("quick"), settings) as found:
        found.admin = found.token("admin", "admin")
        yield found


def closed_within(connections, seconds):
    """Wait until every connection is closed by the other side; give how many are not in time."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    by_number = {connection.fileno(): connection for connection in connections}
    for number in by_number:
        poll.register(number, select.POLLIN)
    while by_number and time.monotonic() < deadline:
        for number, _ in poll.poll(100):
            try:
                is_closed = not by_number[number].recv(65536)
            except ConnectionError:
                is_closed = True
            if is_closed:
                poll.unregister(number)
                del by_number[number]
    return len(by_number)


def test_TL07_two_thousand_half_open_requests_are_closed_and_the_honest_go_on(quick):
    begun = [
        b"",
        b"G",
        b"GET /health/live HTTP/1.1\r\nHost: local",
        b"GET /health/live HTTP/1.1\r\n" + HOST + b"X-A: b\r\n",
        b"POST /v1/read HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n{",
        b"POST /v1/login HTTP/1.1\r\n"
        + HOST
        + b"Content-Type: application/json\r\nContent-Length: 9000000\r\n\r\n{",
    ]
    with ExitStack() as stack:
        lines = []
        for index in range(2000):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", quick.port), 20))
            line.sendall(begun[index % len(begun)])
            lines.append(line)
        drips = threading.Event()

        def drip():
            # A byte now and then buys no time.
            while not drips.wait(0.3):
                for line in lines[5::6]:
                    try:
                        line.send(b" ")
                    except OSError:
                        continue

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            for _ in range(20):
                assert quick.ask("GET", "/v1/whoami", token=quick.admin).status == 200
            assert closed_within(lines, 8) == 0
        finally:
            drips.set()
            thread.join()
    assert quick.app.metrics.closed["slow"] >= 1
    assert quick.ask("GET", "/health/live").status == 200


def test_TL07_a_slow_body_is_told_or_closed_while_it_drips(quick):
    head = (
        b"POST /v1/read HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: 1000\r\n"
    )
    head += f"Authorization: Bearer {quick.admin}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", quick.port), 20) as connection:
        connection.sendall(head)
        deadline = time.monotonic() + 8
        try:
            while not select.select([connection], [], [], 0.2)[0]:
                assert time.monotonic() < deadline, "it was let go on"
                connection.sendall(b" ")
            answer = connection.recv(65536)
        except ConnectionError:
            answer = b""
        assert answer == b"" or status(answer) == 408


def test_a_connection_that_asks_nothing_more_is_closed(quick):
    with socket.create_connection(("127.0.0.1", quick.port), 20) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")
        assert status(connection.recv(65536)) == 200
        assert closed_within([connection], 8) == 0


def test_a_request_after_a_pause_has_its_whole_time(quick):
    request = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    with socket.create_connection(("127.0.0.1", quick.port), 20) as connection:
        for _ in range(2):
            connection.sendall(request)
            assert status(connection.recv(65536)) == 200
            time.sleep(2.2)  # longer than a request may take, shorter than a connection may idle
        connection.sendall(request)
        assert status(connection.recv(65536)) == 200


def test_an_answer_may_take_longer_than_a_request(tmp_path):
    def slow(_call):
        time.sleep(2.5)
        return {"late": True}

    settings = "[server]\nreceipt_seconds = 1\nidle_seconds = 1\n"
    with serving(
        tmp_path, settings, served=(Api("/t", (Endpoint("GET", "/slow", slow, "", "t"),)),)
    ) as server:
        assert server.ask("GET", "/t/slow", token=server.token()).json() == {"late": True}


# --- what is too much ---------------------------------------------------------------------------------------


class Gated:
    """Endpoints that wait until they are let go."""

    def __init__(self):
        self.gate = threading.Event()
        self.begun = threading.Semaphore(0)

    def wait(self, _call):
        self.begun.release()
        assert self.gate.wait(20)
        return {"done": True}

    def stream(self, _call):
        def chunks():
            for index in range(1000):
                yield b"data: %d\n\n" % index
                self.gate.wait(0.05)

        return Answer(chunks(), media_type="text/event-stream")

    @property
    def api(self):
        table = (
            Endpoint("GET", "/wait", self.wait, "", "t"),
            Endpoint("GET", "/stream", self.stream, "", "t", stream=True),
        )
        return (Api("/t", table),)


def test_DS09_at_the_bound_who_asks_nothing_makes_room(tmp_path):
    with serving(tmp_path, "[server]\nmax_connections = 20\n", served=()) as server, ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 20))
        for _ in range(30):
            assert server.ask("GET", "/health/live").status == 200
        assert server.app.metrics.closed["room"] >= 40
        assert len(server.door.lines) <= 20


def test_DS09_beyond_the_bound_is_503_and_recovers(tmp_path):
    gated = Gated()
    settings = "[server]\nmax_connections = 16\nthreads = 16\n[server.limits]\nidentity_per_second = 0\n"
    with serving(tmp_path, settings, served=gated.api) as server:
        token = server.token()
        results = []

        def ask():
            results.append(server.ask("GET", "/t/wait", token=token).status)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert gated.begun.acquire(timeout=20)
        refused = send(server, b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")
        assert status(refused) == 503
        assert b"retry-after: 1" in refused
        assert b'"code":"overloaded"' in refused
        gated.gate.set()
        for thread in threads:
            thread.join(20)
        assert results == [200] * 16
        assert server.ask("GET", "/health/live").status == 200


# --- the end ------------------------------------------------------------------------------------------------


def test_a_drain_answers_what_is_under_way_and_ends_streams(tmp_path):
    gated = Gated()
    with serving(tmp_path, "[server]\ndrain_seconds = 20\n", served=gated.api) as server:
        token = server.token()
        answers = []
        waiting = threading.Thread(target=lambda: answers.append(server.ask("GET", "/t/wait", token=token)))
        waiting.start()
        assert gated.begun.acquire(timeout=20)
        stream = server.connect()
        stream.request("GET", "/t/stream", headers={"Authorization": f"Bearer {token}"})
        events = stream.getresponse()
        assert events.readline() == b"data: 0\n"
        idle = socket.create_connection(("127.0.0.1", server.port), 20)
        idle.sendall(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")
        assert status(idle.recv(65536)) == 200
        server.server.should_exit = True
        with idle, closing(stream):
            assert closed_within([idle], 10) == 0
            assert events.read().count(b"data: ") < 1000  # it ended, and in order: the last chunk came
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), 5)
        gated.gate.set()
        waiting.join(20)
        assert answers[0].json() == {"done": True}
        assert answers[0].headers["connection"] == "close"


def test_DS08_a_stream_ends_when_its_reader_leaves(tmp_path):
    ended = threading.Event()

    def stream(_call):
        def chunks():
            try:
                while True:
                    yield b"x" * 1000
                    time.sleep(0.01)
            finally:
                ended.set()

        return Answer(chunks(), media_type="text/plain")

    with serving(
        tmp_path, served=(Api("/t", (Endpoint("GET", "/stream", stream, "", "t", stream=True),)),)
    ) as server:
        connection = server.connect()
        connection.request("GET", "/t/stream", headers={"Authorization": f"Bearer {server.token()}"})
        answer = connection.getresponse()
        assert answer.read(1000)
        answer.close()
        connection.close()
        assert ended.wait(10)
