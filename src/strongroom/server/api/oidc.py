"""
`/login/oidc`: people log in with an identity provider, by way of a browser, and log out there too.

Rules of this file:

1. What is on its way back stands in a cookie of its own, which the browser sends when the provider sends it
   back (`SameSite=Lax`); it is made for one login and forgotten with it.
2. A browser that is sent here by another site begins no login of a program: who follows a link did not start
   one.
3. Addresses are the settings' (`access.oidc.public_url`), never those of a request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from strongroom.errors import InvalidInputError, NotFoundError, StrongroomError
from strongroom.server import returned
from strongroom.server.api.sessions import cookie_of, standing
from strongroom.server.auth import cookie_name, cookie_value
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.service.access.oidc import Handed, Program, Returned
from strongroom.wire.access import LoginWays, OidcQuery, OidcReturn
from strongroom.wire.failure import CrossSiteError, MediaTypeError

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.access.oidc import OidcLogin

__all__ = ["ENDPOINTS"]

_FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 8
_OURS = ("none", "same-origin")


def ways(call: Call) -> LoginWays:
    """Tell how people log in here."""
    access = call.place.access
    return LoginWays(local=access.demands.takes_passwords, oidc=access.oidc is not None)


def begin(call: Call) -> Answer:
    """Send a browser to the identity provider."""
    asked, logins = call.asked(OidcQuery), _logins(call)
    if not _is_there(call, logins.public_url):
        # The cookie of this login must come back to the address that the provider knows.
        return _to(f"{_below(call, logins)}/login/oidc{_query(asked)}")
    program = None if asked.challenge is None else Program(asked.challenge, asked.port)
    if program is not None and call.headers.get("sec-fetch-site", "none") not in _OURS:
        raise CrossSiteError("another site began the login of a program", reason="Sec-Fetch-Site")
    if program is None and asked.port is not None:
        raise InvalidInputError("a port is that of a program, which has a challenge")
    sent = logins.begin(_callback(call, logins), program=program, again=asked.again)
    kept = _ticket(call, sent.ticket.reveal(), int(sent.lasts.total_seconds()))
    return _to(sent.address, {"set-cookie": kept})


def callback(call: Call) -> Answer:
    """End a login with what the identity provider sent a browser back with."""
    logins, gone = _logins(call), {"set-cookie": _ticket(call, "", 0)}
    try:
        ended = logins.finish(_returned(call))
    except StrongroomError as error:
        return returned.refused(error, gone)
    if isinstance(ended, Handed):
        return returned.to_program(ended, gone)
    # The ticket is good once, so that its cookie may stay; one answer sets one cookie.
    return returned.signed_in({"set-cookie": cookie_of(call, ended)})


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
    _logins(call).logged_out(tokens[0], source=call.source)
    return Answer(status=200, headers={"cache-control": "no-store"})


def _logins(call: Call) -> OidcLogin:
    found = call.place.access.oidc
    if found is None:
        raise NotFoundError("no identity provider is set up here", hint="access.oidc in the settings")
    return found


def _returned(call: Call) -> Returned:
    def said(name: str) -> str | None:
        values = call.query.get(name, [])
        return values[0] if len(values) == 1 else None  # one given twice is none

    return Returned(
        ticket=cookie_value(call.headers.get("cookie", ""), _ticket_name(call)),
        state=said("state") or "",
        code=said("code") or "",
        error=said("error") or "",
        issuer=said("iss"),
        source=call.source,
        replaces=standing(call),
    )


# --- addresses and cookies -----------------------------------------------------------------------------


def _below(call: Call, logins: OidcLogin) -> str:
    """Give where the API of the addressed deployment stands, as browsers reach it."""
    place = "" if call.deployment == call.house.first else f"/d/{call.deployment}"
    return f"{logins.public_url}{place}/v1"


def _callback(call: Call, logins: OidcLogin) -> str:
    return f"{_below(call, logins)}/login/oidc/callback"


def _is_there(call: Call, public_url: str) -> bool:
    """Tell whether a browser asked where it is to come back to; it never says the port that goes without."""
    there = urlsplit(public_url)
    implied = ":443" if there.scheme == "https" else ":80"
    return call.headers.get("host", "").lower() in (
        there.netloc.lower(),
        there.netloc.lower().removesuffix(implied),
    )


def _query(asked: OidcQuery) -> str:
    said = {"challenge": asked.challenge, "port": asked.port, "again": "true" if asked.again else None}
    told = {name: value for name, value in said.items() if value is not None}
    return f"?{urlencode(told)}" if told else ""


def _to(address: str, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status=302, headers={"location": address, "cache-control": "no-store", **(headers or {})})


def _ticket_name(call: Call) -> str:
    return f"{cookie_name(call.deployment, call.house.first, is_secure=call.is_secure)}-login"


def _ticket(call: Call, text: str, seconds: int) -> str:
    secure = "; Secure" if call.is_secure else ""
    return f"{_ticket_name(call)}={text}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}"


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
        "GET",
        "/login/oidc",
        begin,
        "Send a browser to the identity provider",
        "sessions",
        asks=OidcQuery,
        status=302,
        errors=(403, 404, 503),
        is_public=True,
        cost=5.0,
    ),
    Endpoint(
        "GET",
        "/login/oidc/callback",
        callback,
        "End a login with the identity provider",
        "sessions",
        asks=OidcReturn,
        errors=(401, 404, 503),
        is_public=True,
        cost=5.0,
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
