"""What `[access.oidc]` is: the provider people log in with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from strongroom.errors import InvalidInputError, SettingsError
from strongroom.model.machine import is_private_way
from strongroom.model.principal import canonical
from strongroom.model.ref import check_team
from strongroom.settings.source import SecretSource

if TYPE_CHECKING:
    from strongroom.settings.table import Table

__all__ = ["OidcSettings", "oidc_of", "role_named"]

# Asymmetric ones alone: what is signed with the client's secret proves nothing of who signed it.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
_MAX_LEEWAY = 10.0  # seconds
_MAX_GROUPS = 1_000
_URL = re.compile(r"https?://[^\s@?#]{1,2000}", re.ASCII)
_SCOPE = re.compile(r"[!#-\[\]-~]{1,200}", re.ASCII)  # RFC 6749 §3.3


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """
    `[access.oidc]`.

    Args:
        issuer: of the provider, to the letter; its discovery document stands below it.
        client_id: how the provider knows us.
        public_url: where browsers reach this server; the provider sends them back there.
        client_secret: for a confidential client; unsaid, it is a public one.
        client_auth: how the secret is shown: in a header (`basic`) or in the body (`post`).
        scopes: what is asked for.
        name_claim: which claim names a person; a way into one, as `a/b`.
        groups_claim: which claim holds groups; likewise.
        roles: the roles of whoever is in a group: `{ data = ["op", "admin@data"] }`.
        default_roles: the roles of everybody the provider lets in.
        link_existing: whoever comes first with the name of a person that is here is that person.
        ca: the authority of the provider's certificate, PEM; the system's if unsaid.
        algorithms: signatures of ID tokens that are taken.
        leeway_seconds: two clocks may differ by.
        timeout_seconds: for one answer of the provider.
    """

    issuer: str
    client_id: str
    public_url: str
    client_secret: SecretSource | None = None
    client_auth: Literal["basic", "post"] = "basic"
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default_roles: tuple[str, ...] = ()
    link_existing: bool = False
    ca: Path | None = None
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    leeway_seconds: float = _MAX_LEEWAY
    timeout_seconds: float = 5.0


def oidc_of(table: Table) -> OidcSettings:
    """
    Make `[access.oidc]` of its table.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    found, key = table.build(OidcSettings), table.prefix
    for name in ("issuer", "public_url"):
        _check_url(getattr(found, name), key + name)
    for name in ("client_id", "name_claim", "groups_claim"):
        if not getattr(found, name).strip():
            raise SettingsError(f"{key}{name} is empty", key=key + name)
    if "openid" not in found.scopes or not all(_SCOPE.fullmatch(scope) for scope in found.scopes):
        raise SettingsError(
            f"{key}scopes must be words, openid among them", key=f"{key}scopes", hint='scopes = ["openid"]'
        )
    if not found.algorithms or not set(found.algorithms) <= set(ALGORITHMS):
        raise SettingsError(
            f"{key}algorithms must be some of {', '.join(ALGORITHMS)}", key=f"{key}algorithms"
        )
    _check_seconds(found, key)
    _check_roles(found.default_roles, f"{key}default_roles")
    return replace(found, public_url=found.public_url.rstrip("/"), roles=_roles(found.roles, f"{key}roles"))


def role_named(text: str) -> tuple[str, str | None]:
    """
    Give role and team of `admin` or `op@data`.

    Raises:
        InvalidInputError: it is neither.
    """
    name, _, team = text.partition("@")
    if canonical(name, what="the name of a role") != name:
        raise InvalidInputError("this role has another spelling")
    if "@" in text:
        check_team(team)
    return name, team or None


def _check_url(url: str, key: str) -> None:
    if not _URL.fullmatch(url) or not urlsplit(url).hostname:
        raise SettingsError(f"{key} must be https://, without user, query and fragment", key=key)
    if not is_private_way(url):
        raise SettingsError(
            f"{key} must be https://: who logs in would be told to whoever listens",
            key=key,
            hint="plain http is for a server or a provider on this machine",
        )


def _check_seconds(found: OidcSettings, key: str) -> None:
    for name, most in (("leeway_seconds", _MAX_LEEWAY), ("timeout_seconds", 60.0)):
        if not 0 <= getattr(found, name) <= most or (
            name == "timeout_seconds" and found.timeout_seconds == 0
        ):
            raise SettingsError(f"{key}{name} must be at most {most:g}, and above 0", key=key + name)


def _roles(given: Mapping[str, object], key: str) -> dict[str, tuple[str, ...]]:
    if len(given) > _MAX_GROUPS:
        raise SettingsError(f"{key} names more than {_MAX_GROUPS} groups", key=key)
    made = {}
    for group, named in given.items():
        roles = (named,) if isinstance(named, str) else named
        if not isinstance(roles, list | tuple) or not all(isinstance(role, str) for role in roles):
            raise SettingsError(
                f"{key} must give each group a list of roles", key=key, hint='roles = { data = ["op@data"] }'
            )
        made[group] = tuple(str(role) for role in roles)
        _check_roles(made[group], key)
    return made


def _check_roles(roles: tuple[str, ...], key: str) -> None:
    for role in roles:
        try:
            role_named(role)
        except InvalidInputError:
            is_role = False
        else:
            is_role = True
        if not is_role:
            raise SettingsError(
                f"{key} must name roles, in their one spelling", key=key, hint="admin, or op@data for a team"
            )
