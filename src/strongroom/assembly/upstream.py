"""
An agent's server, as what decides for the agent and takes its records.

Shapes of the wire become those of the service here, and nowhere else on this side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.client.request import spelled
from strongroom.errors import ConflictError
from strongroom.policy import Decision
from strongroom.policy.schema import RUN
from strongroom.service.ruling import Ruling, Rulings
from strongroom.wire.agents import AgentQuestion, AgentRulings, AskAgent, DeliverRecords, RecordsDelivered
from strongroom.wire.entry import RunClaim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.client.client import Client
    from strongroom.policy import Run
    from strongroom.service.ruling import Question

__all__ = ["ServerDecider", "deliverer"]


class ServerDecider:
    """
    A `Decider` over the server.

    Args:
        client: asks as the agent.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def decide(self, questions: Sequence[Question]) -> Rulings:
        """Decide about *questions*. Raises as the server refuses, or BackendUnavailableError."""
        asked = AskAgent(questions=[_asked(question) for question in questions])
        found = self._client.post(
            "/agents/decide", AgentRulings, spelled(asked), is_repeatable=True, may_be_absent=False
        )
        return Rulings(
            found.revision,
            [
                Ruling(Decision(one.is_allowed, one.reason, tuple(one.policies)), one.depends_on_run)
                for one in found.rulings
            ],
        )


def _asked(question: Question) -> AgentQuestion:
    ref = question.ref
    return AgentQuestion(
        user=question.user,
        action=question.action.value,  # type: ignore[arg-type]  # the server refuses what is no reading
        kind=ref.kind,
        name=ref.name,
        team=ref.team,
        run=None if question.run is None else _claim(question.run),
    )


def _claim(run: Run) -> RunClaim:
    # What rules look at, and no more: a server may be older, and it takes it for a claim whatever we say.
    return RunClaim(**{name: getattr(run, name) for name in RUN if name != "assurance"})


def deliverer(client: Client) -> Callable[[str, Sequence[bytes]], int]:
    """Give what hands lines of a chain to the server, as `audit/delivery.py` wants it."""

    def post(chain: str, lines: Sequence[bytes]) -> int:
        body = DeliverRecords(chain=chain, lines=[line.decode() for line in lines])
        return client.post(
            "/agents/records", RecordsDelivered, spelled(body), is_repeatable=True, may_be_absent=False
        ).last

    def deliver(chain: str, lines: Sequence[bytes]) -> int:
        try:
            return post(chain, lines)
        except ConflictError as error:
            refused = error
        raise ConflictError(str(refused), current_version=str(post(chain, ())), hint=refused.hint)

    return deliver
