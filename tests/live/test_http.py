"""HTTP clients against a real service: who asks, who may know it, rotation, certificates, and what fails."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import threading
import traceback
from datetime import timedelta

import pytest

import strongroom
from parts.certificates import DAY, Authority, server_context
from parts.echo import echo
from parts.held import kept
from parts.proxy import Proxy
from parts.web_service import web_service
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError

httpx2 = pytest.importorskip("httpx2")

from strongroom.live import http as family  # noqa: E402 -- after its library

SECRET = "c4nary-P@ss:w/ö?#"


@pytest.fixture(scope="module")
def running():
    with web_service() as service:
        yield service


@pytest.fixture(scope="module")
def other_running():
    with web_service() as service:
        yield service


@pytest.fixture
def service(running):
    running.forget()
    return running


@pytest.fixture
def other(other_running):
    other_running.forget()
    return other_running


@pytest.fixture
def stored(service):
    service.users["app"] = SECRET
    with kept("api", **fields(service)) as stored:
        yield stored


@pytest.fixture
def client(stored):
    with family.client(stored.held, stored.asked()) as client:
        yield client


def fields(service, **others):
    given = {"host": service and service.url, "login": "app", "password": SECRET, **others}
    return {"conn_type": "http", **{name: value for name, value in given.items() if value is not None}}


def refused(work, kind, step, reason):
    """Do *work*, which must fail so, and look at all that the error says."""
    with pytest.raises(strongroom.StrongroomError) as caught:
        work()
    error = caught.value
    assert (type(error), error.step, error.reason) == (kind, step, reason)
    said = f"{error!r} {error.hint} {vars(error)} {''.join(traceback.format_exception(error))}"
    for hidden in (SECRET, "c4nary", "httpx2.Connect", "httpcore2."):
        assert hidden not in said
    return error


# --- who asks ------------------------------------------------------------------------------------------


def test_a_client_is_the_librarys_own_and_asks_as_the_connection_says(client):
    assert type(client) is httpx2.Client
    answer = client.get("/orders", params={"page": "2"})
    assert (answer.status_code, answer.json()["who"], answer.json()["path"]) == (200, "app", "/orders?page=2")


def test_an_asynchronous_client_asks_as_the_connection_says(stored):
    async def work():
        async with await family.aclient(stored.held, stored.asked()) as client:
            assert type(client) is httpx2.AsyncClient
            return (await client.post("/orders", json={"id": 1})).json()

    assert asyncio.run(work())["who"] == "app"


def test_what_is_no_option_in_extra_is_a_header_as_in_airflow(service):
    service.keys.add("key-1")
    extra = {"X-Api-Key": "key-1", "X-Page": 20, "X-None": None, "timeout": 3, "User-Agent": "nightly/1"}
    with (
        kept("api", **fields(service, login=None, password=None, extra=extra)) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        assert client.get("/").json()["who"] == "key"
        assert client.timeout == httpx2.Timeout(3)
    headers = service.asked[-1].headers
    assert (headers["x-page"], headers["user-agent"]) == ("20", "nightly/1")
    assert not {"x-none", "timeout", "authorization"} & set(headers)


def test_a_header_in_another_alphabet_goes_out_as_airflow_sends_it(service):
    with (
        kept("api", **fields(service, extra={"X-Place": "Zürich"})) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        client.get("/", headers={"Host": "virtual.example"})
    headers = service.asked[-1].headers
    assert (headers["x-place"], headers["host"]) == (
        "Zürich",
        "virtual.example",
    )  # http.server reads ISO-8859-1


def test_a_bearer_token_is_a_header_too(service):
    service.tokens.add("abc.def")
    extra = {"Authorization": "Bearer abc.def"}
    with (
        kept("api", **fields(service, login=None, password=None, extra=extra)) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        assert client.get("/").json()["who"] == "bearer"


def test_user_info_in_the_host_is_who_asks_and_stands_in_no_url(service, caplog):
    caplog.set_level(logging.DEBUG)
    service.users["ann"] = "p@ss/c4nary"
    host = service.url.replace("://", "://ann:p%40ss%2Fc4nary@")
    with (
        kept("api", **fields(service, host=host, login=None, password=None)) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        answer = client.get("/")
    assert answer.json()["who"] == "ann"
    assert "c4nary" not in f"{client.base_url} {answer.request.url!s} {caplog.text}"


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ({"host": "api.example.com"}, "http://api.example.com"),
        ({"host": "api.example.com", "schema": "https"}, "https://api.example.com"),
        ({"host": "https://api.example.com", "schema": "http"}, "https://api.example.com"),
        ({"host": "https://api.example.com", "port": 8443}, "https://api.example.com:8443"),
        ({"host": "https://api.example.com:8443", "port": 8443}, "https://api.example.com:8443"),
        ({"host": "https://api.example.com:8443/v2/"}, "https://api.example.com:8443/v2"),
        ({"host": "api.example.com/v2", "schema": "https"}, "https://api.example.com/v2"),
        ({"host": "http://[::1]", "port": 80}, "http://[::1]"),
    ],
)
def test_the_base_url_is_put_together_as_airflows_hook_does(said, url):
    with kept("api", conn_type="http", **said) as stored:
        client = family.client(stored.held, stored.asked())
        assert str(client.base_url).rstrip("/") == url
        client.close()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, "missing"),
        ({"host": "file:///etc/passwd"}, "malformed"),
        ({"host": "gopher://127.0.0.1"}, "malformed"),
        ({"host": "api.example.com", "schema": "unix"}, "malformed"),
        ({"host": "http://"}, "malformed"),
        ({"host": "https://api.example.com/v2", "port": 8443}, "malformed"),
        ({"host": "https://api.example.com:1", "port": 8443}, "malformed"),
        ({"host": "https://api.example.com:c4nary"}, "malformed"),
        ({"host": "https://api.example.com/?key=c4nary"}, "malformed"),
        ({"host": "https://api.example.com\\@evil.example"}, "malformed"),
        ({"host": "https://api.example.com/\r\nX: c4nary"}, "malformed"),
        ({"host": "h", "extra": {"X-A": "c4nary\r\nX-B: y"}}, "malformed"),
        ({"host": "h", "extra": {"X A": "c4nary"}}, "malformed"),
        ({"host": "h", "extra": {"X-A": {"c4nary": 1}}}, "malformed"),
        ({"host": "h", "extra": {"Transfer-Encoding": "chunked"}}, "malformed"),
        ({"host": "h", "extra": {"proxies": {"https": "ftp://c4nary"}}}, "malformed"),
        ({"host": "h", "extra": {"timeout": "c4nary"}}, "malformed"),
        ({"host": "h", "extra": {"timeout": 0}}, "malformed"),
        ({"host": "h", "extra": {"verify": 17}}, "malformed"),
        ({"host": "h", "extra": {"cert": {"c4nary": 1}}}, "malformed"),
        ({"host": "h", "extra": {"srv_lookup": True}}, "unknown"),
    ],
)
def test_what_cannot_be_used_is_refused_by_the_fields_name(said, reason):
    with kept("api", conn_type="http", **said) as stored:
        refused(lambda: family.client(stored.held, stored.asked()), BackendConfigError, "options", reason)


@pytest.mark.parametrize("option", ["auth", "base_url", "c4nary"])
def test_an_option_that_the_library_does_not_have_or_the_connection_says_is_refused(stored, option):
    with pytest.raises(BackendConfigError) as caught:
        family.client(stored.held, stored.asked(**{option: "x"}))
    assert (caught.value.step, caught.value.reason) == ("options", "unknown")


def test_options_are_the_librarys_own(stored):
    asked = stored.asked(timeout=1.5, limits=httpx2.Limits(max_connections=1), headers={"X-Own": "1"})
    with family.client(stored.held, asked) as client:
        assert client.get("/").status_code == 200
        assert (client.timeout.read, client.headers["x-own"]) == (1.5, "1")


# --- who may know it -----------------------------------------------------------------------------------


def test_neither_the_client_nor_an_answers_request_nor_a_log_shows_who_asked(client, caplog):
    caplog.set_level(logging.DEBUG)
    answer = client.get("/orders")
    assert "authorization" not in answer.request.headers
    assert "authorization" not in client.headers
    assert client.auth is None
    for shown in (caplog.text, repr(vars(client)), repr(answer.request.headers)):
        assert "c4nary" not in shown
        assert "YXBwOm" not in shown  # "app:" in base64


def test_a_redirect_to_another_host_takes_no_credential_along(service, other):
    service.keys.add("c4nary-key")
    extra = {"X-Api-Key": "c4nary-key"}
    with (
        kept("api", **fields(service, extra=extra)) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        service.users["app"] = SECRET
        assert client.get("/redirect", params={"to": f"{other.url}/landed"}).json()["path"] == "/landed"
    assert not {"authorization", "x-api-key"} & set(other.asked[-1].headers)


def test_a_redirect_within_the_service_goes_as_the_connection(client, service):
    assert client.get("/redirect", params={"to": "/there"}).json()["who"] == "app"
    assert [one.path.partition("?")[0] for one in service.asked] == ["/redirect", "/there"]


def test_redirects_are_left_alone_where_the_connection_says_so(service):
    with (
        kept("api", **fields(service, extra={"allow_redirects": "false"})) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        assert client.get("/redirect?to=/there").status_code == 302


def test_an_absolute_url_of_another_host_takes_no_credential_along(client, other):
    assert client.get(f"{other.url}/x").json()["who"] is None
    assert "authorization" not in other.asked[-1].headers


def test_a_caller_who_says_who_asks_is_taken_at_his_word(client, service):
    answer = client.get("/", headers={"Authorization": "Bearer mine"})
    assert answer.status_code == 401
    assert len(service.asked) == 1


class _MetadataStream:
    """Where an answer came from, as a connection of the library says it."""

    def __init__(self, address):
        self._address = address

    def get_extra_info(self, info):
        return self._address if info == "server_addr" else None


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fe80::1%eth0", "::ffff:169.254.169.254", "fd00:ec2::254"]
)
def test_an_answer_of_the_metadata_service_is_not_handed_on(stored, address):
    def answer(request):
        if request.url.host == "127.0.0.1":
            return httpx2.Response(302, headers={"Location": "http://innocent.example/latest"})
        return httpx2.Response(
            200, text="keys of the machine", extensions={"network_stream": _MetadataStream((address, 80))}
        )

    with family.client(stored.held, stored.asked(transport=httpx2.MockTransport(answer))) as client:
        refused(lambda: client.get("/"), AccessDeniedError, "address", "forbidden")


# --- rotation ------------------------------------------------------------------------------------------


def test_a_password_that_was_rotated_is_read_once_and_the_request_sent_once_more(stored, client, service):
    assert client.get("/").status_code == 200
    service.users["app"] = "second"
    stored.write(**fields(service, password="second"))
    assert client.post("/orders", json={"id": 7}).json()["body"] == '{"id":7}'
    assert [one.who for one in service.asked] == ["app", None, "app"]
    assert stored.questions == 1
    assert client.get("/").status_code == 200
    assert len(service.asked) == 4


def test_an_asynchronous_client_follows_a_rotation(stored, service):
    async def work():
        async with await family.aclient(stored.held, stored.asked()) as client:
            service.users["app"] = "second"
            stored.write(**fields(service, password="second"))
            return (await client.get("/")).json()["who"]

    assert asyncio.run(work()) == "app"
    assert [one.who for one in service.asked] == [None, "app"]


def test_a_change_that_was_told_is_used_at_once(stored, client, service):
    service.users["app"] = "second"
    stored.write(**fields(service, password="second"))
    stored.tell()
    assert client.get("/").status_code == 200
    assert ([one.who for one in service.asked], stored.questions) == (["app"], 0)


def test_a_wrong_password_is_told_after_one_question_and_no_second_try(stored, client, service):
    service.users["app"] = "nobody knows"
    refused(lambda: client.get("/"), AccessDeniedError, "authentication", "credentials")
    assert (len(service.asked), stored.questions) == (1, 1)


def test_a_new_password_that_is_wrong_too_is_tried_once(stored, client, service):
    service.users["app"] = "nobody knows"
    stored.write(**fields(service, password="second"))
    refused(lambda: client.get("/"), AccessDeniedError, "authentication", "credentials")
    assert len(service.asked) == 2


def test_an_asynchronous_client_tells_a_wrong_password(stored, service):
    async def work():
        async with await family.aclient(stored.held, stored.asked()) as client:
            await client.get("/")

    service.users["app"] = "nobody knows"
    refused(lambda: asyncio.run(work()), AccessDeniedError, "authentication", "credentials")
    assert len(service.asked) == 1


def test_a_refusal_of_nobody_is_the_services_answer(service):
    service.users["app"] = SECRET
    with (
        kept("api", **fields(service, login=None, password=None)) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        assert client.get("/").status_code == 401
    assert stored.questions == 0


def test_what_can_be_read_once_only_is_not_sent_twice(stored, client, service):
    service.users["app"] = "second"
    stored.write(**fields(service, password="second"))
    refused(
        lambda: client.post("/", content=iter([b"a", b"b"])),
        BackendUnavailableError,
        "authentication",
        "unavailable",
    )
    assert client.post("/", content=iter([b"a", b"b"])).json()["body"] == "ab"


def test_a_service_that_moved_is_asked_where_it_is_now(stored, client, service, other):
    assert client.get("/v1").status_code == 200
    other.users["app"] = "second"
    service.users.clear()
    service.users["app"] = "gone"
    stored.write(**fields(other, password="second"))
    assert client.get("/v1").json()["who"] == "app"
    assert (other.asked[-1].path, other.asked[-1].headers["host"]) == ("/v1", f"127.0.0.1:{other.port}")
    assert client.get(f"{service.url}/v2").json()["path"] == "/v2"
    assert other.asked[-1].path == "/v2"


def test_only_what_lies_below_the_old_address_goes_to_the_new_one(service, other):
    def said(where):
        return fields(where, host=f"{where.url}/v1", login=None, password=None)

    with kept("api", **said(service)) as stored, family.client(stored.held, stored.asked()) as client:
        client.get("/orders")
        stored.write(**said(other))
        stored.tell()
        for path in ("/v1/orders?page=2", "/v1", "/v11", "/elsewhere"):
            client.get(f"{service.url}{path}")
    assert [one.path for one in other.asked] == ["/v1/orders?page=2", "/v1"]
    assert [one.path for one in service.asked] == ["/v1/orders", "/v11", "/elsewhere"]


def test_a_hundred_requests_on_four_threads_see_a_rotation_and_none_is_lost(stored, client, service):
    begun, done = threading.Semaphore(0), []

    def work():
        for _ in range(25):
            done.append(client.get("/").status_code)
            begun.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        assert begun.acquire(timeout=10)
    stored.write(**fields(service, password="second"))
    service.users["app"] = "second"
    for thread in threads:
        thread.join(20)
    assert done == [200] * 100


# --- certificates and the way --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("http-authority"))


@pytest.fixture(scope="module")
def private(authority):
    shown = server_context(*authority.issue("service", "127.0.0.1"))
    with web_service(shown) as service:
        yield service


@pytest.fixture
def strict(authority):
    """A service that wants a certificate."""
    shown = server_context(*authority.issue("service", "127.0.0.1"), client_ca=authority.file)
    with web_service(shown) as service:
        service.names = {"first", "second"}
        yield service


def test_the_authority_of_the_connection_is_trusted_in_place_of_the_systems(private, authority):
    private.forget()
    extra = {"verify": str(authority.file)}
    with (
        kept("api", **fields(private, extra=extra)) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        assert client.get("/").status_code == 200


def test_a_bundle_of_the_environment_is_trusted_unless_the_connection_says_otherwise(private, authority):
    private.forget()
    environ = {"REQUESTS_CA_BUNDLE": str(authority.file)}
    with kept("api", **fields(private)) as stored:
        with family.client(stored.held, stored.asked(environ=environ)) as client:
            assert client.get("/").status_code == 200
        stored.write(**fields(private, extra={"trust_env": False}))
        stored.tell()
        with family.client(stored.held, stored.asked(environ=environ)) as client:
            refused(lambda: client.get("/"), BackendConfigError, "tls", "untrusted")


@pytest.mark.parametrize(
    ("host", "lasts", "reason"),
    [("127.0.0.1", -timedelta(hours=1), "expired"), ("another.example", DAY, "wrong_host")],
)
def test_a_certificate_that_is_not_the_services_is_told_for_what_it_is(authority, host, lasts, reason):
    shown = server_context(*authority.issue(f"bad-{reason}", host, lasts=lasts))
    extra = {"verify": str(authority.file)}
    with (
        web_service(shown) as service,
        kept("api", **fields(service, extra=extra)) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        refused(lambda: client.get("/"), BackendConfigError, "tls", reason)
        assert service.asked == []


def test_a_certificate_of_an_unknown_authority_gets_no_password(private):
    private.forget()
    with kept("api", **fields(private)) as stored, family.client(stored.held, stored.asked()) as client:
        refused(lambda: client.get("/"), BackendConfigError, "tls", "untrusted")
    assert private.asked == []


def test_tls_spoken_to_a_service_in_clear_is_told(service):
    host = service.url.replace("http:", "https:")
    with (
        kept("api", **fields(service, host=host)) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        refused(lambda: client.get("/"), BackendConfigError, "tls", "plaintext")


def test_a_client_certificate_is_shown_and_read_again_when_its_file_changes(strict, authority, tmp_path):
    def write(name):
        certificate, key = authority.issue(name)
        (tmp_path / "shown.pem").write_bytes(certificate.read_bytes() + key.read_bytes())

    write("first")
    extra = {"verify": str(authority.file), "cert": str(tmp_path / "shown.pem")}
    with (
        kept("api", **fields(strict, login=None, password=None, extra=extra)) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        assert client.get("/").json()["who"] == "first"
        with client.stream("GET", "/slow") as slow:
            parts = slow.iter_raw()
            assert next(parts) == b"half"
            write("second")
            assert client.get("/").json()["who"] == "second"
            strict.go.set()
            assert next(parts) == b"half"  # what runs is let finish


def test_an_asynchronous_client_shows_a_renewed_certificate_too(strict, authority, tmp_path):
    def write(name):
        certificate, key = authority.issue(name)
        (tmp_path / "shown.pem").write_bytes(certificate.read_bytes() + key.read_bytes())

    async def work(stored):
        async with (
            await family.aclient(stored.held, stored.asked()) as client,
            client.stream("GET", "/slow") as slow,
        ):
            parts = slow.aiter_raw()
            assert await anext(parts) == b"half"
            write("second")
            assert (await client.get("/")).json()["who"] == "second"
            strict.go.set()
            assert await anext(parts) == b"half"

    write("first")
    extra = {"verify": str(authority.file), "cert": str(tmp_path / "shown.pem")}
    with kept("api", **fields(strict, login=None, password=None, extra=extra)) as stored:
        asyncio.run(work(stored))


def test_a_certificate_that_the_service_does_not_take_is_a_refusal(strict, authority, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    certificate, key = stranger.issue("first")
    extra = {"verify": str(authority.file), "cert": [str(certificate), str(key)]}
    with kept("api", **fields(strict, login=None, password=None, extra=extra)) as stored:
        with family.client(stored.held, stored.asked()) as client:
            refused(lambda: client.get("/"), AccessDeniedError, "authentication", "credentials")
        good = [str(path) for path in authority.issue("second")]
        with family.client(stored.held, stored.asked()) as client:
            stored.write(
                **fields(
                    strict, login=None, password=None, extra={"verify": str(authority.file), "cert": good}
                )
            )
            assert client.get("/").json()["who"] == "second"


def test_a_service_that_wants_a_certificate_says_so(strict, authority):
    extra = {"verify": str(authority.file)}
    with (
        kept("api", **fields(strict, extra=extra)) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        refused(lambda: client.get("/"), BackendConfigError, "authentication", "missing")


@pytest.mark.parametrize("key", ["verify", "cert"])
def test_a_file_that_cannot_be_used_is_no_reason_to_do_without_it(private, authority, tmp_path, key):
    (tmp_path / "nothing.pem").write_text("c4nary")
    extra = {"verify": str(authority.file), key: str(tmp_path / "nothing.pem")}
    with (
        kept("api", **fields(private, extra=extra)) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        refused(lambda: client.get("/"), BackendConfigError, "tls", "malformed")
    missing = {"verify": str(authority.file), key: str(tmp_path / "missing.pem")}
    with kept("api", **fields(private, extra=missing)) as stored:
        refused(lambda: family.client(stored.held, stored.asked()), BackendConfigError, "tls", "malformed")


def test_a_proxy_of_the_connection_or_the_environment_is_gone_through(service, other):
    service.users["app"] = SECRET
    extra = {"proxies": {"http": f"http://ann:c4nary@127.0.0.1:{other.port}"}}
    with kept("api", **fields(service, extra=extra)) as stored:
        with family.client(stored.held, stored.asked()) as client:
            client.get("/through")
        assert other.asked[-1].path == f"{service.url}/through"
        stored.write(**fields(service))
        stored.tell()
        environ = {"HTTP_PROXY": other.url}
        with family.client(stored.held, stored.asked(environ=environ)) as client:
            client.get("/by-the-environment")
        assert other.asked[-1].path.endswith("/by-the-environment")
        for past in ({"NO_PROXY": "127.0.0.0/8"}, {"no_proxy": "127.0.0.1"}, {"REQUEST_METHOD": "GET"}):
            with family.client(stored.held, stored.asked(environ={**environ, **past})) as client:
                assert client.get("/past").json()["path"] == "/past"


# --- what fails ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
def test_a_service_that_is_down_and_a_name_that_is_none_are_told(is_async):
    def ask(host, kind, step, reason):
        async def work(stored):
            async with await family.aclient(stored.held, stored.asked()) as client:
                await client.get("/")

        with kept("api", conn_type="http", host=host, login="app", password=SECRET) as stored:
            if is_async:
                refused(lambda: asyncio.run(work(stored)), kind, step, reason)
                return
            with family.client(stored.held, stored.asked()) as client:
                refused(lambda: client.get("/"), kind, step, reason)

    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        ask(f"127.0.0.1:{unheard.getsockname()[1]}", BackendUnavailableError, "tcp", "refused")
    ask("nobody.invalid", BackendConfigError, "name", "unknown")


def test_what_breaks_under_way_is_the_librarys_own(stored, service):
    with Proxy("127.0.0.1", service.port) as proxy:
        stored.write(**fields(service, host=f"http://127.0.0.1:{proxy.port}"))
        stored.tell()
        with family.client(stored.held, stored.asked()) as client:
            proxy.become("drop")
            with pytest.raises(httpx2.TransportError):
                client.get("/")
            proxy.become("pass")
            assert client.get("/").status_code == 200


def _all_of_it(asked):
    return b"HTTP/1.1 200 OK\r\n" + b"\r\n".join(asked.split(b"\r\n")[1:]).replace(b": ", b" ")


@pytest.mark.parametrize("answer", [lambda asked: asked, _all_of_it])
@pytest.mark.parametrize("is_async", [False, True])
def test_what_gives_back_what_it_was_sent_shows_nothing_of_it(answer, is_async, caplog):
    caplog.set_level(logging.DEBUG)

    async def on_a_loop(stored):
        async with await family.aclient(stored.held, stored.asked()) as client:
            await client.get("/")

    def work(stored):
        if is_async:
            asyncio.run(on_a_loop(stored))
        with family.client(stored.held, stored.asked()) as client:
            client.get("/")

    with echo(answer) as port:
        said = fields(None, host=f"127.0.0.1:{port}", extra={"X-Api-Key": "c4nary-key"})
        with kept("api", **said) as stored, pytest.raises(httpx2.RemoteProtocolError) as caught:
            work(stored)
    shown = f"{''.join(traceback.format_exception(caught.value))} {caplog.text}"
    assert "c4nary" not in shown
    assert "YXBwOm" not in shown  # "app:" in base64


def test_a_closed_client_lets_go_of_the_connection_and_a_forgotten_one_too(stored):
    with family.client(stored.held, stored.asked()) as client:
        client.get("/")
    assert stored.held._clients == 0
    client.close()
    assert stored.held._clients == 0
    made = family.client(stored.held, stored.asked())
    assert stored.held._clients == 1
    del made
    gc.collect()
    assert stored.held._clients == 0


def test_a_forked_child_asks_over_connections_of_its_own(client, service):
    client.get("/")
    before = service.connections
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if client.get("/child").status_code == 200 else 1
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert service.connections == before + 1
    assert client.get("/").status_code == 200
    assert service.connections == before + 1


def test_no_frame_of_an_error_holds_a_credential(stored, service):
    """Some reports of errors show the values in frames, and of what an error came from."""
    with Proxy("127.0.0.1", service.port) as proxy:
        host = f"http://ann:c4nary@127.0.0.1:{proxy.port}"
        extra = {"X-Api-Key": "c4nary-key", "proxies": {"https": "http://ann:c4nary@127.0.0.1:9"}}
        stored.write(**fields(service, host=host, extra=extra))
        stored.tell()
        service.users["app"] = SECRET
        with family.client(stored.held, stored.asked()) as client:
            for mode in ("drop", "refuse"):
                proxy.become(mode)
                _look_at_frames(lambda: client.get("/"))
            _look_at_frames(lambda: client.get("https://127.0.0.1:9/"))
            proxy.become("pass")
            service.users["app"] = "another"
            _look_at_frames(lambda: client.get("/"))
            stored.write(**fields(service, host=host, extra={**extra, "X-Bad": "c4nary\n\0"}))
            stored.tell()
            _look_at_frames(lambda: client.get("/"))


def _look_at_frames(work):
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- of ours and of the library's
        work()
    found = caught.value
    while found is not None:
        for frame, _ in traceback.walk_tb(found.__traceback__):
            if frame.f_code.co_filename != __file__:
                shown = repr(frame.f_locals)
                assert "c4nary" not in shown, frame.f_code.co_name
                assert "YXBwOm" not in shown, frame.f_code.co_name  # "app:" in base64
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
