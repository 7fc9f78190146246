"""
`/actors`, `/tokens`, `/roles`: people, what services prove themselves with, and who takes part in what.

What revokes (disabling, deleting, taking away) is possible in read-only mode too; the services decide that.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret
from strongroom.policy import Role, Scope
from strongroom.server.api.sessions import roles_of, scope_of
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.proof import require_proof
from strongroom.wire.access import (
    ActorRow,
    Actors,
    GroupMember,
    GroupRow,
    Groups,
    NewActor,
    NewPassword,
    NewToken,
    PatchActor,
    RoleMember,
    RoleName,
    RoleRow,
    Roles,
    ScopeShape,
    TeamOfRole,
    TokenIssued,
    TokenRow,
    Tokens,
)
from strongroom.wire.failure import FieldError
from strongroom.wire.shape import UNSET

if TYPE_CHECKING:
    from typing import Any

    from strongroom.server.endpoint import Call
    from strongroom.service.access import PersonRow
    from strongroom.service.access import TokenRow as Token

__all__ = ["ENDPOINTS", "scope_in"]

_PERSON = "person:"
_MAX_SECONDS = 10 * 366 * 86_400  # what is longer is refused by the service, if Python can count it


# --- people ------------------------------------------------------------------------------------------


def actors(call: Call) -> Actors:
    """Give every person of the deployment."""
    return Actors(actors=[_person(row) for row in call.room.access.people.list()])


def add(call: Call) -> ActorRow:
    """Add a person; without a password he logs in by link until one is set."""
    body, people = call.take(NewActor), call.room.access.people
    password = None if body.password is None else Secret(body.password)
    people.add(body.name, password, roles=_roles(body.roles))
    return _person(people.find(body.name))


def actor(call: Call) -> ActorRow:
    """Give one person."""
    return _person(call.room.access.people.find(_name(call)))


def patch(call: Call) -> ActorRow:
    """Let a person in or not, end the wait after too many wrong passwords, or let go of a link."""
    body, name, people = call.take(PatchActor), _name(call), call.room.access.people
    # Whoever is unlinked, the next of the provider with that name may become.
    if body.is_enabled is True or body.is_linked is not UNSET:
        require_proof(call)
    if body.is_enabled is not UNSET:
        (people.enable if body.is_enabled else people.disable)(name)
    if body.is_locked is not UNSET:
        people.unlock(name)
    if body.is_linked is not UNSET:
        people.unlink(name)
    return _person(people.find(name))


def delete(call: Call) -> Answer:
    """Take a person away, with sessions and roles."""
    call.room.access.people.delete(_name(call))
    return Answer(status=204)


def set_password(call: Call) -> Answer:
    """Set a password; whoever sets his own proves the old one. The person's sessions end, this one too."""
    body, identity = call.take(NewPassword), call.identity
    if identity.actor.id != _PERSON + _name(call).strip().casefold():
        require_proof(call)
        call.room.access.people.set_password(_name(call), Secret(body.password))
    elif body.old_password is None:
        raise FieldError("your own password is changed with the old one", field="$.old_password")
    else:
        call.place.access.change_password(identity, Secret(body.old_password), Secret(body.password))
    return Answer(status=204)


def _name(call: Call) -> str:
    """Give the name of the person the path names, as `person:anna` or `anna`."""
    return call.params["id"].removeprefix(_PERSON)


def _person(row: PersonRow) -> ActorRow:
    return ActorRow(
        id=row.actor,
        name=row.name,
        is_enabled=not row.is_disabled,
        is_locked=row.is_locked,
        has_password=row.has_password,
        is_linked=row.is_linked,
        roles=roles_of(row.roles),
        sessions=row.sessions,
        created_at=row.created_at,
        created_by=row.created_by,
        last_login_at=row.login_at,
    )


def _roles(roles: list[RoleName]) -> list[Role]:
    return [Role(role.name, role.team) for role in roles]


# --- tokens ------------------------------------------------------------------------------------------


def tokens(call: Call) -> Tokens:
    """Give every token; never what it is."""
    return Tokens(tokens=[TokenRow(**_token(row)) for row in call.room.access.tokens.list()])


def issue(call: Call) -> Answer:
    """Issue a token for a service; it is shown this once."""
    body = call.take(NewToken)
    if body.expires_in is not None and not 0 < body.expires_in <= _MAX_SECONDS:
        raise FieldError("a token lasts from a second to ten years", field="$.expires_in")
    issued = call.room.access.tokens.issue(
        body.name,
        roles=_roles(body.roles),
        lifetime=None if body.expires_in is None else timedelta(seconds=body.expires_in),
        scope=scope_in(body.scope),
        comment=body.comment,
    )
    given = TokenIssued(token=issued.token.reveal(), **_token(issued.row))
    return Answer(given, headers={"cache-control": "no-store"})


def revoke(call: Call) -> Answer:
    """Take a token away, by its id or the name of its service."""
    call.room.access.tokens.revoke(call.params["id"])
    return Answer(status=204)


def scope_in(scope: ScopeShape | None) -> Scope | None:
    """Give the bounds of a credential as they came."""
    if scope is None:
        return None
    return Scope(tuple(scope.actions), tuple(scope.kinds), tuple(scope.names), tuple(scope.teams))


def _token(row: Token) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "actor": row.actor,
        "roles": roles_of(row.roles),
        "scope": scope_of(row.scope),
        "comment": row.comment,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "expires_at": row.expires,
        "is_expired": row.is_expired,
        "last_used_at": row.seen,
        "source": row.source,
    }


# --- roles -------------------------------------------------------------------------------------------


def roles(call: Call) -> Roles:
    """Give every role that somebody has, with who has it."""
    members: dict[str, list[RoleMember]] = {}
    for row in call.room.access.roles.list():
        member = RoleMember(
            actor=row.actor,
            team=row.team,
            created_at=row.created_at,
            created_by=row.created_by,
            by_group=row.by_group,
        )
        members.setdefault(row.role, []).append(member)
    return Roles(roles=[RoleRow(name=name, members=found) for name, found in members.items()])


def groups(call: Call) -> Groups:
    """Give what the identity provider's groups give, and who has roles by them."""
    noun = call.room.access.groups
    return Groups(
        has_provider=noun.has_provider,
        groups=[GroupRow(name=one.name, roles=roles_of(one.roles)) for one in noun.list()],
        members=[
            GroupMember(actor=one.actor, role=roles_of((one.role,))[0], since=one.since)
            for one in noun.held()
        ],
    )


def grant(call: Call) -> Answer:
    """Give somebody a role; what he has open ends."""
    asked = call.asked(TeamOfRole)
    call.room.access.roles.grant(call.params["role"], _whom(call), team=asked.team)
    return Answer(status=204)


def take_away(call: Call) -> Answer:
    """Take a role from somebody; what he has open ends."""
    asked = call.asked(TeamOfRole)
    call.room.access.roles.revoke(call.params["role"], _whom(call), team=asked.team)
    return Answer(status=204)


def _whom(call: Call) -> str:
    whom = call.params["actor"]
    if ":" not in whom:
        raise InvalidInputError("an actor has a kind and a name", hint="person:anna, service:ci, local:0")
    return whom


_NEW = (409, 413, 415, 422, 503)
ENDPOINTS = (
    Endpoint("GET", "/actors", actors, "List people", "actors", gives=Actors),
    Endpoint(
        "POST",
        "/actors",
        add,
        "Add a person",
        "actors",
        takes=NewActor,
        gives=ActorRow,
        status=201,
        errors=_NEW,
        is_change=True,
        cost=5.0,
        needs_proof=True,
    ),
    Endpoint("GET", "/actors/{id}", actor, "Show a person", "actors", gives=ActorRow),
    Endpoint(
        "PATCH",
        "/actors/{id}",
        patch,
        "Let a person in or not",
        "actors",
        takes=PatchActor,
        gives=ActorRow,
        errors=(409,),
    ),
    Endpoint("DELETE", "/actors/{id}", delete, "Take a person away", "actors", status=204, errors=(409,)),
    Endpoint(
        "POST",
        "/actors/{id}/password",
        set_password,
        "Set a password",
        "actors",
        takes=NewPassword,
        status=204,
        errors=(401, 409),
        cost=5.0,
    ),
    Endpoint("GET", "/tokens", tokens, "List tokens", "tokens", gives=Tokens),
    Endpoint(
        "POST",
        "/tokens",
        issue,
        "Issue a token",
        "tokens",
        takes=NewToken,
        gives=TokenIssued,
        status=201,
        errors=_NEW,
        is_change=True,
        needs_proof=True,
    ),
    Endpoint("DELETE", "/tokens/{id}", revoke, "Take a token away", "tokens", status=204, errors=(409,)),
    Endpoint(
        "GET",
        "/groups",
        groups,
        "List groups of the identity provider and their roles",
        "roles",
        gives=Groups,
    ),
    Endpoint("GET", "/roles", roles, "List roles and who has them", "roles", gives=Roles),
    Endpoint(
        "PUT",
        "/roles/{role}/members/{actor}",
        grant,
        "Give somebody a role",
        "roles",
        asks=TeamOfRole,
        status=204,
        errors=(409,),
        is_change=True,
        needs_proof=True,
    ),
    Endpoint(
        "DELETE",
        "/roles/{role}/members/{actor}",
        take_away,
        "Take a role from somebody",
        "roles",
        asks=TeamOfRole,
        status=204,
        errors=(409,),
    ),
)
