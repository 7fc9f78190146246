"""Rows in, rows out: reading, writing, listing, processes and threads."""

import multiprocessing
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parts.homes import KINDS, by_hand, lent
from strongroom.errors import BackendConfigError, BackendUnavailableError
from strongroom.store import rows, sqlite
from strongroom.store.rows import ChangeRow, EntryRow, KekRow, Page, VersionRow, WrapRow
from strongroom.store.store import Store

KEK = KekRow(b"k" * 16, "prod", "", 1, "active", 7, b"canary")
FORK = multiprocessing.get_context("fork")


def entry(name, number=1, *, team="", kind="variable", **changed):
    row = EntryRow(
        id=f"{team}{kind}{name}".encode().ljust(16)[:16],
        deployment="prod",
        team=team,
        kind=kind,
        name=name,
        current_version=number,
        is_deleted=0,
        conn_type=None,
        description=None,
        tags="[]",
        owner=None,
        remind_at=None,
        not_after=None,
        expires_at=None,
        has_references=0,
        changed_at=1,
        changed_by="alice",
        mac=b"mac",
    )
    return row._replace(**changed)


def version(row, sealed=b"sealed"):
    return VersionRow(row.id, row.current_version, sealed, KEK.id, None, 1, "alice", "why", b"mac")


def page(**wanted):
    asked = {"team": "", "kind": "variable", "prefix": "", "after": "", "limit": 1000, "now": 100} | wanted
    return Page(deployment="prod", with_deleted=asked.pop("with_deleted", False), **asked)


def fill(store, *entries):
    with store.write() as transaction:
        if not transaction.keks("prod", ""):
            transaction.add_kek(KEK, [WrapRow(KEK.id, 1, "held", "first", b"wrapped")])
        transaction.add_entries(entries)
        transaction.add_versions([version(row) for row in entries])


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    """Where a store is, in each kind of database."""
    with lent(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def store(place):
    store = Store.open(place)
    yield store
    store.close()


in_a_file = pytest.mark.parametrize("place", ["sqlite"], indirect=True)


def idle(store):
    """Give the connections that wait for work."""
    if store.engine.kind == "sqlite":
        return list(store.engine._local._readers)
    return list(store.engine._pool._waiting)


# --- reading and writing -----------------------------------------------------------------------


def test_written_rows_are_read_as_they_were(store):
    row = entry("a", conn_type="postgres", description="d", expires_at=2**60, owner="o", remind_at=-5)
    fill(store, row)
    assert store.current("prod", "", "variable", "a") == row._replace(sealed=b"sealed")
    assert store.versions(row.id) == [version(row)]
    assert store.version(row.id, 1) == version(row)
    assert store.version(row.id, 2) is None
    assert store.keks("prod") == store.keks("prod", "") == [KEK]
    assert store.keks("other") == store.keks("prod", "team") == []
    assert store.wraps(KEK.id) == [WrapRow(KEK.id, 1, "held", "first", b"wrapped")]
    assert store.sealed_versions(KEK.id) == 1


def test_name_is_found_only_under_its_deployment_team_and_kind(store):
    fill(store, entry("a"))
    assert store.current("stage", "", "variable", "a") is None
    assert store.current("prod", "data", "variable", "a") is None
    assert store.current("prod", "", "connection", "a") is None
    assert store.current("prod", "", "variable", "A") is None


def test_entry_whose_version_row_is_gone_is_still_found(store, place):
    fill(store, entry("a", 3))
    with by_hand(place) as hand:
        hand.execute("DELETE FROM versions")
    found = store.current("prod", "", "variable", "a")
    assert found is not None
    assert found.sealed is None


def test_what_raises_in_a_transaction_undoes_all_of_it(store):
    def interrupted():
        with store.write() as transaction:
            transaction.add_kek(KEK, [WrapRow(KEK.id, 1, "held", "first", b"wrapped")])
            transaction.add_entries([entry("a")])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert store.keks("prod") == []
    assert store.current("prod", "", "variable", "a") is None
    fill(store, entry("a"))


def test_failing_statement_is_typed_and_quotes_no_row(store):
    fill(store, entry("a"))
    with pytest.raises(Exception, match="contradict") as caught, store.write() as transaction:
        transaction.add_entries([entry("a", description="cAnArY")])
    shown = repr(caught.value) + str(caught.value.__cause__) + str(vars(caught.value))
    assert "cAnArY" not in shown
    assert caught.value.__suppress_context__


@in_a_file
def test_engine_hides_parameters(store):
    assert sqlite.engine(store.path).hide_parameters


@in_a_file
def test_readers_cannot_write(store):
    with closing(sqlite.connect(store.path, is_reader=True)) as reader, pytest.raises(sqlite3.Error):
        reader.execute("DELETE FROM settings")


def test_changes_are_numbered_in_order_and_read_from_the_last(store):
    with store.write() as transaction:
        transaction.add_changes(
            "prod",
            [ChangeRow(0, "", "variable", "a", 1), ChangeRow(0, "data", "connection", "b", None)],
        )
        transaction.add_changes("other", [ChangeRow(0, "", "variable", "c", 1)])
    assert store.changes("prod", 0, 10) == [
        ChangeRow(1, "", "variable", "a", 1),
        ChangeRow(2, "data", "connection", "b", None),
    ]
    assert store.changes("prod", 0, 1) == [ChangeRow(1, "", "variable", "a", 1)]
    assert store.changes("prod", 1, 10) == [ChangeRow(2, "data", "connection", "b", None)]
    assert store.changes("prod", 3, 10) == []
    assert store.last_sequence() == 3


def test_sequence_number_of_a_pruned_change_never_comes_back(store, place):
    with store.write() as transaction:
        transaction.add_changes("prod", [ChangeRow(0, "", "variable", "a", 1)])
    with by_hand(place) as hand:
        hand.execute("DELETE FROM changes")
    with store.write() as transaction:
        transaction.add_changes("prod", [ChangeRow(0, "", "variable", "a", 2)])
    assert store.last_sequence() == 2


def test_bell_rings_for_own_writes_and_for_those_of_others(store, place):
    other = Store.open(place)
    heard = [store.data_version(), store.data_version()]
    fill(store, entry("a"))
    heard.append(store.data_version())
    fill(other, entry("b"))
    heard.append(store.data_version())
    assert heard[0] == heard[1]
    assert len(set(heard)) == 3
    other.close()


# --- listing -----------------------------------------------------------------------------------


def test_page_leaves_out_what_was_deleted_or_expired_unless_asked(store):
    fill(
        store,
        entry("alive"),
        entry("dead", is_deleted=1),
        entry("just", expires_at=100),
        entry("later", expires_at=101),
    )
    assert [row.name for row in store.page(page())] == ["alive", "later"]
    assert [row.name for row in store.page(page(with_deleted=True))] == ["alive", "dead", "just", "later"]
    assert all(row.sealed is None for row in store.page(page()))


def test_page_of_nothing_is_empty(store):
    fill(store, entry("a"))
    assert store.page(page(limit=0)) == store.page(page(limit=-1)) == store.page(page(team="x")) == []


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)


@given(
    names=st.sets(NAMES, max_size=12),
    prefix=st.one_of(st.just(""), NAMES),
    after=st.one_of(st.just(""), NAMES),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_page_is_what_python_would_sort_and_filter(store, place, names, prefix, after):
    if store.engine.kind == "postgresql":
        names = {name for name in names if "\0" not in name}  # no Ref has one
    with by_hand(place) as hand:
        hand.execute("DELETE FROM entries")
    with store.write() as transaction:
        transaction.add_entries(
            [entry(name, id=str(number).encode().ljust(16)) for number, name in enumerate(names)]
        )
    expected = sorted(name for name in names if name.startswith(prefix) and name > after)
    assert [row.name for row in store.page(page(prefix=prefix, after=after))] == expected
    assert [row.name for row in store.page(page(prefix=prefix, after=after, limit=2))] == expected[:2]
    assert [row.name for row in store.named(page(), [prefix, after, *names])] == sorted(names)


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        ("", None),
        ("a", "b"),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("\ud7ff", "\ue000"),
        ("team_", "team`"),
    ],
)
def test_end_of_a_prefix_is_the_least_text_above_it(prefix, end):
    assert rows._successor(prefix) == end


@in_a_file
def test_reads_and_listings_are_served_by_an_index(store):
    with closing(sqlite.connect(store.path)) as connection:
        clauses, parameters = rows._bounds(page(prefix="a"))
        listing = f"SELECT {rows._ENTRY} FROM entries e WHERE {' AND '.join(clauses)} ORDER BY e.name"
        expired = "SELECT 1 FROM entries e WHERE e.deployment = ? AND e.expires_at <= ? AND e.is_deleted = 0"
        plans = [
            "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", given))
            for sql, given in (
                (rows._CURRENT, ("a", "b", "c", "d")),
                (listing, parameters),
                (expired, ("a", 1)),
            )
        ]
    assert not any("SCAN" in plan or "TEMP B-TREE" in plan for plan in plans), plans


# --- processes and threads ---------------------------------------------------------------------


def test_process_that_only_reads_never_loads_sqlalchemy(store, place):
    fill(store, entry("a"))
    code = (
        "import sys\n"
        "from strongroom.store.store import Store\n"
        "store = Store.open(sys.argv[1])\n"
        "assert store.current('prod', '', 'variable', 'a') and store.keks('prod')\n"
        "assert not {'sqlalchemy', 'alembic'} & set(sys.modules), 'slow start'\n"
    )
    subprocess.run([sys.executable, "-c", code, str(place)], check=True, timeout=60)


def test_threads_read_beside_a_writer_and_share_few_connections(store):
    fill(store, entry("a"))
    ready = threading.Barrier(5)

    def read(_):
        ready.wait()
        return [store.current("prod", "", "variable", "a") for _ in range(50)]

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(read, number) for number in range(4)]
        ready.wait()
        for number in range(10):
            fill(store, entry(f"b{number}"))
        assert all(row is not None for future in futures for row in future.result())
    assert 1 <= len(idle(store)) <= 5


def in_child(work):
    """Run *work* in a forked child and give what it returned, or fail with what it raised."""
    receiver, sender = FORK.Pipe(duplex=False)

    def run():
        try:
            sender.send(work())
        except BaseException as error:  # a test wants to see whatever it was
            sender.send(repr(error))
            raise

    process = FORK.Process(target=run)
    process.start()
    sender.close()
    answer = receiver.recv()
    process.join(30)
    assert process.exitcode == 0, answer
    return answer


def test_forked_child_opens_its_own_connections_and_leaves_the_parents_alone(store):
    fill(store, entry("a"))
    inherited = idle(store)

    def child():
        fill(store, entry("b"))
        mine = idle(store)
        found = store.current("prod", "", "variable", "a") is not None
        store.close()
        return found, not any(one in inherited for one in mine)

    assert in_child(child) == (True, True)
    assert store.current("prod", "", "variable", "b") is not None
    fill(store, entry("c"))


def test_child_forked_inside_a_transaction_waits_for_it_and_cannot_end_it(store, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.01)

    def child():
        try:
            fill(store, entry("b"))
        except BackendUnavailableError:
            return "busy"

    with store.write() as transaction:
        transaction.add_kek(KEK, [WrapRow(KEK.id, 1, "held", "first", b"wrapped")])
        assert in_child(child) == "busy"
        transaction.add_entries([entry("a")])
        transaction.add_versions([version(entry("a"))])
    assert store.current("prod", "", "variable", "a") is not None
    assert store.current("prod", "", "variable", "b") is None


def test_child_that_closes_what_it_inherited_closes_nothing_of_the_parents(store):
    def child():
        store.close()
        return "closed"

    assert in_child(child) == "closed"
    assert store.last_sequence() == 0


def test_closed_store_is_unavailable_and_closes_twice(store):
    store.current("prod", "", "variable", "a")
    store.data_version()
    store.close()
    store.close()
    for use in (
        store.data_version,
        lambda: store.current("prod", "", "variable", "a"),
        store.last_sequence,
        lambda: store.write().__enter__(),
    ):
        with pytest.raises(BackendUnavailableError, match="was closed"):
            use()


@in_a_file
def test_closing_leaves_one_file(store):
    fill(store, entry("a"))
    store.close()
    assert [path.name for path in store.path.parent.iterdir()] == ["store.db"]


# --- a file that is replaced while it is open ----------------------------------------------------


@pytest.fixture
def path(tmp_path):
    return tmp_path / "room" / "store.db"


def backup(path):
    """Put a copy of the store in its place, as bringing a backup back does."""
    copy = path.with_name("backup.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.chmod(0o600)
    return copy


def bring_back(copy, path):
    for name in ("store.db-wal", "store.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    copy.replace(path)


def test_write_after_a_backup_was_brought_back_goes_into_it(path):
    store = Store.open(path, create=True)
    fill(store, entry("old"))
    bring_back(backup(path), path)
    fill(store, entry("new"))
    with closing(Store.open(path)) as again:
        assert [row.name for row in again.page(page())] == ["new", "old"]
    store.close()


def test_write_into_a_file_that_was_replaced_meanwhile_is_not_acknowledged(path):
    store = Store.open(path, create=True)
    fill(store, entry("old"))
    copy = backup(path)

    def write_meanwhile():
        with store.write() as transaction:
            transaction.add_entries([entry("lost")])
            bring_back(copy, path)

    with pytest.raises(BackendUnavailableError, match="replaced"):
        write_meanwhile()
    assert [row.name for row in store.page(page())] == ["old"]
    store.close()


def test_reader_finds_the_file_that_was_brought_back(path):
    store = Store.open(path, create=True)
    fill(store, entry("old"))
    copy = backup(path)
    fill(store, entry("newer"))
    rung = store.data_version()
    bring_back(copy, path)
    store.engine._local.look_at = 0.0  # readers look once a second
    assert [row.name for row in store.page(page())] == ["old"]
    assert store.data_version() != rung
    store.close()


def test_nobody_goes_on_with_a_file_that_was_taken_away(path):
    store = Store.open(path, create=True)
    fill(store, entry("old"))
    away = path.with_name("away")
    path.rename(away)
    store.engine._local.look_at = 0.0  # readers look once a second
    for _ in range(3):
        with pytest.raises(BackendUnavailableError, match="taken away"):
            store.page(page())
        with pytest.raises(BackendUnavailableError, match="taken away"):
            store.data_version()
    away.rename(path)
    assert [row.name for row in store.page(page())] == ["old"]
    store.close()


def test_another_store_in_the_place_of_an_open_one_is_refused(path, tmp_path):
    store = Store.open(path, create=True)
    Store.open(tmp_path / "other" / "store.db", create=True).close()
    bring_back(tmp_path / "other" / "store.db", path)
    with pytest.raises(BackendConfigError, match="another store"), store.write():
        pass
    store.engine._local.look_at = 0.0
    with pytest.raises(BackendConfigError, match="another store"):
        store.last_sequence()
    store.close()


@pytest.mark.parametrize("text", ["\ud800", "a\udcff", "a\0", "\0"])
def test_listing_from_a_text_that_no_name_can_have_gives_what_is_there(store, text):
    fill(store, entry("a"))
    assert store.page(page(prefix=text)) == []
    assert [row.name for row in store.page(page(after=text))] in ([], ["a"])
    assert store.named(page(), [text]) == []
