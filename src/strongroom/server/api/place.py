"""`/deployments`, `/config`, `/mode`: the place itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import AccessDeniedError
from strongroom.policy import Action
from strongroom.server.api.asked import bounded
from strongroom.server.endpoint import Endpoint
from strongroom.server.siblings import holders
from strongroom.service.bundle import shown_settings
from strongroom.service.comparison import MAX_PAGE
from strongroom.service.guard import event_of
from strongroom.wire.place import (
    Compared,
    ComparedCell,
    ComparedLine,
    CompareQuery,
    ConfigView,
    DeploymentRow,
    Deployments,
    DeploymentView,
    ModeView,
    SetMode,
)
from strongroom.wire.shape import UNSET

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.comparison import Line
    from strongroom.service.mode import Mode

__all__ = ["ENDPOINTS"]


def deployments(call: Call) -> Deployments:
    """Give the deployments the actor is of."""
    rows = [_row(call, name) for name in call.room.deployments.list()]
    return Deployments(deployments=[DeploymentRow(**row) for row in rows])


def deployment(call: Call) -> DeploymentView:
    """Give one deployment in numbers, as far as the actor may list what is in it."""
    found = call.room.deployments.describe(call.params["name"])
    return DeploymentView(
        **_row(call, found.name),
        teams=list(found.teams),
        connections=found.counts.connections,
        variables=found.counts.variables,
    )


def _row(call: Call, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "is_first": name == call.house.first,
        "chain": [row.name for row in call.room.backends.list()],
        "is_read_only": call.house.mode.read_only,
    }


def compare(call: Call) -> Compared:
    """Give entries beside each other in several deployments, as whoever asks is known in each."""
    asked = call.asked(CompareQuery)
    names = [name for name in asked.between.split(",") if name]
    grid = call.house.comparison.grid(
        holders(call, names), which=asked.only, begin=asked.begin, count=min(asked.limit, MAX_PAGE)
    )
    return Compared(
        deployments=list(grid.columns),
        entries=list(grid.entries),
        same=list(grid.same),
        lines=[_line(line) for line in grid.lines],
        total=grid.total,
        counts=dict(grid.counts),
        compared=list(grid.compared),
    )


def _line(line: Line) -> ComparedLine:
    return ComparedLine(
        kind=line.ref.kind,
        name=line.ref.name,
        team=line.ref.team,
        conn_type=line.conn_type,
        cells=[
            ComparedCell(state=cell.state, letter=cell.letter, fields=list(cell.fields), version=cell.version)
            for cell in line.cells
        ],
    )


def config(call: Call) -> ConfigView:
    """Give the settings in force: numbers, switches and names, chosen one by one; never a path or a text."""
    place = call.place
    place.guard.check(call.identity.actor, Action.ADMINISTER, None, None)
    settings = shown_settings(place.settings)
    if call.deployment != call.house.first:
        settings.pop("server", None)  # of the whole process, told where it is set
    return ConfigView(settings=settings)


def mode(call: Call) -> ModeView:
    """Tell whether changes are made, and how much is logged."""
    return _view(call.house.mode)


def set_mode(call: Call) -> ModeView:
    """Change how the server runs, as an administrator of its first deployment; in read-only mode too."""
    body, house = call.take(SetMode), call.house
    reason = bounded(body.reason, field="reason")
    if call.deployment != house.first:
        # Who is who in another deployment says nothing in the first.
        event = event_of(
            call.identity.actor, Action.ADMINISTER, None, "denied", reason="not of the first deployment"
        )
        call.place.guard.recorder.append(event)
        raise AccessDeniedError("only an administrator of the first deployment may", reason="deployment")
    return _view(
        house.set_mode(
            call.identity.actor,
            read_only=None if body.is_read_only is UNSET else bool(body.is_read_only),
            log_level=None if body.log_level is UNSET else str(body.log_level),
            reason=reason,
        )
    )


def _view(found: Mode) -> ModeView:
    return ModeView(is_read_only=found.read_only, log_level=found.log_level)  # type: ignore[arg-type]  # checked there


ENDPOINTS = (
    Endpoint(
        "GET",
        "/deployments",
        deployments,
        "List the deployments of the actor",
        "deployments",
        gives=Deployments,
    ),
    Endpoint(
        "GET",
        "/deployments/{name}",
        deployment,
        "Show one deployment in numbers",
        "deployments",
        gives=DeploymentView,
        cost=10.0,
    ),
    Endpoint(
        "GET",
        "/compare",
        compare,
        "Show entries beside each other in several deployments",
        "deployments",
        asks=CompareQuery,
        gives=Compared,
        errors=(503,),
        cost=10.0,
    ),
    Endpoint("GET", "/config", config, "Show the settings in force", "server", gives=ConfigView),
    Endpoint("GET", "/mode", mode, "Show how the server runs", "server", gives=ModeView),
    Endpoint(
        "PUT",
        "/mode",
        set_mode,
        "Change how the server runs",
        "server",
        takes=SetMode,
        gives=ModeView,
    ),
)
