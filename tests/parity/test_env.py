"""The backend `env` beside Airflow's EnvironmentVariablesBackend, over one environment."""

import pytest

from parity.compare import Case, check, config, conn, numbers, var

BIG = "x" * 1_048_577
NAMES = ("a-b", "a.b", "a/b", "a b", "stra\u00dfe", "\u0131", "\ufb01", "\u00e9", "a:b#c%*")

CASES = [
    Case(
        said="texts",
        environ={
            "AIRFLOW_CONN_URI": "postgresql://u:p%2F%40@Host.Example:5432/db?sslmode=require&n=1",
            "AIRFLOW_CONN_JSON": '{"conn_type": "my-http", "port": "80", "extra": {"a": [1, true]}}',
            "AIRFLOW_CONN_PADDED": '\n  {"conn_type": "http", "extra": "{\\"a\\": 1.50}"} ',
            "AIRFLOW_CONN_NO_PASSWORD": "postgres://u:@h",
            "AIRFLOW_CONN_EMPTY": "",
            "AIRFLOW_CONN_BLANK": "  ",
            "AIRFLOW_CONN_NO_TYPE": "db.example.com",
            "AIRFLOW_CONN_UNDERSCORE": "my_conn://h",
            "AIRFLOW_CONN_ID": '{"conn_id": "id", "conn_type": "http"}',
            "AIRFLOW_CONN_BYTES": "postgres://u:\udcff@h",
            "AIRFLOW_VAR_TEXT": " eu-west-1\n",
            "AIRFLOW_VAR_EMPTY": "",
            "AIRFLOW_VAR_JSON": '{"a": NaN}',
            "AIRFLOW_VAR_BYTES": "\udcff",
            "AIRFLOW_VAR_BIG": BIG,
            "AIRFLOW_VAR_NEARLY_BIG": BIG[1:],
        },
        asks=[
            *map(conn, ("uri", "json", "JSON", "padded", "no_password", "empty", "nowhere")),
            conn("blank", "R1"),
            conn("no_type", "R4"),
            conn("underscore", "R5"),
            conn("id", "R17"),
            conn("bytes", "R3"),
            *map(var, ("text", "Text", "empty", "json", "nearly_big", "nowhere", "uri")),
            var("bytes", "R3"),
            var("big", "R2"),
            config("core/fernet_key"),
        ],
    ),
    Case(
        said="as a task reads",
        dialect="sdk",
        environ={
            "AIRFLOW_CONN_QUERY": "http://u:@h?a=1&b=true",
            "AIRFLOW_CONN_EXTRA": '{"conn_type": "http", "extra": "[1]"}',
        },
        asks=[conn("query"), conn("extra", "R20")],
    ),
    Case(
        said="names",
        environ={
            **{
                f"AIRFLOW_VAR_{name.upper()}": name
                for name in (
                    "a-b",
                    "a.b",
                    "a/b",
                    "a b",
                    "stra\u00dfe",
                    "\u0131",
                    "\ufb01",
                    "\u00e9",
                    "a:b#c%*",
                )
            },
            "AIRFLOW_VAR_E\u0301": "decomposed",
            "AIRFLOW_VAR_../UP": "up",
            "AIRFLOW_VAR_A//B": "twice",
            "AIRFLOW_VAR_A\\B": "backslash",
            "AIRFLOW_VAR_A\u200bB": "zero width",
            "AIRFLOW_VAR_": "no name",
        },
        asks=[
            *map(
                var, ("a-b", "a.b", "a/b", "a b", "stra\u00dfe", "strasse", "\u0131", "i", "\ufb01", "\u00e9")
            ),
            *map(var, ("a:b#c%*", "A-B", "nowhere")),
            *(var(name, "B2") for name in ("../up", "a//b", "a\\b", "a\u200bb", "", "e\u0301")),
        ],
    ),
    Case(
        said="teams",
        environ={
            "AIRFLOW_CONN_DB": "http://global",
            "AIRFLOW_CONN__DATA___DB": "http://data",
            "AIRFLOW_CONN__DATA___EMPTY": "",
            "AIRFLOW_CONN_EMPTY": "http://global",
            "AIRFLOW_VAR__DATA___KEY": "data",
            "AIRFLOW_VAR__DATA___EMPTY": "",
            "AIRFLOW_VAR_EMPTY": "global",
            "AIRFLOW_VAR_A___B": "of nobody",
            "AIRFLOW_VAR__A___B___C": "of two",
            "AIRFLOW_VAR___X____B": "of an odd team",
        },
        asks=[
            conn("db"),
            conn("db", team="data"),
            conn("db", team="Data"),
            conn("db", team="other"),
            conn("empty", team="data"),
            var("key"),
            var("key", team="data"),
            var("empty", team="data"),
            var("a___b"),
            conn("_data___db", "B3"),
            var("_data___key", "B3"),
            var("b___c", team="a"),
            var("c", "B3", team="a___b"),
            var("b", "B2", team="_x_"),
        ],
    ),
    Case(
        said="teams, and Airflow keeps them",
        environ={
            "AIRFLOW__CORE__MULTI_TEAM": "True",
            "AIRFLOW_CONN_DB": "http://global",
            "AIRFLOW_CONN__DATA___DB": "http://data",
            "AIRFLOW_VAR_A___B": "of nobody",
            "AIRFLOW_VAR__A___B___C": "of two",
        },
        asks=[
            conn("db"),
            conn("db", team="data"),
            conn("_data___db"),
            var("a___b", "B3"),
            var("b___c", "B3", team="a"),
        ],
    ),
]
NUMBERS = numbers(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.said)
def test_the_environment_reads_as_in_airflow_or_differs_by_number(airflow, tmp_path, case):
    check(airflow, "env", case, tmp_path)
