"""Shapes of who may: policies, questions about them, grants, approvals."""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import Annotated, Literal

from msgspec import Meta

from strongroom.wire.access import RoleName  # noqa: TC001 -- msgspec reads annotations at run time
from strongroom.wire.entry import RunClaim  # noqa: TC001 -- msgspec reads annotations at run time
from strongroom.wire.shape import MAX_BATCH, Asked, Given, Kind

__all__ = [
    "ActorAccess",
    "ApprovalRow",
    "Approvals",
    "CanRequest",
    "DecisionRow",
    "EntryAccess",
    "GrantRow",
    "Grants",
    "May",
    "NewGrant",
    "Policies",
    "PolicyRow",
    "PolicyText",
    "Remark",
    "SimulateRequest",
    "Simulated",
    "Validated",
    "Verb",
]

Verb = Literal["list", "describe", "read", "reveal", "write", "delete", "rotate", "test", "administer"]


class PolicyRow(Given, kw_only=True):
    """
    A policy as it stands.

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
        text: Cedar; at most 64 KiB.
    """

    text: str
    id: str | None = None
    description: str = ""
    is_enabled: bool = True
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


class CanRequest(Asked, kw_only=True):
    """
    One question: may this actor do that?

    Args:
        actor: whom to ask about; unsaid, the one who asks.
        name: None asks about the room as a whole.
        source: where the request would come from, an IP address.
    """

    action: Verb
    kind: Kind | None = None
    name: str | None = None
    team: str | None = None
    actor: str | None = None
    roles: list[RoleName] | None = None
    run: RunClaim | None = None
    source: str = ""


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


class SimulateRequest(Asked, kw_only=True):
    """
    What would be decided if policies were other than they are. Nothing is changed or recorded as a use.

    Args:
        put: policies to add or replace.
        delete: ids of policies to leave out.
    """

    put: list[PolicyText] = []
    delete: list[str] = []
    questions: Annotated[list[CanRequest], Meta(extra_json_schema={"maxItems": MAX_BATCH})] = []


class Simulated(Given, kw_only=True):
    """One pair of decisions a question, in their order: as it is and as it would be."""

    before: list[DecisionRow]
    after: list[DecisionRow]


class May(Given, kw_only=True):
    """Who may do what with one entry, or what one actor may do with it."""

    actor: str
    kind: Kind | None
    name: str | None
    team: str | None
    actions: list[Verb]
    policies: list[str]


class EntryAccess(Given, kw_only=True):
    """Everybody who may do anything with one entry."""

    kind: Kind
    name: str
    team: str | None
    actors: list[May]


class ActorAccess(Given, kw_only=True):
    """Everything one actor may do; entries a page at a time."""

    actor: str
    entries: list[May]
    cursor: str | None


class NewGrant(Asked, kw_only=True):
    """
    A right for a time.

    Args:
        actor: whom.
        names: patterns of the entries, as `prod/*`.
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
    is_pending: bool = False


class Grants(Given, kw_only=True):
    """Every grant that has not ended."""

    grants: list[GrantRow]


class ApprovalRow(Given, kw_only=True):
    """
    A request that needs a second person.

    Args:
        action: `reveal`, or what is to be changed.
        content_hash: of exactly what will be done; an approval is good for nothing else.
    """

    id: str
    action: str
    kind: Kind | None
    name: str | None
    team: str | None
    actor: str
    reason: str
    state: Literal["pending", "approved", "rejected", "used", "expired"]
    content_hash: str
    created_at: datetime
    ends_at: datetime
    decided_by: str | None


class Approvals(Given, kw_only=True):
    """Requests that wait for a second person, or were decided lately."""

    approvals: list[ApprovalRow]
