"""
Entries beside each other in several deployments: the same, different, or missing; told without any value.

Rules of this file:

1. A deployment is compared as one actor of it, who proved there who he is: what he may not see in it is
   missing from its column without a word, and what he may see and not have described is told as such.
2. Content is compared by marks under a key of this process (`difference.py`): equal marks mean equal
   content, and that is all that leaves. Reading for them is recorded as little as any other description.
3. What was compared is remembered by version. What would take long is compared behind, and what is counted
   meanwhile says so.
4. A is what the first column holds, or B begins where it holds nothing; the same letter in one line is the
   same content.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Literal, NamedTuple

from strongroom.chain import Chain
from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.model.connection import Dialect
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.service.difference import Prints, prints_of
from strongroom.service.inventory import Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from strongroom.policy import Actor
    from strongroom.service.guard import Guard

__all__ = ["MAX_PAGE", "WHICH", "Cell", "Comparison", "Grid", "Holder", "Line", "can_describe"]

WHICH = ("all", "differing", "missing")
"""Which lines may be asked for."""

MAX_PAGE = 200
_AT_ONCE_SECONDS = 0.02  # spent on comparing while somebody waits; the rest is compared behind
_BATCH = 50  # read at once
_REST_SECONDS = 0.005  # between two batches behind
_RECOUNT_SECONDS = 10.0  # after which what was compared meanwhile is counted, however long that takes
_KEPT_SECONDS = 15.0  # how long an entry without a version is taken for the same
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

State = Literal["same", "differs", "missing", "unknown", "untold", "unreadable"]


@dataclass(frozen=True, kw_only=True)
class Holder:
    """
    One deployment, as one actor of it.

    Args:
        name: of the deployment.
        chain: where its entries are read.
        dialect: how its connections are read.
        mark: gives what is equal while nothing that he may list changed; None where nobody knows.
        lines: gives what he may list, each name once, and the mark of that. A line that did not change is the
            same object.
        may: tells of each Ref whether he may have it described; None where he may of all.
    """

    name: str
    chain: Chain
    dialect: Dialect
    mark: Callable[[], object]
    lines: Callable[[], tuple[object, Sequence[Row]]]
    may: Callable[[Ref, Metadata], bool] | None


class Cell(NamedTuple):
    """
    One entry in one deployment.

    Args:
        state: `unknown` while it has not been compared, `untold` where he may not have it described.
        letter: of its content in its line; "" where that is not known.
        fields: in what it differs from the first column, by name.
        version: that was compared.
    """

    state: State
    letter: str = ""
    fields: tuple[str, ...] = ()
    version: str | None = None


class Line(NamedTuple):
    """One entry in every deployment."""

    ref: Ref
    conn_type: str | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """
    One page of a comparison.

    Args:
        columns: names of the deployments; the first one is what the others are compared with.
        entries: how many names each of them has.
        same: how many of the first one's names each other one holds with the same content.
        lines: of the page.
        total: of all pages.
        counts: how many lines there are, by the words of `WHICH`.
        compared: how many entries have been compared of how many, where some have not.
    """

    columns: tuple[str, ...]
    entries: tuple[int, ...]
    same: tuple[int, ...]
    lines: tuple[Line, ...]
    total: int
    counts: Mapping[str, int]
    compared: tuple[int, int]


@dataclass
class _Known:
    """The marks of one deployment's entries, by what they were made of."""

    prints: dict[Ref, tuple[str, str | None, float, Prints | None]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class _Column:
    """One deployment as it was listed for one actor."""

    holder: Holder
    mark: object
    standing: Mapping[Ref, Row]
    told: Mapping[Ref, Row] | frozenset[Ref]


class _Sum(NamedTuple):
    """What one line comes to: missing somewhere, of several contents, as the first where, not compared."""

    is_missing: bool
    is_differing: bool
    same: tuple[bool, ...]
    left: int


class _Counted(NamedTuple):
    """
    What was found of all lines.

    Args:
        columns: of these.
        order: every name, in order.
        sums: of each.
        until: when it is to be counted again, where not everything was compared.
    """

    columns: tuple[_Column, ...]
    order: Sequence[Ref]
    sums: Mapping[Ref, _Sum]
    names: Mapping[str, Sequence[Ref]]
    same: tuple[int, ...]
    compared: tuple[int, int]
    until: float


class Comparison:
    """
    Compare deployments of one process. Of all its actors.

    Threads: may be used from several at once.

    Args:
        timer: seconds that only go up.
        aside: does work behind; unsaid, on a thread of its own.
    """

    def __init__(
        self,
        *,
        timer: Callable[[], float] = time.monotonic,
        aside: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        self._key = secrets.token_bytes(32)
        self._timer = timer
        self._aside = aside or self._on_a_thread
        self._known: dict[str, _Known] = {}
        self._columns: dict[tuple[str, object], _Column] = {}
        self._counts: dict[tuple[str, ...], _Counted] = {}
        self._lock = threading.Lock()
        self._behind: set[str] = set()
        self._is_closing = False

    def grid(
        self,
        holders: Sequence[Holder],
        *,
        which: str = "all",
        begin: int = 0,
        count: int = 50,
        is_whole: bool = False,
    ) -> Grid:
        """
        Give one page of what *holders* hold, ordered by name, variables after connections of the same name.

        Args:
            holders: the deployments, first the one that the others are compared with.
            which: one of `WHICH`.
            begin: lines before the first.
            count: lines at most, up to 200.
            is_whole: compare everything before answering, however long it takes.

        Raises:
            InvalidInputError: there is no such choice, no deployment, or one named twice.
            AccessDeniedError: somebody may not list anything in one of them.
            BackendUnavailableError: one could not be listed.
        """
        _check(holders, which, begin, count)
        columns = [self._column(one) for one in holders]
        found = self._counted(columns, is_whole=is_whole)
        names = found.names[which]
        shown = list(names[begin : begin + count])
        near = [one for one in columns if one.holder.chain.is_local]
        self._compare([(one, ref) for one in near for ref in shown if ref in one.told])
        return Grid(
            columns=tuple(one.holder.name for one in columns),
            entries=tuple(len(one.standing) for one in columns),
            same=found.same,
            lines=tuple(self._line(columns, ref) for ref in shown),
            total=len(names),
            counts={word: len(refs) for word, refs in found.names.items()},
            compared=found.compared,
        )

    def close(self) -> None:
        """Compare nothing more behind."""
        self._is_closing = True

    # --- what stands where ---------------------------------------------------------------------------

    def _column(self, holder: Holder) -> _Column:
        mark = holder.mark()
        with self._lock:
            found = None if mark is None else self._columns.get((holder.name, mark))
        if found is not None:
            return found
        mark, lines = holder.lines()
        standing = {row.ref: row for row in lines}
        may = holder.may
        told = (
            standing
            if may is None
            else frozenset(ref for ref, row in standing.items() if may(ref, row.metadata))
        )
        found = _Column(holder, mark, standing, told)
        with self._lock:
            while len(self._columns) >= _MAX_COLUMNS:
                self._columns.pop(next(iter(self._columns)))
            if mark is not None:
                self._columns[holder.name, mark] = found
        return found

    def _counted(self, columns: Sequence[_Column], *, is_whole: bool) -> _Counted:
        """Give what all lines come to: as it was counted last, but for those that changed since."""
        key = tuple(one.holder.name for one in columns)
        with self._lock:
            held = self._counts.get(key)
        is_same = held is not None and all(a is b for a, b in zip(held.columns, columns, strict=True))
        if held is not None and is_same and self._timer() < held.until and not is_whole:
            return held
        changed = self._changed(held, columns)
        self._compare_some(columns, changed, is_whole=is_whole)
        begun = self._timer()
        found = self._count(held, columns, changed, begun)
        with self._lock:
            self._counts.pop(key, None)
            self._counts = {key: found, **dict(islice(self._counts.items(), _MAX_COUNTS))}
        return found

    def _changed(self, held: _Counted | None, columns: Sequence[_Column]) -> set[Ref]:
        """Give the names that stand otherwise than they were counted, or were not compared yet."""
        everything = {ref for one in columns for ref in one.standing}
        if held is None:
            return everything
        found = {ref for ref in everything if (one := held.sums.get(ref)) is None or one.left}
        for old, new in zip(held.columns, columns, strict=True):
            if old is new:
                continue
            before, after = old.standing, new.standing
            found.update(ref for ref, row in after.items() if before.get(ref) is not row)
            found.update(ref for ref in before if ref not in after)
            if old.told is not old.standing or new.told is not new.standing:
                found |= {ref for ref in after if (ref in old.told) != (ref in new.told)}
        return found

    def _compare_some(self, columns: Sequence[_Column], refs: Iterable[Ref], *, is_whole: bool) -> None:
        """Compare for some milliseconds, where that asks no other machine, and the rest behind."""
        by_column = [(one, self._of_deployment(one.holder.name).prints) for one in columns]
        wanted = [
            (one, ref)
            for ref in refs
            for one, prints in by_column
            if ref in one.told and (ref not in prints or self._print(one, ref) is _NOT_YET)
        ]
        if is_whole:
            self._compare(wanted)
            return
        near = [pair for pair in wanted if pair[0].holder.chain.is_local]
        rest = [pair for pair in wanted if not pair[0].holder.chain.is_local]
        ends = self._timer() + _AT_ONCE_SECONDS
        done = 0
        while done < len(near) and (done == 0 or self._timer() < ends):
            self._compare(near[done : done + _BATCH])
            done += _BATCH
        if rest := [*near[done:], *rest]:
            self._compare_behind(rest)

    def _count(
        self, held: _Counted | None, columns: Sequence[_Column], changed: set[Ref], begun: float
    ) -> _Counted:
        sums = {} if held is None else dict(held.sums)
        is_reordered = held is None
        prints = [self._of_deployment(one.holder.name).prints for one in columns]
        unread: dict[tuple[State, ...], _Sum] = {}
        for ref in changed:
            if any(ref in one.standing for one in columns):
                is_reordered = is_reordered or ref not in sums
                if any(ref in one for one in prints):
                    sums[ref] = _sum(self._line(columns, ref))
                else:  # as most lines are at first: nothing of it was compared, and few such sums differ
                    states = tuple(_unread(one, ref) for one in columns)
                    found = unread.get(states)
                    if found is None:
                        found = unread[states] = _sum(Line(ref, None, tuple(map(Cell, states))))
                    sums[ref] = found
            elif sums.pop(ref, None) is not None:
                is_reordered = True
        order = sorted(sums, key=_order) if is_reordered or held is None else held.order
        names = {
            "all": order,
            "differing": [ref for ref in order if sums[ref].is_differing],
            "missing": [ref for ref in order if sums[ref].is_missing],
        }
        left = sum(one.left for one in sums.values())
        everything = sum(len(one.told) for one in columns)
        now = self._timer()
        # Counting goes on while it is compared behind: as often as takes a tenth of the time.
        until = float("inf") if not left else now + min(_RECOUNT_SECONDS, max(1.0, 10 * (now - begun)))
        if any(one.mark is None for one in columns) or not all(_has_version(one) for one in columns):
            until = min(until, now + _KEPT_SECONDS)
        same = tuple(sum(one.same[number] for one in sums.values()) for number in range(len(columns)))
        return _Counted(tuple(columns), order, sums, names, same, (everything - left, everything), until)

    def _line(self, columns: Sequence[_Column], ref: Ref) -> Line:
        letters: dict[object, str] = {}
        first = self._of(columns[0], ref)
        if isinstance(first, Prints):
            letters[_content(first)] = "A"
        cells = tuple(self._cell(one, ref, letters, first) for one in columns)
        types = (one.standing[ref].metadata.conn_type for one in columns if ref in one.standing)
        return Line(ref, next((found for found in types if found), None), cells)

    def _cell(self, column: _Column, ref: Ref, letters: dict[object, str], first: object) -> Cell:
        found = self._of(column, ref)
        if not isinstance(found, Prints):
            return Cell(found)
        content = _content(found)
        letter = letters.get(content)
        if letter is None:
            letter = letters[content] = _LETTERS[min(max(1, len(letters)), len(_LETTERS) - 1)]
        fields = first.differs_from(found) if isinstance(first, Prints) and letter != "A" else ()
        version = column.standing[ref].version
        return Cell("same" if letter == "A" else "differs", letter, fields, version)

    def _of(self, column: _Column, ref: Ref) -> Prints | State:
        if ref not in column.standing:
            return "missing"
        if ref not in column.told:
            return "untold"
        found = self._print(column, ref)
        if found is _NOT_YET:
            return "unknown"
        return "unreadable" if found is None else found

    # --- comparing -----------------------------------------------------------------------------------

    def _of_deployment(self, name: str) -> _Known:
        found = self._known.get(name)
        if found is None:
            with self._lock:
                found = self._known.setdefault(name, _Known())
        return found

    def _print(self, column: _Column, ref: Ref) -> Prints | None:
        """Give the marks of *ref*, None where it could not be read; `_NOT_YET` where it has not been."""
        held = self._of_deployment(column.holder.name).prints.get(ref)
        standing = column.standing[ref]
        if held is None or held[:2] != (standing.backend, standing.version):
            return _NOT_YET
        is_old = standing.version is None and self._timer() - held[2] > _KEPT_SECONDS
        return (
            _NOT_YET if is_old or (held[3] is None and self._timer() - held[2] > _KEPT_SECONDS) else held[3]
        )

    def _compare(self, wanted: Iterable[tuple[_Column, Ref]]) -> None:
        """Read those of *wanted* that have no marks yet, and make them."""
        by_column: dict[int, tuple[_Column, list[Ref]]] = {}
        for column, ref in wanted:
            if self._print(column, ref) is _NOT_YET:
                by_column.setdefault(id(column), (column, []))[1].append(ref)
        for column, refs in by_column.values():
            for batch in _batches(refs):
                self._read(column, batch)

    def _read(self, column: _Column, refs: Sequence[Ref]) -> None:
        holder, known = column.holder, self._of_deployment(column.holder.name)
        now = self._timer()
        for ref, entry in zip(refs, holder.chain.read_many(refs), strict=True):
            standing = column.standing[ref]
            made = None
            if entry is not None and not isinstance(entry, StrongroomError):
                made = prints_of(entry, holder.dialect, key=self._key)
            with known.lock:
                if len(known.prints) >= _MAX_KNOWN:
                    known.prints.clear()
                known.prints[ref] = (standing.backend, standing.version, now, made)

    def _compare_behind(self, wanted: Sequence[tuple[_Column, Ref]]) -> None:
        by_name: dict[str, list[tuple[_Column, Ref]]] = {}
        for column, ref in wanted:
            by_name.setdefault(column.holder.name, []).append((column, ref))
        for name, several in by_name.items():
            with self._lock:
                is_under_way = name in self._behind
                self._behind.add(name)
            if not is_under_way:
                self._aside(lambda name=name, several=several: self._work(name, several))  # type: ignore[misc]  # bound

    def _work(self, name: str, wanted: Sequence[tuple[_Column, Ref]]) -> None:
        try:
            for batch in _batches(wanted):
                if self._is_closing:
                    return
                self._compare(batch)
                time.sleep(_REST_SECONDS)  # whoever reads goes first
        finally:
            with self._lock:
                self._behind.discard(name)

    @staticmethod
    def _on_a_thread(work: Callable[[], None]) -> None:
        threading.Thread(target=work, name="strongroom-comparison", daemon=True).start()


_MAX_COLUMNS, _MAX_COUNTS = 32, 15
_MAX_KNOWN = 200_000  # entries of one deployment
_NOT_YET = Prints(b"", {})


def _check(holders: Sequence[Holder], which: str, begin: int, count: int) -> None:
    names = [one.name for one in holders]
    if not names or len(set(names)) < len(names):
        raise InvalidInputError("a comparison names each deployment once")
    if len(names) > len(_LETTERS):
        raise InvalidInputError(f"at most {len(_LETTERS)} deployments are compared", limit=len(_LETTERS))
    if which not in WHICH:
        raise InvalidInputError("there is no such choice", hint=f"one of {', '.join(WHICH)}")
    if begin < 0 or not 0 <= count <= MAX_PAGE:
        raise InvalidInputError(f"a page has at most {MAX_PAGE} lines", limit=MAX_PAGE)


def _sum(line: Line) -> _Sum:
    letters = {cell.letter for cell in line.cells if cell.letter}
    return _Sum(
        is_missing=any(cell.state == "missing" for cell in line.cells),
        is_differing=len(letters) > 1,
        same=tuple(cell.letter == "A" for cell in line.cells),
        left=sum(cell.state == "unknown" for cell in line.cells),
    )


def _unread(column: _Column, ref: Ref) -> State:
    if ref not in column.standing:
        return "missing"
    return "unknown" if ref in column.told else "untold"


def _has_version(column: _Column) -> bool:
    return all(row.version is not None for row in column.standing.values())


def _content(found: Prints) -> object:
    # Two texts that say the same, as JSON and as a URI, are one content.
    return tuple(sorted(found.fields.items()))


def _order(ref: Ref) -> tuple[str, str, str]:
    return ref.name, ref.kind, ref.team or ""


def _batches(items: Sequence) -> Iterator[Sequence]:  # type: ignore[type-arg]  # of whatever
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def can_describe(guard: Guard, actor: Actor) -> Callable[[Ref, Metadata], bool] | None:
    """Give what tells of each entry whether *actor* may have it described; None where he may of all."""
    sight = guard.sight(actor, Action.DESCRIBE)
    return None if sight.is_whole else sight.sees
