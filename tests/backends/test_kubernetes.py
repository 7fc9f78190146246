"""Kubernetes Secrets as a backend, against an API server that kubectl and lightkube know as one."""

import json
import os
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import ClassVar

import pytest
from ruamel.yaml import YAML

from parts.faults import TEXT, FaultContract
from parts.kubernetes import cluster, cluster_server
from parts.proxy import Proxy
from strongroom.backends.kubernetes import Kubernetes, KubernetesOptions
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    ReadOnlyError,
    StrongroomError,
)
from strongroom.model.connection import Connection
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.settings import load as load_settings
from strongroom.settings import options as options_of
from strongroom.testing.contract import CANARY, BackendContract
from strongroom.vendors.sessions import Sessions

__all__ = ["cluster", "cluster_server"]


def clock():
    return datetime.now(timezone.utc)


def draft(ref, text, expected=None):
    return Draft(ref=ref, secret=Secret(text), expected_version=expected, author="service:test")


class Found(BackendContract):
    """The contract over one way to find Secrets, through a proxy that can be taken down."""

    way: ClassVar[dict] = {}

    @pytest.fixture(autouse=True)
    def server(self, cluster):
        self.cluster = cluster
        with Proxy("127.0.0.1", cluster.port, is_tls=True) as self.proxy:
            yield

    def make(self, tmp_path):
        token = self.cluster.account("strongroom")
        self.cluster.allow("strongroom", "get", "list", "watch", "create", "patch", "delete")
        options = KubernetesOptions(
            url=f"https://127.0.0.1:{self.proxy.port}",
            token=Secret(token),
            ca=self.cluster.ca,
            namespace="airflow",
            **self.way,
        )
        return Kubernetes("k8s", options, clock)

    def put_oversized(self, backend, ref, text):
        backend.write(draft(ref, "small"))
        # The server itself takes no more than 1 MiB, so it cannot be made to hold it.
        pytest.skip("this backend's store takes no more than 1 MiB itself")

    def down(self, backend):
        self.proxy.become("refuse")

    def deny(self, backend, ref):
        self.cluster.forbid("strongroom")


class TestByLabel(Found):
    pass


class TestByName(Found):
    way: ClassVar[dict] = {"find": "name", "use_team_secrets_path": True}


class TestOneHoldingMany(Found):
    keeps_teams = False
    way: ClassVar[dict] = {
        "connections_prefix": "airflow-connections#",
        "variables_prefix": "airflow-variables#",
    }


# --- on the way ----------------------------------------------------------------------------------------


class TestFaults(FaultContract):
    def serve(self, request):
        cluster = request.getfixturevalue("cluster")
        labels = {"airflow.apache.org/variable-key": "held"}
        cluster.put("airflow-variables-held", {"value": TEXT}, labels=labels)
        return cluster.plain_port

    def make(self, url, *, timeout, ca=None):
        options = KubernetesOptions(
            url=url, token=Secret("root-token"), ca=ca, namespace="airflow", timeout=timeout, find="name"
        )
        return Kubernetes("k8s", options, clock)


# --- one way and the other -----------------------------------------------------------------------------

LABEL = "airflow.apache.org/connection-id"
TEAM = "airflow.apache.org/team"
NAMED = {"find": "name"}


@pytest.fixture
def opened(cluster):
    """Make a backend as the administrator, or with the options given."""
    made = []

    def make(*, token="root-token", sessions=None, **options):
        options = {"namespace": "airflow", **options}
        said = KubernetesOptions(url=cluster.url, ca=cluster.ca, token=Secret(token), **options)
        made.append(Kubernetes("k8s", said, clock, sessions=sessions))
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


def methods(cluster, since=0):
    return [method for method, _, _ in cluster.asked[since:]]


def test_secret_of_any_name_is_found_by_its_label_as_kubectl_made_it(cluster, opened):
    backend = opened()
    cluster.kubectl("create", "secret", "generic", "eso-made-this", "--from-literal=value=postgres://h/db")
    cluster.kubectl("label", "secret", "eso-made-this", f"{LABEL}=orders_db")
    assert text(backend, connection("orders_db")) == "postgres://h/db"
    assert text(backend, variable("orders_db")) is None


def test_what_we_write_is_what_kubectl_reads(cluster, opened):
    for backend, name in (
        (opened(**NAMED), "airflow-variables-my--var"),
        (opened(), "airflow-variables-my--var"),
    ):
        backend.write(draft(variable("my_var"), "é"))
        got = cluster.kubectl("get", "secret", name, "-o", "jsonpath={.data.value}")
        assert got == "w6k="
        cluster.kubectl("delete", "secret", name, "--wait=false")
        assert backend.read(variable("my_var")) is None


def test_several_secrets_of_one_label_are_refused_or_the_first_is_taken(cluster, opened):
    for name in ("b", "a"):
        cluster.put(name, {"value": f"{CANARY}-{name}"}, labels={LABEL: "db"})
    with pytest.raises(MalformedEntryError, match="holds 2 Secrets") as caught:
        opened().read(connection("db"))
    assert CANARY not in str(caught.value)
    assert text(opened(several="first"), connection("db")) == f"{CANARY}-a"
    with pytest.raises(ConflictError, match="2 Secrets"):
        opened(several="first").write(draft(connection("db"), "x"))
    with pytest.raises(ConflictError, match="2 Secrets"):
        opened().delete(connection("db"), author="x")


def test_team_is_a_label_of_its_own_and_a_global_name_has_none(cluster, opened):
    cluster.put("mine", {"value": "team"}, labels={LABEL: "db", TEAM: "data"})
    cluster.put("all", {"value": "global"}, labels={LABEL: "db"})
    backend = opened()
    assert text(backend, connection("db")) == "global"
    assert text(backend, connection("db", "data")) == "team"
    assert backend.read(connection("db", "web")) is None
    assert [one.ref.name for one in backend.list("connection", team="data")] == ["db"]
    with pytest.raises(MalformedEntryError, match="2 Secrets"):
        opened(team_label=False).read(connection("db"))


@pytest.mark.parametrize("name", ["a,b=c", "a)", "!x", "a b", "x/y", "n" * 64, "-x", "café"])
def test_name_no_label_can_have_is_never_made_a_selector(cluster, opened, name):
    backend = opened()
    assert backend.read(connection(name)) is None
    assert backend.read_many([connection(name)]) == [None]
    assert cluster.asked == []
    with pytest.raises(InvalidInputError, match="cannot hold the name"):
        backend.write(draft(connection(name), "x"))


def test_labels_and_keys_are_those_of_the_options(cluster, opened):
    cluster.put("s", {"uri": "http://h"}, labels={"corp/conn": "db"})
    backend = opened(connections_label="corp/conn", connections_data_key="uri", variables_label=False)
    assert text(backend, connection("db")) == "http://h"
    asked = len(cluster.asked)
    assert backend.read(variable("db")) is None
    assert len(cluster.asked) == asked
    backend.write(draft(connection("db"), "http://new"))
    assert cluster.data("s") == {"uri": "http://new"}


def test_secret_without_the_key_is_malformed_and_names_it(cluster, opened):
    cluster.put("s", {"password": CANARY}, labels={LABEL: "db"})
    with pytest.raises(MalformedEntryError, match="no key value") as caught:
        opened().read(connection("db"))
    assert CANARY not in repr(vars(caught.value)) + str(caught.value)


@pytest.mark.parametrize("way", [{}, NAMED])
def test_value_that_is_no_text_is_malformed(cluster, opened, way):
    cluster.put(
        "airflow-variables-v", {"value": b"\xff\xfe"}, labels={"airflow.apache.org/variable-key": "v"}
    )
    with pytest.raises(MalformedEntryError, match="no text"):
        opened(**way).read(variable("v"))


@pytest.mark.parametrize("way", [{}, NAMED])
def test_connection_stands_as_keys_of_its_own(cluster, opened, way):
    backend = opened(connection_shape="fields", **way)
    uri = "postgres://us%40er:p%2Fss@db:5432/sales?sslmode=require"
    backend.write(draft(connection("db"), uri))
    data = cluster.data("airflow-connections-db")
    assert (data["login"], data["password"], data["port"]) == ("us@er", "p/ss", "5432")
    assert json.loads(data["extra"]) == {"sslmode": "require"}
    found = Connection.parse(text(backend, connection("db")))
    assert (found.port, found.password.reveal(), found.extra.reveal()) == (
        5432,
        "p/ss",
        {"sslmode": "require"},
    )
    backend.write(draft(connection("db"), "http://h"))
    assert cluster.data("airflow-connections-db") == {"conn_type": "http", "host": "h", "schema": ""}
    given = opened(**way)
    given.write(draft(connection("db"), "mysql://h"))
    assert text(backend, connection("db")) == "mysql://h"
    assert backend.delete(connection("db"), author="x") is True


def test_write_keeps_labels_annotations_and_keys_of_others(cluster, opened):
    cluster.put("s", {"value": "x", "ca.crt": "pem"}, labels={LABEL: "db", "owner": "eso"})
    cluster.kubectl("annotate", "secret", "s", "who=eso")
    backend = opened()
    backend.write(draft(connection("db"), "http://h"))
    kept = cluster.get("s")
    assert kept["metadata"]["labels"] == {LABEL: "db", "owner": "eso"}
    assert kept["metadata"]["annotations"] == {"who": "eso", "strongroom-author": "service:test"}
    assert cluster.data("s") == {"value": "http://h", "ca.crt": "pem"}
    with pytest.raises(ReadOnlyError, match="other keys"):
        backend.delete(connection("db"), author="x")


def test_immutable_secret_is_read_and_not_written(cluster, opened):
    cluster.put("s", {"value": "http://h"}, labels={LABEL: "db"}, immutable=True)
    backend = opened()
    assert text(backend, connection("db")) == "http://h"
    with pytest.raises(ReadOnlyError, match="immutable"):
        backend.write(draft(connection("db"), "http://new"))
    assert backend.delete(connection("db"), author="x") is True


def test_secret_that_stands_in_the_way_of_a_new_one_is_not_taken_over(cluster, opened):
    cluster.put("airflow-connections-db", {"other": "x"})
    with pytest.raises(ConflictError):
        opened().write(draft(connection("db"), "http://h"))
    assert cluster.data("airflow-connections-db") == {"other": "x"}


def test_names_that_no_object_can_have_in_full_are_still_labels(cluster, opened):
    backend = opened()
    name = "N" * 63
    backend.write(draft(connection(name), "http://h"))
    assert text(backend, connection(name)) == "http://h"
    assert [one.ref.name for one in backend.list("connection")] == [name]


@pytest.mark.parametrize("way", [{}, NAMED, {"variables_prefix": "all#"}])
def test_writes_that_cross_are_not_lost_and_not_doubled(cluster, opened, way):
    backend = opened(**way)
    errors = []

    def write(number):
        try:
            backend.write(draft(variable(f"v{number % 3}"), str(number)))
        except StrongroomError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(error, ConflictError) for error in errors)
    assert [one.ref.name for one in backend.list("variable")] == ["v0", "v1", "v2"]
    assert all(text(backend, variable(f"v{number}")) for number in range(3))


@pytest.mark.parametrize("version", ["abc", "0", "00", "\u0663", "-1"])
@pytest.mark.parametrize("way", [NAMED, {}], ids=["name", "label"])
def test_version_of_another_store_conflicts_without_a_write(cluster, opened, way, version):
    backend = opened(**way)
    standing = backend.write(draft(variable("v"), "x"))
    with pytest.raises(ConflictError) as caught:
        backend.write(draft(variable("v"), "y", version))
    assert caught.value.current_version == standing
    assert "PATCH" not in methods(cluster)[-1:]
    assert text(backend, variable("v")) == "x"


# --- one that holds many -------------------------------------------------------------------------------

MANY = {"connections_prefix": "conns#", "variables_prefix": "vars#", "config_prefix": False}


def test_one_secret_holds_many_each_under_its_name(cluster, opened):
    cluster.put("conns", {"db": "http://h", "binary": b"\xff"})
    backend = opened(**MANY)
    assert text(backend, connection("db")) == "http://h"
    with pytest.raises(MalformedEntryError):
        backend.read(connection("binary"))
    backend.write(draft(connection("team/é"), "http://new"))
    backend.delete(connection("db"), author="x")
    held = cluster.get("conns")["data"]
    assert sorted(held) == ["binary", "team0x2f0xc30xa9"]
    assert text(backend, connection("team/é")) == "http://new"


def test_one_secret_is_asked_for_once_for_all_of_its_names(cluster, opened):
    cluster.put("vars", {f"v{number}": str(number) for number in range(50)})
    backend = opened(**MANY)
    found = backend.read_many([variable(f"v{number}") for number in range(60)])
    assert [one and one.secret.reveal() for one in found] == [*map(str, range(50)), *[None] * 10]
    assert methods(cluster) == ["GET"]


def test_secret_that_holds_many_is_nobodys_value(cluster, opened):
    cluster.put("all", {"db": CANARY})
    backend = opened(connections_prefix="all#", variables_prefix="", config_prefix=False)
    assert backend.read(variable("all")) is None


# --- reading many --------------------------------------------------------------------------------------


def test_many_names_are_read_in_lists_of_sixteen(cluster, opened):
    for number in range(40):
        cluster.put(
            f"s{number}", {"value": str(number)}, labels={"airflow.apache.org/variable-key": f"v{number}"}
        )
    found = opened().read_many([variable(f"v{number}") for number in range(48)])
    assert [one and one.secret.reveal() for one in found] == [*map(str, range(40)), *[None] * 8]
    assert methods(cluster) == ["GET"] * 3


def test_trouble_with_one_list_is_told_of_its_names_alone(cluster, opened):
    backend = opened()
    for number in (0, 20):
        cluster.put(f"s{number}", {"value": "x"}, labels={"airflow.apache.org/variable-key": f"v{number}"})
    cluster.fail(429, headers={"Retry-After": "3"})
    found = backend.read_many([variable(f"v{number}") for number in range(32)])
    assert [type(one).__name__ for one in found[:16]] == ["BackendUnavailableError"] * 16
    assert [one and one.ref.name for one in found[16:]] == [*[None] * 4, "v20", *[None] * 11]


def test_denial_of_one_list_is_told_of_each_name(cluster, opened):
    backend = opened(token=cluster.account("nobody"))
    found = backend.read_many([variable("a"), variable("b")])
    assert [type(one) for one in found] == [AccessDeniedError] * 2


def test_list_and_watch_ask_for_no_values(cluster, opened):
    token = cluster.account("lister")
    cluster.allow("lister", "list", "watch")
    cluster.put("airflow-variables-v", {"value": CANARY})
    backend = opened(token=token, **NAMED)
    assert [one.ref.name for one in backend.list("variable")] == ["v"]
    with pytest.raises(AccessDeniedError, match="may not get"):
        backend.read(variable("v"))


# --- who may what --------------------------------------------------------------------------------------

VERBS = ("read", "list", "write")
WAYS = {"label": {}, "name": NAMED, "many": MANY}


def acts(backend, many):
    """Give what each verb means as an act, and how it is told that it may not."""
    return {
        "read": lambda: backend.read(variable("v")),
        "list": lambda: backend.list("variable"),
        "write": lambda: (
            backend.write(draft(variable("v"), "new")),
            backend.delete(variable("v"), author="x"),
        ),
    }


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", VERBS)
def test_least_policy_allows_that_and_the_check_says_so(cluster, opened, way, verb):
    labels = {"airflow.apache.org/variable-key": "v"}
    cluster.put(
        "vars" if way == "many" else "airflow-variables-v",
        {"v" if way == "many" else "value": "x"},
        labels=labels,
    )
    policy = opened(**WAYS[way]).least_policy([verb])
    role, binding = YAML(typ="safe").load_all(policy)
    assert (role["kind"], binding["kind"]) == ("Role", "RoleBinding")
    token = cluster.account("least")
    cluster.apply_role(role, "least")
    backend = opened(token=token, **WAYS[way])
    acts(backend, way == "many")[verb]()
    health = backend.check()
    assert health.may[verb] == "yes"
    assert health.identity == "system:serviceaccount:airflow:least"


@pytest.mark.parametrize("way", WAYS)
def test_least_policy_to_read_lets_nothing_be_written(cluster, opened, way):
    role = next(iter(YAML(typ="safe").load_all(opened(**WAYS[way]).least_policy(["read"]))))
    token = cluster.account("reader")
    cluster.apply_role(role, "reader")
    backend = opened(token=token, **WAYS[way])
    with pytest.raises(AccessDeniedError, match=r"may not (create|patch) secrets"):
        backend.write(draft(variable("v"), "x"))
    health = backend.check()
    assert (health.status, health.may["write"]) == ("ready", "no")


def test_policy_is_taken_by_kubectl(cluster, opened, tmp_path):
    policy = tmp_path / "role.yaml"
    policy.write_text(opened(**MANY).least_policy(VERBS))
    shown = cluster.kubectl("create", "--dry-run=client", "--validate=false", "-f", str(policy), "-o", "name")
    assert shown.split() == [
        "role.rbac.authorization.k8s.io/strongroom",
        "rolebinding.rbac.authorization.k8s.io/strongroom",
    ]


def test_policy_of_the_manual_is_the_one_that_is_given(opened):
    manual = Path(__file__).parents[2] / "docs/backends/kubernetes.md"
    assert opened().least_policy(VERBS) in manual.read_text()


def test_check_names_the_right_that_is_missing_and_writes_nothing(cluster, opened):
    health = opened(token=cluster.account("nobody"), **NAMED).check()
    assert (health.status, health.identity) == ("error", "system:serviceaccount:airflow:nobody")
    assert health.may == {"read": "no", "list": "no", "write": "no"}
    assert 'verbs: ["get"]' in health.message
    assert cluster.store.page("airflow", lambda _: True, {})[0] == []


def test_check_names_a_namespace_that_is_not_there(cluster, opened):
    health = opened(namespace="nowhere").check()
    assert (health.status, "nowhere" in health.message) == ("error", True)


def test_check_tells_of_a_login_that_is_refused(cluster, opened):
    health = opened(token="stranger").check()
    assert (health.status, health.message[:15]) == ("error", "the API server ")
    assert "server certificate" in opened().check().ends


# --- settings ------------------------------------------------------------------------------------------


def made_by(tmp_path, table, environ):
    (tmp_path / "strongroom.toml").write_text(f'chain = ["k"]\n[backend.k]\nkind = "kubernetes"\n{table}\n')
    backend = load_settings(tmp_path / "strongroom.toml", environ=environ).backend["k"]
    return options_of(backend, KubernetesOptions, environ=environ)


def test_airflows_keyword_arguments_are_options(cluster, tmp_path):
    options = made_by(
        tmp_path,
        f'''namespace = "airflow"
        connections_label = "a/b"
        variables_label = false
        config_label = "a/c"
        team_label = "a/t"
        connections_data_key = "k1"
        variables_data_key = "k2"
        config_data_key = "k3"
        service_account = "{tmp_path}"''',
        dict(os.environ),
    )
    (tmp_path / "ca.crt").write_bytes(cluster.ca.read_bytes())
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(cluster.port)}
    (tmp_path / "token").write_text("root-token")
    backend = Kubernetes("k", options, clock, environ=environ)
    cluster.put("s", {"k1": "http://h"}, labels={"a/b": "db", "a/t": "data"})
    assert text(backend, connection("db", "data")) == "http://h"
    backend.close()


@pytest.mark.parametrize(
    "options",
    [
        {"find": "label", "connections_prefix": "x"},
        {"find": "name", "connections_label": "a/b"},
        {"find": "label", "use_team_secrets_path": True},
        {"connections_prefix": "A"},
        {"connections_prefix": "a--b"},
        {"connections_prefix": "-a"},
        {"connections_prefix": "#"},
        {"connections_prefix": "x", "variables_prefix": "x"},
        {"connections_prefix": True},
        {"connections_label": "a b"},
        {"connections_label": "x=y"},
        {"variables_label": LABEL},
        {"connections_data_key": "a b"},
        {"config_data_key": ""},
    ],
)
def test_options_that_cannot_be_are_refused(opened, options):
    with pytest.raises(BackendConfigError):
        opened(**options)


def test_backends_of_one_access_share_a_session(cluster, opened):
    sessions = Sessions()
    one, other = opened(sessions=sessions), opened(sessions=sessions, **NAMED)
    assert one._session is other._session
    one.close()
    assert other.read(variable("x")) is None
