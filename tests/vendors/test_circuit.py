"""The rules of asking and asking again, on a clock of their own."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from strongroom.vendors.circuit import FAILURES_TO_OPEN, Budget, Circuit, Permit

HOLD = 5.0


def fail(circuit, now=0.0, times=FAILURES_TO_OPEN):
    return [circuit.report(circuit.ask(now), now, is_success=False) for _ in range(times)]


def opened():
    circuit = Circuit(HOLD)
    assert fail(circuit) == [False] * 4 + [True]
    return circuit


def test_five_failures_in_a_row_open_it_and_the_fifth_alone_says_so():
    assert opened().is_open


def test_a_success_in_between_starts_the_count_anew():
    circuit = Circuit(HOLD)
    fail(circuit, times=4)
    assert not circuit.report(circuit.ask(0), 0, is_success=True)
    assert fail(circuit, times=4) == [False] * 4
    assert not circuit.is_open


def test_what_says_nothing_of_the_place_counts_as_nothing():
    circuit = Circuit(HOLD)
    for _ in range(20):
        circuit.report(circuit.ask(0), 0, is_success=None)
    assert not circuit.is_open
    fail(circuit, times=4)
    circuit.report(circuit.ask(0), 0, is_success=None)
    assert fail(circuit, times=1) == [True]


def test_an_open_circuit_tells_how_long_nobody_asks():
    circuit = opened()
    assert circuit.ask(0) == HOLD
    assert circuit.ask(4) == 1


def test_after_the_hold_exactly_one_may_ask():
    circuit = opened()
    assert circuit.ask(HOLD) == Permit(2, is_probe=True)
    assert circuit.ask(HOLD) == HOLD
    assert circuit.ask(HOLD + 1) == HOLD - 1


def test_a_good_probe_closes_it_and_says_so():
    circuit = opened()
    probe = circuit.ask(HOLD)
    assert circuit.report(probe, HOLD, is_success=True)
    assert not circuit.is_open
    assert fail(circuit, HOLD) == [False] * 4 + [True]


def test_a_bad_probe_holds_it_for_another_while_and_says_nothing():
    circuit = opened()
    probe = circuit.ask(HOLD)
    assert not circuit.report(probe, HOLD + 2, is_success=False)
    assert circuit.ask(HOLD + 3) == HOLD - 1
    assert isinstance(circuit.ask(2 * HOLD + 2), Permit)


def test_a_probe_that_says_nothing_leaves_its_place_to_the_next():
    circuit = opened()
    circuit.report(circuit.ask(HOLD), HOLD, is_success=None)
    assert isinstance(circuit.ask(HOLD), Permit)
    assert isinstance(circuit.ask(HOLD), float)


def test_a_probe_that_never_reports_is_given_up_and_its_late_word_not_heard():
    circuit = opened()
    lost = circuit.ask(HOLD)
    again = circuit.ask(2 * HOLD)
    assert isinstance(again, Permit)
    assert not circuit.report(lost, 2 * HOLD, is_success=True)
    assert circuit.is_open
    assert circuit.report(again, 2 * HOLD, is_success=True)


def test_a_probe_may_take_as_long_as_a_request_may():
    circuit = Circuit(HOLD, 2 * HOLD)
    fail(circuit)
    circuit.ask(HOLD)
    assert circuit.ask(2 * HOLD) == HOLD
    assert isinstance(circuit.ask(3 * HOLD), Permit)


def test_what_was_under_way_when_it_opened_neither_closes_nor_holds_it():
    circuit = Circuit(HOLD)
    late = [circuit.ask(0) for _ in range(8)]
    fail(circuit)
    assert not any(circuit.report(one, 1, is_success=index % 2 == 0) for index, one in enumerate(late))
    assert circuit.is_open
    assert circuit.ask(1) == HOLD - 1


def test_what_was_under_way_before_an_outage_says_nothing_after_it():
    circuit = Circuit(HOLD)
    late = [circuit.ask(0) for _ in range(8)]
    fail(circuit)
    circuit.report(circuit.ask(HOLD), HOLD, is_success=True)
    assert not any(circuit.report(one, HOLD, is_success=False) for one in late)
    assert not circuit.is_open


def test_of_many_threads_one_gets_the_probe():
    for _ in range(20):
        circuit = opened()
        gate = threading.Barrier(8)
        answers = []

        def ask(circuit=circuit, gate=gate, answers=answers):
            gate.wait(5)
            answers.append(circuit.ask(HOLD))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert sum(isinstance(answer, Permit) for answer in answers) == 1


# Times that floats hold exactly: the rule is over counts and states, not over rounding.
EIGHTHS = st.integers(0, 160).map(lambda eighths: eighths / 8)


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), EIGHTHS), max_size=60))
def test_it_opens_only_after_five_failures_and_changes_by_turns(history):
    circuit, now, row, changes = Circuit(HOLD), 0.0, 0, []
    for outcome, passed in history:
        now += passed
        was_open = circuit.is_open
        leave = circuit.ask(now)
        if not isinstance(leave, Permit):
            assert 0 < leave <= HOLD
            continue
        row = 0 if outcome else row + (outcome is False)
        if circuit.report(leave, now, is_success=outcome):
            changes.append(circuit.is_open)
        assert circuit.is_open == (not outcome if was_open else row >= FAILURES_TO_OPEN)
        row = 0 if was_open and outcome else row
    assert changes == [index % 2 == 0 for index in range(len(changes))]


@given(st.lists(st.booleans(), max_size=400))
def test_retries_are_never_more_than_a_tenth_of_what_was_asked(wishes):
    budget, again = Budget(), 0
    for asked, wish in enumerate(wishes, 1):
        budget.earn()
        again += wish and budget.spend()
        assert again * 10 <= asked


def test_a_quiet_hour_saves_up_ten_retries_and_no_more():
    budget = Budget()
    for _ in range(10_000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 10
