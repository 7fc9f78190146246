"""
List what several backends hold as one, ordered by name, without values.

Not for who may see a name (`service/inventory.py`).

Rules of this file:

1. The backend that would answer comes first, in the order of the chain; the others are shadowed.
2. A backend is listed only for names it would be asked for.
3. Backends are asked a page at a time, and only as far as somebody reads on.

Source: docs/design.md, "Looking something up", rule 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import merge
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from strongroom.backend import Listable
from strongroom.errors import BackendUnavailableError, StrongroomError
from strongroom.model.entry import Summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.chain import Chain, Link
    from strongroom.model.ref import Kind, Ref

__all__ = ["Line", "Listing", "not_listable"]


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


def not_listable(chain: Chain) -> tuple[str, ...]:
    """Give the names of the backends that cannot tell what they hold."""
    return tuple(link.name for link in chain.links if not isinstance(link.backend, Listable))


class Listing:
    """
    The names of one kind and team in every backend of *chain* that can list.

    Args:
        chain: asked link by link, each on its own threads and within its timeout.
        kind: exactly this kind.
        team: exactly this team's names, or the global ones.
        prefix: only names that begin so.
        page: summaries asked of a backend at once.
        on_trouble: told the name of a backend and why it could not be listed to the end; the others
            are listed all the same, but names the silent one would answer for may stand under
            another. Unsaid, trouble is raised.
    """

    def __init__(
        self,
        chain: Chain,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        page: int = 1000,
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
    ) -> None:
        self._chain = chain
        self._kind = kind
        self._team = team
        self._prefix = prefix
        self._page_size = page
        self._on_trouble = on_trouble

    def after(self, name: str = "") -> Iterator[Line]:
        """
        Yield the names greater than *name*, ordered by code point, each once.

        Raises:
            BackendUnavailableError, AccessDeniedError: a backend could not be listed, and nobody is
                told of trouble instead.
        """
        streams = [
            self._stream(link, link.backend, name)
            for link in self._chain.links
            if isinstance(link.backend, Listable)
        ]
        # Merging is stable: of equal names the one from the earlier backend comes first.
        for _, group in groupby(merge(*streams, key=_name), key=_name):
            first, *below = group
            yield Line(summary=first, shadowed=tuple(below))

    def _stream(self, link: Link, backend: Listable, after: str) -> Iterator[Summary]:
        while True:
            try:
                page = self._page(link, backend, after)
            except StrongroomError as error:
                if self._on_trouble is None:
                    raise
                self._on_trouble(link.name, error)
                return
            yield from (one for one in page if link.why_not(one.ref) is None and not one.is_deleted)
            if len(page) < self._page_size:
                return
            after = page[-1].ref.name

    def _page(self, link: Link, backend: Listable, after: str) -> list[Summary]:
        page = self._chain.ask(
            link,
            lambda: backend.list(
                self._kind, team=self._team, prefix=self._prefix, after=after, limit=self._page_size
            ),
        )
        names = [after, *(one.ref.name for one in page)]
        if any(before >= name for before, name in pairwise(names)):
            # A merge of unordered streams would be wrong, and paging might never end.
            raise BackendUnavailableError(
                f"the backend {link.name} does not list its names in order", backend=link.name
            )
        return page


def _name(summary: Summary) -> str:
    return summary.ref.name
