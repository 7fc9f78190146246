"""
What policies come to: who may do what to an entry, what somebody may do at all, what a change would turn.

Rules of this file:

1. Everything is found by deciding, never by reading policies: what is told is what would be answered.
2. Entries that no policy can tell apart are decided once. Two thousand names in three folders are a handful
   of questions.
3. Whoever asks is told of what he may see in the inventory, and of nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.policy.bounds import is_within
from strongroom.service.guard import facts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from strongroom.policy import Actor, Decision, Facts
    from strongroom.policy.cedar import CedarPolicy
    from strongroom.service.inventory import Row

__all__ = ["Flip", "Known", "May", "Simulation", "entry_of", "may", "simulate"]

_SECONDS = 20.0  # a simulation that takes longer is told as incomplete


class Known(NamedTuple):
    """An entry, and what is public about it."""

    ref: Ref
    facts: Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class May:
    """
    What one actor may do with one entry, or with the room where *ref* is None.

    Args:
        policies: ids of those that allow it.
        depends_on: what else a request brings that these decisions look at, as `run.dag_id` or `source`:
            what is told here is for a request that brings none of it.
    """

    actor: str
    ref: Ref | None
    actions: tuple[Action, ...]
    policies: tuple[str, ...]
    depends_on: tuple[str, ...] = ()


class Flip(NamedTuple):
    """One decision that a change would turn."""

    actor: str
    action: Action
    ref: Ref | None
    before: Decision
    after: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """
    What a change would turn.

    Args:
        flips: the first of them, by actor, entry and action.
        total: how many there are.
        actors, entries: how many were looked at.
        is_complete: False where there was no time to look at everything.
    """

    flips: tuple[Flip, ...]
    total: int
    actors: int
    entries: int
    is_complete: bool = True


def entry_of(row: Row) -> Known:
    """Give what a row of the inventory tells policies."""
    return Known(row.ref, facts_of(row.metadata))


def may(policy: CedarPolicy, actor: Actor, ref: Ref | None, facts: Facts | None) -> May:
    """Give everything *actor* may do with *ref*."""
    actions, policies, depends = [], set[str](), set[str]()
    for action in Action:
        decision = policy.weigh(actor, action, ref, facts)
        depends |= policy.looks_at(actor, action, ref)
        if decision.is_allowed:
            actions.append(action)
            policies.update(decision.policies)
    return May(
        actor=actor.id,
        ref=ref,
        actions=tuple(actions),
        policies=tuple(sorted(policies)),
        depends_on=tuple(sorted(depends)),
    )


def simulate(
    before: CedarPolicy, after: CedarPolicy, actors: Sequence[Actor], entries: Iterable[Known], *, limit: int
) -> Simulation:
    """
    Decide everything twice and give what differs.

    Args:
        before: what is in force.
        after: what would be.
        actors: whose decisions.
        entries: of what; the room as a whole is looked at too.
        limit: flips to give at most; all are counted.
    """
    ends = monotonic() + _SECONDS
    groups: dict[object, list[Known]] = {}
    count = 0
    for known in entries:
        count += 1
        groups.setdefault((before.class_of(*known), after.class_of(*known)), []).append(known)
    flips: list[Flip] = []
    total = 0
    for actor in actors:
        if monotonic() > ends:
            break
        for flip in _flips(before, after, actor, groups.values()):
            total += 1
            if len(flips) < limit:
                flips.append(flip)
    else:
        return Simulation(flips=_sorted(flips), total=total, actors=len(actors), entries=count)
    return Simulation(flips=_sorted(flips), total=total, actors=len(actors), entries=count, is_complete=False)


def _flips(
    before: CedarPolicy, after: CedarPolicy, actor: Actor, groups: Iterable[list[Known]]
) -> Iterator[Flip]:
    for action in Action:
        old, new = before.weigh(actor, action, None), after.weigh(actor, action, None)
        if old.is_allowed != new.is_allowed:
            yield Flip(actor.id, action, None, old, new)
    # The bounds of a credential tell names apart that policies do not; they are the same before and after.
    unbound = replace(actor, scope=None)
    for group in groups:
        ref, facts = group[0]
        for action in Action:
            old, new = (policy.weigh(unbound, action, ref, facts) for policy in (before, after))
            if old.is_allowed != new.is_allowed:
                yield from (
                    Flip(actor.id, action, known.ref, old, new)
                    for known in group
                    if is_within(actor.scope, action, known.ref)
                )


def _sorted(flips: list[Flip]) -> tuple[Flip, ...]:
    return tuple(sorted(flips, key=_place))


def _place(flip: Flip) -> tuple[str, str, str, str, str]:
    ref = flip.ref
    where = ("", "", "") if ref is None else (ref.kind, ref.team or "", ref.name)
    return (flip.actor, *where, flip.action.value)
