"""
Find records: a page at a time, from the newest or the oldest, however large the log is.

Rules of this file:

1. One call looks at a bounded number of records. A page may hold fewer than were asked for, even none, and
   says where the next one goes on.
2. Whether a record may be seen is asked of each before it counts; what of a batch may not be seen is left
   out before anything is compared.
3. Nothing is proven: `verify.py` does that. A line that is no record is passed over.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from strongroom.audit.log import end_of_data, open_to_read, reading, segments_of
from strongroom.audit.record import RefUse, read_line, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from strongroom.audit.record import Record

__all__ = ["Filter", "Found", "Place", "find", "seen_by"]

MAX_LOOKED_AT = 200_000  # records of one call: about half a second
_BLOCK_BYTES = 262_144
_TURN_MASK = 255  # every 256th line
_BEYOND = 10**18  # more records than any log has
_SLACK = timedelta(hours=1)  # a clock that was set back; beyond it records are in the order of time


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """
    Which records; None asks for all.

    Args:
        since, until: when; the first counts in, the second does not.
        actor: who, exactly.
        action, outcome: the words in the record; the outcome of a batch is that of one of its Refs.
        kind, name, team: of the entry, exactly; a batch has it if one of its Refs is it. The team "" is that
            of the global names.
        dag, task, run: of the run it was asked for, exactly: `dag_id`, `task_id`, `run_id`.
        text: stands somewhere in what the record says of who, what, why, from where and for which run,
            small letters or capitals.
    """

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    action: str | None = None
    outcome: str | None = None
    kind: str | None = None
    name: str | None = None
    team: str | None = None
    dag: str | None = None
    task: str | None = None
    run: str | None = None
    text: str | None = None

    def needles(self) -> list[bytes]:
        """Give what must stand in the line of every record that is asked for."""
        found = [("actor", self.actor), ("action", self.action)]
        found += [("dag_id", self.dag), ("task_id", self.task), ("run_id", self.run)]
        members = [f'"{key}":{_json(value)}' for key, value in found if value is not None]
        values = [_json(value) for value in (self.kind, self.name, self.outcome, self.team or None) if value]
        return [needle.encode("utf-8", "replace") for needle in (*members, *values)]

    def text_needle(self) -> bytes:
        """Give what must stand in such a line in small letters; b"" where only its record can tell."""
        if not self.text or not self.text.isascii():
            return b""  # capitals of other scripts have no small letters byte by byte
        return _json(self.text)[1:-1].lower().encode()

    def has(self, record: Record) -> bool:
        """Tell whether *record* is asked for, but for its time."""
        if self.actor not in (None, record.actor) or self.action not in (None, record.action):
            return False
        if not self._has_run(record.run or {}) or not self._has_text(record):
            return False
        return any(self._has_ref(ref) for ref in record.refs or (_own(record),))

    def _has_run(self, run: Mapping[str, object]) -> bool:
        return (
            self.dag in (None, run.get("dag_id"))
            and self.task in (None, run.get("task_id"))
            and self.run in (None, run.get("run_id"))
        )

    def _has_text(self, record: Record) -> bool:
        if not self.text:
            return True
        wanted = self.text.lower()
        return any(wanted in said.lower() for said in _said(record))

    def _has_ref(self, ref: RefUse) -> bool:
        return (
            self.outcome in (None, ref.outcome)
            and self.kind in (None, ref.kind)
            and self.name in (None, ref.name)
            and self.team in (None, ref.team or "")
        )


class Place(NamedTuple):
    """
    Where a search goes on.

    Args:
        seq: the number of the record that is looked at next.
        segment: number of the segment it stands in; -1 where that is not known.
        offset: where in it the record begins; searching backwards, where it ends.
    """

    seq: int
    segment: int = -1
    offset: int = 0


class Found(NamedTuple):
    """
    One page.

    Args:
        records: each with its line; a line is left out (b"") where a part of its record is.
        next: where to go on; None at the end.
    """

    records: tuple[tuple[Record, bytes], ...]
    next: Place | None


def find(  # noqa: PLR0913 -- which, how many, from where, for whom
    folder: Path,
    wanted: Filter,
    *,
    limit: int = 100,
    start: Place | None = None,
    is_newest_first: bool = True,
    sees: Callable[[Record], Record | None] = lambda record: record,
    max_looked_at: int = MAX_LOOKED_AT,
) -> Found:
    """
    Give a page of the records in *folder*.

    Args:
        folder: of the log.
        wanted: which records.
        limit: at most so many.
        is_newest_first: or the oldest.
        start: from the page before.
        sees: gives of a record what may be seen of it, None for nothing.
        max_looked_at: records of one call.

    Raises:
        BackendUnavailableError: the log cannot be read.
    """
    walk = _back if is_newest_first else _on
    needles, text = wanted.needles(), wanted.text_needle()
    since = None if wanted.since is None else stamp(wanted.since)
    until = None if wanted.until is None else stamp(wanted.until)
    too_far = _too_far(wanted, is_newest_first=is_newest_first)
    records: list[tuple[Record, bytes]] = []
    with reading(folder):
        first = start or _first_place(folder, wanted, is_newest_first=is_newest_first)
        for looked_at, (line, after) in enumerate(walk(folder, first), 1):
            if not looked_at & _TURN_MASK:
                time.sleep(0)  # a server that searches goes on answering
            if all(needle in line for needle in needles) and (not text or text in line.lower()):
                record = read_line(line)
                if record is not None and too_far(record.at):
                    return Found(tuple(records), None)
                if record is not None and _is_in(record.at, since, until):
                    # Asked of what is seen: a filter must not tell what stands in the rest.
                    seen = sees(record)
                    if seen is not None and wanted.has(seen):
                        records.append((seen, line if seen is record else b""))
            if len(records) >= limit or looked_at >= max_looked_at:
                return Found(tuple(records), after)
    return Found(tuple(records), None)


def _is_in(at: str, since: str | None, until: str | None) -> bool:
    return (since is None or at >= since) and (until is None or at < until)


def _too_far(wanted: Filter, *, is_newest_first: bool) -> Callable[[str], bool]:
    """Give what tells of a time that nothing wanted comes after it."""
    if is_newest_first:
        edge = "" if wanted.since is None else stamp(wanted.since - _SLACK)
        return lambda at: at < edge
    last = "~" if wanted.until is None else stamp(wanted.until + _SLACK)
    return lambda at: at > last


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _said(record: Record) -> Iterator[str]:
    """Give the texts of a record that people look for."""
    own = (record.actor, record.action, record.kind, record.name, record.team, record.outcome, record.reason)
    more = (record.backend, record.request, record.source, record.hash, *record.policies)
    yield from (text for text in (*own, *more) if text)
    for members in (record.run, record.agent):
        yield from (str(value) for value in (members or {}).values())
    for ref in record.refs:
        yield from (text for text in (ref.name, ref.team, ref.outcome, ref.backend) if text)


def _own(record: Record) -> RefUse:
    return RefUse(record.kind or "", record.name or "", record.team, record.outcome)


# --- walking ---------------------------------------------------------------------------------------


def _first_place(folder: Path, wanted: Filter, *, is_newest_first: bool) -> Place | None:
    """Give the segment to begin with, by the times of the first records of each; None for the very end."""
    numbers = _numbers(folder)
    edge = wanted.until if is_newest_first else wanted.since
    if edge is None or len(numbers) < 2:  # noqa: PLR2004 -- one is not chosen from
        return None if is_newest_first else Place(0, numbers[0] if numbers else -1)
    text = stamp(edge + _SLACK if is_newest_first else edge - _SLACK)
    low, high = 0, len(numbers)
    while high - low > 1:
        middle = (low + high) // 2
        if _first_time(folder, numbers[middle]) < text:
            low = middle
        else:
            high = middle
    if not is_newest_first:
        return Place(numbers[low], numbers[low])
    if high == len(numbers):
        return None
    return Place(numbers[high] - 1, numbers[low], (folder / _name(numbers[low])).stat().st_size)


def _first_time(folder: Path, number: int) -> str:
    with open_to_read(folder / _name(number)) as file:
        record = read_line(file.readline(_BLOCK_BYTES))
    return "" if record is None else record.at


def _numbers(folder: Path) -> list[int]:
    return [int(name[:-6]) for name in segments_of(folder)]


def _name(number: int) -> str:
    return f"{number:020d}.jsonl"


def _back(folder: Path, start: Place | None) -> Iterator[tuple[bytes, Place]]:
    """Give lines from *start* back, each with the place of the one before it."""
    numbers = _numbers(folder)
    offset: int | None = None
    seq = start.seq + 1 if start is not None else _BEYOND
    if start is not None:
        numbers = [number for number in numbers if number <= start.seq]
        if numbers and numbers[-1] == start.segment:
            offset = start.offset
    for number in reversed(numbers):
        with open_to_read(folder / _name(number)) as file:
            end = end_of_data(file.fileno())
            at = end if offset is None else min(offset, end)
            offset = None
            for line in _lines_back(file.fileno(), at):
                at -= len(line)
                seq = _seq(line, seq - 1)
                if start is None or seq <= start.seq:
                    yield line, Place(seq - 1, number, at)


def _lines_back(file: int, end: int) -> Iterator[bytes]:
    rest = b""
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        data = os.pread(file, end - start, start) + rest
        end = start
        lines = data.split(b"\n")
        # The first may have been cut by the block, and what follows the last newline is no line.
        rest = lines[0] + b"\n" if start else b""
        for line in reversed(lines[1:-1] if start else lines[:-1]):
            yield line + b"\n"


def _on(folder: Path, start: Place | None) -> Iterator[tuple[bytes, Place]]:
    """Give lines from *start* on, each with the place of the one after it."""
    numbers = _numbers(folder)
    place = start or Place(0)
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        if following is not None and following <= place.seq:
            continue
        at = place.offset if number == place.segment else 0
        seq = (place.seq if at else number) - 1
        with open_to_read(folder / _name(number)) as file:
            end = end_of_data(file.fileno())
            for line in _lines_on(file.fileno(), at, end):
                at += len(line)
                seq = _seq(line, seq + 1)
                if seq >= place.seq:
                    yield line, Place(seq + 1, number, at)


def _lines_on(file: int, start: int, end: int) -> Iterator[bytes]:
    rest = b""
    while start < end:
        data = os.pread(file, min(_BLOCK_BYTES, end - start), start)
        if not data:
            return
        start += len(data)
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line + b"\n"


def _seq(line: bytes, otherwise: int) -> int:
    """Give the number of the record in *line* without reading all of it; *otherwise* where it has none."""
    at = line.rfind(b'"seq":')
    digits = line[at + 6 : at + 26].split(b",")[0] if at >= 0 else b""
    return int(digits) if digits.isdigit() else otherwise


def seen_by(record: Record, is_seen: Callable[[RefUse], bool]) -> Record | None:
    """Give of *record* what is about Refs that may be seen; None where that is nothing."""
    if not record.refs:
        return record if record.name is not None and is_seen(_own(record)) else None
    refs: Sequence[RefUse] = [ref for ref in record.refs if is_seen(ref)]
    if len(refs) == len(record.refs):
        return record
    if not refs:
        return None
    count = None if record.count is None else sum(ref.uses for ref in refs)
    outcomes = {ref.outcome for ref in refs}
    outcome = outcomes.pop() if len(outcomes) == 1 else "mixed"
    return replace(record, refs=tuple(refs), count=count, outcome=outcome)
