"""`/whoami`, `/login`, `/logout`, `/sessions`: who asks, and how that begins and ends."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret
from strongroom.server.auth import cookie_name, cookie_of, credential_of, expired_cookie
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.wire.access import (
    CodeLogin,
    GlassRow,
    LoggedOut,
    Login,
    RoleName,
    ScopeShape,
    SessionGiven,
    SessionQuery,
    SessionRow,
    Sessions,
    WhoAmI,
)

if TYPE_CHECKING:
    from strongroom.policy import Role, Scope
    from strongroom.server.endpoint import Call
    from strongroom.service.access import Login as Begun
    from strongroom.service.access.break_glass import GlassRow as Broken
    from strongroom.service.access.sessions import SessionRow as Session
    from strongroom.service.access.shape import Glass

__all__ = ["ENDPOINTS", "glass_row", "roles_of", "scope_of", "standing"]


def roles_of(roles: tuple[Role, ...]) -> list[RoleName]:
    """Give roles as the wire has them."""
    return [RoleName(name=role.name, team=role.team) for role in roles]


def scope_of(scope: Scope | None) -> ScopeShape | None:
    """Give the bounds of a credential as the wire has them."""
    if scope is None:
        return None
    return ScopeShape(
        actions=list(scope.actions),
        kinds=list(scope.kinds),  # type: ignore[arg-type]  # checked when issued
        names=list(scope.names),
        teams=list(scope.teams),
    )


def whoami(call: Call) -> WhoAmI:
    """Tell who the server takes the request to come from."""
    identity = call.identity
    actor = identity.actor
    return WhoAmI(
        deployment=call.deployment,
        actor=actor.id,
        how=identity.how,  # type: ignore[arg-type]  # one of the three
        assurance=int(actor.assurance),
        level=actor.assurance.level,
        roles=roles_of(actor.roles),
        scope=scope_of(actor.scope),
        expires_at=identity.expires,
        proven_at=identity.since if identity.how == "session" else None,
        break_glass=None if identity.glass is None else glass_row(actor.id, identity.glass),
    )


def glass_row(actor: str, glass: Glass | Broken) -> GlassRow:
    """Give as the wire has it that *actor* broke the glass."""
    return GlassRow(
        actor=actor,
        reason=glass.reason,
        begun_at=glass.begun,
        expires_at=glass.expires,
        source=glass.source,
    )


def login(call: Call) -> Answer:
    """Begin a session with a person's name and password; the session that came with the request ends."""
    body = call.take(Login)
    begun = call.place.access.login(
        body.name, Secret(body.password), source=call.source, replaces=standing(call)
    )
    return _given(call, begun)


def login_with_code(call: Call) -> Answer:
    """Begin a session with the single-use code of a login link."""
    body = call.take(CodeLogin)
    begun = call.place.access.login_with_code(
        body.code, source=call.source, replaces=standing(call), verifier=body.verifier
    )
    return _given(call, begun)


def standing(call: Call) -> str | None:
    """Give the token of the session a request came with: it ends where another begins (AA10)."""
    if not call.has_identity or call.identity.how != "session":
        return None
    name = cookie_name(call.deployment, call.house.first, is_secure=call.is_secure)
    return credential_of(call.headers, name, allows_basic=False).text


def _given(call: Call, begun: Begun) -> Answer:
    token, identity = begun.token.reveal(), begun.identity
    expires = identity.expires or datetime.now(timezone.utc)
    # Where a cookie keeps it, no script need ever hold it.
    is_browser = "sec-fetch-site" in call.headers or "origin" in call.headers
    given = SessionGiven(
        token="" if is_browser else token, id=identity.id, actor=identity.actor.id, expires_at=expires
    )
    return Answer(given, headers={"set-cookie": cookie_of(call, begun), "cache-control": "no-store"})


def logout(call: Call) -> Answer:
    """End the session the request came with; a token stays. A provider's says where it ends there."""
    access = call.place.access
    how = access.logout(call.identity)
    cookie = expired_cookie(
        cookie_name(call.deployment, call.house.first, is_secure=call.is_secure), is_secure=call.is_secure
    )
    if how != "oidc" or access.oidc is None:
        return Answer(status=204, headers={"set-cookie": cookie})
    place = "" if call.deployment == call.house.first else f"/d/{call.deployment}"
    there = access.oidc.logout_address(f"{access.oidc.public_url}{place}/login")
    return Answer(LoggedOut(provider_logout=there), status=200, headers={"set-cookie": cookie})


def sessions(call: Call) -> Sessions:
    """Give the sessions that stand: the actor's own, or as an administrator those of others."""
    asked = call.asked(SessionQuery)
    if asked.everybody and asked.actor is not None:
        raise InvalidInputError("actor and everybody exclude one another")
    own = call.identity.actor.id if asked.actor is None else asked.actor
    rows = call.room.access.sessions.list(None if asked.everybody else own)
    return Sessions(sessions=[_row(row, call.identity.id) for row in rows])


def _row(row: Session, current: str) -> SessionRow:
    return SessionRow(
        id=row.id,
        actor=row.actor,
        how=row.how,  # type: ignore[arg-type]  # one of the three
        source=row.source,
        created_at=row.begun,
        last_used_at=row.seen,
        expires_at=row.expires,
        is_current=row.id == current,
    )


def revoke(call: Call) -> Answer:
    """End a session: one's own, or as an administrator somebody else's; in read-only mode too."""
    call.room.access.sessions.revoke(call.params["id"])
    return Answer(status=204)


ENDPOINTS = (
    Endpoint("GET", "/whoami", whoami, "Tell who asks", "sessions", gives=WhoAmI),
    Endpoint(
        "POST",
        "/login",
        login,
        "Begin a session with a password",
        "sessions",
        takes=Login,
        gives=SessionGiven,
        errors=(401,),
        is_public=True,
        cost=5.0,
    ),
    Endpoint(
        "POST",
        "/login/code",
        login_with_code,
        "Begin a session with the code of a login link",
        "sessions",
        takes=CodeLogin,
        gives=SessionGiven,
        errors=(401,),
        is_public=True,
        cost=5.0,
    ),
    Endpoint(
        "POST", "/logout", logout, "End the session", "sessions", gives=LoggedOut, status=204, errors=(200,)
    ),
    Endpoint("GET", "/sessions", sessions, "List sessions", "sessions", asks=SessionQuery, gives=Sessions),
    Endpoint("DELETE", "/sessions/{id}", revoke, "End a session", "sessions", status=204),
)
