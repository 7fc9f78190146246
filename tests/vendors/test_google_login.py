"""Who we are to Google: every way in, against fakes of whoever gives tokens."""

import json
import os
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from parts.google import google, google_servers
from strongroom.backends.gcp_secret_manager import GoogleSecretManager, GoogleSecretManagerOptions
from strongroom.bulkhead import within
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    SettingsError,
)
from strongroom.model.secret import Secret
from strongroom.settings import load as load_settings
from strongroom.settings import options as options_of
from strongroom.testing.contract import CANARY
from strongroom.vendors.google import GoogleAccess, GoogleRefusal, GoogleSession
from strongroom.vendors.sessions import Sessions

__all__ = ["google", "google_servers"]  # fixtures

OTHER = "reader@home-9.iam.gserviceaccount.com"
MIDDLE = "middle@home-9.iam.gserviceaccount.com"


@pytest.fixture
def session(google):
    made = []

    def make(*accounts, environ=None, clock=None, **options):
        given = {
            "project_id": google.project(*(accounts or (google.account,))),
            "endpoint": google.url,
            "iam_endpoint": google.url,
            "transport": "rest",
        }
        more = {} if clock is None else {"clock": clock}
        access = GoogleAccess(**{**given, **options})
        made.append(GoogleSession(access, place="gcp", environ=environ or {}, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def ask(session):
    """Ask for what is not there: who may ask is told so."""
    with pytest.raises(GoogleRefusal) as caught:
        session.ask("access_secret_version", name=f"{session.parent}/secrets/nobody/versions/latest")
    assert caught.value.status == "NOT_FOUND"


def silent(error):
    assert CANARY not in "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


# --- a key ---------------------------------------------------------------------------------------------


def test_key_signs_its_own_tokens_and_asks_nobody(google, session):
    made = session(gcp_keyfile_dict=Secret(google.key()))
    ask(made)
    assert google.logins == []
    assert made.identity() == google.account


def test_key_may_be_a_file_a_table_or_fetched(google, session, tmp_path):
    file = tmp_path / "key.json"
    file.write_text(google.key())
    table = json.loads(google.key())
    table["private_key"] = Secret(table["private_key"])
    for options in (
        {"gcp_key_path": file},
        {"gcp_keyfile_dict": table},
        {"gcp_keyfile_dict": lambda: Secret(google.key())},
    ):
        ask(session(**options))


def test_key_whose_lines_went_through_a_form_is_read_as_airflow_does(google, session):
    held = json.loads(google.key())
    held["private_key"] = held["private_key"].replace("\n", "\\n")
    ask(session(gcp_keyfile_dict=Secret(json.dumps(held))))


def test_project_is_that_of_the_key_unless_it_is_said(google, session):
    assert session(gcp_keyfile_dict=Secret(google.key()), project_id=None).project == "home"
    assert session(gcp_keyfile_dict=Secret(google.key()), project_id="mine").project == "mine"


def test_scopes_are_those_that_are_said(google, session):
    made = session(gcp_keyfile_dict=Secret(google.key()), gcp_scopes="https://a, https://b")
    with pytest.raises(NotAuthenticatedError):  # they are not of the cloud
        ask(made)


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        "[]",
        "{}",
        json.dumps({"type": CANARY}),
        json.dumps({"type": "service_account", "private_key": CANARY}),
        json.dumps(
            {"type": "service_account", "client_email": CANARY, "token_uri": "x", "private_key": CANARY}
        ),
        json.dumps({"type": "external_account", "credential_source": {"executable": {"command": CANARY}}}),
        json.dumps({"type": "external_account", "credential_source": {"file": CANARY}}),
        "[" * 10_000,
    ],
)
def test_credentials_that_are_none_are_refused_without_showing_them(session, text):
    made = session(gcp_keyfile_dict=Secret(text))
    with pytest.raises(BackendConfigError) as caught:
        ask(made)
    silent(caught.value)


@pytest.mark.parametrize(
    ("option", "table", "key"),
    [
        ("gcp_keyfile_dict", {"type": "service_account", "private_key": CANARY}, "private_key"),
        ("gcp_credential_config_file", {"type": "service_account", "private_key": CANARY}, "private_key"),
        ("gcp_credential_config_file", {"type": "authorized_user", "refresh_token": CANARY}, "refresh_token"),
        (
            "gcp_credential_config_file",
            {"type": "impersonated_service_account", "source_credentials": {"client_secret": CANARY}},
            "client_secret",
        ),
    ],
)
def test_secret_that_is_written_out_in_a_table_is_refused_at_the_start(session, option, table, key):
    with pytest.raises(BackendConfigError, match=f"{key} must be fetched from elsewhere") as caught:
        session(**{option: table})
    assert option in str(caught.value)
    silent(caught.value)


def test_two_sources_of_credentials_are_refused_by_name(session, tmp_path):
    with pytest.raises(BackendConfigError, match="both gcp_key_path and gcp_keyfile_dict"):
        session(gcp_key_path=tmp_path, gcp_keyfile_dict=Secret("x"))


def test_file_that_cannot_be_read_is_named_by_its_option(session, tmp_path):
    with pytest.raises(BackendConfigError, match="gcp_key_path of the backend gcp names cannot be read"):
        ask(session(gcp_key_path=tmp_path / "none.json"))


def test_account_that_is_disabled_is_not_authenticated(google, session):
    made = session(gcp_keyfile_dict=Secret(google.key()))
    google.revoked.add(google.account)
    with pytest.raises(NotAuthenticatedError, match="Google takes no token"):
        ask(made)


# --- the environment and the machine -------------------------------------------------------------------


def test_credentials_of_the_environment_are_found_in_googles_order(google, session, tmp_path):
    named, folder = tmp_path / "named.json", tmp_path / ".config" / "gcloud"
    folder.mkdir(parents=True)
    named.write_text(google.key("named@home.iam.gserviceaccount.com"))
    (folder / "application_default_credentials.json").write_text(
        google.key("home@home.iam.gserviceaccount.com")
    )
    home = {"HOME": str(tmp_path)}
    assert session(environ={**home, "GOOGLE_APPLICATION_CREDENTIALS": str(named)}).identity()[:5] == "named"
    assert session(environ=home).identity()[:4] == "home"
    (folder / "application_default_credentials.json").rename(
        tmp_path / "application_default_credentials.json"
    )
    assert session(environ={"CLOUDSDK_CONFIG": str(tmp_path)}).identity()[:4] == "home"


def test_project_of_the_environment_comes_before_that_of_what_is_found(google, session, tmp_path):
    named = tmp_path / "named.json"
    named.write_text(google.key())
    environ = {"GOOGLE_APPLICATION_CREDENTIALS": str(named), "GOOGLE_CLOUD_PROJECT": "said"}
    assert session(environ=environ, project_id=None).project == "said"


def test_machine_gives_tokens_of_its_account(google, session):
    google.machine = "vm@home.iam.gserviceaccount.com"
    made = session(google.machine, environ={"GCE_METADATA_HOST": google.url.removeprefix("http://")})
    ask(made)
    ask(made)
    assert [path for path, _ in google.logins] == [
        "/computeMetadata/v1/instance/service-accounts/default/token"
    ]
    assert made.identity() == google.machine


def test_project_of_the_machine_is_asked_for_where_none_is_said(google, session):
    google.machine = "vm@home.iam.gserviceaccount.com"
    environ = {"GCE_METADATA_HOST": google.url.removeprefix("http://")}
    assert session(environ=environ, project_id=None).project == "machine-home"


def test_nothing_to_log_in_with_says_what_to_set(google, session):
    # A machine without an account, and no machine of Google's: the former is sure, the latter may pass.
    for host, kind in ((google.url, NotAuthenticatedError), ("http://127.0.0.1:9", BackendUnavailableError)):
        with pytest.raises(kind) as caught:
            ask(session(environ={"GCE_METADATA_HOST": host.removeprefix("http://")}))
        assert "gcp_key_path" in caught.value.hint


# --- acting as another ---------------------------------------------------------------------------------


def test_chain_of_accounts_is_gone_through_as_airflow_says_it(google, session):
    google.may_act_as |= {(google.account, MIDDLE), (MIDDLE, OTHER)}
    for chain in ((MIDDLE, OTHER), [MIDDLE, OTHER]):
        made = session(OTHER, gcp_keyfile_dict=Secret(google.key()), impersonation_chain=chain)
        ask(made)
        assert made.identity() == OTHER
    google.may_act_as.add((google.account, OTHER))
    ask(session(OTHER, gcp_keyfile_dict=Secret(google.key()), impersonation_chain=OTHER))


def test_project_is_that_of_the_account_that_is_acted_as(google, session):
    made = session(gcp_keyfile_dict=Secret(google.key()), impersonation_chain=OTHER, project_id=None)
    assert made.project == "home-9"


def test_account_that_may_not_act_as_another_is_told_the_permission(google, session):
    made = session(gcp_keyfile_dict=Secret(google.key()), impersonation_chain=OTHER)
    with pytest.raises(NotAuthenticatedError, match=f"may not act as {OTHER}") as caught:
        ask(made)
    assert "iam.serviceAccounts.getAccessToken" in caught.value.hint


def test_federated_machine_and_key_may_all_act_as_another(google, session):
    google.machine = "vm@home.iam.gserviceaccount.com"
    google.may_act_as.add((google.machine, OTHER))
    environ = {"GCE_METADATA_HOST": google.url.removeprefix("http://")}
    ask(session(OTHER, environ=environ, impersonation_chain=OTHER))


# --- federation ----------------------------------------------------------------------------------------


def test_federation_reads_its_subject_token_from_a_file_each_time(google, session, tmp_path):
    file = tmp_path / "token"
    file.write_text("subject-1")
    google.subjects |= {"subject-1": "pool/one", "subject-2": "pool/two"}
    config = google.federation(credential_source={"file": str(file)})
    ask(session("pool/one", gcp_credential_config_file=config))
    file.write_text("subject-2")
    ask(session("pool/two", gcp_credential_config_file=config))
    assert google.logins == [("/v1/token", 200)] * 2


def test_federation_asks_a_url_for_its_subject_token(google, session, tmp_path):
    google.subjects["subject-1"] = "pool/one"
    source = {
        "url": f"{google.url}/subject",
        "format": {"type": "json", "subject_token_field_name": "id_token"},
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps(google.federation(credential_source=source)))
    made = session("pool/one", gcp_credential_config_file=file)
    ask(made)
    assert google.logins == [("/subject", 200), ("/v1/token", 200)]
    assert made.identity().startswith("//iam.googleapis.com/")


def test_federation_goes_on_to_a_service_account_where_its_configuration_says_so(google, session, tmp_path):
    google.subjects["subject-1"] = "pool/one"
    google.may_act_as.add(("pool/one", OTHER))
    file = tmp_path / "token"
    file.write_text("subject-1")
    config = google.federation(
        credential_source={"file": str(file)},
        service_account_impersonation_url=f"{google.url}/v1/projects/-/serviceAccounts/{OTHER}:generateAccessToken",
    )
    made = session(OTHER, gcp_credential_config_file=config)
    ask(made)
    assert made.identity() == OTHER


def test_subject_token_that_is_refused_is_not_authenticated_and_not_shown(google, session, tmp_path):
    file = tmp_path / "token"
    file.write_text(CANARY)
    made = session(gcp_credential_config_file=google.federation(credential_source={"file": str(file)}))
    with pytest.raises(NotAuthenticatedError, match="login of the backend gcp was refused") as caught:
        ask(made)
    silent(caught.value)
    assert "gcp_credential_config_file" in caught.value.hint


# --- one login, kept fresh -----------------------------------------------------------------------------


class Time:
    def __init__(self):
        self.ahead = timedelta(0)

    def __call__(self):
        return datetime.now(timezone.utc) + self.ahead


@pytest.fixture
def machine(google):
    google.machine = "vm@home.iam.gserviceaccount.com"
    return {"GCE_METADATA_HOST": google.url.removeprefix("http://")}


def test_many_threads_log_in_once(google, session, machine):
    made = session(google.machine, environ=machine)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: ask(made), range(48)))
    assert len(google.logins) == 1


def test_whoever_waits_for_a_login_waits_no_longer_than_his_time(google, session):
    begun, go = threading.Event(), threading.Event()

    def fetch():
        begun.set()
        go.wait(20)
        return Secret(google.key())

    made = session(gcp_keyfile_dict=fetch)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, made)
        assert begun.wait(20)
        with within(0.05), pytest.raises(BackendUnavailableError, match="still logging in"):
            made.ask("access_secret_version", name=f"{made.parent}/secrets/nobody/versions/latest")
        go.set()
        first.result()


def test_token_is_replaced_before_its_end_by_who_asks_then(google, session, machine):
    time = Time()
    made = session(google.machine, environ=machine, clock=time)
    ask(made)
    time.ahead = timedelta(seconds=3600 - 300)
    ask(made)
    assert len(google.logins) == 1
    time.ahead = timedelta(seconds=3600 - 200)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ask(made), range(16)))
    assert len(google.logins) == 2


def test_token_of_a_short_life_is_not_replaced_at_each_question(google, session, machine):
    google.lifetime = 120
    made = session(google.machine, environ=machine)
    for _ in range(3):
        ask(made)
    assert len(google.logins) == 1


def test_token_with_time_left_serves_where_no_new_one_is_to_be_had(google, session, machine):
    time = Time()
    made = session(google.machine, environ=machine, clock=time)
    ask(made)
    time.ahead = timedelta(seconds=3600 - 200)
    google.login_faults += [503] * 4
    ask(made)


def test_token_that_is_refused_is_replaced_once_and_the_question_asked_again(google, session, machine):
    made = session(google.machine, environ=machine)
    ask(made)
    google.revoked.update(google._tokens)
    ask(made)
    assert len(google.logins) == 2


def test_login_that_was_refused_is_not_tried_again_for_some_seconds(google, session):
    time = Time()
    environ = {"GCE_METADATA_HOST": google.url.removeprefix("http://")}
    made = session(environ=environ, clock=time)
    for seconds, logins in ((0, 1), (4, 1), (6, 2)):
        time.ahead = timedelta(seconds=seconds)
        with pytest.raises(NotAuthenticatedError, match="no credentials"):
            ask(made)
        assert len(google.logins) == logins
    google.machine = google.account
    time.ahead = timedelta(seconds=20)
    ask(made)


def test_trouble_with_a_login_is_unavailable_and_not_refused(google, session, tmp_path):
    google.subjects["subject-1"] = "pool/one"
    file = tmp_path / "token"
    file.write_text("subject-1")
    made = session(gcp_credential_config_file=google.federation(credential_source={"file": str(file)}))
    google.login_faults += [503, 503, 429]
    for _ in range(2):
        with pytest.raises(BackendUnavailableError, match="could not log in"):
            ask(made)


def test_child_of_a_fork_goes_on_with_the_token_and_reads(google, session, machine):
    for transport, endpoint in (("rest", google.url), ("grpc", f"http://127.0.0.1:{google.grpc_port}")):
        made = session(google.machine, environ=machine, transport=transport, endpoint=endpoint)
        ask(made)
        before = len(google.logins)
        child = os.fork()
        if not child:
            try:
                ask(made)
            except BaseException:  # noqa: BLE001 -- a child must not come back into the suite
                os._exit(1)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, transport
        ask(made)
        assert len(google.logins) == before


def test_quota_is_charged_to_the_project_that_is_said(google, session):
    made = session(gcp_keyfile_dict=Secret(google.key()), quota_project_id="payer")
    ask(made)
    assert google.payers[-1] == "payer"


def test_denied_names_the_permission(google, session):
    made = session(gcp_keyfile_dict=Secret(google.key()))
    google.model.denied.add(("secretmanager.versions.access", "projects/"))
    with pytest.raises(AccessDeniedError, match=r"lacks secretmanager\.versions\.access") as caught:
        ask(made)
    assert caught.value.reason == "secretmanager.versions.access"


def test_keys_in_a_file_of_settings_are_fetched_and_never_written_out(tmp_path, google):
    (tmp_path / "key.json").write_text(google.key())
    (tmp_path / "key.json").chmod(0o600)
    file = tmp_path / "strongroom.toml"
    for said, is_right in (
        ('gcp_keyfile_dict = { file = "key.json" }', True),
        ('gcp_keyfile_dict = { type = "service_account", private_key = { file = "key.json" } }', True),
        (f'gcp_keyfile_dict = "{CANARY}"', False),
    ):
        file.write_text(f'chain = ["gcp_secret_manager"]\n[backend.gcp_secret_manager]\n{said}\n')
        settings = load_settings(file, environ={})
        if is_right:
            made = options_of(settings.backend["gcp_secret_manager"], GoogleSecretManagerOptions, environ={})
            assert "PRIVATE" not in repr(made)
        else:
            with pytest.raises(SettingsError) as caught:
                options_of(settings.backend["gcp_secret_manager"], GoogleSecretManagerOptions, environ={})
            silent(caught.value)


def test_session_is_one_for_equal_access_and_closed_with_its_last_user(google):
    sessions, key = Sessions(), Secret(google.key())

    def make(name, **options):
        given = GoogleSecretManagerOptions(project_id="home", gcp_keyfile_dict=key, **options)
        return GoogleSecretManager(name, given, Time(), sessions=sessions)

    one, two, other = make("one"), make("two", sep="_"), make("three", transport="rest")
    assert one._session is two._session
    assert one._session is not other._session
    one.close()
    assert two.is_circuit_open is False
    for backend in (one, two, other):
        backend.close()
