"""
What the rows of policies, grants, approvals and switches hold: bodies as strict JSON.

Not for what faces show (`__init__.py`). A body that does not fit its shape makes every decision a denial:
its row was authenticated, so only a newer release can have written it, and it may forbid.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from strongroom.errors import MalformedEntryError
from strongroom.model.ref import Kind  # noqa: TC001 -- as above
from strongroom.policy import Action  # noqa: TC001 -- as above

if TYPE_CHECKING:
    from strongroom.registry import Row

__all__ = [
    "APPROVAL",
    "GRANT",
    "KINDS",
    "POLICY",
    "SWITCH",
    "ApprovalBody",
    "ApprovalState",
    "GrantBody",
    "PolicyBody",
    "SwitchBody",
    "decoded",
    "encoded",
]

POLICY, GRANT, APPROVAL, SWITCH = "policy", "grant", "approval", "switch"
KINDS = (POLICY, GRANT, APPROVAL, SWITCH)

ApprovalState = Literal["pending", "approved", "rejected", "used", "expired"]


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A body."""


class PolicyBody(_Body, frozen=True):
    """
    A document; the row's id is its name.

    Args:
        text: Cedar; None of a shipped one, which can only be switched off.
    """

    changed_at: datetime
    changed_by: str
    text: str | None = None
    description: str = ""
    is_enabled: bool = True
    comment: str = ""


class GrantBody(_Body, frozen=True):
    """A right from *created_at* to *ends_at*, which is not part of it."""

    actor: str
    actions: tuple[Action, ...]
    kinds: tuple[Kind, ...]
    names: tuple[str, ...]
    team: str | None
    reason: str
    created_at: datetime
    created_by: str
    ends_at: datetime


class ApprovalBody(_Body, frozen=True):
    """
    What somebody wants to do and a second person has to agree to.

    Args:
        action: `reveal`, or what is to be changed: `policy.put`, `policy.delete`, `grant.add`, `switch`.
        content: all of what will be done, as canonical JSON; its SHA-256 is *content_hash*.
        ends_at: until when it may be approved, and then until when it may be used.
    """

    action: str
    actor: str
    reason: str
    content: str
    content_hash: str
    created_at: datetime
    ends_at: datetime
    state: ApprovalState = "pending"
    kind: Kind | None = None
    name: str | None = None
    team: str | None = None
    decided_by: str | None = None
    decided_at: datetime | None = None


class SwitchBody(_Body, frozen=True):
    """Something that is on or off; the row's id is its name."""

    is_on: bool
    changed_at: datetime
    changed_by: str


BodyT = TypeVar("BodyT", bound=_Body)
_decoders: dict[type, msgspec.json.Decoder[_Body]] = {}
encoded = msgspec.json.Encoder(order="deterministic").encode


def decoded(row: Row, shape: type[BodyT]) -> BodyT:
    """
    Give the body of an authenticated row.

    Raises:
        MalformedEntryError: another release wrote it.
    """
    decoder = _decoders.get(shape)
    if decoder is None:
        decoder = _decoders[shape] = msgspec.json.Decoder(shape)
    try:
        return decoder.decode(row.body)  # type: ignore[return-value]  # the decoder of that shape
    except msgspec.MsgspecError:
        raise MalformedEntryError(
            f"a row of policies ({row.kind}) is of a form this release does not know",
            backend="registry",
            ref=row.kind,
            hint="run the release that wrote it",
        ) from None
