"""
MongoDB connection strings: `mongodb://user:password@host1:27017,host2:27017/db?replicaSet=rs0`.

Airflow's hook writes the string again from host, port and schema and hands extra to the client: several hosts
stand in the host with their ports, `mongodb+srv` is `srv` in extra, and `tls` is `ssl`.

Source: mongodb.com/docs/manual/reference/connection-string; airflow/providers/mongo/hooks/mongo.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from strongroom.transfer.forms.form import Form, Found, Look, connection, refused, typed
from strongroom.transfer.forms.url import decoded, query_of, quoted_query, split, written

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM"]

_SCHEMES = ("mongodb", "mongodb+srv")
_FLAGS = {"tls": "ssl", "ssl": "ssl", "tlsallowinvalidcertificates": "allow_insecure"}
_WORDS = {"true": True, "false": False}


def _misfit(look: Look) -> str | None:
    if look.is_airflows:
        return "has a parameter of Airflow's URIs"
    return None if look.scheme in _SCHEMES else "does not begin with mongodb:// or mongodb+srv://"


def _parse(text: str, _dialect: Dialect) -> Found:
    url = split(text)
    if url.scheme not in _SCHEMES:
        raise refused("does not begin with mongodb:// or mongodb+srv://", offset=0)
    extra: dict[str, Any] = {"srv": True} if url.scheme == "mongodb+srv" else {}
    plain: dict[str, str] = {}
    for key, value in query_of(url.query, url.start).items():
        name = _FLAGS.get(key.lower())
        if name is not None and value in _WORDS:
            extra[name] = _WORDS[value]
        else:
            plain[key] = value
    host, port = url.hosts[0] if "," not in url.place else (_several(url.place, url.start), None)
    if extra.get("srv") and port is not None:
        raise refused("mongodb+srv:// names no port", offset=url.start, hint="leave the port out")
    fields = {"host": host, "login": url.login, "password": url.password}
    fields["schema"] = decoded(url.path or "", url.start)
    notes = (
        []
        if url.login is None or url.password is not None
        else ["Airflow's hook leaves a login without a password out"]
    )
    return Found(
        {None: connection("mongo", extra | typed("mongo", plain), port=port, **fields)}, tuple(notes)
    )


def _several(place: str, offset: int) -> str:
    split(f"mongodb://{place}")  # refuses what is no host
    for one in place.split(","):
        if not one:
            raise refused("a host is empty", offset=offset)
    return decoded(place, offset)


def _format(connection: Connection, _name: str) -> str:
    extra = connection.extra.reveal() if connection.extra is not None else {}
    scheme = "mongodb+srv" if extra.pop("srv", False) is True else "mongodb"
    for name, key in (("ssl", "tls"), ("allow_insecure", "tlsAllowInvalidCertificates")):
        if name in extra:
            extra[key] = extra.pop(name)
    password = connection.password.reveal() if connection.password is not None else None
    place = written(connection.host, connection.port, connection.login, password)
    path = "/" + quote(connection.schema, safe="") if connection.schema else "/" if extra else ""
    return f"{scheme}://{place}{path}{quoted_query(extra)}"


FORM = Form(
    name="mongodb",
    title="MongoDB connection string",
    example="mongodb://svc:p%40ss@db1.example.com:27017,db2.example.com:27017/orders?replicaSet=rs0&tls=true",
    lacks="description; documents in extra",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
