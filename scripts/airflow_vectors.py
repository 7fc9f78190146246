"""
Ask real Airflow what it reads from a corpus of texts, and freeze its answers under tests/vectors.

    .venv/bin/python scripts/airflow_vectors.py corpus             # the texts, without answers
    AIRFLOW_HOME=$(mktemp -d) AIRFLOW3/bin/python scripts/airflow_vectors.py answer
    AIRFLOW_HOME=$(mktemp -d) AIRFLOW2/bin/python scripts/airflow_vectors.py answer
    .venv/bin/python scripts/airflow_vectors.py refusals           # which of them we refuse, by number

The second and third run inside an environment that holds Airflow and fill in the dialects it knows:
`core` and `sdk` (Airflow 3), `core2` (Airflow 2). Each text goes the way of a secrets backend's text
(`deserialize_connection`). An answer is the fields, or the class of the exception.
"""

# ruff: noqa: E501, SIM905 -- the corpus is a table: one text after the other, as they are
from __future__ import annotations

import itertools
import json
import logging
import platform
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
FILES = ("airflow_uri.json", "airflow_json.json", "airflow_written.json")
FIELDS = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra")
AWKWARD = [
    "p@ss",
    "p:w",
    "p/w",
    "p?w",
    "p#w",
    "p%w",
    "p w",
    "p+w",
    "p&w=x",
    "[x]",
    "\u00fc\u03a9",
    "\U0001f511",
    '"q"',
    "\\",
    "%41",
]

# --- the corpus --------------------------------------------------------------------------------

KNOWN_ROWS = """\
postgresql://u:p%2F%40ss@Host.Example:5432/db?sslmode=require
my-conn-type://lo%40gin:pa%2Fss@ho%2Fst:99/sch%2Fema?a=1&b=true&d={"q":1}&e=
my_conn://host
host
://host
//host/db
aws://
http://https%3A%2F%2Fhost.com%2Fpath:443/
http://https://host.com:443/sch
http://https%3A//host
http://http://host
http://http%3A%2F%2Fhost
spark://k8s%3a%2F%2F100.68.0.1:443?deploy-mode=cluster
jdbc://jdbc%3Amysql%3A%2F%2Fh%3A1%2Fdb
postgres://u@h
postgres://:pw@h
postgres://u:@h
postgres://@h:1/
postgres://h:notaport/db
postgres://h:99999
postgres://h:0
postgres://u:p@ss@h/db
postgres://u:p#x@h
postgres://[::1]:5432/db
sqlite:////tmp/a.db
sqlite:///%2Ftmp%2Fa.db
postgres://h/a/b
postgres://h/a/b#fragment
POSTGRESQL://H/db
mssql+odbc://h
aws://h/?__extra__=notjson
aws://h/?__extra__=%5B1%5D
a://b://c://d
http://u:p@https://h""".split("\n")

TYPES = """\
a postgres postgresql postgresql+psycopg2 POSTGRES Postgresql google-cloud-platform google_cloud_platform s3 2fa
-x +x .x a.b a+b a-b-c _x x_ my_conn A-B_C \u00fcber x\u00fc http https jdbc mssql+odbc postgresql-x a--b""".split()

PLACES = """\
h H Host.Example h. h:1 h:01 h:65535 h:65536 h:00 h:-1 h:+1 h:1_0 h:\u0661 h:1a h: : :5 @ @h u@ u:@ :@ :p@ u:p@ u:p@h
u:p@h:5 u@h@i u:p:q@h u:p@q@h u%40v:p%3Aq@h u%zz@h %75:%70@%68 u:%FF@h %FF@h u:p@%FF u:%00@h u:p@h%2Fi u:p@H%2FI:5
u:p@h%20I U%20V@H%20I %48ost h%41B ho%2fST:1 h%3A1 h%2F:1 h%2Fi:1:2 h:1:2 ::1 [::1] [::1]:1 [::1]: [::1]x [::1]x:1
[FE80::1] [fe80::1%25eth0] [fe80::1%eth0] [::1%2F] [v1.x] [V1.x] [v1.] [1.2.3.4] [x] [] [ ] x[::1] [::1 ::1] [[::1]]
u:p@[::1]:5 u[x]:p@h u:[::1]@h u:p[@h u:p]@h u:p@[::1][::2] \u00fcn\u00efc.example \u00dcN\u00cfC \u2100 a\u2100b u:\u2100@h
u:\uff0f@h \uff1a \u017f \u212a \u0130 localhost 127.0.0.1 h!$&'()*,;=~ u!$&'()*,;=:p!$&'()*,;=@h h"<>^`{|}
h\\i u\\v@h k8s://h""".split()

PATHS = [
    "",
    "/",
    "//",
    "/s",
    "/S",
    "/a/b",
    "//a",
    "/%2Fa",
    "/a%2Fb",
    "/%FF",
    "/a%20b",
    "/a+b",
    "/a;b",
    "/a@b",
    "/a:b",
    "/a b",
    "/\u00fc",
    "/a/",
    "/%41",
    "/%zz",
    "/%",
]

QUERIES = """\
? ?a ?a= ?=1 ?= ?& ?&& ?a=1 ?a=1&a=2 ?a=1&a= ?a&a=1 ?a=1&&b=2 ?a=1;b=2 ?a=true ?a=True ?a=TRUE ?a=false ?a=null ?a=None
?a=[1] ?a=[] ?a={} ?a={"b":1} ?a={"b":{"c":[1,2,"x",null]}} ?a={"b":1,"b":2} ?a="x" ?a="" ?a='x' ?a=x ?a=1.5 ?a=1.50 ?a=1e5
?a=1E400 ?a=-1e400 ?a=-0 ?a=-0.0 ?a=01 ?a=0x1 ?a=1_0 ?a=+1 ?a=%2B1 ?a=.5 ?a=5. ?a=- ?a=NaN ?a=NaNette ?a=Infinity ?a=-Infinity
?a=Infinitely ?a=nan ?a=%201 ?a=1%20 ?a=%09true%0A ?a=%20 ?a=+ ?a=a+b ?a=a%2Bb ?a+b=c ?a%3Db=c ?a=b=c ?a=%FF ?%FF=a ?a=%00
?a=%E2%82%AC ?\u00fc=\u03a9 ?a=123456789012345678901234567890 ?a=0.1000000000000000055511151231257827 ?a=%5B1 ?a=%7B ?a="x
?a=%22%5Cud800%22 ?a=%22%5Cu0041%22 ?a=[1,2]x ?a=1+2 ?a=tru ?a=truex ?__extra__= ?__extra__ ?__extra__={} ?__extra__=[]
?__extra__=null ?__extra__=1 ?__extra__="x" ?__extra__=true ?__extra__={"a":1} ?__extra__={"a":"1"}&b=2 ?b=2&__extra__={"a":1}
?__extra__={"a":1}&__extra__={"b":2} ?__extra__=%20 ?__extra__=%20{} ?__extra__={"a":NaN} ?__extra__={"a":1e400}
?__extra__={"a":1,"a":2} ?__extra__={"a":{"b":[true,false,null,"",0,1.5]}} ?__EXTRA__={} ?a?b ?a=b?c ?a=b/c ?a=b@c ?a=1#f
?a=1#f@g #f #f@g #""".split()

WHOLE = [
    "", " ", "\n", "  postgres://h/db \n", "\ufeffpostgres://h", "\x01postgres://h", "\x1fpostgres://h", "\xa0postgres://h\xa0",
    "postgres://h\x00/db", "postgres://u:p\tq@h", "postgres://u:p\nq@h", "postgres://u:p\rq@h", "post\ngres://h", "postgres\t://h",
    "postgres ://h", "postgres:/h", "postgres:h", "postgres:///db", "postgres:////db", "postgres", "localhost:5432", "localhost:5432/db",
    "host/db?u=http://x", "u:p@h/db", '"postgres://h"', "'postgres://h'", "`postgres://h`", "[1]", "[]", "null", "true", "1", '"x"',
    '\ufeff{"conn_type":"a"}', "<xml/>", "conn_type: a", "postgres://h/db?url=http://x", "postgres://u:p@h/db?url=http://x",
    "postgres://h/db?url=postgres://x", "http://h/http://x", "http://HTTPS://Host:1", "http://HTTP://h", "HTTP://https://h",
    "HTTP://HTTP://h", "Http://https://h", "HTTP://xhttp://h", "http://xhttp://h", "ttp://http://h", "http://my_proto://h",
    "http://://h", "http://https://", "http://https://:1/x", "http://https://u:p@h:1/x?a=1", "http://u@https://h", "http://a:1/https://h",
    "http://https://[::1]:1/x", "http://https://Host%2FPath:1", "http://2x://h", "http://x y://h", "a://b://", "a://://", "a://b:// ",
    "://", "://://", "a://b//c", "a:///b://c", "a://b?c://d", "a://b#c://d", "a://b#://", "x-y://x_y://h", "x-y://x-y://h",
    "databricks://https://dbc.cloud.databricks.com/?__extra__=%7B%22token%22%3A+%22dapi123%22%7D", "google-cloud-platform:///?project=p",
    "aws://AKIAIOSFODNN7EXAMPLE:wJalrXUtnFEMI%2FK7MDENG%2FbPxRfiCYEXAMPLEKEY@/?region_name=eu-west-1",
    "postgres://user:12/34@host/db", "postgres://user:p/w@host/db", "postgres://user:12?34@host/db", "postgres://user:12#34@host/db",
    "redis://:s3cret@h:6379/0?ssl=true", "sqlite://", "sqlite:///relative.db", "kafka:///?bootstrap.servers=k1%3A9092%2Ck2%3A9092",
]  # fmt: skip


def _uris() -> Iterator[str]:
    yield from KNOWN_ROWS
    yield from WHOLE
    yield from (f"{kind}://h/s" for kind in TYPES)
    yield from (f"postgres://{place}" for place in PLACES)
    yield from (f"http://https://{place}/s" for place in PLACES[:60])
    yield from (f"postgres://h{path}" for path in PATHS)
    yield from (f"postgres://{path}?a=b" for path in PATHS)
    yield from (f"postgres://h/s{query}" for query in QUERIES)
    yield from (f"aws://{query}" for query in QUERIES[:12])
    for text in AWKWARD:
        yield f"postgres://u:{text}@h:1/s?a={text}"
        yield f"postgres://{quote(text, safe='')}:{quote(text, safe='')}@{quote(text, safe='')}:1/{quote(text, safe='')}?a={quote(text, safe='')}"
    yield "postgres://h?a=" + "1" * 4300
    yield "postgres://h?a=" + "1" * 4301
    yield "postgres://h?a=" + "[" * 65 + "]" * 65
    yield "postgres://h?a=" + "[" * 65
    yield "postgres://h?a=" + "[" * 62 + "]" * 62
    yield "postgres://h:" + "1" * 5000


VALUES: list[Any] = [None, "", "x", " x ", "\u00fc", "\ud800", 0, 1, 5.7, True, False, [], [1], {}, {"a": 1}]
PORTS: list[Any] = [
    None, 0, 1, 5432, 65535, 65536, 99999, -1, 5.0, 5.7, 0.0, True, False, "", "0", "00", "1", " 5432 ", "5_432", "abc", "5.7",
    "-1", "+1", "\u0665", "0x10", "99999", "1e3", [], [1], {}, {"a": 1}, 10**30,
]  # fmt: skip
EXTRAS: list[Any] = [
    None, "", " ", "{}", " {} ", "[]", "[1]", "null", "1", "true", '"x"', "notjson", '{"a": 1}', '{"a": "true"}', '{"a":1,"a":2}',
    '{"a": NaN}', '{"a": 1e400}', '{"a": "\\ud800"}', {}, {"a": 1}, {"a": "1"}, {"a": {"b": [1, None, True, 1.5, "x"]}}, {"": ""},
    {"\u00fc": "\u03a9"}, {"__extra__": "x"}, [], [1], 0, 1, 1.5, True, False, {"a": "\ud800"}, {"\ud800": 1}, {"a": '{"b": 1}'},
    {"extra__aws__region": "x"}, {"a": 10**30}, {"a": 1e-400},
]  # fmt: skip
JSON_TEXTS = [
    "{}", " {} ", "\n{}\n", "{", "{]", "{}x", "{} {}", '{"a"}', "{'conn_type': 'a'}", '{"conn_type": "a",}', '{"conn_type": "a"} //',
    '{"conn_type": "a", "conn_type": "b"}', '{"conn_type": "a", "extra": {"b": 1, "b": 2}}', '{"port": NaN}', '{"port": Infinity}',
    '{"port": 1e400}', '{"extra": {"a": NaN}}', '{"extra": {"a": -Infinity}}', '{"extra": {"a": 1e400}}', '{"host": "a\tb"}',
    '{"host": "a\\u0000b"}', '{"host": "\\ud83d\\ude00"}', '{"host": "\\ud83d"}', '{"HOST": "h"}', '{"Conn_Type": "a"}',
    '{"conn_id": "x", "conn_type": "a"}', '{"id": 1}', '{"team_name": null}', '{"team_name": "t"}', '{"is_encrypted": true}',
    '{"extra_dejson": {"a": 1}}', '{"user": "u"}', '{"schema": "s", "database": "d"}', '{"uri": "postgres://h/db"}', '{"uri": ""}',
    '{"uri": null}', '{"uri": null, "host": "h"}', '{"uri": "", "host": "h"}', '{"uri": 5}', '{"uri": " postgres://h "}',
    '{"uri": "postgres://u:@h"}', '{"uri": "my_conn://h"}', '{"uri": "{}"}', '{"uri": "postgres://h:x"}',
    '{"uri": "postgres://h", "host": "h"}', '{"uri": "postgres://h", "host": ""}', '{"uri": "postgres://h", "host": null}',
    '{"uri": "postgres://h", "port": 0}', '{"uri": "postgres://h", "port": "0"}', '{"uri": "postgres://h", "extra": {}}',
    '{"uri": "postgres://h", "extra": {"a": 1}}', '{"uri": "postgres://h", "conn_type": ""}', '{"uri": "postgres://h", "conn_type": "a"}',
    '{"uri": "postgres://h", "description": "d"}', '{"uri": "postgres://h", "description": null}', '{"uri": "postgres://h", "team_name": null}',
    '{"uri": "postgres://h", "password": ""}', '{"uri": "http://https://H/x?a=1"}', '{"extra": "{\\"a\\": [[1]]}"}',
    '{"conn_type": "a", "extra": ' + '{"a":' * 63 + "1" + "}" * 64,
    '{"conn_type": "a", "extra": ' + '{"a":' * 64 + "1" + "}" * 65,
    '{"conn_type": "a", "extra": ' + '{"a":' * 2000 + "1" + "}" * 2001,
    '{"conn_type": "a", "extra": {"a": ' + "1" * 4300 + "}}",
    '{"conn_type": "a", "extra": {"a": ' + "1" * 4301 + "}}",
]  # fmt: skip


def _jsons() -> Iterator[str]:
    yield from JSON_TEXTS
    for name, value in itertools.product(
        ("conn_type", "description", "host", "login", "password", "schema"), VALUES
    ):
        yield json.dumps({"conn_type": "a", name: value})
    for kind in TYPES:
        yield json.dumps({"conn_type": kind}, ensure_ascii=False)
    yield from (json.dumps({"conn_type": "a", "port": port}) for port in PORTS)
    yield from (json.dumps({"conn_type": "a", "extra": extra}) for extra in EXTRAS)
    for text in AWKWARD:
        yield json.dumps(
            dict.fromkeys(("host", "login", "password", "schema", "description"), text) | {"conn_type": "a"}
        )


def _written() -> Iterator[dict[str, Any]]:
    """Give what our writer makes of connections that are hard to write, beside their fields."""
    from strongroom.model.connection import Connection  # noqa: PLC0415 -- Airflow's environment lacks it

    extras: list[Any] = [
        None,
        {},
        {"a": "true"},
        {"a": "x", "b": ""},
        {"a": 1, "b": {"c": [None, True, 1.5]}},
        {"__extra__": "x"},
        {"": "\u00fc&="},
    ]
    texts = [None, "", "x", "X y", "h/P:1", "https://H/p", "::1", "a\nb\t", *AWKWARD]
    for index, text in enumerate(texts):
        fields = dict.fromkeys(("host", "login", "password", "schema", "description"), text) | {
            "conn_type": "my_type"
        }
        yield from _forms(Connection.from_dict(fields | {"port": [None, "0", 1, 65535][index % 4]}, "sdk"))
    for extra, port, kind in itertools.product(
        extras, (None, "0", 5), ("postgres", "Upper", "mssql+odbc", "a b", None)
    ):
        given = "{}" if extra == {} else extra
        fields = {
            "conn_type": kind,
            "host": "h",
            "schema": "s",
            "login": "u",
            "password": "p",
            "port": port,
            "extra": given,
        }
        yield from _forms(Connection.from_dict(fields, "sdk"))


def _forms(connection: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 -- see _written
    fields = connection.to_dict(reveal=True)
    yield {"form": "json", "fields": fields, "text": connection.format("json").reveal()}
    if not connection.uri_losses("sdk"):
        yield {"form": "uri", "fields": fields, "text": connection.format("uri").reveal()}


def write_corpus() -> None:
    """Write the three files without answers."""
    corpora: list[list[dict[str, Any]]] = [
        [{"text": text} for text in dict.fromkeys(_uris())],
        [{"text": text} for text in dict.fromkeys(_jsons())],
        list(_written()),
    ]
    for name, cases in zip(FILES, corpora, strict=True):
        _save(name, {"airflow": {}, "cases": cases})


# --- the answers -------------------------------------------------------------------------------


def _readers() -> dict[str, tuple[str, Callable[[str], Any]]]:
    from importlib.metadata import version  # noqa: PLC0415 -- only this half needs Airflow

    from airflow.models import Connection  # noqa: PLC0415
    from airflow.secrets import BaseSecretsBackend  # noqa: PLC0415

    release = version("apache-airflow")
    if release.startswith("2."):
        return {"core2": (release, lambda text: BaseSecretsBackend().deserialize_connection("c", text))}
    from airflow.sdk import Connection as TaskConnection  # noqa: PLC0415

    read = BaseSecretsBackend._deserialize_connection_value  # noqa: SLF001 -- it is what backends call
    return {
        "core": (release, lambda text: read(Connection, "c", text)),  # noqa: AIR311 -- the core is asked on purpose
        "sdk": (version("apache-airflow-task-sdk"), lambda text: read(TaskConnection, "c", text)),
    }


def _answer(read: Callable[[str], Any], text: str) -> dict[str, Any]:
    try:
        found = read(text)
        answer = {name: getattr(found, name) for name in FIELDS}
        json.dumps(answer)
    except (Exception, RecursionError) as error:  # noqa: BLE001 -- whatever Airflow raises is the answer
        return {"error": type(error).__name__}
    return answer


def fill_answers() -> None:
    """Fill in what the Airflow of this environment answers."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    readers = _readers()
    for name in FILES:
        document = json.loads((VECTORS / name).read_text())
        for dialect, (release, read) in readers.items():
            document["airflow"][dialect] = f"{release} on Python {platform.python_version()}"
            for case in document["cases"]:
                case[dialect] = _answer(read, case["text"])
        _save(name, document)


def fill_refusals() -> None:
    """Fill in which texts we refuse, so that a refusal more or less shows in a diff."""
    from strongroom.errors import InvalidInputError  # noqa: PLC0415 -- Airflow's environment lacks it
    from strongroom.model.connection import Connection  # noqa: PLC0415

    def refusal(text: str, dialect: Any) -> str | None:  # noqa: ANN401 -- a Dialect
        try:
            Connection.parse(text, dialect)
        except InvalidInputError as error:
            return error.rule
        return None

    for name in FILES:
        document = json.loads((VECTORS / name).read_text())
        for case in document["cases"]:
            case["refused"] = {dialect: refusal(case["text"], dialect) for dialect in ("core", "sdk")}
        _save(name, document)


def _save(name: str, document: dict[str, Any]) -> None:
    lines = ",\n".join(json.dumps(case) for case in document["cases"])
    head = json.dumps(document["airflow"])
    (VECTORS / name).write_text(f'{{"airflow": {head}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    {"corpus": write_corpus, "answer": fill_answers, "refusals": fill_refusals}[sys.argv[1]]()
