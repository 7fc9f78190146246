"""
Announced runs that are verified: asked for when a supervisor brings its token, and again while it lives.

Not for who is below whom (`announced.py`), nor for how a run is verified (`service/runs.py`).

Rules of this file:

1. A token is held for as long as nobody has said what it proves, and at most for `_TOKEN_SECONDS`; then it is
   let go of. It is in no log, no file and no answer, and no task is given anything.
2. A run is verified for one supervisor's process: told by its id and start time, and ended with it.
3. Where nobody can say now whether a run goes on, it is no verified run once its time is up, and what it is
   denied for that is told as trouble (`Run.pending`), not as a denial.
4. Where it is said that it does not go on, it is a claim from that moment.
"""

from __future__ import annotations

import asyncio
from functools import partial
from hashlib import sha256
from hmac import compare_digest
from random import uniform
from typing import TYPE_CHECKING

from strongroom.agent.announced import ancestors
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    InvalidInputError,
    StrongroomError,
)
from strongroom.policy import Assurance
from strongroom.service.runs import Presented

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.agent.announced import Announced, Process
    from strongroom.agent.floor import Floor
    from strongroom.model.secret import Secret
    from strongroom.policy import Actor, Run
    from strongroom.service.runs import Proven, RunVerifier

__all__ = ["ANSWER_SECONDS", "Verifying"]

ANSWER_SECONDS = 10.0
"""A supervisor is kept waiting for the answer for so long; then it is told that there is none yet."""
_TOKEN_SECONDS = 900.0  # longer than a token of Airflow's is good for, unless it was told otherwise
_RENEW_AT = (0.60, 0.72)  # of a lifetime: a little apart for each, so that they do not come all at once
_MARGIN_SECONDS = 2.0  # it ends here before it ends at the server
_LOOK_SECONDS = 5.0  # between two looks whether the supervisor lives
_RETRY_SECONDS = (0.5, 10.0)  # the first wait, and the longest
_ENDED = (AccessDeniedError, InvalidInputError)
_FINAL = (*_ENDED, BackendConfigError)  # of a run that was never verified: settings are to be changed first
_NOT_YET = "nobody answers yet whether the run is verified; the agent goes on asking"


class _Held:
    """
    What is known of the run of one supervisor.

    Attributes:
        proven_until: by the loop's clock; 0 while it is not verified.
        why: it is not verified, or not renewed.
        told: set once something was said for the first time.
    """

    __slots__ = ("attempt", "digest", "proven", "proven_until", "said", "task", "token", "told", "uid", "why")

    def __init__(self, said: Run, token: Secret[str], uid: int, process: Process) -> None:
        self.said = said
        self.uid = uid
        self.token: Secret[str] | None = token
        self.digest = sha256(token.reveal().encode("utf-8", "surrogatepass")).digest()
        # The same for the same supervisor, so that its announcement may come twice; no other process has it.
        self.attempt = sha256(self.digest + f"{process.pid} {process.start}".encode()).hexdigest()
        self.proven: Proven | None = None
        self.proven_until = 0.0
        self.why: str | None = None
        self.told = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class Verifying:
    """
    The verified runs of one agent. Used on its loop alone.

    Args:
        floor: what all connections share.
    """

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._held: dict[Process, _Held] = {}
        self._counts = {"verified": 0, "renewed": 0, "refused": 0, "unavailable": 0}

    @property
    def _announced(self) -> Announced:
        return self._floor.announced

    def status(self) -> Mapping[str, int]:
        """Tell how many runs are verified now, how many wait for an answer, and what was answered so far."""
        held = list(self._held.values())
        proven = sum(1 for each in held if each.proven is not None)
        return {"now": proven, "pending": len(held) - proven, **self._counts}

    async def begin(
        self, process: Process, said: Run, token: Secret[str], uid: int
    ) -> tuple[int, str | None]:
        """
        Have the run that *process* announced verified, and give its level and why it is no better; waits for
        that for `ANSWER_SECONDS` at most.

        Args:
            process: the supervisor's.
            said: what it said of the run.
            token: of Airflow for that run.
            uid: of the user that brought it.
        """
        verifier = self._floor.host.runs
        if verifier is None:
            return int(said.assurance), "this agent has no server, and [access.airflow] is not set"
        held = self._held.get(process)
        known = _Held(said, token, uid, process)
        if held is None or not compare_digest(held.digest, known.digest):
            self.end(process)
            held = self._held[process] = known
            self._use(process, said._replace(pending=True))
            held.task = self._floor.loop.create_task(self._keep(process, held, verifier))
        else:  # announced once more, which made a claim of it
            is_proven = held.proven is not None and self._floor.clock() < held.proven_until
            self._use(process, held.proven.run if is_proven and held.proven else _claim(held, pending=True))
        try:
            await asyncio.wait_for(asyncio.shield(held.told.wait()), ANSWER_SECONDS)
        except asyncio.TimeoutError:
            return int(said.assurance), held.why or _NOT_YET
        level = self._level(process)
        # On a host that stands still what was proven may have lapsed before this goes on.
        return int(level), held.why or (None if level >= Assurance.VERIFIED_RUN else _NOT_YET)

    def end(self, process: Process) -> None:
        """Ask for the run of *process* no more. Safe to call twice."""
        held = self._held.pop(process, None)
        if held is not None:
            held.token = None
            if held.task is not None:
                held.task.cancel()

    def close(self) -> None:
        """Ask for none any more."""
        for process in list(self._held):
            self.end(process)

    def _level(self, process: Process) -> Assurance:
        run = self._announced.run_of(process)
        return Assurance.CLAIMED if run is None else run.assurance

    # --- one supervisor's ----------------------------------------------------------------------------

    async def _keep(self, process: Process, held: _Held, verifier: RunVerifier) -> None:
        """Have it verified, and again before its time is up, until it ends."""
        try:
            await self._kept(process, held, verifier)
        except Exception as error:  # noqa: BLE001 -- the agent's last resort: it is a claim then
            self._floor.unexpected(error)
            self._refused(process, held, "the agent could not have it verified; its log tells more")
        finally:
            held.token = None
            held.told.set()
            if self._held.get(process) is held:
                del self._held[process]

    async def _kept(self, process: Process, held: _Held, verifier: RunVerifier) -> None:
        clock, wait = self._floor.clock, _RETRY_SECONDS[0]
        given_up = clock() + _TOKEN_SECONDS
        while self._is_there(process):
            asked = clock()
            try:
                proven = await self._floor.host.reading.bridge().run(
                    partial(_asked, verifier, held, self._floor.host.actor(held.uid))
                )
            except StrongroomError as error:
                if isinstance(error, _FINAL if held.proven is None else _ENDED):
                    self._refused(process, held, _told(error))
                    return
                self._unavailable(held, str(error))
                if held.proven is None and clock() >= given_up:
                    self._refused(process, held, "nobody answered whether the run is verified")
                    return
                await self._rest(process, held, wait)
                wait = min(wait * 2, _RETRY_SECONDS[1])
                continue
            wait = _RETRY_SECONDS[0]
            self._proven(process, held, proven, asked)
            await self._rest(process, held, proven.lifetime.total_seconds() * uniform(*_RENEW_AT))  # noqa: S311 -- spreads load

    async def _rest(self, process: Process, held: _Held, seconds: float) -> None:
        """Wait while the supervisor lives, and see to it that what is proven is so no longer than it is."""
        clock = self._floor.clock
        until, is_lapsing = clock() + seconds, held.proven is not None
        while (now := clock()) < until and self._is_there(process):
            if is_lapsing and now >= held.proven_until:
                is_lapsing = False
                self._lapsed(process, held)
            ends = min(until, held.proven_until) if is_lapsing else until
            await asyncio.sleep(min(_LOOK_SECONDS, max(0.0, ends - now)))

    def _is_there(self, process: Process) -> bool:
        """Tell whether the supervisor still runs and stands by what it announced."""
        if self._announced.run_of(process) is None:
            return False
        if next(ancestors(process.pid, self._announced.proc), None) == process:
            return True
        self._announced.forget(process)
        for line in list(self._floor.lines):
            if line.announcer == process:  # what it left behind with a connection of its own is nobody's now
                line.announcer = None
                line.renew()
        return False

    # --- what was answered -----------------------------------------------------------------------------

    def _proven(self, process: Process, held: _Held, proven: Proven, asked: float) -> None:
        self._counts["verified" if held.token is not None else "renewed"] += 1
        if held.token is not None:
            self._say("a run is verified", held)
        held.token, held.proven, held.why = None, proven, None
        lifetime = proven.lifetime.total_seconds()
        held.proven_until = asked + max(lifetime / 2, lifetime - _MARGIN_SECONDS)
        self._use(process, proven.run)
        held.told.set()

    def _lapsed(self, process: Process, held: _Held) -> None:
        if self._level(process) >= Assurance.VERIFIED_RUN:
            self._say("a verified run could not be renewed", held, level="warning", why=held.why)
            self._use(process, _claim(held, pending=True))

    def _unavailable(self, held: _Held, why: str) -> None:
        if held.why is None:
            self._counts["unavailable"] += 1
            self._say("a run cannot be verified now", held, level="warning", why=why)
        held.why = why

    def _refused(self, process: Process, held: _Held, why: str) -> None:
        self._counts["refused"] += 1
        held.why = why
        self._say("a run is not verified", held, level="warning", why=why)
        if self._held.get(process) is held and self._announced.run_of(process) is not None:
            self._use(process, _claim(held))

    def _use(self, process: Process, run: Run) -> None:
        """Have everything below *process* ask for *run* from now on."""
        self._announced.replace(process, run)
        for line in list(self._floor.lines):
            if line.announcer == process:
                line.renew()

    def _say(self, what: str, held: _Held, *, level: str = "info", why: str | None = None) -> None:
        told = {} if why is None else {"why": why}
        run = held.said
        self._floor.journal.say(
            what, level=level, dag=run.dag_id, task=run.task_id, run=run.run_id, user=held.uid, **told
        )


def _asked(verifier: RunVerifier, held: _Held, actor: Actor) -> Proven:
    """Ask whoever verifies; on a thread."""
    if held.proven is not None:
        return verifier.renew(actor, held.proven.run)
    if held.token is None:
        raise AccessDeniedError("the announcement has ended", reason="the supervisor said so")
    return verifier.verify(actor, Presented(held.token, held.said, held.attempt))


def _told(error: StrongroomError) -> str:
    """Give what is told the supervisor, whose log the operator reads: the hint with it."""
    return f"{error}; {error.hint}" if error.hint else str(error)


def _claim(held: _Held, *, pending: bool | None = None) -> Run:
    return held.said._replace(assurance=Assurance.CLAIMED, announced=True, pending=pending)
