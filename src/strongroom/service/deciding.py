"""
The server's side of an agent's decisions: who may, of the processes on its host.

The agent itself is the principal; the user of its host and the run are its word, and stand in the context.

Rules of this file:

1. What is public about an entry is looked up only where a policy asks for it, as for the server's own reads.
2. A denial is on record before it is told, but of a name that is left out of a list, as in every list. What
   was allowed is recorded where it is used: by the agent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from strongroom.errors import AccessDeniedError, MalformedEntryError, StrongroomError, TamperedError
from strongroom.model.principal import AGENT
from strongroom.policy import Action
from strongroom.service.guard import event_of, facts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.audit import Event
    from strongroom.cache import Cache
    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Decision, Facts
    from strongroom.service.guard import Guard
    from strongroom.service.ruling import Question

__all__ = ["Deciding", "check_agent"]


@runtime_checkable
class _Looking(Protocol):
    """A policy that can tell what it looks at."""

    def looks_at(self, actor: Actor, action: Action, ref: Ref | None) -> frozenset[str]: ...


def check_agent(actor: Actor, guard: Guard) -> None:
    """
    Refuse whoever is no agent; the refusal is recorded.

    Raises:
        AccessDeniedError: *actor* is none.
        NotRecordedError: the refusal cannot be recorded.
    """
    if not actor.id.startswith(AGENT):
        reason = "only an agent may ask this"
        guard.recorder.append(event_of(actor, Action.ADMINISTER, None, "denied", reason=reason))
        raise AccessDeniedError(reason, reason=reason, hint="strongroom access agents invite NAME")


class Deciding:
    """
    Decide for one agent.

    Args:
        guard: whose policy decides, and whose recorder records.
        cache: where what is public about entries is looked up.
        actor: the agent.
    """

    def __init__(self, guard: Guard, cache: Cache, actor: Actor) -> None:
        self._guard = guard
        self._cache = cache
        self._actor = actor

    def decide(self, questions: Sequence[Question]) -> list[tuple[Decision, bool]]:
        """
        Decide, and tell of each whether it depends on the run.

        Raises:
            NotRecordedError: a denial cannot be recorded; nothing is told.
        """
        found = [self._one(question) for question in questions]
        denied = [
            self._denial(question, decision)
            for question, (decision, _) in zip(questions, found, strict=True)
            if not decision.is_allowed and question.action is not Action.LIST
        ]
        if denied:
            self._guard.recorder.append(*denied)
        return found

    def _one(self, question: Question) -> tuple[Decision, bool]:
        policy = self._guard.current()
        actor = self._asking(question)
        facts = self._facts(question.ref) if policy.needs_facts else None
        decision = policy.decide(actor, question.action, question.ref, facts)
        # A policy that cannot tell what it looks at may look at anything.
        looked_at = (
            policy.looks_at(actor, question.action, question.ref) if isinstance(policy, _Looking) else None
        )
        depends = looked_at is None or any(name.startswith("run.") for name in looked_at)
        return decision, depends

    def _asking(self, question: Question) -> Actor:
        return replace(self._actor, run=question.run, user=question.user)

    def _facts(self, ref: Ref) -> Facts | None:
        try:
            entry = self._cache.read(ref)
        except (MalformedEntryError, TamperedError):
            return self._guard.facts(ref)
        except StrongroomError:
            return None
        return self._guard.facts(ref) if entry is None else facts_of(entry.metadata)

    def _denial(self, question: Question, decision: Decision) -> Event:
        return event_of(
            self._asking(question),
            question.action,
            question.ref,
            "denied",
            reason=decision.reason,
            policies=decision.policies,
        )
