"""
The one place where plaintext meets the store.

Above it are Secrets, below it rows of ciphertext. Not for policy, audit, caching or references:
whoever holds a Barrier may read and write everything of its deployment.

Rules of this folder:

1. A row is authenticated before any of it is believed, deleted or expired included; a row that
   fails is `TamperedError` for its own name, and no other name suffers.
2. Every change of value or metadata is a new version with author, time and comment; so
   `expected_version` guards both, and a follower sees both. Deleting and undeleting keep the
   version: they only hide and show it. All of them leave a line in `changes`, in the same
   transaction.
3. A key is made with its store (`create`) or with the first write of a team, inside that
   transaction, and never because a key was not found beside rows that need one.
4. Nothing is acknowledged before its transaction is on the disk.
5. The clock is read once an operation.

What is authenticated in a row, and how, says `store/record.py`; what is bound to a sealed value says
docs/envelope.md.
"""

from __future__ import annotations

from strongroom.barrier.barrier import ROTATOR, SWEEPER, Barrier, Change
from strongroom.barrier.proof import MAX_METADATA_BYTES
from strongroom.barrier.status import Job, KeyStatus, Rotated

__all__ = ["MAX_METADATA_BYTES", "ROTATOR", "SWEEPER", "Barrier", "Change", "Job", "KeyStatus", "Rotated"]
