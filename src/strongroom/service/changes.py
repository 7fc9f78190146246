"""
What changed, as it happens: for caches of this process and for whoever follows a deployment.

Rules of this file:

1. The truth is the table `changes` of the store, read by sequence number. Bells only say when to read it:
   `data_version`, looked at four times a second by one watcher a store, and a PostgreSQL's own.
2. Each change drops its Ref from the cache of this process first, whoever made it; listeners come after.
3. Notices name Refs and versions. Each listener is told of those its actor may see listed, and where a
   number is left out says nothing: what it goes on from is sealed text, not a number.
4. Where changes were forgotten since (pruned, or an old copy of the store was brought back) one notice
   says so: read everything again.
5. Many listen at once, on loops that answer reads meanwhile: all of a loop are woken by one call, and what
   is at hand is told without a thread. Only what must be waited for, or decided at length, takes one.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import secrets
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections import Counter, OrderedDict
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import partial
from operator import xor
from typing import TYPE_CHECKING, NamedTuple, Protocol

from strongroom.errors import StrongroomError
from strongroom.policy import Action

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from strongroom.asynchronous import Bridge
    from strongroom.barrier import Barrier, Change
    from strongroom.model.entry import Metadata
    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Policy
    from strongroom.service.guard import Guard, Sight
    from strongroom.store.engine import Bell

__all__ = ["Beat", "Changes", "Feed", "Notice", "Presence", "Watch"]

_LOOK_SECONDS = 0.25  # between two looks at the bell
_BELL_SECONDS = 5.0  # for one wait for what the database rings, and between two attempts to hear it
_GATHER_SECONDS = 0.01  # in which what rings again is heard once
_PAGE = 1000  # changes read from the store at once
_KEPT = 10_000  # changes kept in memory for listeners that are not far behind
_KEEP = 100_000  # changes kept in the store; twice as many, and the older half is forgotten
_PRUNE_SECONDS = 60.0  # between two looks whether there are so many
_CHECK_SECONDS = 1.0  # between two looks whether a listener may still listen
_SLOTS = 10  # parts of that second, so that not all look in the same moment
_AT_ONCE = 16  # changes decided one by one on the loop; more are decided on a thread
_REVISION_BYTES = 6
_ABSENT = 4096  # of whom it is remembered when they left
_GENERATION_BITS = 32  # of `data_version`: what stands above counts the files put in the store's place


class Notice(NamedTuple):
    """
    One change, or that some were forgotten.

    Args:
        id: hand it back to go on after this one; at most 64 characters of base64url.
        ref: what changed; None where `is_gap`.
        version: that stands now; None where it was deleted, and where the backend has none.
        is_gap: changes before this were forgotten: read everything again.
    """

    id: str
    ref: Ref | None
    version: str | None = None
    is_gap: bool = False


class Beat(NamedTuple):
    """
    A sign of life of a feed, once a second to each who listens, and when who may has changed.

    Args:
        revision: of what decides about him; opaque, compared for equality.
    """

    revision: str


class Presence(NamedTuple):
    """
    Whether somebody follows here.

    Args:
        is_here: he does now.
        left_at: when he last stopped, UTC; None where he did not since this process began.
    """

    is_here: bool
    left_at: datetime | None = None


class _Attendance:
    """Who follows now, and when those that do not left. Threads: may be used from several at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._here: Counter[str] = Counter()
        self._left: OrderedDict[str, datetime] = OrderedDict()

    @contextmanager
    def one(self, actor: str) -> Iterator[None]:
        with self._lock:
            self._here[actor] += 1
        try:
            yield
        finally:
            with self._lock:
                self._here[actor] -= 1
                if not self._here[actor]:
                    del self._here[actor]
                    self._left[actor] = datetime.now(timezone.utc)
                    self._left.move_to_end(actor)
                while len(self._left) > _ABSENT:
                    self._left.popitem(last=False)

    def of(self, actor: str) -> Presence:
        with self._lock:
            return Presence(actor in self._here, self._left.get(actor))


class _Dropping(Protocol):
    """What the feed needs of a cache."""

    def drop(self, *refs: Ref) -> object: ...

    def clear(self) -> None: ...


class Feed:
    """
    The changes of one deployment, for all who listen in this process.

    Threads: may be used from several threads at once.

    Args:
        barrier: of the deployment's store.
        cache: drops what changed.

    Attributes:
        store: where the store is, by which a `Watch` is shared.
        gaps: how often everything had to be read again here.
        turns: how often names came to be answered from elsewhere, without a change of any entry.
    """

    def __init__(self, barrier: Barrier, cache: _Dropping) -> None:
        self._barrier = barrier
        self._cache = cache
        self._turn = threading.Lock()
        self._bell = barrier.data_version()
        self._last = barrier.last_sequence()
        # Replaced as a whole: readers, loops among them, take no lock. Every change after the first number,
        # up to the last at least, is in the list, which only grows.
        self._held: tuple[int, list[Change], int] = (self._last, [], self._last)
        self._listeners: set[Callable[[], None]] = set()
        self._hubs: dict[asyncio.AbstractEventLoop, _Hub] = {}
        self._cursor_keys: tuple[bytes, ...] = ()
        self.attendance = _Attendance()
        self.ring: Callable[[], None] = lambda: None
        self.gaps = 0
        self.turns = 0

    @property
    def store(self) -> str:
        """Where the store is."""
        return self._barrier.store.address

    def bell(self) -> Bell | None:
        """Give what the store's database rings by itself, where it does."""
        return self._barrier.store.engine.bell()

    @property
    def last(self) -> int:
        """The sequence number of the newest change that was seen here."""
        return self._last

    def poll(self) -> None:
        """
        Look at the bell; where it rang, read what changed, drop it from the cache and wake who listens.

        Raises:
            BackendUnavailableError: the store gave no answer; what changed is read with the next look.
        """
        with self._turn:
            bell = self._barrier.data_version()
            if bell == self._bell:
                return
            is_other_file = bell >> _GENERATION_BITS != self._bell >> _GENERATION_BITS
            # Behind what was forgotten: an older state was brought back, or very much happened meanwhile.
            is_behind = self._last < self._barrier.pruned_to() or self._barrier.last_sequence() < self._last
            if is_other_file or is_behind:
                self._start_over()
            self._read_on()
            if self._cursor_keys:
                self._look_at_key()
            self._bell = bell
        self._wake()

    def _read_on(self) -> None:
        while changes := self._barrier.changes(self._last, _PAGE):
            self._cache.drop(*(change.ref for change in changes))
            floor, kept, _ = self._held
            if len(kept) > 2 * _KEPT:
                floor, kept = kept[-_KEPT - 1].sequence, kept[-_KEPT:]
            kept += changes
            self._last = changes[-1].sequence
            self._held = (floor, kept, self._last)

    def _start_over(self) -> None:
        """Another file stands in the place of the store: nothing that was remembered of it counts."""
        self._cache.clear()
        self.gaps += 1
        self._last = self._barrier.last_sequence()
        self._held = (self._last, [], self._last)

    def turn(self) -> None:
        """Say that names are answered from elsewhere now: whoever follows reads everything again."""
        self.gaps += 1
        self.turns += 1
        self._wake()

    def note(self, refs: Sequence[Ref]) -> None:
        """
        Leave a line for changes made in backends that keep none, so that other processes hear of them.

        Raises:
            BackendUnavailableError: the store cannot be written now.
        """
        self._barrier.note_changes(refs)
        self.ring()

    def since(self, after: int, limit: int = _PAGE) -> tuple[list[Change], bool]:
        """
        Give up to *limit* changes after the number *after*, and whether some before them were forgotten.

        Raises:
            BackendUnavailableError: they are not kept here, and the store gave no answer.
        """
        found = self.at_hand(after, limit)
        if found is not None:
            return found, False
        # Another process may have handed out a number that is not seen here yet.
        is_gap = after < self._barrier.pruned_to() or after > self._barrier.last_sequence()
        return ([] if is_gap else self._barrier.changes(after, limit)), is_gap

    def at_hand(self, after: int, limit: int = _PAGE) -> list[Change] | None:
        """Give up to *limit* changes after the number *after* where this process has them; asks nobody."""
        floor, kept, last = self._held
        if not floor <= after <= last:
            return None
        start = bisect_right(kept, after, key=_sequence)
        # The list may have grown since: what is told goes no further than the number told beside it.
        end = bisect_right(kept, last, lo=start, key=_sequence)
        return kept[start : min(end, start + limit)]

    def prune(self, keep: int = _KEEP) -> None:
        """
        Forget the older half where there are more than twice *keep* changes.

        Raises:
            BackendUnavailableError: the store cannot be written now.
        """
        self._barrier.prune_changes(keep)

    def sealed(self, sequence: int) -> str:
        """Give *sequence* as text that tells nobody how many changes there were, or whether any."""
        key, nonce = self._keys()[0], secrets.token_bytes(8)
        body = _masked(key, nonce, sequence.to_bytes(8, "big"))
        return urlsafe_b64encode(nonce + body + _mac(key, b"tag", nonce + body)[:8]).decode()

    def opened(self, cursor: str) -> int | None:
        """Give the number in a text that `sealed` gave; None where it is not one of this deployment's."""
        try:
            given = urlsafe_b64decode(cursor.encode("ascii"))
        except ValueError:
            return None
        nonce, body, tag = given[:8], given[8:16], given[16:]
        for key in self._keys() if len(given) == _CURSOR_BYTES else ():
            if hmac.compare_digest(tag, _mac(key, b"tag", nonce + body)[:8]):
                return int.from_bytes(_masked(key, nonce, body), "big")
        return None

    def _keys(self) -> tuple[bytes, ...]:
        """Give the key of cursors, and the one before: whoever listens goes on when keys are replaced."""
        return self._cursor_keys or self._look_at_key()

    def _look_at_key(self) -> tuple[bytes, ...]:
        # With the bell and not for each cursor: those are made on loops, and this asks the store.
        key = self._barrier.mac_row("changes-cursor", (self._barrier.deployment,))
        if key not in self._cursor_keys[:1]:
            self._cursor_keys = (key, *self._cursor_keys[:1])
        return self._cursor_keys

    @contextmanager
    def listening(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call *callback* after every change while the block runs, from the thread that saw it."""
        self._listeners.add(callback)
        try:
            yield
        finally:
            self._listeners.discard(callback)

    @contextmanager
    def seat(self) -> Iterator[_Seat]:
        """Give a place to wait on the running loop, woken by every change, by `stir`, and once a second."""
        loop = asyncio.get_running_loop()
        # Looked at and changed by their own loop alone; others belong to other loops.
        hub = self._hubs.get(loop)
        if hub is None:
            hub = self._hubs[loop] = _Hub(loop)
            self._listeners.add(hub.ring)
        seat = hub.take()
        try:
            yield seat
        finally:
            if hub.leave(seat):
                self._listeners.discard(hub.ring)
                del self._hubs[loop]

    @property
    def listeners(self) -> int:
        """How many wait on loops now."""
        return sum(hub.seats for hub in list(self._hubs.values()))

    def stir(self) -> None:
        """Wake who listens though no entry changed: who may has."""
        self._wake()

    def _wake(self) -> None:
        for callback in tuple(self._listeners):
            callback()


class _Seat:
    """
    Where one listener waits; of one loop.

    Attributes:
        is_due: a second has passed since it last was.
    """

    __slots__ = ("_future", "_is_rung", "_loop", "is_due", "slot")

    def __init__(self, loop: asyncio.AbstractEventLoop, slot: int) -> None:
        self._loop = loop
        self._future: asyncio.Future[None] | None = None
        self._is_rung = False
        self.slot = slot
        self.is_due = False

    def wake(self) -> None:
        self._is_rung = True
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def wait(self) -> None:
        """Wait until it is woken, or was since it last waited."""
        while not self._is_rung:
            self._future = self._loop.create_future()
            try:
                await self._future
            finally:
                self._future = None
        self._is_rung = False


class _Hub:
    """All seats of one loop: one call wakes them, and one timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: list[set[_Seat]] = [set() for _ in range(_SLOTS)]
        self._next = itertools.count()
        self._now = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self) -> _Seat:
        seat = _Seat(self._loop, next(self._next) % _SLOTS)
        self._slots[seat.slot].add(seat)
        if self._timer is None:
            self._tick()
        return seat

    def leave(self, seat: _Seat) -> bool:
        """Take *seat* away, and tell whether it was the last one."""
        self._slots[seat.slot].discard(seat)
        if any(self._slots):
            return False
        if self._timer is not None:
            self._timer.cancel()
        return True

    @property
    def seats(self) -> int:
        """How many are taken."""
        return sum(map(len, self._slots))

    def ring(self) -> None:
        """Wake all, from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._wake_all)

    def _wake_all(self) -> None:
        for slot in self._slots:
            for seat in slot:
                seat.wake()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_CHECK_SECONDS / _SLOTS, self._tick)
        self._now = (self._now + 1) % _SLOTS
        for seat in self._slots[self._now]:
            seat.is_due = True
            seat.wake()


class Watch:
    """
    Look at the bells of the feeds of one store, four times a second and when it is rung.

    Threads: its own, one a store however many listen, and one more where its database rings by itself.
    """

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = tuple(feeds)
        self._rung = threading.Event()
        self._thread: threading.Thread | None = None
        self._bell: Bell | None = None
        self._hearing: threading.Thread | None = None
        self._ended = threading.Event()
        for feed in self._feeds:
            feed.ring = self._rung.set

    def start(self) -> None:
        """Begin to look, where there is anything to look at. Safe to call twice."""
        if self._thread is None and self._feeds:
            self._thread = threading.Thread(target=self._look, name="strongroom-changes", daemon=True)
            self._thread.start()
            self._bell = self._feeds[0].bell()
            if self._bell is not None:
                self._hearing = threading.Thread(
                    target=self._hear, args=(self._bell,), name="strongroom-bell", daemon=True
                )
                self._hearing.start()

    def _hear(self, bell: Bell) -> None:
        try:
            while not self._ended.is_set():
                try:
                    if bell.wait(_BELL_SECONDS):
                        self._rung.set()
                        self._ended.wait(_GATHER_SECONDS)
                except StrongroomError:
                    # Polling goes on; the database is asked again for a session that listens.
                    self._ended.wait(_BELL_SECONDS)
        finally:
            bell.end()  # here: whoever forgets the last feed does not wait, and the session must go

    def forget(self, feed: Feed) -> None:
        """Look at *feed* no more; without any the looking ends."""
        self._feeds = tuple(one for one in self._feeds if one is not feed)
        if not self._feeds:
            self._end()

    def _look(self) -> None:
        prune_at = time.monotonic() + _PRUNE_SECONDS
        while not self._ended.is_set():
            for feed in self._feeds:
                # Trouble passes: what changed meanwhile is read with the next look.
                with suppress(StrongroomError):
                    feed.poll()
            if time.monotonic() >= prune_at:
                prune_at = time.monotonic() + _PRUNE_SECONDS
                for feed in self._feeds:
                    with suppress(StrongroomError):
                        feed.prune()
            self._rung.wait(_LOOK_SECONDS)
            self._rung.clear()

    def close(self) -> None:
        """End the looking and wait for it. Safe to call twice."""
        self._end()
        for thread in (self._thread, self._hearing):
            if thread is not None:
                thread.join()

    def _end(self) -> None:
        self._ended.set()
        self._rung.set()
        if self._bell is not None:
            self._bell.close()


class Changes:
    """
    Follow the changes of a deployment as one actor.

    Threads: may be used from several threads and loops at once.

    Args:
        metadata: gives what is public about a Ref though it was deleted, None where it never was; asked
            only where policy needs it.
    """

    def __init__(
        self,
        feed: Feed,
        guard: Guard,
        actor: Actor,
        bridge: Callable[[], Bridge],
        metadata: Callable[[Ref], Metadata | None],
    ) -> None:
        self._feed = feed
        self._guard = guard
        self._actor = actor
        self._bridge = bridge
        self._metadata = metadata
        self._held: tuple[Policy, Sight, str] | None = None

    def now(self) -> str:
        """Give what `after` and `follow` go on from to tell only what changes from now on."""
        return self._guard.act(self._actor, Action.LIST, None, lambda: self._feed.sealed(self._feed.last))

    def after(self, cursor: str, *, limit: int = _PAGE) -> tuple[list[Notice], str]:
        """
        Give the changes after *cursor*, oldest first, and what to go on from: of up to *limit*, those
        that the actor may see. What to go on from is another text each time, whatever has happened.

        Raises:
            AccessDeniedError: the actor may not list anything here.
            BackendUnavailableError: the store gave no answer.
        """
        return self._guard.act(self._actor, Action.LIST, None, lambda: self._page(cursor, limit))

    def _page(self, cursor: str, limit: int) -> tuple[list[Notice], str]:
        start = self._feed.opened(cursor)
        notices, last = self._told(-1 if start is None else start, limit)
        return notices, self._feed.sealed(last)

    async def follow(
        self, cursor: str | None = None, *, is_alive: Callable[[], bool] | None = None
    ) -> AsyncIterator[Notice | Beat]:
        """
        Yield each change that the actor may see, as it happens, and a beat at the beginning, each second,
        and when who may has changed.

        Args:
            cursor: where to go on; None for what changes from now on.
            is_alive: asked on the loop each second and before each notice; False ends it.

        Raises:
            AccessDeniedError: the actor may not list anything here, or not any more.
        """
        run = self._bridge().run
        start = self._feed.opened(cursor) if cursor is not None else self._feed.last
        last = -1 if start is None else start
        told, turns = "", self._feed.turns
        with self._feed.attendance.one(self._actor.id), self._feed.seat() as seat:
            while is_alive is None or is_alive():
                if turns != self._feed.turns:
                    turns, last = self._feed.turns, self._feed.last
                    yield Notice(self._feed.sealed(last), None, is_gap=True)
                found = self._at_once(last) if self._guard.is_fresh() else None
                if found is None:
                    found = await run(partial(self._at_length, last))
                notices, last, revision = found
                for notice in notices:
                    yield notice
                if seat.is_due or revision != told:
                    told, seat.is_due = revision, False
                    yield Beat(revision)
                if not notices:
                    await seat.wait()

    def followers(self, actors: Iterable[str]) -> dict[str, Presence]:
        """
        Tell which of *actors* follow this process now, and when the others left: an agent that does not
        follow learns of a change only when it asks.

        Raises:
            AccessDeniedError: the actor may not describe the room.
        """
        attendance = self._feed.attendance
        return self._guard.act(
            self._actor, Action.DESCRIBE, None, lambda: {actor: attendance.of(actor) for actor in actors}
        )

    def revision(self) -> str:
        """Give what tells what decides about the actor now from anything else: 12 characters."""
        return self._judging()[2]

    def _judging(self) -> tuple[Policy, Sight, str]:
        """Give the policy that decides now, what the actor sees by it, and its revision for him."""
        policy, held = self._guard.policy_of(self._actor), self._held
        if held is None or held[0] is not policy:
            said = f"{getattr(policy, 'revision', '')}\0{self._actor.roles}\0{self._actor.scope}"
            revision = hashlib.sha256(said.encode()).digest()[:_REVISION_BYTES].hex()
            held = self._held = (policy, self._guard.sight(self._actor), revision)
        return held

    def _at_once(self, after: int) -> tuple[list[Notice], int, str] | None:
        """Give what `_at_length` gives where that needs no long thinking; None where it does."""
        policy, sight, revision = self._judging()
        # A denial is recorded, which waits.
        if not policy.decide(self._actor, Action.LIST, None).is_allowed:
            return None
        changes = self._feed.at_hand(after)
        if changes is None or (len(changes) > _AT_ONCE and not sight.is_whole):
            return None
        if changes and policy.needs_facts and not sight.is_whole:
            return None
        return self._seen(changes, sight), changes[-1].sequence if changes else after, revision

    def _at_length(self, after: int) -> tuple[list[Notice], int, str]:
        """Give what is told of the changes after the number *after*, the next such number, and `revision`."""
        found = self._guard.act(self._actor, Action.LIST, None, lambda: self._told(after, _PAGE))
        return *found, self.revision()

    def _told(self, after: int, limit: int) -> tuple[list[Notice], int]:
        """Give the visible changes of one page after the number *after*, and the number it ends with."""
        changes, is_gap = self._feed.since(after, limit)
        notices: list[Notice] = []
        if is_gap:
            changes, after = [], self._feed.last
            notices.append(Notice(self._feed.sealed(after), None, is_gap=True))
        sight = self._judging()[1]
        notices += self._seen(changes, sight)
        return notices, changes[-1].sequence if changes else after

    def _seen(self, changes: Sequence[Change], sight: Sight) -> list[Notice]:
        needs_facts = self._guard.policy_of(self._actor).needs_facts and not sight.is_whole
        return [
            Notice(self._feed.sealed(change.sequence), change.ref, change.version)
            for change in changes
            if sight.sees(change.ref, self._metadata(change.ref) if needs_facts else None)
        ]


_CURSOR_BYTES = 24


def _mac(key: bytes, purpose: bytes, data: bytes) -> bytes:
    return hmac.digest(key, purpose + b"\x00" + data, "sha256")


def _masked(key: bytes, nonce: bytes, data: bytes) -> bytes:
    return bytes(map(xor, data, _mac(key, b"mask", nonce)))


def _sequence(change: Change) -> int:
    return change.sequence
