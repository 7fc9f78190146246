"""How long answers are remembered, what may stand in, and that one question is asked at a time."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from parts.bell import Bell
from strongroom.backend import Backend
from strongroom.cache import Cache, Lifetimes, boot_seconds
from strongroom.chain import Chain, Link
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    MalformedEntryError,
    NotRecordedError,
    RateLimitedError,
    SealedError,
    StrongroomError,
    TamperedError,
)
from strongroom.model.entry import Draft, Entry, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.fakes import Flaky, Memory, Slow, frozen_clock

REF = Ref("variable", "region")
TEAM_REF = Ref("variable", "region", "data")
OTHER = Ref("variable", "other")
LIFETIMES = Lifetimes(
    ttl=timedelta(seconds=300),
    stale_if_error=timedelta(seconds=900),
    absent_ttl=timedelta(seconds=10),
    outage_pause=timedelta(seconds=5),
)


class Time:
    """Both clocks, moved by the test: seconds since boot, and the wall clock, which may also jump."""

    def __init__(self):
        self.seconds = 1000.0
        self.jumped = timedelta()

    def boot(self) -> float:
        return self.seconds

    def wall(self):
        return frozen_clock() + timedelta(seconds=self.seconds - 1000) + self.jumped


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def backend(time) -> Flaky:
    return Flaky("vault", {REF: "eu"}, clock=time.wall)


@pytest.fixture
def cache(backend, time) -> Cache:
    return cached(backend, time)


def cached(backend: Backend, time: Time, *, draw: Callable[[], float] = lambda: 0.5, **changes) -> Cache:
    """Give a cache that jitters by *draw*: 0.5 not at all."""
    lifetimes = replace(LIFETIMES, **changes)
    return Cache(backend, lifetimes, clock=time.wall, timer=time.boot, draw=draw)


def text(entry: Entry | None) -> str | None:
    return None if entry is None else entry.secret.reveal()


def draft(ref: Ref, value: str) -> Draft:
    return Draft(ref=ref, secret=Secret(value), author="test")


# --- fresh ---


def test_a_fresh_entry_is_given_without_asking(cache, backend, time):
    assert text(cache.read(REF)) == "eu"
    backend.put(REF, "us")
    time.seconds += 299.9
    assert text(cache.read(REF)) == "eu"
    assert len(backend.calls) == 1


def test_at_its_ttl_an_entry_is_asked_for_again(cache, backend, time):
    cache.read(REF)
    backend.put(REF, "us")
    time.seconds += 300
    assert cache.peek(REF) is None
    assert text(cache.read(REF)) == "us"


def test_peek_takes_the_plain_tuple_and_never_asks(cache, backend):
    assert cache.peek(("variable", "region", None)) is None
    assert backend.calls == []
    cache.read(REF)
    assert text(cache.peek(("variable", "region", None))) == "eu"


def test_a_teams_answer_is_not_another_teams(cache, backend):
    backend.put(TEAM_REF, "team")
    assert text(cache.read(REF)) == "eu"
    assert text(cache.read(TEAM_REF)) == "team"
    assert cache.read(Ref("variable", "region", "other")) is None


@pytest.mark.parametrize(("draw", "lives"), [(0.0, 270), (0.5, 300), (1.0, 330)])
def test_the_ttl_is_jittered_by_a_tenth(backend, time, draw, lives):
    cache = cached(backend, time, draw=lambda: draw)
    cache.read(REF)
    time.seconds += lives - 0.001
    assert cache.peek(REF) is not None
    time.seconds += 0.002
    assert cache.peek(REF) is None


def test_the_jitter_drawn_by_default_lies_between_nought_and_one(backend, time):
    cache = Cache(backend, LIFETIMES, clock=time.wall, timer=time.boot)
    cache.read(REF)
    time.seconds += 269
    assert cache.peek(REF) is not None
    time.seconds += 62
    assert cache.peek(REF) is None


class Lending(Memory):
    """Says how long an entry may be kept."""

    def __init__(self, name: str, lifetime: timedelta):
        super().__init__(name, {REF: "lent"})
        self.lifetime = lifetime
        self.is_down = False

    def read(self, ref):
        entry = super().read(ref)
        if self.is_down:
            raise BackendUnavailableError("down", backend=self.name)
        return None if entry is None else replace(entry, lifetime=self.lifetime)


def test_a_lifetime_shorter_than_the_ttl_wins_in_an_outage_too(time):
    lending = Lending("vault", timedelta(seconds=60))
    cache = cached(lending, time)
    cache.read(REF)
    time.seconds += 59
    assert cache.peek(REF) is not None
    time.seconds += 1
    assert cache.peek(REF) is None
    lending.is_down = True
    with pytest.raises(BackendUnavailableError):
        cache.read(REF)


def test_a_lifetime_longer_than_the_ttl_does_not_lengthen_it(time):
    cache = cached(Lending("vault", timedelta(days=1)), time)
    cache.read(REF)
    time.seconds += 300
    assert cache.peek(REF) is None


@pytest.mark.parametrize("lifetime", [timedelta(), timedelta(seconds=-1)])
def test_a_lifetime_of_nothing_is_not_kept(time, lifetime):
    cache = cached(Lending("vault", lifetime), time)
    assert text(cache.read(REF)) == "lent"
    assert cache.peek(REF) is None
    assert cache.statistics().entries == 0


def test_a_ttl_of_nothing_asks_every_time(backend, time):
    cache = cached(backend, time, ttl=timedelta())
    cache.read(REF)
    cache.read(REF)
    assert len(backend.calls) == 2


# --- the entry's own dates ---


@pytest.mark.parametrize("date", ["not_after", "expires_at"])
def test_freshness_ends_at_the_entrys_own_date(backend, cache, time, date):
    backend.put(REF, "x", Metadata(**{date: time.wall() + timedelta(seconds=100)}))
    cache.read(REF)
    time.seconds += 99
    assert cache.peek(REF) is not None
    time.seconds += 1
    assert cache.peek(REF) is None
    backend.fail()
    with pytest.raises(BackendUnavailableError):
        cache.read(REF)


def test_a_wall_clock_that_jumps_ahead_ends_it_at_once(backend, cache, time):
    backend.put(REF, "x", Metadata(not_after=time.wall() + timedelta(seconds=100)))
    cache.read(REF)
    time.jumped = timedelta(seconds=100)
    assert cache.peek(REF) is None
    assert not cache.remembered(REF).is_fresh


def test_a_wall_clock_that_jumps_back_does_not_make_it_immortal(backend, cache, time):
    backend.put(REF, "x", Metadata(not_after=time.wall() + timedelta(seconds=100)))
    cache.read(REF)
    time.jumped = timedelta(days=-3650)
    time.seconds += 100
    assert cache.peek(REF) is None
    backend.fail()
    with pytest.raises(BackendUnavailableError):
        cache.read(REF)


# --- absence ---


def test_an_absence_is_remembered_for_its_own_time(cache, backend, time):
    assert cache.read(OTHER) is None
    backend.put(OTHER, "new")
    time.seconds += 9.9
    assert cache.read(OTHER) is None
    time.seconds += 0.1
    assert text(cache.read(OTHER)) == "new"


def test_a_flood_of_absent_names_is_bounded_and_pushes_no_entry_out(backend, time):
    cache = cached(backend, time, max_absences=20)
    cache.read(REF)
    for index in range(200):
        assert cache.read(Ref("variable", f"none-{index}")) is None
    told = cache.statistics()
    assert (told.absences, told.entries, told.evictions) == (20, 1, 180)
    assert cache.peek(REF) is not None


def test_an_absence_that_becomes_an_entry_leaves_the_table_of_absences(cache, backend, time):
    cache.read(OTHER)
    backend.put(OTHER, "new")
    time.seconds += 11
    cache.read(OTHER)
    assert cache.statistics().absences == 0


# --- stale ---


def test_a_stale_entry_is_served_in_an_outage_and_marked(cache, backend, time):
    cache.read(REF)
    read_at = cache.peek(REF).read_at
    time.seconds += 301
    backend.fail()
    entry = cache.read(REF)
    assert (text(entry), entry.is_stale, entry.read_at) == ("eu", True, read_at)
    assert cache.remembered(REF).age == timedelta(seconds=301)


def test_stale_ends_at_its_bound(cache, backend, time):
    cache.read(REF)
    backend.fail()
    time.seconds += 1199
    assert cache.read(REF).is_stale
    time.seconds += 1
    with pytest.raises(BackendUnavailableError):
        cache.read(REF)


def test_in_an_outage_the_backend_is_left_alone_for_a_moment_and_then_asked_again(cache, backend, time):
    cache.read(REF)
    time.seconds += 301
    backend.fail()
    for _ in range(3):
        assert cache.read(REF).is_stale
    assert len(backend.calls) == 2
    time.seconds += 5
    assert cache.read(REF).is_stale
    assert len(backend.calls) == 3
    backend.recover()
    time.seconds += 5
    assert not cache.read(REF).is_stale


def test_rate_limiting_is_an_outage_too(cache, backend, time):
    cache.read(REF)
    time.seconds += 301
    backend.fail(error=RateLimitedError("slow down"))
    assert cache.read(REF).is_stale


def test_no_stale_entry_where_the_operator_said_stop(backend, time):
    chain = Chain([Link(backend=backend, on_unavailable="stop")], clock=time.wall)
    cache = cached(chain, time)
    cache.read(REF)
    time.seconds += 301
    backend.fail()
    with pytest.raises(BackendUnavailableError):
        cache.read(REF)


OTHER_TROUBLE = [
    AccessDeniedError("no", reason="rule"),
    MalformedEntryError("bad", backend="vault", ref="x"),
    TamperedError("tampered"),
    SealedError("sealed"),
    NotRecordedError("disk full", folder="audit"),
]


@pytest.mark.parametrize("trouble", OTHER_TROUBLE, ids=lambda error: error.code)
def test_nothing_stands_in_after_any_other_trouble_nor_after_an_outage_that_follows(
    cache, backend, time, trouble
):
    cache.read(REF)
    time.seconds += 301
    backend.fail(error=trouble)
    with pytest.raises(type(trouble)):
        cache.read(REF)
    backend.fail()
    with pytest.raises(BackendUnavailableError):
        cache.read(REF)


def test_nothing_stands_in_after_a_deletion(cache, backend, time):
    cache.read(REF)
    backend.delete(REF, author="test")
    time.seconds += 301
    assert cache.read(REF) is None
    backend.fail()
    time.seconds += 11
    with pytest.raises(BackendUnavailableError):
        cache.read(REF)


def test_an_outage_is_not_remembered_where_nothing_stands_in(cache, backend):
    backend.fail(times=1)
    with pytest.raises(BackendUnavailableError):
        cache.read(OTHER)
    assert cache.read(OTHER) is None


def test_what_another_cache_served_stale_is_asked_for_as_seldom_as_in_an_outage(backend, time):
    below = cached(backend, time)
    above = cached(below, time)
    below.read(REF)
    time.seconds += 301
    backend.fail()
    assert above.read(REF).is_stale
    asked = above.statistics().misses
    assert above.read(REF).is_stale
    assert above.statistics().misses == asked
    time.seconds += 6
    assert above.read(REF).is_stale
    assert above.statistics().misses == asked + 1


def test_what_another_cache_served_stale_is_not_kept_for_longer_than_a_pause(backend, time):
    below = cached(backend, time)
    above = cached(below, time)
    below.read(REF)
    time.seconds += 301
    backend.fail()
    above.read(REF)
    below.clear()
    time.seconds += 6
    with pytest.raises(BackendUnavailableError):
        above.read(REF)


def test_what_was_held_here_is_good_for_as_long_as_it_was_though_another_cache_serves_it_stale(backend, time):
    below = cached(backend, time)
    above = cached(below, time)
    above.read(REF)
    time.seconds += 301
    backend.fail()
    assert above.read(REF).is_stale
    below.clear()
    time.seconds += 60
    assert above.read(REF).is_stale


# --- changes ---


def test_own_writes_are_seen_at_once(cache, backend):
    place = cache.writing(backend)
    cache.read(REF)
    place.write(draft(REF, "us"))
    assert text(cache.read(REF)) == "us"
    place.delete(REF, author="test")
    assert cache.read(REF) is None
    place.write_many([draft(REF, "again"), draft(OTHER, "too")])
    assert (text(cache.read(REF)), text(cache.read(OTHER))) == ("again", "too")


def test_a_write_that_failed_may_have_happened_and_is_dropped_too(cache, backend):
    cache.read(REF)
    backend.fail(times=1)
    with pytest.raises(BackendUnavailableError):
        cache.writing(backend).write(draft(REF, "us"))
    assert cache.peek(REF) is None


def test_dropping_a_global_ref_drops_it_for_every_team(backend, time):
    cache = cached(Chain([Link(backend=backend)], clock=time.wall), time)
    assert text(cache.read(TEAM_REF)) == "eu"
    assert cache.read(Ref("variable", "other", "data")) is None
    backend.put(REF, "us")
    backend.put(OTHER, "new")
    cache.drop(REF, OTHER)
    assert text(cache.read(TEAM_REF)) == "us"
    assert text(cache.read(Ref("variable", "other", "data"))) == "new"


def test_dropping_a_teams_ref_leaves_the_others(cache, backend):
    backend.put(TEAM_REF, "team")
    cache.read(REF)
    cache.read(TEAM_REF)
    cache.drop(TEAM_REF)
    assert cache.peek(TEAM_REF) is None
    assert cache.peek(REF) is not None


def test_refresh_asks_whatever_is_remembered(cache, backend):
    cache.read(REF)
    backend.put(REF, "us")
    assert text(cache.refresh(REF)) == "us"
    assert text(cache.peek(REF)) == "us"


def test_clear_forgets_everything(cache):
    cache.read(REF)
    cache.read(OTHER)
    cache.clear()
    told = cache.statistics()
    assert (told.entries, told.absences, told.bytes) == (0, 0, 0)


# --- bounds ---


def test_the_number_of_entries_is_bounded_and_used_ones_are_spared(backend, time):
    cache = cached(backend, time, max_entries=10)
    for index in range(100):
        backend.put(Ref("variable", f"name-{index}"), "x")
    cache.read(REF)
    for index in range(100):
        assert cache.peek(REF) is not None
        cache.read(Ref("variable", f"name-{index}"))
    told = cache.statistics()
    assert (told.entries, told.evictions) == (10, 91)
    assert cache.peek(REF) is not None


def test_the_bytes_are_bounded(backend, time):
    cache = cached(backend, time, max_bytes=20_000)
    for index in range(50):
        ref = Ref("variable", f"name-{index}")
        backend.put(ref, "x" * 3000)
        assert text(cache.read(ref)) == "x" * 3000
        assert cache.statistics().bytes <= 20_000
    assert cache.statistics().entries == 4


def test_an_entry_larger_than_the_bound_is_given_and_not_kept(backend, time):
    cache = cached(backend, time, max_bytes=2000)
    cache.read(REF)
    backend.put(OTHER, "x" * 3000)
    assert text(cache.read(OTHER)) == "x" * 3000
    assert cache.peek(OTHER) is None
    assert cache.peek(REF) is not None


def test_what_nobody_may_be_given_any_more_is_let_go_as_others_come(cache, backend, time):
    cache.read(REF)
    backend.put(OTHER, "x")
    time.seconds += 1201
    cache.read(OTHER)
    assert cache.statistics().entries == 1
    assert cache.statistics().evictions == 0


def test_statistics_count_what_happened(cache, backend, time):
    cache.read(REF)
    cache.read(REF)
    cache.read(OTHER)
    cache.read(OTHER)
    time.seconds += 301
    backend.fail()
    cache.read(REF)
    told = cache.statistics()
    assert (told.hits, told.misses, told.stale, told.entries) == (2, 3, 1, 1)
    cache.clear()
    assert cache.statistics().hits == 2


def test_what_is_remembered_can_be_told_without_the_value(cache, time):
    assert cache.remembered(REF) is None
    cache.read(REF)
    time.seconds += 7
    told = cache.remembered(REF)
    assert (told.backend, told.version, told.age, told.is_fresh) == (
        "vault",
        "1",
        timedelta(seconds=7),
        True,
    )
    cache.read(OTHER)
    assert cache.remembered(OTHER).backend is None
    time.seconds += 10
    assert cache.remembered(OTHER) is None


def test_closing_forgets_and_closes_what_is_below(time):
    closed = []

    class Closing(Memory):
        def close(self):
            closed.append(self.name)

    cache = cached(Closing("below", {REF: "x"}), time)
    cache.read(REF)
    cache.close()
    assert closed == ["below"]
    assert cache.peek(REF) is None


def test_the_clock_for_lifetimes_only_goes_up():
    assert boot_seconds() <= boot_seconds()


# --- one question at a time ---


def together(count: int, work: Callable[[], object]) -> list[object]:
    """Do *work* on *count* threads that start as one; give answers and errors."""
    barrier, answers = threading.Barrier(count), []

    def run():
        barrier.wait(10)
        try:
            answers.append(work())
        except Exception as error:  # noqa: BLE001 -- the thread hands it to the test
            answers.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return answers


def test_many_threads_ask_once(time):
    slow = Slow("slow", {REF: "eu"})
    slow.hold()
    cache = cached(slow, time)
    opener = threading.Thread(target=lambda: slow.wait_until_asked() and slow.release())
    opener.start()
    answers = together(16, lambda: text(cache.read(REF)))
    opener.join(10)
    assert answers == ["eu"] * 16
    assert slow.calls == [("read", REF)]


def test_many_threads_share_one_error_each_with_a_copy_of_its_own(time):
    asked = threading.Event()

    class Failing(Slow):
        def read(self, ref):
            super().read(ref)
            asked.set()
            raise BackendUnavailableError("down", backend="slow")

    cache = cached(Failing("slow"), time)
    errors = together(8, lambda: cache.read(REF))
    assert {type(error) for error in errors} == {BackendUnavailableError}
    assert len({id(error) for error in errors}) == 8


def test_different_refs_do_not_wait_for_each_other(time):
    slow = Slow("slow", {REF: "eu", OTHER: "x"})
    slow.hold()
    cache = cached(slow, time)
    threads = [threading.Thread(target=cache.read, args=(ref,)) for ref in (REF, OTHER)]
    for thread in threads:
        thread.start()
    assert slow.wait_until_asked(2)
    slow.release()
    for thread in threads:
        thread.join(10)


class Held(Memory):
    """Reads, then waits at a gate with what it has read."""

    def __init__(self, *args):
        super().__init__(*args)
        self.has_read = threading.Event()
        self.gate = threading.Event()

    def read(self, ref):
        entry = super().read(ref)
        self.has_read.set()
        assert self.gate.wait(10)
        return entry


def test_a_question_under_way_during_a_write_is_answered_but_not_remembered(time):
    held = Held("held", {REF: "old"})
    cache = cached(held, time)
    answers = []
    reader = threading.Thread(target=lambda: answers.append(text(cache.read(REF))))
    reader.start()
    assert held.has_read.wait(10)
    cache.writing(held).write(draft(REF, "new"))
    held.gate.set()
    reader.join(10)
    assert answers == ["old"]
    assert cache.peek(REF) is None
    assert text(cache.read(REF)) == "new"


def test_a_read_after_a_write_does_not_join_the_question_from_before(time):
    held = Held("held", {REF: "old"})
    cache = cached(held, time)
    before = threading.Thread(target=cache.read, args=(REF,))
    before.start()
    assert held.has_read.wait(10)
    cache.writing(held).write(draft(REF, "new"))
    held.has_read.clear()
    answers = []
    after = threading.Thread(target=lambda: answers.append(text(cache.read(REF))))
    after.start()
    assert held.has_read.wait(10)
    held.gate.set()
    before.join(10)
    after.join(10)
    assert answers == ["new"]
    assert text(cache.peek(REF)) == "new"


def test_an_interrupted_question_is_asked_again_by_those_who_waited(time):
    class Interrupted(Held):
        def read(self, ref):
            first = not self.has_read.is_set()
            entry = super().read(ref)
            if first:
                raise KeyboardInterrupt
            return entry

    backend = Interrupted("held", {REF: "eu"})
    cache = cached(backend, time)
    flight, is_mine = cache.board(REF)
    assert is_mine
    waiting, answers = threading.Semaphore(0), []

    def wait():
        waiting.release()
        answers.append(text(cache.read(REF)))

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert waiting.acquire(timeout=10)
    backend.gate.set()
    cache.fly(REF, flight)
    waiter.join(10)
    assert isinstance(flight.error, KeyboardInterrupt)
    assert answers == ["eu"]


def test_a_question_that_nobody_flies_is_given_up_and_asked_anew(backend, time):
    cache = Cache(backend, LIFETIMES, clock=time.wall, timer=time.boot, patience=timedelta(milliseconds=5))
    flight, _ = cache.board(REF)
    with pytest.raises(BackendUnavailableError):
        cache.read(REF)
    assert text(cache.read(REF)) == "eu"
    cache.cancel(REF, flight, BackendUnavailableError("given up", backend="vault"))
    assert text(cache.peek(REF)) == "eu"


FORK = """
import os, sys, threading
from strongroom.cache import Cache
from strongroom.model.ref import Ref
from strongroom.testing.fakes import Memory, Slow, frozen_clock

known, asked = Ref("variable", "known"), Ref("variable", "asked")
slow = Slow("slow", {known: "k", asked: "a"})
cache = Cache(slow, clock=frozen_clock)
cache.read(known)
slow.hold()
reader = threading.Thread(target=cache.read, args=(asked,))
reader.start()
slow.wait_until_asked()
with cache._desk().lock:  # the worst moment
    child = os.fork()
if child == 0:
    cache._inner = Memory("fresh", {asked: "b"})
    fine = cache.peek(known) is not None and cache.read(asked).secret.reveal() == "b"
    os._exit(0 if fine and cache.statistics().bytes > 0 else 1)
slow.release()
reader.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_keeps_the_entries_and_starts_with_no_question_under_way():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], timeout=60, check=False)
    assert done.returncode == 0


# --- chain and cache against a model ---


@dataclass
class Known:
    """What the model thinks is remembered."""

    value: str | None
    fresh_until: float
    keep_until: float
    not_after: float | None
    paused_until: float = 0.0

    def is_past(self, now: float) -> bool:
        return self.not_after is not None and self.not_after <= now


class ChainAndCache(RuleBasedStateMachine):
    """A high backend with trouble, a low one without, a cache above; the model knows the rules only."""

    @initialize(on_unavailable=st.sampled_from(["stale", "stop"]))
    def build(self, on_unavailable):
        self.time = Time()
        self.on_unavailable = on_unavailable
        self.high = Flaky("high", clock=self.time.wall)
        self.low = Memory("low", clock=self.time.wall)
        links = [Link(backend=self.high, on_unavailable=on_unavailable), Link(backend=self.low)]
        self.cache = cached(Chain(links, clock=self.time.wall), self.time)
        self.held: dict[tuple[str, Ref], tuple[str, float | None]] = {}
        self.known: dict[Ref, Known] = {}
        self.trouble: type[StrongroomError] | None = None
        for ref in (REF, OTHER):
            self.change_behind_its_back(ref, "high", "start", None)
            self.read(ref)

    refs = st.sampled_from([REF, OTHER])
    places = st.sampled_from(["high", "low"])

    @rule(ref=refs, place=places, value=st.text("abc", max_size=2), life=st.sampled_from([None, 20, 400]))
    def change_behind_its_back(self, ref, place, value, life):
        not_after = None if life is None else self.time.seconds + life
        date = None if life is None else self.time.wall() + timedelta(seconds=life)
        getattr(self, place).put(ref, value, Metadata(not_after=date))
        self.held[place, ref] = (value, not_after)

    @rule(ref=refs, value=st.text("abc", max_size=2))
    def write(self, ref, value):
        if self.trouble is None:
            self.cache.writing(self.high).write(draft(ref, value))
            self.held["high", ref] = (value, None)
            self.known.pop(ref, None)

    @rule(ref=refs, place=places)
    def delete(self, ref, place):
        if self.trouble is None:
            self.cache.writing(getattr(self, place)).delete(ref, author="test")
            self.held.pop((place, ref), None)
            self.known.pop(ref, None)

    @rule(seconds=st.sampled_from([1, 4, 15, 301, 301, 600, 1300]))
    def let_time_pass(self, seconds):
        self.time.seconds += seconds

    @rule(trouble=st.sampled_from([None, BackendUnavailableError, AccessDeniedError, TamperedError]))
    def change_the_trouble(self, trouble):
        self.trouble = trouble
        self.high.recover()
        if trouble is not None:
            evidence = {BackendUnavailableError: {"backend": "high"}, AccessDeniedError: {"reason": "rule"}}
            self.high.fail(error=trouble("trouble", **evidence.get(trouble, {})))

    @rule(ref=refs)
    def read(self, ref):
        asked_before = len(self.high.calls)
        expected, is_asked = self.answer(ref)
        try:
            entry = self.cache.read(ref)
        except StrongroomError as error:
            found: object = type(error)
        else:
            found = None if entry is None else (entry.secret.reveal(), entry.is_stale)
        assert found == expected
        assert (len(self.high.calls) > asked_before) is is_asked

    def answer(self, ref) -> tuple[object, bool]:
        """Tell what a read must give, and whether it must ask."""
        now, known = self.time.seconds, self.known.get(ref)
        if known is not None and known.fresh_until > now and not known.is_past(now):
            return (None if known.value is None else (known.value, False)), False
        if known is not None and known.paused_until > now and self.may_stand_in(known):
            return (known.value, True), False
        return self.ask(ref, now, known), True

    def may_stand_in(self, known) -> bool:
        now = self.time.seconds
        return known.value is not None and known.keep_until > now and not known.is_past(now)

    def ask(self, ref, now, known) -> object:
        if self.trouble is BackendUnavailableError:
            if known is not None and self.on_unavailable == "stale" and self.may_stand_in(known):
                known.paused_until = now + 5
                return known.value, True
            return self.trouble
        self.known.pop(ref, None)
        if self.trouble is not None:
            return self.trouble
        value, not_after = self.held.get(("high", ref)) or self.held.get(("low", ref)) or (None, None)
        if not_after is not None and not_after <= now:
            return MalformedEntryError
        lives = 10 if value is None else 300
        self.known[ref] = Known(value, now + lives, now + 1200, not_after)
        return None if value is None else (value, False)

    @invariant()
    def one_name_is_read_after_every_step_the_other_only_now_and_then(self):
        if hasattr(self, "cache"):
            self.read(REF)

    @invariant()
    def the_cache_counts_its_bytes(self):
        if hasattr(self, "cache"):
            assert self.cache.statistics().bytes == sum(row.bytes for row in self.cache._rows.values())


TestChainAndCache = ChainAndCache.TestCase
TestChainAndCache.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


# --- ahead of readers ---


def test_equal_answer_leaves_the_very_object_in_its_place(cache, time):
    first = cache.read(REF)
    time.seconds += 301
    assert cache.read(REF) is first
    assert cache.refresh(REF) is first


def test_another_value_under_the_same_version_is_another_answer(backend, cache, time):
    class Versionless(Backend):
        name, is_local, value = "old", True, "eu"

        def read(self, ref):
            return Entry(ref=ref, secret=Secret(self.value), backend="old", read_at=time.wall())

    backend = Versionless()
    cache = cached(backend, time)
    first = cache.read(REF)
    backend.value = "us"
    assert cache.refresh(REF) is not first
    assert text(cache.read(REF)) == "us"


def test_expired_entry_is_asked_for_anew_and_stands_in_during_an_outage(backend, cache):
    cache.read(REF)
    cache.read(REF)
    assert cache.expire() == [REF]
    assert cache.peek(REF) is None
    backend.fail()
    assert cache.read(REF).is_stale
    backend.recover()
    cache.clear()
    assert not cache.read(REF).is_stale


def test_expiry_of_one_backend_leaves_the_others_alone_and_forgets_absences(backend, time):
    other = Flaky("other", {OTHER: "x"}, clock=time.wall)
    chain = Chain([Link(backend=backend), Link(backend=other)], clock=time.wall)
    cache = cached(chain, time)
    cache.read(REF)
    cache.read(OTHER)
    cache.read(TEAM_REF)
    cache.read(Ref("variable", "nowhere"))
    cache.expire({"other"})
    assert cache.peek(REF) is not None
    assert cache.peek(OTHER) is None
    assert cache.statistics().absences == 0


def test_answer_that_was_under_way_when_changes_were_missed_is_not_remembered(time):
    slow = Slow("vault", {REF: "eu"}, clock=time.wall)
    cache = cached(slow, time)
    slow.hold()
    thread = threading.Thread(target=cache.read, args=[REF])
    thread.start()
    assert slow.wait_until_asked()
    cache.expire()
    slow.release()
    thread.join()
    assert len(cache) == 0


def test_drop_tells_what_was_read_lately(cache, backend, time):
    backend.put(OTHER, "x")
    cache.read(REF)
    cache.renew(OTHER)
    assert cache.drop(REF, OTHER) == [REF]
    cache.read(REF)
    time.seconds += 1000
    assert cache.drop(REF) == []


def test_drop_of_the_global_name_tells_of_the_teams(backend, time):
    chain = Chain([Link(backend=backend)], clock=time.wall)
    cache = cached(chain, time)
    cache.read(TEAM_REF)
    assert cache.drop(REF) == [TEAM_REF]
    assert len(cache) == 0


def test_what_was_read_is_near_its_end_and_what_was_not_is_left_to_it(cache, backend, time):
    backend.put(OTHER, "x")
    cache.read(REF)
    cache.read(OTHER)
    time.seconds += 200
    cache.read(REF)
    assert cache.ending(0.1, 1) == []
    time.seconds += 75
    assert cache.ending(0.1, 1) == [(REF, 25.0, False)]
    assert [key for key, _, _ in cache.ending(0.1, 1, {OTHER})] == [REF, OTHER]


def test_what_is_asked_ahead_counts_as_read_when_it_is(cache, time):
    cache.read(REF)
    cache.renew(REF)
    time.seconds += 290
    assert cache.ending(0.1, 1) == []
    cache.read(REF)
    assert [key for key, _, _ in cache.ending(0.1, 1)] == [REF]


def test_renewing_counts_as_no_answer_given_in_an_outage(cache, backend):
    cache.read(REF)
    backend.fail()
    assert cache.renew(REF).is_stale
    assert cache.statistics().stale == 0


def test_restored_entry_is_served_in_an_outage_only_and_never_over_a_newer_one(cache, backend, time):
    old = Entry(ref=REF, secret=Secret("old"), backend="vault", version="0", read_at=time.wall())
    hour = timedelta(hours=1)
    assert cache.restore(REF, old, age=hour, left=hour)
    assert cache.peek(REF) is None
    backend.fail()
    assert (text(cache.read(REF)), cache.read(REF).is_stale) == ("old", True)
    assert cache.held()[0].age == hour
    backend.recover()
    time.seconds += 6
    assert text(cache.read(REF)) == "eu"
    assert not cache.restore(REF, old, age=hour, left=hour)
    assert text(cache.read(REF)) == "eu"


def test_restored_entry_is_gone_when_its_time_is_over(cache, backend, time):
    old = Entry(ref=REF, secret=Secret("old"), backend="vault", version="0", read_at=time.wall())
    cache.restore(REF, old, age=timedelta(hours=1), left=timedelta(minutes=1))
    backend.fail()
    time.seconds += 61
    with pytest.raises(BackendUnavailableError):
        cache.read(REF)
    assert cache.held() == []


def test_restoring_pushes_nothing_out(backend, time):
    cache = cached(backend, time, max_entries=1)
    cache.read(REF)
    old = Entry(ref=OTHER, secret=Secret("old"), backend="vault", read_at=time.wall())
    assert not cache.restore(OTHER, old, age=timedelta(), left=timedelta(hours=1))
    assert cache.peek(REF) is not None


def test_some_entries_stand_in_for_less_long_than_others(backend, time):
    backend.put(OTHER, "x")
    cache = Cache(
        backend,
        LIFETIMES,
        clock=time.wall,
        timer=time.boot,
        draw=lambda: 0.5,
        stale_bound=lambda ref, _entry: timedelta(seconds=60) if ref == REF else None,
    )
    cache.read(REF)
    cache.read(OTHER)
    backend.fail()
    time.seconds += 359
    assert cache.read(REF).is_stale
    time.seconds += 6
    assert cache.read(OTHER).is_stale
    with pytest.raises(BackendUnavailableError):
        cache.read(REF)


def test_another_chain_is_asked_and_what_is_held_is_kept(cache, backend, time):
    first = cache.read(REF)
    other = Flaky("other", {REF: "us", OTHER: "x"}, clock=time.wall)
    cache.use(other, LIFETIMES)
    assert cache.read(REF) is first
    assert text(cache.read(OTHER)) == "x"
    cache.drop_from({"vault"})
    assert text(cache.read(REF)) == "us"


def test_whoever_is_told_what_is_kept_hears_of_entries_and_absences(cache, backend):
    heard = []
    cache.on_kept = lambda ref, entry: heard.append((ref, text(entry)))
    cache.read(REF)
    cache.read(REF)
    cache.read(OTHER)
    assert heard == [(REF, "eu"), (OTHER, None)]


# --- many at once ---


@pytest.fixture
def many(time):
    return Bell("server", {REF: "eu", OTHER: "x"}, is_many=True, clock=time.wall)


def texts(answers):
    return [one if isinstance(one, StrongroomError) else text(one) for one in answers]


NOWHERE = Ref("variable", "nowhere")


def test_many_misses_are_one_question_and_hits_are_none(many, time):
    cache = cached(Chain([Link(backend=many)], clock=time.wall), time)
    cache.read(REF)
    assert texts(cache.read_many([REF, OTHER, NOWHERE])) == ["eu", "x", None]
    assert many.batches == [[OTHER, NOWHERE]]
    assert texts(cache.read_many([REF, OTHER, NOWHERE, REF])) == ["eu", "x", None, "eu"]
    assert len(many.batches) == 1
    assert texts(cache.read_many([REF, OTHER], anew=True)) == ["eu", "x"]
    assert len(many.batches) == 2


def test_each_of_many_has_an_outcome_of_its_own(many, time):
    class Torn(Bell):
        def _given(self, ref):
            return AccessDeniedError("no", reason="no") if ref == OTHER else super()._given(ref)

    torn = Torn("server", {REF: "eu", OTHER: "x"}, is_many=True, clock=time.wall)
    cache = cached(Chain([Link(backend=torn)], clock=time.wall), time)
    found = cache.read_many([REF, OTHER, NOWHERE])
    assert (text(found[0]), type(found[1]), found[2]) == ("eu", AccessDeniedError, None)


def test_outage_of_a_batch_is_bridged_for_what_is_held_and_told_for_the_rest(many, time):
    cache = cached(Chain([Link(backend=many)], clock=time.wall), time)
    cache.read(REF)
    time.seconds += 301
    many.fail()
    held, other = cache.read_many([REF, OTHER])
    assert held.is_stale
    assert isinstance(other, BackendUnavailableError)


def test_many_are_asked_one_by_one_where_a_place_knows_no_batches(backend, time):
    cache = cached(Chain([Link(backend=backend)], clock=time.wall), time)
    assert not cache.is_batched
    assert texts(cache.read_many([REF, OTHER])) == ["eu", None]
    assert texts(cache.renew_many([REF])) == ["eu"]


def test_batch_waits_for_what_another_thread_asks_and_asks_for_the_rest(time):
    slow = Slow("vault", {REF: "eu", OTHER: "x"}, clock=time.wall)
    cache = cached(slow, time)
    slow.hold()
    thread = threading.Thread(target=cache.read, args=[REF])
    thread.start()
    assert slow.wait_until_asked()
    found = []
    batch = threading.Thread(target=lambda: found.extend(cache.read_many([REF, OTHER])))
    batch.start()
    assert slow.wait_until_asked(2)
    slow.release()
    thread.join()
    batch.join()
    assert texts(found) == ["eu", "x"]
    assert slow.calls.count(("read", REF)) == 1


# --- over a server ---


class Server(Backend):
    """Has a cache of its own: what it gives is of some age, and fresh for some time."""

    name, is_local = "server", False

    def __init__(self, time, age=100, fresh_for=30):
        self.time, self.age, self.fresh_for = time, age, fresh_for

    def read(self, ref):
        return Entry(
            ref=ref,
            secret=Secret("eu"),
            backend="server",
            version="1",
            read_at=self.time.wall() - timedelta(seconds=self.age),
            fresh_for=timedelta(seconds=self.fresh_for),
        )


def test_what_a_server_gave_is_as_old_as_it_is_there_and_fresh_as_long(time):
    cache = cached(Server(time), time)
    cache.read(REF)
    assert cache.times(REF) == (100, 30)
    assert cache.remembered(REF).age == timedelta(seconds=100)
    time.seconds += 20
    assert cache.times(REF) == (120, 10)
    assert cache.ending(0.1, 15) == []
    cache.read(REF)
    assert cache.ending(0.1, 15) == [(REF, 10.0, True)]


def test_what_a_server_says_anew_counts_though_the_entry_is_the_same(time):
    server = Server(time)
    cache = cached(server, time)
    first = cache.read(REF)
    server.age, server.fresh_for = 5, 295
    assert cache.refresh(REF) is first
    assert cache.times(REF) == (5, 295)


def test_clock_of_a_server_that_is_off_makes_nothing_younger_or_older_than_can_be(time):
    for age, told in ((-1000, 0), (1_000_000, 1200)):
        cache = cached(Server(time, age=age), time)
        cache.read(REF)
        assert cache.times(REF)[0] == told


def test_entry_that_is_past_its_time_is_known_still_and_not_given_out(cache, time):
    cache.read(REF)
    time.seconds += 301
    assert text(cache.entry(REF)) == "eu"
    assert cache.glance(REF) is None
    assert cache.entry(OTHER) is None
