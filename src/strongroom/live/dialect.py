"""
What SQLAlchemy is told of a connection: which dialect and driver, which URL, which arguments of the driver.

Not for connecting (`engine.py`), nor for warehouses (`warehouse.py`).

Rules of this file:

1. Fields mean what Airflow's hook makes of them; the driver is the one said, else the first installed.
2. What is asked of TLS goes to the driver on every way: no URL without it.
3. A token goes over TLS or not at all.
4. Nothing is looked at in advance: files named in a connection are read when somebody connects.
"""

from __future__ import annotations

import json
import re
import ssl
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from strongroom import catalog
from strongroom.live.families import loaded
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.live.around import Around
    from strongroom.live.held import Held
    from strongroom.live.login_token import Login
    from strongroom.model.connection import Connection

__all__ = [
    "Address",
    "address",
    "begun",
    "document",
    "driver_extra",
    "extra_of",
    "has_asynchronous",
    "libpq_args",
    "scheme_of",
]


class Scheme(NamedTuple):
    """
    A dialect of SQLAlchemy with its driver.

    Args:
        name: as URLs begin, such as `postgresql+psycopg`.
        modules: what has to be installed for it.
        extra: of this distribution that brings it; empty where none does.
        since: the first release of SQLAlchemy that has it.
    """

    name: str
    modules: tuple[str, ...]
    extra: str = ""
    since: int = 1


class Address(NamedTuple):
    """
    Where an engine connects to, in the words of `sqlalchemy.URL`, and the arguments of its driver.

    Args:
        user, password: of this moment; a token is a password.
        query: of the URL.
        args: for the driver's `connect`.
    """

    scheme: str
    user: str | None = None
    password: str | None = None
    host: str | None = None
    port: int | None = None
    database: str | None = None
    query: dict[str, str] = {}  # noqa: RUF012 -- never changed
    args: dict[str, Any] = {}  # noqa: RUF012 -- as query

    def __repr__(self) -> str:
        return f"Address({self.scheme!r})"


_PSYCOPG = Scheme("postgresql+psycopg", ("psycopg",), "postgres", since=2)
_PSYCOPG2 = Scheme("postgresql+psycopg2", ("psycopg2",))
_SCHEMES: dict[str, tuple[Scheme, ...]] = {
    "postgres": (_PSYCOPG, _PSYCOPG2),
    "redshift": (
        Scheme("redshift+redshift_connector", ("sqlalchemy_redshift", "redshift_connector"), "redshift"),
        _PSYCOPG,
        _PSYCOPG2,
    ),
    "mysql": (
        Scheme("mysql+mysqldb", ("MySQLdb",)),
        Scheme("mysql+pymysql", ("pymysql",), "mariadb"),
        Scheme("mysql+mysqlconnector", ("mysql.connector",)),
    ),
    "mssql": (
        Scheme("mssql+pymssql", ("pymssql",), "mssql"),
        Scheme("mssql+pyodbc", ("pyodbc",)),
    ),
    "odbc": (Scheme("mssql+pyodbc", ("pyodbc",)),),
    "sqlite": (Scheme("sqlite", ("sqlite3",), "sql"),),
    "oracle": (Scheme("oracle+oracledb", ("oracledb",), since=2),),
    "snowflake": (Scheme("snowflake", ("snowflake.sqlalchemy",), "snowflake"),),
    "trino": (Scheme("trino", ("trino.sqlalchemy",), "trino"),),
    "presto": (Scheme("presto", ("pyhive",)),),
    "databricks": (Scheme("databricks", ("databricks.sqlalchemy",)),),
    "clickhouse": (Scheme("clickhousedb", ("clickhouse_connect",)),),
    "teradata": (Scheme("teradatasql", ("teradatasqlalchemy",)),),
    "vertica": (Scheme("vertica+vertica_python", ("vertica_python",)),),
    "exasol": (Scheme("exa+websocket", ("sqlalchemy_exasol",)),),
}
_ASYNCHRONOUS: dict[str, tuple[Scheme, ...]] = {
    "postgres": (_PSYCOPG,),
    "redshift": (_PSYCOPG,),
    "mysql": (Scheme("mysql+aiomysql", ("aiomysql",)), Scheme("mysql+asyncmy", ("asyncmy",))),
    "sqlite": (Scheme("sqlite+aiosqlite", ("aiosqlite",)),),
    "mssql": (Scheme("mssql+aioodbc", ("aioodbc",)),),
    "oracle": (Scheme("oracle+oracledb_async", ("oracledb",), since=2),),
}
_MYSQL_CLIENTS = {
    "mysqlclient": "mysql+mysqldb",
    "pymysql": "mysql+pymysql",
    "mysql-connector-python": "mysql+mysqlconnector",
}
_SAID = re.compile(r"[a-z0-9_]+(\+[a-z0-9_]+)?", re.ASCII)
_BEGINS = {"postgres": "postgresql", "mssql": "mssql", "odbc": ""}

# What Airflow's hooks read themselves, so that it is none of the driver's.
_OURS = frozenset(
    {
        "iam",
        "redshift",
        "redshift-serverless",
        "cursor",
        "cluster-identifier",
        "workgroup-name",
        "aws_conn_id",
        "azure_conn_id",
        "gcp_conn_id",
        "sqlalchemy_scheme",
        "sqlalchemy_query",
        "client",
        "placeholder",
        "insert_statement_format",
        "replace_statement_format",
        "escape_word_format",
        "escape_column_names",
        "is_serverless",
        "cluster_identifier",
        "serverless_work_group",
        "serverless_token_duration_seconds",
    }
)
_CLEAR = ("disable", "allow", "prefer")  # modes of libpq that may end without TLS


def extra_of(connection: Connection) -> dict[str, Any]:
    """Give the extra of *connection* as plain values, without what says nothing."""
    plain = {} if connection.extra is None else connection.extra.reveal()
    return {key: value for key, value in plain.items() if value is not None}


def driver_extra(connection: Connection) -> dict[str, Any]:
    """Give of `extra_of` what is the driver's, and not read by Airflow's hook or by us."""
    return {key: value for key, value in extra_of(connection).items() if key not in _OURS}


# --- which driver -------------------------------------------------------------------------------------


def scheme_of(held: Held, release: int, *, is_asynchronous: bool = False) -> Scheme:
    """
    Choose dialect and driver for the connection *held*.

    Args:
        held: whose.
        release: the first number of SQLAlchemy's version.
        is_asynchronous: for an `AsyncEngine`.

    Raises:
        BackendConfigError: the driver is not installed, or what is said is none.
    """
    connection = held.known.connection
    conn_type = connection.conn_type or ""
    found = (_ASYNCHRONOUS if is_asynchronous else _SCHEMES).get(conn_type, ())
    said = None if is_asynchronous else _said(held.name, connection)
    if said is not None:
        found = tuple(one for one in found if one.name == said) or (Scheme(said, ()),)
    for scheme in found:
        if scheme.since <= release and all(map(_is_there, scheme.modules)):
            return scheme
    if not found:
        raise trouble("driver", "unknown", name=held.name, detail=conn_type)
    named = [one for one in found if one.since <= release] or list(found)
    best = next((one for one in named if one.extra), named[0])
    install = f"'strongroom[{best.extra}]'" if best.extra else best.modules[0].partition(".")[0]
    names = " or ".join(dict.fromkeys(one.modules[-1].partition(".")[0] for one in named))
    raise trouble("driver", "missing", name=held.name, detail=names, hint=f"pip install {install}")


def has_asynchronous(conn_type: str | None) -> bool:
    """Tell whether SQLAlchemy has a driver for `asyncio` that speaks to it."""
    return conn_type in _ASYNCHRONOUS


def _said(name: str, connection: Connection) -> str | None:
    """Give the scheme that the connection itself names."""
    conn_type, extra = connection.conn_type or "", extra_of(connection)
    if conn_type == "mysql" and extra.get("client"):
        said = _MYSQL_CLIENTS.get(str(extra["client"]))
        if said is None:
            raise trouble("options", "malformed", name=name, detail="extra.client")
        return said
    scheme = extra.get("sqlalchemy_scheme")
    if conn_type not in _BEGINS or not scheme:
        return None
    if (
        not isinstance(scheme, str)
        or not _SAID.fullmatch(scheme)
        or not scheme.startswith(_BEGINS[conn_type])
    ):
        raise trouble("options", "malformed", name=name, detail="extra.sqlalchemy_scheme")
    return None if scheme == "postgresql" else scheme


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # what it stands in is not there, or is half loaded
        return False


# --- what it is told ----------------------------------------------------------------------------------


def address(held: Held, connection: Connection, scheme: str, login: Login, around: Around) -> Address:
    """
    Give what SQLAlchemy is told of *connection*, with *login* as user and password.

    Raises:
        BackendConfigError: a field of it cannot be used, or a file it names.
    """
    told = _TOLD.get(connection.conn_type or "")
    if told is None:
        from strongroom.live import warehouse  # noqa: PLC0415 -- most databases are none

        made = warehouse.address(held, connection, scheme, login, around)
    else:
        made = told(held, connection, scheme, login)
    for text in (made.user, made.password, made.host, made.database):
        if text is not None and "\0" in text:  # where C cuts it short
            raise trouble("options", "malformed", name=held.name, detail="a field with a NUL in it")
    return made


def begun(connection: Connection, scheme: str, login: Login) -> Address:
    """Give what the standard fields of *connection* say."""
    return Address(
        scheme,
        user=login.user,
        password=None if login.password is None else login.password.reveal(),
        host=connection.host or None,
        port=login.port or connection.port,
        database=connection.schema or None,
    )


def libpq_args(held: Held, connection: Connection, login: Login) -> dict[str, Any]:
    """
    Give the parameters of libpq in the extra of *connection*.

    Raises:
        BackendConfigError: one of them is a document.
    """
    args = driver_extra(connection)
    for key, value in args.items():
        if isinstance(value, bool) and key != "autocommit":
            args[key] = int(value)
        elif isinstance(value, (dict, list)) or (isinstance(value, str) and "\0" in value):
            raise trouble("options", "malformed", name=held.name, detail=f"extra.{_shown(key)}")
    if login.is_token and str(args.get("sslmode", "prefer")) in _CLEAR:
        args["sslmode"] = "verify-full" if args.get("sslrootcert") else "require"
    return args


def _postgres(held: Held, connection: Connection, scheme: str, login: Login) -> Address:
    query = document(held, extra_of(connection).get("sqlalchemy_query", {}), "sqlalchemy_query")
    return begun(connection, scheme, login)._replace(
        query={key: str(value) for key, value in query.items()}, args=libpq_args(held, connection, login)
    )


def _redshift(held: Held, connection: Connection, scheme: str, login: Login) -> Address:
    args = driver_extra(connection)
    if scheme.startswith("postgresql"):
        args = libpq_args(held, connection, login)
    told = begun(connection, scheme, login)
    return told._replace(port=told.port or 5439, args=args)


def _sqlite(held: Held, connection: Connection, scheme: str, login: Login) -> Address:
    del login
    extra = driver_extra(connection)
    path = connection.host or ""
    if not extra:
        return Address(scheme, database=path or None)
    if any(isinstance(value, (dict, list)) for value in extra.values()):
        raise trouble("options", "malformed", name=held.name, detail="extra")
    said = {
        key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in extra.items()
    }
    parameters = "&".join(f"{quote(key)}={quote(value, safe='')}" for key, value in said.items())
    return Address(scheme, database=f"file:{quote(path or ':memory:')}?{parameters}", query={"uri": "true"})


def _mssql(held: Held, connection: Connection, scheme: str, login: Login) -> Address:
    told = begun(connection, scheme, login)
    extra = driver_extra(connection)
    if scheme == "mssql+pymssql":
        return told._replace(args=_typed(held, "mssql", extra))
    if scheme.endswith("odbc"):
        kwargs = document(held, extra.pop("connect_kwargs", {}), "connect_kwargs")
        host = extra.pop("dsn", None) or told.host
        return told._replace(host=host, query={key: str(value) for key, value in extra.items()}, args=kwargs)
    return told._replace(query={key: str(value) for key, value in extra.items()})


def _oracle(held: Held, connection: Connection, scheme: str, login: Login) -> Address:
    extra = driver_extra(connection)
    told = begun(connection, scheme, login)
    dsn, sid, service = extra.pop("dsn", None), extra.pop("sid", None), extra.pop("service_name", None)
    for key in ("thick_mode", "thick_mode_lib_dir", "thick_mode_config_dir", "fetch_decimals", "fetch_lobs"):
        extra.pop(key, None)  # of the process or of a cursor, not of a connection
    mode = extra.pop("mode", None)
    if mode is not None:
        driver = loaded("oracledb", held, extra="sql")
        extra["mode"] = getattr(driver, f"AUTH_MODE_{str(mode).upper()}", None)
        if extra["mode"] is None:
            raise trouble("options", "malformed", name=held.name, detail="extra.mode")
    args = _typed(held, "oracle", extra)
    if dsn is not None:
        return told._replace(host=str(dsn), port=None, database=None, args=args)
    if sid is not None:
        return told._replace(port=told.port or 1521, database=str(sid), args=args)
    return told._replace(
        port=told.port or 1521,
        database=None,
        query={"service_name": str(service or connection.schema or "")},
        args=args,
    )


# --- MySQL --------------------------------------------------------------------------------------------

_MYSQL_READ = frozenset(("charset", "ssl", "ssl_mode", "unix_socket", "local_infile"))
_TLS_MODES = ("disabled", "preferred", "required", "verify_ca", "verify_identity")


def _mysql(held: Held, connection: Connection, scheme: str, login: Login) -> Address:
    extra = driver_extra(connection)
    told = begun(connection, scheme, login)
    args: dict[str, Any] = {key: extra[key] for key in ("charset", "unix_socket") if extra.get(key)}
    if str(extra.get("local_infile", "")).lower() in ("1", "true"):
        args["allow_local_infile" if scheme.endswith("connector") else "local_infile"] = True
    args |= _mysql_tls(held, scheme, extra, login)
    return told._replace(
        host=told.host or "localhost",
        port=told.port or 3306,
        query={key: str(value) for key, value in extra.items() if key not in _MYSQL_READ},
        args=args,
    )


def _mysql_tls(held: Held, scheme: str, extra: dict[str, Any], login: Login) -> dict[str, Any]:
    files = document(held, extra.get("ssl") or {}, "ssl")
    mode = str(extra.get("ssl_mode") or "").lower()
    if mode and mode not in _TLS_MODES:
        raise trouble("options", "malformed", name=held.name, detail="extra.ssl_mode")
    if login.is_token and mode in ("", "disabled", "preferred"):
        mode = "verify_identity" if files.get("ca") or files.get("capath") else "required"
    if scheme == "mysql+mysqldb":
        return ({"ssl": files} if files else {}) | ({"ssl_mode": mode.upper()} if mode else {})
    if scheme == "mysql+mysqlconnector":
        return _connector_tls(files, mode)
    if mode == "disabled":
        return {"ssl_disabled": True} if scheme == "mysql+pymysql" else {}
    if mode in ("", "preferred") and not files:
        return {}
    return {"ssl": _context(held, files, mode)}


def _connector_tls(files: dict[str, Any], mode: str) -> dict[str, Any]:
    if mode == "disabled":
        return {"ssl_disabled": True}
    args = {f"ssl_{key}": files[key] for key in ("ca", "cert", "key") if files.get(key)}
    if mode in ("verify_ca", "verify_identity"):
        args |= {"ssl_verify_cert": True, "ssl_verify_identity": mode == "verify_identity"}
    return args


def _context(held: Held, files: dict[str, Any], mode: str) -> ssl.SSLContext:
    """Make what TLS with MySQL is spoken by; a CA that is named is believed alone."""
    has_ca = bool(files.get("ca") or files.get("capath"))
    try:
        context = ssl.create_default_context(cafile=files.get("ca"), capath=files.get("capath"))
        # Python 3.13 asks of certificates what those that MySQL makes by itself do not have.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        is_verified = mode.startswith("verify") or (has_ca and mode != "required")
        context.check_hostname = (
            is_verified and mode != "verify_ca" and bool(files.get("check_hostname", True))
        )
        context.verify_mode = ssl.CERT_REQUIRED if is_verified else ssl.CERT_NONE
        if files.get("cert"):
            context.load_cert_chain(files["cert"], files.get("key"))
        if files.get("cipher"):
            context.set_ciphers(files["cipher"])
    except (OSError, TypeError, ValueError):
        refusal = trouble("tls", "malformed", name=held.name, detail="extra.ssl")
    else:
        return context
    raise refusal


# --- values -------------------------------------------------------------------------------------------


def document(held: Held, value: object, key: str) -> dict[str, Any]:
    """
    Read the object at *key* of an extra, which may stand there as text.

    Raises:
        BackendConfigError: it is none.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        raise trouble("options", "malformed", name=held.name, detail=f"extra.{key}")
    return value


def _typed(held: Held, conn_type: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Give *extra* with numbers and flags for what forms have saved as text."""
    kind = catalog.find(conn_type)
    found: dict[str, Any] = {}
    for key, value in extra.items():
        field = None if kind is None else kind.extra_field(key)
        if field is None or not isinstance(value, str) or field.type not in ("integer", "boolean"):
            found[key] = value
        elif not field.fits(value):
            raise trouble("options", "malformed", name=held.name, detail=f"extra.{_shown(key)}")
        else:
            found[key] = int(value) if field.type == "integer" else value.lower() == "true"
    return found


def _shown(key: str) -> str:
    from strongroom.model.extra import path_of  # noqa: PLC0415 -- only where something is wrong

    return path_of("extra", key).partition(".")[2]


_TOLD: dict[str, Callable[[Held, Connection, str, Login], Address]] = {
    "postgres": _postgres,
    "redshift": _redshift,
    "sqlite": _sqlite,
    "mssql": _mssql,
    "odbc": _mssql,
    "oracle": _oracle,
    "mysql": _mysql,
}
