"""Shapes of backups: one that was made, and those that are kept."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time

from strongroom.wire.shape import Given

__all__ = ["BackupMade", "BackupRow", "Backups"]


class BackupMade(Given, kw_only=True):
    """
    A backup that was made.

    Args:
        file: its name in the folder of the server's settings.
        id: 16 bytes in hexadecimal.
        at: when its rows were read, as a record tells it.
        size: in bytes.
        key: the verifier key of who signed it.
        recipients: whose identities open it.
    """

    file: str
    id: str
    at: str
    size: int
    key: str
    deployments: list[str]
    entries: int
    versions: int
    recipients: list[str]


class BackupRow(Given, kw_only=True):
    """
    A file that is kept.

    Args:
        size: in bytes.
        finished_at: when.
    """

    file: str
    size: int
    finished_at: datetime


class Backups(Given, kw_only=True):
    """The newest 1,000, newest first."""

    backups: list[BackupRow]
