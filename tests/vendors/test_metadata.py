"""Airflow's metadata database, real and remade, in SQLite, PostgreSQL and MariaDB."""

import json
import multiprocessing
import os
import shutil
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta

import psycopg
import pytest
from cryptography.fernet import Fernet

from parts.databases import DATA, KINDS, Metadata, fernet_key, postgresql, server_of, wait_for
from strongroom.bulkhead import within
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.model.connection import Connection
from strongroom.model.document import parse_connections
from strongroom.model.entry import EntryState
from strongroom.model.secret import Secret
from strongroom.vendors.metadata import PAGE, MetadataDatabase

FORK = multiprocessing.get_context("fork")
OLD, NEW, OTHER = (Fernet.generate_key().decode() for _ in range(3))


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def reader(url, *keys, seconds=5.0, **options):
    return MetadataDatabase.open(
        Secret(url),
        [Secret(key) for key in keys],
        place="metastore",
        timeout=timedelta(seconds=seconds),
        **options,
    )


def sealed(text, key=NEW):
    return Fernet(key).encrypt(text.encode()).decode()


def connection(name, **columns):
    return {
        "conn_id": name,
        "conn_type": "postgres",
        "is_encrypted": False,
        "is_extra_encrypted": False,
        **columns,
    }


def variable(name, text, *, key=None, **columns):
    value = text if key is None else sealed(text, key)
    return {"key": name, "val": value, "is_encrypted": key is not None, **columns}


def states(database, table="connection"):
    return {held.name: (held.state, held.problem) for held in database.rows(table)}


def assert_equals_the_exports(database, version):
    exported = parse_connections((DATA / f"airflow{version}" / "connections.json").read_text(), "json")
    held = {one.name: one for one in database.rows("connection")}
    assert {name: Connection.parse(one.secret.reveal()) for name, one in held.items()} == exported
    assert {name: one.metadata.conn_type for name, one in held.items()} == {
        name: connection.conn_type for name, connection in exported.items()
    }
    assert list(held) == sorted(held)
    variables = json.loads((DATA / f"airflow{version}" / "variables.json").read_text())
    found = {one.name: one for one in database.rows("variable")}
    assert {name: _as_exported(one, version) for name, one in found.items()} == variables
    assert {one.state for one in (*held.values(), *found.values())} == {EntryState.OK}
    assert (len(held), len(found)) == (60, 18)


def _as_exported(held, version):
    # `airflow variables export`: JSON where the text is JSON. Since 3 text stays text even where it is JSON,
    # and a description makes it an object.
    text = held.secret.reveal()
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if version == 2:
        return value
    value = text if isinstance(value, str) else value
    description = held.metadata.description
    return value if description is None else {"value": value, "description": description}


# --- what is there --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
def test_real_database_equals_what_airflow_exported(version, tmp_path):
    path = tmp_path / "airflow.db"
    shutil.copy(DATA / f"airflow{version}" / "airflow.db", path)
    assert_equals_the_exports(reader(f"sqlite:///{path}", fernet_key(version)), version)


@pytest.mark.parametrize("version", [2, 3])
def test_same_content_elsewhere_equals_what_airflow_exported(kind, version, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True).fill(version)
    with closing(reader(metadata.url, fernet_key(version))) as database:
        assert_equals_the_exports(database, version)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
@pytest.mark.parametrize("driver", ["", "+psycopg", "+pymysql", "+asyncpg", "+mysqlconnector"])
def test_any_driver_of_the_url_is_the_same_database(kind, driver, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    metadata.put("variable", [variable("region", "eu")])
    scheme = {"postgresql": "postgres" if not driver else "postgresql", "mariadb": "mariadb"}[kind]
    url = f"{scheme}{driver}://{metadata.url.partition('://')[2]}"
    with closing(reader(url)) as database:
        assert database.read("variable", "region").secret.reveal() == "eu"


def test_rows_of_2_7_without_teams_are_everybodys(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True, without=("connection.team_name", "variable.team_name"))
    metadata.put("connection", [connection("orders_db", host="Db.Example")])
    with closing(reader(metadata.url)) as database:
        held = database.read("connection", "orders_db")
        assert Connection.parse(held.secret.reveal()).host == "Db.Example"
        assert held.team is None
        assert database.read("connection", "orders_db", "data") is None


def test_team_is_exact(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    metadata.put("variable", [variable("region", "eu", team_name="data"), variable("zone", "1")])
    with closing(reader(metadata.url)) as database:
        assert database.read("variable", "region") is None
        assert database.read("variable", "region", "data").secret.reveal() == "eu"
        assert database.read("variable", "zone", "data") is None
        assert {held.name: held.team for held in database.rows("variable")} == {
            "region": "data",
            "zone": None,
        }


def test_name_is_exact_whatever_the_collation(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    if kind == "mariadb":
        metadata.run("ALTER TABLE variable MODIFY `key` VARCHAR(250) COLLATE utf8mb4_general_ci")
    metadata.put("variable", [variable("Region", "eu")])
    with closing(reader(metadata.url)) as database:
        assert database.read("variable", "region") is None
        assert database.read("variable", "Region ") is None
        assert database.read("variable", "Region").secret.reveal() == "eu"


def test_rows_come_by_code_point_and_by_the_page(kind, tmp_path):
    names = [f"n{number:04}" for number in range(PAGE + 20)] + ["", "Z", "a", "ä", "名", "🔑", "with space"]
    metadata = Metadata(kind, tmp_path, is_next=True)
    metadata.put("variable", [variable(name, "x") for name in names])
    with closing(reader(metadata.url)) as database:
        assert [held.name for held in database.rows("variable")] == sorted(names)
        assert [held.name for held in database.rows("variable", after="n0518")][:2] == ["n0519", "with space"]
        assert len(list(database.rows("variable", prefix="n01"))) == 100
        assert [held.name for held in database.rows("variable", prefix="n01", after="n0197")] == [
            "n0198",
            "n0199",
        ]
        assert list(database.rows("variable", prefix="n01", after="n02")) == []


def test_schema_is_where_the_tables_are(tmp_path):
    metadata = Metadata("postgresql", tmp_path, tables=False)
    metadata.run(
        'CREATE SCHEMA "odd ""%s"" one"', 'SET search_path TO "odd ""%s"" one"; ' + metadata.table("variable")
    )
    metadata.run('INSERT INTO "odd ""%s"" one".variable (key, val) VALUES (\'region\', \'eu\')')
    with closing(reader(metadata.url, schema='odd "%s" one')) as database:
        assert database.read("variable", "region").secret.reveal() == "eu"
    with closing(reader(metadata.url)) as database, pytest.raises(BackendConfigError, match="no table"):
        database.read("variable", "region")


# --- fields and keys ------------------------------------------------------------------------------


def test_each_row_has_its_own_state(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    metadata.put(
        "connection",
        [
            connection("both", password=sealed("p"), is_encrypted=True, extra='{"a": 1}'),
            connection("older", password=sealed("p", OLD), is_encrypted=True),
            connection("open", password="p"),
            connection("bare", host="h"),
            connection("foreign", password=sealed("p", OTHER), is_encrypted=True, extra="{}"),
            connection("broken", password="plain", is_encrypted=True),
            connection("odd_extra", extra="[1]"),
            connection("odd_port", port=-1),
            connection("empty", password="", extra="", is_encrypted=True, is_extra_encrypted=True),
        ],
    )
    with closing(reader(metadata.url, NEW, OLD)) as database:
        found = states(database)
    plain, bad = EntryState.PLAIN_TEXT, EntryState.UNPARSABLE
    assert found == {
        "bare": (EntryState.OK, ""),
        "both": (plain, "extra in plain text"),
        "broken": (EntryState.NOT_A_TOKEN, "password marked as encrypted, but no Fernet token"),
        "empty": (EntryState.OK, ""),
        "foreign": (
            EntryState.WRONG_KEY,
            "password sealed by another Fernet key, or changed since; extra in plain text",
        ),
        "odd_extra": (bad, "extra is not a JSON object; extra in plain text"),
        "odd_port": (bad, "the port is not a whole number from 0 to 65535"),
        "older": (EntryState.OK, ""),
        "open": (plain, "password in plain text"),
    }


def test_without_a_key_plain_text_is_read_and_the_rest_is_told(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    metadata.put("variable", [variable("open", "eu"), variable("shut", "eu", key=NEW)])
    with closing(reader(metadata.url)) as database:
        assert states(database, "variable") == {
            "open": (EntryState.PLAIN_TEXT, "the value in plain text"),
            "shut": (EntryState.WRONG_KEY, "the value encrypted, and there is no Fernet key"),
        }
        assert database.read("variable", "open").secret.reveal() == "eu"


def test_variable_without_a_value_is_absent_and_an_empty_one_is_not(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    metadata.put("variable", [variable("none", None), variable("empty", ""), variable("sealed", "", key=NEW)])
    with closing(reader(metadata.url, NEW)) as database:
        assert database.read("variable", "none") is None
        assert {held.name: held.secret.reveal() for held in database.rows("variable")} == {
            "empty": "",
            "sealed": "",
        }


def test_text_that_is_no_unicode_spoils_its_own_row(tmp_path):
    metadata = Metadata("sqlite", tmp_path)
    metadata.run(
        "INSERT INTO variable (key, val, is_encrypted)"
        " VALUES ('bad', CAST(x'ff41' AS TEXT), 0), ('ok', 'x', 0)"
    )
    found = states(reader(metadata.url), "variable")
    assert found["bad"][0] is EntryState.UNPARSABLE
    assert found["ok"][0] is EntryState.PLAIN_TEXT


def test_sealed_bytes_that_are_no_text_are_unparsable(tmp_path):
    metadata = Metadata("sqlite", tmp_path)
    token = Fernet(NEW).encrypt(b"\xff\xfe").decode()
    metadata.put("variable", [{"key": "bytes", "val": token, "is_encrypted": True}])
    assert states(reader(metadata.url, NEW), "variable")["bytes"] == (
        EntryState.UNPARSABLE,
        "the value is not UTF-8",
    )


@pytest.mark.parametrize(
    "key",
    ["", "short", "x" * 44, NEW[:-2], "ключ"],
    ids=["empty", "short", "no base64", "cut", "no ASCII"],  # NEW differs from process to process
)
def test_key_that_is_none_is_refused_by_its_number(key):
    with pytest.raises(BackendConfigError, match="Fernet key 2 of 2 is no Fernet key"):
        reader("sqlite:////nowhere.db", NEW, key)


# --- what is wrong with the database --------------------------------------------------------------


def test_database_without_tables_is_named(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True, tables=False)
    with closing(reader(metadata.url)) as database, pytest.raises(BackendConfigError) as caught:
        database.read("connection", "orders_db")
    assert str(caught.value) == "the database of metastore has no table connection"
    assert "airflow db migrate" in caught.value.hint


@pytest.mark.parametrize("column", ["is_extra_encrypted", "conn_id"])
def test_table_of_an_unknown_version_is_named_with_the_column(kind, column, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True, without=(f"connection.{column}",))
    if column != "conn_id":
        metadata.put("connection", [{"conn_id": "orders_db", "conn_type": "postgres"}])
    with closing(reader(metadata.url)) as database:
        with pytest.raises(BackendConfigError, match=f"no column {column}") as caught:
            list(database.rows("connection"))
        assert list(database.rows("variable")) == []
    assert caught.value.__cause__ is None


def lock_variables(holder, kind):
    """Keep everybody out of the table, in the middle of a change."""
    statements = {
        # Only a writer that has begun to write keeps readers out of what they may see.
        "sqlite": ["BEGIN EXCLUSIVE", "INSERT INTO variable (key) VALUES ('half')"],
        "postgresql": ["BEGIN", "LOCK TABLE variable"],
        "mariadb": ["LOCK TABLES variable WRITE"],
    }[kind]
    with closing(holder.cursor()) as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_locked_database_is_unavailable_and_soon(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    with metadata.opened() as holder, closing(reader(metadata.url, seconds=0.4)) as database:
        lock_variables(holder, kind)
        with pytest.raises(BackendUnavailableError) as caught:
            database.read("variable", "region")
    assert "locked" in f"{caught.value} {caught.value.hint}"
    assert caught.value.backend == "metastore"


def test_question_waits_no_longer_than_its_caller(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    with metadata.opened() as holder, closing(reader(metadata.url, seconds=60.0)) as database:
        lock_variables(holder, kind)
        began = time.monotonic()
        with within(0.5), pytest.raises(BackendUnavailableError):
            database.read("variable", "region")
        assert time.monotonic() - began < 10


def test_reading_is_all_that_can_be_done(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    if kind == "sqlite":
        before = metadata.path.read_bytes()
        os.utime(metadata.path, (1, 1))
        list(reader(metadata.url).rows("variable"))
        assert metadata.path.read_bytes() == before
        return
    with closing(reader(metadata.url)) as database:
        inner = database._database
        connection = inner.connect(5)
        verb = "CREATE TABLE made (id INTEGER)"
        if kind == "postgresql":
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute(f"BEGIN READ ONLY; {verb}; COMMIT")
        else:
            with pytest.raises(Exception, match="READ ONLY"):
                connection.cursor().execute("DELETE FROM variable")
        connection.close()


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_wrong_password_and_wrong_database_are_settings_to_correct(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    server = server_of(kind)
    wrong = server.url(metadata.name, "guarded", "cAnArY")
    with pytest.raises(BackendConfigError, match="refuses the user or the password") as caught:
        reader(wrong).read("variable", "region")
    assert "cAnArY" not in f"{caught.value!r}{caught.value.hint}"
    with pytest.raises(BackendConfigError, match="not on that server"):
        reader(server.url("nothing_here")).read("variable", "region")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_user_without_rights_is_denied(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    url = server_of(kind).url(metadata.name, "guarded", "p/w:@%?#")
    if kind == "mariadb":
        metadata.run(f"GRANT SELECT ON {metadata.name}.connection TO guarded@localhost")
    with closing(reader(url)) as database, pytest.raises(AccessDeniedError, match="may not read"):
        database.read("variable", "region")


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_dropped_connection_is_replaced_without_a_word(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    metadata.put("variable", [variable("region", "eu")])
    with closing(reader(metadata.url)) as database:
        assert database.read("variable", "region") is not None
        _end_sessions(metadata)
        assert database.read("variable", "region").secret.reveal() == "eu"


def _end_sessions(metadata):
    with metadata.opened() as admin, closing(admin.cursor()) as cursor:
        if metadata.kind == "postgresql":
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return
        find = "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"
        cursor.execute(find)
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")
        wait_for(lambda: not cursor.execute(find))


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_server_that_is_down_is_unavailable(kind, tmp_path):
    url = server_of(kind).url("airflow").replace(server_of(kind).socket, str(tmp_path / "nobody"))
    with pytest.raises(BackendUnavailableError, match="gives no answer"):
        reader(url, seconds=2.0).read("variable", "region")


def test_column_may_come_while_a_connection_is_kept(tmp_path):
    bare = ("connection.team_name", "variable.team_name")
    metadata = Metadata("postgresql", tmp_path, without=bare)
    metadata.put("variable", [variable("region", "eu")])
    with closing(reader(metadata.url)) as database:
        assert database.read("variable", "region") is not None
        metadata.run(
            "ALTER TABLE variable ADD COLUMN team_name VARCHAR(50)", "UPDATE variable SET team_name = 'data'"
        )
        assert database.read("variable", "region") is None


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        ("postgresql", "LATIN1"),
        ("mariadb", "latin1"),
        ("mariadb", "utf8mb3"),
    ],  # Airflow's own for ids on MySQL
)
def test_name_that_the_database_cannot_spell_is_absent(kind, encoding, tmp_path):
    if kind == "postgresql":
        url = encoded_database(encoding, tmp_path)
    else:
        metadata = Metadata(kind, tmp_path, is_next=True)
        metadata.run(f"ALTER TABLE variable MODIFY `key` VARCHAR(250) CHARACTER SET {encoding}")
        metadata.put("variable", [variable("\u00fc", "eu")])
        url = metadata.url
    with closing(reader(url)) as database:
        assert database.read("variable", "\U0001f511") is None
        assert database.read("variable", "\u00fc").secret.reveal() == "eu"


def test_bytes_in_a_database_without_an_encoding_spoil_their_own_row(tmp_path):
    spoilt = "INSERT INTO variable (key, val) VALUES ('bad', E'\\xff\\xfe')"
    with closing(reader(encoded_database("SQL_ASCII", tmp_path, spoilt))) as database:
        assert {name: state for name, (state, _) in states(database, "variable").items()} == {
            "bad": EntryState.UNPARSABLE,
            "\u00fc": EntryState.PLAIN_TEXT,
        }
        assert database.read("variable", "\u00fc").secret.reveal() == "eu"


def encoded_database(encoding, folder, *statements):
    """Give the URL of a database whose server keeps text in *encoding*."""
    server, name = postgresql(), f"encoded_{os.getpid()}_{encoding.lower()}"
    locale = "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    server.run(f"CREATE DATABASE {name} ENCODING '{encoding}' {locale}")
    table = Metadata("sqlite", folder, tables=False)
    table.kind = "postgresql"
    made = (table.table("variable"), "INSERT INTO variable (key, val) VALUES ('\u00fc', 'eu')", *statements)
    before = "SET client_encoding TO 'UTF8'"  # which a server without an encoding takes as it comes
    server.run(*([] if encoding == "SQL_ASCII" else [before]), *(one.encode() for one in made), database=name)
    return server.url(name)


def test_name_that_stands_twice_is_one_entry_on_every_page(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True, without=("variable.key",))
    column = f"{metadata.quoted('key')} VARCHAR(250)"
    metadata.run(f"ALTER TABLE variable ADD COLUMN {column}")
    metadata.put("variable", [variable(name, name) for name in ["a", *["twice"] * (PAGE + 1), "z"]])
    with closing(reader(metadata.url)) as database:
        assert [held.name for held in database.rows("variable")] == ["a", "twice", "z"]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_server_without_a_connection_left_says_so(kind, tmp_path):
    metadata = Metadata(kind, tmp_path, is_next=True)
    url = server_of(kind).url(metadata.name, "guarded", "p/w:@%?#")
    server_of(kind).run(
        *{
            "postgresql": ["ALTER USER guarded CONNECTION LIMIT 0"],
            "mariadb": [f"GRANT ALL ON {metadata.name}.* TO guarded@localhost WITH MAX_USER_CONNECTIONS 1"],
        }[kind]
    )
    try:
        with closing(reader(url)) as one, closing(reader(url)) as two:
            with suppress(BackendUnavailableError):
                one.read("variable", "region")
            with pytest.raises(BackendUnavailableError, match="no connection left"):
                two.read("variable", "region")
    finally:
        server_of(kind).run(
            {
                "postgresql": "ALTER USER guarded CONNECTION LIMIT -1",
                "mariadb": "GRANT USAGE ON *.* TO guarded@localhost WITH MAX_USER_CONNECTIONS 0",
            }[kind]
        )


@pytest.mark.parametrize(
    "argument", ["sslmode=cAnArY", "service=cAnArY", "port=cAnArY", "require_auth=cAnArY"]
)
def test_argument_that_cannot_be_is_a_setting_to_correct(argument):
    with pytest.raises(BackendConfigError, match="an argument in its URL") as caught:
        reader(f"postgresql://127.0.0.1/airflow?{argument}").read("variable", "region")
    assert "cAnArY" not in f"{caught.value!r}{caught.value.hint}"


def test_way_to_trust_that_is_none_is_refused_before_anybody_is_spoken_to():
    url = "mysql://u:p@127.0.0.1:1/airflow?ssl_mode=VERIFY-CA"
    with pytest.raises(BackendConfigError, match="ssl_mode that is none"):
        reader(url).read("variable", "region")


def test_password_is_given_to_nobody_in_clear():
    heard = []
    listener = socket.create_server(("127.0.0.1", 0))

    def play():
        # A server's greeting, then the wish to be told the password in clear (MySQL's protocol 10).
        peer, _ = listener.accept()
        with peer:
            greeting = b"\x0a5.5.5-10.11.0-MariaDB\0" + b"\1\0\0\0" + b"x" * 8 + b"\0"
            greeting += b"\xff\xf7\x21\x02\0\xff\x81\x15" + b"\0" * 10 + b"y" * 12 + b"\0"
            greeting += b"mysql_native_password\0"
            peer.sendall(len(greeting).to_bytes(3, "little") + b"\0" + greeting)
            heard.append(peer.recv(4096))
            wish = b"\xfemysql_clear_password\0"
            peer.sendall(len(wish).to_bytes(3, "little") + b"\2" + wish)
            heard.append(peer.recv(4096))

    server = threading.Thread(target=play)
    server.start()
    url = f"mysql://u:cAnArY@127.0.0.1:{listener.getsockname()[1]}/airflow"
    with pytest.raises(BackendConfigError, match="password in clear, without TLS"):
        reader(url).read("variable", "region")
    server.join(20)
    listener.close()
    assert len(heard) == 2
    assert b"cAnArY" not in b"".join(heard)


def test_table_that_is_not_airflows_is_named(tmp_path):
    metadata = Metadata("postgresql", tmp_path, tables=False)
    metadata.run("CREATE TABLE variable (key INTEGER, val TEXT)")
    with closing(reader(metadata.url)) as database, pytest.raises(BackendConfigError, match="not Airflow's"):
        list(database.rows("variable"))


# --- threads and processes ------------------------------------------------------------------------


def test_threads_share_eight_connections(kind, tmp_path):
    metadata = Metadata(kind, tmp_path)
    metadata.put("variable", [variable("region", "eu")])
    with closing(reader(metadata.url, seconds=20.0)) as database, ThreadPoolExecutor(16) as pool:
        found = pool.map(lambda _: database.read("variable", "region").secret.reveal(), range(80))
        assert Counter(found) == {"eu": 80}
        if kind == "postgresql":
            with metadata.opened() as admin:
                count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strongroom'"
                assert admin.execute(f"{count} AND datname = current_database()").fetchone()[0] <= 8


def test_forked_child_reads_and_the_parent_goes_on(kind, tmp_path):
    metadata = Metadata(kind, tmp_path)
    metadata.put("variable", [variable("region", "eu")])
    with closing(reader(metadata.url)) as database:
        assert database.read("variable", "region") is not None
        child = FORK.Process(target=_read_in_child, args=(database,))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert database.read("variable", "region").secret.reveal() == "eu"


def _read_in_child(database):
    ok = database.read("variable", "region").secret.reveal() == "eu"
    database.close()
    os._exit(0 if ok else 1)


# --- SQLite files ---------------------------------------------------------------------------------


def test_file_at_rest_in_wal_mode_gets_no_files_beside_it(tmp_path):
    metadata = Metadata("sqlite", tmp_path, wal=True)
    metadata.put("variable", [variable("region", "eu")])
    os.utime(metadata.path, (1, 1))
    assert [path.name for path in tmp_path.iterdir()] == [metadata.path.name]
    assert reader(metadata.url).read("variable", "region").secret.reveal() == "eu"
    assert [path.name for path in tmp_path.iterdir()] == [metadata.path.name]


def test_live_write_ahead_log_is_read(tmp_path):
    metadata = Metadata("sqlite", tmp_path, wal=True)
    os.utime(metadata.path, (1, 1))
    with metadata.opened() as writer:
        writer.execute("INSERT INTO variable (key, val, is_encrypted) VALUES ('region', 'eu', 0)")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE variable SET val = 'us'")
        assert reader(metadata.url).read("variable", "region").secret.reveal() == "eu"
        writer.execute("COMMIT")
        assert reader(metadata.url).read("variable", "region").secret.reveal() == "us"


def test_replaced_file_is_seen(tmp_path):
    one, two = Metadata("sqlite", tmp_path), Metadata("sqlite", tmp_path)
    one.put("variable", [variable("region", "eu")])
    two.put("variable", [variable("region", "us")])
    database = reader(one.url)
    assert database.read("variable", "region").secret.reveal() == "eu"
    two.path.replace(one.path)
    assert database.read("variable", "region").secret.reveal() == "us"


def test_missing_file_and_one_that_is_no_database_are_told_apart(tmp_path):
    with pytest.raises(BackendConfigError, match="is not there"):
        reader(f"sqlite:///{tmp_path}/no.db").read("variable", "region")
    (tmp_path / "text.db").write_text("not a database" * 20)
    with pytest.raises(BackendConfigError, match="no SQLite file"):
        reader(f"sqlite:///{tmp_path}/text.db").read("variable", "region")
    (tmp_path / "empty.db").touch()
    with pytest.raises(BackendConfigError, match="no table variable"):
        reader(f"sqlite:///{tmp_path}/empty.db").read("variable", "region")
    with pytest.raises(BackendConfigError, match="is no file"):
        reader(f"sqlite:///{tmp_path}").read("variable", "region")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true"])
def test_sqlite_that_is_no_file_is_refused(url):
    with pytest.raises(BackendConfigError):
        reader(url)


def test_question_that_takes_too_long_is_ended(tmp_path):
    metadata = Metadata("postgresql", tmp_path, tables=False)
    # A view that needs a second for its row stands in for a server under load.
    metadata.run("CREATE VIEW variable AS SELECT 'region' AS key, pg_sleep(30)::text AS val")
    with (
        closing(reader(metadata.url, seconds=0.5)) as database,
        pytest.raises(BackendUnavailableError, match=r"no answer within 0\.\d+ s"),
    ):
        database.read("variable", "region")
    assert postgresql().kind == "postgresql"
