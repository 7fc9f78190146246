"""What is special about a store in a MariaDB: its address, its errors, its sessions."""

import sys
import threading

import pymysql._auth
import pytest

from parts import databases
from parts.homes import address, by_hand, home
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    ReadOnlyError,
    StrongroomError,
    TamperedError,
)
from strongroom.model.secret import Secret
from strongroom.store.engine import engine_of
from strongroom.store.rows import ChangeRow
from strongroom.store.store import Store

CANARY = "c4n4ry-p4ssw0rd"
PASSWORD = "p/w:@%?#"  # of the user that parts.databases makes


@pytest.fixture
def place(tmp_path):
    place = home("mariadb", tmp_path)
    Store.open(place, create=True).close()
    return place


def database_of(place):
    return place.split("@/")[1].partition("?")[0]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (f"mariadb://user:{CANARY}@localhost/db", "holds a password"),
        ("mariadb://user@localhost", "name one database"),
        ("mariadb://user@localhost/one/two", "name one database"),
        ("mariadb://user@/db", "name a host"),
        ("mariadb://user@localhost/db?unix_socket=/s", "name a host"),
        ("mariadb://user@db.example.com/db", "without TLS"),
        ("mariadb://user@192.0.2.1/db", "without TLS"),
        ("mariadb://user@localhost/db?ssl_cert=/c", "must say ssl_ca"),
        (f"mariadb://user@localhost/db?passwd={CANARY}", "and nothing else"),
        ("mariadb://user@localhost/db?local_infile=1", "and nothing else"),
        ("mariadb://user@localhost:99999/db", "is none"),
        ("mariadb://user@[::1/db", "is none"),
    ],
)
def test_address_that_cannot_be_is_refused_without_its_password(place, said):
    with pytest.raises(BackendConfigError, match=said) as met:
        engine_of(place)
    assert CANARY not in f"{met.value} {met.value.hint}"


def test_address_is_shown_without_a_user():
    assert engine_of("mariadb://somebody@localhost/db").address == "mariadb://localhost:3306/db"
    assert engine_of("mysql://somebody@[::1]:1/db").address == "mariadb://[::1]:1/db"
    assert engine_of("mariadb://somebody@/db?unix_socket=/s").address == "mariadb:///db?unix_socket=/s"


def test_password_is_asked_for_with_each_session_and_is_in_no_error(place, tmp_path):
    server, database = databases.mariadb(), database_of(place)
    server.run(f"GRANT ALL ON {database}.* TO guarded@localhost")
    guarded = address("mariadb", database, "guarded")
    given = []

    def password():
        given.append(Secret(PASSWORD))
        return given[-1]

    store = Store.open(guarded, password=password)
    assert store.last_sequence() == 0
    assert given
    store.close()
    with pytest.raises(BackendConfigError, match="refuses the user or the password") as met:
        Store.open(guarded, password=lambda: Secret(CANARY))
    assert CANARY not in f"{met.value} {met.value.hint} {met.value!r}"
    assert met.value.__cause__ is None
    assert met.value.__suppress_context__


@pytest.mark.parametrize(
    ("place", "error", "said"),
    [
        ("mariadb://root@/nowhere_at_all?unix_socket={socket}", BackendConfigError, "is not there"),
        ("mariadb://nobody@/store?unix_socket={socket}", BackendConfigError, "refuses the user"),
        ("mariadb://root@/store?unix_socket=/nowhere/s", BackendUnavailableError, "gives no answer"),
        ("mariadb://root@localhost:1/store", BackendUnavailableError, "gives no answer"),
        ("mariadb://root@localhost/store?ssl_ca=/nowhere", BackendConfigError, "a file of TLS"),
    ],
)
def test_database_that_cannot_be_had_is_told_as_what_it_is(place, error, said):
    with pytest.raises(error, match=said) as met:
        Store.open(place.format(socket=databases.mariadb().socket))
    assert met.value.__suppress_context__


@pytest.mark.parametrize(
    ("identified", "said"),
    [
        ("VIA ed25519 USING PASSWORD('p')", "asks for a way to log in that is not known here"),
        ("BY 'p' PASSWORD EXPIRE", "wants another password"),
        ("BY 'p' ACCOUNT LOCK", "refuses the user"),
    ],
)
def test_user_who_cannot_log_in_as_he_is_is_a_matter_of_settings(identified, said, place, monkeypatch):
    server = databases.mariadb()
    if "ed25519" in identified:
        # PyMySQL knows that way only where PyNaCl is installed, which the store does not bring.
        monkeypatch.setitem(sys.modules, "nacl", None)
        monkeypatch.setattr(pymysql._auth, "_nacl_bindings", False)
        server.run("INSTALL SONAME 'auth_ed25519'")
    server.run(f"CREATE USER odd@localhost IDENTIFIED {identified}", "GRANT ALL ON *.* TO odd@localhost")
    try:
        with pytest.raises(BackendConfigError, match=said):
            Store.open(address("mariadb", database_of(place), "odd"), password=lambda: Secret("p"))
    finally:
        server.run("DROP USER odd@localhost")
        if "ed25519" in identified:
            server.run("UNINSTALL SONAME 'auth_ed25519'")


def test_server_that_takes_no_value_of_full_size_is_a_matter_of_settings(place):
    server = databases.mariadb()
    server.run("SET GLOBAL max_allowed_packet = 1048576")
    try:
        with pytest.raises(BackendConfigError, match="no statement as large as a value") as met:
            Store.open(place)
        assert "max_allowed_packet" in met.value.hint
    finally:
        server.run("SET GLOBAL max_allowed_packet = 16777216")
    Store.open(place).close()


def test_database_of_somebody_else_is_left_as_it_is(tmp_path):
    place = home("mariadb", tmp_path)
    databases.mariadb().run("CREATE TABLE theirs (id INTEGER)", database=database_of(place))
    with pytest.raises(BackendConfigError, match="tables that are not of Strongroom"):
        Store.open(place, create=True)


def test_user_without_rights_is_told_so(place):
    server, database = databases.mariadb(), database_of(place)
    server.run("CREATE OR REPLACE USER looker@localhost", f"GRANT SELECT ON {database}.* TO looker@localhost")
    store = Store.open(address("mariadb", database, "looker"))
    with pytest.raises(BackendConfigError, match="does not let its user"):
        change(store)
    store.close()


def test_server_that_only_reads_is_told_so(place):
    store = Store.open(place)
    server = databases.mariadb()
    server.run(
        "CREATE OR REPLACE USER writer@localhost", f"GRANT ALL ON {database_of(place)}.* TO writer@localhost"
    )
    written = Store.open(address("mariadb", database_of(place), "writer"))
    server.run("SET GLOBAL read_only = 1")
    try:
        with pytest.raises(ReadOnlyError, match="cannot be written"):
            change(written)
    finally:
        server.run("SET GLOBAL read_only = 0")
    change(written)
    store.close()
    written.close()


def test_rows_at_odds_are_told_as_tampering(place):
    store = Store.open(place)
    with pytest.raises(TamperedError, match="contradict each other"):
        change(store, "INSERT INTO settings (\"key\", value) VALUES ('store_id', 'x')")
    change(store)
    store.close()


def test_other_store_in_its_place_is_refused_by_new_sessions(place):
    store = Store.open(place)
    databases.mariadb().run(
        f"UPDATE settings SET value = '{'0' * 32}' WHERE `key` = 'store_id'", database=database_of(place)
    )
    store.engine._pool.forget()
    with pytest.raises(BackendConfigError, match="replaced by another store"):
        store.last_sequence()
    store.close()


def test_read_leaves_no_transaction_open(place):
    store = Store.open(place)
    store.current("prod", "", "variable", "a")
    sql = (
        "SELECT count(*), count(trx_id) FROM information_schema.processlist"
        " LEFT JOIN information_schema.innodb_trx ON trx_mysql_thread_id = id"
        " WHERE db = DATABASE() AND id <> CONNECTION_ID()"
    )
    with by_hand(place) as hand:
        assert hand.execute(sql).fetchone() == (1, 0)
    store.close()


def test_session_that_the_server_ended_is_replaced_for_readers_and_writers(place):
    store = Store.open(place)
    for act in (store.last_sequence, store.data_version, lambda: change(store)):
        act()
        end_sessions(place)
        act()
    store.close()


def end_sessions(place):
    with databases.mariadb().admin() as admin, admin.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", (database_of(place),))
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")


def test_writer_that_waits_too_long_is_told_that_it_is_busy(place):
    one, two = Store.open(place), Store.open(place)
    with one.write(), pytest.raises(BackendUnavailableError, match="busy with other writes") as met:
        change(two)
    assert met.value.retry_after
    change(two)
    one.close()
    two.close()


def test_many_threads_share_a_bounded_number_of_sessions(place):
    store = Store.open(place)
    met = []

    def read():
        try:
            for _ in range(5):
                store.last_sequence()
        except StrongroomError as error:
            met.append(error)

    threads = [threading.Thread(target=read) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert met == []
    with databases.mariadb().admin() as admin, admin.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.processlist WHERE db = %s", (database_of(place),)
        )
        assert cursor.fetchone()[0] <= 32
    store.close()


def change(store, statement=None):
    with store.write() as transaction:
        transaction.add_changes("prod", [ChangeRow(0, "", "variable", "a", 1)])
        if statement is not None:
            transaction.connection.execute(statement)
