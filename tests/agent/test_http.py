"""The agent's HTTP: what is answered, to whom, and what is no request."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import select
import socket
import threading
import time
from pathlib import Path

import pytest

from parts.agent import ROOT, agent, until
from parts.http import HOST, MALFORMED, status
from parts.web import TOKEN, web
from strongroom.agent.http import Bounds
from strongroom.agent.line import MAX_BODY_BYTES
from strongroom.model.ref import Ref
from strongroom.policy import Actor, Assurance

ENVIRON = {
    "AIRFLOW_VAR_REGION": "eu",
    "AIRFLOW_VAR_A/B C": "slashed",
    "AIRFLOW_CONN_ORDERS_DB": "postgresql://orders:s3cret@db.example.com:5432/orders",
}
WAYS = ["unix", "tcp"]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    with web(tmp_path_factory.mktemp("web"), environ=ENVIRON) as running:
        yield running


def told(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])


# --- what is answered ------------------------------------------------------------------------------------


def test_a_variable_is_read_in_the_shape_of_a_server(one):
    (found,) = one.read("region")
    assert (found["outcome"], found["value"], found["backend"]) == ("found", "eu", "env")
    assert found["version"]
    assert found["ttl"] > 0
    assert found["age"] >= 0


def test_a_second_read_comes_out_of_the_cache(one):
    one.read("region")
    before = one.host.cache.statistics().misses
    assert one.read("region")[0]["value"] == "eu"
    assert one.host.cache.statistics().misses == before


def test_each_name_of_a_batch_has_an_outcome_of_its_own(one):
    found = one.read("region", "nothing", "../etc/passwd")
    assert [each["outcome"] for each in found] == ["found", "absent", "invalid"]
    assert found[2]["error"]["code"] == "invalid_input"


def test_a_connection_is_read_as_its_text(one):
    refs = [{"kind": "connection", "name": "orders_db"}]
    (found,) = one.ask("POST", "/v1/read", {"refs": refs}).json()["results"]
    assert found["value"] == ENVIRON["AIRFLOW_CONN_ORDERS_DB"]


def test_a_batch_has_a_bound(one):
    refs = [{"kind": "variable", "name": f"n{number}"} for number in range(1001)]
    answer = one.ask("POST", "/v1/read", {"refs": refs})
    assert (answer.status, answer.code) == (413, "too_large")


def test_what_a_request_says_of_its_run_is_recorded_as_a_claim(one):
    (found,) = one.read("region", run={"dag_id": "payments", "task_id": "load"})
    assert found["value"] == "eu"


@pytest.mark.parametrize(
    "claim",
    [{"dag_id": "d" * 251}, {"bundle": "b" * 100_000}, {"map_index": 2**31}, {"try_number": -(10**40)}],
    ids=lambda claim: next(iter(claim)),
)
def test_a_claim_that_no_policy_and_no_record_could_take_is_refused(one, claim):
    refs = [{"kind": "variable", "name": "region"}]
    answer = one.ask("POST", "/v1/read", {"refs": refs, "run": claim})
    assert (answer.status, answer.code) == (422, "invalid_field")


def test_an_explanation_names_backends_and_holds_no_value(one):
    answer = one.ask("GET", "/v1/explain/connection/orders_db")
    assert answer.status == 200
    assert (answer.json()["outcome"], answer.json()["backend"]) == ("found", "env")
    assert b"s3cret" not in answer.body


def test_a_name_with_slashes_and_blanks_is_explained(one):
    answer = one.ask("GET", "/v1/explain/variable/a/b%20c?team=red")
    assert (answer.json()["name"], answer.json()["team"]) == ("a/b c", "red")


def test_whoami_tells_the_user_that_the_kernel_told(one):
    found = one.ask("GET", "/v1/whoami").json()
    assert (found["actor"], found["how"], found["assurance"]) == (f"local:{os.getuid()}", "user", 1)


def test_health_and_figures_are_told(one):
    assert one.ask("GET", "/health/live").json() == {"status": "live"}
    assert one.ask("GET", "/health/ready").json() == {"status": "ready"}
    one.read("region")
    answer = one.ask("GET", "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'strongroom_agent_http_reads_total{outcome="found"}' in answer.body.decode()
    assert b"region" not in answer.body, "figures name no entry"


def test_head_is_get_without_a_body(one):
    answer = one.send(b"HEAD /health/live HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    assert status(answer) == 200
    assert b"content-length: 17" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_connection_is_used_again(one):
    with one.speaking() as client:
        for _ in range(3):
            client.request("GET", "/v1/whoami")
            answer = client.getresponse()
            assert answer.status == 200
            answer.read()
        assert client.sock is not None


def test_every_answer_forbids_keeping_and_guessing(one):
    for path in ("/v1/whoami", "/nowhere", "/health/live", "/metrics"):
        headers = one.ask("GET", path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert len(headers["x-request-id"]) == 20
        assert headers["date"].endswith("GMT")


def test_a_request_that_comes_byte_by_byte_is_read(one):
    request = b"GET /health/live HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    with one.connect() as connection:
        for index in range(len(request)):
            connection.sendall(request[index : index + 1])
        assert status(connection.recv(65536)) == 200


def test_who_has_said_all_he_will_is_answered_still(one):
    body = b'{"refs":[{"kind":"variable","name":"region"}]}'
    head = b"POST /v1/read HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: "
    answer = one.send(head + b"%d\r\n\r\n" % len(body) + body, shut=True)
    assert told(answer)["results"][0]["value"] == "eu"


# --- what is refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/entries/variable/region", 404),
        ("GET", "/v1/explain/secret/region", 404),
        ("PUT", "/v1/read", 405),
        ("POST", "/v1/whoami", 405),
        ("DELETE", "/health/live", 405),
        ("TRACE", "/v1/read", 405),
        ("GET", "/v1/whoami?as=root", 400),
        ("GET", "/v1/explain/variable/region?nope=1", 400),
        ("GET", "/v1/explain/variable/region?team=a&team=b", 400),
        ("GET", "/v1/explain/variable/%ff", 400),
        ("GET", "/v1/explain/variable/a%0ab", 400),
        ("GET", "/v1/explain/variable/..%2f..%2fetc", 400),
        ("GET", "/v1/explain/variable/" + "a" * 5000, 413),
        ("GET", "/v1/changes?after=x", 400),
        ("GET", "/v1/changes?ref=region", 400),
        ("GET", "/v1/changes?ref=secret/region", 400),
    ],
)
def test_what_is_not_there_or_not_so_is_refused_in_one_shape(one, method, path, expected):
    answer = one.ask(method, path)
    assert answer.status == expected, answer.body
    assert set(answer.json()) == {"error"}
    assert {"code", "message"} <= set(answer.json()["error"])


BODIES = {
    "no JSON": (b"refs", 400),
    "nothing": (b"", 400),
    "no UTF-8": (b'{"refs":[{"kind":"variable","name":"\xff"}]}', 400),
    "another shape": (b"[]", 422),
    "no names": (b"{}", 422),
    "an unknown member": (b'{"refs":[],"reveal":true}', 422),
    "an unknown member within": (b'{"refs":[{"kind":"variable","name":"region","as":"root"}]}', 422),
    "a key twice": (b'{"refs":[{"kind":"variable","name":"region","name":"other"}]}', 400),
    "half a pair": (b'{"refs":[{"kind":"variable","name":"\\ud800"}]}', 400),
    "too deep": (b'{"refs":' + b"[" * 200 + b"]" * 200 + b"}", 400),
    "another kind": (b'{"refs":[{"kind":"secret","name":"region"}]}', 422),
    "no name": (b'{"refs":[{"kind":"variable"}]}', 422),
    "a number for a name": (b'{"refs":[{"kind":"variable","name":7}]}', 422),
    "no number": (b'{"refs":[],"run":{"try_number":NaN}}', 400),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_question_is_refused(one, name):
    body, expected = BODIES[name]
    answer = one.ask("POST", "/v1/read", body, headers={"Content-Type": "application/json"})
    assert answer.status in (expected, 413), answer.body
    assert "region" not in answer.body.decode(), "a refusal repeats nothing of the request"


def test_a_body_must_be_declared_as_json(one):
    answer = one.ask("POST", "/v1/read", b'{"refs":[]}', headers={"Content-Type": "text/plain"})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


def test_a_body_over_the_limit_is_refused_before_it_is_sent(one):
    head = b"POST /v1/read HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    answer = one.send(head + b"Content-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1))
    assert (status(answer), told(answer)["error"]["code"]) == (413, "too_large")


def test_a_body_at_the_limit_is_read(one):
    body = b'{"refs":[]' + b" " * (MAX_BODY_BYTES - 11) + b"}"
    assert len(body) == MAX_BODY_BYTES
    answer = one.ask("POST", "/v1/read", body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json()) == (200, {"results": []})


UNREADABLE = MALFORMED | {
    "a length beyond numbers": b"POST / HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "two media types": b"POST /v1/read HTTP/1.1\r\n"
    + HOST
    + b"Content-Type: text/plain\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n",
    "a frame of the other socket": b"\x00\x00\x00\x0b\x01\x00\x00\x00\x01SRM\x01\x00",
    "a body to be asked for": b"POST /v1/read HTTP/1.1\r\n"
    + HOST
    + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    "too many headers": b"GET /health/live HTTP/1.1\r\n"
    + HOST
    + b"".join(b"X-%d: y\r\n" % n for n in range(65))
    + b"\r\n",
    "a head without an end": b"GET /health/live HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20_000,
    "an address without an end": b"GET /" + b"a" * 20_000,
    "a method without an end": b"G" * 20_000,
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("way", WAYS)
def test_TL03_what_two_readers_could_read_differently_is_refused(one, way, name):
    answer = one.send(UNREADABLE[name], tcp=way == "tcp")
    assert status(answer) in (400, 411, 413, 417, 431)
    assert answer.count(b"HTTP/1.1 4") == 1, "the rest was taken for another request"
    assert told(answer)["error"]["code"] in (
        "invalid_input",
        "length_required",
        "too_large",
        "expectation_failed",
    )
    for given in (b"evil.example", b"websocket", b"aaaa"):
        assert given not in answer


def test_TL03_nothing_is_smuggled_behind_a_refused_request(one):
    smuggled = b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n"
    for data in UNREADABLE.values():
        assert one.send(data + smuggled, shut=True).count(b"\r\nx-request-id") <= 1


def test_what_comes_before_its_answer_is_refused_and_the_first_is_answered(one):
    two = b"GET /v1/whoami HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = one.send(two + two)
    assert answer.count(b"HTTP/1.1 200 ") == 1
    assert answer.count(b"HTTP/1.1 400 ") == 1
    assert b"one request at a time" in answer


def test_an_empty_line_after_a_body_is_let_pass(one):
    # RFC 9112 §2.2: old clients send one.
    body = b'{"refs":[]}'
    head = b"POST /v1/read HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: "
    with one.connect() as connection:
        for _ in range(2):
            connection.sendall(head + b"%d\r\n\r\n" % len(body) + body + b"\r\n")
            assert status(connection.recv(65536)) == 200


def test_a_body_that_ends_early_is_answered_by_nobody(one):
    head = b"POST /v1/read HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
    assert one.send(head + b"Content-Length: 100\r\n\r\n{", shut=True) == b""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Forwarded: for=1.2.3.4", 400),
        ("X-Forwarded-For: 1.2.3.4", 400),
        ("X-Forwarded-Host: agent.example", 400),
        ("X-Forwarded-Proto: https", 400),
        ("Via: 1.1 proxy", 400),
        ("X-Real-IP: 1.2.3.4", 400),
        ("Origin: null", 403),
        ("Origin: http://localhost", 403),
        ("Sec-Fetch-Site: same-origin", 403),
        ("Sec-Fetch-Mode: no-cors", 403),
        ("Access-Control-Request-Method: POST", 403),
        ("X-HTTP-Method-Override: GET", 400),
    ],
)
def test_TL06_what_went_through_another_program_or_a_browser_is_refused(one, way, header, expected):
    name, _, value = header.partition(": ")
    for path in ("/v1/whoami", "/health/live"):
        answer = one.ask("GET", path, headers={name: value}, tcp=way == "tcp")
        assert answer.status == expected
        assert value not in answer.body.decode() or value == "null"


# --- over the loopback address ---------------------------------------------------------------------------


def test_TL06_over_tcp_a_token_is_needed_and_proves_no_user(one):
    found = one.ask("GET", "/v1/whoami", tcp=True).json()
    assert (found["actor"], found["how"], found["assurance"]) == ("local:tcp", "token", 0)
    refs = [{"kind": "variable", "name": "region"}]
    answer = one.ask("POST", "/v1/read", {"refs": refs}, tcp=True)
    assert answer.json()["results"][0]["value"] == "eu"


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\xe9" * 20])
def test_TL06_without_the_right_token_nothing_is_told_but_health(one, token):
    given = {} if token is None else {"X-Strongroom-Token": token}
    for path in ("/v1/whoami", "/metrics", "/v1/changes", "/v1/explain/variable/region", "/nowhere"):
        with one.speaking(tcp=True) as client:
            client.request("GET", path, headers=given)
            answer = client.getresponse()
            assert answer.status == 401, path
            assert json.loads(answer.read())["error"]["code"] == "not_authenticated"
    with one.speaking(tcp=True) as client:
        client.request("GET", "/health/live")
        assert client.getresponse().status == 200


def test_TL06_a_token_that_came_twice_is_refused(one):
    twice = f"X-Strongroom-Token: {TOKEN}\r\n".encode() * 2
    assert status(one.send(b"GET /v1/whoami HTTP/1.1\r\n" + HOST + twice + b"\r\n", tcp=True)) == 400


def test_the_token_means_nothing_on_the_unix_socket(one):
    found = one.ask("GET", "/v1/whoami", headers={"X-Strongroom-Token": "wrong"}).json()
    assert found["actor"] == f"local:{os.getuid()}"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8251", "localhost.evil.example", "169.254.169.254", "", "localhost:x"],
)
def test_TL06_a_name_that_is_none_of_ours_is_refused_over_tcp(one, host):
    answer = one.ask("GET", "/health/live", headers={"Host": host}, tcp=True)
    assert answer.status == 421
    assert answer.code == "wrong_host"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8251", "127.0.0.1", "127.0.0.1:1", "[::1]:8251"])
def test_loopbacks_own_names_are_answered_for(one, host):
    assert one.ask("GET", "/v1/whoami", headers={"Host": host}, tcp=True).status == 200


def test_a_name_of_the_settings_is_answered_for(tmp_path):
    with web(tmp_path, hosts=["agent.internal"]) as other:
        assert other.ask("GET", "/health/live", headers={"Host": "agent.internal:1"}, tcp=True).status == 200


def test_a_policy_tells_the_loopback_address_from_users(tmp_path):
    policy = tmp_path / "rules.cedar"
    policy.write_text(
        '@id("rules.read") permit(principal, action == Action::"read", resource is Entry);'
        '@id("rules.known") forbid(principal, action, resource is Entry) when { context.assurance < 1 };'
    )
    with web(tmp_path, f'chain = ["env"]\n[agent]\npolicy = "{policy}"\n', environ=ENVIRON) as other:
        assert other.read("region")[0]["value"] == "eu"
        refs = [{"kind": "variable", "name": "region"}]
        (refused,) = other.ask("POST", "/v1/read", {"refs": refs}, tcp=True).json()["results"]
        assert (refused["outcome"], refused["error"]["code"]) == ("denied", "access_denied")


def test_TL06_a_real_agent_answers_over_tcp_only_on_request_and_with_its_token(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN + "\n")
    settings = f'chain = ["env"]\n[agent]\ntcp = "127.0.0.1:{port}"\ntcp_token = {{ file = "{token}" }}\n'
    with agent(tmp_path, settings, environ=ENVIRON) as real:
        assert real.status()["tcp"] == f"127.0.0.1:{port}"
        for given, expected in ({}, 401), ({"X-Strongroom-Token": TOKEN}, 200):
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            client.request("GET", "/metrics", headers=given)
            answer = client.getresponse()
            assert answer.status == expected
            told = answer.read().decode()
            client.close()
        assert "strongroom_agent_connections 0" in told
        assert "strongroom_agent_http_connections 1" in told
        assert TOKEN not in real.log()
        assert TOKEN.encode() not in Path(f"/proc/{real.pid}/cmdline").read_bytes()
    page = (ROOT / "docs" / "agent-http.md").read_text(encoding="utf-8")
    for line in told.splitlines():
        name = line.split()[2] if line.startswith("# TYPE") else ""
        short = name.replace("strongroom_agent_cache", "")
        assert not name or name in page or f"`{short}`" in page, f"{name} is not described"


# --- slow, many, full ------------------------------------------------------------------------------------


def test_TL07_a_request_that_never_ends_is_refused_in_time_and_others_go_on(tmp_path):
    with web(tmp_path, environ=ENVIRON, bounds=Bounds(receipt_seconds=0.5)) as other:
        with other.connect() as slow, other.connect() as silent:
            slow.sendall(b"POST /v1/read HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n")
            deadline = time.monotonic() + 20
            dripped = b""
            while not dripped:
                assert other.read("region")[0]["value"] == "eu"
                assert time.monotonic() < deadline
                with contextlib.suppress(OSError):
                    slow.sendall(b"a")
                if select.select([slow], [], [], 0.05)[0]:
                    dripped = slow.recv(65536)
            assert (status(dripped), told(dripped)["error"]["code"]) == (408, "request_timeout")
            assert silent.recv(100) == b"", "who says nothing at all is only closed"
        assert set(other.web.closed) == {"slow", "idle"}


def test_a_connection_that_rests_too_long_is_closed(tmp_path):
    with web(tmp_path, bounds=Bounds(idle_seconds=0.3)) as other, other.connect() as resting:
        resting.sendall(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")
        assert status(resting.recv(65536)) == 200
        assert resting.recv(100) == b""


def test_DS09_connections_of_one_user_have_a_bound_and_places_come_back(tmp_path):
    with web(tmp_path, bounds=Bounds(most=50, most_of_one=10)) as other, contextlib.ExitStack() as held:
        for _ in range(10):
            held.enter_context(other.connect())
        until(lambda: len(other.web.lines) == 10)
        answer = other.send(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (status(answer), told(answer)["error"]["code"]) == (503, "overloaded")
        assert b"retry-after: 1" in answer
        assert other.ask("GET", "/health/live", tcp=True).status == 200, "others have their own places"
        held.close()
        until(lambda: not other.web.lines)
        assert other.ask("GET", "/health/live").status == 200


def test_an_answer_that_nobody_takes_holds_nobody_up(one):
    values = [{"kind": "variable", "name": "region"}] * 1000
    body = json.dumps({"refs": values}).encode()
    head = b"POST /v1/read HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\nContent-Length: "
    with one.connect() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.sendall(head + b"%d\r\n\r\n" % len(body) + body)
        assert one.read("region")[0]["value"] == "eu"


def test_an_idle_agent_plans_nothing(tmp_path):
    with web(tmp_path) as other:
        assert other.ask("GET", "/health/live").status == 200
        until(lambda: not other.web.lines and not other.web.leaving)
        until(lambda: other.web._sweep is None)


def test_who_drains_answers_what_began_and_nothing_more(tmp_path):
    with web(tmp_path) as other:
        with other.connect() as resting, other.connect() as begun:
            begun.sendall(b"GET /health/ready HTTP/1.1\r\n")
            resting.sendall(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")
            assert status(resting.recv(65536)) == 200
            until(lambda: any(line._head_bytes for line in list(other.web.lines)))
            other.loop.call_soon_threadsafe(other.web.drain)
            assert resting.recv(100) == b""
            begun.sendall(HOST + b"\r\n")
            answer = begun.recv(65536)
            assert (status(answer), told(answer)) == (503, {"status": "not ready"})
            assert b"connection: close" in answer
        answer = other.send(b"GET /health/live HTTP/1.1\r\n" + HOST + b"\r\n")
        assert status(answer) == 503


def test_what_nobody_expected_says_nothing_of_itself(one):
    class Broken:
        def __call__(self, asked, caller):
            raise RuntimeError("postgresql://orders:s3cret@db")

    table = one.web.routes._table
    table["/v1/broken"] = ("GET", Broken())
    try:
        answer = one.ask("GET", "/v1/broken")
    finally:
        del table["/v1/broken"]
    assert (answer.status, answer.code) == (500, "error")
    assert b"s3cret" not in answer.body
    assert [type(error).__name__ for error in one.troubles] == ["RuntimeError"]
    one.troubles.clear()


# --- changes ---------------------------------------------------------------------------------------------


class Stream:
    """Server-sent events as they come."""

    def __init__(self, one, path="/v1/changes", **headers):
        self.client = http.client.HTTPConnection("localhost", 1, timeout=20)
        self.client.sock = one.connect()
        self.client.request("GET", path, headers=headers)
        self.answer = self.client.getresponse()
        assert self.answer.status == 200, self.answer.read()
        assert self.answer.headers["content-type"] == "text/event-stream"
        self.hello = self.event()

    def event(self):
        found = {}
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if not line:
                return found
            name, _, value = line.partition(": ")
            found[name] = value

    def __enter__(self):
        return self

    def __exit__(self, *_details):
        self.answer.close()
        self.client.close()


def change(one, *refs):
    one.host.freshness.changed(dict.fromkeys(refs, "7"))


def test_changes_are_told_as_they_are_heard(one):
    with Stream(one) as stream:
        change(one, Ref("variable", "region"))
        event = stream.event()
        assert event["event"] == "change"
        assert json.loads(event["data"]) == {
            "kind": "variable",
            "name": "region",
            "team": None,
            "version": "7",
        }
        one.host.freshness.gap(None)
        assert stream.event()["event"] == "gap"


def test_who_comes_back_hears_what_was_said_meanwhile_or_of_a_gap(one):
    with Stream(one) as staying:
        with Stream(one) as stream:
            change(one, Ref("variable", "one"))
            last = stream.event()["id"]
        change(one, Ref("variable", "two"))
        assert json.loads(staying.event()["data"])["name"] == "one"
        assert json.loads(staying.event()["data"])["name"] == "two"
        with Stream(one, **{"Last-Event-ID": last}) as again:
            assert json.loads(again.event()["data"])["name"] == "two"
    until(lambda: not one.web.routes.changes._waiting)
    change(one, Ref("variable", "three"))
    until(lambda: not one.web.routes.changes._kept)
    with Stream(one, f"/v1/changes?after={last}") as late:
        assert late.event()["event"] == "gap", "nobody listened meanwhile"
    with Stream(one, f"/v1/changes?after={'0' * 12}-{'1' * 32}") as other:
        assert other.event()["event"] == "gap", "it is the id of another agent's life"


def test_names_that_are_followed_are_told_whatever_the_place(tmp_path):
    file = tmp_path / "entries.json"
    file.write_text('{"colour": "red", "shape": "round"}')
    settings = f'chain = ["file"]\n[backend.file]\nkind = "file"\nvariables = "{file}"\n'
    with web(tmp_path, settings) as other:
        assert other.read("colour")[0]["value"] == "red"
        with Stream(other, "/v1/changes?ref=variable/colour") as stream:
            file.write_text('{"colour": "blue", "shape": "round"}')
            event = stream.event()
            assert json.loads(event["data"])["name"] == "colour"
            assert other.read("colour")[0]["value"] == "blue"


def test_nobody_is_told_of_what_he_may_not_read(tmp_path):
    policy = tmp_path / "rules.cedar"
    policy.write_text(
        '@id("rules.public") permit(principal, action == Action::"read", resource is Entry)'
        ' when { resource.name like "pub*" };'
    )
    with web(tmp_path, f'chain = ["env"]\n[agent]\npolicy = "{policy}"\n') as other:
        with Stream(other) as stream:
            change(other, Ref("variable", "hidden"), Ref("variable", "public"))
            assert json.loads(stream.event()["data"])["name"] == "public"
        (refused,) = other.read("hidden")
        assert (refused["outcome"], refused["error"]["code"]) == ("denied", "access_denied")


def test_nobody_sees_by_an_id_how_much_changed_that_he_may_not_read(tmp_path):
    with web(tmp_path) as other, Stream(other) as stream:
        for name in ("one", "two", "three"):
            change(other, Ref("variable", name))
        ids = [stream.event()["id"].rpartition("-")[2] for _ in range(3)]
        assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
        assert len({each[16:28] for each in ids}) == 3, "the upper digits of small numbers would be the same"


def test_what_he_may_not_read_is_not_followed_for_anybody_until_he_may(tmp_path):
    policy = tmp_path / "rules.cedar"
    rule = '@id("rules.all") permit(principal, action == Action::"read", resource is Entry) when {{ {} }};'
    policy.write_text(rule.format("false"))
    with web(tmp_path, f'chain = ["env"]\n[agent]\npolicy = "{policy}"\n', environ=ENVIRON) as other:
        with Stream(other, "/v1/changes?ref=variable/region") as stream:
            assert other.host.freshness.followed == 0
            assert other.host.cache.statistics().misses == 0
            policy.write_text(rule.format("true"))
            other.host.reload(other.host.settings)
            assert stream.event()["event"] == "gap"
            assert other.host.freshness.followed == 1
        until(lambda: other.host.freshness.followed == 0)


def test_one_user_has_so_many_streams(one):
    until(lambda: not one.web.routes.changes._waiting)
    with contextlib.ExitStack() as held:
        for _ in range(20):
            held.enter_context(Stream(one))
        answer = one.ask("GET", "/v1/changes")
        assert (answer.status, answer.code) == (429, "rate_limited")
    until(lambda: not one.web.routes.changes._waiting)


def test_a_stream_ends_with_the_agent(tmp_path):
    with web(tmp_path) as other, Stream(other) as stream:
        other.loop.call_soon_threadsafe(other.web.drain)
        assert stream.answer.read() == b""


def test_asking_goes_on_while_others_follow(one):
    with Stream(one), Stream(one):
        workers = [threading.Thread(target=one.read, args=("region",)) for _ in range(20)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert one.read("region")[0]["value"] == "eu"


# --- who may ---------------------------------------------------------------------------------------------


def test_a_user_who_is_put_out_of_the_settings_is_answered_no_more(one):
    with one.speaking() as client:
        client.request("GET", "/v1/whoami")
        assert client.getresponse().read()
        line = list(one.web.lines)[-1]
        line._peer = (4_000_000, (4_000_000,))  # as if it were another's, who was let in before
        client.request("GET", "/v1/whoami")
        answer = client.getresponse()
        assert answer.status == 403
        assert json.loads(answer.read())["error"]["code"] == "access_denied"


def test_the_actor_of_the_loopback_address_is_below_every_user():
    from strongroom.agent.http import TCP_ACTOR  # noqa: PLC0415 -- here alone

    assert Actor("local:tcp", Assurance.CLAIMED) == TCP_ACTOR
    assert TCP_ACTOR.assurance < Assurance.HOST_USER
