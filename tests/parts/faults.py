"""
Everything that goes wrong on the way to a store that is spoken to over HTTP, as tests to inherit.

    class TestFaults(FaultContract):
        def serve(self, request):               # the store, over plain HTTP, holding TEXT under REF
            return request.getfixturevalue("bao").port

        def make(self, url, *, timeout, ca=None):
            return Vault("vault", VaultOptions(url=url, timeout=timeout, ca=ca, …), clock)

A proxy stands between; where the SDK insists on TLS (`is_https`) it speaks TLS to the backend and `ca` is
always given. What a store's own words mean (denied, absent, throttled) is for its own tests.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from parts.certificates import Authority, server_context
from parts.proxy import Proxy, Scripted, reply
from strongroom.bulkhead import within
from strongroom.errors import (
    BackendUnavailableError,
    MalformedEntryError,
    RateLimitedError,
    StrongroomError,
)
from strongroom.model.ref import Ref
from strongroom.testing.contract import CANARY

REF = Ref("variable", "held")
ABSENT = Ref("variable", "nobody_wrote_this")
TEXT = CANARY
_PATIENCE = 20.0  # seconds for what must come to be; never for what must not
_IDLE_SECONDS = 0.3
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "grpc_proxy")


class FaultContract:
    """
    Prove that trouble on the way is one clear error in time, and never an absence.

    Attributes:
        is_https: the SDK speaks to `https:` alone.
        requests_a_read: of one entry, once logged in.
        requests_an_absence: likewise.
        requests_for_twenty: of twenty entries read together.
        oversize_bytes: of an answer that is over its bound.
        retries_after: that it tells how long a 429 with `Retry-After: 7` asks to wait.
    """

    is_https = False
    requests_a_read = 1
    requests_an_absence = 1
    requests_for_twenty = 20
    oversize_bytes = 33 * 1024 * 1024
    retries_after = True

    # --- hooks ---------------------------------------------------------------------------------

    def serve(self, request):
        """Give the port of 127.0.0.1 on which the store listens, holding `TEXT` under `REF`."""
        raise NotImplementedError("say where the store listens")

    def make(self, url, *, timeout, ca=None):
        """Give a backend that asks *url* for everything, its login included, and logs in when asked first."""
        raise NotImplementedError("say how to make the backend")

    # --- parts ---------------------------------------------------------------------------------

    @pytest.fixture
    def authority(self, tmp_path):
        return Authority(tmp_path)

    @pytest.fixture
    def proxy(self, request, authority):
        front = None
        if self.is_https:
            front = server_context(*authority.issue("server", "127.0.0.1", "localhost"))
        with Proxy("127.0.0.1", self.serve(request), front=front, drip_seconds=0.02) as proxy:
            yield proxy

    @pytest.fixture
    def opened(self, proxy, authority):
        """Give a function that makes a backend behind the proxy."""
        made = []

        def make(*, seconds=5.0):
            ca = {"ca": authority.file} if self.is_https else {}
            made.append(self.make(self._url(proxy), timeout=timedelta(seconds=seconds), **ca))
            return made[-1]

        yield make
        for backend in made:
            backend.close()

    def _url(self, proxy):
        return proxy.url("https" if self.is_https else "http")

    def warm(self, opened, **options):
        """Give a backend that has read once: logged in, and connected."""
        backend = opened(**options)
        assert backend.read(REF).secret.reveal() == TEXT
        return backend

    def trouble(self, backend, kinds=BackendUnavailableError, ref=REF):
        with pytest.raises(kinds) as caught:
            backend.read(ref)
        assert_silent(caught.value)
        told = backend.read_many([ref])[0]
        assert isinstance(told, StrongroomError)
        assert_silent(told)
        return caught.value

    # --- what is asked -------------------------------------------------------------------------

    def test_read_asks_as_often_as_is_said_and_an_absence_too(self, proxy, opened):
        backend = self.warm(opened)
        assert backend.read(ABSENT) is None
        for ref, requests in ((REF, self.requests_a_read), (ABSENT, self.requests_an_absence)):
            before = proxy.requests
            backend.read(ref)
            assert proxy.requests - before == requests, proxy.lines[before:]

    def test_twenty_together_are_asked_for_as_often_as_is_said(self, proxy, opened):
        backend = self.warm(opened)
        backend.read(ABSENT)
        refs = [REF, *(Ref("variable", f"nobody{number}") for number in range(19)), REF]
        before = proxy.requests
        answers = backend.read_many(refs)
        assert proxy.requests - before == self.requests_for_twenty, proxy.lines[before:]
        assert [one and one.secret.reveal() for one in answers] == [TEXT, *[None] * 19, TEXT]

    def test_threads_that_come_first_log_in_once(self, proxy, opened):
        self.warm(opened)
        alone = proxy.requests
        backend = opened()
        with ThreadPoolExecutor(8) as pool:
            assert {one.secret.reveal() for one in pool.map(backend.read, [REF] * 8)} == {TEXT}
        assert proxy.requests - alone <= alone + 7 * self.requests_a_read, proxy.lines[alone:]

    def test_nothing_is_asked_while_nobody_reads(self, proxy, opened):
        self.warm(opened)
        before = proxy.requests, proxy.connections
        threading.Event().wait(_IDLE_SECONDS)
        assert (proxy.requests, proxy.connections) == before

    def test_making_one_asks_nothing(self, proxy, opened):
        opened()
        assert (proxy.requests, proxy.connections) == (0, 0)

    # --- the wire ------------------------------------------------------------------------------

    def test_store_that_is_down_at_the_first_read_is_unavailable(self, proxy, opened):
        proxy.become("refuse")
        backend = opened()
        self.trouble(backend)
        proxy.become("pass")
        assert backend.read(REF).secret.reveal() == TEXT

    @pytest.mark.parametrize("mode", ["refuse", "reset", "drop", "half"])
    def test_broken_connection_is_unavailable_and_passes_with_the_fault(self, proxy, opened, mode):
        backend = self.warm(opened)
        proxy.become(mode)
        self.trouble(backend)
        self.trouble(backend, ref=ABSENT)
        proxy.become("pass")
        assert backend.read(REF).secret.reveal() == TEXT

    @pytest.mark.parametrize("mode", ["hang", "drip", "stall"])
    def test_store_that_is_slow_holds_nobody_longer_than_he_waits(self, proxy, opened, mode):
        backend = self.warm(opened)
        proxy.become(mode)
        ended = threading.Event()

        def ask():
            with within(0.5):
                self.trouble(backend)
            ended.set()

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        assert ended.wait(_PATIENCE)
        asking.join()

    @pytest.mark.parametrize(
        "data",
        [
            b"\x00\xff garbage without an end",
            b"SSH-2.0-OpenSSH_9.9\r\n",
            f"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Length: 8\r\n\r\n{CANARY}".encode(),
            f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{CANARY}".encode(),
            b"HTTP/1.1 banana\r\n\r\n",
        ],
    )
    def test_garbage_is_unavailable(self, proxy, opened, data):
        backend = self.warm(opened)
        proxy.say(data)
        with within(0.5):  # where more is waited for
            self.trouble(backend)

    @pytest.mark.parametrize(
        "body", [f"<html>{CANARY}", f'{{"{CANARY}', "null", "[]", "{}", f'"{CANARY}"', '{"data": 7}', ""]
    )
    def test_answer_of_another_shape_is_trouble_and_no_absence(self, proxy, opened, body):
        backend = self.warm(opened)
        proxy.answer(200, {"Content-Type": "application/json"}, body.encode())
        self.trouble(backend, (BackendUnavailableError, MalformedEntryError))

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 507])
    def test_trouble_of_the_store_is_unavailable(self, proxy, opened, status):
        backend = self.warm(opened)
        proxy.answer(status, {"Content-Type": "application/json"}, f'{{"error": "{CANARY}"}}'.encode())
        self.trouble(backend)
        proxy.become("pass")
        assert backend.read(REF).secret.reveal() == TEXT

    def test_store_that_asks_to_wait_is_unavailable_and_says_how_long(self, proxy, opened):
        backend = self.warm(opened)
        before = proxy.requests
        proxy.answer(429, {"Retry-After": "7", "Content-Type": "application/json"}, b"{}")
        with pytest.raises((BackendUnavailableError, RateLimitedError)) as caught:
            backend.read(REF)
        assert proxy.requests - before == self.requests_a_read, "it was asked again at once"
        if self.retries_after:
            assert caught.value.retry_after == timedelta(seconds=7)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_redirect_is_not_followed_and_nothing_is_sent_there(self, proxy, opened, status):
        backend = self.warm(opened)
        with Scripted(lambda _: reply(200, body=b"{}")) as elsewhere:
            proxy.answer(status, {"Location": f"{elsewhere.url()}/v1/elsewhere"})
            self.trouble(backend)
            assert elsewhere.connections == 0

    def test_answer_over_its_bound_is_trouble(self, proxy, opened):
        backend = self.warm(opened)
        size = self.oversize_bytes
        proxy.say(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + b" " * 65_536)
        with within(1):  # where the whole of it is waited for
            self.trouble(backend)

    # --- TLS and the environment ---------------------------------------------------------------

    def test_certificate_of_another_authority_is_refused_and_nothing_is_sent(self, request, tmp_path):
        (tmp_path / "other").mkdir()
        mine, other = Authority(tmp_path, "mine"), Authority(tmp_path / "other", "other")
        front = server_context(*other.issue("server", "127.0.0.1", "localhost"))
        with Proxy("127.0.0.1", self.serve(request), front=front) as proxy:
            backend = self.make(proxy.url("https"), timeout=timedelta(seconds=5), ca=mine.file)
            try:
                error = self.trouble(backend, StrongroomError)
                assert isinstance(error, BackendUnavailableError)
                assert "certificate" in f"{error} {error.hint}"
                assert proxy.requests == 0
            finally:
                backend.close()

    def test_no_proxy_of_the_environment_is_used(self, proxy, opened, monkeypatch):
        with Scripted(lambda _: reply(200, body=b"{}")) as elsewhere:
            for name in _PROXIES:
                monkeypatch.setenv(name, elsewhere.url())
            for name in ("NO_PROXY", "no_proxy"):
                monkeypatch.delenv(name, raising=False)
            self.warm(opened)
            assert elsewhere.connections == 0

    # --- threads and processes -----------------------------------------------------------------

    def test_closed_backend_leaves_no_thread(self, proxy, request, opened):
        own = {*threading.enumerate(), *proxy._threads}
        backend = self.warm(opened)
        backend.read_many([Ref("variable", f"nobody{number}") for number in range(20)])
        backend.close()
        _until(lambda: not [one for one in _threads_of_ours(own, proxy) if one.is_alive()])

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
    def test_forked_child_reads_on_connections_of_its_own(self, proxy, opened):
        backend = self.warm(opened)
        before = proxy.connections
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads there are, Python 3.12 says
            child = os.fork()
        if child == 0:
            try:
                told = [backend.read(REF), backend.read_many([REF, ABSENT])[0]]
                os._exit(0 if [one.secret.reveal() for one in told] == [TEXT] * 2 else 1)
            except BaseException:  # noqa: BLE001 -- a child of a test must not go on as the test
                os._exit(2)
        assert os.waitstatus_to_exitcode(_reaped(child)) == 0
        assert proxy.connections > before
        kept = proxy.connections
        assert backend.read(REF).secret.reveal() == TEXT
        assert proxy.connections == kept, "the parent's connection was not its own any more"


def assert_silent(error):
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert CANARY not in shown
    assert error.__context__ is None or error.__suppress_context__


def _threads_of_ours(own, proxy):
    return [one for one in threading.enumerate() if one not in own and one not in proxy._threads]


def _until(holds):
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


def _reaped(child):
    deadline = time.monotonic() + _PATIENCE
    while True:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            return status
        if time.monotonic() > deadline:
            os.kill(child, 9)
        time.sleep(0.01)
