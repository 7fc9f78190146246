"""`/access/groups`: what groups of the identity provider give, and who has a role by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.access.shared import ListQuery, access_page, asked, paged
from strongroom.server.ui.frame import Twin

if TYPE_CHECKING:
    from strongroom.server.endpoint import Answer, Call

__all__ = ["ENDPOINTS"]


def groups(call: Call) -> Answer:
    """Show the groups, and who has a role by one."""
    noun, q = call.room.access.groups, asked(call, "q")
    held = [one for one in noun.held() if q.casefold() in one.actor or q.casefold() in one.role.name]
    found = [one for one in noun.list() if q.casefold() in one.name.casefold()]
    return access_page(
        call,
        "groups.html",
        "groups",
        twin=Twin("strongroom access groups list", "GET", "/v1/groups"),
        q=q,
        has_provider=noun.has_provider,
        lines=paged(call, found, "/access/groups", q=q or None),
        held=held[:200],
        held_count=len(held),
    )


ENDPOINTS = (Endpoint("GET", "/access/groups", groups, "Show groups", "page", asks=ListQuery),)
