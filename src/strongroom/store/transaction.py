"""One writing transaction: everything in it stands when it ends, or nothing does."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

import sqlalchemy as sa

from strongroom.store import rows, schema, sqlite

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.store.rows import (
        ChangeRow,
        EntryRow,
        HeadRow,
        KekRow,
        RegistryRow,
        VersionRow,
        WrapRow,
    )

__all__ = ["Transaction", "begin"]

# Built once: SQLAlchemy caches what it compiles by the statement's shape.
_INSERT_ENTRY = sa.insert(schema.entries)
_INSERT_VERSION = sa.insert(schema.versions)
_INSERT_CHANGE = sa.insert(schema.changes)
_UPDATE_ENTRY = sa.update(schema.entries).where(schema.entries.c.id == sa.bindparam("row_id"))
_DELETE_REGISTRY = sa.delete(schema.registry).where(
    schema.registry.c.deployment == sa.bindparam("of_deployment"),
    schema.registry.c.kind == sa.bindparam("of_kind"),
    schema.registry.c.id == sa.bindparam("of_id"),
)
_PUT_REGISTRY = sa.insert(schema.registry).prefix_with("OR REPLACE")
_PUT_HEAD = sa.insert(schema.registry_heads).prefix_with("OR REPLACE")


class Transaction:
    """
    What may be done inside one transaction.

    Trust: rows are written as given; sealing and authenticating them is the caller's business.
    Threads: one.
    Consistency: it began IMMEDIATE, so nobody else writes between a read in here and a write.
    """

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        driver = connection.connection.driver_connection
        if not isinstance(driver, sqlite3.Connection):
            raise TypeError("the driver of a store is sqlite3")
        self._driver = driver

    def current(self, deployment: str, team: str, kind: str, name: str) -> EntryRow | None:
        """Give the entry under exactly this name with the sealed bytes of its current version."""
        return rows.current(self._driver, deployment, team, kind, name)

    def version(self, entry_id: bytes, number: int) -> VersionRow | None:
        """Give one version of an entry."""
        return rows.version(self._driver, entry_id, number)

    def has_version(self, entry_id: bytes, number: int) -> bool:
        """Tell whether an entry has one version."""
        return rows.has_version(self._driver, entry_id, number)

    def keks(self, deployment: str, team: str) -> list[KekRow]:
        """Give the keys of one team, oldest first."""
        return rows.keks(self._driver, deployment, team)

    def wraps(self, kek_id: bytes) -> list[WrapRow]:
        """Give the wrapped forms of one key."""
        return rows.wraps(self._driver, kek_id)

    def has_entries(self, deployment: str, team: str | None) -> bool:
        """Tell whether a team ('' for none), or with None the deployment, has any entry, deleted or not."""
        return rows.has_entries(self._driver, deployment, team)

    def expired(self, deployment: str, now: int, limit: int) -> list[EntryRow]:
        """Give up to *limit* entries that stand and whose time was up at *now* (microseconds)."""
        return rows.expired(self._driver, deployment, now, limit)

    def head(self, deployment: str) -> HeadRow | None:
        """Give the head of a deployment's registry."""
        return rows.head(self._driver, deployment)

    def registry(self, deployment: str, after: int | None = None) -> list[RegistryRow]:
        """Give the rows of a deployment's registry, all or those written after the revision *after*."""
        # Damaged text as it comes: one row made unreadable must fail when it is authenticated.
        self._driver.text_factory = sqlite.damaged_text
        try:
            return rows.registry(self._driver, deployment, after)
        finally:
            self._driver.text_factory = str

    def clear_registry(self, deployment: str) -> None:
        """Take every row of a deployment's registry away, whatever stands in it."""
        self._connection.execute(sa.delete(schema.registry).where(schema.registry.c.deployment == deployment))

    def change_registry(
        self, head: HeadRow, written: Sequence[RegistryRow], deleted: Sequence[tuple[str, str]]
    ) -> None:
        """
        Write and delete rows of one deployment's registry, and its head.

        Args:
            head: the one that stands from now on.
            written: put in the place of what has the same kind and id.
            deleted: kind and id of each.
        """
        if deleted:
            self._connection.execute(
                _DELETE_REGISTRY,
                [
                    {"of_deployment": head.deployment, "of_kind": kind, "of_id": row_id}
                    for kind, row_id in deleted
                ],
            )
        if written:
            self._connection.execute(_PUT_REGISTRY, [row._asdict() for row in written])
        self._connection.execute(_PUT_HEAD, head._asdict())

    def add_kek(self, kek: KekRow, wraps: Sequence[WrapRow]) -> None:
        """Add one key with its wrapped forms."""
        self._connection.execute(sa.insert(schema.keks), kek._asdict())
        self._connection.execute(sa.insert(schema.kek_wraps), [wrap._asdict() for wrap in wraps])

    def add_entries(self, entries: Sequence[EntryRow]) -> None:
        """Add entries that were not there."""
        if entries:
            self._connection.execute(_INSERT_ENTRY, [_columns(entry) for entry in entries])

    def change_entries(self, entries: Sequence[EntryRow]) -> None:
        """Replace every column of entries that are there, found by their id."""
        if entries:
            self._connection.execute(
                _UPDATE_ENTRY, [{"row_id": entry.id, **_columns(entry)} for entry in entries]
            )

    def add_versions(self, versions: Sequence[VersionRow]) -> None:
        """Add versions; their entries and keys must stand."""
        if versions:
            self._connection.execute(_INSERT_VERSION, [version._asdict() for version in versions])

    def prune_changes(self, deployment: str, up_to: int) -> None:
        """Forget the changes of *deployment* up to a sequence number, and remember that."""
        table, key = schema.changes, rows.PRUNED + deployment
        self._connection.execute(
            sa.delete(table).where(table.c.deployment == deployment, table.c.sequence <= up_to)
        )
        self._connection.execute(sa.delete(schema.settings).where(schema.settings.c.key == key))
        self._connection.execute(sa.insert(schema.settings), {"key": key, "value": str(up_to)})

    def add_changes(self, deployment: str, changes: Sequence[ChangeRow]) -> None:
        """Add changes in order; their sequence numbers are given by the database."""
        if changes:
            self._connection.execute(
                _INSERT_CHANGE,
                [
                    {
                        "deployment": deployment,
                        "team": change.team,
                        "kind": change.kind,
                        "name": change.name,
                        "version": change.version,
                    }
                    for change in changes
                ],
            )


def _columns(entry: EntryRow) -> dict[str, object]:
    columns = entry._asdict()
    del columns["sealed"]
    return columns


@contextmanager
def begin(engine: sa.Engine, *, name: str) -> Iterator[Transaction]:
    """
    Run one transaction on *engine* of the store called *name*: committed when the block ends,
    undone when anything is raised, Ctrl-C included.

    Raises:
        BackendUnavailableError: another writer held on too long, or the disk is full or failing.
        TamperedError, ReadOnlyError: as `sqlite.translate` says.
    """
    try:
        with engine.connect() as connection, connection.begin():
            yield Transaction(connection)
    except sa.exc.TimeoutError:
        raise sqlite.busy(name) from None
    except sa.exc.DBAPIError as error:
        origin = error.orig if isinstance(error.orig, sqlite3.Error) else sqlite3.Error()
        raise sqlite.translate(origin, name=name) from None
    except sqlite3.Error as error:
        raise sqlite.translate(error, name=name) from None
