"""The backend `file` beside Airflow's LocalFilesystemBackend, over the same files."""

import json
from dataclasses import replace

import pytest

from parity.compare import Case, check, config, conn, numbers, var

OPTIONS = {
    "connections": "connections_file_path",
    "variables": "variables_file_path",
    "config": "configs_file_path",
}

OBJECTS = {
    "uri": "postgresql://u:p%2F%40@Host.Example:5432/db?sslmode=require&n=1",
    "object": {"conn_type": "http", "host": "Host", "password": "p", "port": 80, "extra": {"a": [1, True]}},
    "listed": [{"conn_type": "http"}],
    "extra": {"conn_type": "http", "extra_dejson": {"a": 1}, "conn_id": "extra"},
    "empty": {"conn_type": "http", "host": "", "login": "", "password": "", "extra": ""},
    "type": {"conn_type": "my-custom-type"},
    "port": {"conn_type": "http", "port": "5432"},
    "no type": {"host": "h"},
    "padded": " http://h ",
}
VARIABLES = {
    "text": " a ",
    "empty": "",
    "number": 1.50,
    "true": True,
    "object": {"a": [1, None]},
    "list": ["a"],
    "null": None,
    "described": {"value": "v", "description": "d"},
}
YAML_CONNECTIONS = """\
uri: http://u:p@h
object:
  conn_type: http
  port: 0123
  extra: {a: no, b: 12:30:45, c: '0123'}
quoted:
  conn_type: http
  password: '0123'
merged:
  <<: {conn_type: http}
  host: h
"""
YAML_VARIABLES = """\
text: eu
quoted: '0123'
octal: 0123
"no": 'no'
date: 2002-12-14
block: |
  a
  b
"""
ENV_CONNECTIONS = """\
# a comment
uri=http://u:p@h
spaced =http://h
json={"conn_type": "http", "password": "p"}
quoted="http://h"
hash=http://h # no comment
"""
ENV_VARIABLES = """\
text= a
equals=a=b
hash=a # no comment
export exported=a
quoted="a"
single='a'
"""


def files(**texts):
    """Give texts by the option that names their file: `connections_json` is connections.json."""
    return {key: text if isinstance(text, str) else json.dumps(text) for key, text in texts.items()}


# (case, files): the ending stands after the last `_`.
CASES = [
    (
        Case(
            said="json",
            asks=[
                *map(conn, ("uri", "object", "listed", "extra", "empty", "no type", "padded", "nowhere")),
                conn("uri", team="data"),
                conn("type", "B6"),
                conn("port", "B6"),
                *map(var, ("text", "empty", "nowhere")),
                var("text", team="data"),
                *(var(name, "B5") for name in ("number", "true", "object", "list", "null", "described")),
                *map(config, ("text", "empty", "nowhere")),
                *(config(name, "B5") for name in ("number", "list")),
            ],
        ),
        files(
            connections_json=OBJECTS,
            variables_json=VARIABLES,
            config_json={"text": "a", "empty": "", "number": 1, "list": ["a"]},
        ),
    ),
    (
        Case(
            said="yaml",
            asks=[
                *map(conn, ("uri", "object", "quoted", "merged")),
                *map(var, ("text", "quoted", "no", "block", "date.")),
                var("octal", "B5"),
                var("date", "F11"),
            ],
        ),
        files(connections_yaml=YAML_CONNECTIONS, variables_yml=YAML_VARIABLES),
    ),
    (
        Case(
            said="env",
            asks=[
                *map(conn, ("uri", "spaced ", "spaced", "hash", "nowhere")),
                conn("json", "B7"),
                conn("quoted", "B7"),
                *map(var, ("text", "equals", "hash")),
                *(var(name, "B7") for name in ("quoted", "single", "exported", "export exported")),
            ],
        ),
        files(connections_env=ENV_CONNECTIONS, variables_env=ENV_VARIABLES),
    ),
    (
        Case(
            said="env with its quotes",
            ours={"quotes": False},
            asks=[*map(var, ("text", "equals", "hash", "quoted", "single", "exported", "export exported"))],
        ),
        files(variables_env=ENV_VARIABLES),
    ),
    (
        Case(said="one bad entry", asks=[conn("good", "B8"), conn("bad", "B1"), conn("nowhere", "B8")]),
        files(connections_json={"good": "http://h", "bad": {"conn_type": "http", "colour": "red"}}),
    ),
    (
        Case(said="one bad config", asks=[config("good", "B8"), config("bad", "B8")]),
        files(config_json={"good": "a", "bad": ["a", "b"]}),
    ),
    (
        Case(said="no object", asks=[conn("a", "B1"), var("a", "B1")]),
        files(connections_json="[]", variables_yaml=""),
    ),
    (
        Case(said="lines that are no pairs", asks=[conn("a", "B1"), var("a", "B1"), var("b", "B1")]),
        files(connections_env="a=http://h\nb\n", variables_env="a=\nb=1\n"),
    ),
    (
        Case(said="names twice", asks=[conn("a", "R15"), var("a", "F12"), config("a", "B1")]),
        files(
            connections_json='{"a": "http://1", "a": "http://2"}',
            variables_yaml="a: '1'\na: '2'\n",
            config_env="a=1\na=2\n",
        ),
    ),
    (
        Case(said="a file named .env", asks=[var("a", "F1")]),
        files(variables_="a=1\n"),
    ),
    (
        Case(said="nothing in an env", asks=[conn("a"), var("a")]),
        files(connections_env="", variables_env="# nothing\n"),
    ),
    (
        Case(
            said="names",
            asks=[
                *map(var, ("a/b", "a b", "\u00e9", "A", "a", "o\u0302")),
                *(var(name, "B2") for name in ("../up", "a\\b", "", "\u00f4")),
            ],
        ),
        files(
            variables_json=dict.fromkeys(
                ("a/b", "a b", "\u00e9", "A", "../up", "a\\b", "", "o\u0302"), "there"
            )
        ),
    ),
    (
        Case(said="two names that are one in NFC", asks=[var("\u00e9", "F6"), var("a", "F6")]),
        files(variables_json={"\u00e9": "1", "e\u0301": "2", "a": "3"}),
    ),
]
NUMBERS = numbers(case for case, _ in CASES) | {"B1", "B4"}


def write(folder, texts):
    """Write the files of a case and give the options that name them."""
    options = {}
    for key, text in texts.items():
        kind, _, ending = key.partition("_")
        path = folder / (f"{kind}.{ending}" if ending else ".env")
        path.write_text(text, encoding="utf-8")
        options[OPTIONS[kind]] = str(path)
    return options


@pytest.mark.parametrize(("case", "texts"), CASES, ids=[case.said for case, _ in CASES])
def test_files_read_as_in_airflow_or_differ_by_number(airflow, tmp_path, case, texts):
    check(airflow, "file", replace(case, kwargs=write(tmp_path, texts)), tmp_path)


def test_a_missing_file_is_unavailable_where_airflow_raises(airflow, tmp_path):
    options = {"variables_file_path": str(tmp_path / "gone.json")}
    check(airflow, "file", Case(said="", kwargs=options, asks=[var("a", "B1"), conn("a")]), tmp_path)


def test_a_file_that_others_may_have_put_there_is_denied_where_airflow_reads_it(airflow, tmp_path):
    path = tmp_path / "variables.json"
    path.write_text('{"a": "1"}')
    options = {"variables_file_path": str(path)}
    check(airflow, "file", Case(said="", kwargs=options, asks=[var("a")]), tmp_path)
    path.chmod(0o666)
    check(airflow, "file", Case(said="", kwargs=options, asks=[var("a", "B4")]), tmp_path)
    path.chmod(0o600)
    (tmp_path / "link.json").symlink_to(path)
    options = {"variables_file_path": str(tmp_path / "link.json")}
    check(airflow, "file", Case(said="", kwargs=options, asks=[var("a", "B4")]), tmp_path)
    follows = {"follow_symlinks": True}
    check(airflow, "file", Case(said="", kwargs=options, ours=follows, asks=[var("a")]), tmp_path)
