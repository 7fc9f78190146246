"""How a lookup goes, in the shape of the wire, for whoever answers over HTTP: never the value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.wire.entry import Explained, HeldInMemory, NotAsked, StepRow
from strongroom.wire.failure import without_paths

if TYPE_CHECKING:
    from strongroom.model.explanation import Explanation, Remembered, Step

__all__ = ["explained"]


def explained(explanation: Explanation) -> Explained:
    """Give how a lookup goes."""
    return Explained(
        kind=explanation.ref.kind,
        name=explanation.ref.name,
        team=explanation.ref.team,
        outcome=explanation.outcome.value,
        backend=explanation.backend,
        version=explanation.version,
        shadows=list(explanation.shadows),
        policies=list(explanation.policies),
        reason=without_paths(explanation.reason),
        references=[explained(one) for one in explanation.references],
        remembered=_remembered(explanation.remembered),
        steps=[_step(step) for step in explanation.steps],
        not_asked=[NotAsked(backend=backend, reason=reason) for backend, reason in explanation.not_asked],
        may_read=explanation.may_read,
        decision=explanation.decision,
        decided_ms=None if explanation.decided_ms is None else round(explanation.decided_ms, 3),
    )


def _remembered(held: Remembered | None) -> HeldInMemory | None:
    if held is None:
        return None
    return HeldInMemory(
        backend=held.backend,
        version=held.version,
        age_seconds=held.age.total_seconds(),
        fresh=held.is_fresh,
    )


def _step(step: Step) -> StepRow:
    return StepRow(
        backend=step.backend,
        team=step.ref.team,
        outcome=step.outcome.value,
        milliseconds=round(step.milliseconds, 3),
        version=step.version,
        age_seconds=None if step.age is None else step.age.total_seconds(),
        cached=step.is_cached,
        shadowed=step.is_shadowed,
        reason=without_paths(step.reason),
        place=step.place,
    )
