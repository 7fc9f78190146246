"""
What happened: an append-only, hash-chained file of canonical JSON, shared by processes.

Not for values: a record names what was asked for and how it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

__all__ = ["AuditLog", "Event", "Record", "Verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    What is to be recorded; the log adds number, time and chain.

    Args:
        action: the word of the action.
        kind, name, team: what was asked for; None where the act is about the whole room.
        outcome: found, absent, denied, unavailable, invalid, begun, done or failed.
        reason: why it was done or refused; at most 500 characters are kept.
    """

    actor: str
    assurance: int
    action: str
    outcome: str
    kind: str | None = None
    name: str | None = None
    team: str | None = None
    reason: str = ""
    backend: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Event):
    """
    One line of the log.

    Args:
        seq: number of the record, from 0, without gaps.
        at: wall clock, UTC, as `2026-01-31T12:00:00.000000Z`.
        prev: hash of the record before, 64 hexadecimal digits; zeros for the first.
        hash: SHA-256 of the canonical JSON of everything else in the record.
    """

    seq: int
    at: str
    deployment: str
    prev: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    How a verification ended.

    Args:
        count: good records from the start.
        index: number of the first bad record, or None.
        reason: what is wrong there, or "".
        repairs: numbers of the records that tell of a repaired torn tail.
    """

    is_ok: bool
    count: int
    index: int | None = None
    reason: str = ""
    repairs: tuple[int, ...] = ()


class AuditLog:
    """
    The log in one folder.

    Threads and processes: any number may append at once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        deployment: str,
        clock: Callable[[], datetime],
        segment_bytes: int = 67_108_864,  # 64 MiB
    ) -> None:
        self.folder = folder
        self._deployment = deployment
        self._clock = clock
        self._segment_bytes = segment_bytes
