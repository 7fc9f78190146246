"""What a server decided outlives a restart of its agent: where nobody answers, no longer than before."""

from __future__ import annotations

from datetime import timedelta

import pytest

from strongroom.errors import BackendUnavailableError, InvalidInputError, NotAuthenticatedError
from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance, Decision, Run
from strongroom.service.decisions import Decisions
from strongroom.service.kept import KeptDecisions
from strongroom.service.ruling import Ruling, Rulings

ORDERS = Ref("connection", "orders_db")
TEAM = Ref("variable", "region", "data")
PCI = Ref("connection", "pci/db")
DOWN = BackendUnavailableError("nobody answers", backend="server")


class Server:
    def __init__(self) -> None:
        self.trouble = None
        self.allowed = True
        self.depends = False
        self.revision = "r1"

    def decide(self, questions):
        if self.trouble is not None:
            raise self.trouble
        decision = Decision(is_allowed=self.allowed, reason="as it says", policies=("p",))
        return Rulings(self.revision, [Ruling(decision, self.depends) for _ in questions])


class Agents:
    """One agent after the other; they share a server and a timer."""

    def __init__(self) -> None:
        self.server = Server()
        self.now = 1000.0
        self.made: list[Decisions] = []

    def start(self) -> tuple[Decisions, KeptDecisions]:
        found = Decisions(
            self.server,
            timer=lambda: self.now,
            is_strict=lambda ref: ref.name.startswith("pci/"),
            stale_bound=timedelta(hours=24),
        )
        self.made.append(found)
        return found, KeptDecisions(found)

    def restart(self, content: bytes, age: timedelta) -> Decisions:
        """Start one on another boot of the machine, whose timer begins anew."""
        self.now = 20.0
        found, kept = self.start()
        kept.restore(content, age)
        return found


@pytest.fixture
def agents():
    made = Agents()
    yield made
    for one in made.made:
        one.close()


def actor(uid: int = 1000, dag: str | None = None) -> Actor:
    run = None if dag is None else Run(Assurance.CLAIMED, dag_id=dag, try_number=2)
    return Actor(f"local:{uid}", Assurance.HOST_USER, run=run)


def said(agents, *refs: Ref, who: Actor | None = None) -> bytes:
    decisions, kept = agents.start()
    for ref in refs:
        assert decisions.decide(who or actor(), Action.READ, ref).trouble is None
    return kept.keep()


def test_a_decision_is_good_after_a_restart_while_nobody_answers(agents):
    content = said(agents, ORDERS, TEAM)
    agents.server.trouble = DOWN
    again = agents.restart(content, timedelta(hours=3))
    for ref in (ORDERS, TEAM):
        found = again.decide(actor(), Action.READ, ref)
        assert (found.is_allowed, found.policies, found.trouble) == (True, ("p",), None)
    assert again.decide(actor(1001), Action.READ, ORDERS).trouble is not None
    assert again.decide(actor(), Action.DESCRIBE, ORDERS).trouble is not None


def test_a_denial_stays_a_denial(agents):
    agents.server.allowed = False
    content = said(agents, ORDERS)
    agents.server.trouble = DOWN
    found = agents.restart(content, timedelta(0)).decide(actor(), Action.READ, ORDERS)
    assert (found.is_allowed, found.trouble) == (False, None)


def test_a_server_that_answers_is_asked_first(agents):
    content = said(agents, ORDERS)
    agents.server.allowed = False
    agents.server.revision = "r2"
    assert not agents.restart(content, timedelta(0)).decide(actor(), Action.READ, ORDERS).is_allowed


def test_what_was_said_is_no_longer_good_than_without_the_restart(agents):
    content = said(agents, ORDERS)
    agents.server.trouble = DOWN
    assert agents.restart(content, timedelta(hours=23)).decide(actor(), Action.READ, ORDERS).is_allowed
    assert (
        agents.restart(content, timedelta(hours=24)).decide(actor(), Action.READ, ORDERS).trouble is not None
    )


def test_decisions_on_strict_entries_are_not_kept(agents):
    content = said(agents, PCI, ORDERS)
    assert b"pci" not in content
    agents.server.trouble = DOWN
    assert agents.restart(content, timedelta(0)).decide(actor(), Action.READ, PCI).trouble is not None


def test_what_depends_on_the_run_is_kept_for_that_run(agents):
    agents.server.depends = True
    content = said(agents, ORDERS, who=actor(dag="pay"))
    agents.server.trouble = DOWN
    again = agents.restart(content, timedelta(0))
    assert again.decide(actor(dag="pay"), Action.READ, ORDERS).is_allowed
    assert again.decide(actor(dag="other"), Action.READ, ORDERS).trouble is not None


def test_an_agent_that_is_nobody_any_more_keeps_nothing(agents):
    decisions, kept = agents.start()
    assert decisions.decide(actor(), Action.READ, ORDERS).is_allowed
    before = kept.mark()
    agents.server.trouble = NotAuthenticatedError("who are you")
    decisions.decide(actor(1001), Action.READ, ORDERS)
    assert kept.keep() == b""
    assert kept.mark() != before


def test_what_is_in_another_form_is_refused(agents):
    _, kept = agents.start()
    for content in (b"", b"\xc1", b"nonsense", b"\x83"):
        with pytest.raises(InvalidInputError, match="in another form"):
            kept.restore(content, timedelta(0))
