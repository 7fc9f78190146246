"""A refused login and those who come after it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from strongroom.errors import NotAuthenticatedError
from strongroom.vendors.pause import FIRST_SECONDS, LAST_SECONDS, Pause

REFUSED = NotAuthenticatedError("the login was refused", hint="check the key")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def lasts(pause: Pause, clock: Clock) -> float:
    """Give how many whole seconds nobody may try."""
    begun = clock.now
    while pause.is_on:
        clock.now += 1.0
    return clock.now - begun


def test_who_comes_after_a_refusal_is_told_it_and_none_of_its_frames() -> None:
    pause = Pause(Clock())
    try:
        raise REFUSED
    except NotAuthenticatedError as error:
        pause.begin(error)
    with pytest.raises(NotAuthenticatedError, match="the login was refused") as told:
        pause.check()
    assert told.value is not REFUSED
    assert told.value.hint == "check the key"
    assert [frame.name for frame in told.traceback][-1] == "check"
    assert len(told.traceback) == 2


def test_each_further_refusal_doubles_the_pause_up_to_a_minute() -> None:
    clock = Clock()
    pause = Pause(clock)
    found = []
    for _ in range(6):
        pause.begin(REFUSED)
        found.append(lasts(pause, clock))
        pause.check()
    assert found == [FIRST_SECONDS, 10.0, 20.0, 40.0, LAST_SECONDS, LAST_SECONDS]


def test_a_wait_that_the_store_asks_for_goes_before_ours() -> None:
    clock = Clock()
    pause = Pause(clock)
    pause.begin(REFUSED, wait=timedelta(seconds=7))
    assert lasts(pause, clock) == 7.0


def test_a_login_that_worked_ends_the_pause_and_what_led_to_it() -> None:
    clock = Clock()
    pause = Pause(clock)
    pause.begin(REFUSED)
    pause.begin(REFUSED)
    pause.end()
    pause.check()
    pause.begin(REFUSED)
    assert lasts(pause, clock) == FIRST_SECONDS
