"""
Read through a server: the `lookup` of a remote room.

Rules of this file:

1. Nothing is remembered between two reads, not even that something was absent: the server decides and
   records each, and a right that was taken away is gone with the next one.
2. Absent is what the server says of that very name, found beside the name it was asked for.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import TYPE_CHECKING

from strongroom.caller import NAME, broken, error_of, path_of, ref_in, spelled
from strongroom.errors import AccessDeniedError, BackendUnavailableError, MalformedEntryError
from strongroom.model.entry import Entry
from strongroom.model.explanation import Explanation, Outcome, Remembered, Step
from strongroom.model.pattern import fill
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.remote.answered import AnsweredLookup
from strongroom.service.lookup import parse_stored
from strongroom.wire.entry import EntryView, Explained, Name, ReadAnswer, ReadRequest, RunClaim

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.asynchronous import Crossing
    from strongroom.caller import Client
    from strongroom.live.follow import Follow
    from strongroom.model.connection import Connection, Dialect
    from strongroom.policy import Run
    from strongroom.wire.entry import HeldInMemory, ReadResult, StepRow

__all__ = ["RemoteLookup", "explanation_of"]

_RUN = RunClaim.__struct_fields__
_PATIENCE = timedelta(seconds=60)  # no longer than one request may take
_MAX_DEPTH = 16  # of references in an explanation; a server resolves them 8 deep
_MAX_SECONDS = 1e9  # of an age or a lifetime; more is no answer of a server's


class RemoteLookup(AnsweredLookup):
    """
    Read as whoever the server takes the token to be of.

    Threads: may be used from several threads and loops at once, and after a fork.
    """

    def __init__(self, client: Client, dialect: Dialect = "core") -> None:
        super().__init__()
        self._client = client
        self._dialect = dialect
        self._claims: Callable[[], Run | None] = _of_no_run

    def claim_by(self, claims: Callable[[], Run | None]) -> None:
        """Tell the server with each read for which run it is; it takes that for a claim."""
        self._claims = claims

    # --- reading -----------------------------------------------------------------------------------

    def find(self, ref: Ref) -> Entry | None:
        """Give the entry of *ref*, references resolved by the server; None where it is nowhere."""
        return self._answer(self._result(ref), ref)

    def _result(self, ref: Ref) -> ReadResult:
        said = self._claims()
        question = ReadRequest(
            refs=[Name(kind=ref.kind, name=ref.name, team=ref.team)],
            run=None if said is None else RunClaim(**{name: getattr(said, name) for name in _RUN}),
        )
        results = self._client.post(
            "/read", ReadAnswer, spelled(question), is_repeatable=True, may_be_absent=False
        ).results
        if len(results) != 1 or (results[0].kind, results[0].name, results[0].team) != ref:
            raise _no_answer(ref)
        return results[0]

    def _answer(self, result: ReadResult, ref: Ref) -> Entry | None:
        if result.outcome == "absent":
            return None
        if result.outcome != "found" or result.value is None:
            if result.error is None:
                raise _NO_REASON.get(result.outcome, _no_answer)(ref)
            raise error_of(result.error, ref=ref)
        age = _span(result.age) or timedelta(0)
        return Entry(
            ref=ref,
            secret=Secret(result.value),
            backend=result.backend or NAME,
            version=result.version,
            read_at=datetime.now(timezone.utc) - age,
            lifetime=_span(result.ttl),
            is_stale=result.is_stale,
        )

    def connection(self, name: str, team: str | None = None, **values: str | int) -> Connection:
        """Give a connection. Arguments and errors as `Lookup.connection`."""
        ref = Ref("connection", fill(name, values) if values else name, team)
        return parse_stored(self.entry(ref), self._dialect)

    # --- why ---------------------------------------------------------------------------------------

    def explain(self, ref: Ref, *, run: Run | None = None) -> Explanation:
        """Tell which backend of the server answers *ref* and why; never the value. As `Lookup.explain`."""
        asked = {
            "team": ref.team,
            "dag": None if run is None else run.dag_id,
            "task": None if run is None else run.task_id,
        }
        return explanation_of(self._client.get(path_of("/explain", ref), Explained, asked), ref)

    # --- following, and asyncio ----------------------------------------------------------------------

    def follow(
        self,
        ref: Ref,
        on_change: Callable[[Entry], None] | None = None,
        *,
        interval: timedelta | None = None,
        gives_back: bool = False,  # noqa: ARG002 -- what is lent belongs to who was asked
    ) -> Follow:
        """Keep the current entry of *ref*: looks at its version, reads when that is another."""
        from strongroom.live.follow import Follow  # noqa: PLC0415 -- most processes follow nothing

        read = _Following(self, self._client, ref)
        if interval is None:
            return Follow(read, on_change)
        return Follow(read, on_change, interval=interval)

    async def afind(self, ref: Ref) -> Entry | None:
        """Give what `find` gives without blocking the loop."""
        return await self._crossing.run(lambda: self.find(ref))

    async def aentry(self, ref: Ref) -> Entry:
        """Give what `entry` gives without blocking the loop."""
        return await self._crossing.run(lambda: self.entry(ref))

    async def aconnection(self, name: str, team: str | None = None, **values: str | int) -> Connection:
        """Give what `connection` gives without blocking the loop."""
        return await self._crossing.run(lambda: self.connection(name, team, **values))

    async def afind_variable(self, name: str, team: str | None = None) -> Entry | None:
        """Give what `find_variable` gives without blocking the loop."""
        return await self.afind(Ref("variable", name, team))

    @cached_property
    def _crossing(self) -> Crossing:
        from strongroom.asynchronous import Crossing  # noqa: PLC0415 -- asyncio: 20 ms

        return Crossing(NAME, patience=_PATIENCE)

    def close(self) -> None:
        """Take no more work of asyncio's."""
        if "_crossing" in self.__dict__:
            self._crossing.close()


class _Following:
    """Gives the entry of one Ref, read anew where its version is another, or tells nothing."""

    def __init__(self, lookup: RemoteLookup, client: Client, ref: Ref) -> None:
        self._lookup = lookup
        self._client = client
        self._ref = ref
        self._last: Entry | None = None
        self._may_look = True

    def __call__(self) -> Entry:
        last, version = self._last, self._version()
        if last is None or version is None or version != last.version:
            self._last = last = self._lookup.entry(self._ref)
        return last

    def _version(self) -> str | None:
        if self._last is None or not self._may_look:
            return None
        try:
            seen = self._client.get(path_of("/entries", self._ref), EntryView, {"team": self._ref.team})
        except AccessDeniedError:
            self._may_look = False  # it may read but not describe: from now on each look is a read
            return None
        # What it refers to may change under the same version.
        return None if seen.references else seen.version


def _no_answer(ref: Ref) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"the server gave no answer about {ref}", backend=NAME, hint="check that it is no older than this"
    )


def _denied(ref: Ref) -> AccessDeniedError:
    return AccessDeniedError(f"the server denies {ref}", reason="the server gives none")


def _invalid(ref: Ref) -> MalformedEntryError:
    return MalformedEntryError(f"the server cannot use what is stored for {ref}", backend=NAME, ref=str(ref))


_NO_REASON = {"denied": _denied, "invalid": _invalid}


def _span(seconds: float | None) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds is not None and 0 <= seconds <= _MAX_SECONDS else None


# --- explanations from the wire ------------------------------------------------------------------------


def explanation_of(told: Explained, ref: Ref, depth: int = 0) -> Explanation:
    """
    Give what was *told* about *ref* by a server or agent.

    Raises:
        BackendUnavailableError: it has references without an end, or a name that is none.
    """
    if depth > _MAX_DEPTH:
        raise broken("references without an end")
    return Explanation(
        ref=ref,
        outcome=Outcome(told.outcome),
        backend=told.backend,
        version=told.version,
        steps=tuple(_step(step, ref) for step in told.steps),
        not_asked=tuple((one.backend, one.reason) for one in told.not_asked),
        remembered=_remembered(told.remembered),
        policies=tuple(told.policies),
        references=tuple(explanation_of(one, ref_in(one), depth + 1) for one in told.references),
        reason=told.reason,
        may_read=told.may_read,
        decision=told.decision,
        decided_ms=told.decided_ms,
    )


def _step(step: StepRow, ref: Ref) -> Step:
    return Step(
        backend=step.backend,
        ref=Ref(ref.kind, ref.name, step.team),
        outcome=Outcome(step.outcome),
        milliseconds=step.milliseconds,
        version=step.version,
        age=_span(step.age_seconds),
        is_cached=step.cached,
        is_shadowed=step.shadowed,
        reason=step.reason,
        place=step.place,
    )


def _remembered(held: HeldInMemory | None) -> Remembered | None:
    if held is None:
        return None
    age = _span(held.age_seconds) or timedelta(0)
    return Remembered(backend=held.backend, version=held.version, age=age, is_fresh=held.fresh)


def _of_no_run() -> None:
    """Say of no run that it asks."""
