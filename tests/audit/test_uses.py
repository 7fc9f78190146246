import random
import threading
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import pytest

from audit_parts import Clock
from strongroom.audit.uses import GRACE_SECONDS, Uses
from strongroom.model.ref import Ref
from strongroom.policy import Actor, Assurance, Decision, Run

YES = Decision(is_allowed=True, reason="it may", policies=("reader",))
NO = Decision(is_allowed=False, reason="it may not", policies=("deny",))
CI = Actor("service:ci", Assurance.HOST_USER, source="10.0.0.1")


class Answer(NamedTuple):
    version: str = "1"
    backend: str = "native"


class Use(NamedTuple):
    ref: Ref
    actor: Actor = CI
    outcome: str = "found"
    decision: Decision = YES
    answer: object = Answer()
    error: object = None


class Timer:
    now = 1000.0

    def __call__(self):
        return self.now


def use(name="x", **changes):
    return Use(Ref("variable", name), **changes)


@pytest.fixture
def timer():
    return Timer()


@pytest.fixture
def uses(timer):
    return Uses(timer=timer, clock=Clock())


def test_the_first_is_recorded_and_repeats_are_told_by_one_record_with_their_count(uses, timer):
    assert uses.window(use()) is None
    (first,) = uses.to_record([use()])
    assert (first.name, first.count, first.policies, first.source) == ("x", None, ("reader",), "10.0.0.1")
    uses.open(use())
    for _ in range(41):
        uses.window(use()).repeat()
    assert uses.due() == []
    timer.now += 60 + GRACE_SECONDS + 1
    (closing,) = uses.due()
    assert (closing.name, closing.count, closing.action, closing.outcome) == ("x", 41, "read", "found")
    assert closing.since < closing.until
    assert uses.due() == []
    assert len(uses) == 0


def test_a_window_without_repeats_is_closed_without_a_record(uses, timer):
    uses.open(use())
    timer.now += 100
    assert uses.due() == []
    assert len(uses) == 0


@pytest.mark.parametrize(
    "other",
    [
        use("y"),
        use(actor=replace(CI, run=Run(Assurance.CLAIMED, dag_id="etl"))),
        use(actor=replace(CI, id="service:other")),
        use(answer=Answer("2")),
        use(outcome="absent", answer=None),
        use(decision=replace(YES, policies=("other",))),
        Use(Ref("variable", "x", "data")),
    ],
)
def test_another_actor_run_ref_version_or_decision_is_another_use(uses, other):
    uses.open(use())
    assert uses.window(use()) is not None
    assert uses.window(other) is None


def test_nothing_is_on_record_before_it_was_said_to_be(uses):
    uses.to_record([use()])
    assert uses.window(use()) is None
    assert uses.to_record([use()])


def test_refusals_have_no_window_and_are_recorded_one_by_one(uses):
    refused = [use("a", decision=NO, outcome="denied", answer=None), use("b", decision=NO, outcome="denied")]
    assert uses.open(refused[0]) is None
    events = uses.to_record([use("c"), *refused, use("d")])
    assert [event.outcome for event in events] == ["denied", "denied", "found"]
    assert [ref.name for ref in events[2].refs] == ["c", "d"]
    assert events[0].reason == "it may not"


def test_a_batch_is_one_record_that_names_its_refs_and_a_large_one_is_several(uses):
    (event,) = uses.to_record([use("a"), use("b", outcome="absent", answer=None)])
    assert (event.name, event.outcome, event.count) == (None, "mixed", None)
    assert [(ref.name, ref.outcome, ref.version, ref.uses) for ref in event.refs] == [
        ("a", "found", "1", 1),
        ("b", "absent", None, 1),
    ]
    many = uses.to_record([use(f"n{number}") for number in range(1000)])
    assert [len(event.refs) for event in many] == [100] * 10


def test_many_windows_of_one_actor_are_closed_by_few_records(uses, timer):
    for number in range(250):
        uses.open(use(f"n{number}"))
        for _ in range(number):
            uses.window(use(f"n{number}")).repeat()
    timer.now += 100
    events = uses.due()
    assert len(events) == 3
    assert sum(event.count for event in events) == sum(range(250))
    assert {ref.name: ref.uses for event in events for ref in event.refs} == {
        f"n{number}": number for number in range(1, 250)
    }


def test_who_saw_a_window_open_may_still_count_in_the_grace(uses, timer):
    window = uses.open(use())
    timer.now = window.until + 0.5
    assert uses.window(use()) is None
    assert uses.due() == []
    window.repeat()
    timer.now = window.until + GRACE_SECONDS + 1.5
    assert [event.count for event in uses.due()] == [1]


def test_a_window_opened_anew_in_the_grace_loses_no_count(uses, timer):
    old = uses.open(use())
    old.repeat()
    timer.now = old.until + 0.1
    new = uses.open(use())
    assert new is not old
    new.repeat()
    new.repeat()
    old.repeat()
    timer.now += 200
    assert sum(event.count for event in uses.due()) == 4
    assert len(uses) == 0


def test_the_end_closes_everything(uses):
    uses.open(use()).repeat()
    assert [event.count for event in uses.due(is_last=True)] == [1]
    assert len(uses) == 0


def test_memory_is_bounded_and_no_promised_window_is_cut_short(timer):
    uses = Uses(timer=timer, clock=Clock(), max_windows=100)
    windows = [uses.open(use(f"n{number}")) for number in range(300)]
    opened = [window for window in windows if window is not None]
    assert len(opened) == len(uses) == 100
    lengths = [window.until - timer.now for window in opened]
    assert lengths[0] == 60
    assert lengths == sorted(lengths, reverse=True)
    assert 1 <= lengths[-1] < 5
    for window in opened:
        window.repeat()
    counted = 0
    for _ in range(70):
        timer.now += 1
        counted += sum(event.count for event in uses.due())
    assert counted == 100
    assert uses.open(use("later")) is not None


def test_no_repeat_is_lost_between_threads(timer):
    uses = Uses(timer=timer, clock=Clock(), window=timedelta(seconds=5))
    counted, recorded, told = [0] * 4, [0] * 4, []
    ended = threading.Event()

    def read(mine):
        chance = random.Random(mine)
        for _ in range(4000):
            each = use(f"n{chance.randrange(20)}")
            window = uses.window(each)
            if window is None:
                recorded[mine] += len(uses.to_record([each]))
                uses.open(each)
            else:
                window.repeat()
                counted[mine] += 1

    def close():
        while not ended.is_set():
            timer.now += 0.5
            told.extend(uses.due())

    threads = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    closer = threading.Thread(target=close)
    # The timer goes on half a second a turn, which no thread that was about to count outlives by two.
    for thread in (*threads, closer):
        thread.start()
    for thread in threads:
        thread.join()
    ended.set()
    closer.join()
    told += uses.due(is_last=True)
    assert sum(counted) + sum(recorded) == 16_000
    assert sum(event.count for event in told) <= sum(counted)
