r"""
PostgreSQL's files: `pg_service.conf`, whose sections are connections by name, and `~/.pgpass`.

A line of `.pgpass` is `host:port:database:user:password`, `\` before `:` and `\`, and `*` for any. Its
connection is called as its database where these differ, otherwise by host, database and user.

Sources: postgresql.org/docs/current/libpq-pgservice.html and libpq-pgpass.html; `parseServiceFile` and
`passwordFromFile` of fe-connect.c.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from strongroom.transfer.forms.form import Form, Found, Look, refused
from strongroom.transfer.forms.libpq import KEYWORDS, of_parameters, parameters_of

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["PASS", "SERVICE"]

_SECTION = re.compile(r"\[([^\[\]\r\n]{1,250})\]")
_PASS = re.compile(r"(?:[^:\\\r\n]|\\.)*:(?:[0-9]{1,5}|\*):(?:[^:\\\r\n]|\\.)*:(?:[^:\\\r\n]|\\.)*:.*")
_FIELD = re.compile(r"((?:[^:\\]|\\.)*):")
_ESCAPE = re.compile(r"\\(.)")
_NAMES = ("host", "port", "dbname", "user")
_MAX_LINES = 1000


# --- pg_service.conf -------------------------------------------------------------------------------


def _misfit_service(look: Look) -> str | None:
    sections = [line for line in look.lines if _SECTION.fullmatch(line)]
    keys = {line.partition("=")[0] for line in look.lines if line[0] != "["}
    if not sections or not look.lines[0].startswith("["):
        return "has no line [service]"
    return None if keys and keys <= KEYWORDS else "has keys below [service] that are no keywords of libpq"


def _parse_service(text: str, _dialect: Dialect) -> Found:
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    at = 0
    for raw in text.splitlines(keepends=True):
        line, offset, at = raw.strip(), at, at + len(raw)
        if not line or line[0] == "#":
            continue
        head = _SECTION.fullmatch(line)
        if head is not None:
            if head[1] in found:
                raise refused("a service stands twice", offset=offset)
            current = found.setdefault(head[1], {})
            continue
        key, equals, value = line.partition("=")
        if current is None or not equals or key in current:
            raise refused("a line is no key=value below [service], or stands twice", offset=offset)
        current[key] = value
    if not found:
        raise refused("there is no [service]", offset=0)
    return Found({name: of_parameters(given) for name, given in found.items()})


def _format_service(connection: Connection, name: str) -> str:
    return "\n".join([f"[{name}]", *(f"{key}={value}" for key, value in parameters_of(connection).items())])


SERVICE = Form(
    name="pg-service",
    title="PostgreSQL's service file",
    example="[orders]\nhost=db.example.com\nport=5432\ndbname=orders\nuser=svc\npassword=p@ss\nsslmode=require",
    lacks="description; keys of extra that are no keywords of libpq; white space around a value",
    misfit=_misfit_service,
    parse=_parse_service,
    format=_format_service,
    has_name=True,
)


# --- .pgpass ---------------------------------------------------------------------------------------


def _misfit_pass(look: Look) -> str | None:
    is_own = bool(look.lines) and all(_PASS.fullmatch(line) for line in look.lines[: _MAX_LINES + 1])
    return None if is_own and not look.scheme else "has no lines host:port:database:user:password"


def _parse_pass(text: str, _dialect: Dialect) -> Found:
    rows: list[dict[str, str]] = []
    at = 0
    for raw in text.splitlines(keepends=True):
        line, offset, at = raw.rstrip("\r\n"), at, at + len(raw)
        if not line.strip() or line[0] == "#":
            continue
        if not _PASS.fullmatch(line):
            raise refused("a line is no host:port:database:user:password", offset=offset)
        rows.append(_row(line))
        if len(rows) > _MAX_LINES:
            raise refused(f"there are more than {_MAX_LINES} lines", offset=offset)
    if not rows:
        raise refused("there is no host:port:database:user:password", offset=0)
    made = [of_parameters(row) for row in rows]
    if len(made) == 1:
        return Found({None: made[0]}, _notes(rows))
    names = _names(rows)
    if len(set(names)) < len(names):
        raise refused("a line stands twice", hint="keep one for each host, database and user")
    return Found(dict(zip(names, made, strict=True)), _notes(rows))


def _row(line: str) -> dict[str, str]:
    row: dict[str, str] = {}
    at = 0
    for name in _NAMES:
        field = _FIELD.match(line, at)
        value = field[1] if field else ""
        at = field.end() if field else at
        if value not in ("", "*"):
            row[name] = _ESCAPE.sub(r"\1", value)
    password = _ESCAPE.sub(r"\1", line[at:])
    return row | ({"password": password} if password else {})


def _names(rows: list[dict[str, str]]) -> list[str]:
    databases = [row.get("dbname", "") for row in rows]
    if all(databases) and len(set(databases)) == len(databases):
        return databases
    keys = ("host", "dbname", "user")
    return ["_".join(row[key] for key in keys if key in row) or "any" for row in rows]


def _notes(rows: list[dict[str, str]]) -> tuple[str, ...]:
    count = sum("host" not in row or "user" not in row for row in rows)
    return (f"{count} line{'s' * (count > 1)} with * for host or user: that field is empty",) if count else ()


PASS = Form(
    name="pgpass",
    title="~/.pgpass",
    example="db.example.com:5432:orders:svc:p@ss",
    lacks="not written",
    misfit=_misfit_pass,
    parse=_parse_pass,
)
