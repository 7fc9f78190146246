"""
`/login/ways`, `/login/oidc/logout`: how people log in here, and what an identity provider tells by itself.

What a browser is shown on its way there and back is the page's (`server/ui/returned.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from strongroom.errors import InvalidInputError, NotFoundError
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.wire.access import LoginWays
from strongroom.wire.failure import MediaTypeError

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]

_FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 8


def ways(call: Call) -> LoginWays:
    """Tell how people log in here."""
    access = call.place.access
    return LoginWays(local=access.demands.takes_passwords, oidc=access.oidc is not None)


def logged_out(call: Call) -> Answer:
    """End the sessions of whom the identity provider says has logged out there."""
    media = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != _FORM:
        raise MediaTypeError("a notice of a logout is a form", hint=f"send Content-Type: {_FORM}")
    try:
        fields = parse_qs(call.body.decode("ascii"), max_num_fields=_MAX_FIELDS)
    except ValueError:
        fields = {}
    tokens = fields.get("logout_token", [])
    if len(tokens) != 1:
        raise InvalidInputError("a notice of a logout holds one logout_token")
    logins = call.place.access.oidc
    if logins is None:
        raise NotFoundError("no identity provider is set up here", hint="access.oidc in the settings")
    logins.logged_out(tokens[0], source=call.source)
    return Answer(status=200, headers={"cache-control": "no-store"})


ENDPOINTS = (
    Endpoint(
        "GET",
        "/login/ways",
        ways,
        "Tell how people log in",
        "sessions",
        gives=LoginWays,
        is_public=True,
    ),
    Endpoint(
        "POST",
        "/login/oidc/logout",
        logged_out,
        "Hear from the identity provider that somebody logged out there",
        "sessions",
        takes_media=(_FORM,),
        errors=(401, 404, 415),
        is_public=True,
        cost=5.0,
    ),
)
