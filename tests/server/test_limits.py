"""Token buckets: what is let through, how long to wait, and that memory stays bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import RateLimitedError
from strongroom.server.limits import Buckets, Rate, network_of


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def refusal(buckets, key, cost=1.0):
    with pytest.raises(RateLimitedError) as raised:
        buckets.take(key, cost)
    return raised.value.retry_after.total_seconds()


def test_a_burst_is_let_through_and_then_the_rate():
    clock = Clock()
    buckets = Buckets(Rate(2.0, 3.0), "x", timer=clock)
    for _ in range(3):
        buckets.take("a")
    assert refusal(buckets, "a") == pytest.approx(0.5)
    assert refusal(buckets, "a") == pytest.approx(0.5)  # a refusal takes nothing
    clock.now += 0.5
    buckets.take("a")
    assert refusal(buckets, "a") == pytest.approx(0.5)
    buckets.take("b")


@given(st.lists(st.tuples(st.floats(0, 2), st.floats(0.1, 5)), max_size=60))
def test_no_more_than_burst_and_rate_is_ever_let_through(steps):
    clock = Clock()
    buckets = Buckets(Rate(1.5, 4.0), "x", timer=clock)
    taken = 0.0
    for wait, cost in steps:
        clock.now += wait
        try:
            buckets.take("a", cost)
        except RateLimitedError as error:
            clock.now += error.retry_after.total_seconds() + 1e-6
            buckets.take("a", cost)  # waiting as told is enough
        taken += min(cost, 4.0)
        assert taken <= 4.0 + 1.5 * clock.now + 1e-6


def test_more_than_a_whole_bucket_is_let_through_when_it_is_full():
    clock = Clock()
    buckets = Buckets(Rate(1.0, 3.0), "x", timer=clock)
    buckets.take("a", 100)
    assert refusal(buckets, "a", 100) == pytest.approx(3.0)


def test_a_rate_of_zero_sets_no_limit():
    buckets = Buckets(Rate(0.0, 1.0), "x", timer=Clock())
    for _ in range(1000):
        buckets.take("a")


def test_DS03_memory_is_bounded_and_the_oldest_goes_first():
    clock = Clock()
    buckets = Buckets(Rate(1.0, 2.0), "x", timer=clock, most=100)
    buckets.take("first", 2)
    for index in range(100_000):
        buckets.take(index)
    assert len(buckets) <= 100
    buckets.take("first", 2)  # its debt is forgotten, never its allowance


def test_an_address_of_the_next_version_counts_by_its_network():
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2") == "2001:db8::/64"
    assert network_of("::ffff:192.0.2.1") == "192.0.2.1" == network_of("192.0.2.1")
    assert network_of("unknown") == "unknown"
