"""What stands around the entries of a server: its backends and deployments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.backend import Health
from strongroom.service.backends import BackendRow, Backends, Checked
from strongroom.service.deployments import DeploymentInfo, Deployments
from strongroom.service.inventory import Counts
from strongroom.wire.place import Backends as BackendsTold
from strongroom.wire.place import CheckedBackends, DeploymentView
from strongroom.wire.place import Deployments as DeploymentsTold

if TYPE_CHECKING:
    from strongroom.client import Client

__all__ = ["RemoteBackends", "RemoteDeployments"]


class RemoteBackends(Backends):
    """Tell about the backends of a server. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def check(self) -> tuple[Checked, ...]:
        """Have each backend asked how it is. As `Backends.check`."""
        told = self._client.post("/backends/check", CheckedBackends, is_repeatable=True)
        return tuple(
            Checked(
                name=one.name,
                health=Health(
                    status=one.status,
                    message=one.message,
                    ends=one.ends,
                    renewed=frozenset(one.renewed),
                    identity=one.identity,
                    is_reachable=one.is_reachable,
                    may=one.may,
                ),
                milliseconds=one.milliseconds,
            )
            for one in told.backends
        )

    def list(self) -> list[BackendRow]:
        """Give the backends in the order they are asked."""
        return [
            BackendRow(
                order=row.order,
                name=row.name,
                kind=row.kind,
                abilities=tuple(row.abilities),
                match=tuple(row.match),
                kinds=tuple(row.kinds),
                on_unavailable=row.on_unavailable,
            )
            for row in self._client.get("/backends", BackendsTold).backends
        ]


class RemoteDeployments(Deployments):
    """Tell about the deployments of a server. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> list[str]:
        """Give the names of the deployments that the actor is of."""
        return [row.name for row in self._client.get("/deployments", DeploymentsTold).deployments]

    def describe(self, name: str) -> DeploymentInfo:
        """Tell about one deployment. As `Deployments.describe`."""
        from urllib.parse import quote  # noqa: PLC0415 -- the client has it loaded

        told = self._client.get(f"/deployments/{quote(name, safe='')}", DeploymentView)
        return DeploymentInfo(
            name=told.name,
            chain=tuple(RemoteBackends(self._client).list()),
            teams=tuple(told.teams),
            counts=Counts(connections=told.connections, variables=told.variables),
        )
