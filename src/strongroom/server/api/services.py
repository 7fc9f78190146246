"""`/services`: the programs that ask, by whose word they are known, and whether they are let in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.server.api.sessions import roles_of
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.proof import require_proof
from strongroom.wire.access import PatchService, ServiceRow, Services

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.access import ServiceRow as Service

__all__ = ["ENDPOINTS"]

_SERVICE = "service:"


def services(call: Call) -> Services:
    """Give every service."""
    return Services(services=[_row(row) for row in call.room.access.services.list()])


def patch(call: Call) -> Answer:
    """Disable a service, or enable it again."""
    body = call.take(PatchService)
    found = call.room.access.services
    if body.is_enabled:
        require_proof(call)
    (found.enable if body.is_enabled else found.disable)(call.params["name"].removeprefix(_SERVICE))
    return Answer(status=204)


def _row(row: Service) -> ServiceRow:
    return ServiceRow(
        name=row.name,
        actor=row.actor,
        roles=roles_of(row.roles),
        issuers=list(row.issuers),
        has_token=row.has_token,
        is_enabled=not row.is_disabled,
        last_used_at=row.seen,
        source=row.source,
    )


ENDPOINTS = (
    Endpoint("GET", "/services", services, "List services", "services", gives=Services),
    Endpoint(
        "PATCH",
        "/services/{name}",
        patch,
        "Disable or enable a service",
        "services",
        takes=PatchService,
        status=204,
        errors=(404, 415, 422, 503),
        is_change=True,
    ),
)
