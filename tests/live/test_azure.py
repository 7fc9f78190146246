"""Azure, as live clients of a connection: how it logs in, how it follows, and what goes wrong."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
import time
import weakref
from datetime import datetime, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from parts.azure import CLIENT, MACHINE, SECRET, TENANT, Azure
from parts.certificates import DAY, Authority
from parts.held import kept
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.live import azure as live
from strongroom.live.azure_storage import account_url, storage_key

VAULT = "https://vault.azure.net/.default"
OURS = (CLIENT, "https://vault.azure.net")
CANARY = "the-canary-of-azure"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Azure(Authority(tmp_path_factory.mktemp("azure"))) as one:
        yield one


@pytest.fixture
def azure(running):
    running.clear()
    return running


@pytest.fixture(scope="module")
def certificate():
    """A certificate with its RSA key, as PEM: (certificate, key)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "application")])
    now = datetime.now(timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def principal(*, password=SECRET, login=CLIENT, **extra):
    return {
        "conn_type": "azure",
        "login": login,
        "password": password,
        "extra": {"tenantId": TENANT, **extra},
    }


def made(stored, azure, service=None, environ=None, **options):
    """Give a client of what is stored that finds the fakes."""
    there = {"authority": azure.entra, "connection_verify": str(azure.ca)} if service is None else options
    return live.client(stored.held, stored.asked(service, environ=environ, **there))


def whose(azure, credential, scope=VAULT):
    """Give for whom a token was made, and for which service."""
    return azure.tokens[credential.get_token(scope).token][:2]


def refused(azure, kind, say="", environ=None, **fields):
    """Make and use a credential of *fields*; give step and reason of what comes of it."""
    with kept(**fields) as stored, pytest.raises(kind) as caught:
        made(stored, azure, environ=environ).get_token(VAULT)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    words = f"{error} {error.hint}"
    assert say in words
    assert CANARY not in words
    assert "nobody is to see" not in words
    return error.step, error.reason


# --- how it logs in ----------------------------------------------------------------------------------------


def test_a_clients_secret_gives_tokens_and_one_is_kept(azure):
    with kept(**principal()) as stored, made(stored, azure) as credential:
        assert whose(azure, credential) == OURS
        assert credential.get_token_info(VAULT).token == credential.get_token(VAULT).token
        assert azure.logins == 1
        assert (
            whose(azure, credential, "https://management.azure.com/.default")[1]
            == "https://management.azure.com"
        )


@pytest.mark.parametrize(
    ("conn_type", "key"),
    [
        ("wasb", "tenant_id"),
        ("adls", "tenant_id"),
        ("azure_data_lake", "tenant"),
        ("azure_data_factory", "tenantId"),
    ],
)
def test_each_type_reads_the_tenant_where_its_hook_does(azure, conn_type, key):
    fields = {"conn_type": conn_type, "login": CLIENT, "password": SECRET}
    for extra in ({key: TENANT}, {f"extra__{conn_type}__{key}": TENANT}):
        with kept(**fields, extra=extra) as stored, made(stored, azure) as credential:
            assert whose(azure, credential) == OURS


def test_a_service_principal_may_be_a_document_or_a_file(azure, tmp_path):
    document = {"tenantId": TENANT, "clientId": CLIENT, "clientSecret": SECRET, "subscriptionId": "s"}
    file = tmp_path / "principal.json"
    file.write_text(json.dumps(document))
    for extra in ({"key_json": document}, {"key_json": json.dumps(document)}, {"key_path": str(file)}):
        with kept(conn_type="azure", extra=extra) as stored, made(stored, azure) as credential:
            assert whose(azure, credential) == OURS


def test_a_certificate_may_be_a_text_or_a_file(azure, certificate, tmp_path):
    azure.certificate, private = certificate
    text = (azure.certificate + private).decode()
    file = tmp_path / "application.pem"
    file.write_text(text)
    for given in (text, str(file)):
        with kept(**principal(password=None, certificate=given)) as stored, made(stored, azure) as credential:
            assert whose(azure, credential) == OURS


def test_a_workload_shows_the_token_of_its_pod(azure, tmp_path):
    azure.assertion = "eyJ.pod"
    file = tmp_path / "token"
    file.write_text("eyJ.pod")
    pod = {"AZURE_FEDERATED_TOKEN_FILE": str(file), "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT}
    with kept(conn_type="azure") as stored, made(stored, azure, environ=pod) as credential:
        assert whose(azure, credential) == OURS
    said = {"managed_identity_client_id": CLIENT, "workload_identity_tenant_id": TENANT}
    pod = {"AZURE_FEDERATED_TOKEN_FILE": str(file)}
    with kept(conn_type="azure", extra=said) as stored, made(stored, azure, environ=pod) as credential:
        assert whose(azure, credential) == OURS


def test_the_identity_of_the_machine_is_used_where_nothing_is_said(azure, monkeypatch):
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.machine)
    for extra in ({}, {"managed_identity_client_id": MACHINE}):
        with (
            kept(conn_type="azure", extra=extra) as stored,
            made(stored, azure, environ=dict(os.environ)) as credential,
        ):
            assert whose(azure, credential) == (MACHINE, "https://vault.azure.net")


def test_az_login_counts_where_the_environment_says_so_and_never_else(azure, tmp_path, monkeypatch):
    told = {"accessToken": "eyJ.laptop", "expires_on": int(time.time()) + 3600, "tokenType": "Bearer"}
    tool = tmp_path / "az"
    tool.write_text(f"#!/bin/sh\necho x >> {tmp_path}/runs\necho '{json.dumps(told)}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    dev = {"AZURE_TOKEN_CREDENTIALS": "dev"}
    with kept(conn_type="azure") as stored, made(stored, azure, environ=dev) as credential:
        assert credential.get_token(VAULT).token == credential.get_token(VAULT).token == "eyJ.laptop"
    assert (tmp_path / "runs").read_text() == "x\n"
    with kept(**principal()) as stored, made(stored, azure, environ=dev) as credential:
        assert whose(azure, credential) == OURS
    tool.write_text("#!/bin/sh\necho 'Please run az login' >&2\nexit 1\n")
    assert refused(azure, BackendConfigError, "az login", environ=dev, conn_type="azure") == (
        "token",
        "missing",
    )


@pytest.mark.parametrize(
    ("cloud", "host"),
    [
        ("AzurePublicCloud", "login.microsoftonline.com"),
        ("AzureUSGovernment", "login.microsoftonline.us"),
        ("AzureChinaCloud", "login.chinacloudapi.cn"),
    ],
)
def test_each_cloud_logs_in_at_its_own_authority(cloud, host):
    with kept(**principal(cloud_environment=cloud)) as stored:
        credential = live.client(stored.held, stored.asked())
        assert credential._made.session._authority == f"https://{host}"


def test_arguments_of_the_secret_of_wasb_say_where_to_log_in(azure):
    there = {"authority": azure.entra, "connection_verify": str(azure.ca)}
    extra = {"tenant_id": TENANT, "client_secret_auth_config": there}
    with (
        kept(conn_type="wasb", login=CLIENT, password=SECRET, extra=extra) as stored,
        live.client(stored.held, stored.asked()) as credential,
    ):
        assert whose(azure, credential) == OURS


def test_an_asynchronous_credential_gives_the_same_tokens(azure):
    async def use(stored):
        options = {"authority": azure.entra, "connection_verify": str(azure.ca)}
        async with await live.aclient(stored.held, stored.asked(**options)) as credential:
            found = await credential.get_token(VAULT)
            info = await credential.get_token_info(VAULT)
            assert info.token == found.token
            return azure.tokens[found.token][:2]

    with kept(**principal()) as stored:
        assert asyncio.run(use(stored)) == OURS


def test_a_service_has_a_client_with_the_credential(azure):
    azure.put("color", "blue")
    options = {"vault_url": azure.vault_url, "connection_verify": str(azure.ca)}
    environ = {"AZURE_AUTHORITY_HOST": azure.entra}
    config = {"connection_verify": str(azure.ca)}
    fields = {"conn_type": "wasb", "login": CLIENT, "password": SECRET}
    with (
        kept(**fields, extra={"tenant_id": TENANT, "client_secret_auth_config": config}) as stored,
        made(stored, azure, "keyvault.secrets", environ, **options) as client,
    ):
        assert client.get_secret("color").value == "blue"


def test_a_service_has_an_asynchronous_client_with_the_credential(azure):
    azure.put("color", "blue")
    options = {"vault_url": azure.vault_url, "connection_verify": str(azure.ca)}
    config = {"connection_verify": str(azure.ca)}
    fields = {"conn_type": "wasb", "login": CLIENT, "password": SECRET}

    async def use(stored):
        asked = stored.asked("keyvault.secrets", environ={"AZURE_AUTHORITY_HOST": azure.entra}, **options)
        async with await live.aclient(stored.held, asked) as client:
            return (await client.get_secret("color")).value

    with kept(**fields, extra={"tenant_id": TENANT, "client_secret_auth_config": config}) as stored:
        assert asyncio.run(use(stored)) == "blue"


# --- how it follows ----------------------------------------------------------------------------------------


def test_what_the_connection_says_now_decides_although_the_token_still_lasts(azure):
    with kept(**principal()) as stored, made(stored, azure) as credential:
        first = credential.get_token(VAULT).token
        stored.write(**principal(subscriptionId="s"))
        assert credential.get_token(VAULT).token == first
        stored.tell()
        assert credential.get_token(VAULT).token != first


def test_a_rotated_secret_is_read_anew_once_and_tried_once_more(azure):
    with kept(**principal(password="the-old-one")) as stored, made(stored, azure) as credential:
        stored.write(**principal())
        assert whose(azure, credential) == OURS
        assert stored.questions == 1
        assert azure.logins == 1


def test_a_secret_in_a_file_is_read_anew_when_it_is_refused(azure, tmp_path):
    file = tmp_path / "principal.json"
    file.write_text(json.dumps({"tenantId": TENANT, "clientId": CLIENT, "clientSecret": "the-old-one"}))
    with kept(conn_type="azure", extra={"key_path": str(file)}) as stored, made(stored, azure) as credential:
        file.write_text(
            json.dumps({"tenantId": TENANT, "clientId": CLIENT, "clientSecret": "another-old-one"})
        )
        credential._made.session.login._known()
        file.write_text(json.dumps({"tenantId": TENANT, "clientId": CLIENT, "clientSecret": SECRET}))
        assert whose(azure, credential) == OURS
        azure.client_secret = "rotated"
        file.unlink()
        with pytest.raises(BackendConfigError, match="key_path"):
            credential.get_token("https://management.azure.com/.default")


def test_a_wrong_secret_without_a_newer_one_is_refused_without_another_try(azure):
    said = refused(azure, AccessDeniedError, "AADSTS7000215", **principal(password=CANARY))
    assert said == ("token", "credentials")


def test_many_threads_get_one_token(azure):
    with kept(**principal()) as stored, made(stored, azure) as credential:
        start, found = threading.Barrier(16), []

        def use():
            start.wait(10)
            found.append(credential.get_token(VAULT).token)

        threads = [threading.Thread(target=use) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(found) == 16
        assert len(set(found)) == 1
        assert azure.logins == 1


def test_clients_of_one_connection_share_a_login_and_close_each_for_itself(azure):
    with kept(**principal()) as stored:
        asked = stored.asked(authority=azure.entra, connection_verify=str(azure.ca))
        first, second = live.client(stored.held, asked), live.client(stored.held, asked)
        assert first.get_token(VAULT).token == second.get_token(VAULT).token
        first.close()
        stored.write(**principal(subscriptionId="s"))
        stored.tell()
        assert whose(azure, second) == OURS
        assert azure.logins == 2
        assert stored.held._clients == 1


def test_a_credential_that_nobody_has_any_more_ends_the_following(azure):
    with kept(**principal()) as stored:
        credential = made(stored, azure)
        credential.get_token(VAULT)
        seen = weakref.ref(credential)
        assert stored.held._clients == 1
        del credential
        gc.collect()
        assert seen() is None
        assert stored.held._clients == 0


def test_a_credential_that_is_closed_gives_no_new_tokens(azure):
    with kept(**principal()) as stored:
        credential = made(stored, azure)
        credential.close()
        credential.close()
        assert stored.held._clients == 0
        with pytest.raises(BackendUnavailableError) as caught:
            credential.get_token(VAULT)
        assert (caught.value.step, caught.value.reason) == ("token", "unavailable")


def test_a_forked_child_gets_tokens_of_its_own(azure):
    with kept(**principal()) as stored, made(stored, azure) as credential:
        first = credential.get_token(VAULT).token
        theirs, ours = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(ours, credential.get_token(VAULT).token.encode())
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        second = os.read(theirs, 8192).decode()
        assert second != first
        assert azure.tokens[second][0] == CLIENT
        os.close(theirs)
        os.close(ours)


@pytest.mark.parametrize(
    ("conn_type", "fields", "where", "account", "text"),
    [
        ("wasb", {"login": "acme", "password": "a2V5"}, "https://acme.blob.core.windows.net", "acme", "a2V5"),
        (
            "wasb",
            {"host": "https://acme.blob.core.windows.net", "extra": {"account_key": "a2V5"}},
            None,
            "acme",
            "a2V5",
        ),
        (
            "wasb",
            {"host": "127.0.0.1:1/acme", "login": "acme", "password": "k"},
            "https://127.0.0.1:1/acme",
            "acme",
            "k",
        ),
        (
            "wasb",
            {"extra": {"sas_token": "https://acme.blob.core.windows.net/?sv=1&sig=s"}},
            "https://acme.blob.core.windows.net/",
            None,
            "sv=1&sig=s",
        ),
        ("wasb", {"login": "acme", "extra": {"sas_token": "sv=1&sig=s"}}, None, None, "sv=1&sig=s"),
        (
            "wasb",
            {
                "extra": {
                    "connection_string": "AccountName=acme;AccountKey=a2V5==;EndpointSuffix=core.cloudapi.de"
                }
            },
            "https://acme.blob.core.cloudapi.de",
            "acme",
            "a2V5==",
        ),
        ("adls", {"host": "acme", "password": "a2V5"}, "https://acme.dfs.core.windows.net", "acme", "a2V5"),
    ],
)
def test_a_key_of_storage_is_what_the_hook_takes_it_for(conn_type, fields, where, account, text):
    with kept(conn_type=conn_type, **fields) as stored:
        if where is not None:
            assert account_url(stored.held.known.connection) == where
        key = storage_key(stored.held)
        if account is None:
            assert key.signature == text
        else:
            assert tuple(key.named_key) == (account, text)


def test_a_key_of_storage_changes_in_place_when_the_connection_does():
    with kept(conn_type="wasb", login="acme", password="first") as stored:
        key = storage_key(stored.held)
        stored.write(conn_type="wasb", login="acme", password="second")
        stored.tell()
        assert tuple(key.named_key) == ("acme", "second")
        stored.write(conn_type="wasb", login="acme", extra={"sas_token": "sig=s"})
        stored.tell()
        assert tuple(key.named_key) == ("acme", "second")
        assert stored.held._clients == 1
        del key
        gc.collect()
        assert stored.held._clients == 0


def test_storage_without_a_key_logs_in_by_entra_id():
    for fields in ({"login": CLIENT, "password": SECRET, "extra": {"tenant_id": TENANT}}, {"login": "acme"}):
        with kept(conn_type="wasb", **fields) as stored:
            assert storage_key(stored.held) is None
    with kept(**principal()) as stored:
        assert storage_key(stored.held) is None
        assert account_url(stored.held.known.connection) is None


# --- what goes wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (principal(password=None), ("options", "missing")),
        ({**principal(), "extra": {}}, ("options", "missing")),
        (principal(cloud_environment=CANARY), ("options", "malformed")),
        ({"conn_type": "azure", "extra": {"key_json": CANARY}}, ("options", "malformed")),
        ({"conn_type": "azure", "extra": {"key_json": {"clientId": CANARY}}}, ("options", "malformed")),
        ({"conn_type": "azure", "extra": {"key_path": f"/nowhere/{CANARY}"}}, ("options", "malformed")),
        ({"conn_type": "azure", "extra": {"key_path": "/a", "key_json": "{}"}}, ("options", "malformed")),
        (principal(password=None, certificate=f"-----BEGIN {CANARY}"), ("options", "malformed")),
        (principal(password=None, certificate=f"/nowhere/{CANARY}"), ("options", "malformed")),
        (
            {"conn_type": "wasb", "extra": {"client_secret_auth_config": {CANARY: 1}}},
            ("options", "unknown"),
        ),
        (
            {"conn_type": "wasb", "extra": {"client_secret_auth_config": f'"{CANARY}"'}},
            ("options", "malformed"),
        ),
    ],
)
def test_what_is_half_said_or_cannot_be_read_is_refused(azure, fields, found):
    assert refused(azure, BackendConfigError, **fields) == found


@pytest.mark.parametrize(
    "fields",
    [
        {"login": "acme", "password": CANARY},
        {"extra": {"sas_token": CANARY}},
        {"extra": {"connection_string": CANARY}},
    ],
)
def test_a_key_of_storage_is_never_taken_for_a_login_nor_left_for_the_machines(azure, fields):
    said = refused(azure, BackendConfigError, "storage.blob", conn_type="wasb", **fields)
    assert said == ("options", "missing")


def test_a_tenant_or_a_client_that_does_not_exist_is_named_by_its_number(azure):
    other = {"tenantId": "22222222-2222-3333-4444-555555555555"}
    assert refused(azure, BackendConfigError, "AADSTS90002", **principal(**other)) == ("token", "unknown")
    nobody = "bbbbbbbb-bbbb-cccc-dddd-eeeeeeeeeeee"
    assert refused(azure, BackendConfigError, "AADSTS700016", **principal(login=nobody)) == (
        "token",
        "unknown",
    )


def test_a_certificate_that_is_not_registered_is_refused(azure, certificate):
    azure.certificate = None
    text = b"".join(certificate).decode()
    fields = principal(password=None, certificate=text)
    assert refused(azure, AccessDeniedError, "register the certificate", **fields) == ("token", "credentials")


def test_a_workload_that_is_not_trusted_is_told_what_to_add(azure, tmp_path):
    azure.assertion = "eyJ.another"
    file = tmp_path / "token"
    file.write_text(CANARY)
    pod = {"AZURE_FEDERATED_TOKEN_FILE": str(file), "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT}
    said = refused(azure, AccessDeniedError, "federated credential", environ=pod, conn_type="azure")
    assert said == ("token", "credentials")


def test_a_machine_without_such_an_identity_is_said_to_have_none(azure, monkeypatch):
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.machine)
    fields = {
        "conn_type": "azure",
        "extra": {"managed_identity_client_id": "dddddddd-0000-0000-0000-000000000000"},
    }
    assert refused(azure, BackendConfigError, environ=dict(os.environ), **fields) == ("token", "missing")


@pytest.mark.parametrize("status", [500, 503, 429])
def test_an_authority_in_trouble_is_not_there_now(azure, status):
    azure.entra_answers = [(status, {"error": "x"}, {})] * 4
    assert refused(azure, BackendUnavailableError, **principal()) == ("token", "unavailable")


def test_a_page_in_place_of_the_authority_is_no_token(azure):
    azure.entra_answers = [(400, b"<html>", {"content-type": "text/html"})] * 4
    assert refused(azure, BackendConfigError, **principal()) == ("token", "malformed")


def test_an_authority_whose_certificate_is_not_trusted_gets_no_secret(azure):
    with kept(**principal()) as stored, pytest.raises(BackendConfigError) as caught:
        live.client(stored.held, stored.asked(authority=azure.entra)).get_token(VAULT)
    assert (caught.value.step, caught.value.reason) == ("tls", "untrusted")
    assert azure.logins == 0


def test_an_authority_that_nobody_is_at_or_that_speaks_in_clear_is_told_apart(azure):
    for port, kind, found in (
        (9, BackendUnavailableError, ("tcp", "refused")),
        (azure.plain_port, BackendConfigError, ("tls", "plaintext")),
    ):
        with kept(**principal()) as stored, pytest.raises(kind) as caught:
            live.client(stored.held, stored.asked(authority=f"https://127.0.0.1:{port}")).get_token(VAULT)
        assert (caught.value.step, caught.value.reason) == found


def test_an_authority_in_clear_is_refused(azure):
    with kept(**principal()) as stored, pytest.raises(BackendConfigError) as caught:
        live.client(stored.held, stored.asked(authority=f"http://127.0.0.1:{azure.plain_port}"))
    assert (caught.value.step, caught.value.reason) == ("options", "malformed")


def test_an_authority_of_the_environment_that_is_none_is_named(azure):
    environ = {"AZURE_AUTHORITY_HOST": f"http://{CANARY}"}
    with (
        kept(**principal()) as stored,
        pytest.raises(BackendConfigError, match="AZURE_AUTHORITY_HOST") as caught,
    ):
        live.client(stored.held, stored.asked(environ=environ))
    assert CANARY not in str(caught.value)


def test_a_redirect_of_the_authority_is_not_followed(azure):
    azure.entra_answers = [(307, {}, {"location": f"{azure.entra}/elsewhere"})] * 4
    assert refused(azure, BackendUnavailableError, **principal()) == ("token", "unavailable")
    assert azure.logins == 0


def test_an_option_or_a_service_that_does_not_exist_is_refused(azure):
    with kept(**principal()) as stored:
        for service, options, found in (
            (None, {"colour": "blue"}, ("options", "unknown")),
            ("keyvault.nothing", {}, ("driver", "missing")),
            ("keyvault.secrets.BlobClient", {}, ("options", "unknown")),
            ("keyvault.secrets", {}, ("options", "missing")),
            ("../os", {}, ("options", "unknown")),
        ):
            with pytest.raises(BackendConfigError) as caught:
                live.client(stored.held, stored.asked(service, **options))
            assert (caught.value.step, caught.value.reason) == found


def test_nothing_of_a_client_prints_what_it_holds(azure):
    with kept(**principal()) as stored, made(stored, azure) as credential:
        token = credential.get_token(VAULT).token
        for one in (credential, credential._made, credential._made.session, credential._made.session.login):
            assert token not in repr(one)
            assert SECRET not in repr(one)
