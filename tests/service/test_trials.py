"""Tests of connections that are kept: the last ones of each, for all servers, and no more than a bound."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import msgspec
import pytest

from native_room import copy_store, make_barrier
from strongroom.live.probe import Step
from strongroom.model.ref import Ref
from strongroom.registry import Registry
from strongroom.service.trials import SERVER, Trial, trials_of

DB = Ref("connection", "orders_db")
OTHER = Ref("connection", "orders_db", "finance")
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def made(minutes, *, is_ok=True):
    return Trial(NOW + timedelta(minutes=minutes), "local:ada", SERVER, is_ok, "7")


@pytest.fixture
def barrier(tmp_path):
    found = make_barrier(copy_store(tmp_path / "kept"))
    yield found
    found.close()


def registry(barrier):
    return Registry(barrier.store, barrier, deployment=barrier.deployment)


def test_tests_are_kept_newest_first_for_every_process_and_only_the_last_ten(barrier):
    here = trials_of(registry(barrier))
    for minute in range(12):
        here.keep(DB, made(minute))
    there = trials_of(registry(barrier))
    assert [one.at for one in there.of(DB)] == [NOW + timedelta(minutes=m) for m in range(11, 1, -1)]
    assert there.of(DB)[0] == made(11)
    assert there.of(OTHER) == ()


def test_a_connection_fails_when_its_last_test_did(barrier):
    kept = trials_of(registry(barrier))
    kept.keep(DB, made(0))
    kept.keep(OTHER, made(1, is_ok=False))
    assert dict(kept.failing()) == {OTHER: made(1, is_ok=False)}
    kept.keep(OTHER, made(2))
    assert kept.failing() == {}


def test_a_test_is_kept_with_its_steps_and_tells_what_to_do(barrier):
    steps = (Step("tcp", "ok", "", 1.5), Step("tls", "failed", "expired", 4.0, -3))
    kept = trials_of(registry(barrier))
    kept.keep(DB, Trial(NOW, "local:ada", "agent:one", False, "7", steps, "", "an-order"))
    (found,) = trials_of(registry(barrier)).of(DB)
    assert (found.steps, found.order) == (steps, "an-order")
    assert found.tested.failed == steps[1]
    assert found.tested.advice == "have it renewed there"


def test_a_test_of_a_time_without_steps_is_still_read(barrier):
    before = registry(barrier)
    trials_of(before).keep(DB, made(0))
    (row,) = before.snapshot().of("trial").values()
    kind, name, team, (trial,) = msgspec.msgpack.decode(row.body)
    before.put("trial", row.id, msgspec.msgpack.encode([kind, name, team, [trial[:5]]]))
    (found,) = trials_of(registry(barrier)).of(DB)
    assert (found.is_ok, found.steps, found.version) == (True, (), "7")
