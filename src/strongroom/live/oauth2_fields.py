"""
What a connection says of OAuth2, in the object `oauth2` of its extra, and how new tokens are put there.

    {"oauth2": {"token_url": "https://id.example.com/token", "grant": "refresh_token", "refresh_token": "…"}}

The client's id and secret are `client_id` and `client_secret` there, else login and password. Airflow's own
HttpHook knows nothing of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from strongroom.errors import InvalidInputError
from strongroom.live.trouble import trouble
from strongroom.model.extra import Extra
from strongroom.model.jsontext import decode
from strongroom.model.machine import is_private_way

if TYPE_CHECKING:
    from strongroom.errors import StrongroomError
    from strongroom.model.connection import Connection

__all__ = ["KEYS", "Claim", "Provider", "Token", "provider_of", "token_of", "with_token"]

KEYS = (
    "token_url",
    "grant",
    "client_id",
    "client_secret",
    "client_auth",
    "scope",
    "audience",
    "resource",
    "write_back",
    "access_token",
    "refresh_token",
    "expires_at",
    "renewing",
)
"""The keys of the object."""

_GRANTS = ("client_credentials", "refresh_token")
_AUTHS = ("basic", "post")
_SENDABLE = re.compile(r"[!-~]{1,65536}")  # RFC 6750 §2.1, and what more than one provider gives
_NO_URL = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Provider:
    """
    Who gives tokens, and to whom.

    Args:
        url: of its token endpoint.
        grant: what a token is asked for with: `client_credentials` or `refresh_token`.
        client_id, client_secret: who asks.
        is_in_body: these two go in the request's body, not in its header.
        more: (name, value) beside them, such as a scope.
        is_written: new tokens are written into the connection.
    """

    url: str
    grant: str
    client_id: str
    client_secret: str
    is_in_body: bool
    more: tuple[tuple[str, str], ...]
    is_written: bool


class Claim(NamedTuple):
    """
    Who is about to use the refresh token, so that nobody else does.

    Args:
        by: a word of that process's own.
        until: after which it counts for nothing.
    """

    by: str
    until: datetime


class Token(NamedTuple):
    """
    What stands in a connection.

    Args:
        access: the token to send, or None.
        refresh: what the next one is asked for with, or None.
        renew_at: when the next one is needed; None where nobody has said when this one ends.
        claim: who is about to renew it.
    """

    access: str | None = None
    refresh: str | None = None
    renew_at: datetime | None = None
    claim: Claim | None = None

    def __repr__(self) -> str:
        return "Token(…)"

    def is_good(self, now: datetime) -> bool:
        """There is a token, and it has not ended."""
        return self.access is not None and (self.renew_at is None or now < self.renew_at)


def provider_of(connection: Connection, name: str) -> Provider:
    """
    Read who gives tokens.

    Raises:
        BackendConfigError: a field is missing, or cannot be read.
    """
    said = _said(connection, name)
    for key in said:
        if key not in KEYS:
            raise trouble(
                "options", "unknown", name=name, detail="in oauth2", hint=f"known: {', '.join(KEYS)}"
            )
    grant = said.get("grant") or ("refresh_token" if said.get("refresh_token") else "client_credentials")
    auth = said.get("client_auth") or "basic"
    if grant not in _GRANTS or auth not in _AUTHS:
        field, known = ("grant", _GRANTS) if grant not in _GRANTS else ("client_auth", _AUTHS)
        raise _malformed(name, field, f"known: {', '.join(known)}")
    secret = said.get("client_secret") or (connection.password.reveal() if connection.password else "")
    is_written = said.get("write_back", True)
    if not isinstance(is_written, bool):
        raise _malformed(name, "write_back", "true or false")
    found = Provider(
        url=_url(said, name),
        grant=grant,
        client_id=_text(said, "client_id", name) or connection.login or "",
        client_secret=str(secret),
        is_in_body=auth == "post",
        more=tuple(
            (key, _words(said, key, name)) for key in ("scope", "audience", "resource") if said.get(key)
        ),
        is_written=is_written,
    )
    if not found.client_id:
        raise trouble("options", "missing", name=name, detail="oauth2.client_id, or login")
    if grant == "refresh_token" and not said.get("refresh_token"):
        raise trouble("options", "missing", name=name, detail="oauth2.refresh_token")
    return found


def token_of(connection: Connection, name: str) -> Token:
    """Read the tokens that stand in *connection*. Raises as `provider_of`."""
    said = _said(connection, name)
    access, refresh = _text(said, "access_token", name), _text(said, "refresh_token", name)
    if access is not None and _SENDABLE.fullmatch(access) is None:
        raise _malformed(name, "access_token")
    renewing = said.get("renewing")
    claim = None
    if isinstance(renewing, dict):
        until = _moment(renewing.get("until"))
        claim = None if until is None else Claim(str(renewing.get("by")), until)
    return Token(access, refresh, _moment(said.get("expires_at")), claim)


def with_token(connection: Connection, token: Token, name: str) -> Connection:
    """Give *connection* with *token* in it; all else stays. Raises as `provider_of`."""
    extra = connection.extra.reveal() if connection.extra else {}
    said = dict(_said(connection, name))
    for key, value in (
        ("access_token", token.access),
        ("refresh_token", token.refresh),
        ("expires_at", None if token.renew_at is None else _text_of(token.renew_at)),
        ("renewing", _renewing(token.claim)),
    ):
        if value is None:
            said.pop(key, None)
        else:
            said[key] = value
    return connection.replace(extra=Extra({**extra, "oauth2": said}))


def _renewing(claim: Claim | None) -> dict[str, str] | None:
    return None if claim is None else {"by": claim.by, "until": _text_of(claim.until)}


def _said(connection: Connection, name: str) -> dict[str, Any]:
    extra = connection.extra.reveal() if connection.extra else {}
    said = extra.get("oauth2")
    if isinstance(said, str):  # forms keep documents as text
        try:
            said = decode(said, what="oauth2")
        except InvalidInputError:
            said = None
    if not isinstance(said, dict):
        raise _malformed(name, "", "an object with token_url in it")
    return said


def _url(said: dict[str, Any], name: str) -> str:
    text = _text(said, "token_url", name)
    if text is None:
        raise trouble("options", "missing", name=name, detail="oauth2.token_url")
    try:
        parts = urlsplit(text)
        is_sound = bool(parts.hostname) and not parts.username and parts.port != 0 and not parts.fragment
        is_http = parts.scheme in ("https", "http")
    except ValueError:
        raise _malformed(name, "token_url") from None
    if not is_sound or not is_http or not is_private_way(text) or _NO_URL.search(text):
        raise _malformed(name, "token_url", "it begins with https://, since a secret is sent there")
    return text


def _text(said: dict[str, Any], key: str, name: str) -> str | None:
    value = said.get(key)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise _malformed(name, key)
    return value


def _words(said: dict[str, Any], key: str, name: str) -> str:
    value = said[key]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return " ".join(value)
    return _text(said, key, name) or ""


def _moment(value: object) -> datetime | None:
    """Read RFC 3339; what is none says nothing of an end."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=timezone.utc)


def _text_of(moment: datetime) -> str:
    whole = moment.astimezone(timezone.utc).replace(microsecond=0)
    # Rounded up: what has just been claimed must not have ended by then.
    return (whole + timedelta(seconds=1) if moment.microsecond else whole).isoformat()


def _malformed(name: str, key: str, hint: str | None = None) -> StrongroomError:
    return trouble("options", "malformed", name=name, detail=f"oauth2.{key}".rstrip("."), hint=hint)
