"""What an agent's backends hold, without values: the `inventory` of an agent's room."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from strongroom.caller.channel import no_answer
from strongroom.place import AGENT, elsewhere
from strongroom.remote.listed import RemoteInventory
from strongroom.wire.listed import MAX_LISTED, HostPage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.caller.agent import AgentClient

__all__ = ["HostListed"]

T = TypeVar("T")

_WHAT = {"/inventory": "rows", "/inventory/counts": "counts", "/inventory/clashes": "clashes"}


class HostListed(RemoteInventory):
    """
    List what the user of this process may list at an agent.

    Threads: may be used from several threads at once, and after a fork.

    Args:
        agent: asks it.
        setting: the variable that names the agent's place, where that is known.
    """

    def __init__(self, agent: AgentClient, setting: str | None = None) -> None:
        self._asking = _Asking(agent, setting)
        super().__init__(self._asking)

    @property
    def places(self) -> tuple[str, ...]:
        """Names of the agent's backends, in the order they are asked."""
        return tuple(self._asking.get("/inventory", HostPage, {"limit": 1}).places)


class _Asking:
    """Asks an agent by frames what a server is asked over HTTP."""

    def __init__(self, agent: AgentClient, setting: str | None) -> None:
        self._agent = agent
        self._setting = setting

    def get(self, path: str, type_: type[T], query: Mapping[str, Any] | None = None) -> T:
        """
        Give what is answered at *path*.

        Raises:
            SettingsError: an agent has no such list.
            As `AgentClient.read`.
        """
        if path not in _WHAT:
            raise elsewhere("deleted entries are listed", setting=self._setting, kind=AGENT)
        said = dict(query or {})
        after, limit = said.pop("cursor", None), said.pop("limit", None)
        question = {
            "what": _WHAT[path],
            "after": after,
            "limit": MAX_LISTED if limit is None else min(int(limit), MAX_LISTED),
            "filter": {name: value for name, value in said.items() if value is not None},
        }
        told = self._agent.inventory(json.dumps(question))
        try:
            return msgspec.json.decode(told, type=HostPage if path == "/inventory" else type_)  # type: ignore[return-value]  # a page of an agent's is one of a server's
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        raise no_answer(self._agent.path)
