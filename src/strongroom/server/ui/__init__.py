"""The web page: one file a page, small handlers over the services, and the table of them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.server.ui import (
    access,
    agents,
    audit,
    backends,
    deployments,
    entry,
    events,
    explain,
    form,
    importing,
    inventory,
    marked,
    overview,
    returned,
    reveal,
    saving,
    search,
    sign_in,
    static,
    trial,
    versions,
    views,
)
from strongroom.server.ui.errors import errors
from strongroom.server.ui.frame import warm
from strongroom.server.ui.settings import backup, doctor, keys, sessions, you

if TYPE_CHECKING:
    from strongroom.server.endpoint import Endpoint

__all__ = ["ENDPOINTS", "errors", "warm"]

ENDPOINTS: tuple[Endpoint, ...] = (
    *static.ENDPOINTS,
    *sign_in.ENDPOINTS,
    *returned.ENDPOINTS,
    *events.ENDPOINTS,
    *search.ENDPOINTS,
    *overview.ENDPOINTS,
    *inventory.ENDPOINTS,
    *marked.ENDPOINTS,
    *views.ENDPOINTS,
    *form.ENDPOINTS,
    *saving.ENDPOINTS,
    *trial.ENDPOINTS,
    *entry.ENDPOINTS,
    *reveal.ENDPOINTS,
    *versions.ENDPOINTS,
    *importing.ENDPOINTS,
    *explain.ENDPOINTS,
    *deployments.ENDPOINTS,
    *backends.ENDPOINTS,
    *agents.ENDPOINTS,
    *access.ENDPOINTS,
    *audit.ENDPOINTS,
    *you.ENDPOINTS,
    *sessions.ENDPOINTS,
    *keys.ENDPOINTS,
    *backup.ENDPOINTS,
    *doctor.ENDPOINTS,
)
