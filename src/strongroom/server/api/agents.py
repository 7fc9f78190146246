"""
`/agents`: the hosts that ask for their processes. Inviting, enrolling, logging in, listing, revoking.

Enrolling and logging in need no identity: a code and a key prove one, a signature the other
(`service/access/enrolment.py`). Revoking is possible in read-only mode too; the service decides that.

What agents alone ask: who may (`/agents/decide`), to write for a process of their host (`/agents/write`), to
take their records (`/agents/records`), and to verify a run of Airflow by its token (`/agents/runs`, the one
place that takes such a token). What they are given for that is a receipt (`service/receipt.py`), by which
they name the run in what they ask.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec

from strongroom.errors import BackendUnavailableError
from strongroom.model.enrolment import NONCE_BYTES, Claim
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action, Assurance, Role, Run
from strongroom.server.api.actors import scope_in
from strongroom.server.api.asked import bounded
from strongroom.server.api.batch import changes_in
from strongroom.server.api.sessions import roles_of, scope_of
from strongroom.server.api.shape import written_of
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.service.deciding import Deciding, check_agent
from strongroom.service.ruling import Question
from strongroom.service.runs import Presented
from strongroom.service.verified import Lapsed
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
    RenewRun,
    RunVerified,
    VerifyRun,
    WriteAsAgent,
)
from strongroom.wire.entry import BatchWritten, RunClaim
from strongroom.wire.failure import FieldError, TooLargeError

if TYPE_CHECKING:
    from strongroom.policy import Decision
    from strongroom.server.endpoint import Call
    from strongroom.service.access import AgentRow as Agent
    from strongroom.service.access import InvitationRow as Invitation
    from strongroom.service.access import Login as Begun
    from strongroom.service.verified import Given
    from strongroom.wire.agents import AgentRun

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


def admit(call: Call) -> Answer:
    """Make an agent that proves itself with a TLS client certificate."""
    body = call.take(InviteAgent)
    call.room.access.agents.admit(
        body.name,
        roles=[Role(role.name, role.team) for role in body.roles],
        scope=scope_in(body.scope),
        comment=body.comment,
    )
    return Answer(status=204)


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
    return _begun(call, begun)


def login_with_certificate(call: Call) -> Answer:
    """Begin a session of the agent whose TLS client certificate came with the connection."""
    access = call.place.access
    return _begun(call, access.enrolment.login_with_certificate(call.certificate, source=call.source))


def _begun(call: Call, begun: Begun) -> Answer:
    now, identity = datetime.now(timezone.utc), begun.identity
    expires = identity.expires or now
    given = AgentSession(
        token=begun.token.reveal(),
        id=identity.id,
        actor=identity.actor.id,
        expires_at=expires,
        # Beside the moment: the clock of the agent may be minutes off.
        lifetime=max(0.0, (expires - now).total_seconds()),
        deployment=call.deployment,
    )
    return Answer(given, headers=_UNSEEN)


def decide(call: Call) -> AgentRulings:
    """Decide what processes of the agent's host may, each as a user of it and as the run it claims to be."""
    body, actor, place = call.take(AskAgent), call.identity.actor, call.place
    if len(body.questions) > MAX_QUESTIONS:
        raise TooLargeError(f"a batch has at most {MAX_QUESTIONS} questions", limit=MAX_QUESTIONS)
    check_agent(actor, place.guard)
    runs = [_named(call, one.run) for one in body.questions]
    asked = [
        Question(one.user, run, Action(one.action), Ref(one.kind, one.name, one.team))
        for one, run in zip(body.questions, runs, strict=True)
        if not isinstance(run, Lapsed)
    ]
    # Before what it is the revision of: told too old, it is asked again, and never kept too long.
    revision = call.room.changes.revision()
    found = iter(Deciding(place.guard, place.cache, actor).decide(asked))
    rulings = [_lapsed(run) if isinstance(run, Lapsed) else _ruling(*next(found)) for run in runs]
    return AgentRulings(revision=revision, rulings=rulings)


def _ruling(decision: Decision, depends: bool) -> AgentRuling:  # noqa: FBT001 -- as it was decided
    return AgentRuling(
        is_allowed=decision.is_allowed,
        reason=decision.reason,
        policies=list(decision.policies),
        depends_on_run=depends,
    )


def _lapsed(lapsed: Lapsed) -> AgentRuling:
    return AgentRuling(
        is_allowed=False, reason=lapsed.reason, policies=[], depends_on_run=True, is_lapsed=True
    )


def _named(call: Call, run: AgentRun | None) -> Run | Lapsed | None:
    """Give the run that is asked for: as the agent says, or as the receipt does that it brings."""
    if run is None:
        return None
    if run.receipt is not None:
        return call.place.verified.of(call.identity.actor, run.receipt)
    said = msgspec.structs.asdict(run)
    del said["receipt"]
    return Run(Assurance.CLAIMED, **said)


def verify_run(call: Call) -> Answer:
    """Verify a run by its token of Airflow."""
    body = call.take(VerifyRun)
    check_agent(call.identity.actor, call.place.guard)
    said = Run(Assurance.CLAIMED, **msgspec.structs.asdict(body.run))
    presented = Presented(Secret(body.token), said, body.attempt)
    return _verified(call.place.verified.verify(call.identity.actor, presented))


def renew_run(call: Call) -> Answer:
    """Verify once more a run that was verified, by its receipt."""
    body = call.take(RenewRun)
    check_agent(call.identity.actor, call.place.guard)
    return _verified(call.place.verified.renew(call.identity.actor, body.receipt))


def _verified(given: Given) -> Answer:
    run = given.run
    shown = RunVerified(
        receipt=given.receipt,
        run=RunClaim(**{name: getattr(run, name) for name in RunClaim.__struct_fields__}),
        assurance=int(run.assurance),
        lifetime=given.lifetime.total_seconds(),
    )
    return Answer(shown, headers=_UNSEEN)


def write(call: Call) -> BatchWritten:
    """Write entries for a process of the agent's host: as the agent, for that user and run."""
    body, actor = call.take(WriteAsAgent), call.identity.actor
    check_agent(actor, call.place.guard)
    user, comment = bounded(body.user, field="user", most=_MAX_USER), bounded(body.comment, field="comment")
    changes = changes_in(body.changes)
    run = _named(call, body.run)
    if isinstance(run, Lapsed):
        raise BackendUnavailableError(run.reason, backend="runs")
    entries = call.place.root.as_actor(replace(actor, user=user, run=run)).entries
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
        needs_proof=True,
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
        "/agents/login/certificate",
        login_with_certificate,
        "Begin a session of an agent by its TLS client certificate",
        "agents",
        gives=AgentSession,
        errors=(401,),
        is_public=True,
        cost=1.0,
    ),
    Endpoint(
        "POST",
        "/agents/admit",
        admit,
        "Admit an agent that has a TLS client certificate",
        "agents",
        takes=InviteAgent,
        status=204,
        errors=(409, 413, 415, 422, 503),
        is_change=True,
        needs_proof=True,
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
        "/agents/runs",
        verify_run,
        "Verify a run of Airflow for a process of an agent's host",
        "agents",
        takes=VerifyRun,
        gives=RunVerified,
        errors=(503,),
        cost=1.0,
    ),
    Endpoint(
        "POST",
        "/agents/runs/renew",
        renew_run,
        "Verify a run once more",
        "agents",
        takes=RenewRun,
        gives=RunVerified,
        errors=(503,),
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
