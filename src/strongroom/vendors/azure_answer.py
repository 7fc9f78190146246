"""
What an answer of Key Vault says: a secret with its attributes, or why there is none.

The vault's words are never shown; of its complaints the codes are compared with those it is known to use.

Source: the REST API of Key Vault (2026-04-01) and its error codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    NotAuthenticatedError,
    RateLimitedError,
    StrongroomError,
)
from strongroom.vendors.answer import json_in, wait_in

if TYPE_CHECKING:
    from strongroom.vendors.http1 import Reply

__all__ = ["SecretItem", "code_of", "item_of", "misshapen", "no_vault", "opened", "refusal"]

_REFUSED, _LOGIN, _DENIED, _ABSENT, _TOO_MANY, _BROKEN = 400, 401, 403, 404, 429, 500
_MAX_SECONDS = 253_402_300_799  # the last of the year 9999, the last that has a date
_ROLES = {"get": "User", "list": "User"}  # of "Key Vault Secrets …"; Officer for the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretItem:
    """
    One version of a secret, or of a list its current one.

    Args:
        name: as the vault spells it.
        version: of 32 hexadecimal digits; "" where a list does not say.
        value: None in lists.
        is_enabled: False where the vault gives no value of it.
        not_before, expires, created, updated, deleted: UTC, to the second.
        tags: at most 15.
    """

    name: str
    version: str = ""
    value: str | None = field(default=None, repr=False)
    is_enabled: bool = True
    not_before: datetime | None = None
    expires: datetime | None = None
    created: datetime | None = None
    updated: datetime | None = None
    deleted: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None


def opened(reply: Reply, place: str) -> dict[str, object]:
    """
    Give the JSON object in the body of *reply*.

    Raises:
        BackendUnavailableError: it is none.
    """
    found = _object(reply)
    if found is None:
        raise misshapen(place)
    return found


def item_of(found: object, place: str) -> SecretItem:
    """
    Give the secret that *found* describes.

    Raises:
        BackendUnavailableError: it describes none.
    """
    if not isinstance(found, dict):
        raise misshapen(place)
    path = unquote(urlsplit(str(found.get("id"))).path).strip("/").split("/")
    said = found.get("attributes")
    facts = said if isinstance(said, dict) else {}
    tags = found.get("tags")
    value, content_type = found.get("value"), found.get("contentType")
    if len(path) < 2 or path[0] not in ("secrets", "deletedsecrets"):  # noqa: PLR2004 -- /secrets/<name>
        raise misshapen(place)
    return SecretItem(
        name=path[1],
        version=path[2] if len(path) > 2 else "",  # noqa: PLR2004 -- /secrets/<name>/<version>
        value=value if isinstance(value, str) else None,
        is_enabled=facts.get("enabled") is not False,
        not_before=_moment(facts.get("nbf")),
        expires=_moment(facts.get("exp")),
        created=_moment(facts.get("created")),
        updated=_moment(facts.get("updated")),
        deleted=_moment(found.get("deletedDate")),
        tags={key: text for key, text in tags.items() if isinstance(text, str)}
        if isinstance(tags, dict)
        else {},
        content_type=content_type if isinstance(content_type, str) else None,
    )


def _moment(seconds: object) -> datetime | None:
    if not isinstance(seconds, int) or not 0 <= seconds <= _MAX_SECONDS:
        return None
    return datetime.fromtimestamp(seconds, timezone.utc)


def code_of(reply: Reply) -> str:
    """Give the code of what a vault complains of, the inner one where there is one; "" when it does not."""
    error = (_object(reply) or {}).get("error")
    code = ""
    for _ in range(4):
        if not isinstance(error, dict):
            break
        code = error["code"] if isinstance(error.get("code"), str) else code
        error = error.get("innererror")
    return code


def refusal(place: str, verb: str, what: str, reply: Reply) -> StrongroomError:
    """
    Give the error for an answer that is not what was asked for.

    Args:
        place: the backend's name.
        reply: the answer.
        verb: the permission of Key Vault that the question needs: `get`, `list`, `set`, `delete`, `recover`
            or `purge`.
        what: whereon, for people.
    """
    if reply.status == _TOO_MANY:
        return RateLimitedError(
            f"the vault of the backend {place} was asked more often than it allows",
            retry_after=wait_in(reply.headers),
        )
    if reply.status >= _BROKEN:
        return BackendUnavailableError(
            f"the vault of the backend {place} failed with the status {reply.status}",
            backend=place,
            retry_after=wait_in(reply.headers),
        )
    code = code_of(reply)
    if reply.status == _LOGIN or not code:
        return _stranger(place, reply)
    if reply.status == _DENIED:
        return _denied(place, verb, what, code)
    if reply.status == _REFUSED and verb == "set":
        return InvalidInputError(
            f"the vault of the backend {place} does not take {what} as it is",
            hint="it takes values of up to 25,600 bytes and 15 tags",
        )
    return BackendUnavailableError(
        f"the vault of the backend {place} refused to {verb} {what} (status {reply.status})", backend=place
    )


def _denied(place: str, verb: str, what: str, code: str) -> AccessDeniedError:
    if code in ("ForbiddenByFirewall", "ForbiddenByConnection"):
        return AccessDeniedError(
            f"the firewall of the vault of the backend {place} refuses this machine",
            reason=f"{verb} on {what}: the vault's network rules",
            hint="allow its address, or a private endpoint, under Networking of the vault",
        )
    role = f'the role "Key Vault Secrets {_ROLES.get(verb, "Officer")}" on the vault'
    right = f'the secret permission "{verb.capitalize()}" in its access policy'
    hint = {"ForbiddenByRbac": f"assign {role}", "ForbiddenByPolicy": f"add {right}"}.get(
        code, f"assign {role}, or add {right} where it has no RBAC"
    )
    if verb == "purge":
        hint = f'assign the role "Key Vault Purge Operator", or add {right}'
    return AccessDeniedError(
        f"the identity of the backend {place} may not {verb} {what}", reason=f"{verb} on {what}", hint=hint
    )


def _stranger(place: str, reply: Reply) -> StrongroomError:
    if reply.status != _LOGIN or "bearer" not in reply.headers.get("www-authenticate", "").lower():
        return no_vault(place)
    return NotAuthenticatedError(
        f"the vault of the backend {place} does not take the token that Entra ID gave",
        hint="the vault may be of another tenant than the one that logs in: check tenant_id and vault_url",
    )


def no_vault(place: str) -> BackendConfigError:
    """Give the error for an answer that no vault gives."""
    return BackendConfigError(
        f"what answers at the vault_url of the backend {place} is no Key Vault",
        hint=f"check backend.{place}.vault_url: https://<vault>.vault.azure.net",
    )


def misshapen(place: str) -> BackendUnavailableError:
    """Give the error for JSON that is not what a vault gives."""
    return BackendUnavailableError(
        f"the vault of the backend {place} gave an answer of another shape",
        backend=place,
        hint=f"check backend.{place}.vault_url: what answers there may be no Key Vault",
    )


def _object(reply: Reply) -> dict[str, object] | None:
    found = json_in(reply.body)
    return found if isinstance(found, dict) else None
