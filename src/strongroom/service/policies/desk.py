"""What every use case of policies stands on: who asks, what there is, how a change is made or asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from strongroom.policy import Action
from strongroom.service.guard import event_of
from strongroom.service.policies import request
from strongroom.service.policies.book import TWO_FOR_CHANGES, switched
from strongroom.service.policies.request import Approval, Proposal, approval_of
from strongroom.service.policies.shape import APPROVAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Facts, Policy
    from strongroom.registry import Registry, Snapshot
    from strongroom.service.guard import Guard
    from strongroom.service.inventory import Inventory
    from strongroom.service.policies.book import Book

__all__ = ["Desk", "Sources"]

T = TypeVar("T")


class Sources(NamedTuple):
    """
    What answers about entries, for questions about who may.

    Args:
        inventory: gives the inventory as somebody.
        teams: gives the names of the teams that have entries.
        facts: gives what is public about what a Ref leads to.
        version: gives the version that stands under a Ref; None where nothing does.
    """

    inventory: Callable[[Actor], Inventory]
    teams: Callable[[], Sequence[str]]
    facts: Callable[[Ref], Facts | None]
    version: Callable[[Ref], str | None]


class Desk(NamedTuple):
    """One actor before the policies of one deployment."""

    registry: Registry
    guard: Guard
    actor: Actor
    book: Book
    sources: Sources | None = None

    @property
    def snapshot(self) -> Snapshot:
        """What there is; to who is known by what is remembered, what there was."""
        is_now = self.actor.as_of is None
        return self.registry.snapshot() if is_now else self.registry.remembered()

    @property
    def now(self) -> datetime:
        """The time, which never goes back."""
        return self.book.now()

    @property
    def wall(self) -> datetime:
        """The time to write down: a right must not last longer because the clock had jumped ahead."""
        return self.book.clock()

    @property
    def is_administrator(self) -> bool:
        """Whether he administers; nothing is recorded."""
        return self.guard.can(self.actor, Action.ADMINISTER, None).is_allowed

    def look(self) -> None:
        """
        Refuse whoever does not administer, and record that.

        Raises:
            AccessDeniedError: he does not.
        """
        self.guard.check(self.actor, Action.ADMINISTER, None, None)

    def tell(self, action: Action, ref: Ref | None, outcome: str, reason: str) -> None:
        """Record what is no act of the guard's."""
        self.guard.recorder.append(event_of(self.actor, action, ref, outcome, reason=reason))

    def facts(self, policy: Policy, ref: Ref | None) -> Facts | None:
        """Give what is public about *ref*, where *policy* asks for it."""
        if ref is None or self.sources is None or not policy.needs_facts:
            return None
        return self.sources.facts(ref)

    def propose(self, proposal: Proposal, work: Callable[[], T]) -> T | Approval:
        """
        Do *work*, or ask for a second person where changes need one.

        Raises:
            AccessDeniedError: he does not administer.
            Whatever *work* raises.
        """
        if TWO_FOR_CHANGES not in switched(self.snapshot):
            return self.do(f"{proposal.action}: {proposal.reason}", work)
        return self.do(f"{proposal.action} asked for: {proposal.reason}", lambda: self.request(proposal))

    def do(self, why: str, work: Callable[[], T]) -> T:
        """Do *work* as an act of administration."""
        return self.guard.act(self.actor, Action.ADMINISTER, None, work, reason=why)

    def request(self, proposal: Proposal) -> Approval:
        """
        Ask for a second person.

        Raises:
            ConflictError: it was asked for already, or too many wait.
        """
        snapshot, now = self.snapshot, self.wall
        change = request.asked(self.actor, proposal, snapshot, now)
        self.registry.put_many([change, *request.pruned(snapshot, now)])
        return approval_of(self.snapshot.of(APPROVAL)[change.id], self.now)
