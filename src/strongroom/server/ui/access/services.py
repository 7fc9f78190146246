"""`/access/services`: the programs that ask, one of them beside the list, and letting one in or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import NotFoundError
from strongroom.server.endpoint import Endpoint
from strongroom.server.proof import require_proof
from strongroom.server.ui.access.shared import ListQuery, access_page, asked, known, paged
from strongroom.server.ui.frame import Toast, Twin, form_of, redirect

if TYPE_CHECKING:
    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.access import ServiceRow

__all__ = ["ENDPOINTS"]


def services(call: Call) -> Answer:
    """Show every service."""
    return _listed(call)


def service(call: Call) -> Answer:
    """Show one service beside the list."""
    return _listed(call, _find(call, call.params["name"]))


def _find(call: Call, name: str) -> ServiceRow:
    for row in call.room.access.services.list():
        if row.name == name:
            return row
    raise NotFoundError(f"there is no service {name}")


def _listed(call: Call, opened: ServiceRow | None = None) -> Answer:
    q = asked(call, "q")
    rows = call.room.access.services.list()
    found = [row for row in rows if q.casefold() in row.name]
    held = [] if opened is None else call.room.access.roles.list()
    twin = Twin("strongroom access services list", "GET", "/v1/services")
    if opened is not None:
        twin = Twin(f"strongroom access what {opened.actor}", "GET", f"/v1/access/actor/{opened.actor}")
    return access_page(
        call,
        "services.html",
        "services",
        twin=twin,
        q=q,
        total=len(rows),
        lines=paged(call, found, "/access/services", q=q or None),
        opened=opened,
        memberships=[row for row in held if opened is not None and row.actor == opened.actor],
        token=None if opened is None else _token(call, opened.name),
        known=known(held),
    )


def _token(call: Call, name: str) -> object:
    return next((row for row in call.room.access.tokens.list() if row.name == name), None)


def act(call: Call) -> Answer:
    """Let a service in no more, or again."""
    form_of(call, "")
    name, word = _find(call, call.params["name"]).name, call.params["act"]
    if word not in ("enable", "disable"):
        raise NotFoundError("there is no such act")
    if word == "enable":
        require_proof(call)
        call.room.access.services.enable(name)
    else:
        call.room.access.services.disable(name)
    undo = f"/access/service/{'disable' if word == 'enable' else 'enable'}/{name}"
    return redirect(
        call, f"/access/services/{name}", toast=Toast(f"access.services.did_{word}", {"name": name}, undo)
    )


ENDPOINTS = (
    Endpoint("GET", "/access/services", services, "Show services", "page", asks=ListQuery),
    Endpoint("GET", "/access/services/{name}", service, "Show a service", "page", asks=ListQuery),
    Endpoint("POST", "/access/service/{act}/{name}", act, "Let a service in or not", "page", takes_form=True),
)
