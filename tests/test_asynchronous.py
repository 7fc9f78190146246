"""The bridge to asyncio: hits inline, one question shared by threads and tasks, cancelling harms nobody."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from strongroom.asynchronous import Bridge
from strongroom.cache import Cache
from strongroom.chain import Chain, Link
from strongroom.errors import AccessDeniedError, BackendUnavailableError
from strongroom.model.ref import Ref
from strongroom.testing.fakes import Denying, Memory, Slow, frozen_clock

REF = Ref("variable", "region")
OTHER = Ref("variable", "other")
NONE = Ref("variable", "none")


@pytest.fixture
def slow() -> Slow:
    return Slow("slow", {REF: "eu", OTHER: "x"})


@pytest.fixture
def cache(slow) -> Cache:
    return Cache(slow, clock=frozen_clock)


@pytest.fixture
def bridge(cache):
    made = Bridge(cache)
    yield made
    made.close()


def text(entry):
    return None if entry is None else entry.secret.reveal()


async def until_asked(slow: Slow, count: int = 1) -> None:
    assert await asyncio.to_thread(slow.wait_until_asked, count)


def test_a_hit_answers_inline_on_the_loop(cache, bridge):
    cache.read(REF)

    async def main():
        # A coroutine that never waits ends at its first step.
        with pytest.raises(StopIteration) as ended:
            bridge.read(REF).send(None)
        return ended.value.value

    assert text(asyncio.run(main())) == "eu"


def test_a_remembered_absence_answers_inline_too(cache, bridge):
    assert cache.read(NONE) is None

    async def main():
        with pytest.raises(StopIteration) as ended:
            bridge.read(NONE).send(None)
        return ended.value.value

    assert asyncio.run(main()) is None


def test_a_miss_leaves_the_loop_free(slow, bridge):
    async def main():
        slow.hold()
        task = asyncio.create_task(bridge.read(REF))
        await until_asked(slow)  # the loop goes on while the backend is asked
        assert not task.done()
        slow.release()
        return text(await task)

    assert asyncio.run(main()) == "eu"


def test_tasks_and_threads_share_one_question(slow, cache, bridge):
    answers = []

    async def main():
        slow.hold()
        tasks = [asyncio.create_task(bridge.read(REF)) for _ in range(20)]
        await until_asked(slow)
        thread = threading.Thread(target=lambda: answers.append(text(cache.read(REF))))
        thread.start()
        slow.release()
        found = await asyncio.gather(*tasks)
        thread.join(10)
        return [text(entry) for entry in found]

    assert asyncio.run(main()) == ["eu"] * 20
    assert answers == ["eu"]
    assert slow.calls == [("read", REF)]


def test_a_task_joins_the_question_a_thread_has_begun(slow, cache, bridge):
    slow.hold()
    thread = threading.Thread(target=cache.read, args=(REF,))
    thread.start()
    assert slow.wait_until_asked()

    async def main():
        task = asyncio.create_task(bridge.read(REF))
        await asyncio.sleep(0)
        slow.release()
        return text(await task)

    assert asyncio.run(main()) == "eu"
    thread.join(10)
    assert slow.calls == [("read", REF)]


def test_cancelling_one_task_cancels_nobody_elses_question(slow, cache, bridge):
    async def main():
        slow.hold()
        first = asyncio.create_task(bridge.read(REF))
        await until_asked(slow)
        second = asyncio.create_task(bridge.read(REF))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        slow.release()
        return text(await second)

    assert asyncio.run(main()) == "eu"
    assert text(cache.peek(REF)) == "eu"
    assert slow.calls == [("read", REF)]


def test_a_question_whose_every_task_was_cancelled_is_still_remembered(slow, cache, bridge):
    async def main():
        slow.hold()
        task = asyncio.create_task(bridge.read(REF))
        await until_asked(slow)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())  # the loop is closed before the answer comes
    slow.release()
    assert text(cache.read(REF)) == "eu"
    assert slow.calls == [("read", REF)]


def test_several_loops_share_one_question(slow, bridge):
    slow.hold()
    answers = []
    loops = [
        threading.Thread(target=lambda: answers.append(text(asyncio.run(bridge.read(REF))))) for _ in range(4)
    ]
    for thread in loops:
        thread.start()
    assert slow.wait_until_asked()
    slow.release()
    for thread in loops:
        thread.join(10)
    assert answers == ["eu"] * 4
    assert slow.calls == [("read", REF)]


def test_errors_arrive_as_copies():
    bridge = Bridge(Cache(Denying("vault"), clock=frozen_clock))

    async def main():
        return await asyncio.gather(*(bridge.read(REF) for _ in range(3)), return_exceptions=True)

    errors = asyncio.run(main())
    assert [type(error) for error in errors] == [AccessDeniedError] * 3
    assert len({id(error) for error in errors}) == 3


def test_absent_is_none(bridge):
    assert asyncio.run(bridge.read(NONE)) is None


def test_too_much_at_once_is_refused_and_leaves_no_question_hanging(slow, cache):
    bridge = Bridge(cache, threads=1, waiting=0)

    async def main():
        slow.hold()
        first = asyncio.create_task(bridge.read(REF))
        await until_asked(slow)
        with pytest.raises(BackendUnavailableError):
            await bridge.read(OTHER)
        slow.release()
        return text(await first)

    assert asyncio.run(main()) == "eu"
    assert text(cache.read(OTHER)) == "x"


def test_one_slow_backend_does_not_hold_up_what_others_answer(slow):
    """The bridge has more threads than the slow backend takes, so the others always find one."""
    slow.is_local = False
    names = [Ref("connection", f"slow-{index}") for index in range(8)]
    links = [
        Link(backend=slow, kinds=("connection",), threads=2, waiting=2),
        Link(backend=Memory("local", {REF: "eu"})),
    ]
    chain = Chain(links, clock=frozen_clock)
    bridge = Bridge(Cache(chain, clock=frozen_clock), threads=chain.capacity + 2, waiting=100)

    async def main():
        slow.hold()
        stuck = [asyncio.create_task(bridge.read(name)) for name in names]
        await until_asked(slow, 2)
        answer = text(await bridge.read(REF))
        slow.release()
        found = await asyncio.gather(*stuck, return_exceptions=True)
        return answer, {type(one) for one in found}

    answer, outcomes = asyncio.run(main())
    assert answer == "eu"
    assert outcomes <= {type(None), BackendUnavailableError}


def test_a_task_out_of_patience_lets_the_next_one_ask_anew(slow, cache):
    bridge = Bridge(cache, patience=timedelta(milliseconds=5))
    slow.hold()
    with pytest.raises(BackendUnavailableError):
        asyncio.run(bridge.read(REF))
    slow.release()
    assert text(cache.read(REF)) == "eu"


def test_an_interrupted_question_is_asked_again(cache, bridge, slow):
    flight, is_mine = cache.board(REF)
    assert is_mine

    async def main():
        task = asyncio.create_task(bridge.read(REF))
        await asyncio.sleep(0)
        cache.cancel(REF, flight, KeyboardInterrupt())
        return text(await task)

    assert asyncio.run(main()) == "eu"


def test_other_work_runs_beside_the_loop(bridge):
    async def main():
        return await bridge.run(threading.current_thread)

    assert asyncio.run(main()) is not threading.current_thread()


def test_other_work_raises_what_it_raises_and_is_waited_for_so_long_only(cache):
    bridge, gate = Bridge(cache, patience=timedelta(milliseconds=5)), threading.Event()

    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(bridge.run(fail))
    with pytest.raises(BackendUnavailableError):
        asyncio.run(bridge.run(gate.wait))
    gate.set()


def test_a_closed_bridge_still_answers_what_is_remembered(cache, bridge):
    cache.read(REF)
    bridge.close()
    bridge.close()
    assert text(asyncio.run(bridge.read(REF))) == "eu"
    with pytest.raises(BackendUnavailableError):
        asyncio.run(bridge.read(OTHER))
