"""The room of a server: its nouns, each made when it is first asked for."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, NoReturn

from strongroom.place import elsewhere
from strongroom.policy import Actor, Assurance
from strongroom.remote.reads import RemoteLookup
from strongroom.service.room import Room

if TYPE_CHECKING:
    from strongroom.caller import Client
    from strongroom.model.connection import Dialect
    from strongroom.remote.listed import RemoteInventory
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

__all__ = ["RemoteRoom"]


class RemoteRoom(Room):
    """
    One deployment of a server, as whoever its token is of.

    Threads: may be used from several at once, and after a fork.

    Attributes:
        deployment: as it was asked for; "" where that is the server's first.
        actor: says only which server knows who acts; `access.whoami()` asks it.
    """

    def __init__(self, client: Client, *, dialect: Dialect = "core") -> None:
        lookup = RemoteLookup(client, dialect)
        super().__init__(
            deployment=client.address.deployment or "",
            actor=Actor(f"token:{client.authority}", Assurance.CLAIMED),
            lookup=lookup,
            parts=_Parts(client, lookup, dialect),
        )

    def as_actor(self, actor: Actor) -> Room:
        """Refuse another actor than the one the token is of."""
        if actor == self.actor:
            return self
        raise elsewhere("one acts as another")


class _Parts:
    """Makes the nouns, which need nothing of the room but the client."""

    def __init__(self, client: Client, lookup: RemoteLookup, dialect: Dialect) -> None:
        self._client = client
        self._dialect = dialect
        self._lookup = lookup
        self._listed: RemoteInventory | None = None

    def lookup(self, actor: Actor) -> Lookup:  # noqa: ARG002 -- there is one
        return self._lookup

    def entries(self, room: Room) -> Entries:  # noqa: ARG002 -- as Parts
        from strongroom.remote.kept import RemoteEntries  # noqa: PLC0415 -- reads do without

        return RemoteEntries(self._client, self._inventory(), lambda: datetime.now(timezone.utc))

    def inventory(self, room: Room) -> Inventory:  # noqa: ARG002 -- as Parts
        return self._inventory()

    def _inventory(self) -> RemoteInventory:
        from strongroom.remote.listed import RemoteInventory  # noqa: PLC0415 -- reads do without

        if self._listed is None:
            self._listed = RemoteInventory(self._client)
        return self._listed

    def register(self, room: Room) -> Registered:  # noqa: ARG002 -- as Parts
        from strongroom.remote.found import RemoteRegister  # noqa: PLC0415 -- reads do without

        return RemoteRegister(self._client)

    def transfer(self, room: Room) -> Transfer:
        from strongroom.service.transfer import Transfer  # noqa: PLC0415 -- reads do without

        return Transfer(room)

    def backends(self, room: Room) -> Backends:  # noqa: ARG002 -- as Parts
        from strongroom.remote.around import RemoteBackends  # noqa: PLC0415 -- reads do without

        return RemoteBackends(self._client)

    def keys(self, room: Room) -> Keys:  # noqa: ARG002 -- as Parts
        from strongroom.remote.keys import RemoteKeys  # noqa: PLC0415 -- reads do without

        return RemoteKeys(self._client)

    def backups(self, room: Room) -> KeptBackups:  # noqa: ARG002 -- as Parts
        from strongroom.remote.backups import RemoteBackups  # noqa: PLC0415 -- reads do without

        return RemoteBackups(self._client)

    def audit(self, room: Room) -> AuditTrail:  # noqa: ARG002 -- as Parts
        from strongroom.remote.recorded import RemoteAudit  # noqa: PLC0415 -- reads do without

        return RemoteAudit(self._client)

    def series(self, room: Room) -> Series:  # noqa: ARG002 -- as Parts
        from strongroom.remote.around import RemoteSeries  # noqa: PLC0415 -- reads do without

        return RemoteSeries(self._client)

    def deployments(self, room: Room) -> Deployments:  # noqa: ARG002 -- as Parts
        from strongroom.remote.around import RemoteDeployments  # noqa: PLC0415 -- reads do without

        return RemoteDeployments(self._client)

    def tests(self, room: Room) -> ConnectionTests:
        from strongroom.remote.tested import RemoteConnectionTests  # noqa: PLC0415 -- reads do without

        return RemoteConnectionTests(self._client, self._lookup, room.actor, self._dialect)

    def access(self, room: Room) -> Access:  # noqa: ARG002 -- as Parts
        from strongroom.remote.people import RemoteAccess  # noqa: PLC0415 -- reads do without

        return RemoteAccess(self._client)

    def policies(self, room: Room) -> Policies:  # noqa: ARG002 -- as Parts
        from strongroom.remote.ruled import RemotePolicies  # noqa: PLC0415 -- reads do without

        return RemotePolicies(self._client)

    def doctor(self, room: Room) -> Doctor:
        from strongroom.remote.examined import doctor_of  # noqa: PLC0415 -- reads do without

        return doctor_of(self._client, room)

    def reader(self, room: Room) -> Reader:  # noqa: ARG002 -- as Parts
        self._refuse("reads of many actors are answered")

    def changes(self, room: Room) -> Changes:  # noqa: ARG002 -- as Parts
        self._refuse("changes are gathered; `lookup.follow` follows one entry")

    def _refuse(self, what: str) -> NoReturn:
        raise elsewhere(what)

    def close(self) -> None:
        self._lookup.close()
        self._client.close()
