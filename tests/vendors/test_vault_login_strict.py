"""Ways to log in to Vault that no OpenBao has, against fakes that check what the real ones check."""

import base64
import json
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime, timezone

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from parts.vault_methods import ROLE, SERVER_ID, Clouds, Methods
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.transport import Transport
from strongroom.vendors.vault import VaultSession
from strongroom.vendors.vault_login_aws import AwsKeys, AwsWay, signed
from strongroom.vendors.vault_options import VaultAccess, login_of, transport_of


@pytest.fixture
def vault():
    with Methods() as vault:
        yield vault


@pytest.fixture
def clouds(vault):
    with Clouds(vault) as clouds:
        yield clouds


@pytest.fixture
def opened(vault):
    made = []

    def make(**words):
        made.append(VaultSession.of("vault", VaultAccess(url=vault.url(), **words)))
        return made[-1]

    yield make
    for session in made:
        session.close()
        session.close()


def ask(session):
    return session.request("GET", "/v1/x").status


def refused(session):
    with pytest.raises(StrongroomError) as caught:
        ask(session)
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return caught.value, "".join(told.format()) + repr(vars(caught.value))


# --- passwords ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["ldap", "radius"])
def test_password_is_checked_by_the_server(vault, opened, method):
    vault.passwords[method]["ada lovelace"] = "right"
    more = {"radius_host": "r.test", "radius_secret": lambda: 1 / 0, "radius_port": 1812}
    words = {"auth_type": method, "username": "ada lovelace", **(more if method == "radius" else {})}
    session = opened(**words, password=Secret("right"))
    assert ask(session) == 200
    assert vault.lines[0] == f"POST /v1/auth/{method}/login/ada%20lovelace"
    error, told = refused(opened(**words, password=Secret("wrong-canary")))
    assert isinstance(error, NotAuthenticatedError)
    assert "password" in error.hint
    assert "canary" not in told


def test_github_logs_in_with_a_token_of_github(vault, opened, tmp_path):
    assert ask(opened(auth_type="github", token=Secret("ghp-known"))) == 200
    path = tmp_path / "token"
    path.write_text("ghp-known\n")
    path.chmod(0o600)
    assert ask(opened(auth_type="github", token_path=path)) == 200
    error, told = refused(opened(auth_type="github", token=Secret("ghp-canary")))
    assert isinstance(error, NotAuthenticatedError)
    assert "canary" not in told


# --- aws ---------------------------------------------------------------------------------------------


def aws(**more):
    words = {"auth_type": "aws_iam", "role_id": ROLE, "iam_server_id": SERVER_ID}
    return {**words, "key_id": "AKIAKNOWN", "secret_id": Secret("known-secret"), **more}


def test_aws_question_is_signed_so_that_aws_itself_would_take_it(vault, opened):
    vault.keys["AKIAKNOWN"] = "known-secret"
    for region, host in ((None, "sts.amazonaws.com"), ("eu-west-1", "sts.eu-west-1.amazonaws.com")):
        assert ask(opened(**aws(region=region))) == 200, vault.why
        assert vault.told["role"] == ROLE
        assert base64.b64decode(vault.told["iam_request_url"]).decode() == f"https://{host}/"


def test_fifty_threads_sign_one_question(vault, opened):
    vault.keys["AKIAKNOWN"] = "known-secret"
    session = opened(**aws())
    with ThreadPoolExecutor(50) as pool:
        assert set(pool.map(lambda _: ask(session), range(50))) == {200}
    assert vault.logins == 1


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"secret_id": Secret("wrong-canary")}, "signature"),
        ({"key_id": "AKIAOTHER"}, "no such key"),
        ({"iam_server_id": None}, "server id"),
        ({"iam_server_id": "another.test"}, "server id"),
    ],
)
def test_aws_login_that_is_refused_names_the_settings_and_nothing_else(vault, opened, more, why):
    vault.keys["AKIAKNOWN"] = "known-secret"
    error, told = refused(opened(**aws(**more)))
    assert isinstance(error, NotAuthenticatedError)
    assert vault.why == why
    assert "iam_server_id" in error.hint
    assert not [word for word in ("canary", "known-secret", "AKIA", "Signature=") if word in told]


def test_key_that_was_rotated_in_its_source_signs_the_next_login(vault, opened):
    vault.keys["AKIAKNOWN"] = "new"
    secrets = iter(["old", "new", "new"])
    clock = iter(range(0, 10_000, 100))
    access = VaultAccess(url=vault.url(), **aws(secret_id=lambda: Secret(next(secrets))))
    with closing(Transport(transport_of("vault", access))) as transport:
        session = VaultSession(
            login_of("vault", access), transport, place="vault", clock=lambda: float(next(clock))
        )
        refused(session)
        assert ask(session) == 200
        session.close()


def test_role_of_aws_is_assumed_with_the_keys_of_the_machine(vault, clouds, opened, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIABASE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "base-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    wanted = {
        "RoleArn": "arn:aws:iam::123456789012:role/reader",
        "RoleSessionName": "strongroom",
        "ExternalId": "external",
    }
    words = aws(assume_role_kwargs=wanted, identity_url=clouds.url(), region="eu-west-1")
    session = opened(**{key: value for key, value in words.items() if key not in ("key_id", "secret_id")})
    assert ask(session) == 200, vault.why
    assert clouds.asked == ["POST /"]


def test_signature_of_another_form_at_another_time_is_the_one_of_amazons_sdk():
    now = datetime(2015, 8, 30, 12, 36, tzinfo=timezone.utc)
    headers = signed("a=b", AwsKeys("AKIDEXAMPLE", Secret("wJalr")), AwsWay(clock=lambda: now))
    plain = {name: value for name, value in headers.items() if name != "Authorization"}
    request = AWSRequest("POST", "https://sts.amazonaws.com/", data="a=b", headers=plain)
    request.context["timestamp"] = "20150830T123600Z"
    again = SigV4Auth(Credentials("AKIDEXAMPLE", "wJalr"), "sts", "us-east-1")
    made = again.signature(again.string_to_sign(request, again.canonical_request(request)), request)
    assert headers["Authorization"].reveal().endswith(f"Signature={made}")


# --- gcp ---------------------------------------------------------------------------------------------


def gcp(clouds, **more):
    return {"auth_type": "gcp", "role_id": ROLE, "identity_url": clouds.url(), **more}


def test_machine_of_google_shows_what_its_metadata_server_signed(vault, clouds, opened):
    assert ask(opened(**gcp(clouds))) == 200, vault.why
    assert clouds.asked == ["GET /computeMetadata/v1/instance/service-accounts/default/identity"]


def test_account_of_the_machine_has_iam_sign_where_scopes_are_said_as_airflow_has_it(vault, clouds, opened):
    scopes = "https://www.googleapis.com/auth/cloud-platform"
    assert ask(opened(**gcp(clouds, gcp_scopes=scopes))) == 200, vault.why
    assert clouds.asked[-1].endswith(":signJwt")


@pytest.mark.parametrize("how", ["path", "text", "table"])
def test_key_of_google_has_iam_sign(vault, clouds, opened, tmp_path, how):
    key = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": vault.google.private,
        "client_email": "etl@project.iam.gserviceaccount.com",
        "token_uri": clouds.url() + "/token",
    }
    text = json.dumps(key)
    path = tmp_path / "key.json"
    path.write_text(text)
    words = {
        "path": {"gcp_key_path": path},
        "text": {"gcp_keyfile_dict": Secret(text)},
        "table": {"gcp_keyfile_dict": {**key, "private_key": Secret(key["private_key"])}},
    }
    session = opened(**gcp(clouds, **words[how]))
    assert ask(session) == 200, vault.why
    assert "PRIVATE KEY" not in repr(vars(session._tokens._login))


def test_key_of_google_that_is_none_is_told_by_its_setting(clouds, opened):
    error, told = refused(opened(**gcp(clouds, gcp_keyfile_dict=Secret('{"type": "canary"}'))))
    assert isinstance(error, BackendConfigError)
    assert "canary" not in told


def test_key_of_google_that_is_written_out_is_refused_at_the_start(clouds, opened):
    with pytest.raises(BackendConfigError, match="private_key must be fetched") as caught:
        opened(**gcp(clouds, gcp_keyfile_dict={"type": "service_account", "private_key": "canary"}))
    assert "canary" not in f"{caught.value} {caught.value.hint}"


def test_who_is_no_metadata_server_signs_nothing(vault, clouds, opened):
    clouds.say = lambda _request: b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ncanary"
    error, told = refused(opened(**gcp(clouds)))
    assert isinstance(error, BackendUnavailableError)
    assert "identity_url" in error.hint
    assert "canary" not in told
    assert vault.lines == []


# --- azure -------------------------------------------------------------------------------------------


def azure(clouds, **more):
    return {"auth_type": "azure", "role_id": ROLE, "identity_url": clouds.url(), **more}


def test_machine_of_azure_shows_its_managed_identity_and_its_name(vault, clouds, opened):
    assert ask(opened(**azure(clouds))) == 200, vault.why
    named = {"subscription_id": "sub", "resource_group_name": "group"}
    assert {key: vault.told[key] for key in vault.told if key != "jwt"} == {
        "role": ROLE,
        "vm_name": "vm-1",
        **named,
    }
    clouds.scale_set = "set"
    vault.resource = "https://vault.test"
    assert ask(opened(**azure(clouds, azure_resource="https://vault.test", key_id="one"))) == 200, vault.why
    assert vault.told["vmss_name"] == "set"
    assert "vm_name" not in vault.told
    assert vault.azure.claims(vault.told["jwt"])["appid"] == "one"


def test_application_of_azure_logs_in_with_the_words_airflow_has_for_it(vault, clouds, opened):
    words = {"azure_tenant_id": "tenant", "key_id": "app", "secret_id": Secret("app-secret")}
    assert ask(opened(**azure(clouds, **words))) == 200, vault.why
    words["secret_id"] = Secret("canary-secret")
    error, told = refused(opened(**azure(clouds, **words)))
    assert isinstance(error, NotAuthenticatedError)
    assert "secret_id" in error.hint
    assert "canary" not in told


@pytest.mark.parametrize("status", [429, 500, 503])
def test_cloud_that_is_down_is_unavailable_and_no_refusal(vault, clouds, opened, status):
    say, clouds.say = clouds.say, lambda _: b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    for words in (gcp(clouds), azure(clouds)):
        session = opened(**words)
        error, _ = refused(session)
        assert isinstance(error, BackendUnavailableError)
        clouds.say = say
        assert ask(session) == 200
        clouds.say = lambda _: b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    assert vault.logins == 2
