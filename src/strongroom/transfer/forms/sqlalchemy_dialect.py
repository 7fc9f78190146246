"""
What the dialects of SQLAlchemy are called in Airflow, and where each keeps what Airflow keeps elsewhere.

Sources: as `sqlalchemy.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from strongroom.transfer.forms.form import connection, refused, typed
from strongroom.transfer.forms.libpq import of_parameters
from strongroom.transfer.forms.odbc import of_string
from strongroom.transfer.forms.url import Url, decoded

if TYPE_CHECKING:
    from strongroom.model.connection import Connection

__all__ = ["READERS", "SCHEMES", "SHARED", "TYPES", "is_odbc", "plain"]

Answer = list[Any]  # the connection, then warnings
Reader = Callable[[Url, str, dict[str, str]], Answer]
Fields = dict[str, str | int | None]

TYPES = {
    "postgresql": "postgres",
    "postgres": "postgres",
    "cockroachdb": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "mssql": "mssql",
    "oracle": "oracle",
    "sqlite": "sqlite",
    "snowflake": "snowflake",
    "redshift": "redshift",
    "bigquery": "gcpbigquery",
    "trino": "trino",
    "presto": "presto",
    "hive": "hiveserver2",
    "impala": "impala",
    "databricks": "databricks",
    "clickhouse": "clickhouse",
    "clickhousedb": "clickhouse",
    "teradatasql": "teradata",
    "teradata": "teradata",
    "vertica": "vertica",
    "exa": "exasol",
    "druid": "druid",
    "awsathena": "athena",
}
SHARED = frozenset(
    {"postgresql", "postgres", "mysql", "mssql", "oracle", "redshift", "impala", "clickhouse"}
    | {"teradata", "vertica"}
)
"""Dialects whose URL without a driver is an Airflow URI that means the same, or may be one."""

SCHEMES = {
    "postgres": "postgresql+psycopg2",
    "mysql": "mysql+mysqldb",
    "mssql": "mssql+pymssql",
    "odbc": "mssql+pyodbc",
    "oracle": "oracle+oracledb",
    "sqlite": "sqlite",
    "snowflake": "snowflake",
    "redshift": "redshift+redshift_connector",
    "gcpbigquery": "bigquery",
    "trino": "trino",
    "presto": "presto",
    "hiveserver2": "hive",
    "databricks": "databricks",
    "clickhouse": "clickhousedb",
    "teradata": "teradatasql",
    "vertica": "vertica+vertica_python",
    "exasol": "exa+websocket",
}
_SSL = {"ssl_ca": "ca", "ssl_cert": "cert", "ssl_key": "key", "ssl_capath": "capath", "ssl_cipher": "cipher"}
_NATIVE = ("native", "asynch")
_ATHENA = ("athena.", ".amazonaws.com")


def is_odbc(query: str) -> bool:
    """Tell whether parameters of a URL of SQL Server are those of ODBC."""
    return any(part.lower().startswith(("driver=", "odbc_connect=")) for part in query.split("&"))


def _fields(url: Url) -> Fields:
    host, port = url.hosts[0] if "," not in url.place else (url.place, None)
    path = "" if url.path is None else decoded(url.path, url.start)
    return {"host": host, "port": port, "login": url.login, "password": url.password, "schema": path}


def plain(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    """Read a URL whose parts are Airflow's fields, and whose parameters are its extra."""
    return [connection(conn_type, typed(conn_type, query), **_fields(url))]


def _postgres(url: Url, _type: str, query: dict[str, str]) -> Answer:
    given = {
        "user": url.login,
        "password": url.password,
        "dbname": None if url.path is None else decoded(url.path, url.start),
        "host": ",".join(host for host, _ in url.hosts),
        "port": ",".join("" if port is None else str(port) for _, port in url.hosts).strip(","),
    }
    # asyncpg and pg8000 say `ssl` for what libpq calls sslmode.
    if "ssl" in query:
        said = query.pop("ssl").lower()
        query["sslmode"] = {"true": "require", "1": "require", "false": "disable"}.get(said, said)
    named = {key: value for key, value in given.items() if value}
    host = query.pop("host", "")
    if ":" in host and not host.startswith("/"):
        parts = [one.partition(":") for one in host.split(",")]
        named |= {"host": ",".join(head for head, _, _ in parts), "port": ",".join(p for _, _, p in parts)}
    elif host:
        named["host"] = host
    return [of_parameters(named | query)]


def _mysql(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    files: dict[str, Any] = {_SSL[key]: query.pop(key) for key in list(query) if key in _SSL}
    extra = typed(conn_type, query) | ({"ssl": files} if files else {})
    return [connection(conn_type, extra, **_fields(url))]


def _odbc(url: Url, _type: str, query: dict[str, str]) -> Answer:
    scheme = {"sqlalchemy_scheme": "mssql+pyodbc"}
    whole = query.pop("odbc_connect", None)
    if whole is not None:
        found = of_string(whole, url.start)
        extra = found.extra.reveal() if found.extra is not None else {}
        return [found.replace(extra=None) if not extra else _with(found, extra | scheme)]
    fields = _fields(url)
    extra = typed("odbc", query) | scheme
    if fields["host"] and "driver" not in {key.lower() for key in query} and not fields["schema"]:
        extra["dsn"], fields["host"] = fields["host"], None  # as SQLAlchemy takes a host without a driver
    return [connection("odbc", extra, **fields)]


def _with(found: Connection, extra: dict[str, Any]) -> Connection:
    return connection("odbc", extra).replace(
        host=found.host, port=found.port, login=found.login, password=found.password, schema=found.schema
    )


def _oracle(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    fields = _fields(url)
    extra = typed(conn_type, query)
    sid = fields.pop("schema")
    if sid:
        extra["sid"] = sid
    elif fields["host"] and fields["port"] is None and "service_name" not in extra:
        extra["dsn"], fields["host"] = fields["host"], None  # a name of tnsnames.ora
    return [connection(conn_type, extra, **fields)]


def _sqlite(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    if url.place:
        raise refused("SQLite has no host", offset=url.start, hint="write sqlite:///file or sqlite:////path")
    path = decoded(url.path or "", url.start)
    return [connection(conn_type, typed(conn_type, query), host="" if path == ":memory:" else path)]


def _snowflake(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    database, _, schema = (url.path or "").partition("/")
    own = {"account": decoded(url.place, url.start), "database": decoded(database, url.start)}
    extra = {key: value for key, value in own.items() if value} | typed(conn_type, query)
    fields = {"login": url.login, "password": url.password, "schema": decoded(schema, url.start)}
    return [connection(conn_type, extra, **fields)]


def _bigquery(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    extra: dict[str, Any] = {"project": decoded(url.place, url.start)} if url.place else {}
    if "credentials_path" in query:
        extra["key_path"] = query.pop("credentials_path")
    if "location" in query:
        extra["location"] = query.pop("location")
    notes = ["the dataset has no place in a connection; tasks name it"] if url.path else []
    if query:
        notes.append("parameters that Airflow's hook does not read were left out")
    return [connection(conn_type, extra), *notes]


def _catalog(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    head, _, schema = (url.path or "").partition("/")
    extra: dict[str, Any] = {"catalog": decoded(head, url.start)} if head else {}
    fields = _fields(url) | {"schema": decoded(schema, url.start)}
    note = []
    if url.password and "protocol" not in query:
        extra["protocol"] = query.pop("http_scheme", "https")  # the dialect signs in over TLS only
        note = ["a password is sent over TLS only, so that protocol is https"]
    return [connection(conn_type, extra | typed(conn_type, query), **fields), *note]


def _hive(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    if "auth" in query:
        query["auth_mechanism"] = query.pop("auth")
    return plain(url, conn_type, query)


def _databricks(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    fields = _fields(url)
    if fields["login"] == "token":
        fields["login"] = None  # the word, where a token is the password
    return [connection(conn_type, typed(conn_type, query), **fields)]


def _clickhouse(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    driver = url.scheme.partition("+")[2]
    note = ["Airflow's hook speaks HTTP, as on port 8123 or 8443, and this is a URL of the native protocol"]
    return [*plain(url, conn_type, query), *(note if driver in _NATIVE else [])]


def _teradata(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    database = query.pop("database", None)
    fields = _fields(url)
    return [
        connection(conn_type, typed(conn_type, query), **(fields | {"schema": database or fields["schema"]}))
    ]


def _athena(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    fields = _fields(url)
    host, _ = str(fields.pop("host") or ""), fields.pop("port")
    extra = typed(conn_type, query)
    if host.startswith(_ATHENA[0]) and _ATHENA[1] in host:
        extra["region_name"] = host.removeprefix(_ATHENA[0]).partition(_ATHENA[1])[0]
    return [connection(conn_type, extra, **fields)]


def _druid(url: Url, conn_type: str, query: dict[str, str]) -> Answer:
    fields = _fields(url)
    path = fields.pop("schema")
    extra = typed(conn_type, query) | ({"endpoint": f"/{path}".rstrip("/")} if path else {})
    return [connection(conn_type, extra, **fields)]


READERS: dict[tuple[str, str], Reader] = {
    ("postgres", ""): _postgres,
    ("mysql", ""): _mysql,
    ("mssql", "pyodbc"): _odbc,
    ("mssql", "aioodbc"): _odbc,
    ("oracle", ""): _oracle,
    ("sqlite", ""): _sqlite,
    ("snowflake", ""): _snowflake,
    ("gcpbigquery", ""): _bigquery,
    ("trino", ""): _catalog,
    ("presto", ""): _catalog,
    ("hiveserver2", ""): _hive,
    ("databricks", ""): _databricks,
    ("clickhouse", ""): _clickhouse,
    ("teradata", ""): _teradata,
    ("athena", ""): _athena,
    ("druid", ""): _druid,
}
