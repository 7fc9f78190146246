"""
Read a log on from where one was, as far as its records are durable.

For who signs, copies or exports: none of them stands between a record and its answer.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from strongroom.audit.log import open_to_read, parse_head, read_head, segments_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Position", "durable", "lines_of", "position_of", "read_on"]

_CHUNK_BYTES = 262_144


class Position(NamedTuple):
    """
    Between two records.

    Args:
        seq: number of the next one.
        segment: it stands in, or the one before ends in; "" for the first there is.
        offset: in bytes.
    """

    seq: int = 0
    segment: str = ""
    offset: int = 0


def durable(folder: Path) -> int:
    """
    Give how many records are durable, by the head file; 0 where there is no log.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    data = read_head(folder / "head")
    if data is None:
        return 0
    head = parse_head(data)
    if head is None:
        raise ValueError("the head file is damaged")
    return head.seq + 1


def position_of(folder: Path, seq: int) -> Position:
    """
    Find record number *seq*, or the first that is kept where it is gone.

    Raises:
        OSError: the log cannot be read.
    """
    names = segments_of(folder)
    before = [name for name in names if int(name[:-6]) <= seq]
    if not before:
        return Position(int(names[0][:-6]), names[0]) if names else Position(seq)
    position = Position(int(before[-1][:-6]), before[-1])
    while position.seq < seq:
        lines, position = read_on(folder, position, seq)
        if not lines:
            break
    return position


def read_on(
    folder: Path, position: Position, until: int, *, max_records: int = 1000
) -> tuple[list[bytes], Position]:
    """
    Give the next lines, their newlines included, and where they end; [] where there are none.

    Args:
        folder: of the log.
        position: where to go on.
        until: the number of the first record that is not wanted; at most what `durable` gives.
        max_records: given at once.

    Raises:
        OSError: the log cannot be read.
        LookupError: the segment is gone.
    """
    limit = min(until - position.seq, max_records)
    while limit > 0:
        names = segments_of(folder)
        segment = position.segment or (names[0] if names else "")
        if segment not in names:
            raise LookupError("the segment that comes next is gone")
        lines, offset = _lines(folder / segment, position.offset, limit)
        if lines:
            return lines, Position(position.seq + len(lines), segment, offset)
        following = names[names.index(segment) + 1 :]
        if not following:
            break
        if int(following[0][:-6]) != position.seq:
            raise LookupError("the segment that comes next is gone")
        position = Position(position.seq, following[0])
    return [], position


def _lines(path: Path, offset: int, limit: int) -> tuple[list[bytes], int]:
    lines: list[bytes] = []
    rest = b""
    with open_to_read(path) as file:
        at = offset
        while len(lines) < limit:
            data = os.pread(file.fileno(), _CHUNK_BYTES, at)
            at += len(data)
            found = (rest + data).split(b"\n")
            rest = found.pop()
            for line in found:
                if len(lines) == limit or line.startswith(b"\0"):
                    break
                lines.append(line + b"\n")
            if not data or rest.startswith(b"\0"):
                break
    return lines, offset + sum(map(len, lines))


def lines_of(folder: Path, position: Position, until: int) -> Iterator[tuple[int, bytes]]:
    """
    Give every record from *position* on with its number, up to *until*.

    Raises:
        OSError: the log cannot be read.
        LookupError: a segment is gone.
    """
    while position.seq < until:
        lines, after = read_on(folder, position, until)
        if not lines:
            return
        yield from enumerate(lines, position.seq)
        position = after
