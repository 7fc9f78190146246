r"""
PostgreSQL's connection strings of keywords: `host=db dbname=orders password='it''s'`, quoted with `\`.

Grammar: `keyword = value`, blanks around the `=` allowed, blanks between; a value with blanks, or an empty
one, in single quotes; `\` before any character takes it as it is, in quotes and without.

Source: postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING; `conninfo_parse` of fe-connect.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from strongroom.transfer.forms.form import MAX_LINE, Form, Found, Look, refused
from strongroom.transfer.forms.libpq import KEYWORDS, of_parameters, parameters_of

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM", "parse_keywords"]

_HEAD = re.compile(r"\s*([a-z_]+)\s*=\s*")
_SECOND = re.compile(r"\s*[a-z_]+\s*=\s*(?:'(?:[^'\\]|\\.)*'|\S*[^\s;])\s+([a-z_]+)\s*=", re.DOTALL)
_PLAIN = re.compile(r"(?:[^\s\\]|\\.)*", re.DOTALL)
_QUOTED = re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)'", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SIMPLE = re.compile(r"[^\s'\\]+")
_SPACE = re.compile(r"\s*")


def parse_keywords(text: str) -> dict[str, str]:
    """
    Give the parameters by keyword.

    Raises:
        InvalidInputError: it does not follow the grammar, or a keyword stands twice.
    """
    found: dict[str, str] = {}
    at = _end(text, 0)
    while at < len(text):
        head = _HEAD.match(text, at)
        if head is None:
            raise refused("a part is no keyword and value", offset=at, hint="write keyword=value")
        if head[1] in found:
            raise refused("a keyword stands twice", offset=at, hint="keep one of the two")
        quoted = _QUOTED.match(text, head.end())
        if quoted is None and text[head.end() : head.end() + 1] == "'":
            raise refused("a quotation mark has no end", offset=head.end())
        plain = quoted or _PLAIN.match(text, head.end())
        value = "" if plain is None else (quoted[1] if quoted else plain[0])
        found[head[1]] = _ESCAPE.sub(r"\1", value)
        end = plain.end() if plain else head.end()
        at = _end(text, end)
        if at == end and at < len(text):
            raise refused("text follows a value in quotes", offset=at, hint="put a blank between")
    return found


def _end(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _misfit(look: Look) -> str | None:
    head = _HEAD.match(look.text) if len(look.text) <= MAX_LINE else None
    if head is None or head[1] not in KEYWORDS:
        return "does not begin with a keyword of libpq and ="
    second = _SECOND.match(look.text)
    is_several = second is not None and second[1] in KEYWORDS
    return "has semicolons between its parts" if len(look.keywords) > 1 and not is_several else None


def _parse(text: str, _dialect: Dialect) -> Found:
    return Found({None: of_parameters(parse_keywords(text))})


def _format(connection: Connection, _name: str) -> str:
    return " ".join(f"{key}={_written(value)}" for key, value in parameters_of(connection).items())


def _written(value: str) -> str:
    if _SIMPLE.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


FORM = Form(
    name="libpq",
    title="PostgreSQL keywords",
    example="host=db.example.com port=5432 dbname=orders user=svc password='it\\'s' sslmode=require",
    lacks="description; keys of extra that are no keywords of libpq",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
