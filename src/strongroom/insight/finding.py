"""
What the doctor says: findings, each of a kind that docs/doctor.md explains.

Not for looking (`hygiene.py`, `airflow.py`, `cloud.py`, `settings/`, `service/doctor.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LEVELS", "NAMES", "Finding", "Level", "Surroundings", "failed", "named"]

Level = Literal["ok", "note", "warning", "error"]

LEVELS: tuple[Level, ...] = ("error", "warning", "note", "ok")
"""Worst first."""

NAMES = (
    "agent-trouble", "audit-log", "backend-trouble", "check-failed", "clash", "connection-lint",
    "empty-fernet-key", "ending-certificate", "ending-token", "expired-entry", "expiring-entry",
    "falls-through", "follows-links", "key-beside-store", "literal-in-dag", "literal-in-image", "local-owner",
    "long-absent-ttl", "long-revoke-bound", "long-stale", "long-ttl", "missing-extra", "no-store",
    "not-listable",
    "owned-by-another", "plain-http", "plain-text-metastore", "readable-by-others", "reminder-due",
    "room-closed", "scan-incomplete", "secret-in-environment", "secret-in-git", "settings-file",
    "shadowed", "single-key", "static-cloud-key", "tampered-entry", "tls-unverified",
    "token-in-backend-kwargs", "unparsable-entry", "vault-token-in-environment", "wrong-fernet-key",
)  # fmt: skip
"""Every kind of finding, each a section of docs/doctor.md. Names are kept: scripts select by them."""

_MAX_NAMED = 10  # names spelled out in one finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One thing the doctor looked at.

    Args:
        name: its kind, one of `NAMES`; an `ok` bears the name of what it rules out.
        what: what was found; names files, backends and entries, never values.
        fix: what to type or change; "" where nothing needs doing.
    """

    name: str
    level: Level
    what: str
    fix: str = ""

    @property
    def docs(self) -> str:
        """Where it is explained, in the documentation that comes with the source."""
        return f"docs/doctor.md#{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """
    What stands around a room: all that the doctor looks at outside of it.

    Args:
        environ: the environment of this process; other people's processes are not looked at.
        cwd: the project's folder.
        home: the user's home.
    """

    environ: Mapping[str, str] = field(repr=False)
    cwd: Path
    home: Path


def failed(level: Level, what: str, fix: str = "") -> Finding:
    """Give the finding that something could not be looked at."""
    return Finding(name="check-failed", level=level, what=what, fix=fix)


def named(names: Iterable[str]) -> str:
    """Give *names* in a row, the first ten and how many more."""
    every = list(names)
    more = f" and {len(every) - _MAX_NAMED} more" if len(every) > _MAX_NAMED else ""
    return ", ".join(every[:_MAX_NAMED]) + more
