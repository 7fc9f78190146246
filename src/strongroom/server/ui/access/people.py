"""`/access/people`: who may sign in, one of them beside the list, and what is done about one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.model.principal import canonical
from strongroom.model.secret import Secret
from strongroom.server.endpoint import Endpoint
from strongroom.server.form import Form
from strongroom.server.proof import require_proof
from strongroom.server.ui.access.shared import (
    MAX_NAME,
    ListQuery,
    Wrong,
    access_page,
    asked,
    known,
    paged,
    role_in,
    wrong,
)
from strongroom.server.ui.frame import Toast, Twin, form_of, redirect
from strongroom.server.ui.texts import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.access import People, PersonRow

__all__ = ["ENDPOINTS"]

_STATES = ("open", "locked", "disabled", "wayless")
_MAX_PASSWORD = 1024


class Act(NamedTuple):
    """
    What may be done about a person.

    Args:
        work: of the noun.
        undo: the act that takes it back, "" for none.
        needs_proof: it gives somebody something.
        is_final: the name is typed to go on.
    """

    work: Callable[[People, str], object]
    undo: str = ""
    needs_proof: bool = False
    is_final: bool = False


_ACTS = {
    "disable": Act(lambda people, name: people.disable(name), undo="enable"),
    "enable": Act(lambda people, name: people.enable(name), undo="disable", needs_proof=True),
    "unlock": Act(lambda people, name: people.unlock(name)),
    "unlink": Act(lambda people, name: people.unlink(name), needs_proof=True, is_final=True),
    "delete": Act(lambda people, name: people.delete(name), is_final=True),
}


def people(call: Call) -> Answer:
    """Show everybody, with a search."""
    return _listed(call)


def person(call: Call) -> Answer:
    """Show one person beside the list."""
    return _listed(call, call.room.access.people.find(call.params["name"]))


def _listed(
    call: Call,
    opened: PersonRow | None = None,
    *,
    refused: Wrong | None = None,
    form: Form | None = None,
    ask: str = "",
) -> Answer:
    q, state = asked(call, "q"), asked(call, "state")
    state = state if state in _STATES else ""
    rows = call.room.access.people.list()
    found = [row for row in rows if q.casefold() in row.name and state in ("", state_of(row))]
    held = [] if opened is None else call.room.access.roles.list()
    path = "/access/people" if opened is None else f"/access/people/{opened.name}"
    twin = Twin("strongroom access people list", "GET", "/v1/actors")
    if opened is not None:
        twin = Twin(f"strongroom access what {opened.actor}", "GET", f"/v1/actors/{opened.actor}")
    return access_page(
        call,
        "people.html",
        "people",
        twin=twin,
        wrong=refused,
        q=q,
        state=state,
        state_of=state_of,
        states=[(name, sum(state_of(row) == name for row in rows)) for name in _STATES],
        total=len(rows),
        lines=paged(call, found, path, q=q or None, state=state or None),
        opened=opened,
        memberships=[row for row in held if opened is not None and row.actor == opened.actor],
        is_self=opened is not None and opened.actor == call.identity.actor.id,
        known=known(held),
        typed=form or Form(),
        ask=ask or asked(call, "ask"),
    )


def state_of(row: PersonRow) -> str:
    """Give the worst that is true of a person."""
    if row.is_disabled:
        return "disabled"
    if row.is_locked:
        return "locked"
    return "open" if row.has_password or row.is_linked else "wayless"


# --- a new one ---------------------------------------------------------------------------------------


def new(call: Call) -> Answer:
    """Show the form of a new person."""
    return _new(call, Form())


def _new(call: Call, form: Form, refused: Wrong | None = None) -> Answer:
    call.room.access.people.list()  # whoever may not add one is told before he types
    return access_page(
        call,
        "person_new.html",
        "people",
        title="access.people.new",
        twin=Twin("strongroom access people add anna --role op", "POST", "/v1/actors"),
        wrong=refused,
        typed=form,
        known=known(call.room.access.roles.list()),
    )


def add(call: Call) -> Answer:
    """Add a person; without a password he signs in by link or by the identity provider."""
    form = form_of(call, "name", "password", "role", "team")
    try:
        name = canonical(form.text("name", most=MAX_NAME))
        password = form.text("password", most=_MAX_PASSWORD)
        role = role_in(form.text("role", most=MAX_NAME), form.text("team", most=MAX_NAME))
        call.room.access.people.add(
            name, Secret(password) if password else None, roles=[] if role is None else [role]
        )
    except (InvalidInputError, ConflictError) as error:
        at = {"password": "password", "role": "role", "team": "team"}
        return _new(call, form.without("password"), wrong(error, at, "name"))
    return redirect(call, f"/access/people/{name}", toast=Toast("access.people.added", {"name": name}))


# --- what is done about one ---------------------------------------------------------------------------


def act(call: Call) -> Answer:
    """Do one thing to one person; what cannot be taken back takes his name, typed."""
    name, word, form = call.params["name"], call.params["act"], form_of(call, "typed")
    found = _ACTS.get(word)
    if found is None:
        raise NotFoundError("there is no such act")
    if found.needs_proof:
        require_proof(call)
    row = call.room.access.people.find(name)
    if found.is_final and form.text("typed", most=MAX_NAME).strip() != row.name:
        refused = Wrong(say("access.typed_wrong", name=row.name).striptags(), "", "typed", 422)
        return _listed(call, row, refused=refused, ask=word)
    found.work(call.room.access.people, row.name)
    undo = f"/access/person/{found.undo}/{row.name}" if found.undo else ""
    there = "/access/people" if word == "delete" else f"/access/people/{row.name}"
    return redirect(call, there, toast=Toast(f"access.people.did_{word}", {"name": row.name}, undo))


def set_password(call: Call) -> Answer:
    """Set somebody's password; all his sessions end. His own takes the old one."""
    form = form_of(call, "password", "old_password")
    row = call.room.access.people.find(call.params["name"])
    try:
        password = Secret(form.text("password", most=_MAX_PASSWORD))
        if row.actor == call.identity.actor.id:
            old = Secret(form.text("old_password", most=_MAX_PASSWORD))
            call.place.access.change_password(call.identity, old, password)
        else:
            require_proof(call)
            call.room.access.people.set_password(row.name, password)
    except InvalidInputError as error:
        return _listed(call, row, refused=wrong(error, {"old": "old_password"}, "password"), ask="password")
    return redirect(
        call, f"/access/people/{row.name}", toast=Toast("access.people.did_password", {"name": row.name})
    )


_ONE = "/access/people/{name}"
ENDPOINTS = (
    Endpoint("GET", "/access/people", people, "Show people", "page", asks=ListQuery),
    Endpoint("GET", "/access/add/person", new, "Show the form of a new person", "page"),
    Endpoint(
        "POST",
        "/access/people",
        add,
        "Add a person",
        "page",
        is_change=True,
        needs_proof=True,
        takes_form=True,
        cost=5.0,
    ),
    Endpoint("GET", _ONE, person, "Show a person", "page", asks=ListQuery),
    Endpoint(
        "POST", "/access/person/{act}/{name}", act, "Do something about a person", "page", takes_form=True
    ),
    Endpoint(
        "POST", "/access/password/{name}", set_password, "Set a password", "page", takes_form=True, cost=5.0
    ),
)
