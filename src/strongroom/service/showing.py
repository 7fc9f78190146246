"""
Connections as they may be shown, and forms that come back with secrets still hidden.

Not for masking texts (`model/masking.py`): what is hidden here is known by its place.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from strongroom import catalog
from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection

__all__ = ["HIDDEN", "hidden_in", "holds_mask", "merge_hidden", "shown"]

HIDDEN = "***"
"""Stands for a secret that is not shown; left as it is in a form, it means unchanged."""


def shown(connection: Connection) -> dict[str, Any]:
    """
    Give what may be seen of *connection*: the shape of `to_dict()`, with what the catalog calls public.

    Everything else reads `***`: what a type does not know, and the whole extra of a type nobody knows.
    """
    return connection.to_dict(shows=partial(catalog.shows, connection.conn_type))


def merge_hidden(old: Connection, new: dict[str, Any]) -> dict[str, Any]:
    """
    Put the secrets of *old* back where an edited form still says `***`.

    Args:
        old: what the form was made of.
        new: the shape of `shown(old)`, as it came back from the editor.

    Returns:
        the same shape with plaintext, fit for `Connection.from_dict`. Hold it briefly.

    Raises:
        InvalidInputError: `***` stands where *old* has nothing to put back; the message names the field.
    """
    plain, hidden = old.to_dict(reveal=True), shown(old)
    return {name: _merged(value, plain.get(name), hidden.get(name), name) for name, value in new.items()}


def _merged(value: Any, plain: Any, hidden: Any, place: str) -> Any:  # noqa: ANN401 -- JSON
    if value == HIDDEN:
        if hidden == HIDDEN:
            return plain
        raise _nothing_to_keep(place)
    if isinstance(value, dict):
        plain, hidden = (plain, hidden) if isinstance(hidden, dict) else ({}, {})
        return {
            key: _merged(item, plain.get(key), hidden.get(key), f"{place}.{key}")
            for key, item in value.items()
        }
    if isinstance(value, list):
        if not isinstance(hidden, list) or len(hidden) != len(value):
            # Which of the old items is meant cannot be told once some were added or taken away.
            plain = hidden = [None] * len(value)
        return [
            _merged(item, plain[index], hidden[index], f"{place}[{index}]")
            for index, item in enumerate(value)
        ]
    return value


def hidden_in(value: object, path: str = "") -> list[str]:
    """Give where `***` stands in a connection's fields, as `password` or `extra.token`."""
    if value == HIDDEN:
        return [path]
    if isinstance(value, dict):
        return [
            one for key, item in value.items() for one in hidden_in(item, f"{path}.{key}" if path else key)
        ]
    if isinstance(value, list):
        return [one for index, item in enumerate(value) for one in hidden_in(item, f"{path}[{index}]")]
    return []


def holds_mask(kind: str, text: str) -> bool:
    """Tell whether *text*, to be written as an entry of *kind*, has the mask where a secret belongs."""
    if text == HIDDEN or HIDDEN not in text or kind != "connection":
        return text == HIDDEN
    try:
        return bool(hidden_in(Connection.parse(text).to_dict(reveal=True)))
    except InvalidInputError:
        return True  # told in full once it is parsed as what it is


def _nothing_to_keep(place: str) -> InvalidInputError:
    return InvalidInputError(
        f"{place} says {HIDDEN}, and there is no old value to keep", hint=f"write the new value of {place}"
    )
