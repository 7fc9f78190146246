"""
Redis URLs: `rediss://user:password@host:6379/0`, and `unix://` for a socket.

The number of the database is `db` in extra, where Airflow's hook looks; TLS is `ssl` there.

Source: redis.io/docs/latest/develop/clients/connection-urls; `Redis.from_url` of redis-py;
airflow/providers/redis/hooks/redis.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from strongroom.transfer.forms.form import Form, Found, Look, connection, refused, typed
from strongroom.transfer.forms.url import decoded, query_of, quoted_query, split, written

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM", "SCHEMES"]

_SOCKETS = frozenset({"unix", "redis+socket"})
_TLS = frozenset({"rediss", "valkeys"})
_SENTINEL = frozenset({"sentinel", "redis+sentinel", "rediss+sentinel", "redis-sentinel"})
SCHEMES = _SOCKETS | _TLS | _SENTINEL | {"redis", "valkey"}
"""Schemes that this form alone reads, those of Sentinel to refuse them plainly."""
_NUMBER = re.compile(r"[0-9]{1,5}")
_KNOWN = frozenset(
    {"db", "ssl", "ssl_cert_reqs", "ssl_ca_certs", "ssl_keyfile", "ssl_certfile", "ssl_check_hostname"}
)


def _misfit(look: Look) -> str | None:
    if look.is_airflows:
        return "has a parameter of Airflow's URIs"
    return None if look.scheme in SCHEMES else "does not begin with redis://, rediss:// or unix://"


def _parse(text: str, _dialect: Dialect) -> Found:
    if Look(text).scheme in _SENTINEL:
        raise refused("Airflow's hook does not ask a Sentinel", offset=0, hint="name one host: redis://…")
    url = split(text)
    if url.scheme not in SCHEMES:
        raise refused("does not begin with redis://, rediss:// or unix://", offset=0)
    query = query_of(url.query, url.start)
    login, password = query.pop("username", url.login), query.pop("password", url.password)
    fields: dict[str, Any] = {"login": login, "password": password}
    extra: dict[str, Any] = {}
    notes: list[str] = []
    if url.scheme in _SOCKETS:
        extra["unix_socket_path"] = "/" + decoded(url.path or "", url.start)
        notes.append("Airflow's hook connects to a host and port, not to a socket")
    else:
        if "," in url.place:
            raise refused("a Redis URL names one host", offset=url.start)
        fields["host"], fields["port"] = url.hosts[0]
        extra |= _database(url.path or "", url.start)
    if url.scheme in _TLS:
        extra["ssl"] = True
    if query.keys() - _KNOWN:
        notes.append(
            "Airflow's hook reads only db and ssl among the parameters; the others are kept in extra"
        )
    return Found({None: connection("redis", extra | typed("redis", query), **fields)}, tuple(notes))


def _database(path: str, offset: int) -> dict[str, int]:
    if not path:
        return {}
    if not _NUMBER.fullmatch(path):
        raise refused(
            "the path is no number of a database",
            offset=offset,
            hint="as in redis://host:6379/0; with --form airflow-uri it is the schema",
        )
    return {"db": int(path)}


def _format(connection: Connection, _name: str) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    is_tls = extra.pop("ssl", None) is True
    socket = extra.pop("unix_socket_path", None)
    number = extra.pop("db", None)
    if isinstance(socket, str):
        login = {"username": connection.login} if connection.login else {}
        secret = {"password": connection.password.reveal()} if connection.password is not None else {}
        database = {} if number is None else {"db": number}
        return f"unix://{socket}{quoted_query(login | secret | database | extra)}"
    password = connection.password.reveal() if connection.password is not None else None
    place = written(connection.host, connection.port, connection.login, password)
    path = "" if number is None else f"/{number}"
    return f"{'rediss' if is_tls else 'redis'}://{place}{path}{quoted_query(extra)}"


FORM = Form(
    name="redis",
    title="Redis URL",
    example="rediss://svc:p%40ss@cache.example.com:6380/2?ssl_cert_reqs=required",
    lacks="description; schema; documents in extra",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
