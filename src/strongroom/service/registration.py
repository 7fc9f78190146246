"""
One line of the register: how it is, when that changes by time alone, and what it is found and ordered by.

Not for which lines there are (`register.py`). All of it is decided from the line and the time.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from strongroom.model.entry import EntryState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.model.entry import Metadata
    from strongroom.service.inventory import Row

__all__ = ["ATTENTION", "HEALTHS", "ORDERS", "VALUES", "Health", "Registration", "due_of", "health_of"]

Health = Literal["unreadable", "failed", "clash", "soon", "shadowed", "never", "unknown", "healthy"]
HEALTHS: tuple[Health, ...] = get_args(Health)
"""Of a line, the worst first."""
ATTENTION: tuple[Health, ...] = ("unreadable", "failed", "clash", "soon")
"""What somebody should look at."""

SOON = timedelta(days=30)  # before an end that is worth a look
_NEVER = timedelta(days=90)  # after which a first version was never rotated
_SEVERITY = {health: number for number, health in enumerate(HEALTHS)}
_LAST = datetime.max.replace(tzinfo=timezone.utc)


class Registration(NamedTuple):
    """
    One line of the register.

    Args:
        row: as of `Inventory`.
        health: the worst that is known of it.
        clash: the name it cannot be kept apart from.
        rank: of its backend in the chain, from 1.
    """

    row: Row
    health: Health
    rank: int
    clash: str | None = None

    @property
    def ends_at(self) -> datetime | None:
        """When it ends to be of use; None where nothing says so."""
        facts = self.row.metadata
        return min((one for one in (facts.not_after, facts.expires_at) if one is not None), default=None)

    @property
    def text(self) -> str:
        """What words are looked for in, without case."""
        row, facts = self.row, self.row.metadata
        tags = " ".join(f"#{tag}" for tag in facts.tags)
        parts = (row.ref.name, facts.owner or "", facts.conn_type or "", tags, facts.description or "")
        return "\n".join(parts).casefold()

    @property
    def place(self) -> tuple[object, ...]:
        """Where it stands in the order of names; no two lines share one."""
        ref = self.row.ref
        return (
            ref.name.casefold(),
            ref.name,
            ref.kind,
            ref.team or "",
            self.row.shadowed_by or "",
            self.rank,
        )


# --- how it is -------------------------------------------------------------------------------------


def health_of(row: Row, now: datetime, *, has_failed: bool, is_clashing: bool) -> Health:  # noqa: PLR0911 -- one each
    """
    Give the worst that is known of *row*.

    Args:
        row: a line.
        now: UTC.
        has_failed: its last test did, of this version.
        is_clashing: it cannot be kept apart from another name.
    """
    if row.shadowed_by is not None:
        return "shadowed"
    if not row.is_readable:
        return "unreadable"
    if has_failed:
        return "failed"
    if is_clashing:
        return "clash"
    if _is_soon(row.metadata, now):
        return "soon"
    if _is_first(row) and row.changed_at is not None and row.changed_at <= now - _NEVER:
        return "never"
    return "unknown" if row.state is EntryState.UNKNOWN else "healthy"


def due_of(row: Row, now: datetime) -> datetime | None:
    """Give when time alone will change what is said of *row*; None: never."""
    facts = row.metadata
    is_first = _is_first(row) and row.changed_at is not None
    if not is_first and facts.not_after is facts.expires_at is facts.remind_at is None:
        return None
    moments: list[datetime] = []
    for end in (facts.not_after, facts.expires_at):
        if end is not None:
            moments += [end] if end - now <= SOON else [end, end - SOON]
    if facts.remind_at is not None:
        moments.append(facts.remind_at)
    if _is_first(row) and row.changed_at is not None:
        moments.append(row.changed_at + _NEVER)
    return min((one for one in moments if one > now), default=None)


def _is_soon(facts: Metadata, now: datetime) -> bool:
    if facts.remind_at is not None and facts.remind_at <= now:
        return True
    limit = now + SOON
    return (facts.not_after is not None and facts.not_after <= limit) or (
        facts.expires_at is not None and facts.expires_at <= limit
    )


def _is_first(row: Row) -> bool:
    return row.ref.kind == "connection" and row.version == "1"


# --- what it is found and ordered by -----------------------------------------------------------------


def _version(line: Registration) -> tuple[int, int, str]:
    text = line.row.version
    if text is None:
        return (2, 0, "")
    return (0, int(text), "") if text.isdecimal() and len(text) < 10 else (1, 0, text)  # noqa: PLR2004 -- digits


VALUES: dict[str, Callable[[Registration], Sequence[str]]] = {
    "health": lambda line: (line.health,),
    "source": lambda line: (line.row.backend,),
    "kind": lambda line: (line.row.ref.kind,),
    "team": lambda line: (line.row.ref.team or "",),
    "type": lambda line: (line.row.metadata.conn_type or "",),
    "owner": lambda line: (line.row.metadata.owner or "",),
    "tag": lambda line: line.row.metadata.tags,
}
"""What a line says to each facet."""
ORDERS: dict[str, Callable[[Registration], object]] = {
    "source": lambda line: line.rank,
    "team": lambda line: line.row.ref.team or "",
    "owner": lambda line: (line.row.metadata.owner is None, line.row.metadata.owner or ""),
    "type": lambda line: line.row.metadata.conn_type or "",
    "version": _version,
    "age": lambda line: -(line.row.changed_at.timestamp() if line.row.changed_at else 0),
    "expires": lambda line: line.ends_at or _LAST,
    "health": lambda line: _SEVERITY[line.health],
}
"""By what lines are ordered, beside their place."""
