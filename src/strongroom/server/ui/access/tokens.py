"""
`/access/tokens`: what services prove themselves with. One that was issued is shown once, in the answer to the
form that asked for it, and stands in no address, cookie or history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.model.ref import KINDS
from strongroom.policy import Scope
from strongroom.server.endpoint import Endpoint
from strongroom.server.form import Form
from strongroom.server.ui.access.shared import (
    ACTIONS,
    MAX_NAME,
    FormQuery,
    ListQuery,
    Wrong,
    access_page,
    asked,
    known,
    paged,
    role_in,
    span_in,
    wrong,
)
from strongroom.server.ui.frame import Toast, Twin, form_of, redirect
from strongroom.server.ui.texts import say

if TYPE_CHECKING:
    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.access import Issued, TokenRow

__all__ = ["ENDPOINTS"]

_FIELDS = ("name", "role", "team", "expires", "comment", "actions", "kinds", "names", "teams")
_AT = {
    "lasts": "expires",
    "role": "role",
    "comment": "comment",
    "pattern": "names",
    "unknown actions": "actions",
    "unknown kinds": "kinds",
    "team": "teams",
    "scope": "names",
}
_NEVER = "never"
_SPANS = ("24h", "30d", "90d", "365d", _NEVER)


def tokens(call: Call) -> Answer:
    """Show every token, never what it is."""
    return _listed(call)


def token(call: Call) -> Answer:
    """Show one token beside the list."""
    return _listed(call, _find(call, call.params["id"]))


def _find(call: Call, id_: str) -> TokenRow:
    for row in call.room.access.tokens.list():
        if row.id == id_:
            return row
    raise NotFoundError("there is no such token")


def _listed(
    call: Call, opened: TokenRow | None = None, *, issued: Issued | None = None, refused: Wrong | None = None
) -> Answer:
    q = asked(call, "q")
    rows = call.room.access.tokens.list()
    found = [row for row in rows if q.casefold() in row.name or q.casefold() in row.comment.casefold()]
    return access_page(
        call,
        "tokens.html",
        "tokens",
        twin=Twin("strongroom access tokens list", "GET", "/v1/tokens"),
        wrong=refused,
        q=q,
        total=len(rows),
        lines=paged(call, found, "/access/tokens", q=q or None),
        opened=opened,
        issued=issued,
        secret=None if issued is None else issued.token.reveal(),
        ask="revoke" if refused is not None else asked(call, "ask"),
    )


def new(call: Call) -> Answer:
    """Show the form of a new token."""
    call.room.access.tokens.list()
    return _new(call, Form({"name": [asked(call, "name")], "expires": ["90d"]}))


def _new(call: Call, form: Form, refused: Wrong | None = None) -> Answer:
    return access_page(
        call,
        "token_new.html",
        "tokens",
        title="access.tokens.new",
        twin=Twin(
            "strongroom access tokens issue --name ci --role reader --expires 90d", "POST", "/v1/tokens"
        ),
        wrong=refused,
        typed=form,
        known=known(call.room.access.roles.list()),
        actions=[*ACTIONS, "metrics"],
        kinds=KINDS,
        spans=[(span, say(f"access.tokens.span_{span}")) for span in _SPANS],
    )


def issue(call: Call) -> Answer:
    """Issue a token, and show it this once."""
    form = form_of(call, *_FIELDS)
    try:
        expires = form.text("expires", most=MAX_NAME, default="90d")
        role = role_in(form.text("role", most=MAX_NAME), form.text("team", most=MAX_NAME))
        issued = call.room.access.tokens.issue(
            form.text("name", most=MAX_NAME),
            roles=[] if role is None else [role],
            lifetime=None if expires == _NEVER else span_in(expires, field="expires"),
            scope=_scope(form),
            comment=form.text("comment", most=1000),
        )
    except (InvalidInputError, ConflictError) as error:
        return _new(call, form, wrong(error, _AT, "name"))
    return _listed(call, issued.row, issued=issued)


def _scope(form: Form) -> Scope | None:
    names = tuple(line.strip() for line in form.text("names").splitlines() if line.strip())
    teams = tuple(form.text("teams", most=1000).replace(",", " ").split())
    found = Scope(form.all("actions"), form.all("kinds"), names, teams)
    return found if any(found) else None


def revoke(call: Call) -> Answer:
    """Take a token away; the name of its service is typed, as nothing brings it back."""
    form = form_of(call, "typed")
    row = _find(call, call.params["id"])
    if form.text("typed", most=MAX_NAME).strip() != row.name:
        refused = Wrong(say("access.typed_wrong", name=row.name).striptags(), "", "typed", 422)
        return _listed(call, row, refused=refused)
    call.room.access.tokens.revoke(row.id)
    return redirect(call, "/access/tokens", toast=Toast("access.tokens.did_revoke", {"name": row.name}))


ENDPOINTS = (
    Endpoint("GET", "/access/tokens", tokens, "Show tokens", "page", asks=ListQuery),
    Endpoint("GET", "/access/add/token", new, "Show the form of a new token", "page", asks=FormQuery),
    Endpoint(
        "POST",
        "/access/tokens",
        issue,
        "Issue a token",
        "page",
        is_change=True,
        needs_proof=True,
        takes_form=True,
    ),
    Endpoint("GET", "/access/tokens/{id}", token, "Show a token", "page", asks=ListQuery),
    Endpoint("POST", "/access/token/revoke/{id}", revoke, "Take a token away", "page", takes_form=True),
)
