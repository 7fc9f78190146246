"""
How much of a bounded spool each actor has taken, so that one alone cannot fill it.

The last quarter is kept for the others: who has written half of what is there gets none of it. What a flood
costs is then its author's: his strict uses are refused, everybody else's go on being recorded.
"""

from __future__ import annotations

__all__ = ["Shares"]

_MOST_ACTORS = 4096  # that are told apart; on one host there are fewer users


class Shares:
    """
    Counts bytes by actor.

    Threads: one at a time.

    Args:
        max_bytes: of the spool.
    """

    def __init__(self, max_bytes: int) -> None:
        self._reserve_at = max_bytes * 3 // 4
        self._taken: dict[str, int] = {}

    def take(self, actor: str, count: int) -> None:
        """Note that *actor* has taken *count* bytes."""
        if actor in self._taken or len(self._taken) < _MOST_ACTORS:
            self._taken[actor] = self._taken.get(actor, 0) + count

    def is_over(self, actor: str, used: int) -> bool:
        """Tell whether *actor* must leave what is left to others, with *used* bytes taken by all."""
        return used >= self._reserve_at and self._taken.get(actor, 0) * 2 >= used

    def give_back(self, before: int, after: int) -> None:
        """Note that of *before* bytes only *after* are taken still; of each actor's as much in proportion."""
        self._taken = {
            actor: left
            for actor, count in self._taken.items()
            if (left := count * max(after, 0) // max(before, 1))
        }
