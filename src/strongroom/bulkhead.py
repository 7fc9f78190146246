"""
Keep one slow place from holding up the others: bounded threads per place, and a time limit on every call.

Not for retries or circuits: those belong to whoever speaks to the place.

Rules of this file:

1. A place has at most so many calls under way, running and waiting together. One more is refused
   at once: hung calls never pile up threads.
2. A caller waits as long as it said and no longer. The thread of a hung call cannot be stopped; it
   keeps its seat until the call returns, and dies with the process (daemon).
3. After a fork the child starts with empty benches: no thread of the parent lives there.
4. The time that is left is passed down: `seconds_left` tells the work how long its caller waits.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from strongroom import tracing
from strongroom.errors import BackendUnavailableError, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Bulkhead", "Flight", "seconds_left", "within"]

T = TypeVar("T")

_IDLE_SECONDS = 30.0  # a thread without work ends after this; the next call starts another
_deadline: ContextVar[float | None] = ContextVar("strongroom_deadline", default=None)


def seconds_left() -> float | None:
    """
    Tell how many seconds the caller of this piece of work still waits; None when nobody set a limit.

    A backend takes it as the timeout of its connection where that is shorter than its own. It may
    be negative: then nobody waits any more.
    """
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let everything that is asked for inside together take no longer than *seconds*, or what was left."""
    left = seconds_left()
    token = _deadline.set(time.monotonic() + (seconds if left is None else min(seconds, left)))
    try:
        yield
    finally:
        _deadline.reset(token)


class Flight(Generic[T]):
    """
    One piece of work under way, that any number of threads and tasks may wait for.

    It lands once: with an answer, or with the error of the work.

    Threads: every method may be called from any thread.
    """

    __slots__ = ("_answer", "_callbacks", "_gate", "_lock", "error", "is_landed")

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.is_landed = False
        self._answer: T | None = None
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._gate = threading.Lock()
        self._gate.acquire()

    def land(self, answer: T | None = None, error: BaseException | None = None) -> None:
        """End with *answer*, or with *error*; a flight that has landed stays as it is."""
        with self._lock:
            if self.is_landed:
                return
            self._answer = answer
            self.error = error
            self.is_landed = True
            callbacks, self._callbacks = self._callbacks, []
        self._gate.release()
        for callback in callbacks:
            callback()

    def run(self, work: Callable[[], T]) -> None:
        """Do *work* on this thread and land with what came of it."""
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 -- handed over: whoever waits raises it
            self.land(error=error)
        else:
            self.land(answer)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has landed; False when it has not within *seconds*."""
        if self._gate.acquire(timeout=-1 if seconds is None else max(seconds, 0.0)):
            self._gate.release()
            return True
        return False

    def answer(self) -> T:
        """Give the answer of a landed flight to the one who flew it, or raise its error."""
        if self.error is not None:
            raise self.error
        return cast("T", self._answer)

    def shared_answer(self) -> T:
        """
        Give the answer of a landed flight to one of many who waited, or raise a copy of its error:
        one exception raised in many threads would gather all their tracebacks.
        """
        if isinstance(self.error, StrongroomError):
            raise copy(self.error)
        return self.answer()

    def when_landed(self, callback: Callable[[], None]) -> None:
        """Call *callback* once, on the thread that lands the flight, or now if it has landed."""
        with self._lock:
            if not self.is_landed:
                self._callbacks.append(callback)
                return
        callback()


class Bulkhead:
    """
    Do work for one place on threads of its own.

    Args:
        place: whose work it is, for messages: the name of a backend.
        threads: calls that run at once.
        waiting: calls that may wait for a thread; their waiting counts against their time.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(self, place: str, *, threads: int = 8, waiting: int = 56) -> None:
        self._place = place
        self._seats = threads
        self._limit = threads + waiting
        # By process id: `setdefault` is atomic, so a forked child gets one fresh crew without a
        # lock that another thread of the parent may have held at the fork.
        self._crews: dict[int, _Crew] = {}
        self._is_closed = False

    @property
    def limit(self) -> int:
        """How many calls may be under way at once, running and waiting."""
        return self._limit

    def submit(self, work: Callable[[], T]) -> Flight[T]:
        """
        Start *work* on a thread of this place, or put it in line, and give its flight.

        Raises:
            BackendUnavailableError: the place is at its limit, or closed.
        """
        flight: Flight[T] = Flight()
        if self._is_closed or not self._crew().take(flight, tracing.carried(work)):
            why = "is closed" if self._is_closed else f"has its limit of {self._limit} calls under way"
            raise BackendUnavailableError(f"{self._place} {why}", backend=self._place)
        return flight

    def call(self, work: Callable[[], T], seconds: float) -> T:
        """
        Do *work* on a thread of this place and give its answer within *seconds*.

        Raises:
            BackendUnavailableError: no answer in time, or as `submit`.
            Whatever *work* raises.
        """
        deadline = time.monotonic() + seconds

        def within_deadline() -> T:
            # Its caller has left: what waited in line for too long is not begun.
            if time.monotonic() >= deadline:
                raise self._too_late(seconds)
            token = _deadline.set(deadline)
            try:
                return work()
            finally:
                _deadline.reset(token)

        flight = self.submit(within_deadline)
        if not flight.wait(seconds):
            raise self._too_late(seconds)
        return flight.answer()

    def close(self) -> None:
        """Refuse further work and let the threads end after the work they have. Safe to call twice."""
        self._is_closed = True
        crew = self._crews.get(os.getpid())
        if crew is not None:
            crew.dismiss()

    def _crew(self) -> _Crew:
        process = os.getpid()
        crew = self._crews.get(process)
        if crew is None:
            for parent in list(self._crews):
                if parent != process:  # another thread that found none either may have put ours there by now
                    self._crews.pop(parent, None)
            crew = self._crews.setdefault(process, _Crew(self._place, self._seats, self._limit))
        return crew

    def _too_late(self, seconds: float) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"{self._place} gave no answer within {seconds:.3g} s", backend=self._place
        )


class _Crew:
    """The threads of one place in one process. They end when idle, so nothing need close them."""

    def __init__(self, place: str, seats: int, limit: int) -> None:
        self._place = place
        self._seats = seats
        self._limit = limit
        self._line: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition(threading.Lock())
        self._threads = 0
        self._idle = 0
        self._under_way = 0
        self._is_dismissed = False

    def take(self, flight: Flight[T], work: Callable[[], T]) -> bool:
        with self._wake:
            if self._is_dismissed or self._under_way >= self._limit:
                return False
            self._line.append(lambda: flight.run(work))
            self._under_way += 1
            if self._idle >= len(self._line):
                self._wake.notify()
            elif self._threads < self._seats:
                return self._start()
            return True

    def dismiss(self) -> None:
        with self._wake:
            self._is_dismissed = True
            self._wake.notify_all()

    def _start(self) -> bool:
        thread = threading.Thread(target=self._work, name=f"strongroom {self._place}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            if self._threads == 0:
                self._line.pop()
                self._under_way -= 1
                return False
        else:
            self._threads += 1
        return True

    def _work(self) -> None:
        while (task := self._next()) is not None:
            task()
            del task  # an idle thread must not keep the last answer alive
            with self._wake:
                self._under_way -= 1

    def _next(self) -> Callable[[], None] | None:
        with self._wake:
            self._idle += 1
            self._wake.wait_for(lambda: bool(self._line) or self._is_dismissed, _IDLE_SECONDS)
            self._idle -= 1
            if self._line:
                return self._line.popleft()
            self._threads -= 1
            return None
