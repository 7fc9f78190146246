"""`/settings/sessions`: who is signed in where; one ends, or all of one's own."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec

from strongroom.errors import NotFoundError
from strongroom.policy import Action
from strongroom.server.auth import cookie_name, expired_cookie
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.frame import Toast, Twin, form_of, page, redirect

if TYPE_CHECKING:
    from strongroom.server.endpoint import Answer, Call

__all__ = ["ENDPOINTS"]

EVERYBODY = "everybody"
_PER_PAGE = 100


class Asked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the address may say."""

    who: str = ""
    actor: str = ""
    page: int = 1


def sessions(call: Call) -> Answer:
    """Show the sessions that stand: one's own, and to an administrator everybody's, or those of one actor."""
    asked = call.asked(Asked)
    me, whose = call.identity.actor.id, asked.who or asked.actor
    whose = "" if whose == me else whose
    is_all = whose == EVERYBODY
    rows = call.room.access.sessions.list(None if is_all else whose or me)
    first = max(0, asked.page - 1) * _PER_PAGE
    return page(
        call,
        "settings/sessions.html",
        nav="settings",
        title="sessions.title",
        twin=_twin(whose),
        is_all=is_all,
        whose=whose,
        names=bool(whose),
        sees_all=call.place.guard.can(call.identity.actor, Action.ADMINISTER, None).is_allowed,
        current=call.identity.id,
        rows=rows[first : first + _PER_PAGE],
        count=len(rows),
        first=first,
        per_page=_PER_PAGE,
        number=asked.page,
        idle=round(call.place.access.lifetimes.idle.total_seconds() / 60),
    )


def _twin(whose: str) -> Twin:
    if whose == EVERYBODY:
        return Twin("strongroom access sessions list", "GET", "/v1/sessions?everybody=true")
    if whose:
        return Twin(
            f"strongroom access sessions list --of {shlex.quote(whose)}",
            "GET",
            f"/v1/sessions?{urlencode({'actor': whose})}",
        )
    return Twin("strongroom access sessions list", "GET", "/v1/sessions")


def end(call: Call) -> Answer:
    """End one session; one that has ended meanwhile has ended."""
    form = form_of(call, "id", "who")
    which = form.text("id", most=64)
    is_own = which == call.identity.id
    try:
        call.room.access.sessions.revoke(which)
    except NotFoundError:
        return redirect(call, "/settings/sessions", toast=Toast("sessions.gone"))
    if is_own:
        return _signed_out(call, "out")
    who = form.text("who", most=128)
    return redirect(call, "/settings/sessions", toast=Toast("sessions.ended"), who=who or None)


def end_all(call: Call) -> Answer:
    """Sign out everywhere: every session of one's own, this one last."""
    form_of(call, "")
    own = call.room.access.sessions
    for row in own.list(call.identity.actor.id):
        if row.id != call.identity.id:
            try:
                own.revoke(row.id)
            except NotFoundError:
                continue  # it ended by itself
    if call.identity.how == "session":
        call.place.access.logout(call.identity)
    return _signed_out(call, "everywhere")


def _signed_out(call: Call, why: str) -> Answer:
    name = cookie_name(call.deployment, call.house.first, is_secure=call.is_secure)
    answer = redirect(call, "/sign-in", why=why)
    return answer._replace(cookies=(expired_cookie(name, is_secure=call.is_secure),))


ENDPOINTS = (
    Endpoint("GET", "/settings/sessions", sessions, "Show who is signed in", "page", asks=Asked),
    Endpoint("POST", "/settings/sessions/end", end, "End a session", "page", takes_form=True),
    Endpoint("POST", "/settings/sessions/end-all", end_all, "Sign out everywhere", "page", takes_form=True),
)
