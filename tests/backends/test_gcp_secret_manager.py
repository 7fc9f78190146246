"""Google Secret Manager as a backend, through Google's own SDK, over gRPC and over REST."""

import json
from typing import ClassVar

import pytest

from parts.google import google, google_servers
from parts.google_kept import (
    become,
    clock,
    connection,
    draft,
    fail,
    opened,
    put,
    secret_of,
    text,
    variable,
)
from parts.google_model import sm
from parts.proxy import Proxy
from strongroom.backends.gcp_secret_manager import GoogleSecretManager, GoogleSecretManagerOptions
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
)
from strongroom.model.entry import MUST_BE_ABSENT, Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY, HARD_TEXTS, BackendContract
from strongroom.vendors.google import GoogleAccess, GoogleSession

__all__ = ["google", "google_servers", "opened"]  # fixtures


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
        versions = {one: backend.write(self._draft("v", one)) for one in ("one", "two")}
        for one, version in versions.items():
            assert backend.read_version(ref, version).secret.reveal() == one
        backend.delete(ref, author="contract")
        with pytest.raises(NotFoundError):
            backend.read_version(ref, versions["one"])

    def test_undelete_brings_the_last_text_back(self, backend):
        # What was disabled can be enabled; what was deleted is gone.
        ref = Ref("variable", "v")
        for one in ("one", "two"):
            backend.write(self._draft("v", one))
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
