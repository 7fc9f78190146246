"""Orders of lists: bounded in names, in time and in how many are made at once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from strongroom.errors import InvalidInputError, RateLimitedError
from strongroom.server.api.order import Orders


class Timer:
    now = 0.0

    def __call__(self):
        return self.now


def rows(count, start=0):
    for number in range(start, start + count):
        ref = SimpleNamespace(kind="variable", name=f"n{number:04}")
        metadata = SimpleNamespace(conn_type=None)
        yield SimpleNamespace(ref=ref, backend="b", changed_at=None, metadata=metadata, shadowed_by=None)


@pytest.fixture
def timer():
    return Timer()


@pytest.fixture
def orders(timer):
    return Orders(timer=timer, most=100)


def test_an_order_is_forgotten_some_minutes_after_it_was_last_used(orders, timer):
    made = orders.make(("prod", "anna"), rows(3), "name", is_down=False)
    timer.now = 299
    assert len(orders.after(("prod", "anna"), made, 1)) == 2
    timer.now = 598
    assert orders.after(("prod", "anna"), made, 0)
    timer.now = 899
    with pytest.raises(InvalidInputError, match="too long ago"):
        orders.after(("prod", "anna"), made, 0)


def test_all_orders_together_hold_a_bounded_number_of_names(orders):
    first = orders.make(("prod", "anna"), rows(60), "name", is_down=False)
    second = orders.make(("prod", "otto"), rows(60), "name", is_down=False)
    with pytest.raises(InvalidInputError):
        orders.after(("prod", "anna"), first, 0)
    assert len(orders.after(("prod", "otto"), second, 0)) == 60


def test_one_order_holds_a_bounded_number_of_names(orders):
    with pytest.raises(InvalidInputError) as caught:
        orders.make(("prod", "anna"), rows(101), "name", is_down=False)
    assert caught.value.limit == 100


def test_nobody_goes_on_in_the_order_of_somebody_else(orders):
    made = orders.make(("prod", "anna"), rows(3), "name", is_down=False)
    for who in (("prod", "otto"), ("test", "anna")):
        with pytest.raises(InvalidInputError):
            orders.after(who, made, 0)


def test_DS08_few_orders_are_made_at_once(orders):
    def endless():
        yield from rows(1)
        with pytest.raises(RateLimitedError):
            orders.make(("prod", "x"), third(), "name", is_down=False)

    def third():
        yield from rows(1)

    def second():
        yield from rows(1)
        orders.make(("prod", "b"), endless(), "name", is_down=False)

    orders.make(("prod", "a"), second(), "name", is_down=False)
    assert orders.make(("prod", "c"), rows(1), "name", is_down=False)
