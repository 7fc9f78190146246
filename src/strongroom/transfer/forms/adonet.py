"""
ADO.NET connection strings, as Azure's portal shows them: of SQL Server, PostgreSQL (Npgsql), MySQL, Oracle.

`Server=tcp:acme.database.windows.net,1433;Initial Catalog=orders;User ID=svc;Password=…;Encrypt=True`.
`Host=`, or PostgreSQL's port, is Npgsql's; another `Port=` beside `Server=` MySQL's, as is what MySQL alone
has; a `Data Source=` that is a TNS entry or host:port/service Oracle's; what is left is SQL Server's.

Sources: learn.microsoft.com, "SqlConnection.ConnectionString" and "Connection String Syntax (ADO.NET)";
npgsql.org/doc/connection-string-parameters.html; dev.mysql.com, "Connector/NET Connection Options".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from strongroom.transfer.forms.form import Form, Found, Look, connection, port_of, refused
from strongroom.transfer.forms.pairs import Pair, parse_pairs, values_of

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM"]

_FIELDS = {
    "server": "host",
    "datasource": "host",
    "address": "host",
    "addr": "host",
    "networkaddress": "host",
    "host": "host",
    "database": "schema",
    "initialcatalog": "schema",
    "userid": "login",
    "user": "login",
    "uid": "login",
    "username": "login",
    "password": "password",
    "pwd": "password",
    "port": "port",
}
_SERVERS = frozenset(key for key, field in _FIELDS.items() if field == "host")
_OTHERS = {
    "mssql": {
        "applicationname": "appname",
        "connecttimeout": "login_timeout",
        "connectiontimeout": "login_timeout",
        "timeout": "login_timeout",
        "commandtimeout": "timeout",
        "encrypt": "encryption",
    },
    "postgres": {
        "sslmode": "sslmode",
        "rootcertificate": "sslrootcert",
        "sslcertificate": "sslcert",
        "sslkey": "sslkey",
        "applicationname": "application_name",
        "timeout": "connect_timeout",
    },
    "mysql": {"sslmode": "ssl_mode", "charset": "charset", "characterset": "charset"},
}
_ENCRYPTION = {
    "true": "require", "yes": "require", "mandatory": "require", "strict": "require",
    "false": "off", "no": "off", "optional": "off",
}  # fmt: skip
_MODES = {
    "none": "DISABLED", "disabled": "DISABLED", "preferred": "PREFERRED", "prefered": "PREFERRED",
    "required": "REQUIRED", "verifyca": "VERIFY_CA", "verifyfull": "VERIFY_IDENTITY",
}  # fmt: skip
_POSTGRES_PORT = "5432"
_MYSQL = frozenset({"sslmode", "charset", "characterset", "allowuservariables", "allowpublickeyretrieval"})
_MSSQL = frozenset(
    {"initialcatalog", "encrypt", "trustservercertificate", "multipleactiveresultsets", "integratedsecurity"}
    | {"trusted_connection", "datasource", "networklibrary", "provider", "persistsecurityinfo"}
)
_ORACLE = re.compile(r"\(|[\w.-]{1,255}(?::[0-9]{1,5})?/[\w.$-]")
# What says nothing to Airflow's drivers, so that leaving it out changes nothing.
_IDLE = frozenset(
    [
        "persistsecurityinfo",
        "multipleactiveresultsets",
        "pooling",
        "minpoolsize",
        "maxpoolsize",
        "minimumpoolsize",
        "maximumpoolsize",
        "connectionlifetime",
        "integratedsecurity",
    ]
)


def _misfit(look: Look) -> str | None:
    keys = look.keywords
    if not keys & _SERVERS or keys & {"driver", "dsn", "filedsn"}:
        return "has no Server=, Data Source= or Host= between semicolons"
    return None if len(keys & _FIELDS.keys()) > 1 else "names a server, and nothing else of a connection"


def _parse(text: str, _dialect: Dialect) -> Found:
    given = values_of(parse_pairs(text, style="quotes"))
    conn_type = _type(given)
    if conn_type == "oracle":
        return _oracle(given)
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    left = 0
    for key, pair in given.items():
        name = _FIELDS.get(key)
        if name in fields:
            raise refused("two keys say the same", offset=pair.offset, hint="keep one of the two")
        if name is not None:
            fields[name] = port_of(pair.value, pair.offset) if name == "port" else pair.value
        elif key in _OTHERS[conn_type]:
            extra |= _extra(_OTHERS[conn_type][key], pair.value)
        else:
            left += key not in _IDLE
    if conn_type == "mssql" and "host" in fields:
        host, port = _server(fields["host"], given)
        fields |= {"host": host, "port": port}
    several = "s" * (left > 1)
    notes = [f"{left} parameter{several} that Airflow's driver does not know left out"] if left else []
    if conn_type == "mssql" and {"uid", "pwd"} <= given.keys() and not given.keys() & _MSSQL:
        notes.append("it was read as SQL Server's; one of MySQL names its port, as in Port=3306")
    if "integratedsecurity" in given or "trusted_connection" in given:
        notes.append("signing in as the Windows user is not carried over; give a login")
    return Found({None: connection(conn_type, extra, **fields)}, tuple(notes))


def _type(given: dict[str, Pair]) -> str:
    if "version" in given:
        raise refused(
            "a file of SQLite is no server", offset=given["version"].offset, hint="write sqlite:////path"
        )
    port = given["port"].value if "port" in given else ""
    if "host" in given or port == _POSTGRES_PORT:
        return "postgres"
    if port or given.keys() & _MYSQL:
        return "mysql"
    source = given["datasource"].value if "datasource" in given else ""
    return "oracle" if _ORACLE.match(source) else "mssql"


def _oracle(given: dict[str, Pair]) -> Found:
    """Read Oracle's, whose data source is what the hook takes as its DSN."""
    fields = {_FIELDS[key]: pair.value for key, pair in given.items() if key in ("userid", "password")}
    left = len(given.keys() - _IDLE - {"userid", "password", "datasource"})
    notes = (f"{left} parameter{'s' * (left > 1)} left out",) if left else ()
    return Found({None: connection("oracle", {"dsn": given["datasource"].value}, **fields)}, notes)


def _server(server: str, given: dict[str, Pair]) -> tuple[str, int | None]:
    """Take `tcp:host,port` apart; an instance stays with the host."""
    bare = server.removeprefix("tcp:") if server[:4].lower() != "tcp:" else server[4:]
    host, _, port = bare.partition(",")
    offset = next((pair.offset for key, pair in given.items() if key in _SERVERS), None)
    return host.strip(), port_of(port.strip(), offset)


def _extra(name: str, value: str) -> dict[str, Any]:
    plain = value.lower().replace(" ", "").replace("_", "")
    if name == "encryption":
        return {name: _ENCRYPTION[plain]} if plain in _ENCRYPTION else {}
    if name == "ssl_mode":
        return {name: _MODES[plain]} if plain in _MODES else {}
    if name == "sslmode":
        modes = {"verifyca": "verify-ca", "verifyfull": "verify-full"}
        return {name: modes.get(plain, plain)}
    return {name: int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else value}  # noqa: PLR2004 -- seconds


def _format(connection: Connection, _name: str) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    host = connection.host or ""
    if connection.conn_type == "mssql":
        place = [("Server", f"tcp:{host}" + ("" if connection.port is None else f",{connection.port}"))]
        names = {"schema": "Initial Catalog", "login": "User ID"}
    else:
        is_postgres = connection.conn_type == "postgres"
        # The port tells MySQL's string from SQL Server's, so that it stands there at all events.
        port = 3306 if connection.port is None and not is_postgres else connection.port
        place = [("Host" if is_postgres else "Server", host), ("Port", "" if port is None else str(port))]
        names = {"schema": "Database", "login": "Username" if is_postgres else "Uid"}
    values = [(key, getattr(connection, name) or "") for name, key in names.items()]
    secret = connection.password.reveal() if connection.password is not None else ""
    parts = [*place, *values, ("Password", secret), *_parameters(connection.conn_type or "", extra)]
    return ";".join(f"{key}={_quoted(value)}" for key, value in parts if value)


def _parameters(conn_type: str, extra: dict[str, Any]) -> list[tuple[str, str]]:
    shown = {
        "appname": "Application Name", "login_timeout": "Connect Timeout", "timeout": "Command Timeout",
        "sslmode": "SSL Mode", "sslrootcert": "Root Certificate", "sslcert": "SSL Certificate",
        "sslkey": "SSL Key", "application_name": "Application Name", "connect_timeout": "Timeout",
        "charset": "CharSet",
    }  # fmt: skip
    modes = {value: key for key, value in _MODES.items()}
    found = [(shown[key], str(value)) for key, value in extra.items() if key in shown]
    if conn_type == "mssql" and extra.get("encryption") in ("require", "off"):
        found.append(("Encrypt", "True" if extra["encryption"] == "require" else "False"))
    if conn_type == "mysql" and extra.get("ssl_mode") in modes:
        found.append(("SslMode", modes[extra["ssl_mode"]]))
    return found


def _quoted(value: str) -> str:
    if any(mark in value for mark in ";'\"=") or value != value.strip():
        return '"' + value.replace('"', '""') + '"'
    return value


FORM = Form(
    name="adonet",
    title="ADO.NET connection string",
    example="Server=tcp:acme.database.windows.net,1433;Initial Catalog=orders;User ID=svc;"
    "Password=p@ss;Encrypt=True;Connection Timeout=30",
    lacks="description; types other than mssql, postgres and mysql; most of extra",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
