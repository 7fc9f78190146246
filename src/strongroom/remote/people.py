"""Who may come in, at a server: the `access` of a remote room, and who the server takes us for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import quote

from strongroom.caller import spelled
from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret
from strongroom.place import elsewhere
from strongroom.policy import Role, Scope
from strongroom.service.access import (
    Access,
    AgentRow,
    Agents,
    BreakGlass,
    Done,
    GlassRow,
    GroupRow,
    Groups,
    HeldRow,
    InvitationRow,
    Invited,
    Issued,
    MembershipRow,
    People,
    PersonRow,
    Roles,
    ServiceRow,
    Services,
    SessionRow,
    Sessions,
    TokenRow,
    Tokens,
)
from strongroom.wire import access as wire
from strongroom.wire import agents as agents_wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from strongroom.caller import Client

__all__ = ["RemoteAccess"]

_DONE = Done("")  # the server's registry keeps its revision to itself


class RemoteAccess(Access):
    """Keep people, tokens, roles and sessions as whoever the token is of. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @cached_property
    def people(self) -> People:
        """Who may log in."""
        return _People(self._client)

    @cached_property
    def tokens(self) -> Tokens:
        """What services prove themselves with."""
        return _Tokens(self._client)

    @cached_property
    def agents(self) -> Agents:
        """The hosts that ask for their processes."""
        return _Agents(self._client)

    @cached_property
    def services(self) -> Services:
        """The programs that ask, and who vouches for them."""
        return _Services(self._client)

    @cached_property
    def roles(self) -> Roles:
        """Who is a member of what."""
        return _Roles(self._client)

    @cached_property
    def groups(self) -> Groups:
        """What the identity provider's groups give."""
        return _Groups(self._client)

    @cached_property
    def sessions(self) -> Sessions:
        """Who is logged in."""
        return _Sessions(self._client)

    @cached_property
    def break_glass(self) -> BreakGlass:
        """Who is an administrator in need."""
        return _BreakGlass(self._client)

    def whoami(self) -> wire.WhoAmI:
        """Tell who the server takes the token to be of."""
        return self._client.get("/whoami", wire.WhoAmI)

    def login_link(self, person: str | None = None) -> Secret[str]:
        """Refuse: a code is made on the host of the store."""
        del person
        raise elsewhere("login links are made")

    def problems(self) -> list[str]:
        """Refuse: rows are checked where the store is."""
        raise elsewhere("the rows of who may are checked")

    def accept(self) -> list[str]:
        """Refuse: rows are accepted where the store is."""
        raise elsewhere("the rows of who may are accepted")

    def close(self) -> None:
        """Do nothing: the room closes what it asks with."""


class _BreakGlass(BreakGlass):
    def __init__(self, client: Client) -> None:
        self._client = client

    def begin(self, reason: str, lifetime: timedelta) -> GlassRow:
        body = spelled(wire.GlassRequest(reason=reason, seconds=int(lifetime.total_seconds())))
        return _glass(self._client.post("/break-glass", wire.GlassRow, body))

    def end(self, actor: str | None = None) -> Done:
        whose = self._client.get("/whoami", wire.WhoAmI).actor if actor is None else actor
        self._client.change("DELETE", _path("/break-glass", whose), None, is_repeatable=False)
        return _DONE

    def list(self) -> list[GlassRow]:
        return [_glass(row) for row in self._client.get("/break-glass", wire.Glasses).break_glass]


def _glass(row: wire.GlassRow) -> GlassRow:
    return GlassRow(
        actor=row.actor, reason=row.reason, begun=row.begun_at, expires=row.expires_at, source=row.source
    )


class _People(People):
    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self, name: str) -> PersonRow:
        return _person(self._client.get(_path("/actors", name), wire.ActorRow))

    def add(self, name: str, password: Secret[str] | None = None, *, roles: Sequence[Role] = ()) -> Done:
        self._client.post("/actors", wire.ActorRow, _new_actor(name, password, roles), is_change=True)
        return _DONE

    def set_password(self, name: str, password: Secret[str]) -> Done:
        body = spelled(wire.NewPassword(password=password.reveal()))
        self._client.change("POST", _path("/actors", name) + "/password", None, body)
        return _DONE

    def disable(self, name: str) -> Done:
        return self._patch(name, wire.PatchActor(is_enabled=False))

    def enable(self, name: str) -> Done:
        return self._patch(name, wire.PatchActor(is_enabled=True))

    def unlock(self, name: str) -> Done:
        return self._patch(name, wire.PatchActor(is_locked=False))

    def unlink(self, name: str) -> Done:
        return self._patch(name, wire.PatchActor(is_linked=False))

    def _patch(self, name: str, body: wire.PatchActor) -> Done:
        self._client.change("PATCH", _path("/actors", name), wire.ActorRow, spelled(body))
        return _DONE

    def delete(self, name: str) -> Done:
        self._client.change("DELETE", _path("/actors", name), None, is_repeatable=False)
        return _DONE

    def list(self) -> list[PersonRow]:
        return [_person(row) for row in self._client.get("/actors", wire.Actors).actors]


def _new_actor(name: str, password: Secret[str] | None, roles: Sequence[Role]) -> Secret[bytes]:
    text = None if password is None else password.reveal()
    return spelled(wire.NewActor(name=name, password=text, roles=_named(roles)))


class _Tokens(Tokens):
    def __init__(self, client: Client) -> None:
        self._client = client

    def issue(
        self,
        name: str,
        *,
        roles: Sequence[Role] = (),
        lifetime: timedelta | None = None,
        scope: Scope | None = None,
        comment: str = "",
    ) -> Issued:
        request = wire.NewToken(
            name=name,
            roles=_named(roles),
            expires_in=None if lifetime is None else int(lifetime.total_seconds()),
            scope=_scope_shape(scope),
            comment=comment,
        )
        given = self._client.post("/tokens", wire.TokenIssued, spelled(request), is_change=True)
        return Issued(token=Secret(given.token), row=_token(given), version="")

    def revoke(self, token: str) -> Done:
        self._client.change("DELETE", _path("/tokens", token), None, is_repeatable=False)
        return _DONE

    def list(self) -> list[TokenRow]:
        return [_token(row) for row in self._client.get("/tokens", wire.Tokens).tokens]


class _Services(Services):
    def __init__(self, client: Client) -> None:
        self._client = client

    def disable(self, name: str) -> Done:
        return self._patch(name, is_enabled=False)

    def enable(self, name: str) -> Done:
        return self._patch(name, is_enabled=True)

    def _patch(self, name: str, *, is_enabled: bool) -> Done:
        body = spelled(wire.PatchService(is_enabled=is_enabled))
        self._client.change("PATCH", _path("/services", name), None, body)
        return _DONE

    def list(self) -> list[ServiceRow]:
        return [
            ServiceRow(
                name=row.name,
                actor=row.actor,
                roles=_had(row.roles),
                issuers=tuple(row.issuers),
                has_token=row.has_token,
                is_disabled=not row.is_enabled,
                seen=row.last_used_at,
                source=row.source,
            )
            for row in self._client.get("/services", wire.Services).services
        ]


class _Agents(Agents):
    def __init__(self, client: Client) -> None:
        self._client = client

    def invite(
        self, name: str, *, roles: Sequence[Role] = (), scope: Scope | None = None, comment: str = ""
    ) -> Invited:
        request = agents_wire.InviteAgent(
            name=name, roles=_named(roles), scope=_scope_shape(scope), comment=comment
        )
        given = self._client.post(
            "/agents/invite", agents_wire.AgentInvited, spelled(request), is_change=True
        )
        row = InvitationRow(
            name=given.name,
            roles=tuple(roles),
            scope=scope,
            comment=comment,
            created_by="",
            expires=given.expires_at,
        )
        return Invited(code=Secret(given.token), row=row)

    def admit(
        self, name: str, *, roles: Sequence[Role] = (), scope: Scope | None = None, comment: str = ""
    ) -> Done:
        request = agents_wire.InviteAgent(
            name=name, roles=_named(roles), scope=_scope_shape(scope), comment=comment
        )
        self._client.change("POST", "/agents/admit", None, spelled(request), is_repeatable=False)
        return _DONE

    def revoke(self, name: str) -> Done:
        self._client.change("DELETE", _path("/agents", name), None, is_repeatable=False)
        return _DONE

    def invitations(self) -> list[InvitationRow]:
        return [
            InvitationRow(
                name=row.name,
                roles=_had(row.roles),
                scope=_scope(row.scope),
                comment=row.comment,
                created_by=row.invited_by,
                expires=row.expires_at,
            )
            for row in self._client.get("/agents", agents_wire.Agents).invitations
        ]

    def list(self) -> list[AgentRow]:
        return [_agent(row) for row in self._client.get("/agents", agents_wire.Agents).agents]


def _agent(row: agents_wire.AgentRow) -> AgentRow:
    return AgentRow(
        name=row.name,
        actor=row.actor,
        roles=_had(row.roles),
        scope=_scope(row.scope),
        comment=row.comment,
        fingerprint=row.fingerprint,
        created_at=row.enrolled_at,
        created_by=row.invited_by,
        sessions=row.sessions,
        login_at=row.last_login_at,
        source=row.source,
    )


class _Roles(Roles):
    def __init__(self, client: Client) -> None:
        self._client = client

    def grant(self, role: str, actor: str, *, team: str | None = None) -> Done:
        self._client.change("PUT", self._path(role, actor), None, query={"team": team})
        return _DONE

    def revoke(self, role: str, actor: str, *, team: str | None = None) -> Done:
        path, query = self._path(role, actor), {"team": team}
        self._client.change("DELETE", path, None, query=query, is_repeatable=False)
        return _DONE

    def _path(self, role: str, actor: str) -> str:
        return f"{_path('/roles', role)}{_path('/members', actor)}"

    def list(self) -> list[MembershipRow]:
        told = self._client.get("/roles", wire.Roles)
        return [
            MembershipRow(
                role=role.name,
                actor=one.actor,
                team=one.team,
                created_at=one.created_at,
                created_by=one.created_by,
                by_group=one.by_group,
            )
            for role in told.roles
            for one in role.members
        ]


class _Groups(Groups):
    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def has_provider(self) -> bool:
        return self._told().has_provider

    def held(self) -> list[HeldRow]:
        return [HeldRow(one.actor, _had([one.role])[0], one.since) for one in self._told().members]

    def _told(self) -> wire.Groups:
        return self._client.get("/groups", wire.Groups)

    def list(self) -> list[GroupRow]:
        return [GroupRow(one.name, _had(one.roles)) for one in self._told().groups]


class _Sessions(Sessions):
    def __init__(self, client: Client) -> None:
        self._client = client

    def revoke(self, session: str) -> Done:
        self._client.change("DELETE", _path("/sessions", session), None, is_repeatable=False)
        return _DONE

    def revoke_all(self, actor: str) -> Done:
        for row in self.list(actor):
            self.revoke(row.id)
        return _DONE

    def list(self, actor: str | None = None) -> list[SessionRow]:
        query: dict[str, object] = {"everybody": True} if actor is None else {"actor": actor}
        told = self._client.get("/sessions", wire.Sessions, query)
        return [
            SessionRow(
                id=row.id,
                actor=row.actor,
                how=row.how,
                source=row.source,
                begun=row.created_at,
                seen=row.last_used_at,
                expires=row.expires_at,
            )
            for row in told.sessions
        ]


def _path(below: str, name: str) -> str:
    if name in ("", ".", ".."):
        raise InvalidInputError("this is the name of nobody and nothing")
    return f"{below}/{quote(name, safe='')}"


def _named(roles: Sequence[Role]) -> list[wire.RoleName]:
    return [wire.RoleName(name=role.name, team=role.team) for role in roles]


def _had(roles: Sequence[wire.RoleName]) -> tuple[Role, ...]:
    return tuple(Role(role.name, role.team) for role in roles)


def _scope_shape(scope: Scope | None) -> wire.ScopeShape | None:
    if scope is None:
        return None
    return wire.ScopeShape(
        actions=list(scope.actions),
        kinds=list(scope.kinds),  # type: ignore[arg-type]  # the server checks them
        names=list(scope.names),
        teams=list(scope.teams),
    )


def _scope(shape: wire.ScopeShape | None) -> Scope | None:
    if shape is None:
        return None
    return Scope(tuple(shape.actions), tuple(shape.kinds), tuple(shape.names), tuple(shape.teams))


def _person(row: wire.ActorRow) -> PersonRow:
    return PersonRow(
        name=row.name,
        actor=row.id,
        is_disabled=not row.is_enabled,
        has_password=row.has_password,
        is_linked=row.is_linked,
        is_locked=row.is_locked,
        roles=_had(row.roles),
        sessions=row.sessions,
        created_at=row.created_at,
        created_by=row.created_by,
        login_at=row.last_login_at,
    )


def _token(row: wire.TokenRow) -> TokenRow:
    return TokenRow(
        id=row.id,
        name=row.name,
        actor=row.actor,
        roles=_had(row.roles),
        scope=_scope(row.scope),
        comment=row.comment,
        created_at=row.created_at,
        created_by=row.created_by,
        expires=row.expires_at,
        is_expired=row.is_expired,
        seen=row.last_used_at,
        source=row.source,
    )
