"""
`/access/policies`: what is allowed, an editor that says what is wrong while one types, and what would turn.

Rules of this file:

1. Checking and trying change nothing, so they ask for no fresh proof.
2. A policy is written over the version that was looked at. Where another stands by now, both are shown, and
   what was typed is still there.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.server.endpoint import Endpoint
from strongroom.server.form import Form
from strongroom.server.ui.access.shared import (
    MAX_NAME,
    MAX_TEXT,
    FormQuery,
    ListQuery,
    Wrong,
    access_page,
    asked,
    paged,
    wrong,
)
from strongroom.server.ui.frame import Toast, Twin, form_of, redirect
from strongroom.server.ui.texts import say
from strongroom.service.policies import Approval, Draft

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.policies import Document, Simulation

__all__ = ["ENDPOINTS", "Difference", "differences"]

_MAX_POLICY = 65_536  # characters
_FLIPS = 50
_FIELDS = ("id", "text", "description", "comment", "is_enabled", "version", "is_new")
_AT = {"description": "description", "reason": "comment", "id": "id", "the policy": "text"}
_AROUND = 3  # lines that are the same, around what differs


class Difference(NamedTuple):
    """
    One line of two texts.

    Args:
        mark: "+" for what is new, "-" for what goes, " " for both, "…" for lines left out.
    """

    mark: str
    text: str


class Stale(NamedTuple):
    """
    What stands by now, where somebody else wrote meanwhile.

    Args:
        document: None where it was deleted.
        lines: from it to what was typed.
    """

    document: Document | None
    lines: Sequence[Difference]


def differences(before: str, after: str) -> list[Difference]:
    """Give what differs between two texts line by line, with a few lines around it."""
    one, other = before.rstrip("\n").split("\n"), after.rstrip("\n").split("\n")
    return list(_lines(one, other))


def _lines(one: list[str], other: list[str]) -> Iterator[Difference]:
    groups = difflib.SequenceMatcher(None, one, other, autojunk=False).get_grouped_opcodes(_AROUND)
    for number, group in enumerate(groups):
        if number:
            yield Difference("…", "")
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (Difference(" ", line) for line in one[i1:i2])
                continue
            yield from (Difference("-", line) for line in one[i1:i2])
            yield from (Difference("+", line) for line in other[j1:j2])


# --- looking -----------------------------------------------------------------------------------------


def policies(call: Call) -> Answer:
    """Show every policy, those that come with the product first."""
    noun, q = call.room.policies, asked(call, "q").casefold()
    rows = noun.list()
    found = [
        row for row in rows if q in row.id or q in row.description.casefold() or q in row.text.casefold()
    ]
    return access_page(
        call,
        "policies.html",
        "policies",
        twin=Twin("strongroom access policies list", "GET", "/v1/policies"),
        q=q,
        total=len(rows),
        lines=paged(call, found, "/access/policies", q=q or None),
        revision=noun.revision,
    )


def policy(call: Call) -> Answer:
    """Show one policy in the editor."""
    found = call.room.policies.show(call.params["id"])
    return _editor(call, _typed(found), found)


def new(call: Call) -> Answer:
    """Show the editor with a beginning to write on; `?copied=` copies another's text."""
    copied = asked(call, "copied")
    text = say("access.policies.template").unescape() + "\n"
    if copied:
        text = call.room.policies.show(copied).text
    form = Form({"text": [text], "is_enabled": ["yes"], "is_new": ["yes"]})
    return _editor(call, form, None)


def _typed(found: Document) -> Form:
    fields = {
        "id": [found.id],
        "text": [found.text],
        "description": [found.description],
        "version": [found.version],
    }
    return Form({**fields, **({"is_enabled": ["yes"]} if found.is_enabled else {})})


def _editor(  # noqa: PLR0913 -- what an editor may have to say
    call: Call,
    form: Form,
    document: Document | None,
    *,
    refused: Wrong | None = None,
    stale: Stale | None = None,
    simulated: Simulation | None = None,
    block: str | None = None,
    is_checked: bool = False,
) -> Answer:
    text = form.text("text", most=_MAX_POLICY * 2)
    remarks = call.room.policies.validate(Draft(text, form.text("id", most=MAX_NAME).strip() or None))
    id_ = None if document is None else document.id
    twin = Twin("strongroom access policies add --file data-team.cedar", "POST", "/v1/policies")
    if id_ is not None:
        twin = Twin(f"strongroom access policies show {id_}", "GET", f"/v1/policies/{id_}")
    return access_page(
        call,
        "policy.html",
        "policies",
        title="access.policies.new" if document is None else "access.policies.one",
        twin=twin,
        block=block,
        wrong=refused,
        typed=form,
        document=document,
        remarks=remarks,
        has_errors=any(one.severity == "error" for one in remarks),
        is_checked=is_checked,
        lines_of=text.count("\n") + 1,
        stale=stale,
        simulated=simulated,
        needs_two=call.room.policies.switches()["two-person-changes"],
    )


# --- trying ------------------------------------------------------------------------------------------


def check(call: Call) -> Answer:
    """Say what is wrong with what is typed, or doubtful; nothing is changed."""
    form = form_of(call, *_FIELDS)
    return _editor(call, form, _standing(call, form), block="remarks", is_checked=True)


def simulate(call: Call) -> Answer:
    """Tell which decisions what is typed would turn; nothing is changed."""
    form = form_of(call, *_FIELDS)
    document = _standing(call, form)
    try:
        found = call.room.policies.simulate([_draft(form)], limit=_FLIPS)
    except (InvalidInputError, ConflictError) as error:
        return _editor(call, form, document, refused=wrong(error, _AT, "text"), block="simulated")
    return _editor(call, form, document, simulated=found, block="simulated")


def _standing(call: Call, form: Form) -> Document | None:
    """Give the policy that is edited; None for a new one, or one that is gone."""
    if form.flag("is_new"):
        return None
    try:
        return call.room.policies.show(form.text("id", most=MAX_NAME).strip())
    except NotFoundError:
        return None


def _draft(form: Form) -> Draft:
    text = form.text("text", most=_MAX_POLICY * 2)
    if len(text) > _MAX_POLICY:
        raise InvalidInputError(f"a policy has at most {_MAX_POLICY} characters", limit=_MAX_POLICY)
    return Draft(
        text=text,
        id=form.text("id", most=MAX_NAME).strip() or None,
        description=form.text("description", most=MAX_TEXT).strip(),
        is_enabled=form.flag("is_enabled"),
        comment=form.text("comment", most=MAX_TEXT).strip(),
    )


# --- changing ----------------------------------------------------------------------------------------


def save(call: Call) -> Answer:
    """Write a policy, new or over the version that was looked at; where two people are needed, ask for it."""
    form, noun = form_of(call, *_FIELDS), call.room.policies
    expected = "" if form.flag("is_new") else form.text("version", most=MAX_NAME)
    document = _standing(call, form)
    try:
        found = noun.put(_draft(form), expected=expected)
    except ConflictError as error:
        if error.current_version is None and (document is not None or form.flag("is_new")):
            return _editor(call, form, document, refused=wrong(error, _AT, ""))
        return _stale(call, form, document)
    except InvalidInputError as error:
        return _editor(call, form, document, refused=wrong(error, _AT, "text"))
    return _done(call, found, "access.policies.did_save")


def _stale(call: Call, form: Form, document: Document | None) -> Answer:
    """Show both: what was typed, and what somebody else wrote meanwhile."""
    if document is None:
        document = next((one for one in call.room.policies.list() if one.id == form.text("id").strip()), None)
    lines = differences("" if document is None else document.text, form.text("text"))
    fields = {name: list(form.all(name)) for name in form.names if name not in ("version", "is_new")}
    version = {"is_new": ["yes"]} if document is None else {"version": [document.version]}
    refused = Wrong(say("access.policies.stale").striptags(), "", "", 409)
    return _editor(call, Form({**fields, **version}), document, refused=refused, stale=Stale(document, lines))


def switch(call: Call) -> Answer:
    """Put a policy in force, or take it out of force and keep its text."""
    form_of(call, "version")
    id_, is_on = call.params["id"], call.params["act"] == "enable"
    if call.params["act"] not in ("enable", "disable"):
        raise NotFoundError("there is no such act")
    try:
        found = call.room.policies.set_enabled(id_, is_enabled=is_on)
    except ConflictError as error:
        document = call.room.policies.show(id_)
        return _editor(call, _typed(document), document, refused=wrong(error, {}))
    undo = f"/access/policy/{'disable' if is_on else 'enable'}/{id_}"
    return _done(call, found, f"access.policies.did_{call.params['act']}", undo)


def delete(call: Call) -> Answer:
    """Delete a policy; its id is typed, as its text goes with it."""
    form, id_ = form_of(call, "typed", "version"), call.params["id"]
    document = call.room.policies.show(id_)
    if form.text("typed", most=MAX_NAME).strip() != id_:
        refused = Wrong(say("access.typed_wrong", name=id_).striptags(), "", "typed", 422)
        return _editor(call, _typed(document), document, refused=refused)
    try:
        found = call.room.policies.delete(id_, expected=form.text("version", most=MAX_NAME) or None)
    except ConflictError as error:
        return _editor(call, _typed(document), document, refused=wrong(error, {}))
    if isinstance(found, Approval):
        return _asked_for(call, found)
    return redirect(call, "/access/policies", toast=Toast("access.policies.did_delete", {"id": id_}))


def _done(call: Call, found: Document | Approval, text: str, undo: str = "") -> Answer:
    if isinstance(found, Approval):
        return _asked_for(call, found)
    return redirect(call, f"/access/policies/{found.id}", toast=Toast(text, {"id": found.id}, undo))


def _asked_for(call: Call, found: Approval) -> Answer:
    return redirect(call, f"/access/approvals/{found.id}", toast=Toast("access.asked_for"))


ENDPOINTS = (
    Endpoint("GET", "/access/policies", policies, "Show policies", "page", asks=ListQuery),
    Endpoint("GET", "/access/add/policy", new, "Show the editor of a new policy", "page", asks=FormQuery),
    Endpoint(
        "POST",
        "/access/policies",
        save,
        "Write a policy",
        "page",
        is_change=True,
        needs_proof=True,
        takes_form=True,
    ),
    Endpoint(
        "POST", "/access/check", check, "Say what is wrong with a policy", "page", takes_form=True, cost=2.0
    ),
    Endpoint(
        "POST",
        "/access/simulate",
        simulate,
        "Tell what a policy would turn",
        "page",
        takes_form=True,
        cost=10.0,
    ),
    Endpoint("GET", "/access/policies/{id}", policy, "Show a policy", "page", asks=ListQuery),
    Endpoint(
        "POST",
        "/access/policy/delete/{id}",
        delete,
        "Delete a policy",
        "page",
        is_change=True,
        needs_proof=True,
        takes_form=True,
    ),
    Endpoint(
        "POST",
        "/access/policy/{act}/{id}",
        switch,
        "Put a policy in force or not",
        "page",
        is_change=True,
        needs_proof=True,
        takes_form=True,
    ),
)
