"""
The tables of a store as MariaDB is told of them: columns that keep bytes as they are, and changes that can be
asked for twice.

Not for connections: `mariadb.py`. Importing this file loads SQLAlchemy, so only migrating does.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import TypeCompiler

__all__ = ["apply_to"]

_TEXT = "CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin"
_KEY_CHARACTERS = {"deployment": 64, "team": 64, "kind": 64, "name": 250, "id": 400, "key": 200}
"""How long what stands in a key may be: 3,072 bytes are a whole key's bound, at four a character."""
_OTHER_KEY = 150

# Each in its turn: what is there already when a migration that was killed is done again.
_AGAIN = (
    (re.compile(r"^\s*CREATE TABLE (?!IF\b)", re.IGNORECASE), "CREATE TABLE IF NOT EXISTS "),
    (re.compile(r"^\s*CREATE (UNIQUE )?INDEX (?!IF\b)", re.IGNORECASE), r"CREATE \1INDEX IF NOT EXISTS "),
    (re.compile(r"\bADD COLUMN (?!IF\b)", re.IGNORECASE), "ADD COLUMN IF NOT EXISTS "),
    (re.compile(r"\bDROP COLUMN (?!IF\b)", re.IGNORECASE), "DROP COLUMN IF EXISTS "),
    (re.compile(r"^\s*DROP TABLE (?!IF\b)", re.IGNORECASE), "DROP TABLE IF EXISTS "),
    (re.compile(r"^\s*DROP INDEX (?!IF\b)", re.IGNORECASE), "DROP INDEX IF EXISTS "),
    (re.compile(r"^\s*INSERT INTO settings\b", re.IGNORECASE), "INSERT IGNORE INTO settings"),
    # Counted anew, not kept: what was in between may have been written by the version before.
    (re.compile(r"^\s*INSERT INTO kek_uses\b", re.IGNORECASE), "REPLACE INTO kek_uses"),
)


def apply_to(engine: sa.Engine) -> None:
    """Let every statement that changes tables through *engine* be one that can be asked for twice."""

    def spelled(
        _connection: object,
        _cursor: object,
        statement: str,
        parameters: object,
        _context: object,
        _many: bool,  # noqa: FBT001
    ) -> tuple[str, Any]:
        for pattern, again in _AGAIN:
            statement = pattern.sub(again, statement)
        return statement, parameters

    sa.event.listen(engine, "before_cursor_execute", spelled, retval=True)


@compiles(sa.Text, "mysql", "mariadb")
def _text(_type: sa.Text, _compiler: TypeCompiler, **given: Any) -> str:  # noqa: ANN401 -- SQLAlchemy's
    column = given.get("type_expression")
    if isinstance(column, sa.Column) and _is_in_key(column):
        return f"VARCHAR({_KEY_CHARACTERS.get(column.name, _OTHER_KEY)}) {_TEXT}"
    return f"LONGTEXT {_TEXT}"


@compiles(sa.LargeBinary, "mysql", "mariadb")
def _bytes(type_: sa.LargeBinary, _compiler: TypeCompiler, **_given: Any) -> str:  # noqa: ANN401 -- as above
    return "LONGBLOB" if type_.length is None else f"VARBINARY({type_.length})"  # BINARY would pad


@compiles(sa.Integer, "mysql", "mariadb")
def _number(_type: sa.Integer, _compiler: TypeCompiler, **_given: Any) -> str:  # noqa: ANN401 -- as above
    return "BIGINT"


def _is_in_key(column: sa.Column[Any]) -> bool:
    table = column.table
    return (
        column.primary_key
        or bool(column.index)
        or any(
            column.name in constraint.columns
            for constraint in table.constraints
            if isinstance(constraint, (sa.UniqueConstraint, sa.ForeignKeyConstraint))
        )
    )
