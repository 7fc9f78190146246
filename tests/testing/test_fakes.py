"""The shipped fakes keep the promise they stand in for."""

import threading

import pytest

from strongroom.errors import AccessDeniedError, BackendUnavailableError, RateLimitedError
from strongroom.model.ref import Ref
from strongroom.testing.contract import BackendContract
from strongroom.testing.fakes import Denying, Flaky, Memory, Slow

REF = Ref("variable", "region")


class TestMemory(BackendContract):
    looks_at_values = True

    def make(self, tmp_path):
        return Memory()

    def put_oversized(self, backend, ref, text):
        pytest.skip("a memory refuses to write it")


class TestFlaky(BackendContract):
    looks_at_values = True

    def make(self, tmp_path):
        return Flaky()

    def down(self, backend):
        backend.fail()


class TestSlow(BackendContract):
    looks_at_values = True

    def make(self, tmp_path):
        return Slow()


class TestDenying(BackendContract):
    looks_at_values = True

    def make(self, tmp_path):
        return Denying(denied=[])

    def deny(self, backend, ref):
        backend._denied = frozenset([ref])


def test_memory_counts_the_questions_it_was_asked():
    memory = Memory(entries={REF: "eu"})
    memory.read(REF)
    memory.list("variable")
    assert memory.calls == [("read", REF), ("list", None)]


def test_flaky_fails_exactly_as_often_as_told():
    flaky = Flaky(entries={REF: "eu"})
    flaky.fail(times=2)
    for _ in range(2):
        with pytest.raises(BackendUnavailableError):
            flaky.read(REF)
    assert flaky.read(REF) is not None


def test_flaky_raises_the_error_it_was_given_until_it_recovers():
    flaky = Flaky(entries={REF: "eu"})
    flaky.fail(error=RateLimitedError("too fast"))
    with pytest.raises(RateLimitedError):
        flaky.read(REF)
    flaky.recover()
    assert flaky.read(REF) is not None


def test_slow_answers_when_released_and_not_before():
    slow = Slow(entries={REF: "eu"})
    slow.hold()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(slow.read(REF)))
    thread.start()
    assert slow.wait_until_asked()
    assert answers == []
    slow.release()
    thread.join(10)
    assert [answer.secret.reveal() for answer in answers] == ["eu"]


def test_denying_refuses_everything_unless_told_what():
    with pytest.raises(AccessDeniedError):
        Denying(entries={REF: "eu"}).read(REF)
    picky = Denying(entries={REF: "eu"}, denied=[Ref("variable", "other")])
    assert picky.read(REF) is not None
