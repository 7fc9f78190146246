"""
Questions of who may that somebody else decides, and the rulings on them.

Not for remembering what was ruled, nor for when it is asked (`decisions.py`).
"""

from __future__ import annotations

from concurrent.futures import Future
from concurrent.futures import TimeoutError as Overdue
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from strongroom.errors import BackendUnavailableError, StrongroomError
from strongroom.policy import Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.model.ref import Ref
    from strongroom.policy import Action, Actor, Run

__all__ = [
    "PATIENCE_SECONDS",
    "Asked",
    "Decider",
    "Question",
    "Ruling",
    "Rulings",
    "lapsed",
    "no_answer",
    "question_of",
    "unavailable",
]

PATIENCE_SECONDS = 5.0  # for one answer; a request that takes longer goes on by itself
_MAX_TURNS = 3  # a question is asked anew where the policy changed while it was under way


class Question(NamedTuple):
    """
    What is asked.

    Args:
        user: `local:1000`, as this host's kernel says.
        run: what the process says of itself.
    """

    user: str
    run: Run | None
    action: Action
    ref: Ref


class Ruling(NamedTuple):
    """
    What was decided.

    Args:
        depends_on_run: another run might be answered differently.
        is_lapsed: nothing was decided, as the run is not verified any more.
    """

    decision: Decision
    depends_on_run: bool = False
    is_lapsed: bool = False


class Rulings(NamedTuple):
    """
    The answers to one batch, in its order.

    Args:
        revision: of all that decided: the policies, and what the agent is.
    """

    revision: str
    rulings: Sequence[Ruling]


class Decider(Protocol):
    """Whoever decides. Threads: asked by one at a time."""

    def decide(self, questions: Sequence[Question]) -> Rulings:
        """
        Decide about *questions*; none of them only asks for the revision.

        Raises:
            NotAuthenticatedError: this agent is nobody, and asking again will not change it.
            InvalidInputError: one of the questions, or how many these are, is not understood.
            AccessDeniedError: it is not one that may ask.
            StrongroomError: nobody answered.
        """
        ...


class Asked:
    """
    One question under way.

    Attributes:
        future: the decision, once it is there.
    """

    def __init__(self, question: Question) -> None:
        self.question = question
        self.future: Future[Decision] = Future()
        self._turns = 0

    @classmethod
    def failed(cls, question: Question, error: StrongroomError) -> Asked:
        """Give one that has its answer already: nobody decides now."""
        found = cls(question)
        trouble = unavailable(error)
        found.future.set_result(Decision(is_allowed=False, reason=trouble.code, trouble=trouble))
        return found

    def is_asked_again(self) -> bool:
        """Count one turn more; tell whether there is one left."""
        self._turns += 1
        return self._turns < _MAX_TURNS

    def wait(self) -> Decision:
        """Wait for the answer."""
        with suppress(Overdue):
            return self.future.result(PATIENCE_SECONDS)
        trouble = no_answer()
        return Decision(is_allowed=False, reason=trouble.code, trouble=trouble)


def question_of(actor: Actor, action: Action, ref: Ref) -> Question:
    """Give the question whether *actor* may."""
    return Question(actor.id, actor.run, action, ref)


def lapsed() -> Decision:
    """Give the decision about a run that was verified and is not any more: none, until it is again."""
    trouble = BackendUnavailableError(
        "the run is not verified now, so that nobody decides for it",
        backend="runs",
        hint="it is asked for anew; strongroom agent status says more",
    )
    return Decision(is_allowed=False, reason=trouble.code, trouble=trouble)


def no_answer() -> BackendUnavailableError:
    """Give the error of a server that decides nothing now."""
    return BackendUnavailableError(
        "the server that decides who may gave no answer",
        backend="server",
        hint="strongroom agent status says more",
    )


def unavailable(error: StrongroomError) -> StrongroomError:
    """Give what is told whoever asked: that nobody decided, never what was wrong with the agent."""
    return error if isinstance(error, BackendUnavailableError) else no_answer()
