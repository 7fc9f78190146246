"""One client, real sockets: what is asked once is asked once, every wait ends, nothing shows."""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parts.proxy import CLOSE, RESET, Proxy, Scripted, reply
from strongroom.bulkhead import Bulkhead, within
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.transport import Transport, TransportOptions

CANARY = "c4nary-hvs"
HEADERS = {"X-Vault-Token": Secret(CANARY)}
OK = reply(200, {"Content-Type": "application/json"}, b'{"data": 1}')
PATIENCE = 10.0  # seconds after which a test that waits for something has failed


class Clock:
    """Seconds that go up when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def to(server, **options):
    clock = options.pop("clock", time.monotonic)
    url = options.pop("url", None) or server.url() + options.pop("base", "")
    options.setdefault("timeout", timedelta(seconds=5))
    return Transport(TransportOptions(place="vault", url=url, **options), clock=clock)


@contextmanager
def serving(say, **options):
    """A scripted server and a transport to it."""
    with Scripted(say) as server:
        transport = to(server, **options)
        try:
            yield server, transport
        finally:
            transport.close()


def get(transport, path="/v1/x", **options):
    return transport.request("GET", path, headers=HEADERS, **options)


def fails(transport, **options):
    with pytest.raises(BackendUnavailableError) as caught:
        get(transport, **options)
    assert caught.value.backend == "vault"
    assert str(caught.value).startswith("the backend vault ")
    return caught.value


def until(what, seconds=PATIENCE):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.005)


def nobody():
    """An address at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


# --- asking ------------------------------------------------------------------------------------


def test_an_answer_is_given_whatever_its_status():
    for status in (200, 400, 403, 404, 405, 429, 472, 500, 501, 503):
        with serving(lambda _, status=status: reply(status, {"Retry-After": "7"}, b"{}")) as (_, transport):
            found = get(transport)
            assert (found.status, found.headers["retry-after"], found.body) == (status, "7", b"{}")


def test_what_is_sent_is_plain_http_with_base_and_host():
    with serving(lambda _: OK, base="/vault/") as (server, transport):
        found = transport.request("POST", "/v1/login", headers={"X-A": "b"}, body=b"{}")
        assert json.loads(found.body) == {"data": 1}
        assert server.refused == 0
        assert server.seen == [
            f"POST /vault/v1/login HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUser-Agent: strongroom\r\n"
            "Accept-Encoding: identity\r\nX-A: b\r\nContent-Length: 2\r\n\r\n{}".encode()
        ]


def test_one_read_is_one_request_and_many_share_a_connection():
    with serving(lambda _: OK) as (server, transport):
        for count in range(1, 11):
            get(transport)
            assert (server.requests, server.connections) == (count, 1)


def test_a_large_body_is_sent_and_received_whole():
    def echo(request):
        return reply(200, {}, request.split(b"\r\n\r\n", 1)[1])

    body = os.urandom(3_000_000)
    with serving(echo) as (_, transport):
        assert transport.request("PUT", "/v1/x", body=body).body == body


def test_an_answer_that_comes_before_all_was_sent_is_an_answer_and_ends_the_connection():
    class Impatient(Scripted):
        def serve(self, connection):
            connection.recv(1000)
            connection.sendall(reply(413))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    with Impatient(None) as server:
        transport = to(server)
        assert transport.request("PUT", "/v1/x", body=b"x" * 1_000_000).status == 413
        assert transport.request("PUT", "/v1/x", body=b"x" * 1_000_000).status == 413
        assert server.connections == 2
        transport.close()


def test_threads_ask_at_once_and_at_most_thirty_two_connections_rest():
    gate = threading.Barrier(36)

    def say(_):
        gate.wait(PATIENCE)
        return OK

    with serving(say) as (server, transport):
        threads = [threading.Thread(target=get, args=(transport,)) for _ in range(36)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert server.connections == 36
        until(lambda: len(server._open) == 32)


def test_a_connection_that_rested_too_long_is_not_used_again():
    clock = Clock()
    with serving(lambda _: OK, clock=clock) as (server, transport):
        get(transport)
        clock.now += 30
        get(transport)
        assert server.connections == 1
        clock.now += 31
        get(transport)
        assert server.connections == 2


def test_connections_that_lie_unused_below_others_are_closed():
    clock, gate = Clock(), threading.Barrier(3)

    def say(request):
        if b"/both" in request:
            gate.wait(PATIENCE)
        return OK

    with serving(say, clock=clock) as (server, transport):
        both = [threading.Thread(target=get, args=(transport, "/both")) for _ in range(3)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(PATIENCE)
        until(lambda: len(server._open) == 3)
        for _ in range(4):
            clock.now += 10
            get(transport)
        until(lambda: len(server._open) == 1)


def test_no_proxy_of_the_environment_is_used(monkeypatch):
    elsewhere = nobody()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, elsewhere)
    with serving(lambda _: OK) as (_, transport):
        assert get(transport).status == 200


# --- closed connections ------------------------------------------------------------------------


def test_a_kept_connection_the_server_closed_is_replaced_without_a_failure():
    with serving(lambda _: [OK, CLOSE]) as (server, transport):
        for count in range(1, 6):
            assert get(transport).status == 200
            until(lambda: not server._open)
            assert (server.requests, server.connections) == (count, count)


class Closing:
    """Answer *answers* times on a connection, then end it while it is asked, not before."""

    def __init__(self, how, answers=1):
        self.how = how
        self.answers = answers
        self.count = 0

    def __call__(self, _request):
        self.count += 1
        return OK if self.count % (self.answers + 1) else [self.how]


@pytest.mark.parametrize("how", [CLOSE, RESET])
def test_a_kept_connection_that_closes_while_it_is_asked_is_replaced_and_costs_no_retry(how):
    with serving(Closing(how)) as (server, transport):
        get(transport)
        assert get(transport).status == 200
        assert (server.requests, server.connections) == (3, 2)


def test_what_must_not_be_sent_twice_goes_over_a_connection_of_its_own():
    with serving(Closing(CLOSE)) as (server, transport):
        get(transport)
        error = fails(transport, is_repeatable=False)
        assert "without an answer" in str(error)
        assert (server.requests, server.connections) == (2, 2)


def test_what_must_not_be_sent_twice_is_not_sent_again_on_any_failure():
    for say in (lambda _: [CLOSE], lambda _: [RESET], lambda _: reply(502), lambda _: reply(504)):
        with serving(lambda _: OK) as (server, transport):
            for _ in range(20):
                get(transport)
            server.say = say
            before = server.requests
            with suppress(BackendUnavailableError):
                get(transport, is_repeatable=False)
            assert server.requests == before + 1


def test_a_connection_on_which_more_came_than_was_asked_for_is_not_used_again():
    with serving(lambda _: OK + OK) as (server, transport):
        get(transport)
        get(transport)
        assert (server.requests, server.connections) == (2, 2)


def test_words_nobody_asked_for_are_not_taken_for_an_answer():
    with serving(lambda _: OK) as (server, transport):
        get(transport)
        (one,) = server._open
        one.sendall(reply(200, {}, b"forged"))
        assert get(transport).body == b'{"data": 1}'
        assert server.connections == 2


# --- waits end ---------------------------------------------------------------------------------


def test_a_server_that_is_down_is_told_with_the_systems_word():
    transport = to(None, url=nobody())
    error = fails(transport)
    assert str(error) == "the backend vault cannot be reached: connection refused"
    assert "url" in error.hint


def test_a_name_that_does_not_resolve_is_told():
    error = fails(to(None, url="http://strongroom.invalid"))
    assert "cannot be resolved" in str(error)


def test_a_server_that_says_nothing_holds_nobody_longer_than_the_timeout():
    with serving(lambda _: None, timeout=timedelta(milliseconds=200)) as (server, transport):
        error = fails(transport)
        assert str(error) == "the backend vault gave no whole answer within 0.2 s"
        assert "timeout" in error.hint
        until(lambda: server.requests)  # its thread may read only after the client has given up
        assert server.requests == 1


def test_a_server_that_accepts_and_reads_nothing_holds_nobody():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        transport = to(None, url=url, timeout=timedelta(milliseconds=50))
        with pytest.raises(BackendUnavailableError, match="no whole answer within"):
            transport.request("PUT", "/x", body=b"x" * 30_000_000)


def test_the_addresses_of_a_name_share_one_timeout(monkeypatch):
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # its line is full with the first, and what else comes is not answered
        where = full.getsockname()
        first.connect(where)
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", where)] * 4
        )
        transport = to(None, url="http://vault.example.com:8200", timeout=timedelta(milliseconds=200))
        # Had each of them a wait of its own, together they would come to the total of 0.4 s.
        assert "within 0.2 s" in str(fails(transport))


def test_a_timeout_on_a_kept_connection_ends_those_that_rest_beside_it():
    gate = threading.Barrier(2)
    with serving(lambda _: OK, timeout=timedelta(milliseconds=200)) as (server, transport):
        server.say = lambda _: gate.wait(PATIENCE) >= 0 and OK
        both = [threading.Thread(target=get, args=(transport,)) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        server.say = lambda _: None
        fails(transport)
        server.say = lambda _: OK
        get(transport)
        assert server.connections == 3  # two, of which one did not answer, and a new one


def test_a_server_that_drips_holds_nobody_longer_than_the_total():
    with Scripted(lambda _: OK * 100) as behind, Proxy("127.0.0.1", behind.port, drip_seconds=0.01) as proxy:
        proxy.become("drip")
        transport = to(proxy, timeout=timedelta(milliseconds=200), total_timeout=timedelta(milliseconds=300))
        # Every byte comes in time; all of them do not.
        assert "no whole answer within 0.3 s" in str(fails(transport))


def test_nobody_waits_longer_than_the_caller_does():
    bulkhead = Bulkhead("vault")
    landed = threading.Event()

    def work(transport):
        try:
            get(transport)
        finally:
            landed.set()

    with serving(lambda _: None, timeout=timedelta(seconds=60)) as (_, transport):
        with pytest.raises(BackendUnavailableError):
            bulkhead.call(lambda: work(transport), 1)  # in which a busy machine begins a thread
        assert landed.wait(PATIENCE), "the thread went on waiting for nobody"
    bulkhead.close()


def test_nothing_is_sent_when_nobody_waits_any_more():
    with serving(lambda _: OK) as (server, transport), within(0):
        assert "nobody waits" in str(fails(transport))
        assert server.connections == 0


# --- faults ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def behind():
    with Scripted(
        lambda _: reply(200, {"Content-Type": "application/json"}, json.dumps({"data": "x" * 500}).encode())
    ) as server:
        yield server


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("refuse", "connection refused"),
        ("hang", "no whole answer within"),
        ("drip", "no whole answer within"),
        ("half", "in the middle of its answer"),
        ("reset", "connection reset"),
        ("drop", "without an answer"),
    ],
)
@pytest.mark.parametrize("is_kept", [False, True])
def test_every_fault_is_an_outage_told_in_words_and_passes_with_the_fault(behind, mode, words, is_kept):
    with Proxy("127.0.0.1", behind.port) as proxy:
        seconds = 0.6 if "within" in words else 20  # only who is kept waiting has to be soon
        transport = to(proxy, timeout=timedelta(seconds=seconds), total_timeout=timedelta(seconds=seconds))
        if is_kept:
            get(transport)
        proxy.become(mode)
        assert words in str(fails(transport))
        proxy.become("pass")
        assert json.loads(get(transport).body) == {"data": "x" * 500}
        transport.close()


def test_statuses_injected_mid_life_come_through(behind):
    with Proxy("127.0.0.1", behind.port) as proxy:
        transport = to(proxy)
        assert get(transport).status == 200
        for status in (403, 429, 500, 503):
            proxy.answer(status, {"Retry-After": "3"}, b"{}", times=1)
            assert get(transport).status == status
            assert get(transport).status == 200
        assert proxy.connections == 1
        transport.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_not_an_answer(status):
    with Scripted(lambda _: OK) as elsewhere:
        where = f"{elsewhere.url()}/{CANARY}"
        with serving(lambda _: reply(status, {"Location": where})) as (server, transport):
            error = fails(transport)
            assert "redirects elsewhere" in str(error)
            assert "url" in error.hint
            assert CANARY not in str(error) + error.hint
            assert (server.requests, elsewhere.connections) == (1, 0)


def test_a_3xx_that_points_nowhere_is_an_answer():
    with serving(lambda _: reply(304)) as (_, transport):
        assert get(transport).status == 304


def test_an_answer_over_its_bounds_is_refused_and_its_connection_closed():
    head = b"HTTP/1.1 200 OK\r\n"
    for answer in (
        reply(200, {}, b"x" * 2001),
        head + b"X-A: " + b"a" * 2000 + b"\r\nContent-Length: 0\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n" + b"64\r\n" + b"x" * 100 + b"\r\n" * 1,
    ):
        bounds = {"max_body_bytes": 99 if b"chunked" in answer else 2000, "max_header_bytes": 1000}
        with serving(lambda _, answer=answer: answer, **bounds) as (server, transport):
            assert "is over" in str(fails(transport))
            until(lambda server=server: not server._open)


def test_broken_http_is_an_outage_with_a_hint():
    with serving(lambda _: b"SSH-2.0-OpenSSH_9.2\r\n\r\n") as (_, transport):
        error = fails(transport)
        assert "not sound HTTP" in str(error)
        assert "url" in error.hint


# --- asking again ------------------------------------------------------------------------------


def warmed(server, transport, times):
    for _ in range(times):
        get(transport)
    assert server.requests == times


@pytest.mark.parametrize("status", [502, 504])
def test_a_gateways_trouble_is_asked_once_more_on_a_new_connection(status):
    answers = [OK] * 9 + [reply(status), OK]
    with serving(lambda _: answers.pop(0)) as (server, transport):
        warmed(server, transport, 9)
        assert get(transport).status == 200
        assert (server.requests, server.connections) == (11, 2)


def test_a_second_trouble_is_given_as_it_is():
    with serving(lambda _: OK) as (server, transport):
        warmed(server, transport, 9)
        server.say = lambda _: reply(502)
        assert get(transport).status == 502
        assert server.requests == 11


@pytest.mark.parametrize("status", [500, 503, 429])
def test_other_statuses_are_never_asked_again(status):
    with serving(lambda _: OK) as (server, transport):
        warmed(server, transport, 50)
        server.say = lambda _: reply(status)
        assert get(transport).status == status
        assert server.requests == 51


def test_an_answer_that_began_is_never_asked_for_again():
    with serving(lambda _: OK) as (server, transport):
        warmed(server, transport, 50)
        server.say = lambda _: [OK[:-3], CLOSE]
        fails(transport)
        assert server.requests == 51


def test_a_timeout_is_never_asked_again():
    with serving(lambda _: OK, timeout=timedelta(seconds=0.5)) as (server, transport):
        warmed(server, transport, 50)
        server.say = lambda _: None
        fails(transport)
        assert server.requests == 51


def test_a_first_question_has_no_retry_to_spend():
    with serving(lambda _: reply(502)) as (server, transport):
        get(transport)
        assert server.requests == 1


def test_retries_are_at_most_a_tenth():
    with serving(lambda _: OK) as (server, transport):
        seen = []

        def say(_):
            seen.append(1)
            return reply(502) if len(seen) % 3 else OK

        server.say = say
        for asked in range(1, 201):
            get(transport)
            assert (server.requests - asked) * 10 <= asked
        assert 15 <= server.requests - 200 <= 20


# --- the circuit -------------------------------------------------------------------------------


def lines(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records]


OPENED = (
    "WARNING",
    "the backend vault is not asked any more: 5 failures in a row, the last: it answered with status 500",
)
CLOSED = ("INFO", "the backend vault answers again")


def test_five_failures_open_the_circuit_and_a_probe_closes_it_with_one_line_each(caplog):
    caplog.set_level(logging.DEBUG)
    clock = Clock()
    with serving(lambda _: reply(500), clock=clock) as (server, transport):
        for _ in range(5):
            assert get(transport).status == 500
        assert lines(caplog) == [OPENED]

        for _ in range(20):
            error = fails(transport)
        assert server.requests == 5
        assert error.retry_after == timedelta(seconds=5)
        assert "not asked for another 5.0 s" in str(error)
        assert "status 500" in str(error)

        for _ in range(3):  # probes that fail say nothing more
            clock.now += 5
            assert get(transport).status == 500
            fails(transport)
        assert server.requests == 8
        assert lines(caplog) == [OPENED]

        clock.now += 5
        server.say = lambda _: OK
        assert get(transport).status == 200
        assert get(transport).status == 200
        assert lines(caplog) == [OPENED, CLOSED]
        assert {record.name for record in caplog.records} == {"strongroom.transport"}


@pytest.mark.parametrize("status", [200, 204, 301, 400, 403, 404, 429, 501])
def test_what_is_an_answer_opens_nothing(status):
    with serving(lambda _: reply(status)) as (server, transport):
        for _ in range(12):
            assert get(transport).status == status
        assert server.requests == 12


SILENCES = {
    "closed": lambda _: [CLOSE],
    "reset": lambda _: [RESET],
    "junk": lambda _: b"junk\r\n\r\n",
    "half a body": lambda _: [OK[:-1], CLOSE],
    "too large": lambda _: reply(200, {}, b"x" * 101),
    "sealed": lambda _: reply(503),
}


@pytest.mark.parametrize("say", SILENCES.values(), ids=SILENCES)
def test_every_kind_of_silence_opens_it(say):
    with serving(say, max_body_bytes=100) as (server, transport):
        for _ in range(5):
            with suppress(BackendUnavailableError):
                get(transport)
        assert fails(transport).retry_after is not None
        assert server.requests == 5


def test_a_caller_who_hardly_waited_says_nothing_of_the_server():
    with serving(lambda _: None, timeout=timedelta(seconds=30)) as (server, transport):
        for _ in range(8):
            with within(0.02):
                fails(transport)
        server.say = lambda _: OK
        assert get(transport).status == 200


def test_what_is_refused_before_it_is_sent_says_nothing_of_the_server():
    with serving(lambda _: OK) as (_, transport):
        for _ in range(12):
            with pytest.raises(InvalidInputError):
                get(transport, "/../x")
            with pytest.raises(BackendConfigError):
                transport.request("GET", "/x", headers={"X-Vault-Token": "a\n"})
        assert get(transport).status == 200


def test_of_many_threads_exactly_one_probes():
    clock, release = Clock(), threading.Event()
    with serving(lambda _: reply(500), clock=clock) as (server, transport):
        for _ in range(5):
            get(transport)

        def say(_):
            release.wait(PATIENCE)
            return OK

        server.say = say
        clock.now += 5
        errors, answers = [], []

        def ask():
            try:
                answers.append(get(transport).status)
            except BackendUnavailableError as error:
                errors.append(error)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        until(lambda: len(errors) == 15)
        release.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert answers == [200]
        assert server.requests == 6
        assert get(transport).status == 200


def test_a_probe_that_is_broken_off_leaves_its_place():
    clock = Clock()
    with serving(lambda _: reply(500), clock=clock) as (server, transport):
        for _ in range(5):
            get(transport)
        clock.now += 5
        server.say = lambda _: None
        with within(0.05):
            fails(transport)
        server.say = lambda _: OK
        assert get(transport).status == 200


# --- ending and forking ------------------------------------------------------------------------


def test_closing_twice_is_closing_and_nothing_is_asked_after_it():
    with serving(lambda _: OK) as (server, transport):
        get(transport)
        transport.close()
        transport.close()
        until(lambda: not server._open)
        assert "is closed" in str(fails(transport))
        assert server.requests == 1


def test_a_connection_under_way_while_closing_is_closed_after_its_answer():
    begun, release = threading.Event(), threading.Event()

    def say(_):
        begun.set()
        release.wait(PATIENCE)
        return OK

    with serving(say) as (server, transport):
        answers = []
        thread = threading.Thread(target=lambda: answers.append(get(transport).status))
        thread.start()
        assert begun.wait(PATIENCE)
        transport.close()
        release.set()
        thread.join(PATIENCE)
        assert answers == [200]
        until(lambda: not server._open)


FORK = """
import os, sys, threading
from strongroom.vendors.transport import Transport, TransportOptions

transport = Transport(TransportOptions(place="vault", url=sys.argv[1]))
assert transport.request("GET", "/parent").status == 200
side = next(iter(transport._sides.values()))
side._lock.acquire()  # as if another thread of the parent held it at the fork
child = os.fork()
if child == 0:
    for _ in range(3):
        assert transport.request("GET", "/child").status == 200
    transport.close()
    os._exit(0)
side._lock.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert transport.request("GET", "/parent").status == 200
transport.close()
"""


def test_a_forked_child_has_connections_of_its_own_and_leaves_the_parents_alone():
    with Scripted(lambda _: OK) as server:
        subprocess.run([sys.executable, "-W", "error", "-c", FORK, server.url()], timeout=60, check=True)
        assert server.lines == ["GET /parent", *["GET /child"] * 3, "GET /parent"]
        assert server.connections == 2


CLOSING = """
import os, sys
from datetime import timedelta
from strongroom.vendors.transport import Transport, TransportOptions
transport = Transport(TransportOptions(place="vault", url=sys.argv[1], timeout=timedelta(seconds=5)))
transport.request("GET", "/parent")
sockets = lambda: sum(os.readlink(f"/proc/self/fd/{fd}").startswith("socket:") for fd in FDS())
def FDS():
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")]
if sockets() != 1:
    sys.exit(3)
child = os.fork()
if child == 0:
    transport.close()
    os._exit(sockets())
sys.exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts what /proc says is open")
def test_a_forked_child_that_closes_lets_go_of_what_the_parent_had_open():
    with Scripted(lambda _: OK) as server:
        subprocess.run([sys.executable, "-W", "error", "-c", CLOSING, server.url()], timeout=60, check=True)


def test_a_transport_that_is_dropped_lets_go_of_its_connections():
    with Scripted(lambda _: OK) as server:
        transport = to(server)
        get(transport)
        (resting,) = transport._sides[os.getpid()]._idle
        del transport  # with warnings as errors: an unclosed socket would be one
        gc.collect()
        assert resting._socket.fileno() == -1


class Overtaken(dict):
    """Lets another thread come first between the look at what a process has and the making of it."""

    def __init__(self, other):
        self.other = other

    def get(self, key):
        found = super().get(key)
        if found is None and self.other:
            other, self.other = self.other, None
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        return found


def test_threads_that_begin_at_once_share_their_connections():
    with serving(lambda _: OK) as (server, transport):
        transport._sides = Overtaken(lambda: get(transport))
        get(transport)
        assert server.connections == 1


def test_the_circuit_of_a_parent_is_not_that_of_its_child():
    script = FORK.replace(
        "side._lock.acquire()",
        "[side.circuit.report(side.circuit.ask(0), 0, is_success=False) for _ in range(5)]",
    )
    script = script.replace("side._lock.release()", "sys.exit(os.waitpid(child, 0)[1])")
    with Scripted(lambda _: OK) as server:
        subprocess.run([sys.executable, "-W", "ignore", "-c", script, server.url()], timeout=60, check=True)
        assert server.lines == ["GET /parent", *["GET /child"] * 3]


# --- what it is told ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "vault:8200",
        "ftp://vault",
        "file:///etc/passwd",
        "http://",
        "http:///v1",
        f"http://user:{CANARY}@vault",
        f"http://{CANARY}@vault",
        f"http://vault/?token={CANARY}",
        f"http://vault/#{CANARY}",
        "http://vault:0",
        "http://vault:65536",
        "http://vault:http",
        "http://va ult",
        "http://vault\r\nX: y",
        "http://vault\n",
        " http://vault",
        "http://vault/a b",
        "http://vault\\@elsewhere",
        "http://[::1",
        "http://::1",
        "http://vält",
        "http://-",
        "http://vault/a/../b",
        "http://vault/..",
        "http://vault/%2e%2e/b",
        "http://vault/%zz",
    ],
)
def test_a_url_that_is_not_plainly_one_is_refused_without_a_word_of_it(url):
    with pytest.raises(BackendConfigError, match="the url of the backend vault") as caught:
        TransportOptions(place="vault", url=url)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://vault", "vault"),
        ("HTTP://vault:80/", "vault"),
        ("http://vault.example.com:8200/a/b/", "vault.example.com:8200"),
        ("http://[::1]:8200", "[::1]:8200"),
        ("https://10.0.0.1:443", "10.0.0.1"),
        ("http://vault_1.svc.cluster.local.", "vault_1.svc.cluster.local."),
    ],
)
def test_a_plain_url_is_taken(url, authority):
    assert to(None, url=url)._address.authority == authority


def test_a_server_on_ipv6_is_reached():
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with listening:
        transport = to(
            None, url=f"http://[::1]:{listening.getsockname()[1]}", timeout=timedelta(seconds=0.05)
        )
        assert "no whole answer" in str(fails(transport))


@pytest.mark.parametrize(
    "timeout",
    [
        {"timeout": timedelta(0)},
        {"timeout": timedelta(-1)},
        {"total_timeout": timedelta(0)},
        {"timeout": timedelta(hours=2)},
        {"timeout": timedelta.max},
    ],
)
def test_a_timeout_of_nothing_or_of_days_is_refused(timeout):
    with pytest.raises(BackendConfigError, match="timeout"):
        TransportOptions(place="vault", url="http://vault", **timeout)


def test_a_key_without_its_certificate_is_refused(tmp_path):
    with pytest.raises(BackendConfigError, match="client key"):
        TransportOptions(place="vault", url="https://vault", client_key=tmp_path)


# --- garbage -----------------------------------------------------------------------------------

PIECES = [
    *(
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 ",
        b"\r\n",
        b"\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Connection: close\r\n",
    ),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"hello",
        b"{}",
        b"Location: /x\r\n",
    ),
]


@pytest.fixture(scope="module")
def garbage():
    with Scripted(lambda _: OK) as server:
        yield server


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(min_size=1, max_size=40)), max_size=12))
def test_whatever_a_server_says_is_an_answer_or_a_typed_error_in_time(garbage, parts):
    garbage.say = lambda _: [*parts, CLOSE]
    transport = to(garbage, timeout=timedelta(seconds=PATIENCE))
    try:
        outcome = str(get(transport).status)
    except BackendUnavailableError as error:
        outcome = str(error)
    transport.close()
    assert "within" not in outcome, "it waited for what cannot come"


# --- nothing shows -----------------------------------------------------------------------------


def everything_of(error):
    """What a program that reports errors could send away: with locals of every frame, and pickled."""
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    parts = [
        "".join(told.format()),
        repr(error),
        repr(error.args),
        repr(vars(error)),
        str(pickle.dumps(error)),
    ]
    seen = error.__context__
    while seen is not None:
        parts.append("".join(traceback.TracebackException.from_exception(seen, capture_locals=True).format()))
        seen = seen.__context__
    return "\n".join(parts)


def echo(request):
    """Say back everything that was sent, where a careless client would show it."""
    said = request.replace(b"\r\n", b" ")
    return b"HTTP/1.1 200 " + said + b"\r\nX-Echo: " + said + b"\r\nContent-Length: 1_0\r\n\r\n" + said


LEAKS = {
    "closed": lambda _: [CLOSE],
    "reset": lambda _: [RESET],
    "silent": lambda _: None,
    "echoed in broken HTTP": echo,
    "echoed as the status line": lambda request: request + b"\r\n\r\n",
    "echoed in half a body": lambda request: [reply(200, {}, request)[:-5], CLOSE],
    "echoed too large": lambda request: reply(200, {}, request * 100),
    "redirected": lambda _: reply(307, {"Location": f"http://x/{CANARY}"}),
}


@pytest.mark.parametrize("say", LEAKS.values(), ids=LEAKS)
def test_no_error_line_or_traceback_shows_what_was_sent(say, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    secret = Secret(CANARY)
    options = {"timeout": timedelta(milliseconds=100), "max_body_bytes": 5000}
    with serving(say, **options) as (_, transport):
        for _ in range(7):
            with pytest.raises(StrongroomError) as caught:
                transport.request(
                    "POST",
                    "/v1/x",
                    headers={"X-Vault-Token": secret},
                    body=Secret(b'{"secret_id": "' + secret.reveal().encode() + b'"}'),
                )
            frames = everything_of(caught.value)
            assert "c4nary" not in frames
        assert CANARY not in repr(transport) + repr(transport.options) + repr(transport.__dict__)
    stream = io.StringIO()
    for record in caplog.records:
        stream.write(logging.Formatter().format(record) + repr(record.__dict__))
    assert CANARY not in stream.getvalue()
    assert CANARY not in "".join(capfd.readouterr())


def test_what_cannot_be_sent_is_refused_without_showing_it():
    with serving(lambda _: OK) as (server, transport):
        with pytest.raises(BackendConfigError) as caught:
            transport.request("GET", "/v1/x", headers={"X-Vault-Token": Secret(f"{CANARY}\r\nX-Other: y")})
        assert CANARY not in everything_of(caught.value)
        assert server.connections == 0


def test_a_reply_with_a_secret_prints_as_its_status():
    with serving(lambda _: reply(200, {"X-A": CANARY}, CANARY.encode())) as (_, transport):
        found = get(transport)
        assert repr(found) == "Reply(200, …)"


def test_a_cold_process_loads_no_library_of_others_and_no_tls_for_plain_http():
    script = (
        "import sys; from datetime import timedelta; from strongroom.vendors.transport import *;"
        "t = Transport(TransportOptions(place='vault', url=sys.argv[1]));"
        "assert t.request('GET', '/x').status == 200; t.close();"
        "bad = {'email', 'http', 'requests', 'urllib3', 'ssl', 'logging', 'msgspec'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(bad)) or None)"
    )
    with Scripted(lambda _: OK) as server:
        run = subprocess.run(
            [sys.executable, "-c", script, server.url()],
            timeout=60,
            check=False,
            capture_output=True,
            text=True,
        )
        assert (run.returncode, run.stderr) == (0, "")
