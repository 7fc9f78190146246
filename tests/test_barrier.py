"""Where plaintext meets the store: keys, versions, authentication, time."""

import json
import multiprocessing
import os
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from native_room import NOON, Clock, HeldKey, draft, make_barrier, open_barrier
from parts.homes import KINDS, REFUSALS, by_hand, everything, lent
from strongroom.barrier import MAX_METADATA_BYTES, Barrier
from strongroom.errors import (
    BackendConfigError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    SealedError,
    TamperedError,
)
from strongroom.model.entry import MUST_BE_ABSENT, EntryState, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.store import schema
from strongroom.store.store import Store

X = Ref("variable", "x")
CANARY = "cAnArY-5up3r-s3cret"


@pytest.fixture(params=KINDS)
def path(request, tmp_path):
    """Where the store is, in each kind of database."""
    with lent(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def barrier(path, clock):
    made = make_barrier(path, clock=clock)
    yield made
    made.close()


in_a_file = pytest.mark.parametrize("path", ["sqlite"], indirect=True)
"""Of what no database but SQLite lets stand, or of the file itself."""


def text(barrier, ref=X):
    entry = barrier.read(ref)
    return None if entry is None else entry.secret.reveal()


def names(barrier, **asked):
    return [summary.ref.name for summary in barrier.list("variable", **asked)]


def statuses(barrier):
    return barrier.keys()


def sql(path, statement, *parameters):
    with by_hand(path) as hand:
        return hand.execute(statement, parameters).rowcount


# --- keys --------------------------------------------------------------------------------------


def test_store_opens_again_with_its_key(path):
    first = make_barrier(path)
    first.write(draft("x", "kept"))
    first.close()
    again = open_barrier(path)
    assert text(again) == "kept"
    again.close()


def test_create_beside_an_existing_key_opens_it_and_makes_none(path):
    first = make_barrier(path)
    first.write(draft("x", "kept"))
    again = make_barrier(path)
    assert text(again) == "kept"
    assert len(statuses(again)) == 1
    first.close()
    again.close()


@pytest.mark.parametrize("make", [make_barrier, open_barrier])
def test_wrong_key_refuses_the_start_and_overwrites_nothing(path, make):
    first = make_barrier(path)
    first.write(draft("x", "kept"))
    first.close()
    before = everything(path)
    with pytest.raises(SealedError, match="start refused, nothing overwritten") as caught:
        make(path, key=HeldKey(b"w" * 32))
    assert caught.value.hint
    assert everything(path) == before
    again = open_barrier(path)
    assert (text(again), len(statuses(again))) == ("kept", 1)
    again.close()


def test_open_of_a_deployment_without_a_key_names_the_next_command(path):
    make_barrier(path, deployment="prod").close()
    with pytest.raises(SealedError, match="no key for the deployment staging") as caught:
        open_barrier(path, deployment="staging")
    assert caught.value.hint == "strongroom init"


def test_create_without_a_wrapper_is_refused_and_makes_no_key(path):
    store = Store.open(path, create=True)
    with pytest.raises(BackendConfigError, match="no outer key"):
        Barrier.create(store, [], deployment="prod", clock=Clock())
    assert store.keks("prod") == []
    store.close()


def test_wrapper_of_another_kind_opens_nothing(path):
    make_barrier(path).close()
    other = HeldKey()
    other.kind = "another"
    with pytest.raises(SealedError, match="no configured key opens"):
        open_barrier(path, key=other)


def test_every_wrapper_wraps_and_any_one_opens(path):
    one, two = HeldKey(b"1" * 32, "one"), HeldKey(b"2" * 32, "two")
    store = Store.open(path, create=True)
    made = Barrier.create(store, [one, two], deployment="prod", clock=Clock())
    made.write(draft("x", "kept", team="data"))
    assert {status.wrapped_by for status in statuses(made)} == {("held one", "held two")}
    made.close()
    for key in (one, two):
        again = open_barrier(path, key=key)
        assert text(again, Ref("variable", "x", "data")) == "kept"
        again.close()


def test_key_whose_row_was_changed_is_not_taken(path):
    make_barrier(path).close()
    changes = [("state", "deactivated"), ("created_at", 1), ("canary", b"x" * 48), ("canary", 7)]

    def held(column):
        with by_hand(path) as hand:
            return hand.execute(f"SELECT {column} FROM keks").fetchone()

    for column, value in [*changes, ("state", b"active"), ("created_at", "x"), ("number", "x")]:
        was = held(column)
        with suppress(*REFUSALS):
            sql(path, f"UPDATE keks SET {column} = ?", value)
        if held(column) != was:
            with pytest.raises(TamperedError, match="start refused"):
                open_barrier(path)
        sql(path, f"UPDATE keks SET {column} = ?", *was)
    open_barrier(path).close()


def test_key_of_another_store_is_refused(path, tmp_path):
    make_barrier(path).close()
    other = tmp_path / "other" / "store.db"
    make_barrier(other).close()
    with by_hand(other) as connection:
        (store_id,) = connection.execute("SELECT value FROM settings WHERE \"key\" = 'store_id'").fetchone()
    sql(path, "UPDATE settings SET value = ? WHERE \"key\" = 'store_id'", store_id)
    with pytest.raises((SealedError, TamperedError), match="start refused, nothing overwritten"):
        open_barrier(path)


@pytest.mark.parametrize("team", [None, "data"])
def test_create_never_makes_a_key_beside_rows_that_lost_theirs(path, team):
    first = make_barrier(path)
    first.write(draft("x", "kept", team=team))
    first.close()
    for table in ("kek_wraps", "keks"):
        sql(path, f"DELETE FROM {table}")
    with pytest.raises(SealedError, match="are gone"):
        make_barrier(path)
    with by_hand(path) as connection:
        assert connection.execute("SELECT count(*) FROM keks").fetchone() == (0,)


def test_team_gets_a_key_of_its_own_with_its_first_write(barrier):
    barrier.write(draft("x"))
    barrier.write(draft("x", team="data"))
    barrier.write(draft("y", team="data"))
    found = [
        (status.team, status.number, status.state, status.sealed_versions) for status in statuses(barrier)
    ]
    assert found == [(None, 1, "active", 1), ("data", 1, "active", 2)]
    assert len({status.id for status in statuses(barrier)}) == 2
    assert all(status.created_at == NOON for status in statuses(barrier))


def test_key_of_a_write_that_was_undone_is_forgotten(barrier):
    with pytest.raises(ConflictError):
        barrier.write_many([draft("a", team="data"), draft("b", team="data", expected_version="9")])
    assert [status.team for status in statuses(barrier)] == [None]
    barrier.write(draft("x", "kept", team="data"))
    assert text(barrier, Ref("variable", "x", "data")) == "kept"


def test_reading_makes_no_key(barrier):
    assert barrier.read(Ref("variable", "x", "data")) is None
    assert barrier.list("variable", team="data") == []
    assert [status.team for status in statuses(barrier)] == [None]


def test_key_made_by_another_process_is_found(path, barrier):
    other = open_barrier(path)
    assert barrier.read(Ref("variable", "x", "data")) is None
    other.write(draft("x", "theirs", team="data"))
    assert text(barrier, Ref("variable", "x", "data")) == "theirs"
    barrier.write(draft("y", "ours", team="data"))
    assert text(other, Ref("variable", "y", "data")) == "ours"
    other.close()


def test_deployments_in_one_store_see_nothing_of_each_other(path):
    prod, staging = make_barrier(path), make_barrier(path, deployment="staging")
    prod.write(draft("x", "prod"))
    assert staging.read(X) is None
    assert (names(staging), staging.changes(), len(statuses(staging))) == ([], [], 1)
    staging.write(draft("x", "staging"))
    assert (text(prod), text(staging)) == ("prod", "staging")
    prod.close()
    staging.close()


def test_two_processes_creating_at_once_end_with_one_key(path):
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(4)
    answers = fork.Queue()

    def create(number):
        start.wait()
        made = make_barrier(path)
        made.write(draft(f"n{number}", str(number)))
        answers.put(statuses(made)[0].id)
        made.close()

    processes = [fork.Process(target=create, args=(number,)) for number in range(4)]
    for process in processes:
        process.start()
    ids = {answers.get(timeout=30) for _ in processes}
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    made = open_barrier(path)
    assert ids == {status.id for status in statuses(made)}
    assert [text(made, Ref("variable", f"n{number}")) for number in range(4)] == ["0", "1", "2", "3"]
    made.close()


def test_two_processes_creating_at_once_with_two_keys_never_mix_them(path):
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(2)
    answers = fork.Queue()

    def create(key):
        start.wait()
        try:
            make_barrier(path, key=HeldKey(key)).close()
        except SealedError:
            answers.put((key, "sealed"))
        else:
            answers.put((key, "won"))

    processes = [fork.Process(target=create, args=(key * 32,)) for key in (b"a", b"b")]
    for process in processes:
        process.start()
    outcomes = dict(answers.get(timeout=30) for _ in processes)
    for process in processes:
        process.join(30)
    assert sorted(outcomes.values()) == ["sealed", "won"]
    winner = next(key for key, outcome in outcomes.items() if outcome == "won")
    open_barrier(path, key=HeldKey(winner)).close()


# --- writing and versions ----------------------------------------------------------------------


def test_entry_carries_everything_that_was_written(barrier, clock):
    metadata = Metadata(
        description="d\x01é",
        tags=("b", "a", "b"),
        owner="team data",
        conn_type="postgres",
        remind_at=NOON + timedelta(days=1),
        not_after=NOON + timedelta(days=2, microseconds=1),
        expires_at=NOON + timedelta(days=3),
        references=True,
    )
    barrier.write(draft("x", "text", metadata=metadata))
    clock.forward(seconds=5)
    entry = barrier.read(X)
    assert entry is not None
    assert (entry.ref, entry.backend, entry.version) == (X, "native", "1")
    assert entry.read_at == NOON + timedelta(seconds=5)
    assert entry.metadata == Metadata(
        **{field: getattr(metadata, field) for field in metadata.__slots__ if field != "tags"},
        tags=("a", "b"),
    )
    (summary,) = barrier.list("variable")
    assert (summary.ref, summary.version, summary.changed_at) == (X, "1", NOON)
    assert summary.metadata == entry.metadata


@given(value=st.text(st.characters(exclude_categories=["Cs"])), description=st.none() | st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_any_text_is_read_back_or_refused(barrier, value, description):
    try:
        barrier.write(draft("x", value, metadata=Metadata(description=description)))
    except InvalidInputError:
        if "\0" not in description:
            with pytest.raises(UnicodeEncodeError):
                description.encode()
    else:
        entry = barrier.read(X)
        assert (entry.secret.reveal(), entry.metadata.description) == (value, description)


def test_each_write_is_a_version_with_author_time_and_comment(barrier, clock):
    assert barrier.write(draft("x", "one", author="alice", comment="first")) == "1"
    clock.forward(hours=1)
    assert barrier.write(draft("x", "two", author="bob")) == "2"
    newest, oldest = barrier.history(X)
    assert (newest.version, newest.author, newest.comment) == ("2", "bob", "")
    assert newest.created_at == NOON + timedelta(hours=1)
    assert (oldest.version, oldest.author, oldest.comment) == ("1", "alice", "first")
    assert (newest.is_current, oldest.is_current) == (True, False)


def test_history_tells_the_newest_older_version_with_the_same_value(barrier):
    for value in ("a", "b", "a", "a", "b"):
        barrier.write(draft("x", value))
    assert [info.same_as for info in barrier.history(X)] == ["2", "3", "1", None, None]


def test_rollback_writes_the_old_value_as_a_new_version(barrier):
    barrier.write(draft("x", "one", metadata=Metadata(conn_type="postgres", description="old")))
    barrier.write(draft("x", "two", metadata=Metadata(conn_type="mysql", description="new")))
    assert barrier.rollback(X, "1", author="bob", comment="back") == "3"
    entry = barrier.read(X)
    assert (entry.secret.reveal(), entry.version) == ("one", "3")
    assert (entry.metadata.conn_type, entry.metadata.description) == ("postgres", "new")
    newest = barrier.history(X)[0]
    assert (newest.same_as, newest.author, newest.comment) == ("1", "bob", "back")


def test_rollback_of_a_deleted_or_expired_entry_brings_it_back(barrier, clock):
    expiring = Metadata(expires_at=NOON + timedelta(hours=1))
    barrier.write(draft("x", "one"))
    barrier.write(draft("x", "two", metadata=expiring))
    clock.forward(hours=2)
    assert barrier.rollback(X, "1", author="bob") == "3"
    assert text(barrier) == "one"
    barrier.delete(X, author="bob")
    assert barrier.rollback(X, "2", author="bob") == "4"
    assert text(barrier) == "two"


@pytest.mark.parametrize("version", ["0", "3", "-1", "", "x", "1 ", "٣", "9" * 30, CANARY])
def test_version_that_never_was_is_not_found_and_not_repeated(barrier, version):
    barrier.write(draft("x"))
    for ask in (barrier.read_version, lambda ref, v: barrier.rollback(ref, v, author="a")):
        for ref in (X, Ref("variable", "never")):
            with pytest.raises(NotFoundError) as caught:
                ask(ref, version)
            assert CANARY not in str(caught.value)


def test_rollback_compares_and_sets(barrier):
    barrier.write(draft("x", "one"))
    barrier.write(draft("x", "two"))
    with pytest.raises(ConflictError) as caught:
        barrier.rollback(X, "1", expected_version="1", author="bob")
    assert caught.value.current_version == "2"
    assert text(barrier) == "two"


def test_edit_of_metadata_is_a_version_that_keeps_the_value(barrier):
    barrier.write(draft("x", "kept", metadata=Metadata(description="old")))
    assert barrier.edit(X, Metadata(description="new"), expected_version="1", author="bob") == "2"
    entry = barrier.read(X)
    assert (entry.secret.reveal(), entry.metadata.description) == ("kept", "new")
    assert barrier.history(X)[0].same_as == "1"
    assert [change.version for change in barrier.changes()] == ["1", "2"]
    with pytest.raises(ConflictError):
        barrier.edit(X, Metadata(), expected_version="1", author="bob")
    with pytest.raises(NotFoundError):
        barrier.edit(Ref("variable", "never"), Metadata(), author="bob")


def test_delete_hides_and_undelete_shows_the_same_version(barrier):
    barrier.write(draft("x", "kept"))
    assert barrier.delete(X, author="bob") is True
    assert barrier.delete(X, author="bob") is False
    assert (text(barrier), names(barrier)) == (None, [])
    (summary,) = barrier.list("variable", with_deleted=True)
    assert summary.is_deleted
    assert [info.is_current for info in barrier.history(X)] == [False]
    assert barrier.read_version(X, "1").secret.reveal() == "kept"
    assert barrier.undelete(X, author="bob") == "1"
    assert (text(barrier), names(barrier)) == ("kept", ["x"])
    with pytest.raises(ConflictError, match="not deleted"):
        barrier.undelete(X, author="bob")
    with pytest.raises(NotFoundError):
        barrier.undelete(Ref("variable", "never"), author="bob")


def test_written_again_after_a_delete_the_versions_go_on(barrier):
    barrier.write(draft("x", "one"))
    barrier.delete(X, author="bob")
    assert barrier.write(draft("x", "two", expected_version=MUST_BE_ABSENT)) == "2"
    assert [info.version for info in barrier.history(X)] == ["2", "1"]


@pytest.mark.parametrize("expected", ["1", "3", "x"])
def test_write_and_delete_conflict_when_another_version_stands(barrier, expected):
    barrier.write(draft("x", "one"))
    barrier.write(draft("x", "two"))
    for act in (
        lambda: barrier.write(draft("x", CANARY, expected_version=expected)),
        lambda: barrier.delete(X, expected_version=expected, author="a"),
    ):
        with pytest.raises(ConflictError) as caught:
            act()
        assert caught.value.current_version == "2"
        assert CANARY not in str(caught.value)
    assert barrier.write(draft("x", "three", expected_version="2")) == "3"
    assert barrier.delete(X, expected_version="3", author="a")


def test_absence_can_be_expected_but_not_a_version_of_nothing(barrier):
    assert barrier.write(draft("x", expected_version=MUST_BE_ABSENT)) == "1"
    with pytest.raises(ConflictError, match="exists already"):
        barrier.write(draft("x", expected_version=MUST_BE_ABSENT))
    with pytest.raises(ConflictError) as caught:
        barrier.write(draft("never", expected_version="1"))
    assert caught.value.current_version is None
    with pytest.raises(ConflictError):
        barrier.delete(Ref("variable", "never"), expected_version="1", author="a")
    assert barrier.delete(Ref("variable", "never"), author="a") is False


def test_batch_stands_whole_or_not_at_all(barrier):
    barrier.write(draft("there"))
    many = [draft(f"n{number}") for number in range(1200)]
    with pytest.raises(ConflictError):
        barrier.write_many([*many, draft("there", expected_version="7")])
    assert names(barrier) == ["there"]
    assert len(barrier.changes()) == 1
    assert barrier.write_many(many) == ["1"] * 1200


def test_batch_tells_its_progress_and_takes_drafts_one_by_one(barrier):
    told = []
    taken = 0

    def drafts():
        nonlocal taken
        for number in range(1201):
            taken += 1
            yield draft(f"n{number % 700}", str(number))

    versions = barrier.write_many(drafts(), progress=told.append)
    assert told == [500, 1000, 1201]
    assert (taken, versions.count("1"), versions.count("2")) == (1201, 700, 501)
    assert text(barrier, Ref("variable", "n3")) == "703"
    assert text(barrier, Ref("variable", "n699")) == "699"


def test_batch_of_large_values_takes_bounded_memory(barrier):
    value = "x" * 1_000_000
    tracemalloc.start()
    try:
        barrier.write_many(draft(f"n{number}", value) for number in range(40))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Bytes, for 40 million written. PyMySQL writes a statement as one text, values and all.
    assert peak < (25_000_000 if barrier.store.engine.kind == "mariadb" else 20_000_000)
    assert len(names(barrier)) == 40


def test_empty_batch_changes_nothing(barrier):
    assert barrier.write_many([]) == []
    assert barrier.last_sequence() == 0


# --- limits ------------------------------------------------------------------------------------


def test_value_over_one_mebibyte_is_refused_by_name(barrier):
    with pytest.raises(InvalidInputError, match='variable "x"') as caught:
        barrier.write(draft("x", "é" * 524_289))
    assert caught.value.limit == 1_048_576
    barrier.write(draft("x", "é" * 524_288))


def test_value_that_utf8_cannot_spell_is_refused_without_showing_it(barrier):
    with pytest.raises(InvalidInputError, match="surrogate") as caught:
        barrier.write(draft("x", CANARY + "\ud800"))
    assert caught.value.offset == len(CANARY)
    assert CANARY not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "given",
    [
        {"metadata": Metadata(description="x" * MAX_METADATA_BYTES)},
        {"metadata": Metadata(tags=tuple(f"tag{i}" for i in range(10_000)))},
        {"comment": "x" * MAX_METADATA_BYTES},
    ],
)
def test_metadata_over_64_kib_is_refused(barrier, given):
    with pytest.raises(InvalidInputError) as caught:
        barrier.write(draft("x", **given))
    assert caught.value.limit == MAX_METADATA_BYTES
    assert barrier.read(X) is None


@pytest.mark.parametrize("given", [{"metadata": Metadata(owner="\ud800")}, {"comment": "\udfff"}])
def test_metadata_that_utf8_cannot_spell_is_refused(barrier, given):
    with pytest.raises(InvalidInputError):
        barrier.write(draft("x", **given))


def test_time_without_a_zone_is_refused(barrier):
    with pytest.raises(InvalidInputError, match="zone"):
        barrier.write(draft("x", metadata=Metadata(remind_at=datetime(2026, 1, 1))))  # noqa: DTZ001 -- the point


# --- expiry ------------------------------------------------------------------------------------


def test_expired_entry_is_absent_from_that_moment_on(barrier, clock):
    barrier.write(draft("x", metadata=Metadata(expires_at=NOON + timedelta(seconds=10))))
    clock.forward(seconds=9.999999)
    assert text(barrier) == "plaintext"
    clock.forward(microseconds=1)
    assert (text(barrier), names(barrier)) == (None, [])
    assert barrier.write(draft("x", "again", expected_version=MUST_BE_ABSENT)) == "2"
    assert text(barrier) == "again"


def test_sweep_deletes_what_expired_and_tells_each(barrier, clock):
    for number in range(3):
        barrier.write(draft(f"n{number}", metadata=Metadata(expires_at=NOON + timedelta(hours=number + 1))))
    clock.forward(hours=2)
    assert barrier.sweep(clock.now) == 2
    assert barrier.sweep(clock.now) == 0
    assert names(barrier) == ["n2"]
    assert [(change.ref.name, change.version) for change in barrier.changes()[3:]] == [
        ("n0", None),
        ("n1", None),
    ]


def test_a_write_sweeps_what_expired_before_it(barrier, clock):
    barrier.write(draft("old", metadata=Metadata(expires_at=NOON + timedelta(hours=1))))
    barrier.write(draft("again", metadata=Metadata(expires_at=NOON + timedelta(hours=1))))
    clock.forward(hours=2)
    barrier.write(draft("again", "new"))
    assert barrier.sweep(clock.now) == 0
    assert [(change.ref.name, change.version) for change in barrier.changes()[2:]] == [
        ("again", "2"),
        ("old", None),
    ]


def test_undelete_of_an_expired_entry_drops_the_expiry(barrier, clock):
    barrier.write(draft("x", "kept", metadata=Metadata(expires_at=NOON + timedelta(hours=1))))
    clock.forward(hours=2)
    barrier.sweep(clock.now)
    assert barrier.undelete(X, author="bob") == "1"
    entry = barrier.read(X)
    assert (entry.secret.reveal(), entry.metadata.expires_at) == ("kept", None)


def test_not_after_is_told_and_left_to_the_chain(barrier, clock):
    barrier.write(draft("x", metadata=Metadata(not_after=NOON)))
    clock.forward(hours=1)
    assert barrier.read(X).metadata.not_after == NOON


# --- listing and changes -----------------------------------------------------------------------


def test_every_act_leaves_one_line_in_changes(barrier):
    barrier.write(draft("x", "one"))
    barrier.write(draft("x", "two", team="data"))
    barrier.edit(X, Metadata(owner="o"), author="a")
    barrier.delete(X, author="a")
    barrier.undelete(X, author="a")
    barrier.rollback(X, "1", author="a")
    seen = barrier.changes()
    assert [change.sequence for change in seen] == [1, 2, 3, 4, 5, 6]
    assert [change.version for change in seen] == ["1", "1", "2", None, "2", "3"]
    assert [change.ref for change in seen] == [X, Ref("variable", "x", "data"), X, X, X, X]
    assert barrier.changes(after=4) == seen[4:]
    assert barrier.changes(limit=2) == seen[:2]
    assert barrier.last_sequence() == 6


def test_bell_rings_when_something_was_written(barrier, path):
    other = open_barrier(path)
    quiet = other.data_version()
    assert other.data_version() == quiet
    barrier.write(draft("x"))
    assert other.data_version() != quiet
    other.close()


def test_listing_is_ordered_by_code_point_paged_and_holds_no_value(barrier):
    for name in ("b", "a", "é", "\U0001f511", "\uffee", "B", "a/b", "ab"):
        barrier.write(draft(name, CANARY))
    ordered = sorted(["b", "a", "é", "\U0001f511", "\uffee", "B", "a/b", "ab"])
    assert names(barrier) == ordered
    assert names(barrier, after="a", limit=3) == ordered[2:5]
    assert names(barrier, prefix="a") == ["a", "a/b", "ab"]
    assert CANARY not in repr(barrier.list("variable"))


# --- tampering ---------------------------------------------------------------------------------

COLUMNS = {
    "id": b"0" * 16,
    "current_version": 1,
    "is_deleted": 1,
    "conn_type": "mysql",
    "description": "changed",
    "tags": '["x"]',
    "owner": "mallory",
    "remind_at": 5,
    "not_after": 4102444800000000,
    "expires_at": 4102444800000000,
    "has_references": 1,
    "changed_at": 5,
    "changed_by": "mallory",
    "mac": b"0" * 48,
}


def held(path, column):
    """Give a column of `x` as it stands; put back, the row is whole again."""
    with by_hand(path) as hand:
        return hand.execute(f"SELECT {column} FROM entries WHERE name = 'x'").fetchone()[0]


def test_row_with_any_column_changed_is_tampered_and_no_other_suffers(path, barrier):
    barrier.write_many([draft("x", "one"), draft("x", "two"), draft("y", "fine")])
    for column, value in COLUMNS.items():
        was = held(path, column)
        assert sql(path, f"UPDATE entries SET {column} = ? WHERE name = 'x'", value) == 1, column
        for act in (
            lambda: barrier.read(X),
            lambda: barrier.history(X),
            lambda: barrier.read_version(X, "1"),
            lambda: barrier.write(draft("x", "three")),
            lambda: barrier.delete(X, author="a"),
            lambda: barrier.rollback(X, "1", author="a"),
        ):
            with pytest.raises(TamperedError, match='variable "x"') as caught:
                act()
            assert caught.value.__suppress_context__, column
        assert text(barrier, Ref("variable", "y")) == "fine", column
        listed = {summary.ref.name: summary for summary in barrier.list("variable", with_deleted=True)}
        assert listed["x"].state is EntryState.TAMPERED, column
        assert listed["x"].problem == "what is stored was changed, moved or damaged"
        assert listed["x"].metadata == Metadata()
        assert listed["y"].state is EntryState.OK, column
        sql(path, f"UPDATE entries SET {column} = ? WHERE name = 'x'", was)
        assert text(barrier) == "two", column


def test_every_column_of_a_row_is_authenticated():
    identity = {"deployment", "team", "kind", "name"}  # changed, they are another entry's: proven below
    assert set(COLUMNS) | identity == set(schema.entries.columns.keys())


@pytest.mark.parametrize(
    ("column", "value"),
    [("name", "z"), ("team", "data"), ("kind", "connection"), ("deployment", "staging")],
)
def test_row_moved_to_another_name_does_not_answer_for_it(path, column, value):
    first = make_barrier(path)
    staging = make_barrier(path, deployment="staging")
    first.write_many([draft("x", "one"), draft("other", team="data")])
    sql(path, f"UPDATE entries SET {column} = ? WHERE name = 'x'", value)
    moved = {
        "name": (first, Ref("variable", "z")),
        "team": (first, Ref("variable", "x", "data")),
        "kind": (first, Ref("connection", "x")),
        "deployment": (staging, X),
    }
    reader, ref = moved[column]
    with pytest.raises(TamperedError):
        reader.read(ref)
    first.close()
    staging.close()


@pytest.mark.parametrize("column", ["mac", "tags", "changed_at", "description", "is_deleted"])
def test_column_of_another_type_is_tampered_and_not_a_crash(path, barrier, column):
    barrier.write_many([draft("x"), draft("y")])
    was = held(path, column)
    for value in (None, 7, 1.5, "text", b"\xff\xfe"):
        try:
            sql(path, f"UPDATE entries SET {column} = ? WHERE name = 'x'", value)
        except REFUSALS:
            continue
        if (column, value) == ("description", None):
            continue
        with pytest.raises(TamperedError):
            barrier.read(X)
        assert text(barrier, Ref("variable", "y")) == "plaintext", value
        sql(path, f"UPDATE entries SET {column} = ? WHERE name = 'x'", was)
        assert text(barrier) == "plaintext", value


@in_a_file
def test_text_that_is_no_utf8_is_tampered_and_no_other_suffers(path, barrier):
    barrier.write_many([draft("x"), draft("y", "fine")])
    sql(path, "UPDATE entries SET description = CAST(x'ff80' AS TEXT) WHERE name = 'x'")
    with pytest.raises(TamperedError):
        barrier.read(X)
    assert [(row.ref.name, row.state) for row in barrier.list("variable")] == [
        ("x", EntryState.TAMPERED),
        ("y", EntryState.OK),
    ]
    sql(path, "UPDATE versions SET comment = CAST(x'ff80' AS TEXT)")
    with pytest.raises(TamperedError):
        barrier.read_version(Ref("variable", "y"), "1")


def test_row_renamed_to_no_legal_name_is_left_out_of_the_listing(path, barrier):
    barrier.write_many([draft("x"), draft("y")])
    sql(path, "UPDATE entries SET name = '../../etc' WHERE name = 'x'")
    assert names(barrier) == ["y"]


def test_sealed_bytes_swapped_between_rows_are_tampered(path, barrier):
    barrier.write_many([draft("x", "one"), draft("y", "two")])
    with by_hand(path) as connection:
        (a, sealed_a), (b, sealed_b) = connection.execute("SELECT entry_id, sealed FROM versions").fetchall()
        connection.execute("UPDATE versions SET sealed = ? WHERE entry_id = ?", (sealed_b, a))
        connection.execute("UPDATE versions SET sealed = ? WHERE entry_id = ?", (sealed_a, b))
    for name in ("x", "y"):
        with pytest.raises(TamperedError, match=name):
            barrier.read(Ref("variable", name))


def test_old_sealed_bytes_put_back_as_the_current_version_are_tampered(path, barrier):
    for value in ("old", "new"):
        barrier.write(draft("x", value))
    sql(
        path,
        "UPDATE versions SET sealed = (SELECT sealed FROM versions WHERE number = 1) WHERE number = 2",
    )
    with pytest.raises(TamperedError):
        barrier.read(X)
    assert barrier.read_version(X, "1").secret.reveal() == "old"
    assert barrier.rollback(X, "1", author="alice") == "3"
    assert text(barrier) == "old"


def test_whole_row_put_back_is_noticed_by_the_history_and_the_next_write(path, barrier):
    barrier.write(draft("x", "old"))
    with by_hand(path) as connection:
        columns = ", ".join(schema.entries.columns.keys())
        row = connection.execute(f"SELECT {columns} FROM entries").fetchone()
    barrier.write(draft("x", "new"))
    assignments = ", ".join(f"{column} = ?" for column in schema.entries.columns.keys())  # noqa: SIM118 -- names
    sql(path, f"UPDATE entries SET {assignments}", *row)
    assert text(barrier) == "old"  # the docstring of store.py says so
    with pytest.raises(TamperedError, match='variable "x"'):
        barrier.history(X)
    with pytest.raises(TamperedError, match='variable "x"'):
        barrier.write(draft("x", "newer"))


def test_version_that_was_taken_away_is_tampered_and_not_absent(path, barrier):
    barrier.write(draft("x"))
    sql(path, "DELETE FROM versions")
    with pytest.raises(TamperedError):
        barrier.read(X)


@pytest.mark.parametrize(
    ("column", "value"),
    [("author", "mallory"), ("comment", "x"), ("created_at", 5), ("conn_type", "x"), ("mac", b"")],
)
def test_history_that_was_rewritten_is_tampered(path, barrier, column, value):
    barrier.write(draft("x"))
    sql(path, f"UPDATE versions SET {column} = ?", value)
    with pytest.raises(TamperedError):
        barrier.history(X)
    with pytest.raises(TamperedError):
        barrier.read_version(X, "1")


def test_version_row_moved_to_another_number_is_tampered(path, barrier):
    for value in ("one", "two"):
        barrier.write(draft("x", value))
    sql(path, "UPDATE versions SET number = 9 WHERE number = 1")
    sql(path, "UPDATE versions SET number = 1 WHERE number = 2")
    with pytest.raises(TamperedError):
        barrier.read_version(X, "1")


def test_any_flipped_byte_of_a_sealed_value_is_an_error_and_never_another_value(path, barrier):
    barrier.write(draft("x", "one"))
    with by_hand(path) as connection:
        sealed = bytearray(connection.execute("SELECT sealed FROM versions").fetchone()[0])
    for byte in (0, 2, *range(5, 200, 13)):
        sealed[byte] ^= 1
        sql(path, "UPDATE versions SET sealed = ?", bytes(sealed))
        with pytest.raises((TamperedError, SealedError, InvalidInputError)) as caught:
            barrier.read(X)
        assert caught.type is TamperedError, byte
        sealed[byte] ^= 1
    sql(path, "UPDATE versions SET sealed = ?", bytes(sealed))
    assert text(barrier) == "one"


@pytest.mark.parametrize("byte", [3, 4])
def test_value_in_a_newer_format_is_malformed_and_says_to_upgrade(path, barrier, byte):
    barrier.write(draft("x", "one"))
    with by_hand(path) as connection:
        sealed = bytearray(connection.execute("SELECT sealed FROM versions").fetchone()[0])
    sealed[byte] = 9
    sql(path, "UPDATE versions SET sealed = ?", bytes(sealed))
    with pytest.raises(MalformedEntryError, match="newer format") as caught:
        barrier.read(X)
    assert "upgrade" in caught.value.hint


def test_sweep_leaves_rows_that_were_made_to_expire_by_hand(path, barrier, clock):
    barrier.write(draft("x", "kept"))
    sql(path, "UPDATE entries SET expires_at = 1")
    assert barrier.sweep(clock.now) == 0
    with pytest.raises(TamperedError):
        barrier.read(X)


def test_row_that_names_an_unknown_key_is_tampered(path, barrier):
    barrier.write(draft("x"))
    with by_hand(path) as connection:
        (mac,) = connection.execute("SELECT mac FROM entries").fetchone()
    sql(path, "UPDATE entries SET mac = ?", b"?" * 16 + mac[16:])
    with pytest.raises(TamperedError):
        barrier.read(X)


def test_change_with_an_illegal_name_is_skipped(path, barrier):
    barrier.write_many([draft("x"), draft("y")])
    sql(path, "UPDATE changes SET name = '..' WHERE name = 'x'")
    assert [change.ref.name for change in barrier.changes()] == ["y"]


@in_a_file
def test_no_value_and_no_key_stands_in_the_files(path, barrier):
    key = HeldKey()
    barrier.write(draft("orders_db", CANARY, metadata=Metadata(description="seen")))
    barrier.write(draft("orders_db", CANARY + "2"))
    content = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"orders_db" in content
    assert CANARY.encode() not in content
    assert CANARY.encode("utf-16-le") not in content
    assert key.key not in content


# --- threads and processes ---------------------------------------------------------------------


def test_threads_that_expect_a_version_never_lose_a_write(barrier):
    barrier.write(draft("x", "0"))
    start = threading.Barrier(4)

    def increment(_):
        start.wait()
        done = 0
        while done < 10:
            entry = barrier.read(X)
            try:
                barrier.write(draft("x", str(int(entry.secret.reveal()) + 1), expected_version=entry.version))
            except ConflictError:
                continue
            done += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(increment, range(4)))
    assert (text(barrier), barrier.read(X).version) == ("40", "41")


def test_forked_child_reads_and_writes_with_the_keys_it_inherited(barrier):
    barrier.write(draft("x", "parent"))
    pid = os.fork()
    if pid == 0:
        try:
            assert text(barrier) == "parent"
            barrier.write(draft("x", "child"))
            os._exit(0)
        finally:  # the child must end here whatever happened
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert text(barrier) == "child"


def test_closed_barrier_forgets_its_keys(path):
    made = make_barrier(path)
    made.write(draft("x"))
    made.close()
    made.close()
    assert made._keychain.is_empty


def test_json_of_tags_keeps_their_characters(path, barrier):
    barrier.write(draft("x", metadata=Metadata(tags=("é", '"', "a,b"))))
    assert barrier.read(X).metadata.tags == tuple(sorted(("é", '"', "a,b")))
    with by_hand(path) as connection:
        assert json.loads(connection.execute("SELECT tags FROM entries").fetchone()[0]) == ['"', "a,b", "é"]


def test_secret_of_an_edit_never_leaves_the_barrier(barrier):
    barrier.write(draft("x", CANARY))
    assert isinstance(barrier.read(X).secret, Secret)
    assert CANARY not in repr(barrier.read(X)) + repr(barrier.history(X)) + repr(statuses(barrier))


# --- what a row must be able to give back --------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"metadata": Metadata(description=5)},
        {"metadata": Metadata(owner=True)},
        {"metadata": Metadata(conn_type=1.5)},
        {"metadata": Metadata(tags=("a", 1))},
        {"metadata": Metadata(not_after="2030-01-01")},
        {"author": 5},
        {"comment": 5},
    ],
)
def test_what_is_no_text_is_refused_instead_of_becoming_an_entry_nobody_can_read(barrier, changed):
    with pytest.raises(InvalidInputError):
        barrier.write(draft("x", **changed))
    assert barrier.read(X) is None


@pytest.mark.parametrize("field", ["remind_at", "not_after", "expires_at"])
@pytest.mark.parametrize(
    "moment",
    [
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))),
    ],
)
def test_time_that_utc_cannot_say_is_refused_and_listing_goes_on(barrier, field, moment):
    with pytest.raises(InvalidInputError, match="years"):
        barrier.write(draft("x", metadata=Metadata(**{field: moment})))
    assert barrier.list("variable") == []


@in_a_file
def test_listing_ends_at_bytes_planted_as_a_name(path, barrier):
    barrier.write_many(draft(name) for name in "abc")
    sql(path, "UPDATE entries SET name = x'62' WHERE name = 'b'")
    assert [summary.ref.name for summary in barrier.list("variable")] == ["a", "c"]


@in_a_file
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "'zz'"),
        ("id", "CAST(x'ff' AS TEXT)"),
        ("number", "'zz'"),
        ("number", "1e300"),
        ("created_at", "'zz'"),
        ("created_at", "9223372036854775807"),
    ],
)
def test_key_row_with_a_column_of_another_type_is_tampered(path, barrier, column, value):
    barrier.write(draft("x", team="data"))
    sql(path, f"UPDATE keks SET {column} = {value} WHERE team = 'data'")
    with pytest.raises(TamperedError):
        barrier.keys()
    with pytest.raises(TamperedError):
        open_barrier(path).read(Ref("variable", "x", "data"))


@in_a_file
@pytest.mark.parametrize("planted", ["x'03'", "x'62ff'", "'a//b'"])
def test_planted_name_that_is_not_legal_cuts_no_listing_short(path, barrier, planted):
    barrier.write_many(draft(name) for name in "abcdef")
    sql(path, f"UPDATE entries SET name = CAST({planted} AS TEXT) WHERE name = 'b'")
    assert [summary.ref.name for summary in barrier.list("variable", limit=3)] == ["a", "c", "d"]
    assert [summary.ref.name for summary in barrier.list("variable", limit=3, after="d")] == ["e", "f"]


@in_a_file
@pytest.mark.parametrize("planted", ["x'03'", "x'62ff'", "'a//b'"])
def test_planted_name_that_is_not_legal_cuts_no_outline_short(path, barrier, planted):
    barrier.write_many(draft(name) for name in "abcdef")
    sql(path, f"UPDATE entries SET name = CAST({planted} AS TEXT) WHERE name = 'b'")
    assert [one.name for one in barrier.outline("variable", limit=3)] == ["a", "c", "d"]
    assert [one.name for one in barrier.outline("variable", limit=3, after="d")] == ["e", "f"]


def test_named_entries_are_those_of_the_listing(path, barrier, clock):
    barrier.write_many(draft(name, metadata=Metadata(description=name, owner="o")) for name in "abcd")
    barrier.delete(Ref("variable", "b"), author="a")
    barrier.write(draft("d", metadata=Metadata(expires_at=clock() + timedelta(hours=1))))
    sql(path, "UPDATE entries SET owner = 'x' WHERE name = 'c'")
    listed = barrier.list("variable")
    assert barrier.named("variable", ["d", "nowhere", "c", "b", "a", "a"]) == listed
    assert [one.state for one in listed] == [EntryState.OK, EntryState.TAMPERED, EntryState.OK]
    assert [one.name for one in barrier.outline("variable")] == ["a", "c", "d"]
    clock.now += timedelta(hours=1)
    assert [one.ref.name for one in barrier.named("variable", ["a", "d"])] == ["a"]
    assert [one.name for one in barrier.outline("variable")] == ["a", "c"]


@in_a_file
@pytest.mark.parametrize(
    "column", ["changed_at", "conn_type", "description", "expires_at", "tags", "owner", "not_after"]
)
@pytest.mark.parametrize("value", ["x'00'", "'9'", "'[9]'", "1e300", "-9223372036854775808"])
def test_outline_takes_any_column_of_another_type(path, barrier, column, value):
    barrier.write(draft("x"))
    sql(path, f"UPDATE entries SET {column} = {value}")
    for one in barrier.outline("variable"):
        kinds = (str, int, str, str, int, str, tuple, str, int, int, bool)
        for found, kind in zip(one, kinds, strict=True):
            assert found is None or type(found) is kind
