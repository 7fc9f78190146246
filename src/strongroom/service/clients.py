"""
The live clients of one process: which connections are held for them, and which family makes them.

Not for following one connection (`live/held.py`), nor for making a client (the files of `live/`).

Rules of this file:

1. One connection is held once, however many clients of it there are; clients are never shared.
2. A connection whose last client was closed is followed for a minute more, since tasks make clients in a row;
   not so one that is lent. Then, and at the end of the process, what was lent for it is given back.
3. After a fork, and where another room is asked, what was held for the one before is not used.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from strongroom.errors import ReadOnlyError
from strongroom.live.around import Around, Asked
from strongroom.live.families import driver_of, family_of
from strongroom.live.held import Held
from strongroom.live.trouble import trouble
from strongroom.model.connection import Connection
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.live.around import Run
    from strongroom.live.families import Driver
    from strongroom.live.follow import Follow
    from strongroom.model.entry import Entry
    from strongroom.service.lookup import Lookup
    from strongroom.service.writing import Writing

__all__ = ["Clients"]

_INTERVAL = timedelta(seconds=60)  # between two looks where nobody tells of changes; a refusal looks at once
_AT_EXIT_SECONDS = 2.0  # for what was lent to be given back
_OPTIONS = 'write options={"name": value}, by the names of the library\'s constructor'
_SERVICE = "it is a text, as the library of the cloud names it"
_SERVED = ("aws", "azure", "files", "google")  # files of `live/` that know what a service is
_TOLD = timedelta(seconds=5)  # as `HostLookup.follow` counts it, where an agent tells


class _Source:
    """
    Where the connections of a process are asked for; a `live.held.Source`.

    Args:
        lookup: gives what looks up; asked again each time, since a forked child has its own.
        anew: gives what looks up past everything remembered.
        writing: gives what writes.
        seen: told of each connection before a client has it, to be hidden from logs.
        is_told: somebody tells of changes.
    """

    def __init__(
        self,
        lookup: Callable[[], Lookup],
        anew: Callable[[], Lookup],
        writing: Callable[[], Writing],
        seen: Callable[[str, Connection], None],
        *,
        is_told: bool,
    ) -> None:
        self._lookup = lookup
        self._anew = anew
        self._writing = writing
        self._seen = seen
        self._interval = _TOLD if is_told else _INTERVAL

    def follow(self, ref: Ref, on_change: Callable[[Entry], None]) -> Follow:
        return self._lookup().follow(ref, on_change, interval=self._interval, gives_back=True)

    def anew(self, ref: Ref) -> Entry | None:
        return self._anew().anew(ref)

    def parsed(self, entry: Entry) -> Connection:
        connection = self._lookup().parsed(entry)
        self._seen(entry.ref.name, connection)
        return connection

    def write_back(
        self, ref: Ref, change: Callable[[Connection], Connection | None], comment: str
    ) -> Connection:
        stored = self._lookup().stored(ref)
        if stored is not None and stored.metadata.references:
            # What is known has other entries' secrets in it, and these are not its to keep.
            raise ReadOnlyError(
                f"{ref} holds references, so nothing is written back into it",
                hint="write out in it what is renewed",
            )
        stands: list[Connection] = []

        def changed(text: str | None) -> Connection | None:
            if text is None:
                return None
            before = Connection.parse(text)
            after = change(before)
            stands[:] = [before if after is None else after]
            return after

        self._writing().update(ref, changed, comment=comment)
        if not stands:
            raise self._lookup().absent(ref)
        return stands[0]


class Clients:
    """
    Make live clients.

    Args:
        asked: the room or agent that is asked: the clients of another are another's.
        lookup: as `_Source`.
        anew: as `_Source`.
        writing: as `_Source`.
        environ: of this process.
        run: gives for which run the calling code works.
        seen: as `_Source`.
        is_told: as `_Source`.
        idle_seconds: that a connection is followed on after its last client was closed.

    Threads: safe.
    """

    def __init__(  # noqa: PLR0913 -- what a process is made of
        self,
        asked: object,
        *,
        lookup: Callable[[], Lookup],
        anew: Callable[[], Lookup],
        writing: Callable[[], Writing],
        environ: Mapping[str, str],
        run: Callable[[], Run | None],
        seen: Callable[[str, Connection], None],
        is_told: bool,
        idle_seconds: float = 60.0,
    ) -> None:
        self.asked = asked
        self._idle_seconds = idle_seconds
        self._source = _Source(lookup, anew, writing, seen, is_told=is_told)
        self._begin()
        atexit.register(_close_at_exit, weakref.ref(self))
        self._around = Around(
            environ=environ, now=lambda: datetime.now(timezone.utc), run=run, held=self.held
        )

    def _begin(self) -> None:
        # Made anew in a forked child, where a thread of the parent may have held the parent's.
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._making: dict[Ref, threading.Lock] = {}
        self._held: dict[Ref, Held] = {}
        self._sweeper: threading.Thread | None = None
        self._closing = threading.Event()
        # Of all that wakes a thread, this alone may be told by a destructor.
        self._left: SimpleQueue[None] = SimpleQueue()

    def held(self, name: str, team: str | None = None) -> Held:
        """
        Give a connection that is followed for clients.

        Raises:
            As `strongroom.connection`.
        """
        if self._process != os.getpid():
            self._begin()
        ref = Ref("connection", name, team)
        with self._lock:
            found = self._found(ref)
            making = self._making.setdefault(ref, threading.Lock())
        if found is not None:
            return found
        # One that cannot be answered keeps nobody from the others.
        with making:
            with self._lock:
                found = self._found(ref)
            return found or self._made(ref)

    def _found(self, ref: Ref) -> Held | None:
        found = self._held.get(ref)
        if found is not None:
            found.use()
        return found

    def _made(self, ref: Ref) -> Held:
        left = partial(self._left.put, None)
        held = Held(ref, self._source, time.monotonic, idle_seconds=self._idle_seconds, left=left)
        with self._lock:
            self._held[ref] = held
            if self._sweeper is None:
                # Not begun when a client is closed: that may be in the middle of anything.
                self._sweeper = threading.Thread(target=self._sweep, name="strongroom clients", daemon=True)
                self._sweeper.start()
        return held

    def _sweep(self) -> None:
        """Close what is idle, until there is nothing left."""
        while True:
            with suppress(Empty):
                self._left.get(timeout=self._idle_seconds / 4)
            with self._lock:
                for ref in [ref for ref, held in self._held.items() if held.close_idle()]:
                    del self._held[ref]
                if not self._held or self._closing.is_set():
                    self._sweeper = None
                    return

    def client(
        self,
        name: str,
        *,
        driver: str | None,
        service: str | None,
        team: str | None,
        options: Mapping[str, object] | None,
    ) -> Any:  # noqa: ANN401 -- a library's own object
        """Give a client. Arguments and errors: `strongroom.client`."""
        held = self.held(name, team)
        chosen = driver_of(held, driver)
        return family_of(chosen).client(held, self._asked(held, chosen, service, options))

    async def aclient(
        self,
        name: str,
        *,
        driver: str | None,
        service: str | None,
        team: str | None,
        options: Mapping[str, object] | None,
    ) -> Any:  # noqa: ANN401 -- as client
        """Give an asynchronous client. Arguments and errors: `strongroom.client`."""
        from asyncio import to_thread  # noqa: PLC0415 -- who calls this has it loaded

        held = await to_thread(self.held, name, team)
        chosen = driver_of(held, driver)
        family = await to_thread(family_of, chosen)
        asked = self._asked(held, chosen, service, options)
        if hasattr(family, "aclient"):
            return await family.aclient(held, asked)
        return await to_thread(family.client, held, asked)

    def _asked(self, held: Held, driver: Driver, service: object, options: object) -> Asked:
        if service is not None and not isinstance(service, str):
            raise trouble("options", "malformed", name=held.name, detail="service", hint=_SERVICE)
        if service is not None and driver.module not in _SERVED:
            hint = "only clients of a cloud have services: leave it out"
            raise trouble("options", "unknown", name=held.name, detail="service", hint=hint)
        given = {} if options is None else options
        if not isinstance(given, Mapping) or not all(isinstance(each, str) for each in given):
            raise trouble("options", "malformed", name=held.name, detail="options", hint=_OPTIONS)
        return Asked(driver.name, service, dict(given), self._around)

    def close(self, wait_seconds: float = 0.0) -> None:
        """
        End all following. Safe to call twice.

        Args:
            wait_seconds: for what was lent to be given back.
        """
        with self._lock:
            ended = list(self._held.values())
            self._held.clear()
            self._closing.set()
        self._left.put(None)
        for held in ended:
            held.close()
        until = time.monotonic() + wait_seconds
        for held in ended:
            held.wait_ended(max(0.0, until - time.monotonic()))


def _close_at_exit(clients: weakref.ref[Clients]) -> None:
    found = clients()
    if found is not None:
        found.close(_AT_EXIT_SECONDS)
