"""
Groups of the identity provider: which roles each gives, as the settings say, and who has roles by them.

Not for changing that: who is in a group is the provider's business, what a group gives is written in
`access.oidc.roles`. Who is in a group is kept nowhere; what his groups gave at his last login is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.policy import Role
from strongroom.service.access.shape import ROLE, Membership, decoded

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.registry import Snapshot
    from strongroom.service.access.desk import Desk
    from strongroom.service.access.linking import Rules

__all__ = ["GroupRow", "Groups", "HeldRow"]


class GroupRow(NamedTuple):
    """
    What being in a group gives.

    Args:
        name: as the provider calls it; "" for everybody it lets in.
        roles: in the order of the settings.
    """

    name: str
    roles: tuple[Role, ...]


class HeldRow(NamedTuple):
    """
    That somebody has a role by a group.

    Args:
        since: his last login that gave it.
    """

    actor: str
    role: Role
    since: datetime


class Groups:
    """
    Look at groups, as one actor. Everything raises `AccessDeniedError` where policy says no.

    Args:
        rules: what the settings say; None where there is no identity provider.
    """

    def __init__(self, desk: Desk, rules: Rules | None) -> None:
        self._desk = desk
        self._rules = rules

    @property
    def has_provider(self) -> bool:
        """Whether people log in by an identity provider at all."""
        return self._rules is not None

    def held(self) -> list[HeldRow]:
        """Give who has a role by a group, by role, team and actor."""

        def rows(snapshot: Snapshot) -> list[HeldRow]:
            found = [decoded(row, Membership) for row in snapshot.of(ROLE).values()]
            found = [one for one in found if one.by_group]
            found.sort(key=lambda one: (one.role, one.team or "", one.actor))
            return [HeldRow(one.actor, Role(one.role, one.team), one.created_at) for one in found]

        return self._desk.look(rows)

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[GroupRow]:
        """Give what groups give, by name, what everybody gets first; nothing where there is no provider."""
        self._desk.require()
        if self._rules is None:
            return []
        everybody = [GroupRow("", self._rules.default_roles)] if self._rules.default_roles else []
        return [*everybody, *(GroupRow(name, roles) for name, roles in sorted(self._rules.roles.items()))]
