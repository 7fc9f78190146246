"""`/explain`: why a name is answered as it is, step by step; never the value."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode

from strongroom.errors import AccessDeniedError, InvalidInputError, StrongroomError
from strongroom.model.ref import KINDS, Ref, check_team
from strongroom.policy import Action
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.ui.backends import milliseconds
from strongroom.server.ui.frame import Twin, page, url_for
from strongroom.server.ui.texts import say
from strongroom.service.explaining import claimed
from strongroom.wire.failure import without_paths
from strongroom.wire.shape import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from strongroom.model.explanation import Explanation, Step
    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS", "Told", "told"]

_MAX_TYPED = 250
_FIELDS = ("name", "kind", "team", "dag", "task")


class ExplainQuery(Asked, kw_only=True):
    """
    What is asked.

    Args:
        deployment: another one whose session the reader has, too.
    """

    name: str = ""
    kind: str = "connection"
    team: str = ""
    dag: str = ""
    task: str = ""
    deployment: str = ""


class Line(NamedTuple):
    """
    One step as it is shown.

    Args:
        outcome: hit, plain, bad or skip, as `ui.step` knows it.
        dot: the number of the backend in the chain, or the name of an icon.
        said: what came of it, in words.
        notes: quiet facts below it.
        place: how the backend spells what was asked for; "" for nothing.
    """

    outcome: str
    dot: int | str
    thing: str
    said: str
    ms: str
    notes: tuple[str, ...] = ()
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """
    An explanation as a page shows it.

    Args:
        kind: of the verdict: ok, bad or warn.
        verdict: the result in one line.
        detail: what is true of it besides.
        access: the step of who may, first.
        policies: ids of the policies that decided.
        lines: the steps, in the chain's order.
        references: (depth, text of the reference, its own Told) of everything it refers to.
    """

    ref: Ref
    kind: str
    verdict: str
    detail: str
    access: Line | None
    policies: tuple[str, ...]
    lines: tuple[Line, ...]
    references: tuple[tuple[int, Told], ...] = ()


# --- an explanation in words -----------------------------------------------------------------------


def told(explanation: Explanation, order: Sequence[str], *, dag: str = "", task: str = "") -> Told:
    """
    Give *explanation* as a page shows it.

    Args:
        explanation: of one lookup.
        order: names of the backends, in the chain's order.
        dag: the DAG whose run it was explained for; "" for none.
        task: of that; "" for none.
    """
    places = {name: number for number, name in enumerate(order, 1)}
    asked = [_line(step, places, explanation) for step in explanation.steps]
    passed = [
        Line("skip", places.get(name, "skip"), name, say("explain.not_asked"), milliseconds(None), (why,))
        for name, why in explanation.not_asked
    ]
    lines = sorted((*asked, *passed), key=lambda one: one.dot if isinstance(one.dot, int) else 0)
    return Told(
        ref=explanation.ref,
        kind=_kind(explanation),
        verdict=_verdict(explanation),
        detail=_detail(explanation),
        access=_access(explanation, dag, task),
        policies=explanation.policies,
        lines=tuple(lines),
        references=tuple(_nested(explanation, order, 1)),
    )


def _nested(explanation: Explanation, order: Sequence[str], depth: int) -> list[tuple[int, Told]]:
    found: list[tuple[int, Told]] = []
    for one in explanation.references:
        found.append((depth, told(one, order)))
        found += _nested(one, order, depth + 1)
    return found


def _kind(explanation: Explanation) -> str:
    if explanation.may_read is False or explanation.outcome.value in ("denied", "invalid"):
        return "bad"
    return {"found": "ok", "unavailable": "bad"}.get(explanation.outcome.value, "warn")


def _verdict(explanation: Explanation) -> str:
    if explanation.may_read is False:
        return say("explain.verdict.forbidden")
    outcome = explanation.outcome.value
    if outcome == "found" and explanation.version is None:
        outcome = "found_plain"
    if explanation.backend is None and outcome != "absent":
        return without_paths(explanation.reason)
    return say(
        f"explain.verdict.{outcome}", backend=explanation.backend, version=_version(explanation.version)
    )


def _detail(explanation: Explanation) -> str:
    """Say what a reader is given meanwhile, and what it took to look past that."""
    parts = []
    if explanation.reason:
        parts.append(without_paths(explanation.reason))
    total = sum(step.milliseconds for step in explanation.steps)
    if explanation.steps:
        parts.append(say("explain.took", ms=milliseconds(total)))
    held = explanation.remembered
    if held is not None:
        word = "fresh" if held.is_fresh else "stale"
        said = f"explain.held.{word}" if held.backend is not None else "explain.held.absence"
        parts.append(say(said, age=_age(held.age), backend=held.backend))
    elif explanation.outcome.value == "found":
        parts.append(say("explain.held.nothing"))
    return " · ".join(parts)


def _access(explanation: Explanation, dag: str, task: str) -> Line | None:
    if explanation.may_read is None:
        return None
    # Which policies decided stands beside it, each a link; a sentence that only names them says it twice.
    is_said = bool(explanation.policies) and explanation.may_read
    notes = [explanation.decision] if explanation.decision and not is_said else []
    if dag or task:
        notes.append(say("explain.claimed", run=" / ".join(one for one in (dag, task) if one)))
    is_allowed = explanation.may_read
    return Line(
        "hit" if is_allowed else "bad",
        "access" if is_allowed else "close",
        say("explain.allowed") if is_allowed else say("explain.denied"),
        "",
        milliseconds(explanation.decided_ms),
        tuple(notes),
    )


def _line(step: Step, places: Mapping[str, int], explanation: Explanation) -> Line:
    outcome = step.outcome.value
    is_answer = step.backend == explanation.backend and not step.is_shadowed and outcome == "found"
    notes = [without_paths(step.reason)] if step.reason else []
    if step.is_shadowed:
        notes.append(say("explain.shadowed", backend=explanation.backend))
    if step.is_cached:
        notes.append(say("explain.cached"))
    if explanation.ref.team is not None:
        team = step.ref.team
        notes.append(say("explain.of_team", team=team) if team is not None else say("explain.of_all"))
    said = say(f"explain.outcome.{outcome}")
    if step.version is not None:
        said = say("explain.with_version", said=said, version=_version(step.version))
    shape = "hit" if is_answer else "bad" if outcome in ("denied", "unavailable", "invalid") else "plain"
    shape = "skip" if step.is_shadowed else shape
    return Line(
        shape,
        places.get(step.backend, 0),
        step.backend,
        said,
        milliseconds(step.milliseconds),
        tuple(notes),
        step.place,
    )


def _version(version: str | None) -> str:
    """Give a version as pages name it: `v7`, or the store's own word, shortened."""
    if version is None:
        return ""
    return f"v{version}" if version.isdigit() else version[:_MAX_VERSION]


_MAX_VERSION = 12


def _age(age: timedelta) -> str:
    seconds = int(age.total_seconds())
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min" if minutes else f"{rest} s"


# --- the page --------------------------------------------------------------------------------------


def explain(call: Call) -> Answer:
    """Show the question, and the answer where a name is asked for."""
    asked = call.asked(ExplainQuery)
    typed = {name: getattr(asked, name).strip()[:_MAX_TYPED] for name in _FIELDS}
    typed["kind"] = typed["kind"] if typed["kind"] in KINDS else "connection"
    elsewhere = asked.deployment
    if elsewhere and elsewhere != call.deployment and elsewhere in call.house.names:
        # Each deployment decides by its own who asks: the same question, at its own address.
        place = "" if elsewhere == call.house.first else f"/d/{quote(elsewhere)}"
        there = f"{place}/explain?{urlencode({name: text for name, text in typed.items() if text})}"
        return Answer(status=303, headers={"location": there, "cache-control": "no-store"})
    errors, found, trouble = _answered(call, typed)
    return page(
        call,
        "explain.html",
        nav="explain",
        title="explain.title",
        twin=_twin(typed),
        status=422 if errors else 200,
        typed=typed,
        errors=errors,
        found=found,
        trouble=trouble,
        kinds=KINDS,
        teams=_teams(call, typed["team"]),
        may_administer=call.place.guard.can(call.identity.actor, Action.ADMINISTER, None).is_allowed,
        entry=url_for(call, f"/entries/{typed['kind']}/{typed['name']}", team=typed["team"] or None),
    )


def _answered(call: Call, typed: Mapping[str, str]) -> tuple[dict[str, str], Told | None, str]:
    """Give what is wrong with the question by field, the answer, and why there is none."""
    errors: dict[str, str] = {}
    if not typed["name"]:
        return errors, None, ""
    ref = None
    try:
        if typed["team"]:
            check_team(typed["team"])
    except InvalidInputError as error:
        errors["team"] = str(error)
    try:
        ref = Ref(typed["kind"], typed["name"])  # type: ignore[arg-type]  # one of KINDS
    except InvalidInputError as error:
        errors["name"] = str(error)
    if errors or ref is None:
        return errors, None, ""
    asked = Ref(ref.kind, ref.name, typed["team"] or None)
    try:
        explanation = call.room.lookup.explain(asked, run=claimed(typed["dag"], typed["task"]))
    except AccessDeniedError as error:
        return errors, None, say("explain.may_not", reason=error.reason)
    except StrongroomError as error:
        return errors, None, without_paths(str(error))
    order = [link.name for link in call.place.chain.links]
    return errors, told(explanation, order, dag=typed["dag"], task=typed["task"]), ""


def _teams(call: Call, typed: str) -> tuple[str, ...]:
    """Give the teams there are names of, as far as the actor may list them."""
    try:
        found = call.room.deployments.teams()
    except StrongroomError:
        found = []
    return tuple(sorted({*found, *([typed] if typed else [])}))


def _twin(typed: Mapping[str, str]) -> Twin:
    if not typed["name"] or typed["kind"] not in ("connection", "variable"):
        return Twin("strongroom explain connection orders_db", "GET", "/v1/explain/connection/orders_db")
    options = [f" --{name} {shlex.quote(typed[name])}" for name in ("team", "dag", "task") if typed[name]]
    command = f"strongroom explain {typed['kind']} {shlex.quote(typed['name'])}{''.join(options)}"
    query = urlencode({name: typed[name] for name in ("team", "dag", "task") if typed[name]})
    path = f"/v1/explain/{typed['kind']}/{quote(typed['name'], safe='/')}{'?' if query else ''}{query}"
    return Twin(command, "GET", path)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/explain",
        explain,
        "Show why a name is answered as it is",
        "page",
        asks=ExplainQuery,
        cost=2.0,
    ),
)
