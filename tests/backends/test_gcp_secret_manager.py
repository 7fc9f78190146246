"""Google Secret Manager as a backend, through Google's own SDK, over gRPC and over REST."""

import json
import re
import subprocess
import sys
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import ClassVar

import pytest
from google.cloud import secretmanager_v1 as sm

from parts.google import google, google_servers
from parts.google_model import PERMISSION, Fault
from parts.proxy import Proxy
from strongroom.backend import Provisioning, load
from strongroom.backends.gcp_secret_manager import GoogleSecretManager, GoogleSecretManagerOptions
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
)
from strongroom.model.entry import MUST_BE_ABSENT, Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY, HARD_TEXTS, BackendContract
from strongroom.vendors.google import GoogleAccess, GoogleSession

__all__ = ["google", "google_servers"]  # fixtures


def clock():
    return datetime.now(timezone.utc)


class Contract(BackendContract):
    """The contract over one transport, through a proxy that can be taken down."""

    transport = "grpc"
    has_compare_and_set = False
    max_text_bytes = 65_536
    # Google refuses an empty payload.
    hard_texts: ClassVar = {label: text for label, text in HARD_TEXTS.items() if text}

    @pytest.fixture(autouse=True)
    def servers(self, google):
        self.google = google
        port = google.grpc_port if self.transport == "grpc" else google.http_port
        with Proxy("127.0.0.1", port, is_tls=self.transport == "grpc") as self.proxy:
            yield

    def make(self, tmp_path, **more):
        self.project = self.google.project()
        options = GoogleSecretManagerOptions(
            project_id=self.project,
            gcp_keyfile_dict=Secret(self.google.key()),
            endpoint=f"http://127.0.0.1:{self.proxy.port}",
            transport=self.transport,
            use_team_secrets_path=True,
            **more,
        )
        return GoogleSecretManager("gcp", options, clock)

    def make_holding(self, tmp_path):
        return self.make(tmp_path, connections_prefix="connections#", variables_prefix="variables#")

    def make_shaped(self, tmp_path, shape):
        if shape == "fields":
            pytest.skip("this backend keeps texts and no objects")
        return self.make(tmp_path, connection_shape=shape)

    def break_write(self, backend):
        fail(self.google, 2)  # NOT_FOUND for adding, the secret is made, and then

    def down(self, backend):
        self.proxy.become("refuse")

    def deny(self, backend, ref):
        beginning = f"projects/{self.project}/secrets/{backend.naming.path(ref)}"
        self.google.model.denied.add(("secretmanager.versions.access", beginning))

    def test_every_version_can_be_read(self, backend):
        # Until it is deleted: then Google has none of them.
        ref = Ref("variable", "v")
        versions = {text: backend.write(self._draft("v", text)) for text in ("one", "two")}
        for text, version in versions.items():
            assert backend.read_version(ref, version).secret.reveal() == text
        backend.delete(ref, author="contract")
        with pytest.raises(NotFoundError):
            backend.read_version(ref, versions["one"])

    def test_undelete_brings_the_last_text_back(self, backend):
        # What was disabled can be enabled; what was deleted is gone.
        ref = Ref("variable", "v")
        for text in ("one", "two"):
            backend.write(self._draft("v", text))
        become(self.google, backend, "v", "2", "DISABLED")
        assert not any(info.is_current for info in backend.history(ref))
        version = backend.undelete(ref, author="contract")
        assert (self._text(backend, ref), version) == ("two", "2")
        backend.delete(ref, author="contract")
        with pytest.raises(NotFoundError):
            backend.undelete(ref, author="contract")

    def test_deleted_name_written_again_continues_its_versions(self, backend):
        # It begins anew, and nothing of before is told.
        ref = Ref("variable", "v")
        backend.write(self._draft("v", "old"))
        backend.delete(ref, author="contract")
        backend.write(self._draft("v", "new", MUST_BE_ABSENT))
        assert [info.version for info in backend.history(ref)] == ["1"]


class TestOverGrpc(Contract):
    pass


class TestOverRest(Contract):
    transport = "rest"


# --- what is where -------------------------------------------------------------------------------------


@pytest.fixture(params=["grpc", "rest"])
def opened(request, google):
    """Make a backend over a project of its own, by either transport."""
    made = []

    def make(**options):
        port = google.grpc_port if request.param == "grpc" else google.http_port
        given = {
            "project_id": None if "project_id" in options else google.project(),
            "gcp_keyfile_dict": Secret(google.key()),
            "endpoint": f"http://127.0.0.1:{port}",
            "transport": request.param,
        }
        made.append(GoogleSecretManager("gcp", GoogleSecretManagerOptions(**{**given, **options}), clock))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def connection(name, team=None):
    return Ref("connection", name, team)


def variable(name, team=None):
    return Ref("variable", name, team)


def text(backend, ref):
    entry = backend.read(ref)
    return None if entry is None else entry.secret.reveal()


def draft(ref, text, expected=None):
    return Draft(ref=ref, secret=Secret(text), expected_version=expected, author="ann")


def secret_of(backend, name):
    return f"projects/{backend.options.project_id}/secrets/airflow-variables-{name}"


def put(google, backend, path, data):
    """Put it there as another tool does: without a checksum, and without annotations."""
    parent = f"projects/{backend.options.project_id}"
    secret = sm.Secret(replication=sm.Replication(automatic=sm.Replication.Automatic()))
    google.model._CreateSecret(sm.CreateSecretRequest(parent=parent, secret_id=path, secret=secret))
    payload = sm.SecretPayload(data=data)
    google.model._AddSecretVersion(
        sm.AddSecretVersionRequest(parent=f"{parent}/secrets/{path}", payload=payload)
    )


def become(google, backend, name, version, state):
    request = sm.DisableSecretVersionRequest(name=f"{secret_of(backend, name)}/versions/{version}")
    google.model._become(request, sm.SecretVersion.State[state])


@pytest.mark.parametrize(
    ("options", "ref", "path"),
    [
        ({}, connection("db"), "airflow-connections-db"),
        ({}, variable("region"), "airflow-variables-region"),
        ({}, Ref("config", "sql"), "airflow-config-sql"),
        ({"sep": "__"}, variable("region"), "airflow-variables__region"),
        ({"variables_prefix": "v", "sep": ""}, variable("region"), "vregion"),
        # Airflow puts its separator after an empty prefix too.
        ({"variables_prefix": ""}, variable("region"), "-region"),
        ({"use_team_secrets_path": True}, variable("region", "data"), "airflow-variables-data--region"),
        ({}, variable("a--b"), "airflow-variables-a--b"),
        ({"use_team_secrets_path": True}, variable("a--b"), None),
        ({}, variable("region", "data"), None),
        ({"variables_prefix": None}, variable("region"), None),
        ({"variables_prefix": False}, variable("region"), None),
        ({}, variable("a.b"), None),
        ({}, variable("é"), None),
        ({}, variable("n" * 238), None),
    ],
)
def test_names_are_those_of_airflow(google, opened, options, ref, path):
    backend = opened(**options)
    assert backend.naming.path(ref) == path
    if path is None:
        assert backend.read(ref) is None
        assert google.model.calls == []
        return
    put(google, backend, path, b"postgres://h/")
    assert text(backend, ref) == "postgres://h/"
    assert len(google.model.calls) == 1


@pytest.mark.parametrize("options", [{"variables_prefix": "a/b"}, {"variables_prefix": True}, {"sep": "/"}])
def test_prefix_outside_the_grammar_is_refused_at_start(opened, options):
    with pytest.raises(BackendConfigError) as caught:
        opened(**options)
    assert "backend.gcp." in str(caught.value)


def test_one_secret_can_hold_many(google, opened):
    backend = opened(variables_prefix="airflow-variables#")
    put(google, backend, "airflow-variables", json.dumps({"a.b": "1", "c/d": "2"}).encode())
    assert [text(backend, variable(name)) for name in ("a.b", "c/d", "e")] == ["1", "2", None]
    google.model.calls.clear()
    assert [one and one.secret.reveal() for one in backend.read_many([variable("a.b"), variable("c/d")])] == [
        "1",
        "2",
    ]
    assert len(google.model.calls) == 1
    backend.write(draft(variable("new"), "3"))
    assert [row.ref.name for row in backend.list("variable")] == ["a.b", "c/d", "new"]
    assert backend.delete(variable("a.b"), author="ann") is True
    assert text(backend, variable("a.b")) is None


def test_region_has_its_own_secrets_and_says_no_replication(google, opened):
    backend = opened(location="europe-west3")
    backend.write(draft(variable("region"), "x"))
    assert text(backend, variable("region")) == "x"
    parent = f"projects/{backend.options.project_id}/locations/europe-west3"
    assert ("CreateSecret", parent) in google.model.calls
    assert [row.ref.name for row in backend.list("variable")] == ["region"]


def test_endpoint_of_a_region_is_its_own():
    for location, host in ((None, "secretmanager"), ("europe-west3", "secretmanager.europe-west3.rep")):
        session = GoogleSession(GoogleAccess(location=location, transport="rest"), place="gcp", environ={})
        assert session._carrier._endpoint == f"https://{host}.googleapis.com"
        session.close()


def test_new_secrets_are_kept_where_is_said(google, opened):
    backend = opened(replica_locations=("europe-west1", "europe-west3"))
    backend.write(draft(variable("region"), "x"))
    held = google.model._of(secret_of(backend, "region")).secret.replication
    assert [replica.location for replica in held.user_managed.replicas] == ["europe-west1", "europe-west3"]


def test_what_is_held_and_who_wrote_it_is_noted(google, opened):
    backend = opened()
    for author in ("ann", "bob"):
        backend.write(Draft(ref=variable("region"), secret=Secret("x"), author=author))
    notes = dict(google.model._of(secret_of(backend, "region")).secret.annotations)
    assert notes == {
        "strongroom-name": "variable/region",
        "strongroom-author-1": "ann",
        "strongroom-author-2": "bob",
    }


def test_nothing_is_noted_where_that_is_said(google, opened):
    backend = opened(annotate=False)
    for _ in range(2):
        backend.write(draft(variable("region"), "x"))
    assert dict(google.model._of(secret_of(backend, "region")).secret.annotations) == {}
    assert [rpc for rpc, _ in google.model.calls] == [
        "AddSecretVersion",
        "CreateSecret",
        "AddSecretVersion",
        "AddSecretVersion",
    ]


def test_authors_of_the_newest_fifty_versions_are_kept(google, opened):
    backend = opened()
    backend.write(draft(variable("region"), "x"))
    secret = google.model._of(secret_of(backend, "region")).secret
    secret.annotations = {f"strongroom-author-{number}": "old" for number in range(1, 61)}
    backend.write(draft(variable("region"), "y"))
    kept = sorted(int(key.rpartition("-")[2]) for key in secret.annotations)
    assert kept == list(range(11, 61))


# --- versions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "found"), [("latest", "three"), ("2", "two"), ("good", "one"), ("9", None), ("bad", None)]
)
def test_version_that_is_asked_for_is_read(google, opened, which, found):
    writer = opened()
    for one in ("one", "two", "three"):
        writer.write(draft(variable("v"), one))
    google.model._of(secret_of(writer, "v")).secret.version_aliases = {"good": 1}
    reader = opened(project_id=writer.options.project_id, version=which)
    assert text(reader, variable("v")) == found


@pytest.mark.parametrize("version", ["", "la test", "../1", "latest:access"])
def test_version_that_is_none_is_refused_at_start(opened, version):
    with pytest.raises(BackendConfigError, match="version must be"):
        opened(version=version)


@pytest.mark.parametrize("state", ["DISABLED", "DESTROYED"])
def test_latest_version_that_cannot_be_read_is_said_and_is_not_absent(google, opened, state):
    backend = opened()
    for one in ("one", CANARY):
        backend.write(draft(variable("v"), one))
    become(google, backend, "v", "2", state)
    with pytest.raises(MalformedEntryError) as caught:
        backend.read(variable("v"))
    assert caught.value.reason == state.lower()
    assert f"latest version of the secret airflow-variables-v is {state.lower()}" in str(caught.value)


def test_history_tells_the_state_of_each_version(google, opened):
    backend = opened()
    for one in ("one", "two", "one", "four"):
        backend.write(draft(variable("v"), one))
    become(google, backend, "v", "2", "DESTROYED")
    become(google, backend, "v", "4", "DISABLED")
    told = [
        (info.version, info.comment, info.same_as, info.is_current) for info in backend.history(variable("v"))
    ]
    assert told == [
        ("4", "disabled", None, False),
        ("3", "", "1", False),
        ("2", "destroyed", None, False),
        ("1", "", None, False),
    ]
    with pytest.raises(MalformedEntryError, match=r"version 2 of the secret .* is destroyed"):
        backend.read_version(variable("v"), "2")


def test_destroyed_version_is_not_brought_back(google, opened):
    backend = opened()
    backend.write(draft(variable("v"), "one"))
    become(google, backend, "v", "1", "DESTROYED")
    with pytest.raises(NotFoundError, match="nothing is left"):
        backend.undelete(variable("v"), author="ann")


def test_history_of_many_pages_is_whole(google, opened):
    backend = opened()
    backend.write(draft(variable("v"), "x"))
    held = google.model._of(secret_of(backend, "v"))
    version, data = held.versions[0]
    held.versions += [
        (sm.SecretVersion(version, name=f"{held.secret.name}/versions/{number}"), data)
        for number in range(2, 2_004)
    ]
    google.model.calls.clear()
    history = backend.history(variable("v"))
    assert [history[0].version, history[-1].version, len(history)] == ["2003", "1", 2003]
    asked = [rpc for rpc, _ in google.model.calls]
    assert asked.count("ListSecretVersions") == 2
    assert asked.count("AccessSecretVersion") == 100


def test_list_of_many_pages_is_asked_for_once(google, opened):
    backend = opened()
    put(google, backend, "airflow-variables-x", b"x")
    held = google.model._of(secret_of(backend, "x"))
    for number in range(2_500):
        google.model._held[secret_of(backend, f"n{number:04}")] = type(held)(
            sm.Secret(held.secret, name=secret_of(backend, f"n{number:04}"))
        )
    # A filter of Google's finds a part of a name anywhere.
    put(google, backend, "my-airflow-variables-y", b"x")
    pages = []
    while page := backend.list("variable", after=pages[-1] if pages else ""):
        pages += [row.ref.name for row in page]
    assert pages == [*(f"n{number:04}" for number in range(2_500)), "x"]
    assert [rpc for rpc, _ in google.model.calls] == ["ListSecrets"] * 2


# --- checksums -----------------------------------------------------------------------------------------


def test_value_that_was_damaged_on_its_way_is_trouble(google, opened):
    backend = opened()
    backend.write(draft(variable("v"), CANARY))
    google.model.spoil = lambda data: data[:-1] + b"?"
    with pytest.raises(BackendUnavailableError, match="checksum does not match") as caught:
        backend.read(variable("v"))
    assert CANARY[:-1] not in str(caught.value)


def test_checksum_is_sent_with_what_is_written(google, opened):
    backend = opened()
    backend.write(draft(variable("v"), "é"))
    version, _ = google.model._of(secret_of(backend, "v")).versions[0]
    assert version.client_specified_payload_checksum


def test_value_over_64_kib_is_refused_and_says_the_limit(google, opened):
    with pytest.raises(InvalidInputError) as caught:
        opened().write(draft(variable("v"), "x" * 65_537))
    assert caught.value.limit == 65_536
    assert google.model.calls == []


def test_value_that_is_no_text_is_malformed(google, opened):
    backend = opened()
    put(google, backend, "airflow-variables-v", b"\xff" + CANARY.encode())
    with pytest.raises(MalformedEntryError, match="no text in UTF-8") as caught:
        backend.read(variable("v"))
    assert CANARY not in str(caught.value)


def test_empty_value_is_refused_before_anything_is_asked(google, opened):
    with pytest.raises(InvalidInputError, match="no empty values"):
        opened().write(draft(variable("v"), ""))
    assert google.model.calls == []


# --- writes that end half-way --------------------------------------------------------------------------


def fail(google, after, status="UNAVAILABLE"):
    google.model.faults += [None] * after + [Fault(status, CANARY)]


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


def text_of_all(backend):
    return [text(backend, row.ref) for row in backend.list("variable")]


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
