"""
Why a lookup comes out as it does, for a reader and with everything the entry refers to.

Rules of this file:

1. Nothing leaves but outcomes, names, versions and reasons; values are read to know whether they can be
   used, and recorded as little as any other description.
2. An entry that refers to others is only *found* if its reader would get it: a reference to nothing makes
   it *invalid*, one that may not be read *denied*.
3. What is referred to several times is told with its own references the first time only.
"""

from __future__ import annotations

import time
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.chain import outcome_of
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    InvalidInputError,
    StrongroomError,
)
from strongroom.model import template
from strongroom.model.explanation import Explanation, Outcome
from strongroom.model.ref import Ref
from strongroom.policy import Action, Assurance, Run
from strongroom.service.lookup import parse_stored

if TYPE_CHECKING:
    from strongroom.cache import Cache
    from strongroom.chain import Chain
    from strongroom.model.connection import Dialect
    from strongroom.model.entry import Entry
    from strongroom.model.explanation import Step
    from strongroom.policy import Actor, Decision
    from strongroom.service.guard import Guard
    from strongroom.service.reading import Reader

__all__ = ["Explaining", "claimed"]


def claimed(dag: str | None, task: str | None = None) -> Run | None:
    """Give the run that a request would claim to be for; None where it claims none."""
    return None if not dag and not task else Run(Assurance.CLAIMED, dag_id=dag or None, task_id=task or None)


class Explaining:
    """
    One explanation for one actor; every entry is read once, however often it is named.

    Args:
        run: explain the lookup that a request for this run would be.
    """

    def __init__(
        self,
        cache: Cache | Reader,
        chain: Chain,
        guard: Guard,
        actor: Actor,
        dialect: Dialect,
        *,
        run: Run | None = None,
    ) -> None:
        self._cache = cache
        self._chain = chain
        self._guard = guard
        self._actor = actor
        # Whose lookup is explained: his own, or as one that such a run makes. Being told stays his own right.
        self._reader = actor if run is None else replace(actor, run=run)
        self._dialect: Dialect = dialect
        self._entries: dict[Ref, Entry | None] = {}
        self._told: dict[Ref, Explanation] = {}

    def explain(self, ref: Ref, above: tuple[Ref, ...] = ()) -> Explanation:
        """
        Explain *ref*, which was reached through *above*.

        Raises:
            AccessDeniedError: the actor may not even be told what there is.
            BackendUnavailableError: nobody could decide about that.
        """
        explanation = self._guard.act(
            self._actor,
            Action.DESCRIBE,
            ref,
            lambda: self._asked(ref),
        )
        begun = time.monotonic()
        decision = self._may_read(ref)
        return replace(
            self._judged(explanation, above),
            policies=decision.policies,
            may_read=decision.is_allowed,
            decision=decision.reason,
            decided_ms=(time.monotonic() - begun) * 1000,
        )

    def _asked(self, ref: Ref) -> Explanation:
        is_whole = ref.team is None or self._may(Action.DESCRIBE, Ref(ref.kind, ref.name)).is_allowed
        found = self._chain.explain(ref, self._cache.remembered(ref))
        return found if is_whole else _of_team(found)

    def _may_read(self, ref: Ref) -> Decision:
        return self._may(Action.READ, ref, self._reader)

    def _may(self, action: Action, ref: Ref, actor: Actor | None = None) -> Decision:
        """Decide. Raises what kept whoever decides from deciding."""
        decision = self._guard.can(actor or self._actor, action, ref)
        if decision.trouble is not None:
            raise copy(decision.trouble)
        return decision

    def _judged(self, explanation: Explanation, above: tuple[Ref, ...]) -> Explanation:
        """Turn what was found and cannot be used into what a reader meets."""
        if explanation.outcome is not Outcome.FOUND:
            return explanation
        try:
            entry = self._read(explanation.ref)
        except StrongroomError:
            return explanation  # it has changed since; what was seen is told
        if entry is None:
            return explanation
        if entry.metadata.references:
            explanation = replace(explanation, references=self._nested(entry, above))
        try:
            whole = template.resolve(entry, self._readable, dialect=self._dialect)
            if entry.ref.kind == "connection":
                parse_stored(whole, self._dialect)
        except StrongroomError as error:
            return _spoiled(explanation, outcome_of(error), str(error))
        return explanation

    def _nested(self, entry: Entry, above: tuple[Ref, ...]) -> tuple[Explanation, ...]:
        path = (*above, entry.ref)
        try:
            refs = template.references_of(entry.ref, entry.secret.reveal())
        except InvalidInputError:
            return ()  # told by resolving it
        is_deep = len(path) > template.MAX_DEPTH
        # One more than there may be shows that there are too many.
        told = refs[: template.MAX_REFERENCES + 1]
        return () if is_deep else tuple(self._one(ref, path) for ref in told)

    def _one(self, ref: Ref, path: tuple[Ref, ...]) -> Explanation:
        if ref in path:
            return Explanation(ref=ref, outcome=Outcome.INVALID, backend=None, reason="leads back to itself")
        if ref in self._told:
            # What many name is told in full once: written out each time it would grow without bound.
            return replace(self._told[ref], references=())
        if len(self._told) >= template.MAX_REFERENCES:
            return Explanation(ref=ref, outcome=Outcome.INVALID, backend=None, reason="too many references")
        self._told[ref] = self._for_reader(ref, path)
        return self._told[ref]

    def _for_reader(self, ref: Ref, path: tuple[Ref, ...]) -> Explanation:
        try:
            explanation = self.explain(ref, path)
            self._check(ref)
        except AccessDeniedError as error:
            return Explanation(ref=ref, outcome=Outcome.DENIED, backend=None, reason=error.reason)
        except BackendUnavailableError as error:  # nobody could decide
            return Explanation(ref=ref, outcome=Outcome.UNAVAILABLE, backend=None, reason=str(error))
        return explanation

    # --- reading as the reader would ------------------------------------------------------------------

    def _readable(self, ref: Ref) -> Entry | None:
        self._check(ref)
        return self._read(ref)

    def _check(self, ref: Ref) -> None:
        decision = self._may_read(ref)
        if not decision.is_allowed:
            raise AccessDeniedError(f"{self._actor.id} may not read {ref}", reason=decision.reason)

    def _read(self, ref: Ref) -> Entry | None:
        if ref not in self._entries:
            self._entries[ref] = self._chain.read(ref)
        return self._entries[ref]


def _of_team(found: Explanation) -> Explanation:
    """Leave out what is told of the global name: it is not for this reader (`reading.py`, rule 6)."""
    steps = tuple(step for step in found.steps if step.ref.team is not None)
    answered = (one for one in found.steps if one.outcome is not Outcome.ABSENT and not one.is_shadowed)
    answer = next(answered, None)
    if answer is None or answer.ref.team is not None:
        return replace(found, steps=steps)
    return replace(
        found, steps=steps, outcome=Outcome.ABSENT, backend=None, version=None, remembered=None, reason=""
    )


def _spoiled(explanation: Explanation, outcome: Outcome, reason: str) -> Explanation:
    steps = tuple(_of_answer(step, outcome, reason) for step in explanation.steps)
    return replace(explanation, outcome=outcome, steps=steps, reason=reason)


def _of_answer(step: Step, outcome: Outcome, reason: str) -> Step:
    """Tell of the answering step what is wrong with what it found; leave the others."""
    if step.outcome is not Outcome.FOUND or step.is_shadowed:
        return step
    return replace(step, outcome=outcome, reason=reason)
