"""`/access/approvals`: what waits for a second person, with all of what would be done, and what takes two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.errors import ConflictError, NotFoundError
from strongroom.policy import Action
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.access.policies import Difference, differences
from strongroom.server.ui.access.shared import MAX_NAME, ListQuery, Wrong, access_page, asked, paged, wrong
from strongroom.server.ui.frame import Toast, Twin, form_of, redirect
from strongroom.service.policies import Approval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.server.endpoint import Answer, Call

__all__ = ["ENDPOINTS"]

_SWITCHES = {"reveal": "two-person-reveal", "changes": "two-person-changes"}


def approvals(call: Call) -> Answer:
    """Show the requests; whoever does not administer sees his own."""
    return _listed(call)


def approval(call: Call) -> Answer:
    """Show one request with all of what would be done."""
    return _listed(call, _find(call, call.params["id"]))


def _find(call: Call, id_: str) -> Approval:
    for one in call.room.policies.approvals.list():
        if one.id == id_:
            return one
    raise NotFoundError("there is no such request")


def _listed(call: Call, opened: Approval | None = None, refused: Wrong | None = None) -> Answer:
    rows = call.room.policies.approvals.list()
    view = asked(call, "view") or "waiting"
    waiting = [row for row in rows if row.state == "pending"]
    is_admin = _is_admin(call)
    twin = Twin("strongroom access approvals list", "GET", "/v1/approvals")
    if opened is not None:
        twin = Twin(f"strongroom access approvals show {opened.id}", "GET", "/v1/approvals")
    return access_page(
        call,
        "approvals.html",
        "approvals",
        twin=twin,
        wrong=refused,
        view=view,
        waiting=len(waiting),
        total=len(rows),
        lines=paged(call, rows if view == "all" else waiting, "/access/approvals", view=view),
        opened=opened,
        content={} if opened is None else msgspec.json.decode(opened.content),
        changes=[] if opened is None else _changes(call, opened, is_admin=is_admin),
        subject=_subject,
        is_own=opened is not None and opened.actor == call.identity.actor.id,
        is_admin=is_admin,
        switches=call.room.policies.switches() if is_admin else {},
    )


def _subject(one: Approval) -> str:
    """Give what a request is about, in a word: an entry, a policy, somebody, a switch."""
    if one.ref is not None:
        return one.ref.name
    content: dict[str, Any] = msgspec.json.decode(one.content)
    return str(next((content[name] for name in ("id", "actor", "name") if content.get(name)), ""))


def _is_admin(call: Call) -> bool:
    return call.place.guard.can(call.identity.actor, Action.ADMINISTER, None).is_allowed


def _changes(call: Call, one: Approval, *, is_admin: bool) -> Sequence[Difference]:
    """Give what the text of a policy would become, line by line."""
    content: dict[str, Any] = msgspec.json.decode(one.content)
    if one.action not in ("policy.put", "policy.delete") or not is_admin:
        return []
    standing = next((found for found in call.room.policies.list() if found.id == content.get("id")), None)
    before = "" if standing is None else standing.text
    return differences(before, str(content.get("text", "")))


def approve(call: Call) -> Answer:
    """Agree to what was looked at, and to nothing that came in its place."""
    form, id_ = form_of(call, "seen"), call.params["id"]
    try:
        found = call.room.policies.approvals.approve(id_, seen=form.text("seen", most=MAX_NAME))
    except ConflictError as error:
        return _listed(call, _find(call, id_), wrong(error, {}))
    return redirect(
        call, f"/access/approvals/{id_}", toast=Toast("access.approvals.did_approve", {"actor": found.actor})
    )


def reject(call: Call) -> Answer:
    """Turn a request down, or take one's own back."""
    form_of(call, "seen")
    id_ = call.params["id"]
    try:
        found = call.room.policies.approvals.reject(id_)
    except ConflictError as error:
        return _listed(call, _find(call, id_), wrong(error, {}))
    word = "did_take_back" if found.actor == call.identity.actor.id else "did_reject"
    return redirect(
        call, "/access/approvals", toast=Toast(f"access.approvals.{word}", {"actor": found.actor})
    )


def switch(call: Call) -> Answer:
    """Switch on or off that two people are needed; off may need two itself."""
    form, name = form_of(call, "is_on"), call.params["name"]
    if name not in _SWITCHES:
        raise NotFoundError("there is no such switch")
    is_on = form.flag("is_on")
    try:
        found = call.room.policies.require_two(_SWITCHES[name], is_on=is_on)
    except ConflictError as error:
        return _listed(call, refused=wrong(error, {}))
    if isinstance(found, Approval):
        return redirect(call, f"/access/approvals/{found.id}", toast=Toast("access.asked_for"))
    return redirect(
        call, "/access/approvals", toast=Toast(f"access.approvals.{name}_{'on' if is_on else 'off'}_done")
    )


ENDPOINTS = (
    Endpoint(
        "GET", "/access/approvals", approvals, "Show requests for a second person", "page", asks=ListQuery
    ),
    Endpoint("GET", "/access/approvals/{id}", approval, "Show a request", "page", asks=ListQuery),
    Endpoint(
        "POST",
        "/access/approval/approve/{id}",
        approve,
        "Agree to a request",
        "page",
        is_change=True,
        needs_proof=True,
        takes_form=True,
    ),
    Endpoint("POST", "/access/approval/reject/{id}", reject, "Turn a request down", "page", takes_form=True),
    Endpoint(
        "POST",
        "/access/require/{name}",
        switch,
        "Switch on or off that two people are needed",
        "page",
        is_change=True,
        needs_proof=True,
        takes_form=True,
    ),
)
