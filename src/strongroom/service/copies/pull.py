"""
Copy what somebody may read of one place into a store on this machine.

Rules of this file:

1. Every value that is copied was revealed one by one where it stands: decided and recorded there, with
   the reason.
2. A copy says itself until when it is good (`not_after`), and nothing makes that later but another reveal.
3. What is written stays written: a pull that was interrupted goes on where it stopped.
4. What is not there any more, or may not be read any more, is taken away here too; unless a place could
   not be listed, since then nobody knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

from strongroom.errors import (
    AccessDeniedError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    RateLimitedError,
    SettingsError,
    StrongroomError,
    TamperedError,
)
from strongroom.model.entry import Entry, Metadata
from strongroom.model.ref import Kind, Ref
from strongroom.service.entries import Change
from strongroom.service.inventory import Row

if TYPE_CHECKING:
    from strongroom.service.room import Room

__all__ = ["Line", "Outcome", "Pull", "pull", "wanted"]

Outcome = Literal["copied", "kept", "denied", "failed", "removed", "to copy"]

_KINDS: tuple[Kind, ...] = ("connection", "variable")
_BATCH = 25  # entries written at once; what an interruption loses
_NATIVE = "native"
_STEP_UP = "step-up"  # a server's word for: who he is was proven too long ago
_LONGEST_WAIT = 60.0  # s in all, for one entry, while the other side says that it is too much


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """
    What became of one entry.

    Args:
        reason: why it was not copied, as whoever decided says it; "" where it was.
    """

    ref: Ref
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """
    What to copy, and how.

    Args:
        reveal: gives one entry with its value, recorded where it stands.
        resolves: *reveal* gives texts whose references are resolved already.
        patterns: only names like these, `*` for any text; () for all. A name without `*` is asked for even
            where nobody lists it.
        kinds: connections, variables or both.
        team: exactly this team's names, or the global ones.
        passed_over: backends of the place whose entries need no copy, as the environment's.
        expires: until when the copies are good (UTC).
        since: when a pull of the same began that did not end; what it copied is not revealed again.
        comment: kept with every copy.
        is_whole: False says that a backend of the place is not asked: then nothing is taken away here.
        progress: called with (done, total).
        pause: waits so many seconds.
    """

    reveal: Callable[[Ref], Entry] = field(repr=False)
    resolves: bool = False
    patterns: tuple[str, ...] = ()
    kinds: tuple[Kind, ...] = _KINDS
    team: str | None = None
    passed_over: frozenset[str] = frozenset()
    expires: datetime
    since: datetime | None = None
    comment: str = "copied for local work"
    is_whole: bool = True
    progress: Callable[[int, int], None] = field(default=lambda _done, _total: None, repr=False)
    pause: Callable[[float], None] = field(default=time.sleep, repr=False)

    def fits(self, ref: Ref) -> bool:
        """Tell whether *ref* is wanted."""
        if ref.kind not in self.kinds or ref.team != self.team:
            return False
        return not self.patterns or any(fnmatchcase(ref.name, one) for one in self.patterns)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Rows to copy; those of *guessed* nobody listed."""

    rows: tuple[Row, ...]
    guessed: frozenset[Ref] = frozenset()
    is_whole: bool = True


def wanted(
    room: Room, asked: Pull, on_trouble: Callable[[str, StrongroomError], None]
) -> tuple[list[Row], bool]:
    """
    Give the rows that *asked* wants of *room*, and whether that is all of them.

    Args:
        room: the place that is copied.
        asked: says which.
        on_trouble: told the name of a backend that could not be listed, and why.

    Raises:
        SettingsError: the place lists nothing, and not every pattern is a plain name.
        AccessDeniedError, BackendUnavailableError, NotAuthenticatedError: as `Inventory.pages`.
    """
    found = _found(room, asked, on_trouble)
    return list(found.rows), found.is_whole


def pull(
    room: Room,
    store: Room,
    asked: Pull,
    *,
    now: Callable[[], datetime],
    on_trouble: Callable[[str, StrongroomError], None],
) -> list[Line]:
    """
    Copy what *asked* wants of *room* into *store*, and tell what became of each.

    Args:
        room: the place that is copied.
        store: a room with nothing but the store of the copies.
        asked: what and how.
        now: wall clock, UTC.
        on_trouble: as `wanted`.

    Raises:
        As `wanted`; and what stops all of it: AccessDeniedError (who he is was proven too long ago),
            BackendUnavailableError, RateLimitedError, NotAuthenticatedError. What was copied stays.
    """
    found = _found(room, asked, on_trouble)
    here = {row.ref: row for row in _listed(store, asked)}
    copying = _Copying(store, asked)
    kept = {ref for ref, row in here.items() if _is_kept(row, asked, now())}
    try:
        for number, row in enumerate(found.rows):
            asked.progress(number, len(found.rows))
            if row.ref in kept:
                copying.lines.append(Line(ref=row.ref, outcome="kept"))
            else:
                copying.take(row, is_guess=row.ref in found.guessed)
    finally:
        copying.flush(is_last=True)
    asked.progress(len(found.rows), len(found.rows))
    missing = _names_not_found(asked, copying.lines)
    copying.lines += missing
    if found.is_whole:
        copying.remove(here)
    return copying.lines


# --- what there is -----------------------------------------------------------------------------------


def _found(room: Room, asked: Pull, on_trouble: Callable[[str, StrongroomError], None]) -> _Found:
    troubles: list[str] = []

    def trouble(name: str, error: StrongroomError) -> None:
        troubles.append(name)
        on_trouble(name, error)

    exact = [one for one in asked.patterns if not _is_pattern(one)]
    try:
        rows = [row for row in _listed(room, asked, trouble) if row.backend not in asked.passed_over]
    except SettingsError:
        if not exact or len(exact) < len(asked.patterns):
            raise
        rows = []
    listed = {row.ref for row in rows}
    refs = (Ref(kind, name, asked.team) for name in exact for kind in asked.kinds)
    guessed = [Row(ref=ref, backend="") for ref in refs if ref not in listed]
    return _Found(
        rows=(*rows, *guessed),
        guessed=frozenset(row.ref for row in guessed),
        is_whole=asked.is_whole and not troubles,
    )


def _listed(
    room: Room, asked: Pull, on_trouble: Callable[[str, StrongroomError], None] | None = None
) -> Iterator[Row]:
    kind = asked.kinds[0] if len(asked.kinds) == 1 else None
    for page in room.inventory.pages(kind, team=asked.team, on_trouble=on_trouble):
        yield from (row for row in page if asked.fits(row.ref))


def _is_pattern(text: str) -> bool:
    return any(mark in text for mark in "*?[")


def _is_kept(row: Row, asked: Pull, now: datetime) -> bool:
    """Tell whether an interrupted pull of the same has copied this already, and the copy is still good."""
    if asked.since is None or row.changed_at is None or row.changed_at < asked.since:
        return False
    return row.metadata.not_after is not None and row.metadata.not_after > now


def _names_not_found(asked: Pull, lines: Sequence[Line]) -> list[Line]:
    """Give a line for each plain name that was asked for and is nowhere, of no kind."""
    told = {line.ref.name for line in lines}
    return [
        Line(
            ref=Ref(asked.kinds[0], name, asked.team),
            outcome="failed",
            reason="nothing of this name is there",
        )
        for name in asked.patterns
        if not _is_pattern(name) and name not in told
    ]


# --- copying it --------------------------------------------------------------------------------------


class _Copying:
    """Reveal and write, a batch at a time."""

    def __init__(self, store: Room, asked: Pull) -> None:
        self._store = store
        self._asked = asked
        self._ready: list[Change] = []
        self._later: list[Change] = []
        self.lines: list[Line] = []

    def take(self, row: Row, *, is_guess: bool) -> None:
        """Reveal the entry of *row*, and write it with the next batch."""
        try:
            entry = self._revealed(row.ref)
        except NotFoundError as error:
            if not is_guess:  # gone since it was listed
                self.lines.append(Line(ref=row.ref, outcome="failed", reason=str(error)))
            return
        except AccessDeniedError as error:
            if error.reason == _STEP_UP:
                raise
            self.lines.append(Line(ref=row.ref, outcome="denied", reason=_told(error)))
            return
        except (MalformedEntryError, TamperedError, InvalidInputError) as error:
            self.lines.append(Line(ref=row.ref, outcome="failed", reason=str(error)))
            return
        change = self._change(row, entry)
        # What its references name has to be here first.
        (self._later if change.metadata and change.metadata.references else self._ready).append(change)
        self.flush()

    def _revealed(self, ref: Ref) -> Entry:
        waited = 0.0
        while True:
            try:
                return self._asked.reveal(ref)
            except RateLimitedError as error:
                seconds = max(error.retry_after.total_seconds() if error.retry_after else 1.0, 0.1)
                if waited + seconds > _LONGEST_WAIT:
                    raise
                waited += seconds
            self._asked.pause(seconds)

    def _change(self, row: Row, entry: Entry) -> Change:
        seen = row.metadata if row.metadata != Metadata() else entry.metadata
        metadata = replace(
            seen,
            not_after=_earlier(seen.not_after, self._asked.expires),
            expires_at=None,
            remind_at=None,
            references=seen.references and not self._asked.resolves,
        )
        return Change(ref=row.ref, secret=entry.secret, metadata=metadata)

    def flush(self, *, is_last: bool = False) -> None:
        """Write what is ready, where it is a batch or the last."""
        if is_last:
            self._write(self._ready)
            for change in self._later:  # each alone: one may refer to another
                self._write([change])
            self._ready, self._later = [], []
        elif len(self._ready) >= _BATCH:
            self._write(self._ready)
            self._ready = []

    def _write(self, changes: list[Change]) -> None:
        if not changes:
            return
        try:
            self._store.entries.write_many(changes, to=_NATIVE, comment=self._asked.comment)
        except (InvalidInputError, NotFoundError, MalformedEntryError) as error:
            if len(changes) == 1:
                self.lines.append(Line(ref=changes[0].ref, outcome="failed", reason=str(error)))
                return
            for change in changes:
                self._write([change])
            return
        self.lines += [Line(ref=change.ref, outcome="copied") for change in changes]

    def remove(self, here: Collection[Ref]) -> None:
        """Take away what is here and was not copied."""
        good = {line.ref for line in self.lines if line.outcome in ("copied", "kept")}
        for ref in here:
            if ref not in good:
                with suppress(NotFoundError):
                    self._store.entries.delete(ref, at=_NATIVE)
                    self.lines += [] if self._is_told(ref) else [Line(ref=ref, outcome="removed")]

    def _is_told(self, ref: Ref) -> bool:
        return any(line.ref == ref for line in self.lines)


def _told(error: AccessDeniedError) -> str:
    """Give the decision's reason; the message where there is none."""
    return str(error.reason or error) if not error.hint else f"{error.reason or error} ({error.hint})"


def _earlier(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)
