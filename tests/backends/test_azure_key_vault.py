"""Azure Key Vault as a backend: Azure's own SDK against a strict fake over HTTPS."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from parts.azure import CLIENT, SECRET, TENANT, Azure
from parts.certificates import Authority
from parts.faults import REF, TEXT, FaultContract
from strongroom.backends.azure_key_vault import AzureKeyVault, AzureKeyVaultOptions
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    RateLimitedError,
)
from strongroom.model.entry import Draft, EntryState
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY, BackendContract
from strongroom.vendors.sessions import Sessions


def clock():
    return datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Azure(Authority(tmp_path_factory.mktemp("azure"))) as azure:
        yield azure


@pytest.fixture
def azure(running):
    running.clear()
    return running


def options(azure, **more):
    said = {
        "vault_url": azure.vault_url,
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "client_secret": Secret(SECRET),
        "authority": azure.entra,
        "ca": azure.ca,
        **more,
    }
    return AzureKeyVaultOptions(**said)


@pytest.fixture
def opened(azure):
    made = []

    def make(**more):
        made.append(AzureKeyVault("azure", options(azure, **more), clock, environ={}))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


class TestContract(BackendContract):
    """What a vault keeps: up to 25,600 bytes, by letters, digits and dashes; of what is deleted, nothing."""

    has_compare_and_set = False
    max_text_bytes = 25_600

    @pytest.fixture(autouse=True)
    def server(self, azure):
        self.azure = azure

    def make(self, tmp_path, **more):
        said = options(self.azure, **{"use_team_secrets_path": True, **more})
        return AzureKeyVault("azure", said, clock, environ={})

    def make_holding(self, tmp_path):
        each = {f"{kind}_prefix": f"airflow-{kind}#" for kind in ("connections", "variables", "config")}
        return self.make(tmp_path, **each)

    def make_shaped(self, tmp_path, shape):
        if shape == "fields":
            pytest.skip("this backend keeps texts, not fields")
        return self.make(tmp_path, connection_shape=shape)

    def down(self, backend):
        self.azure.answers = [(503, None, {})] * 20

    def deny(self, backend, ref):
        self.azure.rights[CLIENT] = frozenset({"set"})

    def put_oversized(self, backend, ref, text):
        self.azure.put(backend.spell(ref), text)

    def test_list_is_ordered_and_paged(self, backend):
        names = sorted(["b", "a", "c-d", "a0", "aa", "z_9", "a_b"])
        for name in names:
            self.put(backend, Ref("variable", name), "x")
        assert self._names(backend) == names
        assert self._names(backend, limit=3) == names[:3]
        assert self._names(backend, after=names[2], limit=3) == names[3:6]

    def test_every_version_can_be_read(self, backend):
        ref = Ref("variable", "v")
        versions = {text: backend.write(self._draft("v", text)) for text in ("one", "two")}
        for text, version in versions.items():
            assert backend.read_version(ref, version).secret.reveal() == text
        backend.delete(ref, author="contract")
        with pytest.raises(NotFoundError, match="no such version"):
            backend.read_version(ref, versions["one"])
        backend.undelete(ref, author="contract")
        assert backend.read_version(ref, versions["one"]).secret.reveal() == "one"


class TestFaults(FaultContract):
    is_https = True

    def serve(self, request):
        self.azure = request.getfixturevalue("azure")
        self.azure.put("airflow-variables-held", TEXT)
        return self.azure.plain_port

    def make(self, url, *, timeout, ca=None):
        assert REF.name == "held"
        said = options(self.azure, vault_url=url, authority=url, timeout=timeout, ca=ca)
        return AzureKeyVault("azure", said, clock, environ={})


def connection(name, team=None):
    return Ref("connection", name, team)


def variable(name, team=None):
    return Ref("variable", name, team)


def text(backend, ref):
    entry = backend.read(ref)
    return None if entry is None else entry.secret.reveal()


def write(backend, ref, value="x", author="ada"):
    return backend.write(Draft(ref=ref, secret=Secret(value), author=author))


def at(**distance):
    return int((clock() + timedelta(**distance)).timestamp())


def asked(azure):
    """What the vault was asked with a token."""
    return [(method, path) for method, path, has_token in azure.requests if has_token]


# --- names, and names that a vault cannot tell apart -------------------------------------------------


@pytest.mark.parametrize(
    ("ref", "more", "secret"),
    [
        (connection("orders_db"), {}, "airflow-connections-orders-db"),
        (variable("region"), {}, "airflow-variables-region"),
        (Ref("config", "sql_alchemy_conn"), {}, "airflow-config-sql-alchemy-conn"),
        (variable("a_b"), {"sep": "0"}, "airflow-variables0a0b"),
        (variable("a_b"), {"variables_prefix": ""}, "a-b"),
        (variable("a_b"), {"variables_prefix": "my_vars--"}, "my-vars-a-b"),
        (variable("a_b", "data_x"), {"use_team_secrets_path": True}, "airflow-variables-data-x--a-b"),
        (variable("x" * 109), {}, "airflow-variables-" + "x" * 109),
    ],
)
def test_names_are_spelled_as_airflow_spells_them(azure, opened, ref, more, secret):
    azure.put(secret, "postgres://h")
    backend = opened(**more)
    assert text(backend, ref) == "postgres://h"
    assert asked(azure) == [("GET", f"/secrets/{secret}")]


@pytest.mark.parametrize(
    ("ref", "more"),
    [
        (variable("a.b"), {}),
        (variable("a/b"), {}),
        (variable("é"), {}),
        (variable("x" * 110), {}),
        (variable("a", "team"), {}),
        (variable("b__c"), {"use_team_secrets_path": True}),
        (variable("b-_c"), {"use_team_secrets_path": True}),
        (variable("c", "a__b"), {"use_team_secrets_path": True}),
        (variable("b_c"), {"variables_prefix": "v", "connections_prefix": "v-b"}),
        (variable("B-c"), {"variables_prefix": "v", "connections_prefix": "v-b"}),
        (variable("Airflow_Connections-x"), {"variables_prefix": ""}),
        (variable("b"), {"variables_prefix": False}),
        (variable("b"), {"variables_prefix": None}),
    ],
)
def test_name_that_cannot_be_spelled_is_absent_without_a_question_and_refused_to_a_write(
    azure, opened, ref, more
):
    backend = opened(**more)
    assert backend.read(ref) is None
    with pytest.raises(InvalidInputError, match="cannot hold the name"):
        write(backend, ref)
    assert azure.requests == []


def test_secret_that_is_tagged_for_a_name_is_no_other_names(azure, opened):
    backend = opened()
    write(backend, variable("a_b"), "mine")
    for twin in ("a-b", "A_b"):
        assert backend.read(variable(twin)) is None
        with pytest.raises(ConflictError, match="kept for another name"):
            write(backend, variable(twin), "theirs")
        assert backend.delete(variable(twin), author="ada") is False
        assert backend.history(variable(twin)) == []
        assert backend.folded(variable(twin)) is None
    assert text(backend, variable("a_b")) == "mine"
    assert [row.ref.name for row in backend.list("variable")] == ["a_b"]


def test_secret_without_our_tag_is_every_names_that_is_spelled_so(azure, opened):
    azure.put("airflow-variables-a-b", "theirs", tags={"owner": "ops"})
    backend = opened()
    assert [text(backend, variable(name)) for name in ("a-b", "a_b", "A-B")] == ["theirs"] * 3
    assert [row.ref.name for row in backend.list("variable")] == ["a-b"]
    assert backend.folded(variable("a-b")) is None
    assert backend.folded(variable("a_b")).ref == variable("a_b")
    assert {backend.spell(variable(name)) for name in ("a-b", "a_b", "A-B")} == {"airflow-variables-a-b"}


def test_secret_whose_tag_spells_another_is_listed_as_nobodys(azure, opened):
    azure.put("airflow-variables-a-b", "v", tags={"airflow-id": "c"})
    backend = opened()
    assert backend.read(variable("a-b")) is None
    assert backend.read(variable("c")) is None
    (row,) = backend.list("variable")
    assert (row.ref, row.problem) == (
        variable("a-b"),
        "its tag airflow-id says another name, so nobody reads it",
    )


@pytest.mark.parametrize(("tags", "found"), [({}, "v"), ({"airflow-team": "Data"}, None)])
def test_tag_of_the_team_may_be_left_out(azure, opened, tags, found):
    azure.put("airflow-variables-data--a-b", "v", tags={"airflow-id": "a_b", **tags})
    backend = opened(use_team_secrets_path=True)
    assert text(backend, variable("a_b", "data")) == found
    assert backend.read(variable("a-b", "data")) is None
    listed = [row.ref.name for row in backend.list("variable", team="data")]
    assert listed == (["a_b"] if found else [])


def test_write_takes_a_secret_without_our_tag_over_and_keeps_what_stands_beside_it(azure, opened):
    azure.put("airflow-variables-a-b", "old", tags={"owner": "ops"}, content_type="text/plain")
    backend = opened()
    write(backend, variable("a_b"), "new")
    held = azure.secrets["airflow-variables-a-b"][1]
    assert held[-1].tags == {"owner": "ops", "airflow-id": "a_b", "strongroom-author": "ada"}
    assert held[-1].content_type == "text/plain"
    assert [row.ref.name for row in backend.list("variable")] == ["a_b"]
    assert backend.read(variable("a-b")) is None


def test_write_without_room_for_the_tag_of_its_name_is_refused(azure, opened):
    azure.put("airflow-variables-full", "old", tags={f"t{number}": "x" for number in range(15)})
    backend = opened()
    with pytest.raises(InvalidInputError, match="no room"):
        write(backend, variable("full"))
    assert text(backend, variable("full")) == "old"


def test_value_over_what_a_vault_holds_is_refused_before_anything_is_sent(azure, opened):
    backend = opened()
    with pytest.raises(InvalidInputError) as caught:
        write(backend, variable("big"), "é" * 12_801)
    assert caught.value.limit == 25_600
    assert azure.requests == []


def test_team_and_name_are_told_apart_by_their_tags(azure, opened):
    backend = opened(use_team_secrets_path=True)
    write(backend, variable("a_b", "data_x"), "theirs")
    assert text(backend, variable("a_b", "data_x")) == "theirs"
    assert backend.read(variable("a_b", "data-x")) is None
    assert backend.read(variable("a_b")) is None
    assert [row.ref for row in backend.list("variable", team="data_x")] == [variable("a_b", "data_x")]
    assert backend.list("variable", team="data-x") == backend.list("variable") == []


def test_one_secret_holds_many(azure, opened):
    azure.put("airflow-connections", json.dumps({"a_b": "postgres://h1", "a-b": "postgres://h2"}))
    backend = opened(connections_prefix="airflow-connections#")
    assert text(backend, connection("a_b")) == "postgres://h1"
    assert text(backend, connection("a-b")) == "postgres://h2"
    write(backend, connection("c.d"), "http://h3")
    assert json.loads(azure.secrets["airflow-connections"][1][-1].value)["c.d"] == "http://h3"
    assert [row.ref.name for row in backend.list("connection")] == ["a-b", "a_b", "c.d"]
    assert "airflow-id" not in azure.secrets["airflow-connections"][1][-1].tags
    assert backend.delete(connection("a_b"), author="ada") is True
    assert backend.read(connection("a_b")) is None
    assert text(backend, connection("c.d")) == "http://h3"


# --- what is not to be used -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "words", "reason"),
    [
        ({"enabled": False}, "is disabled", "disabled"),
        ({"exp": at(seconds=-2)}, "is expired", "expired"),
        ({"nbf": at(hours=1)}, "is not active yet", "not_active"),
    ],
)
def test_disabled_expired_and_early_secrets_are_invalid_and_never_absent(
    azure, opened, attributes, words, reason
):
    azure.put("airflow-variables-x", CANARY, **attributes)
    backend = opened()
    with pytest.raises(MalformedEntryError, match=words) as caught:
        backend.read(variable("x"))
    assert caught.value.reason == reason
    row = backend.list("variable")[0]
    assert row.problem == words
    assert (row.state is EntryState.EXPIRED) == (reason == "expired")
    write(backend, variable("x"), "new")
    assert text(backend, variable("x")) == "new"


def test_secret_lives_no_longer_than_it_says(azure, opened):
    azure.put("airflow-variables-x", "v", exp=at(minutes=1), nbf=at(minutes=-1))
    lifetime = opened().read(variable("x")).lifetime
    assert timedelta(seconds=50) < lifetime <= timedelta(seconds=60)


def test_disabled_twin_is_not_written_over(azure, opened):
    azure.put("airflow-variables-a-b", "v", enabled=False, tags={"airflow-id": "a_b"})
    with pytest.raises(ConflictError):
        write(opened(), variable("a-b"))


# --- deleting ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("settle", [0, 2])
def test_deleted_name_is_written_again_over_what_was_deleted(azure, opened, settle):
    azure.settle = settle
    backend = opened()
    old = write(backend, variable("x"), "old")
    assert backend.delete(variable("x"), author="ada") is True
    new = write(backend, variable("x"), "new")
    assert text(backend, variable("x")) == "new"
    assert [info.version for info in backend.history(variable("x"))] == [new, old]


def test_name_that_was_deleted_as_another_is_not_brought_back(azure, opened):
    backend = opened()
    write(backend, variable("a_b"), "old")
    backend.delete(variable("a_b"), author="ada")
    with pytest.raises(ConflictError, match="another name"):
        write(backend, variable("a-b"), "new")
    with pytest.raises(NotFoundError):
        backend.undelete(variable("a-b"), author="ada")
    assert azure.secrets == {}


def test_deleting_for_good_leaves_the_name_free(azure, opened):
    azure.settle = 1
    backend = opened(purge=True)
    write(backend, variable("x"))
    assert backend.delete(variable("x"), author="ada") is True
    assert azure.deleted == {}
    with pytest.raises(NotFoundError):
        backend.undelete(variable("x"), author="ada")


def test_purge_that_is_refused_says_that_it_is_deleted(azure, opened):
    backend = opened(purge=True)
    write(backend, variable("x"))
    azure.rights[CLIENT] = frozenset({"get", "delete"})
    with pytest.raises(AccessDeniedError) as caught:
        backend.delete(variable("x"), author="ada")
    assert caught.value.hint.startswith("it is deleted, and not purged")
    assert backend.read(variable("x")) is None


def test_recovered_name_whose_write_fails_says_what_stands(azure, opened):
    backend = opened()
    write(backend, variable("x"), "old")
    backend.delete(variable("x"), author="ada")
    azure.limits = [("set", 2)]
    with pytest.raises(BackendUnavailableError) as caught:
        write(backend, variable("x"), "new")
    assert "writing once more is safe" in caught.value.hint
    assert text(backend, variable("x")) == "old"
    write(backend, variable("x"), "new")
    assert text(backend, variable("x")) == "new"


def test_deleted_names_are_listed_apart(azure, opened):
    backend = opened()
    for name in ("a_b", "c"):
        write(backend, variable(name))
    backend.delete(variable("a_b"), author="ada")
    rows = backend.list_deleted("variable")
    assert [(row.ref.name, row.is_deleted) for row in rows] == [("a_b", True)]
    assert [row.ref.name for row in backend.list("variable")] == ["c"]
    assert backend.list_deleted("connection") == []


# --- lists ------------------------------------------------------------------------------------------


def test_long_lists_are_followed_to_their_end_and_asked_for_once(azure, opened):
    names = sorted(f"n{number}" for number in range(60))
    for name in names:
        azure.put(f"airflow-variables-{name}", "v")
    backend = opened()
    found = [row.ref.name for row in backend.list("variable", limit=7)]
    while page := backend.list("variable", after=found[-1], limit=7):
        found += [row.ref.name for row in page]
    assert found == names
    assert asked(azure) == [("GET", "/secrets")] * 3


@pytest.mark.parametrize(
    "link", ["https://localhost:1/secrets?x", "http://127.0.0.1/secrets", "//x", "again"]
)
def test_list_that_leads_elsewhere_or_nowhere_is_not_followed(azure, opened, link):
    here = f"{azure.vault_url}/secrets?$skiptoken=1" if link == "again" else link
    azure.answers = [(200, {"value": [], "nextLink": here}, {})] * 5
    with pytest.raises(BackendUnavailableError, match="another shape"):
        opened().list("variable")


def test_kinds_that_share_a_prefix_are_read_and_not_listed(azure, opened):
    azure.put("all-x", "postgres://h")
    backend = opened(connections_prefix="all", variables_prefix="all")
    assert text(backend, connection("x")) == text(backend, variable("x")) == "postgres://h"
    with pytest.raises(BackendConfigError, match="share a prefix"):
        backend.list("variable")


# --- failures ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("denial", "hint"),
    [
        ("ForbiddenByRbac", 'assign the role "Key Vault Secrets User" on the vault'),
        ("ForbiddenByPolicy", 'add the secret permission "Get" in its access policy'),
        ("ForbiddenByFirewall", "under Networking of the vault"),
        ("SomethingElse", "Key Vault Secrets User"),
    ],
)
def test_denial_names_what_is_missing(azure, opened, denial, hint):
    azure.rights[CLIENT] = frozenset()
    azure.denial = denial
    with pytest.raises(AccessDeniedError) as caught:
        opened().read(variable("x"))
    assert hint in caught.value.hint
    assert "nobody is to see" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((429, None, {"retry-after": "7"}), RateLimitedError, "more often"),
        ((503, None, {"retry-after": "7"}), BackendUnavailableError, "status 503"),
        ((200, b"{", {}), BackendUnavailableError, "another shape"),
        ((200, b"[]", {}), BackendUnavailableError, "another shape"),
        ((200, {"id": "https://elsewhere/x"}, {}), BackendUnavailableError, "another shape"),
        ((404, b"<html>", {"content-type": "text/html"}), BackendConfigError, "no Key Vault"),
        ((403, b"<html>", {"content-type": "text/html"}), BackendConfigError, "no Key Vault"),
        ((301, None, {"location": "https://elsewhere"}), BackendUnavailableError, "redirects"),
        ((418, {"error": {"code": "Odd"}}, {}), BackendUnavailableError, "status 418"),
        ((404, {"error": {"code": "ResourceNotFound"}}, {}), BackendUnavailableError, "status 404"),
    ],
)
def test_answers_that_are_no_secret_are_told_apart(azure, opened, answer, kind, words):
    azure.answers = [answer]
    with pytest.raises(kind, match=words) as caught:
        opened().read(variable("x"))
    if "retry-after" in answer[2]:
        assert caught.value.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize("other", ["secrets/airflow-variables-y/0123", "secrets/airflow-variables-x/4567"])
def test_answer_about_another_secret_or_version_is_no_answer(azure, opened, other):
    azure.put("airflow-variables-x", "v")
    backend = opened()
    version = backend.read(variable("x")).version
    held = {"id": f"{azure.vault_url}/{other}", "value": "another's", "attributes": {"enabled": True}}
    azure.answers = [(200, held, {})]
    with pytest.raises(BackendUnavailableError, match="another shape"):
        backend.read_version(variable("x"), version)
    assert backend.read(variable("x")).secret.reveal() == "v"


def test_list_that_is_not_there_is_trouble_and_no_empty_list(azure, opened):
    azure.answers = [(404, {"error": {"code": "ResourceNotFound"}}, {})]
    with pytest.raises(BackendUnavailableError, match="status 404"):
        opened().list("variable")


# --- counting ---------------------------------------------------------------------------------------


def test_read_is_one_request_and_an_absence_too(azure, opened):
    azure.put("airflow-variables-x", "v")
    backend = opened()
    backend.read(variable("x"))
    azure.requests.clear()
    assert text(backend, variable("x")) == "v"
    assert backend.read(variable("y")) is None
    assert azure.requests == [
        ("GET", "/secrets/airflow-variables-x", True),
        ("GET", "/secrets/airflow-variables-y", True),
    ]
    assert azure.logins == 1


def test_many_names_are_read_together_with_one_login(azure, opened):
    names = [f"n{number}" for number in range(100)]
    for name in names:
        azure.put(f"airflow-variables-{name}", name)
    backend = opened()
    found = backend.read_many([variable(name) for name in [*names, "nothing", "a.b"]])
    assert [entry and entry.secret.reveal() for entry in found] == [*names, None, None]
    assert azure.logins == 1
    assert len(asked(azure)) == 101
    assert azure.wrong == []


# --- checking ---------------------------------------------------------------------------------------


def test_check_tells_as_whom_and_what_it_may(azure, opened):
    azure.put("airflow-variables-x", CANARY)
    health = opened().check()
    assert health.status == "ready"
    assert health.identity.startswith(f"client {CLIENT}, principal ")
    assert health.may == {"read": "yes", "list": "yes", "write": "unknown"}
    assert set(health.ends) == {"token", "server certificate"}
    assert asked(azure) == [("GET", "/secrets/airflow-connections-strongroom-check"), ("GET", "/secrets")]


@pytest.mark.parametrize(
    ("rights", "status", "may"), [({"get"}, "ready", ("yes", "no")), ({"list"}, "error", ("no", "yes"))]
)
def test_check_tells_the_permission_that_is_missing(azure, opened, rights, status, may):
    azure.rights[CLIENT] = frozenset(rights)
    azure.denial = "ForbiddenByRbac"
    health = opened().check()
    assert health.status == status
    assert (health.may["read"], health.may["list"]) == may
    assert "Key Vault Secrets User" in health.message


def rights_of(policy):
    line = next(line for line in policy.splitlines() if "--secret-permissions" in line)
    return line.split("--secret-permissions ")[1].split()


@pytest.mark.parametrize(
    ("verbs", "purge"),
    [(("read",), False), (("list",), False), (("read", "list", "write"), False), (("write",), True)],
)
def test_least_policy_is_enough_and_every_right_in_it_is_needed(azure, opened, verbs, purge):
    rights = rights_of(opened(purge=purge).least_policy(verbs))

    def works(rights):
        azure.clear()
        azure.put("airflow-variables-there", "v")
        azure.rights[CLIENT] = frozenset(rights)
        backend = opened(purge=purge)
        try:
            if "read" in verbs:
                backend.read(variable("there"))
            if "list" in verbs:
                backend.list("variable")
            if "write" in verbs:
                write(backend, variable("new"))
                backend.delete(variable("new"), author="ada")
                if not purge:
                    write(backend, variable("new"))
        except AccessDeniedError:
            return False
        return True

    assert works(rights)
    spare = {"recover"} if purge else set()  # for names that somebody else deleted
    for right in set(rights) - spare:
        assert not works(set(rights) - {right}), right


def test_misspelt_way_in_is_refused_before_anything_is_asked(azure, opened):
    for more, words in (
        ({"vault_url": "http://127.0.0.1"}, "vault_url"),
        ({"vault_url": f"{azure.vault_url}/secrets"}, "vault_url"),
        ({"vault_url": "myvault"}, "vault_url"),
        ({"sep": "_"}, "sep"),
        ({"variables_prefix": True}, "variables_prefix"),
        ({"connection_shape": "fields"}, "connection_shape"),
        ({"client_id": None}, "without client_id"),
        ({"client_secret": None}, "nothing to log in with"),
        ({"auth": "cli"}, "auth must be"),
        ({"authority": "https://login.microsoftonline.com/tenant"}, "authority"),
    ):
        with pytest.raises(BackendConfigError, match=words):
            opened(**more)
    assert azure.requests == []


def test_page_of_the_backend_has_the_policies_that_are_printed(opened):
    page = (Path(__file__).parents[2] / "docs" / "backends" / "azure_key_vault.md").read_text(
        encoding="utf-8"
    )
    backend = opened(vault_url="https://myvault.vault.azure.net")
    for verbs in (("read", "list"), ("read", "list", "write")):
        assert backend.least_policy(verbs) in page


def test_circuit_of_one_vault_is_not_anothers(azure):
    sessions = Sessions()
    made = [
        AzureKeyVault("azure", options(azure, vault_url=url), clock, environ={}, sessions=sessions)
        for url in (azure.vault_url, "https://127.0.0.1:1")
    ]
    for _ in range(6):
        with pytest.raises(BackendUnavailableError):
            made[1].read(variable("x"))
    assert made[0].read(variable("x")) is None
    assert [backend.is_circuit_open for backend in made] == [False, True]
    for backend in made:
        backend.close()
