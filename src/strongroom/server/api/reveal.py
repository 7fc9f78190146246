"""
`/reveal`: the one way for a person to see a stored secret.

Rules of this file:

1. Whoever reveals has lately proven who he is (`server/proof.py`), or comes with a token made for it, whose
   scope names the act (facts AA14). Every refusal is recorded, with what he said his reason was.
2. Where a second person has to agree, the first answer is the request, and an approval is good once
   (`service/entries.py` uses it up before the value leaves).
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError
from strongroom.policy import Action
from strongroom.policy.cedar import NEEDS_APPROVAL
from strongroom.server.api.approvals import approval_of
from strongroom.server.api.asked import entry_of, reason_of
from strongroom.server.api.shape import revealed
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.proof import is_fresh, stale
from strongroom.service.guard import event_of
from strongroom.wire.entry import Revealed, RevealRequest, TeamQuery
from strongroom.wire.failure import StepUpError

if TYPE_CHECKING:
    from strongroom.model.ref import Ref
    from strongroom.server.endpoint import Call
    from strongroom.service.access import Demands, Identity

__all__ = ["ENDPOINTS"]


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
    error = _refusal(call.identity, call.place.access.demands)
    if error is None:
        return
    event = event_of(call.identity.actor, Action.REVEAL, ref, "denied", reason=f"{error.reason}: {reason}")
    call.place.guard.recorder.append(event)
    raise error


def _refusal(identity: Identity, demands: Demands) -> StepUpError | None:
    """Give why *identity* sees nothing now, None where it may as far as this goes."""
    if identity.how in ("session", "basic"):
        return None if is_fresh(identity, demands, datetime.now(timezone.utc)) else stale(demands)
    scope = identity.actor.scope
    if scope is not None and Action.REVEAL.value in scope.actions:
        return None
    return StepUpError(
        "a program reveals with a token that was made for it",
        reason="step-up",
        hint="a person logs in; a program uses a token whose scope names reveal",
    )


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
