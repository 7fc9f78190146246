"""
An agent's server, as what decides for the agent and takes its records.

Shapes of the wire become those of the service here, and nowhere else on this side.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.caller.request import spelled
from strongroom.errors import ConflictError
from strongroom.policy import Assurance, Decision, Run
from strongroom.policy.schema import RUN
from strongroom.service.ruling import Ruling, Rulings
from strongroom.service.runs import Proven
from strongroom.wire.agents import (
    AgentQuestion,
    AgentRulings,
    AgentRun,
    AskAgent,
    DeliverRecords,
    RecordsDelivered,
    RenewRun,
    RunVerified,
    VerifyRun,
)
from strongroom.wire.entry import RunClaim
from strongroom.wire.tested import AgentStep, AgentTested

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.caller.client import Client
    from strongroom.model.secret import Secret
    from strongroom.policy import Actor
    from strongroom.service.host_tests import Told
    from strongroom.service.ruling import Question
    from strongroom.service.runs import Presented

__all__ = ["ServerDecider", "ServerRuns", "deliverer", "tell_tested"]


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
                Ruling(
                    Decision(one.is_allowed, one.reason, tuple(one.policies)),
                    one.depends_on_run,
                    one.is_lapsed,
                )
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
        run=None if question.run is None else _run(question.run),
    )


def _run(run: Run) -> AgentRun:
    # What rules look at, and no more: a server may be older, and it takes it for a claim whatever we say.
    # What it verified it knows again by the receipt.
    said = {name: getattr(run, name) for name in RUN if name != "assurance"}
    return AgentRun(**said, receipt=run.receipt)


class ServerRuns:
    """
    A `RunVerifier` over the server.

    Args:
        client: asks as the agent.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    def verify(self, actor: Actor, presented: Presented) -> Proven:  # noqa: ARG002 -- the server knows the agent
        """Verify a run by its token. Raises as the server refuses, or BackendUnavailableError."""
        said = RunClaim(**{name: getattr(presented.run, name) for name in RunClaim.__struct_fields__})
        body = VerifyRun(token=presented.token.reveal(), run=said, attempt=presented.attempt)
        # What an attempt was answered it is answered again: asking twice is not using the token twice.
        return self._asked("/agents/runs", spelled(body))

    def renew(self, actor: Actor, run: Run) -> Proven:  # noqa: ARG002 -- as above
        """Verify once more, by the receipt. Raises as `verify`."""
        return self._asked("/agents/runs/renew", spelled(RenewRun(receipt=run.receipt or "")))

    def _asked(self, path: str, body: Secret[bytes]) -> Proven:
        found = self._client.post(path, RunVerified, body, is_repeatable=True, may_be_absent=False)
        said = {name: getattr(found.run, name) for name in RunClaim.__struct_fields__}
        run = Run(Assurance(found.assurance), **said, announced=True, receipt=found.receipt)
        return Proven(run, timedelta(seconds=max(0.0, found.lifetime)))


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


def tell_tested(client: Client, told: Told) -> None:
    """
    Tell the server how a test went that it asked for.

    Raises:
        NotFoundError: nobody waits for it any more.
        BackendUnavailableError: the server does not answer.
    """
    steps = [
        AgentStep(
            name=step.name,
            outcome=step.outcome,
            reason=step.reason,
            milliseconds=step.milliseconds,
            days_left=step.days_left,
        )
        for step in told.steps
    ]
    body = AgentTested(order=told.order, refused=told.refused, version=told.version, steps=steps)
    client.change("POST", "/agents/tests", None, spelled(body), is_repeatable=False)
