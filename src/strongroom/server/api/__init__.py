"""The native API `/v1`: one file a noun, small handlers over the services, and the table of them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import msgspec

from strongroom import __version__
from strongroom.server import hot, openapi
from strongroom.server.api import (
    actors,
    agents,
    approvals,
    audit,
    backends,
    backups,
    batch,
    break_glass,
    changes,
    edits,
    entries,
    explain,
    find,
    keys,
    oidc,
    place,
    policies,
    reach,
    reveal,
    seal,
    series,
    services,
    sessions,
    versions,
)
from strongroom.server.endpoint import Answer, Endpoint

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call

__all__ = ["DESCRIBED", "ENDPOINTS"]


def described(_call: Call) -> Answer:
    """Give the OpenAPI document of this API."""
    document = openapi.document(DESCRIBED, version=__version__)
    return Answer(msgspec.json.encode(document), etag=__version__)


def _elsewhere(_deployment: str) -> NoReturn:
    raise LookupError(
        "reads are answered by the server's hot path"
    )  # never called: the table is only described


ENDPOINTS: tuple[Endpoint, ...] = (
    *entries.ENDPOINTS,
    *edits.ENDPOINTS,
    *batch.ENDPOINTS,
    *versions.ENDPOINTS,
    *explain.ENDPOINTS,
    *find.ENDPOINTS,
    *reveal.ENDPOINTS,
    *reach.ENDPOINTS,
    *backends.ENDPOINTS,
    *keys.ENDPOINTS,
    *backups.ENDPOINTS,
    *place.ENDPOINTS,
    *seal.ENDPOINTS,
    *series.ENDPOINTS,
    *sessions.ENDPOINTS,
    *oidc.ENDPOINTS,
    *break_glass.ENDPOINTS,
    *actors.ENDPOINTS,
    *services.ENDPOINTS,
    *reach.OF_AGENTS,  # before the name of an agent
    *agents.ENDPOINTS,
    *policies.ENDPOINTS,
    *approvals.ENDPOINTS,
    *audit.ENDPOINTS,
    *changes.ENDPOINTS,
    Endpoint("GET", "/openapi.json", described, "Describe this API as OpenAPI 3.1", "server"),
)

DESCRIBED: tuple[Endpoint, ...] = (hot.endpoint(_elsewhere), *ENDPOINTS)
"""The table with the route that the server answers in front of it."""
