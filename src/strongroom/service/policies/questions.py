"""
Questions about who may what: answered by deciding, with nothing done.

Anybody may ask what he himself may do; whoever asks about others administers.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from strongroom.errors import AccessDeniedError
from strongroom.model.principal import check_actor
from strongroom.policy import Action
from strongroom.policy.cedar import CedarPolicy
from strongroom.service.policies import reach
from strongroom.service.policies.actors import actor_of, everybody, is_known
from strongroom.service.policies.documents import Documents
from strongroom.service.policies.why import Question, Why, weighed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Decision, Facts, Policy, Run
    from strongroom.service.policies.desk import Desk
    from strongroom.service.policies.documents import Draft
    from strongroom.service.policies.reach import May, Simulation

__all__ = ["Questions"]

_MAX_FLIPS = 1_000


class Questions:
    """Ask as one actor."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def can(
        self,
        action: Action,
        ref: Ref | None,
        *,
        actor: str | None = None,
        run: Run | None = None,
        source: str | None = None,
    ) -> Decision:
        """
        Tell whether somebody might do something now; nothing is done.

        Args:
            action: what.
            ref: with what; None for the room as a whole.
            actor: whose decision; unsaid, his own.
            run: for which run; unsaid, none for another, his own for himself.
            source: from where; as *run*.

        Raises:
            AccessDeniedError: he asks about another and does not administer.
            InvalidInputError: *actor* is nobody's name.
        """
        policy = self._desk.book.current()
        who = self._asking(actor, run, source)
        return policy.decide(who, action, ref, self._facts(policy, who, ref))

    def why(
        self,
        action: Action,
        ref: Ref | None,
        *,
        actor: str | None = None,
        run: Run | None = None,
        source: str | None = None,
    ) -> Why:
        """
        Answer as `can` does, and tell what the answer rests on. What nearly decided is told to whoever
        administers: it says what policies there are.

        Raises:
            As `can`.
            AccessDeniedError: policies cannot be told.
        """
        policy = self._weighing()
        who = self._asking(actor, run, source)
        facts = self._facts(policy, who, ref)
        question = Question(who, action, ref, facts)
        decision = policy.decide(*question)
        found = weighed(policy, question)
        if not self._desk.is_administrator:
            found = tuple(one for one in found if one.id in decision.policies)
        return Why(
            decision=decision,
            question=question,
            weighed=found,
            depends_on=tuple(sorted(policy.looks_at(who, action, ref))),
            revision=policy.revision,
            is_known=is_known(who.id, self._desk.snapshot),
        )

    def _asking(self, actor: str | None, run: Run | None, source: str | None) -> Actor:
        """Give whose decision it is, with what a request of his would bring."""
        if actor is None or check_actor(actor) == self._desk.actor.id:
            who = self._desk.actor
        else:
            self._desk.look()
            who = actor_of(actor, self._desk.snapshot)
        if run is not None:
            who = replace(who, run=run)
        return who if source is None else replace(who, source=source)

    def _facts(self, policy: Policy, who: Actor, ref: Ref | None) -> Facts | None:
        facts = self._desk.facts(policy, ref)
        if who.id != self._desk.actor.id or facts is None or self._desk.is_administrator:
            return facts
        # A decision that turns on tags tells them, so only who may see the entry learns it.
        return facts if policy.decide(who, Action.DESCRIBE, ref, facts).is_allowed else None

    def who_can(self, ref: Ref | None) -> list[May]:
        """
        Give everybody who may do anything with *ref*, or with the room, and what.

        Raises:
            AccessDeniedError: he does not administer.
        """
        self._desk.look()
        policy = self._weighing()
        facts = self._desk.facts(policy, ref)
        found = (reach.may(policy, actor, ref, facts) for actor in everybody(self._desk.snapshot))
        return [one for one in found if one.actions]

    def what_can(self, actor: str, *, action: Action | None = None) -> Iterator[May]:
        """
        Give every entry *actor* may do anything with, or *action*, and what; ordered by kind, team and name
        within each team, the global names first.

        Raises:
            AccessDeniedError: he asks about another and does not administer.
            BackendUnavailableError: a backend that can list gave no answer.
        """
        if check_actor(actor) != self._desk.actor.id:
            self._desk.look()
        who = actor_of(actor, self._desk.snapshot)
        policy = self._weighing()
        for known in self._entries():
            found = reach.may(policy, who, known.ref, known.facts)
            if found.actions and action in (None, *found.actions):
                yield found

    def simulate(
        self, put: Iterable[Draft] = (), delete: Iterable[str] = (), *, limit: int = _MAX_FLIPS
    ) -> Simulation:
        """
        Tell which decisions a change of policies would turn, over everybody and the whole inventory.

        Args:
            put: documents to add or replace.
            delete: ids of documents to leave out.
            limit: flips to give at most; all are counted.

        Raises:
            AccessDeniedError: he does not administer.
            InvalidInputError: a text is no policy.
            NotFoundError: there is no document of that id.
        """
        self._desk.look()
        snapshot, documents = self._desk.snapshot, Documents(self._desk)
        after = documents.trial(documents.changed(snapshot, put, delete), snapshot)
        # What is in force may rest on approvals; what would be is compared with the policies alone.
        before = documents.trial(self._desk.book.documents(snapshot), snapshot)
        return reach.simulate(before, after, everybody(snapshot), self._entries(), limit=limit)

    def compare(
        self,
        questions: Sequence[tuple[Actor, Action, Ref | None]],
        put: Iterable[Draft] = (),
        delete: Iterable[str] = (),
    ) -> list[tuple[Decision, Decision]]:
        """
        Answer *questions* as it is and as it would be.

        Raises:
            As `simulate`.
        """
        self._desk.look()
        snapshot, documents = self._desk.snapshot, Documents(self._desk)
        after = documents.trial(documents.changed(snapshot, put, delete), snapshot)
        before = self._desk.book.current()
        facts = [
            None if ref is None or self._desk.sources is None else self._desk.sources.facts(ref)
            for _, _, ref in questions
        ]
        return [
            (before.decide(*question, known), after.decide(*question, known))
            for question, known in zip(questions, facts, strict=True)
        ]

    def actor(self, id_: str) -> Actor:
        """
        Give somebody as he would come, for `compare`.

        Raises:
            AccessDeniedError, InvalidInputError: as `can`.
        """
        self._desk.look()
        return actor_of(id_, self._desk.snapshot)

    def _entries(self) -> Iterator[reach.Known]:
        if self._desk.sources is None:
            return
        inventory = self._desk.sources.inventory(self._desk.actor)
        for team in (None, *self._desk.sources.teams()):
            for page in inventory.pages(team=team):
                yield from (reach.entry_of(row) for row in page)

    def _weighing(self) -> CedarPolicy:
        policy = self._desk.book.current()
        if not isinstance(policy, CedarPolicy):
            raise AccessDeniedError("nobody may anything now", reason="policies cannot be told")
        return policy
