"""Shapes of who may: policies, questions about them, grants, approvals."""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import Annotated, Any, Literal

from msgspec import Meta

from strongroom.wire.access import RoleName  # noqa: TC001 -- as above
from strongroom.wire.entry import RunClaim
from strongroom.wire.shape import MAX_BATCH, Asked, Given, Kind, PageLimit

__all__ = [
    "AccessQuery",
    "ActorAccess",
    "ApprovalRow",
    "Approvals",
    "Approve",
    "CanRequest",
    "DecisionRow",
    "EntryAccess",
    "FlipRow",
    "GrantRow",
    "Grants",
    "May",
    "NewGrant",
    "PatchPolicy",
    "Policies",
    "PolicyRow",
    "PolicyText",
    "Remark",
    "SetSwitch",
    "SimulateRequest",
    "Simulated",
    "SupposedRun",
    "Switches",
    "Validated",
    "Verb",
    "WeighedRow",
    "WhyRow",
]

Verb = Literal[
    "list", "describe", "read", "reveal", "write", "delete", "rotate", "test", "administer", "break_glass"
]


class PolicyRow(Given, kw_only=True):
    """
    A policy as it stands: one or several statements under one id.

    Args:
        text: Cedar.
        is_shipped: it comes with the product and cannot be changed, only switched off.
        version: also its ETag.
    """

    id: str
    text: str
    description: str
    is_enabled: bool
    is_shipped: bool
    version: str
    changed_at: datetime | None
    changed_by: str


class Policies(Given, kw_only=True):
    """
    Every policy of the deployment.

    Args:
        revision: of them together; decisions and records name it.
    """

    revision: str
    policies: list[PolicyRow]


class PolicyText(Asked, kw_only=True):
    """
    A policy to write.

    Args:
        id: unsaid where the path has it, or where the text's `@id` says it.
        text: Cedar.
        comment: why; kept in the record.
    """

    text: str
    id: str | None = None
    description: str = ""
    is_enabled: bool = True
    comment: str = ""


class PatchPolicy(Asked, kw_only=True):
    """
    What to change of a policy; the way for those that come with the product.

    Args:
        comment: why; kept in the record.
    """

    is_enabled: bool
    comment: str = ""


class Remark(Given, kw_only=True):
    """
    What validation says of a policy.

    Args:
        line, column: where, from 1; None for the whole text.
    """

    severity: Literal["error", "warning"]
    message: str
    hint: str | None = None
    policy: str | None = None
    line: int | None = None
    column: int | None = None


class Validated(Given, kw_only=True):
    """Whether a text may become a policy; warnings do not stand in the way."""

    is_valid: bool
    remarks: list[Remark]


class SupposedRun(RunClaim, kw_only=True, omit_defaults=True):
    """
    A run that a question supposes; nothing is done for it.

    Args:
        assurance: how it would be proven, from 0.
    """

    assurance: Annotated[int, Meta(ge=0, le=4)] = 0


class CanRequest(Asked, kw_only=True):
    """
    One question: may this actor do that?

    Args:
        kind, name, team: of the entry; unsaid, the question is about the room as a whole.
        actor: whom to ask about; unsaid, the one who asks.
        run: for which run.
        source: where the request would come from, an IP address.
    """

    action: Verb
    kind: Kind | None = None
    name: str | None = None
    team: str | None = None
    actor: str | None = None
    run: SupposedRun | None = None
    source: str | None = None


class DecisionRow(Given, kw_only=True):
    """
    Yes or no, and why.

    Args:
        policies: ids of the policies that decided.
        revision: of the policies that were asked.
    """

    is_allowed: bool
    reason: str
    policies: list[str]
    revision: str


class WeighedRow(Given, kw_only=True):
    """
    One statement of a policy before a question.

    Args:
        is_permit: it allows; else it forbids.
        misses: what of it does not fit; none where it holds.
        needs: whom it is for, as `Role::"op"`, where it is not for who asks.
    """

    id: str
    is_permit: bool
    description: str
    misses: list[Literal["who", "action", "what", "condition"]]
    needs: str | None


class WhyRow(Given, kw_only=True):
    """
    Yes or no, and all it rests on.

    Args:
        actor: whose decision it is, with *roles*.
        policies: ids of the policies that decided.
        weighed: what holds, prohibitions first, then what nearly does; to who does not administer, what
            decided.
        depends_on: what else such a request may bring that decides, as `source` or `run.dag_id`.
        revision: of the policies that were asked.
    """

    actor: str
    roles: list[RoleName]
    is_allowed: bool
    reason: str
    policies: list[str]
    weighed: list[WeighedRow]
    depends_on: list[str]
    revision: str


class SimulateRequest(Asked, kw_only=True):
    """
    What would be decided if policies were other than they are. Nothing is changed.

    Args:
        put: policies to add or replace.
        delete: ids of policies to leave out.
        questions: what to ask; unsaid, everything of everybody.
        limit: decisions told at most; all that would turn are counted.
    """

    put: list[PolicyText] = []
    delete: list[str] = []
    questions: Annotated[list[CanRequest], Meta(extra_json_schema={"maxItems": MAX_BATCH})] = []
    limit: PageLimit = 100


class FlipRow(Given, kw_only=True):
    """One decision that would turn."""

    actor: str
    action: Verb
    kind: Kind | None
    name: str | None
    team: str | None
    before: DecisionRow
    after: DecisionRow


class Simulated(Given, kw_only=True):
    """
    What would be decided.

    Args:
        before, after: one decision a question, in their order.
        flips: decisions that would turn, where there were no questions.
        total: how many would.
        actors, entries: how many were looked at.
        is_complete: there was time to look at everything.
    """

    before: list[DecisionRow]
    after: list[DecisionRow]
    flips: list[FlipRow]
    total: int
    actors: int
    entries: int
    is_complete: bool


class May(Given, kw_only=True):
    """
    What one actor may do with one entry.

    Args:
        depends_on: what else of a request these decisions look at, as `run.dag_id`; what is told is for one
            that brings none of it.
    """

    actor: str
    kind: Kind | None
    name: str | None
    team: str | None
    actions: list[Verb]
    policies: list[str]
    depends_on: list[str]


class EntryAccess(Given, kw_only=True):
    """Everybody who may do anything with one entry."""

    kind: Kind
    name: str
    team: str | None
    actors: list[May]


class AccessQuery(Asked, kw_only=True):
    """
    Which part of what an actor may.

    Args:
        action: only entries with which he may do this.
        limit: entries at most.
        cursor: as the page before gave it.
    """

    action: Verb | None = None
    limit: PageLimit = 100
    cursor: str | None = None


class ActorAccess(Given, kw_only=True):
    """
    Everything one actor may do, an entry at a time: the global names first, then each team's.

    Args:
        cursor: for the next page; None at the end.
    """

    actor: str
    entries: list[May]
    cursor: str | None


class NewGrant(Asked, kw_only=True):
    """
    A right for a time.

    Args:
        actor: whom.
        names: a whole name, `prod/*` for all below, or `*`; unsaid, all.
        team: whose entries; unsaid, the global ones.
        seconds: for how long; at most 30 days.
        reason: why; kept in the record.
    """

    actor: str
    actions: list[Verb]
    kinds: list[Kind] = []
    names: list[str] = []
    team: str | None = None
    seconds: int
    reason: str


class GrantRow(Given, kw_only=True):
    """A right for a time, as it stands."""

    id: str
    actor: str
    actions: list[Verb]
    kinds: list[Kind]
    names: list[str]
    team: str | None
    reason: str
    created_at: datetime
    created_by: str
    ends_at: datetime


class Grants(Given, kw_only=True):
    """Every grant that has not ended; whoever does not administer sees his own."""

    grants: list[GrantRow]


class ApprovalRow(Given, kw_only=True):
    """
    A request that needs, or needed, a second person.

    Args:
        action: `reveal`, or what is to be changed: `policy.put`, `policy.delete`, `grant.add`, `switch`.
        content: all of what will be done.
        content_hash: of exactly that; an approval is good for nothing else.
        ends_at: until when it may be decided, and then until when it may be used.
    """

    id: str
    action: str
    kind: Kind | None
    name: str | None
    team: str | None
    actor: str
    reason: str
    state: Literal["pending", "approved", "rejected", "used", "expired"]
    content: dict[str, Any]
    content_hash: str
    created_at: datetime
    ends_at: datetime
    decided_by: str | None
    decided_at: datetime | None


class Approvals(Given, kw_only=True):
    """Requests, newest first; whoever does not administer sees his own."""

    approvals: list[ApprovalRow]


class Approve(Asked, kw_only=True):
    """
    Agree to a request.

    Args:
        content_hash: of what was looked at; another content is not approved.
    """

    content_hash: str | None = None


class Switches(Given, kw_only=True):
    """
    For what two people are needed.

    Args:
        switches: whether they are, for `two-person-reveal` and `two-person-changes`.
    """

    switches: dict[str, bool]


class SetSwitch(Asked, kw_only=True):
    """Whether two people are needed."""

    is_on: bool
