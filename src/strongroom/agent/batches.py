"""
READ_MANY: many entries in one question, answered in parts that fit into frames.

Not for single reads, which are answered where their frame is parsed (`protocol.py`).

Rules of this file:

1. A name that is refused is told in its place; the others are answered all the same.
2. The next part is made when the last one is taken, so that a slow client holds one part of memory.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from strongroom.caller import frames
from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.agent.protocol import Line
    from strongroom.model.ref import Kind
    from strongroom.service.reading import Reader

__all__ = ["read_many"]

_PART_BYTES = 1_048_576  # of the answer to a batch in one frame


def read_many(line: Line, number: int, payload: bytes) -> None:
    """
    See to it that the question *number* of *line* is answered.

    Raises:
        BrokenFrameError: *payload* is no such question.
    """
    keys, flags = frames.read_read_many(payload)
    line.spawn(number, partial(_ask, line, line.reader_for(flags), number, keys, flags))


async def _ask(line: Line, reader: Reader, number: int, keys: Sequence[frames.Key], flags: int) -> None:
    floor = line.floor
    asked_at, answers = floor.clock(), floor.answers
    refs: list[Ref | StrongroomError] = [_ref_or_error(key) for key in keys]
    given = iter(await line.answers(reader, [ref for ref in refs if isinstance(ref, Ref)], flags))
    ago = floor.clock() - asked_at
    part: list[bytes] = []
    size = first = 0
    for index, ref in enumerate(refs):
        if isinstance(ref, Ref):
            part.append(answers.result(ref.kind, flags, next(given), asked_ago=ago))
        else:
            part.append(answers.refused_result(ref))
        size += len(part[-1])
        if size > _PART_BYTES and index + 1 < len(refs):
            line.write(_part(number, first, part, has_more=True))
            first, size, part = index + 1, 0, []
            await line.has_room()
    line.write(_part(number, first, part, has_more=False))
    line.reads += len(refs)


def _part(number: int, first: int, part: Sequence[bytes], *, has_more: bool) -> bytes:
    payload = frames.pack_results(first, part, has_more=has_more)
    return frames.frame(frames.READ_MANY | frames.ANSWER, number, payload)


def _ref_or_error(key: frames.Key) -> Ref | StrongroomError:
    kind, name, team = key
    try:
        return Ref(cast("Kind", kind), name, team)
    except InvalidInputError as error:
        return error
