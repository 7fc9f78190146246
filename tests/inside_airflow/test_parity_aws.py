"""`aws_secrets_manager` and `aws_parameter_store` beside Airflow's own classes, over one moto."""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import pytest

from inside_airflow.both import both, wrong
from parity.compare import Case, config, conn, var
from parts.aws import Ministack
from parts.openbao import shared

MULTI_TEAM = {"AIRFLOW__CORE__MULTI_TEAM": "True"}
KEYS = {
    "region_name": "eu-west-1",
    "aws_access_key_id": "AKIAOFTESTSOFTESTS00",
    "aws_secret_access_key": "secret of the tests",
}
CONNECTIONS = {
    "uri": "postgresql://u:p%2F%40@Host.Example:5432/db?sslmode=require&n=1",
    "described": {"conn_type": "http", "host": "h", "description": "d"},
    "fields": {"conn_type": "my-http", "host": "H", "password": "p", "port": "80", "extra": '{"a": 1.5}'},
    "object": {"conn_type": "http", "port": 80, "extra": {"a": [1, True, None]}},
    "synonyms": {"engine": "mysql", "user": "u", "pass": "p", "server": "h", "database": "d", "port": 1},
    "first": {"username": "first", "login": "second", "connection_type": "http", "key": "k", "password": "p"},
    "rds": {
        "username": "u",
        "password": "p",
        "engine": "postgres",
        "host": "db",
        "port": 5432,
        "dbname": "orders",
        "dbInstanceIdentifier": "orders-1",
    },
    "stray": {"conn_type": "http", "host": "h", "owner": "me"},
    "conn id": {"conn_id": "mysql", "host": "h"},
    "words": {"conn_type": "http", "usr": "u", "secret word": "p", "machine": "h", "host": "other"},
    "nulls": {"conn_type": "http", "host": None, "port": None, "extra": None},
    "no type": {"host": "h", "login": "u"},
    "empty object": {},
    "typeless": "db.example.com",
    "spaced": '\n {"conn_type": "http"}',
    "no json": '{"conn_type": ',
    "array": '["http://h"]',
    "blank": " ",
    "number": {"conn_type": "http", "password": 5},
    "twice": '{"conn_type": "http", "host": "a", "host": "b"}',
}
NUMBERED = {
    "described": "D3",
    "rds": "D2",
    "typeless": "R4",
    "array": "R4",
    "no json": "R13",
    "twice": "R15",
    "blank": "R1",
    "number": "R18",
}
VALUES = {
    "text": " eu\n",
    "json": '{"a": 1}',
    "ü": "ü",
    "number": "1",
    "a/b": "a/b",
    "a@b": "a@b",
    "a-b": "a-b",
}


def _text(held):
    return held if isinstance(held, str) else json.dumps(held)


MANAGED = [
    Case(
        said="defaults",
        asks=[
            *(conn(name, NUMBERED.get(name, "")) for name in CONNECTIONS),
            *map(var, VALUES),
            *map(config, ("text", "nowhere")),
            conn("nowhere"),
            var("nowhere"),
            var("binary", "D4"),
            conn("binary", "D4"),
            var("scheduled"),
            var("staged"),
            var("text-AbCdEf"),
        ],
    ),
    Case(
        said="tasks",
        dialect="sdk",
        asks=[
            *map(conn, ("uri", "fields", "object", "synonyms", "nulls")),
            conn("rds", "D2"),
            conn("described", "D3"),
        ],
    ),
    Case(
        said="words of one's own",
        kwargs={
            "extra_conn_words": {
                "user": ["usr"],
                "password": ["secret word"],
                "host": ["machine"],
                "schema": ["dbname"],
            }
        },
        asks=[*map(conn, ("words", "rds", "uri", "fields", "first"))],
    ),
    Case(
        said="no prefixes",
        kwargs={"connections_prefix": None, "variables_prefix": None, "config_prefix": None},
        asks=[conn("uri"), var("text"), config("text")],
    ),
    Case(
        said="an empty prefix",
        kwargs={"connections_prefix": None, "variables_prefix": "", "config_prefix": None},
        asks=[var("bare"), var("airflow/variables/text"), var("airflow/connections/uri"), var("ARN", "D5")],
    ),
    Case(
        said="an empty prefix beside others",
        kwargs={"variables_prefix": ""},
        asks=[var("bare"), var("airflow/connections/uri", "B11"), conn("uri")],
    ),
    Case(
        said="one prefix for two",
        kwargs={"connections_prefix": "", "variables_prefix": ""},
        asks=[conn("bare uri", "D6"), var("bare", "D6")],
    ),
    Case(
        said="prefixes within another",
        kwargs={
            "connections_prefix": "deep/er/conn/",
            "variables_prefix": "deep",
            "config_prefix": "deep/er",
        },
        asks=[conn("uri"), var("text"), var("er/text", "B11"), config("text"), var("er/conn/uri", "B11")],
    ),
    Case(
        said="another separator",
        kwargs={"connections_prefix": "airflow-connections-", "variables_prefix": "airflow_v", "sep": "-"},
        asks=[conn("uri"), var("text"), config("text")],
    ),
    Case(
        said="two characters between",
        kwargs={"variables_prefix": "dots", "sep": ".."},
        asks=[var("text"), var("nowhere")],
    ),
    Case(
        said="nothing between",
        kwargs={"variables_prefix": "glued", "sep": ""},
        asks=[var("text")],
    ),
    Case(
        said="patterns",
        kwargs={
            "connections_lookup_pattern": "^U",
            "variables_lookup_pattern": "tex|js",
            "config_lookup_pattern": "x",
        },
        asks=[*map(conn, ("uri", "object")), *map(var, ("text", "json", "number")), config("text")],
    ),
    Case(
        said="names",
        asks=[
            *map(var, ("a b", "a*b", "a:b")),
            *(var(name, "B2") for name in ("../connections/uri", "a//b", "text/", "x" * 600)),
        ],
    ),
    Case(
        said="teams",
        environ=MULTI_TEAM,
        ours={"multi_team": True},
        asks=[
            var("key", team="data"),
            var("text", team="data"),
            conn("uri", team="data"),
            var("key"),
            var("data--key"),
            var("other--key", team="data"),
            var("a--b"),
            config("a--b"),
        ],
    ),
    Case(
        said="names of teams without teams",
        asks=[var("data--key"), var("a--b")],
    ),
    Case(
        said="trouble",
        asks=[
            *(var(name, "B1") for name in ("denied", "throttled", "unforeseen")),
            *(var(name, "D1") for name in ("undecryptable", "broken", "invalid")),
            conn("denied", "B1"),
        ],
    ),
    Case(said="no server", kwargs={"endpoint_url": "http://127.0.0.1:9"}, asks=[var("text", "B1")]),
    Case(said="another region", kwargs={"region_name": "us-east-1"}, asks=[var("text")]),
]


PARAMETERS = [
    Case(
        said="defaults",
        asks=[
            *map(conn, CONNECTIONS),
            *map(var, VALUES),
            *map(config, ("text", "nowhere")),
            conn("nowhere"),
            var("nowhere"),
            var("list"),
            var("plain"),
            var("rewritten"),
        ],
    ),
]


class Trouble(http.server.BaseHTTPRequestHandler):
    """Hand on what is asked to moto, but for names that say what goes wrong."""

    protocol_version = "HTTP/1.1"
    url = ""
    says = {
        "denied": (400, "AccessDeniedException"),
        "throttled": (400, "ThrottlingException"),
        "undecryptable": (400, "DecryptionFailure"),
        "broken": (500, "InternalServiceError"),
        "unforeseen": (400, "SomethingNewException"),
        "invalid": (400, "InvalidParameterException"),
    }

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        said = next((said for word, said in self.says.items() if f"/{word}".encode() in body), None)
        if said is not None:
            return self._answer(said[0], {}, json.dumps({"__type": said[1], "message": "no"}).encode())
        headers = {
            key: value
            for key, value in self.headers.items()
            if key.lower() not in ("host", "accept-encoding")
        }
        try:
            with urlopen(Request(self.url + self.path, body, headers), timeout=20) as answer:
                return self._answer(answer.status, answer.headers, answer.read())
        except HTTPError as error:
            with error:
                return self._answer(error.code, error.headers, error.read())

    def _answer(self, status, headers, body):
        self.send_response(status)
        self.send_header("Content-Type", headers.get("Content-Type", "application/x-amz-json-1.1"))
        self.send_header("x-amzn-requestid", headers.get("x-amzn-requestid", "1"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def troubled(url):
    handler = type("Handler", (Trouble,), {"url": url})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def secrets(folder):
    with shared(Ministack) as server, troubled(server.url) as url:
        client = boto3.client("secretsmanager", endpoint_url=server.url, **KEYS)
        put = lambda name, text: client.create_secret(Name=name, SecretString=text)
        for name, held in CONNECTIONS.items():
            put(f"airflow/connections/{name}".replace(" ", "_"), _text(held))
        for folder in ("variables", "config"):
            for name, text in VALUES.items():
                if name.isascii():
                    put(f"airflow/{folder}/{name}", text)
        put("airflow/variables/data--key", "of data")
        put("airflow/connections/data--uri", "http://data")
        put("airflow/variables/a--b", "a--b")
        put("bare", "bare")
        put("bare_uri", "http://bare")
        put("deep/er/conn/uri", "http://deep")
        put("deep/text", "deep")
        put("deep/er/text", "deeper")
        put("airflow-connections-uri", "http://dashed")
        put("airflow_v-text", "dashed")
        put("dots..text", "dotted")
        put("gluedtext", "glued")
        put("airflow/variables/empty", "x")
        client.create_secret(Name="airflow/variables/binary", SecretBinary=b"b")
        client.create_secret(Name="airflow/connections/binary", SecretBinary=b"http://b")
        put("airflow/variables/scheduled", "gone")
        client.delete_secret(SecretId="airflow/variables/scheduled", RecoveryWindowInDays=7)
        put("airflow/variables/staged", "old")
        client.put_secret_value(SecretId="airflow/variables/staged", SecretString="new")
        client.put_secret_value(
            SecretId="airflow/variables/staged", SecretString="pending", VersionStages=["AWSPENDING"]
        )
        arn = client.describe_secret(SecretId="airflow/variables/text")["ARN"]
        yield [of(case, url, arn) for case in MANAGED]


def of(case, url, arn=""):
    kwargs = {
        "endpoint_url": url,
        **{key: value for key, value in KEYS.items()},
        **case.kwargs,
    }
    return replace(
        case,
        kwargs=kwargs,
        ours={**case.ours, "aws_secret_access_key": {"env": "KEY_OF_TESTS"}},
        environ={"KEY_OF_TESTS": KEYS["aws_secret_access_key"], "AWS_MAX_ATTEMPTS": "1", **case.environ},
        asks=[
            (
                kind,
                (arn if name == "ARN" else name).replace(" ", "_")
                if kind == "connection"
                else (arn if name == "ARN" else name),
                team,
                number,
            )
            for kind, name, team, number in case.asks
        ],
    )


@pytest.fixture(scope="session")
def managed(airflow):
    return both(airflow(3), "aws_secrets_manager", secrets)


@pytest.mark.parametrize("said", [case.said for case in MANAGED])
def test_secrets_manager_reads_as_in_airflow_or_differs_by_number(managed, said):
    assert wrong(managed, said) == []
