"""Tests of connections to Redis and Slack, each against one that answers."""

from __future__ import annotations

import pytest

from parts.certificates import Authority
from parts.redis import PASSWORD, redis_server
from parts.trying import CANARY, LOOPBACK, failed, made, steps, tried
from parts.web_asked import served

ALL = ["name: ok", "tcp: ok", "tls: ok", "authentication: ok", "read: ok"]
PLAIN = [step.replace("tls: ok", "tls: skipped") for step in ALL]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def redis(authority, tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis"), authority) as running:
        running.add_user("app", PASSWORD, "~*", "+@all")
        running.add_user("mute", PASSWORD, "-@all", "+auth", "+hello", "+client", "+select")
        yield running


def to(redis, *, password=PASSWORD, host="127.0.0.1", login="app", **extra):
    port = redis.tls_port if extra.get("ssl") else redis.port
    return made("redis", host=host, port=port, login=login, password=password, extra=extra)


def test_redis_is_tested_with_and_without_tls(redis):
    assert steps(tried(to(redis), LOOPBACK)) == PLAIN
    checked = to(redis, host="localhost", ssl=True, ssl_ca_certs=str(redis.ca))
    assert steps(tried(checked)) == ALL


def test_what_is_wrong_with_redis_is_told_by_its_step(redis):
    assert failed(tried(to(redis, password=CANARY))) == ("authentication", "credentials")
    assert failed(tried(to(redis, login="mute"))) == ("read", "forbidden")
    assert failed(tried(to(redis, ssl=True, ssl_ca_certs=str(redis.ca)))) == ("tls", "wrong_host")
    assert failed(tried(to(redis, ssl=True))) == ("tls", "untrusted")


@pytest.fixture(scope="module")
def web():
    with served() as running:
        yield running


def slack(web, token="xoxb-good"):
    return made("slack", password=token, extra={"base_url": f"http://127.0.0.1:{web.port}/api/"})


def test_slack_is_asked_whom_the_token_belongs_to(web):
    reached = ["name: ok", "tcp: ok", "tls: skipped", "authentication: ok"]
    assert steps(tried(slack(web), LOOPBACK)) == reached
    assert failed(tried(slack(web, f"xoxb-{CANARY}"))) == ("authentication", "credentials")


def test_a_webhook_of_slack_is_sent_nothing_that_would_show(web):
    web.posted.clear()
    there = f"http://127.0.0.1:{web.port}/services"
    assert tried(made("slackwebhook", password=f"{there}/good")).is_ok
    assert web.posted == [b'{"text": ""}']
    assert failed(tried(made("slackwebhook", password=f"{there}/{CANARY}"))) == (
        "authentication",
        "credentials",
    )


def test_SS08_a_redirect_of_slack_is_not_followed(web):
    web.asked.clear()
    moved = made("slack", password="xoxb-good", extra={"base_url": f"http://127.0.0.1:{web.port}/moved/"})
    assert not tried(moved).is_ok
    assert web.asked == [("POST", "/moved/auth.test")]
