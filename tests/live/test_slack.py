"""Slack's clients against a strict workspace: who posts, who may know it, rotation, and what fails."""

from __future__ import annotations

import asyncio
import io
import logging
import pickle
import socket
import traceback

import pytest

import strongroom
from parts.echo import echo
from parts.held import kept
from parts.slack import slack
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError

slack_sdk = pytest.importorskip("slack_sdk")

from slack_sdk.errors import SlackApiError  # noqa: E402 -- after its library

from strongroom.live import slack as family  # noqa: E402 -- after its library

TOKEN = "xoxb-c4nary-1"
PLACE = "T0C4/B0C4/c4nary"
KINDS = ["slack", "slackwebhook"]
DOORS = ["in line", "on a loop"]


@pytest.fixture(scope="module")
def running():
    with slack() as workspace:
        yield workspace


@pytest.fixture
def workspace(running):
    running.forget()
    running.tokens.add(TOKEN)
    running.hooks.add(PLACE)
    return running


def fields(workspace, kind, secret=None, **extra):
    if kind == "slack":
        return {"conn_type": kind, "password": secret or TOKEN, "extra": {"base_url": workspace.api, **extra}}
    return {
        "conn_type": kind,
        "host": workspace.webhooks,
        "password": secret or PLACE,
        "extra": extra or None,
    }


def rotate(workspace, kind, secret):
    workspace.tokens.clear()
    workspace.hooks.clear()
    (workspace.tokens if kind == "slack" else workspace.hooks).add(secret)


def post(stored, text, door, **options):
    """Post *text* by a client of *stored*, in line or on a loop; gives what the library gave."""
    is_webhook = stored.held.known.connection.conn_type == "slackwebhook"
    said = {"text": text} if is_webhook else {"text": text, "channel": "C1"}

    async def work():
        client = await family.aclient(stored.held, stored.asked(**options))
        return await (client.send(**said) if is_webhook else client.chat_postMessage(**said))

    if door == "on a loop":
        return asyncio.run(work())
    client = family.client(stored.held, stored.asked(**options))
    return client.send(**said) if is_webhook else client.chat_postMessage(**said)


def refused(work, kind, step, reason):
    with pytest.raises(strongroom.StrongroomError) as caught:
        work()
    error = caught.value
    assert (type(error), error.step, error.reason) == (kind, step, reason)
    said = f"{error!r} {error.hint} {vars(error)} {''.join(traceback.format_exception(error))}"
    assert "c4nary" not in said
    return error


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(params=DOORS)
def door(request):
    return request.param


@pytest.fixture
def stored(workspace, kind):
    with kept("chat", **fields(workspace, kind)) as stored:
        yield stored


def test_a_message_is_posted_by_the_librarys_own_client(stored, workspace, door):
    assert post(stored, "hello", door).status_code == 200
    assert workspace.posted == ["hello"]


def test_a_secret_that_was_rotated_is_read_once_and_the_message_posted_once(stored, workspace, kind, door):
    rotate(workspace, kind, "T1/B1/c4nary-second")
    stored.write(**fields(workspace, kind, "T1/B1/c4nary-second"))
    assert post(stored, "hello", door).status_code == 200
    assert (workspace.posted, len(workspace.asked), stored.questions) == (["hello"], 2, 1)


def test_a_change_that_was_told_is_used_at_once(workspace, kind):
    with kept("chat", **fields(workspace, kind)) as stored:
        client = family.client(stored.held, stored.asked())
        rotate(workspace, kind, "c4nary-second")
        stored.write(**fields(workspace, kind, "c4nary-second"))
        stored.tell()
        if kind == "slack":
            assert client.auth_test()["ok"]
        else:
            assert client.send(text="x").body == "ok"
    assert (len(workspace.asked), stored.questions) == (1, 0)


def test_a_wrong_secret_is_told_after_one_question(stored, workspace, kind, door):
    rotate(workspace, kind, "nobody-knows")
    refused(lambda: post(stored, "hello", door), AccessDeniedError, "authentication", "credentials")
    assert (len(workspace.asked), stored.questions) == (1, 1)


def test_a_new_secret_that_is_wrong_too_is_tried_once(stored, workspace, kind, door):
    rotate(workspace, kind, "nobody-knows")
    stored.write(**fields(workspace, kind, "c4nary-second"))
    refused(lambda: post(stored, "hello", door), AccessDeniedError, "authentication", "credentials")
    assert len(workspace.asked) == 2


@pytest.mark.parametrize("said", ["account_inactive", "token_expired", "token_revoked"])
def test_every_way_to_refuse_a_token_counts_as_one(workspace, said):
    workspace.error = said
    with kept("chat", **fields(workspace, "slack", "xoxb-c4nary-old")) as stored:
        refused(lambda: post(stored, "x", "in line"), AccessDeniedError, "authentication", "credentials")


def test_what_else_the_service_says_no_to_is_the_librarys_own(workspace):
    with kept("chat", **fields(workspace, "slack")) as stored:
        client = family.client(stored.held, stored.asked())
        with pytest.raises(SlackApiError) as caught:
            client.chat_postMessage(channel="", text="x")
        assert caught.value.response["error"] == "channel_not_found"
    with kept("chat", **fields(workspace, "slackwebhook")) as stored:
        answer = family.client(stored.held, stored.asked()).send(text="")
        assert (answer.status_code, answer.body) == (400, "no_text")
    assert stored.questions == 0


def test_a_file_that_was_read_is_not_sent_twice(workspace):
    with kept("chat", **fields(workspace, "slack")) as stored:
        client = family.client(stored.held, stored.asked())
        rotate(workspace, "slack", "c4nary-second")
        stored.write(**fields(workspace, "slack", "c4nary-second"))
        workspace.faults.append(
            (200, {"Content-Type": "application/json"}, b'{"ok":false,"error":"invalid_auth"}')
        )
        refused(
            lambda: client.api_call("files.upload", files={"file": io.BytesIO(b"x")}),
            BackendUnavailableError,
            "authentication",
            "unavailable",
        )


def test_a_redirect_takes_no_token_along(workspace):
    with slack() as other, kept("chat", **fields(workspace, "slack")) as stored:
        for door in DOORS:
            workspace.faults.append((302, {"Location": f"{other.api}chat.postMessage"}, b""))
            post(stored, "x", door)
            assert "authorization" not in other.asked[-1].headers
    assert workspace.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_neither_a_client_nor_a_log_shows_the_secret(stored, workspace, kind, door, caplog):
    caplog.set_level(logging.DEBUG)
    post(stored, "hello", door)
    client = family.client(stored.held, stored.asked())
    assert "c4nary" not in f"{caplog.text} {client!r} {client} {vars(client)!r}"
    with pytest.raises(TypeError):
        pickle.dumps(client)


def test_no_frame_of_an_error_holds_the_secret(workspace, door):
    with kept("chat", **fields(workspace, "slack")) as stored:
        workspace.faults += [
            (200, {"Content-Type": "application/json"}, b'{"ok": false, "error": "ratelimited"}')
        ]
        with pytest.raises(SlackApiError) as caught:
            post(stored, "x", door)
        rotate(workspace, "slack", "nobody-knows")
        with pytest.raises(AccessDeniedError) as refusal:
            post(stored, "x", door)
    for error in (caught.value, refusal.value):
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename != __file__:
                assert "c4nary" not in repr(frame.f_locals), frame.f_code.co_name


def test_what_gives_back_what_it_was_sent_shows_nothing_of_it(kind, door, caplog):
    caplog.set_level(logging.DEBUG)

    class Nowhere:
        pass

    nowhere = Nowhere()
    with echo() as port:
        nowhere.api = nowhere.webhooks = f"http://127.0.0.1:{port}/services"
        with kept("chat", **fields(nowhere, kind)) as stored:
            refused(lambda: post(stored, "x", door), BackendUnavailableError, "read", "other")
    assert "c4nary" not in caplog.text


@pytest.mark.parametrize("option", ["token", "url", "proxy", "c4nary"])
def test_an_option_that_the_library_does_not_have_or_the_connection_says_is_refused(stored, option):
    refused_at = pytest.raises(BackendConfigError)
    with refused_at as caught:
        family.client(stored.held, stored.asked(**{option: "x"}))
    assert (caught.value.step, caught.value.reason) == ("options", "unknown")


def test_options_and_time_limits_reach_the_library(workspace):
    with kept("chat", **fields(workspace, "slack", timeout="7")) as stored:
        client = family.client(stored.held, stored.asked(user_agent_suffix="nightly"))
        assert (client.timeout, client.base_url) == (7, workspace.api)
        client.auth_test()
    assert workspace.asked[-1].headers["user-agent"].endswith("nightly")


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ({"password": "T/B/x"}, "https://hooks.slack.com/services/T/B/x"),
        ({"password": "/T/B/x", "host": "h.example/hooks/"}, "https://h.example/hooks/T/B/x"),
        ({"password": "T/B/x", "host": "h.example", "schema": "http"}, "http://h.example/T/B/x"),
        ({"password": "T/B/x", "host": "https://h.example/a"}, "https://h.example/a/T/B/x"),
        ({"password": "https://h.example/services/T/B/x"}, "https://h.example/services/T/B/x"),
    ],
)
def test_the_address_of_a_webhook_is_put_together_as_airflows_hook_does(said, url):
    with kept("chat", conn_type="slackwebhook", **said) as stored:
        assert family.client(stored.held, stored.asked()).url == url


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, "missing"),
        ({"password": " "}, "missing"),
        ({"password": "c4nary\r\nX-A: b"}, "malformed"),
        ({"password": "c4nary", "extra": {"base_url": "file:///etc/passwd"}}, "malformed"),
        ({"password": "c4nary", "extra": {"base_url": "c4nary"}}, "malformed"),
        ({"password": "c4nary", "extra": {"proxy": "c4nary"}}, "malformed"),
        ({"password": "c4nary", "extra": {"timeout": "c4nary"}}, "malformed"),
    ],
)
def test_what_cannot_be_used_is_refused_by_the_fields_name(said, reason):
    with kept("chat", conn_type="slack", **said) as stored:
        refused(lambda: family.client(stored.held, stored.asked()), BackendConfigError, "options", reason)


def test_a_webhook_that_is_no_address_is_refused():
    with kept("chat", conn_type="slackwebhook", password="file:///c4nary") as stored:
        refused(
            lambda: family.client(stored.held, stored.asked()), BackendConfigError, "options", "malformed"
        )


def test_a_service_that_is_down_and_a_name_that_is_none_are_told(kind, door):
    class Nowhere:
        pass

    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        nowhere = Nowhere()
        nowhere.api = nowhere.webhooks = f"http://127.0.0.1:{unheard.getsockname()[1]}/"
        with kept("chat", **fields(nowhere, kind)) as stored:
            refused(
                lambda: post(stored, "x", door, retry_handlers=[]), BackendUnavailableError, "tcp", "refused"
            )
    nowhere.api = nowhere.webhooks = "http://nobody.invalid/"
    with kept("chat", **fields(nowhere, kind)) as stored:
        refused(lambda: post(stored, "x", door, retry_handlers=[]), BackendConfigError, "name", "unknown")
