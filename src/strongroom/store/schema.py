"""
The tables of a store, as they stand after the last migration.

Rules of this file:

1. A secret is in no column: `versions.sealed` and `kek_wraps.wrapped` are ciphertext, everything
   else is public (what a thief of the file learns stands in `store.py`).
2. The migrations are the only way tables come into being; these descriptions serve the writing
   statements, and a test compares the two.
3. Times are whole microseconds since 1970-01-01 UTC; a team of '' means none (so that it may stand
   in a key); names order by code point (SQLite's BINARY collation over UTF-8).

Importing this file loads SQLAlchemy (about 0.3 s), so reading must not: `store.py` reads with plain
SQL and imports this file with the first write.
"""

from __future__ import annotations

import sqlalchemy as sa

__all__ = [
    "METADATA",
    "changes",
    "entries",
    "kek_uses",
    "kek_wraps",
    "keks",
    "key_jobs",
    "registry",
    "registry_heads",
    "settings",
    "versions",
]

METADATA = sa.MetaData()

settings = sa.Table(
    "settings",
    METADATA,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

keks = sa.Table(
    "keks",
    METADATA,
    sa.Column("id", sa.LargeBinary(16), primary_key=True),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.Column("team", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("canary", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("deployment", "team", "number"),
)

kek_wraps = sa.Table(
    "kek_wraps",
    METADATA,
    sa.Column("kek_id", sa.LargeBinary(16), sa.ForeignKey("keks.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
)

kek_uses = sa.Table(
    "kek_uses",
    METADATA,
    sa.Column("kek_id", sa.LargeBinary(16), sa.ForeignKey("keks.id"), primary_key=True),
    sa.Column("wraps", sa.BigInteger, nullable=False),
)

key_jobs = sa.Table(
    "key_jobs",
    METADATA,
    sa.Column("deployment", sa.Text, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started_at", sa.BigInteger, nullable=False),
    sa.Column("started_by", sa.Text, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("damaged", sa.BigInteger, nullable=False),
    sa.Column("reached", sa.LargeBinary(16), nullable=False),
    sa.Column("holder", sa.LargeBinary(16), nullable=False),
    sa.Column("beat_at", sa.BigInteger, nullable=False),
    sa.Column("finished_at", sa.BigInteger),
)

entries = sa.Table(
    "entries",
    METADATA,
    sa.Column("id", sa.LargeBinary(16), primary_key=True),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.Column("team", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("current_version", sa.Integer, nullable=False),
    sa.Column("is_deleted", sa.Integer, nullable=False),
    sa.Column("conn_type", sa.Text),
    sa.Column("description", sa.Text),
    sa.Column("tags", sa.Text, nullable=False),
    sa.Column("owner", sa.Text),
    sa.Column("remind_at", sa.BigInteger),
    sa.Column("not_after", sa.BigInteger),
    sa.Column("expires_at", sa.BigInteger),
    sa.Column("has_references", sa.Integer, nullable=False),
    sa.Column("changed_at", sa.BigInteger, nullable=False),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
    # Serves the read by name and the listing in the order of names.
    sa.UniqueConstraint("deployment", "team", "kind", "name"),
)
sa.Index(
    "entries_expiring",
    entries.c.deployment,
    entries.c.expires_at,
    sqlite_where=entries.c.expires_at.is_not(None),
    postgresql_where=entries.c.expires_at.is_not(None),
)

versions = sa.Table(
    "versions",
    METADATA,
    sa.Column("entry_id", sa.LargeBinary(16), sa.ForeignKey("entries.id"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("kek_id", sa.LargeBinary(16), sa.ForeignKey("keks.id"), nullable=False),
    sa.Column("conn_type", sa.Text),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
)

# Serves the re-wrap job: which entries still have a version under a key.
sa.Index("versions_by_key", versions.c.kek_id, versions.c.entry_id)

changes = sa.Table(
    "changes",
    METADATA,
    # BIGSERIAL and AUTO_INCREMENT; SQLite gives numbers of 64 bits to INTEGER alone.
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("deployment", sa.Text, nullable=False),
    sa.Column("team", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer),
    # A pruned sequence number must never come back: a follower would skip the change behind it.
    sqlite_autoincrement=True,
)

registry = sa.Table(
    "registry",
    METADATA,
    sa.Column("deployment", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
    # Serves "what changed since": a process follows the others by it.
    sa.Index("registry_changed", "deployment", "revision"),
)

registry_heads = sa.Table(
    "registry_heads",
    METADATA,
    sa.Column("deployment", sa.Text, primary_key=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("row_count", sa.Integer, nullable=False),
    sa.Column("digest", sa.LargeBinary, nullable=False),
    sa.Column("mac", sa.LargeBinary, nullable=False),
)
