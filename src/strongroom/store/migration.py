"""
How an empty or older store becomes a current one: all revisions in one transaction, or none.

Importing this file loads Alembic (0.4 s); only creating and migrating do.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config

if TYPE_CHECKING:
    import sqlalchemy as sa

    from strongroom.store.engine import Engine

__all__ = ["MIGRATIONS", "run"]

MIGRATIONS = Path(__file__).parent / "migrations"


def run(engine: Engine, *, location: Path = MIGRATIONS) -> None:
    """
    Bring the store of *engine* to the newest revision of *location*; call under `engine.creating`.

    Args:
        engine: where the tables stand, or shall.
        location: a folder of Alembic migrations.

    Raises:
        BackendUnavailableError: the disk is full or failing, or another process writes.
    """
    with engine.migrating() as connection:
        command.upgrade(_config(connection, location), "head")


def _config(connection: sa.Connection, location: Path) -> Config:
    config = Config()
    # Alembic's configuration interpolates: a '%' in a path is written twice.
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
