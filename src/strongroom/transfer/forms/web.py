"""
Addresses of the web: `https://user:password@api.example.com:8443` becomes a connection of the type `http`.

`http://…` is an Airflow URI and read as one, but for one with a path: Airflow takes that for the protocol.
The address of a webhook of Slack, whose path is a secret, becomes a connection of the type `slackwebhook`.

Source: airflow/providers/http/hooks/http.py: host, schema (the protocol) and port make an address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from strongroom.transfer.forms.form import Form, Found, Look, connection, refused
from strongroom.transfer.forms.url import decoded, split, written

if TYPE_CHECKING:
    from strongroom.model.connection import Connection, Dialect

__all__ = ["FORM", "is_own", "of_address"]

_SLACK = "hooks.slack.com"


def is_own(look: Look) -> bool:
    """Tell whether an address is none that Airflow reads as it is meant."""
    if look.scheme != "http" or look.is_airflows:
        return look.scheme == "https"
    path = look.text.partition("?")[0].partition("://")[2].partition("/")[2].rstrip("/")
    return path not in ("", "http", "https")


def of_address(text: str) -> tuple[Connection, list[str]]:
    """
    Give the connection of an address, and warnings.

    Raises:
        InvalidInputError: it is none of `http` or `https`, or names no single host.
    """
    url = split(text)
    if url.scheme not in ("http", "https"):
        raise refused("does not begin with https:// or http://", offset=0)
    if "," in url.place or not url.place:
        raise refused("the address names no single host", offset=url.start)
    host, port = url.hosts[0]
    if host == _SLACK and (url.path or "").startswith("services/"):
        token = decoded((url.path or "").removeprefix("services/"), url.start)
        return connection("slackwebhook", schema=url.scheme, host=f"{host}/services", password=token), []
    notes = []
    if (url.path or "").strip("/") or url.query:
        notes.append("the path and the query were left out; the task names them as its endpoint")
    made = connection("http", schema=url.scheme, host=host, port=port, login=url.login, password=url.password)
    return made, notes


def _misfit(look: Look) -> str | None:
    return None if is_own(look) else "does not begin with https://, or with http:// and a path"


def _parse(text: str, _dialect: Dialect) -> Found:
    made, notes = of_address(text)
    return Found({None: made}, tuple(notes))


def _format(connection: Connection, _name: str) -> str:
    password = connection.password.reveal() if connection.password is not None else None
    place = written(connection.host, connection.port, connection.login, password)
    if connection.conn_type == "slackwebhook":
        return f"https://{connection.host}/{quote(password or '', safe='/')}"
    return f"{quote(connection.schema or 'http', safe='')}://{place}"


FORM = Form(
    name="https",
    title="Address of a web service",
    example="https://svc:p%40ss@api.example.com:8443",
    lacks="description; extra; paths",
    misfit=_misfit,
    parse=_parse,
    format=_format,
)
