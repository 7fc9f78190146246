"""The audit trail as a use case: look at its end, prove it whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.audit import AuditLog, Record, Verdict
from strongroom.policy import Action

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.policy import Actor
    from strongroom.service.guard import Guard

__all__ = ["AuditTrail", "Record", "Verdict"]


class AuditTrail:
    """Look at the audit log as one actor."""

    def __init__(self, log: AuditLog, guard: Guard, actor: Actor) -> None:
        self._log = log
        self._guard = guard
        self._actor = actor

    @property
    def folder(self) -> Path:
        """Where the log is kept."""
        return self._log.folder

    def close(self) -> None:
        """Let go of the log, where this trail was opened by itself. Safe to call twice."""
        self._log.close()

    def tail(self, n: int = 20) -> list[Record]:
        """Give the last *n* records, oldest first; reads from the end, whatever the size of the log."""
        return self._guard.act(self._actor, Action.DESCRIBE, None, lambda: self._log.tail(n))

    def verify(self) -> Verdict:
        """Check every record; the verdict names the index of the first bad one. Works offline."""
        return self._guard.act(self._actor, Action.DESCRIBE, None, self._log.verify)
