"""
`/sign-in`, `/sign-out`, `/prove`: how a person's session begins, ends, and is proven anew.

Rules of this file:

1. The code of a link stands in the fragment of an address, which a browser sends to nobody; `sign-in.js` puts
   it into the form, and without script a person does.
2. One goes on only to a path of this server, and only to a page of it.
3. What was typed while a session ended comes along, and is shown to be sent, never sent by itself.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import quote, unquote, urlsplit

import msgspec

from strongroom.errors import (
    InvalidInputError,
    NotAuthenticatedError,
    RateLimitedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.server.auth import cookie_name, cookie_of, cookie_value, expired_cookie
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.proof import PROOF, PROOF_CODE, code_in, require_proof
from strongroom.server.ui.frame import Toast, asked, form_of, is_htmx, page, redirect, url_for

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.access import Login

__all__ = [
    "ENDPOINTS",
    "KEPT",
    "again",
    "going_on_to",
    "kept_of",
    "provider_of",
    "safe_path",
    "signing_in",
    "typed",
]

KEPT = "kept."
"""Before the name of a field that was typed into another form and comes along."""
_NEVER_KEPT = ("csrf", PROOF, PROOF_CODE)
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,2000}\Z")
_NOT_PAGES = ("/sign-in", "/sign-out", "/prove", "/login", "/events", "/static", "/v1", "/api", "/auth")
_NEXT = "strongroom.next"
_NEXT_SECONDS = 900  # as long as a login at a provider may take


class SignIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the address of the page may say."""

    next: str = ""
    why: Literal["", "out", "everywhere", "password"] = ""


class Kept(NamedTuple):
    """
    What was typed into a form that was not taken.

    Args:
        path: where it goes, with the deployment.
        pairs: names and values, in order.
        files: how many files came with it; these are not kept.
    """

    path: str
    pairs: tuple[tuple[str, str], ...]
    files: int = 0


def shown(call: Call) -> Answer:
    """Show the page, or go on where one is signed in already."""
    said = call.asked(SignIn)
    there = safe_path(said.next)
    if call.has_identity:
        held = _held_next(call)
        gone = (_next_cookie(call, "", 0),) if held else ()
        return _to(there or held or url_for(call, "/"))._replace(cookies=gone)
    return signing_in(call, there=there, why=f"sign_in.after_{said.why}" if said.why else "")


def signing_in(  # noqa: PLR0913 -- what the page may have to say
    call: Call,
    *,
    there: str = "",
    kept: Kept | None = None,
    name: str = "",
    trouble: StrongroomError | None = None,
    why: str = "",
    status: int = 200,
) -> Answer:
    """
    Give the page that signs in; to htmx a panel over the page that was there.

    Args:
        call: the request.
        there: where to go on, with the deployment; "" for the overview.
        kept: what was typed, to come along.
        name: what was typed as the name.
        trouble: why the last attempt failed.
        why: key of the text that says why this page came; "" for nothing.
        status: HTTP's.
    """
    access = call.place.access
    has_oidc = access.oidc is not None
    if there and has_oidc:
        call.cookies.append(_next_cookie(call, there, _NEXT_SECONDS))
    is_panel = is_htmx(call)
    return page(
        call,
        "sign_in_panel.html" if is_panel else "sign_in.html",
        title="sign_in.title",
        block="panel" if is_panel else None,
        status=status,
        headers=_PANEL if is_panel else None,
        there=there,
        kept=kept,
        name=name,
        why=why or _why(trouble),
        seconds=_seconds(trouble),
        host=call.headers.get("host", ""),
        takes_passwords=access.demands.takes_passwords,
        has_oidc=has_oidc,
        provider=provider_of(call),
        lifetimes=_lifetimes(call),
        # A link on somebody else's page signs nobody in by itself: its code may be that somebody's.
        waits=call.headers.get("sec-fetch-site") not in ("none", "same-origin"),
    )


_PANEL = {"hx-retarget": "#panel", "hx-reswap": "innerHTML", "hx-push-url": "false"}


def sign_in(call: Call) -> Answer:
    """Begin a session with a name and a password, or with the code of a link."""
    form = form_of(call, "name", "password", "code", "next", "to", "files", KEPT)
    there, kept = safe_path(form.text("next", most=4096)), kept_of(call)
    code = form.text("code", most=4096).strip()
    if call.has_identity and not code and not form.text("name", most=256):
        return _on(call, there, kept)  # in another window, by the identity provider
    try:
        begun = _begun(call, code)
    except (NotAuthenticatedError, RateLimitedError, InvalidInputError) as error:
        status = 429 if isinstance(error, RateLimitedError) else 401
        return signing_in(
            call,
            there=there,
            kept=kept,
            name=form.text("name", most=256),
            trouble=error,
            why="sign_in.link_used" if code and not isinstance(error, RateLimitedError) else "",
            status=status,
        )
    _take_up(call, begun)
    return _on(call, there, kept)


def _on(call: Call, there: str, kept: Kept | None) -> Answer:
    """Go on where one was, once one is signed in."""
    if is_htmx(call):
        # Over the page that was there: whoever typed there goes on where he was.
        return Answer(b"", headers={"hx-trigger": "sr:signed-in", "cache-control": "no-store"})
    if kept is not None:
        return again(call, kept)
    return _to(there or url_for(call, "/"))


def again(call: Call, kept: Kept, *, why: str = "sign_in.kept", status: int = 200) -> Answer:
    """Show that what was typed is still here, to be sent by a person."""
    is_panel = is_htmx(call)
    return page(
        call,
        "again.html",
        title="sign_in.again",
        block="panel" if is_panel else None,
        headers=_PANEL if is_panel else None,
        status=status,
        kept=kept,
        why=why,
    )


def sign_out(call: Call) -> Answer:
    """End this session; at the identity provider too, where it began there."""
    form_of(call, "")
    access, how = call.place.access, ""
    with suppress(NotAuthenticatedError):
        if call.identity.how == "session":
            how = access.logout(call.identity)
    name = cookie_name(call.deployment, call.house.first, is_secure=call.is_secure)
    there = url_for(call, "/sign-in", why="out")
    if how == "oidc" and access.oidc is not None:
        there = access.oidc.logout_address(f"{access.oidc.public_url}{url_for(call, '/login')}") or there
    gone = expired_cookie(name, is_secure=call.is_secure)
    headers = {"cache-control": "no-store", "clear-site-data": '"cache"'}
    if is_htmx(call):
        return Answer(status=204, headers={**headers, "hx-redirect": there}, cookies=(gone,))
    return Answer(status=303, headers={**headers, "location": there}, cookies=(gone,))


def proven(call: Call) -> Answer:
    """Prove anew who one is, and go on."""
    form = form_of(call, "next")
    require_proof(call)  # of this form, or of a sign-in in another window
    if is_htmx(call):
        return Answer(b"", headers={"hx-trigger": "sr:proven", "cache-control": "no-store"})
    there = safe_path(form.text("next", most=4096))
    if there:
        return _to(there)
    return redirect(call, "/", toast=Toast("sign_in.proven"))


def safe_path(text: str) -> str:
    """
    Give *text* where it is the path of a page of this server, and "" where it is anything else.

    Source: RT33; a browser takes two slashes, a backslash or a tab for the way to another server.
    """
    if _PATH.match(text) is None:
        return ""
    parts = urlsplit(text)
    below = re.sub(r"\A/d/[^/]+", "", unquote(parts.path)) or "/"
    if parts.scheme or parts.netloc or ".." in below.split("/") or below.startswith("//"):
        return ""
    if "\\" in below or not below.isprintable():
        return ""
    is_page = not any(below == one or below.startswith(f"{one}/") for one in _NOT_PAGES)
    return text if is_page else ""


def kept_of(call: Call) -> Kept | None:
    """Give what came along from another form."""
    path = safe_path(call.form.text("to", most=4096))
    pairs = tuple(
        (name.removeprefix(KEPT), value) for name, value in call.form.pairs if name.startswith(KEPT)
    )
    if not path:
        return None
    files = call.form.text("files", most=8)
    return Kept(path, pairs, int(files) if files.isdecimal() else 0)


def typed(call: Call) -> Kept | None:
    """Give what was typed into the form that this request is; None where there is none."""
    if call.method != "POST" or not (call.form.names or call.form.file_count):
        return None
    pairs = tuple((name, value) for name, value in call.form.pairs if name not in _NEVER_KEPT)
    return Kept(asked(call), pairs, call.form.file_count)


# --- how a session begins -------------------------------------------------------------------------


def _begun(call: Call, code: str) -> Login:
    access = call.place.access
    replaces = call.session if call.has_identity and call.identity.how == "session" else None
    if code:
        return access.login_with_code(code_in(code), source=call.source, replaces=replaces)
    name, password = call.form.text("name", most=256), call.form.text("password", most=4096)
    if not name or not password:
        raise NotAuthenticatedError("a name and a password are asked for")
    return access.login(name.strip(), Secret(password), source=call.source, replaces=replaces)


def _take_up(call: Call, begun: Login) -> None:
    call.identify(begun.identity)
    call.session = begun.token.reveal()
    call.cookies.append(cookie_of(call, begun))


def _to(there: str) -> Answer:
    return Answer(status=303, headers={"location": there, "cache-control": "no-store"})


# --- what the page says ----------------------------------------------------------------------------


def _why(trouble: StrongroomError | None) -> str:
    if trouble is None:
        return ""
    if isinstance(trouble, RateLimitedError):
        return "sign_in.too_many"
    return "sign_in.wrong"


def _seconds(trouble: StrongroomError | None) -> int:
    after = getattr(trouble, "retry_after", None)
    return max(1, int(after.total_seconds() + 0.999)) if isinstance(after, timedelta) else 0


def provider_of(call: Call) -> str:
    """Give the host of the identity provider, as people know it."""
    oidc = call.place.settings.access.oidc
    return (urlsplit(oidc.issuer).hostname or "") if oidc is not None else ""


def _lifetimes(call: Call) -> tuple[int, int]:
    """Give after how many hours a session ends, and after how many minutes without use."""
    lifetimes = call.place.access.lifetimes
    return round(lifetimes.absolute.total_seconds() / 3600), round(lifetimes.idle.total_seconds() / 60)


def _held_next(call: Call) -> str:
    with suppress(StrongroomError):
        return safe_path(unquote(cookie_value(call.headers.get("cookie", ""), _NEXT) or ""))
    return ""


def going_on_to(call: Call, there: str) -> str:
    """Give the cookie by which a login at a provider ends at *there*, a path of ours."""
    return _next_cookie(call, there, _NEXT_SECONDS)


def _next_cookie(call: Call, there: str, seconds: int) -> str:
    secure = "; Secure" if call.is_secure else ""
    return f"{_NEXT}={quote(there, safe='/')}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"


ENDPOINTS = (
    Endpoint("GET", "/sign-in", shown, "Show how to sign in", "page", asks=SignIn, is_public=True),
    Endpoint(
        "GET",
        "/login",
        shown,
        "Show how to sign in, with the code of a link",
        "page",
        asks=SignIn,
        is_public=True,
    ),
    Endpoint(
        "POST", "/sign-in", sign_in, "Begin a session", "page", is_public=True, takes_form=True, cost=5.0
    ),
    Endpoint("POST", "/sign-out", sign_out, "End the session", "page", is_public=True, takes_form=True),
    Endpoint("POST", "/prove", proven, "Prove anew who one is", "page", takes_form=True, cost=5.0),
)
