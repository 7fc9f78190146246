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
    "GlassRequest",
    "GlassRow",
    "Glasses",
    "GroupMember",
    "GroupRow",
    "Groups",
    "LoggedOut",
    "Login",
    "LoginWays",
    "NewActor",
    "NewPassword",
    "NewToken",
    "OidcQuery",
    "OidcReturn",
    "PatchActor",
    "PatchService",
    "RoleMember",
    "RoleName",
    "RoleRow",
    "Roles",
    "ScopeShape",
    "ServiceRow",
    "Services",
    "SessionGiven",
    "SessionQuery",
    "SessionRow",
    "Sessions",
    "TeamOfRole",
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


class GlassRow(Given, kw_only=True):
    """
    That a person broke the glass: an administrator until it ends.

    Args:
        reason: why, in his words.
        source: the address he did it from.
    """

    actor: str
    reason: str
    begun_at: datetime
    expires_at: datetime
    source: str


class WhoAmI(Given, kw_only=True):
    """
    Who the request is taken to come from.

    Args:
        actor: `person:anna`, `service:ci`; of an agent `local:1000`.
        how: how the identity was proven; `jwt` by a token somebody else signed; `user` is what the kernel
            tells an agent of its socket.
        assurance: how strong that proof is, from 0.
        level: the same by its name: `L1`.
        expires_at: when the credential ends; None for never.
        proven_at: when the identity was proven; what needs a fresh proof asks for another one after a while.
        break_glass: the person broke the glass, and is an administrator until it ends.
    """

    deployment: str
    actor: str
    how: Literal["token", "session", "basic", "jwt", "user"]
    assurance: int
    level: str = ""
    roles: list[RoleName]
    scope: ScopeShape | None
    expires_at: datetime | None
    proven_at: datetime | None = None
    break_glass: GlassRow | None = None


class Login(Asked, kw_only=True):
    """A person's name and password."""

    name: str
    password: str


class CodeLogin(Asked, kw_only=True):
    """
    The single-use code of a login link, or of a login by way of a browser.

    Args:
        verifier: what the challenge of that login was made of; empty for a link.
    """

    code: str
    verifier: str = ""


class LoginWays(Given, kw_only=True):
    """
    How people log in.

    Args:
        local: with a name and a password of this server's.
        oidc: with the identity provider, at `/login/oidc`.
    """

    local: bool
    oidc: bool


class OidcQuery(Asked, kw_only=True):
    """
    How a login with the identity provider begins.

    Args:
        challenge: of the program that waits for it, S256 of RFC 7636; unsaid for a browser.
        port: of 127.0.0.1 where that program waits; unsaid, a person brings it the code.
        again: prove anew who it is, however lately that was.
    """

    challenge: str | None = None
    port: int | None = None
    again: bool = False


class OidcReturn(Asked, kw_only=True):
    """
    What the identity provider sends a browser back with; what else it says is passed over.

    Args:
        state: as it was sent there.
        code: what proves somebody, once.
        error: why nobody was let in.
        iss: who it is (RFC 9207).
    """

    state: str | None = None
    code: str | None = None
    error: str | None = None
    iss: str | None = None


class LoggedOut(Given, kw_only=True):
    """
    A session of the identity provider's that has ended here.

    Args:
        provider_logout: where a browser ends it there, too; None where there is no such place.
    """

    provider_logout: str | None = None


class GlassRequest(Asked, kw_only=True):
    """
    To break the glass.

    Args:
        reason: why; it is recorded.
        seconds: for how long.
    """

    reason: str
    seconds: int


class Glasses(Given, kw_only=True):
    """Who broke the glass and is an administrator now."""

    break_glass: list[GlassRow]


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


class SessionQuery(Asked, kw_only=True):
    """
    Whose sessions; unsaid, the actor's own.

    Args:
        actor: of this one.
        everybody: of all; for administrators.
    """

    actor: str | None = None
    everybody: bool = False


class SessionRow(Given, kw_only=True):
    """
    A session that stands; never its token.

    Args:
        how: what it was begun with; `key` is an agent's, `oidc` the identity provider's.
        source: where it was begun from.
        is_current: it is the one this request came with.
    """

    id: str
    actor: str
    how: Literal["password", "code", "key", "certificate", "oidc"]
    source: str
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    is_current: bool


class Sessions(Given, kw_only=True):
    """Sessions that stand, newest first."""

    sessions: list[SessionRow]


class ActorRow(Given, kw_only=True):
    """
    A person of the deployment.

    Args:
        id: how policies and records call him: `person:anna`.
        is_locked: too many wrong passwords; ends by itself.
        sessions: how many stand.
        last_login_at: when he last logged in, with his password or at the identity provider.
        is_linked: he is somebody of the identity provider.
    """

    id: str
    name: str
    is_enabled: bool
    is_locked: bool
    has_password: bool
    roles: list[RoleName]
    sessions: int
    created_at: datetime
    created_by: str
    last_login_at: datetime | None
    is_linked: bool = False


class Actors(Given, kw_only=True):
    """Every person of the deployment, in order of names. Services are told with their tokens."""

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
    """
    What to change of a person.

    Args:
        is_enabled: a person who is not is let in no more; what he has open ends.
        is_locked: false ends the wait after too many wrong passwords.
        is_linked: false lets the person be nobody of the identity provider any more.
    """

    is_enabled: bool | UnsetType = UNSET
    is_locked: Literal[False] | UnsetType = UNSET
    is_linked: Literal[False] | UnsetType = UNSET


class NewPassword(Asked, kw_only=True):
    """
    A password to set.

    Args:
        old_password: needed where somebody changes his own.
    """

    password: str
    old_password: str | None = None


class PatchService(Asked, kw_only=True):
    """
    What to change of a service.

    Args:
        is_enabled: a service that is not is let in no more, whatever proves it.
    """

    is_enabled: bool


class ServiceRow(Given, kw_only=True):
    """
    A program that asks.

    Args:
        issuers: by whose signed tokens it is known, as the settings call them.
        has_token: it has a token of ours.
        last_used_at: when it was last heard of; None for never, as far as the server knows.
        source: from where.
    """

    name: str
    actor: str
    roles: list[RoleName]
    issuers: list[str]
    has_token: bool
    is_enabled: bool
    last_used_at: datetime | None
    source: str


class Services(Given, kw_only=True):
    """Every service that has a token or is in a rule of an issuer, in order of names."""

    services: list[ServiceRow]


class NewToken(Asked, kw_only=True):
    """
    A token to issue.

    Args:
        name: of the service that will use it; its actor is `service:<name>`, and it has one token at a time.
        roles: the service's from now on.
        expires_in: seconds from now; None for never.
        scope: bounds, whatever policy allows its roles.
        comment: public; at most 250 characters.
    """

    name: str
    roles: list[RoleName] = []
    expires_in: int | None = None
    scope: ScopeShape | None = None
    comment: str = ""


class TokenRow(Given, kw_only=True):
    """
    What may be seen of a token; never the token.

    Args:
        id: public.
        actor: whom it proves.
        source: from where it was last used.
    """

    id: str
    name: str
    actor: str
    roles: list[RoleName]
    scope: ScopeShape | None
    comment: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    is_expired: bool
    last_used_at: datetime | None
    source: str


class TokenIssued(TokenRow, kw_only=True):
    """
    A new token.

    Args:
        token: shown this once and never again.
    """

    token: str


class Tokens(Given, kw_only=True):
    """Every token, in order of names; one that has expired for a while longer."""

    tokens: list[TokenRow]


class TeamOfRole(Asked, kw_only=True):
    """
    For whose entries a role is.

    Args:
        team: only for what this team owns; unsaid, for everything in the deployment.
    """

    team: str | None = None


class RoleMember(Given, kw_only=True):
    """
    Who has a role, and for which team's entries (None: all).

    Args:
        by_group: it comes with a group of the identity provider, and goes with it.
    """

    actor: str
    team: str | None
    created_at: datetime
    created_by: str
    by_group: bool = False


class RoleRow(Given, kw_only=True):
    """A role and its members."""

    name: str
    members: list[RoleMember]


class Roles(Given, kw_only=True):
    """Every role that somebody has."""

    roles: list[RoleRow]


class GroupRow(Given, kw_only=True):
    """A group of the identity provider, and what being in it gives; "" is everybody it lets in."""

    name: str
    roles: list[RoleName]


class GroupMember(Given, kw_only=True):
    """Who has a role by a group, since which login."""

    actor: str
    role: RoleName
    since: datetime


class Groups(Given, kw_only=True):
    """
    What groups of the identity provider give, as the settings say, and who has roles by them.

    Args:
        has_provider: people log in by one at all.
    """

    has_provider: bool
    groups: list[GroupRow]
    members: list[GroupMember]
