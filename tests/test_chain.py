"""The lookup loop: outcomes, teams, deadlines, explanations, and where a write goes."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parts.bell import Bell
from strongroom import errors
from strongroom.backend import Backend
from strongroom.bulkhead import seconds_left
from strongroom.chain import Chain, Link, Outcome, outcome_of
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
    NotAuthenticatedError,
    NotFoundError,
    RateLimitedError,
    ReadOnlyError,
    SealedError,
    SettingsError,
    StrongroomError,
    TamperedError,
)
from strongroom.model.entry import Entry, Metadata
from strongroom.model.explanation import Remembered
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.fakes import Denying, Flaky, Memory, Slow, frozen_clock

NOW = frozen_clock()
REF = Ref("variable", "region")
TEAM_REF = Ref("variable", "region", "data")
OTHER = Ref("connection", "orders_db")
CANARY = "canary-7f3a"


def chain(*backends, **options) -> Chain:
    links = [one if isinstance(one, Link) else Link(backend=one) for one in backends]
    return Chain(links, clock=options.pop("clock", frozen_clock), **options)


def text(entry: Entry | None) -> str | None:
    return None if entry is None else entry.secret.reveal()


class ReadOnly(Backend):
    """Reads what a Memory holds and has no other ability."""

    is_local = True

    def __init__(self, name="env", entries=None):
        self.inner = Memory(name, entries)
        self.name = name

    def read(self, ref):
        return self.inner.read(ref)


def remote(backend: Backend) -> Backend:
    backend.is_local = False
    return backend


# --- only absent moves on ---


def test_the_first_backend_that_has_it_answers():
    first, second = Memory("first"), Memory("second", {REF: "eu"})
    entry = chain(first, second).read(REF)
    assert (text(entry), entry.backend) == ("eu", "second")


def test_a_backend_below_the_answer_is_not_asked():
    below = Memory("below", {REF: "old"})
    assert text(chain(Memory("first", {REF: "new"}), below).read(REF)) == "new"
    assert below.calls == []


def test_absent_everywhere_is_none():
    assert chain(Memory("first"), Memory("second")).read(REF) is None


def test_an_empty_text_is_an_answer():
    assert text(chain(Memory("first", {REF: ""}), Memory("second", {REF: "x"})).read(REF)) == ""


TROUBLE = [
    AccessDeniedError("no", reason="rule"),
    NotAuthenticatedError("who"),
    BackendUnavailableError("down", backend="first"),
    RateLimitedError("slow down"),
    SealedError("sealed"),
    TamperedError("tampered"),
    MalformedEntryError("bad", backend="first", ref="x"),
    BackendConfigError("never"),
]


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda error: error.code)
def test_no_trouble_is_ever_answered_by_a_lower_backend(trouble):
    first, below = Flaky("first"), Memory("below", {REF: "old"})
    first.fail(error=trouble)
    with pytest.raises(type(trouble)):
        chain(first, below).read(REF)
    assert below.calls == []


@pytest.mark.parametrize("trouble", TROUBLE, ids=lambda error: error.code)
def test_next_passes_over_an_outage_and_over_nothing_else(trouble):
    first, below = Flaky("first"), Memory("below", {REF: "old"})
    first.fail(error=trouble)
    asked = chain(Link(backend=first, on_unavailable="next"), below)
    if isinstance(trouble, BackendUnavailableError):
        assert text(asked.read(REF)) == "old"
    else:
        with pytest.raises(type(trouble)):
            asked.read(REF)


def test_absent_below_an_outage_is_unavailable():
    first = Flaky("first")
    first.fail()
    with pytest.raises(BackendUnavailableError) as caught:
        chain(Link(backend=first, on_unavailable="next"), Memory("below")).read(REF)
    assert caught.value.backend == "first"


def test_an_answer_past_an_outage_may_be_kept_only_briefly():
    first, below = Flaky("first"), Memory("below", {REF: "old"})
    asked = chain(Link(backend=first, on_unavailable="next"), below)
    assert asked.read(REF).lifetime is None
    first.fail()
    assert asked.read(REF).lifetime == Chain.PAST_OUTAGE


def test_stop_tells_the_cache_that_nothing_may_stand_in():
    first = Flaky("first")
    for policy, is_final in (("stale", False), ("stop", True)):
        first.fail(error=BackendUnavailableError("down", backend="first"))
        with pytest.raises(BackendUnavailableError) as caught:
            chain(Link(backend=first, on_unavailable=policy)).read(REF)
        assert caught.value.is_final is is_final


# --- from error to outcome ---

OUTCOMES = {
    "NotFoundError": Outcome.ABSENT,
    "AccessDeniedError": Outcome.DENIED,
    "NotAuthenticatedError": Outcome.DENIED,
    "BackendUnavailableError": Outcome.UNAVAILABLE,
    "RateLimitedError": Outcome.UNAVAILABLE,
    "SealedError": Outcome.UNAVAILABLE,
    "NotRecordedError": Outcome.UNAVAILABLE,
}
EVIDENCE = {
    "AccessDeniedError": {"reason": "r"},
    "BackendUnavailableError": {"backend": "b"},
    "MalformedEntryError": {"backend": "b", "ref": "r"},
    "NotRecordedError": {"folder": "f"},
}


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name != "StrongroomError"])
def test_every_error_has_exactly_one_outcome_and_the_unknown_is_invalid(name):
    error = getattr(errors, name)("text", **EVIDENCE.get(name, {}))
    assert outcome_of(error) is OUTCOMES.get(name, Outcome.INVALID)


def test_a_not_found_from_a_backend_moves_on():
    first = Flaky("first")
    first.fail(error=NotFoundError("none"))
    assert text(chain(first, Memory("below", {REF: "eu"})).read(REF)) == "eu"


# --- teams ---


def test_the_teams_path_is_asked_before_the_global_one():
    backend = Memory("first", {REF: "global", TEAM_REF: "team"})
    assert text(chain(backend).read(TEAM_REF)) == "team"


def test_a_backends_global_path_is_asked_before_the_next_backend():
    first, second = Memory("first", {REF: "global"}), Memory("second", {TEAM_REF: "team"})
    entry = chain(first, second).read(TEAM_REF)
    assert (text(entry), entry.ref) == ("global", REF)
    assert second.calls == []


def test_a_question_without_team_never_reaches_a_teams_path():
    backend = Memory("first", {TEAM_REF: "team"})
    assert chain(backend).read(REF) is None


def test_without_team_fallback_the_global_path_is_not_asked():
    first = Memory("first", {REF: "global"})
    assert chain(Link(backend=first, team_fallback=False)).read(TEAM_REF) is None
    assert first.calls == [("read", TEAM_REF)]


def test_a_denial_at_the_teams_path_is_final():
    first = Denying("first", {REF: "global"}, denied=[TEAM_REF])
    with pytest.raises(AccessDeniedError):
        chain(first, Memory("second", {TEAM_REF: "x"})).read(TEAM_REF)
    assert first.calls == [("read", TEAM_REF)]


def test_an_outage_at_the_teams_path_is_not_answered_by_the_same_backends_global_path():
    first = Flaky("first", {REF: "global"})
    first.fail(times=1)
    second = Memory("second", {TEAM_REF: "team"})
    assert text(chain(Link(backend=first, on_unavailable="next"), second).read(TEAM_REF)) == "team"


# --- match and kinds ---


@pytest.mark.parametrize(
    ("match", "name", "is_asked"),
    [
        ((), "anything/at all", True),
        (("prod/*",), "prod/db", True),
        (("prod/*",), "prod/a/b", True),
        (("prod/*",), "stage/db", False),
        (("prod/*", "shared_*"), "shared_x", True),
        (("Prod*",), "prod", False),
        (("db",), "db2", False),
        (("db?",), "db2", True),
    ],
)
def test_a_link_is_asked_only_for_names_that_match(match, name, is_asked):
    ref = Ref("variable", name)
    backend = Memory("first", {ref: "x"})
    assert (chain(Link(backend=backend, match=match)).read(ref) is not None) is is_asked
    assert bool(backend.calls) is is_asked


def test_a_link_is_asked_only_for_its_kinds():
    backend = Memory("first", {REF: "x", OTHER: "{}"})
    asked = chain(Link(backend=backend, kinds=("connection",)))
    assert asked.read(REF) is None
    assert asked.read(OTHER) is not None


def test_two_links_of_one_name_are_refused():
    with pytest.raises(BackendConfigError):
        chain(Memory("same"), Memory("same"))


# --- dates ---


def test_an_expired_entry_is_invalid_and_no_lower_backend_answers():
    first, below = Memory("first"), Memory("below", {REF: "old"})
    first.put(REF, "x", Metadata(not_after=NOW))
    with pytest.raises(MalformedEntryError) as caught:
        chain(first, below).read(REF)
    assert (caught.value.reason, caught.value.backend) == ("expired", "first")
    assert below.calls == []


def test_an_entry_is_good_until_its_not_after():
    first = Memory("first")
    first.put(REF, "x", Metadata(not_after=NOW + timedelta(microseconds=1), remind_at=NOW))
    assert text(chain(first).read(REF)) == "x"


def test_an_entry_past_its_expires_at_is_absent():
    earlier = Memory("first", clock=lambda: NOW - timedelta(days=1))
    earlier.put(REF, "x", Metadata(expires_at=NOW))
    assert text(chain(earlier, Memory("below", {REF: "eu"})).read(REF)) == "eu"


def test_a_link_marks_entries_whose_references_are_to_be_resolved():
    first = Memory("first", {REF: "${variable/x}"})
    assert not chain(first).read(REF).metadata.references
    assert chain(Link(backend=first, references=True)).read(REF).metadata.references


# --- deadlines ---


def test_a_backend_that_hangs_is_unavailable_after_its_timeout():
    slow = remote(Slow("slow", {REF: "x"}))
    slow.hold()
    try:
        with pytest.raises(BackendUnavailableError):
            chain(Link(backend=slow, timeout=timedelta(milliseconds=20))).read(REF)
    finally:
        slow.release()


def test_a_local_backend_is_asked_on_the_callers_thread_and_any_other_on_its_own():
    seen = {}

    class Where(Memory):
        def read(self, ref):
            seen[self.name] = threading.current_thread()
            return super().read(ref)

    assert chain(Where("local"), remote(Where("far"))).read(REF) is None
    assert seen["local"] is threading.current_thread()
    assert seen["far"] is not threading.current_thread()
    assert seen["far"].daemon


class Ticking:
    """Seconds that a test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_the_lookups_deadline_leaves_no_time_for_later_backends_but_local_ones_still_answer():
    timer = Ticking()

    class Taking(Memory):
        def read(self, ref):
            timer.now += 6
            return super().read(ref)

    far, last = remote(Memory("far")), Memory("last", {REF: "x"})
    links = [
        Link(backend=Taking("first")),
        Link(backend=Taking("second")),
        Link(backend=far, on_unavailable="next"),
        Link(backend=last),
    ]
    entry = Chain(links, clock=frozen_clock, timer=timer).read(REF)
    assert text(entry) == "x"
    assert far.calls == []
    assert entry.lifetime == Chain.PAST_OUTAGE


def test_the_remaining_time_is_passed_down_to_a_chain_below():
    seen = []

    class Asks(Memory):
        def read(self, ref):
            seen.append(seconds_left())
            return super().read(ref)

    below = remote(chain(remote(Asks("deep")), deadline=timedelta(seconds=60)))
    below.name = "below"
    chain(Link(backend=below, timeout=timedelta(seconds=2))).read(REF)
    assert 0 < seen[0] <= 2
    assert seconds_left() is None


# --- explanations ---


def test_an_explanation_tells_every_question_and_what_the_answer_shadows():
    first, second = Memory("first"), Memory("second", {REF: CANARY})
    third, fourth = Memory("third", {REF: CANARY + "2"}), Memory("fourth")
    told = chain(first, second, third, fourth).explain(REF)
    assert (told.outcome, told.backend, told.version) == (Outcome.FOUND, "second", "1")
    assert [(step.backend, step.outcome.value, step.is_shadowed) for step in told.steps] == [
        ("first", "absent", False),
        ("second", "found", False),
        ("third", "found", True),
        ("fourth", "absent", False),
    ]
    assert told.shadows == ("third",)
    assert told.asked[0] == ("first", "absent")


def test_an_explanation_tells_that_a_global_entry_is_shadowed_by_the_teams():
    told = chain(Memory("first", {REF: "g", TEAM_REF: "t"})).explain(TEAM_REF)
    assert [(step.ref, step.is_shadowed) for step in told.steps] == [(TEAM_REF, False), (REF, True)]


def test_an_explanation_stops_where_the_lookup_stops_and_says_why():
    below = Memory("below", {REF: "x"})
    told = chain(Denying("first"), below).explain(REF)
    assert (told.outcome, told.backend) == (Outcome.DENIED, "first")
    assert told.steps[0].reason
    assert told.not_asked == (("below", "the lookup stopped before it"),)
    assert below.calls == []


def test_an_explanation_names_the_links_that_were_passed_over():
    told = chain(
        Link(backend=Memory("other"), kinds=("connection",)),
        Link(backend=Memory("prod"), match=("prod/*",)),
        Memory("all"),
    ).explain(REF)
    assert told.outcome is Outcome.ABSENT
    assert [name for name, _ in told.not_asked] == ["other", "prod"]


def test_trouble_below_the_answer_is_told_and_hides_nothing():
    told = chain(Memory("first", {REF: "x"}), Denying("second"), Memory("third", {REF: "y"})).explain(REF)
    assert [step.outcome.value for step in told.steps] == ["found", "denied", "found"]
    assert told.shadows == ("third",)


def test_an_expired_entry_is_explained_as_invalid():
    first = Memory("first")
    first.put(REF, CANARY, Metadata(not_after=NOW - timedelta(days=1)))
    told = chain(first, Memory("below", {REF: "x"})).explain(REF)
    assert told.outcome is Outcome.INVALID
    assert "not_after" in told.steps[0].reason


def test_an_outage_passed_over_is_the_outcome_when_nobody_has_it():
    first = Flaky("first")
    first.fail()
    told = chain(Link(backend=first, on_unavailable="next"), Memory("below")).explain(REF)
    assert (told.outcome, told.backend) == (Outcome.UNAVAILABLE, "first")


def test_an_explanation_tells_what_the_cache_holds():
    remembered = Remembered(backend="first", version="1", age=timedelta(seconds=7), is_fresh=True)
    told = chain(Memory("first", {REF: "x"})).explain(REF, remembered)
    assert told.steps[0].is_cached
    assert not chain(Memory("other", {REF: "x"})).explain(REF, remembered).steps[0].is_cached
    assert told.to_dict()["remembered"]["age_seconds"] == 7


def test_an_explanation_is_plain_json_and_holds_no_value():
    told = chain(Memory("first", {REF: CANARY}), Memory("second", {REF: CANARY})).explain(TEAM_REF)
    assert CANARY not in json.dumps(told.to_dict()) + repr(told)


def test_milliseconds_and_age_come_from_the_clocks_given():
    timer = Ticking()

    class Taking(Memory):
        def read(self, ref):
            timer.now += 0.25
            return super().read(ref)

    old = Taking("first", {REF: "x"}, clock=lambda: NOW - timedelta(seconds=9))
    (step,) = chain(old, timer=timer).explain(REF).steps
    assert step.milliseconds == 250
    assert step.age == timedelta(seconds=9)


def test_the_trail_of_an_absence_names_every_backend_asked():
    asked = chain(Memory("first"), Link(backend=Memory("other"), kinds=("connection",)), Memory("last"))
    assert asked.asked(REF) == (("first", "absent"), ("last", "absent"))


# --- where to write ---


def test_a_write_goes_where_the_value_is_now():
    first, second = Memory("first"), Memory("second", {REF: "x"})
    assert chain(first, second, write_to="first").place_to_write(REF) is second


def test_a_new_entry_goes_to_the_only_backend_that_writes():
    first, second = ReadOnly("env"), Memory("native")
    assert chain(first, second).place_to_write(REF) is second


def test_a_new_entry_goes_to_write_to():
    first, second = Memory("first"), Memory("second")
    assert chain(first, second, write_to="second").place_to_write(REF) is second


def test_several_writable_backends_and_no_write_to_is_an_error_that_names_the_setting():
    with pytest.raises(SettingsError) as caught:
        chain(Memory("first"), Memory("second")).place_to_write(REF)
    assert caught.value.key == "write_to"
    assert "write_to" in caught.value.hint


def test_a_write_never_goes_where_a_higher_backend_shadows_it():
    env, native = ReadOnly("env", {REF: "x"}), Memory("native", {REF: "y"})
    asked = chain(env, native)
    with pytest.raises(ReadOnlyError) as caught:
        asked.place_to_write(REF)
    assert "env" in str(caught.value)
    assert asked.place_to_write(REF, force=True) is native


def test_a_named_place_is_taken_wherever_the_value_is_now():
    high, low = Memory("high"), Memory("low", {REF: "x"})
    assert chain(high, low).place_to_write(REF, to="high") is high
    high.put(REF, "x")
    with pytest.raises(ReadOnlyError):
        chain(high, low).place_to_write(REF, to="low")
    assert chain(high, low).place_to_write(REF, to="low", force=True) is low


def test_a_forced_write_still_goes_where_a_writable_backend_holds_the_value():
    env, first, second = ReadOnly("env", {REF: "x"}), Memory("first"), Memory("second", {REF: "y"})
    assert chain(env, first, second, write_to="first").place_to_write(REF, force=True) is second


def test_a_higher_backend_that_does_not_answer_stops_a_write_unless_forced():
    flaky, native = Flaky("vault"), Memory("native")
    flaky.fail()
    asked = chain(Link(backend=flaky, on_unavailable="next"), native, write_to="native")
    with pytest.raises(BackendUnavailableError):
        asked.place_to_write(REF)
    assert asked.place_to_write(REF, force=True) is native


def test_a_denial_above_stops_a_write():
    with pytest.raises(AccessDeniedError):
        chain(Denying("vault"), Memory("native"), write_to="native").place_to_write(REF)


@pytest.mark.parametrize(
    "trouble", [MalformedEntryError("bad", backend="first", ref="x"), TamperedError("tampered")]
)
def test_a_write_mends_what_cannot_be_read_where_it_is(trouble):
    first = Flaky("first")
    first.fail(times=1, error=trouble)
    assert chain(first, Memory("second"), write_to="second").place_to_write(REF) is first


def test_a_write_renews_an_expired_entry_where_it_is():
    first = Memory("first")
    first.put(REF, "x", Metadata(not_after=NOW))
    assert chain(Memory("above"), first, write_to="above").place_to_write(REF) is first


def test_a_teams_new_entry_is_not_shadowed_by_the_same_backends_global_one():
    native = Memory("native", {REF: "global"})
    assert chain(native, Memory("other"), write_to="native").place_to_write(TEAM_REF) is native


def test_a_teams_new_entry_is_shadowed_by_a_higher_backends_global_one():
    high, low = Memory("high", {REF: "global"}), Memory("low")
    with pytest.raises(ReadOnlyError):
        chain(high, low, write_to="low").place_to_write(TEAM_REF)


def test_no_place_to_write_is_an_error():
    with pytest.raises(ReadOnlyError):
        chain(ReadOnly("env")).place_to_write(REF)
    with pytest.raises(ReadOnlyError):
        chain(ReadOnly("env"), Memory("native")).place_to_write(REF, to="env")


def test_a_place_that_is_never_asked_for_the_name_is_no_place_to_write_it():
    only = Link(backend=Memory("vault"), match=("prod/*",))
    with pytest.raises(ReadOnlyError):
        chain(only).place_to_write(REF)
    with pytest.raises(ReadOnlyError) as caught:
        chain(only).place_to_write(REF, to="vault")
    assert "match" in str(caught.value)


def test_an_unknown_place_is_a_mistake_of_who_named_it():
    with pytest.raises(SettingsError):
        chain(Memory("first"), write_to="nowhere")
    with pytest.raises(InvalidInputError):
        chain(Memory("first")).place_to_write(REF, to="nowhere")


# --- closing ---


def test_closing_closes_every_backend_and_may_be_done_twice():
    closed = []

    class Closing(Memory):
        def close(self):
            closed.append(self.name)

    asked = chain(Closing("first"), remote(Closing("second")))
    asked.close()
    asked.close()
    assert closed == ["first", "second"] * 2
    with pytest.raises(BackendUnavailableError):
        asked.read(REF)


# --- any chain against the rules in four lines ---


@dataclass(frozen=True)
class Planned:
    """What one backend of a random chain will do."""

    team: str
    shared: str
    on_unavailable: str
    has_fallback: bool


WAYS = ["found", "absent", "denied", "unavailable", "invalid"]
PLANS = st.lists(
    st.builds(
        Planned,
        team=st.sampled_from(WAYS),
        shared=st.sampled_from(WAYS),
        on_unavailable=st.sampled_from(["stale", "stop", "next"]),
        has_fallback=st.booleans(),
    ),
    max_size=5,
)


class Doing(Backend):
    """Does as planned."""

    is_local = True

    def __init__(self, name: str, plan: Planned):
        self.name = name
        self.plan = plan

    def read(self, ref):
        way = self.plan.team if ref.team else self.plan.shared
        if way == "denied":
            raise AccessDeniedError("no", reason="plan")
        if way == "unavailable":
            raise BackendUnavailableError("down", backend=self.name)
        if way == "invalid":
            raise TamperedError("tampered")
        if way == "absent":
            return None
        return Entry(ref=ref, secret=Secret(self.name), backend=self.name, read_at=NOW)


def expected(plans: list[Planned]) -> tuple[str, int | None]:
    outage = None
    for index, plan in enumerate(plans):
        for way in [plan.team, plan.shared] if plan.has_fallback else [plan.team]:
            if way == "unavailable" and plan.on_unavailable == "next":
                outage = index if outage is None else outage
                break
            if way != "absent":
                return way, index
    return ("absent", None) if outage is None else ("unavailable", outage)


def read_way(asked: Chain, ref: Ref) -> tuple[str, str | None]:
    try:
        entry = asked.read(ref)
    except StrongroomError as error:
        return outcome_of(error).value, None
    return ("absent", None) if entry is None else ("found", entry.backend)


@given(PLANS)
def test_every_chain_ends_as_the_rules_say_and_explains_it_so(plans):
    links = [
        Link(
            backend=Doing(str(index), plan),
            on_unavailable=plan.on_unavailable,
            team_fallback=plan.has_fallback,
        )
        for index, plan in enumerate(plans)
    ]
    asked = chain(*links)
    way, index = expected(plans)
    told = asked.explain(TEAM_REF)
    assert (told.outcome.value, told.backend) == (way, None if index is None else str(index))
    assert read_way(asked, TEAM_REF) == (way, str(index) if way == "found" else None)


def test_the_wall_clock_decides_at_the_moment_of_the_read():
    now = [datetime(2026, 1, 1, tzinfo=timezone.utc)]
    first = Memory("first")
    first.put(REF, "x", Metadata(not_after=now[0] + timedelta(hours=1)))
    asked = chain(first, clock=lambda: now[0])
    assert asked.read(REF) is not None
    now[0] += timedelta(hours=1)
    with pytest.raises(MalformedEntryError):
        asked.read(REF)
    first.put(REF, "y", replace(Metadata(), not_after=now[0] + timedelta(hours=1)))
    assert text(asked.read(REF)) == "y"


# --- many at once ----------------------------------------------------------------------------------------


class TestMany:
    A, B, C = (Ref("variable", name) for name in "abc")

    def chain(self, *backends, **options):
        links = [one if isinstance(one, Link) else Link(backend=one) for one in backends]
        return Chain(links, clock=frozen_clock, **options)

    def told(self, answers):
        return [
            one.code if isinstance(one, StrongroomError) else one and one.secret.reveal() for one in answers
        ]

    def test_each_backend_is_asked_once_for_what_those_before_it_did_not_have(self):
        upper = Bell("upper", {self.A: "1"}, is_many=True)
        lower = Bell("lower", {self.A: "0", self.B: "2"}, is_many=True)
        chain = self.chain(upper, lower)
        assert self.told(chain.read_many([self.A, self.B, self.C])) == ["1", "2", None]
        assert (upper.batches, lower.batches) == ([[self.A, self.B, self.C]], [[self.B, self.C]])

    def test_global_name_answers_for_a_team_that_has_none(self):
        mine, other = Ref("variable", "a", "data"), Ref("variable", "b", "data")
        backend = Bell("server", {self.A: "global", other: "own"}, is_many=True)
        assert self.told(self.chain(backend).read_many([mine, other])) == ["global", "own"]
        assert backend.batches == [[mine, other]]  # the second round asks for one name: no batch

    def test_outage_passes_only_what_may_pass(self):
        for rule, told in (("stop", ["backend_unavailable"] * 2), ("next", ["2", "backend_unavailable"])):
            upper = Bell("upper", is_many=True)
            upper.fail()
            lower = Bell("lower", {self.A: "2"}, is_many=True)
            chain = self.chain(Link(backend=upper, on_unavailable=rule), lower)
            assert self.told(chain.read_many([self.A, self.B])) == told

    def test_it_comes_to_what_one_by_one_comes_to(self):
        links = (
            Link(backend=Denying("upper", {self.A: "1"}, denied=[self.B]), match=("a", "b")),
            Link(backend=Bell("lower", {self.B: "2", self.C: "3"}, is_many=True)),
        )
        chain = self.chain(*links)

        def alone(ref):
            try:
                return chain.read(ref)
            except StrongroomError as error:
                return error

        refs = [self.A, self.B, self.C, Ref("variable", "d")]
        assert self.told(chain.read_many(refs)) == self.told([alone(ref) for ref in refs])

    def test_many_are_asked_at_once_where_a_place_over_a_network_answers_many(self):
        many, far, near = Bell("many", is_many=True), Bell("far"), Memory("near")
        assert self.chain(near, many).is_batched
        assert self.chain(far, many).is_batched
        assert not self.chain(far).is_batched
        assert not self.chain(near).is_batched

    def test_place_that_answers_one_by_one_is_asked_on_threads_and_only_for_what_is_left(self):
        far, many = Slow("far", {self.A: "1"}), Bell("many", {self.B: "2"}, is_many=True)
        far.is_local = False
        far.hold()
        told = []
        chain = self.chain(far, many)
        refs = [self.A, self.B, self.C, self.A]
        asking = threading.Thread(target=lambda: told.extend(self.told(chain.read_many(refs))))
        asking.start()
        far.wait_until_asked(3)
        far.release()
        asking.join()
        assert told == ["1", "2", None, "1"]
        assert sorted(far.calls) == [("read", self.A), ("read", self.B), ("read", self.C)]
        assert many.batches == [[self.B, self.C]]

    def test_hundred_names_more_are_given_the_time_of_a_question_more(self):
        given = []

        class Timed(Bell):
            def read_many(self, refs):
                given.append(seconds_left())
                return super().read_many(refs)

        backend = Timed(is_many=True)
        chain = self.chain(Link(backend=backend, timeout=timedelta(seconds=2)))
        for many, allowed in ((100, 2), (101, 4), (1000, 10)):
            begun = time.monotonic()
            chain.read_many([Ref("variable", str(number)) for number in range(many)])
            # Some of it has gone by until it is looked at: on a machine that stands still, much.
            assert allowed - (time.monotonic() - begun) <= given[-1] <= allowed


class TestReadOnly:
    def test_read_only_backend_is_no_place_to_write_whatever_it_could(self):
        kept = Link(backend=Memory("kept"), read_only=True)
        open_ = Memory("open")
        asked = chain(kept, open_)
        assert asked.place_to_write(REF) is open_
        with pytest.raises(ReadOnlyError) as caught:
            asked.place_to_write(REF, to="kept")
        assert caught.value.hint == "backend.kept.read_only is set"

    def test_value_in_a_read_only_backend_is_not_written_over(self):
        first = Memory("first")
        first.put(REF, "x")
        with pytest.raises(ReadOnlyError):
            chain(Link(backend=first, read_only=True), Memory("below")).place_to_write(REF)
        with pytest.raises(ReadOnlyError):
            chain(Link(backend=first, read_only=True)).place_to_write(REF)


# --- in another order, and for a drill -----------------------------------------------------------


def test_a_chain_in_another_order_asks_in_that_order():
    first, second = Memory("first", {REF: "one"}), Memory("second", {REF: "two"})
    found = chain(first, second)
    found.arrange(tuple(reversed(found.links)))
    assert text(found.read(REF)) == "two"
    assert [step.backend for step in found.explain(REF).steps] == ["second", "first"]


def test_an_order_of_other_backends_is_refused():
    found = chain(Memory("first"), Memory("second"))
    for links in (found.links[:1], (*found.links, found.links[0]), [Link(backend=Memory("third"))] * 2):
        with pytest.raises(BackendConfigError):
            found.arrange(links)
    assert [link.name for link in found.links] == ["first", "second"]


def test_a_paused_backend_is_unavailable_until_its_time_is_over():
    now = [NOW]
    found = chain(Memory("first", {REF: "one"}), clock=lambda: now[0])
    found.pause({"first": NOW + timedelta(minutes=5)})
    assert found.explain(REF).outcome is Outcome.UNAVAILABLE
    with pytest.raises(BackendUnavailableError, match="paused for a drill until"):
        found.read(REF)
    assert isinstance(found.read_many([REF])[0], BackendUnavailableError)
    now[0] += timedelta(minutes=5)
    assert text(found.read(REF)) == "one"


def test_an_outage_for_a_drill_is_passed_over_where_the_operator_said_next():
    first = Link(backend=Memory("first", {REF: "one"}), on_unavailable="next")
    found = chain(first, Memory("second", {REF: "two"}))
    found.pause({"first": NOW + timedelta(minutes=5)})
    assert text(found.read(REF)) == "two"


def test_a_write_never_goes_to_a_paused_backend():
    found = chain(Memory("first"), Memory("second"), write_to="second")
    found.pause({"second": NOW + timedelta(minutes=5)})
    with pytest.raises(BackendUnavailableError):
        found.place_to_write(REF, force=True)


def test_each_backend_is_counted_by_outcome():
    found = chain(Memory("first"), Memory("second", {REF: "two"}))
    found.read(REF)
    found.read_many([REF, OTHER])
    figures = found.figures()
    assert figures["first"].outcomes == {"absent": 3}
    assert figures["second"].outcomes == {"found": 2, "absent": 1}
    assert figures["second"].silent is None


def test_a_backend_that_is_silent_says_since_when():
    seconds = [100.0]
    found = chain(Memory("first", {REF: "one"}), timer=lambda: seconds[0])
    found.pause({"first": NOW + timedelta(minutes=5)})
    found.explain(REF)
    seconds[0] = 130.0
    assert found.figures()["first"].silent == 30.0
    found.pause({})
    found.read(REF)
    assert found.figures()["first"].silent is None
