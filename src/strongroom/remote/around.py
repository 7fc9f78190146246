"""What stands around the entries of a server: its backends, keys, deployments and record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.backend import Health
from strongroom.place import elsewhere
from strongroom.service.audit import AuditTrail, Record, Verdict
from strongroom.service.backends import BackendRow, Backends, Checked
from strongroom.service.deployments import DeploymentInfo, Deployments
from strongroom.service.inventory import Counts
from strongroom.service.keys import Keys, KeyStatus
from strongroom.wire.audit import AuditPage, RecordRow, Verified
from strongroom.wire.place import Backends as BackendsTold
from strongroom.wire.place import CheckedBackends, DeploymentView
from strongroom.wire.place import Deployments as DeploymentsTold
from strongroom.wire.place import Keys as KeysTold

if TYPE_CHECKING:
    from typing import Any

    from strongroom.client import Client

__all__ = ["RemoteAudit", "RemoteBackends", "RemoteDeployments", "RemoteKeys"]

_MAX_RECORDS = 1000  # in one answer


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
                    status=one.status, message=one.message, ends=one.ends, renewed=frozenset(one.renewed)
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


class RemoteKeys(Keys):
    """Tell about the keys of a server's store. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def status(self) -> list[KeyStatus]:
        """Give the keys by store, team and number. As `Keys.status`."""
        return [
            KeyStatus(
                id=row.id,
                number=row.number,
                team=row.team,
                state=row.state,  # type: ignore[arg-type]  # a newer server's word is shown as it is
                wrapped_by=tuple(row.wrapped_by),
                sealed_versions=row.sealed_versions,
                created_at=row.created_at,
            )
            for row in self._client.get("/keys", KeysTold).keys
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


class RemoteAudit(AuditTrail):
    """Look at a server's record. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def folder(self) -> Path:
        """Where it is kept: nowhere here; the server, for what is told to people."""
        return Path(self._client.authority)

    def close(self) -> None:
        """Do nothing: the room closes what it asks with."""

    def tail(self, n: int = 20) -> list[Record]:
        """Give the last *n* records, oldest first."""
        found: list[RecordRow] = []
        cursor: str | None = None
        while len(found) < n:
            query: dict[str, Any] = {"limit": min(n - len(found), _MAX_RECORDS), "cursor": cursor}
            page = self._client.get("/audit", AuditPage, query)
            found += page.records
            cursor = page.cursor
            if cursor is None:
                break
        return [_record(row) for row in reversed(found)]

    def verify(self, **_options: Any) -> Verdict:  # noqa: ANN401 -- what only a copy can be proven with
        """Have the server check every record; who does not trust it verifies a copy of the log."""
        told = self._client.post("/audit/verify", Verified, is_repeatable=True)
        return Verdict(
            is_ok=told.is_ok,
            count=told.count,
            index=told.index,
            reason=told.reason,
            repairs=tuple(told.repairs),
        )

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise elsewhere("this is done with the record")


def _record(row: RecordRow) -> Record:
    return Record(
        actor=row.actor,
        assurance=row.assurance,
        action=row.action,
        kind=row.kind,
        name=row.name,
        team=row.team,
        outcome=row.outcome,
        reason=row.reason,
        backend=row.backend,
        version=row.version,
        seq=row.seq,
        at=f"{row.at:%Y-%m-%dT%H:%M:%S.%f}Z",
        deployment=str(row.more.get("deployment", "")),
        prev=str(row.more.get("prev", "")),
        hash=row.hash,
    )
