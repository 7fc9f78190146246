"""
Why a question was answered so: every policy that had to do with it, and what keeps the others from it.

Rules of this file:

1. Nothing is decided here: the answer is the one `Questions.can` gives. What is told of a single policy is
   found by asking that policy alone.
2. Of what did not decide only the near ones are told: a policy that differs in one thing is a hint whom to
   ask, one that differs in three is noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

from strongroom.policy import Decision, Role
from strongroom.policy.cedar import CedarPolicy
from strongroom.policy.schema import PRINCIPALS, entry_id, folders, roles_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.model.ref import Ref
    from strongroom.policy import Action, Actor, Facts
    from strongroom.policy.rule import Rule, Scope

__all__ = ["Miss", "Question", "Weighed", "Why", "weighed"]

Miss = Literal["who", "action", "what", "condition"]
_MAX_NEAR = 6


class Question(NamedTuple):
    """
    What was asked, with all that was known when it was.

    Args:
        actor: with his roles and the bounds of his credential.
        ref: None for the room as a whole.
        facts: what is public of the entry; None where nothing is known.
    """

    actor: Actor
    action: Action
    ref: Ref | None
    facts: Facts | None


class Weighed(NamedTuple):
    """
    One statement of a policy before a question.

    Args:
        id: of the statement, as decisions name it; a grant's begins with `grant:`.
        is_permit: it allows; else it forbids.
        misses: what of it does not fit: none where it concerns the question.
        needs: the role or actor it is for, as (type, name), where that is what does not fit.
    """

    id: str
    is_permit: bool
    description: str
    misses: tuple[Miss, ...]
    needs: tuple[str, str] | None = None

    @property
    def holds(self) -> bool:
        """Whether it allows, or forbids, just this."""
        return not self.misses


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """
    An answer, and what it rests on.

    Args:
        decision: the answer.
        question: with the actor as he would come.
        weighed: what allows or forbids just this, prohibitions first; then what nearly would.
        depends_on: what else such a request may bring that decides, as `source` or `run.dag_id`.
        revision: of the policies.
        is_known: there is such a person or service; users of the host and agents are not kept here.
    """

    decision: Decision
    question: Question
    weighed: tuple[Weighed, ...]
    depends_on: tuple[str, ...]
    revision: str
    is_known: bool = True


def weighed(policy: CedarPolicy, question: Question) -> tuple[Weighed, ...]:
    """
    Give what of *policy* has to do with *question*: what holds, prohibitions first; then what differs in one
    thing from what would allow it, or from what forbids it, the first six of them.
    """
    found = [_of(policy, rule, question) for rule in policy.rules]
    holding = sorted((one for one in found if one.holds), key=_forbidding_first)
    near = sorted((one for one in found if _is_near(one)), key=_nearest_first)
    return (*holding, *near[:_MAX_NEAR])


def _forbidding_first(one: Weighed) -> tuple[bool, str]:
    return one.is_permit, one.id


def _is_near(one: Weighed) -> bool:
    # What forbids others, or something else, is nothing to whoever asks this; and nobody can become of
    # another kind.
    if one.misses == ("who",) and one.needs is None:
        return False
    return len(one.misses) == 1 and (one.is_permit or one.misses == ("condition",))


def _nearest_first(one: Weighed) -> tuple[bool, int, str]:
    order: tuple[Miss, ...] = ("condition", "who", "what", "action")
    return one.is_permit, order.index(one.misses[0]), one.id


def _of(policy: CedarPolicy, rule: Rule, question: Question) -> Weighed:
    misses = tuple(_misses(rule, question))
    needs = (rule.principal.equals or rule.principal.within) if "who" in misses else None
    if rule.conditions:
        # Whoever it is for must meet its conditions, too: a role that would not help is no hint.
        supposed = question if needs is None else question._replace(actor=_become(question.actor, needs))
        if misses in ((), ("who",)) and not _holds(policy, rule, supposed):
            misses = (*misses, "condition")
    return Weighed(rule.id, rule.is_permit, rule.description, misses, needs)


def _become(actor: Actor, needs: tuple[str, str]) -> Actor:
    """Give *actor* as he would be if he were whom a statement is for."""
    kind, name = needs
    if kind == "Role":
        return replace(actor, roles=(*actor.roles, Role(name)))
    prefix = next((prefix for prefix, type_ in PRINCIPALS.items() if type_ == kind), "")
    return replace(actor, id=f"{prefix}:{name}")


def _misses(rule: Rule, question: Question) -> Iterable[Miss]:
    actor, ref = question.actor, question.ref
    prefix, _, name = actor.id.partition(":")
    roles = roles_for(actor, None if ref is None else ref.team)
    if not rule.principal.may_fit(PRINCIPALS.get(prefix, ""), name, roles):
        yield "who"
    if question.action.value not in rule.actions:
        yield "action"
    if not _fits(rule.resource, ref):
        yield "what"


def _fits(scope: Scope, ref: Ref | None) -> bool:
    """Tell whether a scope means *ref*, or the room where it is None."""
    if ref is None:
        return scope.may_fit("Room", "", None)
    itself = ("Entry", entry_id(ref))
    within = {itself, *(("Folder", name) for name in folders(ref.name))}
    return (
        scope.type in (None, "Entry")
        and scope.equals in (None, itself)
        and (scope.within is None or scope.within in within)
    )


def _holds(policy: CedarPolicy, rule: Rule, question: Question) -> bool:
    """Tell whether the conditions of *rule* hold, by asking it alone."""
    alone = CedarPolicy(
        [rule], revision=policy.revision, deployment=policy.deployment, approved=policy.approved
    )
    return rule.id in alone.weigh(*question).policies
