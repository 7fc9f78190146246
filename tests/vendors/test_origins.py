"""Whatever an SDK asks goes through the one transport of its origin, and shows nothing."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from parts.proxy import Scripted, reply
from strongroom.errors import BackendConfigError, BackendUnavailableError, InvalidInputError
from strongroom.model.secret import Secret
from strongroom.vendors.origins import MAX_ORIGINS, Origins

CANARY = "c4nary-sdk"
OK = reply(200, {"Content-Type": "application/json"}, b"{}")


@pytest.fixture
def origins():
    made = Origins("cloud", timeout=timedelta(seconds=5))
    yield made
    made.close()


@pytest.fixture
def server():
    with Scripted(lambda _request: OK) as made:
        yield made


def test_a_request_of_an_sdk_is_carried_with_its_path_query_headers_and_body(origins):
    seen = []

    def say(request):
        seen.append(request)
        return OK

    with Scripted(say) as server:
        headers = {
            "Host": "elsewhere.example",
            "Content-Length": "999",
            "User-Agent": "Boto3/1",
            "Accept-Encoding": "gzip",
            "Connection": "keep-alive",
            "Authorization": b"AWS4 " + CANARY.encode(),
            "X-Amz-Date": b"20260101T000000Z",
        }
        answer = origins.request("POST", f"{server.url()}/a%20b?x=1&y=#part", headers, '{"é": 1}')
    assert (answer.status, answer.body) == (200, b"{}")
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a%20b?x=1&y= HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{server.port}\r\n".encode() in head.lower()
    assert b"elsewhere" not in head
    assert b"Boto3" not in head
    assert b"gzip" not in head
    assert b"keep-alive" not in head
    assert b"Authorization: AWS4 " + CANARY.encode() in head
    assert body == '{"é": 1}'.encode()


def test_one_origin_has_one_transport_and_keeps_its_connection(origins, server):
    for path in ("/a", "/b", ""):
        origins.request("GET", server.url() + path, {})
    assert server.lines == ["GET /a", "GET /b", "GET /"]
    assert server.connections == 1
    assert origins.at(server.url()) is origins.at(server.url())


def test_a_redirect_of_an_sdk_is_not_followed(origins):
    elsewhere = reply(307, {"Location": "http://127.0.0.1:1/steal"}, b"")
    with Scripted(lambda _request: elsewhere) as server, pytest.raises(BackendUnavailableError) as caught:
        origins.request("GET", server.url() + "/", {"Authorization": CANARY})
    assert "redirects elsewhere" in str(caught.value)
    assert CANARY not in repr(caught.value)


def test_a_proxy_of_the_environment_is_not_used(origins, server, monkeypatch):
    with Scripted(lambda _request: OK) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        origins.request("GET", server.url() + "/", {})
        assert (proxy.requests, server.requests) == (0, 1)


def test_a_url_that_is_none_and_a_path_of_dots_are_refused(origins, server):
    for url in ("ftp://host/", "http://user:word@host/", "nowhere"):
        with pytest.raises(BackendConfigError):
            origins.request("GET", url, {})
    with pytest.raises(InvalidInputError):
        origins.request("GET", server.url() + "/a/../b", {})


def test_the_world_is_not_asked(origins):
    for number in range(MAX_ORIGINS):
        origins.at(f"http://host{number}.example")
    with pytest.raises(BackendUnavailableError, match="more than 16 servers"):
        origins.at("http://one-more.example")
    origins.at("http://host0.example")


def test_after_closing_nothing_is_asked(server):
    origins = Origins("cloud")
    origins.request("GET", server.url() + "/", {})
    origins.close()
    origins.close()
    for url in (server.url(), "http://another.example"):
        with pytest.raises(BackendUnavailableError, match="is closed"):
            origins.request("GET", url + "/", {})


def test_bounds_that_cannot_be_are_refused_at_once():
    with pytest.raises(BackendConfigError, match="timeout"):
        Origins("cloud", timeout=timedelta(0))


def test_the_circuit_of_one_origin_is_its_own(origins, server):
    with Scripted(lambda _request: reply(503, {}, b"")) as broken:
        for _ in range(5):
            origins.request("GET", broken.url() + "/", {}, is_repeatable=False)
        assert origins.is_circuit_open
        with pytest.raises(BackendUnavailableError):
            origins.request("GET", broken.url() + "/", {})
    assert origins.request("GET", server.url() + "/", {}).status == 200


def test_what_authenticates_does_not_print(origins):
    assert CANARY not in repr(origins)
    with pytest.raises(BackendConfigError) as caught:
        origins.request("GET", "http://127.0.0.1:1/", {"Authorization": f"{CANARY}\nX: y"}, Secret(b"x"))
    assert CANARY not in f"{caught.value!r} {caught.value.hint}"


def test_a_child_asks_over_connections_of_its_own(origins, server):
    origins.request("GET", server.url() + "/parent", {})
    child = os.fork()
    if not child:
        os._exit(0 if origins.request("GET", server.url() + "/child", {}).status == 200 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    origins.request("GET", server.url() + "/parent", {})
    assert server.connections == 2
