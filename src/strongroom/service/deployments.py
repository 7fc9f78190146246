"""Which deployments there are, as far as one actor may know: his own, and what stands in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import NotFoundError, ReadOnlyError
from strongroom.policy import Action
from strongroom.service.inventory import Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from strongroom.chain import Chain
    from strongroom.model.connection import Dialect
    from strongroom.policy import Actor
    from strongroom.service.backends import BackendRow
    from strongroom.service.comparison import Holder
    from strongroom.service.guard import Guard
    from strongroom.service.inventory import Row
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
        chain: where entries are read to be compared; None where they cannot be.
        dialect: how its connections are read.
        has_register: its lines are kept at hand, as in a server.
    """

    def __init__(
        self,
        room: Room,
        guard: Guard,
        teams: Callable[[], list[str]],
        *,
        chain: Chain | None = None,
        dialect: Dialect = "core",
        has_register: bool = False,
    ) -> None:
        self._room = room
        self._guard = guard
        self._teams = teams
        self._chain = chain
        self._dialect: Dialect = dialect
        self._has_register = has_register

    @property
    def _actor(self) -> Actor:
        return self._room.actor

    def holder(self) -> Holder:
        """
        Give this deployment as the actor sees it, to be compared with others.

        Raises:
            ReadOnlyError: its entries cannot be compared from here.
        """
        from strongroom.service.comparison import Holder, can_describe  # noqa: PLC0415 -- as the nouns

        if self._chain is None:
            raise ReadOnlyError("what this deployment holds cannot be compared from here")
        return Holder(
            name=self._room.deployment,
            chain=self._chain,
            dialect=self._dialect,
            mark=self._mark,
            lines=self._lines,
            may=can_describe(self._guard, self._actor),
        )

    def _mark(self) -> object:
        if not self._has_register:
            self._guard.act(self._actor, Action.LIST, None, lambda: None)
            return None
        return self._actor, id(self._guard.policy_of(self._actor)), self._room.register.mark()

    def _lines(self) -> tuple[object, Sequence[Row]]:
        if self._has_register:
            mark, rows = self._room.register.answering()
            return (self._actor, id(self._guard.policy_of(self._actor)), mark), rows
        pages = (page for team in (None, *self._teams()) for page in self._room.inventory.pages(team=team))
        return None, [row for page in pages for row in page if row.shadowed_by is None]

    def teams(self) -> list[str]:
        """
        Give the teams that the store has keys for.

        Raises:
            AccessDeniedError: he may not list anything here.
        """
        return self._guard.act(self._actor, Action.LIST, None, self._teams)

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

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[str]:
        """
        Give the names of the deployments that the actor is of: one.

        Raises:
            AccessDeniedError: he may not list anything here.
        """
        return self._guard.act(self._actor, Action.LIST, None, lambda: [self._room.deployment])


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
