"""The backend `azure_key_vault` beside Airflow's AzureKeyVaultBackend, over one strict fake of Azure."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

from inside_airflow.both import both, wrong
from parity.compare import Case, config, conn, var
from parts.azure import MACHINE, Azure
from parts.certificates import Authority

CONNECTIONS = {
    "uri": "postgresql://u:p%2F%40@Host.Example:5432/db?sslmode=require&n=1",
    "json": '{"conn_type": "my-http", "port": "80", "extra": {"a": [1, null]}}',
    "number": '{"conn_type": "http", "password": 5}',
    "typeless": "db.example.com",
    "blank": " ",
}
DAY = 86_400
CASES = [
    Case(
        said="defaults",
        asks=[
            *map(conn, ("uri", "json", "nowhere")),
            *(conn(*one) for one in (("number", "R18"), ("typeless", "R4"), ("blank", "R1"))),
            *map(var, ("text", "a_b", "a-b", "TEXT", "empty", "two", "deleted", "nowhere")),
            var("disabled", "B1"),
            *(var(name, "D10") for name in ("expired", "early")),
            *map(config, ("text", "nowhere")),
        ],
    ),
    Case(said="tasks", dialect="sdk", asks=[*map(conn, ("uri", "json"))]),
    Case(said="a name that is another's", asks=[var("my_key"), var("my-key", "D11")]),
    Case(
        said="no prefixes",
        kwargs={"connections_prefix": None, "variables_prefix": None, "config_prefix": None},
        asks=[conn("uri"), var("text"), config("text")],
    ),
    Case(
        said="an empty prefix",
        kwargs={"variables_prefix": "", "connections_prefix": None},
        asks=[var("bare"), var("airflow-variables-text"), var("text")],
    ),
    Case(
        said="one prefix inside another",
        kwargs={"variables_prefix": "airflow"},
        asks=[var("own"), conn("uri"), var("connections-uri", "B11"), var("connections_uri", "B11")],
    ),
    Case(
        said="prefixes with what they may not have",
        kwargs={"variables_prefix": "deep_er--", "connections_prefix": "a/b"},
        asks=[var("text"), conn("uri")],
    ),
    Case(
        said="two dashes between",
        kwargs={"variables_prefix": "two", "sep": "--"},
        asks=[var("a_b"), var("nowhere")],
    ),
    Case(said="nothing between", kwargs={"variables_prefix": "glued", "sep": ""}, asks=[var("a_b")]),
    Case(
        said="names",
        asks=[
            *map(var, ("a b", "a.b", "é", "a/b", "x" * 120)),
            *(var(name, "B2") for name in ("../text", "a//b")),
            conn("a/b"),
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
            var("a_b", team="data"),
            conn("uri", team="data"),
            var("key"),
            var("data--key"),
            var("data__key"),
        ],
    ),
    Case(said="names of teams without teams", asks=[var("data--key"), var("data__key")]),
    Case(
        said="one of the machine's identities",
        kwargs={"managed_identity_client_id": MACHINE},
        asks=[var("text")],
    ),
    Case(said="half an application", kwargs={"tenant_id": "t", "client_id": "c"}, asks=[var("text")]),
    Case(said="no server", kwargs={"vault_url": "https://127.0.0.1:9"}, asks=[var("text", "B1")]),
    Case(said="denied", environ={"BEFORE": "deny"}, asks=[var("text", "B1"), var("nowhere", "B1")]),
    Case(said="allowed again", environ={"BEFORE": "allow"}, asks=[var("text")]),
    Case(said="an ill server", environ={"BEFORE": "ill"}, asks=[var("text", "B1")]),
    Case(said="well again", environ={"BEFORE": "well"}, asks=[var("text")]),
]


def stock(azure):
    now = int(time.time())
    for name, text in CONNECTIONS.items():
        azure.put(f"airflow-connections-{name}", text)
    for name, text, more in (
        ("text", " eu\n", {}),
        ("a-b", "a-b", {}),
        ("empty", "", {}),
        ("two", "old", {}),
        ("two", "new", {}),
        ("disabled", "x", {"enabled": False}),
        ("expired", "x", {"exp": now - DAY}),
        ("early", "x", {"nbf": now + DAY}),
        ("my-key", "tagged", {"tags": {"airflow-id": "my_key"}}),
        ("data--key", "of data", {}),
        ("data--a-b", "a-b of data", {}),
        ("deleted", "x", {}),
    ):
        azure.put(f"airflow-variables-{name}", text, **more)
    azure.remove("airflow-variables-deleted")
    for name, text in {
        "airflow-config-text": "of config",
        "airflow-connections-data--uri": "http://data",
        "bare": "bare",
        "airflow-own": "own",
        "deep-er-text": "deeper",
        "two--a--b": "two",
        "glueda-b": "glued",
        "gluedab": "together",
    }.items():
        azure.put(name, text)


@contextmanager
def stocked(folder, servers):
    with Azure(Authority(folder)) as azure:
        servers.append(azure)
        stock(azure)
        yield [of(case, azure) for case in CASES]


def of(case, azure):
    machine = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": azure.machine}
    return replace(
        case,
        kwargs={
            "vault_url": azure.vault_url,
            "connection_verify": str(azure.ca),
            "retry_total": 0,
            **case.kwargs,
        },
        environ={**machine, **case.environ},
    )


@pytest.fixture(scope="session")
def told(airflow):
    servers = []

    def order(**changes):
        def change():
            for name, value in changes.items():
                setattr(servers[-1], name, value)

        return change

    orders = {
        "deny": order(rights={MACHINE: frozenset()}),
        "allow": order(rights={}),
        "ill": order(answers=[(500, None, {})] * 4),
        "well": order(answers=[]),
    }
    return both(airflow(3), "azure_key_vault", lambda folder: stocked(folder, servers), orders=orders)


@pytest.mark.parametrize("said", [case.said for case in CASES])
def test_key_vault_reads_as_in_airflow_or_differs_by_number(told, said):
    assert wrong(told, said) == []
