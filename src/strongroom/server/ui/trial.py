"""
Tests of a connection on pages: from where, step by step, what to do, and how the last ones went.

    POST /test/connection/NAME    tests from `from`: this server, or an agent
    GET  /test/connection/NAME    the last tests; with `order` whether the agent has answered

Rules of this file:

1. An agent is waited for by asking again, so that no thread waits; without scripts a link asks.
2. What went wrong is told in words of ours: the step, why, and what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import AccessDeniedError, InvalidInputError, NotFoundError, StrongroomError
from strongroom.live.trouble import words_of
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.server import reach
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.frame import form_of, is_htmx, page, redirect, url_for
from strongroom.service.connection_tests import told
from strongroom.service.trials import AGENT, SERVER
from strongroom.wire.entry import TeamQuery
from strongroom.wire.tested import TestQuery

if TYPE_CHECKING:
    from strongroom.live.probe import Step
    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.entries import Described
    from strongroom.service.trials import Trial

__all__ = ["ENDPOINTS", "Ran", "trial_words"]

_MOST_PLACE = 300  # characters


class Ran(NamedTuple):
    """
    A test as a page tells it.

    Args:
        trial: how it went.
        said: in one sentence.
        advice: what to do; "" where nothing is.
    """

    trial: Trial
    said: str
    advice: str

    @property
    def place(self) -> str:
        """The agent it was made from; "" for none."""
        return self.trial.place.removeprefix(AGENT) if self.trial.place.startswith(AGENT) else ""

    @property
    def mark(self) -> tuple[str, str]:
        """How it is shown: a kind of `ui.state`, and the key of its words."""
        if not self.trial.is_ok:
            return "failed", "form.test_failed"
        if self.trial.steps and not self.trial.tested.is_ok:
            return "never", "form.test_nothing"
        return "ok", "form.test_ok"

    def why(self, step: Step) -> str:
        """Say why *step* failed."""
        return words_of(step.name, step.reason).message  # type: ignore[arg-type]  # of the closed sets


def named(call: Call) -> Ref:
    """
    Give the entry that the path names.

    Raises:
        NotFoundError: there can be none of such a name.
    """
    team = call.query.get("team", [""])[0] or None
    try:
        return Ref(call.params["kind"], call.params["name"], team)  # type: ignore[arg-type]  # Ref checks it
    except InvalidInputError as error:
        why = str(error)
    raise NotFoundError(f"there is no such entry: {why}")


def try_out(call: Call) -> Answer:
    """Test a connection from this server or from an agent; shows how the last tests went."""
    on = form_of(call, "from").text("from", most=_MOST_PLACE) or SERVER
    ref = named(call)
    found = call.room.entries.describe(ref)
    problem, order = "", ""
    try:
        order = reach.begun(call, found.ref, on=on).order
    except StrongroomError as error:
        if isinstance(error, AccessDeniedError) and error.reason != "settings":
            raise
        problem = _told(error)
    is_elsewhere = is_htmx(call) and call.headers.get("hx-target") != "tests"
    if not problem and (is_elsewhere or not is_htmx(call)):
        return redirect(call, f"/entries/{ref.kind}/{ref.name}", team=ref.team, tab="tests")
    return _tested(call, found, problem=problem, order=order, on=on)


def _told(error: StrongroomError) -> str:
    """Give an error as a sentence of the page, with what to do."""
    return f"{error}; {error.hint}" if error.hint else str(error)


def _tested(call: Call, found: Described, *, problem: str = "", order: str = "", on: str = "") -> Answer:
    """Give the page of the tests of one connection; to htmx the panel alone."""
    return page(
        call,
        "test.html",
        nav="inventory",
        title="form.test",
        found=found,
        tests=trial_words(call, found.ref, problem=problem, order=order, on=on),
    )


def trials_page(call: Call) -> Answer:
    """Show how the last tests of a connection went, or whether an agent has answered."""
    asked = call.asked(TestQuery)
    found = call.room.entries.describe(named(call))
    problem, order = "", ""
    if asked.order is not None:
        try:
            tried = reach.ordered(call, found.ref, asked.order)
            order = tried.order if tried.trial is None else ""
        except StrongroomError as error:
            problem = _told(error)
    return _tested(call, found, problem=problem, order=order)


def trial_words(
    call: Call, ref: Ref | None, *, problem: str = "", order: str = "", on: str = ""
) -> dict[str, Any] | None:
    """Give what `form/test.html` prints; None where nothing can be tested."""
    if ref is None or ref.kind != "connection":
        return None
    trials = [Ran(trial, *told(trial)) for trial in call.place.trials.of(ref)]
    waiting = list(reach.assignments_of(call.place).of(ref))
    return {
        "is_on": reach.is_on(call),
        "may": call.place.guard.can(call.identity.actor, Action.TEST, ref).is_allowed,
        "places": reach.places_of(call),
        "on": on or (f"{AGENT}{waiting[0].agent}" if waiting else trials[0].trial.place if trials else ""),
        "address": url_for(call, f"/test/{ref.kind}/{ref.name}", team=ref.team),
        "again": url_for(
            call,
            f"/test/{ref.kind}/{ref.name}",
            team=ref.team,
            order=order or (waiting[0].id if waiting else None),
        ),
        "waiting": [one.agent for one in waiting],
        "last": trials[0] if trials else None,
        "earlier": trials[1:],
        "problem": problem,
    }


ENDPOINTS = (
    Endpoint(
        "GET",
        "/test/{kind}/{name:path}",
        trials_page,
        "Show the tests of a connection",
        "page",
        asks=TestQuery,
    ),
    Endpoint(
        "POST",
        "/test/{kind}/{name:path}",
        try_out,
        "Test a connection from this server or from an agent",
        "page",
        asks=TeamQuery,
        takes_form=True,
        cost=10.0,
    ),
)
