"""A foreign store in memory, for what all stores of the kind "one path, one text" have in common."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import datetime, timezone

from strongroom.backend import Fetched, Naming, WritingPathBackend
from strongroom.errors import ConflictError
from strongroom.model.entry import MUST_BE_ABSENT, Summary
from strongroom.vendors.index import NameIndex


def clock():
    return datetime(2026, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, kw_only=True)
class ShelfOptions:
    connections_prefix: str | None = "airflow/connections"
    variables_prefix: tuple[str, ...] | str | None = "airflow/variables"
    connection_shape: str = "given"


class Shelves(WritingPathBackend[ShelfOptions]):
    """Texts by path, with a version each. `asked` is what was asked for; `trouble` is raised for a path."""

    options_type = ShelfOptions
    has_compare_and_set = True
    can_create_only = True
    shapes = ("given", "uri", "json", "fields")

    def __init__(self, name="shelves", options=None, clock=clock):
        options = options or ShelfOptions()
        prefixes = {"connection": options.connections_prefix, "variable": options.variables_prefix}
        super().__init__(name, options, Naming(prefixes, team_separator="--"), clock)
        self.held = {}
        self.asked = []
        self.trouble = {}
        self.gate = threading.Barrier(1)
        self._written = 0
        self._index = NameIndex(lambda: list(self.held))

    def _fetch(self, path):
        self.asked.append(path)
        self.gate.wait(10)
        if path in self.trouble:
            raise self.trouble[path]
        if path not in self.held:
            return None
        text, version = self.held[path]
        return Fetched(text=text, version=version)

    def _store(self, path, text, *, expected, draft):
        self._compare(path, expected)
        if path in self.trouble:
            raise self.trouble[path]
        self._written += 1
        self.held[path] = (text, str(self._written))
        self._index.forget()
        return str(self._written)

    def _erase(self, path, *, expected):
        self._compare(path, expected)
        self._index.forget()
        return self.held.pop(path, None) is not None

    def _compare(self, path, expected):
        version = self.held[path][1] if path in self.held else None
        if expected is not None and (
            version is not None if expected == MUST_BE_ABSENT else expected != version
        ):
            raise ConflictError("it changed", current_version=version)

    def list(self, kind, *, team=None, prefix="", after="", limit=1000):
        paths = [*self._index.names(limit=100_000), *self._keys_held(kind, team)]
        refs = {ref.name: ref for path in paths if (ref := self.naming.ref(path, kind, team)) is not None}
        names = sorted(name for name in refs if name > after and name.startswith(prefix))[:limit]
        return [Summary(ref=refs[name], backend=self.name) for name in names]


class Blind(Shelves):
    """Compares nothing, and can only refuse to write over something."""

    has_compare_and_set = False


class Careless(Blind):
    """Compares nothing at all."""

    can_create_only = False
