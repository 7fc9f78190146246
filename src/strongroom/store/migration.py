"""
How an older store becomes a current one, and a current one the one before: all of it or nothing.

Killed anywhere, the store is of the old or the new revision. SQLite and PostgreSQL change tables inside a
transaction; MariaDB commits each change, so there the revision is written after all of them on the way
forward and before all of them on the way back, and what is older than it should be is done again.

Importing this file loads Alembic (0.4 s); only migrating does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory

from strongroom.errors import BackendConfigError

if TYPE_CHECKING:
    from strongroom.store.engine import Engine

__all__ = ["MIGRATIONS", "back", "run"]

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "schema_revision"
"""Not Alembic's own name for it: Airflow's database has that table too, and must never look like ours."""


def run(engine: Engine, *, location: Path = MIGRATIONS, target: str = "head") -> None:
    """
    Bring the store of *engine* to the newest revision of *location*; call under `engine.creating`.

    Args:
        engine: where the tables stand, or shall.
        location: a folder of Alembic migrations.
        target: the revision to stop at: a backup is laid out in the schema it was made in.

    Raises:
        BackendUnavailableError: the disk is full or failing, or another process writes.
    """
    with engine.migrating() as connection:
        command.upgrade(_config(connection, location), target)


def back(engine: Engine, *, location: Path = MIGRATIONS) -> str:
    """
    Take the newest revision of *location* back, and give the one that stands then; call under
    `engine.creating`, on a store of the newest revision that nobody else has open.

    What only the newest revision has room for is lost.

    Args:
        engine: where the tables stand.
        location: as of `run`.

    Raises:
        BackendConfigError: that revision cannot be taken back, or is not the store's.
        BackendUnavailableError: as `run`.
    """
    with engine.migrating() as connection:
        scripts = ScriptDirectory.from_config(_config(connection, location))
        newest = scripts.get_revision(scripts.get_current_head() or "")
        older = newest.down_revision
        undo = getattr(newest.module, "downgrade", None)
        if undo is None or not isinstance(older, str):
            raise BackendConfigError(f"the schema {newest.revision} cannot be taken back")
        written = sa.text(f"UPDATE {VERSION_TABLE} SET version_num = :older WHERE version_num = :newest")  # noqa: S608 -- ours
        if connection.execute(written, {"older": older, "newest": newest.revision}).rowcount != 1:
            raise BackendConfigError(
                f"the store is not of the schema {newest.revision}; it was left as it is"
            )
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        with Operations.context(context):
            undo()
    return older


def _config(connection: sa.Connection, location: Path) -> Config:
    config = Config()
    # Alembic's configuration interpolates: a '%' in a path is written twice.
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
