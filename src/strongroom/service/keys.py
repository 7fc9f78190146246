"""The keys of the room's store: which there are, what wraps them, how much each has sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.barrier import KeyStatus
from strongroom.policy import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.policy import Actor
    from strongroom.service.guard import Guard

__all__ = ["KeyStatus", "Keys"]


class Keys:
    """
    Tell about keys as one actor.

    Args:
        sources: one for each store of ours in the chain.
    """

    def __init__(self, sources: Sequence[Callable[[], list[KeyStatus]]], guard: Guard, actor: Actor) -> None:
        self._sources = tuple(sources)
        self._guard = guard
        self._actor = actor

    def status(self) -> list[KeyStatus]:
        """
        Give the keys by store, team and number; empty where the chain has no store of ours.

        Whoever may not describe every entry is told of the keys of his own teams: the others would tell
        which teams there are, and how much each has written.

        Raises:
            BackendUnavailableError: a store gave no answer.
        """
        return self._guard.act(self._actor, Action.DESCRIBE, None, self._status)

    def _status(self) -> list[KeyStatus]:
        found = [key for keys in self._sources for key in keys()]
        if self._guard.sight(self._actor, Action.DESCRIBE).is_whole or self._administers():
            return found
        teams = {role.team for role in self._actor.roles}
        scope = self._actor.scope
        bounds = {team or None for team in scope.teams} if scope is not None and scope.teams else None
        return [
            key
            for key in found
            if (None in teams or key.team in teams) and (bounds is None or key.team in bounds)
        ]

    def _administers(self) -> bool:
        # The local owner has no role, and is of no team. What bounds a credential bounds this too.
        is_bounded = self._actor.scope is not None and any(self._actor.scope)
        return not is_bounded and self._guard.can(self._actor, Action.ADMINISTER, None).is_allowed
