"""
How an empty or older store becomes a current one: all revisions in one transaction, or none.

Importing this file loads Alembic (0.4 s); only creating and migrating do.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from strongroom.store import sqlite

__all__ = ["MIGRATIONS", "run"]

MIGRATIONS = Path(__file__).parent / "migrations"


def run(path: Path, *, name: str, location: Path = MIGRATIONS) -> None:
    """
    Bring the store at *path* to the newest revision of *location*; call under `sqlite.creating`.

    SQLite's DDL is transactional: killed at any point, the old tables stand as they were.

    Args:
        path: of the file.
        name: of the store in the settings, for errors.
        location: a folder of Alembic migrations.

    Raises:
        BackendUnavailableError: the disk is full or failing, or another process writes.
    """
    engine = sqlite.engine(path)
    try:
        with engine.begin() as connection:
            command.upgrade(_config(connection, location), "head")
    except sa.exc.DBAPIError as error:
        origin = error.orig if isinstance(error.orig, sqlite3.Error) else sqlite3.Error()
        raise sqlite.translate(origin, name=name) from None
    finally:
        engine.dispose()


def _config(connection: sa.Connection, location: Path) -> Config:
    config = Config()
    # Alembic's configuration interpolates: a '%' in a path is written twice.
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
