"""
Backups of a store: made, proven, tried out, and brought back.

A backup is one file (`file.py`): every row of the store as it stood in one moment, sealed to recipients whose
identities are kept elsewhere, with a manifest (`manifest.py`) that is signed by the key that signs the
record of what happened. Nothing but a recovery identity is needed to open it, and nothing but the record to
tell what is lost by going back to it (`span.py`).

Rules of this folder:

1. The signature is checked before anything of a backup is believed, and what is believed is proven again
   where it was laid out: `staging.py`.
2. Nothing is changed before a person has seen what is lost. Going back behind acknowledged changes is said
   so, in words, by whoever does it, and recorded.
3. Killed anywhere: the old state or the new one.
"""

from __future__ import annotations

from strongroom.service.backup.backups import Backups, Checked, Drilled, Restoring
from strongroom.service.backup.kept import KeptBackup, KeptBackups, MadeBackup
from strongroom.service.backup.making import Made, Source
from strongroom.service.backup.manifest import Manifest
from strongroom.service.backup.span import Lost, Span
from strongroom.service.backup.staging import Proven

__all__ = [
    "Backups",
    "Checked",
    "Drilled",
    "KeptBackup",
    "KeptBackups",
    "Lost",
    "Made",
    "MadeBackup",
    "Manifest",
    "Proven",
    "Restoring",
    "Source",
    "Span",
]
