"""Everything of one deployment, authenticated and opened: that a copy of a store is as good as the store."""

from __future__ import annotations

from collections import deque
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import TamperedError
from strongroom.registry import Registry
from strongroom.store import table
from strongroom.store.rows import EntryRow, VersionRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.barrier import Barrier
    from strongroom.store.engine import Connection

__all__ = ["Opened", "open_all"]


class Opened(NamedTuple):
    """
    What was opened.

    Args:
        keys: of every team, proven by their canaries.
        entries: authenticated, deleted ones included.
        versions: authenticated, their values opened.
        who: rows of who may, authenticated as a whole.
    """

    keys: int
    entries: int
    versions: int
    who: int


def open_all(barrier: Barrier, *, progress: Callable[[int], None] = lambda _versions: None) -> Opened:
    """
    Open every value of the deployment of *barrier*, old versions included, and throw it away.

    Args:
        barrier: open, so that its first key is proven.
        progress: called with the number of versions that are over.

    Raises:
        TamperedError: a row, a value or a key is not what was written.
        SealedError: the key of a team is not to be had.
        BackendUnavailableError: the store gave no answer.
    """
    entries = versions = 0
    with barrier.store.snapshot() as reading:
        stored = _Versions(reading)
        for batch in table.batches(reading, "entries"):
            for row in batch:
                entry = EntryRow(*row)  # type: ignore[arg-type]  # authenticated before any of it is believed
                own = stored.of(entry.id)
                if entry.deployment != barrier.deployment:
                    deque(own, 0)
                    continue
                versions += barrier.prove(entry, own)
                entries += 1
            progress(versions)
        stored.require_end()
    who = sum(len(rows) for rows in _registry(barrier).snapshot().rows.values())
    return Opened(barrier.prove_keys(), entries, versions, who)


class _Versions:
    """The versions of each entry, in the order of ids: both tables are read once, side by side."""

    def __init__(self, reading: Connection) -> None:
        every = (VersionRow(*row) for batch in table.batches(reading, "versions") for row in batch)  # type: ignore[arg-type]
        self._groups = groupby(every, key=lambda version: version.entry_id)
        self._next = next(self._groups, None)

    def of(self, entry_id: bytes) -> Iterator[VersionRow]:
        """Give those of one entry, to be taken before the next is asked for; none where others come first."""
        if self._next is not None and self._next[0] == entry_id:
            yield from self._next[1]
            self._next = next(self._groups, None)

    def require_end(self) -> None:
        """Refuse versions that no entry has."""
        if self._next is not None:
            raise TamperedError(
                "a version is stored that belongs to no entry", hint="restore the store from a backup"
            )


def _registry(barrier: Barrier) -> Registry:
    # Without its anchor: that is compared where the registry is used.
    return Registry(barrier.store, barrier, deployment=barrier.deployment)
