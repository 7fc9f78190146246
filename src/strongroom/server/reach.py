"""
Testing connections from the server: who may, how often, and what it reaches. Off unless the settings say so.

Not for what a test does, nor for which addresses it may ask (`live/probe.py`, `live/probing/address.py`).

Rules of this file:

1. Only what `server.test_networks` lists is asked, with the options that are known to do no harm (facts SS01,
   SS05). Whatever keeps an address from being asked, the answer is the same and takes the same time (SS04).
2. One actor gets five tests a minute, from the server and from agents together, and a few run at once.
3. A test uses a secret, so each is on record with its outcome.
4. A connection that another names for its credentials is used for who may test that one, too.
5. What is said in a request and not stored is tested with stored secrets only for who could store it.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, get_args

from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    InvalidInputError,
    NotFoundError,
    RateLimitedError,
)
from strongroom.live import trouble
from strongroom.live.probe import Step, Tested
from strongroom.policy import Action
from strongroom.server.limits import Buckets, Rate
from strongroom.service.assignment import Assignments, refusal_of
from strongroom.service.connection_tests import Tried, checked_place
from strongroom.service.guard import event_of
from strongroom.service.scheduled import tested_on_server, tester_of
from strongroom.service.trials import AGENT, SERVER, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strongroom.model.connection import Connection
    from strongroom.model.ref import Ref
    from strongroom.server.endpoint import Call
    from strongroom.service.assignment import Refusal
    from strongroom.service.house import Deployment

__all__ = [
    "answered",
    "assignments_of",
    "begun",
    "is_on",
    "ordered",
    "places_of",
    "tested",
    "tried",
]

_AT_ONCE = 4
_PER_MINUTE = 5
_WAIT = timedelta(seconds=2)
_NAMES, _REASONS = get_args(trouble.Step), ("", *get_args(trouble.Reason))
_MOST_MILLISECONDS, _MOST_DAYS = 1e9, 36_500


def begun(call: Call, ref: Ref, *, on: str = SERVER) -> Tried:
    """
    Test the connection *ref* as it is stored from the server, or ask an agent for it.

    Args:
        call: the request; its actor must be allowed to test *ref*.
        ref: the connection.
        on: `server`, `agent` where there is one, or `agent:NAME`.

    Raises:
        AccessDeniedError: tests are switched off here, or not this actor's.
        InvalidInputError: it is no connection, or *on* is no such place.
        NotFoundError: there is none.
        RateLimitedError: too many tests.
    """
    place = checked_place(on)
    if place == SERVER:
        return Tried(tried(call, ref))
    _check(ref)
    if not place.startswith(AGENT[:-1]):
        raise InvalidInputError(
            "a server tests connections from itself or from an agent", hint="say server, agent or agent:NAME"
        )
    return _assigned(call, ref, place)


def tried(call: Call, ref: Ref) -> Trial:
    """
    Test the connection *ref* as it is stored, from the server, and keep how it went.

    Raises:
        As `begun`.
    """
    if not is_on(call):
        raise AccessDeniedError(
            "testing connections is switched off here",
            reason="settings",
            hint="server.test_connections = true",
        )
    _check(ref)
    place, actor = call.place, call.identity.actor

    def work() -> Trial:
        _ALLOWANCE.take((call.deployment, actor.id))
        with _one_turn():
            settings = call.house.settings.server
            return tested_on_server(place, settings, ref, by=actor.id, may=_may(call))

    trial = place.guard.act(actor, Action.TEST, ref, work)
    _record(call, ref, is_ok=trial.is_ok, where=SERVER)
    return trial


def is_on(call: Call) -> bool:
    """Tell whether connections may be tested from this server at all."""
    return call.house.settings.server.test_connections


def tested(call: Call, ref: Ref, find: Callable[[], tuple[Connection, bool]]) -> Tested:
    """
    Test a connection that is said in a request. Nothing of it is kept.

    Args:
        call: the request; its actor must be allowed to test *ref*.
        ref: what it is called.
        find: gives the connection, once that is allowed, and whether stored secrets stand in it.

    Raises:
        AccessDeniedError: the actor may not test *ref*, or may not change what is stored of it.
        RateLimitedError: too many tests.
        Whatever *find* raises.
    """
    actor, place = call.identity.actor, call.place

    def work() -> Tested:
        _ALLOWANCE.take((call.deployment, actor.id))
        connection, has_stored = find()
        if has_stored:
            place.guard.check(actor, Action.WRITE, ref, place.guard.facts(ref))
        with _one_turn():
            return tester_of(place, call.house.settings.server, _may(call)).connection(ref, connection)

    found = place.guard.act(actor, Action.TEST, ref, work)
    _record(call, ref, is_ok=found.failed is None, where=SERVER)
    return found


def _may(call: Call) -> Callable[[Ref], bool]:
    """Give what tells whether the actor may have a connection used that another names for its credentials."""
    guard, actor = call.place.guard, call.identity.actor
    return lambda ref: guard.can(actor, Action.TEST, ref).is_allowed


def _check(ref: Ref) -> None:
    if ref.kind != "connection":
        raise InvalidInputError("only a connection can be tested")


def _record(call: Call, ref: Ref, *, is_ok: bool, where: str) -> None:
    event = event_of(
        call.identity.actor, Action.TEST, ref, "done" if is_ok else "failed", reason=f"from {where}"
    )
    call.place.recorder.append(event)


# --- from an agent -------------------------------------------------------------------------------------


def assignments_of(place: Deployment) -> Assignments:
    """Give what agents of a deployment are asked for."""
    return Assignments(place.registry, _now)


def places_of(call: Call) -> list[str]:
    """Give from where connections may be tested here: `server`, where that is on, and each agent."""
    agents = assignments_of(call.place).agents()
    return [*([SERVER] if is_on(call) else []), *(f"{AGENT}{name}" for name in agents)]


def _assigned(call: Call, ref: Ref, on: str) -> Tried:
    place, actor = call.place, call.identity.actor

    def work() -> Tried:
        name = _agent(assignments_of(place).agents(), on.partition(":")[2])
        _ALLOWANCE.take((call.deployment, actor.id))
        found = place.chain.read(ref)
        if found is None:
            raise NotFoundError(f"there is no {ref}", hint="strongroom connections list")
        given = assignments_of(place).give(name, ref, actor.id)
        return Tried(None, given.id, given.until)

    return place.guard.act(actor, Action.TEST, ref, work)


def ordered(call: Call, ref: Ref, order: str) -> Tried:
    """
    Tell how the test of *ref* went that an agent was given as *order*, or that it is waited for.

    Args:
        call: the request; its actor may look at *ref*.
        ref: the connection.
        order: as `begun` gave it.

    Raises:
        BackendUnavailableError: it gave no answer in time.
        As `refusal_of`, where it made none.
    """
    found = assignments_of(call.place).find(order)
    if found is not None and found.ref == ref:
        if found.refused:
            raise refusal_of(found)
        return Tried(None, found.id, found.until)
    for trial in call.place.trials.of(ref):
        if trial.order == order:
            return Tried(trial, order)
    raise BackendUnavailableError(
        "the agent gave no answer in time",
        backend="agent",
        hint="does it run, and does it listen to this server? strongroom agent status tells on its host",
    )


def answered(
    call: Call, order: str, steps: Sequence[Step], *, refused: Refusal | None, version: str | None
) -> None:
    """
    Take the answer of the agent that asks to *order*, and keep how the test went.

    Raises:
        InvalidInputError: the steps are none.
        NotFoundError: it was not asked for that, or is not waited for any more.
    """
    name = call.identity.actor.id.removeprefix(AGENT)
    if refused is None and not (steps and all(map(_is_known, steps))):
        raise InvalidInputError("these are no steps of a test")
    desk = assignments_of(call.place)
    if refused is not None:
        desk.take(name, order, refused=refused)
        return
    is_ok, place, at = Tested(tuple(steps)).failed is None, f"{AGENT}{name}", _now()
    given = desk.take(
        name, order, trial=lambda one: Trial(at, one.by, place, is_ok, version, tuple(steps), order=order)
    )
    outcome = "done" if is_ok else "failed"
    reason = f"asked for by {given.by}"
    call.place.recorder.append(event_of(call.identity.actor, Action.TEST, given.ref, outcome, reason=reason))


def _is_known(step: Step) -> bool:
    in_bounds = 0 <= step.milliseconds <= _MOST_MILLISECONDS and abs(step.days_left or 0) <= _MOST_DAYS
    return in_bounds and step.name in _NAMES and step.reason in _REASONS


def _agent(known: list[str], name: str) -> str:
    if name in known:
        return name
    if name:
        raise NotFoundError(f"there is no agent {name}", hint="strongroom access agents list")
    if len(known) == 1:
        return known[0]
    raise InvalidInputError(
        f"there are {len(known)} agents" if known else "no agent is enrolled",
        hint="say which: agent:NAME" if known else "strongroom access agents invite NAME --role reader",
    )


# --- how often -----------------------------------------------------------------------------------------


@contextmanager
def _one_turn() -> Iterator[None]:
    """Hold one of the few turns: a test keeps a thread of the server waiting."""
    if not _TURNS.acquire(blocking=False):
        raise RateLimitedError("other tests are under way", retry_after=_WAIT, hint="wait and try again")
    try:
        yield
    finally:
        _TURNS.release()


class _Allowance:
    """Five tests a minute for each actor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets = Buckets(Rate(_PER_MINUTE / 60, _PER_MINUTE), "of tests of one identity")

    def take(self, who: tuple[str, str]) -> None:
        """
        Take one.

        Raises:
            RateLimitedError: there is none left now.
        """
        with self._lock:
            self._buckets.take(who)


def _now() -> datetime:
    return datetime.now(timezone.utc)


_ALLOWANCE = _Allowance()
_TURNS = threading.Semaphore(_AT_ONCE)
