"""
May they? Pure rules from (actor, action, ref) to a Decision with its reason.

Not for acting on the answer: `service/guard.py` is the only caller.

Rules of this file:

1. No I/O, no clock, no environment: the same question has the same answer.
2. Every Decision says why, and names the policies that decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from strongroom.model.ref import Ref

__all__ = ["Action", "Actor", "Assurance", "Decision", "OwnerPolicy", "Policy"]


class Action(str, Enum):
    """What may be allowed or not; the value is the word in policies and audit records."""

    LIST = "list"
    DESCRIBE = "describe"
    READ = "read"
    REVEAL = "reveal"
    WRITE = "write"
    DELETE = "delete"
    ROTATE = "rotate"
    TEST = "test"
    ADMINISTER = "administer"


class Assurance(IntEnum):
    """How an identity was proven; a higher level implies the lower ones."""

    CLAIMED = 0
    HOST_USER = 1  # this host and this Unix user
    VERIFIED_RUN = 2
    SIGNED_TICKET = 3
    ISOLATED_PROCESS = 4


@dataclass(frozen=True, slots=True)
class Actor:
    """
    Who acts.

    Args:
        id: stable text, as in `local:1000`.
    """

    id: str
    assurance: Assurance = Assurance.CLAIMED


@dataclass(frozen=True, slots=True)
class Decision:
    """
    Yes or no, and why.

    Args:
        reason: one clause for people; holds no value.
        policies: ids of the policies that decided.
    """

    is_allowed: bool
    reason: str
    policies: tuple[str, ...] = ()


class Policy(Protocol):
    """
    Decide whether an actor may do something.

    Trust: the actor has been authenticated by whoever calls.
    Threads: may be called from several threads at once.
    Consistency: a change of policy is seen by the next decision.
    """

    def decide(self, actor: Actor, action: Action, ref: Ref | None) -> Decision:
        """Decide about *ref*, or about the room as a whole where it is None. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class OwnerPolicy:
    """
    The policy of a room without server or agent: the operating system decides.

    Whoever may read the settings and the key may read the room. Such a process acts as the local
    owner, who may do everything; nobody else is known here, so everybody else may do nothing.

    Args:
        owner: the one actor this process acts as.
    """

    owner: Actor

    def decide(self, actor: Actor, action: Action, ref: Ref | None) -> Decision:  # noqa: ARG002 -- the promise of Policy
        """Allow the local owner everything."""
        if actor == self.owner:
            return Decision(
                is_allowed=True,
                reason="local owner: whoever may read the settings and the key may read the room",
                policies=("local-owner",),
            )
        return Decision(is_allowed=False, reason="not the local owner", policies=("local-owner",))
