"""`/backups`: the store backed up where the settings say, for whom they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.server.endpoint import Endpoint
from strongroom.wire.backup import BackupMade, BackupRow, Backups

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]


def create(call: Call) -> BackupMade:
    """Back the whole store up; nobody is held up by it."""
    made = call.room.backups.create()
    return BackupMade(
        file=made.file,
        id=made.id,
        at=made.at,
        size=made.size,
        key=made.key,
        deployments=list(made.deployments),
        entries=made.entries,
        versions=made.versions,
        recipients=list(made.recipients),
    )


def backups(call: Call) -> Backups:
    """Give the files that are kept; nothing of them is proven."""
    return Backups(
        backups=[
            BackupRow(file=one.file, size=one.size, finished_at=one.at) for one in call.room.backups.list()
        ]
    )


ENDPOINTS = (
    Endpoint(
        "GET", "/backups", backups, "List the backups that are kept", "backups", gives=Backups, errors=(409,)
    ),
    Endpoint(
        "POST",
        "/backups",
        create,
        "Back the store up",
        "backups",
        gives=BackupMade,
        errors=(409, 503),
        needs_proof=True,
        cost=50.0,
    ),
)
