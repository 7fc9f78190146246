"""`/access/break-glass`: being an administrator in need, for a while, and who is one now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.policy import Action
from strongroom.server.endpoint import Endpoint
from strongroom.server.form import Form
from strongroom.server.ui.access.shared import MAX_NAME, Wrong, access_page, span_in, wrong
from strongroom.server.ui.frame import Toast, Twin, form_of, redirect
from strongroom.server.ui.texts import say

if TYPE_CHECKING:
    from datetime import timedelta

    from strongroom.server.endpoint import Answer, Call

__all__ = ["ENDPOINTS"]

_SPANS = ("15m", "30m", "1h", "2h", "4h", "8h", "24h")
_AT = {"reason": "reason", "broken for": "span", "span": "span"}
_MAX_REASON = 2000  # characters; the noun says how many it takes


def glasses(call: Call) -> Answer:
    """Show who broke the glass; whoever does not administer sees himself."""
    return _listed(call, Form({"span": ["30m"]}))


def _listed(call: Call, form: Form, refused: Wrong | None = None) -> Answer:
    guard, actor = call.place.guard, call.identity.actor
    longest = call.place.access.demands.glass
    rows = call.room.access.break_glass.list()
    return access_page(
        call,
        "break_glass.html",
        "break-glass",
        twin=Twin("strongroom access break-glass list", "GET", "/v1/break-glass"),
        wrong=refused,
        rows=rows,
        typed=form,
        spans=[
            (one, say(f"access.break_glass.span_{one}"))
            for one in _SPANS
            if span_in(one, field="span") <= longest
        ],
        may_break=guard.can(actor, Action.BREAK_GLASS, None).is_allowed,
        is_admin=guard.can(actor, Action.ADMINISTER, None).is_allowed,
        is_person=actor.id.startswith("person:"),
        own=next((row for row in rows if row.actor == actor.id), None),
    )


def begin(call: Call) -> Answer:
    """Break the glass."""
    form = form_of(call, "reason", "span")
    try:
        found = call.room.access.break_glass.begin(
            form.text("reason", most=_MAX_REASON), _span(form.text("span", most=MAX_NAME))
        )
    except (InvalidInputError, ConflictError) as error:
        return _listed(call, form, wrong(error, _AT, "reason"))
    return redirect(
        call, "/access/break-glass", toast=Toast("access.break_glass.did_begin", {"actor": found.actor})
    )


def _span(text: str) -> timedelta:
    return span_in(text, field="span")


def end(call: Call) -> Answer:
    """End it before its time: one's own, or as an administrator somebody else's."""
    form_of(call, "")
    actor = call.params["actor"]
    try:
        call.room.access.break_glass.end(actor)
    except NotFoundError as error:
        return _listed(call, Form({"span": ["30m"]}), wrong(error, {}))
    return redirect(call, "/access/break-glass", toast=Toast("access.break_glass.did_end", {"actor": actor}))


ENDPOINTS = (
    Endpoint("GET", "/access/break-glass", glasses, "Show who broke the glass", "page"),
    Endpoint(
        "POST",
        "/access/break-glass",
        begin,
        "Break the glass",
        "page",
        needs_proof=True,
        takes_form=True,
        cost=5.0,
    ),
    Endpoint("POST", "/access/glass/end/{actor}", end, "End a broken glass", "page", takes_form=True),
)
