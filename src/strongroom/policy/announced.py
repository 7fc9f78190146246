"""
A floor under any policy of an agent: only runs that were announced read (`agent.announced = "required"`).

It only ever refuses more: what it lets through the policy above decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.policy import Action, Decision, Preparing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Facts, Policy

__all__ = ["AnnouncedOnly", "announced_only"]

_USES = frozenset({Action.READ, Action.REVEAL, Action.WRITE, Action.DELETE})
_REFUSED = Decision(
    is_allowed=False,
    reason='no supervisor has announced this run to the agent, and agent.announced = "required" asks for it',
    policies=("agent.announced",),
)


class AnnouncedOnly:
    """
    Refuse values to whoever's run was not announced; else decide as *inner*.

    Threads, consistency: as *inner*.
    """

    def __init__(self, inner: Policy) -> None:
        self._inner = inner

    @property
    def needs_facts(self) -> bool:
        """As of *inner*."""
        return self._inner.needs_facts

    def decide(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:
        """Refuse, or decide as *inner*."""
        return _REFUSED if _is_refused(actor, action) else self._inner.decide(actor, action, ref, facts)

    def knows(self, actor: Actor, action: Action, ref: Ref | None) -> bool:
        """Tell whether nobody must be asked: not for a refusal."""
        return _is_refused(actor, action) or self._inner.knows(actor, action, ref)

    def prepare(self, actor: Actor, action: Action, refs: Sequence[Ref]) -> None:
        """Have *inner* ask about many at once, where it does."""
        if isinstance(self._inner, Preparing) and not _is_refused(actor, action):
            self._inner.prepare(actor, action, refs)


def announced_only(current: Callable[[], Policy]) -> Callable[[], Policy]:
    """Give *current* with the floor under it; the same object while *current* gives the same one."""
    known: list[tuple[Policy, AnnouncedOnly]] = []

    def floored() -> Policy:
        policy = current()
        if not known or known[0][0] is not policy:
            known[:] = [(policy, AnnouncedOnly(policy))]
        return known[0][1]

    return floored


def _is_refused(actor: Actor, action: Action) -> bool:
    run = actor.run
    return action in _USES and (run is None or not run.announced)
