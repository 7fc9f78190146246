"""
The one way for a person to see a stored secret, whichever face he asks: the API and the page.

Rules of this file:

1. Whoever reveals has lately proven who he is (`proof.py`), or comes with a token made for it, whose scope
   names the act (facts AA14). Every refusal is recorded, with what he said his reason was.
2. Where a second person has to agree, the first answer is the request, and an approval is good once
   (`service/entries.py` uses it up before the value leaves).
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError
from strongroom.policy import Action
from strongroom.policy.cedar import NEEDS_APPROVAL
from strongroom.server.proof import is_fresh, stale
from strongroom.service.guard import event_of
from strongroom.wire.failure import StepUpError

if TYPE_CHECKING:
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref
    from strongroom.server.endpoint import Call
    from strongroom.service.access import Demands, Identity
    from strongroom.service.policies import Approval

__all__ = ["reveal"]


def reveal(call: Call, ref: Ref, *, reason: str, approval: str | None = None) -> Entry | Approval:
    """
    Give what stands under *ref* with its secret, or the request for a second person to agree.

    Args:
        call: who asks.
        ref: what for.
        reason: why, as it is recorded.
        approval: id of the one that is to be used up; unsaid, whichever there is.

    Raises:
        StepUpError: who asks did not prove lately who he is.
        ConflictError: the approval is not good for this.
        As `Entries.reveal` and `Approvals.ask`.
    """
    _require_fresh(call, ref, reason)
    policies = call.room.policies
    if approval is not None and approval not in _approved(call, ref):
        raise ConflictError("this approval is not good for this reveal", hint="see /v1/approvals")
    decision = policies.can(Action.REVEAL, ref)
    if not decision.is_allowed and decision.reason == NEEDS_APPROVAL:
        return policies.approvals.ask(ref, reason=reason)
    return call.room.entries.reveal(ref, reason=reason)


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
