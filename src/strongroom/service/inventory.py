"""What there is: every name in every backend that can list, a page at a time, without values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from strongroom.listing import Listing, not_listable
from strongroom.model.entry import Metadata
from strongroom.model.ref import KINDS, Kind, Ref
from strongroom.policy import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from strongroom.chain import Chain
    from strongroom.errors import StrongroomError
    from strongroom.policy import Actor
    from strongroom.service.guard import Guard

__all__ = ["Clash", "Inventory", "Row"]

_PLAIN = Metadata()


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
    metadata: Metadata = _PLAIN


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


class _Wanted(NamedTuple):
    """Which rows are asked for, and who is told of trouble."""

    team: str | None = None
    prefix: str = ""
    after: Ref | None = None
    on_trouble: Callable[[str, StrongroomError], None] | None = None


def _pass_over(_backend: str, _error: StrongroomError) -> None:
    """Leave a backend out of a listing."""


class Inventory:
    """
    List names as one actor.

    Args:
        spellings: by the name of a backend, how it spells a Ref (None where it cannot); only of
            those whose convention may spell two names alike.

    Threads: may be used from several threads at once.
    """

    def __init__(
        self,
        chain: Chain,
        guard: Guard,
        actor: Actor,
        *,
        spellings: Mapping[str, Callable[[Ref], str | None]] | None = None,
    ) -> None:
        self._chain = chain
        self._guard = guard
        self._actor = actor
        self._spellings = spellings or {}

    def page(
        self,
        kind: Kind | None = None,
        *,
        team: str | None = None,
        prefix: str = "",
        after: Ref | None = None,
        limit: int = 1000,
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
    ) -> list[Row]:
        """
        Give up to *limit* rows ordered by kind and name.

        Args:
            kind: one kind, or None for all.
            team: exactly this team's names, or the global ones.
            prefix: only names that begin so.
            after: only what comes after this one.
            limit: rows at most.
            on_trouble: told the name of a backend that could not be listed, and why; the others are
                listed all the same. Unsaid, trouble is raised.

        Raises:
            BackendUnavailableError: a backend that can list gave no answer, and nobody is told instead.
        """
        rows = self._rows((kind,) if kind else KINDS, _Wanted(team, prefix, after, on_trouble))
        return self._guard.act(self._actor, Action.LIST, None, lambda: list(islice(rows, limit)))

    def clashes(self) -> list[Clash]:
        """
        Give the names that a backend of the chain spells alike (`AIRFLOW_CONN_X` for `x` and `X`).

        A backend that cannot be listed now is passed over: `doctor` and `page` tell its trouble.
        """
        rows = self._guard.act(
            self._actor, Action.LIST, None, lambda: list(self._rows(KINDS, _Wanted(on_trouble=_pass_over)))
        )
        return [clash for name, spell in self._spellings.items() for clash in _clashes(name, spell, rows)]

    @property
    def not_listable(self) -> tuple[str, ...]:
        """Names of the backends that cannot tell what they hold."""
        return not_listable(self._chain)

    def _rows(self, kinds: tuple[Kind, ...], wanted: _Wanted) -> Iterator[Row]:
        after = wanted.after
        for kind in sorted(kinds):
            if after is not None and kind < after.kind:
                continue
            start = after.name if after is not None and after.kind == kind else ""
            yield from self._rows_of(kind, start, wanted)

    def _rows_of(self, kind: Kind, after: str, wanted: _Wanted) -> Iterator[Row]:
        listing = Listing(
            self._chain, kind, team=wanted.team, prefix=wanted.prefix, on_trouble=wanted.on_trouble
        )
        for line in listing.after(after):
            yield Row(
                ref=line.ref,
                backend=line.summary.backend,
                shadowed=tuple(summary.backend for summary in line.shadowed),
                version=line.summary.version,
                changed_at=line.summary.changed_at,
                metadata=line.summary.metadata,
            )


def _clashes(name: str, spell: Callable[[Ref], str | None], rows: list[Row]) -> Iterator[Clash]:
    alike: dict[str, list[Ref]] = {}
    for row in rows:
        # A backend's own listing gives one name for each spelling; other backends' names tell the clash.
        spelling = spell(row.ref)
        if spelling is not None and {row.backend, *row.shadowed} != {name}:
            alike.setdefault(spelling, []).append(row.ref)
    for spelling, refs in alike.items():
        if len(refs) > 1:
            yield Clash(name, tuple(refs), spelling)
