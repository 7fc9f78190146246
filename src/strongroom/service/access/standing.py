"""
Who stands, and as what: what the rows of who may say of an actor.

Not for who proved to be one (`gate.py`), nor for what ends with him (`ending.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.model.principal import AGENT as AGENT_PREFIX
from strongroom.model.principal import LOCAL
from strongroom.model.principal import PERSON as PERSON_PREFIX
from strongroom.policy import Actor, Assurance, Role
from strongroom.service.access.shape import (
    AGENT,
    BREAK_GLASS,
    PERSON,
    ROLE,
    SERVICE,
    Agent,
    Glass,
    Membership,
    Person,
    Service,
    decoded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from strongroom.policy import Scope
    from strongroom.registry import Snapshot

__all__ = ["actor_of", "glass_of", "is_disabled", "is_standing", "roles_of", "scope_of", "with_glass"]

ADMIN = "admin"


def actor_of(actor: str, roles: Mapping[str, tuple[Role, ...]], scope: Scope | None = None) -> Actor:
    """Give who *actor* is at the level of a host's user, with what *roles* say he is."""
    return Actor(actor, Assurance.HOST_USER, roles=roles.get(actor, ()), scope=scope)


def is_standing(snapshot: Snapshot, actor: str) -> bool:
    """Tell whether there is such a person, not disabled, or such an agent; the local owner always stands."""
    if actor.startswith(LOCAL):
        return True
    if actor.startswith(AGENT_PREFIX):
        return actor.removeprefix(AGENT_PREFIX) in snapshot.of(AGENT)
    row = snapshot.of(PERSON).get(actor.removeprefix(PERSON_PREFIX))
    return actor.startswith(PERSON_PREFIX) and row is not None and not decoded(row, Person).is_disabled


def scope_of(snapshot: Snapshot, actor: str) -> Scope | None:
    """Give the bounds an agent was invited with; nobody else's session has any."""
    if not actor.startswith(AGENT_PREFIX):
        return None
    row = snapshot.of(AGENT).get(actor.removeprefix(AGENT_PREFIX))
    return None if row is None else decoded(row, Agent).scope


def is_disabled(snapshot: Snapshot, service: str) -> bool:
    """Tell whether nothing may prove the service of that name."""
    row = snapshot.of(SERVICE).get(service)
    return row is not None and decoded(row, Service).is_disabled


def roles_of(snapshot: Snapshot) -> dict[str, tuple[Role, ...]]:
    """Give every actor's roles, in order."""
    found: dict[str, set[Role]] = {}
    for row in snapshot.of(ROLE).values():
        member = decoded(row, Membership)
        # One that was granted and comes with a group too is one.
        found.setdefault(member.actor, set()).add(Role(member.role, member.team))
    return {actor: tuple(sorted(roles, key=_order)) for actor, roles in found.items()}


def glass_of(snapshot: Snapshot, actor: str, now: datetime) -> Glass | None:
    """Give that *actor* broke the glass, if he did and it has not ended."""
    row = snapshot.of(BREAK_GLASS).get(actor.removeprefix(PERSON_PREFIX))
    if row is None or not actor.startswith(PERSON_PREFIX):
        return None
    glass = decoded(row, Glass)
    return glass if now < glass.expires else None


def with_glass(roles: tuple[Role, ...]) -> tuple[Role, ...]:
    """Give *roles* and an administrator's."""
    return tuple(sorted({*roles, Role(ADMIN)}, key=_order))


def _order(role: Role) -> tuple[str, str]:
    return role.name, role.team or ""
