"""
`/reveal`: the one way for a person to see a stored secret.

Rules of this file:

1. Whoever reveals has just proven who he is: a session begun within five minutes, or a token made for it,
   whose scope names the act (facts AA14). Every refusal is recorded, with what he said his reason was.
2. Where a second person has to agree, the first answer is the request, and an approval is good once
   (`service/entries.py` uses it up before the value leaves).
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from strongroom.errors import AccessDeniedError, ConflictError
from strongroom.policy import Action
from strongroom.policy.cedar import NEEDS_APPROVAL
from strongroom.server.api.approvals import approval_of
from strongroom.server.api.asked import entry_of, reason_of
from strongroom.server.api.shape import revealed
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.service.guard import event_of
from strongroom.wire.entry import Revealed, RevealRequest, TeamQuery

if TYPE_CHECKING:
    from strongroom.model.ref import Ref
    from strongroom.server.endpoint import Call
    from strongroom.service.access import Identity

__all__ = ["ENDPOINTS", "FRESH", "StepUpError"]

FRESH = timedelta(minutes=5)


class StepUpError(AccessDeniedError):
    """The identity was proven too long ago for this."""

    code = "step_up"


def reveal(call: Call) -> Answer:
    """Give an entry with its secret, references unresolved; recorded with the reason."""
    asked, body = call.asked(TeamQuery), call.take(RevealRequest)
    ref, reason = entry_of(call, asked.team), reason_of(body.reason)
    _require_fresh(call, ref, reason)
    policies = call.room.policies
    if body.approval is not None and body.approval not in _approved(call, ref):
        raise ConflictError("this approval is not good for this reveal", hint="see /v1/approvals")
    decision = policies.can(Action.REVEAL, ref)
    if not decision.is_allowed and decision.reason == NEEDS_APPROVAL:
        return Answer(approval_of(policies.approvals.ask(ref, reason=reason)), status=202)
    entry = call.room.entries.reveal(ref, reason=reason)
    return Answer(revealed(entry), headers={"cache-control": "no-store"})


def _approved(call: Call, ref: Ref) -> set[str]:
    """Give the ids of the actor's own approvals that are good for *ref* now."""
    wanted = (call.identity.actor.id, Action.REVEAL.value, ref, "approved")
    found = call.room.policies.approvals.list()
    return {one.id for one in found if (one.actor, one.action, one.ref, one.state) == wanted}


def _require_fresh(call: Call, ref: Ref, reason: str) -> None:
    if _is_fresh(call.identity, datetime.now(timezone.utc)):
        return
    event = event_of(
        call.identity.actor, Action.REVEAL, ref, "denied", reason=f"identity proven too long ago: {reason}"
    )
    call.place.guard.recorder.append(event)
    raise StepUpError(
        "a reveal needs an identity proven within the last five minutes",
        reason="step-up",
        hint="log in again, or use a token whose scope names reveal",
    )


def _is_fresh(identity: Identity, now: datetime) -> bool:
    if identity.how == "token":
        scope = identity.actor.scope
        return scope is not None and Action.REVEAL.value in scope.actions
    return timedelta() <= now - identity.since <= FRESH


ENDPOINTS = (
    Endpoint(
        "POST",
        "/reveal/{kind}/{name:path}",
        reveal,
        "Show an entry with its secret to a person",
        "reveal",
        takes=RevealRequest,
        asks=TeamQuery,
        gives=Revealed,
        errors=(202, 404, 409, 502),
        cost=5.0,
    ),
)
