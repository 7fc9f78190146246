"""
`/agents`: the hosts that ask for their processes. Inviting, enrolling, logging in, listing, revoking.

Enrolling and logging in need no identity: a code and a key prove one, a signature the other
(`service/access/enrolment.py`). Revoking is possible in read-only mode too; the service decides that.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.model.enrolment import NONCE_BYTES, Claim
from strongroom.policy import Role
from strongroom.server.api.actors import scope_in
from strongroom.server.api.sessions import roles_of, scope_of
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.wire.agents import (
    AgentEnrolled,
    AgentInvited,
    AgentLogin,
    AgentRow,
    Agents,
    AgentSession,
    EnrolAgent,
    InvitationRow,
    InviteAgent,
)
from strongroom.wire.failure import FieldError

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.access import AgentRow as Agent
    from strongroom.service.access import InvitationRow as Invitation

__all__ = ["ENDPOINTS"]

_AGENT = "agent:"
_MAX_MICROSECONDS = 2**63 - 1
_UNSEEN = {"cache-control": "no-store"}


def agents(call: Call) -> Agents:
    """Give every agent, and every invitation that stands."""
    found = call.room.access.agents
    return Agents(
        agents=[_agent(row) for row in found.list()],
        invitations=[_invitation(row) for row in found.invitations()],
    )


def invite(call: Call) -> Answer:
    """Make a code that enrols one agent; it is shown this once."""
    body = call.take(InviteAgent)
    invited = call.room.access.agents.invite(
        body.name,
        roles=[Role(role.name, role.team) for role in body.roles],
        scope=scope_in(body.scope),
        comment=body.comment,
    )
    row = invited.row
    given = AgentInvited(
        token=invited.code.reveal(), name=row.name, actor=_AGENT + row.name, expires_at=row.expires
    )
    return Answer(given, headers=_UNSEEN)


def revoke(call: Call) -> Answer:
    """Take an agent away, with its sessions and roles, or the invitation for one."""
    call.room.access.agents.revoke(call.params["name"].removeprefix(_AGENT))
    return Answer(status=204)


def enrol(call: Call) -> AgentEnrolled:
    """Make an agent of whoever has the code and shows that he has the key."""
    body = call.take(EnrolAgent)
    name = call.place.access.enrolment.enrol(
        body.code,
        public=body.public_key,
        fingerprint=body.fingerprint,
        signature=body.signature,
        source=call.source,
    )
    return AgentEnrolled(name=name, actor=_AGENT + name, deployment=call.deployment)


def login(call: Call) -> Answer:
    """Begin a session of an agent."""
    body = call.take(AgentLogin)
    if not 0 <= body.at <= _MAX_MICROSECONDS:
        raise FieldError("this is no time", field="$.at")
    if len(body.nonce) != NONCE_BYTES:
        raise FieldError(f"a nonce has {NONCE_BYTES} bytes", field="$.nonce")
    begun = call.place.access.enrolment.login(
        Claim(body.name, body.at, body.nonce, body.fingerprint), body.signature, source=call.source
    )
    now, identity = datetime.now(timezone.utc), begun.identity
    expires = identity.expires or now
    given = AgentSession(
        token=begun.token.reveal(),
        id=identity.id,
        actor=identity.actor.id,
        expires_at=expires,
        # Beside the moment: the clock of the agent may be minutes off.
        lifetime=max(0.0, (expires - now).total_seconds()),
    )
    return Answer(given, headers=_UNSEEN)


def _agent(row: Agent) -> AgentRow:
    return AgentRow(
        name=row.name,
        actor=row.actor,
        roles=roles_of(row.roles),
        scope=scope_of(row.scope),
        comment=row.comment,
        fingerprint=row.fingerprint,
        enrolled_at=row.created_at,
        invited_by=row.created_by,
        sessions=row.sessions,
        last_login_at=row.login_at,
        source=row.source,
    )


def _invitation(row: Invitation) -> InvitationRow:
    return InvitationRow(
        name=row.name,
        roles=roles_of(row.roles),
        scope=scope_of(row.scope),
        comment=row.comment,
        invited_by=row.created_by,
        expires_at=row.expires,
    )


ENDPOINTS = (
    Endpoint("GET", "/agents", agents, "List agents and invitations", "agents", gives=Agents),
    Endpoint(
        "POST",
        "/agents/invite",
        invite,
        "Invite an agent",
        "agents",
        takes=InviteAgent,
        gives=AgentInvited,
        status=201,
        errors=(409, 413, 415, 422, 503),
        is_change=True,
    ),
    Endpoint(
        "POST",
        "/agents/enrol",
        enrol,
        "Enrol an agent with its code",
        "agents",
        takes=EnrolAgent,
        gives=AgentEnrolled,
        status=201,
        errors=(401,),
        is_public=True,
        cost=5.0,
    ),
    Endpoint(
        "POST",
        "/agents/login",
        login,
        "Begin a session of an agent",
        "agents",
        takes=AgentLogin,
        gives=AgentSession,
        errors=(401,),
        is_public=True,
        cost=1.0,
    ),
    Endpoint(
        "DELETE", "/agents/{name}", revoke, "Take an agent away", "agents", status=204, errors=(404, 409)
    ),
)
