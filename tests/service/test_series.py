"""Reads by the minute: what grew is kept, what was not looked at is missing."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from parts.house import ADMIN, ANNA, Site, named
from strongroom.cache import Cache, Lifetimes
from strongroom.errors import AccessDeniedError, InvalidInputError, SettingsError
from strongroom.model.ref import Ref
from strongroom.service.series import MINUTES, Minute, Ring
from strongroom.testing.fakes import Flaky, frozen_clock

START = datetime(2026, 11, 22, 11, 0, 20, tzinfo=timezone.utc)
LIFETIMES = Lifetimes(ttl=timedelta(hours=48), stale_if_error=timedelta(days=3), absent_ttl=timedelta())


@pytest.fixture
def backend():
    found = Flaky("store")
    for name in ("a", "b"):
        found.put(Ref("variable", name), "x")
    return found


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def cache(backend, clock):
    return Cache(backend, LIFETIMES, clock=frozen_clock, timer=lambda: clock[0])


def at(minutes=0.0):
    return START + timedelta(minutes=minutes)


def test_each_minute_holds_what_was_read_in_it(cache):
    ring = Ring(cache, at())
    cache.read(Ref("variable", "a"))
    cache.read(Ref("variable", "a"))
    ring.tick(at(1))
    cache.read(Ref("variable", "a"))
    found = ring.span(at(1.2))
    assert [one[1:] for one in found.minutes] == [(1, 1, 0, 0), (1, 0, 0, 0)]
    assert found.minutes[0].at == START.replace(second=0)
    assert found.since == START


def test_the_hit_rate_is_that_of_the_answers_and_of_none_where_there_were_none(cache):
    ring = Ring(cache, at())
    assert ring.span(at()).hit_rate is None
    for _ in range(4):
        cache.read(Ref("variable", "a"))
    assert ring.span(at(1)).hit_rate == 0.75


def test_a_minute_in_which_nobody_looked_is_missing_and_no_zero(cache):
    ring = Ring(cache, at())
    ring.tick(at(1))
    ring.tick(at(30))
    assert [one.at for one in ring.span(at(30)).minutes] == [
        minute.replace(second=0) for minute in (at(), at(1), at(30))
    ]


def test_a_clock_that_was_set_back_tells_of_no_minute_twice(cache):
    ring = Ring(cache, at())
    for minutes in (1, 2, 3, 1, 2, 3, 4):
        ring.tick(at(minutes))
    found = [one.at for one in ring.span(at(5)).minutes]
    assert found == sorted(set(found))


def test_24_hours_are_kept_and_no_more(cache):
    ring = Ring(cache, at())
    for minutes in range(1, 2 * MINUTES):
        ring.tick(at(minutes))
    found = ring.span(at(2 * MINUTES - 1))
    assert len(found.minutes) == MINUTES
    assert found.since == found.minutes[0].at


def test_a_stale_answer_counts_once_though_a_backend_was_asked_for_it(cache, backend, clock):
    cache.read(Ref("variable", "a"))
    ring = Ring(cache, at())
    clock[0] = LIFETIMES.ttl.total_seconds() * 1.5  # past it, however much it is spread
    backend.fail()
    assert cache.read(Ref("variable", "a")).is_stale
    assert cache.read(Ref("variable", "a")).is_stale
    assert ring.span(at()).total[1:] == (0, 0, 2, 0)


def test_a_question_that_no_reader_waited_for_is_no_read(cache):
    ring = Ring(cache, at())
    cache.renew(Ref("variable", "a"))
    assert ring.span(at()).total[1:] == (0, 0, 0, 0)


def test_minutes_are_added_up(cache):
    ring = Ring(cache, at())
    for minutes in range(1, 8):
        cache.read(Ref("variable", "a"))
        ring.tick(at(minutes))
    grouped = ring.span(at(7)).every(5)
    assert [one.at.minute for one in grouped] == [0, 5]
    assert [one.answered for one in grouped] == [5, 2]


def test_refusals_count_from_when_somebody_counts_them(cache):
    refused = [7]
    ring = Ring(cache, at())
    ring.count_refusals(lambda: refused[0])
    refused[0] = 9
    assert ring.span(at()).total == Minute(START, refused=2)


def test_only_who_may_describe_the_room_is_told(tmp_path):
    site = Site(tmp_path)
    with site.house() as house:
        assert house.room("prod", ADMIN).series.span().total.answered == 0
        with pytest.raises(AccessDeniedError):
            house.room("prod", ANNA).series.span()
        site.allow(named("x"))
        assert house.room("prod", ANNA).series.span(60).minutes


@pytest.mark.parametrize("minutes", [0, -1, MINUTES + 1])
def test_a_span_is_from_a_minute_to_a_day(tmp_path, minutes):
    with Site(tmp_path).house() as house, pytest.raises(InvalidInputError):
        house.room("prod", ADMIN).series.span(minutes)


def test_a_room_without_a_server_says_that_nothing_is_counted(tmp_path):
    from strongroom.assembly import create_room  # noqa: PLC0415 -- one test

    environ = {"HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path)}
    with create_room(environ=environ, cwd=tmp_path) as room, pytest.raises(SettingsError) as caught:
        room.series.span()
    assert "--profile" in caught.value.hint
