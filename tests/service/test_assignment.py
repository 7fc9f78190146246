"""Tests that agents are asked for: kept for a minute, bounded, answered once and by those they are for."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from native_room import copy_store, make_barrier
from strongroom.errors import NotFoundError, RateLimitedError
from strongroom.model.ref import Ref
from strongroom.registry import Registry
from strongroom.service.assignment import LASTS, Assignments, refusal_of

DB = Ref("connection", "orders_db")
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Clock:
    def __init__(self):
        self.now = NOW

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def place(tmp_path, clock):
    barrier = make_barrier(copy_store(tmp_path / "kept"))
    yield lambda: Assignments(Registry(barrier.store, barrier, deployment=barrier.deployment), clock)
    barrier.close()


def test_an_agent_is_told_of_its_own_tests_by_whichever_server(place):
    given = place().give("one", DB, "person:ada")
    there = place()
    assert there.waiting("one") == (given,)
    assert there.waiting("two") == ()
    assert there.of(DB) == (given,)


def test_a_test_is_answered_once_and_only_by_its_agent(place):
    here = place()
    given = here.give("one", DB, "person:ada")
    with pytest.raises(NotFoundError):
        here.take("two", given.id)
    assert here.take("one", given.id) == given
    with pytest.raises(NotFoundError):
        here.take("one", given.id)
    assert here.find(given.id) is None
    assert here.waiting("one") == ()


def test_an_agent_is_waited_for_a_minute_and_no_longer(place, clock):
    here = place()
    given = here.give("one", DB, "person:ada")
    clock.now += LASTS
    assert here.waiting("one") == ()
    assert here.find(given.id) is None
    with pytest.raises(NotFoundError):
        here.take("one", given.id)


def test_what_has_ended_makes_room(place, clock):
    here = place()
    for _ in range(20):
        here.give("one", DB, "person:ada")
    with pytest.raises(RateLimitedError):
        here.give("one", DB, "person:ada")
    here.give("two", DB, "person:ada")
    clock.now += LASTS + timedelta(seconds=1)
    here.give("one", DB, "person:ada")
    assert len(here.waiting("one")) == 1


@pytest.mark.parametrize(
    ("why", "code"),
    [
        ("settings", "access_denied"),
        ("busy", "rate_limited"),
        ("absent", "not_found"),
        ("denied", "access_denied"),
        ("invalid", "malformed_entry"),
        ("unavailable", "backend_unavailable"),
    ],
)
def test_a_refusal_says_why_and_the_agent_is_not_asked_again(place, why, code):
    here = place()
    given = here.give("one", DB, "person:ada")
    here.take("one", given.id, refused=why)
    found = here.find(given.id)
    assert found.refused == why
    assert refusal_of(found).code == code
    assert here.waiting("one") == ()
