"""A PostgreSQL's address, password, TLS and sessions, and what its states mean."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from parts import databases
from parts.certificates import Authority
from parts.homes import address, by_hand, home, lent
from parts.postgres_tls import PASSWORD, tls_server
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    ReadOnlyError,
    TamperedError,
)
from strongroom.model.secret import Secret
from strongroom.store import rows, whole
from strongroom.store.engine import engine_of
from strongroom.store.postgres_address import Address
from strongroom.store.postgres_session import PostgresError, _name, _spelled
from strongroom.store.rows import ChangeRow
from strongroom.store.store import Store

SECRET = "hunter2-cAnArY"


# --- the address -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me@db.example/x", "postgresql://db.example/x"),
        ("postgres://me@db.example:5433/x?sslmode=require", "postgresql://db.example:5433/x"),
        ("postgresql://me@[::1]:1/x", "postgresql://[::1]:1/x"),
        ("postgresql://me@a,b:2/x", "postgresql://a:,b:2/x"),
        ("postgresql://me@/x?host=/run/pg&port=7", "postgresql:///x?host=/run/pg"),
        ("postgresql://m%40e@db/x%20y", "postgresql://db/x y"),
    ],
)
def test_address_is_told_without_user_and_arguments(url, shown):
    assert str(Address.parse(url)) == shown


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (f"postgresql://me:{SECRET}@db/x", "holds a password"),
        ("postgresql://me:@db/x", "holds a password"),
        (f"postgresql://me@db/x?password={SECRET}", "holds a password"),
        ("postgresql://db/x", "no user or no database"),
        ("postgresql://me@db", "no user or no database"),
        ("postgresql://me@/x", "host"),
        ("postgresql://me@db/x?host=other", "host"),
        ("postgresql://me@db/x?sslmode=prefer", "sslmode"),
        ("postgresql://me@db/x?sslmode=allow", "sslmode"),
        ("postgresql://me@db/x?sslmode=verify-ca", "authority"),
        ("postgresql://me@db/x?service=other", "service"),
        ("postgresql://me@db/x?passfile=/tmp/x", "passfile"),
        ("postgresql://me@db/x?sslmode=require&sslmode=disable", "twice"),
        (f"postgresql://me@db/x?a{SECRET}=1", "…"),
        ("postgresql://me@db/x?pool_size=0", "pool_size"),
        ("postgresql://me@db/x?pool_size=x", "pool_size"),
        ("postgresql://me@db/x?sslmode", "is none"),
        ("postgresql://me@db/x%00", "NUL"),
        ("postgresql://me@db:99999999/x", "is none"),
        ("postgresql://me@db/x/y", "no database"),
    ],
)
def test_address_that_is_none_is_refused_and_shows_nothing_of_it(url, why):
    with pytest.raises(BackendConfigError, match=why) as caught:
        Address.parse(url)
    assert SECRET not in f"{caught.value} {caught.value.hint}"
    assert caught.value.__cause__ is None


def test_argument_that_is_nearly_one_is_told_with_the_right_one():
    with pytest.raises(BackendConfigError, match="the argument slmode, which is not known") as caught:
        Address.parse("postgresql://me@db/x?slmode=require")
    assert caught.value.hint == "did you mean sslmode?"


def told(url, password=None):
    return Address.parse(url).conninfo(password).decode()


def test_server_beyond_this_machine_proves_who_it_is_unless_less_is_said():
    assert "sslmode='verify-full'" in told("postgresql://me@db.example/x")
    assert "sslrootcert='system'" in told("postgresql://me@db.example/x")
    assert "sslmode='verify-full'" in told("postgresql://me@127.0.0.1,db.example/x")
    assert "sslmode='verify-full'" in told("postgresql://me@localhost/x?sslrootcert=/ca")
    assert "sslmode='require'" in told("postgresql://me@db.example/x?sslmode=require")
    assert "sslrootcert" not in told("postgresql://me@db.example/x?sslmode=require")
    for here in ("postgresql://me@/x?host=/run/pg", "postgresql://me@localhost/x", "postgresql://me@[::1]/x"):
        assert "sslmode='disable'" in told(here)


def test_what_libpq_is_told_is_quoted():
    found = told("postgresql://me@db/x%27%20y", lambda: Secret("a'b\\c"))
    assert r"dbname='x\' y'" in found
    assert r"password='a\'b\\c'" in found


def test_what_stands_in_the_environment_of_libpq_decides_nothing(tmp_path, monkeypatch):
    place = home("postgresql", tmp_path)
    for name, value in {
        "PGHOST": "nowhere.invalid",
        "PGUSER": "eve",
        "PGDATABASE": "no",
        "PGPORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    Store.open(place, create=True).close()


# --- TLS and passwords -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with tls_server(Authority(tmp_path_factory.mktemp("tls"))) as running:
        yield running


def test_store_stands_behind_tls_and_a_password(server):
    store = Store.open(server.place(), create=True, password=lambda: Secret(PASSWORD))
    with store.engine.lent() as session:
        sql = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert session.execute(sql).fetchone() == ("true",)
    store.close()


def test_password_that_changes_is_asked_for_with_the_next_session(server):
    Store.open(server.place(), create=True, password=lambda: Secret(PASSWORD)).close()
    asked = []

    def password():
        asked.append(1)
        return Secret(PASSWORD if len(asked) == 1 else "new one")

    store = Store.open(server.place(pool_size=2), password=password)
    server.change_password("new one")
    try:
        server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'keeper'")
        assert store.last_sequence() == 0
        assert len(asked) == 2
    finally:
        server.change_password(PASSWORD)
        store.close()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"sslrootcert": "/etc/hostname"}, "TLS"),
        ({"sslrootcert": "system"}, "TLS"),
        ({"host": "localhost", "sslmode": "verify-full"}, "TLS"),  # its certificate is for 127.0.0.1
        ({"sslmode": "disable"}, "user or the password"),  # pg_hba.conf refuses it
        ({"sslmode": "verify-ca", "sslrootcert": "/no/such/file"}, "TLS"),
    ],
)
def test_server_that_does_not_prove_itself_is_not_spoken_to(server, arguments, why):
    given = {"sslmode": "verify-full", **arguments}
    with pytest.raises(BackendConfigError, match=why) as caught:
        Store.open(server.place(**given), password=lambda: Secret(PASSWORD))
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("password", [None, lambda: Secret(SECRET)])
def test_wrong_password_is_a_matter_of_settings_and_shown_nowhere(server, password):
    with pytest.raises(BackendConfigError, match="refuses the user or the password") as caught:
        Store.open(server.place(), password=password)
    shown = f"{caught.value!r} {caught.value.hint} {caught.value.__context__!r}"
    assert SECRET not in shown
    assert "keeper" not in shown


def test_password_that_cannot_be_told_whole_is_a_matter_of_settings(server):
    with pytest.raises(BackendConfigError, match="holds a NUL") as caught:
        Store.open(server.place(), password=lambda: Secret(f"{SECRET}\0more"))
    assert SECRET not in f"{caught.value!r} {caught.value.hint}"


# --- what is not there --------------------------------------------------------------------------------------


def test_database_that_is_not_there_is_a_matter_of_settings():
    with pytest.raises(BackendConfigError, match="is not there"):
        Store.open(address("postgresql", "no_such_database"))


def test_server_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(BackendUnavailableError, match="gives no answer"):
        Store.open(f"postgresql://me@/x?host={tmp_path}")


def test_empty_database_is_no_store_until_one_is_made(tmp_path):
    place = home("postgresql", tmp_path)
    with pytest.raises(BackendConfigError, match="never finished"):
        Store.open(place)
    Store.open(place, create=True).close()
    Store.open(place).close()


def test_user_who_may_make_no_tables_is_told_so(tmp_path):
    place = home("postgresql", tmp_path)
    database = place.partition("@/")[2].partition("?")[0]
    password = "p/w:@%?#"
    with pytest.raises(BackendConfigError, match="does not let its user do that"):
        Store.open(address("postgresql", database, "guarded"), create=True, password=lambda: Secret(password))
    with by_hand(place) as hand:
        assert hand.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_database_of_another_encoding_is_refused():
    server = databases.postgresql()
    server.run(f"CREATE DATABASE latin_{os.getpid()} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(BackendConfigError, match="every text"):
        Store.open(address("postgresql", f"latin_{os.getpid()}"), create=True)


# --- sessions -----------------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path):
    with lent("postgresql", tmp_path) as place:
        yield place


@pytest.fixture
def store(place):
    store = Store.open(place)
    yield store
    store.close()


def idle(store):
    return list(store.engine._pool._waiting)


def test_read_is_one_statement_in_no_transaction(store, place):
    store.current("prod", "", "variable", "a")
    (session,) = idle(store)
    assert session._pgconn.transaction_status == 0
    with by_hand(place) as hand:
        sql = "SELECT query, xact_start IS NOT NULL AND state <> 'idle' FROM pg_stat_activity WHERE pid = ?"
        query, is_in_transaction = hand.execute(sql, (session._pgconn.backend_pid,)).fetchone()
    assert query == _spelled(rows._CURRENT)[0].decode()
    assert not is_in_transaction


def test_session_that_the_server_ended_is_opened_anew_for_readers_and_writers(store, place):
    def end_all():
        with by_hand(place) as hand:
            hand.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    store.last_sequence()
    end_all()
    assert store.last_sequence() == 0
    end_all()
    with store.write() as transaction:
        transaction.add_changes("prod", [ChangeRow(0, "", "variable", "a", 1)])
    end_all()
    assert store.last_sequence() == 1


def test_writer_whose_session_ends_in_the_middle_is_not_repeated(store, place):
    def write():
        with store.write() as transaction:
            transaction.add_changes("prod", [ChangeRow(0, "", "variable", "a", 1)])
            (pid,) = transaction.connection.execute("SELECT pg_backend_pid()").fetchone()
            with by_hand(place) as hand:
                hand.execute("SELECT pg_terminate_backend(?)", (pid,))

    with pytest.raises(BackendUnavailableError, match="gives no answer"):
        write()
    assert store.last_sequence() == 0


def test_threads_beyond_the_sessions_wait_for_one(place):
    store = Store.open(f"{place}&pool_size=2")
    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(lambda _number: store.last_sequence(), range(200))) == {0}
    assert 1 <= len(idle(store)) <= 2
    store.close()


def test_threads_that_lose_every_session_at_once_open_new_ones(place):
    store = Store.open(f"{place}&pool_size=3")
    begun = threading.Barrier(4)
    lost = set()

    def query(connection):
        if threading.get_ident() not in lost:
            lost.add(threading.get_ident())
            begun.wait()
            connection.execute("SELECT pg_sleep(60)")
        return connection.execute("SELECT 1").fetchone()

    with ThreadPoolExecutor(3) as threads:
        answers = [threads.submit(store.ask, query) for _ in range(3)]
        begun.wait()
        with by_hand(place) as hand:
            busy = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep%'"
            busy += " AND state = 'active' AND pid <> pg_backend_pid()"
            databases.wait_for(lambda: hand.execute(f"SELECT count(*) {busy}").fetchone() == (3,))
            hand.execute(f"SELECT pg_terminate_backend(pid) {busy}")
        assert [answer.result() for answer in answers] == [(1,)] * 3
    assert store.last_sequence() == 0
    store.close()


def test_who_makes_a_store_waits_for_who_makes_it_already(place, monkeypatch):
    monkeypatch.setattr("strongroom.store.postgres._MIGRATE_LOCK_MILLISECONDS", 3000)
    first, second = engine_of(place), engine_of(f"{place}&pool_size=1")
    with (
        first.creating(),
        pytest.raises(BackendUnavailableError, match="busy with other writes"),
        second.creating(),
    ):
        pytest.fail("only one makes it")
    assert second.revision() is not None  # the session that waited is of use still
    with second.creating():
        first.close()
    second.close()


def test_thread_that_waits_in_vain_for_a_session_is_told_to_come_back(place, monkeypatch):
    monkeypatch.setattr("strongroom.store.server._WAIT_SECONDS", 0.05)
    store = Store.open(f"{place}&pool_size=1")
    lent_out = store.engine.borrow()
    with pytest.raises(BackendUnavailableError, match="all 1 sessions"):
        store.last_sequence()
    store.engine.give_back(lent_out)
    assert store.last_sequence() == 0
    store.close()


def test_server_that_stops_answering_is_unavailable_in_bounded_time(store, place):
    store.engine._pool.forget()
    store.last_sequence()
    (session,) = idle(store)
    os.kill(session._pgconn.backend_pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        store.last_sequence()  # asked again on another session
        assert time.monotonic() - started < 10
    finally:
        os.kill(session._pgconn.backend_pid, signal.SIGCONT) if session._pgconn.status == 0 else None
        _wake(place)


def _wake(place):
    with by_hand(place) as hand:
        for (pid,) in hand.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"):
            os.kill(pid, signal.SIGCONT)


def test_reader_that_is_interrupted_leaves_its_answer_to_nobody(store):
    def interrupt(*_details):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            store.ask(lambda connection: connection.execute("SELECT pg_sleep(2)").fetchone())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert store.last_sequence() == 0
    assert len(idle(store)) == 1


def test_statements_beyond_the_most_are_asked_and_not_kept(store):
    def ask(connection):
        for number in range(140):
            assert connection.execute(f"SELECT {number} + ?", (1,)).fetchone() == (number + 1,)
        return len(connection._prepared)

    assert store.ask(ask) == store.ask(ask) == 128


def test_another_store_in_the_place_of_an_open_one_is_refused(store, place):
    store.last_sequence()
    with by_hand(place) as hand:
        hand.execute("UPDATE settings SET value = ? WHERE \"key\" = 'store_id'", ("00" * 16,))
    store.engine._pool.forget()
    with pytest.raises(BackendConfigError, match="replaced by another store"):
        store.last_sequence()


def test_writers_of_all_processes_come_one_after_the_other(place):
    stores = [Store.open(place) for _ in range(4)]

    def count_up(store):
        for _ in range(10):
            with store.write() as transaction:
                last = transaction.connection.execute("SELECT count(*) FROM changes").fetchone()[0]
                transaction.add_changes("prod", [ChangeRow(0, "", "variable", str(last), 1)])

    threads = [threading.Thread(target=count_up, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [change.name for change in stores[0].changes("prod", 0, 100)] == [str(n) for n in range(40)]
    for store in stores:
        store.close()


def test_commit_is_on_the_disk_whatever_the_server_was_told(place):
    with by_hand(place) as hand:
        hand.execute(
            f"ALTER DATABASE {place.partition('@/')[2].partition('?')[0]} SET synchronous_commit = off"
        )
    store = Store.open(place)
    with store.write() as transaction:
        sql = "SELECT current_setting('synchronous_commit')"
        assert transaction.connection.execute(sql).fetchone() == ("on",)
    store.close()


def test_writers_wait_for_each_other_whatever_a_database_was_told_of_isolation(place):
    database = place.partition("@/")[2].partition("?")[0]
    with by_hand(place) as hand:
        hand.execute(f"ALTER DATABASE {database} SET default_transaction_isolation = 'repeatable read'")
    store = Store.open(place)

    def write(number):
        with store.write() as transaction:
            before = int(rows.setting(transaction.connection, "count") or "0")
            whole.mark(transaction, "count", str(before + 1))
        return number

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(write, range(40))) == list(range(40))
    assert store.setting("count") == "40"
    store.close()
    with by_hand(place) as hand:
        hand.execute(f"ALTER DATABASE {database} RESET ALL")


def test_reads_and_listings_are_served_by_an_index(store, place):
    with by_hand(place) as hand:
        hand.execute("SET enable_seqscan = off")
        plan = hand.execute("EXPLAIN " + rows._CURRENT, ("a", "b", "c", "d")).fetchall()
        wanted = (
            "SELECT 1 FROM entries e WHERE e.deployment = ? AND e.team = ? AND e.kind = ? AND e.name >= ?"
        )
        listing = hand.execute(f"EXPLAIN {wanted} ORDER BY e.name", ("a", "b", "c", "d")).fetchall()
    assert not [line for (line,) in plan + listing if "Seq Scan" in line or "Sort" in line]


# --- statements and states ----------------------------------------------------------------------------------


def test_statement_is_spelled_with_numbers_and_names_as_text():
    assert _spelled("a = ? AND n >= CAST(? AS TEXT) AND b = ?") == (
        b"a = $1 AND n >= $2::text AND b = $3",
        frozenset({1}),
    )
    assert _spelled("SELECT 1") == (b"SELECT 1", frozenset())


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        (b"a", b"a"),
        (b"a\xffb", "a\U0010ffff".encode()),
        (b"a\0b", b"a\x01"),
        (b"\xed\xa0\x80", "\U0010ffff".encode()),
    ],
)
def test_name_that_no_text_can_hold_is_spelled_as_one_that_nobody_has(name, spelled):
    assert _name(name) == spelled


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("", BackendUnavailableError, "no answer"),
        ("08006", BackendUnavailableError, "no answer"),
        ("57P01", BackendUnavailableError, "no answer"),
        ("53300", BackendUnavailableError, "no connection left"),
        ("53100", BackendUnavailableError, "disk"),
        ("55P03", BackendUnavailableError, "busy"),
        ("40P01", BackendUnavailableError, "busy"),
        ("57014", BackendUnavailableError, "too long"),
        ("XX000", BackendUnavailableError, r"failed \(XX000\)"),
        ("XX001", TamperedError, "damaged"),
        ("23505", TamperedError, "contradict"),
        ("25006", ReadOnlyError, "cannot be written"),
        ("22021", InvalidInputError, "cannot keep"),
        ("28P01", BackendConfigError, "user or the password"),
        ("3D000", BackendConfigError, "not there"),
        ("42501", BackendConfigError, "does not let"),
        ("42P01", BackendConfigError, "lacks a table"),
    ],
)
def test_every_state_means_one_error_of_ours(state, kind, words):
    engine = engine_of("postgresql://me@db.example/x")
    with pytest.raises(kind, match=words) as caught:
        raise engine.translate(PostgresError(state))
    assert type(caught.value) is kind
