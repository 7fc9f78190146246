"""
Connections laid over others: `{"extends": "base", "host": …}` has the fields of `base`, and its own instead.

Only with references switched on. `template.py` resolves it; here is what the JSON says, and what of it a
`Connection` of its own cannot hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from strongroom.errors import InvalidInputError
from strongroom.model.jsontext import decode

__all__ = ["fields_of", "is_json", "join", "laid_over", "split", "take_base"]

_EXTENDS = "extends"


def is_json(text: str) -> bool:
    """Tell whether the connection *text* is JSON; a URI extends nothing."""
    return text.lstrip().startswith("{")


def fields_of(text: str) -> dict[str, object]:
    """
    Give the JSON object of a connection, `extra` as an object even where it is written as text.

    Raises:
        InvalidInputError: *text* is no JSON.
    """
    found = decode(text.strip(), what="the connection")
    fields = dict(found) if isinstance(found, dict) else {}
    extra = fields.get("extra")
    if isinstance(extra, str) and extra.lstrip().startswith("{"):
        fields["extra"] = decode(extra, what="extra")
    return fields


def take_base(fields: dict[str, object]) -> str | None:
    """
    Take out of *fields* which connection they extend, or None.

    Raises:
        InvalidInputError: it is no name.
    """
    base = fields.pop(_EXTENDS, None)
    if base is not None and not isinstance(base, str):
        raise InvalidInputError("extends is not text", hint="name one connection")
    return base


def laid_over(base: dict[str, object], own: dict[str, object]) -> dict[str, object]:
    """Give the fields of *own* over those of *base*; `extra` is joined key by key, None drops a field."""
    fields = base | own
    lower, upper = base.get("extra"), own.get("extra")
    if isinstance(lower, Mapping) and isinstance(upper, Mapping):
        fields["extra"] = {**lower, **upper}
    return {name: value for name, value in fields.items() if value is not None}


def split(text: str) -> tuple[str, dict[str, object]]:
    """
    Take apart a connection whose references are on: the text of what a `Connection` can hold, and the rest.

    The rest is what it extends, the fields it takes away, and a port that is a reference: nothing secret.

    Raises:
        InvalidInputError: it is no JSON, or extends no name.
    """
    if not is_json(text):
        return text, {}
    fields = fields_of(text)
    base = take_base(fields)
    rest: dict[str, object] = {} if base is None else {_EXTENDS: base}
    rest |= {name: None for name, value in fields.items() if value is None and base is not None}
    port = fields.get("port")
    if isinstance(port, str) and "${" in port:
        rest["port"] = port
    own = {name: value for name, value in fields.items() if name not in rest}
    return (json.dumps(own) if rest else text), rest


def join(text: str, rest: Mapping[str, object]) -> str:
    """Put together what `split` took apart; a field that *text* has goes before one that was taken away."""
    return json.dumps({**rest, **fields_of(text)}) if rest else text
