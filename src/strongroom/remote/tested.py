"""Tests of connections at a server: from there, from an agent of it, or from here with what it gives."""

from __future__ import annotations

from datetime import datetime, timezone
from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.caller import broken, path_of
from strongroom.live.probe import Step
from strongroom.model.ref import Ref
from strongroom.service.connection_tests import ConnectionTests, Tried, checked_place
from strongroom.service.trials import HERE, Trial
from strongroom.wire.tested import FailingTests, TestResult, Tests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.caller import Client
    from strongroom.model.connection import Dialect
    from strongroom.policy import Actor
    from strongroom.service.lookup import Lookup
    from strongroom.wire.tested import TestRow

__all__ = ["RemoteConnectionTests"]


class RemoteConnectionTests(ConnectionTests):
    """
    Test connections of a server. Threads: as `Client`.

    A test from here reads the connection at the server, which decides and records that; it is kept nowhere.
    """

    def __init__(self, client: Client, lookup: Lookup, actor: Actor, dialect: Dialect) -> None:
        super().__init__(lookup, None, actor, trials=lambda: None, clock=_now, dialect=dialect)
        self._client = client

    def begin(self, ref: Ref, *, on: str = HERE, environ: Mapping[str, str] = MappingProxyType({})) -> Tried:
        """Test *ref* from here, or have the server or an agent test it. As `ConnectionTests.begin`."""
        if checked_place(on) == HERE:
            return super().begin(ref, on=on, environ=environ)
        query = {"team": ref.team, "on": on}
        return _tried(self._client.post(path_of("/test", ref), TestResult, query=query, is_repeatable=False))

    def places(self, ref: Ref) -> tuple[str, ...]:
        """Give from where *ref* may be tested: the server where its tests are on, else from here."""
        told = self._client.get(path_of("/test", ref), Tests, {"team": ref.team}).on
        first = [place for place in told if not place.startswith("agent:")]
        return (*first, HERE, *(place for place in told if place not in first))

    def order(self, ref: Ref, order: str) -> Tried:
        """Tell how the test went that an agent was given as *order*. As `ConnectionTests.order`."""
        told = self._client.get(path_of("/test", ref), Tests, {"team": ref.team, "order": order}).tests
        if len(told) != 1:
            raise broken("other tests than the one that was asked for")
        return _tried(told[0])

    def history(self, ref: Ref) -> tuple[Trial, ...]:
        """Give how the last tests of *ref* went, newest first; what agents are waited for is none yet."""
        told = self._client.get(path_of("/test", ref), Tests, {"team": ref.team}).tests
        return tuple(_trial(row, row.at) for row in told if row.at is not None)

    def failing(self) -> Mapping[Ref, Trial]:
        """Give the last test of every connection whose last test failed. As `ConnectionTests.failing`."""
        told = self._client.get("/tests", FailingTests).tests
        return {
            Ref("connection", row.name, row.team): _trial(row.test, row.test.at)
            for row in told
            if row.test.at is not None
        }


def _tried(row: TestRow) -> Tried:
    return Tried(None if row.at is None else _trial(row, row.at), row.order, row.until)


def _trial(row: TestRow, at: datetime) -> Trial:
    steps = tuple(
        Step(one.name, one.outcome, one.reason, one.milliseconds, one.days_left) for one in row.steps
    )
    return Trial(at, row.by, row.place, row.status == "ok", row.version, steps, row.advice, row.order)


def _now() -> datetime:
    return datetime.now(timezone.utc)
