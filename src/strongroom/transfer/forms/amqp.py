"""
AMQP URIs, as of RabbitMQ: `amqps://user:password@host:5671/vhost`.

The virtual host is one segment, percent-encoded: `/%2F` is the one called `/`, which is not the same as none.
It becomes the schema, and TLS becomes `ssl` in extra.

Source: rabbitmq.com/docs/uri-spec and rabbitmq.com/docs/uri-query-parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from strongroom.transfer.forms.form import Form, Found, Look, connection, refused
from strongroom.transfer.forms.url import decoded, query_of, quoted_query, split, written

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM"]

_SCHEMES = ("amqp", "amqps")


def _misfit(look: Look) -> str | None:
    if look.is_airflows:
        return "has a parameter of Airflow's URIs"
    return None if look.scheme in _SCHEMES else "does not begin with amqp:// or amqps://"


def _parse(text: str, _dialect: Dialect) -> Found:
    url = split(text)
    if url.scheme not in _SCHEMES:
        raise refused("does not begin with amqp:// or amqps://", offset=0)
    if "," in url.place:
        raise refused("an AMQP URI names one host", offset=url.start)
    if "/" in (url.path or ""):
        raise refused("a '/' stands in the virtual host", offset=url.start, hint="write %2F")
    extra: dict[str, Any] = dict(query_of(url.query, url.start))
    if url.scheme == "amqps":
        extra["ssl"] = True
    host, port = url.hosts[0]
    made = connection("amqp", extra, host=host, port=port, login=url.login, password=url.password)
    vhost = None if url.path is None else decoded(url.path, url.start)
    note = "Airflow itself has no hook of the type amqp; hooks that have one read the virtual host in schema"
    return Found({None: made.replace(schema=vhost or None)}, (note,))


def _format(connection: Connection, _name: str) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    scheme = "amqps" if extra.pop("ssl", None) is True else "amqp"
    password = connection.password.reveal() if connection.password is not None else None
    place = written(connection.host, connection.port, connection.login, password)
    path = "/" + quote(connection.schema, safe="") if connection.schema else ""
    return f"{scheme}://{place}{path}{quoted_query(extra)}"


FORM = Form(
    name="amqp",
    title="AMQP URI",
    example="amqps://svc:p%40ss@mq.example.com:5671/%2Forders?heartbeat=30",
    lacks="description; extra that is not text",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
