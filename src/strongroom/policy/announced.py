"""
Floors under any policy of an agent: only runs that were announced read (`agent.announced = "required"`), or
only those that were verified (`"verified"`); and what a run is told that nobody can verify just now.

They only ever refuse more: what they let through the policy above decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import BackendUnavailableError
from strongroom.policy import Action, Assurance, Decision, Preparing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Facts, Policy

__all__ = ["AnnouncedOnly", "Pending", "announced_only", "pending_runs", "verified_only"]

_USES = frozenset({Action.READ, Action.REVEAL, Action.WRITE, Action.DELETE})
_REFUSED = Decision(
    is_allowed=False,
    reason='no supervisor has announced this run to the agent, and agent.announced = "required" asks for it',
    policies=("agent.announced",),
)
_UNVERIFIED = Decision(
    is_allowed=False,
    reason='this run is not verified (level 2), and agent.announced = "verified" asks for it',
    policies=("agent.announced",),
)


class AnnouncedOnly:
    """
    Refuse values to whoever's run was not announced; else decide as *inner*.

    Threads, consistency: as *inner*.

    Args:
        inner: the policy above.
        least: how a run must be proven; `CLAIMED` takes what was only announced.
    """

    def __init__(self, inner: Policy, least: Assurance = Assurance.CLAIMED) -> None:
        self._inner = inner
        self._least = least
        self._refusal = _UNVERIFIED if least else _REFUSED

    @property
    def needs_facts(self) -> bool:
        """As of *inner*."""
        return self._inner.needs_facts

    def decide(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:
        """Refuse, or decide as *inner*."""
        if self._is_refused(actor, action):
            return self._refusal
        return self._inner.decide(actor, action, ref, facts)

    def knows(self, actor: Actor, action: Action, ref: Ref | None) -> bool:
        """Tell whether nobody must be asked: not for a refusal."""
        return self._is_refused(actor, action) or self._inner.knows(actor, action, ref)

    def prepare(self, actor: Actor, action: Action, refs: Sequence[Ref]) -> None:
        """Have *inner* ask about many at once, where it does."""
        if isinstance(self._inner, Preparing) and not self._is_refused(actor, action):
            self._inner.prepare(actor, action, refs)

    def _is_refused(self, actor: Actor, action: Action) -> bool:
        run = actor.run
        return action in _USES and (run is None or not run.announced or run.assurance < self._least)


class Pending:
    """
    Decide as *inner*, but tell as trouble what is denied to a run that nobody can verify just now: verified,
    it might be allowed. It allows nothing.

    Threads, consistency: as *inner*.
    """

    def __init__(self, inner: Policy) -> None:
        self._inner = inner
        self.knows = inner.knows

    @property
    def needs_facts(self) -> bool:
        """As of *inner*."""
        return self._inner.needs_facts

    def decide(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:
        """Decide as *inner*, or say that nobody can."""
        found = self._inner.decide(actor, action, ref, facts)
        if found.is_allowed or found.trouble is not None or actor.run is None or not actor.run.pending:
            return found
        trouble = BackendUnavailableError(
            "nobody can tell now whether the run is a verified one, and as a claim it may not",
            backend="runs",
            hint="the agent goes on asking; strongroom agent status and its log say more",
        )
        return Decision(is_allowed=False, reason=trouble.code, trouble=trouble)

    def prepare(self, actor: Actor, action: Action, refs: Sequence[Ref]) -> None:
        """Have *inner* ask about many at once, where it does."""
        if isinstance(self._inner, Preparing):
            self._inner.prepare(actor, action, refs)


def announced_only(current: Callable[[], Policy]) -> Callable[[], Policy]:
    """Give *current* with the floor under it; the same object while *current* gives the same one."""
    return _over(current, AnnouncedOnly)


def verified_only(current: Callable[[], Policy]) -> Callable[[], Policy]:
    """Give *current* with the floor of verified runs under it; as `announced_only`."""
    return _over(current, lambda policy: AnnouncedOnly(policy, Assurance.VERIFIED_RUN))


def pending_runs(current: Callable[[], Policy]) -> Callable[[], Policy]:
    """Give *current* telling trouble where a run is pending; as `announced_only`."""
    return _over(current, Pending)


def _over(current: Callable[[], Policy], make: Callable[[Policy], Policy]) -> Callable[[], Policy]:
    known: list[tuple[Policy, Policy]] = []

    def floored() -> Policy:
        policy = current()
        if not known or known[0][0] is not policy:
            known[:] = [(policy, make(policy))]
        return known[0][1]

    return floored
