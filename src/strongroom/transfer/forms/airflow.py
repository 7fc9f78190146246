"""
Airflow's own forms: the URI, JSON (of one connection or of a file), and lines of an environment.

How each is read is told in `model/connection.py`, `model/document.py` and `model/environment.py`; here it is
only told which of them a text is.

Source: airflow.apache.org, "Managing Connections".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from strongroom import catalog
from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.document import connection_of
from strongroom.model.dotenv import format_value
from strongroom.transfer.forms import libpq_uri, redis, sqlalchemy, web
from strongroom.transfer.forms.form import Form, Found, Look, lines_of, refused

if TYPE_CHECKING:
    from strongroom.model.connection import Dialect

__all__ = ["ENV", "JSON", "URI"]

_FIELDS = frozenset(
    {"conn_type", "host", "login", "password", "schema", "port", "extra", "uri", "description"}
)
_PREFIX = "AIRFLOW_CONN_"
_NAMELESS = "connection"
_NAME = re.compile(r"[A-Z0-9_]+")
# Schemes that have a form of their own, because Airflow's hooks do not find there what the URL says.
_ELSEWHERE = frozenset({"mongodb", "mongodb+srv", "amqp", "amqps", "sb"} | redis.SCHEMES)


# --- URI -----------------------------------------------------------------------------------------


def _is_no_uri(look: Look) -> str | None:
    if not look.scheme:
        return "does not begin with a type and ://"
    is_theirs = libpq_uri.is_own(look) or sqlalchemy.is_own(look) or web.is_own(look)
    is_theirs = is_theirs or (look.scheme in _ELSEWHERE and not look.is_airflows)
    return "its scheme has a form of its own" if is_theirs else None


def _parse_uri(text: str, dialect: Dialect) -> Found:
    return _found({None: Connection.parse(text, dialect)})


def _format_uri(connection: Connection, _name: str) -> str:
    return connection.format("uri").reveal()


def _found(connections: dict[str | None, Connection]) -> Found:
    return Found(connections, tuple(dict.fromkeys(filter(None, map(_of_no_type, connections.values())))))


def _one(raw: object, dialect: Dialect, offset: int | None = None) -> Connection:
    """Read one entry of several; its refusal names none: a paste has anything where a name belongs."""
    try:
        return connection_of(_NAMELESS, raw, dialect)
    except InvalidInputError as error:
        told, rule, hint = str(error).replace(f'"{_NAMELESS}"', "one of them"), error.rule, error.hint
    raise InvalidInputError(told, rule=rule, hint=hint, offset=offset)


def _of_no_type(connection: Connection) -> str:
    conn_type = connection.conn_type
    if conn_type is None or catalog.find(conn_type):
        return ""
    # The type itself stands in no message: a URL pasted the wrong way round has anything there.
    near = catalog.nearest(conn_type)
    return "its type is none the catalog knows" + (f"; the nearest are {', '.join(near)}" if near else "")


URI = Form(
    name="airflow-uri",
    title="Airflow URI",
    example="postgres://svc:p%40ss@db.example.com:5432/orders?sslmode=require",
    lacks="description; an extra that is empty",
    misfit=_is_no_uri,
    parse=_parse_uri,
    format=_format_uri,
)


# --- JSON ----------------------------------------------------------------------------------------


def _is_no_json(look: Look) -> str | None:
    keys = look.document
    if keys is None:
        return "is no JSON object"
    if not keys:
        return "the object is empty"
    is_one = bool({"conn_type", "uri"} & keys.keys()) or keys.keys() <= _FIELDS
    return None if is_one or _is_file(look) else "has keys that no connection has"


def _is_file(look: Look) -> bool:
    values = (look.document or {}).values()
    return bool(values) and all(
        (isinstance(value, dict) and "conn_type" in value) or (isinstance(value, str) and "://" in value)
        for value in values
    )


def _parse_json(text: str, dialect: Dialect) -> Found:
    look = Look(text)
    if look.document is not None and not (look.document.keys() & _FIELDS) and _is_file(look):
        return _found({name: _one(raw, dialect) for name, raw in look.document.items()})
    if not text.startswith("{"):
        raise refused("is no JSON object", offset=0)
    return _found({None: Connection.parse(text, dialect)})


def _format_json(connection: Connection, _name: str) -> str:
    return connection.format("json").reveal()


JSON = Form(
    name="airflow-json",
    title="Airflow JSON",
    example='{"conn_type": "postgres", "host": "db.example.com", "login": "svc", "password": "p@ss"}',
    lacks="nothing",
    misfit=_is_no_json,
    parse=_parse_json,
    format=_format_json,
)


# --- environment ---------------------------------------------------------------------------------


def _is_no_env(look: Look) -> str | None:
    return None if any(name.startswith(_PREFIX) for name in look.names) else f"has no line {_PREFIX}…="


def _parse_env(text: str, dialect: Dialect) -> Found:
    found: dict[str | None, Connection] = {}
    others = 0
    for line in lines_of(text):
        key = line.name.strip()
        if line.fault or not key.startswith(_PREFIX) or key == _PREFIX:
            others += 1
            continue
        name = key.removeprefix(_PREFIX).lower()
        if name in found:
            raise refused("a connection stands twice", offset=line.offset)
        found[name] = _one(line.value, dialect, line.offset)
    if not found:
        raise refused(f"there is no line {_PREFIX}…=", offset=0)
    passed = (f"{others} other line{'s' if others > 1 else ''} passed over",) if others else ()
    return Found(found, (*_found(found).warnings, *passed))


def _format_env(connection: Connection, name: str) -> str:
    if not _NAME.fullmatch(name.upper()):
        raise refused("the name has no variable of an environment", hint="use letters, digits and _")
    form = "uri" if not connection.uri_losses("sdk") and not connection.uri_losses("core") else "json"
    text = connection.format("json" if form == "json" else "uri").reveal()
    return f"{_PREFIX}{name.upper()}={format_value(text)}"


ENV = Form(
    name="airflow-env",
    title="Airflow's environment",
    example="export AIRFLOW_CONN_ORDERS_DB='postgres://svc:p%40ss@db.example.com/orders'",
    lacks="nothing; a name in capitals",
    misfit=_is_no_env,
    parse=_parse_env,
    format=_format_env,
    has_name=True,
)
