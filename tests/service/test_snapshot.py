"""What parsers share, and for how long; and what a run is given again."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from strongroom.backend import Backend
from strongroom.cache import UNKNOWN, Cache, Lifetimes
from strongroom.errors import BackendUnavailableError
from strongroom.model.entry import Entry, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Actor, Assurance, Run
from strongroom.service.pins import Pins
from strongroom.service.snapshot import renew, snapshot_of

REF, OTHER, TEAM = Ref("variable", "x"), Ref("variable", "y"), Ref("variable", "x", "pay")


class Time:
    def __init__(self):
        self.seconds = 1000.0

    def timer(self):
        return self.seconds

    def clock(self):
        return datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=self.seconds)


class Place(Backend):
    name = "place"
    is_local = True

    def __init__(self, time):
        self.time = time
        self.held = {}
        self.asked = []
        self.is_down = False
        self.more = {}

    def read(self, ref):
        self.asked.append(ref)
        if self.is_down:
            raise BackendUnavailableError("down", backend=self.name)
        if ref not in self.held:
            return None
        text = self.held[ref]
        return Entry(
            ref=ref,
            secret=Secret(text),
            backend=self.name,
            version=text,
            read_at=self.time.clock(),
            **{"metadata": Metadata(), **self.more},
        )


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def place(time):
    made = Place(time)
    made.held[REF] = "old"
    return made


def cache_of(place, time, seconds=0.0):
    lifetimes = Lifetimes(
        ttl=timedelta(seconds=seconds), absent_ttl=timedelta(0), stale_if_error=timedelta(900)
    )
    return Cache(place, lifetimes, clock=time.clock, timer=time.timer, draw=lambda: 0.5)


def text(entry):
    return None if entry is None else entry.secret.reveal()


def test_an_entry_and_an_absence_are_asked_for_once(place, time):
    shot = snapshot_of(
        cache_of(place, time), timedelta(seconds=300), is_strict=lambda *_: False, clock=time.clock
    )
    assert [text(shot.read(REF)) for _ in range(5)] == ["old"] * 5
    assert [shot.read(OTHER) for _ in range(5)] == [None] * 5
    assert place.asked == [REF, OTHER]
    assert shot.peek(REF) is shot.read(REF)


def test_a_change_is_not_seen_until_it_is_flushed_or_the_settings_are_taken_anew(place, time):
    cache = cache_of(place, time)
    shot = snapshot_of(cache, timedelta(seconds=300), is_strict=lambda *_: False, clock=time.clock)
    shot.read(REF)
    place.held[REF] = "new"
    assert text(shot.read(REF)) == "old"
    shot.drop(REF)
    assert text(shot.read(REF)) == "new"
    place.held[REF] = "newer"
    renew(shot, cache, timedelta(seconds=300), is_strict=lambda *_: False)
    assert text(shot.read(REF)) == "newer"


def test_strict_entries_trouble_and_a_snapshot_of_no_time_keep_nothing(place, time):
    cache = cache_of(place, time)
    for lifetime, is_strict in ((300, True), (0, False)):
        place.asked.clear()
        shot = snapshot_of(
            cache,
            timedelta(seconds=lifetime),
            is_strict=lambda *_, is_strict=is_strict: is_strict,
            clock=time.clock,
        )
        assert [text(shot.read(REF)) for _ in range(3)] == ["old"] * 3
        assert len(place.asked) == 3
    cache.clear()
    shot.clear()
    place.is_down = True
    with pytest.raises(BackendUnavailableError):
        shot.read(REF)
    place.is_down = False
    assert text(shot.read(REF)) == "old"


def test_what_the_cache_had_for_a_while_is_kept_for_the_rest_of_the_time(place, time):
    cache = cache_of(place, time, 3600)
    cache.read(REF)
    time.seconds += 250
    shot = snapshot_of(cache, timedelta(seconds=300), is_strict=lambda *_: False, clock=time.clock)
    shot.read(REF)
    _, left = shot.times(REF)
    assert 40 < left <= 50


def test_many_are_asked_for_together(place, time):
    shot = snapshot_of(
        cache_of(place, time), timedelta(seconds=300), is_strict=lambda *_: False, clock=time.clock
    )
    assert [text(entry) for entry in shot.read_many([REF, OTHER])] == ["old", None]
    assert [text(entry) for entry in shot.read_many([REF, OTHER])] == ["old", None]
    assert place.asked == [REF, OTHER]


# --- pins --------------------------------------------------------------------------------------------------


def actor(dag="etl", run_id="monday"):
    return Actor("local:1000", Assurance.HOST_USER, run=Run(Assurance.CLAIMED, dag, run_id=run_id))


@pytest.fixture
def pins(place, time):
    return Pins(
        cache_of(place, time),
        timedelta(hours=24),
        is_strict=lambda ref, _entry: ref.name == "strict",
        clock=time.clock,
        timer=time.timer,
    )


def test_each_run_is_given_what_it_was_given_first(pins, place):
    monday = pins.view(actor())
    assert text(monday.read(REF)) == "old"
    place.held[REF] = "new"
    tuesday = pins.view(actor(run_id="tuesday"))
    assert text(tuesday.read(REF)) == "new"
    again = pins.view(actor())
    assert text(again.read(REF)) == text(again.recall(REF)) == text(again.peek(REF)) == "old"
    assert [text(entry) for entry in again.read_many([REF, OTHER])] == ["old", None]
    assert text(again.refresh(REF)) == text(again.read_many([REF], anew=True)[0]) == "new"
    assert text(again.read(REF)) == "old"


@pytest.mark.parametrize("who", [Actor("local:1"), actor(dag=None), actor(run_id=None)])
def test_who_is_of_no_run_sees_the_cache_itself(pins, who):
    assert pins.view(who) is pins.cache


def test_absences_and_strict_and_stale_entries_are_not_pinned(pins, place, time):
    view = pins.view(actor())
    assert view.read(OTHER) is None
    place.held[OTHER] = "there"
    assert text(view.read(OTHER)) == "there"
    strict = Ref("variable", "strict")
    place.held[strict] = "one"
    assert text(view.read(strict)) == "one"
    place.held[strict] = "two"
    assert text(view.read(strict)) == "two"
    pins.view(actor(run_id="sunday")).read(REF)
    place.is_down = True
    tuesday = pins.view(actor(run_id="tuesday"))
    assert tuesday.read(REF).is_stale
    place.is_down, place.held[REF] = False, "new"
    time.seconds += 10
    assert text(tuesday.read(REF)) == "new"


def test_an_entry_past_its_date_or_its_lease_is_pinned_no_more(pins, place, time):
    minute = timedelta(seconds=60)
    for made in (
        lambda: {"metadata": Metadata(not_after=time.clock() + minute)},
        lambda: {"metadata": Metadata(expires_at=time.clock() + minute)},
        lambda: {"lifetime": minute},
    ):
        pins.clear()
        pins.cache.clear()
        place.held[REF], place.more = "old", made()
        view = pins.view(actor())
        assert text(view.read(REF)) == "old"
        place.held[REF], place.more = "new", {}
        assert text(view.read(REF)) == "old"
        time.seconds += 61
        assert text(view.read(REF)) == "new"


def test_a_run_that_does_not_ask_for_a_day_is_forgotten(pins, place, time):
    view = pins.view(actor())
    view.read(REF)
    place.held[REF] = "new"
    for _ in range(3):
        time.seconds += 80_000
        assert text(view.read(REF)) == "old"
    time.seconds += 86_401
    assert view.peek(REF) is None
    assert len(pins) == 0
    assert text(view.read(REF)) == "new"


def test_flushes_reach_every_team_and_a_write_its_own_run_alone(pins, place):
    place.held[TEAM] = "team's"
    one, two = pins.view(actor()), pins.view(actor(run_id="tuesday"))
    for view in (one, two):
        view.read(REF)
        view.read(TEAM)
    place.held[REF] = "new"
    pins.drop(REF, run=actor().run)
    assert (text(one.read(REF)), text(two.read(REF))) == ("new", "old")
    pins.drop(REF)
    assert text(two.read(REF)) == "new"
    pins.drop_from({"place"})
    assert len(pins) == 0


def test_pins_are_bounded_and_the_run_that_asked_longest_ago_goes_first(pins, place, time):
    big = "x" * 30_000_000
    for number, name in enumerate(("a", "b", "c")):
        time.seconds += number
        place.held[REF] = big
        pins.view(actor(run_id=name)).read(REF)
    assert len(pins) == 2
    assert pins.view(actor(run_id="a")).peek(REF) is None
    assert pins.view(actor(run_id="c")).peek(REF) is not None


def test_what_nothing_is_known_of_is_unknown(pins):
    assert pins.view(actor()).recall(OTHER) is UNKNOWN
