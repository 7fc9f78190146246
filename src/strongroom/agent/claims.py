"""
For which run a connection asks: as it says (CLAIM), or as a supervisor says of all below it (ANNOUNCE).

Not for who is below whom (`announced.py`), nor for what a run may read (`policy/`). The frames:
docs/protocol.md.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from strongroom.caller import frames
from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret
from strongroom.policy import Assurance, Run
from strongroom.service.runs import MAX_TOKEN_CHARACTERS
from strongroom.wire.shape import MAX_RUN_CHARACTERS

if TYPE_CHECKING:
    from strongroom.agent.announced import Process
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


def announce(line: Line, number: int, payload: bytes) -> bytes | None:
    """
    Take that all below the process of *line* ask for a run; every open connection of theirs is renewed. With
    a token the run is verified, and answered when that is so, or is not.

    Raises:
        AccessDeniedError, OverloadError: as `Announced.announce`.
        BrokenFrameError, InvalidInputError: as `claim`.
    """
    said, token = frames.read_announce(payload)
    run = _run(said)
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
    if run is None or token is None:
        floor.verifying.end(process)
        return _announced(number, 0, None)
    if len(token) > MAX_TOKEN_CHARACTERS:
        return _announced(number, 0, "the token is too long to be one of Airflow's")
    line.spawn(number, partial(_verify, line, number, process, run, Secret(token)))
    return None


async def _verify(line: Line, number: int, process: Process, run: Run, token: Secret[str]) -> None:
    level, why = await line.floor.verifying.begin(process, run, token, line.peer.uid)
    line.write(_announced(number, level, why))


def _announced(number: int, level: int, why: str | None) -> bytes:
    return frames.frame(frames.ANNOUNCE | frames.ANSWER, number, frames.pack_announced(level, why))


def _said(payload: bytes) -> Run | None:
    return _run(frames.read_claim(payload))


def _run(said: frames.Run) -> Run | None:
    for text in said:
        if isinstance(text, str) and len(text) > MAX_RUN_CHARACTERS:
            raise InvalidInputError(
                f"a claim has over {MAX_RUN_CHARACTERS} characters", limit=MAX_RUN_CHARACTERS
            )
    is_said = any(each is not None for each in said)
    return Run(Assurance.CLAIMED, *said) if is_said else None
