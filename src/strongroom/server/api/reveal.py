"""`/reveal`: the one way for a person to see a stored secret; its rules stand in `server/revealing.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.server import revealing
from strongroom.server.api.approvals import approval_of
from strongroom.server.api.asked import entry_of, reason_of
from strongroom.server.api.shape import revealed
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.service.policies import Approval
from strongroom.wire.entry import Revealed, RevealRequest, TeamQuery

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]


def reveal(call: Call) -> Answer:
    """Give an entry with its secret, references unresolved; recorded with the reason."""
    asked, body = call.asked(TeamQuery), call.take(RevealRequest)
    ref, reason = entry_of(call, asked.team), reason_of(body.reason)
    found = revealing.reveal(call, ref, reason=reason, approval=body.approval)
    if isinstance(found, Approval):
        return Answer(approval_of(found), status=202)
    return Answer(revealed(found), headers={"cache-control": "no-store"})


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
