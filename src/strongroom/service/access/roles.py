"""Roles: who is a member of what, everywhere or for one team."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError, NotFoundError
from strongroom.model.principal import AGENT as AGENT_PREFIX
from strongroom.model.principal import PERSON as PERSON_PREFIX
from strongroom.model.principal import SERVICE as SERVICE_PREFIX
from strongroom.model.principal import check_actor
from strongroom.model.ref import check_team
from strongroom.policy import Role
from strongroom.policy.alike import check_free
from strongroom.policy.schema import ROLES
from strongroom.registry import Change
from strongroom.service.access.desk import standing
from strongroom.service.access.ending import sessions_of
from strongroom.service.access.shape import (
    AGENT,
    PERSON,
    ROLE,
    SERVICE,
    Membership,
    decoded,
    encoded,
    membership_id,
)

if TYPE_CHECKING:
    from strongroom.registry import Snapshot
    from strongroom.service.access.desk import Desk, Done

__all__ = ["MembershipRow", "Roles", "checked", "granted", "said"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipRow:
    """
    That somebody has a role.

    Args:
        team: only for what this team owns; None for everything in the deployment.
        by_group: it comes with a group of the identity provider, and goes with it.
    """

    role: str
    actor: str
    team: str | None
    created_at: datetime
    created_by: str
    by_group: bool = False


class Roles:
    """
    Keep who has which role, as one actor.

    What a role may is policy's business; a name without a policy may nothing. Every act raises what those
    of `People` do.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def grant(self, role: str, actor: str, *, team: str | None = None) -> Done:
        """
        Give *actor* a role; a person's sessions end, so that what they may is what it says.

        Args:
            role: spelled as it is: `Admin` is no other name for `admin`.
            actor: `person:anna`, `service:ci`, `agent:host-1`, `local:1000`.
            team: only for what this team owns.

        Raises:
            InvalidInputError: role, actor or team is none.
            NotFoundError: there is no such person, service or agent.
        """
        wanted, whom = checked(Role(role, team)), check_actor(actor)
        change = granted(wanted, whom, by=self._desk.actor.id, now=self._desk.now())

        def decide(snapshot: Snapshot) -> list[Change]:
            if whom not in self._desk.gate.services:
                _check_there(snapshot, whom)
            if change.id in snapshot.of(ROLE):
                return []
            return [change, *sessions_of(snapshot, whom)]

        return self._desk.change(decide, reason=f"grant {said(wanted)} to {whom}")

    def revoke(self, role: str, actor: str, *, team: str | None = None) -> Done:
        """
        Take a role from *actor*; a person's sessions end.

        Raises:
            InvalidInputError: role, actor or team is none.
            NotFoundError: he does not have it.
        """
        wanted, whom = checked(Role(role, team)), check_actor(actor)
        row_id = membership_id(wanted.name, wanted.team, whom)
        by_group = membership_id(wanted.name, wanted.team, whom, by_group=True)

        def decide(snapshot: Snapshot) -> list[Change]:
            if row_id not in snapshot.of(ROLE):
                if by_group in snapshot.of(ROLE):
                    raise NotFoundError(
                        f"{whom} has the role {said(wanted)} by a group, not by a grant",
                        hint="take him out of the group at the identity provider",
                    )
                raise NotFoundError(f"{whom} does not have the role {said(wanted)}")
            return [Change(ROLE, row_id, None), *sessions_of(snapshot, whom)]

        return self._desk.change(decide, reason=f"revoke {said(wanted)} from {whom}")

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[MembershipRow]:
        """Give every membership, by role, team and actor."""

        def rows(snapshot: Snapshot) -> list[MembershipRow]:
            found = [decoded(row, Membership) for row in snapshot.of(ROLE).values()]
            found.sort(key=lambda one: (one.role, one.team or "", one.actor))
            return [
                MembershipRow(
                    role=one.role,
                    actor=one.actor,
                    team=one.team,
                    created_at=one.created_at,
                    created_by=one.created_by,
                    by_group=one.by_group,
                )
                for one in found
            ]

        return self._desk.look(rows)


def checked(role: Role) -> Role:
    """
    Give *role* back if it is spelled as it must be.

    Raises:
        InvalidInputError: it is not; `Admin`, ` admin` and other alphabets are refused.
        ConflictError: it looks like a role that ships with policies, as `adm1n`.
    """
    name = check_free(role.name, ROLES, what="the name of a role")
    if name != role.name:
        raise InvalidInputError("this role has another spelling", hint=f"write {name}, if that is meant")
    if role.team is not None:
        check_team(role.team)
    return role


def granted(role: Role, actor: str, *, by: str, now: datetime) -> Change:
    """Give the change that grants *role* to *actor*."""
    wanted = checked(role)
    body = Membership(role=wanted.name, actor=actor, team=wanted.team, created_at=now, created_by=by)
    return Change(ROLE, membership_id(wanted.name, wanted.team, actor), encoded(body))


def _check_there(snapshot: Snapshot, actor: str) -> None:
    # A role given to nobody would wait for whoever takes that name.
    kinds = (
        (PERSON_PREFIX, PERSON, "person"),
        (SERVICE_PREFIX, SERVICE, "service"),
        (AGENT_PREFIX, AGENT, "agent"),
    )
    for prefix, kind, what in kinds:
        if actor.startswith(prefix):
            name = actor.removeprefix(prefix)
            standing(snapshot, kind, name, f"{what} {name}")


def said(role: Role) -> str:
    """Give *role* as people read it."""
    return role.name if role.team is None else f"{role.name} of {role.team}"
