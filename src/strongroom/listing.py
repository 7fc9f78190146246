"""
List what several backends hold as one: ordered by name, a page at a time, without values.

Not for who may see a name (`service/inventory.py`).

Rules of this file:

1. The backend that would answer comes first, in the order of the chain; the others are shadowed.
2. A backend is listed only for names it would be asked for.
3. Trouble in one backend ends that backend's part and is told; the others are listed all the same.
4. Nothing is read ahead beyond the page that was asked for.

Source: docs/design.md, "Looking something up", rule 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import merge
from itertools import groupby, islice
from typing import TYPE_CHECKING

from strongroom.backend import Listable
from strongroom.errors import StrongroomError
from strongroom.model.entry import Summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.chain import Chain, Link
    from strongroom.model.ref import Kind, Ref

__all__ = ["Line", "Page", "merged", "not_listable"]

_PAGE = 1000  # summaries asked of a backend at once, at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    One name of a listing.

    Args:
        summary: from the backend that answers.
        shadowed: the summaries of those further down that hold the name too, in order.
    """

    summary: Summary
    shadowed: tuple[Summary, ...] = ()

    @property
    def ref(self) -> Ref:
        """The Ref that is held."""
        return self.summary.ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """
    Part of a listing.

    Args:
        lines: ordered by name; as many as the limit when there may be more after the last.
        trouble: (backend, why) of those that could not be listed to the end: their names may be
            missing, and names they would answer for may stand under another backend.
    """

    lines: tuple[Line, ...]
    trouble: tuple[tuple[str, str], ...] = ()


def not_listable(chain: Chain) -> tuple[str, ...]:
    """Give the names of the backends that cannot tell what they hold."""
    return tuple(link.name for link in chain.links if not isinstance(link.backend, Listable))


def merged(
    chain: Chain,
    kind: Kind,
    *,
    team: str | None = None,
    prefix: str = "",
    after: str = "",
    limit: int = 1000,
) -> Page:
    """
    Give up to *limit* names of exactly this *kind* and *team*, those greater than *after* only.

    Ordered by code point, as every `Listable` lists. Never raises for trouble of a backend.
    """
    trouble: list[tuple[str, str]] = []
    asked = _Asked(chain, kind, team, prefix, min(limit, _PAGE))
    streams = [
        asked.stream(link, after, trouble) for link in chain.links if isinstance(link.backend, Listable)
    ]
    # Merging is stable: of equal names the one from the earlier backend comes first.
    together = groupby(merge(*streams, key=_name), key=_name)
    lines = []
    for _, group in islice(together, limit):
        first, *below = group
        lines.append(Line(summary=first, shadowed=tuple(below)))
    return Page(lines=tuple(lines), trouble=tuple(trouble))


def _name(summary: Summary) -> str:
    return summary.ref.name


class _Asked:
    """What is listed, the same for every backend."""

    def __init__(self, chain: Chain, kind: Kind, team: str | None, prefix: str, limit: int) -> None:
        self._chain = chain
        self._kind = kind
        self._team = team
        self._prefix = prefix
        self._limit = limit

    def stream(self, link: Link, after: str, trouble: list[tuple[str, str]]) -> Iterator[Summary]:
        """Yield what *link* would be asked for, page by page, until it ends or is in trouble."""
        while True:
            try:
                page = self._page(link, after)
            except StrongroomError as error:
                trouble.append((link.name, str(error)))
                return
            for summary in page:
                if summary.ref.name <= after:
                    # A merge of unordered streams would be wrong, and paging might never end.
                    trouble.append((link.name, f"the backend {link.name} does not list in order"))
                    return
                after = summary.ref.name
                if link.why_not(summary.ref) is None and not summary.is_deleted:
                    yield summary
            if len(page) < self._limit:
                return

    def _page(self, link: Link, after: str) -> list[Summary]:
        backend = link.backend
        if not isinstance(backend, Listable):
            return []
        return self._chain.ask(
            link,
            lambda: backend.list(
                self._kind, team=self._team, prefix=self._prefix, after=after, limit=self._limit
            ),
        )
