"""
Follow an entry: its current state, and a call when it changes.

It asks on a thread of its own and compares version and text: again and again, or, where somebody tells of
changes (an agent), when it is told. Not for listening itself: whoever makes it hands in how that is done.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from strongroom.errors import BackendUnavailableError, NotFoundError, StrongroomError

if TYPE_CHECKING:
    from types import TracebackType

    from strongroom.model.entry import Entry

__all__ = ["Follow"]

Wait = Callable[[float], bool]
Listen = Callable[[Callable[[], None]], Callable[[], None]]
_SHORTEST_SECONDS = 0.5  # between two looks, however short what is lent may live
_PUSHED = 12  # intervals between two looks of its own, where changes are told


def _nothing() -> None:
    """End nothing."""


def _wait(closing: threading.Event, woken: threading.Event, seconds: float) -> bool:
    """Wait so long or until woken, and tell whether to end."""
    woken.wait(seconds)
    woken.clear()
    return closing.is_set()


class Follow:
    """
    Hold the current entry of one Ref and call back when it changes.

    A change is another version, or another text under the same version (stores without versions,
    resolved references). Trouble, an absence included, keeps the last entry and shows in `trouble`.

        with Follow(read, on_change=reconnect) as follow:
            connect(follow.current)

        for entry in follow: ...          # now, and after every change, until closed

    Args:
        read: asks for the entry, past what is remembered; None or NotFoundError where it is gone.
        on_change: called with the new entry, on the following thread; what it raises is kept in
            `callback_error` and stops nothing.
        interval: time between two questions; what lives shorter is asked for before it ends.
        listen: begins to be told of changes: takes what to call, from any thread, whenever there may be
            another entry, and gives what ends that. With it the time between two questions is twelve times
            *interval*: only for what was not told.
        ended: called once it was closed, on the following thread, where nothing is waited for.
        wait: waits so many seconds and tells whether to end; tests give their own.

    Raises:
        NotFoundError: there is nothing to follow at the start.
        Whatever *read* raises at the start.

    Threads: may be used from several threads at once. The thread is a daemon. After a fork the child
        has its own from the first look at `current` or the first iteration.
    """

    def __init__(
        self,
        read: Callable[[], Entry | None],
        on_change: Callable[[Entry], None] | None = None,
        *,
        interval: timedelta = timedelta(seconds=5),
        listen: Listen | None = None,
        ended: Callable[[], None] = _nothing,
        wait: Wait | None = None,
    ) -> None:
        self._read = read
        self._on_change = on_change
        self._interval = interval.total_seconds() * (1 if listen is None else _PUSHED)
        self._listen = listen
        self._ended = ended
        self._wait = wait
        self._trouble: StrongroomError | None = None
        self._callback_error: Exception | None = None
        self._changes = 0
        # Heard first and read then, so that nothing changes unheard in between.
        self._hear()
        try:
            self._current = self._first()
        except BaseException:
            self._end_hearing()
            raise
        self._start()

    @property
    def current(self) -> Entry:
        """The entry as last read."""
        self._revive()
        return self._current

    @property
    def trouble(self) -> StrongroomError | None:
        """Why the last question was not answered; None when it was."""
        return self._trouble

    @property
    def callback_error(self) -> Exception | None:
        """What `on_change` raised last time; None when it raised nothing."""
        return self._callback_error

    def close(self) -> None:
        """
        End the thread and every iteration; a callback that runs meanwhile is not waited for. Safe to
        call twice. One that is never closed follows until the process ends.
        """
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        self._woken.set()
        self._end_hearing()

    def wait_ended(self, seconds: float) -> None:
        """Wait, at most so long, until what a `close` brings about is done: what was lent is given back."""
        if self._process == os.getpid() and self._thread is not threading.current_thread():
            self._thread.join(seconds)

    def __enter__(self) -> Follow:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Entry]:
        """Yield the current entry, then the newest after each change; one that comes late skips the older."""
        self._revive()
        with self._changed:
            seen, entry = self._changes, self._current
        yield entry
        while (found := self._next(seen)) is not None:
            seen, entry = found
            yield entry

    def _next(self, seen: int) -> tuple[int, Entry] | None:
        """Wait for a change after the one counted *seen*; None when closed."""
        self._revive()
        with self._changed:
            self._changed.wait_for(lambda: self._changes > seen or self._closing.is_set())
            return None if self._closing.is_set() else (self._changes, self._current)

    def __repr__(self) -> str:
        return f"Follow({self._current.ref}, version={self._current.version!r})"

    # --- the thread ---

    def _hear(self) -> None:
        self._woken = threading.Event()
        self._end_hearing: Callable[[], None] = _nothing
        if self._listen is not None:
            self._end_hearing = self._listen(self._woken.set)

    def _first(self) -> Entry:
        entry = self._read()
        if entry is None:
            raise NotFoundError("there is nothing to follow under this name")
        return entry

    def _start(self) -> None:
        # Made anew in a forked child, where no thread of the parent lives to give them up.
        self._process = os.getpid()
        self._closing = threading.Event()
        self._changed = threading.Condition()
        # What tells for which run is asked belongs to who follows, and threads begin without it.
        self._thread = threading.Thread(
            target=copy_context().run,
            args=(self._follow, self._closing, self._woken),
            name=f"strongroom follow {self._current.ref}",
            daemon=True,
        )
        self._thread.start()

    def _revive(self) -> None:
        if self._process != os.getpid():
            is_closed = self._closing.is_set()
            # The parent's ways of hearing are the parent's: the child has its own, and looks at once.
            self._end_hearing = _nothing
            if not is_closed:
                self._hear()
                self._woken.set()
            self._start()
            if is_closed:
                self.close()

    def _follow(self, closing: threading.Event, woken: threading.Event) -> None:
        wait = self._wait or partial(_wait, closing, woken)
        while not wait(self._pause()) and not closing.is_set():
            self._look(closing)
        self._ended()

    def _pause(self) -> float:
        """Give the seconds until the next look: what is lent is looked at before it has to be renewed."""
        lifetime = self._current.lifetime
        if lifetime is None:
            return self._interval
        return min(self._interval, max(lifetime.total_seconds(), _SHORTEST_SECONDS))

    def _look(self, closing: threading.Event) -> None:
        try:
            entry = self._read()
        except StrongroomError as error:
            self._trouble = error
            return
        except Exception as error:  # noqa: BLE001 -- a thread that died would follow nothing, silently
            self._trouble = BackendUnavailableError(
                f"following {self._current.ref} failed with {type(error).__name__}",
                backend=self._current.backend,
            )
            return
        if entry is None:
            self._trouble = NotFoundError(f"{self._current.ref} is gone")
            return
        self._trouble = None
        if self._take(entry) and not closing.is_set():
            self._call_back(entry)

    def _take(self, entry: Entry) -> bool:
        """Keep *entry* and tell whether it is another."""
        before = self._current
        is_same = entry.version == before.version and entry.secret == before.secret
        with self._changed:
            self._current = entry
            if not is_same:
                self._changes += 1
                self._changed.notify_all()
        return not is_same

    def _call_back(self, entry: Entry) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change(entry)
        except Exception as error:  # noqa: BLE001 -- the caller's own code must not end the following
            self._callback_error = error
        else:
            self._callback_error = None
