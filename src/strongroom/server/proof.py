"""
Step-up: what a person in a session may do only if he proved lately who he is.

A session lasts hours, and a screen is left alone for minutes: what shows a secret, changes who may or touches
keys asks for a proof of the last minutes (`access.step_up_seconds`). Whoever comes with a name and password
has just given it; programs have no screen, and are bounded by the scope of their tokens.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from strongroom.model.principal import LOCAL, PERSON
from strongroom.wire.failure import StepUpError

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.access import Demands, Identity

__all__ = ["is_fresh", "require_proof", "stale"]


def require_proof(call: Call) -> None:
    """
    Refuse a person whose proof is too old.

    Raises:
        StepUpError: it is.
    """
    demands = call.place.access.demands
    if not is_fresh(call.identity, demands, datetime.now(timezone.utc)):
        raise stale(demands)


def is_fresh(identity: Identity, demands: Demands, now: datetime) -> bool:
    """Tell whether *identity* was proven lately enough; whatever is no person in a session always is."""
    if identity.how != "session" or not identity.actor.id.startswith((PERSON, LOCAL)):
        return True
    return timedelta() <= now - identity.since <= demands.fresh


def stale(demands: Demands) -> StepUpError:
    """Give the error of a proof that is too old."""
    seconds = round(demands.fresh.total_seconds())
    minutes, rest = divmod(seconds, 60)
    span = f"{minutes} minutes" if minutes > 1 and not rest else f"{seconds} seconds"
    return StepUpError(
        f"this needs an identity proven within the last {span}",
        reason="step-up",
        hint="log in again: strongroom login, or the login page",
    )
