"""
Tokens of Airflow that were used: rows of the registry, so that all servers of a deployment know of them.

A row names the SHA-256 of issuer and id of the token and that of who used it; nothing of either can be told
from it. It goes once the token has ended.
"""

from __future__ import annotations

from datetime import timedelta
from hmac import compare_digest
from threading import Lock
from typing import TYPE_CHECKING

from strongroom.registry import Change
from strongroom.service.access.shape import USED_TOKEN, UsedToken, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from strongroom.registry import Registry, Snapshot

__all__ = ["UsedTokens"]

_SWEEP = timedelta(minutes=1)
_MOST_SWEPT = 1_000  # rows of one change


class UsedTokens:
    """
    A `service.runs.Once` of a deployment. Threads: safe.

    Consistency: of two servers that use one token at once, one does.
    """

    def __init__(self, registry: Registry, clock: Callable[[], datetime]) -> None:
        self._registry = registry
        self._clock = clock
        self._sweep_at = clock() + _SWEEP
        self._lock = Lock()

    def take(self, digest: bytes, holder: bytes, until: datetime) -> bool:
        """
        Use up *digest* for *holder*; as `Once.take`.

        Raises:
            TamperedError, BackendUnavailableError: as `Registry.change`.
        """
        name, is_taken = digest.hex(), False

        def decide(snapshot: Snapshot) -> Iterator[Change]:
            nonlocal is_taken
            row = snapshot.of(USED_TOKEN).get(name)
            if row is None:
                is_taken = True
                yield Change(USED_TOKEN, name, encoded(UsedToken(holder=holder, until=until)))
                yield from self._ended(snapshot)
            else:
                is_taken = bool(holder) and compare_digest(decoded(row, UsedToken).holder, holder)

        self._registry.change(decide)
        return is_taken

    def _ended(self, snapshot: Snapshot) -> list[Change]:
        """Give what takes away the rows of tokens that have ended; now and then."""
        now = self._clock()
        with self._lock:
            if now < self._sweep_at:
                return []
            self._sweep_at = now + _SWEEP
        ended = [row.id for row in snapshot.of(USED_TOKEN).values() if decoded(row, UsedToken).until <= now]
        return [Change(USED_TOKEN, row_id, None) for row_id in ended[:_MOST_SWEPT]]
