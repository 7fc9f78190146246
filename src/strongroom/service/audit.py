"""The audit trail as a use case: look at its end, prove it whole."""

from __future__ import annotations

from pathlib import Path

from strongroom.audit import Record, Verdict

__all__ = ["AuditTrail"]


class AuditTrail:
    """Look at the audit log as one actor."""

    @property
    def folder(self) -> Path:
        """Where the log is kept."""
        raise NotImplementedError

    def tail(self, n: int = 20) -> list[Record]:
        """Give the last *n* records, oldest first; reads from the end, whatever the size of the log."""
        raise NotImplementedError(n)

    def verify(self) -> Verdict:
        """Check every record; the verdict names the index of the first bad one. Works offline."""
        raise NotImplementedError
