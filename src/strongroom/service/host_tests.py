"""
Tests of connections that the server asks an agent for: read through its own chain, made here, answered.

Not for what a test does (`live/probe.py`), nor for what the server keeps of it (`assignment.py`).

Rules of this file:

1. The settings of this host say whether any is made, and what it may reach; the server cannot.
2. A test reads as the agent's own user reads, so that is decided and on record as any read of his.
3. What is under way is bounded, and whoever asks is told that it is not made.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import (
    AccessDeniedError,
    MalformedEntryError,
    NotAuthenticatedError,
    StrongroomError,
    TamperedError,
)
from strongroom.live.probe import Limits
from strongroom.service.connection_tests import Tester
from strongroom.service.trials import HERE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from strongroom.live.probe import Step
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref
    from strongroom.service.assignment import Refusal
    from strongroom.service.host import Host

__all__ = ["HostTests", "Told"]

_AT_ONCE = 4
_MOST = 16  # answers under way, refusals among them; what comes beyond is not heard
_REMEMBERED = 256  # orders: one that is told again, in another stream, is made once


class Told(NamedTuple):
    """
    The answer to one order.

    Args:
        refused: why there was no test; None where there was one.
        version: of the connection.
        steps: that were made.
    """

    order: str
    refused: Refusal | None = None
    version: str | None = None
    steps: tuple[Step, ...] = ()


class HostTests:
    """
    Make the tests that a server asks for, each on a thread of its own. Threads: safe.

    Args:
        clock: UTC.
        environ: of the agent, which says who its cloud takes it for.
    """

    def __init__(self, clock: Callable[[], datetime], environ: Mapping[str, str]) -> None:
        self._clock = clock
        self._environ = environ
        self._lock = threading.Lock()
        self._under_way = 0
        self._taken: deque[str] = deque(maxlen=_REMEMBERED)

    def take(self, host: Host, order: str, ref: Ref, tell: Callable[[Told], None]) -> None:
        """
        Test *ref* behind, and *tell* how it went; returns at once.

        Args:
            host: reads it.
            order: as the server calls it; one that was taken already is nothing new.
            ref: the connection.
            tell: gives the answer to the server.
        """
        with self._lock:
            if order in self._taken or self._under_way >= _MOST:
                return
            self._taken.append(order)
            self._under_way += 1
            is_busy = self._under_way > _AT_ONCE
        work = threading.Thread(
            target=self._work, args=(host, order, ref, tell, is_busy), name="strongroom-test", daemon=True
        )
        work.start()

    def _work(
        self,
        host: Host,
        order: str,
        ref: Ref,
        tell: Callable[[Told], None],
        is_busy: bool,  # noqa: FBT001 -- as it was counted
    ) -> None:
        try:
            tell(Told(order, "busy") if is_busy else self._told(host, order, ref))
        except StrongroomError:
            pass  # nobody waits any more, or the server is away: it says so to who asked
        finally:
            with self._lock:
                self._under_way -= 1

    def _told(self, host: Host, order: str, ref: Ref) -> Told:
        if not host.settings.agent.test_connections:
            return Told(order, "settings")
        reader = host.reader(os.geteuid())

        def read(ref: Ref) -> Entry | None:
            found = reader.refresh(ref)
            return None if found is None else reader.resolved(found)

        try:
            entry = read(ref)
            if entry is None:
                return Told(order, "absent")
            trial = self._tester(host, read).entry(entry, by="", place=HERE)
        except (AccessDeniedError, NotAuthenticatedError):
            return Told(order, "denied")
        except (MalformedEntryError, TamperedError):
            return Told(order, "invalid")
        except StrongroomError:
            return Told(order, "unavailable")
        return Told(order, None, entry.version, trial.steps)

    def _tester(self, host: Host, read: Callable[[Ref], Entry | None]) -> Tester:
        settings = host.settings.agent
        limits = Limits(networks=settings.test_networks or None, has_any_option=settings.test_any_option)
        dialect = host.settings.lookup.dialect
        return Tester(read, limits=limits, clock=self._clock, dialect=dialect, environ=self._environ)
