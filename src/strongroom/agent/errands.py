"""
What is asked beside reads, and answered by a thread: EXPLAIN, INVENTORY, ADMIN and WRITE.

Not for what is answered (`service/host.py`, `inventory.py`, `admin.py`, `writes.py`). The frames:
docs/protocol.md.

Rules of this file:

1. Who asks is what the connection is while the question comes, not when its turn comes.
2. What only people and pages need is loaded when they ask.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from strongroom.caller import frames
from strongroom.errors import AccessDeniedError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.agent.protocol import Line
    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Run
    from strongroom.service.host import Host
    from strongroom.service.writing import Wanted

__all__ = ["administer", "explain", "inventory", "write"]


def explain(line: Line, number: int, ref: Ref) -> None:
    """Have told why *ref* is answered as it is."""
    told = partial(_explanation, line.floor.host, line.peer.uid, line.run, ref)
    line.spawn(number, partial(_answer, line, frames.EXPLAIN, number, told))


def inventory(line: Line, number: int, payload: bytes) -> None:
    """
    Have told what there is.

    Raises:
        BrokenFrameError: *payload* is no JSON text.
    """
    told = partial(_listed, line.floor.host, line.peer.uid, line.run, frames.read_json(payload))
    line.spawn(number, partial(_answer, line, frames.INVENTORY, number, told))


def write(line: Line, number: int, payload: bytes) -> None:
    """
    Have written what is asked for.

    Raises:
        BrokenFrameError: *payload* is no JSON text.
        InvalidInputError: it asks for no write.
    """
    from strongroom.agent.writes import asked_in  # noqa: PLC0415 -- most agents are never written through

    asked = asked_in(frames.read_json(payload))
    told = partial(_written, line.floor.host, line.reader.actor, asked)
    line.spawn(number, partial(_answer, line, frames.WRITE, number, told))


def administer(line: Line, number: int, payload: bytes) -> None:
    """
    Have an order of an administrator done.

    Raises:
        AccessDeniedError: who asks is none.
        BrokenFrameError, InvalidInputError: *payload* is no order.
    """
    if not line.peer.is_admin:
        raise AccessDeniedError(
            "only root and the agent's own user administer it", reason="the agent's own rule"
        )
    try:
        order = json.loads(frames.read_json(payload))
    except (ValueError, RecursionError):
        order = None
    if not isinstance(order, dict):
        raise InvalidInputError("an order is a JSON object")
    line.spawn(number, partial(_order, line, number, order))


async def _order(line: Line, number: int, order: Mapping[str, object]) -> None:
    told = json.dumps(await line.floor.admin(line.peer, order))
    line.write(frames.frame(frames.ADMIN | frames.ANSWER, number, frames.pack_json(told)))


async def _answer(line: Line, type_: int, number: int, told: Callable[[], str]) -> None:
    """Answer the question *number* of *type_* with the JSON text that *told* gives in a thread."""
    text = await line.floor.host.reading.bridge().run(told)
    line.write(frames.frame(type_ | frames.ANSWER, number, frames.pack_json(text)))


def _explanation(host: Host, uid: int, run: Run | None, ref: Ref) -> str:
    import msgspec  # noqa: PLC0415 -- only people ask why

    from strongroom.wire.explain import explained  # noqa: PLC0415 -- as above

    return msgspec.json.encode(explained(host.explain(uid, run, ref))).decode()


def _listed(host: Host, uid: int, run: Run | None, question: str) -> str:
    from strongroom.agent.inventory import listed  # noqa: PLC0415 -- only people and pages ask what there is

    return listed(host.inventory(uid, run), question)


def _written(host: Host, actor: Actor, asked: Wanted) -> str:
    from strongroom.agent.writes import told  # noqa: PLC0415 -- loaded by then

    return told(host.write(actor, asked))
