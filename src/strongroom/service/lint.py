"""
Lint with what this machine knows: the types of the Airflow beside us, and the connections of a room.

Not for the rules themselves: `strongroom.insight.lint`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom import catalog
from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.insight.lint import lint
from strongroom.insight.remark import Remark
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from strongroom.catalog.kind import ConnectionType
    from strongroom.model.connection import Connection
    from strongroom.service.kinds import Kinds
    from strongroom.service.room import Room

__all__ = ["Linter", "Looked"]

_OF_IGNORANCE = frozenset({"L2", "L3", "L4"})  # what an installed provider may know better


@dataclass(frozen=True, slots=True)
class Looked:
    """
    One connection that was looked at.

    Args:
        ref: which one was asked for.
        remarks: what looks wrong, by rule; () where nothing does.
    """

    ref: Ref
    remarks: tuple[Remark, ...]


class Linter:
    """
    Look at connections.

    Args:
        kinds: every type known here. Installed providers are only asked where ours leave something
            unknown, because asking them may take a second.

    Threads: not safe to share.
    """

    def __init__(self, kinds: Kinds) -> None:
        self._kinds = kinds
        self._asked: dict[str, tuple[ConnectionType | None, tuple[str, ...]]] = {}

    def remarks(
        self, connection: Connection, *, has_references: bool = False, extends: bool = False
    ) -> tuple[Remark, ...]:
        """Give what looks wrong in *connection*; see `strongroom.insight.lint.lint`."""
        name = connection.conn_type or ""
        kind = catalog.find(name)
        found = lint(connection, kind, has_references=has_references, extends=extends)
        if name and any(remark.rule in _OF_IGNORANCE for remark in found):
            kind, near = self._known(name)
            found = lint(connection, kind, nearest=near, has_references=has_references, extends=extends)
        return tuple(found)

    def check_type(self, connection: Connection) -> None:
        """
        Refuse a type nobody knows.

        Raises:
            InvalidInputError: the hint names the nearest, and how it is taken all the same.
        """
        name = connection.conn_type
        if name is None or catalog.find(name) is not None:
            return
        kind, near = self._known(name)
        if kind is None:
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            raise InvalidInputError(
                "conn_type is no connection type that we, or the Airflow here, know",
                hint=f"{meant}strongroom connections types lists them; --type-unchecked takes it as it is",
            )

    def look(self, room: Room, refs: Iterable[Ref]) -> Iterator[Looked]:
        """
        Read the connections *refs* one by one, each recorded as a read, and look at them.

        What cannot be read is a remark (L1), not an error: it must not hide the others.
        """
        for ref in refs:
            try:
                _, remarks = self.read(room, ref)
            except StrongroomError as error:
                remarks = (Remark("L1", "error", "", str(error), error.hint or ""),)
            yield Looked(ref, remarks)

    def read(self, room: Room, ref: Ref) -> tuple[Connection, tuple[Remark, ...]]:
        """
        Read one connection and look at it.

        Raises:
            As `Lookup.connection`.
        """
        connection = room.lookup.connection(ref.name, ref.team)
        held = room.lookup.peek(ref)
        # What a reader gets is whole; a `${` that is left in it is meant as it stands.
        has_references = held is not None and held.metadata.references
        return connection, self.remarks(connection, has_references=has_references)

    def _known(self, name: str) -> tuple[ConnectionType | None, tuple[str, ...]]:
        """Give the type that *name* exactly is, or else the nearest names."""
        if name not in self._asked:
            self._asked[name] = self._ask(name)
        return self._asked[name]

    def _ask(self, name: str) -> tuple[ConnectionType | None, tuple[str, ...]]:
        try:
            found = self._kinds.find(name)
        except InvalidInputError:
            return None, self._kinds.nearest(name)
        # Airflow's hooks are found by the exact name.
        return (found, ()) if found.name == name else (None, (found.name,))
