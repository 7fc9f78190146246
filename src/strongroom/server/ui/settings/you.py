"""`/settings/you`: who one is here, how the pages look, and one's password."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError, NotAuthenticatedError, RateLimitedError
from strongroom.model.principal import PERSON
from strongroom.model.secret import Secret
from strongroom.server.auth import cookie_name, expired_cookie
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.proof import is_fresh
from strongroom.server.ui.frame import Toast, Twin, form_of, is_htmx, page, redirect
from strongroom.server.ui.sign_in import safe_path
from strongroom.service.policies.actors import is_local

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]

_THEMES = ("system", "light", "dark")
_YEAR = 31_536_000  # seconds
_MAX_PASSWORD = 4096  # characters


def you(call: Call, *, errors: Mapping[str, str] | None = None, status: int = 200) -> Answer:
    """Show who one is, and what one may choose."""
    identity, access = call.identity, call.place.access
    actor = identity.actor
    is_session = identity.how == "session"
    return page(
        call,
        "settings/you.html",
        nav="settings",
        title="you.title",
        twin=Twin("strongroom whoami", "GET", "/v1/whoami"),
        status=status,
        actor=actor,
        how=identity.how,
        ends=identity.expires,
        proven=identity.since if is_session else None,
        is_fresh=is_fresh(identity, access.demands, datetime.now(timezone.utc)),
        glass=identity.glass,
        is_owner=is_local(actor),
        has_password=is_session and actor.id.startswith(PERSON) and access.demands.takes_passwords,
        errors=errors or {},
    )


def choose(call: Call) -> Answer:
    """Keep how the pages look and whether single keys do anything, in cookies of the browser."""
    form = form_of(call, "theme", "keys", "next")
    cookies = []
    theme, keys = form.text("theme", most=16), form.text("keys", most=16)
    if theme in _THEMES:
        cookies.append(_cookie(call, "theme", "" if theme == "system" else theme))
    if keys in ("on", "off"):
        cookies.append(_cookie(call, "keys", "" if keys == "on" else keys))
    there = safe_path(form.text("next", most=4096))
    if there:
        return Answer(
            status=303, headers={"location": there, "cache-control": "no-store"}, cookies=tuple(cookies)
        )
    answer = redirect(call, "/settings/you", toast=Toast("you.chosen"))
    return answer._replace(cookies=(*answer.cookies, *cookies))


def change_password(call: Call) -> Answer:
    """Set one's own password with the old one; every session ends."""
    form = form_of(call, "old", "new", "again", "name")
    old, new = form.text("old", most=_MAX_PASSWORD), form.text("new", most=_MAX_PASSWORD)
    if new != form.text("again", most=_MAX_PASSWORD):
        return you(call, errors={"again": "you.not_the_same"}, status=422)
    errors = {}
    try:
        call.place.access.change_password(call.identity, Secret(old), Secret(new))
    except NotAuthenticatedError:
        errors = {"old": "you.not_the_old"}
    except RateLimitedError:
        errors = {"old": "you.too_many"}
    except InvalidInputError:
        errors = {"new": "you.not_good"}
    if errors:
        return you(call, errors=errors, status=422)
    name = cookie_name(call.deployment, call.house.first, is_secure=call.is_secure)
    answer = redirect(call, "/sign-in", why="password")
    return answer._replace(cookies=(expired_cookie(name, is_secure=call.is_secure),))


def stay(call: Call) -> Answer:
    """Use the session, so that it does not end for want of use."""
    form_of(call, "")
    if is_htmx(call):
        return Answer(status=204, headers={"hx-trigger": "sr:stayed", "cache-control": "no-store"})
    return redirect(call, "/")


def _cookie(call: Call, name: str, value: str) -> str:
    # The page's script keeps the same ones: no secret, and not `HttpOnly`.
    secure = "; Secure" if call.is_secure else ""
    return f"{name}={value}; Path=/; SameSite=Lax; Max-Age={_YEAR if value else 0}{secure}"


ENDPOINTS = (
    Endpoint("GET", "/settings/you", you, "Show who one is", "page"),
    Endpoint("POST", "/settings/theme", choose, "Keep how pages look", "page", takes_form=True),
    Endpoint("POST", "/settings/you", choose, "Keep how pages look", "page", takes_form=True),
    Endpoint(
        "POST", "/settings/password", change_password, "Set one's password", "page", takes_form=True, cost=5.0
    ),
    Endpoint("POST", "/stay", stay, "Go on with the session", "page", takes_form=True),
)
