"""
The tables of a store as PostgreSQL is told of them: text in the order of code points, numbers of 64 bits.

Not for connections: `postgres.py`. Importing this file loads SQLAlchemy, so only migrating does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import TypeCompiler

__all__: list[str] = []


@compiles(sa.Text, "postgresql")
def _text(_type: sa.Text, _compiler: TypeCompiler, **given: Any) -> str:  # noqa: ANN401 -- SQLAlchemy's
    # "C" compares bytes, and the bytes of UTF-8 stand in the order of code points.
    return 'TEXT COLLATE "C"' if "type_expression" in given else "TEXT"  # of a column, or of a cast


@compiles(sa.Integer, "postgresql")
def _number(type_: sa.Integer, _compiler: TypeCompiler, **given: Any) -> str:  # noqa: ANN401 -- as above
    return "BIGINT" if "type_expression" in given or isinstance(type_, sa.BigInteger) else "INTEGER"
