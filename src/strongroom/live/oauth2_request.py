"""One question to a provider of OAuth2 and its answer, read with suspicion (RFC 6749 §3.2, §5)."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlsplit

import httpx2

from strongroom.errors import InvalidInputError
from strongroom.live.oauth2_fields import Token
from strongroom.live.trouble import trouble
from strongroom.live.web_pool import context_of
from strongroom.live.web_trouble import is_refusal_of_certificate, trouble_of
from strongroom.model.jsontext import decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.live.oauth2_fields import Provider
    from strongroom.live.web import Way

__all__ = ["asked_of"]

_MAX_BYTES = 65_536
_SECONDS = 20.0  # for all of an answer
_WAIT_SECONDS = 10.0  # for each part of it
_LEAD = timedelta(seconds=30)  # before the end of a token at which another is needed …
_SHARE = 4  # … or a quarter of its life, if that is less
_LONGEST = 10 * 365 * 86_400  # seconds
_SENDABLE = re.compile(r"[!-~]+")
_REFUSED = ("invalid_client", "invalid_grant", "unauthorized_client", "access_denied")
_OK, _SERVER_ERROR, _TOO_MANY = 200, 500, 429
_AUTHORIZE_ANEW = (
    "authorize the application anew and write its refresh token; see to the client's id and secret"
)


def asked_of(provider: Provider, token: Token, way: Way, name: str, now: Callable[[], datetime]) -> Token:
    """
    Ask *provider* for a token.

    Args:
        provider: whom, and as whom.
        token: what stands now; its refresh token is used where the grant is that.
        way: how it is reached.
        name: of the connection.
        now: the wall clock, UTC.

    Returns:
        the token, with the refresh token to use next.

    Raises:
        AccessDeniedError: it gives none to this client, or the refresh token counts no more.
        BackendUnavailableError: it does not answer, or says that it cannot now.
        BackendConfigError: what it answers is no token, or it cannot be reached at all.
    """
    asked_at = now()
    status, body = _exchanged(provider, _form(provider, token), way, name)
    answer = _read(body)
    if status == _TOO_MANY or status >= _SERVER_ERROR:
        raise trouble("token", "unavailable", name=name)
    if status != _OK:
        is_refused = status in (401, 403) or answer.get("error") in _REFUSED
        raise trouble(
            "token",
            "credentials" if is_refused else "malformed",
            name=name,
            hint=_AUTHORIZE_ANEW if is_refused and provider.grant == "refresh_token" else None,
        )
    access, refresh = answer.get("access_token"), answer.get("refresh_token")
    is_bearer = str(answer.get("token_type", "bearer")).lower() == "bearer"
    if not isinstance(access, str) or not _SENDABLE.fullmatch(access) or not is_bearer:
        raise trouble("token", "malformed", name=name)
    kept = refresh if isinstance(refresh, str) and refresh else token.refresh
    return Token(access, kept, _ends(answer.get("expires_in"), asked_at))


def _form(provider: Provider, token: Token) -> dict[str, str]:
    form = {"grant_type": provider.grant, **dict(provider.more)}
    if provider.grant == "refresh_token":
        form["refresh_token"] = token.refresh or ""
    if provider.is_in_body:
        form |= {"client_id": provider.client_id, "client_secret": provider.client_secret}
    return form


def _exchanged(provider: Provider, form: dict[str, str], way: Way, name: str) -> tuple[int, bytes]:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if not provider.is_in_body:
        # RFC 6749 §2.3.1: both are encoded as in forms before they are put together.
        pair = f"{quote_plus(provider.client_id)}:{quote_plus(provider.client_secret)}"
        headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
    parts = urlsplit(provider.url)
    proxy = way.proxy_for(parts.scheme, parts.hostname or "")
    transport = httpx2.HTTPTransport(verify=context_of(way, name), proxy=proxy, trust_env=False)
    try:
        with (
            httpx2.Client(transport=transport, trust_env=False, timeout=_WAIT_SECONDS) as client,
            client.stream("POST", provider.url, data=form, headers=headers) as response,
        ):
            return response.status_code, _bounded(response, name)
    except httpx2.TimeoutException:
        raise trouble("token", "unavailable", name=name) from None
    except httpx2.ConnectError as error:
        failed = error
    except httpx2.HTTPError as error:
        is_shown = is_refusal_of_certificate(error)
        raise trouble("token", "credentials" if is_shown else "unavailable", name=name) from None
    # Outside `except`: its frames hold what was sent.
    found = trouble_of(failed, name, detail="oauth2.token_url")
    is_down = getattr(found, "step", "") == "tcp"
    raise trouble("token", "unavailable", name=name) if is_down else found


def _bounded(response: httpx2.Response, name: str) -> bytes:
    until = time.monotonic() + _SECONDS
    found = b""
    for part in response.iter_raw():
        found += part
        if len(found) > _MAX_BYTES:
            raise trouble("token", "malformed", name=name)
        if time.monotonic() > until:
            raise trouble("token", "unavailable", name=name)
    return found


def _read(body: bytes) -> dict[str, Any]:
    try:
        found = decode(body.decode(), what="what the provider answered")
    except (InvalidInputError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _ends(said: object, asked_at: datetime) -> datetime | None:
    """Give when the next token is needed."""
    if isinstance(said, str) and said.isascii() and said.isdigit():
        said = float(said)
    if isinstance(said, bool) or not isinstance(said, (int, float)) or not 0 < said < _LONGEST:
        return None
    life = timedelta(seconds=float(said))
    return asked_at + life - min(_LEAD, life / _SHARE)
