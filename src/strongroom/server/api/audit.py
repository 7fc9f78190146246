"""
`/audit`: what happened, as far as the actor may see it.

Rules of this file:

1. One search, export or verification looks at what the service bounds; few of the long ones run at once, so
   that whoever reads the log keeps nobody from his work (facts DS08).
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from strongroom.audit.query import Filter, Place
from strongroom.errors import InvalidInputError
from strongroom.server.api.cursor import CURSORS
from strongroom.server.endpoint import Endpoint
from strongroom.server.exporting import exported
from strongroom.wire.audit import (
    AuditFilter,
    AuditPage,
    AuditQuery,
    AuditState,
    ExportQuery,
    HoldShape,
    RecordRow,
    RefOfRecord,
    RunQuery,
    SightingRow,
    Sightings,
    Verified,
)

if TYPE_CHECKING:
    from strongroom.audit import Record
    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.sightings import Sighting

__all__ = ["ENDPOINTS"]


def records(call: Call) -> AuditPage:
    """Give one page of the records asked for that the actor may see."""
    asked = call.asked(AuditQuery)
    position = CURSORS.read(call, "audit", asked.cursor)
    page = call.room.audit.query(
        _filter(asked),
        limit=asked.limit,
        start=None if position is None else Place(*(int(part) for part in position)),
        is_newest_first=asked.order == "desc",
    )
    cursor = None if page.next is None else CURSORS.write(call, "audit", list(page.next))
    return AuditPage(records=[_row(record) for record in page.records], cursor=cursor)


def state(call: Call) -> AuditState:
    """Tell how the log stands."""
    found = call.room.audit.state()
    hold = found.hold
    return AuditState(
        count=found.count,
        head=found.head,
        checkpoint=found.checkpoint,
        checkpoint_at=found.checkpoint_at,
        is_writable=found.is_writable,
        hold=None if hold is None else HoldShape(reason=hold.reason, actor=hold.actor, at=_moment(hold.at)),
        more=msgspec.to_builtins(dict(found.more), str_keys=True),
    )


def verify(call: Call) -> Verified:
    """Check every record and checkpoint; the answer names the first bad one."""
    found = call.room.audit.verify()
    return Verified(
        is_ok=found.is_ok,
        count=found.count,
        index=found.index,
        reason=found.reason,
        repairs=list(found.repairs),
        first=found.first,
        signed=found.signed,
        checkpoints=found.checkpoints,
        witnesses=list(found.witnesses),
    )


def export(call: Call) -> Answer:
    """Give the records asked for that the actor may see, oldest first, as a file."""
    asked = call.asked(ExportQuery)
    return exported(call, asked.format, _filter(asked))


def run(call: Call) -> Sightings:
    """Tell what a run saw: which entries its tasks asked for, and what they were given."""
    asked = call.asked(RunQuery)
    position = CURSORS.read(call, "audit-run", asked.cursor)
    found = call.room.audit.sightings(
        asked.run,
        dag=asked.dag,
        task=asked.task,
        start=None if position is None else Place(*(int(part) for part in position)),
    )
    cursor = None if found.next is None else CURSORS.write(call, "audit-run", list(found.next))
    return Sightings(sightings=[_sighting(one) for one in found.rows], cursor=cursor)


def _sighting(one: Sighting) -> SightingRow:
    return SightingRow(
        kind=one.kind,
        name=one.name,
        team=one.team,
        outcome=one.outcome,
        version=one.version,
        backend=one.backend,
        dag=one.dag,
        task=one.task,
        uses=one.uses,
        first_at=one.first_at,
        last_at=one.last_at,
        level=f"L{one.assurance}",
        actor=one.actor,
    )


def _filter(asked: AuditFilter) -> Filter:
    return Filter(
        since=_utc(asked.since, "since"),
        until=_utc(asked.until, "until"),
        actor=asked.actor,
        action=asked.action,
        outcome=asked.outcome,
        kind=asked.kind,
        name=asked.name,
        team=asked.team,
        dag=asked.dag,
        task=asked.task,
        run=asked.run,
        text=asked.text,
    )


def _utc(moment: datetime | None, name: str) -> datetime | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise InvalidInputError(f"the parameter {name} has no time zone", hint="2026-12-31T00:00:00Z")
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        pass
    raise InvalidInputError(f"the parameter {name} is out of range")


def _row(record: Record) -> RecordRow:
    return RecordRow(
        seq=record.seq,
        at=_moment(record.at) or datetime.fromtimestamp(0, timezone.utc),
        actor=record.actor,
        assurance=record.assurance,
        level=f"L{record.assurance}",
        action=record.action,
        outcome=record.outcome,
        hash=record.hash,
        prev=record.prev,
        kind=record.kind,
        name=record.name,
        team=record.team,
        reason=record.reason,
        backend=record.backend,
        version=record.version,
        request=record.request,
        source=record.source,
        run=None if record.run is None else dict(record.run),
        policies=list(record.policies),
        count=record.count,
        since=record.since,
        until=record.until,
        refs=[RefOfRecord(**ref._asdict()) for ref in record.refs],
        agent=None if record.agent is None else dict(record.agent),
    )


def _moment(text: str) -> datetime | None:
    """Give the time a record says; None where it says none, as a damaged one may."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


ENDPOINTS = (
    Endpoint(
        "GET",
        "/audit",
        records,
        "List records",
        "audit",
        asks=AuditQuery,
        gives=AuditPage,
        cost=5.0,
    ),
    Endpoint(
        "GET", "/audit/run", run, "Tell what a run saw", "audit", asks=RunQuery, gives=Sightings, cost=5.0
    ),
    Endpoint("GET", "/audit/state", state, "Tell how the log stands", "audit", gives=AuditState),
    Endpoint(
        "POST",
        "/audit/verify",
        verify,
        "Prove the log whole",
        "audit",
        gives=Verified,
        cost=50.0,
    ),
    Endpoint(
        "GET",
        "/audit/export",
        export,
        "Hand records over as a file",
        "audit",
        asks=ExportQuery,
        stream=True,
        cost=50.0,
    ),
)
