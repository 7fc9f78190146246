"""Shapes of who: logins, sessions, people, tokens, roles."""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import Literal

from strongroom.wire.shape import UNSET, Asked, Given, Kind, UnsetType

__all__ = [
    "ActorRow",
    "Actors",
    "CodeLogin",
    "Login",
    "NewActor",
    "NewPassword",
    "NewToken",
    "PatchActor",
    "RoleMember",
    "RoleName",
    "RoleRow",
    "Roles",
    "ScopeShape",
    "SessionGiven",
    "SessionRow",
    "Sessions",
    "TokenIssued",
    "TokenRow",
    "Tokens",
    "WhoAmI",
]


class RoleName(Asked, kw_only=True):
    """
    A role that is had or given.

    Args:
        name: `admin`, `op`, `user`, `viewer` or one of the deployment's own.
        team: only for what this team owns; None for everything in the deployment.
    """

    name: str
    team: str | None = None


class ScopeShape(Asked, kw_only=True):
    """
    What a credential is good for at most. An empty list is no limit.

    Args:
        actions: list, describe, read, reveal, write, delete, rotate, test, administer.
        names: patterns, as `prod/*`.
        teams: teams; an empty text is the global names.
    """

    actions: list[str] = []
    kinds: list[Kind] = []
    names: list[str] = []
    teams: list[str] = []


class WhoAmI(Given, kw_only=True):
    """
    Who the server takes the request to come from.

    Args:
        actor: `person:anna`, `service:ci`.
        how: how the identity was proven.
        assurance: how strong that proof is, from 0.
        expires_at: when the credential ends; None for never.
    """

    deployment: str
    actor: str
    how: Literal["token", "session", "basic"]
    assurance: int
    roles: list[RoleName]
    scope: ScopeShape | None
    expires_at: datetime | None


class Login(Asked, kw_only=True):
    """A person's name and password."""

    name: str
    password: str


class CodeLogin(Asked, kw_only=True):
    """The single-use code of a login link."""

    code: str


class SessionGiven(Given, kw_only=True):
    """
    A session that has begun.

    Args:
        token: for `Authorization: Bearer`; shown once. Empty for a browser, which keeps it in a cookie.
    """

    token: str
    id: str
    actor: str
    expires_at: datetime


class SessionRow(Given, kw_only=True):
    """
    A session of the actor.

    Args:
        source: where it was begun from.
        is_current: it is the one this request came with.
    """

    id: str
    actor: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime
    source: str
    is_current: bool


class Sessions(Given, kw_only=True):
    """The actor's sessions, newest first."""

    sessions: list[SessionRow]


class ActorRow(Given, kw_only=True):
    """
    A person or a service of the deployment.

    Args:
        id: `person:anna`.
        is_locked: too many wrong passwords; ends by itself.
    """

    id: str
    name: str
    is_enabled: bool
    is_locked: bool
    has_password: bool
    roles: list[RoleName]
    created_at: datetime | None
    last_login_at: datetime | None


class Actors(Given, kw_only=True):
    """Everybody of the deployment, in order of ids."""

    actors: list[ActorRow]


class NewActor(Asked, kw_only=True):
    """
    A person to add.

    Args:
        name: 1 to 64 of a-z, 0-9, `.`, `_`, `@`, `-`.
        password: unsaid, the person cannot log in until one is set.
    """

    name: str
    password: str | None = None
    roles: list[RoleName] = []


class PatchActor(Asked, kw_only=True):
    """What to change of a person."""

    is_enabled: bool | UnsetType = UNSET


class NewPassword(Asked, kw_only=True):
    """
    A password to set.

    Args:
        old_password: needed where somebody changes his own.
    """

    password: str
    old_password: str | None = None


class NewToken(Asked, kw_only=True):
    """
    A token to issue.

    Args:
        name: of the service that will use it; its actor is `service:<name>`.
        expires_in: seconds from now; None for never.
        scope: bounds, whatever policy allows its roles.
    """

    name: str
    roles: list[RoleName] = []
    expires_in: int | None = None
    scope: ScopeShape | None = None
    comment: str = ""


class TokenRow(Given, kw_only=True):
    """What may be seen of a token; never the token."""

    id: str
    name: str
    actor: str
    roles: list[RoleName]
    scope: ScopeShape | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    last_used_at: datetime | None


class TokenIssued(TokenRow, kw_only=True):
    """
    A new token.

    Args:
        token: shown this once and never again.
    """

    token: str


class Tokens(Given, kw_only=True):
    """Every token that is good, in order of names."""

    tokens: list[TokenRow]


class RoleMember(Given, kw_only=True):
    """Who has a role, and for which team's entries (None: all)."""

    actor: str
    team: str | None


class RoleRow(Given, kw_only=True):
    """A role and its members."""

    name: str
    members: list[RoleMember]


class Roles(Given, kw_only=True):
    """Every role that is known or had."""

    roles: list[RoleRow]
