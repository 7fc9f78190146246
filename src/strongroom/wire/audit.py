"""Shapes of what happened: records, the state of the log, its verification."""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import Any, Literal

from strongroom.wire.shape import Asked, Given, Kind, Order, PageLimit

__all__ = [
    "AuditFilter",
    "AuditPage",
    "AuditQuery",
    "AuditState",
    "ExportQuery",
    "HoldShape",
    "RecordRow",
    "RefOfRecord",
    "RunQuery",
    "SightingRow",
    "Sightings",
    "Verified",
]


class AuditFilter(Asked, kw_only=True):
    """
    Which records.

    Args:
        since, until: when; the first counts in, the second does not.
        actor: who, exactly.
        action: the word in the record.
        outcome: the word in the record; of a batch that of one of its entries.
        kind: of the entry.
        name: of the entry, exactly; a batch has it if one of its entries has.
        team: of the entry; an empty text is the global names.
        dag, task, run: of the run it was asked for, exactly.
        text: stands somewhere in what the record says of who, what, why, from where and for which run.
    """

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    kind: Kind | None = None
    name: str | None = None
    team: str | None = None
    dag: str | None = None
    task: str | None = None
    run: str | None = None
    text: str | None = None


class RunQuery(Asked, kw_only=True):
    """
    Which run.

    Args:
        run: its id.
        dag: its DAG; unsaid, the runs of that id of every DAG.
        task: one of its tasks; unsaid, all.
        cursor: as the page before gave it.
    """

    run: str
    dag: str | None = None
    task: str | None = None
    cursor: str | None = None


class SightingRow(Given, kw_only=True):
    """
    One entry as one task of a run was answered.

    Args:
        outcome: found, absent, denied, unavailable or invalid.
        version: that it was given.
        uses: how often.
        first_at: when first.
        last_at: when last.
        level: how well the run was proven the last time: `L0` to `L2`.
        actor: who asked for the run.
    """

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
    level: str
    actor: str


class Sightings(Given, kw_only=True):
    """
    What a run was given, and what not.

    Args:
        cursor: where older records go on; None where everything on record was looked at.
    """

    sightings: list[SightingRow]
    cursor: str | None


class AuditQuery(AuditFilter, kw_only=True):
    """
    Which records, a page at a time.

    Args:
        limit: records at most.
        cursor: as the page before gave it.
        order: the newest first, unless `asc`.
    """

    limit: PageLimit = 100
    cursor: str | None = None
    order: Order = "desc"


class ExportQuery(AuditFilter, kw_only=True):
    """
    Which records, and in which form.

    Args:
        format: `jsonl` are the lines of the log themselves, which can be verified anywhere.
    """

    format: Literal["jsonl", "csv", "ocsf", "syslog"] = "jsonl"


class RefOfRecord(Given, kw_only=True):
    """One entry of a record about several."""

    kind: str
    name: str
    team: str | None
    outcome: str
    version: str | None
    backend: str | None
    uses: int


class RecordRow(Given, kw_only=True, omit_defaults=True):
    """
    One record.

    Args:
        seq: its number in the log.
        assurance: how strongly the actor's identity was proven.
        level: the same by its name: `L1`.
        request: id of the request it came by.
        source: the address it came from.
        run: what the request said of its run, and with what assurance.
        policies: ids of the policies that decided.
        count: it stands for so many uses that were counted and not recorded one by one.
        refs: of a batch.
        agent: where an agent acted: for which user of its host, and which record of its own log this was.
        hash: of its line; the next record names it as `prev`.
    """

    seq: int
    at: datetime
    actor: str
    assurance: int
    action: str
    outcome: str
    hash: str
    prev: str
    level: str = ""
    kind: str | None = None
    name: str | None = None
    team: str | None = None
    reason: str = ""
    backend: str | None = None
    version: str | None = None
    request: str | None = None
    source: str | None = None
    run: dict[str, str | bool | int] | None = None
    policies: list[str] = []
    count: int | None = None
    since: str | None = None
    until: str | None = None
    refs: list[RefOfRecord] = []
    agent: dict[str, str | int] | None = None


class AuditPage(Given, kw_only=True):
    """
    One page of the records the actor may see.

    Args:
        cursor: for the next page; None at the end. A page may be short, or empty, and have a next one.
    """

    records: list[RecordRow]
    cursor: str | None


class HoldShape(Given, kw_only=True):
    """A legal hold: nothing is let go of meanwhile."""

    reason: str
    actor: str
    at: datetime | None


class AuditState(Given, kw_only=True):
    """
    How the log stands.

    Args:
        count: records, those that were let go of included.
        head: hash of the last one.
        checkpoint: records that the last signed checkpoint covers; None where nothing was signed.
        is_writable: whether it can be appended to now.
        hold: the legal hold there is.
        more: witnesses, sinks and what is wrong with them, by their names.
    """

    count: int
    head: str | None
    checkpoint: int | None
    checkpoint_at: datetime | None
    is_writable: bool
    hold: HoldShape | None
    more: dict[str, Any] = {}


class Verified(Given, kw_only=True):
    """
    How a verification ended.

    Args:
        count: good records, from the first that is kept.
        index: number of the first bad record, or None.
        reason: what is wrong there, or empty.
        repairs: numbers of the records that tell of a torn end that was cut off after a crash.
        first: number of the first record that is kept.
        signed: records that good checkpoints cover.
        checkpoints: good checkpoints, those of witnesses included.
        witnesses: what was looked at beside the log itself.
    """

    is_ok: bool
    count: int
    index: int | None
    reason: str
    repairs: list[int]
    first: int
    signed: int
    checkpoints: int
    witnesses: list[str]
