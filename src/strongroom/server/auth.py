"""
Who asks: from the headers of a request to an identity, or a refusal.

Not for checking tokens, passwords and sessions (`service/access`).

Rules of this file:

1. A credential comes in `Authorization` or in our cookie, never in the address. Both at once, or one of
   them twice, is refused: nobody should have to know which one counted.
2. What came with a cookie changes something only if it provably comes from our own pages.
3. HTTP Basic is taken only where a route says so: Airflow's old API.
"""

from __future__ import annotations

import base64
import binascii
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import NotAuthenticatedError
from strongroom.model.secret import Secret
from strongroom.wire.failure import CrossSiteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.server.endpoint import Call
    from strongroom.service.access import Access, Identity, Login

__all__ = [
    "Credential",
    "browser_cookie",
    "browser_of",
    "check_origin",
    "check_same_site",
    "cookie_name",
    "cookie_of",
    "cookie_value",
    "credential_of",
    "expired_cookie",
    "identify",
    "name_and_password",
    "session_cookie",
]

_SAFE = frozenset({"GET", "HEAD"})
_MAX_CREDENTIAL = 16_384  # characters: a signed token with the groups of its owner


class Credential(NamedTuple):
    """
    What came with a request.

    Args:
        kind: how it came.
        text: the token; for Basic what stood behind the word.
    """

    kind: str
    text: str

    def __repr__(self) -> str:
        return f"Credential(kind={self.kind!r})"


def cookie_name(deployment: str, first: str, *, is_secure: bool) -> str:
    """Give the name of the cookie that holds a session of *deployment*."""
    name = "__Host-strongroom" if is_secure else "strongroom"
    return name if deployment == first else f"{name}-{deployment}"


def browser_of(headers: Mapping[str, str], *, is_secure: bool) -> str:
    """Give what a browser is known by, whoever uses it; "" for nothing."""
    with suppress(NotAuthenticatedError):
        return cookie_value(headers.get("cookie", ""), _browser_name(is_secure=is_secure)) or ""
    return ""


def browser_cookie(text: str, *, is_secure: bool) -> str:
    """Give the `Set-Cookie` by which a browser is known until it closes."""
    secure = "; Secure" if is_secure else ""
    return f"{_browser_name(is_secure=is_secure)}={text}; Path=/; HttpOnly; SameSite=Strict{secure}"


def _browser_name(*, is_secure: bool) -> str:
    # No deployment has a name with a full stop at its front, so no session has this name.
    return "__Host-strongroom.form" if is_secure else "strongroom.form"


def cookie_of(call: Call, begun: Login) -> str:
    """Give the `Set-Cookie` that has a browser keep the session that *begun*."""
    now = datetime.now(timezone.utc)
    return session_cookie(
        cookie_name(call.deployment, call.house.first, is_secure=call.is_secure),
        begun.token.reveal(),
        is_secure=call.is_secure,
        seconds=max(1, int(((begun.identity.expires or now) - now).total_seconds())),
    )


def session_cookie(name: str, token: str, *, is_secure: bool, seconds: int) -> str:
    """Give the `Set-Cookie` of a session that ends in *seconds*."""
    secure = "; Secure" if is_secure else ""
    return f"{name}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}"


def expired_cookie(name: str, *, is_secure: bool) -> str:
    """Give the `Set-Cookie` that makes a browser forget its session."""
    return session_cookie(name, "", is_secure=is_secure, seconds=0)


def credential_of(headers: Mapping[str, str], cookie: str, *, allows_basic: bool) -> Credential:
    """
    Give the one credential of a request.

    Args:
        headers: names in lower case, of one given twice the values joined by ", ".
        cookie: the name of ours.
        allows_basic: whether HTTP Basic is taken here.

    Raises:
        NotAuthenticatedError: there is none, there are several, or it is of no kind that is taken here.
    """
    given = headers.get("authorization")
    session = cookie_value(headers.get("cookie", ""), cookie)
    if given is None:
        if session is None:
            raise NotAuthenticatedError(
                "this needs an identity", hint="Authorization: Bearer srm_…; strongroom login gets one"
            )
        return Credential("cookie", session)
    if session is not None:
        # A browser sends its cookie along with what a script of ours asks for; a script of ours never
        # sends the other. Who sends both gets neither.
        raise NotAuthenticatedError("a token and a session came together", hint="send one of them")
    scheme, _, text = given.partition(" ")
    text = text.strip()
    if len(given) > _MAX_CREDENTIAL or not text or "," in text:
        raise NotAuthenticatedError("the Authorization header is not one credential")
    if scheme.lower() == "bearer":
        return Credential("token", text)
    if scheme.lower() == "basic" and allows_basic:
        return Credential("basic", text)
    raise NotAuthenticatedError(
        "the Authorization header is of no kind that is taken here", hint="Authorization: Bearer srm_…"
    )


def cookie_value(header: str, name: str) -> str | None:
    """
    Give what the cookie *name* holds, None for none.

    Raises:
        NotAuthenticatedError: it came twice.
    """
    found = None
    for part in header.replace(", ", "; ").split(";"):
        key, mark, value = part.strip().partition("=")
        if key == name and mark:
            if found is not None:
                raise NotAuthenticatedError("a cookie of ours came twice")
            found = value[:_MAX_CREDENTIAL]
    return found


def check_same_site(
    method: str, headers: Mapping[str, str], *, host: str, is_secure: bool, takes_form: bool = False
) -> None:
    """
    Refuse a change by cookie that did not come from our own pages.

    Args:
        method: HTTP's.
        headers: of the request.
        host: the server's, as the request names it.
        is_secure: it came over TLS.
        takes_form: a form of our own pages is taken here, whose token is looked at besides.

    Raises:
        CrossSiteError: it did not, or does not say.
    """
    if method in _SAFE:
        return
    check_origin(headers, host=host, is_secure=is_secure)
    if headers.get("sec-fetch-site") is None and headers.get("origin") is None:
        raise CrossSiteError(
            "a change that comes with a cookie must say where it comes from",
            reason="neither Sec-Fetch-Site nor Origin",
            hint="programs use a token: Authorization: Bearer srm_…",
        )
    media = headers.get("content-type")
    if takes_form:
        return  # what is no form is refused where it is read
    if media is not None and media.partition(";")[0].strip().lower() != "application/json":
        raise CrossSiteError("a change that comes with a cookie must be JSON", reason="Content-Type")


def check_origin(headers: Mapping[str, str], *, host: str, is_secure: bool) -> None:
    """
    Refuse what a browser says came from another site, with a cookie or to get one: nobody is to be signed
    in as somebody else unseen.

    Raises:
        CrossSiteError: it did.
    """
    site = headers.get("sec-fetch-site")
    origin = headers.get("origin")
    ours = f"{'https' if is_secure else 'http'}://{host}"
    if site is not None and site not in ("same-origin", "none"):
        raise CrossSiteError("this request came from another site", reason="Sec-Fetch-Site")
    if origin is not None and origin != ours:
        raise CrossSiteError("this request came from another origin", reason="Origin")


def name_and_password(text: str) -> tuple[str, Secret[str]]:
    """
    Read what HTTP Basic carries.

    Raises:
        NotAuthenticatedError: it is no name and password.
    """
    decoded = ""
    with suppress(binascii.Error, ValueError):
        decoded = base64.b64decode(text, validate=True).decode()
    name, mark, password = decoded.partition(":")
    if not mark:
        raise NotAuthenticatedError("the Basic credential is no name and password")
    return name, Secret(password)


def identify(access: Access, credential: Credential, *, source: str, is_use: bool = True) -> Identity:
    """
    Give who the credential proves. Blocks for a password; a token is a look into a table.

    Args:
        access: of the deployment.
        credential: what came.
        source: the address it came from.
        is_use: False for what a page that stands open asks by itself: its session goes on ending.

    Raises:
        NotAuthenticatedError: nobody.
        RateLimitedError: too many wrong ones.
    """
    if credential.kind != "basic":
        return access.authenticate(credential.text, source=source, is_use=is_use)
    name, password = name_and_password(credential.text)
    return access.basic(name, password, source=source)
