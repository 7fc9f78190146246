"""
SQLAlchemy's database URLs: `dialect+driver://user:password@host:port/database?parameters`.

A URL without a driver is an Airflow URI too where Airflow's hook reads it the same way, and is left to that
form; here are those of a driver, of a dialect that Airflow calls otherwise, and those that mean another
thing in Airflow: `snowflake://user@account/database/schema`, `sqlite:////file`, `trino://host/catalog/schema`.

Sources: docs.sqlalchemy.org, "Engine Configuration"; docs.snowflake.com, "Connecting to Snowflake with
SQLAlchemy"; the READMEs of trino, clickhouse-connect, databricks-sqlalchemy, sqlalchemy-bigquery, PyAthena.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from strongroom.transfer.forms import sqlalchemy_dialect as dialects
from strongroom.transfer.forms.form import Form, Found, Look, refused
from strongroom.transfer.forms.url import query_of, quoted_query, split, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM", "is_own"]


class _Shape(NamedTuple):
    """What of a URL tells SQLAlchemy's from Airflow's, for a dialect both know."""

    login: str
    place: str
    path: str
    query: str


def _shape(text: str) -> _Shape:
    head, _, query = text.partition("?")
    authority, _, path = head.partition("://")[2].partition("/")
    user, _, place = authority.rpartition("@")
    return _Shape(user.partition(":")[0], place, path, query)


def is_own(look: Look) -> bool:
    """Tell whether the URL is SQLAlchemy's rather than Airflow's."""
    dialect, plus, _ = look.scheme.partition("+")
    if dialect not in dialects.TYPES:
        return False
    if plus:
        return True
    shape = _shape(look.text)
    if look.is_airflows:
        return False
    return _TOLD[dialect](shape) if dialect in _TOLD else dialect not in dialects.SHARED


_TOLD: dict[str, Callable[[_Shape], bool]] = {
    "snowflake": lambda shape: bool(shape.place) and "account=" not in shape.query,
    "sqlite": lambda shape: not shape.place and bool(shape.path),
    "trino": lambda shape: "/" in shape.path.rstrip("/"),
    "presto": lambda shape: "/" in shape.path.rstrip("/"),
    "databricks": lambda shape: shape.login == "token",
    "druid": lambda shape: bool(shape.path),
    "mssql": lambda shape: dialects.is_odbc(shape.query),
    "mysql": lambda shape: "ssl_ca=" in shape.query or "ssl_cert=" in shape.query,
}


def _misfit(look: Look) -> str | None:
    if not look.scheme:
        return "does not begin with a dialect and ://"
    if look.scheme.partition("+")[0] not in dialects.TYPES:
        return "its scheme is no dialect of SQLAlchemy"
    return None if is_own(look) else "names no driver, and is an Airflow URI as well"


def _parse(text: str, _dialect: Dialect) -> Found:
    url = split(text)
    name, _, driver = url.scheme.partition("+")
    if name == "mssql" and not driver and dialects.is_odbc(url.query):
        driver = "pyodbc"  # SQLAlchemy's own choice, and `driver=` is a parameter of ODBC
    conn_type = dialects.TYPES.get(name)
    if conn_type is None:
        raise refused("the dialect is none that Airflow has a connection type for", offset=0)
    read = dialects.READERS.get((conn_type, driver)) or dialects.READERS.get((conn_type, ""), dialects.plain)
    several = frozenset({"host"}) if conn_type == "postgres" else frozenset()
    found, *notes = read(url, conn_type, query_of(url.query, url.start, plus=True, joined=several))
    return Found({None: found}, tuple(notes))


def _format(connection: Connection, _name: str) -> str:
    conn_type = connection.conn_type or ""
    scheme = dialects.SCHEMES.get(conn_type)
    extra: dict[str, Any] = connection.extra.reveal() if connection.extra is not None else {}
    if scheme is None:
        raise refused(
            "the connection's type has no SQLAlchemy dialect", hint="write it as airflow-json or airflow-uri"
        )
    if conn_type == "sqlite":
        return f"sqlite:///{quote(connection.host or '', safe='/')}{quoted_query(extra)}"
    place, segments = _parts(connection, conn_type, extra)
    password = connection.password.reveal() if connection.password is not None else None
    login = connection.login
    if conn_type == "databricks" and password is not None:
        login = "token"
    authority = written(*place, login, password)
    return f"{scheme}://{authority}{_path(segments)}{quoted_query(_renamed(conn_type, extra))}"


_Parts = tuple[tuple["str | None", "int | None"], list[Any]]


def _parts(connection: Connection, conn_type: str, extra: dict[str, Any]) -> _Parts:
    """Give host and port, and the segments of the path; what they take of *extra* goes out of it."""
    place, schema = (connection.host, connection.port), connection.schema
    if conn_type == "snowflake":
        return (extra.pop("account", None), None), [extra.pop("database", None), schema]
    if conn_type in ("trino", "presto"):
        return place, [extra.pop("catalog", None), schema]
    if conn_type == "gcpbigquery":
        return (extra.pop("project", None), None), []
    return place, [extra.pop("sid", None)] if conn_type == "oracle" else [schema]


def _renamed(conn_type: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Give *extra* as the dialect calls it."""
    if conn_type == "mysql" and isinstance(extra.get("ssl"), dict):
        extra |= {f"ssl_{key}": value for key, value in extra.pop("ssl").items()}
    if conn_type == "hiveserver2" and "auth_mechanism" in extra:
        extra["auth"] = extra.pop("auth_mechanism")
    if conn_type == "odbc":
        extra.pop("sqlalchemy_scheme", None)
    return extra


def _path(segments: list[Any]) -> str:
    while segments and not segments[-1]:
        segments.pop()
    return "".join("/" + quote(str(one or ""), safe="") for one in segments)


FORM = Form(
    name="sqlalchemy",
    title="SQLAlchemy URL",
    example="postgresql+psycopg2://svc:p%40ss@db.example.com:5432/orders?sslmode=require",
    lacks="description; types that no SQLAlchemy dialect serves; documents in extra",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
