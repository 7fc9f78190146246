"""
`/v1/login/oidc`, `/signed-in`: a browser on its way to an identity provider and back, and what it is shown.

Rules of this file:

1. What is on its way back stands in a cookie of its own, which the browser sends when the provider sends it
   back (`SameSite=Lax`); it is made for one login and forgotten with it.
2. A browser that is sent here by another site begins no login of a program: who follows a link did not start
   one. A program that waits is let in by a person who compares a mark and follows a link: a page that went
   there by itself would let in whichever program sent the browser away.
3. Addresses are the settings' (`access.oidc.public_url`), never those of a request.
4. Whoever comes back is not redirected: no cookie of a session travels with a way that began elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from strongroom.errors import InvalidInputError, NotFoundError, StrongroomError
from strongroom.model.pairing import mark_of
from strongroom.server.auth import cookie_name, cookie_of, cookie_value
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.ui.frame import page, url_for
from strongroom.server.ui.sign_in import going_on_to
from strongroom.service.access.oidc import Handed, Program, Returned
from strongroom.wire.access import OidcQuery, OidcReturn
from strongroom.wire.failure import CrossSiteError, headers_of, status_of, without_paths

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.access.oidc import OidcLogin

__all__ = ["ENDPOINTS"]

_OURS = ("none", "same-origin")
_BESIDE = "/signed-in"


class Asking(OidcQuery, kw_only=True):
    """
    How a login begins in a browser.

    Args:
        beside: it is one beside the window that asked for it, which goes on by itself.
    """

    beside: bool = False


def begin(call: Call) -> Answer:
    """Send a browser to the identity provider."""
    asked, logins = call.asked(Asking), _logins(call)
    if not _is_there(call, logins.public_url):
        # The cookie of this login must come back to the address that the provider knows.
        return _to(f"{_below(call, logins)}/login/oidc{_query(asked)}")
    program = None if asked.challenge is None else Program(asked.challenge, asked.port)
    if program is not None and call.headers.get("sec-fetch-site", "none") not in _OURS:
        raise CrossSiteError("another site began the login of a program", reason="Sec-Fetch-Site")
    if program is None and asked.port is not None:
        raise InvalidInputError("a port is that of a program, which has a challenge")
    sent = logins.begin(f"{_below(call, logins)}/login/oidc/callback", program=program, again=asked.again)
    if asked.beside:
        call.cookies.append(going_on_to(call, url_for(call, _BESIDE)))
    kept = _ticket(call, sent.ticket.reveal(), int(sent.lasts.total_seconds()))
    return _to(sent.address)._replace(cookies=(kept,))


def callback(call: Call) -> Answer:
    """End a login with what the identity provider sent a browser back with."""
    logins, gone = _logins(call), _ticket(call, "", 0)
    try:
        ended = logins.finish(_returned(call))
    except StrongroomError as error:
        return _refused(call, error)._replace(cookies=(gone,))
    if isinstance(ended, Handed):
        return _to_program(call, ended)._replace(cookies=(gone,))
    on = page(call, "bounce.html", title="errors.going_on", there=url_for(call, "/login"))
    return on._replace(cookies=(cookie_of(call, ended), gone))


def beside(call: Call) -> Answer:
    """Say that the window this one was opened beside goes on."""
    return page(call, "signed_in.html", title="sign_in.beside")


def _to_program(call: Call, handed: Handed) -> Answer:
    """Let a person let his program in."""
    port, code = handed.program.port, handed.code.reveal()
    return page(
        call,
        "to_program.html",
        title="sign_in.program",
        # A code for a program is a secret for two minutes.
        headers={"content-encoding": "identity", "referrer-policy": "no-referrer"},
        actor=handed.actor,
        mark=mark_of(handed.program.challenge),
        code=code if port is None else "",
        there="" if port is None else f"http://127.0.0.1:{port}/?{urlencode({'code': code})}",
    )


def _refused(call: Call, error: StrongroomError) -> Answer:
    """Say that a login came to nothing, and why."""
    more = {name.decode(): value.decode() for name, value in headers_of(error)}
    return page(
        call,
        "not_signed_in.html",
        title="sign_in.refused",
        status=status_of(error),
        headers=more,
        said=without_paths(str(error)),
        hint=without_paths(error.hint or ""),
    )


def _logins(call: Call) -> OidcLogin:
    found = call.place.access.oidc
    if found is None:
        raise NotFoundError("no identity provider is set up here", hint="access.oidc in the settings")
    return found


def _returned(call: Call) -> Returned:
    def said(name: str) -> str | None:
        values = call.query.get(name, [])
        return values[0] if len(values) == 1 else None  # one given twice is none

    is_session = call.has_identity and call.identity.how == "session"
    return Returned(
        ticket=cookie_value(call.headers.get("cookie", ""), _ticket_name(call)),
        state=said("state") or "",
        code=said("code") or "",
        error=said("error") or "",
        issuer=said("iss"),
        source=call.source,
        replaces=(call.session or None) if is_session else None,
    )


# --- addresses and cookies -----------------------------------------------------------------------------


def _below(call: Call, logins: OidcLogin) -> str:
    """Give where the API of the addressed deployment stands, as browsers reach it."""
    return f"{logins.public_url}{url_for(call, '/v1')}"


def _is_there(call: Call, public_url: str) -> bool:
    """Tell whether a browser asked where it is to come back to; it never says the port that goes without."""
    there = urlsplit(public_url)
    implied = ":443" if there.scheme == "https" else ":80"
    return call.headers.get("host", "").lower() in (
        there.netloc.lower(),
        there.netloc.lower().removesuffix(implied),
    )


def _query(asked: Asking) -> str:
    said = {
        "challenge": asked.challenge,
        "port": asked.port,
        "again": "true" if asked.again else None,
        "beside": "true" if asked.beside else None,
    }
    told = {name: value for name, value in said.items() if value is not None}
    return f"?{urlencode(told)}" if told else ""


def _to(address: str) -> Answer:
    return Answer(status=302, headers={"location": address, "cache-control": "no-store"})


def _ticket_name(call: Call) -> str:
    return f"{cookie_name(call.deployment, call.house.first, is_secure=call.is_secure)}-login"


def _ticket(call: Call, text: str, seconds: int) -> str:
    secure = "; Secure" if call.is_secure else ""
    return f"{_ticket_name(call)}={text}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}"


ENDPOINTS = (
    Endpoint(
        "GET",
        "/v1/login/oidc",
        begin,
        "Send a browser to the identity provider",
        "page",
        asks=Asking,
        is_public=True,
        cost=5.0,
    ),
    Endpoint(
        "GET",
        "/v1/login/oidc/callback",
        callback,
        "End a login with the identity provider",
        "page",
        asks=OidcReturn,
        is_public=True,
        cost=5.0,
    ),
    Endpoint("GET", _BESIDE, beside, "Say that the other window goes on", "page"),
)
