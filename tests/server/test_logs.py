"""The server's log: one JSON object a line, without values, credentials or what an exception says."""

from __future__ import annotations

import io
import json
import logging
import threading

import pytest

from strongroom.server.auth import Credential
from strongroom.server.endpoint import Answer
from strongroom.server.logs import Journal, JsonFormatter, scrubbed, where
from strongroom.server.request import Request
from strongroom.wire.access import CodeLogin, Login, NewPassword
from strongroom.wire.entry import ReadAnswer, ReadResult, WriteEntry

CANARY = "canary-1ab7"


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(secret):
    raise ValueError(f"the password {secret} is wrong")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (f"proxy http://me:{CANARY}@proxy:3128/ is down", "proxy http://***@proxy:3128/ is down"),
        (f"postgresql+psycopg://u:{CANARY}@[::1]/d", "postgresql+psycopg://***@[::1]/d"),
        (f"https://{CANARY}@github.com", "https://***@github.com"),
        ("token srm_t_abcdefghijkl was used", "token srm_*** was used"),
        ("two\nlines\x1b[31m\u202e", "two lines [31m "),
        ("nothing to hide", "nothing to hide"),
    ],
)
def test_RT20_TL04_credentials_and_line_breaks_do_not_reach_the_log(given, told):
    assert scrubbed(given) == told


def test_RT18_of_an_exception_its_class_and_its_places_are_told():
    stream = io.StringIO()
    journal = Journal(stream=stream)
    request = Request("192.0.2.1", is_secure=True)
    with pytest.raises(ValueError, match=CANARY) as raised:
        fail(CANARY)
    journal.unexpected(request, raised.value)
    assert where(raised.value)[-1].endswith(" fail")
    told = (ValueError, raised.value, None)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "it failed", (), told)
    assert CANARY not in JsonFormatter().format(record)
    journal.close()
    (line,) = lines(stream)
    assert (line["error"], line["request"], line["level"]) == ("ValueError", request.id, "error")
    assert CANARY not in stream.getvalue()


def test_a_request_is_told_by_its_route_and_who_asked():
    stream = io.StringIO()
    journal = Journal(stream=stream)
    request = Request("192.0.2.1", is_secure=True)
    request.template, request.actor, request.status = "/v1/entries/{kind}/{name:path}", "service:ci", 403
    request.code = "access_denied"
    journal.ended(request, "GET", 0.0123)
    journal.close()
    (line,) = lines(stream)
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "level": "info",
        "event": "request",
        "request": request.id,
        "method": "GET",
        "route": "/v1/entries/{kind}/{name:path}",
        "status": 403,
        "ms": 12.3,
        "actor": "service:ci",
        "source": "192.0.2.1",
        "code": "access_denied",
    }


def test_the_level_changes_while_the_server_runs():
    stream = io.StringIO()
    journal = Journal("warning", stream=stream)
    journal.say("one")
    journal.level = "info"
    journal.say("two")
    journal.level = "error"
    journal.say("three", level="warning")
    request = Request("", is_secure=False)
    request.status = 500
    journal.ended(request, "GET", 0.1)
    journal.close()
    assert [line["event"] for line in lines(stream)] == ["two", "request"]


def test_who_does_not_read_the_log_holds_nobody_up():
    class Stuck(io.StringIO):
        def write(self, text):
            gate.wait()
            return super().write(text)

    gate = threading.Event()
    stream = Stuck()
    journal = Journal(stream=stream)
    for index in range(12_000):
        journal.say("line", index=index)
    gate.set()
    journal.close()
    told = lines(stream)
    assert len(told) < 12_000
    assert any(line["event"] == "lines were dropped" for line in told)


def test_a_log_that_is_gone_ends_nothing():
    class Gone(io.StringIO):
        def write(self, _text):
            raise BrokenPipeError

    journal = Journal(stream=Gone())
    journal.say("one")
    journal.close()


@pytest.mark.parametrize(
    "holder",
    [
        ReadResult(kind="variable", name="n", outcome="found", value="canary-7f3a"),
        ReadAnswer(results=[ReadResult(kind="variable", name="n", outcome="found", value="canary-7f3a")]),
        WriteEntry(connection={"password": "canary-7f3a"}),
        Login(name="anna", password="canary-7f3a"),
        CodeLogin(code="canary-7f3a"),
        NewPassword(password="x", old_password="canary-7f3a"),
        Credential("token", "canary-7f3a"),
        Answer(b"canary-7f3a", headers={"Set-Cookie": "canary-7f3a"}),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_what_a_request_carries_does_not_print_it(holder):
    assert "canary-7f3a" not in f"{holder!r} {holder} {[holder]}"
    rich = getattr(holder, "__rich_repr__", list)
    assert "canary-7f3a" not in repr(list(rich()))
