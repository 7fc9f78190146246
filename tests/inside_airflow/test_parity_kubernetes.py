"""The backend `kubernetes` beside Airflow's KubernetesSecretsBackend, over one API server."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import replace

import pytest

from inside_airflow.both import both, wrong
from parity.compare import Case, config, conn, var
from parts.kubernetes import NAMESPACE, Cluster

CONNECTION, VARIABLE, CONFIG = (
    f"airflow.apache.org/{word}" for word in ("connection-id", "variable-key", "config-key")
)
TEAM = "airflow.apache.org/team"
# In the process of Airflow: where the class looks for what a pod is given, which no argument says.
SCRIPT = """
import os
from airflow.providers.cncf.kubernetes.secrets.kubernetes_secrets_backend import KubernetesSecretsBackend
from kubernetes.config import incluster_config as pod
import parity

def prepare():
    pod.SERVICE_TOKEN_FILENAME = os.environ["POD"] + "/token"
    pod.SERVICE_CERT_FILENAME = os.environ["POD"] + "/ca.crt"
    KubernetesSecretsBackend.SERVICE_ACCOUNT_NAMESPACE_PATH = os.environ["POD"] + "/namespace"

tell(answers=parity.answers(please, prepare))
"""
CONNECTIONS = {
    "uri": "postgresql://u:p%2F%40@Host.Example:5432/db?sslmode=require&n=1",
    "json": '{"conn_type": "my-http", "port": "80", "extra": {"a": [1, null]}}',
    "number": '{"conn_type": "http", "password": 5}',
    "typeless": "db.example.com",
    "blank": " ",
}
CASES = [
    Case(
        said="defaults",
        asks=[
            *map(conn, ("uri", "json", "nowhere")),
            *(conn(*one) for one in (("number", "R18"), ("typeless", "R4"), ("blank", "R1"))),
            *map(var, ("text", "A.b-c_d", "empty", "nowhere")),
            var("binary", "B1"),
            var("twice", "D7"),
            *(var(name, "D8") for name in ("other-key", "nothing")),
            *map(config, ("text", "nowhere")),
        ],
    ),
    Case(said="tasks", dialect="sdk", asks=[*map(conn, ("uri", "json"))]),
    Case(
        said="no labels",
        kwargs={"connections_label": None, "variables_label": None, "config_label": None},
        asks=[conn("uri"), var("text"), config("text")],
    ),
    Case(
        said="labels and keys of one's own",
        kwargs={
            "connections_label": "example.com/conn",
            "variables_label": "var",
            "connections_data_key": "uri",
            "variables_data_key": "text.txt",
            "config_data_key": "of.config",
        },
        asks=[conn("mine"), conn("uri"), var("mine"), config("mine")],
    ),
    Case(
        said="names that are no labels",
        asks=[
            var("text,airflow.apache.org/team=data"),
            *(var(name, "D5") for name in ("a/b", "a b", "-a", "é", "x" * 64, "text)", "text,x!=y", "a=b")),
            conn("a/b", "D5"),
        ],
    ),
    Case(
        said="teams",
        environ={"AIRFLOW__CORE__MULTI_TEAM": "True"},
        asks=[
            var("key", team="data"),
            var("key", team="other"),
            var("text", team="data"),
            conn("uri", team="data"),
            var("key"),
            var("_data___key"),
        ],
    ),
    Case(
        said="no label of teams",
        kwargs={"team_label": None},
        asks=[var("key"), var("key", team="data"), var("text", team="data")],
    ),
    Case(said="another namespace", kwargs={"namespace": "other"}, asks=[var("text"), var("elsewhere")]),
    Case(said="the namespace of the pod", kwargs={"namespace": None}, asks=[var("text")]),
    Case(said="no such namespace", kwargs={"namespace": "nowhere"}, asks=[var("text")]),
    Case(said="denied", environ={"POD": "poor"}, asks=[var("text", "B1"), var("nowhere", "B1")]),
    Case(said="a token that nobody knows", environ={"POD": "stranger"}, asks=[var("text", "B1")]),
    Case(said="an ill server", environ={"BEFORE": "ill"}, asks=[var("text", "B1")]),
    Case(said="a busy server", environ={"BEFORE": "busy"}, asks=[var("text", "D9")]),
]


def stock(cluster):
    """Put Secrets into the cluster as whoever writes them for Airflow does."""

    counted = itertools.count()

    def put(label, name, data, *, namespace=NAMESPACE, more=None):
        cluster.put(f"s{next(counted)}", data, namespace=namespace, labels={label: name, **(more or {})})

    for name, text in CONNECTIONS.items():
        put(CONNECTION, name, {"value": text})
    for name, data in {
        "text": {"value": " eu\n"},
        "A.b-c_d": {"value": "odd"},
        "empty": {"value": ""},
        "binary": {"value": b"\xff\xfe"},
        "other-key": {"text": "x"},
        "nothing": {},
    }.items():
        put(VARIABLE, name, data)
    put(VARIABLE, "twice", {"value": "1"})
    put(VARIABLE, "twice", {"value": "2"})
    put(CONFIG, "text", {"value": "of config"})
    put(CONFIG, "mine", {"value": "not this", "of.config": "of config"})
    put("example.com/conn", "mine", {"uri": "http://mine"})
    put("var", "mine", {"text.txt": "mine"})
    put(VARIABLE, "key", {"value": "of data"}, more={TEAM: "data"})
    put(CONNECTION, "uri", {"value": "http://data"}, more={TEAM: "data"})
    put(VARIABLE, "elsewhere", {"value": "elsewhere"}, namespace="other")


@contextmanager
def stocked(folder, clusters):
    with Cluster(folder) as cluster:
        clusters.append(cluster)
        stock(cluster)
        pods = {}
        for name in ("reader", "poor"):
            pods[name] = cluster.pod(folder / name, cluster.account(name))
        pods["stranger"] = cluster.pod(folder / "stranger", "nobody's")
        for namespace in (NAMESPACE, "other", "nowhere"):
            cluster.allow("reader", "get", "list", namespace=namespace)
        yield [of(case, folder, pods) for case in CASES]


def of(case, folder, pods):
    who = case.environ.get("POD", "reader")
    return replace(
        case,
        kwargs={"namespace": NAMESPACE, **case.kwargs},
        ours={"service_account": str(folder / who)},
        environ={**case.environ, **pods[who], "POD": str(folder / who)},
    )


@pytest.fixture(scope="session")
def told(airflow):
    clusters = []
    orders = {
        "ill": lambda: clusters[-1].fail(500, times=1),
        "busy": lambda: clusters[-1].fail(429, headers={"Retry-After": "1"}, times=1),
    }
    return both(
        airflow(3), "kubernetes", lambda folder: stocked(folder, clusters), script=SCRIPT, orders=orders
    )


@pytest.mark.parametrize("said", [case.said for case in CASES])
def test_secrets_read_as_in_airflow_or_differ_by_number(told, said):
    assert wrong(told, said) == []
