"""Everybody who could act in a deployment, with roles and bounds as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.model.principal import LOCAL, PERSON, SERVICE, check_actor
from strongroom.policy import Actor, Assurance, Role
from strongroom.service.access import shape

if TYPE_CHECKING:
    from strongroom.registry import Snapshot

__all__ = ["actor_of", "everybody", "is_known", "is_local", "role_names"]


def everybody(snapshot: Snapshot) -> list[Actor]:
    """
    Give everybody who could act now, ordered by id: people who are not disabled, and services that have a
    token. Each comes with nothing but his identity: no run, no address.
    """
    ids = {
        f"{PERSON}{row.id}"
        for row in snapshot.of(shape.PERSON).values()
        if not shape.decoded(row, shape.Person).is_disabled
    }
    ids |= {f"{SERVICE}{row.id}" for row in snapshot.of(shape.SERVICE).values()}
    roles = _roles(snapshot)
    return [_actor(id_, roles, snapshot) for id_ in sorted(ids)]


def actor_of(id_: str, snapshot: Snapshot) -> Actor:
    """
    Give one actor with what he has now; without roles where nobody of that name is known.

    Raises:
        InvalidInputError: that is nobody's name.
    """
    return _actor(check_actor(id_), _roles(snapshot), snapshot)


def is_known(id_: str, snapshot: Snapshot) -> bool:
    """Tell whether there is such a person or service; users of the host and agents are not kept here."""
    if id_.startswith(PERSON):
        return id_.removeprefix(PERSON) in snapshot.of(shape.PERSON)
    return not id_.startswith(SERVICE) or id_.removeprefix(SERVICE) in snapshot.of(shape.SERVICE)


def _actor(id_: str, roles: dict[str, list[Role]], snapshot: Snapshot) -> Actor:
    token = _token(id_, snapshot)
    own = sorted(roles.get(id_, ()), key=lambda role: (role.name, role.team or ""))
    return Actor(id_, Assurance.HOST_USER, tuple(own), None if token is None else token.scope)


def _roles(snapshot: Snapshot) -> dict[str, list[Role]]:
    found: dict[str, list[Role]] = {}
    for row in snapshot.of(shape.ROLE).values():
        member = shape.decoded(row, shape.Membership)
        found.setdefault(member.actor, []).append(Role(member.role, member.team))
    return found


def _token(id_: str, snapshot: Snapshot) -> shape.Token | None:
    """Give the token of a service: it has one at a time."""
    row = snapshot.of(shape.SERVICE).get(id_.removeprefix(SERVICE)) if id_.startswith(SERVICE) else None
    if row is None:
        return None
    token = snapshot.of(shape.TOKEN).get(shape.decoded(row, shape.Service).token)
    return None if token is None else shape.decoded(token, shape.Token)


def role_names(snapshot: Snapshot) -> set[str]:
    """Give the names of the roles that anybody has."""
    return {shape.decoded(row, shape.Membership).role for row in snapshot.of(shape.ROLE).values()}


def is_local(actor: Actor) -> bool:
    """Tell whether *actor* is a user of the host, whom the operating system has let in."""
    return actor.id.startswith(LOCAL)
