"""
One connection as the live clients of a process use it: what it says now, and what is done when it is refused.

Not for listening to changes (`follow.py`), nor for what a library makes of a connection: that is a family's.

Rules of this file:

1. Whoever looks at what is known asks nobody and waits for nobody; only a refusal asks, and only once.
2. Trouble leaves what is known as it is: credentials that work go on working while a store is down.
3. What a refusal may ask is bounded: one question at a time, and at most one a second, however many clients
   are refused at once.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, NamedTuple, Protocol

from strongroom.errors import NotFoundError, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.live.follow import Follow
    from strongroom.model.connection import Connection
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Ref

__all__ = ["Held", "Known", "Source"]

_PAUSE_SECONDS = 1.0  # between two questions after refusals

_process = 0  # counts up in every forked child


class Known(NamedTuple):
    """
    What a connection says.

    Args:
        connection: references resolved.
        number: counts up with each other content, from 1; compare numbers, not contents.
        version: of the entry, where its backend keeps versions.
    """

    connection: Connection
    number: int
    version: str | None

    def __repr__(self) -> str:
        return f"Known(number={self.number}, version={self.version!r})"


class Source(Protocol):
    """Where connections are asked for and written back to. Threads: safe. After a fork: the child's own."""

    def follow(self, ref: Ref, on_change: Callable[[Entry], None]) -> Follow:
        """Begin to follow *ref*. Raises as `strongroom.follow`."""
        ...

    def anew(self, ref: Ref) -> Entry | None:
        """Give the entry past everything remembered; None where there is none. Raises as `Lookup.entry`."""
        ...

    def parsed(self, entry: Entry) -> Connection:
        """Read the connection in *entry*. Raises MalformedEntryError."""
        ...

    def write_back(
        self, ref: Ref, change: Callable[[Connection], Connection | None], comment: str
    ) -> Connection:
        """Write what *change* gives over what it was given; raises as `strongroom.update`."""
        ...


class Held:
    """
    Hold one connection for all clients of it in this process.

    Args:
        ref: which one.
        source: asks for it.
        clock: seconds, only ever forward.
        wait: waits so many seconds for an event.
        idle_seconds: that it is followed on after its last client was closed, unless it is lent.
        left: told that the last client was closed, from the middle of anything.

    Raises:
        NotFoundError, AccessDeniedError, …: as `strongroom.connection`.

    Threads: safe. After a fork the child follows by itself from its first look on.
    """

    def __init__(
        self,
        ref: Ref,
        source: Source,
        clock: Callable[[], float],
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
        *,
        idle_seconds: float = 60.0,
        left: Callable[[], None] = lambda: None,
    ) -> None:
        self.ref = ref
        self._source = source
        self._clock = clock
        self._wait = wait
        self._idle_seconds = idle_seconds
        self._left = left
        self._trouble: StrongroomError | None = None
        self._callback_error: Exception | None = None
        self._calls: dict[object, Callable[[Known], None]] = {}
        self._clients = 0
        # Nobody has a client of it yet, and its making may fail.
        self._idle_since: float | None = clock()
        self._is_left = self._is_closed = False
        self._known: Known | None = None
        self._last: Entry | None = None
        # What a family keeps for all clients of it, by the family's own keys; it ends with this object.
        self.kept: dict[object, object] = {}
        self._anew()
        self._begin()

    @property
    def name(self) -> str:
        """The name of the connection."""
        return self.ref.name

    @property
    def known(self) -> Known:
        """What is known now. Asks nobody, but for a forked child's first look."""
        if self._process != _process:
            self._revive()
        return self._known  # type: ignore[return-value]  # set before anybody has this object

    @property
    def trouble(self) -> StrongroomError | None:
        """Why the last question was not answered; None when it was."""
        return self._trouble or self._follow.trouble

    @property
    def callback_error(self) -> Exception | None:
        """What the last callback raised; None when it raised nothing."""
        return self._callback_error

    def __repr__(self) -> str:
        return f"Held({self.ref}, {self._known!r})"

    # --- after a refusal ---------------------------------------------------------------------------

    def refreshed(self, seen: Known) -> Known | None:
        """
        Give newer credentials than *seen*, which the service has refused; None where there are none.

        Asks once past everything remembered, unless what is known is newer already or a question that began
        after the refusal has the answer. Waits out the second since the last question before the next one.
        Trouble while asking is None too, and shows in `trouble`.
        """
        refused_at = self._clock()
        if self.known.number == seen.number:
            with self._asking:
                if self._asked_at < refused_at:
                    self._ask_in_turn(seen)
        known = self.known
        return known if known.number != seen.number else None

    def _ask_in_turn(self, seen: Known) -> None:
        pause = self._asked_at + _PAUSE_SECONDS - self._clock()
        self._news.clear()
        if pause > 0 and self.known.number == seen.number:
            self._wait(self._news, pause)  # or until the change is told
        if self.known.number == seen.number:
            self._ask()

    def _ask(self) -> None:
        before = self._known
        self._asked_at = self._clock()
        try:
            entry = self._source.anew(self.ref)
            if entry is None:
                raise NotFoundError(f"{self.ref} is gone")
            self._take(entry, over=before)
            if not self._is_followed:
                self._begin()
        except StrongroomError as error:
            self._trouble = error
        else:
            self._trouble = None

    def write_back(self, change: Callable[[Connection], Connection | None], *, comment: str) -> Known:
        """
        Write what *change* makes of the stored connection, only over what it was given, and give what stands.

        *change* is called again with what stands where another process was faster; None leaves it as it is.

        Raises:
            ReadOnlyError: its place takes no writes, or compares no versions; or it holds references.
            ConflictError, AccessDeniedError, BackendUnavailableError, …: as `strongroom.update`.
        """
        self._source.write_back(self.ref, change, comment)
        with self._asking:
            self._ask()
        return self.known

    # --- changes -------------------------------------------------------------------------------------

    def on_change(self, call: Callable[[Known], None]) -> Callable[[], None]:
        """Have *call* told of each other content, on the thread that learns of it; give what ends that."""
        token = object()
        self._calls[token] = call
        return lambda: self._calls.pop(token, None) and None

    def _take(self, entry: Entry, *, over: Known | None = None) -> None:
        """Keep what *entry* says, if that is something else; not over anything that came after *over*."""
        with self._changing:
            before = self._known
            if before is not None and (self._is_last(entry) or over not in (None, before)):
                return
            connection = self._source.parsed(entry)
            self._last = entry
            if before is not None and connection == before.connection:
                self._known = before._replace(version=entry.version)
                return
            known = self._known = Known(connection, 1 if before is None else before.number + 1, entry.version)
        self._news.set()
        for call in list(self._calls.values()):
            self._call_back(call, known)

    def _is_last(self, entry: Entry) -> bool:
        last = self._last
        return last is not None and entry.version == last.version and entry.secret == last.secret

    def _call_back(self, call: Callable[[Known], None], known: Known) -> None:
        try:
            call(known)
        except Exception as error:  # noqa: BLE001 -- one client's trouble is not to keep the others from it
            self._callback_error = error
        else:
            self._callback_error = None

    def _followed(self, entry: Entry) -> None:
        try:
            self._take(entry)
        except StrongroomError as error:
            # What is stored now is no connection: the one that was goes on.
            self._trouble = error
        else:
            self._trouble = None

    # --- its life --------------------------------------------------------------------------------------

    def lasts(self, thing: object, close: Callable[[], None] | None = None) -> Callable[[], None]:
        """
        Follow for as long as *thing*, a client, lives and is not closed.

        Args:
            thing: the client; only looked at from afar.
            close: closes what *thing* holds, when nobody has it any more and at the end of the process; it
                must not hold *thing* itself. Not called in a forked child, whose sessions are the parent's.

        Returns:
            what a client calls when it is closed; safe to call twice.
        """
        with self._changing:
            self._clients += 1
            self._idle_since, self._is_left = None, False
        ended = weakref.finalize(thing, _end, self, close, _process)
        return lambda: ended() and None

    def release(self) -> None:
        """Take note that a client was closed."""
        with self._changing:
            self._clients -= 1
            if self._clients > 0:
                return
            self._idle_since, self._is_left = self._clock(), True
        self._left()

    def is_idle(self) -> bool:
        """Tell whether it may be closed: nobody has used it for a while, or its last client had it lent."""
        since, last = self._idle_since, self._last
        if since is not None and self._is_left and last is not None and last.is_lent:
            return True
        return since is not None and self._clock() - since >= self._idle_seconds

    def use(self) -> None:
        """Take note that a client of it is about to be made."""
        with self._changing:
            if self._idle_since is not None:
                self._idle_since, self._is_left = self._clock(), False

    @property
    def is_closed(self) -> bool:
        """Whether it is followed no more; it never is after a `lasts` before which it was not."""
        return self._is_closed

    def close_idle(self) -> bool:
        """Do what `close` does if it is idle, and tell whether it was."""
        with self._changing:
            if not self.is_idle():
                return False
            self._is_closed = True
        self._follow.close()
        return True

    def close(self) -> None:
        """End the following. Safe to call twice."""
        self._is_closed = True
        self._follow.close()

    def wait_ended(self, seconds: float) -> None:
        """Wait, at most so long, until what a `close` brings about is done."""
        self._follow.wait_ended(seconds)

    def _anew(self) -> None:
        # Made anew in a forked child: a thread of the parent may have held the parent's.
        self._process = _process
        self._asking = threading.Lock()
        self._news = threading.Event()
        self._changing = threading.RLock()
        self._asked_at = -_PAUSE_SECONDS

    def _begin(self) -> None:
        self._follow = self._source.follow(self.ref, self._followed)
        self._is_followed = True
        try:
            self._take(self._follow.current)
        except StrongroomError:
            self._follow.close()  # nobody will have it
            self._is_followed = False
            raise

    def _revive(self) -> None:
        with _reviving:
            if self._process == _process:
                return
            self._anew()
            self._is_followed = False
            try:
                self._begin()
            except StrongroomError as error:
                self._trouble = error  # rule 2; the next refusal asks again, and begins to follow


def _end(held: Held, close: Callable[[], None] | None, process: int) -> None:
    try:
        if close is not None and process == _process:
            close()
    finally:
        held.release()


_reviving = threading.RLock()


def _count_fork() -> None:
    global _process, _reviving  # noqa: PLW0603 -- which process this is is the state of the process
    _process += 1
    _reviving = threading.RLock()


os.register_at_fork(after_in_child=_count_fork)
