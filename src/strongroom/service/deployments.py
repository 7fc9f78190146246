"""Which deployments there are, as far as one actor may know: his own, and what stands in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import NotFoundError
from strongroom.policy import Action
from strongroom.service.inventory import Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from strongroom.policy import Actor
    from strongroom.service.backends import BackendRow
    from strongroom.service.guard import Guard
    from strongroom.service.room import Room

__all__ = ["DeploymentInfo", "Deployments"]


class DeploymentInfo(NamedTuple):
    """
    One deployment as one actor sees it.

    Args:
        chain: its backends, in the order they are asked.
        teams: whose names he may see some of; those of no team are counted without being one.
        counts: of the names he may see, of every team and none.
    """

    name: str
    chain: tuple[BackendRow, ...]
    teams: tuple[str, ...]
    counts: Counts


class Deployments:
    """
    Tell about deployments as one actor of one of them.

    An identity belongs to one deployment and says nothing in another, so it is told of no other.

    Args:
        teams: gives the teams that the store has keys for.
    """

    def __init__(self, room: Room, guard: Guard, teams: Callable[[], list[str]]) -> None:
        self._room = room
        self._guard = guard
        self._teams = teams

    @property
    def _actor(self) -> Actor:
        return self._room.actor

    def list(self) -> list[str]:
        """
        Give the names of the deployments that the actor is of: one.

        Raises:
            AccessDeniedError: he may not list anything here.
        """
        return self._guard.act(self._actor, Action.LIST, None, lambda: [self._room.deployment])

    def describe(self, name: str) -> DeploymentInfo:
        """
        Tell about one deployment.

        Raises:
            NotFoundError: it is none that the actor is of.
            AccessDeniedError: he may not list anything here.
            BackendUnavailableError: a backend could not be listed.
        """
        if name != self._room.deployment:
            self._guard.act(self._actor, Action.LIST, None, lambda: None)
            raise NotFoundError("there is no such deployment")
        counted = {team: self._room.inventory.counts(team=team) for team in (None, *self._teams())}
        return DeploymentInfo(
            name=name,
            chain=tuple(self._room.backends.list()),
            teams=tuple(team for team, counts in counted.items() if team and _has_any(counts)),
            counts=_sum(counted.values()),
        )


def _has_any(counts: Counts) -> bool:
    return bool(counts.connections or counts.variables)


def _sum(counts: Collection[Counts]) -> Counts:
    return Counts(
        connections=sum(one.connections for one in counts),
        variables=sum(one.variables for one in counts),
        places=max(one.places for one in counts),
        shadowed=sum(one.shadowed for one in counts),
        unreadable=sum(one.unreadable for one in counts),
        clashes=sum(one.clashes for one in counts),
    )
