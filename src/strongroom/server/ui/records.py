"""Records of the audit log as people read them: when, who, what, from where, how it ended."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from strongroom.model.principal import LOCAL, PERSON
from strongroom.server.ui.texts import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.audit import Record
    from strongroom.audit.record import RefUse

__all__ = ["Line", "line_of", "moment", "name_of"]

_GOOD = frozenset({"found", "done"})
_BAD = frozenset({"denied", "failed", "invalid"})
_MOST_REFS = 3  # named of a batch


class Line(NamedTuple):
    """
    One record.

    Args:
        seq: its number.
        at: when; None where it says none.
        who: the actor, or the DAG and task it acted for.
        actor: as it is on record.
        act: the word of the action.
        uses: how many it stands for.
        refs: entries it is about: kind, name, team; the first few.
        more: how many further ones.
        origin: from where, by what, or why.
        level: how well who or which run was proven: `L1`.
        kind: of the mark (`parts/ui.html`).
        outcome: how it ended, in a word.
        policies: that decided.
        mark: the beginning of its hash.
        is_refused: it was denied.
    """

    seq: int
    at: datetime | None
    who: str
    actor: str
    act: str
    uses: int
    refs: tuple[RefUse, ...]
    more: int
    origin: str
    level: str
    kind: str
    outcome: str
    policies: tuple[str, ...]
    mark: str
    is_refused: bool


def line_of(record: Record) -> Line:
    """Give *record* as one line."""
    refs = record.refs or _own(record)
    run = record.run or {}
    return Line(
        seq=record.seq,
        at=moment(record.at),
        who=_who(record, run),
        actor=record.actor,
        act=record.action,
        uses=record.count or 1,
        refs=tuple(refs[:_MOST_REFS]),
        more=max(0, len(refs) - _MOST_REFS),
        origin=_origin(record, run),
        level=f"L{run.get('assurance', record.assurance)}",
        kind="ok" if record.outcome in _GOOD else "bad" if record.outcome in _BAD else "unknown",
        outcome=str(say(f"audit.outcome_{record.outcome}"))
        if record.outcome in _OUTCOMES
        else record.outcome,
        policies=record.policies,
        mark=f"{record.hash[:4]} {record.hash[4:8]}",
        is_refused=record.outcome == "denied",
    )


_OUTCOMES = frozenset(
    {"found", "absent", "denied", "unavailable", "invalid", "begun", "done", "failed", "mixed"}
)


def _own(record: Record) -> tuple[RefUse, ...]:
    from strongroom.audit.record import RefUse  # noqa: PLC0415 -- beside its type

    if record.kind is None or record.name is None:
        return ()
    return (RefUse(record.kind, record.name, record.team, record.outcome, record.version, record.backend),)


def _who(record: Record, run: Mapping[str, object]) -> str:
    if run.get("dag_id"):
        task = f" / {run['task_id']}" if run.get("task_id") else ""
        return f"{run['dag_id']}{task}"
    return name_of(record.actor)


def _origin(record: Record, run: Mapping[str, object]) -> str:
    """Say from where it came, or why: what tells most of it first."""
    agent = record.agent or {}
    said = []
    if run.get("dag_id"):
        said.append(name_of(record.actor))
    if agent.get("user"):
        said.append(str(say("audit.as_user", user=agent["user"])))
    if run.get("run_id"):
        said.append(str(run["run_id"]))
    if record.reason and record.outcome != "denied":
        said.append(f"“{record.reason}”" if record.action == "reveal" else record.reason)
    if record.reason and record.outcome == "denied":
        said.append(record.reason)
    if not said and record.version:
        said.append(str(say("audit.version", version=record.version, backend=record.backend or "")))
    if record.source and len(said) < 2:  # noqa: PLR2004 -- more has no room
        said.append(record.source)
    return " · ".join(said)


def name_of(actor: str) -> str:
    """Give an actor as people call him: a person by his name, anything else by its kind, too."""
    if actor.startswith(PERSON):
        return actor.removeprefix(PERSON)
    kind, _, name = actor.partition(":")
    if actor.startswith(LOCAL):
        return str(say("audit.local_user", number=name))
    return f"{kind} {name}" if name else actor


def moment(text: str) -> datetime | None:
    """Give the time a record says; None where it says none, as a damaged one may."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None
