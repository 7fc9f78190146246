"""A Room: one deployment and everything that can be done in it, as a frozen bundle of nouns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.policy import Actor

if TYPE_CHECKING:
    from strongroom.service.audit import AuditTrail
    from strongroom.service.backends import Backends
    from strongroom.service.doctor import Doctor
    from strongroom.service.entries import Entries
    from strongroom.service.inventory import Inventory
    from strongroom.service.keys import Keys
    from strongroom.service.lookup import Lookup
    from strongroom.service.transfer import Transfer

__all__ = ["Room"]


@dataclass(frozen=True, kw_only=True)
class Room:
    """
    One deployment, opened by one actor.

    Use it as a context manager, or `close` it. Threads: may be used from several at once; a
    process that forks opens a new one.

    Args:
        deployment: its name.
        actor: who this process acts as.
    """

    deployment: str
    actor: Actor
    lookup: Lookup
    entries: Entries
    inventory: Inventory
    transfer: Transfer
    backends: Backends
    keys: Keys
    audit: AuditTrail
    doctor: Doctor
    on_close: Callable[[], None] = field(repr=False)

    def close(self) -> None:
        """Let go of files, connections and threads. Safe to call twice."""
        self.on_close()

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()
