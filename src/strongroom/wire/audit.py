"""Shapes of what happened: records, the state of the log, its verification."""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import Any, Literal

from strongroom.wire.shape import Asked, Given, Kind, Order, PageLimit

__all__ = ["AuditFilter", "AuditPage", "AuditQuery", "AuditState", "ExportQuery", "RecordRow", "Verified"]


class AuditFilter(Asked, kw_only=True):
    """
    Which records.

    Args:
        since, until: when.
        actor: who, exactly.
        name: of the entry, exactly.
    """

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    kind: Kind | None = None
    name: str | None = None
    team: str | None = None


class AuditQuery(AuditFilter, kw_only=True):
    """Which records, a page at a time, the newest first unless said otherwise."""

    limit: PageLimit = 100
    cursor: str | None = None
    order: Order = "desc"


class ExportQuery(AuditFilter, kw_only=True):
    """Which records, and in which form."""

    format: Literal["jsonl", "csv", "ocsf", "syslog"] = "jsonl"


class RecordRow(Given, kw_only=True):
    """
    One record.

    Args:
        seq: its number in the log.
        assurance: how the actor's identity was proven.
        more: what only some records have, as `request_id`, `count`, `policies`, `refs`.
    """

    seq: int
    at: datetime
    actor: str
    assurance: int
    action: str
    outcome: str
    kind: str | None
    name: str | None
    team: str | None
    reason: str
    backend: str | None
    version: str | None
    hash: str
    more: dict[str, Any] = {}


class AuditPage(Given, kw_only=True):
    """
    One page of records.

    Args:
        cursor: for the next page; None at the end.
    """

    records: list[RecordRow]
    cursor: str | None


class AuditState(Given, kw_only=True):
    """
    How the log stands.

    Args:
        count: records.
        head: hash of the last record.
        checkpoint: number of records the last signed checkpoint covers.
        more: witnesses and sinks, by their names.
    """

    count: int
    head: str | None
    checkpoint: int | None
    checkpoint_at: datetime | None
    is_writable: bool
    more: dict[str, Any] = {}


class Verified(Given, kw_only=True):
    """
    How a verification ended.

    Args:
        count: good records from the start.
        index: number of the first bad record, or None.
        reason: what is wrong there, or empty.
        repairs: numbers of the records that tell of a torn end that was cut off after a crash.
    """

    is_ok: bool
    count: int
    index: int | None
    reason: str
    repairs: list[int]
