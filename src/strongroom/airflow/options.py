"""
What an operator said to the backend: keyword arguments to frozen `Options`.

Airflow hands the keywords over as its configuration has them: parsed where they stood in JSON, as raw text
where a variable of the environment set a single one (`AIRFLOW__SECRETS__BACKEND_KWARG__CHAIN='["env"]'`).
Both are read here, alike.

Rules of this file:

1. Nothing is opened, looked up or imported that Airflow has not loaded: this runs in every process.
2. What cannot be right is refused by the name of its keyword, never with the value.
3. Nothing of it prints: a token may stand in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strongroom.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Options", "options_of"]

_MODES = ("on", "shadow")
_AT_PARSE = ("snapshot", "refuse", "through")
_ON_UNAVAILABLE = ("stop", "next")
_LONGEST_SHOWN = 64  # characters of a keyword that there is not
_PLACES = {
    "socket": ("socket",),
    "url": ("url", "token", "token_file", "ca"),
    "settings": ("settings", "chain", "backend"),
}
"""The keywords that say where to ask; those of two places cannot stand together."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Options:
    """
    The keywords of the backend, read.

    Attributes:
        settings: path of a settings file; None to find settings as the command line does.
        deployment: which of the settings', or the server's, deployments.
        socket: path of an agent's socket.
        url, token, token_file, ca: a server, who asks there, and its authorities.
        chain: names of backends in the order asked, () for that of the settings.
        backend: tables of backends, by name, laid over those of the settings.
        mode: `on`, or `shadow`: another backend answers and ours is compared.
        shadow_backend: the class that answers in shadow mode, as its import path, and its keywords; None
            where Airflow had no backend of its own.
        canary: patterns of the Dags that ours answers in shadow mode.
        at_parse: what a read at parse time gets: `snapshot`, `refuse` or `through`; None if unsaid.
        on_unavailable: `stop`, or `next` for Airflow's habit of asking its next backend.
        team: whose entries are asked for where Airflow names no team.
    """

    settings: str | None = None
    deployment: str | None = None
    socket: str | None = None
    url: str | None = None
    token: str | None = None
    token_file: str | None = None
    ca: str | None = None
    chain: tuple[str, ...] = ()
    backend: dict[str, dict[str, Any]] | None = None
    mode: str = "on"
    shadow_backend: str | None = None
    shadow_backend_kwargs: dict[str, Any] | None = None
    canary: tuple[str, ...] = ()
    at_parse: str | None = None
    on_unavailable: str = "stop"
    team: str | None = None

    @property
    def is_placed(self) -> bool:
        """Tell whether they say where to ask; otherwise that is found as everywhere (`place.py`)."""
        return any(getattr(self, name) for names in _PLACES.values() for name in names)

    def __repr__(self) -> str:
        said = (name for name in self.__dataclass_fields__ if getattr(self, name))
        return f"Options({', '.join(said)})"


def options_of(kwargs: Mapping[str, Any]) -> Options:
    """
    Read the keywords of the backend.

    Args:
        kwargs: as Airflow hands them over: of any type, JSON also as text.

    Raises:
        SettingsError: a keyword that there is not, or a value that cannot be right; `key` names it.
    """
    made: dict[str, Any] = {}
    for key, value in kwargs.items():
        read = _READERS.get(key)
        if read is None:
            raise _unknown(key)
        # An empty text is what a template or an empty variable leaves: as if the keyword were not there.
        if value is not None and value != "":
            made[key] = read(key, value)
    if "chain" in made:
        made["chain"], made["backend"] = _inline(made["chain"], made.get("backend") or {})
    _check(made)
    return Options(**made)


# --- single keywords ---------------------------------------------------------------------------------


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(key, "is to be text")
    return value


def _one_of(*allowed: str) -> Callable[[str, object], str]:
    def read(key: str, value: object) -> str:
        if value not in allowed:
            raise _wrong(key, f"is none of {', '.join(allowed)}")
        return str(value)

    return read


def _table(key: str, value: object) -> dict[str, Any]:
    found = _json(key, value) if isinstance(value, str) else value
    if not isinstance(found, dict):
        raise _wrong(key, "is to be a JSON object")
    return found


def _tables(key: str, value: object) -> dict[str, dict[str, Any]]:
    found = _table(key, value)
    for name, table in found.items():
        if not isinstance(table, dict):
            raise _wrong(f"{key}.{name}", "is to be a JSON object")
    return found


def _list(key: str, value: object) -> list[Any]:
    if isinstance(value, str):
        if not value.lstrip().startswith(("[", "{")):
            return [part.strip() for part in value.split(",")]  # as `STRONGROOM__CHAIN=env,native` is written
        value = _json(key, value)
    if not isinstance(value, (list, tuple)) or not value:
        raise _wrong(key, "is to be a list, and not an empty one")
    return list(value)


def _texts(key: str, value: object) -> tuple[str, ...]:
    found = _list(key, value)
    if not all(isinstance(one, str) and one for one in found):
        raise _wrong(key, "is to be a list of texts")
    return tuple(found)


def _json(key: str, text: str) -> object:
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        return found
    raise _wrong(key, "is text that is no JSON")


_READERS: dict[str, Callable[[str, Any], object]] = {
    "settings": _text,
    "deployment": _text,
    "socket": _text,
    "url": _text,
    "token": _text,
    "token_file": _text,
    "ca": _text,
    "chain": _list,
    "backend": _tables,
    "mode": _one_of(*_MODES),
    "shadow_backend": _text,
    "shadow_backend_kwargs": _table,
    "canary": _texts,
    "at_parse": _one_of(*_AT_PARSE),
    "on_unavailable": _one_of(*_ON_UNAVAILABLE),
    "team": _text,
}


# --- a chain that is written out ---------------------------------------------------------------------


def _inline(
    chain: Sequence[object], tables: Mapping[str, dict[str, Any]]
) -> tuple[tuple[str, ...], dict[str, dict[str, Any]]]:
    """Give the names of a chain, and a table for each item that brings its own."""
    names: list[str] = []
    made = dict(tables)
    for number, item in enumerate(chain):
        if isinstance(item, str) and item and "." not in item:
            names.append(item)
            continue
        key = f"chain[{number}]"
        said, table = _item(key, {"class": item} if isinstance(item, str) else item)
        name = said or _free(_called(table), {*names, *made})
        if name in made:
            raise _wrong(f"{key}.name", "is the name of another backend")
        made[name] = table
        names.append(name)
    return tuple(names), made


def _item(key: str, item: object) -> tuple[str | None, dict[str, Any]]:
    """Give the name that an item of a chain says, and its table: a class of Airflow's, or a kind of ours."""
    if not isinstance(item, dict):
        raise _wrong(key, "is to be the name of a backend, or an object with class and kwargs")
    table = dict(item)
    name = table.pop("name", None)
    if name is not None and not isinstance(name, str):
        raise _wrong(f"{key}.name", "is to be text")
    path = table.pop("class", None)
    if path is not None:
        if not isinstance(path, str) or "." not in path or "kind" in table:
            raise _wrong(f"{key}.class", "is to be the import path of a class, and stands without kind")
        kwargs = table.pop("kwargs", None)
        table |= {"kind": "airflow_class", "path": path}
        if kwargs:
            table["kwargs"] = _table(f"{key}.kwargs", kwargs)
    elif not isinstance(table.get("kind"), str):
        raise _wrong(key, "says neither class nor kind")
    return name, table


def _called(table: Mapping[str, Any]) -> str:
    """Give the name of a backend after its class or kind: `VaultBackend` is `vault`."""
    last = str(table.get("path", table["kind"])).rpartition(".")[2]
    letters = [one if one.isascii() and one.isalnum() else "_" for one in last.removesuffix("Backend")]
    found = "".join(
        f"_{one.lower()}" if one.isupper() and at else one.lower() for at, one in enumerate(letters)
    )
    return found.strip("_") or "airflow"


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


# --- all of them -------------------------------------------------------------------------------------


def _check(made: Mapping[str, Any]) -> None:
    places = [[name for name in names if made.get(name)] for names in _PLACES.values()]
    said = [names[0] for names in places if names]
    if len(said) > 1:
        raise SettingsError(
            f"{said[0]} and {said[1]} name two places to ask",
            key=said[1],
            hint="an agent (socket), a server (url), or settings and chain: say one of them",
        )
    if made.get("token") and made.get("token_file"):
        raise SettingsError("token and token_file cannot both be said", key="token", hint="keep token_file")
    if made.get("deployment") and made.get("socket"):
        raise SettingsError(
            "deployment cannot be said beside socket: an agent serves the one of its own settings",
            key="deployment",
        )
    for name in ("token", "token_file", "ca"):
        if made.get(name) and not made.get("url"):
            raise SettingsError(f"{name} is said without url", key=name, hint="name the server: url")
    for name in ("shadow_backend", "shadow_backend_kwargs", "canary"):
        if made.get(name) and made.get("mode") != "shadow":
            raise SettingsError(f"{name} is said without mode = shadow", key=name, hint="set mode to shadow")


def _wrong(key: str, what: str) -> SettingsError:
    return SettingsError(
        f"the option {key} of the secrets backend {what}", key=key, hint="docs/airflow.md lists the options"
    )


def _unknown(key: str) -> SettingsError:
    import difflib  # noqa: PLC0415 -- only for who mistyped

    near = difflib.get_close_matches(key, sorted(_READERS), 1)
    shown = key if key.isidentifier() and len(key) < _LONGEST_SHOWN else "of such a name"
    return SettingsError(
        f"the secrets backend has no option {shown}",
        key=key,
        hint=f"did you mean {near[0]}?" if near else f"there are {', '.join(_READERS)}",
    )
