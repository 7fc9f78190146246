"""
Errors as pages: what happened, what may be done, and what was typed, still there.

Rules of this file:

1. Whoever is not known is sent to sign in, and comes back to what he asked for.
2. What was typed into a form that is not taken stands in the answer, to be sent again by a person.
3. To htmx an error is a banner, or a panel over the page: what is shown there stays.
4. This runs on the server's loop, so it asks no store.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    NotAuthenticatedError,
    NotFoundError,
    StrongroomError,
)
from strongroom.model.principal import PERSON
from strongroom.policy import Action
from strongroom.server.endpoint import Answer
from strongroom.server.ui.frame import asked, is_htmx, page, url_for
from strongroom.server.ui.sign_in import again, provider_of, safe_path, signing_in, typed
from strongroom.server.ui.texts import catalogue
from strongroom.service.access.desk import rows_for
from strongroom.service.access.standing import roles_of
from strongroom.wire.failure import CrossSiteError, StepUpError, members_of, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.server.endpoint import Call

__all__ = ["errors"]

_PANEL = {"hx-retarget": "#panel", "hx-reswap": "innerHTML", "hx-push-url": "false"}
_BANNER = {"hx-retarget": "#banners", "hx-reswap": "innerHTML", "hx-push-url": "false"}
_OURS = 500
_ADMIN = "admin"
_MOST_ASKED = 3  # names of those one may ask


class _Denied(NamedTuple):
    reason: str
    may: tuple[str, ...]
    ask: tuple[str, ...]


def errors(call: Call, error: StrongroomError) -> Answer:
    """Give *error* as a page, or to htmx as a part of the one that is shown."""
    if isinstance(error, NotAuthenticatedError):
        return _nobody(call)
    if isinstance(error, StepUpError):
        return _step_up(call, error)
    if isinstance(error, CrossSiteError) and getattr(error, "reason", "") == "csrf":
        kept = typed(call)
        if kept is not None:
            return again(call, kept, why="sign_in.other_session", status=403)
    return _told(call, error)


def _nobody(call: Call) -> Answer:
    """Have a person sign in, where there is a deployment to sign in to."""
    if call.deployment not in call.house.names:
        return _told(call, NotFoundError("there is nothing at this address"))
    if "text/event-stream" in call.headers.get("accept", ""):
        return Answer(b"", status=401, headers={"cache-control": "no-store"}, media_type="text/plain")
    if is_htmx(call):
        return signing_in(call, why="sign_in.ended", status=401)
    if call.method == "POST":
        there = url_for(call, "/")
        return signing_in(call, there=there, kept=typed(call), why="sign_in.ended", status=401)
    if call.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        # A link on somebody else's page: the browser keeps our cookie back for it, so that what this page
        # leads to, which is the same address, may be known after all.
        return page(call, "bounce.html", title="errors.going_on", there=asked(call))
    there = url_for(call, "/sign-in", next=safe_path(asked(call)) or None)
    return Answer(status=303, headers={"location": there, "cache-control": "no-store"})


def _step_up(call: Call, error: StepUpError) -> Answer:
    """Ask a person who he is once more, and go on with what was typed."""
    access = call.place.access
    is_panel = is_htmx(call)
    actor = call.identity.actor.id
    return page(
        call,
        "prove.html",
        title="prove.title",
        block="panel" if is_panel else None,
        headers={**_PANEL, "x-proof": "needed"} if is_panel else None,
        status=403,
        kept=None if is_panel else typed(call),
        there="" if is_panel or call.method == "POST" else asked(call),
        has_password=actor.startswith(PERSON) and access.demands.takes_passwords,
        has_oidc=access.oidc is not None and actor.startswith(PERSON),
        provider=provider_of(call),
        is_local=not actor.startswith(PERSON),
        wrong=error.reason if error.reason in ("password", "code") else "",
        minutes=max(1, round(access.demands.fresh.total_seconds() / 60)),
    )


def _told(call: Call, error: StrongroomError) -> Answer:
    members, status = members_of(error), status_of(error)
    is_part = is_htmx(call)
    # What was wrong in a form stands in it, not after a question mark.
    is_typed = call.method == "POST" and members["code"] == "invalid_input"
    code = "invalid_form" if is_typed else _code(call, error)
    return page(
        call,
        "error.html",
        title=_key(code, "title", status),
        block="notice" if is_part else None,
        headers=_BANNER if is_part else None,
        status=status,
        error={"hint": "", "retry_after": None, **members},
        lead=_key(code, "lead", status),
        denied=_ways_out(call, error) if type(error) is AccessDeniedError and call.has_identity else None,
        kept=None if is_part else typed(call),
        is_ours=status >= _OURS,
        code=status,
        told=_told_of(members),
    )


def _code(call: Call, error: StrongroomError) -> str:
    """Give the code by which *error* is told; the server's own database is no store like others."""
    if not isinstance(error, BackendUnavailableError):
        return error.code
    if call.has_identity:
        return error.code if call.identity.actor.as_of is None else "silent"
    with suppress(StrongroomError):  # no such deployment, or a sealed one
        if call.place.access.is_silent:
            return "silent_unknown"
    return error.code


def _told_of(members: Mapping[str, object]) -> tuple[str, str, bool]:
    """Give what the service says: a sentence, its hint, and whether that hint is a command."""
    hint = str(members.get("hint") or "")
    return str(members["message"]), hint, hint.startswith("strongroom ")


def _ways_out(call: Call, error: AccessDeniedError) -> _Denied:
    """Say which policy it was, what one may do all the same, and whom to ask. All of it is at hand."""
    place, actor = call.place, call.identity.actor
    may = tuple(one.value for one in Action if place.guard.can(actor, one, None).is_allowed)
    holders = roles_of(rows_for(place.registry, call.identity.actor))
    admins = sorted(
        who.removeprefix(PERSON)
        for who, roles in holders.items()
        if who.startswith(PERSON)
        and who != actor.id
        and any(one.name == _ADMIN and not one.team for one in roles)
    )
    return _Denied(error.reason, may, tuple(admins[:_MOST_ASKED]))


def _key(code: object, part: str, status: int) -> str:
    """Give the key of what is said of this error: of its own, or of all of its status."""
    keys = catalogue()
    for one in (f"errors.{code}.{part}", f"errors.status_{status}.{part}"):
        if one in keys:
            return one
    return f"errors.{'ours' if status >= _OURS else 'theirs'}.{part}"
