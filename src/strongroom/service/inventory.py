"""What there is: every name in every backend that can list, a page at a time, without values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from strongroom.model.entry import Metadata
from strongroom.model.ref import Kind, Ref

__all__ = ["Clash", "Inventory", "Row"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One name of the inventory.

    Args:
        backend: the one that answers for it.
        shadowed: backends further down that hold it too.
    """

    ref: Ref
    backend: str
    shadowed: tuple[str, ...] = ()
    version: str | None = None
    changed_at: datetime | None = None
    metadata: Metadata = Metadata()


@dataclass(frozen=True, slots=True)
class Clash:
    """
    Names that one backend cannot keep apart.

    Args:
        spelling: how *backend* spells all of them.
    """

    backend: str
    refs: tuple[Ref, ...]
    spelling: str


class Inventory:
    """List names as one actor. Threads: may be used from several threads at once."""

    def page(
        self,
        kind: Kind | None = None,
        *,
        team: str | None = None,
        prefix: str = "",
        after: Ref | None = None,
        limit: int = 1000,
    ) -> list[Row]:
        """
        Give up to *limit* rows ordered by kind and name, those after the ref *after* only.

        Args:
            kind: one kind, or None for connections and variables.
            team: exactly this team's names, or the global ones.
        """
        raise NotImplementedError(kind, team, prefix, after, limit)

    def clashes(self) -> list[Clash]:
        """Give the names that a backend of the chain spells alike (`AIRFLOW_CONN_X` for `x` and `X`)."""
        raise NotImplementedError

    @property
    def not_listable(self) -> tuple[str, ...]:
        """Names of the backends that cannot tell what they hold."""
        raise NotImplementedError
