"""A Room: one deployment and everything that can be done in it, as a bundle of nouns."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from strongroom.policy import Actor
    from strongroom.service.audit import AuditTrail
    from strongroom.service.backends import Backends
    from strongroom.service.doctor import Doctor
    from strongroom.service.entries import Entries
    from strongroom.service.inventory import Inventory
    from strongroom.service.keys import Keys
    from strongroom.service.lookup import Lookup
    from strongroom.service.transfer import Transfer

__all__ = ["Parts", "Room"]


class Parts(Protocol):
    """Makes the nouns of a room, each when it is first asked for: a process that reads loads no writer."""

    def entries(self, room: Room) -> Entries: ...
    def inventory(self, room: Room) -> Inventory: ...
    def transfer(self, room: Room) -> Transfer: ...
    def backends(self, room: Room) -> Backends: ...
    def keys(self, room: Room) -> Keys: ...
    def audit(self, room: Room) -> AuditTrail: ...
    def doctor(self, room: Room) -> Doctor: ...
    def close(self) -> None: ...


class Room:
    """
    One deployment, opened by one actor.

    Use it as a context manager, or `close` it.

    Threads: may be used from several at once; a process that forks opens a new one.

    Attributes:
        deployment: its name.
        actor: who this process acts as.
        lookup: read.
        entries, inventory, transfer, backends, keys, audit, doctor: everything else, one noun each.
    """

    def __init__(self, *, deployment: str, actor: Actor, lookup: Lookup, parts: Parts) -> None:
        self.deployment = deployment
        self.actor = actor
        self.lookup = lookup
        self._parts = parts

    @cached_property
    def entries(self) -> Entries:
        """Describe, write, delete, bring back, reveal."""
        return self._parts.entries(self)

    @cached_property
    def inventory(self) -> Inventory:
        """What there is, without values."""
        return self._parts.inventory(self)

    @cached_property
    def transfer(self) -> Transfer:
        """Import and export."""
        return self._parts.transfer(self)

    @cached_property
    def backends(self) -> Backends:
        """What stands where in the chain, and how each is."""
        return self._parts.backends(self)

    @cached_property
    def keys(self) -> Keys:
        """The keys of the store, never their bytes."""
        return self._parts.keys(self)

    @cached_property
    def audit(self) -> AuditTrail:
        """What happened."""
        return self._parts.audit(self)

    @cached_property
    def doctor(self) -> Doctor:
        """What is not as it should be."""
        return self._parts.doctor(self)

    def close(self) -> None:
        """Let go of files, connections and threads. Safe to call twice."""
        self._parts.close()

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()
