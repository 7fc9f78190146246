"""Everything of one deployment, authenticated and opened: that a copy of a store is as good as the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, get_args

from strongroom.errors import TamperedError
from strongroom.model.entry import EntryState
from strongroom.model.ref import Kind
from strongroom.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.barrier import Barrier
    from strongroom.model.entry import Summary

__all__ = ["Opened", "open_all"]

_PAGE = 1000  # entries listed at once


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
    for summary in _every(barrier):
        if summary.state is EntryState.TAMPERED:
            raise TamperedError(
                f"{summary.ref} failed authentication", hint="restore it from a backup, or write it anew"
            )
        entries += 1
        versions += len(barrier.history(summary.ref))
        progress(versions)
    who = len(_registry(barrier).snapshot().rows)
    return Opened(len(barrier.keys()), entries, versions, who)


def _every(barrier: Barrier) -> Iterator[Summary]:
    for team in (None, *barrier.teams()):
        for kind in get_args(Kind):
            after = ""
            while found := barrier.list(kind, team=team, after=after, limit=_PAGE, with_deleted=True):
                yield from found
                after = found[-1].ref.name


def _registry(barrier: Barrier) -> Registry:
    # Without its anchor: that is compared where the registry is used.
    return Registry(barrier.store, barrier, deployment=barrier.deployment)
