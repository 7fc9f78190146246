"""
A backend as it was last seen: what `Listing` asks of it is answered from memory, and how all of it is read.

Not for when it is read again (`register.py`). Of a tracked one, whose every change is told, the lines are
asked of the backend itself, which is of this process; only its first read is kept for a moment.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, cast

from strongroom.backend import Folding, Outlining
from strongroom.errors import BackendUnavailableError, InvalidInputError, StrongroomError
from strongroom.model.entry import EntryState, Metadata, Summary
from strongroom.model.ref import Ref
from strongroom.store.record import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from strongroom.backend import Listable
    from strongroom.chain import Chain, Link
    from strongroom.model.entry import Outline
    from strongroom.model.ref import Kind

    Held = dict[tuple[Kind, str | None], dict[str, Summary]]

__all__ = ["MAX_LINES", "FoldingMirror", "Mirror", "Mirrors", "Silence", "mirror_of", "too_many"]

MAX_LINES = 200_000
_PAGE, _OUTLINES = 1000, 5000  # names, and outlines, asked of a backend at once


class Silence(NamedTuple):
    """A backend that gives no answer: why, since when, and of when its lines are (None: it has none here)."""

    backend: str
    error: StrongroomError
    since: datetime
    read_at: datetime | None


class Mirror:
    """
    One backend as it was last seen, in the shape that `Listing` asks.

    Args:
        link: of the chain.
        is_tracked: every change of it is told.

    Attributes:
        held: what was last seen; empty for a tracked one that was read.
        is_read: it was, at least once.
        due_at: when it is to be read again, in seconds that only go up.
        read_at: when it was read last (UTC).
        silence: that it gives no answer now.
    """

    is_local = True

    def __init__(self, link: Link, *, is_tracked: bool) -> None:
        self.name = link.name
        self.link = link
        self.is_tracked = is_tracked
        self.held: Held = {}
        self.is_read = False
        self.due_at = float("-inf")
        self.read_at: datetime | None = None
        self.silence: Silence | None = None

    def named(self, kind: Kind, names: Sequence[str], *, team: str | None = None) -> Sequence[Summary]:
        """Give those of *names* that there are, in their order."""
        if self.is_tracked and self.is_read:
            return cast("Outlining", self.link.backend).named(kind, names, team=team)
        held = self.held.get((kind, team), {})
        return [held[name] for name in names if name in held]

    def list(
        self, kind: Kind, *, team: str | None = None, prefix: str = "", after: str = "", limit: int = _PAGE
    ) -> list[Summary]:
        """Give what was last seen, as `Listable` says."""
        held = self.held.get((kind, team), {})
        names = sorted(name for name in held if name > after and name.startswith(prefix))
        return [held[name] for name in names[:limit]]

    def outline(
        self, kind: Kind, *, team: str | None = None, after: str = "", limit: int = _PAGE
    ) -> Sequence[Outline]:
        """Give what the backend itself gives, where it does."""
        backend = self.link.backend
        if not isinstance(backend, Outlining):
            return ()
        return backend.outline(kind, team=team, after=after, limit=limit)

    # --- reading all of it -------------------------------------------------------------------------

    def outlined(self, teams: Iterable[str | None], on_read: Callable[[int], None]) -> Held:
        """
        Give all that a tracked backend outlines.

        Args:
            teams: whose.
            on_read: told how many lines have been read, after each page.

        Raises:
            InvalidInputError: there are more than `MAX_LINES`.
            BackendUnavailableError: it gives no answer.
        """
        held: Held = {}
        said: dict[tuple[object, ...], Metadata] = {}
        total, teams = 0, tuple(teams)
        for kind in self.link.kinds:
            for team in teams:
                found = held[kind, team] = {}
                after = ""
                while page := self.outline(kind, team=team, after=after, limit=_OUTLINES):
                    for outline in page:
                        found[outline.name] = self._summary(kind, team, outline, said)
                    total += len(page)
                    if total > MAX_LINES:
                        raise too_many()
                    on_read(total)
                    if len(page) < _OUTLINES:
                        break
                    after = page[-1].name
        return held

    def _summary(
        self, kind: Kind, team: str | None, outline: Outline, said: dict[tuple[object, ...], Metadata]
    ) -> Summary:
        name = outline.name
        # The outline has checked the name; only what is not ASCII may be spelled anew.
        ref = tuple.__new__(Ref, (kind, name, team)) if name.isascii() else Ref(kind, name, team)
        told = outline[2:5] + outline[6:]
        facts = said.get(told)
        if facts is None:
            facts = said[told] = _facts(outline)
        return Summary(
            ref=ref,
            backend=self.name,
            version=outline.version,
            changed_at=_moment(outline.changed_at),
            metadata=facts,
            state=EntryState.OK,
        )

    def all_of(self, chain: Chain, kind: Kind, team: str | None) -> dict[str, Summary]:
        """
        Give all that the backend lists of *kind*, past what it was not to be asked for.

        Raises:
            BackendUnavailableError: it gives no answer, or not in order.
        """
        backend, after, found = cast("Listable", self.link.backend), "", dict[str, Summary]()
        while True:
            ask = partial(backend.list, kind, team=team, after=after, limit=_PAGE)
            page = chain.ask(self.link, ask)
            for one in page:
                if self.link.why_not(one.ref) is None and not one.is_deleted:
                    found[one.ref.name] = one
            if len(page) < _PAGE:
                return found
            if page[-1].ref.name <= after or len(found) > MAX_LINES:
                raise BackendUnavailableError(
                    f"the backend {self.name} does not list its names in order", backend=self.name
                )
            after = page[-1].ref.name


class FoldingMirror(Mirror):
    """One of a backend that folds names, which asks nobody for that."""

    def spell(self, ref: Ref) -> str | None:
        """As the backend itself, which asks nobody for it."""
        return cast("Folding", self.link.backend).spell(ref)

    def folded(self, ref: Ref) -> Summary | None:
        """As the backend itself, which is of this process."""
        return cast("Folding", self.link.backend).folded(ref)


class Mirrors(NamedTuple):
    """The chain, of backends as they were last seen."""

    links: tuple[Link, ...]

    def ask(self, _link: Link, work: Callable[[], object]) -> object:
        """Give what *work* gives: nothing here waits."""
        return work()


def mirror_of(link: Link, *, is_tracked: bool) -> Mirror:
    """Give what stands for the backend of *link*."""
    is_folding = isinstance(link.backend, Folding) and link.backend.is_local
    return (FoldingMirror if is_folding else Mirror)(
        link, is_tracked=is_tracked and isinstance(link.backend, Outlining)
    )


def too_many() -> InvalidInputError:
    """Give the error of more lines than are kept."""
    return InvalidInputError(f"there are more than {MAX_LINES} lines", limit=MAX_LINES)


def _facts(outline: Outline) -> Metadata:
    return Metadata(
        description=outline.description,
        tags=outline.tags,
        owner=outline.owner,
        conn_type=outline.conn_type,
        remind_at=_moment(outline.remind_at),
        not_after=_moment(outline.not_after),
        expires_at=_moment(outline.expires_at),
        references=outline.references,
    )


def _moment(micros: int | None) -> datetime | None:
    return None if micros is None else moment(micros)
