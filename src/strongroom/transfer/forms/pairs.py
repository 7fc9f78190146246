"""
`key=value;key=value`: what ODBC, ADO.NET, Azure and several JDBC drivers write.

The grammars differ in how a value may hold a semicolon: in `{}` with `}}` for one `}` (ODBC, JDBC for SQL
Server), in `"` or `'` doubled inside (ADO.NET), or not at all (Azure, and JDBC of Databricks and Hive).

Sources: learn.microsoft.com: "SQLDriverConnect Function", MS-ODBCSTR §2.1, "Building the connection URL"
of the JDBC driver, "Connection String Syntax (ADO.NET)".
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from strongroom.transfer.forms.form import refused

__all__ = ["Pair", "braced", "parse_pairs", "values_of"]

_MAX_PAIRS = 1000
Style = Literal["braces", "quotes", "plain"]

_KEY = re.compile(r"([^=;{}\"']{1,200}?)[ \t]*=[ \t]*")
_SPACE = re.compile(r"[ \t\r\n]*")
_BRACED = re.compile(r"\{([^}]*(?:\}\}[^}]*)*)\}")
_QUOTED = {quote: re.compile(f"{quote}([^{quote}]*(?:{quote}{quote}[^{quote}]*)*){quote}") for quote in "\"'"}
_PLAIN = re.compile(r"[^;]*")
_BLANK = re.compile(r"[ \t\r\n;]*")
_TO_BRACE = re.compile(r"[;{}\[\]()?*!@,=]|^\s|\s$")


class Pair(NamedTuple):
    """A key as it stands, its value without braces and quotes, and the offset of the key."""

    key: str
    value: str
    offset: int


def parse_pairs(text: str, *, style: Style, start: int = 0) -> list[Pair]:
    """
    Read the pairs of *text* from *start* on.

    Raises:
        InvalidInputError: a part is no pair, or a brace or quote has no end.
    """
    found: list[Pair] = []
    at = _end(_BLANK, text, start)
    while at < len(text):
        key = _KEY.match(text, at)
        if key is None:
            raise refused("a part between semicolons is no key and value", offset=at, hint="write key=value")
        value, end = _value(text, key.end(), style)
        found.append(Pair(key[1].strip(), value, at))
        if len(found) > _MAX_PAIRS:
            raise refused(f"there are more than {_MAX_PAIRS} parts", offset=at)
        after = _end(_SPACE, text, end)
        if after < len(text) and text[after] != ";":
            raise refused("text follows a value in braces or quotes", offset=after, hint="end it with ';'")
        at = _end(_BLANK, text, after)
    return found


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int, style: Style) -> tuple[str, int]:
    mark = text[at : at + 1]
    if style == "braces" and mark == "{":
        return _closed(_BRACED, text, at, "}}", "}")
    if style == "quotes" and mark and mark in _QUOTED:
        return _closed(_QUOTED[mark], text, at, mark * 2, mark)
    end = _end(_PLAIN, text, at)
    return text[at:end].strip(), end


def _closed(pattern: re.Pattern[str], text: str, at: int, twice: str, once: str) -> tuple[str, int]:
    match = pattern.match(text, at)
    if match is None:
        raise refused("a brace or quotation mark has no end", offset=at)
    return match[1].replace(twice, once), match.end()


def values_of(pairs: list[Pair]) -> dict[str, Pair]:
    """
    Give the pairs by key, in lower case and without blanks inside, as `User ID` and `userid` are one.

    Raises:
        InvalidInputError: a key stands twice.
    """
    found: dict[str, Pair] = {}
    for pair in pairs:
        key = pair.key.lower().replace(" ", "")
        if key in found:
            raise refused("a key stands twice", offset=pair.offset, hint="keep one of the two")
        found[key] = pair
    return found


def braced(value: str) -> str:
    """Give *value* as ODBC and JDBC for SQL Server hold it: in braces where it must be."""
    return "{" + value.replace("}", "}}") + "}" if _TO_BRACE.search(value) else value
