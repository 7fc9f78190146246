"""
What a run saw: the records of its uses, told by task and entry.

Not for finding records (`audit.py` does, and decides who may look).

Rules of this file:

1. One sighting is one entry in one version as one task was answered, and how; however many records tell of
   it, it is told once.
2. A record that counted uses stands for all of them, from its first to its last.
3. A run is what was said, by whom it stands beside, and how well that was proven: nothing here proves more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from strongroom.audit import Record
    from strongroom.audit.query import Place

__all__ = ["Sighting", "Sightings", "sightings_of"]

_USES = ("read", "reveal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """
    One entry as one task was answered.

    Args:
        actor: who asked for the run.
        team: whose name was asked for; None for the global one.
        outcome: found, absent, denied, unavailable or invalid.
        version: that was given, as far as it was told.
        backend: that answered.
        dag, task: of the run, as far as it was said.
        uses: how often.
        first_at, last_at: when; text as in `Record.at`.
        assurance: how well the run was proven the last time.
        policies: that decided the last time.
        seq: number of the newest record.
    """

    actor: str
    kind: str
    name: str
    team: str | None
    outcome: str
    version: str | None
    backend: str | None
    dag: str | None
    task: str | None
    uses: int
    first_at: str
    last_at: str
    assurance: int
    policies: tuple[str, ...]
    seq: int


class Sightings(NamedTuple):
    """
    What a run saw, as far back as was looked.

    Args:
        rows: in the order of first use.
        next: where older records go on; None where everything on record was looked at.
    """

    rows: tuple[Sighting, ...]
    next: Place | None = None


def sightings_of(records: Iterable[Record], after: Place | None = None) -> Sightings:
    """
    Tell what was seen in *records*, all of them of one run.

    Args:
        records: newest first; those of other acts than uses are passed over.
        after: where older ones go on.
    """
    found: dict[tuple[object, ...], Sighting] = {}
    for record in records:
        for one in _seen(record) if record.action in _USES else ():
            key = (one.actor, one.kind, one.name, one.team, one.outcome, one.version, one.dag, one.task)
            known = found.get(key)
            found[key] = one if known is None else _joined(known, one)
    return Sightings(tuple(sorted(found.values(), key=lambda one: (one.first_at, one.name))), after)


def _joined(newer: Sighting, older: Sighting) -> Sighting:
    return replace(
        newer,
        uses=newer.uses + older.uses,
        first_at=min(newer.first_at, older.first_at),
        last_at=max(newer.last_at, older.last_at),
    )


def _seen(record: Record) -> Iterator[Sighting]:
    run = record.run or {}
    uses = [
        (ref.kind, ref.name, ref.team, ref.outcome, ref.version, ref.backend, ref.uses) for ref in record.refs
    ]
    if not uses and record.kind is not None and record.name is not None:
        own = (record.kind, record.name, record.team, record.outcome, record.version, record.backend)
        uses = [(*own, record.count or 1)]
    for kind, name, team, outcome, version, backend, count in uses:
        yield Sighting(
            actor=record.actor,
            kind=kind,
            name=name,
            team=team,
            outcome=outcome,
            version=version,
            backend=backend,
            dag=_text(run, "dag_id"),
            task=_text(run, "task_id"),
            uses=count,
            first_at=record.since or record.at,
            last_at=record.until or record.at,
            assurance=int(run.get("assurance", 0)),
            policies=record.policies,
            seq=record.seq,
        )


def _text(members: Mapping[str, object], name: str) -> str | None:
    found = members.get(name)
    return found if isinstance(found, str) else None
