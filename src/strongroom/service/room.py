"""A Room: one deployment and everything that can be done in it, as a bundle of nouns."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from strongroom.policy import Actor
    from strongroom.service.access import Access
    from strongroom.service.audit import AuditTrail
    from strongroom.service.backends import Backends
    from strongroom.service.backup import KeptBackups
    from strongroom.service.changes import Changes
    from strongroom.service.connection_tests import ConnectionTests
    from strongroom.service.deployments import Deployments
    from strongroom.service.doctor import Doctor
    from strongroom.service.entries import Entries
    from strongroom.service.inventory import Inventory
    from strongroom.service.keys import Keys
    from strongroom.service.lookup import Lookup
    from strongroom.service.policies import Policies
    from strongroom.service.reading import Reader
    from strongroom.service.registered import Registered
    from strongroom.service.series import Series
    from strongroom.service.transfer import Transfer

__all__ = ["Parts", "Room"]

_MAX_OTHERS = 4096  # actors remembered; one more and the one remembered longest is forgotten


class Parts(Protocol):
    """Makes the nouns of a room, each when it is first asked for: a process that reads loads no writer."""

    def lookup(self, actor: Actor) -> Lookup: ...
    def reader(self, room: Room) -> Reader: ...
    def entries(self, room: Room) -> Entries: ...
    def inventory(self, room: Room) -> Inventory: ...
    def register(self, room: Room) -> Registered: ...
    def transfer(self, room: Room) -> Transfer: ...
    def backends(self, room: Room) -> Backends: ...
    def keys(self, room: Room) -> Keys: ...
    def backups(self, room: Room) -> KeptBackups: ...
    def audit(self, room: Room) -> AuditTrail: ...
    def series(self, room: Room) -> Series: ...
    def doctor(self, room: Room) -> Doctor: ...
    def access(self, room: Room) -> Access: ...
    def policies(self, room: Room) -> Policies: ...
    def changes(self, room: Room) -> Changes: ...
    def deployments(self, room: Room) -> Deployments: ...
    def tests(self, room: Room) -> ConnectionTests: ...
    def close(self) -> None: ...


class Room:
    """
    One deployment, opened by one actor.

    Use it as a context manager, or `close` it; a room that `as_actor` gave closes with the one it came from.

    Threads: may be used from several at once; a process that forks opens a new one.

    Attributes:
        deployment: its name.
        actor: who acts here.
        entries, inventory, register, transfer, backends, keys, backups, audit, series, doctor, access,
            policies, changes, deployments, tests: one noun each; what reads stands in `lookup`, and in
            `reader` for many at once.
    """

    def __init__(
        self,
        *,
        deployment: str,
        actor: Actor,
        lookup: Lookup | None = None,
        parts: Parts,
        root: Room | None = None,
    ) -> None:
        self.deployment = deployment
        self.actor = actor
        self._parts = parts
        self._root = self if root is None else root
        self._others: dict[Actor, Room] = {}
        if lookup is not None:
            self.lookup = lookup

    def as_actor(self, actor: Actor) -> Room:
        """
        Give this room as *actor*, who has been authenticated: the same parts, his decisions and records.

        The same object while he is remembered; making one takes some microseconds.
        """
        root = self._root
        if actor == root.actor:
            return root
        others = root._others  # noqa: SLF001 -- the same class
        found = others.get(actor)
        if found is None:
            found = Room(deployment=self.deployment, actor=actor, parts=self._parts, root=root)
            while len(others) >= _MAX_OTHERS:
                others.pop(next(iter(others)), None)
            others[actor] = found
        return found

    @cached_property
    def lookup(self) -> Lookup:
        """Read."""
        return self._parts.lookup(self.actor)

    @cached_property
    def reader(self) -> Reader:
        """Read many at once, beside a loop."""
        return self._parts.reader(self)

    @cached_property
    def entries(self) -> Entries:
        """Describe, write, delete, bring back, reveal."""
        return self._parts.entries(self)

    @cached_property
    def inventory(self) -> Inventory:
        """What there is, without values."""
        return self._parts.inventory(self)

    @cached_property
    def register(self) -> Registered:
        """All there is at once: found by words and facets, counted, in any order."""
        return self._parts.register(self)

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
    def backups(self) -> KeptBackups:
        """Backups in the folder of the settings."""
        return self._parts.backups(self)

    @cached_property
    def audit(self) -> AuditTrail:
        """What happened."""
        return self._parts.audit(self)

    @cached_property
    def series(self) -> Series:
        """How much is read, minute by minute."""
        return self._parts.series(self)

    @cached_property
    def doctor(self) -> Doctor:
        """What is not as it should be."""
        return self._parts.doctor(self)

    @cached_property
    def access(self) -> Access:
        """People, tokens, sessions and roles."""
        return self._parts.access(self)

    @cached_property
    def policies(self) -> Policies:
        """Who may do what, and why."""
        return self._parts.policies(self)

    @cached_property
    def changes(self) -> Changes:
        """What changed, and who wants to know."""
        return self._parts.changes(self)

    @cached_property
    def deployments(self) -> Deployments:
        """This deployment, and the others where it may be told."""
        return self._parts.deployments(self)

    @cached_property
    def tests(self) -> ConnectionTests:
        """Whether connections work, and how tests of them went."""
        return self._parts.tests(self)

    def close(self) -> None:
        """Let go of files, connections and threads. Safe to call twice."""
        if self._root is self:
            self._parts.close()

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_details: object) -> None:
        self.close()
