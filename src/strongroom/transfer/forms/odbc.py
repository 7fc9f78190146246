"""
ODBC connection strings: `Driver={ODBC Driver 18 for SQL Server};Server=…;Database=…;UID=…;PWD={…}`.

They become connections of the type `odbc`, whose hook writes such a string again from the fields and every
key of extra. It writes them without braces: a `;` or `}` in the password breaks it there, which is told.

Source: learn.microsoft.com, "SQLDriverConnect Function" (Comments) and MS-ODBCSTR §2.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.transfer.forms.form import Form, Found, Look, connection, port_of, refused, typed
from strongroom.transfer.forms.pairs import braced, parse_pairs, values_of
from strongroom.transfer.forms.url import spelled

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM", "of_string"]

_FIELDS = {
    "server": "host",
    "uid": "login",
    "user": "login",
    "pwd": "password",
    "password": "password",
    "database": "schema",
    "port": "port",
}
_NAMES = {"driver": "driver", "dsn": "dsn"}
_KEYS = {"host": "Server", "port": "Port", "schema": "Database", "login": "UID", "password": "PWD"}
_BREAKS = frozenset(";{}")


def of_string(text: str, offset: int = 0) -> Connection:
    """
    Give the connection that an ODBC string describes.

    Raises:
        InvalidInputError: it does not follow the grammar, says nothing, or a key stands twice; `offset`
            counts from *offset*, where the string stands.
    """
    given = values_of(parse_pairs(text, style="braces"))
    if not given:
        raise refused("nothing is said between the semicolons", offset=offset)
    fields: dict[str, Any] = {}
    extra: dict[str, str] = {}
    for key, pair in given.items():
        name = _FIELDS.get(key)
        if name is None:
            extra[_NAMES.get(key, pair.key)] = pair.value
        elif name in fields:
            raise refused("two keys say the same", offset=offset + pair.offset, hint="keep one of the two")
        else:
            fields[name] = port_of(pair.value, offset + pair.offset) if name == "port" else pair.value
    return connection("odbc", typed("odbc", extra), **fields)


def _misfit(look: Look) -> str | None:
    if not look.keywords & {"driver", "dsn", "filedsn"}:
        return "has neither Driver= nor DSN= between semicolons"
    return None


def _parse(text: str, _dialect: Dialect) -> Found:
    found = of_string(text)
    password = found.password.reveal() if found.password is not None else ""
    notes = []
    if _BREAKS & set(password):
        notes.append("the password holds ';', '{' or '}', and Airflow's hook writes it without braces")
    if found.extra is not None and "driver" in found.extra:
        notes.append("Airflow reads the driver here only with [providers.odbc] allow_driver_in_extra")
    return Found({None: found}, tuple(notes))


def _format(connection: Connection, _name: str) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    parts = [("Driver", extra.pop("driver", None)), ("DSN", extra.pop("dsn", None))]
    for name, key in _KEYS.items():
        value = getattr(connection, name)
        parts.append((key, value.reveal() if name == "password" and value is not None else value))
    parts += list(extra.items())
    return ";".join(
        f"{key}={'{' + value + '}' if key == 'Driver' else braced(spelled(value))}"
        for key, value in parts
        if value is not None
    )


FORM = Form(
    name="odbc",
    title="ODBC connection string",
    example="Driver={ODBC Driver 18 for SQL Server};Server=db.example.com;Database=orders;UID=svc;"
    "PWD={p;ss};Encrypt=yes",
    lacks="description; keys of extra with '=', ';' or braces; documents in extra",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
