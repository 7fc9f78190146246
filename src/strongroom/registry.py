"""
Who may: typed rows of a deployment that nobody changes unseen.

People, tokens, sessions, roles, policies, grants and the like are rows (kind, id, body) in the store.
Each is authenticated by the deployment's key, and one head authenticates all of them together, so that a
row that was edited, deleted, inserted or put back by hand is noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from strongroom.errors import StrongroomError
    from strongroom.store.store import Store

__all__ = ["ABSENT", "Change", "Registry", "Row", "Seal", "Snapshot"]

ABSENT = 0
"""What `expected` says of a row that must not be there."""


class Row(NamedTuple):
    """One live row: *revision* is that of the registry when it was written."""

    kind: str
    id: str
    body: bytes
    revision: int


class Change(NamedTuple):
    """One change of `put_many`: *body* None deletes; *expected* is the revision that must stand, ABSENT
    for none, None for any."""

    kind: str
    id: str
    body: bytes | None
    expected: int | None = None


class Snapshot(NamedTuple):
    """The whole registry at one revision. A kind's mapping is the same object until a row of that kind changes."""

    revision: int
    rows: Mapping[str, Mapping[str, Row]]

    def of(self, kind: str) -> Mapping[str, Row]:
        """Give the rows of one kind by id; empty where there are none."""
        return self.rows.get(kind, {})


class Seal(Protocol):
    """What the registry needs of the barrier: row MACs under the deployment's key."""

    def mac_row(self, table: str, columns: Iterable[object]) -> bytes: ...
    def check_row(self, table: str, columns: Iterable[object], mac: object) -> None: ...


class Registry:
    """Rows of one deployment in one store."""

    def __init__(
        self, store: Store, seal: Seal, *, deployment: str, anchor: Path | None = None
    ) -> None: ...

    def snapshot(self) -> Snapshot:
        """Give the rows as they stand; at most 0.25 s old for what other processes wrote, at once for own writes. Raises TamperedError."""
        raise NotImplementedError

    def put(self, kind: str, id: str, body: bytes, *, expected: int | None = None) -> int:
        """Write one row; gives the new revision. Raises ConflictError."""
        raise NotImplementedError

    def delete(self, kind: str, id: str, *, expected: int | None = None) -> bool:
        """Delete one row; tells whether there was one."""
        raise NotImplementedError

    def put_many(self, changes: Iterable[Change]) -> int:
        """Do all of *changes* or none; gives the new revision."""
        raise NotImplementedError

    def watch(self, callback: Callable[[Snapshot], None]) -> None:
        """Call *callback* (from a daemon thread, within 0.5 s) whenever the revision changed."""

    def on_alarm(self, callback: Callable[[StrongroomError], None]) -> None:
        """Call *callback* once when the rows are found tampered with."""

    def close(self) -> None: ...
