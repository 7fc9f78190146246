"""`/backends`: what stands where, how it is, in which order it is asked, and drills."""

from __future__ import annotations

from datetime import timedelta
from math import isfinite
from typing import TYPE_CHECKING

from strongroom.server.api.asked import bounded, reason_of
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.service.backends import Said
from strongroom.wire.failure import FieldError, without_paths
from strongroom.wire.place import (
    AdjustBackend,
    ArrangeBackends,
    BackendFigures,
    BackendRow,
    Backends,
    CheckedBackend,
    CheckedBackends,
    PauseBackend,
    PauseRow,
)

if TYPE_CHECKING:
    from strongroom.meter import Figures
    from strongroom.server.endpoint import Call
    from strongroom.service.backends import BackendRow as Row
    from strongroom.service.backends import Checked, Pause

__all__ = ["ENDPOINTS"]


def backends(call: Call) -> Answer:
    """Give the chain, in the order asked."""
    return _chain(call)


def arrange(call: Call) -> Answer:
    """Put the chain in another order."""
    body = call.take(ArrangeBackends)
    call.room.backends.arrange(
        body.names, expected=_expected(call), reason=bounded(body.reason, field="reason")
    )
    return _chain(call)


def adjust(call: Call) -> Answer:
    """Say of a backend what holds in place of its settings."""
    body = call.take(AdjustBackend)
    said = Said(
        match=None if body.match is None else tuple(body.match),
        kinds=None if body.kinds is None else tuple(body.kinds),
        on_unavailable=body.on_unavailable,
        team_fallback=body.team_fallback,
        timeout_seconds=body.timeout_seconds,
    )
    reason = bounded(body.reason, field="reason")
    call.room.backends.adjust(call.params["name"], said, expected=_expected(call), reason=reason)
    return _chain(call)


def pause(call: Call) -> PauseRow:
    """Have a backend give no answer for a while."""
    body = call.take(PauseBackend)
    reason = reason_of(body.reason)
    if not isfinite(body.seconds) or not 0 <= body.seconds <= _MOST_SECONDS:
        raise FieldError("a drill lasts 10 seconds to 1 hour", field="$.seconds")
    lasts = timedelta(seconds=body.seconds)
    return _pause(call.room.backends.pause(call.params["name"], lasts, reason=reason))


_MOST_SECONDS = 3600.0


def resume(call: Call) -> None:
    """Let a backend that is paused answer again."""
    call.room.backends.resume(call.params["name"])


def _expected(call: Call) -> str | None:
    version = call.if_match
    return None if version == "*" else version


def _chain(call: Call) -> Answer:
    desk = call.room.backends
    rows, order, figures = desk.list(), desk.order(), desk.figures()
    told = Backends(
        backends=[_row(row, figures.get(row.name)) for row in rows],
        managed="server" if order.is_managed else "file",
        version=order.version,
        changed_at=order.changed_at,
        changed_by=order.changed_by,
    )
    # Figures change with every read: the version is of what may be changed, and makes no answer "unchanged".
    return Answer(told)


def _row(row: Row, figures: Figures | None) -> BackendRow:
    return BackendRow(
        order=row.order,
        name=row.name,
        kind=row.kind,
        abilities=list(row.abilities),
        match=list(row.match),
        kinds=list(row.kinds),
        on_unavailable=row.on_unavailable,
        team_fallback=row.team_fallback,
        references=row.references,
        is_read_only=row.is_read_only,
        timeout_seconds=row.timeout_seconds,
        is_local=row.is_local,
        is_adjusted=row.is_adjusted,
        pause=None if row.pause is None else _pause(row.pause),
        figures=None if figures is None else _figures(figures),
    )


def _pause(pause: Pause) -> PauseRow:
    return PauseRow(
        backend=pause.backend, since=pause.since, until=pause.until, by=pause.by, reason=pause.reason
    )


def _figures(found: Figures) -> BackendFigures:
    return BackendFigures(
        asked=found.asked,
        outcomes=dict(found.outcomes),
        median_ms=_rounded(found.median_ms),
        slowest_ms=_rounded(found.slowest_ms),
        answered_seconds=_rounded(found.answered),
        silent_seconds=_rounded(found.silent),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def check(call: Call) -> CheckedBackends:
    """Ask each backend how it is."""
    return CheckedBackends(backends=[_checked(one) for one in call.room.backends.check()])


def _checked(one: Checked) -> CheckedBackend:
    return CheckedBackend(
        name=one.name,
        status=one.health.status,
        message=without_paths(one.health.message),
        milliseconds=round(one.milliseconds, 3),
        ends=dict(one.health.ends),
        renewed=sorted(one.health.renewed),
        identity=without_paths(one.health.identity),
        is_reachable=one.health.is_reachable,
        may=dict(one.health.may),
    )


ENDPOINTS = (
    Endpoint("GET", "/backends", backends, "List the chain", "backends", gives=Backends),
    Endpoint(
        "PUT",
        "/backends",
        arrange,
        "Put the chain in another order",
        "backends",
        takes=ArrangeBackends,
        gives=Backends,
        errors=(405, 409, 412),
        is_change=True,
        needs_proof=True,
    ),
    Endpoint(
        "POST",
        "/backends/check",
        check,
        "Ask every backend how it is",
        "backends",
        gives=CheckedBackends,
        cost=10.0,
    ),
    Endpoint(
        "PUT",
        "/backends/{name}/settings",
        adjust,
        "Say of a backend what holds in place of its settings",
        "backends",
        takes=AdjustBackend,
        gives=Backends,
        errors=(405, 409, 412),
        is_change=True,
        needs_proof=True,
    ),
    Endpoint(
        "POST",
        "/backends/{name}/pause",
        pause,
        "Pause a backend for a drill",
        "backends",
        takes=PauseBackend,
        gives=PauseRow,
        errors=(405,),
        is_change=True,
        needs_proof=True,
    ),
    Endpoint(
        "DELETE",
        "/backends/{name}/pause",
        resume,
        "End the pause of a backend",
        "backends",
        status=204,
    ),
)
