"""A store is moved between any two databases; ended anywhere there is one home or none, and never two."""

import itertools
import sqlite3
from contextlib import closing, suppress

import pytest

from native_room import Clock, HeldKey, draft, make_barrier
from parts.homes import KINDS, by_hand, home
from strongroom.barrier import Barrier
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    ReadOnlyError,
    SealedError,
    TamperedError,
)
from strongroom.model.ref import Ref
from strongroom.registry import Registry
from strongroom.registry.row import Change
from strongroom.service.moving import Checked, move
from strongroom.service.opening import open_all
from strongroom.store import rows, whole
from strongroom.store.store import Store

CLOCK = Clock()
NAMES = ("a", "A", "é", "e", "Z", "z ", "\U0001d518", "\uffee", "per%cent_", "quote'\"", "x" * 250)


def barrier_of(store, deployment="prod"):
    return Barrier.open(store, [HeldKey()], deployment=deployment, clock=CLOCK)


def check(store, deployment, progress):
    opened = open_all(barrier_of(store, deployment), progress=progress)
    return Checked(deployment=deployment, entries=opened.entries, versions=opened.versions, keys=opened.keys)


def go(source, place, *, checking=check, told=lambda *_: None):
    """Move *source* to *place* and give what was done and the store there."""
    return move(
        source, lambda: Store.open(place, create=True, past_marks=True), check=checking, progress=told
    )


def fill(barrier):
    """Write one of everything that may differ between databases."""
    barrier.write_many([draft(name, f"value of {name!r}\n\0 ü") for name in NAMES])
    barrier.write(draft("large", "x" * 1_048_576))
    barrier.write(draft("empty", ""))
    barrier.write(draft("a", "second"))
    barrier.write(draft("orders", "postgres://u:p@h/d", kind="connection", team="data"))
    barrier.delete(Ref("variable", "e"), author="bob")
    Registry(barrier.store, barrier, deployment=barrier.deployment).put_many(
        [Change("person", f"p{number}", bytes(range(256))) for number in range(3)]
    )


def seen(barrier):
    """Everything there is to know of a deployment."""
    found = []
    for team, kind in itertools.product((None, "data"), ("variable", "connection")):
        for summary in barrier.list(kind, team=team, with_deleted=True):
            texts = [
                barrier.read_version(summary.ref, info.version).secret.reveal()
                for info in barrier.history(summary.ref)
            ]
            found.append((summary, barrier.history(summary.ref), texts))
    registry = Registry(barrier.store, barrier, deployment=barrier.deployment)
    return found, barrier.changes(), barrier.last_sequence(), registry.snapshot(), barrier.teams()


@pytest.fixture
def source(tmp_path):
    barrier = make_barrier(tmp_path / "source" / "store.db", clock=CLOCK)
    fill(barrier)
    yield barrier
    barrier.close()


@pytest.mark.parametrize("kind", KINDS)
def test_moved_store_is_the_same_in_every_database_and_on_its_way_back(kind, source, tmp_path):
    before = seen(source)
    moved, there = go(source.store, home(kind, tmp_path))
    assert moved.checked == (Checked(deployment="prod", entries=14, versions=15, keys=2),)
    assert moved.rows["versions"] == 15
    assert there.id == source.store.id
    barrier = barrier_of(there)
    assert seen(barrier) == before
    assert barrier.write(draft("a", "third")) == "3"
    assert barrier.last_sequence() == before[2] + 1
    after = seen(barrier)
    moved, back = go(there, tmp_path / "back" / "store.db")
    there.close()
    assert seen(barrier_of(back)) == after
    back.close()


def test_moved_store_opens_no_more_and_says_where_it_is(source, tmp_path):
    place = tmp_path / "new" / "store.db"
    go(source.store, place)[1].close()
    assert source.read(Ref("variable", "a")).secret.reveal() == "second"
    for _ in range(2):  # whoever decides by it asks this first
        with pytest.raises(BackendUnavailableError, match="was moved"):
            source.data_version()
    with pytest.raises(ReadOnlyError, match="was moved; what is written here would be lost"):
        source.write(draft("late", "lost"))
    with pytest.raises(BackendConfigError, match=r"was moved to .*new/store\.db"):
        Store.open(source.store.path)
    assert barrier_of(Store.open(place)).read(Ref("variable", "late")) is None


def test_place_that_holds_another_store_is_left_as_it_is(source, tmp_path):
    other = make_barrier(tmp_path / "other" / "store.db", clock=CLOCK)
    other.write(draft("theirs", "kept"))
    with pytest.raises(ConflictError, match="another store at that place"):
        go(source.store, other.store.path)
    with pytest.raises(ConflictError, match="is there already"):
        go(source.store, source.store.path)
    assert other.read(Ref("variable", "theirs")).secret.reveal() == "kept"
    assert source.write(draft("a", "still the home"))
    other.close()


def test_nobody_writes_while_a_store_is_moved_and_everybody_reads(source, tmp_path):
    met = []

    def told(_step, _done, _total):
        if not met:
            assert source.read(Ref("variable", "a")).secret.reveal() == "second"
            with pytest.raises(BackendUnavailableError, match="busy with other writes"):
                source.write(draft("meanwhile", "lost"))
            met.append(True)

    go(source.store, tmp_path / "new" / "store.db", told=told)[1].close()
    assert met


def test_row_that_fails_authentication_stops_the_move(source, tmp_path):
    with source.store.write() as transaction:
        transaction.connection.execute("UPDATE entries SET description = 'planted' WHERE name = 'Z'")
    with pytest.raises(TamperedError, match=r'variable "Z" .*failed authentication'):
        go(source.store, tmp_path / "new" / "store.db")
    assert source.write(draft("a", "still the home"))
    with pytest.raises(BackendConfigError, match="is not whole"):
        Store.open(tmp_path / "new" / "store.db")


@pytest.mark.parametrize(
    "planted",
    [
        "DELETE FROM versions WHERE number = 2",
        "DELETE FROM entries WHERE name = 'Z'",
        "UPDATE versions SET comment = 'planted' WHERE number = 2",
        "UPDATE versions SET number = 3 WHERE number = 2",
        "UPDATE entries SET name = 'a\\b' WHERE name = 'Z'",
        "UPDATE entries SET id = 'text' WHERE name = 'Z'",
    ],
)
def test_store_that_lacks_or_has_one_row_too_many_is_not_moved(planted, source, tmp_path):
    with closing(sqlite3.connect(source.store.path, isolation_level=None)) as connection:
        connection.execute(planted)  # this connection heeds no foreign key
    with pytest.raises(TamperedError):
        go(source.store, tmp_path / "new" / "store.db")
    assert opens(source.store.path)


def test_copy_that_is_not_the_same_stops_the_move(source, tmp_path):
    place = tmp_path / "new" / "store.db"

    def forgets(store, *_):
        raise AssertionError("it is compared before it is opened")

    with Store.open(place, create=True).write() as transaction:
        # A database that keeps less than it is given.
        transaction.connection.execute(
            "CREATE TRIGGER forget AFTER INSERT ON versions WHEN NEW.number = 2"
            " BEGIN UPDATE versions SET comment = 'other' WHERE entry_id = NEW.entry_id; END"
        )
    with pytest.raises(TamperedError, match="table versions is not the same at the new place"):
        go(source.store, place, checking=forgets)
    assert source.write(draft("a", "still the home"))


class Killed(BaseException):
    """As a kill: nobody handles it."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", ["copying", "comparing", "opening", "leaving", "arriving"])
def test_move_that_ended_anywhere_leaves_one_home_or_none_and_is_ended_by_the_next(
    step, kind, source, tmp_path
):
    before, place = seen(source), home(kind, tmp_path)
    interrupted(source.store, place, step)
    homes = [opens(source.store.path), opens(place)]
    assert homes.count(True) == (0 if step == "arriving" else 1)
    assert homes[0] is (step != "arriving")
    again = Store.open(source.store.path, past_marks=True)
    moved, there = go(again, place)
    assert moved.is_ended_only is (step == "arriving")
    assert [opens(source.store.path), opens(place)] == [False, True]
    assert seen(barrier_of(there)) == before
    there.close()
    again.close()


def interrupted(source, place, step):
    """Move and be struck in *step*, or before one of the two marks is made or taken away."""

    def told(now, _done, _total):
        if now == step:
            raise Killed

    def checking(store, deployment, progress):
        found = check(store, deployment, progress)
        if step == "leaving":
            raise Killed
        return found

    if step != "arriving":
        with pytest.raises(Killed):
            go(source, place, checking=checking, told=told)
        return
    with suppress(BaseException):
        go(source, place)[1].close()
    there = Store.open(place)
    with there.write() as transaction:
        whole.mark(transaction, rows.ARRIVING, "1")
    there.close()


def opens(place):
    try:
        barrier_of(Store.open(place)).close()
    except (BackendConfigError, SealedError):  # marked, or empty
        return False
    return True


def test_moved_store_is_not_moved_on_from_its_old_place(source, tmp_path):
    go(source.store, tmp_path / "new" / "store.db")[1].close()
    with pytest.raises(ConflictError, match="was moved to another place already"):
        go(Store.open(source.store.path, past_marks=True), tmp_path / "third" / "store.db")


def test_store_that_has_not_arrived_is_not_moved_on(source, tmp_path):
    halfway, third = tmp_path / "new" / "store.db", tmp_path / "third" / "store.db"
    interrupted(source.store, halfway, "opening")
    with pytest.raises(ConflictError, match="is not whole"):
        go(Store.open(halfway, past_marks=True), third)
    assert [opens(source.store.path), opens(halfway), opens(third)] == [True, False, False]


def test_place_that_another_store_is_being_moved_to_is_left_as_it_is(source, tmp_path):
    place = tmp_path / "new" / "store.db"
    interrupted(source.store, place, "opening")
    other = make_barrier(tmp_path / "other" / "store.db", clock=CLOCK)
    other.write(draft("theirs", "kept"))
    with pytest.raises(ConflictError, match="another store is being moved to that place"):
        go(other.store, place)
    other.close()
    assert opens(tmp_path / "other" / "store.db")
    go(source.store, place)[1].close()
    assert barrier_of(Store.open(place)).read(Ref("variable", "a")).secret.reveal() == "second"


def test_old_home_in_a_server_is_kept_from_idling_while_the_new_one_is_proven(source, tmp_path):
    place = home("postgresql", tmp_path)
    there = go(source.store, place)[1]
    moments = []

    def told(*_):
        with by_hand(place) as hand:
            moments.extend(
                hand.execute(
                    "SELECT state_change FROM pg_stat_activity"
                    " WHERE datname = current_database() AND state = 'idle in transaction'"
                )
            )

    go(there, tmp_path / "back" / "store.db", told=told)[1].close()
    there.close()
    assert len(set(moments)) == len(moments) > 10
