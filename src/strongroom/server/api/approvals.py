"""`/grants` and `/approvals`: rights for a time, and what needs two people."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from strongroom.policy import Action
from strongroom.policy.grant import Right
from strongroom.server.api.asked import reason_of
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.service.policies import Approval
from strongroom.wire.failure import FieldError
from strongroom.wire.policy import (
    ApprovalRow,
    Approvals,
    Approve,
    GrantRow,
    Grants,
    NewGrant,
    SetSwitch,
    Switches,
)

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.policies import Grant

__all__ = ["ENDPOINTS", "approval_of"]

_MAX_SECONDS = 30 * 86_400


# --- grants ------------------------------------------------------------------------------------------


def grants(call: Call) -> Grants:
    """Give every grant that has not ended; whoever does not administer sees his own."""
    return Grants(grants=[_grant(one) for one in call.room.policies.grants.list()])


def grant(call: Call) -> Answer:
    """Allow somebody something for a time; where two people are needed, ask for it."""
    body = call.take(NewGrant)
    if not 0 < body.seconds <= _MAX_SECONDS:
        raise FieldError("a grant lasts up to 30 days", field="$.seconds")
    right = Right(
        body.actor,
        tuple(Action(action) for action in body.actions),
        tuple(body.kinds),
        tuple(body.names),
        body.team,
    )
    found = call.room.policies.grants.add(
        right, lasting=timedelta(seconds=body.seconds), reason=reason_of(body.reason)
    )
    if isinstance(found, Approval):
        return Answer(approval_of(found), status=202)
    return Answer(_grant(found))


def end(call: Call) -> Answer:
    """End a grant now; in read-only mode too."""
    call.room.policies.grants.revoke(call.params["id"])
    return Answer(status=204)


def _grant(one: Grant) -> GrantRow:
    right = one.right
    return GrantRow(
        id=one.id,
        actor=right.actor,
        actions=[action.value for action in right.actions],
        kinds=list(right.kinds),
        names=list(right.names),
        team=right.team,
        reason=one.reason,
        created_at=one.created_at,
        created_by=one.created_by,
        ends_at=one.ends_at,
    )


# --- two people --------------------------------------------------------------------------------------


def approvals(call: Call) -> Approvals:
    """Give the requests for a second person; whoever does not administer sees his own."""
    return Approvals(approvals=[approval_of(one) for one in call.room.policies.approvals.list()])


def approve(call: Call) -> ApprovalRow:
    """Agree to what somebody else asked for; it is done, or may be done once."""
    body = call.take(Approve)
    return approval_of(call.room.policies.approvals.approve(call.params["id"], seen=body.content_hash))


def reject(call: Call) -> ApprovalRow:
    """Turn a request down, or take one's own back; in read-only mode too."""
    return approval_of(call.room.policies.approvals.reject(call.params["id"]))


def switches(call: Call) -> Switches:
    """Tell for what two people are needed."""
    return Switches(switches=call.room.policies.switches())


def switch(call: Call) -> Answer:
    """Switch on or off that two people are needed; off needs two where they are needed for changes."""
    body = call.take(SetSwitch)
    found = call.room.policies.require_two(call.params["name"], is_on=body.is_on)
    if isinstance(found, Approval):
        return Answer(approval_of(found), status=202)
    return Answer(switches(call))


def approval_of(one: Approval) -> ApprovalRow:
    """Give a request as the wire has it."""
    ref = one.ref
    return ApprovalRow(
        id=one.id,
        action=one.action,
        kind=None if ref is None else ref.kind,
        name=None if ref is None else ref.name,
        team=None if ref is None else ref.team,
        actor=one.actor,
        reason=one.reason,
        state=one.state,
        content=msgspec.json.decode(one.content),
        content_hash=one.content_hash,
        created_at=one.created_at,
        ends_at=one.ends_at,
        decided_by=one.decided_by,
        decided_at=one.decided_at,
    )


ENDPOINTS = (
    Endpoint("GET", "/grants", grants, "List grants", "grants", gives=Grants),
    Endpoint(
        "POST",
        "/grants",
        grant,
        "Allow somebody something for a time",
        "grants",
        takes=NewGrant,
        gives=GrantRow,
        status=201,
        errors=(202, 404, 409),
        is_change=True,
        needs_proof=True,
    ),
    Endpoint("DELETE", "/grants/{id}", end, "End a grant", "grants", status=204, errors=(409,)),
    Endpoint("GET", "/approvals", approvals, "List requests", "approvals", gives=Approvals),
    Endpoint(
        "POST",
        "/approvals/{id}/approve",
        approve,
        "Agree to what somebody else asked for",
        "approvals",
        takes=Approve,
        gives=ApprovalRow,
        errors=(409,),
        is_change=True,
        needs_proof=True,
    ),
    Endpoint(
        "POST",
        "/approvals/{id}/reject",
        reject,
        "Turn a request down",
        "approvals",
        gives=ApprovalRow,
        errors=(409,),
    ),
    Endpoint(
        "GET",
        "/approvals/switches",
        switches,
        "Tell for what two people are needed",
        "approvals",
        gives=Switches,
    ),
    Endpoint(
        "PUT",
        "/approvals/switches/{name}",
        switch,
        "Switch on or off that two people are needed",
        "approvals",
        takes=SetSwitch,
        gives=Switches,
        errors=(202, 409),
        is_change=True,
        needs_proof=True,
    ),
)
