"""
List what several backends hold as one, ordered by name, without values.

Not for who may see a name (`service/inventory.py`).

Rules of this file:

1. The backend that would answer comes first, in the order of the chain; the others are shadowed.
   A team's name is answered for as a lookup is: a global entry of a higher backend hides it.
2. A backend is listed only for names it would be asked for.
3. Backends are asked a page at a time, and only as far as somebody reads on. Those that leave the
   machine are asked for their first pages together.
4. A backend that folds names (`x` and `X` in an environment) is counted for every name it answers.

Source: docs/design.md, "Looking something up", rule 10.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from heapq import merge
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, TypeVar, cast

from strongroom.backend import Folding, Listable, Outlining
from strongroom.errors import BackendUnavailableError, StrongroomError
from strongroom.model.entry import EntryState, Summary
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from strongroom.backend import Backend
    from strongroom.chain import Chain, Link
    from strongroom.model.ref import Kind

__all__ = ["Line", "Listing", "not_listable"]

T = TypeVar("T")
Page = Callable[[str], list[Summary]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    One name of a listing.

    Args:
        ref: the name that was asked for, with its team.
        summary: of the entry that answers; for a team's name it may be the global one.
        shadowed: the summaries of those further down that hold the name too, in order.
    """

    ref: Ref
    summary: Summary
    shadowed: tuple[Summary, ...] = ()


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
        silent: names of backends that gave no answer and are not asked again; those found silent
            are added, so that several listings wait for each of them once.
    """

    def __init__(  # noqa: PLR0913 -- what is listed, and how trouble is met
        self,
        chain: Chain,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        page: int = 1000,
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
        silent: set[str] | None = None,
    ) -> None:
        self._chain = chain
        self._kind = kind
        self._team = team
        self._prefix = prefix
        self._page_size = page
        self._on_trouble = on_trouble
        self._rank = {link.name: number for number, link in enumerate(chain.links)}
        self._folding = [(link, link.backend) for link in chain.links if isinstance(link.backend, Folding)]
        self._silent = set() if silent is None else silent

    def after(self, name: str = "") -> Iterator[Line]:
        """
        Yield the names greater than *name*, ordered by code point, each once.

        Raises:
            BackendUnavailableError, AccessDeniedError: a backend could not be listed, and nobody is
                told of trouble instead.
        """
        asked = self._asked()
        streams = [
            self._stream(link, page, first)
            for (link, page), first in zip(asked, self._ahead(asked, name), strict=True)
        ]
        yield from self._merged(streams)

    def these(self, names: Sequence[str]) -> Iterator[Line]:
        """
        Yield those of *names* that there are, ordered as `after` does.

        Raises:
            BackendUnavailableError, AccessDeniedError: as `after`.
        """
        ordered = sorted(set(names))
        return self._merged(
            [self._stream_of(link, link.backend, ordered, team) for link, team in self._places()]
        )

    def _places(self) -> list[tuple[Link, str | None]]:
        """Give every backend that is listed, and whose names of it, in the order they are asked."""
        return [
            (link, team)
            for link in self._chain.links
            if isinstance(link.backend, Listable) and self._kind in link.kinds
            for team in self._teams(link)
        ]

    def _asked(self) -> list[tuple[Link, Page]]:
        return [
            (link, partial(self._page, link, cast("Listable", link.backend), team=team))
            for link, team in self._places()
        ]

    def _merged(self, streams: Sequence[Iterable[Summary]]) -> Iterator[Line]:
        # Merging is stable: of equal names the one from the earlier backend comes first.
        for _, group in groupby(merge(*streams, key=_name), key=_name):
            found = list(group)
            ref = next((one.ref for one in found if one.ref.team == self._team), None)
            if ref is not None:
                yield self._line(ref, self._with_folded(ref, found))

    def _teams(self, link: Link) -> tuple[str | None, ...]:
        """Give whose names of *link* count: a lookup for a team asks for the global name after its own."""
        return (None,) if self._team is None else (self._team, None) if link.team_fallback else (self._team,)

    def _line(self, ref: Ref, found: list[Summary]) -> Line:
        first, *below = found
        # A global entry below the team's own is what the team's stands in for; nothing of it is lost.
        shadowed = tuple(one for one in below if one.ref.team == ref.team)
        return Line(ref=ref, summary=first, shadowed=shadowed)

    def _with_folded(self, ref: Ref, found: list[Summary]) -> list[Summary]:
        """Add what a read of *ref* would meet in backends whose list gives it another name."""
        told = {(one.backend, one.ref.team) for one in found}
        more = [
            replace(held, ref=path)
            for link, backend in self._folding
            for path in link.paths(ref)
            if (link.name, path.team) not in told
            if (held := self._folded(link, backend, path)) is not None
        ]
        if not more:
            return found
        return sorted(found + more, key=lambda one: (self._rank[one.backend], one.ref.team is None))

    def _folded(self, link: Link, backend: Folding, ref: Ref) -> Summary | None:
        if link.why_not(ref) is not None or link.name in self._silent:
            return None
        return self._told(link, lambda: backend.folded(ref), None)

    def _ahead(self, asked: Sequence[tuple[Link, Page]], after: str) -> list[Callable[[], list[Summary]]]:
        """
        Give how to get each first page. Backends that leave the machine are asked for theirs at once, so
        that several slow ones are waited for together.
        """
        far = [link for link, _ in asked if not link.backend.is_local and link.name not in self._silent]
        if len(far) < 2:  # noqa: PLR2004 -- one alone need not be asked ahead
            return [partial(page, after) for _, page in asked]
        pool = ThreadPoolExecutor(len(far), thread_name_prefix="strongroom-listing")
        try:
            return [
                pool.submit(page, after).result if link in far else partial(page, after)
                for link, page in asked
            ]
        finally:
            pool.shutdown(wait=False)

    def _stream(self, link: Link, ask: Page, first: Callable[[], list[Summary]]) -> Iterator[Summary]:
        get = first
        while link.name not in self._silent:
            page = self._told(link, get, list[Summary]())
            for one in page:
                if link.why_not(one.ref) is None and not one.is_deleted:
                    yield _as_resolved(link, one)
            if len(page) < self._page_size:
                return
            get = partial(ask, page[-1].ref.name)

    def _stream_of(
        self, link: Link, backend: Backend, names: Sequence[str], team: str | None
    ) -> Iterator[Summary]:
        """Give what one backend holds of *names*, which are in order."""
        if link.name in self._silent:
            return
        work: Callable[[], Sequence[Summary]]
        if isinstance(backend, Outlining):
            named = partial(backend.named, self._kind, names, team=team)
            work = lambda: self._chain.ask(link, named)  # noqa: E731 -- as below
        else:
            assert isinstance(backend, Listable)  # noqa: S101 -- `_places` gives no other
            work = lambda: [one for name in names for one in self._one(link, backend, name, team)]  # noqa: E731 -- one line, called once
        nothing: Sequence[Summary] = ()
        for one in self._told(link, work, nothing):
            if link.why_not(one.ref) is None and not one.is_deleted:
                yield _as_resolved(link, one)

    def _one(self, link: Link, backend: Listable, name: str, team: str | None) -> list[Summary]:
        # Names come in order, so one that is a prefix of others comes first among them.
        found = self._chain.ask(link, lambda: backend.list(self._kind, team=team, prefix=name, limit=1))
        return [one for one in found if one.ref.name == name]

    def _told(self, link: Link, work: Callable[[], T], instead: T) -> T:
        """Do *work*; of its trouble whoever listens is told, and the answer is *instead*."""
        try:
            return work()
        except StrongroomError as error:
            if self._on_trouble is None:
                raise
            if isinstance(error, BackendUnavailableError):
                self._silent.add(link.name)
            self._on_trouble(link.name, error)
            return instead

    def _page(self, link: Link, backend: Listable, after: str, *, team: str | None) -> list[Summary]:
        page = self._chain.ask(
            link,
            lambda: backend.list(
                self._kind, team=team, prefix=self._prefix, after=after, limit=self._page_size
            ),
        )
        names = [after, *(one.ref.name for one in page)]
        if any(before >= name for before, name in pairwise(names)):
            # A merge of unordered streams would be wrong, and paging might never end.
            raise BackendUnavailableError(
                f"the backend {link.name} does not list its names in order", backend=link.name
            )
        return page


def _as_resolved(link: Link, summary: Summary) -> Summary:
    # A text with references (`"port": "${variable/port}"`) is judged when they are resolved, not before.
    if summary.state is EntryState.UNPARSABLE and (link.references or summary.metadata.references):
        return replace(summary, state=EntryState.UNKNOWN, problem="")
    return summary


def _name(summary: Summary) -> str:
    return summary.ref.name
