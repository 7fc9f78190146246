"""An agent's decisions: asked in batches, remembered by revision, dropped at once, never made up."""

import threading
from datetime import timedelta

import pytest

from audit_parts import until
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    InvalidInputError,
    NotAuthenticatedError,
    RateLimitedError,
)
from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance, Decision, Run
from strongroom.service.decisions import MAX_BATCH, Decisions
from strongroom.service.ruling import Ruling, Rulings

BOUND = timedelta(seconds=60)
STALE = timedelta(seconds=900)
ORDERS = Ref("connection", "orders_db")
PCI = Ref("connection", "pci/db")


def local(uid=1000, dag=None):
    run = None if dag is None else Run(Assurance.CLAIMED, dag_id=dag)
    return Actor(f"local:{uid}", Assurance.HOST_USER, run=run)


class Server:
    """Decides; `trouble` is raised instead, `gate` holds it up."""

    def __init__(self):
        self.revision = "r1"
        self.allowed = True
        self.depends = False
        self.trouble = None
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def decide(self, questions):
        self.batches.append(list(questions))
        revision, allowed = self.revision, self.allowed
        self.entered.release()
        assert self.gate.wait(20)
        if self.trouble is not None:
            raise self.trouble
        decision = Decision(is_allowed=allowed, reason="as it says", policies=("p",))
        return Rulings(revision, [Ruling(decision, self.depends) for _ in questions])

    @property
    def questions(self):
        return [question for batch in self.batches for question in batch]


class Timer:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def server():
    return Server()


@pytest.fixture
def timer():
    return Timer()


@pytest.fixture
def decisions(server, timer):
    made = Decisions(
        server,
        timer=timer,
        is_strict=lambda ref: ref.name.startswith("pci/"),
        revoke_bound=BOUND,
        stale_bound=STALE,
        max_remembered=100,
    )
    yield made
    server.gate.set()
    made.close()


def read(decisions, ref=ORDERS, actor=None):
    return decisions.decide(actor or local(), Action.READ, ref)


def test_a_decision_is_asked_for_once_and_remembered(decisions, server):
    assert not decisions.knows(local(), Action.READ, ORDERS)
    assert read(decisions).is_allowed
    assert decisions.knows(local(), Action.READ, ORDERS)
    assert read(decisions).policies == ("p",)
    assert len(server.questions) == 1
    (question,) = server.questions
    assert (question.user, question.action, question.ref) == ("local:1000", Action.READ, ORDERS)


def test_another_user_action_or_name_is_another_question(decisions, server):
    read(decisions)
    read(decisions, actor=local(1001))
    read(decisions, PCI)
    read(decisions, Ref("connection", "orders_db", "data"))
    decisions.decide(local(), Action.DESCRIBE, ORDERS)
    assert len(server.questions) == 5


def test_one_decision_serves_all_runs_where_no_policy_looks_at_the_run(decisions, server):
    read(decisions, actor=local(dag="a"))
    assert decisions.knows(local(dag="b"), Action.READ, ORDERS)
    assert decisions.knows(local(), Action.READ, ORDERS)
    assert len(server.questions) == 1


def test_each_run_is_asked_for_where_a_policy_looks_at_the_run(decisions, server):
    server.depends = True
    read(decisions, actor=local(dag="a"))
    assert decisions.knows(local(dag="a"), Action.READ, ORDERS)
    assert not decisions.knows(local(dag="b"), Action.READ, ORDERS)
    server.allowed = False
    assert not read(decisions, actor=local(dag="b")).is_allowed
    assert read(decisions, actor=local(dag="a")).is_allowed


def test_what_gathers_while_one_request_is_under_way_is_the_next_one(decisions, server):
    server.gate.clear()
    threads = [threading.Thread(target=read, args=(decisions, Ref("variable", f"v{n}"))) for n in range(40)]
    threads[0].start()
    assert server.entered.acquire(timeout=20)
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(decisions._waiting) == 39)
    server.gate.set()
    for thread in threads:
        thread.join(20)
    assert [len(batch) for batch in server.batches] == [1, 39]


def test_the_same_question_of_many_threads_is_asked_once(decisions, server):
    server.gate.clear()
    threads = [threading.Thread(target=read, args=(decisions,)) for _ in range(30)]
    for thread in threads:
        thread.start()
    assert server.entered.acquire(timeout=20)
    server.gate.set()
    for thread in threads:
        thread.join(20)
    assert len(server.questions) == 1


def test_many_names_are_prepared_in_one_request(decisions, server):
    refs = [Ref("variable", f"v{number}") for number in range(90)]
    decisions.prepare(local(), Action.READ, refs)
    assert all(decisions.knows(local(), Action.READ, ref) for ref in refs)
    assert len(server.batches) == 1
    decisions.prepare(local(), Action.READ, refs)
    assert len(server.batches) == 1


def test_who_holds_the_policy_of_before_asks_nothing_that_is_remembered_now(decisions, server):
    refs = [Ref("variable", f"v{number}") for number in range(60)]
    began_with = decisions.current()
    decisions.prepare(local(), Action.LIST, refs)  # the first answer, and so the first revision
    assert decisions.current() is not began_with
    assert all(began_with.decide(local(), Action.LIST, ref).is_allowed for ref in refs)
    assert [len(batch) for batch in server.batches] == [60]


def test_a_request_is_bounded_and_so_is_what_is_remembered(server, timer):
    decisions = Decisions(server, timer=timer, max_remembered=500)
    refs = [Ref("variable", f"v{number}") for number in range(MAX_BATCH + 10)]
    decisions.prepare(local(), Action.READ, refs)
    decisions.close()
    assert max(map(len, server.batches)) == MAX_BATCH
    assert sum(decisions.knows(local(), Action.READ, ref) for ref in refs) <= 510


# --- revisions -----------------------------------------------------------------------------------------


def test_another_revision_drops_everything_at_once(decisions, server):
    read(decisions)
    before = decisions.current()
    server.revision, server.allowed = "r2", False
    decisions.heard("r2")
    assert decisions.current() is not before
    assert not decisions.knows(local(), Action.READ, ORDERS)
    assert not read(decisions).is_allowed


def test_an_answer_of_another_revision_drops_what_was_said_before(decisions, server):
    read(decisions)
    server.revision = "r2"
    read(decisions, PCI)
    assert not decisions.knows(local(), Action.READ, ORDERS)
    assert decisions.knows(local(), Action.READ, PCI)


def test_the_policy_is_the_same_object_while_nothing_changes(decisions, timer):
    read(decisions)
    first = decisions.current()
    for _ in range(100):
        timer.now += 3
        decisions.heard("r1")
        assert decisions.current() is first


def test_an_answer_that_was_overtaken_is_asked_again(decisions, server):
    """Revoked while the answer was on its way: it must not be kept as what is so now."""
    read(decisions, PCI)
    server.gate.clear()
    server.entered = threading.Semaphore(0)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(read(decisions)))
    thread.start()
    assert server.entered.acquire(timeout=20)
    server.revision, server.allowed = "r2", False
    decisions.heard("r2")
    server.gate.set()
    thread.join(20)
    assert [answer.is_allowed for answer in answers] == [False]
    assert len(server.questions) == 3


def test_what_is_public_about_an_entry_changed_so_it_is_asked_anew(decisions, server):
    read(decisions)
    read(decisions, PCI)
    decisions.forget([ORDERS])
    assert not decisions.knows(local(), Action.READ, ORDERS)
    assert decisions.knows(local(), Action.READ, PCI)


def test_where_changes_may_have_been_missed_it_is_asked_anew_if_somebody_answers(decisions, server, timer):
    read(decisions)
    timer.now += 1
    decisions.forget(None)
    assert not decisions.knows(local(), Action.READ, ORDERS)
    server.trouble = BackendUnavailableError("no answer", backend="server")
    assert read(decisions).is_allowed
    server.trouble, server.allowed = None, False
    timer.now += 2
    assert not read(decisions).is_allowed


def test_a_decision_is_asked_anew_after_a_while_even_so(decisions, timer):
    read(decisions)
    timer.now += 299
    decisions.heard("r1")
    assert decisions.knows(local(), Action.READ, ORDERS)
    timer.now += 2
    decisions.heard("r1")
    assert not decisions.knows(local(), Action.READ, ORDERS)


# --- trouble -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [
        BackendUnavailableError("no answer", backend="server"),
        RateLimitedError("too much"),
    ],
)
def test_trouble_asking_is_told_as_trouble_and_allows_nothing(decisions, server, trouble):
    server.trouble = trouble
    found = read(decisions)
    assert not found.is_allowed
    assert isinstance(found.trouble, BackendUnavailableError)
    assert not decisions.knows(local(), Action.READ, ORDERS)


def test_answers_that_are_not_as_many_as_the_questions_are_trouble(decisions, server):
    server.decide = lambda _questions: Rulings("r1", [])
    assert read(decisions).trouble is not None


def test_a_question_that_the_server_cannot_read_spoils_no_other(decisions, server):
    refs = [Ref("variable", f"v{number}") for number in range(20)]
    decide = server.decide

    def strict(questions):
        if any(question.ref.name == "v7" for question in questions):
            raise InvalidInputError("this is no question")
        return decide(questions)

    server.decide = strict
    decisions.prepare(local(), Action.READ, refs)
    assert [ref.name for ref in refs if not decisions.knows(local(), Action.READ, ref)] == ["v7"]
    assert isinstance(read(decisions, refs[7]).trouble, BackendUnavailableError)
    assert "this is no question" in decisions.status()["trouble"]
    assert read(decisions, ORDERS).is_allowed  # nobody waits: nothing is wrong with the server
    assert decisions.status()["trouble"] == ""


def test_after_trouble_nobody_is_kept_waiting_for_a_moment(decisions, server, timer):
    server.trouble = BackendUnavailableError("no answer", backend="server")
    read(decisions)
    asked = len(server.batches)
    assert read(decisions, PCI).trouble is not None
    assert len(server.batches) == asked
    server.trouble = None
    timer.now += 1.1
    assert read(decisions, PCI).is_allowed


def test_what_is_remembered_is_served_while_the_server_is_away(decisions, server, timer):
    read(decisions)
    server.trouble = BackendUnavailableError("no answer", backend="server")
    timer.now += 600
    assert read(decisions).is_allowed


def test_F17_strict_entries_are_decided_for_revoke_bound_at_most(decisions, server, timer):
    read(decisions)
    read(decisions, PCI)
    server.trouble = BackendUnavailableError("no answer", backend="server")
    timer.now += 59
    assert read(decisions, PCI).is_allowed
    before = decisions.current()
    timer.now += 1.5
    assert decisions.current() is not before
    assert not decisions.knows(local(), Action.READ, PCI)
    assert read(decisions, PCI).trouble is not None
    assert read(decisions).is_allowed


def test_F17_nothing_is_decided_by_what_was_said_longer_ago_than_values_may_be_stale(
    decisions, server, timer
):
    read(decisions)
    server.trouble = BackendUnavailableError("no answer", backend="server")
    timer.now += 899
    assert read(decisions).is_allowed
    timer.now += 2
    assert read(decisions).trouble is not None
    server.trouble = None
    timer.now += 2
    assert read(decisions).is_allowed


def test_once_the_server_is_back_what_it_said_is_good_again(decisions, server, timer):
    read(decisions, PCI)
    timer.now += 61
    assert not decisions.knows(local(), Action.READ, PCI)
    decisions.heard("r1")
    assert decisions.knows(local(), Action.READ, PCI)
    assert len(server.questions) == 1


def test_where_nothing_is_heard_the_server_is_asked_for_its_revision(decisions, server, timer):
    read(decisions)
    server.revision, server.allowed = "r2", False
    timer.now += 4.1
    until(lambda: not decisions.knows(local(), Action.READ, ORDERS))
    assert server.batches[-1] == []


def test_an_agent_that_is_nobody_any_more_denies_everything(decisions, server, timer):
    read(decisions)
    before = decisions.current()
    server.trouble = NotAuthenticatedError("no")
    timer.now += 4.1
    until(lambda: not decisions.current().decide(local(), Action.READ, ORDERS).is_allowed)
    found = read(decisions)
    assert decisions.current() is not before
    assert (found.is_allowed, found.trouble) == (False, None)
    assert decisions.knows(local(), Action.READ, PCI)
    assert decisions.status()["state"] == "refused"
    decisions.heard(None)
    assert not read(decisions).is_allowed
    server.trouble = None
    timer.now += 4.1
    until(lambda: decisions.status()["state"] == "connected")
    assert read(decisions).is_allowed


def test_an_agent_that_may_not_ask_denies_everything(decisions, server):
    server.trouble = AccessDeniedError("no", reason="no")
    read(decisions)
    assert not read(decisions).is_allowed
    assert read(decisions).trouble is None


def test_about_the_room_an_agent_decides_nothing(decisions, server):
    found = decisions.decide(local(), Action.ADMINISTER, None)
    assert not found.is_allowed
    assert server.batches == []


def test_the_end_lets_nobody_wait(decisions, server):
    server.gate.clear()
    answers = []
    threads = [
        threading.Thread(target=lambda ref=ref: answers.append(read(decisions, ref))) for ref in (ORDERS, PCI)
    ]
    threads[0].start()
    assert server.entered.acquire(timeout=20)
    threads[1].start()
    until(lambda: decisions._waiting)
    decisions.close()
    server.gate.set()
    for thread in threads:
        thread.join(20)
    assert len(answers) == 2
    assert read(decisions, Ref("variable", "x")).trouble is not None


def test_what_is_wrong_is_told_once_and_when_it_is_over(server, timer):
    told = []
    decisions = Decisions(server, timer=timer, on_trouble=told.append)
    server.trouble = BackendUnavailableError("no answer", backend="server")
    for _ in range(3):
        read(decisions)
        timer.now += 1.1
    server.trouble = None
    read(decisions)
    decisions.close()
    assert told == ["the server decides nothing: no answer", "the server decides again"]
