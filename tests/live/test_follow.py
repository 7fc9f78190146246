"""Following an entry: now, on change, through trouble, until closed."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from itertools import islice

import pytest

from strongroom.errors import AccessDeniedError, BackendUnavailableError, NotFoundError
from strongroom.live.follow import Follow
from strongroom.model.ref import Ref
from strongroom.testing.fakes import Flaky, Memory

REF = Ref("connection", "orders_db")


class Waiter:
    """Waits for the test instead of the clock: `look()` lets one question happen and waits for its end."""

    def __init__(self):
        self._tick = threading.Semaphore(0)
        self._at_rest = threading.Semaphore(0)
        self.is_ended = False
        self.intervals = []

    def __call__(self, seconds: float) -> bool:
        self.intervals.append(seconds)
        self._at_rest.release()
        assert self._tick.acquire(timeout=10)
        return self.is_ended

    def look(self) -> None:
        assert self._at_rest.acquire(timeout=10)
        self._tick.release()
        # At rest again: the question and its callback are over.
        assert self._at_rest.acquire(timeout=10)
        self._at_rest.release()

    def end(self) -> None:
        self.is_ended = True
        self._tick.release()


@pytest.fixture
def backend() -> Flaky:
    return Flaky("vault", {REF: "one"})


@pytest.fixture
def waiter():
    made = Waiter()
    yield made
    made.end()


@pytest.fixture
def follow(backend, waiter):
    seen = []
    with Follow(lambda: backend.read(REF), seen.append, wait=waiter) as made:
        made.seen = seen
        yield made


def text(entry) -> str:
    return entry.secret.reveal()


def test_the_current_entry_is_there_at_once(follow):
    assert text(follow.current) == "one"
    assert follow.seen == []


def test_a_change_is_called_back_once(follow, backend, waiter):
    backend.put(REF, "two")
    waiter.look()
    waiter.look()
    assert [text(entry) for entry in follow.seen] == ["two"]
    assert text(follow.current) == "two"


def test_a_new_version_with_the_same_text_is_a_change(follow, backend, waiter):
    backend.put(REF, "one")
    waiter.look()
    assert [entry.version for entry in follow.seen] == ["2"]


def test_another_text_without_versions_is_a_change(waiter):
    backend, seen = Memory("env", {REF: "one"}), []
    with Follow(lambda: replace(backend.read(REF), version=None), seen.append, wait=waiter):
        waiter.look()
        assert seen == []
        backend.put(REF, "two")
        waiter.look()
        assert [text(entry) for entry in seen] == ["two"]


@pytest.mark.parametrize(
    "error", [BackendUnavailableError("down", backend="vault"), AccessDeniedError("no", reason="rule")]
)
def test_trouble_keeps_the_last_entry_and_shows(follow, backend, waiter, error):
    backend.fail(error=error)
    waiter.look()
    assert follow.trouble is error
    assert text(follow.current) == "one"
    backend.recover()
    waiter.look()
    assert follow.trouble is None


def test_an_entry_that_is_gone_is_trouble(follow, backend, waiter):
    backend.delete(REF, author="test")
    waiter.look()
    assert isinstance(follow.trouble, NotFoundError)
    assert text(follow.current) == "one"


def test_a_foreign_error_is_trouble_without_its_text(waiter):
    answers = [Memory("vault", {REF: "one"}).read(REF)]

    def read():
        if answers:
            return answers.pop()
        raise ValueError("canary")

    with Follow(read, wait=waiter) as follow:
        waiter.look()
        assert isinstance(follow.trouble, BackendUnavailableError)
        assert "canary" not in str(follow.trouble)
        assert "ValueError" in str(follow.trouble)


def test_a_callback_that_raises_stops_nothing(backend, waiter):
    seen = []

    def on_change(entry):
        seen.append(text(entry))
        if len(seen) == 1:
            raise ValueError("mine")

    with Follow(lambda: backend.read(REF), on_change, wait=waiter) as follow:
        backend.put(REF, "two")
        waiter.look()
        assert isinstance(follow.callback_error, ValueError)
        backend.put(REF, "three")
        waiter.look()
        assert seen == ["two", "three"]
        assert follow.callback_error is None


def test_the_interval_is_five_seconds_unless_told(follow, waiter):
    waiter.look()
    assert set(waiter.intervals) == {5.0}


def test_iterating_gives_now_and_every_change_until_closed(follow, backend, waiter):
    entries = iter(follow)
    assert text(next(entries)) == "one"
    backend.put(REF, "two")
    waiter.look()
    assert text(next(entries)) == "two"
    follow.close()
    assert list(entries) == []


def test_an_iteration_that_waits_wakes_on_change_and_on_closing(follow, backend, waiter):
    got, came = [], threading.Semaphore(0)

    def iterate():
        for entry in follow:
            got.append(text(entry))
            came.release()

    thread = threading.Thread(target=iterate)
    thread.start()
    assert came.acquire(timeout=10)
    backend.put(REF, "two")
    waiter.look()
    assert came.acquire(timeout=10)
    follow.close()
    thread.join(10)
    assert not thread.is_alive()
    assert got == ["one", "two"]


def test_each_iteration_has_a_place_of_its_own(follow, backend, waiter):
    early = iter(follow)
    assert text(next(early)) == "one"
    backend.put(REF, "two")
    waiter.look()
    assert [text(entry) for entry in islice(follow, 1)] == ["two"]
    assert text(next(early)) == "two"


def test_nothing_to_follow_is_an_error_at_the_start(backend):
    with pytest.raises(NotFoundError):
        Follow(lambda: None)
    backend.fail()
    with pytest.raises(BackendUnavailableError):
        Follow(lambda: backend.read(REF))


def test_closing_ends_the_thread_and_may_be_done_twice(backend):
    before = set(threading.enumerate())
    follow = Follow(lambda: backend.read(REF))
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    follow.close()
    follow.close()
    thread.join(10)
    assert not thread.is_alive()


def test_it_prints_without_the_text(follow):
    assert "one" not in repr(follow)
    assert "orders_db" in repr(follow)


FORK = """
import os, sys
from datetime import timedelta
from strongroom.live.follow import Follow
from strongroom.model.ref import Ref
from strongroom.testing.fakes import Memory

ref = Ref("variable", "region")
backend = Memory("m", {ref: "one"})
follow = Follow(lambda: backend.read(ref), interval=timedelta(milliseconds=1))
child = os.fork()
if child == 0:
    follow.current
    backend.put(ref, "two")
    entries = iter(follow)
    found = next(entries).secret.reveal()
    os._exit(0 if found == "two" or next(entries).secret.reveal() == "two" else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_follows_on_a_thread_of_its_own():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], timeout=60, check=False)
    assert done.returncode == 0


# --- where changes are told ------------------------------------------------------------------------------


class Teller:
    """Tells whoever listens when the test says so."""

    def __init__(self):
        self.wakes = []
        self.begun = 0

    def __call__(self, wake):
        self.begun += 1
        self.wakes.append(wake)
        return lambda: self.wakes.remove(wake)

    def tell(self):
        for wake in list(self.wakes):
            wake()


@pytest.fixture
def teller():
    return Teller()


def test_it_looks_when_it_is_told_and_not_before(backend, teller):
    came, seen = threading.Event(), []

    def on_change(entry):
        seen.append(text(entry))
        came.set()

    with Follow(lambda: backend.read(REF), on_change, listen=teller) as follow:
        backend.put(REF, "two")
        assert text(follow.current) == "one"
        assert len(backend.calls) == 1
        teller.tell()
        assert came.wait(10)
        assert seen == ["two"]
        assert text(follow.current) == "two"
    assert teller.wakes == []


def test_it_looks_seldom_by_itself_where_it_is_told(backend, teller, waiter):
    with Follow(lambda: backend.read(REF), listen=teller, wait=waiter):
        waiter.look()
        assert set(waiter.intervals) == {60.0}


def test_it_listens_before_it_reads(backend, teller):
    order = []

    def listen(wake):
        order.append("listen")
        return teller(wake)

    def read():
        order.append("read")
        return backend.read(REF)

    with Follow(read, listen=listen):
        assert order[:2] == ["listen", "read"]


def test_it_stops_listening_where_there_is_nothing_to_follow(teller):
    with pytest.raises(NotFoundError):
        Follow(lambda: None, listen=teller)
    assert teller.wakes == []


def test_what_is_told_while_it_looks_is_looked_at_again(backend, teller):
    seen, came = [], threading.Semaphore(0)

    def on_change(entry):
        seen.append(text(entry))
        if len(seen) == 1:
            backend.put(REF, "three")
            teller.tell()  # on the following thread, while it is not waiting
        came.release()

    with Follow(lambda: backend.read(REF), on_change, listen=teller):
        backend.put(REF, "two")
        teller.tell()
        assert came.acquire(timeout=10)
        assert came.acquire(timeout=10)
    assert seen == ["two", "three"]


def test_closing_wakes_the_one_that_waits_to_be_told(backend, teller):
    before = set(threading.enumerate())  # those of other tests may still be ending
    follow = Follow(lambda: backend.read(REF), listen=teller)
    (thread,) = [
        one for one in set(threading.enumerate()) - before if one.name.startswith("strongroom follow")
    ]
    follow.close()
    thread.join(10)
    assert not thread.is_alive()


def test_child_after_a_fork_listens_itself_and_looks_at_once():
    code = """
import os, sys, threading
from strongroom.live.follow import Follow
from strongroom.model.ref import Ref
from strongroom.testing.fakes import Memory

REF = Ref("connection", "orders_db")
backend, begun = Memory("m", {REF: "one"}), []
seen = threading.Event()
def listen(wake):
    begun.append(os.getpid())
    return lambda: None
follow = Follow(lambda: backend.read(REF), lambda entry: seen.set(), listen=listen)
child = os.fork()
if child == 0:
    backend.put(REF, "two")
    follow.current
    ok = seen.wait(10) and begun[-1] == os.getpid() and len(begun) == 2
    os._exit(0 if ok else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False, timeout=60)
    assert done.returncode == 0
