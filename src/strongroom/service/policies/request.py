"""
What needs two people: one asks, another agrees, and it is exactly that which is done.

Rules of this file:

1. Nobody agrees to what he asked for himself, and no program agrees at all: a token may be anybody's.
2. An approval is for one content, told by its hash: what is done later is that content or nothing. Where
   what stands has changed since it was asked for, the approval is void.
3. An approved change is done in the same transaction that records the approval. An approved reveal is good
   once, for the version that stood when it was asked for, and for an hour.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from strongroom.errors import AccessDeniedError, ConflictError, InvalidInputError, NotFoundError
from strongroom.model.principal import LOCAL, PERSON
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.registry import ABSENT, Change
from strongroom.service.policies.shape import APPROVAL, ApprovalBody, ApprovalState, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from strongroom.policy import Actor
    from strongroom.registry import Row, Snapshot

__all__ = [
    "MAX_REASON",
    "Approval",
    "Proposal",
    "approval_of",
    "asked",
    "checked_reason",
    "closed",
    "decided",
    "find",
    "pruned",
    "spent",
]

MAX_REASON = 500
_PENDING_FOR: Final = timedelta(days=7)
_GOOD_FOR: Final = timedelta(hours=1)
_KEPT_FOR: Final = timedelta(days=30)
_MAX_OVER = 1_000
_MAX_PENDING = 1_000
_MAX_PENDING_EACH = 50


class Approval(NamedTuple):
    """
    A request that needs, or needed, a second person.

    Args:
        action: `reveal`, or what is to be changed: `policy.put`, `policy.delete`, `grant.add`, `switch`.
        content: what will be done, as JSON for people to look at.
        content_hash: of exactly that; SHA-256 in hexadecimal.
    """

    id: str
    action: str
    ref: Ref | None
    actor: str
    reason: str
    state: ApprovalState
    content: str
    content_hash: str
    created_at: datetime
    ends_at: datetime
    decided_by: str | None = None
    decided_at: datetime | None = None


class Proposal(NamedTuple):
    """
    What somebody wants to do.

    Args:
        content: all of it, plain JSON types.
    """

    action: str
    reason: str
    content: dict[str, Any]
    ref: Ref | None = None


def checked_reason(reason: str) -> str:
    """
    Give *reason* without blanks around it.

    Raises:
        InvalidInputError: it says nothing, too much, or holds control characters.
    """
    reason = reason.strip()
    if not reason:
        raise InvalidInputError("this needs a reason", hint="say why, as in: incident 4711")
    if len(reason) > MAX_REASON:
        raise InvalidInputError(f"a reason has at most {MAX_REASON} characters", limit=MAX_REASON)
    if not reason.isprintable():
        raise InvalidInputError("a reason is one line without control characters")
    return reason


def approval_of(row: Row, now: datetime) -> Approval:
    """Give a row as it is to be seen *now*."""
    body = decoded(row, ApprovalBody)
    is_over = body.state in ("pending", "approved") and body.ends_at <= now
    ref = None
    if body.kind is not None and body.name is not None:
        ref = Ref(body.kind, body.name, body.team)
    return Approval(
        id=row.id,
        action=body.action,
        ref=ref,
        actor=body.actor,
        reason=body.reason,
        state="expired" if is_over else body.state,
        content=body.content,
        content_hash=body.content_hash,
        created_at=body.created_at,
        ends_at=body.ends_at,
        decided_by=body.decided_by,
        decided_at=body.decided_at,
    )


def asked(actor: Actor, proposal: Proposal, snapshot: Snapshot, now: datetime) -> Change:
    """
    Give the row that asks for an approval.

    Raises:
        ConflictError: he asked for the same already, or there are too many to look at.
    """
    content = msgspec.json.encode(proposal.content, order="deterministic").decode()
    digest = _digest(actor.id, proposal, content)
    waiting = [body for body in _bodies(snapshot) if body.state == "pending" and now < body.ends_at]
    own = [body for body in waiting if body.actor == actor.id]
    if any(body.content_hash == digest for body in own):
        raise ConflictError("the same was asked for already", hint="strongroom access approvals list")
    if len(waiting) >= _MAX_PENDING or len(own) >= _MAX_PENDING_EACH:
        raise ConflictError("too many requests wait for a second person", hint="have some decided first")
    body = ApprovalBody(
        action=proposal.action,
        actor=actor.id,
        reason=proposal.reason,
        content=content,
        content_hash=digest,
        created_at=now,
        ends_at=now + _PENDING_FOR,
        kind=None if proposal.ref is None else proposal.ref.kind,
        name=None if proposal.ref is None else proposal.ref.name,
        team=None if proposal.ref is None else proposal.ref.team,
    )
    return Change(APPROVAL, f"a_{secrets.token_hex(8)}", encoded(body), ABSENT)


def _digest(actor: str, proposal: Proposal, content: str) -> str:
    ref = None if proposal.ref is None else list(proposal.ref)
    whole = [actor, proposal.action, ref, proposal.reason, content]
    return sha256(msgspec.json.encode(whole)).hexdigest()


def find(snapshot: Snapshot, id_: str) -> tuple[Row, ApprovalBody]:
    """
    Give one request.

    Raises:
        NotFoundError: there is none of that id.
    """
    row = snapshot.of(APPROVAL).get(id_)
    if row is None:
        raise NotFoundError("there is no such request", hint="strongroom access approvals list")
    return row, decoded(row, ApprovalBody)


def decided(
    found: tuple[Row, ApprovalBody], actor: Actor, now: datetime, *, seen: str | None, wall: datetime
) -> ApprovalBody:
    """
    Give the body of a request that *actor* agrees to.

    Args:
        found: what `find` gave.
        actor: who agrees.
        now: the time that decides.
        wall: the time to write down.
        seen: the hash of the content he has seen, where he says it.

    Raises:
        AccessDeniedError: he asked for it himself, or is no person.
        ConflictError: it was decided or is over, or he has seen something else.
    """
    _, body = found
    if body.actor == actor.id:
        raise AccessDeniedError(
            "nobody approves what he asked for himself", reason="own request", hint="ask somebody else to"
        )
    if not actor.id.startswith((PERSON, LOCAL)):
        raise AccessDeniedError("only a person approves", reason="not a person")
    _check_open(body, now)
    ref = None if body.kind is None or body.name is None else Ref(body.kind, body.name, body.team)
    proposal = Proposal(body.action, body.reason, {}, ref)
    if _digest(body.actor, proposal, body.content) != body.content_hash or seen not in (
        None,
        body.content_hash,
    ):
        raise ConflictError("what was asked for is not what is to be approved", hint="look at it again")
    return msgspec.structs.replace(
        body, state="approved", decided_by=actor.id, decided_at=wall, ends_at=wall + _GOOD_FOR
    )


def closed(found: tuple[Row, ApprovalBody], actor: Actor, now: datetime) -> ApprovalBody:
    """
    Give the body of a request that is turned down, or taken back by who asked.

    Raises:
        ConflictError: it was decided or is over.
    """
    _check_open(found[1], now)
    return msgspec.structs.replace(found[1], state="rejected", decided_by=actor.id, decided_at=now)


def _check_open(body: ApprovalBody, now: datetime) -> None:
    if body.state != "pending":
        raise ConflictError(f"the request is {body.state} already")
    if body.ends_at <= now:
        raise ConflictError("the request is over", hint="have it asked for again")


def spent(
    actor: Actor, ref: Ref, version: str | None, snapshot: Snapshot, now: datetime
) -> Sequence[Change] | None:
    """
    Give the change that uses the approval of a reveal up; None where there is none.

    Raises:
        AccessDeniedError: another version stands than the one that was agreed to.
    """
    wanted = (Action.REVEAL.value, actor.id, ref.kind, ref.name, ref.team)
    for row in snapshot.of(APPROVAL).values():
        body = decoded(row, ApprovalBody)
        if body.state != "approved" or body.ends_at <= now:
            continue
        if (body.action, body.actor, body.kind, body.name, body.team) != wanted:
            continue
        if msgspec.json.decode(body.content).get("version") != version:
            raise AccessDeniedError(
                f"{ref} has changed since the reveal was approved",
                reason="another version than the one approved",
                hint="have it approved again",
            )
        used = msgspec.structs.replace(body, state="used")
        return [Change(APPROVAL, row.id, encoded(used), row.revision)]
    return None


def pruned(snapshot: Snapshot, now: datetime) -> list[Change]:
    """Give the changes that forget requests that are long over, or too many; the record keeps them."""
    over = [
        (body.created_at, row)
        for row in snapshot.of(APPROVAL).values()
        if (body := decoded(row, ApprovalBody)).state in ("rejected", "used") or body.ends_at <= now
    ]
    over.sort(key=_age)
    kept = [row for begun, row in over if begun + _KEPT_FOR > now][-_MAX_OVER:]
    gone = {row.id for _, row in over} - {row.id for row in kept}
    return [Change(APPROVAL, row.id, None, row.revision) for _, row in over if row.id in gone]


def _age(entry: tuple[datetime, Row]) -> datetime:
    return entry[0]


def _bodies(snapshot: Snapshot) -> list[ApprovalBody]:
    return [decoded(row, ApprovalBody) for row in snapshot.of(APPROVAL).values()]
