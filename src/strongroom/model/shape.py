"""
The shapes a connection is kept in: a URI, Airflow's JSON, or fields of their own.

Not for reading them: `Connection.parse` tells them apart.
"""

from __future__ import annotations

from typing import Literal, cast

from strongroom.model.connection import Connection
from strongroom.model.jsontext import decode

__all__ = ["SHAPES", "Shape", "fields_of", "shaped"]

Shape = Literal["given", "uri", "json", "fields"]
"""`given`: as it was written; `uri` and `json`: in that form; `fields`: each under a key of the store's."""

SHAPES: tuple[Shape, ...] = ("given", "uri", "json", "fields")


def shaped(text: str, shape: Shape) -> str:
    """
    Give the connection *text* in *shape*.

    Args:
        text: a connection in an Airflow form.
        shape: `given` and a text that has the shape already are given back verbatim, the former unread.
            For `fields` it is the JSON object of exactly those fields that are set.

    Raises:
        InvalidInputError: *text* is no connection, or a URI would lose something; the message says what.
    """
    if shape == "given":
        return text
    connection = Connection.parse(text)
    is_json = text.strip().startswith("{")
    if (shape == "uri" and not is_json) or (shape == "json" and is_json):
        return text
    return connection.format("uri" if shape == "uri" else "json").reveal()


def fields_of(text: str) -> dict[str, object]:
    """
    Give the fields that are set in the connection *text*, by Airflow's names; `extra` as an object.

    Raises:
        InvalidInputError: *text* is no connection.
    """
    return cast("dict[str, object]", decode(shaped(text, "fields")))
