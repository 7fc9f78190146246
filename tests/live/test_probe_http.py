"""Tests of connections to web services, over TLS and without, redirects and proxies."""

from __future__ import annotations

import pytest

from parts.certificates import DAY, Authority, server_context
from parts.oauth2 import provider
from parts.redis import PASSWORD
from parts.trying import CANARY, LOOPBACK, failed, made, steps, tried
from parts.web_asked import served
from parts.web_service import web_service
from strongroom.live.around import Around

ALL = ["name: ok", "tcp: ok", "tls: ok", "authentication: ok", "read: ok"]
PLAIN = [step.replace("tls: ok", "tls: skipped") for step in ALL]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def web():
    with served() as running:
        yield running


def of(web, path="", *, login="app", password=PASSWORD, scheme="http", **extra):
    host = f"{scheme}://127.0.0.1:{web.port}{path}"
    return made("http", host=host, login=login, password=password, extra=extra)


def test_a_web_service_is_asked_for_its_head_and_for_nothing_else(web):
    web.asked.clear()
    assert steps(tried(of(web), LOOPBACK)) == PLAIN
    assert web.asked == [("HEAD", "/")]


def test_what_a_web_service_answers_is_told_by_its_step(web):
    web.statuses = {"/forbidden": 403, "/none": 404, "/away": 503, "/broken": 500}
    assert failed(tried(of(web, password=CANARY))) == ("authentication", "credentials")
    assert failed(tried(of(web, login=None, password=None))) == ("authentication", "missing")
    assert failed(tried(of(web, "/forbidden"))) == ("authentication", "forbidden")
    assert failed(tried(of(web, "/away"))) == ("read", "unavailable")
    assert failed(tried(of(web, "/broken"))) == ("read", "other")
    assert tried(of(web, "/none")).is_ok


@pytest.mark.parametrize("status", [301, 307])
def test_SS08_a_redirect_is_not_followed(web, status):
    web.asked.clear()
    web.statuses = {"/moved": status}
    assert steps(tried(of(web, "/moved", allow_redirects=True))) == PLAIN
    assert web.asked == [("HEAD", "/moved")]


def test_SS09_no_proxy_of_the_environment_is_used(web, monkeypatch):
    environ = dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    around = Around(environ=environ, now=None, run=lambda: None, held=None)
    assert tried(of(web), around=around).is_ok


@pytest.mark.parametrize("scheme", ["file", "gopher", "ldap", "ftp"])
def test_SS03_another_scheme_than_those_of_http_is_refused(scheme):
    there = made("http", host=f"{scheme}://127.0.0.1/etc/passwd")
    assert failed(tried(there, LOOPBACK)) == ("options", "malformed")


def test_the_days_that_a_certificate_lasts_are_told_and_one_that_has_ended_is_refused(authority):
    for name, lasts, days in (("lasting", DAY * 20, 19), ("ended", -DAY, None)):
        context = server_context(*authority.issue(name, "127.0.0.1", lasts=lasts))
        with served(context) as web:
            found = tried(of(web, scheme="https", verify=str(authority.file)))
            if days is None:
                assert failed(found) == ("tls", "expired")
                lenient = tried(of(web, scheme="https", verify=False))
                assert [step.days_left for step in lenient.steps if step.name == "tls"] == [-2]
            else:
                assert steps(found) == ALL
                assert [step.days_left for step in found.steps if step.name == "tls"] == [days]


def test_a_service_without_tls_is_told_as_one(web):
    assert failed(tried(of(web, scheme="https"))) == ("tls", "plaintext")


@pytest.fixture(scope="module")
def tokens():
    """A service that takes the tokens of a provider, and that provider."""
    with web_service() as service, provider() as office:
        service.forget()
        office.forget()
        service.tokens = office.access
        office.clients["app"] = PASSWORD
        yield service, office


def by_token(tokens, *, password=PASSWORD, **said):
    service, office = tokens
    extra = {"oauth2": {"token_url": office.url, "client_id": "app", **said}}
    return made("http", host=service.url, password=password, extra=extra)


def test_a_token_of_oauth2_is_got_as_a_step_of_its_own(tokens):
    got = ["name: ok", "tcp: ok", "tls: skipped", "token: ok", "authentication: ok", "read: ok"]
    assert steps(tried(by_token(tokens, client_secret=PASSWORD))) == got
    assert failed(tried(by_token(tokens, client_secret=CANARY))) == ("token", "credentials")


def test_a_refresh_token_that_counts_once_is_not_used_up_by_a_test(tokens):
    token = tokens[1].grown("app")
    before = tokens[1].questions
    found = tried(by_token(tokens, client_secret=PASSWORD, refresh_token=token))
    assert steps(found) == ["name: ok", "tcp: ok", "tls: skipped", "token: skipped"]
    assert tokens[1].questions == before
    assert token in tokens[1].refresh
