"""`/test` and `/tests`: whether connections work, from the server or an agent, and how tests went before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from strongroom.live.probe import Step
from strongroom.policy import Action
from strongroom.server.api.asked import entry_of
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.reach import answered, assignments_of, begun, ordered, places_of
from strongroom.service.connection_tests import told
from strongroom.service.deciding import check_agent
from strongroom.service.trials import AGENT
from strongroom.wire.tested import (
    AgentTested,
    AskTest,
    FailingRow,
    FailingTests,
    TestQuery,
    TestResult,
    TestRow,
    Tests,
    TestStep,
)

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.model.ref import Ref
    from strongroom.server.endpoint import Call
    from strongroom.service.assignment import Assignment
    from strongroom.service.connection_tests import Tried
    from strongroom.service.trials import Trial

__all__ = ["ENDPOINTS", "OF_AGENTS"]


def test(call: Call) -> TestResult:
    """Test a connection from the server, or ask an agent to."""
    asked = call.asked(AskTest)
    found = begun(call, entry_of(call, asked.team), on=asked.on)
    return TestResult(**msgspec.structs.asdict(_row(found, call.identity.actor.id, asked.on)))


def tests(call: Call) -> Tests:
    """Tell how the last tests of a connection went, newest first, and for which an agent is waited."""
    asked = call.asked(TestQuery)
    ref = call.room.entries.describe(entry_of(call, asked.team)).ref
    if asked.order is not None:
        found = ordered(call, ref, asked.order)
        return Tests(tests=[_row(found, call.identity.actor.id, AGENT[:-1])], on=_places(call, ref))
    waited = [_waiting(one) for one in assignments_of(call.place).of(ref)]
    return Tests(
        tests=[*waited, *(_done(one) for one in call.room.tests.history(ref))], on=_places(call, ref)
    )


def _places(call: Call, ref: Ref) -> list[str]:
    may = call.place.guard.can(call.identity.actor, Action.TEST, ref).is_allowed
    return places_of(call) if may else []


def failing(call: Call) -> FailingTests:
    """List the connections whose last test failed, as far as the actor may list them."""
    return FailingTests(
        tests=[
            FailingRow(name=ref.name, team=ref.team, test=_done(trial))
            for ref, trial in sorted(call.room.tests.failing().items(), key=lambda one: one[0].name)
        ]
    )


def answer(call: Call) -> Answer:
    """Take how a test went that the agent was asked for."""
    body, actor = call.take(AgentTested), call.identity.actor
    check_agent(actor, call.place.guard)
    steps = [Step(one.name, one.outcome, one.reason, one.milliseconds, one.days_left) for one in body.steps]
    answered(call, body.order, steps, refused=body.refused, version=body.version)
    return Answer(status=204)


def _row(found: Tried, by: str, place: str) -> TestRow:
    return _waited(by, place, found.order, found.until) if found.trial is None else _done(found.trial)


def _waiting(one: Assignment) -> TestRow:
    return _waited(one.by, f"{AGENT}{one.agent}", one.id, one.until)


def _waited(by: str, place: str, order: str, until: datetime | None) -> TestRow:
    message = "the agent is waited for"
    return TestRow(at=None, by=by, place=place, status="waiting", message=message, order=order, until=until)


def _done(trial: Trial) -> TestRow:
    message, advice = told(trial)
    failed = trial.tested.failed
    return TestRow(
        at=trial.at,
        by=trial.by,
        place=trial.place,
        status="ok" if trial.is_ok else "failed",
        failed=None if failed is None else failed.name,
        message=message,
        advice=advice,
        version=trial.version,
        steps=[TestStep(**step._asdict()) for step in trial.steps],
        order=trial.order,
    )


ENDPOINTS = (
    Endpoint(
        "POST",
        "/test/{kind}/{name:path}",
        test,
        "Test a connection, from the server or from an agent",
        "test",
        asks=AskTest,
        gives=TestResult,
        errors=(404, 502, 503),
        cost=10.0,
    ),
    Endpoint(
        "GET",
        "/test/{kind}/{name:path}",
        tests,
        "Tell how the last tests of a connection went",
        "test",
        asks=TestQuery,
        gives=Tests,
        errors=(404, 502, 503),
    ),
    Endpoint(
        "GET",
        "/tests",
        failing,
        "List the connections whose last test failed",
        "test",
        gives=FailingTests,
        errors=(503,),
    ),
)

OF_AGENTS = (
    Endpoint(
        "POST",
        "/agents/tests",
        answer,
        "Tell how a test went that the agent was asked for",
        "agents",
        takes=AgentTested,
        status=204,
        errors=(404, 503),
    ),
)
