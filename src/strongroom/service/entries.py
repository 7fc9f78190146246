"""
Entries as things to keep: describe, write, delete, bring back, reveal.

Not for reading values in programs (`lookup.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from strongroom.model.connection import Connection
from strongroom.model.entry import Entry, Metadata, VersionInfo
from strongroom.model.ref import Kind, Ref
from strongroom.model.secret import Secret
from strongroom.service.inventory import Row

__all__ = ["HIDDEN", "Change", "Described", "Entries", "Written", "merge_hidden"]

HIDDEN = "***"
"""Stands for a secret that is not shown; left as it is in a form, it means unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """
    What may be shown of an entry without revealing it.

    Args:
        backend: which backend answers for it.
        read_at: when it was read (UTC); `is_stale` when from memory because its backend is down.
        changed_at: when it was written (UTC), where the backend knows.
        shadowed: backends further down that hold the name too.
        connection: the parsed connection; show `connection.to_dict()`, which hides. None for
            variables and where `problem` is set.
        problem: why the stored text is no connection (no part of the text), or None.
        size: characters of the stored text.
    """

    ref: Ref
    backend: str
    version: str | None
    read_at: datetime
    changed_at: datetime | None = None
    metadata: Metadata = Metadata()
    is_stale: bool = False
    shadowed: tuple[str, ...] = ()
    connection: Connection | None = field(default=None, repr=False)
    problem: str | None = None
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    One entry to write.

    Args:
        secret: a variable's text, or a connection in an Airflow form (JSON or URI).
        metadata: None keeps what stands.
        expected_version: write only over this version; `MUST_BE_ABSENT`: only if there is nothing.
    """

    ref: Ref
    secret: Secret[str]
    metadata: Metadata | None = None
    expected_version: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """Where a write (or deletion) went, and the version that stands now, where the store has versions."""

    backend: str
    version: str | None


class Entries:
    """
    Keep entries as one actor.

    Threads: may be used from several threads at once.
    """

    def describe(self, ref: Ref) -> Described:
        """
        Tell everything about *ref* but its secrets.

        Raises:
            NotFoundError: nothing holds it.
        """
        raise NotImplementedError(ref)

    def write(
        self, change: Change, *, to: str | None = None, force: bool = False, comment: str = ""
    ) -> Written:
        """
        Write one entry: where it is now if that backend writes, else to `write_to`.

        Args:
            to: name of the backend to write to instead.
            force: write though a higher backend would shadow it.
            comment: why, kept in the history.

        Raises:
            InvalidInputError: a connection that does not parse, a value over its limit, or a
                reference the writer may not read.
            ConflictError: another version stands, or a higher backend shadows the place.
            ReadOnlyError: nothing that could be written; the hint names `strongroom init`.
        """
        raise NotImplementedError(change, to, force, comment)

    def write_many(
        self, changes: Sequence[Change], *, to: str | None = None, force: bool = False, comment: str = ""
    ) -> list[Written]:
        """
        Write many entries, all or none of those that go to one backend; answers in their order.

        Raises:
            As `write`; nothing was written where it is raised before a backend was reached.
        """
        raise NotImplementedError(changes, to, force, comment)

    def delete(
        self, ref: Ref, *, expected_version: str | None = None, at: str | None = None, comment: str = ""
    ) -> Written:
        """
        Delete *ref* where it is now (softly, where the backend keeps versions).

        Args:
            at: name of the backend to delete it from instead.

        Raises:
            NotFoundError: it is nowhere.
            ConflictError: another version stands.
            ReadOnlyError: the backend that has it cannot be written.
        """
        raise NotImplementedError(ref, expected_version, at, comment)

    def undelete(self, ref: Ref, *, at: str | None = None) -> Written:
        """
        Bring a softly deleted entry back.

        Raises:
            NotFoundError: nothing was ever held under this name.
            ConflictError: it is not deleted.
            ReadOnlyError: no backend here keeps versions.
        """
        raise NotImplementedError(ref, at)

    def history(self, ref: Ref, *, at: str | None = None) -> list[VersionInfo]:
        """
        Give the versions of *ref*, newest first.

        Raises:
            NotFoundError: it was never held.
            ReadOnlyError: no backend here keeps versions.
        """
        raise NotImplementedError(ref, at)

    def rollback(self, ref: Ref, version: str, *, at: str | None = None, comment: str = "") -> Written:
        """
        Write the value of an older *version* again, as a new version.

        Raises:
            NotFoundError: there is no such version.
            ReadOnlyError: no backend here keeps versions.
        """
        raise NotImplementedError(ref, version, at, comment)

    def list(
        self, kind: Kind, *, team: str | None = None, prefix: str = "", after: str = "", limit: int = 1000
    ) -> list[Row]:
        """Give up to *limit* rows of one kind ordered by name, names greater than *after* only."""
        raise NotImplementedError(kind, team, prefix, after, limit)

    def reveal(self, ref: Ref, *, reason: str) -> Entry:
        """
        Give the entry with its secret to a person, references unresolved; recorded with *reason*.

        Raises:
            InvalidInputError: no reason was given.
            As `Lookup.entry`.
        """
        raise NotImplementedError(ref, reason)


def merge_hidden(old: Connection, new: dict[str, object]) -> dict[str, object]:
    """
    Put the secrets of *old* back where an edited form still says `***`.

    Args:
        new: the shape of `Connection.to_dict()`, as it came back from the editor.

    Returns:
        the same shape with plaintext, fit for `Connection.from_dict`. Hold it briefly.

    Raises:
        InvalidInputError: `***` stands where *old* has nothing to put back; `hint` names the field.
    """
    raise NotImplementedError(old, new)
