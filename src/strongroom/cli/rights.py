"""`strongroom access can`, `why`, `who` and `what`: what policies come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command
from strongroom.cli.output import Column, show_record, show_rows
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.model.ref import KINDS, Kind
from strongroom.policy import Action, Assurance, Run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.model.ref import Ref
    from strongroom.service.policies import May, Weighed

__all__ = ["action_of", "attach", "kind_of"]


def _entry(row: Mapping[str, object]) -> str:
    team = f" (team {row['team']})" if row["team"] else ""
    return f"{row['kind']} {row['name']}{team}"


_LABELS = {
    "answer": "answer",
    "run": "run",
    "reason": "reason",
    "policies": "policies",
    "revision": "revision",
}
_WHO = (
    Column("actor", "WHO", styles={"": "bold"}),
    Column("actions", "MAY"),
    Column("policies", "BY", 1),
    Column("depends_on", "DEPENDS ON", 2),
)
_WHAT = (
    Column("entry", "ENTRY", styles={"": "bold"}, show=_entry),
    Column("actions", "MAY"),
    Column("policies", "BY", 1),
    Column("depends_on", "DEPENDS ON", 2),
)
_WHY = (
    Column("policy", "POLICY", styles={"": "bold"}),
    Column("effect", "WOULD", styles={"forbid": "red", "allow": "green"}),
    Column("outcome", "HERE"),
    Column("description", "WHAT IT IS FOR", 1),
)
_MISSES = {
    "who": "is not for this actor",
    "action": "is not about this action",
    "what": "is not about this entry",
    "condition": "its conditions do not hold",
}
_PAGE = 200
_WHOSE = Annotated[
    str | None,
    typer.Option("--as", metavar="WHO", help="person:NAME, service:NAME or local:UID; yourself if unsaid."),
]
_DAG = Annotated[str | None, typer.Option("--dag-id", metavar="ID", help="Of the run that asks.")]
_TASK = Annotated[str | None, typer.Option("--task-id", metavar="ID", help="Of the run that asks.")]
_BUNDLE = Annotated[str | None, typer.Option(metavar="NAME", help="Of the run that asks.")]
_LEVEL = Annotated[int, typer.Option(metavar="LEVEL", min=0, max=4, help="How that run was proven.")]
_SOURCE = Annotated[str | None, typer.Option(metavar="ADDRESS", help="Where it asks from.")]
_KIND = Annotated[
    str | None, typer.Argument(metavar="KIND", help="connection, variable or config; the room if unsaid.")
]
_NAME = Annotated[str | None, typer.Argument(metavar="NAME", help="Of the entry.")]


def attach(parent: typer.Typer) -> None:
    """Declare these commands on *parent*."""
    command(parent, "can")(can)
    command(parent, "why")(why)
    command(parent, "who")(who)
    command(parent, "what")(what)


def kind_of(text: str) -> Kind:
    """
    Read a kind as people type it.

    Raises:
        InvalidInputError: it is none.
    """
    found = next((kind for kind in KINDS if text.lower() in (kind, f"{kind}s")), None)
    if found is None:
        raise InvalidInputError("there is no such kind", hint=f"one of {', '.join(KINDS)}")
    return found


def action_of(text: str) -> Action:
    """
    Read an action as people type it.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        return Action(text.lower())
    except ValueError:
        known = ", ".join(action.value for action in Action)
    raise InvalidInputError("there is no such action", hint=f"one of {known}")


def _ref(session: Session, kind: str | None, name: str | None) -> Ref | None:
    if kind is None:
        return None
    if name is None:
        raise InvalidInputError("an entry has a kind and a name", hint="as in connection orders_db")
    return session.ref(kind_of(kind), name)


def can(
    context: typer.Context,
    *,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="What is done, as read.")],
    kind: _KIND = None,
    name: _NAME = None,
    who: _WHOSE = None,
    dag_id: _DAG = None,
    task_id: _TASK = None,
    bundle: _BUNDLE = None,
    assurance: _LEVEL = 0,
    source: _SOURCE = None,
) -> None:
    """
    Tell whether somebody may do something now, and by which policy.

    Nothing is done. Ends with 4 where he may not.

    Example:
      $ strongroom access can read connection orders_db --as service:ci
      $ strongroom access can administer --as person:anna
    """
    session: Session = context.obj
    run = _run(dag_id, task_id, bundle, assurance)
    wanted = action_of(action)
    with session.room() as room:
        decision = room.policies.can(wanted, _ref(session, kind, name), actor=who, run=run, source=source)
        revision = room.policies.revision
    facts: dict[str, object] = {
        "is_allowed": decision.is_allowed,
        "answer": "yes" if decision.is_allowed else "no",
        "reason": decision.reason,
        "policies": list(decision.policies),
        "revision": revision,
    }
    if run is not None:
        facts["run"] = f"{run.assurance.level} ({run.assurance.meaning})"
    show_record(session, facts, labels=_LABELS)
    if not decision.is_allowed:
        raise typer.Exit(4)


def _run(dag_id: str | None, task_id: str | None, bundle: str | None, assurance: int) -> Run | None:
    if dag_id is None and task_id is None and bundle is None and not assurance:
        return None
    return Run(Assurance(assurance), dag_id=dag_id, task_id=task_id, bundle=bundle)


def why(
    context: typer.Context,
    *,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="What is done, as read.")],
    kind: _KIND = None,
    name: _NAME = None,
    who: _WHOSE = None,
    dag_id: _DAG = None,
    task_id: _TASK = None,
    bundle: _BUNDLE = None,
    assurance: _LEVEL = 0,
    source: _SOURCE = None,
) -> None:
    """
    Tell why somebody may do something now, or may not.

    What holds comes first, prohibitions before the rest; then what differs in one thing. Who does not
    administer sees what decided. Nothing is done. Ends with 4 where he may not.

    Example:
      $ strongroom access why read connection orders_db --as service:ci
      $ strongroom access why write connection orders_db --as person:vera
    """
    session: Session = context.obj
    wanted = action_of(action)
    run = _run(dag_id, task_id, bundle, assurance)
    with session.room() as room:
        found = room.policies.why(wanted, _ref(session, kind, name), actor=who, run=run, source=source)
    show_rows(session, _WHY, [[_step(one) for one in found.weighed]], nothing="no policy is near it")
    answer = "yes" if found.decision.is_allowed else "no"
    terminal.note(f"{answer}: {found.decision.reason}", session)
    if not found.decision.is_allowed:
        raise typer.Exit(4)


def _step(one: Weighed) -> dict[str, object]:
    needs = None if one.needs is None else f"{one.needs[0].lower()} {one.needs[1]}"
    outcome = "holds" if one.holds else _MISSES[one.misses[0]]
    return {
        "policy": one.id,
        "effect": "allow" if one.is_permit else "forbid",
        "outcome": outcome if needs is None else f"is for {needs}",
        "misses": list(one.misses),
        "needs": needs,
        "description": one.description,
    }


def who(
    context: typer.Context,
    *,
    kind: _KIND = None,
    name: _NAME = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only who may do this, as read.")
    ] = None,
) -> None:
    """
    Tell who may do what with an entry, whether or not there is one.

    DEPENDS ON names what a request brings that decides too, as run.dag_id or source: what is told is for a
    request that brings none of it. The owner of the host is not listed: he has the key.

    Example:
      $ strongroom access who connection orders_db
      $ strongroom access who connection orders_db --action read
    """
    session: Session = context.obj
    wanted = None if action is None else action_of(action)
    with session.room() as room:
        found = room.policies.who_can(_ref(session, kind, name))
    rows = [_facts(one) for one in found if wanted in (None, *one.actions)]
    show_rows(session, _WHO, [rows], nothing="nobody may")


def what(
    context: typer.Context,
    *,
    who: Annotated[str, typer.Argument(metavar="WHO", help="person:NAME, service:NAME or local:UID.")],
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only what he may do this with, as read.")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most so many.")] = None,
) -> None:
    """
    Tell what somebody may do with each entry there is.

    Example:
      $ strongroom access what service:ci
      $ strongroom access what person:anna --action reveal
    """
    session: Session = context.obj
    wanted = None if action is None else action_of(action)
    with session.room() as room:
        found = room.policies.what_can(who, action=wanted)
        count = show_rows(session, _WHAT, _pages(found, limit))
    if not count:
        terminal.note("there is nothing he may", session)


def _pages(found: Iterator[May], limit: int | None) -> Iterator[list[dict[str, object]]]:
    page: list[dict[str, object]] = []
    for number, one in enumerate(found):
        if limit is not None and number >= limit:
            break
        page.append(_facts(one))
        if len(page) == _PAGE:
            yield page
            page = []
    yield page


def _facts(one: May) -> dict[str, object]:
    ref = one.ref
    return {
        "actor": one.actor,
        "kind": None if ref is None else ref.kind,
        "name": None if ref is None else ref.name,
        "team": None if ref is None else ref.team,
        "actions": [action.value for action in one.actions],
        "policies": list(one.policies),
        "depends_on": list(one.depends_on),
    }
