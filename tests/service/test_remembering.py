"""Whom a gate remembers while its store gives no answer: for how long, for what, and on whose record."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from datetime import timedelta

import pytest

from service.access_room import GOOD, HERE, THERE, AdminPolicy, Desk
from strongroom.errors import (
    BackendUnavailableError,
    NotAuthenticatedError,
    NotRecordedError,
    TamperedError,
)
from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Decision, Role
from strongroom.registry import Change
from strongroom.service.access.begun import Begun
from strongroom.service.access.shape import AGENT, Agent, encoded
from strongroom.service.guard import Guard
from strongroom.store import rows, whole

BOUND = timedelta(seconds=60)
REF = Ref("variable", "region")


class Silenced:
    """A store that gives no answer while it is told not to."""

    def __init__(self, store):
        self._store = store
        self.is_silent = False

    def __getattr__(self, name):
        if self.is_silent and name in ("data_version", "head", "registry", "write"):
            raise BackendUnavailableError("the database gives no answer", backend="native")
        return getattr(self._store, name)


class Timer:
    """Seconds that go on only when told."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Recorder:
    """The log of a room, which may be full."""

    def __init__(self, log):
        self._log = log
        self.is_full = False

    def append(self, *events):
        if self.is_full:
            raise NotRecordedError("the disk is full", folder="audit")
        self._log.append(*events)


class House:
    """A gate over a store that may be silent, and a person who used his session there."""

    def __init__(self, folder, memory=BOUND):
        self.desk, self.timer = Desk(folder), Timer()
        self.access = self.desk.open(
            around=self._silenced, recorder=self._recorder, memory=memory, timer=self.timer
        )
        self.gate = self.access._gate
        self.registry = self.gate.registry
        self.access.people.add("anna", GOOD, roles=[Role("admin")])
        self.token = self.login()
        self.access.authenticate(self.token, source=HERE)

    def _silenced(self, store):
        self.store = Silenced(store)
        return self.store

    def _recorder(self, log):
        self.recorder = Recorder(log)
        return self.recorder

    def login(self):
        return self.access.login("anna", GOOD, source=HERE).token.reveal()

    def silence(self):
        """Let the store be silent, and wait until the last look counts no more."""
        self.registry.look()
        self.store.is_silent = True
        with pytest.raises(BackendUnavailableError):
            self.registry.look()
        self.gone()

    def gone(self):
        """Wait until the last good look counts no more."""
        deadline = time.monotonic() + 20
        while self.registry._good_until > time.monotonic():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def recognise(self, token=None, source=HERE):
        return self.access.recognise(token or self.token, source=source)

    def told(self):
        return [one for one in self.desk.told() if one[2] == "unavailable"]


@pytest.fixture
def house(tmp_path):
    found = House(tmp_path)
    yield found
    found.desk.close()


def test_a_session_goes_on_for_the_bound_and_no_longer(house):
    assert house.recognise().actor.as_of is None
    house.silence()
    found = house.recognise()
    assert (found.actor.id, found.actor.roles) == ("person:anna", (Role("admin"),))
    assert found.actor.as_of is not None
    house.timer.now += 59.9
    assert house.recognise().actor == found.actor  # the same moment throughout one silence
    house.timer.now += 0.1
    with pytest.raises(BackendUnavailableError):
        house.recognise()
    with pytest.raises(BackendUnavailableError):
        house.registry.remembered()


def test_the_bound_counts_from_the_last_good_look_and_not_from_the_first_question(house):
    house.silence()
    house.timer.now += 60
    with pytest.raises(BackendUnavailableError):
        house.recognise()


def test_without_a_bound_nobody_goes_on(tmp_path):
    house = House(tmp_path, timedelta())
    house.silence()
    with pytest.raises(BackendUnavailableError):
        house.recognise()
    house.desk.close()


def test_once_the_store_answers_what_stands_counts_again(house):
    house.silence()
    assert house.recognise().actor.as_of is not None
    house.store.is_silent = False
    house.registry.look()
    assert house.recognise().actor.as_of is None
    assert house.registry.silence is None


def test_a_form_that_is_sent_asks_the_store_once_more(house):
    house.silence()
    house.store.is_silent = False
    assert house.access.recognise(house.token, source=HERE, asks=True).actor.as_of is None


def test_nobody_but_who_looks_at_a_page_is_let_in(house):
    service = house.access.tokens.issue("ci", roles=[Role("admin")]).token.reveal()
    house.access.authenticate(service, source=HERE)
    house.silence()
    for token in (house.token, service):
        with pytest.raises(BackendUnavailableError):
            house.access.authenticate(token, source=HERE)
    with pytest.raises(BackendUnavailableError):
        house.recognise(service)
    with pytest.raises(BackendUnavailableError):
        house.access.login("anna", GOOD, source=HERE)


def test_the_session_of_an_agent_is_not_remembered(house):
    made = Agent(public=b"p" * 32, fingerprint=b"", created_at=house.desk.clock(), created_by="", source=HERE)
    house.registry.put_many([Change(AGENT, "host-1", encoded(made))])
    token = house.gate.begin(Begun("agent:host-1", "key", HERE, None, [], [], None)).token.reveal()
    assert house.recognise(token).actor.id == "agent:host-1"
    house.silence()
    with pytest.raises(BackendUnavailableError):
        house.recognise(token)


def test_a_session_that_was_not_used_here_is_not_remembered(house):
    unused = house.login()
    house.silence()
    with pytest.raises(BackendUnavailableError):
        house.recognise(unused)
    with pytest.raises(BackendUnavailableError):
        house.recognise("srm_s_nobody")


def test_what_had_ended_before_has_ended(house):
    other = house.login()
    house.access.logout(house.access.authenticate(other, source=HERE))
    house.silence()
    with pytest.raises(BackendUnavailableError):
        house.recognise(other)


def test_who_was_disabled_before_is_not_remembered(house):
    house.access.people.disable("anna")
    house.silence()
    with pytest.raises(BackendUnavailableError):
        house.recognise()


def test_the_ends_of_a_session_count_as_ever(house):
    house.silence()
    house.desk.forward(minutes=29)
    assert house.recognise().actor.id == "person:anna"
    house.desk.forward(minutes=29)
    assert house.recognise().actor.id == "person:anna"  # looking is a use
    house.desk.forward(minutes=30)
    with pytest.raises(NotAuthenticatedError):
        house.recognise()


def test_what_was_taken_in_need_is_not_remembered(house):
    house.access.people.add("bob", GOOD, roles=[Role("viewer")])
    token = house.access.login("bob", GOOD, source=HERE).token.reveal()
    bob = house.access.authenticate(token, source=HERE).actor
    everybody = Guard(_Everything(), house.recorder)
    type(house.access)(house.gate, everybody, bob, house.access.enrolment).break_glass.begin(
        "the night shift", timedelta(minutes=30)
    )
    assert Role("admin") in house.access.authenticate(token, source=HERE).actor.roles
    house.silence()
    assert house.recognise(token).actor.roles == (Role("viewer"),)


def test_it_is_on_record_once_in_each_silence_before_anything_is_answered(house):
    house.silence()
    house.recorder.is_full = True
    with pytest.raises(NotRecordedError):
        house.recognise()
    house.recorder.is_full = False
    for source in (HERE, THERE, HERE):
        house.recognise(source=source)
    (told,) = house.told()
    assert told[:3] == ("person:anna", "login", "unavailable")
    assert "for 60 seconds at most" in told[3]
    assert "what was revoked since is not seen" in told[3]
    assert house.token not in house.desk.text()
    house.store.is_silent = False
    house.timer.now += 1
    house.silence()
    house.recognise()
    assert len(house.told()) == 2


def test_nobody_is_remembered_of_a_store_that_was_moved(house):
    with house.store.write() as transaction:
        whole.mark(transaction, rows.MOVED, "elsewhere")
    deadline = time.monotonic() + 20
    while not house.store.is_moved:
        assert time.monotonic() < deadline
        with suppress(BackendUnavailableError):
            house.registry.look()
    house.gone()
    with pytest.raises(BackendUnavailableError, match="was moved"):
        house.recognise()
    house.store.is_silent = True
    with pytest.raises(BackendUnavailableError):
        house.recognise()
    assert house.told() == []


def test_nobody_is_remembered_of_rows_that_were_changed_by_hand(house):
    with closing(sqlite3.connect(house.desk.store)) as database, database:
        database.execute("UPDATE registry SET body = x'00' WHERE kind = 'person'")
    deadline = time.monotonic() + 20
    while house.registry._trouble is None:
        assert time.monotonic() < deadline
        house.registry.look()
        time.sleep(0.05)
    house.store.is_silent = True
    with pytest.raises(BackendUnavailableError):
        house.registry.look()
    house.gone()
    with pytest.raises(TamperedError):
        house.recognise()


# --- what he may do ------------------------------------------------------------------------------------


class _Everything(AdminPolicy):
    def decide(self, actor, action, ref, facts=None):
        return Decision(is_allowed=True, reason="a test's rule")


@pytest.fixture
def looker(house):
    house.silence()
    return house.recognise().actor


def guard_of(house, policy, facts=None):
    return Guard(
        _Nothing(),
        house.recorder,
        remembered=lambda: policy,
        facts=None if facts is None else lambda _: facts,
    )


class _Nothing(AdminPolicy):
    def decide(self, actor, action, ref, facts=None):
        return Decision(is_allowed=False, reason="nobody decides now")


@pytest.mark.parametrize("action", [one for one in Action if one not in (Action.LIST, Action.DESCRIBE)])
def test_who_is_remembered_does_nothing_but_look(house, looker, action):
    guard, done = guard_of(house, _Everything()), []
    for ref in (REF, None):
        with pytest.raises(BackendUnavailableError):
            guard.act(looker, action, ref, lambda: done.append(1))
    with pytest.raises(BackendUnavailableError):
        guard.administer(looker, lambda: done.append(1), reason="now", action=action)
    assert done == []


def test_who_is_remembered_looks_by_the_policy_that_is_remembered(house, looker):
    guard = guard_of(house, _Everything())
    assert guard.act(looker, Action.LIST, None, lambda: "seen") == "seen"
    assert guard.can(looker, Action.ADMINISTER, None).is_allowed
    assert not guard.can(Actor("person:anna"), Action.LIST, None).is_allowed


def test_a_denial_says_as_of_when_it_was_decided(house, looker):
    with pytest.raises(Exception, match="may not"):
        guard_of(house, _Nothing()).check(looker, Action.ADMINISTER, None, None)
    assert house.desk.told()[-1][3] == f"as known at {looker.as_of:%H:%M:%S}Z: nobody decides now"
