"""Agents: the hosts that ask for their processes, and who invited them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, NotFoundError
from strongroom.model.principal import AGENT as PREFIX
from strongroom.model.principal import canonical
from strongroom.model.secret import Secret
from strongroom.policy import Role, Scope
from strongroom.registry import Change
from strongroom.service.access import token as tokens
from strongroom.service.access.ending import memberships_of, sessions_of
from strongroom.service.access.issuing import check_comment, check_scope
from strongroom.service.access.roles import checked, granted, said
from strongroom.service.access.shape import (
    AGENT,
    AGENT_LOGIN,
    INVITATION,
    SESSION,
    Agent,
    AgentLogin,
    Invitation,
    Session,
    decoded,
    encoded,
)
from strongroom.service.access.standing import roles_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.registry import Snapshot
    from strongroom.service.access.desk import Desk, Done

__all__ = ["AgentRow", "Agents", "InvitationRow", "Invited", "invitations_of"]

_SHOWN_BYTES = 8  # of a fingerprint: 16 hexadecimal digits tell hosts apart


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """
    What may be shown of an agent.

    Args:
        fingerprint: the beginning of its host's, in hexadecimal.
        created_at: when it was enrolled.
        created_by: who invited it.
        sessions: how many stand.
        login_at, source: when it logged in last, and from where; None where it never did.
    """

    name: str
    actor: str
    roles: tuple[Role, ...]
    scope: Scope | None
    comment: str
    fingerprint: str
    created_at: datetime
    created_by: str
    sessions: int
    login_at: datetime | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationRow:
    """What may be shown of an invitation, never its code."""

    name: str
    roles: tuple[Role, ...]
    scope: Scope | None
    comment: str
    created_by: str
    expires: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """
    An invitation that was made.

    Args:
        code: enrols one agent; shown this once.
        row: what may be shown of it from now on.
    """

    code: Secret[str]
    row: InvitationRow


class Agents:
    """Keep agents, as one actor. Every act raises what those of `People` do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def invite(
        self, name: str, *, roles: Sequence[Role] = (), scope: Scope | None = None, comment: str = ""
    ) -> Invited:
        """
        Make a code that enrols one agent as *name* within ten minutes; an older one for it is void.

        Args:
            name: in any spelling.
            roles: the agent's from its enrolment on.
            scope: what it is good for at most, whatever policy would allow its roles.
            comment: public.

        Raises:
            ConflictError: there is an agent of this name.
            InvalidInputError: name, role, scope or comment is none.
        """
        wanted, now = canonical(name), self._desk.now()
        check_scope(scope)
        check_comment(comment)
        code = tokens.draw(tokens.ENROLMENT)
        body = Invitation(
            digest=tokens.digest_of(code.reveal()),
            name=wanted,
            created_by=self._desk.actor.id,
            expires=now + self._desk.gate.lifetimes.code,
            roles=tuple(checked(role) for role in roles),
            scope=None if scope is None or not any(scope) else scope,
            comment=comment,
        )
        row_id = tokens.id_of(body.digest)

        def decide(snapshot: Snapshot) -> list[Change]:
            if wanted in snapshot.of(AGENT):
                raise ConflictError(
                    f"the agent {wanted} is enrolled", hint="revoke it, or invite one of another name"
                )
            return [*invitations_of(snapshot, wanted), Change(INVITATION, row_id, encoded(body), 0)]

        as_what = ", ".join(map(said, body.roles))
        self._desk.change(decide, reason=f"invite agent {wanted}{f' as {as_what}' if as_what else ''}")
        return Invited(code=code, row=_invitation(body))

    def admit(
        self, name: str, *, roles: Sequence[Role] = (), scope: Scope | None = None, comment: str = ""
    ) -> Done:
        """
        Make an agent that proves itself with a TLS client certificate, and with nothing else.

        Args:
            name: in any spelling; the settings give it names of certificates.
            roles: the agent's.
            scope: what it is good for at most, whatever policy would allow its roles.
            comment: public.

        Raises:
            ConflictError: there is an agent of this name.
            InvalidInputError: name, role, scope or comment is none.
        """
        wanted, now = canonical(name), self._desk.now()
        check_scope(scope)
        check_comment(comment)
        body = Agent(
            public=b"",
            fingerprint=b"",
            created_at=now,
            created_by=self._desk.actor.id,
            source="",
            scope=None if scope is None or not any(scope) else scope,
            comment=comment,
        )
        given = [granted(role, PREFIX + wanted, by=self._desk.actor.id, now=now) for role in roles]

        def decide(snapshot: Snapshot) -> list[Change]:
            if wanted in snapshot.of(AGENT):
                raise ConflictError(f"the agent {wanted} is there", hint="revoke it, or admit another name")
            return [*invitations_of(snapshot, wanted), Change(AGENT, wanted, encoded(body), 0), *given]

        as_what = ", ".join(map(said, roles))
        return self._desk.change(decide, reason=f"admit agent {wanted}{f' as {as_what}' if as_what else ''}")

    def revoke(self, name: str) -> Done:
        """
        Take an agent away with its roles and sessions, or the invitation for one.

        Raises:
            NotFoundError: there is neither.
        """
        wanted = canonical(name)
        actor = PREFIX + wanted

        def decide(snapshot: Snapshot) -> list[Change]:
            invited = invitations_of(snapshot, wanted)
            if wanted not in snapshot.of(AGENT):
                if not invited:
                    raise NotFoundError(f"there is no agent {wanted}", hint="strongroom access agents list")
                return invited
            return [
                *invited,
                Change(AGENT, wanted, None),
                # Its last login stays: a login that was heard on the way begins nothing, though
                # somebody of that name is enrolled again.
                *sessions_of(snapshot, actor),
                *memberships_of(snapshot, actor),
            ]

        return self._desk.change(decide, reason=f"revoke agent {wanted}")

    def invitations(self) -> list[InvitationRow]:
        """Give every invitation that stands, by name."""
        now = self._desk.now()

        def rows(snapshot: Snapshot) -> list[InvitationRow]:
            found = [decoded(row, Invitation) for row in snapshot.of(INVITATION).values()]
            return sorted(
                (_invitation(body) for body in found if now < body.expires), key=lambda row: row.name
            )

        return self._desk.look(rows)

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[AgentRow]:
        """Give every agent, by name."""
        return self._desk.look(_rows)


def _rows(snapshot: Snapshot) -> list[AgentRow]:
    roles = roles_of(snapshot)
    sessions = Counter(decoded(row, Session).actor for row in snapshot.of(SESSION).values())
    found = []
    for row in snapshot.of(AGENT).values():
        body, last = decoded(row, Agent), snapshot.of(AGENT_LOGIN).get(row.id)
        login = None if last is None else decoded(last, AgentLogin)
        found.append(
            AgentRow(
                name=row.id,
                actor=PREFIX + row.id,
                roles=roles.get(PREFIX + row.id, ()),
                scope=body.scope,
                comment=body.comment,
                fingerprint=body.fingerprint[:_SHOWN_BYTES].hex(),
                created_at=body.created_at,
                created_by=body.created_by,
                sessions=sessions[PREFIX + row.id],
                login_at=None if login is None else login.at,
                source=body.source if login is None else login.source,
            )
        )
    return sorted(found, key=lambda one: one.name)


def _invitation(body: Invitation) -> InvitationRow:
    return InvitationRow(
        name=body.name,
        roles=body.roles,
        scope=body.scope,
        comment=body.comment,
        created_by=body.created_by,
        expires=body.expires,
    )


def invitations_of(snapshot: Snapshot, name: str) -> list[Change]:
    """Give the changes that end every invitation of an agent called *name*."""
    return [
        Change(INVITATION, row.id, None)
        for row in snapshot.of(INVITATION).values()
        if decoded(row, Invitation).name == name
    ]
