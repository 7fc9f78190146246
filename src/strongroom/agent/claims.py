"""
For which run a connection asks: as it says (CLAIM), or as a supervisor says of all below it (ANNOUNCE).

Not for who is below whom (`announced.py`), nor for what a run may read (`policy/`). The frames:
docs/protocol.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.client import frames
from strongroom.errors import InvalidInputError
from strongroom.policy import Assurance, Run
from strongroom.wire.shape import MAX_RUN_CHARACTERS

if TYPE_CHECKING:
    from strongroom.agent.protocol import Line

__all__ = ["announce", "claim"]


def claim(line: Line, number: int, payload: bytes) -> bytes:
    """
    Take what *line* says of its run, and answer the question *number*.

    Raises:
        BrokenFrameError: *payload* is no claim.
        InvalidInputError: something in it is too long.
    """
    try:
        run = _said(payload)
    except InvalidInputError:
        line.claim(None)  # who asks next on it is not who claimed before
        raise
    line.claim(run)
    return frames.frame(frames.CLAIM | frames.ANSWER, number)


def announce(line: Line, number: int, payload: bytes) -> bytes:
    """
    Take that all below the process of *line* ask for a run; every open connection of theirs is renewed.

    Raises:
        AccessDeniedError, OverloadError: as `Announced.announce`.
        BrokenFrameError, InvalidInputError: as `claim`.
    """
    run = _said(payload)
    if run is not None:
        run = run._replace(announced=True)
    floor = line.floor
    process = floor.announced.announce(line.peer.pid, run)
    line.announcer = process
    for each in list(floor.lines):
        if each.announcer == process:
            if each.peer.pid != process.pid:
                # What an earlier run left behind is below it no more, whatever connection it has kept.
                each.announcer = floor.announced.above(each.peer.pid)
            each.renew()
    return frames.frame(frames.ANNOUNCE | frames.ANSWER, number)


def _said(payload: bytes) -> Run | None:
    said = frames.read_claim(payload)
    for text in said:
        if isinstance(text, str) and len(text) > MAX_RUN_CHARACTERS:
            raise InvalidInputError(
                f"a claim has over {MAX_RUN_CHARACTERS} characters", limit=MAX_RUN_CHARACTERS
            )
    is_said = any(each is not None for each in said)
    return Run(Assurance.CLAIMED, *said) if is_said else None
