"""Backups in the folder of the settings: made there by a server that is asked, and listed."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import ConflictError
from strongroom.policy import Action

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from strongroom.policy import Actor
    from strongroom.service.backup.making import Made
    from strongroom.service.guard import Guard

__all__ = ["KeptBackup", "KeptBackups", "MadeBackup"]

_SUFFIX = ".srb"
_SHOWN = 1000  # newest


class KeptBackup(NamedTuple):
    """
    One file.

    Args:
        file: its name.
        size: in bytes.
        at: when it was finished.
    """

    file: str
    size: int
    at: datetime


class MadeBackup(NamedTuple):
    """
    One that was made now.

    Args:
        file: its name.
        id: 16 bytes in hexadecimal.
        at: when its rows were read, as `Record.at`.
        size: in bytes.
        key: the verifier key of who signed it.
        recipients: whose identities open it.
    """

    file: str
    id: str
    at: str
    size: int
    key: str
    deployments: tuple[str, ...]
    entries: int
    versions: int
    recipients: tuple[str, ...]


class KeptBackups:
    """
    Make backups in one folder as one actor, and list them. Nobody but the settings says where, and for whom:
    who could name a recipient could have every value.

    Args:
        make: writes one to a path.
        folder: where; None where the settings name none.
        deployment: how files are called.
    """

    def __init__(
        self,
        make: Callable[[Path], Made],
        guard: Guard,
        actor: Actor,
        *,
        folder: Path | None,
        deployment: str,
        clock: Callable[[], datetime],
    ) -> None:
        self._make = make
        self._guard = guard
        self._actor = actor
        self._place = folder
        self._deployment = deployment
        self._clock = clock

    def create(self) -> MadeBackup:
        """
        Make one, called by the deployment and the time.

        Raises:
            AccessDeniedError: policy says no.
            ConflictError: the settings name no folder, or one was made in this very second.
            InvalidInputError: they name no recipient.
            SealedError, TamperedError, BackendConfigError, BackendUnavailableError: as `making.make`.
        """
        self._guard.check(self._actor, Action.ADMINISTER, None, None)
        name = f"{self._deployment}-{self._clock():%Y%m%dT%H%M%SZ}{_SUFFIX}"
        made = self._make(self._folder() / name)
        manifest = made.manifest
        return MadeBackup(
            file=name,
            id=manifest.id,
            at=manifest.at,
            size=made.size,
            key=made.key,
            deployments=manifest.deployments,
            entries=manifest.tables["entries"].rows,
            versions=manifest.tables["versions"].rows,
            recipients=manifest.recipients,
        )

    def newest(self) -> datetime | None:
        """
        Give when the newest was finished, for figures: nothing is decided, and nothing recorded.

        Raises:
            ConflictError: the settings name no folder.
        """
        found = self._list()
        return found[0].at if found else None

    def _list(self) -> list[KeptBackup]:
        found = []
        folder = self._folder()
        for entry in os.scandir(folder) if folder.is_dir() else ():
            # Drafts, which come and go while others are made, begin with a dot.
            if entry.name.startswith(".") or not entry.name.endswith(_SUFFIX):
                continue
            with suppress(FileNotFoundError):  # somebody keeps the folder small
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    at = datetime.fromtimestamp(status.st_mtime, timezone.utc)
                    found.append(KeptBackup(entry.name, status.st_size, at))
        return sorted(found, key=lambda one: (one.at, one.file), reverse=True)[:_SHOWN]

    def _folder(self) -> Path:
        if self._place is None:
            raise ConflictError("the settings name no folder for backups", hint="backup.folder")
        return self._place

    # --- last, because from here on `list` is not the builtin ---------------------------------------

    def list(self) -> list[KeptBackup]:
        """
        Give the newest 1,000 there are, newest first; nothing of them is proven.

        Raises:
            AccessDeniedError: policy says no.
            ConflictError: the settings name no folder.
        """
        return self._guard.administer(self._actor, self._list, reason="backup: list")
