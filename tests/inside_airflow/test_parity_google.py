"""The backend `gcp_secret_manager` beside Airflow's CloudSecretManagerBackend, over one fake, by gRPC."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
from google.cloud import secretmanager_v1 as sm

from inside_airflow.both import both, wrong
from parity.compare import Case, config, conn, var
from parts.google import Google
from parts.google_model import Fault

# In the process of Airflow: the channel that leads to the fake, because no argument names an address, and the
# token of the class's own credentials, because a channel without TLS would not carry it.
SCRIPT = """
import collections, os
import grpc
from google.auth.transport.requests import Request
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import (
    SecretManagerServiceGrpcTransport,
)
import parity

Details = collections.namedtuple("Details", "method timeout metadata credentials wait_for_ready compression")

class Bearer(grpc.UnaryUnaryClientInterceptor):
    def __init__(self, credentials):
        self.credentials = credentials

    def intercept_unary_unary(self, call, details, request):
        if not self.credentials.valid:
            self.credentials.refresh(Request())
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {self.credentials.token}")]
        return call(Details(details.method, details.timeout, metadata, None, None, None), request)

def channel(host, credentials=None, **_):
    return grpc.intercept_channel(grpc.insecure_channel(os.environ["ASKED"]), Bearer(credentials))

SecretManagerServiceGrpcTransport.create_channel = channel
tell(answers=parity.answers(please))
"""
CONNECTIONS = {
    "uri": "postgresql://u:p%2F%40@Host.Example:5432/db?sslmode=require&n=1",
    "json": '{"conn_type": "my-http", "port": "80", "extra": {"a": [1, null]}}',
    "number": '{"conn_type": "http", "password": 5}',
    "typeless": "db.example.com",
    "blank": " ",
}
DENIED = "secretmanager.versions.access"
CASES = [
    Case(
        said="defaults",
        asks=[
            *map(conn, ("uri", "json", "nowhere")),
            *(conn(*one) for one in (("number", "R18"), ("typeless", "R4"), ("blank", "R1"))),
            *map(var, ("text", "A_b-c", "two", "nowhere", "no-version")),
            *(var(name, "B1") for name in ("binary", "disabled", "destroyed")),
            *map(config, ("text", "nowhere")),
            var("denied", "D1"),
            conn("denied", "D1"),
        ],
    ),
    Case(said="tasks", dialect="sdk", asks=[*map(conn, ("uri", "json"))]),
    Case(
        said="no prefixes",
        kwargs={"connections_prefix": None, "variables_prefix": None, "config_prefix": None},
        asks=[conn("uri"), var("text"), config("text")],
    ),
    Case(
        said="an empty prefix",
        kwargs={"variables_prefix": "", "connections_prefix": None},
        asks=[var("text"), var("bare"), var("airflow-connections-uri")],
    ),
    Case(
        said="one prefix inside another",
        kwargs={"variables_prefix": "airflow"},
        asks=[conn("uri"), var("own")],
    ),
    Case(
        said="one prefix for two",
        kwargs={"connections_prefix": "all", "variables_prefix": "all"},
        asks=[conn("uri", "D6"), var("text", "D6")],
    ),
    Case(
        said="another separator",
        kwargs={"variables_prefix": "under", "connections_prefix": "under_c", "sep": "_"},
        asks=[var("text"), var("c_uri", "B11"), conn("uri"), config("text")],
    ),
    Case(said="nothing between", kwargs={"variables_prefix": "glued", "sep": ""}, asks=[var("text")]),
    Case(
        said="a prefix that no name can have",
        kwargs={"connections_prefix": "a/b"},
        asks=[var("text", "B1"), conn("uri", "B1")],
    ),
    Case(
        said="names",
        asks=[
            *map(var, ("a b", "a.b", "é", "a/b", "x" * 240)),
            *(var(name, "B2") for name in ("../text", "a//b")),
            *map(conn, ("a b", "a/b")),
        ],
    ),
    Case(
        said="teams",
        environ={"AIRFLOW__CORE__MULTI_TEAM": "True"},
        ours={"use_team_secrets_path": True},
        asks=[
            var("key", team="data"),
            var("key", team="other"),
            var("text", team="data"),
            conn("uri", team="data"),
            var("key"),
            var("data--key"),
            var("a--b", team="data"),
        ],
    ),
    Case(said="names of teams without teams", asks=[var("data--key")]),
    Case(said="the project of the key", kwargs={"project_id": None}, asks=[var("text")]),
    Case(said="no such project", kwargs={"project_id": "nobody-s"}, asks=[var("text", "D1")]),
    Case(said="the key in a file", kwargs={"gcp_key_path": "FILE"}, asks=[var("text"), conn("uri")]),
    Case(said="a key that is revoked", kwargs={"gcp_keyfile_dict": "REVOKED"}, asks=[var("text", "B1")]),
    Case(said="a name that it refuses", environ={"BEFORE": "refuse"}, asks=[var("text", "D1")]),
    Case(said="an ill server", environ={"BEFORE": "ill"}, asks=[var("text", "B1")]),
    Case(said="a busy server", environ={"BEFORE": "busy"}, asks=[var("text", "D9")]),
]
ORDERS = {
    "refuse": Fault("INVALID_ARGUMENT", "no"),
    "ill": Fault("INTERNAL", "no"),
    "busy": Fault("UNAVAILABLE", "no"),
}


def stock(google, project):
    parent = f"projects/{project}"

    def put(name, *datas):
        ask = google.model.ask
        secret = sm.Secret(replication={"automatic": {}})
        ask(
            "CreateSecret",
            sm.CreateSecretRequest(parent=parent, secret_id=name, secret=secret),
            google.account,
        )
        for data in datas:
            payload = sm.SecretPayload(data=data if isinstance(data, bytes) else data.encode())
            request = sm.AddSecretVersionRequest(parent=f"{parent}/secrets/{name}", payload=payload)
            ask("AddSecretVersion", request, google.account)

    def become(rpc, name):
        request = getattr(sm, f"{rpc}Request")(name=f"{parent}/secrets/{name}/versions/1")
        google.model.ask(rpc, request, google.account)

    for name, text in CONNECTIONS.items():
        put(f"airflow-connections-{name}", text)
    for name, *texts in (
        ("text", " eu\n"),
        ("A_b-c", "odd"),
        ("two", "old", "new"),
        ("no-version",),
        ("binary", b"\xff\xfe"),
        ("disabled", "x"),
        ("destroyed", "x"),
        ("denied", "x"),
        ("data--key", "of data"),
    ):
        put(f"airflow-variables-{name}", *texts)
    put("airflow-config-text", "of config")
    put("airflow-connections-denied", "http://x")
    put("airflow-connections-data--uri", "http://data")
    put("airflow-own", "own")
    put("-text", "dashed")
    put("bare", "bare")
    put("under_text", "under")
    put("under_c_uri", "http://under")
    put("gluedtext", "glued")
    become("DisableSecretVersion", "airflow-variables-disabled")
    become("DestroySecretVersion", "airflow-variables-destroyed")
    for kind in ("variables", "connections"):
        google.model.denied.add((DENIED, f"{parent}/secrets/airflow-{kind}-denied"))


@contextmanager
def stocked(folder, servers):
    google = Google()
    servers.append(google)
    try:
        google.model.enabled["home"] = [google.account]
        stock(google, "home")
        (folder / "key.json").write_text(google.key())
        google.revoked.add("gone@home.iam.gserviceaccount.com")
        yield [of(case, google, folder) for case in CASES]
    finally:
        google.stop()


def of(case, google, folder):
    said = {"project_id": "home", "gcp_keyfile_dict": json.loads(google.key()), **case.kwargs}
    if said["gcp_keyfile_dict"] == "REVOKED":
        said["gcp_keyfile_dict"] = json.loads(google.key("gone@home.iam.gserviceaccount.com"))
    if "gcp_key_path" in said:
        said["gcp_key_path"] = str(folder / "key.json")
        del said["gcp_keyfile_dict"]
    return replace(
        case,
        kwargs=said,
        ours={"endpoint": f"http://127.0.0.1:{google.grpc_port}", **case.ours},
        environ={"ASKED": f"127.0.0.1:{google.grpc_port}", **case.environ},
    )


@pytest.fixture(scope="session")
def told(airflow):
    servers = []

    def order(fault):
        return lambda: servers[-1].model.faults.append(fault)

    orders = {name: order(fault) for name, fault in ORDERS.items()}
    return both(
        airflow(3),
        "gcp_secret_manager",
        lambda folder: stocked(folder, servers),
        script=SCRIPT,
        orders=orders,
    )


@pytest.mark.parametrize("said", [case.said for case in CASES])
def test_secret_manager_reads_as_in_airflow_or_differs_by_number(told, said):
    assert wrong(told, said) == []
