"""How long whoever brings a wrong passphrase waits, on a clock of the test."""

from __future__ import annotations

from datetime import timedelta

import pytest

from strongroom.errors import RateLimitedError
from strongroom.service.sealing import _Sources, _spread


class Timer:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def wait_of(sources, network="a"):
    try:
        sources.check(network)
    except RateLimitedError as error:
        return error.retry_after
    return timedelta()


def test_each_wrong_passphrase_makes_its_source_wait_for_twice_as_long_up_to_a_minute():
    timer = Timer()
    sources = _Sources(timer)
    waits = []
    for _ in range(8):
        sources.failed("a")
        wait = wait_of(sources)
        waits.append(wait.total_seconds())
        timer.now += wait.total_seconds()
        assert wait_of(sources) == timedelta()
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]


def test_the_wait_begins_when_the_try_has_ended():
    timer = Timer()
    sources = _Sources(timer)
    sources.failed("a")
    timer.now += 5
    sources.ended("a")
    assert wait_of(sources) == timedelta(seconds=1)


def test_another_source_does_not_wait_for_it_and_success_ends_it():
    timer = Timer()
    sources = _Sources(timer)
    sources.failed("a")
    assert wait_of(sources, "b") == timedelta()
    sources.succeeded("a")
    assert wait_of(sources) == timedelta()


def test_what_was_long_ago_is_forgotten():
    timer = Timer()
    sources = _Sources(timer)
    for _ in range(4):
        sources.failed("a")
    timer.now += 200
    sources.failed("a")
    assert wait_of(sources) == timedelta(seconds=1)


def test_many_sources_are_not_remembered_for_ever():
    sources = _Sources(Timer())
    for number in range(3000):
        sources.failed(str(number))
    assert len(sources._waits) == 1000
    with pytest.raises(RateLimitedError):
        sources.check("2999")


def test_waits_are_spread_so_that_servers_do_not_ask_together():
    found = {_spread(10.0) for _ in range(200)}
    assert len(found) > 100
    assert all(9 <= one <= 11 for one in found)
