"""`aws_secrets_manager` and `aws_parameter_store` beside Airflow's own classes, over one emulator."""

from __future__ import annotations

import http.server
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import replace
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from inside_airflow.both import both, wrong
from parity.compare import Case, config, conn, var
from parts.aws import Ministack
from parts.openbao import shared

# In the process of Airflow: each class makes a session of its own, which would read AWS's descriptions anew.
SCRIPT = """
import botocore.loaders
import parity

loader = botocore.loaders.create_loader()
botocore.loaders.create_loader = lambda *_: loader
tell(answers=parity.answers(please))
"""
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
    "conn_id": {"conn_id": "mysql", "host": "h"},
    "words": {"conn_type": "http", "usr": "u", "secret word": "p", "machine": "h", "host": "other"},
    "nulls": {"conn_type": "http", "host": None, "port": None, "extra": None},
    "no_type": {"host": "h", "login": "u"},
    "empty_object": {},
    "typeless": "db.example.com",
    "spaced": '\n {"conn_type": "http"}',
    "no_json": '{"conn_type": ',
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
    "no_json": "R13",
    "twice": "R15",
    "blank": "R1",
    "number": "R18",
}
VALUES = {
    "text": " eu\n",
    "json": '{"a": 1}',
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
        asks=[conn("bare-uri", "D6"), var("bare", "D6")],
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
            *(var(name, "D5") for name in ("a b", "a*b", "a?b", "ü")),
            *(var(name, "B2") for name in ("../connections/uri", "a//b", "text/", "x" * 600)),
        ],
    ),
    Case(
        said="teams",
        environ=MULTI_TEAM,
        ours={"use_team_secrets_path": True},
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


class OfParameters(Case):
    """A case of Parameter Store, in the same process."""

    kind = "aws_parameter_store"


PARAMETERS = [
    OfParameters(
        said="parameters",
        asks=[
            *map(conn, ("uri", "json", "nowhere")),
            *(conn(*one) for one in (("number", "R18"), ("typeless", "R4"), ("blank", "R1"))),
            *map(var, ("text", "plain", "list", "rewritten", "deep/er", "nowhere")),
            *map(config, ("text", "nowhere")),
        ],
    ),
    OfParameters(said="parameters of tasks", dialect="sdk", asks=[*map(conn, ("uri", "json"))]),
    OfParameters(
        said="no prefixes of parameters",
        kwargs={"connections_prefix": None, "variables_prefix": None, "config_prefix": None},
        asks=[conn("uri"), var("text"), config("text")],
    ),
    OfParameters(
        said="an empty prefix of parameters",
        kwargs={"variables_prefix": "", "connections_prefix": None},
        asks=[var("bare"), var("airflow/variables/text"), var("text")],
    ),
    OfParameters(
        said="prefixes of parameters without a slash before or with one behind",
        kwargs={"connections_prefix": "other/conn", "variables_prefix": "/other/"},
        asks=[conn("uri"), var("text"), var("conn/uri", "B11")],
    ),
    OfParameters(
        said="one prefix of parameters for two",
        kwargs={"connections_prefix": "/other", "variables_prefix": "/other"},
        asks=[conn("text", "D6"), var("text", "D6")],
    ),
    OfParameters(
        said="patterns of parameters",
        kwargs={"connections_lookup_pattern": "u.i$", "variables_lookup_pattern": "^T"},
        asks=[conn("uri"), conn("json"), var("text"), var("plain")],
    ),
    OfParameters(
        said="names of parameters",
        asks=[
            *(var(name, "D5") for name in ("a b", "ü", "rewritten:1", "a@b")),
            *(var(name, "B2") for name in ("../connections/uri", "a//b")),
        ],
    ),
    OfParameters(
        said="teams of parameters",
        environ=MULTI_TEAM,
        ours={"use_team_secrets_path": True},
        asks=[
            var("key", team="data"),
            var("text", team="data"),
            var("key"),
            var("data--key"),
            var("a--b", team="data"),
        ],
    ),
    OfParameters(
        said="trouble with parameters",
        asks=[var(name, "B1") for name in ("denied", "throttled", "broken", "unforeseen")],
    ),
]


class Trouble(http.server.BaseHTTPRequestHandler):
    """
    Hand on what is asked to the emulator, but for names that say what goes wrong, and for those that AWS
    takes for no name: the emulator looks for any.
    """

    protocol_version = "HTTP/1.1"
    url = ""
    says = (
        (b"/denied", 400, "AccessDeniedException"),
        (b"/throttled", 400, "ThrottlingException"),
        (b"/undecryptable", 400, "DecryptionFailure"),
        (b"/broken", 500, "InternalServiceError"),
        (b"/unforeseen", 400, "SomethingNewException"),
        (b"/invalid", 400, "InvalidParameterException"),
    )
    names = (
        ("SecretId", re.compile(r"[A-Za-z0-9/_+=.@!:-]{1,2048}")),
        ("Name", re.compile(r"[A-Za-z0-9/_.-]{1,2048}(?::[A-Za-z0-9_.-]+)?")),
    )

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body)
        for key, grammar in self.names:
            if not grammar.fullmatch(asked.get(key, "x")):
                return self._refuse(400, "ValidationException")
        for word, status, code in self.says:
            if word in body:
                return self._refuse(status, code)
        passed = {
            key: self.headers[key] for key in ("Content-Type", "X-Amz-Target", "Authorization", "X-Amz-Date")
        }
        try:
            with urlopen(Request(self.url, body, passed), timeout=20) as answer:
                return self._answer(answer.status, answer.read())
        except HTTPError as error:
            with error:
                return self._answer(error.code, error.read())

    def _refuse(self, status, code):
        self._answer(status, json.dumps({"__type": code, "message": "no"}).encode())

    def _answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("x-amzn-requestid", "1")
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


def stock_secrets(server):
    """Keep what the table asks for; gives the ARN of one secret."""

    def ask(operation, **arguments):
        return server.asked("secretsmanager", operation, **arguments)

    def put(name, text):
        ask("CreateSecret", Name=name, SecretString=text)

    for name, held in CONNECTIONS.items():
        put(f"airflow/connections/{name}", _text(held))
    for name, text in VALUES.items():
        put(f"airflow/variables/{name}", text)
        put(f"airflow/config/{name}", text)
    for name, text in SECRETS.items():
        put(name, text)
    ask("CreateSecret", Name="airflow/variables/binary", SecretBinary=b"b")
    ask("CreateSecret", Name="airflow/connections/binary", SecretBinary=b"http://b")
    ask("DeleteSecret", SecretId="airflow/variables/scheduled", RecoveryWindowInDays=7)
    staged = "airflow/variables/staged"
    ask("PutSecretValue", SecretId=staged, SecretString="new")
    ask("PutSecretValue", SecretId=staged, SecretString="pending", VersionStages=["AWSPENDING"])
    return ask("DescribeSecret", SecretId="airflow/variables/text")["ARN"]


def stock_parameters(server):
    def put(name, text, kind="SecureString", **more):
        server.asked("ssm", "PutParameter", Name=name, Value=text, Type=kind, **more)

    for name in ("uri", "number", "typeless", "blank"):
        put(f"/airflow/connections/{name}", _text(CONNECTIONS[name]))
    put("/airflow/connections/json", '{"conn_type": "my-http", "port": "80", "extra": {"a": [1, null]}}')
    for name, text in PARAMETERS_HELD.items():
        put(name, text)
    put("/airflow/variables/plain", "plain", "String")
    put("/airflow/variables/list", "a,b", "StringList")
    put("/airflow/variables/rewritten", "new", Overwrite=True)


SECRETS = {
    "airflow/variables/data--key": "of data",
    "airflow/connections/data--uri": "http://data",
    "airflow/variables/a--b": "a--b",
    "airflow/variables/scheduled": "gone",
    "airflow/variables/staged": "old",
    "bare": "bare",
    "bare-uri": "http://bare",
    "deep/er/conn/uri": "http://deep",
    "deep/text": "deep",
    "deep/er/text": "deeper",
    "airflow-connections-uri": "http://dashed",
    "airflow_v-text": "dashed",
    "dots..text": "dotted",
    "gluedtext": "glued",
}
PARAMETERS_HELD = {
    "/airflow/variables/text": " eu\n",
    "/airflow/variables/rewritten": "old",
    "/airflow/variables/deep/er": "deep",
    "/airflow/variables/data--key": "of data",
    "/airflow/config/text": "of config",
    "/bare": "bare",
    "/other/text": "http://other",
    "/other/conn/uri": "http://other",
}


@contextmanager
def stocked(_folder):
    with shared(Ministack) as server, troubled(server.url) as url:
        arn = stock_secrets(server)
        stock_parameters(server)
        yield [of(case, url, arn) for case in (*MANAGED, *PARAMETERS)]


def of(case, url, arn):
    return replace(
        case,
        kwargs={"endpoint_url": url, **KEYS, **case.kwargs},
        environ={"AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true", **case.environ},
        asks=[(kind, arn if name == "ARN" else name, team, number) for kind, name, team, number in case.asks],
    )


@pytest.fixture(scope="session")
def told(airflow):
    return both(airflow(3), "aws_secrets_manager", stocked, script=SCRIPT)


@pytest.mark.parametrize("said", [case.said for case in (*MANAGED, *PARAMETERS)])
def test_stores_of_aws_read_as_in_airflow_or_differ_by_number(told, said):
    assert wrong(told, said) == []
