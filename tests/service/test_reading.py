"""Reads of many actors through one cache: who gets what, and what is on record by then."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from parts.house import ADMIN, ANNA, BEN, Notebook, Site, Windows, named, variables
from strongroom.errors import AccessDeniedError, MalformedEntryError, NotFoundError, NotRecordedError
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action, Assurance, Run
from strongroom.service.entries import Change

A, B, C = variables("a", "b", "c")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("reading"))
    with site.house() as house:
        room = house.room(None, ADMIN)
        plain = [Change(ref=ref, secret=Secret(f"value of {ref.name}")) for ref in (A, B, C)]
        room.entries.write_many(plain)
        room.entries.write(_with_reference("points", "${variable/a}"))
        room.entries.write(
            Change(ref=Ref("variable", "tagged"), secret=Secret("t"), metadata=Metadata(tags=("pii",)))
        )
    return site


def _with_reference(name: str, text: str) -> Change:
    return Change(ref=Ref("variable", name), secret=Secret(text), metadata=Metadata(references=True))


@pytest.fixture
def opened(site):
    windows = Windows()
    site.notebooks["prod"] = Notebook()
    site.allow(named("a", "b"))
    with site.house(uses=lambda _settings: windows) as house:
        yield house, site, windows, site.notebooks["prod"]


def read(house, actor, *refs):
    return asyncio.run(house.deployment().reading.reader(actor).aread_many(refs))


def values(answers):
    return [answer.entry.secret.reveal() if answer.entry else answer.outcome for answer in answers]


def test_each_actor_gets_what_he_may_from_one_cache(opened):
    house, *_ = opened
    assert values(read(house, ADMIN, A, C)) == ["value of a", "value of c"]
    assert values(read(house, ANNA, A, C)) == ["value of a", "denied"]
    assert house.deployment().cache.statistics().misses == 2  # anna's came from what root's reads left


def test_what_is_refused_is_not_looked_up(opened):
    house, *_ = opened
    read(house, ANNA, C, Ref("variable", "nowhere"))
    assert house.deployment().cache.statistics().misses == 0


def test_a_denial_is_the_same_whether_there_is_an_entry_or_not(opened):
    house, *_ = opened
    held, absent = read(house, ANNA, C, Ref("variable", "z"))
    assert str(held.error).replace('"c"', '"z"') == str(absent.error)
    assert (type(held.error), held.error.reason) == (type(absent.error), absent.error.reason)


def test_the_first_use_is_recorded_and_repeats_are_counted(opened):
    house, _, windows, notebook = opened
    for _ in range(5):
        read(house, ANNA, A)
    assert notebook.acts(ANNA) == [("read", "a", "found")]
    assert [window.count for window in windows.windows.values()] == [5]


def test_a_use_after_its_window_is_recorded_again(opened):
    house, _, windows, notebook = opened
    read(house, ANNA, A)
    windows.now += 61
    read(house, ANNA, A)
    assert notebook.acts(ANNA) == [("read", "a", "found")] * 2


def test_a_second_actor_and_a_run_are_uses_of_their_own(opened):
    house, _, _, notebook = opened
    for actor in (ANNA, BEN, ANNA, BEN):
        read(house, actor, A)
    assert len(notebook.events) == 2


def test_every_denial_is_recorded(opened):
    house, _, _, notebook = opened
    read(house, ANNA, C)
    read(house, ANNA, C)
    assert notebook.acts(ANNA) == [("read", "c", "denied")] * 2


def test_a_batch_is_handed_over_at_once(opened):
    house, _, _, notebook = opened
    read(house, ANNA, A, B, C, Ref("variable", "nowhere"))
    assert notebook.batches == [4]


def test_an_absence_is_a_use_too(opened):
    house, site, _, notebook = opened
    site.allow(named("a", "nowhere"))
    assert values(read(house, ANNA, Ref("variable", "nowhere"))) == ["absent"]
    read(house, ANNA, Ref("variable", "nowhere"))
    assert notebook.acts(ANNA) == [("read", "nowhere", "absent")]


def test_nothing_is_given_that_cannot_be_recorded(opened):
    house, _, _, notebook = opened
    notebook.is_full = True
    with pytest.raises(NotRecordedError):
        read(house, ANNA, A, B)
    with pytest.raises(NotRecordedError):
        house.room(None, ANNA).lookup.variable("a")
    notebook.is_full = False
    assert values(read(house, ANNA, A)) == ["value of a"]
    assert notebook.acts(ANNA) == [("read", "a", "found")]


def test_a_repeat_in_an_open_window_needs_no_record(opened):
    house, _, _, notebook = opened
    read(house, ANNA, A)
    notebook.is_full = True
    assert values(read(house, ANNA, A)) == ["value of a"]


class Prompt(Notebook):
    """Records for a loop by a call, when it is told to."""

    def __init__(self):
        super().__init__()
        self.waiting = []

    def record(self, events, done, *, is_strict=False):
        self.waiting.append((events, done))


def test_an_answer_from_memory_may_leave_once_its_use_is_on_record(opened):
    _, site, *_ = opened
    site.notebooks["prod"] = notebook = Prompt()
    with site.house(uses=lambda _settings: Windows()) as another:
        reader, told = another.deployment().reading.reader(ANNA), []
        assert reader.prompt(A, told.append) is None  # somebody must be asked
        asyncio.run(another.deployment().reading.reader(ADMIN).aread_many([A]))
        answer = reader.prompt(A, told.append)
        assert values([answer]) == ["value of a"]
        assert (told, reader.peek(A)) == ([], None)
        ((events, done),) = notebook.waiting
        assert [event.name for event in events] == ["a"]
        done(None)
        assert told == [None]
        assert reader.peek(A) is answer.entry
        reader.prompt(A, told.append)
        assert (told, len(notebook.waiting)) == ([None, None], 1)  # a repeat, in its window


def test_a_use_that_was_not_recorded_opens_no_window(opened):
    _, site, *_ = opened
    site.notebooks["prod"] = notebook = Prompt()
    with site.house(uses=lambda _settings: Windows()) as another:
        asyncio.run(another.deployment().reading.reader(ADMIN).aread_many([A]))
        reader, told = another.deployment().reading.reader(ANNA), []
        reader.prompt(A, told.append)
        refused = NotRecordedError("full", folder="")
        notebook.waiting[0][1](refused)
        assert told == [refused]
        assert reader.peek(A) is None


# --- at hand -------------------------------------------------------------------------------------------


def test_what_was_read_is_at_hand(opened):
    house, *_ = opened
    reader = house.deployment().reading.reader(ANNA)
    assert reader.peek(("variable", "a", None)) is None
    read(house, ANNA, A)
    assert reader.peek(("variable", "a", None)).secret.reveal() == "value of a"
    assert house.deployment().reading.begin(ANNA, ("variable", "a", None)) is not None
    assert house.deployment().reading.begin(BEN, ("variable", "a", None)) is None


def test_nothing_is_at_hand_after_its_window(opened):
    house, _, windows, _ = opened
    read(house, ANNA, A)
    windows.now += 61
    assert house.deployment().reading.reader(ANNA).peek(A) is None


def test_nothing_is_at_hand_after_policy_changed(opened):
    house, site, *_ = opened
    read(house, ANNA, A)
    site.allow(named("b"))
    assert house.deployment().reading.reader(ANNA).peek(A) is None
    assert values(read(house, ANNA, A)) == ["denied"]


def test_nothing_is_at_hand_after_the_entry_changed(opened):
    house, *_ = opened
    read(house, ANNA, A)
    house.room(None, ADMIN).entries.write(Change(ref=A, secret=Secret("new")))
    assert house.deployment().reading.reader(ANNA).peek(A) is None
    assert values(read(house, ANNA, A)) == ["new"]
    house.room(None, ADMIN).entries.write(Change(ref=A, secret=Secret("value of a")))


def test_a_reader_that_looked_in_vain_keeps_no_secret(opened):
    house, site, *_ = opened
    read(house, ANNA, A)
    site.allow(named("b"))
    reader = house.deployment().reading.reader(ANNA)
    reader.peek(A)
    assert not reader._at_hand


def test_readers_are_remembered_and_bounded(opened):
    house, *_ = opened
    reading = house.deployment().reading
    assert reading.reader(ANNA) is reading.reader(replace(ANNA))
    for number in range(5000):
        reading.reader(replace(ANNA, source=str(number)))
    assert len(reading._readers) <= 4096


def test_what_all_readers_have_at_hand_is_bounded_together(opened):
    house, *_ = opened
    reading = house.deployment().reading
    reading._room_left = 3
    readers = [replace(ANNA, run=Run(Assurance.CLAIMED, dag_id=f"d{number}")) for number in range(3)]
    for actor in readers:
        read(house, actor, A, B)
    assert sum(len(reading.reader(actor)._at_hand) for actor in readers) <= 3


def test_an_actor_with_a_run_is_another_reader(opened):
    house, *_ = opened
    reading = house.deployment().reading
    run = Run(Assurance.CLAIMED, dag_id="d")
    assert reading.reader(replace(ANNA, run=run)) is not reading.reader(ANNA)


# --- references ----------------------------------------------------------------------------------------


def test_each_reference_is_a_decision_and_a_record_of_its_reader(opened):
    house, site, _, notebook = opened
    site.allow(named("points", "a"))
    assert values(read(house, ANNA, Ref("variable", "points"))) == ["value of a"]
    assert notebook.acts(ANNA) == [("read", "points", "found"), ("read", "a", "found")]


def test_a_reader_who_may_not_read_what_is_referred_to_gets_nothing(opened):
    house, site, *_ = opened
    read(house, ADMIN, Ref("variable", "points"))
    site.allow(named("points"))
    (answer,) = read(house, ANNA, Ref("variable", "points"))
    assert (answer.outcome, answer.entry) == ("denied", None)
    with pytest.raises(AccessDeniedError):
        house.room(None, ANNA).lookup.variable("points")


def test_an_entry_with_references_is_never_at_hand(opened):
    house, *_ = opened
    points = Ref("variable", "points")
    read(house, ADMIN, points)
    read(house, ADMIN, points)
    assert house.deployment().reading.reader(ADMIN).peek(points) is None


# --- the lookup of an actor ----------------------------------------------------------------------------


def test_a_lookup_reads_through_the_same_cache_and_records_its_uses(opened):
    house, _, _, notebook = opened
    lookup = house.room(None, ANNA).lookup
    assert lookup.variable("a") == "value of a"
    assert lookup.variable("a") == "value of a"
    assert asyncio.run(lookup.afind(A)).secret.reveal() == "value of a"
    assert notebook.acts(ANNA) == [("read", "a", "found")]


def test_a_parsed_connection_is_not_kept_for_one_who_may_not_read_it_any_more(opened):
    house, site, *_ = opened
    ref = Ref("connection", "db")
    text = json.dumps({"conn_type": "postgres", "host": "db"})
    house.room(None, ADMIN).entries.write(Change(ref=ref, secret=Secret(text)))
    site.allow(named("db"))
    lookup = house.room(None, ANNA).lookup
    assert lookup.connection("db").host == "db"
    site.allow(named("a"))
    with pytest.raises(AccessDeniedError):
        lookup.connection("db")


def test_following_looks_and_reads_as_the_actor(opened):
    house, site, *_ = opened
    with house.room(None, ANNA).lookup.follow(A) as follow:
        assert follow.current.secret.reveal() == "value of a"
    site.allow(named("b"))
    with pytest.raises(AccessDeniedError):
        house.room(None, ANNA).lookup.follow(A)


def test_RT10_a_hint_names_only_what_the_actor_may_list(opened):
    house, site, *_ = opened
    ref = Ref("variable", "secret_plan")
    house.room(None, ADMIN).entries.write(Change(ref=ref, secret=Secret("x")))
    site.allow(named("a", "secret_plam"))
    with pytest.raises(NotFoundError) as caught:
        house.room(None, ANNA).lookup.variable("secret_plam")
    assert "secret_plan" not in f"{caught.value} {caught.value.hint}"
    site.allow(named("secret_plan", "secret_plam"))
    with pytest.raises(NotFoundError) as caught:
        house.room(None, ANNA).lookup.variable("secret_plam")
    assert "secret_plan" in caught.value.hint


# --- what is public about an entry ---------------------------------------------------------------------


def _by_tag(tag):
    return lambda _actor, _action, ref, facts: ref is None or (facts is not None and tag in facts.tags)


def test_a_policy_that_asks_for_tags_is_told_those_of_the_entry_that_is_given(opened):
    house, site, *_ = opened
    site.allow(_by_tag("pii"), needs_facts=True)
    assert values(read(house, ANNA, Ref("variable", "tagged"), A)) == ["t", "denied"]


def test_of_a_name_that_is_nowhere_it_is_decided_without_facts(opened):
    house, site, *_ = opened
    rules = site.allow(_by_tag("pii"), needs_facts=True)
    nowhere = Ref("variable", "z")
    held, absent = read(house, ANNA, A, nowhere)
    assert str(held.error).replace('"a"', '"z"') == str(absent.error)
    assert (ANNA.id, Action.READ, nowhere, None) in rules.asked


def test_an_entry_that_cannot_be_read_is_denied_by_its_tags_all_the_same(opened):
    house, site, *_ = opened
    ref = Ref("variable", "old")
    past = Metadata(tags=("pii",), not_after=house.deployment().chain._clock())
    house.room(None, ADMIN).entries.write(Change(ref=ref, secret=Secret("x"), metadata=past))

    def unless_pii(_actor, _action, ref, facts):
        return ref is None or (facts is not None and "pii" not in facts.tags)

    site.allow(unless_pii, needs_facts=True)
    (answer,) = read(house, ANNA, ref)
    assert isinstance(answer.error, AccessDeniedError)
    (answer,) = read(house, ADMIN, ref)
    assert isinstance(answer.error, MalformedEntryError)


def test_whoever_may_by_its_tags_is_told_why_an_entry_cannot_be_read(opened):
    house, site, *_ = opened
    ref = Ref("variable", "past")
    past = Metadata(tags=("pii",), not_after=house.deployment().chain._clock())
    house.room(None, ADMIN).entries.write(Change(ref=ref, secret=Secret("x"), metadata=past))
    site.allow(_by_tag("pii"), needs_facts=True)
    (answer,) = read(house, ANNA, ref)
    assert isinstance(answer.error, MalformedEntryError)


def test_a_new_tag_is_decided_on_with_the_next_read(opened):
    house, site, *_ = opened
    ref = Ref("variable", "moving")
    entries = house.room(None, ADMIN).entries
    entries.write(Change(ref=ref, secret=Secret("x"), metadata=Metadata(tags=("pii",))))
    site.allow(_by_tag("pii"), needs_facts=True)
    assert values(read(house, ANNA, ref)) == ["x"]
    entries.write(Change(ref=ref, secret=Secret("x"), metadata=Metadata()))
    assert values(read(house, ANNA, ref)) == ["denied"]
