"""Google, as live clients of a connection: who it is, how it follows, and what goes wrong."""

from __future__ import annotations

import base64
import gc
import json
import os
import threading
import weakref
from contextlib import contextmanager

import pytest

from parts.google import google, google_servers  # noqa: F401 -- fixtures
from parts.google_idp import idp  # noqa: F401 -- a fixture
from parts.google_model import sm
from parts.held import kept
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.live import google as live

TYPE = "google_cloud_platform"
BOSS = "boss@other.iam.gserviceaccount.com"
MIDDLE = "middle@other.iam.gserviceaccount.com"


@contextmanager
def connected(**extra):
    with kept(conn_type=TYPE, extra=extra) as stored:
        yield stored


def machine(google):  # noqa: F811
    return {"GCE_METADATA_HOST": f"127.0.0.1:{google.http_port}"}


def put(google, project, name, data):  # noqa: F811
    """Keep *data* in Secret Manager."""
    parent, secret = f"projects/{project}", sm.Secret(replication={"automatic": {}})
    google.model._CreateSecret(sm.CreateSecretRequest(parent=parent, secret_id=name, secret=secret))
    google.model._AddSecretVersion(
        sm.AddSecretVersionRequest(parent=f"{parent}/secrets/{name}", payload={"data": data})
    )


def bearer(made):
    headers = {}
    made.before_request(None, "GET", "https://storage.googleapis.com/", headers)
    return headers["authorization"]


def trouble(made, kind):
    """Use *made* and give the error of ours that comes of it, with step and reason."""
    with pytest.raises(kind) as caught:
        bearer(made)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    return error, (error.step, error.reason)


# --- who it is -------------------------------------------------------------------------------------------


def test_a_key_gives_tokens_of_its_account_and_one_is_kept(google):  # noqa: F811 -- the fixture
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        assert google.known(bearer(made)) == google.account
        assert bearer(made) == bearer(made)
        assert google.logins == [("/token", 200)]
        assert (made.project_id, made.service_account_email) == ("home", google.account)
        assert made.universe_domain == "googleapis.com"


def test_a_key_may_be_a_document_with_its_line_ends_spelt_out_or_a_file(google, tmp_path):  # noqa: F811
    spelt = json.loads(google.key())
    spelt["private_key"] = spelt["private_key"].replace("\n", "\\n")
    file = tmp_path / "key.json"
    file.write_text(google.key())
    for extra in (
        {"keyfile_dict": spelt},
        {"key_path": str(file)},
        {"credential_config_file": google.key()},
        {"extra__google_cloud_platform__keyfile_dict": google.key()},
        {"keyfile_dict": google.key(), "is_anonymous": "False"},
    ):
        with connected(**extra) as stored:
            assert google.known(bearer(live.client(stored.held, stored.asked()))) == google.account


def test_a_key_in_secret_manager_is_fetched_as_the_machine(google):  # noqa: F811
    google.machine = "vm@home.iam.gserviceaccount.com"
    project = google.project(google.machine)
    put(google, project, "robot", google.key().encode())
    said = {
        "key_secret_name": "robot",
        "key_secret_project_id": project,
        "secret_manager_endpoint": google.url,
    }
    with connected(**said) as stored:
        made = live.client(stored.held, stored.asked(environ=machine(google)))
        assert made.project_id == "home"
        assert google.known(bearer(made)) == google.account
        assert google.model.calls == [
            ("AccessSecretVersion", f"projects/{project}/secrets/robot/versions/latest")
        ]


def test_the_machine_is_asked_where_nothing_is_said(google):  # noqa: F811
    google.machine = "vm@home.iam.gserviceaccount.com"
    with connected() as stored:
        made = live.client(stored.held, stored.asked(environ=machine(google)))
        assert google.known(bearer(made)) == google.machine
        assert (made.project_id, made.service_account_email) == ("machine-home", google.machine)


def test_the_file_of_the_environment_counts_before_the_machine(google, tmp_path):  # noqa: F811
    file = tmp_path / "adc.json"
    file.write_text(google.key())
    google.machine = "vm@home.iam.gserviceaccount.com"
    environ = {**machine(google), "GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    with connected() as stored:
        assert google.known(bearer(live.client(stored.held, stored.asked(environ=environ)))) == google.account


@pytest.mark.parametrize("source", ["file", "url"])
def test_a_federated_workload_exchanges_its_own_token(google, tmp_path, source):  # noqa: F811
    google.subjects["eyJ.workload"] = "principal://pool/subject/ci"
    file = tmp_path / "token"
    file.write_text("eyJ.workload")
    told = {
        "url": f"{google.url}/subject",
        "format": {"type": "json", "subject_token_field_name": "id_token"},
    }
    config = google.federation(credential_source={"file": str(file)} if source == "file" else told)
    with connected(credential_config_file=config) as stored:
        made = live.client(stored.held, stored.asked())
        assert google.known(bearer(made)) == "principal://pool/subject/ci"


def test_an_identity_of_aws_is_exchanged_by_a_signed_request(google, monkeypatch):  # noqa: F811
    for name, value in (
        ("REGION", "eu-west-1"),
        ("ACCESS_KEY_ID", "AKIAHOME"),
        ("SECRET_ACCESS_KEY", "s3cret"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    google.subjects["AKIAHOME"] = "principal://pool/subject/aws"
    verification = "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
    source = {"environment_id": "aws1", "regional_cred_verification_url": verification}
    config = google.federation(
        credential_source=source, subject_token_type="urn:ietf:params:aws:token-type:aws4_request"
    )
    with connected(credential_config_file=config) as stored:
        assert (
            google.known(bearer(live.client(stored.held, stored.asked()))) == "principal://pool/subject/aws"
        )


def test_a_federated_workload_may_act_as_an_account_of_its_configuration(google, tmp_path):  # noqa: F811
    google.subjects["eyJ.workload"] = "principal://pool/subject/ci"
    google.may_act_as.add(("principal://pool/subject/ci", BOSS))
    file = tmp_path / "token"
    file.write_text("eyJ.workload")
    config = google.federation(
        credential_source={"file": str(file)},
        service_account_impersonation_url=f"{google.url}/v1/projects/-/serviceAccounts/{BOSS}:generateAccessToken",
    )
    with connected(credential_config_file=json.dumps(config)) as stored:
        assert google.known(bearer(live.client(stored.held, stored.asked()))) == BOSS


def test_a_client_of_another_identity_provider_is_federated(google, idp):  # noqa: F811
    google.subjects[idp.token] = "principal://pool/subject/partner"
    said = {
        "credential_config_file": google.federation(),
        "idp_issuer_url": idp.url,
        "client_id": idp.client,
        "client_secret": idp.secret,
        "idp_extra_params": json.dumps({"audience": "cloud"}),
    }
    with connected(**said) as stored:
        assert (
            google.known(bearer(live.client(stored.held, stored.asked())))
            == "principal://pool/subject/partner"
        )
    assert idp.forms[-1]["audience"] == "cloud"


@pytest.mark.parametrize("chain", [[MIDDLE, BOSS], f"{MIDDLE}, {BOSS}"])
def test_a_chain_of_accounts_ends_in_its_last_one(google, chain):  # noqa: F811
    google.may_act_as |= {(google.account, MIDDLE), (MIDDLE, BOSS)}
    said = {"keyfile_dict": google.key(), "impersonation_chain": chain, "iam_endpoint": google.url}
    with connected(**said) as stored:
        made = live.client(stored.held, stored.asked())
        assert google.known(bearer(made)) == BOSS
        assert (made.project_id, made.service_account_email) == ("other", BOSS)


def test_anonymous_credentials_ask_nobody_and_send_nothing(google):  # noqa: F811
    with connected(is_anonymous=True) as stored:
        made = live.client(stored.held, stored.asked())
        headers = {}
        made.before_request(None, "GET", "https://storage.googleapis.com/", headers)
        assert headers == {}
        assert made.valid
        assert google.logins == []


def test_scopes_and_who_pays_are_those_of_the_connection_or_of_whoever_asks(google):  # noqa: F811
    said = {
        "keyfile_dict": google.key(),
        "quota_project_id": "paying-project",
        "scope": "https://a/auth/cloud-platform.read-only",
    }
    with connected(**said) as stored:
        made = live.client(stored.held, stored.asked())
        headers = {}
        made.before_request(None, "GET", "https://storage.googleapis.com/", headers)
        assert headers["x-goog-user-project"] == "paying-project"
        other = live.client(
            stored.held, stored.asked(scopes=["https://a/auth/cloud-platform"], quota_project_id="mine")
        )
        headers = {}
        other.before_request(None, "GET", "https://storage.googleapis.com/", headers)
        assert headers["x-goog-user-project"] == "mine"
        assert made.with_quota_project("theirs").quota_project_id == "theirs"
        assert google.known(bearer(made.with_scopes(["https://a/auth/cloud-platform"]))) == google.account


def test_a_key_signs_what_a_signed_url_needs(google):  # noqa: F811
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        assert len(made.sign_bytes(b"GET /bucket/object")) == google.key_bytes
        assert made.signer_email == google.account
    google.machine = "vm@home.iam.gserviceaccount.com"
    with connected() as stored:
        made = live.client(stored.held, stored.asked(environ=machine(google)))
        with pytest.raises(BackendConfigError, match="no credentials"):
            made.sign_bytes(b"GET /bucket/object")


# --- how it follows ----------------------------------------------------------------------------------------


def test_what_the_connection_says_now_decides_although_the_token_still_lasts(google):  # noqa: F811
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        bearer(made)
        other = "second@home.iam.gserviceaccount.com"
        stored.write(conn_type=TYPE, extra={"keyfile_dict": google.key(other)})
        assert made.valid  # nobody knows yet
        stored.tell()
        assert not made.valid
        assert google.known(bearer(made)) == other


def test_a_revoked_key_is_read_anew_once_and_tried_once_more(google):  # noqa: F811
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        google.revoked.add(google.account)
        other = "second@home.iam.gserviceaccount.com"
        stored.write(conn_type=TYPE, extra={"keyfile_dict": google.key(other)})
        assert google.known(bearer(made)) == other
        assert [status for _, status in google.logins] == [400, 200]
        assert stored.questions == 1


def test_a_revoked_key_without_a_newer_one_is_refused_without_another_try(google):  # noqa: F811
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        google.revoked.add(google.account)
        error, said = trouble(made, AccessDeniedError)
        assert said == ("token", "credentials")
        assert [status for _, status in google.logins] == [400]
        assert stored.questions == 1
        assert "invalid token" not in str(error)


def test_a_provider_that_refuses_is_not_asked_again_at_once_unless_the_connection_changes(google):  # noqa: F811
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        google.revoked.add(google.account)
        assert trouble(made, AccessDeniedError)[1] == ("token", "credentials")
        assert trouble(made, AccessDeniedError)[1] == ("token", "credentials")
        assert [status for _, status in google.logins] == [400]
        stored.write(
            conn_type=TYPE, extra={"keyfile_dict": google.key("second@home.iam.gserviceaccount.com")}
        )
        stored.tell()
        assert google.known(bearer(made)) == "second@home.iam.gserviceaccount.com"


def test_a_key_that_stands_elsewhere_is_read_anew_after_a_refusal(google, tmp_path):  # noqa: F811
    file = tmp_path / "key.json"
    file.write_text(google.key())
    with connected(key_path=str(file)) as stored:
        made = live.client(stored.held, stored.asked())
        bearer(made)
        google.revoked.add(google.account)
        with pytest.raises(AccessDeniedError):
            made.refresh(None)
        file.write_text(google.key("second@home.iam.gserviceaccount.com"))
        made._pause.end()
        made.refresh(None)
        assert google.known(f"Bearer {made.token}") == "second@home.iam.gserviceaccount.com"


def test_a_session_whose_token_is_refused_reads_the_connection_anew_and_asks_once_more(google):  # noqa: F811
    project = google.project("second@home.iam.gserviceaccount.com")
    put(google, project, "color", b"blue")
    where = f"{google.url}/v1/projects/{project}/secrets/color/versions/latest:access"
    with (
        connected(keyfile_dict=google.key()) as stored,
        live.client(stored.held, stored.asked("session")) as session,
    ):
        bearer(session.credentials)
        google.revoked.add(google.account)
        other = "second@home.iam.gserviceaccount.com"
        stored.write(conn_type=TYPE, extra={"keyfile_dict": google.key(other)})
        answer = session.get(where)
        assert base64.b64decode(answer.json()["payload"]["data"]) == b"blue"
        assert stored.questions == 1


def test_a_session_that_is_refused_again_is_told_so_and_does_not_go_on(google):  # noqa: F811
    where = f"{google.url}/v1/projects/home/secrets/color/versions/latest:access"
    with (
        connected(keyfile_dict=google.key()) as stored,
        live.client(stored.held, stored.asked("session")) as session,
    ):
        bearer(session.credentials)
        google.revoked.add(google.account)
        asked = len(google.payers)
        with pytest.raises(AccessDeniedError) as caught:
            session.get(where)
        assert caught.value.step == "token"
        assert len(google.payers) == asked + 1


def test_clients_of_one_connection_share_tokens_but_not_what_was_refused(google):  # noqa: F811
    with connected(keyfile_dict=google.key()) as stored:
        asked = stored.asked()
        first, second = live.client(stored.held, asked), live.client(stored.held, asked)
        shared = bearer(first)
        assert bearer(second) == shared
        assert (
            bearer(live.client(stored.held, stored.asked(scopes=["https://a/auth/cloud-platform"]))) != shared
        )
        second.refresh(None)
        assert bearer(second) != shared
        first.refresh(None)
        assert bearer(first) == bearer(second)
        assert [path for path, _ in google.logins] == ["/token"] * 3


def test_many_threads_get_one_token(google):  # noqa: F811
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        start, found = threading.Barrier(16), []

        def use():
            start.wait(10)
            found.append(bearer(made))

        threads = [threading.Thread(target=use) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(found) == 16
        assert len(set(found)) == 1
        assert google.logins == [("/token", 200)]


def test_a_service_has_a_client_with_the_credentials(google):  # noqa: F811
    project = google.project()
    put(google, project, "color", b"blue")
    with connected(keyfile_dict=google.key()) as stored:
        options = {"transport": "rest", "client_options": {"api_endpoint": google.url}}
        made = live.client(stored.held, stored.asked("secretmanager", **options))
        found = made.access_secret_version(name=f"projects/{project}/secrets/color/versions/latest")
        assert found.payload.data == b"blue"
        made.transport.close()


def test_a_client_that_nobody_has_any_more_ends_the_following(google):  # noqa: F811
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        bearer(made)
        seen = weakref.ref(made)
        assert stored.held._clients == 1
        del made
        gc.collect()
        assert seen() is None
        assert stored.held._clients == 0


def test_a_client_that_is_closed_gives_no_more_tokens(google):  # noqa: F811
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        made.close()
        made.close()
        assert stored.held._clients == 0
        _, said = trouble(made, BackendUnavailableError)
        assert said == ("token", "unavailable")


def test_a_forked_child_gets_tokens_of_its_own(google):  # noqa: F811
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        first = bearer(made)
        made.token = None
        theirs, ours = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(ours, bearer(made).encode())
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        second = os.read(theirs, 8192).decode()
        assert second != first
        assert google.known(second) == google.account
        os.close(theirs)
        os.close(ours)


# --- what goes wrong ---------------------------------------------------------------------------------------

CANARY = "the-canary-of-google"


def refused(kind, say=None, options=None, environ=None, **extra):
    """Make and use a client of a connection with *extra*; give what comes of it: step, reason, the words."""
    with connected(**extra) as stored, pytest.raises(kind) as caught:
        bearer(live.client(stored.held, stored.asked(environ=environ, **(options or {}))))
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    words = f"{error} {error.hint}"
    assert CANARY not in words
    if say is not None:
        assert say in words
    return error.step, error.reason


def test_two_sources_of_credentials_are_refused_by_their_names():
    said = refused(BackendConfigError, "key_path and keyfile_dict", key_path="/key.json", keyfile_dict=CANARY)
    assert said == ("options", "malformed")


@pytest.mark.parametrize(
    ("extra", "say"),
    [
        ({"keyfile_dict": CANARY}, "keyfile_dict"),
        ({"keyfile_dict": f'{{"type": "{CANARY}"}}'}, "keyfile_dict"),
        ({"keyfile_dict": f'{{"type": "service_account", "private_key": "{CANARY}"}}'}, "keyfile_dict"),
        ({"keyfile_dict": f'["{CANARY}"]'}, "keyfile_dict"),
        ({"key_path": f"/nowhere/{CANARY}.json"}, "key_path"),
        ({"credential_config_file": f"/nowhere/{CANARY}.json"}, "credential_config_file"),
        (
            {"credential_config_file": {"type": "external_account", "audience": CANARY}},
            "credential_config_file",
        ),
        ({"impersonation_chain": f"{CANARY}/../x"}, "impersonation_chain"),
        ({"key_secret_name": f"{CANARY}/versions/1"}, "key_secret_name"),
    ],
)
def test_what_cannot_be_read_is_refused_by_the_name_of_its_field(extra, say):
    assert refused(BackendConfigError, say, **extra) == ("options", "malformed")


def test_a_federation_that_would_run_a_program_is_refused(google, tmp_path):  # noqa: F811
    told = tmp_path / "told"
    config = google.federation(
        credential_source={"executable": {"command": f"touch {told}", "timeout_millis": 5000}}
    )
    environ = {"GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"}
    assert refused(BackendConfigError, environ=environ, credential_config_file=config) == (
        "options",
        "malformed",
    )
    assert not told.exists()


def test_an_account_that_may_not_act_as_the_next_is_told_which_role_it_lacks(google):  # noqa: F811
    said = {"keyfile_dict": google.key(), "impersonation_chain": BOSS, "iam_endpoint": google.url}
    assert refused(AccessDeniedError, "iam.serviceAccountTokenCreator", **said) == ("token", "forbidden")


def test_a_secret_that_the_machine_may_not_read_or_that_is_not_there(google):  # noqa: F811
    google.machine = "vm@home.iam.gserviceaccount.com"
    said = {"key_secret_name": "robot", "secret_manager_endpoint": google.url}
    theirs = google.project("somebody@home.iam.gserviceaccount.com")
    found = refused(AccessDeniedError, environ=machine(google), key_secret_project_id=theirs, **said)
    assert found == ("token", "forbidden")
    ours = google.project(google.machine)
    found = refused(BackendConfigError, environ=machine(google), key_secret_project_id=ours, **said)
    assert found == ("token", "unknown")


def test_a_machine_without_an_account_is_said_to_have_none(google):  # noqa: F811
    assert refused(BackendConfigError, environ=machine(google)) == ("token", "missing")
    nobody = {"GCE_METADATA_HOST": "127.0.0.1:9"}
    assert refused(BackendConfigError, "federation", environ=nobody) == ("token", "missing")


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_provider_in_trouble_is_not_there_now_and_is_not_asked_on(google, status):  # noqa: F811
    google.login_faults.append(status)
    assert refused(BackendUnavailableError, keyfile_dict=google.key()) == ("token", "unavailable")
    assert len(google.logins) == 1


def test_a_token_that_still_lives_serves_while_its_provider_is_away(google):  # noqa: F811
    google.lifetime = 100  # so that it is to be replaced from its first day on
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        first = bearer(made)
        google.login_faults.append(503)
        assert bearer(made) == first
        assert bearer(made) != first
        stored.write(
            conn_type=TYPE, extra={"keyfile_dict": google.key("second@home.iam.gserviceaccount.com")}
        )
        stored.tell()
        google.login_faults.append(503)
        assert trouble(made, BackendUnavailableError)[1] == ("token", "unavailable")


def test_a_provider_that_nobody_is_at_is_not_there_now(google):  # noqa: F811
    key = google.key(token_uri="http://127.0.0.1:9/token")
    assert refused(BackendUnavailableError, keyfile_dict=key) == ("tcp", "refused")


def test_a_key_is_not_sent_in_clear_to_another_machine(google):  # noqa: F811
    key = google.key(token_uri="http://192.0.2.1/token")
    assert refused(BackendConfigError, "https:", keyfile_dict=key) == ("options", "malformed")
    said = {"keyfile_dict": google.key(), "impersonation_chain": BOSS, "iam_endpoint": "http://192.0.2.1"}
    assert refused(BackendConfigError, "https:", **said) == ("options", "malformed")


def test_a_redirect_of_a_provider_is_not_followed(google, idp):  # noqa: F811
    idp.answer = (307, {}, f"{google.url}/subject")
    said = {
        "credential_config_file": google.federation(),
        "idp_issuer_url": idp.url,
        "client_id": idp.client,
        "client_secret": idp.secret,
    }
    assert refused(BackendUnavailableError, **said) == ("token", "unavailable")
    assert google.logins == []


def test_a_client_that_its_identity_provider_refuses_is_told_so(google, idp):  # noqa: F811
    said = {
        "credential_config_file": google.federation(),
        "idp_issuer_url": idp.url,
        "client_id": idp.client,
        "client_secret": CANARY,
    }
    assert refused(AccessDeniedError, "idp_issuer_url", **said) == ("token", "credentials")
    del said["client_secret"]
    assert refused(BackendConfigError, "client_secret", **said) == ("options", "missing")


def test_an_option_or_a_service_that_does_not_exist_is_refused(google):  # noqa: F811
    key = google.key()
    said = refused(BackendConfigError, "scopes", options={"scope": "x"}, keyfile_dict=key)
    assert said == ("options", "unknown")
    for service, found in (
        ("bigqueri", ("driver", "missing")),
        ("secretmanager.Client", ("options", "unknown")),
        ("secretmanager; import os", ("options", "unknown")),
        ("..os", ("options", "unknown")),
    ):
        with connected(keyfile_dict=key) as stored, pytest.raises(BackendConfigError) as caught:
            live.client(stored.held, stored.asked(service))
        assert (caught.value.step, caught.value.reason) == found
    with connected(keyfile_dict=key) as stored, pytest.raises(BackendConfigError) as caught:
        live.client(stored.held, stored.asked("secretmanager", colour="blue"))
    assert (caught.value.step, caught.value.reason) == ("options", "unknown")


def test_nothing_of_a_client_prints_what_it_holds(google):  # noqa: F811
    with connected(keyfile_dict=google.key()) as stored:
        made = live.client(stored.held, stored.asked())
        token = bearer(made).removeprefix("Bearer ")
        for one in (made, made._identity, made._made.known, stored.held):
            assert token not in repr(one)
            assert "PRIVATE KEY" not in repr(one)
