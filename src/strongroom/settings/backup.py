"""What `[backup]` is: to whom backups of the store are sealed, and where they are put."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.errors import SettingsError

if TYPE_CHECKING:
    from strongroom.settings.table import Table

__all__ = ["BackupSettings", "backup_of"]

_RECIPIENT = re.compile(r"age1[02-9ac-hj-np-z]{58}", re.ASCII)  # Bech32 of 32 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSettings:
    """
    `[backup]`: how backups are made where the command does not say.

    Args:
        recipients: `age1…` each; the identity of any of them opens a backup.
        folder: where one is put that is given no name, and where a server puts those it is asked for.
    """

    recipients: tuple[str, ...] = ()
    folder: Path | None = None


def backup_of(table: Table) -> BackupSettings:
    """
    Make `[backup]` of its table.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    found = table.build(BackupSettings)
    for text in found.recipients:
        if not _RECIPIENT.fullmatch(text):
            raise SettingsError(
                "backup.recipients: each is age1 and 58 letters and digits",
                key="backup.recipients",
                hint="strongroom backup keygen prints one",
            )
    return found
