"""
What is read, in the shape of the wire: one result a question, for whoever answers over HTTP.

Rules of this file:

1. Each question has an outcome of its own; none of them fails the others.
2. A value leaves when its use is on record (`reading.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from strongroom import tracing
from strongroom.errors import InvalidInputError
from strongroom.model.entry import STRICT
from strongroom.model.ref import Ref
from strongroom.policy import Assurance, Run
from strongroom.wire.entry import HeldFacts, ReadResult
from strongroom.wire.failure import members_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.errors import StrongroomError
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind
    from strongroom.policy import Actor
    from strongroom.service.reading import Answer, Reader
    from strongroom.wire.entry import Name, RunClaim

__all__ = ["Answers", "as_run", "run_of"]


class Answers(ABC):
    """
    Answers questions of the wire by readers of one deployment.

    Args:
        times: gives the age of what the cache holds and how long it is fresh, in seconds, or None.
    """

    def __init__(self, times: Callable[[tuple[Kind, str, str | None]], tuple[float, float] | None]) -> None:
        self._times = times

    @abstractmethod
    def counted(self, outcome: str, backend: str, name: Name) -> None:
        """Count one answer to *name*; *backend* is "" unless it was found."""

    def at_hand(self, reader: Reader, name: Name) -> ReadResult | None:
        """Give the answer to *name* where everything is at hand; the use is counted then."""
        if name.version is not None:
            return None
        key = (name.kind, name.name, name.team)
        entry = reader.peek(key)
        return None if entry is None else self._found(name, key, entry)

    async def answers(
        self, reader: Reader, names: Sequence[Name], *, as_stored: bool = False
    ) -> list[ReadResult]:
        """
        Read *names*; each has an outcome of its own.

        Args:
            reader: whose reads they are.
            names: what is asked for.
            as_stored: he keeps them for others: references stay, and what is public comes along.

        Raises:
            NotRecordedError: the uses cannot be recorded; nothing is given.
        """
        results = [None if as_stored else self.at_hand(reader, name) for name in names]
        refs: list[Ref] = []
        places: list[int] = []
        for index, result in enumerate(results):
            if result is None:
                name = names[index]
                try:
                    refs.append(Ref(name.kind, name.name, name.team))
                    places.append(index)
                except InvalidInputError as error:
                    results[index] = self._refused(name, error, "invalid")
        if refs:
            with tracing.span("read") as span:
                span.set("strongroom.refs", len(refs))
                found = await reader.aread_many(refs, as_stored=as_stored)
            for index, answer in zip(places, found, strict=True):
                result = results[index] = self._told(names[index], answer)
                if as_stored and answer.entry is not None and result.outcome == "found":
                    result.facts = _facts(answer.ref, answer.entry, result.age or 0.0)
        return results  # type: ignore[return-value]  # none is missing now

    def _told(self, name: Name, answer: Answer) -> ReadResult:
        if answer.error is not None:
            return self._refused(name, answer.error, answer.outcome)
        entry = answer.entry
        if entry is None or (name.version is not None and name.version != entry.version):
            self.counted("absent", "", name)
            return ReadResult(kind=name.kind, name=name.name, team=name.team, outcome="absent")
        return self._found(name, answer.ref, entry)

    def _found(self, name: Name, key: tuple[Kind, str, str | None], entry: Entry) -> ReadResult:
        times = self._times(key)
        self.counted("found", entry.backend, name)
        return ReadResult(
            kind=name.kind,
            name=name.name,
            outcome="found",
            team=name.team,
            value=entry.secret.reveal(),
            version=entry.version,
            backend=entry.backend,
            age=None if times is None else int(times[0] * 1000) / 1000,
            ttl=None if times is None else int(times[1] * 1000) / 1000,
            is_stale=entry.is_stale,
            is_strict=STRICT in entry.metadata.tags,
        )

    def _refused(self, name: Name, error: StrongroomError, outcome: str) -> ReadResult:
        self.counted(outcome, "", name)
        return msgspec.convert(
            {
                "kind": name.kind,
                "name": name.name,
                "team": name.team,
                "outcome": outcome,
                "error": members_of(error),
            },
            ReadResult,
        )


def _facts(ref: Ref, entry: Entry, age: float) -> HeldFacts:
    known, lent = entry.metadata, entry.lifetime
    return HeldFacts(
        is_global=entry.ref.team is None and ref.team is not None,
        references=known.references,
        tags=list(known.tags),
        owner=known.owner,
        conn_type=known.conn_type,
        not_after=known.not_after,
        expires_at=known.expires_at,
        lifetime=None if lent is None else max(0.0, lent.total_seconds() - age),
    )


def run_of(claim: RunClaim) -> Run:
    """Give the run a request says it is of, proven by nothing."""
    return Run(
        Assurance.CLAIMED,
        claim.dag_id,
        claim.task_id,
        claim.run_id,
        claim.map_index,
        claim.try_number,
        claim.bundle,
        claim.ti_id,
        claim.bundle_version,
        claim.team,
        claim.source,
    )


def as_run(actor: Actor, claim: RunClaim) -> Actor:
    """Give *actor* in the run that *claim* says it is; one that is proven stays in that, whatever is said."""
    if actor.run is not None and actor.run.assurance > Assurance.CLAIMED:
        return actor
    return replace(actor, run=run_of(claim))
