"""
Tests of connections that a server makes by itself, round after round.

Not for what a test does (`live/probe.py`), nor for tests that somebody asks for (`server/reach.py`).

Rules of this file:

1. Of several servers over one store one makes a round: who writes its beginning into the registry first. One
   that dies in the middle leaves the rest to the next round.
2. A test from the server heeds what `server.test_connections` and `server.test_networks` say of those that
   somebody asks for; one from an agent heeds the settings of its host.
3. Connections are tested one after the other: a round takes what it takes, and is never two at once.
4. Nothing is tested while the server changes nothing (read-only mode). Trouble with one stops no other.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timedelta, timezone
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import msgspec

from strongroom.errors import ConflictError, NotFoundError, RateLimitedError, StrongroomError
from strongroom.live.probe import Limits
from strongroom.registry import Change
from strongroom.service.assignment import Assignments
from strongroom.service.connection_tests import Tester
from strongroom.service.trials import AGENT, SERVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref
    from strongroom.registry import Snapshot
    from strongroom.service.house import Deployment
    from strongroom.service.trials import Trial
    from strongroom.settings import ServerSettings

__all__ = ["BY", "Schedule", "anything", "tested_on_server", "tester_of"]

BY = "schedule"
"""Who asked for a test that nobody asked for."""
TEST_SECONDS = 12.0  # of one test: below those that a client waits for an answer
_ROUND = "trial-round"
_TICK_SECONDS = 5.0
_TROUBLE_SECONDS = 60.0
_PAUSE_SECONDS = 5.0  # before an agent that has enough to do is asked again

_log = logging.getLogger("strongroom.tests")


class Schedule:
    """
    Begin rounds of tests when they are due, on a thread of its own, a daemon.

    Args:
        settings: of the server.
        is_read_only: tells whether nothing may be changed for the time being.
        clock: UTC.
        tick_seconds: between two looks whether a round is due.
    """

    def __init__(
        self,
        settings: ServerSettings,
        is_read_only: Callable[[], bool],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
        tick_seconds: float = _TICK_SECONDS,
    ) -> None:
        self._settings = settings
        self._is_read_only = is_read_only
        self._clock = clock
        self._tick_seconds = tick_seconds
        self._deployments: dict[str, Deployment] = {}
        self._again_at: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def heed(self, name: str, deployment: Deployment | None) -> None:
        """Test the connections of *deployment* from now on, if its settings say so; None: it was sealed."""
        if deployment is None or not deployment.settings.tests.every_seconds:
            self._deployments.pop(name, None)
        else:
            self._deployments[name] = deployment

    def start(self) -> None:
        """Begin to look. Safe to call twice."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._look, name="strongroom-tests", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End after the test under way. Safe to call twice."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(self._tick_seconds):
            for name, deployment in list(self._deployments.items()):
                if not self._is_read_only() and time.monotonic() >= self._again_at.get(name, 0.0):
                    self._tend(name, deployment)

    def _tend(self, name: str, deployment: Deployment) -> None:
        try:
            if self._takes_turn(deployment):
                self.round(deployment)
        except ConflictError:
            pass  # another server was first
        except StrongroomError as error:
            self._again_at[name] = time.monotonic() + _TROUBLE_SECONDS
            _log.warning("the connections of the deployment %s cannot be tested: %s", name, error)

    def _takes_turn(self, deployment: Deployment) -> bool:
        """Tell whether a round is due here, and write down that it begins."""
        now, every = self._clock(), timedelta(seconds=deployment.settings.tests.every_seconds)
        row = deployment.registry.snapshot().of(_ROUND).get(_ROUND)
        if row is not None and msgspec.msgpack.decode(row.body, type=datetime) + every > now:
            return False
        expected = 0 if row is None else row.revision
        change = Change(_ROUND, _ROUND, msgspec.msgpack.encode(now), expected)

        def decide(_snapshot: Snapshot) -> Iterator[Change]:
            yield change

        deployment.registry.change(decide)
        return True

    # --- one round -------------------------------------------------------------------------------------

    def round(self, deployment: Deployment) -> None:
        """
        Test every connection that the settings name, one after the other.

        Raises:
            As `Inventory.pages`.
        """
        settings = deployment.settings.tests
        if settings.on == SERVER and not self._settings.test_connections:
            _log.warning(
                "the connections of %s are not tested: server.test_connections is off", deployment.name
            )
            return
        for page in deployment.root.inventory.pages():
            for row in page:
                ref = row.ref
                if self._ended.is_set() or self._is_read_only():
                    return
                is_meant = any(fnmatchcase(ref.name, pattern) for pattern in settings.names)
                if ref.kind == "connection" and row.shadowed_by is None and is_meant:
                    self._test(deployment, ref, settings.on)

    def _test(self, deployment: Deployment, ref: Ref, on: str) -> None:
        try:
            if on == SERVER:
                tested_on_server(deployment, self._settings, ref, by=BY, may=anything)
            else:
                self._ask(deployment, ref, on.removeprefix(AGENT))
        except StrongroomError as error:
            # Its class and nothing else: the words may name it, and logs are read by more people.
            _log.warning("one connection of %s was not tested: %s", deployment.name, type(error).__name__)

    def _ask(self, deployment: Deployment, ref: Ref, agent: str) -> None:
        """Have *agent* test *ref*, which answers in its own time; one that has enough to do is waited for."""
        desk = Assignments(deployment.registry, self._clock)
        if agent not in desk.agents():
            raise NotFoundError(f"there is no agent {agent}")
        while not self._ended.is_set():
            try:
                desk.give(agent, ref, BY)
            except RateLimitedError:
                self._ended.wait(_PAUSE_SECONDS)
            else:
                return


def anything(_ref: Ref) -> bool:
    """Let the server use what it tests for itself."""
    return True


def tester_of(place: Deployment, settings: ServerSettings, may: Callable[[Ref], bool]) -> Tester:
    """
    Give what tests connections of *place* from the server, within what *settings* allow.

    Args:
        place: whose connections.
        settings: of the server.
        may: tells whether a connection may be used that the tested one names for its credentials.
    """
    limits = Limits(networks=settings.test_networks, has_any_option=False, seconds=TEST_SECONDS)

    def read(ref: Ref) -> Entry | None:
        return place.root.lookup.find(ref) if may(ref) else None

    return Tester(read, limits=limits, clock=_now, dialect=place.settings.lookup.dialect)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def tested_on_server(
    place: Deployment,
    settings: ServerSettings,
    ref: Ref,
    *,
    by: str,
    may: Callable[[Ref], bool],
) -> Trial:
    """
    Test *ref* from this process for *by*, whoever that is, and keep how it went.

    Args:
        place: whose connection.
        settings: of the server.
        ref: the connection.
        by: as of `Trial`.
        may: as of `tester_of`.

    Raises:
        NotFoundError: there is none.
        MalformedEntryError, AccessDeniedError, BackendUnavailableError: it cannot be read.
    """
    entry = place.chain.read(ref)
    if entry is None:
        raise NotFoundError(f"there is no {ref}", hint="strongroom connections list")
    # Past the reads that are counted: nobody uses what is only tested. References are their own reads.
    found = place.root.lookup.resolved(entry) if entry.metadata.references else entry
    trial = tester_of(place, settings, may).entry(found, by=by, place=SERVER)
    place.trials.keep(entry.ref, trial)
    return trial
