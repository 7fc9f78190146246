"""Logging in to Azure and asking a vault: Azure's own SDK against a strict fake."""

import logging
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest
from azure.keyvault.secrets._shared import http_challenge_cache
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from parts.azure import CLIENT, MACHINE, PRINCIPAL, SECRET, TENANT, Azure
from parts.certificates import Authority
from strongroom.bulkhead import within
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    RateLimitedError,
    SettingsError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.azure import AzureAccess, AzureSession, origin_of
from strongroom.vendors.azure_login import OneLogin
from strongroom.vendors.azure_vault import KeyVault
from strongroom.vendors.sessions import Sessions, access_of


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Azure(Authority(tmp_path_factory.mktemp("azure"))) as azure:
        yield azure


@pytest.fixture
def azure(running):
    running.clear()
    http_challenge_cache.clear()  # the SDK keeps what vaults asked of it for the whole process
    running.put("x", "value")
    return running


@pytest.fixture
def opened(azure):
    made = []

    def make(*, environ=None, url=None, verify_challenge=True, **access):
        said = {"authority": azure.entra, "ca": azure.ca, **access}
        session = AzureSession(AzureAccess(**said), place="azure", environ=environ or {})
        made.append(session)
        return KeyVault(session, "azure", url or azure.vault_url, verify_challenge=verify_challenge)

    yield make
    for session in made:
        session.close()


def secretly(**more):
    return {"tenant_id": TENANT, "client_id": CLIENT, "client_secret": Secret(SECRET), **more}


# --- ways to log in ---------------------------------------------------------------------------------


def test_client_logs_in_with_its_secret_and_is_named(azure, opened):
    vault = opened(**secretly())
    assert vault.get("x").value == "value"
    assert vault._session.login.who == f"client {CLIENT}, principal {PRINCIPAL}, tenant {TENANT}"
    assert azure.wrong == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    public = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def write(path, password=None):
        hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
        path.write_bytes(private + public)
        return path

    return public, write


@pytest.mark.parametrize("password", [None, b"p4ss"])
def test_client_logs_in_with_its_certificate(azure, opened, certificate, tmp_path, password):
    azure.certificate, write = certificate
    said = {"certificate": write(tmp_path / "app.pem", password), "tenant_id": TENANT, "client_id": CLIENT}
    if password:
        said["certificate_password"] = Secret(password.decode())
    assert opened(**said).get("x").value == "value"


def test_certificate_that_cannot_be_used_is_named(azure, opened, certificate, tmp_path):
    said = {"tenant_id": TENANT, "client_id": CLIENT}
    locked = certificate[1](tmp_path / "app.pem", b"p4ss")
    for path, words in ((tmp_path / "none.pem", "cannot be read"), (locked, "refuses")):
        with pytest.raises(BackendConfigError, match=words) as caught:
            opened(certificate=path, **said).get("x")
        assert "certificate" in caught.value.hint


def test_workload_logs_in_with_its_token_file(azure, opened, tmp_path):
    azure.assertion = "a.service-accounts.token"
    file = tmp_path / "token"
    file.write_text(azure.assertion)
    said = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_FEDERATED_TOKEN_FILE": str(file)}
    assert opened(environ=said).get("x").value == "value"
    by_options = opened(
        workload_identity_tenant_id=TENANT, managed_identity_client_id=CLIENT, token_file=file
    )
    assert by_options.get("x").value == "value"


def test_workload_without_its_file_or_its_federation_is_told_so(azure, opened, tmp_path):
    file = tmp_path / "token"
    vault = opened(tenant_id=TENANT, client_id=CLIENT, token_file=file)
    with pytest.raises(NotAuthenticatedError, match=r"token file .* cannot be read"):
        vault.get("x")
    file.write_text("another.service-accounts.token")
    with pytest.raises(NotAuthenticatedError, match="AADSTS70021") as caught:
        opened(tenant_id=TENANT, client_id=CLIENT, token_file=file).get("x")
    assert "federated credential" in caught.value.hint


@pytest.mark.parametrize("client", [None, MACHINE])
def test_machine_logs_in_as_itself(azure, opened, monkeypatch, client):
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.machine)  # the SDK reads it itself
    vault = opened(
        managed_identity_client_id=client, environ={"AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.machine}
    )
    assert vault.get("x").value == "value"
    assert f"client {MACHINE}" in vault._session.login.who


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (None, NotAuthenticatedError, "no such managed identity"),
        ((404, None, {}), BackendUnavailableError, "not ready"),
        ((429, None, {"retry-after": "9"}), RateLimitedError, "logged in more often"),
        ((500, None, {}), BackendUnavailableError, "status 500"),
    ],
)
def test_machine_without_an_identity_is_told_so(azure, opened, monkeypatch, answer, kind, words):
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.machine)
    azure.machine_answers = [] if answer is None else [answer]
    vault = opened(
        managed_identity_client_id="other", environ={"AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.machine}
    )
    with pytest.raises(kind, match=words):
        vault.get("x")


def test_environment_is_looked_at_where_nothing_is_said(azure, opened):
    said = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": SECRET}
    vault = opened(authority=None, environ={**said, "AZURE_AUTHORITY_HOST": azure.entra})
    assert vault.get("x").value == "value"


@pytest.mark.parametrize(
    ("access", "words"),
    [
        ({"client_secret": Secret("s"), "tenant_id": TENANT}, "without client_id"),
        ({"client_secret": Secret("s"), "certificate": "/x"}, "both client_secret and certificate"),
        ({"auth": "client_secret"}, "without tenant_id and client_id and client_secret"),
        ({"auth": "workload_identity"}, "without tenant, client or token file"),
        ({"auth": "kerberos"}, "must be one of client_secret, certificate"),
        ({"tenant_id": TENANT}, "nothing to log in with"),
        ({"authority": "http://login.example"}, "authority"),
    ],
)
def test_half_a_way_to_log_in_is_refused_by_name(access, words):
    with pytest.raises(BackendConfigError, match=words):
        AzureSession(AzureAccess(**access), place="azure", environ={})


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "words", "hint"),
    [
        ({"client_secret": Secret("wrong")}, NotAuthenticatedError, "AADSTS7000215", "client_secret"),
        ({"client_id": MACHINE}, BackendConfigError, "no such client", "client_id"),
        ({"tenant_id": "contoso.example"}, BackendConfigError, "no such tenant", "tenant_id"),
        ({"authority": "localhost:1"}, BackendUnavailableError, "cannot be reached", "authority"),
        ({"url": "https://127.0.0.1:1"}, BackendUnavailableError, "cannot be reached", "vault_url"),
        ({"url": "https://nothing.invalid"}, BackendUnavailableError, "host name", "vault_url"),
        ({"ca": None}, BackendUnavailableError, "certificate", "ca"),
    ],
)
def test_each_wrong_setting_has_an_error_of_its_own(azure, opened, change, kind, words, hint):
    with pytest.raises(kind, match=words) as caught:
        opened(**{**secretly(), **change}).get("x")
    assert hint in (caught.value.hint or "")
    shown = f"{caught.value!r} {caught.value.hint} {caught.value.__context__} {caught.value.__cause__}"
    assert "nobody is to see" not in shown
    assert SECRET not in shown


def test_vault_of_another_tenant_is_told_so(azure, opened):
    azure.challenge = (
        f'Bearer authorization="{azure.entra}/00000000-1111-2222-3333-444444444444", '
        f'resource="{azure.resource}"'
    )
    with pytest.raises(BackendConfigError, match="of another tenant") as caught:
        opened(**secretly()).get("x")
    assert "tenant_id" in caught.value.hint
    assert azure.logins == 0


def test_vault_that_does_not_take_the_token_is_told_so(azure, opened):
    vault = opened(**secretly())
    vault.get("x")
    azure.resource, azure.challenge = (
        "https://another",
        f'Bearer authorization="{azure.entra}/{TENANT}", resource="{azure.resource}"',
    )
    with pytest.raises(NotAuthenticatedError, match="does not take the token"):
        vault.get("x")


def test_refused_login_is_not_tried_again_at_once(azure, opened):
    vault = opened(**secretly(client_secret=Secret("wrong")))
    for _ in range(3):
        with pytest.raises(NotAuthenticatedError):
            vault.get("x")
    azure.client_secret = "wrong"
    with pytest.raises(NotAuthenticatedError):
        vault.get("x")
    assert azure.logins == 0


def test_refused_secret_is_fetched_again(azure, opened):
    fetched = iter(["old", "old", SECRET])
    vault = opened(**secretly(client_secret=lambda: Secret(next(fetched))))
    with pytest.raises(NotAuthenticatedError):
        vault.get("x")
    vault = opened(**secretly(client_secret=lambda: Secret(next(again))))
    again = iter(["old", SECRET])
    assert vault.get("x").value == "value"


def test_secret_whose_source_is_gone_leaves_the_refusal(azure, opened):
    fetched = iter([Secret("old")])

    def fetch():
        for found in fetched:
            return found
        raise SettingsError("gone")

    with pytest.raises(NotAuthenticatedError, match="AADSTS7000215"):
        opened(**secretly(client_secret=fetch)).get("x")


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((429, None, {"retry-after": "9"}), RateLimitedError, "logged in more often"),
        ((503, None, {}), BackendUnavailableError, "status 503"),
        ((404, b"<html>", {"content-type": "text/html"}), BackendConfigError, "no Entra ID"),
        ((200, b"<html>", {"content-type": "text/html"}), BackendUnavailableError, "could not log in"),
        ((302, None, {"location": "https://evil.example"}), BackendUnavailableError, "redirects"),
        ((200, b"x" * 9_000_000, {}), BackendUnavailableError, "azure"),
    ],
)
def test_login_that_gives_no_token_is_told_apart(azure, opened, answer, kind, words):
    azure.entra_answers = [answer]
    with pytest.raises(kind, match=words):
        opened(**secretly()).get("x")


# --- where tokens and secrets go --------------------------------------------------------------------


def test_vault_that_asks_for_a_token_of_another_service_gets_none(azure, opened):
    azure.challenge = f'Bearer authorization="{azure.entra}/{TENANT}", resource="https://graph.microsoft.com"'
    with pytest.raises(BackendConfigError, match="token of another service; none was sent"):
        opened(**secretly()).get("x")
    assert azure.logins == 0
    assert all(not has_token for _, _, has_token in azure.requests)


def test_private_cloud_may_let_its_vaults_name_another_resource(azure, opened):
    azure.resource = "https://vault.private.example"
    assert opened(verify_challenge=False, **secretly()).get("x").value == "value"


@pytest.mark.parametrize("challenge", ["", "Basic realm=x", "Bearer", "Bearer x", 'Bearer authorization=""'])
def test_challenge_that_is_none_is_answered_with_no_token(azure, opened, challenge):
    azure.challenge = challenge
    with pytest.raises((BackendConfigError, NotAuthenticatedError)):
        opened(**secretly()).get("x")
    assert azure.logins == 0


def test_secret_goes_to_no_other_host_than_the_authority(azure, opened):
    azure.token_endpoint = f"{azure.vault_url}/steal"
    with pytest.raises(BackendUnavailableError, match="sent to another server, which is not asked"):
        opened(**secretly()).get("x")
    assert [path for _, path, _ in azure.requests] == ["/secrets/x"]


def test_body_is_sent_with_a_token_only(azure, opened):
    opened(**secretly()).set("y", {"value": "v"})
    assert azure.wrong == []
    assert [has_token for _, _, has_token in azure.requests] == [False, True]


def test_proxies_of_the_environment_are_not_used(azure, opened, monkeypatch):
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert opened(**secretly()).get("x").value == "value"


def test_nothing_of_a_login_or_a_value_is_logged(azure, opened, caplog):
    caplog.set_level(logging.DEBUG)
    azure.put("x", "the-value-itself")
    opened(**secretly()).get("x")
    token = next(iter(azure.tokens))
    for hidden in (SECRET, token, token.split(".")[1], "the-value-itself"):
        assert hidden not in caplog.text


# --- one login ---------------------------------------------------------------------------------------


def test_many_threads_log_in_once(azure, opened):
    vault = opened(**secretly())
    start = threading.Barrier(24)

    def read(_):
        start.wait()
        return vault.get("x").value

    with ThreadPoolExecutor(24) as pool:
        assert set(pool.map(read, range(24))) == {"value"}
    assert azure.logins == 1
    assert sum(not has_token for _, _, has_token in azure.requests) == 1


def test_whoever_waits_for_a_login_waits_no_longer_than_his_time(azure):
    begun, go = threading.Event(), threading.Event()

    class Slow:
        def get_token_info(self, *_scopes, options=None):
            begun.set()
            go.wait(20)
            raise BackendUnavailableError("slow", backend="azure")

        def close(self):
            pass

    login = OneLogin("azure", lambda _again: Slow())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(login.get_token_info, "scope")
        begun.wait(20)
        with within(0.05), pytest.raises(BackendUnavailableError, match="still logging in"):
            login.get_token_info("scope")
        go.set()
        with pytest.raises(BackendUnavailableError, match="slow"):
            first.result()


def test_token_near_its_end_is_replaced(azure, opened):
    azure.token_seconds = 200
    vault = opened(**secretly())
    vault.get("x")
    vault.get("x")
    assert azure.logins == 2


def test_token_serves_while_nobody_can_log_in(azure, opened):
    azure.token_seconds = 200
    vault = opened(**secretly())
    vault.get("x")
    azure.entra_answers = [(503, None, {})] * 5
    assert vault.get("x").value == "value"


def test_revoked_token_is_replaced_unless_it_is_young(azure, opened):
    vault = opened(**secretly())
    vault.get("x")
    azure.revoke()
    with pytest.raises(NotAuthenticatedError):
        vault.get("x")
    seconds = [0.0]
    session = vault._session
    login = OneLogin("azure", session._identity, clock=lambda: seconds[0])
    session._logins = dict.fromkeys(session._logins, login)
    vault.get("x")
    azure.revoke()
    seconds[0] = 61.0
    assert vault.get("x").value == "value"


def test_vault_may_ask_for_claims_too(azure, opened):
    vault = opened(**secretly())
    vault.get("x")
    claims = "eyJhY2Nlc3NfdG9rZW4iOnt9fQ"
    said = f'Bearer authorization="{azure.entra}/{TENANT}", error="insufficient_claims", claims="{claims}"'
    azure.answers = [(401, {"error": {"code": "Unauthorized"}}, {"www-authenticate": said})]
    assert vault.get("x").value == "value"
    assert azure.logins == 2


def test_backends_that_log_in_alike_share_a_login(azure):
    sessions = Sessions()
    access = AzureAccess(authority=azure.entra, ca=azure.ca, **secretly())

    def make():
        return AzureSession(access, place="azure", environ={})

    users = object(), object()
    shared = [sessions.get(access_of(access, AzureAccess), make, user=user) for user in users]
    assert shared[0] is shared[1]
    for session in shared:
        assert KeyVault(session, "azure", azure.vault_url).get("x").value == "value"
    assert azure.logins == 1
    sessions.release(users[0])
    assert KeyVault(shared[1], "azure", azure.vault_url).get("x").value == "value"
    sessions.release(users[1])
    with pytest.raises(BackendUnavailableError, match="closed"):
        KeyVault(shared[1], "azure", azure.vault_url).get("x")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_child_logs_in_itself(azure, opened):
    vault = opened(**secretly())
    vault.get("x")
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    child = context.Process(target=lambda: results.put(vault.get("x").value))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    assert results.get() == "value"
    assert azure.logins == 2
    assert vault.get("x").value == "value"


# --- shapes and costs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://v.vault.azure.net:443/secrets?x", "https://v.vault.azure.net"),
        ("HTTPS://V.vault.azure.net", "https://v.vault.azure.net"),
        ("http://169.254.169.254/metadata", "http://169.254.169.254"),
        ("https://[::1]:8443/", "https://[::1]:8443"),
        ("https://user@v.vault.azure.net", ""),
        ("https://v.vault.azure.net\\@evil.example", ""),
        ("https://v:port", ""),
        ("ftp://v", ""),
        ("v.vault.azure.net", ""),
    ],
)
def test_origin_of_a_url(url, origin):
    assert origin_of(url) == origin


def test_sdk_is_loaded_when_a_vault_is_asked_and_not_before():
    program = (
        "import sys\n"
        "from datetime import datetime, timezone\n"
        "from strongroom.backend import load\n"
        "kind = load('azure_key_vault')\n"
        "options = kind.options_type(vault_url='https://v.vault.azure.net')\n"
        "made = kind('azure', options, clock=lambda: datetime.now(timezone.utc), environ={})\n"
        "made.close()\n"
        "loaded = [name for name in sys.modules if name.startswith(('azure.', 'msal', 'requests'))]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_threads_that_come_first_to_a_vault_that_is_ill_do_not_wait_for_one_another(azure, opened):
    vault = opened(**secretly())
    azure.hold = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(vault.get, "x") for _ in range(8)]
        assert azure.waiting.acquire(timeout=20)
        azure.answers_unasked = [(503, None, {})]
        azure.hold.set()
        told = [one.exception(20) for one in asked]
    assert sum(isinstance(one, BackendUnavailableError) for one in told) == 1
    assert [one.result().value for one, error in zip(asked, told, strict=True) if error is None] == [
        "value"
    ] * 7
