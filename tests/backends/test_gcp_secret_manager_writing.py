"""Google Secret Manager as a backend: writes that end half-way, many at once, rights, and what it costs."""

import re
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from parts.google import google, google_servers
from parts.google_kept import become, clock, draft, fail, opened, put, secret_of, text, text_of_all, variable
from parts.google_model import PERMISSION, sm
from strongroom.backend import Provisioning, load
from strongroom.backends.gcp_secret_manager import GoogleSecretManager, GoogleSecretManagerOptions
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    ConflictError,
    MalformedEntryError,
    ReadOnlyError,
)
from strongroom.model.entry import MUST_BE_ABSENT
from strongroom.model.secret import Secret

__all__ = ["google", "google_servers", "opened"]  # fixtures


# --- writes that end half-way --------------------------------------------------------------------------


def test_secret_that_was_made_and_not_filled_is_said_and_writing_again_is_safe(google, opened):
    backend = opened()
    fail(google, 2)  # NOT_FOUND for adding, the secret is made, and then
    with pytest.raises(BackendUnavailableError, match="was made, and its value is not written") as caught:
        backend.write(draft(variable("v"), "x"))
    assert "write again" in caught.value.hint
    assert text(backend, variable("v")) is None
    with pytest.raises(ConflictError) as caught:
        backend.write(draft(variable("v"), "x", MUST_BE_ABSENT))
    assert "holds no version" in caught.value.hint  # who made it a moment ago may be about to fill it
    assert backend.write(draft(variable("v"), "x")) == "1"
    assert text(backend, variable("v")) == "x"


def test_secret_of_many_that_is_read_at_another_version_than_its_latest_is_not_changed(opened):
    latest = opened(variables_prefix="many#")
    latest.write_many([draft(variable("a"), "1"), draft(variable("b"), "2")])
    latest.write(draft(variable("c"), "3"))
    pinned = opened(variables_prefix="many#", version="1", project_id=latest.options.project_id)
    assert (text(pinned, variable("a")), text(pinned, variable("c"))) == ("1", None)
    for change in (
        lambda: pinned.write(draft(variable("d"), "4")),  # over version 1, and c would be gone
        lambda: pinned.delete(variable("a"), author="ann"),
    ):
        with pytest.raises(ReadOnlyError, match="version") as caught:
            change()
        assert 'version = "latest"' in caught.value.hint
    assert text_of_all(latest) == ["1", "2", "3"]


@pytest.mark.parametrize("tokens", [["again"], ["one", "two"]])
def test_list_that_leads_in_a_circle_is_not_followed(google, opened, monkeypatch, tokens):
    def pages(request):
        after = (tokens.index(request.page_token) + 1) % len(tokens) if request.page_token else 0
        return sm.ListSecretsResponse(next_page_token=tokens[after])

    monkeypatch.setattr(google.model, "_ListSecrets", pages)
    with pytest.raises(BackendUnavailableError, match="circle"):
        opened().list("variable")


def made_long_ago(google, backend, path):
    """Leave a secret without a version, as a write that was cut does, and as an administrator may."""
    secret = sm.Secret(replication=sm.Replication(automatic=sm.Replication.Automatic()))
    parent = f"projects/{backend.options.project_id}"
    google.model._CreateSecret(sm.CreateSecretRequest(parent=parent, secret_id=path, secret=secret))
    held = google.model._of(f"{parent}/secrets/{path}")
    held.secret.create_time = clock() - timedelta(minutes=2)
    return held


def test_secret_that_was_left_empty_is_filled_by_one_writer(google, opened):
    backend = opened()
    held = made_long_ago(google, backend, "airflow-variables-v")

    def others_are_faster(rpc):
        if rpc == "UpdateSecret":
            google.model.before = None
            held.secret.etag = google.model._etag()

    google.model.before = others_are_faster
    with pytest.raises(ConflictError):
        backend.write(draft(variable("v"), "x", MUST_BE_ABSENT))
    assert held.versions == []
    assert backend.write(draft(variable("v"), "x", MUST_BE_ABSENT)) == "1"
    assert [info.author for info in backend.history(variable("v"))] == ["ann"]


def test_secret_for_many_that_was_left_empty_is_filled(google, opened):
    backend = opened(variables_prefix="all#")
    made_long_ago(google, backend, "all")
    backend.write(draft(variable("a"), "1"))
    backend.write(draft(variable("b"), "2"))
    assert text_of_all(backend) == ["1", "2"]


def test_secret_whose_only_version_is_disabled_is_something_all_the_same(google, opened):
    backend = opened()
    backend.write(draft(variable("v"), "one"))
    become(google, backend, "v", "1", "DISABLED")
    with pytest.raises(ConflictError):
        backend.write(draft(variable("v"), "two", MUST_BE_ABSENT))


def test_value_written_and_author_not_noted_is_said(google, opened):
    backend = opened()
    backend.write(draft(variable("v"), "one"))
    google.model.denied.add(("secretmanager.secrets.update", f"projects/{backend.options.project_id}"))
    with pytest.raises(
        AccessDeniedError, match=r"version 2 of the secret .* is written, but not who"
    ) as caught:
        backend.write(draft(variable("v"), "two"))
    assert caught.value.reason == "secretmanager.secrets.update"
    assert "annotate = false" in caught.value.hint
    assert text(backend, variable("v")) == "two"


def test_annotations_that_others_change_meanwhile_are_kept(google, opened):
    backend = opened()
    backend.write(draft(variable("v"), "one"))
    held = google.model._of(secret_of(backend, "v"))

    def meddle(rpc):
        if rpc == "UpdateSecret" and "theirs" not in held.secret.annotations:
            held.secret.annotations["theirs"] = "kept"
            held.secret.etag = google.model._etag()

    google.model.before = meddle
    backend.write(draft(variable("v"), "two"))
    assert held.secret.annotations["theirs"] == "kept"
    assert held.secret.annotations["strongroom-author-2"] == "ann"


def test_write_that_expects_nothing_never_adds_to_something(google, opened):
    backend = opened()
    backend.write(draft(variable("v"), "one"))
    with pytest.raises(ConflictError) as caught:
        backend.write(draft(variable("v"), "two", MUST_BE_ABSENT))
    assert caught.value.current_version == "1"
    assert len(google.model._of(secret_of(backend, "v")).versions) == 1


# --- many ----------------------------------------------------------------------------------------------


def test_many_are_read_side_by_side(google, opened):
    backend = opened()
    names = [f"v{number}" for number in range(40)]
    for name in names:
        put(google, backend, f"airflow-variables-{name}", name.encode())
    google.model.seconds = 0.02
    answers = backend.read_many([variable(name) for name in [*names, "nobody"]])
    assert [one and one.secret.reveal() for one in answers] == [*names, None]
    assert google.model.most >= 8
    assert len(google.model.calls) == 41


def test_trouble_with_one_is_not_trouble_with_all(google, opened):
    backend = opened()
    for name in ("a", "b"):
        put(google, backend, f"airflow-variables-{name}", b"x")
    become(google, backend, "b", "1", "DISABLED")
    first, second, third = backend.read_many([variable("a"), variable("b"), variable("c")])
    assert first.secret.reveal() == "x"
    assert isinstance(second, MalformedEntryError)
    assert third is None


# --- checking ------------------------------------------------------------------------------------------


def test_check_tells_who_we_are_and_what_we_may(google, opened):
    backend = opened()
    put(google, backend, "airflow-connections-db", b"x")
    health = backend.check()
    assert (health.status, health.identity) == ("ready", google.account)
    assert health.may == {"read": "yes", "list": "yes", "write": "yes"}
    assert all(rpc in ("ListSecrets", "TestIamPermissions") for rpc, _ in google.model.calls)


def test_check_names_the_permission_that_is_missing(google, opened):
    backend = opened()
    put(google, backend, "airflow-connections-db", b"x")
    below = f"projects/{backend.options.project_id}"
    for permission in ("versions.access", "versions.add"):
        google.model.denied.add((f"secretmanager.{permission}", below))
    health = backend.check()
    assert health.status == "error"
    assert health.may == {"read": "no", "list": "yes", "write": "no"}
    assert "secretmanager.versions.access" in health.message
    assert "secretmanager.versions.add" in health.message


def test_check_of_an_empty_project_tries_a_read_of_nothing(google, opened):
    backend = opened()
    assert backend.check().may == {"read": "yes", "list": "yes", "write": "unknown"}
    below = f"projects/{backend.options.project_id}"
    google.model.denied.update((f"secretmanager.{one}", below) for one in ("secrets.list", "versions.access"))
    health = backend.check()
    assert (health.status, health.may) == ("unknown", {"read": "unknown", "list": "no", "write": "unknown"})
    assert "secretmanager.versions.access" in health.message


def test_check_of_one_secret_for_many_asks_about_it_and_does_not_read_it(google, opened):
    backend = opened(connections_prefix="all#", variables_prefix=False, config_prefix=False)
    assert backend.check().may == {"read": "unknown", "list": "yes", "write": "unknown"}
    put(google, backend, "all", b"{}")
    assert backend.check().may == {"read": "yes", "list": "yes", "write": "yes"}
    assert all(rpc != "AccessSecretVersion" for rpc, _ in google.model.calls)


def test_prefix_that_no_filter_can_say_is_listed_and_checked_without_one(google, opened):
    backend = opened(variables_prefix="", connections_prefix=False, config_prefix=False)
    put(google, backend, "-v", b"x")
    assert text_of_all(backend) == ["x"]
    assert backend.check().may == {"read": "yes", "list": "yes", "write": "yes"}


# --- the least policy ----------------------------------------------------------------------------------


def policy(google, *verbs, **options):
    key = Secret(google.key("agent@my-project.iam.gserviceaccount.com"))
    backend = GoogleSecretManager("gcp", GoogleSecretManagerOptions(gcp_keyfile_dict=key, **options), clock)
    try:
        assert isinstance(backend, Provisioning)
        return backend.least_policy(verbs)
    finally:
        backend.close()


def test_least_policy_stands_in_the_docs(google):
    page = Path(__file__).parents[2] / "docs" / "backends" / "gcp_secret_manager.md"
    assert policy(google, "read", "list", "write") in page.read_text(encoding="utf-8")


def test_least_policy_of_reading_is_one_permission_below_the_prefixes(google):
    text = policy(google, "read", variables_prefix="one#", config_prefix=False, location="europe-west3")
    below = "projects/$NUMBER/locations/europe-west3/secrets/"
    assert "--permissions=secretmanager.versions.access\n" in text
    assert (
        f"expression=resource.name.startsWith('{below}airflow-connections-') || "
        f"resource.name == '{below}one' || resource.name.startsWith('{below}one/')\"\n"
    ) in text
    assert "_names" not in text


def test_least_policy_of_names_that_a_shell_would_run_runs_nothing(google, tmp_path):
    key = Secret(google.key("a$(touch ran)@b"))
    given = GoogleSecretManagerOptions(gcp_keyfile_dict=key, project_id='p";touch ran;"`touch ran`')
    backend = GoogleSecretManager("gcp", given, clock)
    said, _, _ = backend.least_policy(("read",)).partition("NUMBER=")
    backend.close()
    subprocess.run(["sh", "-ec", said], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


def test_least_policy_is_said_without_credentials_and_without_asking(google):
    backend = GoogleSecretManager("gcp", GoogleSecretManagerOptions(), clock)
    text = backend.least_policy(("read",))
    backend.close()
    assert "PROJECT=PROJECT_ID\nMEMBER=serviceAccount:NAME@PROJECT_ID.iam.gserviceaccount.com\n" in text
    assert google.logins == []


def test_least_policy_is_enough_and_nothing_of_it_is_too_much(google, opened):
    backend = opened()
    text = backend.least_policy(("read", "list", "write"))
    granted = {one for line in re.findall("--permissions=(.*)", text) for one in line.split(",")}
    below = f"projects/{backend.options.project_id}"
    for permission in set(PERMISSION.values()) - granted:
        google.model.denied.add((permission, below))
    google.model.calls.clear()
    for one in ("one", "two"):
        backend.write(draft(variable("v"), one))
    assert text_of_all(backend) == ["two"]
    assert len(backend.history(variable("v"))) == 2
    become(google, backend, "v", "2", "DISABLED")
    backend.undelete(variable("v"), author="ann")
    assert backend.delete(variable("v"), author="ann") is True
    assert {PERMISSION[rpc] for rpc, _ in google.model.calls} == granted


# --- cost ----------------------------------------------------------------------------------------------


def test_sdk_is_loaded_when_something_is_asked_and_not_before():
    program = (
        "import sys\n"
        "from strongroom.backend import Provisioning, load\n"
        "kind = load('gcp_secret_manager')\n"
        "made = kind('gcp', kind.options_type(project_id='p'), None, environ={})\n"
        "made.close()\n"
        "assert not any(name.startswith(('google.', 'grpc', 'requests')) and 'google.cloud' != name\n"
        "    for name in sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_sdk_that_is_missing_is_named_before_anything_is_asked():
    # google-auth is there with much else.
    program = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('google.cloud.'): raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from strongroom.backend import load\n"
        "from strongroom.errors import BackendConfigError\n"
        "try:\n"
        "    load('gcp_secret_manager')\n"
        "except BackendConfigError as error:\n"
        "    assert 'google-cloud-secret-manager' in str(error) and 'strongroom[gcp]' in error.hint\n"
        "else:\n"
        "    sys.exit(1)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_nothing_is_asked_while_nobody_reads(google, opened):
    backend = opened()
    backend.read(variable("v"))
    google.model.calls.clear()
    asked = threading.Event()
    google.model.before = lambda rpc: asked.set()
    assert not asked.wait(0.3)
    assert google.logins == []


def test_kind_is_found_by_its_name():
    assert load("gcp_secret_manager") is GoogleSecretManager
