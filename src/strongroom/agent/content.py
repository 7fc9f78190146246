"""
What stands in a file that the agent writes, made of entries.

Not for when it is written (`outputs.py`), who is told (`telling.py`), nor for how a template takes values
(`model/filling.py`).

Rules of this file:

1. A file is read for the user whom it belongs to: policy decides about him, and his uses are on record.
2. A stale value never replaces a file that is there: what stands in it is at least as new.
3. Nothing is written where nothing changed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.agent.folder import Looks, read_file, replace_file
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    NotFoundError,
)
from strongroom.model.entry import MAX_VALUE_BYTES
from strongroom.model.filling import escape_of, fill, quoted_for_env, references_in
from strongroom.model.ref import Ref
from strongroom.model.template import field_of
from strongroom.service.lookup import parse_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.model.connection import Connection
    from strongroom.model.entry import Entry
    from strongroom.model.template import Reference
    from strongroom.service.host import Host
    from strongroom.service.reading import Reader
    from strongroom.settings.agent import FileSettings

__all__ = ["write_file"]

_MAX_TEMPLATE_BYTES = MAX_VALUE_BYTES
_FIELDS = ("conn_type", "host", "login", "password", "schema", "port")


def write_file(
    host: Host, file: FileSettings, follow: Callable[[Iterable[Ref]], None] = lambda _refs: None
) -> bool:
    """
    Make *file* as it should be; tell whether it was not.

    Raises:
        BackendUnavailableError: what should stand in it cannot be had now.
        As `Reader.read`, `model.filling.fill` and `folder.replace_file`.
    """
    looks = Looks(file.mode_bits, _uid(file.owner), _gid(file.group), file.shared)
    inside = _Inside(host, file, host.reader(os.geteuid() if looks.uid is None else looks.uid))
    template = inside.template()
    follow(inside.refs(template))  # before it is read: what changes in between is told
    content = inside.content(template).encode()
    if inside.is_stale and os.path.lexists(file.path):
        raise BackendUnavailableError(
            "what should stand in it is only known from before an outage", backend="agent"
        )
    return replace_file(file.path, content, looks)


class _Inside:
    """Reads what stands in one file: each entry once."""

    def __init__(self, host: Host, file: FileSettings, reader: Reader) -> None:
        self._dialect = host.settings.lookup.dialect
        self._file = file
        self._reader = reader
        self._entries: dict[Ref, Entry] = {}
        self._connections: dict[Ref, Connection] = {}
        self.is_stale = False

    def template(self) -> str:
        """Give the text of the template; "" where there is none."""
        path = self._file.template
        if path is None:
            return ""
        found = read_file(path, max_bytes=_MAX_TEMPLATE_BYTES, is_private=False)
        if found is None:
            raise BackendConfigError(f'the template "{path}" is not there', hint="or name another")
        try:
            return found.decode()
        except UnicodeDecodeError:
            raise BackendConfigError(f'the template "{path}" is not UTF-8') from None

    def refs(self, template: str) -> list[Ref]:
        """Give what the file is made of."""
        file = self._file
        if file.variable is not None:
            return [Ref("variable", file.variable, file.team)]
        if file.connection is not None:
            return [Ref("connection", file.connection, file.team)]
        return [Ref(each.kind, each.name, file.team) for each in references_in(template)]

    def content(self, template: str) -> str:
        """Give what stands in the file."""
        file = self._file
        if file.variable is not None:
            return self._entry(Ref("variable", file.variable, file.team)).secret.reveal()
        if file.connection is None:
            return fill(template, file.escape or escape_of(file.path.name), self._value)
        connection = self._connection(Ref("connection", file.connection, file.team))
        return _formatted(file.connection, connection, file.format)

    def _entry(self, ref: Ref) -> Entry:
        if ref not in self._entries:
            found = self._reader.read(ref)
            if found is None:
                raise NotFoundError(f"{ref} is in no backend")
            self._entries[ref] = self._reader.resolved(found)
            self.is_stale = self.is_stale or self._entries[ref].is_stale
        return self._entries[ref]

    def _connection(self, ref: Ref) -> Connection:
        if ref not in self._connections:
            self._connections[ref] = parse_stored(self._entry(ref), self._dialect)
        return self._connections[ref]

    def _value(self, reference: Reference) -> str:
        ref = Ref(reference.kind, reference.name, self._file.team)
        if reference.field is None:
            return self._entry(ref).secret.reveal()
        found = field_of(self._connection(ref), reference.field)
        if found is None:
            raise InvalidInputError(f"{ref} has no {reference.field}")
        return found


def _formatted(name: str, connection: Connection, form: str) -> str:
    if form == "json":
        return connection.format("json").reveal()
    if form == "uri":
        return connection.format("uri").reveal()
    prefix = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name.upper())
    if form == "env":
        if prefix != name.upper():
            raise InvalidInputError(
                "the name of the connection is none that a variable of an environment can have",
                hint="have it written as fields, json or uri",
            )
        return f"AIRFLOW_CONN_{prefix}={quoted_for_env(connection.format('json').reveal())}\n"
    found = ((field, field_of(connection, field)) for field in _FIELDS)
    lines = [
        f"{prefix}_{field.upper()}={quoted_for_env(text)}\n" for field, text in found if text is not None
    ]
    if connection.extra is not None:
        extra = connection.to_dict(reveal=True)["extra"]
        lines.append(f"{prefix}_EXTRA={quoted_for_env(_json(extra))}\n")
    return "".join(lines)


def _json(value: object) -> str:
    import json  # noqa: PLC0415 -- only one format needs it

    return value if isinstance(value, str) else json.dumps(value)


def _uid(owner: str | None) -> int | None:
    import pwd  # noqa: PLC0415 -- few files belong to somebody else

    if owner is None or owner.isdigit():
        return None if owner is None else int(owner)
    with suppress(KeyError):
        return pwd.getpwnam(owner).pw_uid
    raise BackendConfigError("its owner is nobody whom this machine knows", hint="or give the number")


def _gid(group: str | None) -> int | None:
    import grp  # noqa: PLC0415 -- as above

    if group is None or group.isdigit():
        return None if group is None else int(group)
    with suppress(KeyError):
        return grp.getgrnam(group).gr_gid
    raise BackendConfigError("its group is none that this machine knows", hint="or give the number")
