"""A cache that is kept fresh: what is told, what is missed, what is read, who follows."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from parts.bell import Bell, until
from strongroom.assembly.ways import now
from strongroom.backend import Watched
from strongroom.cache import Cache, Lifetimes, boot_seconds
from strongroom.chain import Chain, Link
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.service.freshness import Freshness
from strongroom.testing.fakes import Flaky, Memory

REF = Ref("variable", "region")
OTHER = Ref("variable", "other")
OF_TEAM = Ref("variable", "region", "data")


def text(entry):
    return None if entry is None else entry.secret.reveal()


class Kept:
    """A cache over *backends*, kept fresh, with lifetimes of the test's."""

    def __init__(self, *backends, ttl=300.0, is_started=True, draw=lambda: 0.5, told_of=(), follow=5.0):
        self.chain = Chain([Link(backend=backend) for backend in backends], clock=now)
        lifetimes = Lifetimes(ttl=timedelta(seconds=ttl), outage_pause=timedelta(seconds=0.1))
        self.cache = Cache(self.chain, lifetimes, clock=now, draw=draw)
        self.freshness = Freshness(
            self.cache,
            timer=boot_seconds,
            clock=now,
            draw=draw,
            follow_interval=timedelta(seconds=follow),
        )
        self.notices = []
        self.freshness.use(
            self.chain, lambda name, notice: self.notices.append((name, notice)), told_of=told_of
        )
        if is_started:
            self.freshness.start()
        self.woken = []

    def text(self, ref=REF):
        return text(self.cache.read(ref))

    def follow(self, ref=REF):
        return self.freshness.follow(ref, lambda ref, version: self.woken.append((ref, version)))


@pytest.fixture
def keep():
    made = []

    def make(*backends, **options):
        made.append(Kept(*backends, **options))
        return made[-1]

    yield make
    for kept in made:
        kept.freshness.close()
        kept.chain.close()


@pytest.fixture
def bell():
    return Bell("server", {REF: "eu", OTHER: "x"})


# --- what is told ----------------------------------------------------------------------------------------


def test_change_that_is_told_is_fetched_before_anybody_asks(keep, bell):
    kept = keep(bell)
    kept.text()
    bell.change(REF, "us")
    until(lambda: text(kept.cache.peek(REF)) == "us")
    assert bell.reads(REF) == 2


def test_change_is_seen_by_the_next_read_before_it_was_fetched(keep, bell):
    kept = keep(bell, is_started=False)
    kept.text()
    bell.change(REF, "us")
    assert kept.text() == "us"


def test_what_nobody_read_lately_is_forgotten_and_not_fetched(keep, bell):
    kept = keep(bell)
    kept.text()
    bell.change(OTHER, "y")
    bell.change(REF, "us")
    until(lambda: kept.cache.peek(REF))
    assert bell.reads(OTHER) == 0


def test_change_of_the_global_name_is_fetched_for_the_team_that_was_answered_by_it(keep, bell):
    kept = keep(bell)
    assert kept.text(OF_TEAM) == "eu"
    bell.change(REF, "us")
    until(lambda: text(kept.cache.peek(OF_TEAM)) == "us")


def test_version_that_is_held_already_is_not_asked_for_again(keep, bell):
    kept = keep(bell)
    kept.text()
    bell.ring(REF)
    assert text(kept.cache.peek(REF)) == "eu"
    assert bell.reads(REF) == 1


def test_deletion_is_told(keep, bell):
    kept = keep(bell)
    kept.text()
    bell.delete(REF, author="test")
    bell.ring(REF)
    assert kept.text() is None


def test_listener_hears_of_a_notice_before_anything_is_forgotten(keep, bell):
    kept = keep(bell)
    kept.text()
    held = []
    kept.freshness.use(kept.chain, lambda _name, notice: held.append(REF in notice.refs and len(kept.cache)))
    bell.change(REF, "us")
    assert held[-1] == 1
    bell.tell(policy="r2")
    assert held[-1] is False


def test_change_in_a_place_that_answers_nothing_yet_is_seen_though_a_lower_one_answered(keep, bell):
    upper = Bell("upper")
    kept = keep(upper, bell)
    assert kept.text() == "eu"
    upper.change(REF, "above")
    assert kept.text() == "above"


def test_fetching_ahead_is_spread_and_reading_is_not(keep, bell):
    kept = keep(bell, draw=lambda: 1.0)
    kept.text()
    bell.change(REF, "us")
    assert bell.reads(REF) == 1
    assert kept.text() == "us"
    until(lambda: kept.freshness.renewed)


# --- what is missed --------------------------------------------------------------------------------------


def test_nothing_from_before_a_gap_is_served_as_fresh(keep, bell):
    kept = keep(bell, is_started=False)
    kept.text()
    bell.put(REF, "us")
    bell.tell(is_gap=True)
    assert kept.text() == "us"


def test_what_was_read_lately_is_asked_for_after_a_gap_and_the_rest_is_not(keep, bell):
    kept = keep(bell)
    kept.text()
    kept.cache.renew(OTHER)
    bell.put(REF, "us")
    bell.tell(is_gap=True)
    until(lambda: text(kept.cache.peek(REF)) == "us")
    assert bell.reads(OTHER) == 1


def test_what_was_held_before_a_gap_stands_in_during_an_outage(keep, bell):
    kept = keep(bell, is_started=False)
    kept.text()
    bell.tell(is_gap=True)
    bell.fail()
    assert kept.cache.read(REF).is_stale


def test_gap_of_a_lower_place_leaves_what_a_higher_one_answered(keep, bell):
    lower = Bell("lower", {OTHER: "y"})
    kept = keep(bell, lower, is_started=False)
    kept.text()
    lower.tell(is_gap=True)
    assert kept.cache.peek(REF) is not None
    bell.tell(is_gap=True)
    assert kept.cache.peek(REF) is None


def test_watch_that_is_lost_is_told_until_it_is_heard_again(keep, bell):
    kept = keep(bell)
    bell.tell(is_lost=True)
    assert not kept.freshness.hearing("server").is_live
    bell.tell()
    hearing = kept.freshness.hearing("server")
    assert (hearing.is_live, hearing.gaps) == (True, 1)
    assert kept.freshness.hearing("nowhere") is None


def test_another_chain_is_listened_to_and_the_old_one_is_not(keep, bell):
    kept = keep(bell)
    other = Bell("other", {REF: "us"})
    chain = Chain([Link(backend=other)], clock=now)
    told_before = bell.watching[0]
    kept.cache.use(chain, kept.cache.lifetimes)
    kept.freshness.use(chain)
    assert (bell.watching, len(other.watching)) == ([], 1)
    kept.text()
    told_before(Watched(is_gap=True))  # one that was under way
    assert kept.cache.peek(REF) is not None
    chain.close()


# --- before a lifetime ends ------------------------------------------------------------------------------


def test_what_was_read_is_looked_at_again_before_its_lifetime_ends_and_then_left_alone(keep):
    backend = Flaky("vault", {REF: "eu"})
    kept = keep(backend, ttl=1.0)
    kept.text()
    kept.text()
    backend.put(REF, "us")
    until(lambda: text(kept.cache.glance(REF)) == "us")
    asked = len(backend.calls)
    assert asked == 2
    until(lambda: kept.cache.glance(REF) is None)
    assert len(backend.calls) == asked


def test_what_was_not_read_again_is_not_looked_at(keep):
    backend = Flaky("vault", {REF: "eu"})
    kept = keep(backend, ttl=1.0)
    kept.text()
    until(lambda: kept.cache.glance(REF) is None)
    assert kept.freshness.renewed == 0


def test_nothing_is_looked_at_again_where_that_is_switched_off(keep):
    kept = keep(Flaky("vault", {REF: "eu"}), ttl=1.0)
    kept.freshness.is_revalidating = False
    kept.text()
    kept.text()
    until(lambda: kept.cache.glance(REF) is None)
    assert kept.freshness.renewed == 0


def test_same_version_keeps_the_very_entry(keep):
    kept = keep(Flaky("vault", {REF: "eu"}), ttl=1.0)
    first = kept.cache.read(REF)
    kept.text()
    until(lambda: kept.freshness.renewed and kept.cache.glance(REF))
    assert kept.cache.read(REF) is first


def test_outage_while_looking_again_changes_nothing(keep):
    backend = Flaky("vault", {REF: "eu"})
    kept = keep(backend, ttl=1.0)
    kept.text()
    kept.text()
    backend.fail()
    until(lambda: kept.freshness.renewed)
    until(lambda: kept.cache.glance(REF) is None)
    assert kept.cache.read(REF).is_stale


# --- who follows -----------------------------------------------------------------------------------------


def test_follower_is_woken_once_the_new_value_is_at_hand(keep, bell):
    kept = keep(bell)
    kept.text()
    kept.follow()
    seen = []
    kept.freshness.follow(REF, lambda ref, _version: seen.append(text(kept.cache.glance(ref))))
    bell.change(REF, "us")
    until(lambda: kept.woken)
    assert kept.woken == [(REF, "2")]
    assert until(lambda: seen) == ["us"]


def test_follower_of_what_was_never_read_is_woken(keep, bell):
    kept = keep(bell)
    kept.follow()
    until(lambda: kept.cache.glance(REF))
    bell.change(REF, "us")
    until(lambda: kept.woken)


def test_follower_hears_that_an_entry_is_gone_and_that_it_is_back(keep, bell):
    kept = keep(bell)
    kept.text()
    kept.follow()
    bell.delete(REF, author="test")
    bell.ring(REF)
    until(lambda: kept.woken == [(REF, None)])
    bell.change(REF, "again")
    until(lambda: len(kept.woken) == 2)
    assert kept.woken[1][1] is not None


def test_follower_is_not_woken_by_what_is_the_same(keep, bell):
    kept = keep(bell)
    kept.text()
    kept.follow()
    bell.tell(refs={REF: None})
    until(lambda: bell.reads(REF) == 2)
    kept.cache.refresh(REF)
    bell.change(REF, "us")
    until(lambda: kept.woken)
    assert kept.woken == [(REF, "2")]


def test_follower_is_woken_by_a_change_that_a_reader_met(keep):
    backend = Memory("vault", {REF: "eu"})
    kept = keep(backend, is_started=False)
    kept.text()
    kept.follow()
    backend.put(REF, "us")
    kept.cache.refresh(REF)
    assert kept.woken == [(REF, "2")]


def test_follower_of_a_teams_name_is_woken_by_the_global_one(keep, bell):
    kept = keep(bell)
    kept.text(OF_TEAM)
    kept.follow(OF_TEAM)
    bell.change(REF, "us")
    until(lambda: kept.woken)
    assert kept.woken == [(OF_TEAM, "2")]


def test_follower_that_ended_is_not_woken_and_nothing_is_kept_of_it(keep, bell):
    kept = keep(bell)
    kept.text()
    end = kept.follow()
    other = kept.follow()
    end()
    end()
    assert kept.freshness.followed == 1
    other()
    assert kept.freshness.followed == 0
    bell.change(REF, "us")
    until(lambda: text(kept.cache.peek(REF)) == "us")
    assert kept.woken == []


def test_what_no_place_tells_of_is_looked_at_for_all_who_follow_it(keep):
    backend = Memory("vault", {REF: "eu"})
    kept = keep(backend, follow=0.05)
    kept.text()
    for _ in range(20):
        kept.follow()
    backend.put(REF, "us")
    until(lambda: len(kept.woken) == 20)


def test_what_is_told_of_is_not_looked_at_while_it_is(keep, bell):
    kept = keep(bell)
    kept.text()
    kept.follow()
    assert bell.reads(REF) == 1
    assert kept.freshness.is_told_of(REF)
    bell.tell(is_lost=True)
    assert not kept.freshness.is_told_of(REF)


def test_place_whose_changes_are_told_otherwise_needs_no_watch(keep, bell):
    assert not keep(Memory("file"), bell).freshness.is_told_of(REF)
    assert keep(Memory("file"), bell, told_of=["file"]).freshness.is_told_of(REF)


def test_follower_hears_of_a_change_though_the_first_fetch_failed(keep, bell):
    kept = keep(bell)
    kept.text()
    kept.follow()
    bell.fail(times=1)
    bell.change(REF, "us")
    until(lambda: kept.woken)


def test_follower_of_an_entry_with_references_hears_of_what_it_refers_to(keep):
    whole, part = Ref("variable", "whole"), Ref("variable", "part")
    bell = Bell("server")
    bell.put(whole, "in ${variable/part}", Metadata(references=True))
    bell.put(part, "eu")
    kept = keep(bell)
    kept.text(whole)
    end = kept.follow(whole)
    until(lambda: kept.cache.glance(part))
    bell.change(part, "us")
    until(lambda: kept.woken)
    assert kept.woken == [(whole, "1")]
    end()
    assert kept.freshness.followed == 0


def test_references_in_a_circle_are_followed_once(keep):
    one, two = Ref("variable", "one"), Ref("variable", "two")
    bell = Bell("server")
    bell.put(one, "${variable/two}", Metadata(references=True))
    bell.put(two, "${variable/one}", Metadata(references=True))
    kept = keep(bell)
    kept.text(one)
    kept.text(two)
    end = kept.follow(one)
    bell.change(two, "plain")
    until(lambda: kept.woken)
    end()
    assert kept.freshness.followed == 0


def test_callback_that_fails_harms_nobody_else(keep, bell):
    kept = keep(bell)
    kept.text()

    def fail(_ref, _version):
        raise ValueError

    kept.freshness.follow(REF, fail)
    kept.follow()
    bell.change(REF, "us")
    until(lambda: kept.woken)
    assert kept.text() == "us"


# --- bounds ----------------------------------------------------------------------------------------------


def test_flood_of_notices_asks_for_each_name_a_few_times(keep, bell):
    kept = keep(bell)
    kept.text()
    for _ in range(1000):
        bell.tell(refs={REF: None})
    until(lambda: kept.freshness.renewed)
    until(lambda: text(kept.cache.peek(REF)) == "eu")
    assert bell.reads(REF) < 20


def test_gap_with_many_entries_asks_by_a_few_threads(keep):
    refs = [Ref("variable", f"v{number}") for number in range(300)]
    bell = Bell("server", dict.fromkeys(refs, "x"))
    kept = keep(bell)
    for ref in refs:
        kept.text(ref)
    bell.tell(is_gap=True)
    until(lambda: all(kept.cache.glance(ref) for ref in refs))
    assert sum("renewal" in thread.name for thread in threading.enumerate()) <= 4
    assert all(bell.reads(ref) == 2 for ref in refs)


def test_work_for_later_is_done_in_time_or_at_the_end(keep, bell):
    kept = keep(bell)
    done = []
    kept.freshness.later(0.01, lambda: done.append("soon"))
    kept.freshness.later(1000, lambda: done.append("late"))
    until(lambda: done)
    assert done == ["soon"]
    kept.freshness.close()
    assert done == ["soon", "late"]
    kept.freshness.close()


def test_idle_cache_asks_nobody(keep, bell):
    kept = keep(bell)
    assert bell.calls == []
    assert kept.freshness.renewed == 0


def test_gap_is_asked_for_in_batches_where_a_place_answers_many_at_once(keep):
    refs = [Ref("variable", f"v{number}") for number in range(300)]
    bell = Bell("server", dict.fromkeys(refs, "x"), is_many=True)
    kept = keep(bell, draw=lambda: 0.0)
    kept.cache.read_many(refs)
    kept.follow(refs[0])
    for ref in refs:
        bell.put(ref, "y")
    bell.tell(is_gap=True)
    until(lambda: all(text(kept.cache.glance(ref)) == "y" for ref in refs))
    assert len(bell.batches) <= 10
    until(lambda: kept.woken)


def test_follower_hears_of_a_change_though_its_batch_failed(keep):
    bell = Bell("server", {REF: "eu", OTHER: "x"}, is_many=True)
    kept = keep(bell, draw=lambda: 0.0)
    kept.cache.read_many([REF, OTHER])
    kept.follow()
    bell.put(REF, "us")
    bell.fail(times=1)
    bell.tell(is_gap=True)
    until(lambda: kept.woken)
