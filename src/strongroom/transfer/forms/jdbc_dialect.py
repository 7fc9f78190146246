"""
JDBC drivers whose URL is `//host:port,host:port/database?key=value&key=value`, and what their keys are here.

A key that has no counterpart in Airflow's driver is left out, and counted in a warning.

Sources: as `jdbc.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.transfer.forms.form import connection, typed
from strongroom.transfer.forms.libpq import of_parameters
from strongroom.transfer.forms.pairs import parse_pairs
from strongroom.transfer.forms.url import Url, decoded, query_of, quoted_query, split

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KINDS", "PROTOCOLS", "Kind", "left_out", "of_url"]

PROTOCOLS = frozenset({"http", "https", "grpc", "tcp"})
"""What `jdbc:ch:https:` and its kin name is no way to choose a host."""


class Kind(NamedTuple):
    """
    What a driver of this grammar becomes.

    Args:
        conn_type: Airflow's.
        names: keys of extra by the driver's.
        values: by a key of extra: its values by the driver's.
        has_catalog: the path is `/catalog/schema`.
    """

    conn_type: str
    names: Mapping[str, str]
    values: Mapping[str, Mapping[str, str]] = {}
    has_catalog: bool = False


_POSTGRES = {
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "sslpassword": "sslpassword",
    "ApplicationName": "application_name",
    "connectTimeout": "connect_timeout",
    "options": "options",
    "targetServerType": "target_session_attrs",
    "gssEncMode": "gssencmode",
    "channelBinding": "channel_binding",
    "kerberosServerName": "krbsrvname",
}
_SPELLED = {"uid": "user", "pwd": "password", "username": "user"}
_MYSQL_MODES = {mode: mode for mode in ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")}
_MARIADB_MODES = {
    "disable": "DISABLED", "trust": "REQUIRED", "verify-ca": "VERIFY_CA", "verify-full": "VERIFY_IDENTITY",
}  # fmt: skip
_TRINO = {
    "source": "source",
    "accessToken": "jwt__token",
    "KerberosRemoteServiceName": "kerberos__service_name",
    "KerberosPrincipal": "kerberos__principal",
    "KerberosConfigPath": "kerberos__config",
    "timezone": "timezone",
}
_CLICKHOUSE = {
    "ssl": "secure",
    "client_name": "client_name",
    "connect_timeout": "connect_timeout",
    "compress": "compress",
}

KINDS = {
    "postgresql": Kind(
        "postgres",
        _POSTGRES,
        {"target_session_attrs": {"primary": "read-write", "secondary": "standby", "any": "any"}},
    ),
    "mysql": Kind(
        "mysql", {"sslMode": "ssl_mode", "characterEncoding": "charset"}, {"ssl_mode": _MYSQL_MODES}
    ),
    "mariadb": Kind("mysql", {"sslMode": "ssl_mode"}, {"ssl_mode": _MARIADB_MODES}),
    "redshift": Kind(
        "redshift",
        {
            "sslMode": "sslmode",
            "ClusterID": "cluster_identifier",
            "Region": "region",
            "loginTimeout": "timeout",
        },
    ),
    "trino": Kind("trino", _TRINO, has_catalog=True),
    "presto": Kind("presto", _TRINO, has_catalog=True),
    "clickhouse": Kind("clickhouse", _CLICKHOUSE),
    "ch": Kind("clickhouse", _CLICKHOUSE),
}


def left_out(count: int) -> list[str]:
    """Give the warning for *count* parameters without a counterpart; none for 0."""
    if not count:
        return []
    what = "1 parameter" if count == 1 else f"{count} parameters"
    return [f"{what} that Airflow's driver does not know by this name left out"]


def of_url(kind: Kind, rest: str, offset: int, *, means: str = "") -> list[Any]:
    """
    Give the connection, then warnings, of what stands behind `jdbc:name:`.

    Args:
        kind: what the driver becomes.
        rest: what stands there.
        offset: where.
        means: `https` and the like, as in `jdbc:ch:https:`.

    Raises:
        InvalidInputError: it is no URL of this grammar.
    """
    url = _split(rest, offset)
    # These drivers decode parameters as forms are, so that `+` is a blank.
    query = query_of(url.query, offset, plus=True)
    user, password = query.pop("user", url.login), query.pop("password", url.password)
    extra, left = _translated(kind, query)
    if means == "https" and kind.conn_type == "clickhouse":
        extra.setdefault("secure", "true")
    path = "" if url.path == "/" else decoded(url.path or "", offset)
    hosts = ",".join(host for host, _ in url.hosts)
    ports = ["" if port is None else str(port) for _, port in url.hosts]
    if kind.conn_type == "postgres":
        given = {"host": hosts, "port": ",".join(ports).strip(","), "dbname": path, "user": user or ""}
        said = {key: value for key, value in (given | {"password": password or ""}).items() if value}
        return [of_parameters(said | extra), *left_out(left)]
    notes = left_out(left)
    if kind.has_catalog:
        head, _, path = path.partition("/")
        extra = ({"catalog": head} if head else {}) | extra
    if len(ports) > 1:
        hosts, notes = url.hosts[0][0], [*notes, "only the first host was taken: Airflow's driver knows one"]
    fields = {"host": hosts, "port": ports[0], "schema": path, "login": user, "password": password}
    return [connection(kind.conn_type, typed(kind.conn_type, extra), **fields), *notes]


def _translated(kind: Kind, query: dict[str, str]) -> tuple[dict[str, str], int]:
    """Give extra as Airflow's driver calls it, and how many parameters have no counterpart."""
    names = {key.lower(): name for key, name in kind.names.items()}
    extra = _own_flags(kind, query)
    left = 0
    for key, value in query.items():
        name = names.get(key.lower())
        values = kind.values.get(name or "", {})
        if name is None or (values and value not in values):
            left += 1
        else:
            extra[name] = values.get(value, value)
    return extra, left


def _split(rest: str, offset: int) -> Url:
    if ";" in rest and rest.find(";") < rest.find("=") and "?" not in rest:
        # Amazon's and others take `;key=value` as well.
        head, _, tail = rest.partition(";")
        pairs = parse_pairs(tail, style="plain")
        rest = head + quoted_query((_SPELLED.get(pair.key.lower(), pair.key), pair.value) for pair in pairs)
    url = split(f"x:{rest}" if rest.startswith("//") else f"x:///{rest}")
    return url._replace(start=offset)


def _own_flags(kind: Kind, query: dict[str, str]) -> dict[str, str]:
    """Take out what says TLS in words of the driver's own."""
    found: dict[str, str] = {}
    is_postgres = kind.conn_type == "postgres"
    if is_postgres and query.get("ssl", "no").lower() in ("true", ""):
        del query["ssl"]
        if "sslmode" not in query:
            found["sslmode"] = "verify-full"  # what pgJDBC's `ssl` means
    if is_postgres and "currentSchema" in query:
        options = query.pop("options", "")
        found["options"] = f"{options} -c search_path={query.pop('currentSchema')}".strip()
    if kind.conn_type == "mysql" and "useSSL" in query and "sslMode" not in query:
        found["ssl_mode"] = "REQUIRED" if query.pop("useSSL").lower() == "true" else "DISABLED"
    if kind.has_catalog and "SSL" in query:
        found["protocol"] = "https" if query.pop("SSL").lower() == "true" else "http"
    if kind.has_catalog and query.get("accessToken"):
        found["auth"] = "jwt"
    return found
