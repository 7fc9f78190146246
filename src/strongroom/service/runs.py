"""
Verified runs: a token of Airflow for one task instance becomes a run at level 2 (`Assurance.VERIFIED_RUN`).

Not for checking a token's signature and claims (`vendors/jwt.py`), for what hands a token over (`agent/`,
`airflow/coordinator.py`), nor for what a verified run may (`policy/`).

What is proven: Airflow made this token for the task instance whose id it names, that instance is the one of
the coordinates that were said, and it is at work now. Not that its author is honest, nor that nobody else on
its host had the token: DAG code can find its own in memory (docs/runs.md).

Rules of this file:

1. A token is used once: a second use is refused and an alarm, whoever brings it. Asking again for the answer
   to the first use (`Presented.attempt`) is no second use.
2. A token is taken in here alone, and is gone when the answer is: it is in no record, error or memory.
3. A token is only used up by a run that is verified: where Airflow gives no answer it is still good.
4. What is verified is what Airflow says. Where something else was said beside, the run is refused.
5. A verified run is asked about again before its time is up; the token plays no part in that.

Source: airflow/api_fastapi/auth/tokens.py and execution_api/datamodels/token.py of 3.3.2.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from hmac import compare_digest
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol

from strongroom.errors import AccessDeniedError, BackendUnavailableError, InvalidInputError
from strongroom.policy import Action, Assurance, Run
from strongroom.service.guard import event_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.model.secret import Secret
    from strongroom.policy import Actor
    from strongroom.service.guard import Recorder

__all__ = [
    "MAX_TOKEN_CHARACTERS",
    "Instances",
    "Once",
    "Presented",
    "Proven",
    "Remembered",
    "RunVerifier",
    "Runs",
    "Unproven",
    "Verified",
]

MAX_TOKEN_CHARACTERS = 16_384
_MAX_JTI_CHARACTERS = 250
_MAX_REMEMBERED = 100_000  # tokens used and not ended yet, about 200 bytes each
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_SCOPES = ("workload", "execution")
_NO_TRY = 0
_UNMAPPED = -1


class Found(Protocol):
    """A task instance as Airflow has it: `vendors.airflow_runs.Instance`. None for what it does not say."""

    @property
    def id(self) -> str | None: ...
    @property
    def dag_id(self) -> str | None: ...
    @property
    def task_id(self) -> str | None: ...
    @property
    def run_id(self) -> str | None: ...
    @property
    def map_index(self) -> int | None: ...
    @property
    def try_number(self) -> int | None: ...
    @property
    def state(self) -> str | None: ...
    @property
    def bundle(self) -> str | None: ...
    @property
    def bundle_version(self) -> str | None: ...


class Instances(Protocol):
    """Whoever knows the task instances of an Airflow. Threads: asked from several at once."""

    def find(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Found | None:
        """
        Give one, None where there is none.

        Raises:
            BackendUnavailableError: nobody answered.
            BackendConfigError: nobody may ask.
        """
        ...


class Once(Protocol):
    """Remembers what was used, for as long as it could be used again. Threads: safe."""

    def take(self, digest: bytes, holder: bytes, until: datetime) -> bool:
        """
        Use up *digest* for *holder*; False where another holder did. It may be forgotten after *until*.

        Raises:
            BackendUnavailableError: it cannot be told now.
        """
        ...


class Unproven(Exception):  # noqa: N818 -- no error of ours: what a checker found, for `Runs` to word
    """
    A token that proves nothing.

    Args:
        reason: one clause for the record; holds nothing of the token.
        hint: what to change, where that is known.
    """

    def __init__(self, reason: str, hint: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class Presented(NamedTuple):
    """
    A token, and what was said beside it.

    Args:
        run: as its supervisor says; DAG, task and run must be said.
        attempt: of whoever asks, random: the same one for the same question asked again.
    """

    token: Secret[str]
    run: Run
    attempt: str = ""

    def __repr__(self) -> str:
        return "Presented(…)"


class Verified(NamedTuple):
    """
    A run that is verified.

    Args:
        run: as Airflow says, at `Assurance.VERIFIED_RUN`.
        ends: until when that is good without asking again.
    """

    run: Run
    ends: datetime


class Proven(NamedTuple):
    """
    A verified run as an agent has it.

    Args:
        run: at `Assurance.VERIFIED_RUN`, with the receipt of the server that verified it, if one did.
        lifetime: good for so long from now.
    """

    run: Run
    lifetime: timedelta


class RunVerifier(Protocol):
    """Whoever verifies runs for an agent: its server, or the agent itself. Threads: asked from several."""

    def verify(self, actor: Actor, presented: Presented) -> Proven:
        """Verify a run by its token. Raises as `Runs.verify`."""
        ...

    def renew(self, actor: Actor, run: Run) -> Proven:
        """Verify once more a run that was verified. Raises as `Runs.renew`."""
        ...


class Runs:
    """
    Verify runs of one Airflow. Threads: may be used from several at once.

    Args:
        check: gives the claims of a token whose signature, issuer, audience and times are good; raises
            `Unproven`, or BackendUnavailableError where that cannot be told now.
        instances: asks Airflow.
        once: remembers used tokens.
        recorder: records what was verified and what was refused.
        clock: tells the time, in UTC.
        states: of a task instance that may ask.
        lifetime: how long a verification is good.
        close: lets go of what asks Airflow and of its keys; safe to call twice.
    """

    def __init__(  # noqa: PLR0913 -- what comes from outside
        self,
        check: Callable[[str], Mapping[str, object]],
        instances: Instances,
        once: Once,
        *,
        recorder: Recorder,
        clock: Callable[[], datetime],
        states: tuple[str, ...] = ("queued", "running"),
        lifetime: timedelta = timedelta(minutes=10),
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.close = close
        self._check = check
        self._instances = instances
        self._once = once
        self._recorder = recorder
        self._clock = clock
        self._states = states
        self._lifetime = lifetime

    def verify(self, actor: Actor, presented: Presented) -> Verified:
        """
        Verify a run by its token, which is used up by it.

        Args:
            actor: who brings it, for the record.
            presented: the token and what was said of the run.

        Raises:
            AccessDeniedError: the token proves nothing, or not this run; recorded.
            InvalidInputError: the run is not named.
            BackendUnavailableError: Airflow or its keys are not to be had; ask again with the same token.
            BackendConfigError: Airflow does not let us ask.
            NotRecordedError: it cannot be recorded, so nothing is verified.
        """
        said = presented.run
        try:
            claims = self._claims(presented)
            run = self._fitting(said, str(claims["sub"]))
            ends = self._used_up(actor, presented, claims)
        except Unproven as found:
            self._refuse(actor, said, found)
        self._record(actor, run, "done", "a verified run")
        return Verified(run, ends)

    def renew(self, actor: Actor, run: Run) -> Verified:
        """
        Verify once more a run that *actor* had verified: that it is still at work.

        Raises:
            AccessDeniedError: it has ended, or is another one by now; recorded.
            BackendUnavailableError, BackendConfigError: as `verify`.
        """
        try:
            found = self._fitting(run, run.ti_id or "")
        except Unproven as unproven:
            self._refuse(actor, run, unproven)
        return Verified(found, self._clock() + self._lifetime)

    # --- the token ---------------------------------------------------------------------------------

    def _claims(self, presented: Presented) -> Mapping[str, object]:
        text = presented.token.reveal()
        if len(text) > MAX_TOKEN_CHARACTERS:
            raise Unproven("the token is too long to be one of Airflow's")
        claims = self._check(text)
        sub, jti, scope = claims.get("sub"), claims.get("jti"), claims.get("scope", "execution")
        if not isinstance(sub, str) or not _UUID.fullmatch(sub):
            raise Unproven("the token is for no task instance")
        if scope not in _SCOPES:
            raise Unproven("the token is for something else than a task")
        if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_JTI_CHARACTERS:
            raise Unproven("the token has no id, so it could be used again")
        return claims

    def _used_up(self, actor: Actor, presented: Presented, claims: Mapping[str, object]) -> datetime:
        """Use the token up, and tell until when what it proved is good."""
        now, expires = self._clock(), claims["exp"]
        if not isinstance(expires, int):
            raise Unproven("the token has no end")
        until = datetime.fromtimestamp(expires, tz=timezone.utc)
        digest = _digest("token", str(claims.get("iss")), str(claims["jti"]))
        # Whoever asks without an attempt cannot ask again.
        holder = _digest("holder", actor.id, presented.attempt) if presented.attempt else b""
        if not self._once.take(digest, holder, until + timedelta(minutes=1)):
            raise Unproven(
                "alarm: the token was used before; somebody else has it, or had it",
                "see who verified that run in the record, and what could read the token on that host",
            )
        return min(until, now + self._lifetime)

    # --- what Airflow says ---------------------------------------------------------------------------

    def _fitting(self, said: Run, ti_id: str) -> Run:
        """Give what Airflow says of the run that was *said*, where that is of the instance *ti_id*."""
        if not said.dag_id or not said.task_id or not said.run_id:
            raise InvalidInputError(
                "a run is verified by its DAG, its task and its run id", hint="say all three of them"
            )
        if said.ti_id is not None and said.ti_id != ti_id:
            raise Unproven("the token is of another task instance than was said")
        map_index = _UNMAPPED if said.map_index is None else said.map_index
        found = self._instances.find(said.dag_id, said.run_id, said.task_id, map_index)
        if found is None:
            raise Unproven("Airflow has no such task instance")
        if found.id != ti_id:
            raise Unproven("the token is of another task instance than Airflow has under these names")
        if (found.dag_id, found.run_id, found.task_id) != (said.dag_id, said.run_id, said.task_id):
            raise Unproven("Airflow spells the run in another way")
        if found.state not in self._states:
            raise Unproven(f"the task instance is not at work: Airflow says {_state(found.state)}")
        _check_same("map index", found.map_index, map_index)
        _check_same("try", found.try_number, said.try_number or None)
        _check_same("bundle", found.bundle, said.bundle)
        _check_same("version of the bundle", found.bundle_version, said.bundle_version)
        return _verified(found, ti_id, map_index)

    # --- the record ----------------------------------------------------------------------------------

    def _refuse(self, actor: Actor, said: Run, found: Unproven) -> NoReturn:
        self._record(actor, said._replace(assurance=Assurance.CLAIMED), "denied", found.reason)
        raise AccessDeniedError(
            f"the run is not verified: {found.reason}", reason=found.reason, hint=found.hint
        ) from None

    def _record(self, actor: Actor, run: Run, outcome: str, reason: str) -> None:
        event = event_of(replace(actor, run=run), Action.ADMINISTER, None, outcome, reason=reason)
        self._recorder.append(replace(event, action="verify"))


def _verified(found: Found, ti_id: str, map_index: int) -> Run:
    return Run(
        Assurance.VERIFIED_RUN,
        found.dag_id,
        found.task_id,
        found.run_id,
        map_index,
        found.try_number or _NO_TRY,
        found.bundle,
        ti_id,
        found.bundle_version,
        None,  # the team: Airflow does not say it here, and a claim is no proof
        "task",
        announced=True,
    )


def _check_same(what: str, found: object, said: object) -> None:
    if found is not None and said is not None and found != said:
        raise Unproven(f"Airflow says another {what} than was said")


def _state(state: str | None) -> str:
    """Give a state in a word that is short and plain, whatever Airflow calls it."""
    return state if state is not None and state.isidentifier() and len(state) <= 30 else "something else"  # noqa: PLR2004


def _digest(*parts: str) -> bytes:
    """Give 32 bytes that no other *parts* have: each with its length before it."""
    found = sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        found.update(len(data).to_bytes(4, "big") + data)
    return found.digest()


class Remembered:
    """
    A `Once` in memory: of one process, for as long as that lives. Threads: safe.

    Args:
        clock: tells the time, in UTC.
        most: used tokens that are remembered at once; beyond them none is taken.
    """

    def __init__(self, clock: Callable[[], datetime], most: int = _MAX_REMEMBERED) -> None:
        self._clock = clock
        self._most = most
        self._used: dict[bytes, tuple[bytes, datetime]] = {}
        self._lock = Lock()

    def learn(self, digest: bytes, holder: bytes, until: datetime) -> None:
        """Take that *holder* used up *digest* before, unless that may be forgotten by now."""
        if until > self._clock() and len(self._used) < self._most:
            self._used[digest] = (holder, until)

    def take(self, digest: bytes, holder: bytes, until: datetime) -> bool:
        """As `Once.take`."""
        with self._lock:
            known = self._used.get(digest)
            if known is not None:
                return bool(holder) and compare_digest(known[0], holder)
            if len(self._used) >= self._most:
                now = self._clock()
                self._used = {key: one for key, one in self._used.items() if one[1] > now}
                if len(self._used) >= self._most:
                    raise BackendUnavailableError(
                        f"{self._most} runs were verified within the life of their tokens", backend="runs"
                    )
            self._noted(digest, holder, until)
            self._used[digest] = (holder, until)
            return True

    def _noted(self, digest: bytes, holder: bytes, until: datetime) -> None:
        """Keep it elsewhere, too, before it counts; here it is kept nowhere else."""
