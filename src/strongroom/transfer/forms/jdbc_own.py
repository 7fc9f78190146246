"""
JDBC drivers with a grammar of their own: SQL Server, Oracle, Snowflake, Hive, Databricks, DB2, SQLite.

Each gives the connection and then warnings. Sources: as `jdbc.py`.
"""

from __future__ import annotations

import re
from typing import Any

from strongroom.transfer.forms.form import connection, port_of, refused, typed
from strongroom.transfer.forms.jdbc_dialect import left_out
from strongroom.transfer.forms.pairs import Pair, parse_pairs, values_of
from strongroom.transfer.forms.url import host_and_port, query_of

__all__ = ["SQLSERVER", "databricks", "db2", "hive", "oracle", "snowflake", "sqlite", "sqlserver"]

SQLSERVER = {
    "applicationName": "appname",
    "loginTimeout": "login_timeout",
    "queryTimeout": "timeout",
}
"""Keys of extra by the driver's."""

_ORACLE = re.compile(r"oracle:(?:thin|oci8?):", re.IGNORECASE)
_SERVER = re.compile(r"[^;]*")
_SNOWFLAKE_HOST = ".snowflakecomputing.com"
_SNOWFLAKE = {"db": "database", "database": "database", "warehouse": "warehouse", "role": "role"} | {
    "authenticator": "authenticator",
    "account": "account",
    "private_key_file": "private_key_file",
    "token": "token",
}


def _server(text: str, start: int) -> tuple[str, int]:
    """Give what stands behind `//` up to the first semicolon, and where that is."""
    if not text.startswith("//", start):
        raise refused("'//' and a host do not follow", offset=start)
    match = _SERVER.match(text, start + 2)
    return (match[0], match.end()) if match else ("", start + 2)


def _taken(given: dict[str, Pair], *keys: str) -> str | None:
    found = [given.pop(key).value for key in keys if key in given]
    return found[0] if found else None


def sqlserver(text: str, start: int) -> list[Any]:
    """Read `jdbc:sqlserver://host:port;databaseName=…;user=…;password={…}`."""
    place, end = _server(text, start)
    given = values_of(parse_pairs(text, style="braces", start=end))
    host, _, port = place.partition(":")
    fields = {
        "host": host or _taken(given, "servername", "server"),
        "port": port_of(port, start) if port else port_of(_taken(given, "port", "portnumber") or "", start),
        "schema": _taken(given, "databasename", "database"),
        "login": _taken(given, "user", "username"),
        "password": _taken(given, "password"),
    }
    instance = _taken(given, "instancename")
    if instance and fields["host"] and "\\" not in str(fields["host"]):
        fields["host"] = f"{fields['host']}\\{instance}"
    extra: dict[str, str] = {}
    encrypt = _taken(given, "encrypt")
    if encrypt is not None:
        extra["encryption"] = "off" if encrypt.lower() in ("false", "no", "optional") else "require"
    for key, name in SQLSERVER.items():
        value = _taken(given, key.lower())
        if value is not None:
            extra[name] = value
    return [connection("mssql", typed("mssql", extra), **fields), *left_out(len(given))]


def oracle(text: str, start: int) -> list[Any]:
    """Read `jdbc:oracle:thin:user/password@` and host:port:SID, //host:port/service or a TNS entry."""
    head = _ORACLE.match(text, start - len("oracle:"))
    if head is None:
        raise refused("neither thin: nor oci: follows jdbc:oracle:", offset=start)
    # The '@' before the place is the last one outside a TNS entry, as a password may hold others.
    end = text.find("(", head.end())
    at = text.rfind("@", head.end(), len(text) if end < 0 else end)
    if at < 0:
        raise refused("there is no '@' before the database", offset=head.end())
    user, _, password = text[head.end() : at].partition("/")
    place = text[at + 1 :]
    fields: dict[str, Any] = {"login": user, "password": password.removeprefix('"').removesuffix('"')}
    if place.startswith("("):
        return [connection("oracle", {"dsn": place}, **fields)]
    place, _, query = place.partition("?")
    notes = ["parameters of the wallet and of TNS were left out"] if query else []
    bare = place.partition("//")[2] if "//" in place else place
    extra, parts = _oracle_place(bare, at + 1)
    return [connection("oracle", extra, **fields, **parts), *notes]


def _oracle_place(place: str, offset: int) -> tuple[dict[str, str], dict[str, Any]]:
    host, slash, service = place.partition("/")
    if slash:
        name, port = host_and_port(host, offset)
        return {"service_name": service.partition(":")[0]}, {"host": name, "port": port}
    pieces = host.split(":")
    if len(pieces) == 3:  # noqa: PLR2004 -- host, port, SID
        return {"sid": pieces[2]}, {"host": pieces[0], "port": port_of(pieces[1], offset)}
    if len(pieces) == 1:
        return {"dsn": host}, {}  # a name of tnsnames.ora
    raise refused("the database is neither host:port:SID nor //host:port/service", offset=offset)


def snowflake(text: str, start: int) -> list[Any]:
    """Read `jdbc:snowflake://account.snowflakecomputing.com/?db=…&warehouse=…`."""
    if not text.startswith("//", start):
        raise refused("'//' and a host do not follow", offset=start)
    authority, _, query = text[start + 2 :].partition("?")
    host, port = host_and_port(authority.partition("/")[0], start)
    given = {key.lower(): value for key, value in query_of(query, start).items()}
    fields = {key: given.pop(name, None) for key, name in (("login", "user"), ("password", "password"))}
    fields["schema"] = given.pop("schema", None)
    extra = (
        {"account": host.removesuffix(_SNOWFLAKE_HOST)} if host.endswith(_SNOWFLAKE_HOST) else {"host": host}
    )
    if port not in (None, 443):
        extra["port"] = str(port)
    extra |= {_SNOWFLAKE[key]: given.pop(key) for key in list(given) if key in _SNOWFLAKE}
    return [connection("snowflake", typed("snowflake", extra), **fields), *left_out(len(given))]


def hive(text: str, start: int) -> list[Any]:
    """Read `jdbc:hive2://host:port/db;key=value?hiveconf#hivevars`."""
    place, end = _server(text, start)
    cut = (
        len(text) - len(re.split(r"[?#]", text[end:], maxsplit=1)[-1]) - 1
        if re.search(r"[?#]", text[end:])
        else None
    )
    given = values_of(parse_pairs(text[:cut], style="plain", start=end))
    authority, _, schema = re.split(r"[?#]", place, maxsplit=1)[0].partition("/")
    if "," in authority:
        raise refused(
            "several hosts, or ZooKeeper, have no place in Airflow's hook", offset=start, hint="name one host"
        )
    host, port = host_and_port(authority, start)
    extra: dict[str, str] = {}
    principal, auth = _taken(given, "principal"), _taken(given, "auth")
    if principal:
        extra |= {"auth_mechanism": "KERBEROS", "kerberos_service_name": principal.partition("/")[0]}
    elif auth and auth.lower() == "nosasl":
        extra["auth_mechanism"] = "NOSASL"
    fields = {"login": _taken(given, "user"), "password": _taken(given, "password"), "schema": schema}
    if fields["password"] and not extra:
        extra["auth_mechanism"] = "LDAP"  # the hook drops the password of any other mechanism but CUSTOM
    notes = left_out(len(given)) + (["what stands behind '?' or '#' was left out"] if cut is not None else [])
    return [connection("hiveserver2", typed("hiveserver2", extra), host=host, port=port, **fields), *notes]


def databricks(text: str, start: int) -> list[Any]:
    """Read `jdbc:databricks://host:443/schema;httpPath=…;AuthMech=3;UID=token;PWD=…`."""
    place, end = _server(text, start)
    given = values_of(parse_pairs(text, style="plain", start=end))
    authority, _, schema = place.partition("/")
    host, port = host_and_port(authority, start)
    uid, password = _taken(given, "uid", "user"), _taken(given, "pwd", "password")
    extra = {}
    names = (("httppath", "http_path"), ("conncatalog", "catalog"), ("connschema", "schema"))
    for key, name in names:
        value = _taken(given, key)
        if value is not None:
            extra[name] = value
    client, secret = _taken(given, "oauth2clientid"), _taken(given, "oauth2secret")
    if client:
        uid, password = client, secret
        extra["service_principal_oauth"] = "true"
    for key in ("transportmode", "ssl", "authmech", "auth_flow", "thrifttransport"):
        given.pop(key, None)  # how the driver signs in and speaks: Airflow's has one way
    fields = {"login": None if uid == "token" else uid, "password": password, "schema": schema}
    if port == 443:  # noqa: PLR2004 -- HTTPS, which the hook takes by itself
        port = None
    made = connection("databricks", typed("databricks", extra), host=host, port=port, **fields)
    return [made, *left_out(len(given))]


def db2(text: str, start: int) -> list[Any]:
    """Read `jdbc:db2://host:port/database:user=…;password=…;`."""
    if not text.startswith("//", start):
        raise refused("'//' and a host do not follow", offset=start)
    slash = text.find("/", start + 2)
    colon = text.find(":", slash) if slash >= 0 else -1
    given = values_of(parse_pairs(text, style="plain", start=colon + 1)) if colon >= 0 else {}
    login, password = _taken(given, "user"), _taken(given, "password")
    options = "".join(f"{pair.key}={pair.value};" for pair in given.values())
    base = text if colon < 0 else text[:colon]
    url = f"{base}:{options}" if options else base
    extra = {"driver_class": "com.ibm.db2.jcc.DB2Driver"}
    note = "Airflow reads the driver's class here only with [providers.jdbc] allow_driver_class_in_extra"
    return [connection("jdbc", extra, host=url, login=login, password=password), note]


def sqlite(text: str, start: int) -> list[Any]:
    """Read `jdbc:sqlite:path`."""
    path = text[start:].partition("?")[0]
    return [connection("sqlite", host="" if path == ":memory:" else path)]
