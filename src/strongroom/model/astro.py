"""
`airflow_settings.yaml`: connections and variables as Astro's command line keeps them for local work.

```yaml
airflow:
  connections:
    - conn_id: orders_db
      conn_type: postgres
      conn_host: db.example.com
      conn_schema: sales
      conn_login: svc
      conn_password: …
      conn_port: 5432
      conn_uri:              # instead of the fields
      conn_extra: {sslmode: require}
  variables:
    - variable_name: region
      variable_value: eu-west-1
  pools: []                  # passed over
```

As Astro does it: an empty field says nothing, and an item without a name is passed over, so that the
template it makes holds nothing. So are a connection without type and URI and a variable without a value,
which Astro does not make either. Not for reading YAML (`document.py`).

Source: astronomer/astro-cli, settings/settings.go and settings/types.go.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.model.dotenv import check_twice, listed, shown
from strongroom.model.yamlscalar import format_scalar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.model.connection import Connection
    from strongroom.model.ref import Kind

__all__ = ["format_settings", "is_settings", "settings_entries"]

_LISTS = {"connection": "connections", "variable": "variables"}
_NAMES = {"connection": "conn_id", "variable": "variable_name"}
_FIELDS = {
    "conn_type": "conn_type",
    "conn_description": "description",
    "conn_host": "host",
    "conn_schema": "schema",
    "conn_login": "login",
    "conn_password": "password",
    "conn_port": "port",
    "conn_uri": "uri",
    "conn_extra": "extra",
}
_PARTS = frozenset({"connections", "variables", "pools"})
_NOTHING: tuple[object, ...] = (None, "")


def is_settings(found: object) -> bool:
    """Tell whether what a YAML file holds has the shape of `airflow_settings.yaml`."""
    if not isinstance(found, dict) or set(found) != {"airflow"}:
        return False
    parts = found["airflow"]
    if not isinstance(parts, dict) or not parts or not set(parts) <= _PARTS:
        return False
    return all(part is None or isinstance(part, list) for part in parts.values())


def settings_entries(found: Mapping[str, object], kind: Kind) -> dict[str, object]:
    """
    Give the entries of *kind* by name, each as `document.connection_of` and `variable_of` take it; where
    one alone is at fault, its refusal (F15).

    Args:
        found: what the file holds, from `document.parse`.
        kind: connection or variable.

    Raises:
        InvalidInputError: F15 (not this shape, an item that is no object, or a name that is not text), F6
            (a name twice).
    """
    if not is_settings(found):
        raise _refused("the file is no airflow_settings.yaml: 'airflow' and its lists are not all it holds")
    parts = found["airflow"]
    items = (parts.get(_LISTS.get(kind, "")) if isinstance(parts, dict) else None) or []
    read = _connection if kind == "connection" else _variable
    named = [
        (_name(given, number, kind), raw)
        for number, item in enumerate(items, 1)
        if (raw := read(given := _given(item, number, kind))) is not None
    ]
    check_twice([name for name, _ in named])
    return dict(named)


def format_settings(connections: Mapping[str, Connection], variables: Mapping[str, str]) -> str:
    """
    Write connections and variables, by name, as the text of such a file, with their secrets.

    Raises:
        InvalidInputError: F15, an empty variable, which Astro does not make; the message names it.
    """
    empty = [shown(name) for name, value in sorted(variables.items()) if not value]
    if empty:
        raise InvalidInputError(
            f"airflow_settings.yaml cannot hold the empty variables {listed(empty)}",
            rule="F15",
            hint="leave them out with --only",
        )
    lines = ["airflow:"]
    for part, items in (
        ("connections", (_written(name, one) for name, one in sorted(connections.items()))),
        (
            "variables",
            ([("variable_name", name), ("variable_value", variables[name])] for name in sorted(variables)),
        ),
    ):
        told = [line for item in items for line in _item(item)]
        lines += [f"  {part}:", *told] if told else [f"  {part}: []"]
    return "\n".join(lines) + "\n"


def _item(pairs: Sequence[tuple[str, object]]) -> Iterator[str]:
    for number, (key, value) in enumerate(pairs):
        text = format_scalar(value) if not isinstance(value, str) or key == "conn_type" else _quoted(value)
        yield f"    {'  ' if number else '- '}{key}: {text}"


def _quoted(text: str) -> str:
    found = format_scalar(text)
    return found if found.startswith('"') else f'"{found}"'


def _written(name: str, connection: Connection) -> list[tuple[str, object]]:
    fields = connection.to_dict(reveal=True)
    extra = fields["extra"]
    fields["extra"] = None if extra is None else json.dumps(extra)
    told = [(key, fields[field]) for key, field in _FIELDS.items() if fields.get(field) not in _NOTHING]
    return [("conn_id", name), *told]


def _given(item: object, number: int, kind: Kind) -> dict[str, object]:
    if item is None:
        return {}
    if not isinstance(item, dict):
        raise _refused(f"the {kind} {number} is no object")
    return {key: value for key, value in item.items() if value not in _NOTHING}


def _name(given: Mapping[str, object], number: int, kind: Kind) -> str:
    name = given[_NAMES[kind]]
    if not isinstance(name, str):
        raise _refused(f"the name of the {kind} {number} is not text", hint="put it in quotes")
    return name


def _connection(given: Mapping[str, object]) -> object:
    if "conn_id" not in given or not given.keys() & {"conn_type", "conn_uri"}:
        return None
    if not given.keys() <= _FIELDS.keys() | {"conn_id"}:
        return _refused(
            "the connection has a field that Astro does not know", hint=f"known are {', '.join(_FIELDS)}"
        )
    return {_FIELDS[key]: value for key, value in given.items() if key != "conn_id"}


def _variable(given: Mapping[str, object]) -> object:
    value = given.get("variable_value")
    if "variable_name" not in given or value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        # Astro makes "1" of true, and does not read the file at all for a list.
        return _refused("the value is no text and no number", hint="put it in quotes")
    return value


def _refused(message: str, *, hint: str | None = None) -> InvalidInputError:
    return InvalidInputError(message, rule="F15", hint=hint)
