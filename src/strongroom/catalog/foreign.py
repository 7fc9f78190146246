"""
Connection types as Airflow providers describe them, and how they join ours. Pure.

Ours wins only where it knows more: a field that both describe keeps what ours says of it and takes from
theirs what ours leaves open; a field that only theirs has is added; a type that only theirs has stands
as it is. What either calls a secret is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from strongroom.catalog.field import STANDARD, Field, FieldType
from strongroom.catalog.kind import ConnectionType, airflow

__all__ = ["INSTALLED", "merge", "parse"]

INSTALLED = "installed"
"""The family of types that only an installed provider describes."""

_PREFIX = "apache-airflow-providers-"
_DISTRIBUTION = re.compile(r"[a-z0-9][a-z0-9.-]*")
_SECRET = re.compile(r"pass|secret|token|pwd|key|credential|dsn|connection_string", re.IGNORECASE)
_LABELS = {"host": "Host", "port": "Port", "schema": "Schema", "login": "Login", "password": "Password"}
_TYPES: dict[str, FieldType] = {
    "string": "text",
    "integer": "integer",
    "number": "number",
    "boolean": "boolean",
    "object": "json",
    "array": "json",
}


def parse(row: Mapping[str, Any]) -> ConnectionType:
    """
    Read one element of a provider's `connection-types`; what is malformed in it counts as not told.

    Args:
        row: with the keys connection-type, and, where told, provider, hook-name, ui-field-behaviour and
            conn-fields.
    """
    name = str(row["connection-type"])
    behaviour = _mapping(row.get("ui-field-behaviour"))
    hidden = behaviour.get("hidden-fields")
    hidden = hidden if isinstance(hidden, (list, tuple)) else ()
    labels = _LABELS | _texts(behaviour.get("relabeling"))
    examples = _texts(behaviour.get("placeholders"))
    fields = _mapping(row.get("conn-fields"))
    return ConnectionType(
        name=name,
        title=str(row.get("hook-name") or name),
        family=INSTALLED,
        docs=_docs(str(row.get("provider") or "")),
        standard=tuple(
            Field(
                name=one,
                label=labels[one],
                type="integer" if one == "port" else "text",
                placeholder=examples.get(one, ""),
                is_secret=one == "password",
            )
            for one in STANDARD
            if one not in hidden
        ),
        extras=tuple(_field(key, _mapping(told), examples.get(key, "")) for key, told in fields.items()),
        others="" if "extra" in hidden else "what its hook reads",
    )


def _docs(provider: str) -> str:
    """Give the page of *provider*: that of Airflow's documentation, or a stranger's in the package index."""
    name = provider.lower().replace("_", "-")
    if not _DISTRIBUTION.fullmatch(name):
        return ""
    is_own = name.startswith(_PREFIX)
    return airflow(name.removeprefix(_PREFIX)) if is_own else f"https://pypi.org/project/{name}/"


def _field(name: str, told: Mapping[str, Any], example: str) -> Field:
    schema = _mapping(told.get("schema"))
    choices = schema.get("enum")
    choices = choices if isinstance(choices, (list, tuple)) else ()
    words = tuple(str(one) for one in choices if one is not None)
    default = schema.get("default")
    return Field(
        name=name,
        label=str(told.get("label") or name),
        type="choice" if words else _type(schema.get("type")),
        default=default if isinstance(default, (str, int, float)) and default != "" else None,
        choices=words,
        help=" ".join(str(told.get("description") or schema.get("description") or "").split()),
        placeholder=example,
        is_secret=schema.get("format") == "password" or bool(_SECRET.search(name)),
    )


def _type(told: object) -> FieldType:
    names = told if isinstance(told, (list, tuple)) else [told]
    return next((_TYPES[name] for name in names if isinstance(name, str) and name in _TYPES), "text")


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _texts(value: object) -> dict[str, str]:
    """Give the texts of a mapping; an example given as an object is written as JSON."""
    told = _mapping(value).items()
    return {key: item if isinstance(item, str) else json.dumps(item) for key, item in told}


def merge(ours: ConnectionType | None, theirs: ConnectionType) -> ConnectionType:
    """Give one type of what ours and an installed provider say of it."""
    if ours is None:
        return theirs
    used = {one.name: one for one in theirs.standard}
    extras = tuple(_joined(one, _theirs(one, theirs.extras)) for one in ours.extras)
    added = tuple(one for one in theirs.extras if ours.extra_field(one.name) is None)
    return ours.replace(
        standard=tuple(_joined(one, used.get(one.name)) for one in ours.standard), extras=extras + added
    )


def _theirs(ours: Field, fields: Iterable[Field]) -> Field | None:
    spellings = (ours.name, *ours.aliases)
    return next((one for one in fields if one.name in spellings), None)


def _joined(ours: Field, theirs: Field | None) -> Field:
    if theirs is None:
        return ours
    return ours.replace(
        default=theirs.default if ours.default is None else ours.default,
        help=ours.help or theirs.help,
        placeholder=ours.placeholder or theirs.placeholder,
        is_secret=ours.is_secret or theirs.is_secret,
    )
