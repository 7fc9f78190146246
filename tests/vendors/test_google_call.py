"""What Google answers, over gRPC and over REST: each refusal as what can be done about it."""

import logging
import os
import time
import traceback
from datetime import timedelta

import pytest

from parts.certificates import Authority, server_context
from parts.google import google, google_servers
from parts.google_model import RETRY_INFO, Fault
from parts.proxy import Proxy
from strongroom.bulkhead import within
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    NotAuthenticatedError,
)
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY
from strongroom.vendors.crc32c import crc32c
from strongroom.vendors.google import GoogleAccess, GoogleRefusal, GoogleSession
from strongroom.vendors.google_secrets import GoogleSecrets

__all__ = ["google", "google_servers"]  # fixtures


@pytest.fixture(params=["grpc", "rest"])
def transport(request):
    return request.param


@pytest.fixture
def opened(google, transport):
    made = []

    def make(port=None, **options):
        port = port or (google.grpc_port if transport == "grpc" else google.http_port)
        given = {
            "project_id": google.project(),
            "gcp_keyfile_dict": Secret(google.key()),
            "endpoint": f"http://127.0.0.1:{port}",
            "transport": transport,
        }
        session = GoogleSession(GoogleAccess(**{**given, **options}), place="gcp", environ={})
        made.append(session)
        return GoogleSecrets(session, "gcp"), session

    yield make
    for session in made:
        session.close()


def refused(secrets, kind, **attributes):
    with pytest.raises(kind) as caught:
        secrets.access("v", "latest")
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vars(caught.value))
    assert CANARY not in shown
    for name, value in attributes.items():
        assert getattr(caught.value, name) == value
    return caught.value


def test_checksum_is_that_of_the_standard():
    # RFC 3720 B.4
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0


@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL"])
def test_throttled_slow_and_broken_are_unavailable_and_tell_how_long_to_wait(google, opened, status):
    secrets, _ = opened()
    google.model.faults += [Fault(status, CANARY, {"@type": RETRY_INFO, "retryDelay": "7.5s"})] * 2
    refused(secrets, BackendUnavailableError, retry_after=timedelta(seconds=7.5), backend="gcp")
    google.model.faults[:] = [Fault(status, CANARY)] * 2
    refused(secrets, BackendUnavailableError, retry_after=None)


@pytest.mark.parametrize(
    ("reason", "option"),
    [
        ("CONSUMER_INVALID", "project_id"),
        ("SERVICE_DISABLED", "secretmanager.googleapis.com"),
        ("BILLING_DISABLED", "billing"),
        ("USER_PROJECT_DENIED", "quota_project_id"),
    ],
)
def test_project_that_cannot_be_used_is_set_up_wrongly(google, opened, reason, option):
    secrets, _ = opened()
    google.model.faults.append(Fault.of("PERMISSION_DENIED", CANARY, reason))
    assert option in refused(secrets, BackendConfigError).hint


def test_version_whose_key_is_disabled_is_unavailable_and_no_shape(google, opened):
    secrets, _ = opened()
    google.model.faults.append(Fault("FAILED_PRECONDITION", f"Cloud KMS key {CANARY} is not enabled."))
    assert "key of your own" in refused(secrets, BackendUnavailableError).hint


def test_project_that_is_not_there_is_set_up_wrongly_and_never_absent(opened):
    secrets, _ = opened(project_id="nobodys")
    assert "project_id" in refused(secrets, BackendConfigError).hint


def test_question_google_cannot_read_is_set_up_wrongly(google, opened):
    secrets, _ = opened()
    google.model.faults.append(Fault("INVALID_ARGUMENT", CANARY))
    refused(secrets, BackendConfigError)


def test_token_that_is_never_taken_is_not_authenticated(google, opened):
    secrets, _ = opened()
    google.revoked.add(google.account)
    refused(secrets, NotAuthenticatedError)


def test_somebody_else_at_the_endpoint_is_set_up_wrongly_and_never_absent(google, transport, opened):
    port = google.http_port
    with Proxy("127.0.0.1", port, is_tls=transport == "grpc") as proxy:
        if transport == "rest":
            proxy.answer(404, {"Content-Type": "text/html"}, b"<h1>404</h1>")
            secrets, _ = opened(proxy.port)
            assert "endpoint" in refused(secrets, BackendConfigError).hint
        else:  # HTTP/1 where HTTP/2 is spoken
            secrets, _ = opened(proxy.port)
            refused(secrets, BackendUnavailableError)


@pytest.mark.parametrize("endpoint", ["ftp://h", "https://u:p@h", "https://h/path", "h"])
def test_endpoint_that_is_none_is_refused_by_its_option(transport, endpoint):
    with pytest.raises(BackendConfigError, match=r"backend\.gcp\.endpoint"):
        GoogleSession(GoogleAccess(endpoint=endpoint, transport=transport), place="gcp", environ={})


@pytest.mark.parametrize("location", ["evil.example/", "europe-west3@evil.example", "..", "Europe West"])
@pytest.mark.parametrize("endpoint", [None, "https://secretmanager.europe-west3.rep.googleapis.com"])
def test_location_that_is_no_region_is_refused_by_its_option(transport, endpoint, location):
    access = GoogleAccess(location=location, endpoint=endpoint, transport=transport)
    with pytest.raises(
        BackendConfigError, match=r"backend\.gcp\.location"
    ):  # its letters stand in a host's name
        GoogleSession(access, place="gcp", environ={})


def test_absent_and_existing_are_the_askers_to_judge(opened):
    secrets, session = opened()
    assert secrets.access("v", "latest") is None
    assert secrets.add("v", "x") is None
    assert secrets.create("v", (), {}) is True
    assert secrets.create("v", (), {}) is False
    assert secrets.delete("v") is True
    assert secrets.delete("v") is False
    assert secrets.versions("v") == []
    assert secrets.described("v") == ({}, {})
    with pytest.raises(GoogleRefusal):
        session.ask("get_secret", name=f"{session.parent}/secrets/v")
    with pytest.raises(ConflictError):
        secrets.enable("v", "1")


def test_what_adds_is_never_asked_twice(google, opened):
    secrets, _ = opened()
    secrets.create("v", (), {})
    for _ in range(10):  # what may be asked again is saved up by asking
        secrets.access("v", "latest")
    google.model.calls.clear()
    google.model.faults.append(Fault("UNAVAILABLE", CANARY))
    with pytest.raises(BackendUnavailableError):
        secrets.add("v", "x")
    assert len(google.model.calls) == 1


def test_question_of_a_kind_that_may_be_repeated_is_repeated_once_in_ten(google, opened, transport):
    if transport == "rest":
        pytest.skip("this backend has the transport's own tests of that over REST")
    secrets, _ = opened()
    for _ in range(9):
        secrets.access("v", "latest")
    google.model.calls.clear()
    google.model.faults.append(Fault("UNAVAILABLE", CANARY))
    assert secrets.access("v", "latest") is None
    assert len(google.model.calls) == 2
    google.model.faults.append(Fault("UNAVAILABLE", CANARY))
    refused(secrets, BackendUnavailableError)


# --- an outage -----------------------------------------------------------------------------------------


@pytest.fixture
def proxied(google, transport, opened):
    port = google.grpc_port if transport == "grpc" else google.http_port
    with Proxy("127.0.0.1", port, is_tls=transport == "grpc") as proxy:
        secrets, session = opened(proxy.port, timeout=timedelta(seconds=0.5))
        yield proxy, secrets, session


@pytest.mark.parametrize("mode", ["refuse", "reset", "drop", "hang", "mute", "stall"])
def test_outage_is_unavailable_in_time(proxied, mode):
    proxy, secrets, _ = proxied
    assert secrets.access("v", "latest") is None
    proxy.become(mode)
    refused(secrets, BackendUnavailableError, backend="gcp")


def test_outage_opens_the_circuit_and_its_end_closes_it(google, proxied, caplog):
    _, secrets, session = proxied
    secrets.access("v", "latest")
    google.model.faults += [Fault("INTERNAL", CANARY)] * 5
    for _ in range(5):
        refused(secrets, BackendUnavailableError)
    assert session.is_circuit_open
    before = len(google.model.calls)
    error = refused(secrets, BackendUnavailableError)
    assert "is not asked for another" in str(error)
    assert timedelta(0) < error.retry_after <= timedelta(seconds=5)
    assert len(google.model.calls) == before
    assert "is not asked any more" in caplog.text
    assert CANARY not in caplog.text


def test_end_of_an_outage_is_noticed(proxied):
    proxy, secrets, _ = proxied
    secrets.access("v", "latest")
    proxy.become("refuse")
    for _ in range(3):
        refused(secrets, BackendUnavailableError)
    proxy.become("pass")
    deadline = time.monotonic() + 20
    while True:
        try:
            assert secrets.access("v", "latest") is None
            break
        except BackendUnavailableError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_nobody_is_asked_when_nobody_waits_any_more(google, opened):
    secrets, _ = opened()
    with within(0.0), pytest.raises(BackendUnavailableError, match="nobody waits"):
        secrets.access("v", "latest")
    assert google.model.calls == []


def test_question_ends_when_its_caller_leaves(google, opened):
    secrets, _ = opened()
    secrets.access("v", "latest")
    google.model.seconds = 2.0
    with within(0.1):
        refused(secrets, BackendUnavailableError)


def test_closed_session_asks_nobody(google, opened):
    secrets, session = opened()
    secrets.access("v", "latest")
    session.close()
    session.close()
    google.model.calls.clear()
    refused(secrets, BackendUnavailableError)
    assert google.model.calls == []


def test_proxies_of_the_environment_are_not_used(google, opened, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    secrets, _ = opened()
    assert secrets.access("v", "latest") is None


@pytest.fixture
def secured(google, transport, tmp_path):
    """Give the port of a server over TLS, and whom to trust for that."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "127.0.0.1", "localhost")
    if transport == "rest":
        with Proxy("127.0.0.1", google.http_port, front=server_context(certificate, key)) as proxy:
            yield proxy.port, authority
        return
    server, port = google.over_tls(certificate, key)
    yield port, authority
    server.stop(None).wait()


def test_authority_that_is_named_is_trusted_and_another_is_not(opened, secured, tmp_path):
    port, authority = secured
    (tmp_path / "other").mkdir()
    endpoint = f"https://127.0.0.1:{port}"
    secrets, _ = opened(endpoint=endpoint, ca=authority.file)
    assert secrets.access("v", "latest") is None
    secrets, _ = opened(endpoint=endpoint, ca=Authority(tmp_path / "other").file)
    refused(secrets, BackendUnavailableError)


def test_ca_that_cannot_be_read_is_named(opened, secured, tmp_path):
    secrets, _ = opened(endpoint=f"https://127.0.0.1:{secured[0]}", ca=tmp_path / "none.pem")
    refused(secrets, BackendConfigError)


# --- what shows ----------------------------------------------------------------------------------------


def test_sdk_that_logs_all_logs_no_value_and_no_token(google, opened, caplog):
    for name in ("google", "grpc", "urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).propagate = True
    try:
        with caplog.at_level(logging.DEBUG):
            secrets, session = opened()
            secrets.create("v", (), {})
            secrets.add("v", CANARY)
            assert secrets.access("v", "latest") == (CANARY, "1")
    finally:
        for name in ("google", "grpc", "urllib3", "requests"):
            logging.getLogger(name).setLevel(logging.NOTSET)
    shown = caplog.text + "".join(repr(vars(record)) for record in caplog.records)
    token = session._token.text.reveal()
    for secret in (CANARY, "Y0FuQXJZ", token):  # in base64, as REST sends it
        assert secret not in shown


def test_child_of_a_fork_has_a_channel_of_its_own(google, opened):
    secrets, session = opened()
    secrets.access("v", "latest")
    child = os.fork()
    if not child:
        try:
            os._exit(0 if secrets.access("v", "latest") is None else 2)
        except BaseException:  # noqa: BLE001 -- a child must not come back into the suite
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert secrets.access("v", "latest") is None
    assert not session.is_circuit_open
