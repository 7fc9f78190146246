"""Reads that somebody else decides about, in front of a place that answers many at once."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from parts.bell import Bell
from strongroom.assembly.ways import now
from strongroom.asynchronous import Bridge
from strongroom.cache import Cache, Lifetimes
from strongroom.chain import Chain, Link
from strongroom.errors import BackendUnavailableError
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.policy import Actor, Assurance, Decision
from strongroom.service.guard import Guard
from strongroom.service.reading import Reading

A, B, C = (Ref("variable", name) for name in "abc")
OF_TEAM = Ref("variable", "a", "data")
ME = Actor("local:1000", Assurance.HOST_USER)
YES = Decision(is_allowed=True, reason="the server says so", policies=("remote",))
NO = Decision(is_allowed=False, reason="the server says so", policies=("remote",))


class Asked:
    """Decides as a server would: asked once for each name, never on a loop."""

    needs_facts = False

    def __init__(self):
        self.known = {}
        self.denied = set()
        self.trouble = None
        self.questions = []
        self.batches = []
        self.is_preparing = True

    def knows(self, _actor, _action, ref):
        return ref in self.known

    def decide(self, actor, action, ref, facts=None):
        if ref in self.known:
            return self.known[ref]
        assert not in_loop(), "somebody was asked on a loop"
        self.questions.append(ref)
        return self._ask(ref)

    def prepare(self, actor, action, refs):
        assert not in_loop(), "somebody was asked on a loop"
        if self.is_preparing:
            self.batches.append(list(refs))
            for ref in refs:
                self._ask(ref)

    def _ask(self, ref):
        if self.trouble is not None:
            return Decision(is_allowed=False, reason=self.trouble.code, trouble=self.trouble)
        self.known[ref] = NO if ref in self.denied else YES
        return self.known[ref]


def in_loop():
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Parted(Asked):
    """Has heard nothing for so long that what it knows counts for entries that are not strict only."""

    def __init__(self, cache):
        super().__init__()
        self.cache = cache
        self.answer = Decision(is_allowed=False, reason="x", trouble=OUT)

    def knows(self, actor, action, ref):
        return super().knows(actor, action, ref) and not self._is_strict(ref)

    def decide(self, actor, action, ref, facts=None):
        return self.answer if self._is_strict(ref) else super().decide(actor, action, ref, facts)

    def _is_strict(self, ref):
        return is_strict(ref, self.cache.entry(ref))


OUT = BackendUnavailableError("no answer", backend="server")


def is_strict(_ref, entry):
    return entry is not None and "strict" in entry.metadata.tags


class Notes:
    def __init__(self):
        self.events = []

    def append(self, *events):
        self.events += events


class Scene:
    def __init__(self, backend):
        self.backend = backend
        self.policy = Asked()
        self.notes = Notes()
        chain = Chain([Link(backend=backend)], clock=now)
        self.cache = Cache(chain, Lifetimes(ttl=timedelta(seconds=300)), clock=now)
        self.bridge = Bridge(self.cache, threads=8)
        reading = Reading(self.cache, Guard(self.policy, self.notes), lambda: self.bridge)
        self.reader = reading.reader(ME)

    def read(self, *refs, **options):
        answers = asyncio.run(self.reader.aread_many(refs, **options))
        return [one.entry.secret.reveal() if one.entry else one.outcome for one in answers]

    def acts(self):
        return [(event.name, event.outcome) for event in self.notes.events]


@pytest.fixture(params=[True, False], ids=["in batches", "one by one"])
def scene(request):
    made = Scene(Bell("server", {A: "1", B: "2"}, is_many=request.param))
    yield made
    made.bridge.close()
    made.cache.close()


def test_nobody_is_asked_on_a_loop_and_a_batch_is_asked_at_once(scene):
    assert scene.read(A, B, C) == ["1", "2", "absent"]
    assert scene.policy.batches == [[A, B, C]]
    assert scene.policy.questions == []


def test_a_single_question_is_asked_as_it_is(scene):
    assert scene.read(A) == ["1"]
    assert (scene.policy.batches, scene.policy.questions) == ([], [A])


def test_what_is_known_is_not_asked_again(scene):
    scene.read(A, B)
    assert scene.read(A, B) == ["1", "2"]
    assert (len(scene.policy.batches), scene.policy.questions) == (1, [])


def test_what_is_denied_is_not_looked_up_and_the_rest_is_in_one_go(scene):
    scene.policy.denied.add(B)
    assert scene.read(A, B, C) == ["1", "denied", "absent"]
    assert ("read", B) not in scene.backend.calls
    if scene.backend.is_many:
        assert scene.backend.batches == [[A, C]]
    assert sorted(scene.acts()) == [("a", "found"), ("b", "denied"), ("c", "absent")]


def test_where_nobody_could_decide_it_is_unavailable_and_no_use(scene):
    scene.policy.trouble = BackendUnavailableError("the server gave no answer", backend="server")
    assert scene.read(A, B) == ["unavailable", "unavailable"]
    with pytest.raises(BackendUnavailableError):
        scene.reader.read(A)
    assert scene.backend.calls == []
    assert scene.acts() == []


def test_what_was_at_hand_is_not_when_the_decision_is_forgotten_and_nobody_decides(scene):
    assert scene.read(A) == ["1"]
    scene.policy.known.clear()
    scene.policy.trouble = BackendUnavailableError("the server gave no answer", backend="server")
    scene.cache.drop(A)
    assert scene.read(A) == ["unavailable"]


def test_the_global_name_behind_a_teams_is_decided_beside_the_loop(scene):
    scene.policy.is_preparing = False
    scene.policy.denied.add(A)
    assert scene.read(OF_TEAM, B) == ["absent", "2"]
    assert A in scene.policy.questions
    scene.policy.known.pop(A)
    assert scene.read(OF_TEAM, B) == ["absent", "2"]  # held now, and decided anew all the same


def test_where_nobody_could_decide_about_the_global_name_a_teams_is_unavailable_and_not_absent(scene):
    scene.policy.known[OF_TEAM] = YES
    scene.policy.trouble = BackendUnavailableError("no answer", backend="server")
    assert scene.read(OF_TEAM) == ["unavailable"]
    assert scene.read(OF_TEAM, B) == ["unavailable", "unavailable"]
    assert ("a", "absent") not in scene.acts()
    scene.policy.trouble = None
    assert scene.read(OF_TEAM) == ["1"]


def test_a_read_past_the_cache_asks_the_place(scene):
    scene.read(A, B)
    scene.backend.put(A, "new")
    assert scene.read(A, B) == ["1", "2"]
    assert scene.read(A, B, anew=True) == ["new", "2"]


def test_an_outage_of_the_place_is_told_for_each(scene):
    scene.backend.fail()
    assert scene.read(A, B) == ["unavailable", "unavailable"]
    assert scene.acts() == [("a", "unavailable"), ("b", "unavailable")]


def test_references_are_resolved_in_a_batch(scene):
    scene.backend.put(C, "in ${variable/a}", Metadata(references=True))
    assert scene.read(B, C) == ["2", "in 1"]


def test_reads_are_counted_for_the_status(scene):
    scene.read(A, B)
    scene.read(A)
    scene.reader.read(B)
    assert scene.reader.tally == [4]


def test_many_readers_at_once_ask_for_each_name_once():
    backend = Bell("server", {A: "1", B: "2"}, is_many=True)
    scene = Scene(backend)
    threads = [threading.Thread(target=scene.read, args=(A, B, C)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked = [ref for batch in backend.batches for ref in batch]
    assert asked.count(A) <= 1
    assert asked.count(B) <= 1
    scene.bridge.close()


@pytest.mark.parametrize("is_many", [True, False])
@pytest.mark.parametrize(
    ("answer", "told"),
    [(Decision(is_allowed=False, reason="x", trouble=OUT), "unavailable"), (NO, "denied"), (YES, "1")],
)
def test_F17_what_turns_out_to_be_strict_is_decided_anew(is_many, answer, told):
    made = Scene(Bell("server", {B: "2", C: "3"}, is_many=is_many))
    made.backend.put(A, "1", Metadata(tags=("strict",)))
    policy = Parted(made.cache)
    policy.known, policy.answer = {A: YES, B: YES, C: YES}, answer
    reading = Reading(made.cache, Guard(policy, made.notes), lambda: made.bridge, is_strict=is_strict)
    made.reader = reading.reader(ME)
    assert made.read(A, B, C) == [told, "2", "3"]
    assert made.read(A) == [told]
    assert made.acts()[0] == ("a", {"1": "found"}.get(told, told))
    made.bridge.close()
    made.cache.close()
