"""
Who may: typed rows of a deployment that nobody changes unseen.

People, tokens, sessions, roles, policies, grants and the like are rows (kind, id, body) in the store.
What a body means is the business of whoever wrote it. The store is not trusted with more than keeping
bytes.

Rules of this package:

1. Every row carries a MAC under the deployment's key over all its columns: a row that was edited,
   moved or planted is noticed.
2. One head carries the revision, the count and a digest over the MACs of all live rows, with a MAC of
   its own: a row that was deleted, or put back as it stood before, is noticed.
3. The anchor, a file outside the store, holds the highest revision acknowledged: rows and head put
   back together, as by an old copy of the file, are noticed.
4. Whatever is noticed, nothing of the registry is believed until it is put right: every question is
   answered with `TamperedError`, and the alarm is raised once.
5. A change by another process on the host is seen within 0.5 s, and never later than one second after
   it: who cannot look for that long gives no answer at all.
6. What was last seen is remembered beside that, for whoever asks for it by name and only looks, for as long
   as the settings say (`remembered`). What was found to be tampered with, or moved away, is not.

The digest is SHA-256 over the digests of 256 buckets, each SHA-256 over the sorted MACs of its rows (a
row's bucket is the first byte of its MAC), so that a write costs one bucket and not all rows.
"""

from __future__ import annotations

from strongroom.registry.registry import Registry
from strongroom.registry.row import ABSENT, MAX_BODY_BYTES, Change, Row, Snapshot
from strongroom.registry.seal import Seal

__all__ = ["ABSENT", "MAX_BODY_BYTES", "Change", "Registry", "Row", "Seal", "Snapshot"]
