"""Keys of a store are replaced, counted and destroyed in the same way in each kind of database."""

from __future__ import annotations

from contextlib import suppress

import pytest

from native_room import Clock, HeldKey, draft
from parts.homes import KINDS, lent
from strongroom.barrier import Barrier
from strongroom.crypto.keyring import ALARM_WRAPS, MAX_WRAPS
from strongroom.errors import ConflictError, SealedError
from strongroom.model.ref import Ref
from strongroom.registry import Registry
from strongroom.store import rotation
from strongroom.store.store import Store


@pytest.fixture(params=KINDS)
def place(request, tmp_path):
    with lent(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def clock():
    return Clock()


def opened(place, clock, *wrappers):
    return Barrier.create(Store.open(place), wrappers or (HeldKey(),), deployment="prod", clock=clock)


@pytest.fixture
def barrier(place, clock):
    made = opened(place, clock)
    yield made
    with suppress(Exception):
        made.close()


def states(barrier):
    return [(key.team, key.number, key.state, key.sealed_versions, key.wraps) for key in barrier.keys()]  # noqa: SIM118


def test_every_row_follows_to_the_new_key_and_the_old_one_is_destroyed(place, clock, barrier, tmp_path):
    rows = Registry(barrier.store, barrier, deployment="prod", anchor=tmp_path / "anchor")
    rows.put("person", "a", b"alice")
    barrier.write_many([draft(f"v{number % 30}", f"text {number}") for number in range(90)])
    barrier.write(draft("x", team="data"))
    other = opened(place, clock)
    assert other.read(Ref("variable", "v1")).secret.reveal() == "text 61"
    changes = barrier.changes()
    old = barrier.rotation.find(barrier.keys()[0].id)
    barrier.rotation.rotate(["", "data"], author="alice")
    named = barrier.rotation.named(old)
    assert (named.versions, named.entries, named.registry) == (90, 30, 2)
    with pytest.raises(ConflictError, match="90 versions, 30 entries, 2 rows of who may"):
        barrier.rotation.destroy(old)
    job = barrier.rewrap.run(before_end=lambda: rows.reseal(barrier.rotation.sealing()))
    assert (job.state, job.total, job.done, job.damaged) == ("finished", 91, 91, 0)
    assert barrier.rotation.named(old).total == 0
    barrier.rotation.destroy(old)
    assert states(barrier) == [
        (None, 1, "destroyed", 0, 90),
        (None, 2, "active", 90, 90),
        ("data", 1, "deactivated", 0, 1),
        ("data", 2, "active", 1, 1),
    ]
    for source in (barrier, other):
        assert [source.read(Ref("variable", f"v{number}")).secret.reveal() for number in range(30)] == [
            f"text {number + 60}" for number in range(30)
        ]
        assert len(source.history(Ref("variable", "v7"))) == 3
        assert source.changes() == changes
    assert rows.problems() == []
    rows.close()
    other.close()


def test_one_process_is_at_work_and_finds_out_when_it_is_not_any_more(place, clock, barrier):
    barrier.write_many([draft(f"v{number}") for number in range(60)])
    barrier.rotation.rotate([""], author="alice")
    other = opened(place, clock)

    def taken(_done, _total):
        with pytest.raises(ConflictError, match="another process re-wraps"):
            other.rewrap.run()
        clock.forward(minutes=1)
        other.rewrap.run()

    with pytest.raises(ConflictError, match="took the job over"):
        barrier.rewrap.run(progress=taken)
    assert (other.rewrap.status().state, other.rewrap.status().done) == ("finished", 60)
    other.close()


def test_row_that_was_changed_meanwhile_is_not_written_over(barrier):
    barrier.write_many([draft("x", "1"), draft("y", "1")])
    (old,) = [barrier.rotation.find(key.id) for key in barrier.keys()]  # noqa: SIM118 -- not a mapping's
    barrier.rotation.rotate([""], author="alice")
    store = barrier.store
    for entry, row in store.ask(lambda connection: rotation.versions_under(connection, old.id, (b"", 0), 10)):
        stale = rotation.Moved(row.entry_id, row.number, b"other", row.kek_id, b"m" * 48, b"another mac")
        with store.write() as transaction:
            assert rotation.move(transaction.connection, [stale], [(b"m", entry.id, b"another mac")]) == 0
    assert barrier.read(Ref("variable", "x")).secret.reveal() == "1"


def test_uses_are_counted_up_to_the_alarm_and_the_end(barrier):
    alarms = []
    barrier.on_worn = alarms.append
    barrier.write(draft("x", "old"))
    key = bytes.fromhex(barrier.keys()[0].id)
    set_wraps(barrier, key, ALARM_WRAPS - 1)
    barrier.write(draft("x", "new"))
    assert (len(alarms), [state[2] for state in states(barrier)]) == (1, ["deactivated", "active"])
    key = bytes.fromhex(barrier.keys()[1].id)
    set_wraps(barrier, key, MAX_WRAPS)
    with pytest.raises(SealedError, match="seals no more"):
        barrier.write(draft("x", "newest"))
    assert barrier.read(Ref("variable", "x")).secret.reveal() == "new"


def set_wraps(barrier, key, count):
    with barrier.store.write() as transaction:
        rotation.set_wraps(transaction.connection, key, count)


def test_keys_are_wrapped_by_exactly_the_wrappers_that_are_given(place, clock, barrier):
    barrier.write(draft("x", "text"))
    second = HeldKey(b"s" * 32, "second")
    both = opened(place, clock, HeldKey(), second)
    assert both.rotation.wrap_anew() == 1
    both.close()
    alone = opened(place, clock, second)
    assert alone.rotation.wrap_anew() == 1
    assert alone.read(Ref("variable", "x")).secret.reveal() == "text"
    alone.close()
    with pytest.raises(SealedError):
        opened(place, clock, HeldKey())
