"""Threads of one place: bounded, timed, daemons, and made anew after a fork."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from strongroom.bulkhead import Bulkhead, Flight, seconds_left
from strongroom.errors import BackendUnavailableError


class Gate:
    """Work that waits until the test opens the gate."""

    def __init__(self):
        self.opened = threading.Event()
        self.begun = threading.Semaphore(0)

    def __call__(self):
        self.begun.release()
        assert self.opened.wait(10)
        return threading.current_thread()


def test_a_call_gives_the_answer_of_the_work_done_on_a_daemon_thread():
    thread = Bulkhead("vault").call(threading.current_thread, 10)
    assert thread is not threading.current_thread()
    assert thread.daemon


def test_a_call_raises_what_the_work_raises():
    def work():
        raise KeyError("x")

    with pytest.raises(KeyError):
        Bulkhead("vault").call(work, 10)


def test_one_call_too_many_is_refused_at_once():
    bulkhead, gate = Bulkhead("vault", threads=1, waiting=1), Gate()
    flights = [bulkhead.submit(gate), bulkhead.submit(gate)]
    with pytest.raises(BackendUnavailableError) as caught:
        bulkhead.submit(gate)
    assert "vault" in str(caught.value)
    gate.opened.set()
    assert all(flight.wait(10) for flight in flights)


def test_hung_calls_never_pile_up_threads():
    bulkhead, gate = Bulkhead("vault", threads=2, waiting=2), Gate()
    before = threading.active_count()
    for _ in range(20):
        with pytest.raises(BackendUnavailableError):
            bulkhead.call(gate, 0.001)
    assert threading.active_count() <= before + 2
    gate.opened.set()


def test_a_place_works_again_when_its_hung_calls_return():
    bulkhead, gate = Bulkhead("vault", threads=1, waiting=0), Gate()
    flight = bulkhead.submit(gate)
    gate.opened.set()
    assert flight.wait(10)
    # The seat is free a moment after the answer is there.
    answer = None
    while answer is None:
        try:
            answer = bulkhead.call(lambda: "back", 10)
        except BackendUnavailableError:
            continue
    assert answer == "back"


def test_work_that_waited_too_long_for_a_thread_is_never_begun():
    bulkhead, gate, begun = Bulkhead("vault", threads=1, waiting=2), Gate(), []
    flight = bulkhead.submit(gate)
    with pytest.raises(BackendUnavailableError):
        bulkhead.call(lambda: begun.append(1), 0.001)
    last = bulkhead.submit(lambda: "last")
    gate.opened.set()
    assert flight.wait(10)
    assert last.wait(10)
    assert begun == []


def test_work_knows_how_long_its_caller_waits():
    assert 0 < Bulkhead("vault").call(seconds_left, 5) <= 5
    assert seconds_left() is None


def test_threads_are_used_again():
    bulkhead = Bulkhead("vault", threads=4)
    names = set()
    for _ in range(20):
        names.add(bulkhead.call(threading.get_ident, 10))
    assert len(names) <= 4


def test_a_closed_place_takes_no_work_and_its_threads_end():
    bulkhead = Bulkhead("vault")
    thread = bulkhead.call(threading.current_thread, 10)
    bulkhead.close()
    bulkhead.close()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(BackendUnavailableError):
        bulkhead.submit(lambda: None)


def test_a_flight_lands_once_and_calls_back_once():
    flight, called = Flight(), []
    flight.when_landed(lambda: called.append("before"))
    assert not flight.wait(0)
    flight.land("first")
    flight.land("second")
    flight.when_landed(lambda: called.append("after"))
    assert (flight.answer(), called) == ("first", ["before", "after"])


def test_passengers_get_copies_of_an_error_of_ours():
    flight = Flight()
    error = BackendUnavailableError("down", backend="vault")
    flight.land(error=error)
    with pytest.raises(BackendUnavailableError) as caught:
        flight.shared_answer()
    assert caught.value is not error
    assert (caught.value.backend, str(caught.value)) == ("vault", "down")


FORK = """
import os, sys, threading
from strongroom.bulkhead import Bulkhead

bulkhead = Bulkhead("vault", threads=2, waiting=0)
gate = threading.Event()
hung = [bulkhead.submit(gate.wait) for _ in range(2)]
child = os.fork()
if child == 0:
    # Full in the parent, and its threads do not exist here.
    os._exit(0 if bulkhead.call(lambda: "fresh", 10) == "fresh" else 1)
gate.set()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_starts_with_empty_benches():
    assert (
        subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], timeout=60, check=False).returncode == 0
    )


def test_a_hung_call_does_not_keep_the_process_alive():
    script = (
        "import threading; from strongroom.bulkhead import Bulkhead;"
        "Bulkhead('vault').submit(threading.Event().wait)"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=60, check=False).returncode == 0


class Overtaken(dict):
    """Crews by process, where another thread comes between the first look and what follows it."""

    def __init__(self, other):
        super().__init__()
        self.other = other

    def get(self, key, default=None):
        found = super().get(key, default)
        if found is None and self.other is not None:
            other, self.other = self.other, None
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        return found


def test_threads_that_begin_at_once_share_one_crew():
    bulkhead = Bulkhead("x")
    crews = []
    bulkhead._crews = Overtaken(lambda: crews.append(bulkhead._crew()))
    assert bulkhead._crew() is crews[0]
