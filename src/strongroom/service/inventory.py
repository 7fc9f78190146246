"""
What there is: every name in every backend that can list, a page at a time, without values.

Whoever may list some names and not others meets a smaller inventory, nowhere a gap: rows, counts, clashes,
limits and pages are of what he may see.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from heapq import merge
from itertools import chain as chained
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from strongroom.backend import Folding, Recoverable
from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.listing import Listing, not_listable
from strongroom.model.entry import EntryState, Metadata
from strongroom.model.ref import KINDS, Kind, Ref
from strongroom.policy import Action
from strongroom.service.ordered import Ordered, Seen, Way
from strongroom.service.shelf import Rank

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from strongroom.chain import Chain, Link
    from strongroom.listing import Line
    from strongroom.model.entry import Summary
    from strongroom.policy import Actor
    from strongroom.service.guard import Guard, Sight
    from strongroom.service.order import Orders

__all__ = ["Choice", "Clash", "Counts", "Inventory", "Row", "Tally", "row_of", "rows_of"]

T = TypeVar("T")

_PLAIN = Metadata()
_READABLE = frozenset({EntryState.OK, EntryState.UNKNOWN, EntryState.PLAIN_TEXT})
_PAGE = 1000
_LEAST = 250  # names read at once where some of them are left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One name of the inventory, or one entry that another of the same name hides.

    Args:
        backend: the one that answers for it; of a hidden entry the one that holds it.
        shadowed: backends further down that hold it too.
        shadowed_by: the backend that answers instead of this entry, None where it answers itself.
        state: what is known of the value; `UNKNOWN` where nobody looked.
        problem: the state in words, "" where it needs none; holds no value.
        read_at: when it was last read, as far as whoever lists it knows; None where he does not.
    """

    ref: Ref
    backend: str
    shadowed: tuple[str, ...] = ()
    shadowed_by: str | None = None
    version: str | None = None
    changed_at: datetime | None = None
    metadata: Metadata = _PLAIN
    state: EntryState = EntryState.UNKNOWN
    problem: str = ""
    read_at: datetime | None = None

    @property
    def is_readable(self) -> bool:
        """False where a reader would be refused the value, as far as is known."""
        return self.state in _READABLE


@dataclass(frozen=True, slots=True)
class Clash:
    """
    Names that cannot be kept apart.

    Args:
        backend: the one that spells all of them alike; None where they only look alike to people.
        refs: in order of names.
        spelling: how *backend* spells all of them, or how all of them read (in NFKC).
    """

    backend: str | None
    refs: tuple[Ref, ...]
    spelling: str

    @property
    def problem(self) -> str:
        """Say it in words."""
        names = ", ".join(str(ref) for ref in self.refs)
        if self.backend is None:
            return f"{names} look alike"
        return f"{self.backend} cannot keep {names} apart: all are {self.spelling} there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """
    The inventory in numbers.

    Args:
        connections: names of connections.
        variables: names of variables.
        places: backends that hold anything.
        shadowed: entries that another of the same name hides.
        unreadable: names of which the answer is no usable value: expired, unparsable, tampered, or
            sealed by a key that is not here.
        clashes: groups of names that cannot be kept apart.
    """

    connections: int = 0
    variables: int = 0
    places: int = 0
    shadowed: int = 0
    unreadable: int = 0
    clashes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """
    Which rows are wanted of a listing. Unsaid, one row a name.

    Args:
        prefix: only names that begin so.
        states: only entries in one of these; empty for all.
        backends: only entries these hold, hidden or not; empty for all.
        only_problems: only entries with which something is known to be wrong.
        with_shadowed: hidden entries too, each a row after the one that hides it.
    """

    prefix: str = ""
    states: tuple[EntryState, ...] = ()
    backends: tuple[str, ...] = ()
    only_problems: bool = False
    with_shadowed: bool = False

    @property
    def takes_all(self) -> bool:
        """Tell whether every name that begins with `prefix` has a row."""
        return not (self.states or self.backends or self.only_problems)

    def fits(self, row: Row) -> bool:
        """Tell whether *row* is wanted."""
        if row.shadowed_by is not None and not (self.with_shadowed or self.backends):
            return False
        if self.backends and row.backend not in self.backends:
            return False
        if self.states and row.state not in self.states:
            return False
        return not self.only_problems or row.state.is_problem


class Tally:
    """
    Count rows and find clashes while a listing goes by.

    Args:
        spellings: by the name of a backend, how it spells a Ref (None where it cannot).

    Attributes:
        entries: by the name of a backend, how many entries it holds: one that answers for several names
            counts once.
    """

    def __init__(self, spellings: Mapping[str, Callable[[Ref], str | None]]) -> None:
        self._spellings = spellings
        self._alike: dict[tuple[str | None, str], list[Ref]] = {}
        self._names: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._places: set[str] = set()
        self._shadowed = 0
        self._unreadable = 0
        self._held: dict[str, set[str | Ref]] = {name: set() for name in spellings}
        self.entries: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        """Count a row that answers for its name."""
        self._names[row.ref.kind] += 1
        self._places.update((row.backend, *row.shadowed))
        self._shadowed += len(row.shadowed)
        self._unreadable += not row.is_readable
        self._count(row)
        for name, spell in self._spellings.items():
            # A backend's own listing gives one name for each spelling; other backends' names tell the clash.
            if row.backend == name and set(row.shadowed) <= {name}:
                continue
            spelling = spell(row.ref)
            if spelling is not None:
                self._alike.setdefault((name, spelling), []).append(row.ref)
        self._alike.setdefault((None, _looks(row.ref)), []).append(row.ref)

    def _count(self, row: Row) -> None:
        for name in (row.backend, *row.shadowed):
            spell = self._spellings.get(name)
            if spell is None:
                self.entries[name] += 1
                continue
            self._held[name].add(spell(row.ref) or row.ref)
            self.entries[name] = len(self._held[name])

    @property
    def clashes(self) -> tuple[Clash, ...]:
        """What was found up to now; names that several cannot keep apart are told of the first backend."""
        found: dict[tuple[Ref, ...], Clash] = {}
        # Names that look alike come last: where a backend spells them alike, that says more.
        for (backend, spelling), refs in sorted(self._alike.items(), key=lambda item: item[0][0] is None):
            if len(refs) > 1:
                found.setdefault(tuple(refs), Clash(backend, tuple(refs), spelling))
        return tuple(found.values())

    @property
    def counts(self) -> Counts:
        """What was counted up to now."""
        return Counts(
            connections=self._names["connection"],
            variables=self._names["variable"],
            places=len(self._places),
            shadowed=self._shadowed,
            unreadable=self._unreadable,
            clashes=len(self.clashes),
        )


class _Wanted(NamedTuple):
    """What is listed, and who is told of trouble."""

    kinds: tuple[Kind, ...] = KINDS
    team: str | None = None
    choice: Choice = Choice()
    after: Ref | None = None
    on_trouble: Callable[[str, StrongroomError], None] | None = None
    tally: Tally | None = None
    ahead: int = _PAGE
    is_page: bool = False


def _pass_over(_backend: str, _error: StrongroomError) -> None:
    """Leave a backend out of a listing."""


class Inventory:
    """
    List names as one actor.

    Args:
        clock: wall clock, UTC, against which `not_after` is judged.
        orders: gives the lists that all actors share; without it there is one order, that of names.
        prepare: told of names before each is decided on; raises where nobody could decide. With it only names
            are decided on, and not whether there may be a listing at all.
        read_at: tells when a name was last read; None where nobody knows.

    Threads: may be used from several threads at once.
    """

    def __init__(  # noqa: PLR0913 -- a service is made of the parts it joins
        self,
        chain: Chain,
        guard: Guard,
        actor: Actor,
        *,
        clock: Callable[[], datetime],
        orders: Callable[[], Orders] | None = None,
        prepare: Callable[[Sequence[Ref]], None] | None = None,
        read_at: Callable[[Ref], datetime | None] | None = None,
    ) -> None:
        self._orders = orders
        self._prepare = prepare
        self._read_at = read_at
        self._chain = chain
        self._guard = guard
        self._actor = actor
        self._clock = clock
        self._spellings = {
            link.name: link.backend.spell for link in chain.links if isinstance(link.backend, Folding)
        }

    def page(  # noqa: PLR0913 -- each narrows the page
        self,
        kind: Kind | None = None,
        *,
        team: str | None = None,
        prefix: str = "",
        after: Ref | None = None,
        limit: int = _PAGE,
        with_shadowed: bool = False,
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
    ) -> list[Row]:
        """
        Give up to *limit* rows ordered by kind and name.

        Args:
            kind: one kind, or None for all.
            team: exactly this team's names, or the global ones.
            prefix: only names that begin so.
            after: only what comes after this one.
            limit: names at most.
            with_shadowed: hidden entries too, each a row after the one that hides it.
            on_trouble: told the name of a backend that could not be listed, and why; the others are
                listed all the same. Unsaid, trouble is raised.

        Raises:
            AccessDeniedError: the actor may not list anything here.
            BackendUnavailableError: a backend that can list gave no answer, and nobody is told instead.
        """
        choice = Choice(prefix=prefix, with_shadowed=with_shadowed)
        pages = self.pages(
            kind, team=team, choice=choice, after=after, size=limit, limit=limit, on_trouble=on_trouble
        )
        return next(pages, [])

    def pages(  # noqa: PLR0913 -- each is one of the command's options
        self,
        kind: Kind | None = None,
        *,
        team: str | None = None,
        choice: Choice | None = None,
        after: Ref | None = None,
        size: int = _PAGE,
        limit: int | None = None,
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
        tally: Tally | None = None,
    ) -> Iterator[list[Row]]:
        """
        Give all rows, a page at a time: each backend is read once from end to end, never held whole.

        Args:
            kind: one kind, or None for all.
            team: exactly this team's names, or the global ones.
            choice: which rows.
            after: only what comes after this one.
            size: names a page holds; the rows of one name stay together.
            limit: names in all; None for no limit.
            on_trouble: as for `page`.
            tally: counts every name that goes by, chosen or not.

        Raises:
            InvalidInputError: *choice* names a backend that the chain does not have.
            BackendUnavailableError: as `page`.
        """
        choice = choice or Choice()
        self._check(choice)
        kinds = (kind,) if kind else KINDS
        # One more than is wanted tells that a name has ended.
        ahead = (_PAGE if limit is None else min(limit, _PAGE + 1)) + 1
        wanted = _Wanted(kinds, team, choice, after, on_trouble, tally, ahead, limit is not None)
        return self._guarded(islice(self._groups(wanted), limit), size)

    def these(
        self,
        kind: Kind,
        names: Sequence[str],
        *,
        team: str | None = None,
        choice: Choice | None = None,
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
    ) -> list[Row]:
        """
        Give the rows of those of *names* that there are, ordered by name.

        Raises:
            As `pages`.
        """
        choice = choice or Choice()
        self._check(choice)
        wanted = _Wanted((kind,), team, choice, None, on_trouble)

        def work() -> list[Row]:
            lines = self._listing(kind, wanted, set(), _PAGE).these(names)
            return list(chained.from_iterable(self._chosen(lines, wanted)))

        return self._allowed(work)

    def ordered(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        action: Action = Action.LIST,
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
    ) -> Ordered:
        """
        Give all names of one kind in any order: those the actor may list, and do *action* with.

        Raises:
            InvalidInputError: there are too many to put them in order.
            AccessDeniedError, BackendUnavailableError: as `page`.
        """
        assert self._orders is not None  # noqa: S101 -- the server's rooms have them
        orders, guard = self._orders(), self._guard
        kept = guard.act(self._actor, Action.LIST, None, lambda: orders.of(kind, team, on_trouble=on_trouble))
        actions = tuple(dict.fromkeys((Action.LIST, action)))
        sights = tuple(guard.sight(self._actor, one) for one in actions)
        rows = lambda names: self.these(kind, names, team=team, on_trouble=on_trouble)  # noqa: E731 -- one line
        return Ordered(kept, Seen((self._actor, actions), sights, guard.policy_of(self._actor), rows))

    def deleted(
        self,
        kind: Kind | None = None,
        *,
        team: str | None = None,
        prefix: str = "",
        after: Ref | None = None,
        limit: int = _PAGE,
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
    ) -> list[Row]:
        """
        Give up to *limit* entries that were softly deleted, ordered by kind and name; the arguments are
        those of `page`.

        Raises:
            AccessDeniedError: the actor may not list anything here.
            BackendUnavailableError: a backend gave no answer, and nobody is told instead.
        """
        wanted = _Wanted(
            (kind,) if kind else KINDS, team, Choice(prefix=prefix), after, on_trouble, None, limit
        )
        return self._allowed(lambda: list(islice(self._deleted(wanted), limit)))

    def _deleted(self, wanted: _Wanted) -> Iterator[Row]:
        now, sight = self._clock(), self._guard.sight(self._actor)
        for kind in sorted(wanted.kinds):
            if wanted.after is not None and kind < wanted.after.kind:
                continue
            streams = [
                self._stream_of_deleted(link, kind, wanted)
                for link in self._chain.links
                if isinstance(link.backend, Recoverable) and kind in link.kinds
            ]
            for one in merge(*streams, key=lambda one: one.ref.name):
                row = row_of(one.ref, one, now)
                if _is_seen(row, sight):
                    yield row

    def _stream_of_deleted(self, link: Link, kind: Kind, wanted: _Wanted) -> Iterator[Summary]:
        backend, after = link.backend, wanted.after
        assert isinstance(backend, Recoverable)  # noqa: S101 -- asked by the caller
        start = after.name if after is not None and after.kind == kind else ""
        size = min(wanted.ahead, _PAGE)
        while True:
            ask = partial(
                backend.list_deleted,
                kind,
                team=wanted.team,
                prefix=wanted.choice.prefix,
                after=start,
                limit=size,
            )
            try:
                page = self._chain.ask(link, ask)
            except StrongroomError as error:
                if wanted.on_trouble is None:
                    raise
                wanted.on_trouble(link.name, error)
                return
            yield from page
            if len(page) < size:
                return
            start = page[-1].ref.name

    def tally(self) -> Tally:
        """Give an empty tally for `pages`."""
        return Tally(self._spellings)

    def counts(
        self,
        *,
        team: str | None = None,
        on_trouble: Callable[[str, StrongroomError], None] | None = None,
    ) -> Counts:
        """
        Count everything, in one pass.

        Raises:
            BackendUnavailableError: as `page`.
        """
        return self._tallied(team, on_trouble).counts

    def clashes(self, *, team: str | None = None) -> list[Clash]:
        """
        Give the names that a backend of the chain spells alike (`AIRFLOW_CONN_X` for `x` and `X`), and
        those that look alike because they are one in NFKC (`ﬁle` and `file`).

        A backend that cannot be listed now is passed over: `doctor` and `page` tell its trouble.
        """
        return list(self._tallied(team, _pass_over).clashes)

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the backends, in the order they are asked."""
        return tuple(link.name for link in self._chain.links)

    @property
    def not_listable(self) -> tuple[str, ...]:
        """Names of the backends that cannot tell what they hold."""
        return not_listable(self._chain)

    def _check(self, choice: Choice) -> None:
        known = [link.name for link in self._chain.links]
        if not set(choice.backends) <= set(known):
            raise InvalidInputError(
                "the chain has no backend of that name", hint=f"its backends: {', '.join(known)}"
            )

    def _guarded(self, groups: Iterator[list[Row]], size: int) -> Iterator[list[Row]]:
        # Rows are made only once listing was allowed: an iterator does nothing before.
        def work() -> list[Row]:
            return list(chained.from_iterable(islice(groups, size)))

        while page := self._allowed(work):
            yield page

    def _allowed(self, work: Callable[[], T]) -> T:
        """Do *work* if the actor may list here at all; what he sees of it is decided name by name."""
        if self._prepare is not None:
            return work()
        return self._guard.act(self._actor, Action.LIST, None, work)

    def _tallied(self, team: str | None, on_trouble: Callable[[str, StrongroomError], None] | None) -> Tally:
        tally = self.tally()
        for _ in self.pages(team=team, on_trouble=on_trouble, tally=tally):
            pass
        return tally

    def _groups(self, wanted: _Wanted) -> Iterator[list[Row]]:
        """Give the chosen rows of each name, those without any left out."""
        silent, sight = set[str](), self._guard.sight(self._actor)
        for kind in sorted(wanted.kinds):
            if wanted.after is not None and kind < wanted.after.kind:
                continue
            # Where rows are left out, more must be read than are shown.
            is_all = sight.is_whole and wanted.choice.takes_all
            page = wanted.ahead if is_all else max(wanted.ahead, _LEAST)
            after = wanted.after
            start = after.name if after is not None and after.kind == kind else ""
            listing = self._listing(kind, wanted, silent, page)
            if wanted.is_page and not sight.is_whole and self._orders is not None:
                # What he does not see would be read again for each of his pages.
                lines = self._lines_seen(kind, wanted, listing, start)
            else:
                lines = listing.after(start)
            yield from self._chosen(lines, wanted, sight)

    def _lines_seen(self, kind: Kind, wanted: _Wanted, listing: Listing, start: str) -> Iterator[Line]:
        try:
            ordered = self.ordered(kind, team=wanted.team, on_trouble=wanted.on_trouble)
        except InvalidInputError:  # too many to keep them
            yield from listing.after(start)
            return
        ranks = ordered.after(Way("name"), Rank("", start), prefix=wanted.choice.prefix)
        while names := [rank.name for rank in islice(ranks, wanted.ahead)]:
            yield from listing.these(names)

    def _chosen(
        self, lines: Iterator[Line], wanted: _Wanted, sight: Sight | None = None
    ) -> Iterator[list[Row]]:
        now, sight = self._clock(), sight or self._guard.sight(self._actor)
        for line in lines if sight.is_whole else self._prepared(lines, wanted.ahead):
            rows = _visible(rows_of(line, now), sight)
            if not rows:
                continue
            if self._read_at is not None:
                rows[0] = replace(rows[0], read_at=self._read_at(line.ref))
            if wanted.tally is not None:
                wanted.tally.add(rows[0])
            if chosen := [row for row in rows if wanted.choice.fits(row)]:
                yield chosen

    def _prepared(self, lines: Iterator[Line], ahead: int) -> Iterator[Line]:
        if self._prepare is None:
            yield from lines
            return
        while batch := list(islice(lines, min(ahead, _LEAST))):
            self._prepare([line.ref for line in batch])
            yield from batch

    def _listing(self, kind: Kind, wanted: _Wanted, silent: set[str], page: int) -> Listing:
        return Listing(
            self._chain,
            kind,
            team=wanted.team,
            prefix=wanted.choice.prefix,
            page=page,
            on_trouble=wanted.on_trouble,
            silent=silent,
        )


def rows_of(line: Line, now: datetime) -> Iterator[Row]:
    """Give a row for the entry that answers for *line* at *now*, and one for each that it hides."""
    answering = line.summary.backend
    yield row_of(line.ref, line.summary, now, shadowed=tuple(one.backend for one in line.shadowed))
    for hidden in line.shadowed:
        yield row_of(line.ref, hidden, now, shadowed_by=answering)


def _visible(rows: Iterable[Row], sight: Sight) -> list[Row]:
    """Give those of the *rows* of one name that may be seen; none without the one that answers."""
    if sight.is_whole:
        return list(rows)
    first, *hidden = rows
    if not _is_seen(first, sight):
        return []
    # What is public differs from place to place, so each is decided on its own.
    seen = [row for row in hidden if _is_seen(row, sight)]
    if len(seen) == len(hidden):
        return [first, *seen]
    return [replace(first, shadowed=tuple(row.backend for row in seen)), *seen]


def _is_seen(row: Row, sight: Sight) -> bool:
    # Of a row that was tampered with nothing is believed.
    return sight.sees(row.ref, None if row.state is EntryState.TAMPERED else row.metadata)


def row_of(
    ref: Ref,
    summary: Summary,
    now: datetime,
    *,
    shadowed: tuple[str, ...] = (),
    shadowed_by: str | None = None,
) -> Row:
    """Give the row of *ref* as *summary* tells of it at *now*."""
    state, problem = summary.state, summary.problem
    end = summary.metadata.not_after
    if end is not None and end <= now and state in _READABLE:
        state, problem = EntryState.EXPIRED, "past its not_after"
    return Row(
        ref=ref,
        backend=summary.backend,
        shadowed=shadowed,
        shadowed_by=shadowed_by,
        version=summary.version,
        changed_at=summary.changed_at,
        metadata=summary.metadata,
        state=state,
        problem=problem,
    )


def _looks(ref: Ref) -> str:
    name = ref.name if ref.name.isascii() else unicodedata.normalize("NFKC", ref.name)
    return f"{ref.kind} {name}"
