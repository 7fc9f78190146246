"""The backend `vault` beside Airflow's VaultBackend (provider hashicorp), over one real OpenBao."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.compare import Case, check, config, conn, numbers, var
from parity.generate import FIELDS, NAME, URI, VALUE, WORD
from parity.test_generated import ITEMS, SOME, check_all, questions
from parts.openbao import bao  # noqa: F401 -- a fixture

NAMES = ("a/b", "a b", "\u00e9", "a#b", "a%b", "a?b=c", "a:b", "a*b", "a+b", "A", "a&b", "a.b", "a@b;c,d")
CONNECTIONS = {
    "uri": {"conn_uri": "postgresql://u:p%2F%40@Host.Example:5432/db?sslmode=require&n=1"},
    "json": {"conn_uri": '{"conn_type": "http", "port": 80}'},
    "fields": {"conn_type": "my-http", "host": "H", "password": "p", "port": "80", "extra": '{"a": 1.50}'},
    "object": {"conn_type": "http", "port": 80, "extra": {"a": [1, True, None]}},
    "both": {"conn_uri": "http://h", "conn_type": "ftp"},
    "nothing": {},
    "empty uri": {"conn_uri": "", "conn_type": "http"},
    "number": {"conn_uri": 5},
    "unknown": {"conn_type": "http", "user": "u"},
    "password": {"conn_type": "http", "password": 5},
    "no type": {"conn_uri": "db.example.com"},
    "value": {"conn_uri": "http://h", "value": "v"},
}
VALUES = {
    "text": {"value": " eu\n"},
    "described": {"value": "eu", "description": "where"},
    "empty": {"value": ""},
    "number": {"value": 1.5},
    "object": {"value": {"a": [1, None]}},
    "false": {"value": False},
    "null": {"value": None},
    "other": {"text": "eu"},
}
EVERYTHING = (
    *map(conn, ("uri", "json", "fields", "object", "both", "nothing", "nowhere")),
    conn("empty uri", "R17"),
    conn("number", "B1"),
    conn("unknown", "R17"),
    conn("password", "R18"),
    conn("no type", "R4"),
    *map(var, (*NAMES, "text", "described", "empty", "nowhere", "a")),
    *(var(name, "B5") for name in ("number", "object", "false")),
    *(var(name, "B9") for name in ("null", "other")),
    *map(config, ("text", "empty", "nowhere")),
    config("number", "B5"),
    config("other", "B9"),
)
GONE = (  # of which version 1 knows nothing
    var("nothing", "B9"),
    *map(var, ("deleted", "destroyed", "forgotten", "again", "rewritten")),
    conn("deleted"),
)
ELSEWHERE = (conn("uri", "B10"), var("text", "B10"))
REFUSES_FOLDERS = "global names that lead into the folder of a team"
MULTI_TEAM = {"AIRFLOW__CORE__MULTI_TEAM": "True"}

# `TWO`, `ONE`, `ROLE` … stand for what the server made.
CASES = [
    Case(said="version 2", kwargs={"mount_point": "TWO"}, asks=(*EVERYTHING, *GONE)),
    Case(said="version 1", kwargs={"mount_point": "ONE", "kv_engine_version": 1}, asks=EVERYTHING),
    Case(
        said="slashes around",
        kwargs={"mount_point": "TWO", "variables_path": "variables/"},
        asks=[var("text")],
    ),
    Case(
        said="lists of paths",
        kwargs={
            "mount_point": "TWO",
            "connections_path": ["first", "connections"],
            "variables_path": ["first", "variables/", "deep/er"],
            "config_path": ["first", "config"],
        },
        asks=[
            *map(conn, ("uri", "fields", "only first")),
            *map(var, ("text", "empty", "deep", "nowhere")),
            var("masked", "B9"),  # the first that holds anything answers, whatever it holds
            config("text"),
        ],
    ),
    Case(
        said="no paths",
        kwargs={"mount_point": "TWO", "connections_path": None, "variables_path": [], "config_path": None},
        asks=[conn("uri"), var("text"), config("text")],
    ),
    Case(
        said="an empty path",
        kwargs={"mount_point": "TWO", "variables_path": "", "connections_path": None, "config_path": None},
        asks=[var("bare"), var("variables/text"), var("deep/er/deep"), var("text"), var("connections/value")],
    ),
    Case(
        said="a path inside another",
        kwargs={"mount_point": "TWO", "variables_path": ""},
        asks=[var("bare"), conn("uri"), var("connections/value", "B11"), var("variables/text")],
    ),
    Case(
        said="one path for all",
        kwargs={"mount_point": "TWO", "connections_path": "first", "variables_path": "first"},
        asks=[conn("uri"), var("text"), conn("only first")],
    ),
    Case(
        said="a path for all that comes last",
        kwargs={"mount_point": "TWO", "global_secrets_path": "first/", "config_path": None},
        asks=[conn("uri"), conn("only first"), var("only first v"), var("deep"), config("only first v")],
    ),
    *(
        Case(
            said=f"the mount in the name ({mount!r})",
            kwargs={"mount_point": mount},
            asks=[
                conn("TWO/uri"),
                var("TWO/text"),
                var("TWO/a/b"),
                var("text"),
                var("nowhere/text"),
                var("TWO/no"),
            ],
        )
        for mount in (None, "")
    ),
    Case(
        said="the mount in the name, version 1",
        kwargs={"mount_point": None, "kv_engine_version": 1},
        asks=[conn("ONE/uri"), var("ONE/text"), var("ONE/a/b"), var("text")],
    ),
    Case(said="no such mount", kwargs={"mount_point": "nowhere"}, asks=ELSEWHERE),
    Case(said="version 2 as 1", kwargs={"mount_point": "TWO", "kv_engine_version": 1}, asks=ELSEWHERE),
    Case(said="version 1 as 2", kwargs={"mount_point": "ONE"}, asks=ELSEWHERE),
    Case(said="a mount below", kwargs={"mount_point": "TWO/connections"}, asks=[conn("uri", "B10")]),
    Case(
        said="names",
        kwargs={"mount_point": "TWO"},
        asks=[
            conn("../connections/uri", "B2"),
            conn("../variables/../connections/uri", "B2"),
            var("a//b", "B2"),
            var("text/", "B2"),
            var("e\u0301", "B2"),
            var("a\u00a0b", "B13"),
            var("a\ue000b", "B13"),
        ],
    ),
    Case(
        said="teams that Airflow does not keep",
        kwargs={"mount_point": "TWO"},
        asks=[
            conn("uri", team="data"),
            conn("team db", team="data"),
            var("data/key"),
            var("key", team="data"),
        ],
    ),
    Case(
        said="teams",
        kwargs={"mount_point": "TWO", "use_team_secrets_path": True},
        environ=MULTI_TEAM,
        asks=[
            conn("team db", team="data"),
            conn("team db"),
            var("key", team="data"),
            var("key", team="other"),
            conn("uri"),
            conn("uri", "B12", team="data"),
        ],
    ),
    Case(
        said=REFUSES_FOLDERS,
        kwargs={"mount_point": "TWO", "use_team_secrets_path": True},
        environ=MULTI_TEAM,
        asks=[var("data/key"), var("a/b")],
    ),
    Case(
        said="folders of teams without teams",
        kwargs={"mount_point": "TWO", "use_team_secrets_path": True},
        asks=[var("a/b", "B12"), var("data/key", "B12"), var("key", "B12", team="data"), conn("uri")],
    ),
    Case(
        said="a namespace",
        kwargs={"mount_point": "INSIDE", "namespace": "SPACE"},
        asks=[var("text"), var("nowhere")],
    ),
    Case(said="no such namespace", kwargs={"mount_point": "TWO", "namespace": "nowhere"}, asks=ELSEWHERE),
    Case(
        said="an AppRole",
        kwargs={
            "mount_point": "TWO",
            "auth_type": "approle",
            "auth_mount_point": "ROLE_MOUNT",
            "role_id": "ROLE_ID",
            "secret_id": "SECRET_ID",
            "token": None,
        },
        asks=[conn("uri"), var("text"), var("nowhere")],
    ),
    Case(
        said="an AppRole that is refused",
        kwargs={
            "mount_point": "TWO",
            "auth_type": "approle",
            "auth_mount_point": "ROLE_MOUNT",
            "role_id": "ROLE_ID",
            "secret_id": "wrong",
            "token": None,
        },
        asks=[conn("uri", "B1"), var("text", "B1")],
    ),
    Case(
        said="a token in a file",
        kwargs={"mount_point": "TWO", "token_path": "TOKEN_FILE", "token": None},
        asks=[conn("uri"), var("nowhere")],
    ),
    Case(
        said="a token without a policy",
        kwargs={"mount_point": "TWO", "token": "POOR"},
        asks=[conn("uri", "B1"), var("text", "B1"), var("nowhere", "B1")],
    ),
    Case(
        said="no server",
        kwargs={"mount_point": "TWO", "url": "http://127.0.0.1:9"},
        asks=[conn("uri", "B1"), var("text", "B1")],
    ),
]
NUMBERS = numbers(CASES)
SECRETS = ("token", "secret_id")


@dataclass(frozen=True)
class Made:
    """What stands in the server, by the words the table has for it."""

    words: dict[str, str]

    def said(self, value):
        if isinstance(value, list):
            return [self.said(one) for one in value]
        if not isinstance(value, str):
            return value
        first, slash, rest = value.partition("/")
        return self.words.get(first, first) + slash + rest

    def of(self, case):
        """Give *case* about this server: its secrets come to us by the environment."""
        kwargs = {"url": self.words["URL"], "token": "root", "timeout": 10, **case.kwargs}
        kwargs = {key: self.said(value) for key, value in kwargs.items()}
        kwargs = {key: value for key, value in kwargs.items() if key != "token" or value is not None}
        secrets = {key: kwargs[key] for key in SECRETS if key in kwargs}
        return replace(
            case,
            kwargs=kwargs,
            ours={key: {"env": f"BAO_{key}"} for key in secrets},
            environ={**case.environ, **{f"BAO_{key}": value for key, value in secrets.items()}},
            asks=[(kind, self.said(name), team, number) for kind, name, team, number in case.asks],
        )


@pytest.fixture(scope="session")
def made(bao, tmp_path_factory):  # noqa: F811 -- the fixture
    return made_in(bao, tmp_path_factory.mktemp("token"))


def made_in(bao, folder):  # noqa: F811 -- a server, whosever it is
    """Fill *bao* with what the table asks for, and give the words for it."""
    two, one = bao.mount(version=2), bao.mount(version=1)
    for mount, version in ((two, 2), (one, 1)):
        _fill(bao, mount, version)
    _put_more(bao, two)
    policy = bao.policy(f'path "{two}/*" {{ capabilities = ["read"] }}')
    role = bao.role(policy)
    token = folder / "token"
    token.write_text(bao.token(policy) + "\n")
    token.chmod(0o600)
    bao.api("POST", "sys/namespaces/space")
    inside = bao.mount(version=2, namespace="space")
    bao.put(inside, "variables/text", {"value": "inside"}, namespace="space")
    return Made(
        {
            "URL": bao.url,
            "TWO": two,
            "ONE": one,
            "INSIDE": inside,
            "SPACE": "space",
            "ROLE_MOUNT": role.mount,
            "ROLE_ID": role.role_id,
            "SECRET_ID": role.secret_id(),
            "TOKEN_FILE": str(token),
            "POOR": bao.token(),
        }
    )


def _fill(server, mount, version):
    for name, held in CONNECTIONS.items():
        put(server, mount, f"connections/{name}", held, version)
    for folder in ("variables", "config"):
        for name, held in VALUES.items():
            put(server, mount, f"{folder}/{name}", held, version)
    for name in NAMES:
        put(server, mount, f"variables/{name}", {"value": name}, version)


def _put_more(server, mount):
    for path, held in {
        "bare": {"value": "bare"},
        "first/only first": {"conn_uri": "http://first"},
        "first/only first v": {"value": "first"},
        "first/uri": {"conn_uri": "http://first", "value": "v"},
        "first/masked": {"text": "no value"},
        "variables/masked": {"value": "hidden"},
        "variables/nothing": {},
        "deep/er/deep": {"value": "deep"},
        "connections/data/team db": {"conn_uri": "http://data"},
        "variables/data/key": {"value": "data"},
    }.items():
        server.put(mount, path, held)
    for name in ("deleted", "destroyed", "forgotten", "again", "rewritten"):
        server.put(mount, f"variables/{name}", {"value": "1"})
    server.put(mount, "connections/deleted", {"conn_uri": "http://h"})
    for path in ("variables/deleted", "connections/deleted", "variables/again", "variables/rewritten"):
        server.api("DELETE", f"{mount}/data/{path}")
    server.api("PUT", f"{mount}/destroy/variables/destroyed", {"versions": [1]})
    server.api("DELETE", f"{mount}/metadata/variables/forgotten")
    server.api("POST", f"{mount}/undelete/variables/again", {"versions": [1]})
    server.put(mount, "variables/rewritten", {"value": "2"})


def put(server, mount, path, held, version=2):
    """Write where the name, its `?` too, is a part of the path; give whether the server would."""
    path = path.replace("%", "%25").replace("?", "%3F").replace("&", "%26").replace("=", "%3D")
    where, body = (f"{mount}/data/{path}", {"data": held}) if version == 2 else (f"{mount}/{path}", held)
    return server.ask("POST", where, body)[0] in (200, 204)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.said)
def test_vault_reads_as_in_airflow_or_differs_by_number(airflow, made, tmp_path, case):
    if case.said == REFUSES_FOLDERS and airflow.provider < (4, 8, 4):
        pytest.skip("the provider for Python 3.10 does not yet refuse them")
    check(airflow, "vault", made.of(case), tmp_path)


HELD = FIELDS | st.fixed_dictionaries({"conn_uri": URI}, optional={"host": WORD, "a": VALUE})


@SOME
@given(
    connections=st.dictionaries(NAME, HELD, **ITEMS),
    variables=st.dictionaries(NAME, WORD, max_size=10),
    how=st.sampled_from([("TWO", 2, "core"), ("TWO", 2, "sdk"), ("ONE", 1, "core")]),
)
def test_invented_secrets_read_as_in_airflow(airflow, made, bao, tmp_path, **invented):  # noqa: F811
    mount, version, dialect = invented["how"]
    folder = f"invented{version}{dialect}"
    kept = {
        kind: [
            name
            for name, held in invented[kind].items()
            if put(bao, made.words[mount], f"{folder}/{kind}/{name}", _as_kept(held), version)
        ]
        for kind in ("connections", "variables")  # what the server would not keep is B13
    }
    paths = {"connections_path": f"{folder}/connections", "variables_path": f"{folder}/variables"}
    options = {"mount_point": mount, "kv_engine_version": version, "config_path": None, **paths}
    case = made.of(Case(said="", asks=(), kwargs=options))
    check_all(
        airflow,
        "vault",
        questions(kept["connections"], kept["variables"]),
        tmp_path,
        case=replace(case, dialect=dialect),
    )


def _as_kept(held):
    return held if isinstance(held, dict) else {"value": held}
