"""Keys of a store: replaced while others read and write, wrapped anew, worn out and destroyed."""

import sqlite3
import sys
import threading
from contextlib import closing
from itertools import count

import pytest

from native_room import NOON, Clock, HeldKey, copy_store, draft, make_barrier, open_barrier
from strongroom.barrier import ROTATOR, Barrier
from strongroom.barrier.status import LEASE_SECONDS
from strongroom.crypto.keyring import ALARM_WRAPS, MAX_WRAPS
from strongroom.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    SealedError,
    TamperedError,
)
from strongroom.model.ref import Ref
from strongroom.registry import Registry
from strongroom.store.store import Store

X = Ref("variable", "x")


@pytest.fixture
def path(tmp_path):
    return copy_store(tmp_path / "room")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def barrier(path, clock):
    made = make_barrier(path, clock=clock)
    yield made
    made.close()


def wrappers_of(path, *wrappers, clock=None):
    return Barrier.open(Store.open(path), wrappers, deployment="prod", clock=clock or Clock())


def moved(barrier, *teams):
    made = barrier.rotation.rotate(teams or [""], author="alice")
    return made, barrier.rewrap.run()


def states(barrier):
    return [(key.team, key.number, key.state, key.sealed_versions) for key in barrier.keys()]  # noqa: SIM118


def only(barrier, number=1, team=None):
    return next(key for key in barrier.keys() if (key.number, key.team) == (number, team))  # noqa: SIM118


def change(path, sql, *parameters):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(sql, parameters)


# --- a new key -----------------------------------------------------------------------------------


def test_new_key_seals_at_once_and_the_old_one_still_opens(barrier):
    barrier.write(draft("x", "old"))
    (made,) = barrier.rotation.rotate([""], author="alice")
    assert barrier.read(X).secret.reveal() == "old"
    barrier.write(draft("y", "new"))
    assert states(barrier) == [(None, 1, "deactivated", 1), (None, 2, "active", 1)]
    assert (made.number, made.id, made.replaced) == (2, only(barrier, 2).id, only(barrier).id)


def test_job_puts_every_version_and_entry_under_the_new_key(barrier):
    barrier.write_many([draft(f"v{number % 40}", str(number)) for number in range(120)])
    barrier.delete(Ref("variable", "v7"), author="alice")
    barrier.write(draft("x", "1" * 100_000, kind="connection"))
    before = [barrier.history(Ref("variable", f"v{number}")) for number in range(40)]
    changes = barrier.changes()
    _, job = moved(barrier)
    assert (job.state, job.total, job.done, job.damaged) == ("finished", 121, 121, 0)
    assert barrier.rotation.named(barrier.rotation.find(only(barrier).id)).total == 0
    assert [barrier.history(Ref("variable", f"v{number}")) for number in range(40)] == before
    assert barrier.changes() == changes
    assert [barrier.read_version(Ref("variable", "v3"), str(n)).secret.reveal() for n in (1, 2, 3)] == [
        "3",
        "43",
        "83",
    ]


def test_keys_of_teams_are_replaced_apart(barrier):
    barrier.write_many([draft("x"), draft("x", team="data"), draft("x", team="ml")])
    moved(barrier, "data")
    assert states(barrier) == [
        (None, 1, "active", 1),
        ("data", 1, "deactivated", 0),
        ("data", 2, "active", 1),
        ("ml", 1, "active", 1),
    ]
    with pytest.raises(NotFoundError, match="the team nobody has no key yet"):
        barrier.rotation.rotate(["nobody"], author="alice")


def test_other_processes_find_the_new_key_when_they_read_and_before_they_write(path, barrier):
    barrier.write(draft("x", "old"))
    other = open_barrier(path)
    assert other.read(X).secret.reveal() == "old"
    moved(barrier)
    assert other.read(X).secret.reveal() == "old"
    assert other.read_version(X, "1").secret.reveal() == "old"
    other.write(draft("y"))
    assert only(barrier, 2).sealed_versions == 2
    assert other.mac_row("any", ("row",))[:16].hex() == only(barrier, 2).id
    other.close()


def test_keys_in_memory_are_not_unwrapped_again(path):
    unwrapped = count()

    class Counting(HeldKey):
        def unwrap(self, blob, *, context):
            next(unwrapped)
            return super().unwrap(blob, context=context)

    barrier = make_barrier(path, key=Counting())
    barrier.write(draft("x"))
    for _ in range(3):
        moved(barrier)
    asked = next(unwrapped)
    # Each new key once to prove it and once to load it, and the first key when it was opened.
    assert asked == 1 + 3 * 2
    barrier.close()


def test_readers_and_writers_go_on_while_a_job_runs(path, barrier):
    barrier.write_many([draft(f"v{number}", f"text {number}") for number in range(150)])
    other, ended, troubles = open_barrier(path), threading.Event(), []

    def read(source):
        for number in count():
            if ended.is_set():
                return
            name = f"v{number % 150}"
            try:
                entry = source.read(Ref("variable", name))
                assert entry.secret.reveal().startswith("text")
                assert source.history(entry.ref)
                if number % 10 == 0:
                    source.write(draft(name, "text anew"))
            except BaseException as error:  # noqa: BLE001 -- whatever it was
                troubles.append(error)
                return

    threads = [threading.Thread(target=read, args=(source,)) for source in (barrier, other)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        moved(barrier)
    ended.set()
    for thread in threads:
        thread.join()
    other.close()
    assert troubles == []
    assert {state[2:] for state in states(barrier)[:2]} == {("deactivated", 0)}


# --- who is at work ------------------------------------------------------------------------------


def test_second_worker_is_refused_until_the_first_was_silent_for_a_lease(path, barrier, clock):
    barrier.write_many([draft(f"v{number}") for number in range(60)])
    barrier.rotation.rotate([""], author="alice")
    other = open_barrier(path, clock=clock)
    refused = []

    def meanwhile(_done, _total):
        with pytest.raises(ConflictError, match="another process re-wraps this store now"):
            other.rewrap.run()
        refused.append(other.rewrap.status().is_at_work)

    assert barrier.rewrap.run(progress=meanwhile).state == "finished"
    assert refused == [True] * 3
    assert other.rewrap.run() is None
    other.close()


def test_worker_that_was_stopped_too_long_writes_nothing_any_more(path, barrier, clock):
    barrier.write_many([draft(f"v{number}") for number in range(60)])
    barrier.rotation.rotate([""], author="alice")
    other = open_barrier(path, clock=clock)
    ends = []

    def stopped(_done, _total):
        if not ends:
            clock.forward(seconds=LEASE_SECONDS + 1)
            ends.append(other.rewrap.run())

    with pytest.raises(ConflictError, match="another process took the job over"):
        barrier.rewrap.run(progress=stopped)
    assert (ends[0].state, ends[0].total, ends[0].done) == ("finished", 60, 60)
    assert len(states(barrier)) == 2  # and no key was made twice
    other.close()


def test_clock_that_was_put_back_does_not_hold_a_job(path, barrier, clock):
    barrier.write(draft("x"))
    barrier.rotation.rotate([""], author="alice")
    clock.forward(days=3650)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE key_jobs SET holder = ?, beat_at = ?", (b"h" * 16, 2**60))
    assert barrier.rewrap.run().state == "finished"


def test_job_that_is_ended_midway_is_gone_on_with(barrier):
    barrier.write_many([draft(f"v{number}") for number in range(60)])
    barrier.rotation.rotate([""], author="alice")
    seen = []
    job = barrier.rewrap.run(progress=lambda done, _: seen.append(done), is_ended=lambda: bool(seen))
    assert (job.state, job.done, job.is_at_work) == ("running", 24, False)
    job = barrier.rewrap.run()
    assert (job.state, job.done) == ("finished", 60)


def test_job_goes_no_faster_than_its_rate(barrier, monkeypatch):
    from strongroom.barrier import rewrap  # noqa: PLC0415

    waited = []
    monkeypatch.setattr(rewrap.time, "sleep", waited.append)
    barrier.write_many([draft(f"v{number}") for number in range(60)])
    barrier.rotation.rotate([""], author="alice")
    barrier.rewrap.run(rate=10)
    assert sum(waited) >= 60 / 10 - 1 - 1  # a second's worth goes ahead


def test_job_sleeps_while_a_thread_of_its_process_reads(barrier, monkeypatch):
    from strongroom.barrier import rewrap  # noqa: PLC0415

    naps = []
    barrier.write_many([draft(f"v{number}") for number in range(48)])
    monkeypatch.setattr(rewrap.time, "sleep", naps.append)
    for readers, least, most in ((set(), 0, 0), ({1}, 20 * (48 + 48), 20 * (48 + 48 + 48))):
        barrier.rotation.rotate([""], author="alice")
        barrier._readers = readers
        barrier.rewrap.run()
        assert least <= len(naps) <= most  # after each row marked and sealed, page read and piece written


def test_interpreter_changes_hands_as_before_after_a_job(barrier):
    before = sys.getswitchinterval()
    barrier.write_many([draft("v")])
    barrier.rotation.rotate([""], author="alice")
    seen = []
    barrier.rewrap.run(progress=lambda *_: seen.append(sys.getswitchinterval()))
    assert seen[0] < before == sys.getswitchinterval()


def test_rotating_again_during_a_job_leaves_nothing_behind(barrier):
    barrier.write_many([draft(f"v{number}") for number in range(60)])
    barrier.rotation.rotate([""], author="alice")
    with pytest.raises(ConflictError, match="took the job over"):
        barrier.rewrap.run(
            progress=lambda done, _: barrier.rotation.rotate([""], author="bob") if done == 24 else None
        )
    job = barrier.rewrap.run()
    assert (job.started_by, job.total, job.done) == ("bob", 60, 60)
    assert [state[2:] for state in states(barrier)] == [
        ("deactivated", 0),
        ("deactivated", 0),
        ("active", 60),
    ]


# --- what was changed by hand --------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE versions SET sealed = zeroblob(length(sealed)) WHERE number = 1",
        "UPDATE versions SET author = 'mallory' WHERE number = 1",
        "UPDATE versions SET mac = zeroblob(48) WHERE number = 1",
    ],
)
def test_damaged_version_is_left_as_it_is_and_keeps_its_key(path, barrier, sql):
    barrier.write_many([draft("x", "1"), draft("x", "2"), draft("y", "1"), draft("y", "2")])
    ids = {row[0] for row in sqlite3.connect(path).execute("SELECT id FROM entries WHERE name = 'x'")}
    change(path, f"{sql} AND entry_id = ?", *ids)
    _, job = moved(barrier)
    assert (job.done, job.damaged) == (3, 1)
    assert barrier.read(X).secret.reveal() == "2"
    with pytest.raises(TamperedError):
        barrier.read_version(X, "1")
    with pytest.raises(ConflictError, match="the key is needed still by 1 version\n"):
        barrier.rotation.destroy(barrier.rotation.find(only(barrier).id))
    barrier.rotation.resume(author="alice")
    assert barrier.rewrap.run().damaged == 1  # it does not go in circles


def test_version_whose_entry_is_gone_is_not_passed_over(path, barrier):
    barrier.write_many([draft("x"), draft("y")])
    barrier.rotation.rotate([""], author="alice")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM entries WHERE name = 'x'")
    job = barrier.rewrap.run()
    assert (job.state, job.done, job.damaged) == ("finished", 1, 1)


def test_entry_of_many_versions_is_moved_over_several_pages(barrier):
    for number in range(30):
        barrier.write(draft("x", f"text {number}"))
    barrier.write(draft("y"))
    barrier.rotation.rotate([""], author="alice")
    job = barrier.rewrap.run()
    assert (job.done, job.damaged) == (31, 0)
    assert barrier.read_version(Ref("variable", "x"), "17").secret.reveal() == "text 16"
    assert [state[2:] for state in states(barrier)] == [("deactivated", 0), ("active", 31)]


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE entries SET owner = 'mallory' WHERE name = 'x'",
        "UPDATE entries SET team = 'other' WHERE name = 'x'",
        "UPDATE entries SET name = '/x' WHERE name = 'x'",
        "UPDATE entries SET mac = x'00' WHERE name = 'x'",
    ],
)
def test_damaged_entry_is_left_as_it_is_with_its_versions(path, barrier, sql):
    barrier.write_many([draft("x"), draft("x"), draft("y")])
    change(path, sql)
    _, job = moved(barrier)
    assert (job.done, job.damaged) == (1, 1)
    assert only(barrier).sealed_versions == 2


def test_planted_progress_hides_no_row_from_the_job(path, barrier):
    barrier.write_many([draft(f"v{number}") for number in range(60)])
    barrier.rotation.rotate([""], author="alice")
    change(path, "UPDATE key_jobs SET reached = ?, done = 60, total = 60", b"\xff" * 16)
    barrier.rewrap.run()
    assert only(barrier).sealed_versions == 0
    change(path, "UPDATE key_jobs SET state = 'finished'")
    barrier.write(draft("x"))
    assert barrier.rotation.rotate([""], author="alice")


def test_state_changed_by_hand_refuses_the_start(path, barrier):
    barrier.write(draft("x"))
    moved(barrier)
    change(path, "UPDATE keks SET state = 'active' WHERE number = 1")
    with pytest.raises(TamperedError, match="start refused"):
        open_barrier(path)
    with pytest.raises(TamperedError):
        barrier.write(draft("x"))


# --- CR04: no key is tried -----------------------------------------------------------------------


@pytest.mark.parametrize("which", ["destroyed", "other team", "unknown"])
def test_value_that_names_a_key_of_another_state_or_team_does_not_open(path, barrier, which):
    barrier.write_many([draft("x", "text"), draft("x", team="data")])
    moved(barrier)
    barrier.rotation.destroy(barrier.rotation.find(only(barrier).id))
    named = {"destroyed": only(barrier).id, "other team": only(barrier, 1, "data").id, "unknown": "ab" * 16}
    key = bytes.fromhex(named[which])
    with closing(sqlite3.connect(path)) as connection, connection:
        sealed = connection.execute(
            "SELECT v.sealed FROM versions v JOIN entries e ON e.id = v.entry_id WHERE e.team = ''"
        ).fetchone()[0]
        connection.execute(
            "UPDATE versions SET sealed = ? WHERE sealed = ?", (sealed[:5] + key + sealed[21:], sealed)
        )
    with pytest.raises((TamperedError, SealedError)):
        barrier.read(X)
    with pytest.raises((TamperedError, SealedError)):
        open_barrier(path).read(X)


# --- CR07: how much a key may seal ---------------------------------------------------------------


def test_uses_of_a_key_are_counted_with_every_version(barrier):
    barrier.write_many([draft("x"), draft("x"), draft("y")])
    barrier.delete(X, author="alice")
    assert only(barrier).wraps == 3
    moved(barrier)
    assert (only(barrier).wraps, only(barrier, 2).wraps) == (3, 3)


def test_key_that_has_sealed_2_to_the_28_values_is_replaced_by_the_write_with_an_alarm(path, barrier):
    alarms = []
    barrier.on_worn = alarms.append
    barrier.write(draft("x"))
    change(path, "UPDATE kek_uses SET wraps = ?", ALARM_WRAPS - 2)
    barrier.write(draft("x"))
    assert (len(states(barrier)), alarms) == (1, [])
    barrier.write(draft("x"))
    assert [state[2] for state in states(barrier)] == ["deactivated", "active"]
    assert alarms == ["the key of the deployment sealed 268435456 values and was replaced"]
    assert barrier.rewrap.status().started_by == ROTATOR


def test_write_stands_though_the_worn_key_cannot_be_replaced(path):
    key = HeldKey()
    barrier = make_barrier(path, key=key)
    alarms = []
    barrier.on_worn = alarms.append
    barrier.write(draft("x"))
    change(path, "UPDATE kek_uses SET wraps = ?", ALARM_WRAPS)

    def gone(_key, *, context):
        raise SealedError("the key service gives no answer")

    key.wrap = gone
    barrier.write(draft("x", "stands"))
    assert barrier.read(X).secret.reveal() == "stands"
    assert "could not be replaced: the key service gives no answer" in alarms[0]
    barrier.close()


def test_key_seals_no_more_after_2_to_the_32_values(path):
    key = HeldKey()
    barrier = make_barrier(path, key=key)
    barrier.write(draft("x", "old"))
    change(path, "UPDATE kek_uses SET wraps = ?", MAX_WRAPS)
    with pytest.raises(SealedError, match="seals no more") as refused:
        barrier.write(draft("x", "new"))
    assert refused.value.hint == "strongroom keys rotate"
    assert barrier.read(X).secret.reveal() == "old"
    barrier.rotation.rotate([""], author="alice")
    barrier.write(draft("x", "new"))
    barrier.close()


# --- outer keys ----------------------------------------------------------------------------------


def test_keys_wrapped_anew_open_with_each_outer_key_of_the_settings_and_no_other(path, barrier):
    barrier.write(draft("x", "text", team="data"))
    moved(barrier)
    first, second = HeldKey(), HeldKey(b"s" * 32, "second")
    both = wrappers_of(path, first, second)
    assert both.rotation.wrap_anew() == 3
    assert {key.wrapped_by for key in both.keys()} == {("held first", "held second")}  # noqa: SIM118
    both.close()
    alone = wrappers_of(path, second)
    assert alone.read(Ref("variable", "x", "data")).secret.reveal() == "text"
    alone.rotation.wrap_anew()
    alone.close()
    with pytest.raises(SealedError):
        wrappers_of(path, first)


def test_outer_key_that_does_not_give_back_what_it_wrapped_takes_no_place(path, barrier):
    barrier.write(draft("x", "text"))

    class Forgetful(HeldKey):
        def wrap(self, key, *, context):
            return super().wrap(bytes(32), context=context)

    other = wrappers_of(path, HeldKey(), Forgetful(b"s" * 32, "second"))
    for act in (other.rotation.wrap_anew, lambda: other.rotation.rotate([""], author="alice")):
        with pytest.raises(TamperedError):
            act()
    assert [key.wrapped_by for key in barrier.keys()] == [("held first",)]  # noqa: SIM118
    other.close()


def test_outer_key_that_is_away_changes_nothing(path, barrier):
    class Away(HeldKey):
        def wrap(self, _key, *, context):
            raise SealedError("the key service gives no answer")

    other = wrappers_of(path, HeldKey(), Away(b"s" * 32, "second"))
    before = barrier.keys()
    for act in (other.rotation.wrap_anew, lambda: other.rotation.rotate([""], author="alice")):
        with pytest.raises(SealedError, match="no answer"):
            act()
    assert barrier.keys() == before
    other.close()


def test_key_destroyed_while_others_are_wrapped_anew_is_told_as_a_change(path, barrier):
    barrier.write(draft("x", "text"))
    barrier.write(draft("y", "text", team="data"))
    barrier.rotation.rotate(["data"], author="alice")
    barrier.rewrap.run()
    old = only(barrier, team="data")

    class Slow(HeldKey):
        def wrap(self, key, *, context):
            if only(barrier, team="data").state == "deactivated":
                barrier.rotation.destroy(barrier.rotation.find(old.id))
            return super().wrap(key, context=context)

    other = wrappers_of(path, HeldKey(), Slow(b"s" * 32, "second"))
    with pytest.raises(ConflictError, match="another process changed the keys meanwhile; nothing was done"):
        other.rotation.wrap_anew()
    assert other.rotation.wrap_anew() == 2
    other.close()


# --- the end of a key ----------------------------------------------------------------------------


def test_destroyed_key_leaves_its_row_and_no_wrapped_form(path, barrier):
    barrier.write(draft("x", "text"))
    with closing(sqlite3.connect(path)) as connection:
        wrapped = connection.execute("SELECT wrapped FROM kek_wraps").fetchone()[0]
    moved(barrier)
    barrier.rotation.destroy(barrier.rotation.find(only(barrier).id[:6]))
    assert states(barrier) == [(None, 1, "destroyed", 0), (None, 2, "active", 1)]
    assert only(barrier).wrapped_by == ()
    barrier.close()
    assert wrapped not in path.read_bytes()  # written over before it was deleted
    again = open_barrier(path)
    assert again.read(X).secret.reveal() == "text"
    moved(again)
    assert [state[1:3] for state in states(again)] == [(1, "destroyed"), (2, "deactivated"), (3, "active")]
    again.close()


def test_key_is_not_destroyed_while_it_seals_or_anything_hangs_on_it(barrier):
    barrier.write(draft("x"))
    key = barrier.rotation.find(only(barrier).id)
    with pytest.raises(ConflictError, match="seals what is written now"):
        barrier.rotation.destroy(key)
    barrier.rotation.rotate([""], author="alice")
    with pytest.raises(ConflictError, match="by 1 version, 1 entry\n"):
        barrier.rotation.destroy(key)
    barrier.rewrap.run()
    barrier.rotation.destroy(key)
    with pytest.raises(ConflictError, match="destroyed already"):
        barrier.rotation.destroy(key)


def test_key_is_found_by_the_beginning_of_its_id_if_only_one_begins_so(path, barrier):
    barrier.write_many([draft("x", team=f"t{number}") for number in range(20)])
    ids = [key.id for key in barrier.keys()]  # noqa: SIM118 -- not a mapping's
    shared = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    with pytest.raises(InvalidInputError, match="several keys"):
        barrier.rotation.find(shared)
    assert barrier.rotation.find(ids[0].upper()).id.hex() == ids[0]
    for nothing in ("", "zz", "%"):
        with pytest.raises(NotFoundError):
            barrier.rotation.find(nothing)


# --- who may -------------------------------------------------------------------------------------


def test_rows_of_who_may_follow_to_the_new_key_and_other_processes_with_them(path, barrier):
    rows = Registry(barrier.store, barrier, deployment="prod", anchor=path.with_name("anchor"))
    other_barrier = open_barrier(path)
    other = Registry(
        other_barrier.store, other_barrier, deployment="prod", anchor=path.with_name("other-anchor")
    )
    rows.put("person", "a", b"alice")
    revision = rows.put("person", "b", b"bob")
    other.put("person", "c", b"carol")
    rows.look()
    old = barrier.rotation.find(only(barrier).id)
    barrier.rotation.rotate([""], author="alice")
    assert barrier.rotation.named(old).registry == 4
    barrier.rewrap.run(before_end=lambda: rows.reseal(barrier.rotation.sealing()))
    barrier.rotation.destroy(old)
    other.look()
    assert other.problems() == rows.problems() == []
    assert other.snapshot().of("person")["b"].revision == revision
    assert rows.reseal(barrier.rotation.sealing()) == 0
    other.put("person", "b", b"changed", expected=revision)
    for registry in (rows, other):
        registry.close()
    other_barrier.close()
    fresh_barrier = open_barrier(path)
    fresh = Registry(
        fresh_barrier.store, fresh_barrier, deployment="prod", anchor=path.with_name("other-anchor")
    )
    assert fresh.snapshot().of("person")["b"].body == b"changed"
    fresh_barrier.close()


def test_what_was_handed_out_under_a_destroyed_key_is_no_more_believed(barrier):
    mac = barrier.mac_row("receipt", ("run",))
    barrier.rotation.rotate([""], author="alice")
    barrier.check_row("receipt", ("run",), mac)
    barrier.rewrap.run()
    barrier.rotation.destroy(barrier.rotation.find(only(barrier).id))
    with pytest.raises(TamperedError):
        barrier.check_row("receipt", ("run",), mac)


def test_status_tells_when_a_key_was_replaced(barrier, clock):
    clock.forward(days=30)
    barrier.rotation.rotate([""], author="alice")
    assert (only(barrier).created_at, only(barrier).replaced_at) == (NOON, clock.now)
    assert only(barrier, 2).replaced_at is None
