"""
`/agents`: the hosts that ask for their processes. Inviting, enrolling, logging in, listing, revoking.

Enrolling and logging in need no identity: a code and a key prove one, a signature the other
(`service/access/enrolment.py`). Revoking is possible in read-only mode too; the service decides that.

What agents alone ask: who may (`/agents/decide`), to write for a process of their host (`/agents/write`), and
to take their records (`/agents/records`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from strongroom.model.enrolment import NONCE_BYTES, Claim
from strongroom.model.ref import Ref
from strongroom.policy import Action, Assurance, Role, Run
from strongroom.server.api.actors import scope_in
from strongroom.server.api.asked import bounded
from strongroom.server.api.batch import changes_in
from strongroom.server.api.sessions import roles_of, scope_of
from strongroom.server.api.shape import written_of
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.service.deciding import Deciding, check_agent
from strongroom.service.ruling import Question
from strongroom.wire.agents import (
    MAX_LINES,
    MAX_QUESTIONS,
    AgentEnrolled,
    AgentInvited,
    AgentLogin,
    AgentRow,
    AgentRuling,
    AgentRulings,
    Agents,
    AgentSession,
    AskAgent,
    DeliverRecords,
    EnrolAgent,
    InvitationRow,
    InviteAgent,
    RecordsDelivered,
    WriteAsAgent,
)
from strongroom.wire.entry import BatchWritten
from strongroom.wire.failure import FieldError, TooLargeError

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.access import AgentRow as Agent
    from strongroom.service.access import InvitationRow as Invitation
    from strongroom.wire.entry import RunClaim

__all__ = ["ENDPOINTS"]

_AGENT = "agent:"
_MAX_MICROSECONDS = 2**63 - 1
_MAX_USER = 250  # characters, as the record keeps of a text
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


def decide(call: Call) -> AgentRulings:
    """Decide what processes of the agent's host may, each as a user of it and as the run it claims to be."""
    body, actor, place = call.take(AskAgent), call.identity.actor, call.place
    if len(body.questions) > MAX_QUESTIONS:
        raise TooLargeError(f"a batch has at most {MAX_QUESTIONS} questions", limit=MAX_QUESTIONS)
    check_agent(actor, place.guard)
    asked = [
        Question(one.user, _claimed(one.run), Action(one.action), Ref(one.kind, one.name, one.team))
        for one in body.questions
    ]
    # Before what it is the revision of: told too old, it is asked again, and never kept too long.
    revision = call.room.changes.revision()
    found = Deciding(place.guard, place.cache, actor).decide(asked)
    rulings = [
        AgentRuling(
            is_allowed=decision.is_allowed,
            reason=decision.reason,
            policies=list(decision.policies),
            depends_on_run=depends,
        )
        for decision, depends in found
    ]
    return AgentRulings(revision=revision, rulings=rulings)


def _claimed(run: RunClaim | None) -> Run | None:
    return None if run is None else Run(Assurance.CLAIMED, **msgspec.structs.asdict(run))


def write(call: Call) -> BatchWritten:
    """Write entries for a process of the agent's host: as the agent, for that user and run."""
    body, actor = call.take(WriteAsAgent), call.identity.actor
    check_agent(actor, call.place.guard)
    user, comment = bounded(body.user, field="user", most=_MAX_USER), bounded(body.comment, field="comment")
    changes = changes_in(body.changes)
    entries = call.place.root.as_actor(replace(actor, user=user, run=_claimed(body.run))).entries
    written = entries.write_many(changes, comment=comment) if changes else []
    return BatchWritten(
        written=[written_of(change.ref, one) for change, one in zip(changes, written, strict=True)]
    )


def records(call: Call) -> RecordsDelivered:
    """Take records of the agent's own log into this one, each once and in order."""
    body, actor, place = call.take(DeliverRecords), call.identity.actor, call.place
    if len(body.lines) > MAX_LINES:
        raise TooLargeError(f"a delivery has at most {MAX_LINES} records", limit=MAX_LINES)
    check_agent(actor, place.guard)
    last = place.intake.take(actor.id, body.chain, [line.encode() for line in body.lines])
    return RecordsDelivered(last=last)


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
        "POST",
        "/agents/decide",
        decide,
        "Decide what processes of an agent's host may",
        "agents",
        takes=AskAgent,
        gives=AgentRulings,
        errors=(503,),
    ),
    Endpoint(
        "POST",
        "/agents/write",
        write,
        "Write for a process of an agent's host",
        "agents",
        takes=WriteAsAgent,
        gives=BatchWritten,
        errors=(404, 405, 409, 413, 415, 422, 502, 503),
        is_change=True,
    ),
    Endpoint(
        "POST",
        "/agents/records",
        records,
        "Take records of an agent",
        "agents",
        takes=DeliverRecords,
        gives=RecordsDelivered,
        errors=(409, 503),
    ),
    Endpoint(
        "DELETE", "/agents/{name}", revoke, "Take an agent away", "agents", status=204, errors=(404, 409)
    ),
)
