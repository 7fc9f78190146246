"""What stands around the entries of a server: its backends, its deployments, and how much it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.backend import Health
from strongroom.caller import spelled
from strongroom.meter import Figures
from strongroom.place import elsewhere
from strongroom.service.backends import BackendRow, Backends, Checked, Order, Pause
from strongroom.service.deployments import DeploymentInfo, Deployments
from strongroom.service.inventory import Counts
from strongroom.service.series import MINUTES, Minute, Series, Span
from strongroom.wire.place import (
    AdjustBackend,
    ArrangeBackends,
    CheckedBackends,
    DeploymentView,
    PauseBackend,
    PauseRow,
)
from strongroom.wire.place import Backends as BackendsTold
from strongroom.wire.place import Deployments as DeploymentsTold
from strongroom.wire.place import Series as SeriesTold

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from strongroom.caller import Client
    from strongroom.service.backends import Said
    from strongroom.service.comparison import Holder
    from strongroom.wire.place import BackendRow as RowTold

__all__ = ["RemoteBackends", "RemoteDeployments", "RemoteSeries"]


class RemoteBackends(Backends):
    """Tell about the backends of a server. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def check(self) -> tuple[Checked, ...]:
        """Have each backend asked how it is. As `Backends.check`."""
        told = self._client.post("/backends/check", CheckedBackends, is_repeatable=True)
        return tuple(
            Checked(
                name=one.name,
                health=Health(
                    status=one.status,
                    message=one.message,
                    ends=one.ends,
                    renewed=frozenset(one.renewed),
                    identity=one.identity,
                    is_reachable=one.is_reachable,
                    may=one.may,
                ),
                milliseconds=one.milliseconds,
            )
            for one in told.backends
        )

    def checked(self) -> tuple[datetime, tuple[Checked, ...]] | None:
        """
        Refuse: when they were last asked is not told.

        Raises:
            SettingsError: always.
        """
        raise elsewhere("it is told when backends were last asked")

    def _told(self) -> BackendsTold:
        return self._client.get("/backends", BackendsTold)

    def figures(self) -> dict[str, Figures]:
        """Give how often the server asked each. As `Backends.figures`; its minutes are not told."""
        return {
            row.name: Figures(
                asked=row.figures.asked,
                outcomes=row.figures.outcomes,
                median_ms=row.figures.median_ms,
                slowest_ms=row.figures.slowest_ms,
                answered=row.figures.answered_seconds,
                silent=row.figures.silent_seconds,
            )
            for row in self._told().backends
            if row.figures is not None
        }

    def order(self) -> Order:
        """Tell who manages the chain and what stands. What is said of each is told by `list` as it counts."""
        return _order(self._told())

    def arrange(self, names: Sequence[str], *, expected: str | None = None, reason: str = "") -> Order:
        """Have the backends asked in the order of *names*. As `Backends.arrange`."""
        body = spelled(ArrangeBackends(names=[*names], reason=reason))
        told = self._client.change("PUT", "/backends", BackendsTold, body, expected_version=expected)
        return _order(_there(told))

    def adjust(self, name: str, said: Said, *, expected: str | None = None, reason: str = "") -> Order:
        """Have the server say *said* of a backend. As `Backends.adjust`."""
        body = spelled(
            AdjustBackend(
                match=None if said.match is None else [*said.match],
                kinds=None if said.kinds is None else [*said.kinds],
                on_unavailable=said.on_unavailable,
                team_fallback=said.team_fallback,
                timeout_seconds=said.timeout_seconds,
                reason=reason,
            )
        )
        told = self._client.change(
            "PUT", f"{_place(name)}/settings", BackendsTold, body, expected_version=expected
        )
        return _order(_there(told))

    def pauses(self) -> list[Pause]:
        """Give the drills under way. As `Backends.pauses`."""
        return sorted(_pause(row.pause) for row in self._told().backends if row.pause is not None)

    def pause(self, name: str, lasts: timedelta, *, reason: str) -> Pause:
        """Have a backend give no answer for a while. As `Backends.pause`."""
        body = spelled(PauseBackend(seconds=lasts.total_seconds(), reason=reason))
        return _pause(self._client.post(f"{_place(name)}/pause", PauseRow, body, is_change=True))

    def resume(self, name: str) -> None:
        """End the drill of a backend. As `Backends.resume`."""
        self._client.change("DELETE", f"{_place(name)}/pause", None, is_repeatable=False)

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[BackendRow]:
        """Give the backends in the order they are asked."""
        return [_row(row) for row in self._told().backends]


def _place(name: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415 -- the client has it loaded

    return f"/backends/{quote(name, safe='')}"


def _there(told: BackendsTold | None) -> BackendsTold:
    return BackendsTold(backends=[]) if told is None else told


def _order(told: BackendsTold) -> Order:
    return Order(told.managed == "server", told.version, told.changed_at, told.changed_by)


def _pause(row: PauseRow) -> Pause:
    return Pause(row.backend, row.since, row.until, row.by, row.reason)


def _row(row: RowTold) -> BackendRow:
    return BackendRow(
        order=row.order,
        name=row.name,
        kind=row.kind,
        abilities=tuple(row.abilities),
        match=tuple(row.match),
        kinds=tuple(row.kinds),
        on_unavailable=row.on_unavailable,
        team_fallback=row.team_fallback,
        references=row.references,
        is_read_only=row.is_read_only,
        timeout_seconds=row.timeout_seconds,
        is_local=row.is_local,
        is_adjusted=row.is_adjusted,
        pause=None if row.pause is None else _pause(row.pause),
    )


class RemoteDeployments(Deployments):
    """Tell about the deployments of a server. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def describe(self, name: str) -> DeploymentInfo:
        """Tell about one deployment. As `Deployments.describe`."""
        from urllib.parse import quote  # noqa: PLC0415 -- the client has it loaded

        told = self._client.get(f"/deployments/{quote(name, safe='')}", DeploymentView)
        return DeploymentInfo(
            name=told.name,
            chain=tuple(RemoteBackends(self._client).list()),
            teams=tuple(told.teams),
            counts=Counts(connections=told.connections, variables=told.variables),
        )

    def holder(self) -> Holder:
        """
        Refuse: a server compares deployments itself, at `/v1/compare`.

        Raises:
            SettingsError: always.
        """
        raise elsewhere("deployments are compared by name")

    def teams(self) -> list[str]:
        """
        Refuse: for which teams there are keys is not told.

        Raises:
            SettingsError: always.
        """
        raise elsewhere("it is told which teams have keys")

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[str]:
        """Give the names of the deployments that the actor is of."""
        return [row.name for row in self._client.get("/deployments", DeploymentsTold).deployments]


class RemoteSeries(Series):
    """Look at the reads of a server. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def span(self, minutes: int = MINUTES) -> Span:
        """Give the last *minutes*, as the server counted them. As `Series.span`."""
        told = self._client.get("/series", SeriesTold, {"minutes": minutes})
        rows = tuple(Minute(row.at, row.cache, row.backend, row.stale, row.refused) for row in told.minutes)
        return Span(told.since, told.until, rows)
