"""
Write through the agent of this machine: a WRITE is asked once, and holds one entry.

Not for what is written (`service/writing.py`). Rules of the wire: docs/protocol.md.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from strongroom.caller import frames
from strongroom.caller.agent import said
from strongroom.caller.channel import ASKED, no_answer
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.caller.agent import AgentClient

__all__ = ["write"]


def write(agent: AgentClient, order: Mapping[str, object]) -> tuple[str, str | None]:
    """
    Have *agent* write one entry; give the backend that took it, and the version that stands now.

    Args:
        agent: of this machine.
        order: members of a WRITE, as docs/protocol.md names them.

    Raises:
        InvalidInputError: it is larger than a frame holds.
        AccessDeniedError, ConflictError, ReadOnlyError, BackendUnavailableError, …: as the agent says.
    """
    asking = said(lambda: frames.frame(frames.WRITE, ASKED, frames.pack_json(json.dumps(order))))
    if len(asking) - 4 > frames.MAX_REQUEST_BYTES:
        raise InvalidInputError(
            f"a write through an agent has at most {frames.MAX_REQUEST_BYTES} bytes, as JSON",
            limit=frames.MAX_REQUEST_BYTES,
            hint="write it at the server or where the store is",
        )
    answer = agent.asked_once(asking, frames.WRITE | frames.ANSWER)
    try:
        told = json.loads(frames.read_json(answer))
        backend, version = told["backend"], told["version"]
    except (ValueError, RecursionError, TypeError, KeyError):
        backend = version = None
    if not isinstance(backend, str) or not isinstance(version, (str, type(None))):
        raise no_answer(agent.path)
    return backend, version
