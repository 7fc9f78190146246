"""The backups that a server keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.service.backup.kept import KeptBackup, KeptBackups, MadeBackup
from strongroom.wire.backup import BackupMade
from strongroom.wire.backup import Backups as BackupsTold

if TYPE_CHECKING:
    from strongroom.caller import Client

__all__ = ["RemoteBackups"]


class RemoteBackups(KeptBackups):
    """Have a server back its store up, and list what it keeps. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self) -> MadeBackup:
        """Have the server make one where its settings say. As `KeptBackups.create`."""
        told = self._client.post("/backups", BackupMade)
        return MadeBackup(
            file=told.file,
            id=told.id,
            at=told.at,
            size=told.size,
            key=told.key,
            deployments=tuple(told.deployments),
            entries=told.entries,
            versions=told.versions,
            recipients=tuple(told.recipients),
        )

    def list(self) -> list[KeptBackup]:
        """Give the newest that the server keeps. As `KeptBackups.list`."""
        told = self._client.get("/backups", BackupsTold)
        return [KeptBackup(row.file, row.size, row.finished_at) for row in told.backups]
