"""
What every page has: its frame, what stands in it for whoever asks, and how it is answered.

    return page(call, "inventory.html", nav="inventory", title="inventory.title", rows=rows,
                twin=Twin("strongroom inventory", "GET", "/v1/inventory"))

Rules of this file:

1. An address answers a whole page; to htmx only the block that the target names, `lines` for `#lines`
   (hyphens are underscores), `main` where a template has no such block; then the title, and out of band
   the twin, a toast and counts.
2. Every answer is `no-store`, differs by what is asked (`Vary`), and allows no script but our files.
3. What a template prints is escaped; a name it does not know is an error.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import secrets
import time
from contextlib import suppress
from datetime import datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, unquote, urlencode

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined

from strongroom import __version__
from strongroom.errors import StrongroomError
from strongroom.model.principal import PERSON
from strongroom.server.auth import browser_cookie, cookie_value
from strongroom.server.endpoint import Answer
from strongroom.server.form import Form, Upload, token_of
from strongroom.server.ui.dates import dates_in, zone_of
from strongroom.server.ui.drills import drills, silence
from strongroom.server.ui.family import family
from strongroom.server.ui.static import address, takes_gzip
from strongroom.server.ui.texts import catalogue, say

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from strongroom.model.ref import Ref
    from strongroom.policy import Action, Role
    from strongroom.server.endpoint import Call

__all__ = [
    "POLICY",
    "Form",
    "Me",
    "Toast",
    "Twin",
    "Upload",
    "asked",
    "form_of",
    "is_htmx",
    "page",
    "redirect",
    "url_for",
    "zone",
]

POLICY = "; ".join(  # noqa: FLY002 -- one line each
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""The content policy of a page."""
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    # Without any a browser says of a form of ours that it comes from nowhere (`Origin: null`, Fetch §3.2).
    "referrer-policy": "same-origin",
    "vary": "HX-Request, HX-Target, Accept-Encoding, Cookie",
}
_HTML = "text/html; charset=utf-8"
_LEAST_PACKED = 1024  # bytes: what is smaller is sent as it is
_PACKED = 3  # of 9: a tenth more bytes than 5, in half the time
_PARTS = (("ui", "ui"), ("form", "form"), ("lists", "list"), ("frame", "frame"))
_SAID = "strongroom.said"
_SAID_SECONDS = 60
_PAUSE_SECONDS = 0.01  # between two templates, so that a request is answered first
_THEMES = ("light", "dark")
_BEGINS = ("/sign-in", "/login")  # where a form stands for whoever comes


class Twin(NamedTuple):
    """
    The same thing elsewhere: what the bar at the foot of a page shows.

    Args:
        command: of `strongroom`, as it is typed.
        method: of the call of the API.
        path: of it, below the deployment; "" for none.
    """

    command: str
    method: str = "GET"
    path: str = ""


class Toast(NamedTuple):
    """
    What was just done.

    Args:
        text: key of the text.
        given: what is put into it.
        undo: the path below the deployment to which a form takes it back; "" where nothing does.
        fields: of that form.
    """

    text: str
    given: Mapping[str, str | int] = {}
    undo: str = ""
    fields: Mapping[str, str] = {}


class Me(NamedTuple):
    """
    Who looks at a page.

    Args:
        id: of the actor; "" for nobody.
        name: as it is shown.
        roles: of the actor.
    """

    id: str = ""
    name: str = ""
    roles: tuple[Role, ...] = ()


def warm() -> None:
    """Read every template, text and static file there is, each a little later: requests go before."""
    catalogue()
    address("")
    environment = _environment()
    for name in (*(f"parts/{file}.html" for _, file in _PARTS), "base.html", *environment.list_templates()):
        environment.get_template(name)
        time.sleep(_PAUSE_SECONDS)


def page(  # noqa: PLR0913 -- what a page says of itself
    call: Call,
    template: str,
    *,
    nav: str = "",
    title: str,
    twin: Twin | None = None,
    block: str | None = None,
    status: int = 200,
    toast: Toast | None = None,
    oob: tuple[str, ...] = (),
    headers: Mapping[str, str] | None = None,
    **context: object,
) -> Answer:
    """
    Give the page of *template*, or to htmx the part it asked for.

    Args:
        call: the request.
        template: extends `base.html` and fills `main`.
        nav: which page of the rail it is.
        title: key of its title.
        twin: the same as command and call.
        block: what htmx is given, whatever it asked for.
        status: HTTP's.
        toast: what was just done.
        oob: more blocks that htmx is given.
        headers: more of the answer; with a `content-encoding` of `identity` it is not packed.
        context: what the template prints.
    """
    template_ = _environment().get_template(template)
    values = _values(call)
    values |= {"nav": nav, "title": title, "twin": _twin(call, twin), "toast": _shown(call, toast), **context}
    if is_htmx(call):
        values["partial"] = (_block(call, template_.blocks, block), *oob)
    for name, file in _PARTS:  # they use one another, and what this request has
        values[name] = _environment().get_template(f"parts/{file}.html").make_module(values, shared=True)
    text = template_.render(values)
    return _html(call, text, status, headers)


def redirect(call: Call, path: str, *, toast: Toast | None = None, **query: object) -> Answer:
    """
    Go on to *path* of this deployment once something is done: 303, or the like of htmx.

    What is said of it waits in a cookie for the page that comes.
    """
    cookies = () if toast is None else (_said(call, toast),)
    there = url_for(call, path, **query)
    if is_htmx(call):
        return Answer(
            status=204, headers={"hx-redirect": there, "cache-control": "no-store"}, cookies=cookies
        )
    return Answer(status=303, headers={"location": there, "cache-control": "no-store"}, cookies=cookies)


def form_of(call: Call, *names: str) -> Form:
    """
    Give what was typed.

    Args:
        call: a form, of an endpoint with `takes_form`.
        names: the fields it may have; one that ends in `.` stands for all that begin so. Any if unsaid.

    Raises:
        FieldError: it has another.
    """
    return call.form.only(names) if names else call.form


def is_htmx(call: Call) -> bool:
    """Tell whether a part of a page is asked for; a page that is restored from history is whole."""
    return (
        call.headers.get("hx-request") == "true" and call.headers.get("hx-history-restore-request") != "true"
    )


def zone(call: Call) -> tzinfo:
    """Give the time zone of whoever reads, as the browser says; UTC where it says nothing."""
    return zone_of(_zone(call.headers.get("cookie", "")))


def url_for(call: Call, path: str, /, **query: object) -> str:
    """
    Give the address of *path* in the deployment that was asked.

    Args:
        call: the request.
        path: begins with a slash; not encoded.
        query: None and False are left out; of a list every value is given.
    """
    return _url(call.deployment, call.house.first, path, query)


def asked(call: Call) -> str:
    """Give the address that was asked for, with its query."""
    pairs = [(name, value) for name, values in call.query.items() for value in values]
    return f"{url_for(call, call.path)}{'?' if pairs else ''}{urlencode(pairs)}"


def _url(deployment: str, first: str, path: str, query: Mapping[str, object]) -> str:
    place = "" if deployment == first else f"/d/{deployment}"
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        several = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        pairs += [
            (name.rstrip("_"), "yes" if one is True else str(one))
            for one in several
            if one is not None and one is not False
        ]
    text = f"?{urlencode(pairs)}" if pairs else ""
    # Two slashes at its front are to a browser the way to another server (RFC 3986 §4.2).
    below = f"/{path.lstrip('/')}" if path.startswith("//") else path
    return f"{place}{quote(below, safe='/:@!$*,;=~')}{text}"


# --- how it is answered --------------------------------------------------------------------------


def _html(call: Call, text: str, status: int, headers: Mapping[str, str] | None) -> Answer:
    body, ours = text.encode(), {**_HEADERS, **(headers or {})}
    # What holds a secret says so: its length, packed beside what somebody else typed, would tell of it.
    is_plain = ours.pop("content-encoding", "") == "identity"
    if len(body) > _LEAST_PACKED and not is_plain and takes_gzip(call):
        body, ours["content-encoding"] = gzip.compress(body, _PACKED, mtime=0), "gzip"
    return Answer(body, status=status, headers=ours, media_type=_HTML)


def _block(call: Call, blocks: Mapping[str, object], said: str | None) -> str:
    wanted = said or call.headers.get("hx-target", "").replace("-", "_")
    return wanted if wanted in blocks else "main"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("strongroom.server.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    environment.globals |= {"t": say, "static": address, "family": family, "version": __version__}
    return environment


# --- what stands in every page -------------------------------------------------------------------


def _values(call: Call) -> dict[str, Any]:
    """Give what every template may print."""
    if not call.browser:
        call.browser = secrets.token_urlsafe(24)
        # To who comes from another site the browser keeps our cookies back: he may have one, and in other
        # windows forms that are tied to it.
        if call.path in _BEGINS or call.headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
            call.cookies.append(browser_cookie(call.browser, is_secure=call.is_secure))
    me, token = _me(call), token_of(call.browser, call.identity.actor.id if call.has_identity else "")
    first = call.house.first
    cookies = call.headers.get("cookie", "")
    now = datetime.now(timezone.utc)
    return {
        **dates_in(zone_of(_zone(cookies)), now),
        **_environment().globals,
        "me": me,
        "deployment": call.deployment,
        "deployments": _deployments(call),
        "team": None,
        "first": first,
        "url": lambda path, **query: _url(call.deployment, first, path, query),
        "url_of": lambda deployment, path, **query: _url(deployment, first, path, query),
        "csrf": token,
        "csrf_token": token,
        "theme": _choice(cookies, "theme", _THEMES),
        "keys_off": _choice(cookies, "keys", ("off",)) == "off",
        "now": now,
        "here": asked(call) if call.method == "GET" else url_for(call, "/"),
        **_session(call, now),
        "path": call.path,
        "query": call.query,
        "request_id": call.request_id,
        "may": lambda action, ref=None: _may(call, action, ref),
        "partial": (),
        "outage": silence(call),
        "banners": drills(call, lambda path: _url(call.deployment, first, path, {})),
        "counts": {},
        "errors": {},
    }


def _twin(call: Call, twin: Twin | None) -> Mapping[str, str] | None:
    """Give the command, and the call with the deployment before its path, bare and as `curl` makes it."""
    if twin is None:
        return None
    # What somebody copies into a shell runs nothing, whatever an entry is called.
    path = quote(url_for(call, "") + twin.path, safe="/?&=%:@!*,;~+()[]") if twin.path else ""
    method = "" if twin.method == "GET" else f" -X {twin.method}"
    curl = f'curl -sS{method} "$STRONGROOM_URL{path}" -H "Authorization: Bearer $TOKEN"'
    return {"command": twin.command, "method": twin.method, "path": path, "curl": curl}


def _me(call: Call) -> Me:
    if not call.has_identity:
        return Me()
    actor = call.identity.actor
    return Me(actor.id, actor.id.partition(":")[2] if actor.id.startswith(PERSON) else actor.id, actor.roles)


def _session(call: Call, now: datetime) -> Mapping[str, int]:
    """Give in how many seconds a session ends without use, and at the latest; 0 for no session."""
    if not call.has_identity or call.identity.how != "session":
        return {"session_idle": 0, "session_ends": 0}
    ends = call.identity.expires
    left = 0 if ends is None else max(0, int((ends - now).total_seconds()))
    return {"session_idle": int(call.place.access.lifetimes.idle.total_seconds()), "session_ends": left}


def _deployments(call: Call) -> tuple[str, ...]:
    """Give the deployments whose session this browser has: of any other nothing is told."""
    if not call.has_identity:
        return ()
    cookies = call.headers.get("cookie", "")
    first = call.house.first
    name = "__Host-strongroom" if call.is_secure else "strongroom"
    found = []
    for one in call.house.names:
        with suppress(StrongroomError):
            cookie = name if one == first else f"{name}-{one}"
            if one == call.deployment or cookie_value(cookies, cookie):
                found.append(one)
    return tuple(found)


def _choice(cookies: str, name: str, allowed: tuple[str, ...]) -> str:
    with suppress(StrongroomError):
        found = cookie_value(cookies, name)
        return found if found in allowed else ""
    return ""


def _zone(cookies: str) -> str:
    with suppress(StrongroomError):
        return unquote(cookie_value(cookies, "tz") or "")
    return ""


def _may(call: Call, action: Action | str, ref: Ref | None) -> bool:
    """Tell what would be decided, for what is shown as possible: the act is decided when it is done."""
    from strongroom.policy import Action as Acts  # noqa: PLC0415 -- beside its type

    return call.place.guard.can(call.identity.actor, Acts(action), ref).is_allowed


# --- what is said of the last act ----------------------------------------------------------------


def _said(call: Call, toast: Toast) -> str:
    """Give the cookie that carries a toast to the next page; its mark is one that only this browser's has."""
    text = base64.urlsafe_b64encode(msgspec.json.encode(tuple(toast))).decode()
    secure = "; Secure" if call.is_secure else ""
    value = f"{_SAID}={text}.{_mark(call, text)}"
    return f"{value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={_SAID_SECONDS}{secure}"


def _mark(call: Call, text: str) -> str:
    who = call.identity.actor.id if call.has_identity else ""
    return hmac.new(call.browser.encode(), f"said\n{who}\n{text}".encode(), hashlib.sha256).hexdigest()


def _shown(call: Call, toast: Toast | None) -> Mapping[str, Any] | None:
    """Give the toast as a template prints it: this one, or the one that waited."""
    held = None
    with suppress(StrongroomError):
        held = cookie_value(call.headers.get("cookie", ""), _SAID)
    if held:
        call.cookies.append(f"{_SAID}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict")
    if toast is None and held:
        text, _, mark = held.partition(".")
        if hmac.compare_digest(mark.encode(), _mark(call, text).encode()):
            toast = Toast(*msgspec.json.decode(base64.urlsafe_b64decode(text)))
    if toast is None:
        return None
    path, mark, query = toast.undo.partition("?")
    undo = url_for(call, path) + mark + query if path else ""
    return {"text": say(toast.text, **toast.given), "undo": undo, "fields": toast.fields}
