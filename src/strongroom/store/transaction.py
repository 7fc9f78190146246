"""
One writing transaction: everything in it stands when it ends, or nothing does.

Plain SQL as in `rows.py`, for the same reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.store import rows
from strongroom.store.rows import (
    PRUNED,
    ChangeRow,
    EntryRow,
    HeadRow,
    KekRow,
    RegistryRow,
    VersionRow,
    WrapRow,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.store.engine import Connection, Engine

__all__ = ["Transaction"]


def _insert(table: str, columns: Sequence[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 -- constants of the code


def _put(table: str, columns: Sequence[str], key: Sequence[str]) -> str:
    """Give the statement that writes a row, in the place of what stands under its key."""
    changed = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in key)
    return f"{_insert(table, columns)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changed}"


_ENTRY = EntryRow._fields[:-1]
_INSERT_ENTRY = _insert("entries", _ENTRY)
_UPDATE_ENTRY = f"UPDATE entries SET {', '.join(f'{column} = ?' for column in _ENTRY[1:])} WHERE id = ?"  # noqa: S608
_INSERT_VERSION = _insert("versions", VersionRow._fields)
_INSERT_KEK = _insert("keks", KekRow._fields)
_INSERT_WRAP = _insert("kek_wraps", WrapRow._fields)
_INSERT_CHANGE = _insert("changes", ("deployment", *ChangeRow._fields[1:]))
_DELETE_REGISTRY = "DELETE FROM registry WHERE deployment = ? AND kind = ? AND id = ?"
_PUT_REGISTRY = _put("registry", RegistryRow._fields, ("deployment", "kind", "id"))
_PUT_HEAD = _put("registry_heads", HeadRow._fields, ("deployment",))
_PUT_SETTING = _put("settings", ('"key"', "value"), ('"key"',))


class Transaction:
    """
    What may be done inside one transaction.

    Trust: rows are written as given; sealing and authenticating them is the caller's business.
    Threads: one.
    Consistency: nobody else writes between a read in here and a write.

    Attributes:
        connection: for what stands in no function of this file.
    """

    def __init__(self, connection: Connection, engine: Engine) -> None:
        self.connection = connection
        self._engine = engine

    def current(self, deployment: str, team: str, kind: str, name: str) -> EntryRow | None:
        """Give the entry under exactly this name with the sealed bytes of its current version."""
        return rows.current(self.connection, deployment, team, kind, name)

    def version(self, entry_id: bytes, number: int) -> VersionRow | None:
        """Give one version of an entry."""
        return rows.version(self.connection, entry_id, number)

    def has_version(self, entry_id: bytes, number: int) -> bool:
        """Tell whether an entry has one version."""
        return rows.has_version(self.connection, entry_id, number)

    def keks(self, deployment: str, team: str) -> list[KekRow]:
        """Give the keys of one team, oldest first."""
        return rows.keks(self.connection, deployment, team)

    def wraps(self, kek_id: bytes) -> list[WrapRow]:
        """Give the wrapped forms of one key."""
        return rows.wraps(self.connection, kek_id)

    def has_entries(self, deployment: str, team: str | None) -> bool:
        """Tell whether a team ('' for none), or with None the deployment, has any entry, deleted or not."""
        return rows.has_entries(self.connection, deployment, team)

    def expired(self, deployment: str, now: int, limit: int) -> list[EntryRow]:
        """Give up to *limit* entries that stand and whose time was up at *now* (microseconds)."""
        return rows.expired(self.connection, deployment, now, limit)

    def head(self, deployment: str) -> HeadRow | None:
        """Give the head of a deployment's registry."""
        return rows.head(self.connection, deployment)

    def registry(self, deployment: str, after: int | None = None) -> list[RegistryRow]:
        """Give the rows of a deployment's registry, all or those written after the revision *after*."""
        # Damaged text as it comes: one row made unreadable must fail when it is authenticated.
        with self._engine.lenient(self.connection):
            return rows.registry(self.connection, deployment, after)

    def clear_registry(self, deployment: str) -> None:
        """Take every row of a deployment's registry away, whatever stands in it."""
        self.connection.execute("DELETE FROM registry WHERE deployment = ?", (deployment,))

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
        self._many(_DELETE_REGISTRY, [(head.deployment, kind, row_id) for kind, row_id in deleted])
        self._many(_PUT_REGISTRY, written)
        self.connection.execute(_PUT_HEAD, head)

    def add_kek(self, kek: KekRow, wraps: Sequence[WrapRow]) -> None:
        """Add one key with its wrapped forms."""
        self.connection.execute(_INSERT_KEK, kek)
        self._many(_INSERT_WRAP, wraps)

    def add_entries(self, entries: Sequence[EntryRow]) -> None:
        """Add entries that were not there."""
        self._many(_INSERT_ENTRY, [entry[:-1] for entry in entries])

    def change_entries(self, entries: Sequence[EntryRow]) -> None:
        """Replace every column of entries that are there, found by their id."""
        self._many(_UPDATE_ENTRY, [(*entry[1:-1], entry.id) for entry in entries])

    def add_versions(self, versions: Sequence[VersionRow]) -> None:
        """Add versions; their entries and keys must stand."""
        self._many(_INSERT_VERSION, versions)

    def prune_changes(self, deployment: str, up_to: int) -> None:
        """Forget the changes of *deployment* up to a sequence number, and remember that."""
        self.connection.execute(
            "DELETE FROM changes WHERE deployment = ? AND sequence <= ?", (deployment, up_to)
        )
        self.connection.execute(_PUT_SETTING, (PRUNED + deployment, str(up_to)))

    def add_changes(self, deployment: str, changes: Sequence[ChangeRow]) -> None:
        """Add changes in order; their sequence numbers are given by the database."""
        self._many(_INSERT_CHANGE, [(deployment, *change[1:]) for change in changes])

    def resume_numbers(self) -> None:
        """Let the numbers of later changes follow those that were put in with theirs."""
        self._engine.resume_numbers(self.connection)

    def _many(self, sql: str, parameters: Sequence[Sequence[object]]) -> None:
        if len(parameters) == 1:
            self.connection.execute(sql, parameters[0])
        elif parameters:
            self.connection.executemany(sql, parameters)
