"""
JDBC URLs: each subprotocol becomes the connection type that Airflow has for the database.

A subprotocol Airflow has no type for (DB2, Derby, …) becomes a connection of the type `jdbc` with the URL as
its host, user and password taken out of it.

Sources: jdbc.postgresql.org/documentation/use; dev.mysql.com/doc/connector-j "Connection URL Syntax";
mariadb.com/kb "About MariaDB Connector/J"; learn.microsoft.com "Building the connection URL"; the JDBC
pages of Oracle, Snowflake, Amazon Redshift, Trino, ClickHouse, Apache Hive, Databricks and IBM Db2.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from strongroom.transfer.forms import jdbc_dialect as dialects
from strongroom.transfer.forms import jdbc_own as own
from strongroom.transfer.forms.form import Form, Found, Look, connection, refused
from strongroom.transfer.forms.jdbc_dialect import KINDS, Kind
from strongroom.transfer.forms.pairs import braced
from strongroom.transfer.forms.url import quoted_query, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM"]

_START = re.compile(r"jdbc:([a-z0-9][a-z0-9+_-]{0,31})(?::([a-z]{1,32}(?=:)))?:", re.IGNORECASE)
_ANY_USERINFO = re.compile(r"//[^/?#;@]{0,4096}@")
_OWN: dict[str, Callable[[str, int], list[object]]] = {
    "sqlserver": own.sqlserver,
    "microsoft": own.named(own.sqlserver, "sqlserver"),
    "jtds": own.named(own.jtds, "sqlserver"),
    "oracle": own.oracle,
    "snowflake": own.snowflake,
    "hive2": own.hive,
    "databricks": own.databricks,
    "spark": own.databricks,
    "db2": own.db2,
    "sqlite": own.sqlite,
}
_ADDRESS = re.compile(r"(?:address=)?\(", re.IGNORECASE)


def _misfit(look: Look) -> str | None:
    return None if look.text[:5].lower() == "jdbc:" else "does not begin with jdbc:"


def _parse(text: str, _dialect: Dialect) -> Found:
    head = _START.match(text)
    if head is None:
        raise refused("no subprotocol and ':' follow jdbc:", offset=0, hint="as in jdbc:postgresql://host/db")
    name = head[1].lower()
    if name in _OWN:
        found, *notes = _OWN[name](text, head.end(1) + 1)
    elif name in KINDS:
        found, *notes = _of_kind(name, (head[2] or "").lower(), text, head.end())
    else:
        found, *notes = _unknown(text)
    return Found({None: found}, tuple(map(str, notes)))  # type: ignore[dict-item]  # the head is a connection


def _of_kind(name: str, means: str, text: str, start: int) -> list[object]:
    """Read a URL of the common grammar; *means* is what stands before its second colon."""
    if _ADDRESS.match(text, start + 2):
        # It may hold a login as well, which would end up in the host.
        raise refused("a host written as (host=…)(port=…) is not read", offset=start, hint="write host:port")
    kind = KINDS[name]
    if name == "redshift" and means == "iam":
        return own.redshift_iam(kind, text, start)
    found, *notes = dialects.of_url(kind, text[start:], start, means=means)
    if means and means not in dialects.PROTOCOLS:
        # `loadbalance:` and its kin are told by the driver; Airflow's drivers have no such thing.
        notes.insert(0, "the driver's way to choose a host is not carried over")
    return [found, *notes]


def _unknown(text: str) -> list[object]:
    if own.SIGNS_IN.search(text) or _ANY_USERINFO.search(text):
        raise refused(
            "the JDBC URL holds a user, password or token, and its grammar is not known",
            hint="take them out of it, and give them as --conn-login and --password-stdin beside"
            " --conn-type jdbc --conn-host URL",
        )
    return [connection("jdbc", host=text), "the subprotocol is not known, so that the URL was left whole"]


# --- writing -------------------------------------------------------------------------------------


def _format(connection: Connection, _name: str) -> str:
    conn_type = connection.conn_type or ""
    if conn_type == "jdbc":
        return connection.host or ""
    if conn_type == "mssql":
        return _sqlserver(connection)
    name = {"postgres": "postgresql", "mysql": "mysql", "redshift": "redshift", "trino": "trino"}.get(
        conn_type
    )
    if name is None:
        raise refused(
            "the connection's type has no JDBC URL that could be written", hint="write it as airflow-json"
        )
    return _plain(name, KINDS[name], connection)


def _secret(connection: Connection) -> str | None:
    return connection.password.reveal() if connection.password is not None else None


def _plain(name: str, kind: Kind, connection: Connection) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    path = "/" + quote(connection.schema, safe="") if connection.schema else "/"
    if name == "trino":
        head = quote(extra.pop("catalog", "") or "", safe="")
        path = f"/{head}" + (path if connection.schema else "")
    query: dict[str, object] = {"user": connection.login, "password": _secret(connection)}
    back = {value: key for key, value in kind.names.items()}
    for key, value in extra.items():
        if key in back:
            query[back[key]] = {right: left for left, right in kind.values.get(key, {}).items()}.get(
                value, value
            )
    place = written(connection.host, connection.port)
    return f"jdbc:{name}://{place}{path}" + quoted_query(
        {key: value for key, value in query.items() if value is not None}
    )


def _sqlserver(connection: Connection) -> str:
    host = connection.host or ""
    port = "" if connection.port is None else f":{connection.port}"
    extra = connection.extra.reveal() if connection.extra is not None else {}
    given = {"databaseName": connection.schema, "user": connection.login, "password": _secret(connection)}
    back = {value: key for key, value in own.SQLSERVER.items()}
    given |= {back[key]: str(value) for key, value in extra.items() if key in back}
    if extra.get("encryption") in ("require", "off"):
        given["encrypt"] = "true" if extra["encryption"] == "require" else "false"
    pairs = "".join(f";{key}={braced(value)}" for key, value in given.items() if value is not None)
    return f"jdbc:sqlserver://{host}{port}{pairs}"


FORM = Form(
    name="jdbc",
    title="JDBC URL",
    example="jdbc:postgresql://db.example.com:5432/orders?user=svc&password=p%40ss&sslmode=require",
    lacks="description; written for postgres, mysql, mssql, redshift, trino and jdbc alone; most of extra",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
