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
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from strongroom.audit import Event
from strongroom.backend import Backend
from strongroom.chain import outcome_of
from strongroom.errors import AccessDeniedError, NotFoundError, StrongroomError
from strongroom.policy import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Decision, Policy

__all__ = ["Guard", "Guarded", "Recorder"]

T = TypeVar("T")

_CHANGES = frozenset({Action.WRITE, Action.DELETE, Action.ROTATE, Action.ADMINISTER})
_RECORDED = _CHANGES | {Action.READ, Action.REVEAL}


class Recorder(Protocol):
    """What the guard needs of an audit log."""

    def append(self, *events: Event) -> None:
        """
        Make *events* durable, in order, before returning.

        Raises:
            NotRecordedError: they could not be written.
        """
        ...


class Guard:
    """
    Stand between every use case and its work.

    Threads: may be used from several threads at once.
    """

    def __init__(self, policy: Policy, recorder: Recorder) -> None:
        self._policy = policy
        self._recorder = recorder

    def can(self, actor: Actor, action: Action, ref: Ref | None) -> Decision:
        """Tell whether *actor* might, without doing or recording anything (for hints and pages)."""
        return self._policy.decide(actor, action, ref)

    def act(
        self, actor: Actor, action: Action, ref: Ref | None, work: Callable[[], T], *, reason: str = ""
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

        Raises:
            AccessDeniedError: policy says no; *work* was not called.
            NotRecordedError: the record cannot be written, so the answer does not leave.
            Whatever *work* raises, after that was recorded.
        """
        (answer,) = self._do(_Deed(actor, action, (ref,), reason), lambda: (work(),))
        return answer

    def act_many(
        self,
        actor: Actor,
        action: Action,
        refs: Sequence[Ref],
        work: Callable[[], Sequence[T]],
        *,
        reason: str = "",
    ) -> Sequence[T]:
        """
        Do one *work* about many *refs*, if every one of them is allowed.

        Args:
            actor: who acts.
            action: what is done.
            refs: what it is about.
            work: gives one answer a ref, in their order.
            reason: why the actor says he does it.

        Raises:
            As `act`.
        """
        return self._do(_Deed(actor, action, tuple(refs), reason), work)

    def _do(self, deed: _Deed, work: Callable[[], Sequence[T]]) -> Sequence[T]:
        self._authorise(deed)
        if deed.action not in _RECORDED or not deed.refs:
            return work()
        if deed.action in _CHANGES:
            self._recorder.append(deed.begun())
        try:
            answers = work()
        except BaseException as error:
            # Ctrl-C too: what was begun gets its end whatever ended it.
            self._recorder.append(*deed.failed(error))
            raise
        self._recorder.append(*deed.done(answers))
        return answers

    def _authorise(self, deed: _Deed) -> None:
        for ref in deed.refs:
            decision = self._policy.decide(deed.actor, deed.action, ref)
            if not decision.is_allowed:
                self._recorder.append(deed.event(ref, "denied", reason=decision.reason))
                raise AccessDeniedError(
                    f"{deed.actor.id} may not {deed.action.value} {ref or 'this room'}",
                    reason=decision.reason,
                )


class _Deed:
    """One act about one or many refs, on its way into the log."""

    def __init__(self, actor: Actor, action: Action, refs: tuple[Ref | None, ...], reason: str) -> None:
        self.actor = actor
        self.action = action
        self.refs = refs
        self._reason = reason

    def event(
        self, ref: Ref | None, outcome: str, *, reason: str | None = None, answer: object = None
    ) -> Event:
        return Event(
            actor=self.actor.id,
            assurance=int(self.actor.assurance),
            action=self.action.value,
            kind=ref.kind if ref else None,
            name=ref.name if ref else None,
            team=ref.team if ref else None,
            outcome=outcome,
            reason=self._reason if reason is None else reason,
            backend=_text(answer, "backend"),
            version=_text(answer, "version"),
        )

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
        return self._guard.act(self._actor, Action.READ, ref, lambda: self._inner.read(ref))

    def close(self) -> None:
        self._inner.close()
