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

from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.model.dotenv import check_twice

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.model.ref import Kind

__all__ = ["is_settings", "settings_entries"]

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
