"""
`/agents`: the hosts that ask for their processes, whether they listen, and who is invited.

The code of an invitation is shown once, in the answer to the form that asked for it, and stands in no
address, cookie or history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
    asked,
    known,
    paged,
    role_in,
    wrong,
)
from strongroom.server.ui.frame import Toast, Twin, form_of, page, redirect
from strongroom.server.ui.records import name_of
from strongroom.server.ui.texts import say
from strongroom.server.ui.twins import command_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.access import AgentRow, Invited
    from strongroom.service.changes import Presence

__all__ = ["ENDPOINTS"]

_FIELDS = ("name", "role", "team", "comment", "how", "actions", "kinds", "names", "teams")
_AT = {
    "role": "role",
    "comment": "comment",
    "pattern": "names",
    "unknown actions": "actions",
    "unknown kinds": "kinds",
    "scope": "names",
}
_HOWS = ("code", "certificate")


class Host(NamedTuple):
    """
    One agent as the page shows it.

    Args:
        presence: whether it listens here.
        kind: of the mark.
        said: how it is, in words.
    """

    row: AgentRow
    presence: Presence
    kind: str
    said: str


def agents(call: Call) -> Answer:
    """Show every agent, and who is invited."""
    call.asked(ListQuery)
    return _listed(call)


def agent(call: Call) -> Answer:
    """Show one agent beside the list."""
    call.asked(ListQuery)
    return _listed(call, _find(call, call.params["name"]))


def _find(call: Call, name: str) -> AgentRow:
    for row in call.room.access.agents.list():
        if row.name == name:
            return row
    raise NotFoundError("there is no such agent", hint="it may have been revoked")


def _listed(
    call: Call,
    opened: AgentRow | None = None,
    *,
    invited: Invited | None = None,
    refused: Wrong | None = None,
) -> Answer:
    q = asked(call, "q")
    rows = call.room.access.agents.list()
    found = [row for row in rows if q.casefold() in row.name or q.casefold() in row.comment.casefold()]
    lines = paged(call, found, "/agents", q=q or None)
    shown = [*lines.rows, *([opened] if opened is not None else [])]
    here = call.room.changes.followers([row.actor for row in shown])
    return page(
        call,
        "agents.html",
        nav="agents",
        title="agents.title",
        status=200 if refused is None else refused.status,
        twin=Twin("strongroom access agents list", "GET", "/v1/agents"),
        q=q,
        total=len(rows),
        lines=lines,
        hosts=[_host(row, here) for row in lines.rows],
        opened=None if opened is None else _host(opened, here),
        chains=_chains(call, opened),
        invitations=call.room.access.agents.invitations(),
        invited=invited,
        secret=None if invited is None else invited.code.reveal(),
        command=_enrolment(call),
        wrong=refused,
        name_of=name_of,
        ask="revoke" if refused is not None else asked(call, "ask"),
    )


def _host(row: AgentRow, here: Mapping[str, Presence]) -> Host:
    presence = here[row.actor]
    if presence.is_here:
        return Host(row, presence, "ok", str(say("agents.listens")))
    if row.login_at is None:
        return Host(row, presence, "never", str(say("agents.never_came")))
    return Host(row, presence, "behind", str(say("agents.behind")))


def _chains(call: Call, opened: AgentRow | None) -> tuple[tuple[str, int], ...]:
    """Give the chains of records that the agent delivered, each with how many stand in the log."""
    if opened is None:
        return ()
    heads = call.place.intake.heads()
    return tuple((chain, seq + 1) for (actor, chain), seq in heads.items() if actor == opened.actor)


def _enrolment(call: Call) -> str:
    scheme = "https" if call.is_secure else "http"
    place = {} if call.deployment == call.house.first else {"server-deployment": call.deployment}
    address = f"{scheme}://{call.headers.get('host', 'localhost')}"
    return command_of("agent enrol", {"url": address, **place})


# --- inviting ------------------------------------------------------------------------------------


def new(call: Call) -> Answer:
    """Show the form of an invitation."""
    call.asked(FormQuery)
    call.room.access.agents.list()
    return _new(call, Form({"name": [asked(call, "name")], "how": ["code"]}))


def _new(call: Call, form: Form, refused: Wrong | None = None) -> Answer:
    return page(
        call,
        "agent_new.html",
        nav="agents",
        title="agents.invite",
        status=200 if refused is None else refused.status,
        twin=Twin("strongroom access agents invite host-1 --role reader", "POST", "/v1/agents/invite"),
        wrong=refused,
        typed=form,
        hows=_HOWS,
        known=known(call.room.access.roles.list()),
        actions=ACTIONS,
        kinds=KINDS,
    )


def invite(call: Call) -> Answer:
    """Invite an agent, and show the code this once; or admit one that has a certificate."""
    form = form_of(call, *_FIELDS)
    desk = call.room.access.agents
    try:
        role = role_in(form.text("role", most=MAX_NAME), form.text("team", most=MAX_NAME))
        roles, scope = [] if role is None else [role], _scope(form)
        name, comment = form.text("name", most=MAX_NAME), form.text("comment", most=1000)
        if form.text("how", most=MAX_NAME) == "certificate":
            desk.admit(name, roles=roles, scope=scope, comment=comment)
            return redirect(call, "/agents", toast=Toast("agents.admitted", {"name": name.strip()}))
        invited = desk.invite(name, roles=roles, scope=scope, comment=comment)
    except (InvalidInputError, ConflictError) as error:
        return _new(call, form, wrong(error, _AT, "name"))
    return _listed(call, invited=invited)


def _scope(form: Form) -> Scope | None:
    names = tuple(line.strip() for line in form.text("names").splitlines() if line.strip())
    teams = tuple(form.text("teams", most=1000).replace(",", " ").split())
    found = Scope(form.all("actions"), form.all("kinds"), names, teams)
    return found if any(found) else None


# --- revoking ------------------------------------------------------------------------------------


def revoke(call: Call) -> Answer:
    """Take an agent away; its name is typed, as nothing brings it back."""
    form = form_of(call, "typed")
    row = _find(call, call.params["name"])
    if form.text("typed", most=MAX_NAME).strip() != row.name:
        refused = Wrong(str(say("agents.typed_wrong", name=row.name).striptags()), "", "typed", 422)
        return _listed(call, row, refused=refused)
    call.room.access.agents.revoke(row.name)
    return redirect(call, "/agents", toast=Toast("agents.revoked", {"name": row.name}))


def withdraw(call: Call) -> Answer:
    """Take an invitation back."""
    form_of(call, "")
    name = call.params["name"]
    if any(row.name == name for row in call.room.access.agents.list()):
        raise ConflictError("the agent came meanwhile", hint="revoke it, if it should not have")
    call.room.access.agents.revoke(name)
    return redirect(call, "/agents", toast=Toast("agents.withdrawn", {"name": name}))


ENDPOINTS = (
    Endpoint("GET", "/agents", agents, "Show agents", "page", asks=ListQuery),
    Endpoint("GET", "/agents/{name}", agent, "Show an agent", "page", asks=ListQuery),
    Endpoint("GET", "/agent/invite", new, "Ask whom to invite", "page", asks=FormQuery),
    Endpoint(
        "POST",
        "/agent/invite",
        invite,
        "Invite an agent",
        "page",
        takes_form=True,
        is_change=True,
        needs_proof=True,
    ),
    Endpoint("POST", "/agent/revoke/{name}", revoke, "Take an agent away", "page", takes_form=True),
    Endpoint("POST", "/agent/withdraw/{name}", withdraw, "Take an invitation back", "page", takes_form=True),
)
