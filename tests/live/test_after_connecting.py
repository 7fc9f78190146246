"""
What HTTP and Slack clients raise once a service has answered, which is their libraries' own to tell: whatever
comes back, no error of theirs shows who WORDS, nor does a log, nor do the frames that the error came through.

What a service itself says is shown: where it gives back what it was sent, so is that, where it is read.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import logging
import traceback

import pytest

from parts.echo import echo
from parts.held import kept

httpx2 = pytest.importorskip("httpx2")
pytest.importorskip("slack_sdk")

from slack_sdk.errors import SlackApiError  # noqa: E402 -- after its library

from strongroom.live import http, slack  # noqa: E402 -- after their libraries

CANARY = "c4nary-of-what-was-sent"
BASIC = base64.b64encode(f"app:{CANARY}".encode()).decode()


WORDS = b"what a service says"


def _said(status, *lines, body=b""):
    head = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 " + status, *lines))
    return head + b"\r\n" + body


def _sized(status, body, *lines):
    return _said(status, *lines, b"content-length: %d" % len(body), body=body)


ANSWERS = {
    "nothing": lambda _: b"",
    "all of it": lambda _: WORDS + b"\r\n\r\n",
    "in the status": lambda _: b"HTTP/1.1 " + WORDS + b"\r\n\r\n",
    "in the reason": lambda _: _sized(b"500 " + WORDS, b""),
    "in a broken header": lambda _: _said(b"200 OK", b"x " + WORDS + b": y"),
    "as a length": lambda _: _said(b"200 OK", b"content-length: " + WORDS),
    "as a coding": lambda _: _said(b"200 OK", b"transfer-encoding: " + WORDS),
    "half a body": lambda _: _said(b"200 OK", b"content-length: 99999", body=WORDS),
    "half a chunk": lambda _: _said(b"200 OK", b"transfer-encoding: chunked", body=b"ffff\r\n" + WORDS),
    "no chunk": lambda _: _said(b"200 OK", b"transfer-encoding: chunked", body=WORDS + b"\r\n"),
    "no gzip": lambda _: _sized(b"200 OK", WORDS, b"content-encoding: gzip"),
    "half a gzip": lambda _: _sized(b"200 OK", gzip.compress(WORDS)[:-9], b"content-encoding: gzip"),
    "no text": lambda _: _sized(b"200 OK", b"\xff\xfe" + WORDS, b"content-type: text/plain; charset=utf-8"),
    "no JSON": lambda _: _sized(b"200 OK", WORDS, b"content-type: application/json"),
    "other JSON": lambda _: _sized(b"200 OK", b'["' + WORDS + b'"]', b"content-type: application/json"),
    "a no": lambda _: _sized(b"403 No", WORDS, b"content-type: text/plain"),
    "a fault": lambda _: _sized(b"500 No", WORDS, b"content-type: text/plain"),
    "too much": lambda _: _sized(b"429 No", WORDS, b"retry-after: " + WORDS),
    "a redirect to no address": lambda _: _sized(b"302 No", b"", b"location: http://[" + WORDS),
    "a redirect to no web": lambda _: _sized(b"302 No", b"", b"location: ftp://x/" + WORDS),
    "a redirect for ever": lambda _: _sized(b"302 No", b"", b"location: /again"),
    "a bad cookie": lambda _: _sized(b"500 No", b"", b"set-cookie: " + WORDS),
}


def _web(port, **extra):
    return {"conn_type": "http", "host": f"http://127.0.0.1:{port}", "extra": {"trust_env": False, **extra}}


CONNECTIONS = {
    "a password": lambda port: {**_web(port), "login": "app", "password": CANARY},
    "a header": lambda port: _web(port, **{"X-Api-Key": CANARY}),
    "a bot": lambda port: {
        "conn_type": "slack",
        "password": CANARY,
        "extra": {"base_url": f"http://127.0.0.1:{port}/api/"},
    },
    "a webhook": lambda port: {
        "conn_type": "slackwebhook",
        "host": f"http://127.0.0.1:{port}/services",
        "password": f"T0/B0/{CANARY}",
    },
}


async def _used(made):
    """Do with *made* what its library is for, and look at what came as most do."""
    if hasattr(made, "chat_postMessage"):
        found = made.chat_postMessage(channel="C1", text="x")
    else:
        found = made.send(text="x") if hasattr(made, "send_dict") else made.get("/orders")
    answer = await found if asyncio.iscoroutine(found) or asyncio.isfuture(found) else found
    if hasattr(answer, "raise_for_status"):
        answer.raise_for_status()
        answer.json()


async def _work(stored, family, is_async):
    if is_async:
        made = await family.aclient(stored.held, stored.asked())
    else:
        made = family.client(stored.held, stored.asked())
    try:
        await _used(made)
    finally:
        if hasattr(made, "aclose"):
            await made.aclose()
        elif hasattr(made, "close"):
            made.close()


def _shown(error):
    """Give all that *error* tells, with what it was raised from and what its frames hold."""
    shown, found, seen = ["".join(traceback.format_exception(error))], error, set()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        shown += [repr(found), str(found), repr(found.args), repr(vars(found))]
        shown += [repr(value) for frame in _frames(found) for value in frame.f_locals.values()]
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return "".join(shown)


def _frames(error):
    every = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return [frame for frame in every if "/tests/" not in frame.f_code.co_filename]


def test_what_is_no_answer_of_slacks_is_the_librarys_own_error():
    async def work(stored):
        await (await slack.aclient(stored.held, stored.asked())).chat_postMessage(channel="C1", text="x")

    for answer in ("a no", "a fault"):
        with echo(ANSWERS[answer]) as port, kept("chat", **CONNECTIONS["a bot"](port)) as stored:
            with pytest.raises(SlackApiError):
                asyncio.run(work(stored))
            with pytest.raises(SlackApiError):
                slack.client(stored.held, stored.asked()).chat_postMessage(channel="C1", text="x")


@pytest.mark.parametrize("is_async", [False, True], ids=["in line", "on a loop"])
def test_what_comes_in_place_of_a_chunk_is_not_quoted(is_async):
    head = _said(b"200 OK", b"transfer-encoding: chunked")
    with (
        echo(lambda asked: head + asked.replace(b"\r\n", b" ") + b"'\r\n") as port,
        kept("api", **CONNECTIONS["a header"](port)) as stored,
        pytest.raises(httpx2.RemoteProtocolError) as caught,
    ):
        asyncio.run(_work(stored, http, is_async))
    assert CANARY not in _shown(caught.value)


@pytest.mark.parametrize("is_async", [False, True], ids=["in line", "on a loop"])
@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_no_error_of_a_library_quotes_who_asked(answer, connection, is_async, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    family = http if connection in ("a password", "a header") else slack
    shown = ""
    with echo(ANSWERS[answer]) as port, kept("api", **CONNECTIONS[connection](port)) as stored:
        try:
            asyncio.run(_work(stored, family, is_async))
        except Exception as error:  # noqa: BLE001 -- whatever it is
            shown = _shown(error)
    shown += caplog.text + "".join(capfd.readouterr())
    assert CANARY not in shown
    assert BASIC[8:-8] not in shown
