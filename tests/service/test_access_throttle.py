"""Guessing is slow, and refused cheaply; who is not there is refused as who is."""

import threading
import time
from datetime import timedelta

import pytest

from service.access_room import GOOD, HERE, THERE, Desk
from strongroom.errors import NotAuthenticatedError, RateLimitedError
from strongroom.model.secret import Secret
from strongroom.service.access.throttle import (
    FREE_ACCOUNT,
    FREE_SOURCE,
    FREE_TOGETHER,
    LONGEST_WAIT,
    Turns,
    network_of,
)

WRONG = Secret("not the password")


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.fixture
def access(desk):
    access = desk.open()
    access.people.add("anna", GOOD)
    return access


def attempt(access, name="anna", *, password=WRONG, source=HERE):
    """Try once; gives "in", "wrong", or how long to wait."""
    try:
        access.login(name, password, source=source)
    except NotAuthenticatedError:
        return "wrong"
    except RateLimitedError as error:
        return error.retry_after
    return "in"


def attempts(access, count, **how):
    return [attempt(access, **how) for _ in range(count)]


def test_fifth_wrong_password_from_a_source_makes_the_next_one_wait_longer_each_time(access, desk):
    assert attempts(access, FREE_TOGETHER) == ["wrong"] * FREE_TOGETHER
    waits = []
    for _ in range(14):
        wait = attempt(access)
        waits.append(wait.total_seconds())
        desk.clock.now += wait
        assert attempt(access) == "wrong"
    assert waits == [min(2.0**number, LONGEST_WAIT.total_seconds()) for number in range(14)]


def test_right_password_does_not_end_the_wait(access):
    attempts(access, FREE_TOGETHER)
    assert isinstance(attempt(access, password=GOOD), timedelta)


def test_right_password_after_the_wait_takes_everything_back(access, desk):
    attempts(access, FREE_TOGETHER)
    desk.forward(seconds=1)
    assert attempt(access, password=GOOD) == "in"
    assert attempts(access, FREE_TOGETHER) == ["wrong"] * FREE_TOGETHER


def test_unknown_person_is_held_up_as_one_who_is_there(access, desk):
    said = {name: [str(one) for one in attempts(access, 8, name=name)] for name in ("anna", "nobody")}
    assert said["anna"] == said["nobody"]
    texts = set()
    for name in ("anna", "nobody"):
        with pytest.raises(RateLimitedError) as caught:
            access.login(name, WRONG, source=HERE)
        texts.add((str(caught.value), caught.value.hint))
    assert len(texts) == 1


@pytest.mark.parametrize(
    "variants",
    [
        ["anna", "ANNA", "Anna", "anna ", " anna"],
        ["anna", "anna\u00a0", "an\u200bna", "anna\u2028", "a n n a"],
        ["anna", "\uff41\uff4e\uff4e\uff41", "anna\t", "anna\x00", "ANNA\u200d"],
        ["nobody", "NOBODY", "nobody ", "no\u00adbody", "\uff4eobody"],
        ["b\u00e9a", "be\u0301a", "B\u00c9A", "be\u0301a ", "b\u00e9\u200ba"],
    ],
)
def test_AA06_variants_of_a_name_share_one_counter(access, variants):
    for variant in variants:
        assert attempt(access, variant) == "wrong"
    for variant in variants:
        assert isinstance(attempt(access, variant), timedelta), variant


def test_account_tried_from_many_sources_waits_but_not_for_who_was_in_lately(access):
    assert attempt(access, password=GOOD, source="10.9.9.9") == "in"
    for number in range(FREE_ACCOUNT):
        assert attempt(access, source=f"10.1.0.{number}") == "wrong"
    assert isinstance(attempt(access, source="10.2.0.1", password=GOOD), timedelta)
    assert attempt(access, password=GOOD, source="10.9.9.9") == "in"


def test_source_that_tries_many_accounts_waits(access):
    for number in range(FREE_SOURCE):
        assert attempt(access, f"name-{number}") == "wrong"
    assert isinstance(attempt(access, "anna", password=GOOD), timedelta)
    assert attempt(access, "anna", password=GOOD, source=THERE) == "in"


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("", "", True),
        ("no address", "no address", True),
    ],
)
def test_source_is_an_address_or_the_network_one_has(one, other, is_same):
    assert (network_of(one) == network_of(other)) is is_same


def test_wait_outlives_a_restart_and_is_known_to_other_processes(access, desk):
    attempts(access, FREE_TOGETHER)
    for _ in range(6):
        desk.clock.now += attempt(access)
        assert attempt(access) == "wrong"
    other = desk.open()
    assert isinstance(attempt(other, password=GOOD), timedelta)
    assert other.people.find("anna").is_locked
    other.people.unlock("ANNA")
    assert attempt(other, password=GOOD) == "in"
    assert not other.people.find("anna").is_locked


def test_unlock_by_one_process_ends_the_wait_another_has_in_memory(access, desk):
    attempts(access, FREE_TOGETHER + 1)
    desk.open().people.unlock("anna")
    desk.opened[0][0].look()
    desk.forward(milliseconds=1)
    assert attempts(access, FREE_TOGETHER) == ["wrong"] * FREE_TOGETHER
    assert isinstance(attempt(access, password=GOOD), timedelta), "counted from there on again"


def test_success_takes_back_the_wait_that_is_kept(access, desk):
    attempts(access, FREE_TOGETHER)
    for _ in range(5):
        desk.clock.now += attempt(access)
        attempt(access)
    desk.forward(minutes=1)
    assert attempt(access, password=GOOD) == "in"
    assert attempt(desk.open()) == "wrong"


def test_name_typed_is_nowhere_kept_even_while_it_waits(access, desk):
    secret = "the-password-in-the-wrong-field"
    attempts(access, FREE_TOGETHER, name=secret)
    for _ in range(5):
        desk.clock.now += attempt(access, secret)
        attempt(access, secret)
    desk.opened[0][0].tick()
    assert desk.opened[0][0].snapshot().of("lockout")
    assert secret not in desk.text()


def test_many_names_leave_a_bounded_number_of_waits(access, desk, monkeypatch):
    monkeypatch.setattr("strongroom.service.access.throttle._MOST_ROWS", 3)
    monkeypatch.setattr("strongroom.service.access.throttle._MOST_COUNTS", 10)
    monkeypatch.setattr("strongroom.service.access.throttle.FREE_TOGETHER", 1)
    monkeypatch.setattr("strongroom.service.access.throttle.FIRST_WAIT", timedelta(seconds=30))
    for number in range(12):
        attempt(access, f"name-{number}", source=f"10.0.{number}.1")
    assert len(desk.opened[0][0].snapshot().of("lockout")) == 3
    assert len(access._gate.attempts._counts) == 10


def test_many_attempts_at_once_are_many(access):
    outcomes = []

    def work():
        outcomes.append(attempt(access))

    threads = [threading.Thread(target=work) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("wrong") <= FREE_TOGETHER


def test_AA06_unlock_ends_every_wait_of_the_person(access):
    attempts(access, FREE_TOGETHER + 1)
    access.people.unlock("anna")
    assert attempt(access, password=GOOD) == "in"


def test_wrong_codes_make_their_source_wait(access):
    for _ in range(FREE_SOURCE):
        with pytest.raises(NotAuthenticatedError):
            access.login_with_code("nothing", source=HERE)
    with pytest.raises(RateLimitedError):
        access.login_with_code(access.login_link().reveal(), source=HERE)


def test_right_codes_do_not(access):
    for _ in range(FREE_SOURCE + 5):
        access.login_with_code(access.login_link().reveal(), source=HERE)


def test_few_work_at_once_few_wait_and_the_rest_is_refused():
    turns = Turns(at_once=1, waiting=2, patience=timedelta(seconds=20))
    entered, leave = threading.Event(), threading.Event()
    order = []

    def work(source):
        with turns.turn(source):
            order.append(source)
            entered.set()
            leave.wait(20)

    threads = [threading.Thread(target=work, args=("10.0.0.1",))]
    threads[0].start()
    assert entered.wait(20)
    threads += [threading.Thread(target=work, args=(f"10.0.0.{number}",)) for number in (2, 3)]
    for number, thread in enumerate(threads[1:], 1):
        thread.start()
        end = time.monotonic() + 20
        while sum(turns._waiters.values()) < number:
            assert time.monotonic() < end
    with pytest.raises(RateLimitedError) as full, turns.turn("10.0.0.4"):
        pass
    assert full.value.retry_after == timedelta(seconds=1)
    leave.set()
    for thread in threads:
        thread.join()
    assert sorted(order) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    with turns.turn("10.0.0.4"):
        pass


def test_one_source_cannot_take_every_place_in_the_queue():
    turns = Turns(at_once=1, waiting=4, patience=timedelta(seconds=0.05))
    with turns.turn("10.0.0.1"):
        turns._waiters["10.0.0.2"] = 2
        with pytest.raises(RateLimitedError), turns.turn("10.0.0.2"):
            pass
        started = time.monotonic()
        with pytest.raises(RateLimitedError), turns.turn("10.0.0.3"):
            pass
        assert time.monotonic() - started >= 0.05, "it waited for its turn"


def test_login_that_got_no_turn_is_not_counted_as_wrong(access):
    turns = access._gate._proving._turns
    turns._working = turns._at_once
    turns._patience = timedelta(0)
    for _ in range(FREE_SOURCE + 5):
        assert attempt(access, password=GOOD) == timedelta(seconds=1)
    turns._working = 0
    assert attempt(access, password=GOOD) == "in"


def test_AU06_flood_of_refusals_is_one_record_a_minute_with_a_count(access, desk):
    registry = desk.opened[0][0]
    before = len(desk.records())
    for _ in range(500):
        attempt(access)
        with pytest.raises(NotAuthenticatedError):
            access.authenticate("srm_t_nothing", source=HERE)
    registry.tick()
    for _ in range(100):
        with pytest.raises(NotAuthenticatedError):
            access.authenticate("srm_t_nothing", source=HERE)
    registry.tick()
    told = [(record.actor, record.outcome, record.reason) for record in desk.records()[before:]]
    assert sorted(told) == [
        ("nobody", "denied", f"an unknown or ended token or session, from {HERE}, 500 times"),
        ("person:anna", "denied", f"too many attempts, from {HERE}, 495 times"),
        ("person:anna", "denied", f"wrong name or password, or disabled, from {HERE}, 5 times"),
    ]
    desk.forward(seconds=61)
    registry.tick()
    assert desk.records()[-1].reason == f"an unknown or ended token or session, from {HERE}, 100 times"


def test_AU06_many_sources_are_counted_together_and_nothing_is_lost_at_the_end(access, desk, monkeypatch):
    monkeypatch.setattr("strongroom.service.access.refusals._MOST_KINDS", 5)
    for number in range(20):
        with pytest.raises(NotAuthenticatedError):
            access.authenticate("x", source=f"10.0.0.{number}")
    desk.opened[0][0].close()
    reasons = [record.reason for record in desk.records() if record.outcome == "denied"]
    assert len(reasons) == 6
    assert "many sources, 15 times" in reasons[-1]
