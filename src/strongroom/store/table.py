"""
Any table of a store, row by row: what a backup and a move read and write without knowing what a row means.

Tables, their order and their columns are those of `schema.py`, so that what a later migration adds comes
along; parents stand before what refers to them. Marks of one home of a store are no rows of it: they are
neither given nor taken away.

Importing this file loads SQLAlchemy, by `schema.py`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.store import rows, schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import sqlalchemy as sa

    from strongroom.store.engine import Connection

__all__ = ["batches", "clear", "columns", "count", "deployments", "insert", "key_of", "names", "revision"]

_BATCH = 200  # rows read at once: of the largest values 200 MiB
_MARKS = (rows.ARRIVING, rows.MOVED, rows.TURN)


def names() -> tuple[str, ...]:
    """Give the tables, those that others refer to first."""
    return tuple(str(table.name) for table in schema.METADATA.sorted_tables)


@cache
def columns(table: str) -> tuple[str, ...]:
    """
    Give the columns of a table in their order.

    Raises:
        InvalidInputError: there is no such table.
    """
    return tuple(map(str, _found(table).columns.keys()))


@cache
def key_of(table: str) -> tuple[str, ...]:
    """Give the columns of a table's primary key in their order."""
    return tuple(str(column.name) for column in _found(table).primary_key)


def count(connection: Connection) -> dict[str, int]:
    """Give how many rows every table has, by name."""
    return {
        name: int(connection.execute(f"SELECT count(*) FROM {name}{_where(name)}").fetchone()[0])  # noqa: S608
        for name in names()
    }


def deployments(connection: Connection) -> list[str]:
    """Give the deployments that have a key here, in order."""
    found = connection.execute("SELECT DISTINCT deployment FROM keks").fetchall()
    return sorted(str(row[0]) for row in found)


def revision(connection: Connection) -> str:
    """Give the schema revision of the tables."""
    return str(connection.execute("SELECT version_num FROM schema_revision").fetchone()[0])


def batches(
    connection: Connection, table: str, *, of: Sequence[str] = ()
) -> Iterator[list[tuple[object, ...]]]:
    """
    Give the rows of *table* in the order of their keys, up to 200 at once.

    Args:
        connection: where they are read.
        table: whose.
        of: its columns, where it has others yet than `columns` gives.
    """
    keys, wanted_columns = key_of(table), of or columns(table)
    places = [wanted_columns.index(key) for key in keys]
    named = ", ".join(map(_quoted, wanted_columns))
    order = ", ".join(map(_quoted, keys))
    wanted = f"SELECT {named} FROM {table}"  # noqa: S608 -- constants of schema.py
    after: list[object] | None = None
    while True:
        clause, parameters = ("", []) if after is None else _after(keys, after)
        sql = f"{wanted}{_where(table, clause)} ORDER BY {order} LIMIT {_BATCH}"
        found = [tuple(row) for row in connection.execute(sql, parameters).fetchall()]
        if found:
            yield found
        if len(found) < _BATCH:
            return
        after = [found[-1][place] for place in places]


def insert(
    connection: Connection, table: str, found: Sequence[Sequence[object]], *, of: Sequence[str] = ()
) -> None:
    """Add rows to *table* as they are; *of* as for `batches`."""
    if not found:
        return
    named = ", ".join(map(_quoted, of or columns(table)))
    marks = ", ".join("?" * len(of or columns(table)))
    connection.executemany(f"INSERT INTO {table} ({named}) VALUES ({marks})", found)  # noqa: S608 -- as above


def clear(connection: Connection) -> None:
    """Take every row away, the id of the store included."""
    for name in reversed(names()):
        connection.execute(f"DELETE FROM {name}{_where(name)}")  # noqa: S608 -- as above


def _after(keys: Sequence[str], after: Sequence[object]) -> tuple[str, list[object]]:
    """Give the clause for what follows a key, told so that every database goes along its index."""
    clauses: list[str] = []
    parameters: list[object] = []
    for number, key in enumerate(keys):
        equal = [f"{_quoted(before)} = ?" for before in keys[:number]]
        clauses.append(f"({' AND '.join([*equal, f'{_quoted(key)} > ?'])})")
        parameters += after[: number + 1]
    first = f"{_quoted(keys[0])} >= ? AND " if len(keys) > 1 else ""
    return f"{first}({' OR '.join(clauses)})", [*after[: 1 if first else 0], *parameters]


def _where(table: str, clause: str = "") -> str:
    clauses = [clause] if clause else []
    if table == schema.settings.name:
        marks = ", ".join(f"'{mark}'" for mark in _MARKS)
        clauses.append(f'"key" NOT IN ({marks})')
    return f" WHERE {' AND '.join(clauses)}" if clauses else ""


def _quoted(column: str) -> str:
    return f'"{column}"' if column == "key" else column


def _found(table: str) -> sa.Table:
    try:
        return schema.METADATA.tables[table]
    except KeyError:
        raise InvalidInputError("a store has no such table") from None
