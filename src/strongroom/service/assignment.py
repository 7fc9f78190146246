"""
Tests that agents are asked for: given by a person, kept for a minute, answered by the agent.

Not for telling the agent (`server/api/changes.py`), nor for what it does then (`agent/testing.py`).

Rules of this file:

1. They stand in the registry, so that an agent hears of one whichever server it listens to.
2. What is kept is bounded: so many of an agent, so many of all, and each for a minute.
3. An agent answers only what it was given, and once.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    MalformedEntryError,
    NotFoundError,
    RateLimitedError,
    StrongroomError,
)
from strongroom.model.ref import Ref
from strongroom.registry import Change
from strongroom.service.access.shape import AGENT
from strongroom.service.trials import keeping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.registry import Registry, Row, Snapshot
    from strongroom.service.trials import Trial

__all__ = ["LASTS", "Assignment", "Assignments", "Refusal", "refusal_of"]

LASTS = timedelta(seconds=60)
"""How long an agent is waited for."""
Refusal = Literal["settings", "busy", "absent", "denied", "invalid", "unavailable"]
"""Why an agent made no test: its own settings, too many at once, or what became of its read."""
_KIND = "trial-order"
_MOST = 200
_MOST_OF_ONE = 20
_ID_BYTES = 16


class Assignment(NamedTuple):
    """
    A test that an agent is asked for.

    Args:
        id: random; the answer names it.
        agent: its name.
        ref: what is tested.
        by: the id of who asked.
        until: the agent is waited for so long.
        refused: why it made none; "" while it is waited for.
    """

    id: str
    agent: str
    ref: Ref
    by: str
    until: datetime
    refused: str = ""


class _Body(msgspec.Struct, frozen=True, array_like=True):
    agent: str
    kind: str
    name: str
    team: str | None
    by: str
    until: datetime
    refused: str = ""


class Assignments:
    """
    The tests that agents of one deployment are asked for. Threads: safe.

    Args:
        clock: UTC.
    """

    def __init__(self, registry: Registry, clock: Callable[[], datetime]) -> None:
        self._registry = registry
        self._clock = clock

    def agents(self) -> list[str]:
        """Give the names of the agents that are enrolled."""
        return sorted(self._registry.snapshot().of(AGENT))

    def give(self, agent: str, ref: Ref, by: str) -> Assignment:
        """
        Ask *agent* to test *ref*.

        Raises:
            RateLimitedError: it, or all agents together, are asked for too many.
            TamperedError, BackendUnavailableError: as `Registry.change`.
        """
        now = self._clock()
        made = Assignment(secrets.token_urlsafe(_ID_BYTES), agent, ref, by, now + LASTS)

        def decide(snapshot: Snapshot) -> Iterator[Change]:
            standing = [_read(row) for row in snapshot.of(_KIND).values()]
            live = [one for one in standing if one.until > now]
            mine = [one for one in live if one.agent == agent]
            if len(live) >= _MOST or len(mine) >= _MOST_OF_ONE:
                raise RateLimitedError(
                    "agents are asked for too many tests already",
                    retry_after=LASTS,
                    hint="wait and try again",
                )
            yield from (Change(_KIND, one.id, None) for one in standing if one.until <= now)
            yield Change(_KIND, made.id, _body(made))

        self._registry.change(decide)
        return made

    def waiting(self, agent: str) -> tuple[Assignment, ...]:
        """Give what *agent* is asked for and has not answered."""
        rows = self._registry.snapshot().of(_KIND)
        if not rows:
            return ()
        now = self._clock()
        found = map(_read, rows.values())
        return tuple(one for one in found if one.agent == agent and one.until > now and not one.refused)

    def of(self, ref: Ref) -> tuple[Assignment, ...]:
        """Give what agents are asked for about *ref* and have not answered."""
        now = self._clock()
        found = map(_read, self._registry.snapshot().of(_KIND).values())
        return tuple(one for one in found if one.ref == ref and one.until > now and not one.refused)

    def find(self, id: str) -> Assignment | None:  # noqa: A002 -- the row's word
        """Give one that is waited for or was refused; None where it was answered, or its time has passed."""
        row = self._registry.snapshot().of(_KIND).get(id)
        found = None if row is None else _read(row)
        return found if found is not None and found.until > self._clock() else None

    def take(
        self,
        agent: str,
        id: str,  # noqa: A002 -- as above
        *,
        refused: Refusal | None = None,
        trial: Callable[[Assignment], Trial] | None = None,
    ) -> Assignment:
        """
        Take the answer of *agent* to one: it is answered from now on, and the *trial* kept in one go with
        that; or it is *refused*.

        Raises:
            NotFoundError: it was not asked for that, has answered, or was waited for long enough.
        """
        taken: list[Assignment] = []

        def decide(snapshot: Snapshot) -> Iterator[Change]:
            row = snapshot.of(_KIND).get(id)
            found = None if row is None else _read(row)
            if found is None or found.agent != agent or found.refused or found.until <= self._clock():
                raise NotFoundError("nobody waits for this test any more")
            taken.append(found)
            yield Change(_KIND, id, None if refused is None else _body(found._replace(refused=refused)))
            if trial is not None:
                yield from keeping(snapshot, found.ref, trial(found))

        self._registry.change(decide)
        return taken[0]


def refusal_of(assignment: Assignment) -> StrongroomError:
    """Give the error that says why the agent made no test."""
    agent, ref = assignment.agent, assignment.ref
    if assignment.refused == "settings":
        return AccessDeniedError(
            f"the agent {agent} lets nobody test connections from its host",
            reason="settings",
            hint="agent.test_connections = true, in the settings of that agent",
        )
    if assignment.refused == "busy":
        return RateLimitedError(
            f"the agent {agent} is at other tests",
            retry_after=timedelta(seconds=15),
            hint="wait and try again",
        )
    if assignment.refused == "absent":
        return NotFoundError(f"the agent {agent} finds no {ref} in its own chain")
    if assignment.refused == "denied":
        return AccessDeniedError(
            f"the agent {agent} may not read {ref}",
            reason="the agent's own rights",
            hint=f"strongroom access who connection {ref.name} shows who may",
        )
    if assignment.refused == "invalid":
        return MalformedEntryError(
            f"what the agent {agent} reads for {ref} is no connection", backend="agent", ref=str(ref)
        )
    return BackendUnavailableError(f"the agent {agent} could not read {ref} now", backend="agent")


def _body(one: Assignment) -> bytes:
    body = _Body(one.agent, one.ref.kind, one.ref.name, one.ref.team, one.by, one.until, one.refused)
    return msgspec.msgpack.encode(body)


def _read(row: Row) -> Assignment:
    body = msgspec.msgpack.decode(row.body, type=_Body)
    ref = Ref(body.kind, body.name, body.team)  # type: ignore[arg-type]  # as kept
    return Assignment(row.id, body.agent, ref, body.by, body.until, body.refused)
