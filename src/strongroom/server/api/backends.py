"""`/backends`, `/deployments`: what stands where, and how it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.server.endpoint import Endpoint
from strongroom.wire.failure import without_paths
from strongroom.wire.place import (
    BackendRow,
    Backends,
    CheckedBackend,
    CheckedBackends,
)

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.backends import Checked

__all__ = ["ENDPOINTS"]


def backends(call: Call) -> Backends:
    """Give the chain, in the order asked."""
    return Backends(
        backends=[
            BackendRow(
                order=row.order,
                name=row.name,
                kind=row.kind,
                abilities=list(row.abilities),
                match=list(row.match),
                kinds=list(row.kinds),
                on_unavailable=row.on_unavailable,
            )
            for row in call.room.backends.list()
        ]
    )


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
        "POST",
        "/backends/check",
        check,
        "Ask every backend how it is",
        "backends",
        gives=CheckedBackends,
        cost=10.0,
    ),
)
