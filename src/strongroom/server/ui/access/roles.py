"""`/access/roles`: who has which role, giving one and taking it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.server.endpoint import Endpoint
from strongroom.server.form import Form
from strongroom.server.ui.access.shared import (
    MAX_NAME,
    FormQuery,
    Paged,
    Wrong,
    access_page,
    asked,
    known,
    paged,
    wrong,
)
from strongroom.server.ui.frame import Toast, Twin, form_of, redirect

if TYPE_CHECKING:
    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.access import MembershipRow

__all__ = ["ENDPOINTS"]

_FIELDS = ("role", "actor", "team", "back")


class Line(NamedTuple):
    """
    One line: a membership, and whether it begins its role.

    Args:
        members: of the role, all of them.
        policies: ids of policies that name it.
    """

    row: MembershipRow
    is_first: bool
    members: int
    policies: tuple[str, ...]


def roles(call: Call) -> Answer:
    """Show who has which role."""
    return _listed(call, Form({name: [asked(call, name)] for name in ("role", "actor", "team")}))


def _listed(call: Call, form: Form, refused: Wrong | None = None) -> Answer:
    q = asked(call, "q").casefold()
    rows = call.room.access.roles.list()
    words = known(rows)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.role] = counts.get(row.role, 0) + 1
    found = [row for row in rows if q in row.role or q in row.actor or q in (row.team or "")]
    page = paged(call, found, "/access/roles", q=q or None)
    named = _named(call, {row.role for row in page.rows})
    before = [None, *(row.role for row in page.rows)]
    lines = [
        Line(row, row.role != last, counts[row.role], named[row.role])
        for last, row in zip(before, page.rows, strict=False)
    ]
    return access_page(
        call,
        "roles.html",
        "roles",
        twin=Twin("strongroom access roles list", "GET", "/v1/roles"),
        wrong=refused,
        q=q,
        total=len(rows),
        lines=Paged(lines, page.first, page.total, page.previous, page.next),
        typed=form,
        known=words,
        empty=[role for role in words.roles if role not in counts],
    )


def _named(call: Call, roles: set[str]) -> dict[str, tuple[str, ...]]:
    """Give the policies whose text names each of *roles*."""
    documents = call.room.policies.list()
    return {role: tuple(one.id for one in documents if f'Role::"{role}"' in one.text) for role in roles}


def grant(call: Call) -> Answer:
    """Give somebody a role; a person's sessions end, so that what he may is what it says."""
    return _changed(call, "grant", "revoke")


def revoke(call: Call) -> Answer:
    """Take a role from somebody; a person's sessions end."""
    return _changed(call, "revoke", "grant")


def _changed(call: Call, word: str, back: str) -> Answer:
    form = form_of(call, *_FIELDS)
    role, actor, team = (form.text(name, most=MAX_NAME).strip() for name in ("role", "actor", "team"))
    try:
        _check_actor(actor)
        noun = call.room.access.roles
        (noun.grant if word == "grant" else noun.revoke)(role, actor, team=team or None)
    except (InvalidInputError, ConflictError, NotFoundError) as error:
        at = {"role": "role", "team": "team", "actor": "actor", "there is no": "actor"}
        return _listed(call, form, wrong(error, at, "actor"))
    said = role if not team else f"{role} ({team})"
    toast = Toast(
        f"access.roles.did_{word}",
        {"role": said, "actor": actor},
        f"/access/roles/{back}",
        {"role": role, "actor": actor, "team": team},
    )
    return redirect(call, _place(form.text("back", most=MAX_NAME)), toast=toast)


def _check_actor(actor: str) -> None:
    if ":" not in actor:
        raise InvalidInputError(
            "an actor has a kind and a name", hint="person:anna, service:ci, agent:host-1"
        )


def _place(back: str) -> str:
    """Give where it was asked from: a person or service of ours, and nothing else."""
    kind, _, name = back.partition(":")
    pages = {"person": "/access/people", "service": "/access/services"}
    return f"{pages[kind]}/{name}" if kind in pages and name else "/access/roles"


ENDPOINTS = (
    Endpoint("GET", "/access/roles", roles, "Show roles", "page", asks=FormQuery),
    Endpoint(
        "POST",
        "/access/roles/grant",
        grant,
        "Give a role",
        "page",
        is_change=True,
        needs_proof=True,
        takes_form=True,
    ),
    Endpoint("POST", "/access/roles/revoke", revoke, "Take a role", "page", takes_form=True),
)
