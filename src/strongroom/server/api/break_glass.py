"""`/break-glass`: an administrator's role in need, for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.server.api.sessions import glass_row
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.wire.access import Glasses, GlassRequest, GlassRow
from strongroom.wire.failure import FieldError

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]

_MAX_SECONDS = 86_400  # what is longer than the settings say is refused by the service


def glasses(call: Call) -> Glasses:
    """Give who broke the glass and is an administrator now; whoever does not administer sees himself."""
    rows = call.room.access.break_glass.list()
    return Glasses(break_glass=[glass_row(row.actor, row) for row in rows])


def begin(call: Call) -> GlassRow:
    """Break the glass: be an administrator for a while."""
    body = call.take(GlassRequest)
    if not 0 < body.seconds <= _MAX_SECONDS:
        raise FieldError("the glass is broken for seconds up to a day", field="$.seconds")
    row = call.room.access.break_glass.begin(body.reason, timedelta(seconds=body.seconds))
    return glass_row(row.actor, row)


def end(call: Call) -> Answer:
    """End it before its time: one's own, or as an administrator somebody else's."""
    call.room.access.break_glass.end(call.params["actor"])
    return Answer(status=204)


ENDPOINTS = (
    Endpoint("GET", "/break-glass", glasses, "List who broke the glass", "access", gives=Glasses),
    Endpoint(
        "POST",
        "/break-glass",
        begin,
        "Break the glass",
        "access",
        takes=GlassRequest,
        gives=GlassRow,
        status=201,
        errors=(409,),
        needs_proof=True,
        cost=5.0,
    ),
    Endpoint(
        "DELETE",
        "/break-glass/{actor}",
        end,
        "End a broken glass before its time",
        "access",
        status=204,
        errors=(404,),
    ),
)
