"""
Whether the server lives, whether it should be asked, and its figures: for probes and monitoring.

Rules of this file:

1. A probe is told one word; why not stands in the log. Nobody has to prove who they are for that.
2. Readiness looks at what the server holds, never at a vendor's: a Vault that is down must not take the
   servers out of the balance that serve everything else from memory.
3. Figures are for this machine, and for whoever has the role `metrics` or may administer the room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import AccessDeniedError, NotAuthenticatedError, StrongroomError
from strongroom.model.machine import is_loopback
from strongroom.policy import Action
from strongroom.server.endpoint import Answer, Call, Endpoint
from strongroom.server.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.server.metrics import Metrics
    from strongroom.service.house import House

__all__ = ["Health"]

_METRICS_ROLE = "metrics"


class Health:
    """
    The endpoints for probes.

    Args:
        metrics: the figures.
        is_draining: whether the server was told to stop.
        trust_loopback: whether a request from this machine may see the figures unasked; not behind a proxy
            of this machine, which all requests come from.
        on_trouble: told why the server is not ready.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        is_draining: Callable[[], bool],
        trust_loopback: bool,
        on_trouble: Callable[[str], None],
    ) -> None:
        self._metrics = metrics
        self._is_draining = is_draining
        self._trust_loopback = trust_loopback
        self._on_trouble = on_trouble

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Give the endpoints, below no prefix."""
        return (
            Endpoint(
                "GET",
                "/health/live",
                _live,
                "Whether the process answers",
                "health",
                is_public=True,
                when_sealed=True,
                cost=0.0,
            ),
            Endpoint(
                "GET",
                "/health/ready",
                self._ready,
                "Whether to send requests",
                "health",
                is_public=True,
                when_sealed=True,
                cost=0.0,
            ),
            Endpoint(
                "GET",
                "/metrics",
                self._figures,
                "Figures for Prometheus",
                "health",
                is_public=True,
                when_sealed=True,
            ),
        )

    def _ready(self, call: Call) -> Answer:
        why = self.trouble(call.house)
        if why is None:
            return Answer({"status": "ready"})
        self._on_trouble(why)
        return Answer({"status": "not ready" if call.house.names else "sealed"}, status=503)

    def trouble(self, house: House) -> str | None:
        """Give why the server should not be asked, or None."""
        if self._is_draining():
            return "draining"
        if not house.names:
            return f"{', '.join(house.seals.names)}: sealed"
        for name in house.names:
            try:
                house.deployment(name).registry.snapshot()
            except StrongroomError as error:
                return f"{name}: {error.code}"
        return None

    def _figures(self, call: Call) -> Answer:
        if not (self._trust_loopback and is_loopback(call.source)):
            self._check(call)
        return Answer(self._metrics.render(), media_type=CONTENT_TYPE)

    def _check(self, call: Call) -> None:
        if not call.has_identity:
            raise NotAuthenticatedError(
                "figures are for this machine, and for tokens with the role metrics",
                hint="strongroom access tokens issue --name prometheus --role metrics",
            )
        actor = call.identity.actor
        if any(role.name == _METRICS_ROLE for role in actor.roles):
            return
        decision = call.place.guard.can(actor, Action.ADMINISTER, None)
        if not decision.is_allowed:
            raise AccessDeniedError(f"{actor.id} may not see the figures", reason=decision.reason)


def _live(_call: Call) -> Answer:
    return Answer({"status": "live"})
