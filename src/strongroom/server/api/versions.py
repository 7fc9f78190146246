"""`/history`, `/diff`, `/rollback`, `/undelete`: the versions of an entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.server.api.asked import Condition, bounded, entry_of
from strongroom.server.api.shape import difference_of, version_of, written_of
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.wire.entry import (
    Difference,
    DiffQuery,
    EntryWritten,
    History,
    HistoryQuery,
    RollbackRequest,
)

if TYPE_CHECKING:
    from strongroom.model.ref import Ref
    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]


def history(call: Call) -> History:
    """Give the versions of an entry, newest first."""
    asked = call.asked(HistoryQuery)
    ref = entry_of(call, asked.team)
    versions = call.room.entries.history(ref, at=asked.at)
    return History(
        kind=ref.kind, name=ref.name, team=ref.team, versions=[version_of(info) for info in versions]
    )


def diff(call: Call) -> Difference:
    """Tell what differs between two versions, by fingerprint."""
    asked = call.asked(DiffQuery)
    ref = entry_of(call, asked.team)
    to = asked.to if asked.to is not None else _standing(call, ref, asked.at)
    return difference_of(call.room.entries.diff(ref, asked.from_, to, at=asked.at))


def _standing(call: Call, ref: Ref, at: str | None) -> str:
    """Give the version that stands; the newest one of what is deleted."""
    versions = call.room.entries.history(ref, at=at)
    return next((info.version for info in versions if info.is_current), versions[0].version)


def rollback(call: Call) -> Answer:
    """Write the value of an older version again, as a new version."""
    asked, body, condition = call.asked(HistoryQuery), call.take(RollbackRequest), Condition.of(call)
    ref, comment = entry_of(call, asked.team), bounded(body.comment, field="comment")
    seen, entries = condition.expected_version, call.room.entries
    written = condition.around(
        lambda: entries.rollback(ref, body.version, at=asked.at, seen=seen, comment=comment)
    )
    return Answer(written_of(ref, written), etag=written.version)


def undelete(call: Call) -> Answer:
    """Bring a softly deleted entry back."""
    asked = call.asked(HistoryQuery)
    ref = entry_of(call, asked.team)
    written = call.room.entries.undelete(ref, at=asked.at)
    return Answer(written_of(ref, written), etag=written.version)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/history/{kind}/{name:path}",
        history,
        "List the versions of an entry",
        "versions",
        asks=HistoryQuery,
        gives=History,
        errors=(404, 503),
    ),
    Endpoint(
        "GET",
        "/diff/{kind}/{name:path}",
        diff,
        "Tell what differs between two versions, without what is in them",
        "versions",
        asks=DiffQuery,
        gives=Difference,
        errors=(404, 502, 503),
        cost=2.0,
    ),
    Endpoint(
        "POST",
        "/rollback/{kind}/{name:path}",
        rollback,
        "Write the value of an older version again",
        "versions",
        takes=RollbackRequest,
        asks=HistoryQuery,
        gives=EntryWritten,
        errors=(404, 409, 412, 413, 415, 422, 502, 503),
        is_change=True,
    ),
    Endpoint(
        "POST",
        "/undelete/{kind}/{name:path}",
        undelete,
        "Bring a softly deleted entry back",
        "versions",
        asks=HistoryQuery,
        gives=EntryWritten,
        errors=(404, 409, 502, 503),
        is_change=True,
    ),
)
