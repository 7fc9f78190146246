"""
Who used an entry: the records about it, told by run and by actor.

Not for finding records (`audit.py` does, and decides who may look).

Rules of this file:

1. One reader is one actor with one DAG and task, or without a run one actor alone; however many records tell
   of him, he is told once, with the newest of them.
2. A record that counted uses stands for all of them.
3. What was refused is told apart: whoever was refused last is not who uses the entry.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.audit import Record
    from strongroom.audit.query import Place
    from strongroom.model.ref import Ref

__all__ = ["Readership", "Usage", "readership"]

_GIVEN = ("found", "done")
_REFUSED = "denied"
_ACTS = ("read", "reveal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """
    One that used an entry, and how.

    Args:
        actor: who asked.
        action: `read`, or `reveal` for a person who saw it.
        dag_id, task_id: of the run he asked for, as far as it was said.
        assurance: how that, or without a run the actor, was proven: 0 to 4.
        team: whose name he asked for; None for the global one.
        uses: how often.
        last_at: when last; text as in `Record.at`.
        version: what he was given last, as far as it was told.
        source: the address he came from last.
        reason: why, as he said; "" of a read.
        outcome: of the last.
        seq: number of the last record.
    """

    actor: str
    action: str
    dag_id: str | None = None
    task_id: str | None = None
    assurance: int = 0
    team: str | None = None
    uses: int = 1
    last_at: str = ""
    version: str | None = None
    source: str | None = None
    reason: str = ""
    outcome: str = ""
    seq: int = 0


class Readership(NamedTuple):
    """
    Who used an entry, as far back as was looked.

    Args:
        readers: of those it was given to, whoever used it last first.
        refused: those it was denied, likewise.
        next: where to look further back; None where everything on record was looked at.
    """

    readers: tuple[Usage, ...]
    refused: tuple[Usage, ...]
    next: Place | None = None


def readership(records: Iterable[Record], ref: Ref, after: Place | None = None) -> Readership:
    """
    Tell who used *ref*.

    Args:
        records: about it, newest first; those of other acts are passed over.
        ref: whose uses.
        after: where older records go on.
    """
    given: dict[tuple[object, ...], Usage] = {}
    refused: dict[tuple[object, ...], Usage] = {}
    for record in records:
        one = _reader(record, ref)
        if one is None:
            continue
        group = given if one.outcome in _GIVEN else refused
        key = (one.actor, one.action, one.dag_id, one.task_id, one.team)
        known = group.get(key)
        group[key] = one if known is None else replace(known, uses=known.uses + one.uses)
    return Readership(tuple(given.values()), tuple(refused.values()), after)


def _reader(record: Record, ref: Ref) -> Usage | None:
    if record.action not in _ACTS:
        return None
    own = next((use for use in record.refs if (use.kind, use.name) == (ref.kind, ref.name)), None)
    outcome = record.outcome if own is None else own.outcome
    if outcome not in (*_GIVEN, _REFUSED):
        return None
    run = record.run or {}
    return Usage(
        actor=record.actor,
        action=record.action,
        dag_id=_text(run.get("dag_id")),
        task_id=_text(run.get("task_id")),
        assurance=int(run.get("assurance", record.assurance)),
        team=record.team if own is None else own.team,
        uses=(record.count or 1) if own is None else own.uses,
        last_at=record.until or record.at,
        version=record.version if own is None else own.version,
        source=record.source,
        reason=record.reason if record.action == "reveal" else "",
        outcome=outcome,
        seq=record.seq,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
