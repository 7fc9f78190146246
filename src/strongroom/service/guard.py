"""
Authorise, act, record: the only place where the three meet.

Rules of this file:

1. Nothing acts before it is allowed, and no answer leaves before its record is durable. If the
   record cannot be written, the answer does not leave (`NotRecordedError`).
2. Denials, changes, reveals and administration are recorded one by one; listings and descriptions
   only where they are denied. Reads come here once per *fill* of the cache (`Guarded`), not per hit.
3. A change is recorded twice, `begun` before it and `done` or `failed` after it, so that a change
   that reached the store without a second record shows as begun.
4. A batch is allowed as a whole or not at all.
5. Where policy asks for what is public about an entry, it is decided on what stands, on what would stand
   after a change, and on what is given out; of a name that is nowhere it is decided without.
6. Where nobody could decide, that is told as the trouble it is: nothing is done, nobody is denied, and there
   is nothing to record.
7. What is listed is filtered name by name, unless its reader may see every name there is.
8. Who is known only by what is remembered (`Actor.as_of`) looks: he lists, describes and sees what he is
   shown, by the policy that is remembered with him. Whatever else he asks for is not decided at all.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from strongroom.audit import Event
from strongroom.audit.record import run_of
from strongroom.backend import Backend
from strongroom.chain import outcome_of
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    NotFoundError,
    ReadOnlyError,
    StrongroomError,
)
from strongroom.model.entry import Metadata
from strongroom.policy import Action, Facts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Decision, Policy, Run

__all__ = ["Covering", "Guard", "Guarded", "Recorder", "Sight", "event_of", "facts_of", "undecided"]

T = TypeVar("T")

_CHANGES = frozenset({Action.WRITE, Action.DELETE, Action.ROTATE, Action.ADMINISTER, Action.BREAK_GLASS})
_RECORDED = _CHANGES | {Action.READ, Action.REVEAL}
_LOOKS = frozenset({Action.LIST, Action.DESCRIBE})


class Recorder(Protocol):
    """What the guard needs of an audit log."""

    def append(self, *events: Event) -> None:
        """
        Make *events* durable, in order, before returning.

        Raises:
            NotRecordedError: they could not be written.
        """
        ...


@runtime_checkable
class Covering(Protocol):
    """A policy that can tell at once what an actor may do to every entry; others are asked of each."""

    def covers(self, actor: Actor, action: Action) -> bool:
        """Tell whether *actor* may, whatever the entry and what is public about it; False where unsure."""
        ...


@runtime_checkable
class _Weighing(Protocol):
    """A policy that decides without remembering, for whoever asks about everything there is."""

    def weigh(
        self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None
    ) -> Decision: ...


class Sight:
    """
    Which entries one actor may see in a listing.

    Args:
        policy: decides.
        actor: who looks.
        action: what he must be allowed.

    Attributes:
        is_whole: he may see all there are, so that nobody need be asked of each.
    """

    def __init__(self, policy: Policy, actor: Actor, action: Action) -> None:
        self._decide = policy.weigh if isinstance(policy, _Weighing) else policy.decide
        self._actor = actor
        self._action = action
        self._needs_facts = policy.needs_facts
        self.is_whole = isinstance(policy, Covering) and policy.covers(actor, action)

    def sees(self, ref: Ref, metadata: Metadata | None) -> bool:
        """Tell whether *ref* may be seen, of which *metadata* is public; None where it is nowhere."""
        if self.is_whole:
            return True
        facts = facts_of(metadata) if self._needs_facts and metadata is not None else None
        return self._decide(self._actor, self._action, ref, facts).is_allowed


class Guard:
    """
    Stand between every use case and its work.

    Args:
        policy: decides; where *current* is given, that gives what decides now.
        recorder: makes records durable.
        remembered: gives what decided last, for who is known by what is remembered; as *current* without it.
        facts: gives what is public about what a Ref leads to, None where it is nowhere; asked only where
            policy needs it. Without it every decision is made without.
        is_read_only: tells whether changes are refused for the time being.
        is_fresh: tells whether what decides now is known without waiting for anybody.

    Threads: may be used from several threads at once.

    Attributes:
        current: gives the policy that decides now.
        recorder: where records go.
        is_fresh: as given; a loop must not ask for what is not.
        claims: gives for which run the code that reads is running; None where nobody tells. Only reads by
            a room's owner are asked for it (`Guarded`).
    """

    def __init__(  # noqa: PLR0913 -- what it decides by, each to be left out
        self,
        policy: Policy,
        recorder: Recorder,
        *,
        current: Callable[[], Policy] | None = None,
        remembered: Callable[[], Policy] | None = None,
        facts: Callable[[Ref], Facts | None] | None = None,
        is_read_only: Callable[[], bool] | None = None,
        is_fresh: Callable[[], bool] | None = None,
    ) -> None:
        self.current: Callable[[], Policy] = current or (lambda: policy)
        self._remembered = remembered or self.current
        self.recorder = recorder
        self.claims: Callable[[], Run | None] | None = None
        self._facts = facts or _no_facts
        self._is_read_only = is_read_only or (lambda: False)
        self.is_fresh: Callable[[], bool] = is_fresh or (lambda: True)

    @property
    def needs_facts(self) -> bool:
        """Whether what is public about an entry may change a decision now."""
        return self.current().needs_facts

    def policy_of(self, actor: Actor) -> Policy:
        """Give the policy that decides about *actor* now; who is remembered has one of his own."""
        return self.current() if actor.as_of is None else self._remembered()

    def facts(self, ref: Ref) -> Facts | None:
        """Look up what is public about what *ref* leads to; None where it is nowhere, or nobody tells."""
        return self._facts(ref)

    def can(self, actor: Actor, action: Action, ref: Ref | None) -> Decision:
        """Tell whether *actor* might, without doing or recording anything (for hints and pages)."""
        return self._decide(actor, action, ref)

    def sight(self, actor: Actor, action: Action = Action.LIST) -> Sight:
        """Give what *actor* may see in a listing made now."""
        return Sight(self.policy_of(actor), actor, action)

    def check(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None) -> None:
        """
        Refuse *action*, knowing *facts* about *ref*; the refusal is recorded.

        Raises:
            AccessDeniedError: policy says no.
            NotRecordedError: the denial cannot be recorded.
        """
        decision = self.policy_of(actor).decide(actor, action, ref, facts)
        self._require(_Deed(actor, action, (ref,), ""), ref, decision)

    def _decide(
        self, actor: Actor, action: Action, ref: Ref | None, otherwise: Facts | None = None
    ) -> Decision:
        policy = self.policy_of(actor)
        if ref is None or not policy.needs_facts:
            return policy.decide(actor, action, ref)
        facts = self._facts(ref)
        return policy.decide(actor, action, ref, otherwise if facts is None else facts)

    def act(
        self,
        actor: Actor,
        action: Action,
        ref: Ref | None,
        work: Callable[[], T],
        *,
        reason: str = "",
        plan: Callable[[], Sequence[Facts | None]] | None = None,
    ) -> T:
        """
        Do *work* as *actor* if that is allowed, and record it.

        Args:
            actor: who acts.
            action: what is done.
            ref: what it is about, or None for the room as a whole.
            work: gives the answer; its attributes `backend` and `version`, where it has them, are
                recorded.
            reason: why the actor says he does it.
            plan: called once it is allowed and before a change is recorded as begun; refuses what can be
                refused, and gives what is public about everything the change touches, as it stands and
                as it would stand: it must be allowed on each of these, too.

        Raises:
            AccessDeniedError: policy says no; *work* was not called.
            ReadOnlyError: no change is made for the time being.
            NotRecordedError: the record cannot be written, so the answer does not leave.
            Whatever *work* raises, after that was recorded.
        """
        planned = None if plan is None else lambda: [(ref, facts) for facts in plan()]
        (answer,) = self._do(_Deed(actor, action, (ref,), reason), lambda: (work(),), planned)
        return answer

    def act_many(  # noqa: PLR0913 -- as `act`
        self,
        actor: Actor,
        action: Action,
        refs: Sequence[Ref],
        work: Callable[[], Sequence[T]],
        *,
        reason: str = "",
        plan: Callable[[], Sequence[tuple[Ref, Facts | None]]] | None = None,
        otherwise: Sequence[Facts | None] = (),
    ) -> Sequence[T]:
        """
        Do one *work* about many *refs*, if every one of them is allowed.

        Args:
            actor: who acts.
            action: what is done.
            refs: what it is about.
            work: gives one answer a ref, in their order.
            reason: why the actor says he does it.
            plan: as of `act`; with the Ref that each is about.
            otherwise: what would be public about each of *refs*: decided on where it is nowhere yet.

        Raises:
            As `act`.
        """
        return self._do(_Deed(actor, action, tuple(refs), reason), work, plan, otherwise=otherwise)

    def administer(
        self,
        actor: Actor,
        work: Callable[[], T],
        *,
        reason: str,
        action: Action = Action.ADMINISTER,
    ) -> T:
        """
        Do *work* about the whole room though it is read-only: what ends that, and what revokes.

        Raises:
            As `act`, but for ReadOnlyError.
        """
        deed = _Deed(actor, action, (None,), reason)
        (answer,) = self._do(deed, lambda: (work(),), None, heeds_mode=False)
        return answer

    def _do(
        self,
        deed: _Deed,
        work: Callable[[], Sequence[T]],
        plan: Callable[[], Sequence[tuple[Ref | None, Facts | None]]] | None,
        *,
        otherwise: Sequence[Facts | None] = (),
        heeds_mode: bool = True,
    ) -> Sequence[T]:
        if deed.actor.as_of is not None and deed.action not in _LOOKS:
            raise undecided()
        for ref, facts in zip_longest(deed.refs, otherwise):
            self._require(deed, ref, self._decide(deed.actor, deed.action, ref, facts))
        if heeds_mode and deed.action in _CHANGES and self._is_read_only():
            raise self._refused(deed)
        self._approve_plan(deed, plan)
        if deed.action not in _RECORDED or not deed.refs:
            return self._fit(deed, work())
        if deed.action in _CHANGES:
            self.recorder.append(deed.begun())
        try:
            answers = self._fit(deed, work())
        except BaseException as error:
            # Ctrl-C too: what was begun gets its end whatever ended it.
            self.recorder.append(*deed.failed(error))
            raise
        self.recorder.append(*deed.done(answers))
        return answers

    def _require(self, deed: _Deed, ref: Ref | None, decision: Decision) -> None:
        deed.policies[ref] = decision.policies
        if decision.trouble is not None:
            raise copy(decision.trouble)
        if not decision.is_allowed:
            self.recorder.append(deed.event(ref, "denied", reason=decision.reason))
            raise _denied(deed.actor, deed.action, ref, decision)

    def _refused(self, deed: _Deed) -> ReadOnlyError:
        self.recorder.append(*(deed.event(ref, "denied", reason="read-only mode") for ref in deed.refs))
        return ReadOnlyError("this server changes nothing for the time being", hint="it is in read-only mode")

    def _approve_plan(
        self, deed: _Deed, plan: Callable[[], Sequence[tuple[Ref | None, Facts | None]]] | None
    ) -> None:
        if plan is None:
            return
        planned, policy = plan(), self.policy_of(deed.actor)
        for ref, facts in planned if policy.needs_facts else ():
            self._require(deed, ref, policy.decide(deed.actor, deed.action, ref, facts))

    def _fit(self, deed: _Deed, answers: Sequence[T]) -> Sequence[T]:
        """Decide again on what is public about each answer itself: it may be newer than what was known."""
        policy = self.policy_of(deed.actor)
        if deed.action in _CHANGES or not policy.needs_facts:
            return answers
        for ref, answer in zip(deed.refs, answers, strict=True):
            metadata = getattr(answer, "metadata", None)
            if ref is not None and isinstance(metadata, Metadata):
                decision = policy.decide(deed.actor, deed.action, ref, facts_of(metadata))
                if deed.action not in _RECORDED:
                    self._require(deed, ref, decision)
                elif not decision.is_allowed:
                    raise _denied(deed.actor, deed.action, ref, decision)  # recorded as its ending
        return answers


class _Deed:
    """One act about one or many refs, on its way into the log."""

    def __init__(self, actor: Actor, action: Action, refs: tuple[Ref | None, ...], reason: str) -> None:
        self.actor = actor
        self.action = action
        self.refs = refs
        self.policies: dict[Ref | None, tuple[str, ...]] = {}
        self._reason = reason

    def event(
        self, ref: Ref | None, outcome: str, *, reason: str | None = None, answer: object = None
    ) -> Event:
        why = self._reason if reason is None else reason
        policies = self.policies.get(ref, ())
        return event_of(self.actor, self.action, ref, outcome, reason=why, answer=answer, policies=policies)

    def begun(self) -> Event:
        if len(self.refs) == 1:
            return self.event(self.refs[0], "begun")
        return self.event(None, "begun", reason=f"batch of {len(self.refs)}")

    def done(self, answers: Sequence[object]) -> list[Event]:
        return [
            self.event(ref, self._outcome(answer), answer=answer)
            for ref, answer in zip(self.refs, answers, strict=True)
        ]

    def failed(self, error: BaseException) -> list[Event]:
        # The class alone: the text of a foreign exception may quote what it choked on.
        why = error.code if isinstance(error, StrongroomError) else type(error).__name__
        return [self.event(ref, self._ending(error), reason=why, answer=error) for ref in self.refs]

    def _outcome(self, answer: object) -> str:
        if self.action in _CHANGES:
            return "done"
        return "absent" if answer is None else "found"

    def _ending(self, error: BaseException) -> str:
        if self.action in _CHANGES or not isinstance(error, StrongroomError):
            return "failed"
        return "absent" if isinstance(error, NotFoundError) else outcome_of(error).value


def event_of(  # noqa: PLR0913 -- what a record tells
    actor: Actor,
    action: Action,
    ref: Ref | None,
    outcome: str,
    *,
    reason: str = "",
    answer: object = None,
    policies: tuple[str, ...] = (),
) -> Event:
    """Give what is recorded of one act; `backend` and `version` are those of *answer*, where it has them."""
    if actor.as_of is not None:
        reason = f"as known at {actor.as_of:%H:%M:%S}Z: {reason}"
    return Event(
        actor=actor.id,
        assurance=int(actor.assurance),
        action=action.value,
        kind=ref.kind if ref else None,
        name=ref.name if ref else None,
        team=ref.team if ref else None,
        outcome=outcome,
        reason=reason,
        backend=_text(answer, "backend"),
        version=_text(answer, "version"),
        source=actor.source or None,
        run=run_of(actor.run),
        policies=policies,
        agent={"user": actor.user} if actor.user else None,
    )


def undecided() -> BackendUnavailableError:
    """Give the error of what needs a decision by what stands now, while nobody can tell what does."""
    return BackendUnavailableError(
        "the database gives no answer, and this is not done by what was known before",
        backend="store",
        hint="it goes on by itself once the database is back; send it again then",
    )


def facts_of(metadata: Metadata) -> Facts:
    """Give what policies may ask about an entry."""
    return Facts(tags=metadata.tags, conn_type=metadata.conn_type, owner=metadata.owner)


def _no_facts(_ref: Ref) -> None:
    return None


def _denied(actor: Actor, action: Action, ref: Ref | None, decision: Decision) -> AccessDeniedError:
    return AccessDeniedError(
        f"{actor.id} may not {action.value} {ref or 'this room'}", reason=decision.reason
    )


def _text(answer: object, name: str) -> str | None:
    found = getattr(answer, name, None)
    return found if isinstance(found, str) else None


class Guarded(Backend):
    """
    A backend as one actor may read it: every read is authorised and recorded.

    Stands between cache and chain, so that a read is recorded when the cache is filled.
    """

    def __init__(self, inner: Backend, guard: Guard, actor: Actor) -> None:
        self.name = inner.name
        self.is_local = inner.is_local
        self._inner = inner
        self._guard = guard
        self._actor = actor

    def read(self, ref: Ref) -> Entry | None:
        return self._guard.act(self._claimed(), Action.READ, ref, lambda: self._inner.read(ref))

    def _claimed(self) -> Actor:
        run = None if self._guard.claims is None else self._guard.claims()
        return self._actor if run is None else replace(self._actor, run=run)

    def close(self) -> None:
        self._inner.close()
