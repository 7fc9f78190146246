"""How often a key was used, the one re-wrap job of a deployment, and what finds the versions under a key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count what each key has sealed so far: every version that stands under it."""
    op.create_table(
        "kek_uses",
        sa.Column("kek_id", sa.LargeBinary(16), sa.ForeignKey("keks.id"), primary_key=True),
        sa.Column("wraps", sa.BigInteger, nullable=False),
    )
    op.execute(
        "INSERT INTO kek_uses (kek_id, wraps)"
        " SELECT id, (SELECT count(*) FROM versions WHERE versions.kek_id = keks.id) FROM keks"
    )
    op.create_table(
        "key_jobs",
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
    op.create_index("versions_by_key", "versions", ["kek_id", "entry_id"])
    op.drop_index("ix_versions_kek_id", "versions")


def downgrade() -> None:
    """Forget both; nothing that opens a value stands in them."""
    op.create_index("ix_versions_kek_id", "versions", ["kek_id"])
    op.drop_index("versions_by_key", "versions")
    op.drop_table("key_jobs")
    op.drop_table("kek_uses")
