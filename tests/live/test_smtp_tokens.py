"""SMTP clients that sign in by tokens: a provider's of the connection's own, and Microsoft's."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from parts import certificates
from parts.held import kept
from parts.oauth2 import provider
from parts.smtp import smtp_server
from parts.tunnel import tunnel
from strongroom.errors import AccessDeniedError, StrongroomError
from strongroom.live import smtp as family

pytest.importorskip("httpx2")

SECRET = "a client's secret"
TO = ["ops@example.com"]


class Good:
    """The tokens an office of SMTP lets `app` in with: those its provider says are good."""

    def __init__(self, office):
        self._office = office

    def get(self, token):
        return "app" if token in self._office.access else None


@contextmanager
def opened(given, **asked):
    """Give a client of a connection of those fields."""
    with kept("mail", **given) as stored, family.client(stored.held, stored.asked(**asked)) as client:
        yield client


@pytest.fixture
def tokens():
    with provider() as office:
        office.clients["robot"] = SECRET
        yield office


@pytest.fixture
def mail(tokens):
    with smtp_server(mechanisms=["XOAUTH2"]) as mail:
        mail.tokens = Good(tokens)
        yield mail


def fields(mail, **extra):
    said = {"disable_ssl": True, "disable_tls": True, "auth_type": "oauth2", **extra}
    return {"conn_type": "smtp", "host": "localhost", "port": mail.port, "login": "app", "extra": said}


def of_provider(mail, tokens, **more):
    oauth2 = {"token_url": tokens.url, "client_id": "robot", "client_secret": SECRET, "write_back": False}
    return fields(mail, oauth2={**oauth2, **more})


def send(client):
    return client.sendmail("app@example.com", TO, "Subject: hello\r\n\r\nhello\r\n")


def test_a_token_of_the_connections_provider_signs_in_and_is_used_until_it_ends(mail, tokens):
    with opened(of_provider(mail, tokens)) as client:
        send(client)
        mail.end_sessions()
        send(client)
    assert len(mail.mails) == 2
    assert tokens.questions == 1


def test_a_client_that_the_provider_refuses_is_told(mail, tokens):
    given = of_provider(mail, tokens, client_secret="wrong")
    with opened(given) as client, pytest.raises(AccessDeniedError) as caught:
        send(client)
    assert (caught.value.step, caught.value.reason) == ("token", "credentials")
    assert "wrong" not in f"{caught.value}{caught.value.hint}"
    assert mail.tries == []


# --- Microsoft's ----------------------------------------------------------------------------------


@pytest.fixture
def microsoft(tmp_path, tokens):
    """The environment in which login.microsoftonline.com is the tests' own provider."""
    authority = certificates.Authority(tmp_path)
    context = certificates.server_context(*authority.issue("microsoft", "login.microsoftonline.com"))
    with provider(context) as office:
        office.clients["robot"] = SECRET
        office.path = "/a-tenant/oauth2/v2.0/token"
        office.access = tokens.access
        with tunnel(office.server_port) as proxy:
            office.proxy = proxy
            office.environ = {"HTTPS_PROXY": proxy.url, "REQUESTS_CA_BUNDLE": str(authority.file)}
            yield office


def of_microsoft(mail, **more):
    return fields(mail, client_id="robot", client_secret=SECRET, tenant_id="a-tenant", **more)


def test_a_client_of_microsofts_gets_a_token_for_its_tenant_and_scope(mail, microsoft):
    with opened(of_microsoft(mail), environ=microsoft.environ) as client:
        send(client)
        mail.end_sessions()
        send(client)
    assert len(mail.mails) == 2
    assert microsoft.proxy.asked == ["login.microsoftonline.com:443"]
    (form,) = microsoft.forms
    assert form["grant_type"] == "client_credentials"
    assert form["scope"] == "https://outlook.office.com/.default"


def test_a_token_that_the_mail_server_takes_no_more_is_replaced_once(mail, microsoft):
    with opened(of_microsoft(mail, scope="mail"), environ=microsoft.environ) as client:
        send(client)
        microsoft.access.clear()
        mail.end_sessions()
        send(client)
        assert len(microsoft.forms) == 2
        microsoft.answers = [(200, {"access_token": "no-good", "token_type": "Bearer"})] * 2
        microsoft.access.clear()
        mail.end_sessions()
        with pytest.raises(AccessDeniedError):
            send(client)
    assert len(mail.mails) == 2
    assert microsoft.forms[0]["scope"] == "mail"


@pytest.mark.parametrize("tenant", ["../other", "a/b", "a b", "a?b"])
def test_a_tenant_that_would_lead_elsewhere_is_refused(mail, microsoft, tenant):
    with (
        opened(
            fields(mail, client_id="robot", client_secret=SECRET, tenant_id=tenant), environ=microsoft.environ
        ) as client,
        pytest.raises(StrongroomError) as caught,
    ):
        send(client)
    assert (caught.value.step, caught.value.reason) == ("options", "malformed")
    assert microsoft.forms == []
