"""
PostgreSQL's URIs where Airflow's reading is another: several hosts, or fields given as parameters.

`postgresql://user@host1:5432,host2:5433/orders?target_session_attrs=read-write`. A plain one is an Airflow
URI as well and is read as one; both give the same, but for a `+` in a parameter, which here is a plus.

Source: postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS; the cases of
src/interfaces/libpq/t/001_uri.pl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from strongroom.transfer.forms.form import Form, Found, Look, refused
from strongroom.transfer.forms.libpq import of_parameters, parameters_of
from strongroom.transfer.forms.url import Url, decoded, query_of, quoted_query, split

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM", "is_own"]

_SCHEMES = ("postgres", "postgresql")
_FIELDS = ("host", "port", "user", "password", "dbname", "ssl")


def is_own(look: Look) -> bool:
    """Tell whether only libpq reads this URI as it was meant."""
    if look.scheme not in _SCHEMES:
        return False
    head, _, query = look.text.partition("?")
    if look.is_airflows:
        return False
    place = head.partition("://")[2].partition("/")[0].rpartition("@")[2]
    keys = {part.partition("=")[0] for part in query.split("&")}
    return "," in place or not keys.isdisjoint(_FIELDS)


def _misfit(look: Look) -> str | None:
    if look.scheme not in _SCHEMES:
        return "does not begin with postgresql://"
    return None if is_own(look) else "has one host, and no field of a connection among its parameters"


def _parse(text: str, _dialect: Dialect) -> Found:
    url = split(text)
    if url.scheme not in _SCHEMES:
        raise refused("does not begin with postgresql://", offset=0)
    found = _place(url)
    query = query_of(url.query, url.start)
    if query.pop("ssl", None) == "true":
        query.setdefault("sslmode", "require")  # as libpq reads it, for JDBC's sake
    return Found({None: of_parameters(found | query)})


def _place(url: Url) -> dict[str, str]:
    found: dict[str, str] = {}
    if url.place:
        hosts = url.hosts
        found["host"] = ",".join(host for host, _ in hosts)
        ports = ["" if port is None else str(port) for _, port in hosts]
        if any(ports):
            found["port"] = ",".join(ports)
    fields = {
        "user": url.login,
        "password": url.password,
        "dbname": None if url.path is None else decoded(url.path, url.start),
    }
    return found | {key: value for key, value in fields.items() if value}


def _format(connection: Connection, _name: str) -> str:
    given = parameters_of(connection)
    user, password = given.pop("user", None), given.pop("password", None)
    host, port, database = given.pop("host", ""), given.pop("port", ""), given.pop("dbname", "")
    if "," in host or "," in port or not host:
        # Several hosts, or none: as parameters, which any number of ports fits.
        given = {key: value for key, value in (("host", host), ("port", port)) if value} | given
        place = ""
    else:
        shown = f"[{host}]" if ":" in host else quote(host, safe="")
        place = f"{shown}:{port}" if port else shown
    secret = "" if password is None else ":" + quote(password, safe="")
    sign = "" if user is None and password is None else f"{quote(user or '', safe='')}{secret}@"
    path = "/" + quote(database, safe="") if database or (given and not place) else ""
    return f"postgresql://{sign}{place}{path}{quoted_query(given)}"


FORM = Form(
    name="libpq-uri",
    title="PostgreSQL URI",
    example="postgresql://svc:p%40ss@db1.example.com:5432,db2.example.com:5433/orders"
    "?target_session_attrs=read-write",
    lacks="description; keys of extra that are no keywords of libpq",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
