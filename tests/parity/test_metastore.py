"""The backend `airflow_metastore` beside Airflow's MetastoreBackend, over one database of 3.3."""

import json
import shutil
import sqlite3
from base64 import urlsafe_b64encode
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.compare import Case, check, config, conn, numbers, var
from parity.generate import FIELDS, NAME, WORD
from parity.test_generated import ITEMS, SOME, check_all, questions

DATA = Path(__file__).parent.parent / "data"
OLD, NEW, OTHER = (urlsafe_b64encode(letter * 32).decode() for letter in (b"o", b"n", b"x"))

READABLE_VARIABLES = ("text", "a/b", "a b", "\u00e9", "Case", "a%b", " pad ")
KEPT = [
    {"conn_id": "uri", "uri": "postgresql://u:p%2F%40@Host.Example:5432/db?sslmode=require&n=1"},
    {
        "conn_id": "fields",
        "conn_type": "http",
        "host": "Host",
        "password": "p",
        "port": 80,
        "extra": '{"a": 1.50}',
    },
    {"conn_id": "bare", "conn_type": "http"},
    {"conn_id": "described", "conn_type": "http", "description": "of \u00fc"},
    {
        "conn_id": "empty",
        "conn_type": "http",
        "host": "",
        "login": "",
        "password": "",
        "schema": "",
        "extra": "",
    },
    {"conn_id": "plain_only", "conn_type": "http", "password": "p"},
    {"conn_id": "type", "conn_type": "my-custom-type"},
    {"conn_id": "a/b:c#d(e)!", "conn_type": "http", "password": "p"},
    {"conn_id": "Case", "conn_type": "http"},
    {"conn_id": "port_0", "conn_type": "http", "port": 0},
    *(
        {"conn_id": name, "conn_type": "http", "password": "p", "extra": '{"a": "b"}'}
        for name in (
            "plain",
            "plain_extra",
            "no_token",
            "odd_extra",
            "list_extra",
            "port",
            "data_db",
            "no_flag",
        )
    ),
]
VARIABLES = [
    *(
        {"key": name, "val": f"value of {name}"}
        for name in ("text", "a/b", "a b", "\u00e9", "Case", "a%b", " pad ")
    ),
    {"key": "empty", "val": ""},
    {"key": "json", "val": '{"a": NaN}'},
    {"key": "described", "val": "v", "description": "d"},
    *({"key": name, "val": "v"} for name in ("plain", "no_token", "data_key", "../up", "e\u0301")),
]
# What no command of Airflow's writes, and databases hold.
BENT = [
    "UPDATE connection SET password = 'clear', is_encrypted = 0 WHERE conn_id IN ('plain', 'plain_only')",
    "UPDATE connection SET extra = '{\"a\": 1}', is_extra_encrypted = 0 WHERE conn_id = 'plain_extra'",
    "UPDATE connection SET password = 'in clear' WHERE conn_id = 'no_token'",
    "UPDATE connection SET extra = 'none', is_extra_encrypted = 0 WHERE conn_id = 'odd_extra'",
    "UPDATE connection SET extra = '[1]', is_extra_encrypted = 0 WHERE conn_id = 'list_extra'",
    "UPDATE connection SET port = 99999 WHERE conn_id = 'port'",
    "UPDATE variable SET val = 'in clear', is_encrypted = 0 WHERE key = 'plain'",
    "UPDATE variable SET val = 'in clear' WHERE key = 'no_token'",
    "INSERT INTO team (name) VALUES ('data')",
    "UPDATE connection SET team_name = 'data' WHERE conn_id = 'data_db'",
    "UPDATE variable SET team_name = 'data' WHERE key = 'data_key'",
]
READABLE = (
    *map(
        conn, ("uri", "fields", "bare", "described", "empty", "a/b:c#d(e)!", "Case", "case", "port_0", "no")
    ),
    *map(
        var,
        ("text", "a/b", "a b", "\u00e9", "Case", "case", "a%b", " pad ", "empty", "json", "described", "no"),
    ),
    config("core/fernet_key"),
)
BENT_READ = (
    conn("type", "B6"),
    *map(conn, ("plain", "plain_extra")),
    conn("no_token", "B1"),
    conn("odd_extra", "R13"),
    conn("list_extra", "R20"),
    conn("port", "R8"),
    var("plain"),
    var("no_token", "B14"),
    var("../up", "B2"),
    var("e\u0301", "B2"),
    conn("data_db"),
    conn("data_db", team="data"),
    conn("data_db", team="other"),
    conn("uri", team="data"),
    var("data_key"),
    var("data_key", team="data"),
    var("text", team="data"),
)

# (said, key of Airflow and ours, asks); the database was written under OLD.
KEYS = [
    ("the key it was written with", OLD, (*READABLE, *BENT_READ)),
    ("a newer key before it", f"{NEW},{OLD}", (*READABLE, *BENT_READ)),
    (
        "another key",
        OTHER,
        [
            *map(conn, ("bare", "plain_only")),
            *(conn(name, "B1") for name in ("plain", "uri")),
            *map(var, ("plain", "no")),
            var("text", "B14"),
        ],
    ),
    (
        "no key",
        "",
        [*map(conn, ("bare", "plain_only")), var("plain"), conn("uri", "B1"), var("text", "B15")],
    ),
]
NUMBERS = numbers(Case(said=said, asks=asks) for said, _, asks in KEYS)


def run_sql(path, *statements):
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(statement)


def case_of(path, key, asks=(), said=""):
    """Give a case about the database at *path*: its key comes to us by the environment."""
    ours = {"path": str(path)}
    ours |= {"fernet_key": {"env": "FERNET"}} if key else {"airflow_home": str(path.parent)}
    return Case(said=said, asks=asks, ours=ours, environ={"FERNET": key})


@pytest.fixture(scope="session")
def written(airflow, tmp_path_factory):
    """A database that Airflow wrote under OLD, with what nobody but a hand writes."""
    path = tmp_path_factory.mktemp("metastore") / "airflow.db"
    shutil.copy(DATA / "airflow3" / "airflow.db", path)
    path.chmod(0o600)
    run_sql(path, "DELETE FROM connection", "DELETE FROM variable")
    airflow.open(path, OLD)
    airflow.keep(KEPT, VARIABLES)
    run_sql(path, *BENT)
    return path


@pytest.mark.parametrize(("said", "key", "asks"), KEYS, ids=[said for said, *_ in KEYS])
def test_the_database_reads_as_in_airflow_or_differs_by_number(airflow, written, tmp_path, said, key, asks):
    airflow.open(written, key)
    check(airflow, "airflow_metastore", case_of(written, key, asks, said), tmp_path)


@pytest.mark.parametrize("major", ["airflow3", "airflow2"])
def test_the_real_databases_read_as_in_airflow(airflow, tmp_path, major):
    path = tmp_path / "airflow.db"
    shutil.copy(DATA / major / "airflow.db", path)
    path.chmod(0o600)
    key = (DATA / major / "fernet.env").read_text().partition("=")[2].strip()
    airflow.open(path if major == "airflow3" else migrated(path), key)
    connections = json.loads((DATA / major / "connections.json").read_text())
    variables = json.loads((DATA / major / "variables.json").read_text())
    asks = [conn(name, "B6" if "-" in fields["conn_type"] else "") for name, fields in connections.items()]
    check(airflow, "airflow_metastore", case_of(path, key, [*asks, *map(var, variables)]), tmp_path)
    assert (len(connections), len(variables)) == (60, 18)


def migrated(path):
    """Give the rows of a database of 2.11 in tables of 3.3, as its own migration leaves them: as they are."""
    new = path.with_name("migrated.db")
    shutil.copy(DATA / "airflow3" / "airflow.db", new)
    new.chmod(0o600)
    with closing(sqlite3.connect(new)) as database:
        database.execute("ATTACH ? AS old", (str(path),))
        for table in ("connection", "variable"):
            columns = ", ".join(row[1] for row in database.execute(f"PRAGMA old.table_info({table})"))
            database.execute(f"DELETE FROM main.{table}")
            database.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM old.{table}")
        database.commit()
    return new


@SOME
@given(connections=st.dictionaries(NAME, FIELDS, **ITEMS), variables=st.dictionaries(NAME, WORD, max_size=10))
def test_invented_rows_read_as_in_airflow(airflow, written, tmp_path, connections, variables):
    path = tmp_path / "airflow.db"
    shutil.copy(written, path)
    run_sql(path, "DELETE FROM connection", "DELETE FROM variable")
    airflow.open(path, NEW)
    rows = [{**fields, "conn_id": f"c{number}"} for number, fields in enumerate(connections.values())]
    airflow.keep(
        [{**row, "extra": json.dumps(row["extra"])} if "extra" in row else row for row in rows],
        [{"key": key, "val": text} for key, text in variables.items()],
    )
    # Airflow takes few names for connections; the table takes any, and so did older versions.
    with closing(sqlite3.connect(path)) as database, database:
        names = [(name, f"c{number}") for number, name in enumerate(connections)]
        database.executemany("UPDATE connection SET conn_id = ? WHERE conn_id = ?", names)
    check_all(airflow, "airflow_metastore", questions(connections, variables), tmp_path, case_of(path, NEW))
