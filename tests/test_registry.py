"""The rows of who may: written, followed, and never changed unseen (CR11)."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from itertools import count

import pytest

from native_room import make_barrier, open_barrier
from parts import homes
from parts.homes import KINDS, REFUSALS, lent
from strongroom.errors import BackendUnavailableError, ConflictError, InvalidInputError, TamperedError
from strongroom.registry import ABSENT, Change, Registry

DEADLINE_SECONDS = 20


@pytest.fixture(params=KINDS)
def path(request, tmp_path):
    """Where the store is, in each kind of database."""
    with lent(request.param, tmp_path) as place:
        yield place


in_a_file = pytest.mark.parametrize("path", ["sqlite"], indirect=True)
where_hands_are_noticed = pytest.mark.parametrize("path", ["sqlite", "postgresql"], indirect=True)
"""A MariaDB tells nobody of them; the rows are read whole every minute."""


@pytest.fixture
def make(path, tmp_path):
    """Open registries over one store, as so many processes would."""
    opened = []

    def make(*, deployment="prod", anchor=True, **more):
        barrier = make_barrier(path, deployment=deployment)
        anchor_path = tmp_path / f"{deployment}.registry" if anchor else None
        registry = Registry(barrier.store, barrier, deployment=deployment, anchor=anchor_path, **more)
        opened.append((registry, barrier))
        return registry

    yield make
    for registry, barrier in opened:
        registry.close()
        barrier.close()


def by_hand(path, *statements):
    with homes.by_hand(path) as hand:
        for statement in statements:
            hand.execute(*statement) if isinstance(statement, tuple) else hand.execute(statement)


def alarm_of(registry):
    """Let *registry* look, and give the alarm it raises; who asks is told less."""
    alarms = []
    registry.on_alarm(lambda error: alarms.append(str(error)))
    registry.look()
    with pytest.raises(TamperedError) as caught:
        registry.snapshot()
    assert str(caught.value) == "the registry of who may was changed by hand"
    assert len(alarms) == 1
    return alarms[0]


def until(claim):
    end = time.monotonic() + DEADLINE_SECONDS
    while not claim():
        assert time.monotonic() < end
        time.sleep(0.01)


def fill(registry):
    registry.put("person", "anna", b"1")
    registry.put("person", "bert", b"2")
    registry.put("token", "ci", b"3")
    registry.put("person", "anna", b"4")


# --- writing and reading ---------------------------------------------------------------------------


def test_row_that_was_put_is_in_the_next_snapshot(make):
    registry = make()
    assert registry.snapshot().revision == 0
    assert registry.put("person", "anna", b"body") == 1
    row = registry.snapshot().of("person")["anna"]
    assert row == ("person", "anna", b"body", 1)
    assert registry.snapshot().of("token") == {}


def test_delete_tells_whether_there_was_one(make):
    registry = make()
    registry.put("person", "anna", b"body")
    assert registry.delete("person", "anna") is True
    assert registry.delete("person", "anna") is False
    assert registry.snapshot().of("person") == {}


def test_row_that_is_not_the_one_expected_is_a_conflict_and_nothing_is_done(make):
    registry = make()
    first = registry.put("person", "anna", b"1", expected=ABSENT)
    with pytest.raises(ConflictError, match="exists already") as exists:
        registry.put("person", "anna", b"2", expected=ABSENT)
    registry.put("person", "anna", b"3", expected=first)
    with pytest.raises(ConflictError, match="changed meanwhile"):
        registry.put_many([Change("person", "bert", b"x"), Change("person", "anna", None, first)])
    assert exists.value.current_version == str(first)
    assert {row.id: row.body for row in registry.snapshot().of("person").values()} == {"anna": b"3"}


def test_mapping_of_a_kind_is_the_same_object_until_it_changes(make):
    registry = make()
    fill(registry)
    people = registry.snapshot().of("person")
    registry.put("token", "other", b"")
    assert registry.snapshot().of("person") is people
    registry.put("person", "anna", b"new")
    assert registry.snapshot().of("person") is not people
    assert people["anna"].body == b"4"


@pytest.mark.parametrize(
    "change",
    [
        Change("Person", "a", b""),
        Change("", "a", b""),
        Change("person", "", b""),
        Change("person", "a" * 513, b""),
        Change("person", "\ud800", b""),
        Change("person", "a", b"x" * 1_048_577),
    ],
)
def test_what_no_row_can_hold_is_refused(make, change):
    with pytest.raises(InvalidInputError):
        make().put_many([change])


def test_rows_of_one_deployment_are_not_those_of_another(make):
    prod, dev = make(), make(deployment="dev")
    prod.put("person", "anna", b"prod")
    dev.put("person", "anna", b"dev")
    assert make().snapshot().of("person")["anna"].body == b"prod"
    assert make(deployment="dev").snapshot().of("person")["anna"].body == b"dev"


def test_change_is_decided_on_the_rows_as_they_stand_when_it_is_written(make):
    mine, other = make(), make()
    mine.snapshot()
    fill(other)
    mine.change(lambda now: [Change("person", row, None) for row in now.of("person")])
    assert mine.snapshot().of("person") == {}
    assert set(mine.snapshot().of("token")) == {"ci"}


# --- following others ------------------------------------------------------------------------------


def test_change_of_another_process_is_seen_without_asking(make):
    mine, other = make(), make()
    seen = []
    mine.watch(lambda snapshot: seen.append(sorted(snapshot.of("person"))))
    other.put("person", "anna", b"")
    until(lambda: seen == [["anna"]])
    other.delete("person", "anna")
    until(lambda: seen == [["anna"], []])


def test_change_of_another_process_is_seen_by_who_only_asks(make):
    mine, other = make(), make()
    assert mine.snapshot().revision == 0
    other.put("person", "anna", b"")
    until(lambda: "anna" in mine.snapshot().of("person"))


def test_writer_that_was_behind_catches_up_inside_its_transaction(make):
    mine, other = make(), make()
    mine.snapshot()
    fill(other)
    other.delete("person", "bert")
    with pytest.raises(ConflictError):
        mine.put("person", "anna", b"", expected=ABSENT)
    assert mine.put("person", "carla", b"") == 6
    assert sorted(mine.snapshot().of("person")) == ["anna", "carla"]
    assert other.problems() == []


def test_forked_child_goes_on_reading_and_writing(make):
    registry = make()
    registry.watch(lambda _snapshot: None)
    fill(registry)
    child = os.fork()
    if not child:
        try:
            registry.put("person", "from-the-child", b"")
            os._exit(0 if "from-the-child" in registry.snapshot().of("person") else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    until(lambda: "from-the-child" in registry.snapshot().of("person"))


def count_up(path, start, times):
    barrier = open_barrier(path)
    registry = Registry(barrier.store, barrier, deployment="prod")
    start.wait()
    while times:
        row = registry.snapshot().of("counter")["all"]
        try:
            registry.put("counter", "all", b"%d" % (int(row.body) + 1), expected=row.revision)
            times -= 1
        except (ConflictError, BackendUnavailableError):
            registry.look()
    registry.close()
    barrier.close()


def test_processes_that_write_at_once_lose_nothing(make, path):
    registry = make()
    registry.put("counter", "all", b"0")
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(4)
    processes = [fork.Process(target=count_up, args=(path, start, 25)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    registry.look()
    assert registry.snapshot().of("counter")["all"].body == b"100"
    assert make().problems() == []


def test_threads_that_write_at_once_lose_nothing(make):
    registry = make()

    def work(name):
        for number in range(20):
            registry.put("person", f"{name}-{number}", b"")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.snapshot().of("person")) == 80
    assert make().snapshot().revision == 80


# --- changed by hand -------------------------------------------------------------------------------

INSERT = "INSERT INTO registry VALUES ('prod', ?, ?, ?, ?, ?)"
HAND = {
    "body edited": [("UPDATE registry SET body = ? WHERE id = 'anna'", (b"\0",))],
    "body edited to another type": ["UPDATE registry SET body = 'text' WHERE id = 'anna'"],
    "row renamed": ["UPDATE registry SET id = 'eve' WHERE id = 'anna'"],
    "row moved to another kind": ["UPDATE registry SET kind = 'token' WHERE id = 'anna'"],
    "row moved to another deployment": ["UPDATE registry SET deployment = 'dev' WHERE id = 'anna'"],
    "row renumbered": ["UPDATE registry SET revision = 99 WHERE id = 'anna'"],
    "row renumbered below all": ["UPDATE registry SET revision = -1 WHERE id = 'anna'"],
    "row deleted": ["DELETE FROM registry WHERE id = 'bert'"],
    "all rows deleted": ["DELETE FROM registry"],
    "head deleted": ["DELETE FROM registry_heads"],
    "everything deleted": ["DELETE FROM registry", "DELETE FROM registry_heads"],
    "row inserted": [(INSERT, ("person", "eve", b"{}", 5, b"m" * 48))],
    "row inserted with a copied MAC": [
        "INSERT INTO registry SELECT deployment, kind, 'eve', body, revision, mac FROM registry LIMIT 1"
    ],
    "row inserted with a revision below all": [(INSERT, ("person", "eve", b"{}", -5, b"m" * 48))],
    "MACs exchanged": [
        "UPDATE registry SET mac = (SELECT mac FROM registry WHERE id = 'bert') WHERE id = 'anna'"
    ],
    "MAC cut": [("UPDATE registry SET mac = ? WHERE id = 'anna'", (b"",))],
    "MAC of another type": ["UPDATE registry SET mac = 1 WHERE id = 'anna'"],
    "id that is no text": ["UPDATE registry SET id = CAST(x'ff' AS TEXT) WHERE id = 'anna'"],
    "head revision raised": ["UPDATE registry_heads SET revision = revision + 1"],
    "head count changed": ["UPDATE registry_heads SET row_count = 2"],
    "head digest changed": [("UPDATE registry_heads SET digest = ?", (bytes(32),))],
    "head of another type": ["UPDATE registry_heads SET digest = 'x'"],
}
# What a MariaDB lets a hand do, it does as the others: here a few of each table, all of them in the trials.
IN_MARIADB = ("body edited to another type", "row deleted", "MACs exchanged", "head digest changed")
by_every_hand = pytest.mark.parametrize(
    ("path", "how"),
    [
        pytest.param(
            kind, how, marks=[pytest.mark.trial] if kind == "mariadb" and how not in IN_MARIADB else []
        )
        for kind in KINDS
        for how in HAND
    ],
    indirect=["path"],
)


@by_every_hand
def test_CR11_change_by_hand_is_found_by_who_opens_the_store(make, path, how):
    fill(make())
    try:
        by_hand(path, *HAND[how])
    except REFUSALS:
        return  # that database holds nothing of the kind
    alarms = []
    fresh = make(on_alarm=alarms.append)
    for _ in range(2):
        with pytest.raises(TamperedError, match="changed by hand"):
            fresh.snapshot()
    assert len(alarms) == 1
    with pytest.raises(TamperedError):
        fresh.put("person", "eve", b"")
    assert fresh.problems()


@where_hands_are_noticed
@pytest.mark.parametrize("how", HAND)
def test_CR11_change_by_hand_is_found_by_who_has_it_open(make, path, how):
    registry = make(on_alarm=(alarms := []).append)
    fill(registry)
    assert registry.snapshot().of("person")["anna"].body == b"4"
    try:
        by_hand(path, *HAND[how])
    except REFUSALS:
        return
    until(lambda: registry.look() or alarms)
    with pytest.raises(TamperedError):
        registry.snapshot()


@where_hands_are_noticed
def test_CR11_change_by_hand_is_found_by_who_has_it_open_and_asks_nothing(make, path):
    registry = make(on_alarm=(alarms := []).append)
    fill(registry)
    registry.watch(lambda _snapshot: None)
    by_hand(path, *HAND["body edited"])
    until(lambda: alarms)
    with pytest.raises(TamperedError):
        registry.snapshot()


def test_CR11_row_put_back_as_it_stood_before_is_found(make, path):
    registry = make()
    fill(registry)
    with homes.by_hand(path) as connection:
        old = connection.execute("SELECT * FROM registry WHERE id = 'anna'").fetchone()
    registry.put("person", "anna", b"disabled")
    by_hand(
        path,
        "DELETE FROM registry WHERE id = 'anna'",
        ("INSERT INTO registry VALUES (?, ?, ?, ?, ?, ?)", old),
    )
    assert "put back" in alarm_of(make())


def test_CR11_deleted_row_put_back_is_found(make, path):
    registry = make()
    fill(registry)
    with homes.by_hand(path) as connection:
        old = connection.execute("SELECT * FROM registry WHERE id = 'bert'").fetchone()
    registry.delete("person", "bert")
    by_hand(path, ("INSERT INTO registry VALUES (?, ?, ?, ?, ?, ?)", old))
    with pytest.raises(TamperedError):
        make().snapshot()


def copied(path):
    """Give rows and head of the store as they stand."""
    with homes.by_hand(path) as hand:
        return {
            table: hand.execute(f"SELECT * FROM {table}").fetchall()
            for table in ("registry", "registry_heads")
        }


def put_back(path, copy):
    """Put rows and head of *copy* back into the store, as a whole."""
    with homes.by_hand(path) as hand:
        for table, rows in copy.items():
            hand.execute(f"DELETE FROM {table}")
            for row in rows:
                hand.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def test_CR11_rows_and_head_put_back_together_are_found_by_who_has_them_open(make, path, tmp_path):
    registry = make(anchor=False)
    fill(registry)
    copy = copied(path)
    registry.put("person", "anna", b"disabled")
    put_back(path, copy)
    assert "older than what was acknowledged" in alarm_of(registry)


def test_CR11_rows_and_head_put_back_together_are_found_after_a_restart_by_the_anchor(make, path, tmp_path):
    registry = make()
    fill(registry)
    registry.tick()
    copy = copied(path)
    registry.put("person", "anna", b"disabled")
    registry.close()
    put_back(path, copy)
    assert "older than what was acknowledged" in alarm_of(make())
    assert "older" in make().problems()[0]


def test_other_history_of_the_same_length_is_found_by_who_has_the_first_open(make, path, tmp_path):
    registry = make(anchor=False)
    fill(registry)
    copy = copied(path)
    registry.put("person", "anna", b"disabled")
    put_back(path, copy)
    make(anchor=False).put("person", "anna", b"enabled")
    assert "another history" in alarm_of(registry)


def test_write_does_not_launder_what_was_changed_by_hand(make, path):
    registry = make()
    fill(registry)
    registry.snapshot()
    by_hand(path, ("UPDATE registry SET body = ? WHERE id = 'bert'", (b"\0",)))
    try:
        registry.put("person", "anna", b"5")
    except TamperedError:
        return
    with pytest.raises(TamperedError):
        make().snapshot()


def test_registry_that_is_put_right_is_believed_again(make, path):
    registry = make()
    fill(registry)
    by_hand(path, ("UPDATE registry SET body = ? WHERE id = 'bert'", (b"\0",)))
    fresh = make()
    with pytest.raises(TamperedError):
        fresh.snapshot()
    by_hand(path, ("UPDATE registry SET body = ? WHERE id = 'bert'", (b"2",)))

    def is_believed():
        try:
            return bool(fresh.snapshot())
        except TamperedError:
            return False

    until(is_believed)


@by_every_hand
def test_accepting_keeps_what_is_authentic_and_ends_the_alarm(make, path, how):
    registry = make()
    fill(registry)
    registry.close()
    try:
        by_hand(path, *HAND[how])
    except REFUSALS:
        return
    host = make()
    found = host.accept(dropping=["token"])
    assert found
    assert host.problems() == []
    assert host.snapshot().of("token") == {}
    assert "eve" not in host.snapshot().of("person")
    assert make().snapshot() == host.snapshot()
    assert host.put("person", "new", b"") > 5, "a leap"


def test_alarm_quotes_nothing_that_was_planted(make, path):
    fill(make())
    by_hand(path, (INSERT, ("person", "\x1b[2J\nsecret text", b"", 9, b"")))
    assert "a person" in (alarm := alarm_of(make()))
    assert "secret" not in alarm


# --- the anchor ------------------------------------------------------------------------------------


def test_anchor_is_private_and_holds_the_last_revision(make, tmp_path):
    registry = make()
    fill(registry)
    registry.close()
    anchor = tmp_path / "prod.registry"
    assert anchor.stat().st_mode & 0o777 == 0o600
    assert b'"revision": 4' in anchor.read_bytes()


@pytest.mark.parametrize("said", [b"", b"{}", b"[" * 250, b'{"revision": 99, "mac": "00"}', b"\xff" * 256])
def test_anchor_that_is_not_ours_says_nothing(make, tmp_path, said):
    fill(make())
    (tmp_path / "prod.registry").write_bytes(said)
    assert make().snapshot().revision == 4


@in_a_file
def test_anchor_of_another_store_says_nothing(make, path, tmp_path):
    registry = make()
    fill(registry)
    registry.close()
    shutil.rmtree(path.parent)
    assert make().snapshot().revision == 0


def test_anchor_that_cannot_be_written_stops_nobody(make, tmp_path):
    (tmp_path / "prod.registry").mkdir()
    registry = make()
    fill(registry)
    assert registry.snapshot().revision == 4


# --- killed ----------------------------------------------------------------------------------------


def write_pairs(path, anchor, told):
    barrier = open_barrier(path)
    registry = Registry(barrier.store, barrier, deployment="prod", anchor=anchor)
    for number in count(registry.snapshot().revision + 1):
        body = b"%d" % number
        registry.put_many([Change("pair", "a", body), Change("pair", "b", body)])
        os.write(told, body + b"\n")


def test_kill_in_the_middle_of_a_write_leaves_the_old_or_the_new_rows(make, path, tmp_path):
    make().snapshot()
    for round_ in range(6):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                write_pairs(path, tmp_path / "prod.registry", writing)
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            acknowledged = [told.readline() for _ in range(3 + 7 * round_)][-1]
            os.kill(child, signal.SIGKILL)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            rest = told.read().split()
        last = int(rest[-1] if rest else acknowledged)
        pair = make().snapshot().of("pair")
        assert pair["a"].body == pair["b"].body
        assert last <= int(pair["a"].body) <= last + 1


def test_store_opened_by_another_key_is_not_believed(make, path, tmp_path):
    fill(make())
    barrier = open_barrier(path)
    other = make_barrier(tmp_path / "other" / "store.db")
    with pytest.raises(TamperedError):
        Registry(barrier.store, other, deployment="prod").snapshot()
    barrier.close()
    other.close()
