"""
Long lists in any order, shared by all actors of a deployment and kept up to date.

Rules of this file:

1. A list is read once from end to end, without authenticating anything, and kept as a `Shelf`. From then on
   what changed in the store is looked up by name, and what other backends hold is read again when it was
   read some seconds ago.
2. What is given out of a list is looked up anew, authenticated and decided, by whoever gives it out
   (`inventory.py`): a place in an order says no more than where to look.
3. All shelves of a deployment together hold a bounded number of names; the one used longest ago goes first.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from functools import partial
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, cast

from strongroom.backend import Folding, Listable, Outlining
from strongroom.errors import BackendUnavailableError, InvalidInputError, StrongroomError
from strongroom.model.entry import Outline
from strongroom.model.ref import Ref
from strongroom.service.shelf import MAX_NAMES, Shelf, too_many
from strongroom.store.record import micros
from strongroom.store.rows import OUTLINE_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from strongroom.chain import Chain, Link
    from strongroom.model.entry import Summary
    from strongroom.model.ref import Kind
    from strongroom.service.changes import Feed

    Found = tuple[str, Outline]

__all__ = ["KEPT_SECONDS", "Kept", "Orders"]

KEPT_SECONDS = 15.0  # what changes in a place that tells us nothing is seen that much later
_PAGE = 1000  # names asked of a backend at once
_OUTLINES = 5000  # outlines asked of one at once
_MAX_CHANGES = 1000  # looked up one by one; after more of them the list is read anew
_MAX_TOGETHER = MAX_NAMES + MAX_NAMES // 2


class _Source(NamedTuple):
    """One backend of a list, and whose names of it."""

    link: Link
    team: str | None
    is_tracked: bool


class Kept:
    """
    One list: its shelf, and what it is made of.

    Attributes:
        shelf: the names in order.
        views: what is remembered of who sees which of them; goes with the shelf.
        answers: what is remembered of questions about them; each with the version it holds for.
    """

    def __init__(self, kind: Kind, team: str | None) -> None:
        self.kind = kind
        self.team = team
        self.lock = threading.RLock()
        self.shelf = Shelf(())
        self.views: OrderedDict[object, object] = OrderedDict()
        self.answers: OrderedDict[object, object] = OrderedDict()
        self.sequence = -1
        self.gaps = -1
        self.read_at = float("-inf")
        self.held: list[dict[str, Outline]] = []
        self.troubles: dict[str, StrongroomError] = {}
        self.refused_until = float("-inf")


class Orders:
    """
    The lists of one deployment in this process.

    Threads: may be used from several at once.

    Args:
        chain: whose names.
        feed: tells what changed in the store.
        tracked: names of the backends whose every change *feed* tells.
        clock: wall clock, UTC.
        timer: seconds that only go up.
    """

    def __init__(
        self,
        chain: Chain,
        feed: Feed,
        tracked: frozenset[str],
        *,
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chain = chain
        self._feed = feed
        self._tracked = tracked
        self._clock = clock
        self._timer = timer
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Kind, str | None], Kept] = OrderedDict()

    def of(
        self,
        kind: Kind,
        team: str | None = None,
        *,
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
    ) -> Kept:
        """
        Give the names of one kind, of exactly this team or the global ones, as they stand now.

        Args:
            kind: exactly this kind.
            team: exactly this team's names, or the global ones.
            on_trouble: as of `Inventory.page`.

        Raises:
            InvalidInputError: there are too many to put them in order.
            BackendUnavailableError: a backend could not be listed, and nobody is told instead.
        """
        self._feed.poll()  # a change of ours, or of another process, is seen in the very next list
        with self._lock:
            kept = self._kept.setdefault((kind, team), Kept(kind, team))
            self._kept.move_to_end((kind, team))
        with kept.lock:
            if self._timer() < kept.refused_until:
                raise too_many()
            try:
                self._bring_up_to_date(kept)
            except InvalidInputError:
                kept.refused_until = self._timer() + KEPT_SECONDS
                raise
            troubles = dict(kept.troubles)
        self._forget()
        for name, error in troubles.items():
            if on_trouble is None:
                raise error
            on_trouble(name, error)
        return kept

    def clear(self) -> None:
        """Forget every list: the backends stand in another order now, or are asked for other names."""
        with self._lock:
            self._kept.clear()

    def _forget(self) -> None:
        with self._lock:
            total = sum(len(kept.shelf.names) for kept in self._kept.values())
            while total > _MAX_TOGETHER and len(self._kept) > 1:
                _, oldest = self._kept.popitem(last=False)
                total -= len(oldest.shelf.names)

    def _bring_up_to_date(self, kept: Kept) -> None:
        gaps, last, sources = self._feed.gaps, self._feed.last, self._sources(kept)
        changes, is_gap = self._feed.since(kept.sequence, _MAX_CHANGES + 1)
        stale = self._read_others(kept, sources)
        if is_gap or gaps != kept.gaps or len(changes) > _MAX_CHANGES or kept.shelf.is_worn:
            self._read(kept, sources)
        else:
            names = {one.ref.name for one in changes if _concerns(kept, one.ref)} | stale
            names.update(kept.shelf.ended(micros(self._clock())))
            self._look_up(kept, sources, sorted(names))
            last = changes[-1].sequence if changes else last
        kept.gaps, kept.sequence = gaps, last

    def _sources(self, kept: Kept) -> list[_Source]:
        return [
            _Source(link, team, link.name in self._tracked and isinstance(link.backend, Outlining))
            for link in self._chain.links
            if isinstance(link.backend, Listable) and kept.kind in link.kinds
            for team in _teams(link, kept.team)
        ]

    # --- what other backends hold --------------------------------------------------------------------

    def _read_others(self, kept: Kept, sources: Sequence[_Source]) -> set[str]:
        """Read what the backends hold that tell of no change, if that is due; give the names that differ."""
        if self._timer() - kept.read_at < KEPT_SECONDS:
            return set()
        kept.troubles = {}
        old = kept.held or [{} for _ in sources]
        kept.held = [{} if one.is_tracked else self._held(kept, one) for one in sources]
        kept.read_at = self._timer()
        return {
            name
            for before, after in zip(old, kept.held, strict=True)
            for name in before.keys() | after.keys()
            if before.get(name) != after.get(name)
        }

    def _held(self, kept: Kept, source: _Source) -> dict[str, Outline]:
        found: dict[str, Outline] = {}
        try:
            for summary in self._summaries(kept, source):
                if source.link.why_not(summary.ref) is None and not summary.is_deleted:
                    found[summary.ref.name] = _outline_of(summary)
        except StrongroomError as error:
            kept.troubles[source.link.name] = error
        return found

    def _summaries(self, kept: Kept, source: _Source) -> Iterator[Summary]:
        backend, after = cast("Listable", source.link.backend), ""
        while True:
            ask = partial(backend.list, kept.kind, team=source.team, after=after, limit=_PAGE)
            page = self._chain.ask(source.link, ask)
            yield from page
            if len(page) < _PAGE:
                return
            if page[-1].ref.name <= after:
                name = source.link.name
                raise BackendUnavailableError(
                    f"the backend {name} does not list its names in order", backend=name
                )
            after = page[-1].ref.name

    # --- all there is, and what changed ----------------------------------------------------------------

    def _read(self, kept: Kept, sources: Sequence[_Source]) -> None:
        streams = [self._stream(kept, number, one) for number, one in enumerate(sources)]
        groups = groupby(merge(*streams, key=itemgetter(0, 1)), key=itemgetter(0))
        found = (
            one
            for name, group in groups
            if (one := self._first(kept, sources, name, {number: outline for _, number, outline in group}))
        )
        kept.shelf = Shelf(found)
        kept.views.clear()
        kept.answers.clear()

    def _stream(self, kept: Kept, number: int, source: _Source) -> Iterator[tuple[str, int, Outline]]:
        if not source.is_tracked:
            for name in sorted(kept.held[number]):
                yield name, number, kept.held[number][name]
            return
        backend, link, after = cast("Outlining", source.link.backend), source.link, ""
        while True:
            page = backend.outline(kept.kind, team=source.team, after=after, limit=_OUTLINES)
            for outline in page:
                if not link.match or link.why_not(Ref(kept.kind, outline.name, source.team)) is None:
                    yield outline.name, number, outline
            if len(page) < _OUTLINES:
                return
            after = page[-1].name

    def _look_up(self, kept: Kept, sources: Sequence[_Source], names: Sequence[str]) -> None:
        if not names:
            return
        held: list[dict[str, Outline]] = []
        for number, (link, team, is_tracked) in enumerate(sources):
            if not is_tracked:
                held.append(kept.held[number])
                continue
            found = cast("Outlining", link.backend).named(kept.kind, names, team=team)
            held.append({one.ref.name: _outline_of(one) for one in found if link.why_not(one.ref) is None})
        for name in names:
            each = {number: one[name] for number, one in enumerate(held) if name in one}
            kept.shelf.put(name, self._first(kept, sources, name, each))

    def _first(
        self, kept: Kept, sources: Sequence[_Source], name: str, held: dict[int, Outline]
    ) -> Found | None:
        """Give what answers for *name*, of those that hold it; None where it is only another team's."""
        if not any(sources[number].team == kept.team for number in held):
            return None
        first = min(held)
        for link, team, _ in sources[:first]:
            folding = link.backend
            if isinstance(folding, Folding) and (
                summary := _folded(link, folding, Ref(kept.kind, name, team))
            ):
                return link.name, _outline_of(summary)._replace(name=name)
        return sources[first].link.name, held[first]


def _teams(link: Link, team: str | None) -> tuple[str | None, ...]:
    """Give whose names of *link* count, as `Listing` does."""
    return (None,) if team is None else (team, None) if link.team_fallback else (team,)


def _concerns(kept: Kept, ref: Ref) -> bool:
    return ref.kind == kept.kind and ref.team in (kept.team, None)


def _folded(link: Link, backend: Folding, ref: Ref) -> Summary | None:
    try:
        return None if link.why_not(ref) is not None else backend.folded(ref)
    except StrongroomError:
        return None  # its list tells of its trouble


def _outline_of(summary: Summary) -> Outline:
    facts, changed_at = summary.metadata, summary.changed_at
    return Outline(
        summary.ref.name,
        None if changed_at is None else micros(changed_at),
        facts.conn_type,
        None if facts.description is None else facts.description[:OUTLINE_CHARACTERS],
        None if facts.expires_at is None else micros(facts.expires_at),
    )
