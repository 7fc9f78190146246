"""
Runs that a server verified for its agents: a token once (`runs.py`), then a receipt (`receipt.py`).

Rules of this file:

1. A receipt is good for the agent it was given to, and for nobody else; another one that brings it is told no
   more than that it is not good, and it is on record.
2. One that is not good decides nothing: neither leave nor denial comes of it (`Lapsed`).
3. Renewing asks Airflow, however old the receipt is: what is at work under the same id is the same run.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import AccessDeniedError, BackendConfigError, TamperedError
from strongroom.policy import Action, Run
from strongroom.service.guard import event_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.policy import Actor
    from strongroom.service.guard import Recorder
    from strongroom.service.receipt import Receipt, Receipts
    from strongroom.service.runs import Presented, Runs, Verified

__all__ = ["Given", "Lapsed", "VerifiedRuns"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MAX_STRANGE = 1024
_NOT_OURS = "the receipt of the run is none that this agent was given"
_ENDED = "the receipt of the run has ended; the agent has it renewed"


class Given(NamedTuple):
    """
    A receipt, and what it says.

    Args:
        lifetime: it is good for so long from now.
    """

    receipt: str
    run: Run
    lifetime: timedelta


class Lapsed(NamedTuple):
    """A receipt that is not good, and why."""

    reason: str


class VerifiedRuns:
    """
    Verify runs for the agents of one deployment. Threads: safe.

    Args:
        runs: what verifies; None where the settings name no Airflow.
        receipts: issues and reads them.
        recorder: records receipts that are somebody else's.
        clock: tells the time, in UTC.
    """

    def __init__(
        self, runs: Runs | None, receipts: Receipts, *, recorder: Recorder, clock: Callable[[], datetime]
    ) -> None:
        self._runs = runs
        self._receipts = receipts
        self._recorder = recorder
        self._clock = clock
        self._strange: dict[bytes, None] = {}

    def close(self) -> None:
        """Let go of what asks Airflow. Safe to call twice."""
        if self._runs is not None:
            self._runs.close()

    def verify(self, actor: Actor, presented: Presented) -> Given:
        """
        Verify a run by its token.

        Raises:
            BackendConfigError: this deployment names no Airflow.
            As `Runs.verify`; SealedError: there is no key for receipts.
        """
        return self._given(actor, self._verifying().verify(actor, presented))

    def renew(self, actor: Actor, receipt: str) -> Given:
        """
        Verify once more the run of *receipt*, which may have ended.

        Raises:
            AccessDeniedError: it is none of *actor*'s, or the run has ended; recorded.
            As `verify`.
        """
        found = self._read(actor, receipt)
        if found is None:
            raise AccessDeniedError(_NOT_OURS, reason=_NOT_OURS)
        return self._given(actor, self._verifying().renew(actor, found.run))

    def of(self, actor: Actor, receipt: str) -> Run | Lapsed:
        """Give the run that *receipt* stands for, or why it stands for none now."""
        found = self._read(actor, receipt)
        if found is None:
            return Lapsed(_NOT_OURS)
        return found.run if self._now() < found.ends else Lapsed(_ENDED)

    def _verifying(self) -> Runs:
        if self._runs is None:
            raise BackendConfigError(
                "this deployment verifies no runs of Airflow: [access.airflow] is not set",
                hint="docs/runs.md says what to set there, and in Airflow",
            )
        return self._runs

    def _given(self, actor: Actor, verified: Verified) -> Given:
        receipt = self._receipts.issue(actor.id, verified.run, verified.ends)
        return Given(receipt, verified.run, max(timedelta(0), verified.ends - self._clock()))

    def _now(self) -> int:
        return (self._clock() - _EPOCH) // timedelta(microseconds=1)

    def _read(self, actor: Actor, receipt: str) -> Receipt | None:
        try:
            found = self._receipts.read(receipt)
        except TamperedError:
            found = None
        if found is not None and found.agent == actor.id:
            return found
        self._record(actor, receipt)
        return None

    def _record(self, actor: Actor, receipt: str) -> None:
        digest = sha256(receipt.encode("utf-8", "surrogatepass")).digest()
        if digest in self._strange:
            return  # asked again and again, it is one attempt
        if len(self._strange) >= _MAX_STRANGE:
            self._strange.clear()
        event = event_of(actor, Action.ADMINISTER, None, "denied", reason=f"alarm: {_NOT_OURS}")
        self._recorder.append(replace(event, action="verify"))
        self._strange[digest] = None
