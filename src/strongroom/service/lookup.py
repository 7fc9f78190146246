"""
Looking something up: entries, connections, variables, and why.

Not for writing (`entries.py`) or for what lies beside a value (`Entries.describe`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.model.connection import Connection
from strongroom.model.entry import Entry
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from strongroom.chain import Explanation
    from strongroom.live.follow import Follow

__all__ = ["Lookup"]


class Lookup:
    """
    Read through cache and chain as one actor.

    Threads: may be used from several threads at once.
    """

    def entry(self, ref: Ref) -> Entry:
        """
        Give the entry of *ref*, references resolved.

        Raises:
            NotFoundError: every backend was asked and had nothing; `asked` is the trail, the hint
                the next command to type.
            AccessDeniedError, BackendUnavailableError, MalformedEntryError, TamperedError,
            SealedError, NotRecordedError: as their names say.
        """
        raise NotImplementedError(ref)

    def connection(self, name: str, team: str | None = None) -> Connection:
        """
        Give a connection, parsed once per cached entry.

        Raises:
            MalformedEntryError: what is stored is no connection; `offset` says where.
            As `entry`.
        """
        raise NotImplementedError(name, team)

    def variable(self, name: str, team: str | None = None) -> str:
        """
        Give the text of a variable.

        Raises:
            As `entry`.
        """
        raise NotImplementedError(name, team)

    async def aentry(self, ref: Ref) -> Entry:
        """Give what `entry` gives without blocking the loop: hits inline, misses on a pool."""
        raise NotImplementedError(ref)

    def explain(self, ref: Ref) -> Explanation:
        """Tell which backend answers *ref* and why, never the value; absent is an outcome, not an error."""
        raise NotImplementedError(ref)

    def follow(
        self, ref: Ref, on_change: Callable[[Entry], None] | None = None, *, interval: timedelta | None = None
    ) -> Follow:
        """Keep the current entry of *ref* and call back when its version changes."""
        raise NotImplementedError(ref, on_change, interval)
