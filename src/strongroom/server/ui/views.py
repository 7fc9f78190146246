"""
Views of the inventory that a person gave a name to, kept in a cookie of the browser: addresses, nothing else.

    POST /inventory/views    act=keep|forget, name=…, back=the address of the view

Rules of this file:

1. What is kept is a name and a query of `/inventory`; the inventory reads each anew, and leaves out what is
   none any more.
2. A browser keeps a few for each deployment and each person, so that whoever signs in next sees his own.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.server.auth import cookie_value
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.ui.frame import Toast, form_of, redirect
from strongroom.wire.failure import FieldError
from strongroom.wire.head import parsed_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS", "MOST", "MOST_NAME", "Kept", "kept_views"]

MOST = 6
MOST_NAME = 40  # characters
_MOST_QUERY = 360  # characters: all of them fit into one cookie
_MOST_COOKIE = 3_800  # bytes: RFC 6265 §6.1 has browsers keep 4096 with the name
_YEAR = 31_536_000  # seconds


class Kept(NamedTuple):
    """One view: what it is called, and its query as it stands in an address."""

    name: str
    query: str


def kept_views(call: Call) -> list[Kept]:
    """Give the views that this person keeps in this browser, in the order they were named."""
    with suppress(StrongroomError, ValueError, msgspec.MsgspecError):
        text = cookie_value(call.headers.get("cookie", ""), _name(call)) or ""
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        found = msgspec.json.decode(packed, type=list[tuple[str, str]]) if packed else []
        return [Kept(*one) for one in found[:MOST] if _is_name(one[0]) and len(one[1]) <= _MOST_QUERY]
    return []


def change(call: Call) -> Answer:
    """Keep the view at an address under a name, or forget the one of that name."""
    form = form_of(call, "act", "name", "back")
    name = " ".join(form.text("name", most=MOST_NAME * 4).split())
    query = form.text("back", most=8000).partition("#")[0].partition("?")[2]
    rest = [one for one in kept_views(call) if one.name != name]
    undo = {"name": name, "back": f"?{query}"}
    if form.text("act", most=10) == "forget":
        said = Toast(
            "views.forgotten", {"name": name}, "/inventory/views", {"name": name, "back": f"?{query}"}
        )
        return _kept(call, rest, query, said)
    if not _is_name(name):
        raise FieldError(f"a name is 1 to {MOST_NAME} characters that can be printed", field="name")
    if len(rest) >= MOST:
        raise InvalidInputError(f"a browser keeps {MOST} views", limit=MOST, hint="forget one first")
    if len(query) > _MOST_QUERY:
        raise InvalidInputError(
            f"the address of a view is at most {_MOST_QUERY} characters", limit=_MOST_QUERY
        )
    said = Toast("views.kept", {"name": name}, "/inventory/views", {**undo, "act": "forget"})
    return _kept(call, [*rest, Kept(name, query)], query, said)


def _kept(call: Call, views: Sequence[Kept], query: str, said: Toast) -> Answer:
    text = base64.urlsafe_b64encode(msgspec.json.encode(views)).decode().rstrip("=")
    if len(text) > _MOST_COOKIE:
        raise InvalidInputError("no more fits into this browser", hint="forget a view, or shorten a name")
    secure = "; Secure" if call.is_secure else ""
    age = _YEAR if views else 0
    cookie = f"{_name(call)}={text}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}"
    answer = redirect(call, "/inventory", toast=said, **parsed_query(query.encode()))
    return answer._replace(cookies=(*answer.cookies, cookie))


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MOST_NAME and text.isprintable()


def _name(call: Call) -> str:
    """Give the name of the cookie; it tells nobody whose it is."""
    whose = f"{call.deployment}\n{call.identity.actor.id}"
    return f"strongroom.views-{hashlib.sha256(whose.encode()).hexdigest()[:12]}"


ENDPOINTS = (
    Endpoint("POST", "/inventory/views", change, "Keep a view by a name", "inventory", takes_form=True),
)
