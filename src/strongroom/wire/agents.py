"""Shapes of agents: inviting, enrolling, logging in, listing."""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import Annotated, Literal

from msgspec import Meta

from strongroom.model.ref import Kind  # noqa: TC001 -- as above
from strongroom.wire.access import RoleName, ScopeShape  # noqa: TC001 -- as above
from strongroom.wire.entry import Comment, NewValue, RunClaim
from strongroom.wire.shape import MAX_BATCH, Asked, Given

__all__ = [
    "AgentEnrolled",
    "AgentInvited",
    "AgentLogin",
    "AgentQuestion",
    "AgentRow",
    "AgentRuling",
    "AgentRulings",
    "AgentRun",
    "AgentSession",
    "Agents",
    "AskAgent",
    "DeliverRecords",
    "EnrolAgent",
    "InvitationRow",
    "InviteAgent",
    "RecordsDelivered",
    "RenewRun",
    "RunVerified",
    "VerifyRun",
    "WriteAsAgent",
]

MAX_QUESTIONS = 1000
MAX_LINES = 1000
MAX_RECEIPT_CHARACTERS = 8192
MAX_RUN_TOKEN_CHARACTERS = 16_384
MAX_ATTEMPT_CHARACTERS = 64


class InviteAgent(Asked, kw_only=True):
    """
    Whom to invite.

    Args:
        name: of the agent; policies call it `agent:NAME`.
        roles: it has from its enrolment on.
        scope: what it is good for at most, whatever policies allow its roles.
        comment: public.
    """

    name: str
    roles: list[RoleName] = []
    scope: ScopeShape | None = None
    comment: str = ""


class AgentInvited(Given, kw_only=True):
    """
    An invitation.

    Args:
        token: the code that enrols one agent; shown this once.
    """

    token: str
    name: str
    actor: str
    expires_at: datetime


class EnrolAgent(Asked, kw_only=True):
    """
    What an agent says of itself to be enrolled.

    Args:
        code: of the invitation.
        public_key: of Ed25519, 32 bytes in base64; its private half never leaves the host.
        fingerprint: of the host, 32 bytes in base64: SHA-256 over its machine-id and the key.
        signature: 64 bytes in base64, by that key, over code, key and fingerprint.
    """

    code: str
    public_key: bytes
    fingerprint: bytes
    signature: bytes


class AgentEnrolled(Given, kw_only=True):
    """Who the agent is from now on."""

    name: str
    actor: str
    deployment: str


class AgentLogin(Asked, kw_only=True):
    """
    What an agent signs to begin a session.

    Args:
        at: microseconds since 1970 UTC by its clock; later than that of its last login.
        nonce: 16 random bytes in base64.
        fingerprint: of the host it runs on now.
        signature: 64 bytes in base64 over all of it and the deployment.
    """

    name: str
    at: int
    nonce: bytes
    fingerprint: bytes
    signature: bytes


class AgentSession(Given, kw_only=True):
    """
    A session of an agent.

    Args:
        token: for `Authorization: Bearer`; shown once.
        lifetime: seconds it is good for from now.
        deployment: whose agent it is.
    """

    token: str
    id: str
    actor: str
    expires_at: datetime
    lifetime: float
    deployment: str = ""


class AgentRow(Given, kw_only=True):
    """
    An enrolled agent.

    Args:
        fingerprint: the first 16 hexadecimal digits of its host's.
        sessions: that stand now.
        last_login_at, source: when and from where it logged in last.
    """

    name: str
    actor: str
    roles: list[RoleName]
    scope: ScopeShape | None
    comment: str
    fingerprint: str
    enrolled_at: datetime
    invited_by: str
    sessions: int
    last_login_at: datetime | None
    source: str


class InvitationRow(Given, kw_only=True):
    """An invitation that was not used yet; never its code."""

    name: str
    roles: list[RoleName]
    scope: ScopeShape | None
    comment: str
    invited_by: str
    expires_at: datetime


class Agents(Given, kw_only=True):
    """Every agent of the deployment, and every invitation that stands, by name."""

    agents: list[AgentRow]
    invitations: list[InvitationRow]


class AgentRun(RunClaim, kw_only=True, omit_defaults=True):
    """
    A run of a process of this host: what is said of it, or what the server verified of it.

    Args:
        receipt: that the server gave for it (`/agents/runs`). It says which run it is, whatever else is said.
    """

    receipt: Annotated[str, Meta(max_length=MAX_RECEIPT_CHARACTERS)] | None = None


class VerifyRun(Asked, kw_only=True):
    """
    A run to be verified by its token of Airflow, which is used up by it.

    Args:
        token: of the task instance, as its supervisor has it. It is kept nowhere.
        run: which it is, as the supervisor says; DAG, task and run id must be said.
        attempt: random, of the agent's: the same one where the same is asked again for want of an answer.
    """

    token: Annotated[str, Meta(max_length=MAX_RUN_TOKEN_CHARACTERS)]
    run: RunClaim
    attempt: Annotated[str, Meta(min_length=16, max_length=MAX_ATTEMPT_CHARACTERS)]


class RenewRun(Asked, kw_only=True):
    """
    A verified run that goes on.

    Args:
        receipt: that stands for it.
    """

    receipt: Annotated[str, Meta(max_length=MAX_RECEIPT_CHARACTERS)]


class RunVerified(Given, kw_only=True):
    """
    A run that Airflow has at work.

    Args:
        receipt: that stands for it from now on, for this agent alone.
        run: which it is, as Airflow says.
        assurance: how that is proven: 2, a verified run.
        lifetime: seconds the receipt is good for from now; `/agents/runs/renew` gives another one.
    """

    receipt: str
    run: RunClaim
    assurance: int
    lifetime: float


class AgentQuestion(Asked, kw_only=True):
    """
    May a process of this host?

    Args:
        user: of the host, as its kernel says: `local:1000`.
        run: what the process says of itself, or a run that was verified.
    """

    user: str
    action: Literal["list", "describe", "read", "write"]
    kind: Kind
    name: str
    team: str | None = None
    run: AgentRun | None = None


class AskAgent(Asked, kw_only=True):
    """Up to 1,000 questions; none only asks for the revision."""

    questions: Annotated[list[AgentQuestion], Meta(extra_json_schema={"maxItems": MAX_QUESTIONS})]


class AgentRuling(Given, kw_only=True):
    """
    What was decided.

    Args:
        depends_on_run: another run might be answered differently.
        is_lapsed: nothing was decided: the receipt of the run is not good any more.
    """

    is_allowed: bool
    reason: str
    policies: list[str]
    depends_on_run: bool
    is_lapsed: bool = False


class AgentRulings(Given, kw_only=True):
    """
    The answers, in the order of the questions.

    Args:
        revision: of what decides about this agent; while `/changes` tells the same one, they are good.
    """

    revision: str
    rulings: list[AgentRuling]


class WriteAsAgent(Asked, kw_only=True):
    """
    Entries to write for a process of the agent's host; decided here, whatever the agent said of it.

    Args:
        user: as of `AgentQuestion`.
        run: as of `AgentQuestion`.
        changes: as of `WriteBatch`: all or none of those that go to one backend.
        comment: why; kept in the history and in the record.
    """

    user: str
    changes: Annotated[list[NewValue], Meta(extra_json_schema={"maxItems": MAX_BATCH})]
    run: AgentRun | None = None
    comment: Comment = ""


class DeliverRecords(Asked, kw_only=True):
    """
    Records of the agent's own log, in order (docs/audit.md).

    Args:
        chain: the first 16 hexadecimal digits of the hash of its first record.
        lines: of the log, up to 1,000; none only asks how far the server is.
    """

    chain: str
    lines: Annotated[list[str], Meta(extra_json_schema={"maxItems": MAX_LINES})]


class RecordsDelivered(Given, kw_only=True):
    """
    How far the server is.

    Args:
        last: number of the last record of this chain that is on record; -1 for none.
    """

    last: int
