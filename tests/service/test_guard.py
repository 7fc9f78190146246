from __future__ import annotations

import pytest

from strongroom.audit import Event
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    MalformedEntryError,
    NotFoundError,
    NotRecordedError,
)
from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance, Decision, OwnerPolicy
from strongroom.service.entries import Written
from strongroom.service.guard import Guard, Guarded
from strongroom.testing.fakes import Memory

OWNER = Actor("local:1000", Assurance.HOST_USER)
STRANGER = Actor("local:1001", Assurance.HOST_USER)
REF = Ref("connection", "orders_db", "data")
CHANGES = [Action.WRITE, Action.DELETE, Action.ROTATE, Action.ADMINISTER]
QUIET = [Action.LIST, Action.DESCRIBE, Action.TEST]


class Notebook:
    """Records in memory, or refuses to."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_full = False

    def append(self, *events: Event) -> None:
        if self.is_full:
            raise NotRecordedError("the notebook is full", folder="/notebook")
        self.events.extend(events)

    @property
    def outcomes(self) -> list[str]:
        return [event.outcome for event in self.events]


@pytest.fixture
def notebook():
    return Notebook()


@pytest.fixture
def guard(notebook):
    return Guard(OwnerPolicy(OWNER), notebook)


@pytest.mark.parametrize("action", list(Action))
def test_a_denied_act_is_not_done_and_is_recorded(guard, notebook, action):
    done = []
    with pytest.raises(AccessDeniedError, match="may not") as caught:
        guard.act(STRANGER, action, REF, lambda: done.append(1))
    assert done == []
    assert caught.value.reason == "not the local owner"
    (event,) = notebook.events
    assert (event.actor, event.action, event.outcome) == ("local:1001", action.value, "denied")
    assert event.reason == "not the local owner"


class Silent(OwnerPolicy):
    """Cannot ask whoever decides."""

    def decide(self, actor, action, ref, facts=None):
        trouble = BackendUnavailableError("no answer", backend="server")
        return Decision(is_allowed=False, reason=trouble.code, trouble=trouble)


@pytest.mark.parametrize("action", list(Action))
def test_where_nobody_could_decide_nothing_is_done_and_nobody_denied(notebook, action):
    done = []
    with pytest.raises(BackendUnavailableError, match="no answer"):
        Guard(Silent(OWNER), notebook).act(OWNER, action, REF, lambda: done.append(1))
    assert (done, notebook.events) == ([], [])


def test_a_denial_about_the_room_says_so(guard):
    with pytest.raises(AccessDeniedError, match="may not administer this room"):
        guard.act(STRANGER, Action.ADMINISTER, None, lambda: None)


@pytest.mark.parametrize("action", QUIET)
def test_listing_and_describing_are_not_recorded(guard, notebook, action):
    assert guard.act(OWNER, action, REF, lambda: "answer") == "answer"
    assert notebook.events == []


@pytest.mark.parametrize("action", CHANGES)
def test_a_change_is_recorded_before_and_after(guard, notebook, action):
    seen: list[list[str]] = []
    guard.act(
        OWNER, action, REF, lambda: seen.append(notebook.outcomes) or Written("native", "4"), reason="why"
    )
    assert seen == [["begun"]]
    begun, done = notebook.events
    assert (begun.outcome, done.outcome) == ("begun", "done")
    assert (done.kind, done.name, done.team) == ("connection", "orders_db", "data")
    assert (done.reason, done.backend, done.version) == ("why", "native", "4")
    assert (done.actor, done.assurance) == ("local:1000", 1)


@pytest.mark.parametrize("action", CHANGES)
def test_a_change_that_cannot_be_recorded_is_not_begun(guard, notebook, action):
    notebook.is_full = True
    done = []
    with pytest.raises(NotRecordedError):
        guard.act(OWNER, action, REF, lambda: done.append(1))
    assert done == []


@pytest.mark.parametrize("action", [Action.READ, Action.REVEAL])
def test_an_answer_that_cannot_be_recorded_does_not_leave(guard, notebook, action):
    notebook.is_full = True
    with pytest.raises(NotRecordedError):
        guard.act(OWNER, action, REF, lambda: "secret")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (NotFoundError("no"), "absent"),
        (AccessDeniedError("no", reason="backend"), "denied"),
        (BackendUnavailableError("no", backend="vault"), "unavailable"),
        (MalformedEntryError("no", backend="vault", ref="x"), "invalid"),
    ],
)
def test_a_read_that_fails_is_recorded_with_its_outcome(guard, notebook, error, outcome):
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        guard.act(OWNER, Action.READ, REF, work)
    (event,) = notebook.events
    assert (event.outcome, event.reason) == (outcome, error.code)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("canary-text")])
def test_a_foreign_failure_is_recorded_by_its_class_alone(guard, notebook, error):
    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        guard.act(OWNER, Action.WRITE, REF, work)
    assert notebook.outcomes == ["begun", "failed"]
    assert notebook.events[1].reason == type(error).__name__


def test_a_batch_is_begun_once_and_recorded_one_by_one(guard, notebook):
    refs = [Ref("variable", name) for name in "abc"]
    guard.act_many(OWNER, Action.WRITE, refs, lambda: [Written("native", "1")] * 3)
    assert [(event.name, event.outcome) for event in notebook.events] == [
        (None, "begun"),
        ("a", "done"),
        ("b", "done"),
        ("c", "done"),
    ]
    assert notebook.events[0].reason == "batch of 3"


def test_an_empty_batch_is_nothing(guard, notebook):
    assert list(guard.act_many(OWNER, Action.WRITE, [], list)) == []
    assert notebook.events == []


def test_asking_whether_one_might_records_nothing(guard, notebook):
    assert guard.can(OWNER, Action.WRITE, REF).is_allowed
    assert not guard.can(STRANGER, Action.READ, REF).is_allowed
    assert notebook.events == []


def test_a_guarded_backend_records_each_read(guard, notebook):
    backend = Guarded(Memory("native", {REF: "text"}), guard, OWNER)
    assert backend.read(REF).secret.reveal() == "text"
    assert backend.read(Ref("variable", "none")) is None
    found, absent = notebook.events
    assert (found.outcome, found.backend, found.version) == ("found", "native", "1")
    assert (absent.outcome, absent.backend) == ("absent", None)
