"""`/access/grants`: rights for a time, giving one and ending it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.model.ref import KINDS
from strongroom.policy import Action
from strongroom.policy.grant import Right
from strongroom.server.endpoint import Endpoint
from strongroom.server.form import Form
from strongroom.server.ui.access.shared import (
    ACTIONS,
    MAX_NAME,
    MAX_TEXT,
    FormQuery,
    Wrong,
    access_page,
    asked,
    known,
    paged,
    span_in,
    wrong,
)
from strongroom.server.ui.frame import Toast, Twin, form_of, redirect
from strongroom.server.ui.texts import say
from strongroom.service.policies import Approval
from strongroom.wire.failure import FieldError

if TYPE_CHECKING:
    from strongroom.server.endpoint import Answer, Call

__all__ = ["ENDPOINTS"]

_FIELDS = ("actor", "actions", "kinds", "names", "team", "span", "reason")
_AT = {
    "actor": "actor",
    "nobody is known": "actor",
    "action": "actions",
    "pattern": "names",
    "name": "names",
    "team": "team",
    "lasts": "span",
    "reason": "reason",
}
_GRANTABLE = tuple(one for one in ACTIONS if one not in ("administer", "break_glass"))


def grants(call: Call) -> Answer:
    """Show every grant that has not ended; whoever does not administer sees his own."""
    actor = asked(call, "actor")
    return _listed(call, Form({"actor": [actor], "span": ["2h"], "actions": ["read"]}))


def _listed(call: Call, form: Form, refused: Wrong | None = None) -> Answer:
    q = asked(call, "q").casefold()
    rows = call.room.policies.grants.list()
    found = [row for row in rows if q in row.right.actor or q in row.reason.casefold()]
    is_admin = call.place.guard.can(call.identity.actor, Action.ADMINISTER, None).is_allowed
    return access_page(
        call,
        "grants.html",
        "grants",
        twin=Twin("strongroom access grants list", "GET", "/v1/grants"),
        wrong=refused,
        q=q,
        total=len(rows),
        lines=paged(call, found, "/access/grants", q=q or None),
        typed=form,
        actions=_GRANTABLE,
        kinds=KINDS,
        spans=[(span, say(f"access.grants.span_{span}")) for span in ("30m", "2h", "8h", "1d", "7d", "30d")],
        is_admin=is_admin,
        known=known(call.room.access.roles.list() if is_admin else ()),
    )


def add(call: Call) -> Answer:
    """Allow somebody something for a time; where two people are needed, ask for it."""
    form = form_of(call, *_FIELDS)
    try:
        found = call.room.policies.grants.add(
            _right(form),
            lasting=span_in(form.text("span", most=MAX_NAME), field="span"),
            reason=form.text("reason", most=MAX_TEXT * 2),
        )
    except (InvalidInputError, ConflictError, NotFoundError) as error:
        return _listed(call, form, wrong(error, _AT, "actor"))
    if isinstance(found, Approval):
        return redirect(call, f"/access/approvals/{found.id}", toast=Toast("access.asked_for"))
    undo = f"/access/grant/end/{found.id}"
    return redirect(
        call, "/access/grants", toast=Toast("access.grants.did_add", {"actor": found.right.actor}, undo)
    )


def _right(form: Form) -> Right:
    unknown = set(form.all("actions")) - set(_GRANTABLE)
    if unknown or not form.all("actions"):
        raise FieldError("a grant names one action or more", field="actions")
    if set(form.all("kinds")) - set(KINDS):
        raise FieldError("there is no such kind", field="kinds")
    return Right(
        form.text("actor", most=MAX_NAME).strip(),
        tuple(Action(word) for word in form.all("actions")),
        tuple(kind for kind in KINDS if kind in form.all("kinds")),
        tuple(line.strip() for line in form.text("names", most=10_000).splitlines() if line.strip()),
        form.text("team", most=MAX_NAME).strip() or None,
    )


def end(call: Call) -> Answer:
    """End a grant now; one's own, or as an administrator any."""
    form_of(call, "")
    found = call.room.policies.grants.revoke(call.params["id"])
    return redirect(
        call, "/access/grants", toast=Toast("access.grants.did_end", {"actor": found.right.actor})
    )


ENDPOINTS = (
    Endpoint("GET", "/access/grants", grants, "Show grants", "page", asks=FormQuery),
    Endpoint(
        "POST",
        "/access/grants",
        add,
        "Allow somebody something for a time",
        "page",
        is_change=True,
        needs_proof=True,
        takes_form=True,
    ),
    Endpoint("POST", "/access/grant/end/{id}", end, "End a grant", "page", takes_form=True),
)
