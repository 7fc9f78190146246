"""What is not as it should be, and what to type about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Doctor", "Finding"]

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing the doctor looked at.

    Args:
        what: what was found; names files, backends and entries, never values.
        fix: what to type or change; "" where nothing needs doing.
    """

    level: Level
    what: str
    fix: str = ""


class Doctor:
    """Examine the room as one actor."""

    def run(self) -> list[Finding]:
        """Give all findings, worst first. Never raises for trouble that it can report."""
        raise NotImplementedError
