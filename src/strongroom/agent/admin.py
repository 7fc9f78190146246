"""
Orders of an administrator: how is it, forget, log more or less, take the settings anew.

Not for who may give them: root and the agent's own user, as the kernel says (`protocol.py`).

Rules of this file:

1. An order is recorded before it is done, with the user that gave it.
2. Nothing here shows a value, and names of entries only where they were named in the order.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, cast

from strongroom.cache import boot_seconds
from strongroom.errors import InvalidInputError
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.service.guard import event_of
from strongroom.service.mode import LOG_LEVELS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from strongroom.agent.floor import Floor, Peer
    from strongroom.model.ref import Kind

__all__ = ["Admin"]

_ORDERS = ("flush", "log_level", "reload", "status")
_KINDS = ("connection", "variable", "config")


class Admin:
    """
    Does what an administrator orders.

    Args:
        floor: the connections.
        facts: what else the status tells: where it answers, which version it is.
        reload: takes the settings anew.
        more: parts of the status that others tell.
    """

    def __init__(
        self,
        floor: Callable[[], Floor],
        *,
        facts: Mapping[str, object],
        reload: Callable[[], Awaitable[None]],
        more: Mapping[str, Callable[[], object]],
    ) -> None:
        self._floor = floor
        self._facts = dict(facts)
        self._reload = reload
        self._more = dict(more)
        self._since = boot_seconds()

    async def __call__(self, peer: Peer, order: Mapping[str, object]) -> Mapping[str, object]:
        """
        Do one order: `{"do": "status"}`, `{"do": "flush"}` with `kind`, `name` and `team` or without,
        `{"do": "log_level", "level": …}`, `{"do": "reload"}`.

        Raises:
            InvalidInputError: it is none of these.
            NotRecordedError: it cannot be recorded; nothing was done.
            As `Host.reload`.
        """
        do = order.get("do")
        if do == "status":
            return await self._floor().host.reading.bridge().run(self.status)
        if do == "flush":
            return await self._flush(peer, _ref_of(order))
        if do == "log_level":
            return await self._log_level(peer, order.get("level"))
        if do == "reload":
            await self._record(peer, "agent reload")
            await self._reload()
            return {"reloaded": True}
        raise InvalidInputError("there is no such order", hint=f"one of {', '.join(_ORDERS)}")

    async def _flush(self, peer: Peer, ref: Ref | None) -> Mapping[str, object]:
        host = self._floor().host
        await self._record(peer, "agent flush", ref)
        count = await host.reading.bridge().run(lambda: host.flush(ref))
        self._floor().answers.remembered.forget()
        self._floor().journal.say("flushed", count=count, user=peer.uid)
        return {"flushed": count}

    async def _log_level(self, peer: Peer, level: object) -> Mapping[str, object]:
        floor = self._floor()
        if level is not None:
            if level not in LOG_LEVELS:
                raise InvalidInputError("there is no such log level", hint=f"one of {', '.join(LOG_LEVELS)}")
            await self._record(peer, f"agent log_level={level}")
            floor.journal.say("the log level was changed", log_level=level, user=peer.uid)
            floor.host.mode.log_level = str(level)
            floor.journal.level = str(level)
        return {"log_level": floor.journal.level}

    async def _record(self, peer: Peer, what: str, ref: Ref | None = None) -> None:
        host = self._floor().host
        event = event_of(host.actor(peer.uid), Action.ADMINISTER, ref, "done", reason=what)
        await host.reading.bridge().run(lambda: host.recorder.append(event))

    # --- how it is -----------------------------------------------------------------------------------

    def status(self) -> Mapping[str, object]:
        """Tell how the agent is: plain JSON types, no values."""
        import msgspec  # noqa: PLC0415 -- only who asks pays for it

        floor = self._floor()
        told = {
            **self._facts,
            "pid": os.getpid(),
            "uptime_seconds": round(boot_seconds() - self._since, 3),
            "log_level": floor.journal.level,
            "is_draining": floor.is_draining,
            "connections": len(floor.lines),
            "connections_of": {str(uid): count for uid, count in list(floor.of_user.items())},
            "connections_ended": dict(floor.closed),
            "reads": floor.served + sum(line.reads for line in list(floor.lines)),
            "announced": len(floor.announced),
            "verified": dict(floor.verifying.status()),
            "answers_kept": len(floor.answers.remembered),
            **cast("Mapping[str, object]", msgspec.to_builtins(floor.host.status())),
            **{name: tell() for name, tell in self._more.items()},
        }
        return cast("Mapping[str, object]", json.loads(msgspec.json.encode(told)))


def _ref_of(order: Mapping[str, object]) -> Ref | None:
    """Give the Ref an order names, None where it names none."""
    name, kind, team = order.get("name"), order.get("kind"), order.get("team")
    if name is None and kind is None and team is None:
        return None
    if not isinstance(name, str) or kind not in _KINDS or not isinstance(team, str | None):
        raise InvalidInputError(
            "an order about one entry names its kind and name, and its team if it has one"
        )
    return Ref(cast("Kind", kind), name, team)
