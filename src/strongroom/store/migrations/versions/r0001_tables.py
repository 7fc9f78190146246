"""The first tables."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table, and give the store its id."""
    settings = op.create_table(
        "settings",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.bulk_insert(settings, [{"key": "store_id", "value": secrets.token_hex(16)}])
    _make_keys()
    _make_entries()
    op.create_table(
        "changes",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("team", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Integer),
        sqlite_autoincrement=True,
    )


def _make_keys() -> None:
    op.create_table(
        "keks",
        sa.Column("id", sa.LargeBinary(16), primary_key=True),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("team", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("canary", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("deployment", "team", "number"),
    )
    op.create_table(
        "kek_wraps",
        sa.Column("kek_id", sa.LargeBinary(16), sa.ForeignKey("keks.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
    )


def _make_entries() -> None:
    entries = op.create_table(
        "entries",
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
        sa.UniqueConstraint("deployment", "team", "kind", "name"),
    )
    op.create_index(
        "entries_expiring",
        "entries",
        ["deployment", "expires_at"],
        sqlite_where=entries.c.expires_at.is_not(None),
        postgresql_where=entries.c.expires_at.is_not(None),
    )
    op.create_table(
        "versions",
        sa.Column("entry_id", sa.LargeBinary(16), sa.ForeignKey("entries.id"), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("kek_id", sa.LargeBinary(16), sa.ForeignKey("keks.id"), nullable=False, index=True),
        sa.Column("conn_type", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
