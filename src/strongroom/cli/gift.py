"""
What `strongroom run` hands over: which value stands where, and what the command does not get.

Rules of this file:

1. The command gets exactly what was asked for. Everything is planned, and every clash and every name
   that cannot be spelled is refused, before the first value is read.
2. It does not get what Strongroom itself logs in with: the `STRONGROOM_…` variables that may hold a
   secret, and those the settings fetch secrets from (`{ env = "…" }`).

Not for starting the command (`child.py`).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Protocol

from strongroom.errors import InvalidInputError
from strongroom.model.encoding import texts_of_json
from strongroom.model.environment import PREFIXES
from strongroom.model.extra import Extra
from strongroom.model.ref import Kind, Ref
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.model.connection import Connection
    from strongroom.model.entry import Entry

__all__ = ["Gift", "Values", "inherited", "own_credentials", "plan", "read_values"]

_FOLDERS: Mapping[Kind, str] = {"connection": "connections", "variable": "variables"}
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_LONG_SOURCE = re.compile(r"(connection|variable)(?:\.([^/]+))?/(.+)", re.DOTALL)
_EXTRA = "extra"
_FIELDS = ("conn_type", "description", "host", "login", "schema", "port", "password", _EXTRA, "uri", "json")
# Not masked by themselves: logs name hosts and users all the time.
_PLAIN_FIELDS = tuple((name,) for name in _FIELDS[:6])
_MAX_FILE_NAME_BYTES = 255  # NAME_MAX of every file system we know
# They say where things are; everything else that begins so may be a secret, an override of a setting too.
# What says where to ask, and holds nothing itself: a command must not ask another place than we did.
_WHERE = ("ALLOW_PLAIN_HTTP", "CA", "CONFIG", "DEPLOYMENT", "HOME", "PROFILE", "SOCKET", "URL")
_HARMLESS = frozenset(f"STRONGROOM_{name}" for name in _WHERE)


class _Lookup(Protocol):
    """What we need of `service.Lookup`."""

    def entry(self, ref: Ref) -> Entry: ...
    def connection(self, name: str, team: str | None = None) -> Connection: ...
    def referenced(self, ref: Ref) -> tuple[Secret[str], ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gift:
    """
    One value the command is to get.

    Args:
        ref: what it comes from.
        place: name of the variable of the environment, or path below the folder of files.
        field: path to a field of a connection (`("extra", "region")`); () for the whole stored text.
    """

    ref: Ref
    place: str
    field: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """
    What was read for the command.

    Args:
        texts: by place, in the order asked.
        secrets: what is to be masked: more than the texts, as the password within a connection.
        main: by Ref, the value a person would call the secret of this entry.
    """

    texts: Mapping[str, Secret[str]]
    secrets: tuple[Secret[str], ...]
    main: Mapping[Ref, Secret[str]]


# --- planning: pure ------------------------------------------------------------------------------


def plan(refs: Iterable[Ref], assignments: Iterable[str], *, team: str | None, is_files: bool) -> list[Gift]:
    """
    Say where each value will stand; repeats of one are one.

    Args:
        refs: entries to hand over whole.
        assignments: `NAME=SOURCE`, as after `--as`.
        team: whose connections and variables a source names.
        is_files: places are paths of files rather than names of variables.

    Raises:
        InvalidInputError: a name cannot be spelled, an assignment is malformed, or two values meet.
    """
    gifts: dict[str, Gift] = {}
    spell = _file_name if is_files else _variable_name
    wanted = [Gift(ref=ref, place=spell(ref)) for ref in refs]
    wanted += [_assigned(assignment, team) for assignment in assignments]
    for gift in wanted:
        held = gifts.setdefault(gift.place, gift)
        if held != gift:
            raise InvalidInputError(
                f"{_called(held)} and {_called(gift)} would both be {gift.place}",
                hint="give one of them another name with --as, or say --files",
            )
    taken = set(_FOLDERS.values()) & gifts.keys()
    if is_files and taken:
        raise InvalidInputError(
            f"--files has a folder called {min(taken)}", hint="choose another name after --as"
        )
    return list(gifts.values())


def _called(gift: Gift) -> str:
    return f"{'.'.join(gift.field)} of {gift.ref}" if gift.field else str(gift.ref)


def _variable_name(ref: Ref) -> str:
    # As Airflow spells it: upper case and nothing else. The system takes every name without "="; two
    # that meet in upper case are found by `plan`.
    if "=" in ref.name:
        raise InvalidInputError(
            f"{ref} has a name that no variable of the environment can have",
            hint=f"say --as {_source(ref)} to choose one, or --files",
        )
    return PREFIXES[ref.kind] + ref.name.upper()


def _file_name(ref: Ref) -> str:
    name = ref.name.replace("%", "%25").replace("/", "%2F")
    if len(name.encode()) > _MAX_FILE_NAME_BYTES:
        raise InvalidInputError(
            f"{ref} has a name too long for a file", hint=f"say --as {_source(ref)} to choose one"
        )
    return f"{_FOLDERS[ref.kind]}/{name}"


def _source(ref: Ref) -> str:
    return shlex.quote(f"NAME={ref.kind}/{ref.name}")


def _assigned(assignment: str, team: str | None) -> Gift:
    name, is_assignment, source = assignment.partition("=")
    if not is_assignment or not _ENVIRONMENT_NAME.fullmatch(name):
        raise InvalidInputError(
            "--as is NAME=CONNECTION.FIELD, where NAME has letters, digits and '_' and no digit first",
            hint="as in --as PGPASSWORD=orders_db.password or --as REGION=variable/region",
        )
    return _sourced(name, source, team)


def _sourced(name: str, source: str, team: str | None) -> Gift:
    long = _LONG_SOURCE.fullmatch(source)
    if long is not None:
        kind, field, entry = long.groups()
        if kind == "variable" and field is None:
            return Gift(ref=Ref("variable", entry, team), place=name)
        if kind == "connection":
            path = _field_path(field, name) if field else ()
            return Gift(ref=Ref("connection", entry, team), place=name, field=path)
        raise InvalidInputError(f"--as {name}: a variable has no fields", hint=f"--as {name}=variable/NAME")
    entry, is_extra, keys = source.partition(f".{_EXTRA}.")
    field = f"{_EXTRA}.{keys}" if is_extra else ""
    if not is_extra:
        entry, _, field = source.rpartition(".")
    return Gift(ref=Ref("connection", entry, team), place=name, field=_field_path(field, name))


def _field_path(field: str, name: str) -> tuple[str, ...]:
    first, is_nested, rest = field.partition(".")
    if first not in _FIELDS or (is_nested and (first != _EXTRA or not rest)):
        raise InvalidInputError(
            f"--as {name}: a connection has no such field",
            hint=f"one of {', '.join(_FIELDS)}, or extra.KEY",
        )
    return (first, rest) if rest else (first,)


def inherited(environ: Mapping[str, str], credentials: Iterable[str] = ()) -> dict[str, str]:
    """
    Give *environ* without what Strongroom itself logs in with.

    Args:
        environ: the environment of this process.
        credentials: further names to leave out.
    """
    left_out = frozenset(credentials)
    return {
        name: text
        for name, text in environ.items()
        if name not in left_out and (not name.startswith("STRONGROOM_") or name in _HARMLESS)
    }


def own_credentials(settings: object) -> Iterator[str]:
    """Give the names of the variables that *settings* fetch secrets from, as in `{ env = "NAME" }`."""
    if is_dataclass(settings) and not isinstance(settings, type):
        if getattr(settings, "kind", None) == "env":
            yield from getattr(settings, "argument", ())
        yield from own_credentials([getattr(settings, field.name) for field in fields(settings)])
    elif isinstance(settings, Mapping):
        if list(settings) == ["env"] and isinstance(settings["env"], str):
            yield settings["env"]
        yield from own_credentials(list(settings.values()))
    elif isinstance(settings, (list, tuple)):
        for item in settings:
            yield from own_credentials(item)


# --- reading -------------------------------------------------------------------------------------


def read_values(gifts: Iterable[Gift], lookup: _Lookup) -> Values:
    """
    Read every gift.

    Raises:
        NotFoundError: there is no such entry.
        InvalidInputError: a connection has nothing in the field asked for, or a value cannot stand in
            an environment or a file.
        As `Lookup.entry`.
    """
    texts: dict[str, Secret[str]] = {}
    secrets: list[Secret[str]] = []
    main: dict[Ref, Secret[str]] = {}
    for gift in gifts:
        entry = lookup.entry(gift.ref)
        if gift.ref.kind == "connection":
            connection = lookup.connection(gift.ref.name, gift.ref.team)
            texts[gift.place] = _field(gift, connection) if gift.field else entry.secret
            main[gift.ref] = connection.password or Secret("")
            secrets += map(Secret, connection.secrets())
        else:
            texts[gift.place] = main[gift.ref] = entry.secret
            secrets += map(Secret, texts_of_json(entry.secret.reveal()))
        if gift.field[:1] not in _PLAIN_FIELDS:
            secrets.append(texts[gift.place])
        for part in lookup.referenced(gift.ref):
            # A program may print what was put in alone.
            secrets += [part, *map(Secret, texts_of_json(part.reveal()))]
        if "\0" in texts[gift.place].reveal():
            raise InvalidInputError(f"{_called(gift)} holds a NUL character, which no environment can")
    return Values(texts=texts, secrets=tuple(secrets), main=main)


def _field(gift: Gift, connection: Connection) -> Secret[str]:
    first, *rest = gift.field
    if first == "uri":
        return connection.format("uri")
    if first == "json":
        return connection.format("json")
    found = getattr(connection, first)
    text = _plain_text(_inside(found, rest[0]) if rest else found)
    if text is None:
        raise InvalidInputError(f"{gift.ref} has no {'.'.join(gift.field)}")
    return Secret(text)


def _inside(found: object, keys: str) -> object:
    """Give what stands under dotted *keys*; a key that has dots itself is found too."""
    if isinstance(found, Extra):
        if keys in found:
            return found[keys]
        for key in found:
            if keys.startswith(f"{key}."):
                return _inside(found[key], keys[len(key) + 1 :])
    if isinstance(found, tuple):
        index, _, rest = keys.partition(".")
        if index.isdecimal() and int(index) < len(found):
            return _inside(found[int(index)], rest) if rest else found[int(index)]
    return None


def _plain_text(found: object) -> str | None:
    if isinstance(found, Secret):
        found = found.reveal()
    elif isinstance(found, Extra):
        return json.dumps(found.reveal())
    elif isinstance(found, tuple):
        return json.dumps(Extra({"": found}).reveal()[""])
    if found is None or isinstance(found, str):
        return found
    return json.dumps(found)
