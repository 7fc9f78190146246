"""
A whole store: copied into another one, counted and digested on both sides, and marked.

Not for what a row means, and not for opening any: rows are copied as they are sealed, table by table
(`table.py`). What stands in the other store is judged by what was read back from it, never by what was sent.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import InvalidInputError, TamperedError
from strongroom.store import table as tables
from strongroom.store.record import covered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.store.engine import Connection
    from strongroom.store.transaction import Transaction

__all__ = ["Sum", "copy", "gathered", "mark", "sums"]


class Sum(NamedTuple):
    """
    What a table holds.

    Args:
        rows: how many.
        digest: SHA-256 over what `record.covered` gives of each row, in the order of their keys.
    """

    rows: int
    digest: bytes


def copy(
    source: Connection, target: Transaction, *, progress: Callable[[int], None] = lambda _rows: None
) -> dict[str, Sum]:
    """
    Copy every row into the empty tables of *target*, and give what was read, by table.

    Args:
        source: sees one moment.
        target: makes the copy stand when it ends, or nothing of it.
        progress: called with how many rows more are over, after every batch.

    Raises:
        TamperedError: a row holds what no row of ours can.
    """

    def keep(name: str, rows: Sequence[tuple[object, ...]]) -> None:
        tables.insert(target.connection, name, rows)
        progress(len(rows))

    found = {name: gathered(source, name, keep) for name in tables.names()}
    target.resume_numbers()
    return found


def sums(connection: Connection, *, progress: Callable[[int], None] = lambda _rows: None) -> dict[str, Sum]:
    """
    Give what every table holds, by name; *progress* as of `copy`.

    Raises:
        TamperedError: as `copy`.
    """
    return {name: gathered(connection, name, lambda _, rows: progress(len(rows))) for name in tables.names()}


def gathered(
    connection: Connection,
    name: str,
    each: Callable[[str, Sequence[tuple[object, ...]]], None],
    *,
    of: Sequence[str] = (),
) -> Sum:
    """
    Hand the rows of one table to *each*, batch by batch, and give what they are; *of* as of `table.batches`.

    Raises:
        TamperedError: as `copy`.
    """
    digest, count = sha256(), 0
    try:
        for rows in tables.batches(connection, name, of=of):
            for row in rows:
                digest.update(covered(name, row))
            count += len(rows)
            each(name, rows)
    except InvalidInputError:
        raise TamperedError(
            f"a row of the table {name} holds what no row of ours can", hint="restore the store from a backup"
        ) from None
    return Sum(count, digest.digest())


def mark(transaction: Transaction, key: str, value: str | None) -> None:
    """Put a mark on a store; with None take it away."""
    transaction.connection.execute('DELETE FROM settings WHERE "key" = ?', (key,))
    if value is not None:
        transaction.connection.execute('INSERT INTO settings ("key", value) VALUES (?, ?)', (key, value))
