"""
Write the tables of a new SQLite store as the migrations make them: `src/strongroom/store/sqlite_tables.sql`.

A store that is made runs these statements, and loads neither Alembic nor SQLAlchemy: 0.7 s of a cold
process. Run it after a migration was added; a test compares the two.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from strongroom.store import migration, sqlite
from strongroom.store.sqlite_engine import TABLES, SqliteEngine


def frozen() -> str:
    """Give the statements that make what all migrations make."""
    with tempfile.TemporaryDirectory() as folder:
        engine = SqliteEngine(Path(folder) / "store.db")
        with engine.creating():
            engine.prepare()
            migration.run(engine)
        with closing(sqlite3.connect(engine.path)) as connection:
            made = connection.execute(
                "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
                " ORDER BY rowid"
            ).fetchall()
        revision = sqlite.revision(engine.path, name="native")
    head = f"-- The tables of a new store, of revision {revision}; written by scripts/freeze_tables.py.\n"
    statements = [sql for (sql,) in made]
    statements.append(f"INSERT INTO schema_revision (version_num) VALUES ('{revision}')")  # noqa: S608 -- ours
    return head + "".join(f"\n{_trimmed(sql)};\n" for sql in statements)


def _trimmed(sql: str) -> str:
    return "\n".join(line.rstrip() for line in sql.splitlines())


if __name__ == "__main__":
    TABLES.write_text(frozen())
