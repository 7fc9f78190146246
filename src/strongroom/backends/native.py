"""Our own store as a backend: a thin face over `barrier/`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.backend import Backend, Health
from strongroom.errors import StrongroomError
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.barrier import Barrier
    from strongroom.model.entry import Draft, Entry, Metadata, Outline, Summary, VersionInfo
    from strongroom.model.ref import Kind

__all__ = ["BACKEND", "Native"]

# Reserved by its kind: health is asked of the whole way (file, row, key) without touching an entry.
_PROBE = Ref("config", "strongroom-health")


class Native(Backend):
    """
    Entries in our own store: read, written, listed, with versions and compare-and-set.

    Trust, threads, consistency: those of the Barrier it stands on, which it owns and closes.

    Attributes:
        barrier: for whoever needs more than a backend's verbs: rollback, edit, changes, keys.
    """

    is_local = True

    def __init__(self, barrier: Barrier) -> None:
        self.name = barrier.name
        self.barrier = barrier

    def read(self, ref: Ref) -> Entry | None:
        return self.barrier.read(ref)

    def known(self, ref: Ref) -> Metadata | None:
        """Give what is public about an entry, deleted or not, without its value."""
        return self.barrier.known(ref)

    def write(self, draft: Draft) -> str:
        return self.barrier.write(draft)

    def write_many(self, drafts: Sequence[Draft]) -> list[str | None]:
        """Write all in one transaction, or none. Gives the versions in order."""
        return list(self.barrier.write_many(drafts))

    def delete(self, ref: Ref, *, expected_version: str | None = None, author: str) -> bool:
        return self.barrier.delete(ref, expected_version=expected_version, author=author)

    def history(self, ref: Ref) -> list[VersionInfo]:
        return self.barrier.history(ref)

    def read_version(self, ref: Ref, version: str) -> Entry:
        return self.barrier.read_version(ref, version)

    def undelete(self, ref: Ref, *, author: str) -> str:
        return self.barrier.undelete(ref, author=author)

    def check(self) -> Health:
        try:
            self.barrier.read(_PROBE)
        except StrongroomError as error:
            return Health.failed(error)
        return Health(status="ready", may={"read": "yes", "list": "yes", "write": "yes"})

    def close(self) -> None:
        self.barrier.close()

    def list_deleted(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[Summary]:
        return self.barrier.list(kind, team=team, prefix=prefix, after=after, limit=limit, only_deleted=True)

    def outline(
        self, kind: Kind, *, team: str | None = None, after: str = "", limit: int = 1000
    ) -> Sequence[Outline]:
        return self.barrier.outline(kind, team=team, after=after, limit=limit)

    def named(self, kind: Kind, names: Sequence[str], *, team: str | None = None) -> Sequence[Summary]:
        return self.barrier.named(kind, names, team=team)

    def list(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[Summary]:
        return self.barrier.list(kind, team=team, prefix=prefix, after=after, limit=limit)


BACKEND = Native
