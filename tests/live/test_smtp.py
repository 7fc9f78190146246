"""SMTP clients against a server that checks who sends: TLS, mechanisms, rotation, and what is told."""

from __future__ import annotations

import gc
import os
import smtplib
import socket
import ssl
import traceback
import warnings
from contextlib import contextmanager
from email.message import EmailMessage

import pytest

import strongroom
from parts import certificates
from parts.held import kept
from parts.smtp import PASSWORD, smtp_server
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.live import smtp as family
from strongroom.model.connection import Connection
from strongroom.model.extra import Extra
from strongroom.model.secret import Secret

TO = ["ops@example.com"]
IN_CLEAR = {"disable_ssl": True, "disable_tls": True}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return certificates.Authority(tmp_path_factory.mktemp("smtp-authority"))


@pytest.fixture(scope="module")
def trusting(authority):
    """A context that trusts the tests' authority."""
    return ssl.create_default_context(cafile=authority.file)


@pytest.fixture(scope="module")
def certificate(authority):
    return certificates.server_context(*authority.issue("office", "localhost"))


@pytest.fixture
def office():
    with smtp_server() as office:
        office.users["app"] = PASSWORD
        yield office


def fields(office, **others):
    extra = {**IN_CLEAR, **others.pop("extra", {})}
    standard = {"host": "localhost", "port": office.port, "login": "app", "password": PASSWORD, **others}
    return {"conn_type": "smtp", "extra": extra, **standard}


@pytest.fixture
def stored(office):
    with kept("mail", **fields(office)) as stored:
        yield stored


@pytest.fixture
def client(stored):
    with family.client(stored.held, stored.asked()) as client:
        yield client


@contextmanager
def opened(given, **options):
    """Give a client of a connection of those fields."""
    with kept("mail", **given) as stored, family.client(stored.held, stored.asked(**options)) as client:
        yield client


def send(client, text="hello"):
    return client.sendmail("app@example.com", TO, f"Subject: {text}\r\n\r\n{text}\r\n")


def framed(error):
    """Give what an error report with the locals of every frame of ours would show."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return "".join(repr(frame.f_locals) for frame in frames if frame.f_code.co_filename != __file__)


def refused(work):
    with pytest.raises(strongroom.StrongroomError) as caught:
        work()
    error = caught.value
    shown = f"{error!r} {error.hint} {vars(error)} {''.join(traceback.format_exception(error))}"
    assert PASSWORD not in shown + framed(error)
    assert "\nsmtplib." not in shown
    return error


def what(error):
    return (error.step, error.reason)


# --- the main path ------------------------------------------------------------------------------


def test_a_client_of_a_connection_in_the_room_sends_a_message(office, tmp_path):
    given = fields(office)
    given |= {"password": Secret(given["password"]), "extra": Extra(given["extra"])}
    environ = {
        "HOME": str(tmp_path),
        "STRONGROOM__CHAIN": '["env"]',
        "AIRFLOW_CONN_MAIL": Connection(**given).format("json").reveal(),
    }
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "app@example.com", TO[0], "a report"
    message.set_content("all is well")
    with (
        strongroom.open_room(environ=environ) as room,
        strongroom.use_room(room),
        strongroom.client("mail") as client,
    ):
        assert isinstance(client, smtplib.SMTP)
        assert client.send_message(message) == {}
    ((user, sender, recipients, content),) = office.mails
    assert (user, sender, recipients) == ("app", "app@example.com", TO)
    assert b"all is well" in content


def test_tls_from_the_start_is_the_default(certificate, trusting):
    with smtp_server(tls=certificate) as office:
        office.users["app"] = PASSWORD
        given = {**fields(office), "extra": None}
        with opened(given, context=trusting) as client:
            assert send(client) == {}
            assert isinstance(client.sock, ssl.SSLSocket)


def test_starttls_comes_before_anything_is_said(certificate, trusting):
    with smtp_server(starts_tls=certificate) as office:
        office.users["app"] = PASSWORD
        with opened({**fields(office), "extra": {"disable_ssl": "true"}}, context=trusting) as client:
            assert send(client) == {}
            assert isinstance(client.sock, ssl.SSLSocket)
    assert office.tries == [("PLAIN", "app", True)]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5"])
def test_each_mechanism_signs_in_and_knows_more_than_ascii(mechanism):
    with smtp_server(mechanisms=[mechanism]) as office:
        office.users["app"] = PASSWORD
        with opened(fields(office)) as client:
            assert send(client) == {}
    assert office.tries == [(mechanism, "app", True)]


def test_in_clear_the_mechanism_that_shows_nothing_is_taken():
    with smtp_server(mechanisms=["PLAIN", "CRAM-MD5"]) as office:
        office.users["app"] = PASSWORD
        with opened(fields(office)) as client:
            client.connect()
    assert office.tries == [("CRAM-MD5", "app", True)]


def test_a_token_signs_in_where_the_connection_says_oauth2():
    with smtp_server(mechanisms=["XOAUTH2"]) as office:
        office.tokens["a-token"] = "app@example.com"
        extra = {"auth_type": "oauth2", "access_token": "a-token", "from_email": "app@example.com"}
        with opened(fields(office, login=None, password=None, extra=extra)) as client:
            assert send(client) == {}
        extra["access_token"] = "another"
        with opened(fields(office, login=None, password=None, extra=extra)) as client:
            assert what(refused(client.connect)) == ("authentication", "credentials")


def test_a_server_that_asks_for_nobody_is_told_nobody():
    with smtp_server(mechanisms=()) as office:
        with opened(fields(office, login=None, password=None)) as client:
            assert send(client) == {}
        assert office.tries == []
        with opened(fields(office)) as client:
            assert what(refused(client.connect)) == ("authentication", "missing")


def test_options_reach_the_library(office):
    with opened(fields(office), local_hostname="worker-1", timeout=7) as client:
        client.connect()
        assert client.local_hostname == "worker-1"
        assert client.sock.gettimeout() == 7


@pytest.mark.parametrize("option", ["host", "password", "no_such"])
def test_an_option_that_the_connection_says_or_nobody_knows_is_refused(stored, option):
    error = refused(lambda: family.client(stored.held, stored.asked(**{option: "x"})))
    assert isinstance(error, BackendConfigError)
    assert what(error) == ("options", "unknown")


@pytest.mark.parametrize(
    "extra",
    [{"timeout": "soon"}, {"disable_tls": "perhaps"}, {"auth_type": "magic"}, {"retry_limit": -1}],
    ids=lambda extra: next(iter(extra)),
)
def test_a_field_that_cannot_be_read_is_named(office, extra):
    def work():
        with opened(fields(office, extra=extra)) as client:
            client.connect()

    error = refused(work)
    assert what(error) == ("options", "malformed")
    assert f"extra.{next(iter(extra))}" in str(error)


def test_what_oauth2_lacks_is_named(office):
    for given in (
        {"login": None, "extra": {"auth_type": "oauth2", "access_token": "x"}},
        {"extra": {"auth_type": "oauth2"}},
    ):
        with opened(fields(office, **given)) as client:
            assert what(refused(client.connect)) == ("options", "missing")


# --- following ----------------------------------------------------------------------------------


def test_the_next_mail_uses_the_new_password_and_nobody_is_refused(office, stored, client):
    send(client)
    office.users["app"] = "two"
    stored.write(**fields(office, password="two"))
    stored.tell()
    before = office.sessions
    send(client)
    send(client)
    assert office.sessions == before + 1
    assert [is_let_in for *_, is_let_in in office.tries] == [True, True]
    assert stored.questions == 0


def test_a_mail_under_way_finishes_in_its_session(office, stored, client):
    client.mail("app@example.com")
    office.users["app"] = "two"
    stored.write(**fields(office, password="two"))
    stored.tell()
    assert client.rcpt(TO[0])[0] == 250
    assert client.data(b"Subject: late\r\n\r\nlate\r\n")[0] == 250
    assert len(office.mails) == 1
    assert len(office.tries) == 1
    send(client)
    assert len(office.tries) == 2


def test_a_refusal_asks_once_and_tries_once_more(office, stored, client):
    send(client)
    office.users["app"] = "two"
    stored.write(**fields(office, password="two"))
    office.end_sessions()
    send(client)
    assert stored.questions == 1
    assert [is_let_in for *_, is_let_in in office.tries] == [True, False, True]
    assert len(office.mails) == 2


def test_a_refusal_without_anything_newer_is_told_and_not_tried_again(office, stored, client):
    office.users["app"] = "two"
    error = refused(lambda: send(client))
    assert isinstance(error, AccessDeniedError)
    assert what(error) == ("authentication", "credentials")
    assert stored.questions == 1
    assert office.tries == [("PLAIN", "app", False)]


def test_newer_credentials_that_are_refused_too_are_not_tried_again(office, stored, client):
    office.users["app"] = "three"
    stored.write(**fields(office, password="two"))
    assert what(refused(lambda: send(client))) == ("authentication", "credentials")
    assert len(office.tries) == 2


def test_a_session_that_the_server_ended_is_made_anew_before_a_mail(office, client):
    send(client)
    office.end_sessions()
    send(client)
    assert len(office.mails) == 2


def test_a_session_that_ends_as_a_mail_begins_is_made_anew_and_the_mail_sent_once(office, client):
    send(client)
    office.leaves = 1
    send(client)
    assert len(office.mails) == 2
    office.leaves = 2
    with pytest.raises(smtplib.SMTPSenderRefused):
        send(client)
    assert len(office.mails) == 2


def test_another_server_is_followed(office, stored, client):
    send(client)
    with smtp_server() as other:
        other.users["app"] = "elsewhere"
        stored.write(**fields(other, password="elsewhere"))
        stored.tell()
        send(client)
        assert len(other.mails) == 1
        client.close()


def test_a_token_that_changes_is_followed():
    with smtp_server(mechanisms=["XOAUTH2"]) as office:
        office.tokens["one"] = "app"
        extra = {"auth_type": "oauth2", "access_token": "one"}
        with (
            kept("mail", **fields(office, extra=extra)) as stored,
            family.client(stored.held, stored.asked()) as client,
        ):
            send(client)
            office.tokens = {"two": "app"}
            stored.write(**fields(office, extra={**extra, "access_token": "two"}))
            office.end_sessions()
            send(client)
        assert len(office.mails) == 2


def test_a_server_that_hangs_up_at_once_is_tried_again_as_often_as_the_connection_says(office):
    office.hangs_up = 2
    with opened(fields(office, extra={"retry_limit": 2})) as client:
        send(client)
    office.hangs_up = 2
    with opened(fields(office, extra={"retry_limit": "1"})) as client:
        assert what(refused(client.connect)) == ("authentication", "other")


def test_a_forked_child_has_a_session_of_its_own(office, client):
    send(client)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
        child = os.fork()
    if child == 0:
        try:
            os._exit(0 if send(client) == {} else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    before = office.sessions
    send(client)
    assert office.sessions == before
    assert len(office.mails) == 3


def test_quitting_ends_the_session_and_the_following_and_needs_none(office, stored):
    client = family.client(stored.held, stored.asked())
    assert client.quit()[0] == 221
    assert not stored.held._clients
    client = family.client(stored.held, stored.asked())
    send(client)
    assert client.quit()[0] == 221
    assert not stored.held._clients
    assert client.sock is None


def test_a_client_that_nobody_has_any_more_is_not_followed_for(stored):
    client = family.client(stored.held, stored.asked())
    send(client)
    client.close()
    del client
    gc.collect()
    assert not stored.held._clients


# --- trouble ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["tls", "starts_tls"])
def test_a_certificate_that_does_not_fit_is_told_and_gets_no_password(certificate, trusting, how):
    extra = {"disable_ssl": how == "starts_tls", "disable_tls": False}
    with smtp_server(**{how: certificate}) as office:
        with opened(fields(office, extra=extra)) as client:
            assert what(refused(client.connect)) == ("tls", "untrusted")
        with opened(fields(office, extra=extra, host="127.0.0.1"), context=trusting) as client:
            assert what(refused(client.connect)) == ("tls", "wrong_host")
        assert office.tries == []


def test_an_expired_certificate_is_told(authority, trusting):
    expired = authority.issue("expired", "localhost", lasts=-certificates.DAY)
    with (
        smtp_server(tls=certificates.server_context(*expired)) as office,
        opened(fields(office, extra={"disable_ssl": False}), context=trusting) as client,
    ):
        assert what(refused(client.connect)) == ("tls", "expired")


def test_any_certificate_is_taken_where_the_connection_says_so(certificate):
    with smtp_server(tls=certificate) as office:
        office.users["app"] = PASSWORD
        with opened(fields(office, extra={"disable_ssl": False, "ssl_context": "none"})) as client:
            assert send(client) == {}


def test_there_is_no_session_in_clear_where_tls_was_asked_for(office):
    for extra in ({"disable_ssl": True, "disable_tls": False}, {"disable_ssl": False}):
        with opened(fields(office, extra=extra)) as client:
            assert what(refused(client.connect)) == ("tls", "plaintext")
    assert office.tries == []


def test_a_server_that_cannot_tell_now_is_unavailable(office, stored, client):
    office.users["app"] = "two"
    office.refusal = "454 4.7.0 the directory is away"
    error = refused(lambda: send(client))
    assert isinstance(error, BackendUnavailableError)
    assert what(error) == ("authentication", "unavailable")
    assert stored.questions == 0


def test_a_server_that_is_down_silent_or_nowhere_is_told(office):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        given = fields(office, host="127.0.0.1", port=port, extra={"timeout": 0.2, "retry_limit": 0})
        with opened(given) as client:
            assert what(refused(client.connect)) == ("authentication", "timeout")
    with opened(given) as client:
        assert what(refused(client.connect)) == ("tcp", "refused")
    with opened(fields(office, host="no-such-host.invalid")) as client:
        assert refused(client.connect).step == "name"
    with kept("mail", **fields(office, host=None)) as stored:
        error = refused(lambda: family.client(stored.held, stored.asked()))
    assert what(error) == ("options", "missing")


def test_what_becomes_of_a_mail_is_the_librarys_own_word(office, client):
    with pytest.raises(smtplib.SMTPSenderRefused):
        client.sendmail("nobody@example.com", TO, "Subject: x\r\n\r\nx\r\n")


def test_nothing_that_is_printed_has_the_password(office, client, capfd, caplog):
    caplog.set_level("DEBUG", logger="strongroom")
    client.set_debuglevel(2)
    send(client)
    client.set_debuglevel(0)
    printed = "".join(capfd.readouterr())
    assert "MAIL" in printed.upper()
    for shown in (printed, repr(client), repr(vars(client)), caplog.text):
        assert PASSWORD not in shown
        assert "AUTH PLAIN" not in shown
