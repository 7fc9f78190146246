"""The layers of the server: who gets in, what is refused and how, and what every answer carries."""

from __future__ import annotations

import gzip
import http.client
import inspect
import json
import threading
from contextlib import closing

import msgspec
import pytest

from parts.server import serving
from strongroom import errors
from strongroom.errors import StrongroomError
from strongroom.server import ui
from strongroom.server.app import Api
from strongroom.server.auth import cookie_name, expired_cookie, session_cookie
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.wire import failure as server_errors
from strongroom.wire.failure import STATUS, answer_of

CANARY = "canary-5d1f"
# All there is that needs no identity; a new one is added here on purpose or not at all.
PUBLIC = {
    "GET /v1/seal",
    "POST /v1/unseal",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "GET /static/{digest}/{path:path}",  # the look of the pages, the same for everybody
    "GET /login",
    "GET /sign-in",
    "POST /sign-in",
    "POST /sign-out",  # of nobody, it does nothing
    "POST /v1/login",
    "POST /v1/login/code",
    "GET /v1/login/ways",  # which of these there are
    "GET /v1/login/oidc",  # sends a browser to the identity provider
    "GET /v1/login/oidc/callback",  # by what the provider signed, for the browser that was sent
    "POST /v1/login/oidc/logout",  # by what the provider signed
    "POST /v1/agents/enrol",  # by a code that is good once
    "POST /v1/agents/login",  # by a signature
    "POST /v1/agents/login/certificate",  # by the handshake of TLS
    "GET /api/v2/version",
    "GET /api/v2/monitor/health",
    "GET /api/v1/version",
    "GET /api/v1/health",
    "GET /auth/token",  # refuses, in the words of Airflow
    "POST /auth/token",
    "POST /auth/token/cli",
}
EVERY = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
OF_PAGES = {
    ("referrer-policy", "same-origin"),  # a form of ours says where it comes from
    ("cache-control", "no-cache"),  # a static file at an address of another release
}


def every_route(server):
    """Each method of each path, with parameters filled in, and whether it says it is public."""
    for resource, _ in server.app.routes:
        template = resource._template
        path = template.replace("{deployment}", "prod").replace("{kind}", "variable")
        while "{" in path:
            start = path.index("{")
            path = f"{path[:start]}x{path[path.index('}') + 1 :]}"
        for method, endpoint in resource._endpoints.items():
            yield method, path, template.removeprefix("/d/{deployment}"), endpoint


# --- who gets in -------------------------------------------------------------------------------------


def test_AA01_RT08_every_route_but_the_listed_answers_401_without_a_credential(server):
    seen = set()
    for method, path, template, endpoint in every_route(server):
        name = f"{'GET' if method == 'HEAD' else method} {template}"
        if endpoint.is_public:
            assert name in PUBLIC, f"{name} is public and not listed here"
            seen.add(name)
            continue
        answer = server.ask(method, path)
        if endpoint in ui.ENDPOINTS and method in ("GET", "HEAD"):
            # A browser is sent to where somebody signs in.
            assert answer.status == 303, f"{name} answered {answer.status} to nobody"
            assert "/sign-in" in answer.headers["location"]
        else:
            assert answer.status == 401, f"{name} answered {answer.status} to nobody"
        assert "www-authenticate" in answer.headers
    assert seen <= PUBLIC
    assert {"GET /health/live", "POST /v1/login", "GET /login"} <= seen


def test_AA15_a_verb_without_a_handler_is_refused_after_the_identity_and_trace_always(server):
    for method in ("OPTIONS", "PATCH"):
        assert server.ask(method, "/v1/whoami").status == 401
        answer = server.ask(method, "/v1/whoami", token=server.admin)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    for method in ("TRACE", "CONNECTED", "PROPFIND"):
        assert server.ask(method, "/v1/whoami", token=server.admin).status in (400, 405)


def test_AA15_head_is_get_without_a_body(server):
    assert server.ask("HEAD", "/v1/whoami").status == 401
    got = server.ask("GET", "/v1/whoami", token=server.admin)
    answer = server.ask("HEAD", "/v1/whoami", token=server.admin)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == got.headers["content-length"]


@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_AA15_a_method_is_not_overridden_by_a_header(server, header):
    answer = server.ask("GET", "/v1/whoami", token=server.admin, headers={header: "DELETE"})
    assert (answer.status, answer.code) == (400, "invalid_input")


def test_a_deployment_that_is_not_there_answers_as_one_that_is(server):
    there = server.ask("GET", "/d/staging/v1/whoami", token=server.admin)
    nowhere = server.ask("GET", "/d/nowhere/v1/whoami", token=server.admin)
    assert there.status == nowhere.status == 401
    assert there.json()["error"]["code"] == nowhere.json()["error"]["code"] == "not_authenticated"
    assert server.ask("GET", "/d/nowhere/v1/whoami").body == server.ask("GET", "/d/staging/v1/whoami").body
    login = {"name": "anna", "password": "x"}
    assert server.ask("POST", "/d/nowhere/v1/login", login).status == 401


def test_a_token_of_one_deployment_is_nobody_in_another(server):
    token = server.token("elsewhere", "admin", deployment="staging")
    assert server.ask("GET", "/d/staging/v1/whoami", token=token).status == 200
    assert server.ask("GET", "/v1/whoami", token=token).status == 401
    assert server.ask("GET", "/d/prod/v1/whoami", token=server.admin).status == 200


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer a, Bearer b"},
        {"Authorization": "Digest x"},
        {"Authorization": "Bearer " + "x" * 5000},
        {"Cookie": "strongroom=a; strongroom=b"},
        {"Cookie": "__Host-strongroom=srm_s_nothing"},
        {"Cookie": "strongroom=srm_s_nothing"},
    ],
)
def test_what_is_no_credential_is_nobody(server, header):
    answer = server.ask("GET", "/v1/whoami", headers=header)
    assert (answer.status, answer.code) == (401, "not_authenticated")
    assert b"srm_s_nothing" not in answer.body


def test_JW10_a_token_in_the_address_is_no_credential_and_not_logged(server):
    assert server.ask("GET", f"/v1/whoami?token={server.admin}").status == 401
    assert server.ask("GET", f"/v1/whoami?access_token={server.admin}", token=server.admin).status == 400
    assert server.admin not in server.log


def test_a_token_and_a_session_together_are_refused(server):
    headers = {"Cookie": "strongroom=srm_s_x"}
    assert server.ask("GET", "/v1/whoami", token=server.admin, headers=headers).status == 401


# --- what every answer carries ------------------------------------------------------------------------


def test_UI04_every_answer_carries_the_headers_of_defence(server):
    answers = [server.ask(method, path) for method, path, _, _ in every_route(server)]
    answers += [
        server.ask("GET", "/nowhere"),
        server.ask("TRACE", "/"),
        server.ask("GET", "/v1/whoami", token=server.admin),
        server.ask("POST", "/v1/read", {"refs": []}, token=server.admin),
        server.ask("POST", "/v1/read", {"refs": [{"kind": "variable", "name": "x"}]}, token=server.admin),
        server.ask("PUT", "/v1/entries/variable/x", b"{", token=server.admin),
        server.ask("GET", "/%ff"),
        server.ask("GET", "/v1/whoami", headers={"Host": "evil.example"}),
        server.ask("POST", "/v1/read", headers={"Transfer-Encoding": "chunked"}),
    ]
    for answer in answers:
        for name, value in EVERY.items():
            assert answer.headers[name] == value or (name, answer.headers[name]) in OF_PAGES
        assert len(answer.headers.get_all("content-security-policy")) == 1
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert len(answer.headers["x-request-id"]) == 20
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
        assert "service-worker-allowed" not in answer.headers


def test_a_request_id_is_ours_and_another_each_time(server):
    given = [server.ask("GET", "/health/live", headers={"X-Request-Id": CANARY}) for _ in range(2)]
    assert given[0].headers["x-request-id"] != given[1].headers["x-request-id"]
    assert CANARY not in str(given[0].headers) + server.log


# --- what is refused, and how -------------------------------------------------------------------------


def all_errors():
    found = [errors, server_errors]
    kinds = {kind for module in found for _, kind in inspect.getmembers(module, inspect.isclass)}
    return sorted(
        (kind for kind in kinds if issubclass(kind, StrongroomError)), key=lambda kind: kind.__name__
    )


@pytest.mark.parametrize("kind", all_errors())
def test_every_error_has_a_status_and_the_one_shape(kind):
    error = kind.__new__(kind)
    StrongroomError.__init__(error, "what is wrong", hint="what to change")
    for name in ("limit", "allowed", "retry_after", "field"):
        if not hasattr(error, name):
            error.__dict__[name] = () if name == "allowed" else None
    assert any(parent in STATUS for parent in kind.__mro__[:-3])
    answer = answer_of(error, request_id="r")
    body = json.loads(answer.body)["error"]
    assert body["code"] == kind.code
    assert body["message"] == "what is wrong" or kind is errors.NotRecordedError  # its own names a folder
    assert set(body) <= {"code", "message", "hint", "field", "retry_after", "request_id"}
    assert ("request_id" in body) == (answer.status >= 500)


class Asked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    count: int = 0
    mode: str = "a"


class Query(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    limit: int = 1
    tag: list[str] = []


def _echo(call):
    found = call.take(Asked)
    return {"name": found.name, "count": found.count}


def _ask(call):
    found = call.asked(Query)
    return {"limit": found.limit, "tag": found.tag}


def _fail(call):
    secret = CANARY  # a local that a traceback with locals would show
    raise RuntimeError(f"could not reach postgres://u:{secret}@db/orders: {call.body!r}")


def _break(_call):
    def chunks():
        yield b"first"
        raise RuntimeError(CANARY)

    return Answer(chunks(), media_type="text/plain")


def _who(call):
    return {"source": call.source, "is_secure": call.is_secure}


def _write(call):
    _write.count += 1
    return {"count": _write.count, "name": call.take(Asked).name}


_write.count = 0

TABLE = (
    Endpoint("POST", "/echo", _echo, "", "t", takes=Asked),
    Endpoint("GET", "/ask", _ask, "", "t", asks=Query),
    Endpoint("GET", "/plain", lambda _: Answer({"a": 1}, etag='v"1\n'), "", "t"),
    Endpoint("POST", "/fail", _fail, "", "t"),
    Endpoint("GET", "/break", _break, "", "t", stream=True),
    Endpoint("GET", "/who", _who, "", "t", is_public=True),
    Endpoint("GET", "/split", lambda _: Answer(headers={"x-a": "b\r\nset-cookie: c=d"}), "", "t"),
    Endpoint("POST", "/write", _write, "", "t", takes=Asked, gives=dict[str, int | str], is_change=True),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("table"), served=(Api("/t", TABLE),)) as found:
        found.admin = found.token("admin", "admin")
        yield found


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"name":"a"', 400, "invalid_input"),
        (b"", 400, "invalid_input"),
        (b'{"name":"a","name":"%s"}' % CANARY.encode(), 400, "invalid_input"),
        (b'{"name":"a","count":NaN}', 400, "invalid_input"),
        (b'{"name":"\xff"}', 400, "invalid_input"),
        (b'{"name":"\\ud800"}', 400, "invalid_input"),
        (b"[" * 100 + b"]" * 100, 413, "invalid_input"),
        (b'{"name":1}', 422, "invalid_field"),
        (b"{}", 422, "invalid_field"),
        (b'{"name":"a","%s":1}' % CANARY.encode(), 422, "invalid_field"),
        (b'{"name":"a","count":"%s"}' % CANARY.encode(), 422, "invalid_field"),
        (b'{"name":"a","count":1e400}', 400, "invalid_input"),
    ],
)
def test_a_body_is_read_strictly_and_never_echoed(table, body, status, code):
    answer = table.ask(
        "POST", "/t/echo", body, token=table.admin, headers={"Content-Type": "application/json"}
    )
    assert (answer.status, answer.code) == (status, code)
    assert CANARY.encode() not in answer.body


def test_a_wrong_field_is_named_by_its_place(table):
    answer = table.ask("POST", "/t/echo", {"name": 1}, token=table.admin)
    assert answer.json()["error"]["field"] == "$.name"
    assert answer.json()["error"]["message"] == "expected `str`, got `int`"


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_UI03_a_body_that_is_not_declared_as_json_is_refused(table, media):
    answer = table.ask("POST", "/t/echo", b'{"name":"a"}', token=table.admin, headers={"Content-Type": media})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")


def test_a_compressed_body_is_not_taken(table):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = table.ask("POST", "/t/echo", gzip.compress(b'{"name":"a"}'), token=table.admin, headers=headers)
    assert answer.status in (400, 415)


def test_a_body_over_the_limit_is_refused_before_it_is_read(table):
    connection = table.connect()
    connection.putrequest("POST", "/t/echo")
    connection.putheader("Authorization", f"Bearer {table.admin}")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(8 * 1024 * 1024 + 1))
    connection.endheaders()
    with closing(connection):
        answer = connection.getresponse()
        assert answer.status == 413
        assert json.loads(answer.read())["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=2&tag=a&tag=b", 200),
        ("limit=x", 400),
        ("limit=1&limit=2", 400),
        ("nothing=1", 400),
        ("a" * 20_000, 413),
        ("tag=%ff", 400),
    ],
)
def test_a_query_is_read_strictly(table, query, status):
    answer = table.ask("GET", f"/t/ask?{query}", token=table.admin)
    assert answer.status == status
    if status == 200:
        assert answer.json() == {"limit": 2, "tag": ["a", "b"]}
    else:
        assert b"nothing" not in answer.body


def test_a_path_is_decoded_once_and_strictly(table):
    assert table.ask("GET", "/t/%70lain", token=table.admin).status == 200
    assert table.ask("GET", "/t/%2570lain", token=table.admin).status == 404
    assert table.ask("GET", "/t/%ff", token=table.admin).status == 400
    assert table.ask("GET", "/t/plain%00", token=table.admin).status == 400
    assert table.ask("GET", "/t/plain/", token=table.admin).status == 404
    assert table.ask("GET", "/t/" + "a" * 5000, token=table.admin).status == 413


def test_an_etag_holds_any_version_and_is_understood_again(table):
    answer = table.ask("GET", "/t/plain", token=table.admin)
    etag = answer.headers["etag"]
    assert etag == '"v%221%0A"'
    again = table.ask("GET", "/t/plain", token=table.admin, headers={"If-None-Match": f'"x", W/{etag}'})
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)


def test_RT18_RT19_what_nobody_expected_is_told_to_nobody(table):
    answer = table.ask("POST", "/t/fail", {"password": CANARY}, token=table.admin)
    assert (answer.status, answer.code) == (500, "error")
    request = answer.headers["x-request-id"]
    assert answer.json()["error"]["request_id"] == request
    for text in (answer.body.decode(), table.log):
        assert CANARY not in text
        assert "postgres" not in text
        assert "Traceback" not in text
    line = table.logged(lambda line: line.get("request") == request and "where" in line)
    assert (line["error"], line["where"][-1].rpartition(" ")[2]) == ("RuntimeError", "_fail")


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(table):
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        table.ask("GET", "/t/break", token=table.admin)
    assert CANARY not in table.log


def test_TL04_a_line_break_in_a_header_of_an_answer_is_a_fault_and_not_a_header(table):
    answer = table.ask("GET", "/t/split", token=table.admin)
    assert answer.status == 500
    assert "set-cookie" not in answer.headers


# --- where it came from ---------------------------------------------------------------------------------


def test_what_a_stranger_says_of_the_client_is_not_believed(table):
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "Forwarded": "for=203.0.113.9"}
    assert table.ask("GET", "/t/who", headers=headers).json() == {"source": "127.0.0.1", "is_secure": False}


def test_a_configured_proxy_is_believed_up_to_the_first_that_is_none(tmp_path):
    settings = '[server]\ntrusted_proxies = ["127.0.0.1", "10.0.0.0/8"]'
    with serving(tmp_path, settings, served=(Api("/t", TABLE),)) as server:

        def source(text):
            found = server.ask(
                "GET", "/t/who", headers={"X-Forwarded-For": text, "X-Forwarded-Proto": "https"}
            )
            assert found.headers["strict-transport-security"]
            return found.json()["source"]

        assert source("203.0.113.9") == "203.0.113.9"
        assert source("1.2.3.4, 203.0.113.9, 10.1.1.1") == "203.0.113.9"
        assert source("nonsense, 10.1.1.1") == "10.1.1.1"
        assert source("::1") == "::1"
        # Figures are for this machine, and behind a proxy everybody comes from it.
        assert server.ask("GET", "/metrics").status == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8250", "", "127.0.0.1@evil"]
)
def test_a_host_that_is_not_ours_is_refused_against_rebinding(table, host):
    answer = table.ask("GET", "/health/live", headers={"Host": host})
    assert answer.status in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:65535", "[::1]:80"])
def test_a_name_of_loopback_is_ours(table, host):
    assert table.ask("GET", "/health/live", headers={"Host": host}).status == 200


# --- changes ----------------------------------------------------------------------------------------------


def test_in_read_only_mode_changes_are_refused_and_reads_go_on(table):
    actor = table.house.deployment().root.actor
    table.house.set_mode(actor, read_only=True)
    try:
        answer = table.ask("POST", "/t/write", {"name": "a"}, token=table.admin)
        assert (answer.status, answer.code) == (403, "read_only")
        assert table.ask("POST", "/t/echo", {"name": "a"}, token=table.admin).status == 200
    finally:
        table.house.set_mode(actor, read_only=False)
    assert table.ask("POST", "/t/write", {"name": "a"}, token=table.admin).status == 200


def test_the_same_change_asked_for_twice_is_done_once(table):
    first, second = (
        table.ask("POST", "/t/write", {"name": "a"}, token=table.admin, headers={"Idempotency-Key": "k1"})
        for _ in range(2)
    )
    assert first.status == second.status == 200
    assert first.body == second.body
    assert second.headers["idempotency-replayed"] == "true"
    other = table.ask("POST", "/t/write", {"name": "b"}, token=table.admin, headers={"Idempotency-Key": "k1"})
    assert (other.status, other.code) == (422, "invalid_field")
    somebody = table.token("somebody", "admin")
    theirs = table.ask("POST", "/t/write", {"name": "a"}, token=somebody, headers={"Idempotency-Key": "k1"})
    assert theirs.json()["count"] != first.json()["count"]


def test_a_change_that_failed_may_be_asked_for_again_with_its_key(table):
    headers = {"Idempotency-Key": "k2"}
    assert table.ask("POST", "/t/write", {"name": 1}, token=table.admin, headers=headers).status == 422
    assert table.ask("POST", "/t/write", {"name": 1}, token=table.admin, headers=headers).status == 422
    bad = {"Idempotency-Key": "two words"}
    assert table.ask("POST", "/t/write", {"name": "a"}, token=table.admin, headers=bad).status == 400


@pytest.mark.parametrize("method", ["POST"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Content-Type": "text/plain"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
def test_UI03_a_change_by_cookie_must_come_from_our_own_pages(table, method, headers, status):
    access = table.house.deployment().root.access
    session = access.login_with_code(access.login_link().reveal(), source="127.0.0.1").token.reveal()
    given = {"Cookie": f"strongroom={session}", **headers}
    answer = table.ask(method, "/t/write", {"name": "a"}, headers=given)
    assert answer.status == status
    assert status == 200 or answer.code == "cross_site"


def test_UI03_a_browser_is_not_signed_in_from_another_site(server):
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        answer = server.ask("POST", "/v1/login/code", {"code": "x"}, headers=headers)
        assert (answer.status, answer.code) == (403, "cross_site")


def test_RT29_the_session_cookie_is_bound_to_our_origin():
    name = cookie_name("prod", "prod", is_secure=True)
    cookie = session_cookie(name, "srm_s_x", is_secure=True, seconds=60)
    assert cookie == "__Host-strongroom=srm_s_x; Path=/; HttpOnly; SameSite=Strict; Max-Age=60; Secure"
    assert "Domain" not in cookie
    assert cookie_name("staging", "prod", is_secure=True) == "__Host-strongroom-staging"
    assert "Max-Age=0" in expired_cookie(name, is_secure=True)


# --- limits -------------------------------------------------------------------------------------------------


def test_who_asks_too_much_is_told_how_long_to_wait(tmp_path):
    settings = """
[server.limits]
identity_per_second = 0.5
identity_burst = 3
stranger_per_second = 0.5
stranger_burst = 3
paths = { "/t/plain" = 0.01 }
"""
    with serving(tmp_path, settings, served=(Api("/t", TABLE),)) as server:
        token = server.token("a", "admin")
        assert server.ask("GET", "/t/plain", token=token).status == 200
        limited = server.ask("GET", "/t/plain", token=token)
        assert (limited.status, limited.code) == (429, "rate_limited")
        assert 90 <= int(limited.headers["retry-after"]) <= 100
        assert limited.json()["error"]["retry_after"] == int(limited.headers["retry-after"])
        other = server.token("b", "admin")
        assert [server.ask("GET", "/t/ask", token=other).status for _ in range(4)] == [200, 200, 200, 429]
        assert [server.ask("GET", "/t/ask").status for _ in range(4)] == [401, 401, 401, 429]
        # A flood of strangers does not stop who is known, nor the probes.
        assert server.ask("GET", "/t/ask", token=server.token("c", "admin")).status == 200
        assert server.ask("GET", "/health/live").status == 200


def test_DS08_no_more_work_is_taken_than_there_are_threads_and_room_to_wait(tmp_path):
    gate, seen = threading.Event(), threading.Semaphore(0)

    def slow(_call):
        seen.release()
        gate.wait(20)
        return {}

    settings = "[server]\nthreads = 1\n[server.limits]\nidentity_per_second = 0\n"
    with serving(
        tmp_path, settings, served=(Api("/t", (Endpoint("GET", "/slow", slow, "", "t"),)),)
    ) as server:
        token = server.token()
        statuses = []
        threads = [
            threading.Thread(target=lambda: statuses.append(server.ask("GET", "/t/slow", token=token).status))
            for _ in range(30)
        ]
        for thread in threads:
            thread.start()
        assert seen.acquire(timeout=10)
        while statuses.count(503) < 30 - 17:
            threads[0].join(0.01)
        gate.set()
        for thread in threads:
            thread.join(20)
        assert sorted(set(statuses)) == [200, 503]
        assert statuses.count(200) == 17  # one at work and sixteen that wait for it
        assert server.ask("GET", "/t/slow", token=token).status == 200


def test_who_has_no_identity_yet_may_send_little(server):
    answer = server.ask("POST", "/v1/login", {"name": "a", "password": "x" * 70_000})
    assert (answer.status, answer.code) == (413, "too_large")
