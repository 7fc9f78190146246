"""
JDBC drivers with a grammar of their own: SQL Server (Microsoft's and jTDS), Oracle, Snowflake, Hive,
Databricks, DB2, SQLite, and Redshift by IAM.

Each gives the connection and then warnings. Sources: as `jdbc.py`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from strongroom.model.extra import Extra
from strongroom.transfer.forms.form import connection, port_of, refused, typed
from strongroom.transfer.forms.jdbc_dialect import Kind, left_out, of_url
from strongroom.transfer.forms.pairs import Pair, parse_pairs, values_of
from strongroom.transfer.forms.url import host_and_port, query_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "SIGNS_IN",
    "SQLSERVER",
    "databricks",
    "db2",
    "hive",
    "jtds",
    "named",
    "oracle",
    "redshift_iam",
    "snowflake",
    "sqlite",
    "sqlserver",
]

SIGNS_IN = re.compile(
    r"(?:user(?:name)?|uid|"
    r"(?:passw(?:or)?d|passphrase|pwd|secret|token|credential|accesskey|apikey|pvtkey)[\w.-]{0,64}"
    r")\s{0,8}=\s{0,8}[^;&,\s]",
    re.IGNORECASE,
)
"""What tells that a URL whose grammar is not known holds a user or a secret."""

SQLSERVER = {
    "applicationName": "appname",
    "loginTimeout": "login_timeout",
    "queryTimeout": "timeout",
}
"""Keys of extra by the driver's."""

_ORACLE = re.compile(r"oracle:(?:thin|oci8?):", re.IGNORECASE)
_CLUSTER = re.compile(r"//([A-Za-z0-9-]{1,63}):([a-z]{2}(?:-[a-z]+){1,3}-[0-9])/")
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


def _place(place: str, start: int) -> tuple[str, int | None]:
    host, _, port = place.partition(":")
    return host, port_of(port, start)


def _taken(given: dict[str, Pair], *keys: str) -> str | None:
    found = [given.pop(key).value for key in keys if key in given]
    return found[0] if found else None


def named(read: Callable[[str, int], list[Any]], name: str) -> Callable[[str, int], list[Any]]:
    """Give *read* for URLs that name the database behind the driver's own name, as `jdbc:jtds:sqlserver:`."""

    def inner(text: str, start: int) -> list[Any]:
        if text[start : start + len(name) + 1].lower() != f"{name}:":
            raise refused(f"{name}: does not follow the driver's name", offset=start)
        return read(text, start + len(name) + 1)

    return inner


def jtds(text: str, start: int) -> list[Any]:
    """Read `jdbc:jtds:sqlserver://host:port/database;instance=…;user=…;password=…`."""
    place, end = _server(text, start)
    head, _, database = place.partition("/")
    given = parse_pairs(text, style="plain", start=end)
    if database:
        given.append(Pair("databaseName", database, start))
    names = {"instance": "instanceName", "appname": "applicationName", "logintimeout": "loginTimeout"}
    renamed = [pair._replace(key=names.get(pair.key.lower(), pair.key)) for pair in given]
    return _sqlserver(head, values_of(renamed), start)


def sqlserver(text: str, start: int) -> list[Any]:
    """Read `jdbc:sqlserver://host:port;databaseName=…;user=…;password={…}`."""
    place, end = _server(text, start)
    return _sqlserver(place, values_of(parse_pairs(text, style="braces", start=end)), start)


def _sqlserver(place: str, given: dict[str, Pair], start: int) -> list[Any]:
    # `user:password@` is not of this grammar, and would end up in the host.
    if "@" in place:
        raise refused("an '@' stands in the host", offset=start, hint="say ;user=…;password=…")
    is_address = place.startswith("[")
    host, port = host_and_port(place, start) if is_address else _place(place, start)
    fields = {
        "host": host or _taken(given, "servername", "server"),
        "port": port or port_of(_taken(given, "port", "portnumber") or "", start),
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
    if place.startswith("(") or place[:8].lower().startswith(("tcps://", "ldap://", "ldaps://")):
        # A TNS entry, a directory, or what says TLS: all of it is needed, and the hook's dsn takes it.
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
    for name in (
        "private_key_file_pwd",
        "private_key_pwd",
    ):  # the hook opens the key's file with the password
        fields["password"] = given.pop(name, None) or fields["password"]
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
    password = _taken(given, "auth_accesstoken") or password
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
    if SIGNS_IN.search(options):
        raise refused("an option holds a secret that would stand in the host", hint="take it out of the URL")
    extra = {"driver_class": "com.ibm.db2.jcc.DB2Driver"}
    note = "Airflow reads the driver's class here only with [providers.jdbc] allow_driver_class_in_extra"
    return [connection("jdbc", extra, host=url, login=login, password=password), note]


def redshift_iam(kind: Kind, text: str, start: int) -> list[Any]:
    """Read `jdbc:redshift:iam://cluster:region/db` and `…iam://host:port/db`, where IAM signs in."""
    head = _CLUSTER.match(text, start)
    rest = f"///{text[head.end() :]}" if head else text[start:]
    found, *notes = of_url(kind, rest, start)
    place = {"cluster_identifier": head[1], "region": head[2]} if head else {}
    own = found.extra.reveal() if found.extra is not None else {}
    notes.append("the keys that IAM signs in with are those of an AWS connection, aws_default if unsaid")
    return [found.replace(extra=Extra(own | place | {"iam": True})), *notes]


def sqlite(text: str, start: int) -> list[Any]:
    """Read `jdbc:sqlite:path`."""
    path = text[start:].partition("?")[0]
    return [connection("sqlite", host="" if path == ":memory:" else path)]
