"""Tokens of OAuth2 against a strict provider: got, kept, shared, used once, refused, and by two at once."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import traceback
from datetime import datetime, timedelta, timezone

import pytest

import strongroom
from parts.certificates import Authority, server_context
from parts.held import kept
from parts.oauth2 import provider
from parts.web_service import web_service
from strongroom.assembly import create_room
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.live.around import Around

httpx2 = pytest.importorskip("httpx2")

from strongroom.live import http as family  # noqa: E402 -- after its library

SECRET = "c4nary-s3cret: /+%"
TASK = """
import sys, strongroom
with strongroom.client("api") as client:
    print("ready", flush=True)
    sys.stdin.readline()
    print(client.get("/").status_code, flush=True)
"""


class Clock:
    def __init__(self):
        self.now = datetime.now(timezone.utc)

    def __call__(self):
        return self.now

    def forward(self, **by):
        self.now += timedelta(**by)


@pytest.fixture(scope="module")
def running():
    with web_service() as service, provider() as office:
        yield service, office


@pytest.fixture
def office(running):
    running[1].forget()
    running[1].clients["app"] = SECRET
    return running[1]


@pytest.fixture
def service(running, office):
    running[0].forget()
    running[0].tokens = office.access  # whoever has a token of that provider is let in
    running[0].users["nobody"] = "x"
    return running[0]


@pytest.fixture
def clock():
    return Clock()


def fields(service, office, **said):
    """Give a connection; what is said of `oauth2` is None where it is left out."""
    oauth2 = {"token_url": office.url, **said}
    return {
        "conn_type": "http",
        "host": service.url,
        "login": "app",
        "password": SECRET,
        "extra": {"oauth2": {key: value for key, value in oauth2.items() if value is not None}},
    }


def said_in(stored):
    return stored._connection.extra.reveal()["oauth2"]


def made(stored, clock):
    asked = stored.asked()
    around = Around(environ={}, now=clock, run=lambda: None, held=lambda *_: None)
    return family.client(stored.held, asked._replace(around=around))


def refused(work, kind, step, reason):
    with pytest.raises(strongroom.StrongroomError) as caught:
        work()
    error = caught.value
    assert (type(error), error.step, error.reason) == (kind, step, reason)
    said = f"{error!r} {error.hint} {vars(error)} {''.join(traceback.format_exception(error))}"
    for hidden in (SECRET, "c4nary", "refresh-", "access-", "httpx2.Connect"):
        assert hidden not in said
    return error


@pytest.fixture
def room(tmp_path, service, office):
    """A room whose store two processes may share, and how another opens it."""
    pytest.importorskip("alembic")  # which makes stores
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    said = fields(service, office, refresh_token=office.grown("app"))
    with create_room(environ=environ, cwd=tmp_path) as room, strongroom.use_room(room):
        strongroom.write("api", json.dumps(said), kind="connection")
        yield environ


# --- client credentials --------------------------------------------------------------------------------


def test_a_token_is_got_with_the_clients_secret_used_on_and_shared(service, office, clock):
    with kept("api", **fields(service, office, scope=["a", "b"])) as stored, made(stored, clock) as client:
        for _ in range(3):
            assert client.get("/").json()["who"] == "bearer"
        assert office.forms == [{"grant_type": "client_credentials", "scope": "a b"}]
        assert said_in(stored)["access_token"] in office.access
        with made(stored, clock) as another:
            assert another.get("/").status_code == 200
        assert office.questions == 1


def test_a_token_is_replaced_before_it_ends(service, office, clock):
    with kept("api", **fields(service, office)) as stored, made(stored, clock) as client:
        client.get("/")
        clock.forward(seconds=3569)
        client.get("/")
        assert office.questions == 1
        clock.forward(seconds=2)
        client.get("/")
        assert office.questions == 2
        assert client.get("/").status_code == 200


def test_a_client_may_say_who_it_is_in_the_body_and_elsewhere_than_in_login(service, office, clock):
    office.clients["other"] = "c4nary-2"
    said = fields(
        service, office, client_id="other", client_secret="c4nary-2", client_auth="post", audience="x"
    )
    with kept("api", **said) as stored, made(stored, clock) as client:
        assert client.get("/").status_code == 200
    assert office.forms[0]["audience"] == "x"


def test_an_asynchronous_client_gets_a_token_too(service, office):
    async def work(stored):
        async with await family.aclient(stored.held, stored.asked()) as client:
            return (await client.get("/")).status_code

    with kept("api", **fields(service, office)) as stored:
        assert asyncio.run(work(stored)) == 200


def test_a_place_that_takes_no_writes_leaves_the_token_in_memory(tmp_path, service, office):
    environ = {
        "HOME": str(tmp_path),
        "AIRFLOW_CONN_API": json.dumps(fields(service, office)),
        "STRONGROOM__CHAIN": '["env"]',
    }
    with (
        strongroom.open_room(environ=environ) as room,
        strongroom.use_room(room),
        strongroom.client("api") as client,
    ):
        assert [client.get("/").status_code for _ in range(3)] == [200] * 3
    assert office.questions == 1


def test_a_token_that_is_refused_is_got_anew_once(service, office, clock):
    said = fields(service, office, access_token="revoked", expires_at="2099-01-01T00:00:00Z")
    with kept("api", **said) as stored, made(stored, clock) as client:
        assert client.get("/").status_code == 200
        assert office.questions == 1
        assert said_in(stored)["access_token"] in office.access


def test_a_fresh_token_that_is_refused_is_told_and_not_got_again(service, office, clock):
    service.tokens = set()
    with kept("api", **fields(service, office)) as stored, made(stored, clock) as client:
        for _ in range(3):
            refused(lambda: client.get("/"), AccessDeniedError, "authentication", "credentials")
    assert office.questions == 1


def test_a_rotated_secret_of_the_client_is_used_for_the_next_token(service, office, clock):
    with kept("api", **fields(service, office, write_back=False)) as stored, made(stored, clock) as client:
        client.get("/")
        assert "access_token" not in said_in(stored)
        office.clients["app"] = "second"
        stored.write(**{**fields(service, office, write_back=False), "password": "second"})
        stored.tell()
        assert client.get("/").status_code == 200
        assert office.questions == 2


# --- a refresh token -----------------------------------------------------------------------------------


def test_a_refresh_token_is_used_once_and_its_successor_written_back(service, office, clock):
    first = office.grown("app")
    with kept("api", **fields(service, office, refresh_token=first)) as stored, made(stored, clock) as client:
        for number in range(1, 4):
            assert client.get("/").status_code == 200
            assert office.questions == number
            said = said_in(stored)
            assert said["refresh_token"] in office.refresh
            assert said["access_token"] in office.access
            assert "renewing" not in said
            clock.forward(hours=1)
    assert not office.is_burnt
    assert first in office.spent


def test_what_else_stands_in_the_connection_stays_when_tokens_are_written(service, office, clock):
    said = fields(service, office, refresh_token=office.grown("app"))
    said["extra"]["X-Team"] = "${variable:team}"
    with kept("api", **said) as stored, made(stored, clock) as client:
        client.get("/")
        assert stored._connection.extra.reveal()["X-Team"] == "${variable:team}"
        assert stored._connection.password.reveal() == SECRET


def test_a_provider_whose_refresh_tokens_stay_needs_no_place_to_write_to(tmp_path, service, office):
    office.rotates = False
    said = fields(service, office, refresh_token=office.grown("app"), write_back=False)
    environ = {"HOME": str(tmp_path), "AIRFLOW_CONN_API": json.dumps(said), "STRONGROOM__CHAIN": '["env"]'}
    with (
        strongroom.open_room(environ=environ) as room,
        strongroom.use_room(room),
        strongroom.client("api") as client,
    ):
        assert client.get("/").status_code == 200


def test_a_refresh_token_is_not_used_where_its_successor_could_not_be_written(tmp_path, service, office):
    said = fields(service, office, refresh_token=office.grown("app"))
    environ = {"HOME": str(tmp_path), "AIRFLOW_CONN_API": json.dumps(said), "STRONGROOM__CHAIN": '["env"]'}
    with (
        strongroom.open_room(environ=environ) as room,
        strongroom.use_room(room),
        strongroom.client("api") as client,
    ):
        error = refused(lambda: client.get("/"), BackendConfigError, "token", "missing")
    assert "write_back" in error.hint
    assert office.questions == 0


def test_two_processes_that_need_a_token_at_once_use_one_refresh_token_once(room, office):
    office.go.clear()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TASK],
            env=room,
            cwd=room["HOME"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert office.begun.wait(10)
    office.go.set()
    assert [process.communicate(timeout=30)[0] for process in processes] == ["200\n", "200\n"]
    assert (office.questions, office.is_burnt) == (1, False)
    said = strongroom.connection("api").extra.reveal()["oauth2"]
    assert said["refresh_token"] in office.refresh
    assert "renewing" not in said


def test_twenty_threads_of_two_clients_that_need_a_token_at_once_use_it_once(room, office):
    found = []
    with strongroom.client("api") as one, strongroom.client("api") as two:
        threads = [
            threading.Thread(target=lambda client=client: found.append(client.get("/").status_code))
            for client in (one, two) * 10
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert found == [200] * 20
    assert (office.questions, office.is_burnt) == (1, False)


def test_whoever_finds_a_claim_waits_for_what_is_written(service, office, clock):
    claim = {"by": "another process", "until": (clock() + timedelta(seconds=30)).isoformat()}
    said = fields(service, office, refresh_token=office.grown("app"), renewing=claim)
    found = []
    with kept("api", **said) as stored, made(stored, clock) as client:
        waiting = threading.Event()
        asked_before, write_back = stored.questions, stored.write_back

        def looked(*said, **more):
            waiting.set()
            return write_back(*said, **more)

        stored.write_back = looked
        thread = threading.Thread(target=lambda: found.append(client.get("/").status_code))
        thread.start()
        assert waiting.wait(10)
        office.access.add("theirs")
        stored.write(**fields(service, office, refresh_token="next", access_token="theirs"))
        stored.tell()
        thread.join(10)
    assert found == [200]
    assert (office.questions, service.asked[-1].headers["authorization"]) == (0, "Bearer theirs")
    assert stored.questions > asked_before


def test_whoever_only_looks_whether_a_token_is_needed_waits_for_nobody(service, office, clock):
    office.go.clear()
    with kept("api", **fields(service, office)) as stored, made(stored, clock) as client:
        login = client._transport._login
        asking = threading.Thread(target=login.session)
        asking.start()
        assert office.begun.wait(10)
        stored.write(**fields(service, office, scope="more"))
        stored.tell()
        assert login.ready() is None  # on a loop this would hold up all of it
        assert asking.is_alive()
        office.go.set()
        asking.join(10)


def test_a_claim_whose_process_died_counts_until_its_end(service, office, clock):
    claim = {"by": "a dead process", "until": (clock() - timedelta(seconds=1)).isoformat()}
    said = fields(service, office, refresh_token=office.grown("app"), renewing=claim)
    with kept("api", **said) as stored, made(stored, clock) as client:
        assert client.get("/").status_code == 200
        assert "renewing" not in said_in(stored)


def test_a_refresh_token_that_counts_no_more_is_told_and_the_claim_taken_back(service, office, clock):
    said = fields(service, office, refresh_token="revoked")
    with kept("api", **said) as stored, made(stored, clock) as client:
        error = refused(lambda: client.get("/"), AccessDeniedError, "token", "credentials")
        assert "authorize" in error.hint
        assert "renewing" not in said_in(stored)
        assert said_in(stored)["refresh_token"] == "revoked"


def test_tokens_that_could_not_be_written_are_used_on_and_written_later(service, office, clock):
    said = fields(service, office, refresh_token=office.grown("app"))
    with kept("api", **said) as stored, made(stored, clock) as client:
        write_back = stored.write_back
        written = []

        def away(*said, **more):
            written.append(1)
            if len(written) == 2:  # the claim was the first
                raise BackendUnavailableError("the store is away", backend="shelf")
            return write_back(*said, **more)

        stored.write_back = away
        assert client.get("/").status_code == 200
        assert said_in(stored)["refresh_token"] in office.spent
        clock.forward(hours=1)
        assert client.get("/").status_code == 200
        assert (office.questions, office.is_burnt) == (2, False)
        assert said_in(stored)["refresh_token"] in office.refresh


def test_a_claim_that_a_wrong_clock_has_written_holds_nobody_up(service, office, clock):
    claim = {"by": "another process", "until": "2099-01-01T00:00:00Z"}
    said = fields(service, office, refresh_token=office.grown("app"), renewing=claim)
    with kept("api", **said) as stored, made(stored, clock) as client:
        assert client.get("/").status_code == 200


# --- what fails ----------------------------------------------------------------------------------------


def test_a_wrong_secret_of_the_client_is_told_and_the_service_not_asked(service, office, clock):
    office.clients["app"] = "another"
    with kept("api", **fields(service, office)) as stored, made(stored, clock) as client:
        refused(lambda: client.get("/"), AccessDeniedError, "token", "credentials")
    assert service.asked == []


@pytest.mark.parametrize(
    ("told", "kind", "reason"),
    [
        ((503, {"error": "temporarily_unavailable"}), BackendUnavailableError, "unavailable"),
        ((429, {}), BackendUnavailableError, "unavailable"),
        ((302, {}), BackendConfigError, "malformed"),
        ((404, b"<html>"), BackendConfigError, "malformed"),
        ((400, {"error": "invalid_scope", "error_description": "c4nary"}), BackendConfigError, "malformed"),
        ((403, {}), AccessDeniedError, "credentials"),
        ((200, b"access_token=c4nary"), BackendConfigError, "malformed"),
        ((200, b"[" * 60_000), BackendConfigError, "malformed"),
        ((200, b'"' + b"c4nary" * 20_000 + b'"'), BackendConfigError, "malformed"),
        ((200, {"token_type": "Bearer"}), BackendConfigError, "malformed"),
        ((200, {"access_token": 17}), BackendConfigError, "malformed"),
        ((200, {"access_token": "c4nary\r\nX-Admin: 1"}), BackendConfigError, "malformed"),
        ((200, {"access_token": "c4nary", "token_type": "mac"}), BackendConfigError, "malformed"),
    ],
)
@pytest.mark.usefixtures("service")
def test_what_a_provider_answers_is_told_for_what_it_is(running, clock, told, kind, reason):
    service, office = running
    office.answers.append(told)
    with kept("api", **fields(service, office)) as stored, made(stored, clock) as client:
        refused(lambda: client.get("/"), kind, "token", reason)
        refused(lambda: client.get("/"), kind, "token", reason)
    assert (office.questions, service.asked) == (1, [])


def test_a_provider_that_is_down_is_told_as_the_provider(service, clock):
    with provider() as gone:
        said = fields(service, gone)
    with kept("api", **said) as stored, made(stored, clock) as client:
        refused(lambda: client.get("/"), BackendUnavailableError, "token", "unavailable")


def test_a_provider_with_a_certificate_nobody_trusts_is_sent_no_secret(service, clock, tmp_path):
    authority = Authority(tmp_path)
    with provider(server_context(*authority.issue("office", "127.0.0.1"))) as office:
        office.clients["app"] = SECRET
        service.tokens = office.access
        with kept("api", **fields(service, office)) as stored, made(stored, clock) as client:
            error = refused(lambda: client.get("/"), BackendConfigError, "tls", "untrusted")
            assert "token_url" in str(error)
            assert office.questions == 0
        said = fields(service, office)
        said["extra"]["verify"] = str(authority.file)
        with kept("api", **said) as stored, made(stored, clock) as client:
            assert client.get("/").status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        {"token_url": None},
        {"token_url": "http://id.example.com/token"},
        {"token_url": "https://c4nary@id.example.com/token"},
        {"token_url": "file:///etc/passwd"},
        {"token_url": 17},
        {"grant": "password"},
        {"grant": "refresh_token"},
        {"client_auth": "c4nary"},
        {"write_back": "c4nary"},
        {"access_token": "c4nary\nX: y"},
        {"c4nary": "x"},
        {"refresh_token": {"c4nary": 1}},
    ],
)
def test_what_cannot_be_used_is_refused_by_its_name(service, office, said):
    with (
        kept("api", **fields(service, office, **said)) as stored,
        pytest.raises(BackendConfigError) as caught,
    ):
        family.client(stored.held, stored.asked())
    assert "c4nary" not in f"{caught.value} {caught.value.hint}"
    assert caught.value.step == "options"


def test_no_log_shows_a_token_or_a_secret(service, office, clock, caplog):
    caplog.set_level(logging.DEBUG)
    first = office.grown("app")
    said = fields(service, office, refresh_token=first, client_auth="post")
    with kept("api", **said) as stored, made(stored, clock) as client:
        client.get("/")
        shown = f"{caplog.text} {client!r} {vars(client)!r} {vars(client._transport)!r}"
        for hidden in ("c4nary", first, *office.access, *office.refresh):
            assert hidden not in shown
