"""
How a lookup ended and why, as plain values for tables and JSON: never the secret.

Not for looking up: that is `chain.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from strongroom.model.entry import Entry

__all__ = ["Explanation", "Outcome", "Remembered", "Step"]


class Outcome(str, Enum):
    """How a question to a backend, or a whole lookup, ended: always exactly one."""

    FOUND = "found"
    ABSENT = "absent"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """
    What a cache holds for a Ref.

    Args:
        backend: where it came from; None for a remembered absence.
        age: since it was asked for.
        is_fresh: False when it would only be served in an outage.
    """

    backend: str | None
    version: str | None
    age: timedelta
    is_fresh: bool

    def is_of(self, entry: Entry) -> bool:
        """Tell whether *entry* is the one remembered, by backend and version."""
        return self.backend == entry.backend and self.version == entry.version

    def to_dict(self) -> dict[str, object]:
        """Give plain JSON types; the age in seconds."""
        return {
            "backend": self.backend,
            "version": self.version,
            "age_seconds": self.age.total_seconds(),
            "fresh": self.is_fresh,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    One question of an explained lookup.

    Args:
        ref: what was asked for: the team's Ref or the global one.
        age: how long ago the backend read it.
        is_cached: this entry, in this version, is what the cache holds.
        is_shadowed: a higher backend answers instead.
        reason: what went wrong, or empty.
        place: how the backend spells what was asked for, `AIRFLOW_CONN_ORDERS_DB`; "" where it has none.
    """

    backend: str
    ref: Ref
    outcome: Outcome
    milliseconds: float
    version: str | None = None
    age: timedelta | None = None
    is_cached: bool = False
    is_shadowed: bool = False
    reason: str = ""
    place: str = ""

    def to_dict(self) -> dict[str, object]:
        """Give plain JSON types; the age in seconds, the milliseconds with three decimals."""
        return {
            "backend": self.backend,
            "team": self.ref.team,
            "outcome": self.outcome.value,
            "milliseconds": round(self.milliseconds, 3),
            "version": self.version,
            "age_seconds": None if self.age is None else self.age.total_seconds(),
            "cached": self.is_cached,
            "shadowed": self.is_shadowed,
            "reason": self.reason,
            "place": self.place,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """
    How a lookup went, asked anew past the cache: never the value.

    Args:
        outcome: of the whole lookup.
        backend: the one that answered or stopped it; None where nobody had it.
        steps: every question, in order; after the answer those to backends that hold it too.
        not_asked: (backend, why) of the links that were passed over.
        remembered: what the cache would answer meanwhile, or None when it holds nothing.
        policies: ids of the policies that decided, filled in by the service.
        references: how each entry that this one refers to would be looked up, in order, for the reader
            whose lookup is explained; one that stands above it, or was told before, is told without its own.
        reason: why the outcome is not that of the backend that answered, or empty.
        may_read: whether the reader whose lookup is explained may read it; None where nobody decided.
        decision: why, in one clause; filled in with *policies*.
        decided_ms: how long that took to decide.
    """

    ref: Ref
    outcome: Outcome
    backend: str | None
    version: str | None = None
    steps: tuple[Step, ...] = ()
    not_asked: tuple[tuple[str, str], ...] = ()
    remembered: Remembered | None = None
    policies: tuple[str, ...] = ()
    references: tuple[Explanation, ...] = ()
    reason: str = ""
    may_read: bool | None = None
    decision: str = ""
    decided_ms: float | None = None

    @property
    def asked(self) -> tuple[tuple[str, str], ...]:
        """(backend, outcome) in the order asked, as `NotFoundError` carries it."""
        return tuple((step.backend, step.outcome.value) for step in self.steps)

    @property
    def shadows(self) -> tuple[str, ...]:
        """Names of the backends whose entry the answer hides."""
        return tuple(dict.fromkeys(step.backend for step in self.steps if step.is_shadowed))

    def to_dict(self) -> dict[str, object]:
        """Give plain JSON types."""
        return {
            "kind": self.ref.kind,
            "name": self.ref.name,
            "team": self.ref.team,
            "outcome": self.outcome.value,
            "backend": self.backend,
            "version": self.version,
            "shadows": list(self.shadows),
            "policies": list(self.policies),
            "may_read": self.may_read,
            "decision": self.decision,
            "reason": self.reason,
            "references": [one.to_dict() for one in self.references],
            "remembered": None if self.remembered is None else self.remembered.to_dict(),
            "steps": [step.to_dict() for step in self.steps],
            "not_asked": [{"backend": backend, "reason": reason} for backend, reason in self.not_asked],
        }
