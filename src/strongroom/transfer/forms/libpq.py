r"""
What libpq's parameters become: host, port, dbname, user and password are fields, the rest is extra.

Airflow's hook hands every key of extra to libpq, over the fields too: so several ports stand there.

Source: postgresql.org/docs/current/libpq-connect.html, "Parameter Key Words".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.transfer.forms.form import connection, port_of, refused, typed
from strongroom.transfer.forms.url import spelled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.model.connection import Connection

__all__ = ["KEYWORDS", "of_parameters", "parameters_of"]

KEYWORDS = frozenset(
    [
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "passfile",
        "require_auth",
        "channel_binding",
        "connect_timeout",
        "client_encoding",
        "options",
        "application_name",
        "fallback_application_name",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "replication",
        "gssencmode",
        "sslmode",
        "requiressl",
        "sslnegotiation",
        "sslcompression",
        "sslcert",
        "sslkey",
        "sslkeylogfile",
        "sslpassword",
        "sslcertmode",
        "sslrootcert",
        "sslcrl",
        "sslcrldir",
        "sslsni",
        "requirepeer",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "min_protocol_version",
        "max_protocol_version",
        "krbsrvname",
        "gsslib",
        "gssdelegation",
        "scram_client_key",
        "scram_server_key",
        "service",
        "servicefile",
        "target_session_attrs",
        "load_balance_hosts",
        "oauth_issuer",
        "oauth_client_id",
        "oauth_client_secret",
        "oauth_scope",
    ]
)
_FIELDS = {"host": "host", "user": "login", "password": "password", "dbname": "schema"}


def of_parameters(given: Mapping[str, str]) -> Connection:
    """
    Give the connection that libpq's parameters describe.

    Raises:
        InvalidInputError: a keyword is none of libpq's, or a port is none.
    """
    if given.keys() - KEYWORDS:
        raise refused(
            "a keyword is none of libpq's", hint="they are listed in PostgreSQL's libpq-connect page"
        )
    fields: dict[str, Any] = {_FIELDS[key]: value for key, value in given.items() if key in _FIELDS}
    extra = {key: value for key, value in given.items() if key not in _FIELDS and key != "port"}
    ports = given.get("port", "").split(",")
    if len(set(ports)) > 1:
        for one in ports:
            port_of(one)
        extra["port"] = ",".join(ports)
    else:
        fields["port"] = port_of(ports[0])
    return connection("postgres", typed("postgres", extra), **fields)


def parameters_of(connection: Connection) -> dict[str, str]:
    """Give the parameters of a connection, as far as libpq has them."""
    plain = {
        "host": connection.host,
        "port": None if connection.port is None else str(connection.port),
        "dbname": connection.schema,
        "user": connection.login,
        "password": connection.password.reveal() if connection.password is not None else None,
    }
    extra = connection.extra.reveal() if connection.extra is not None else {}
    known = {key: spelled(value) for key, value in extra.items() if key in KEYWORDS}
    return {key: value for key, value in plain.items() if value is not None} | known
