"""
Be told by the agent of this machine that an entry changed.

One thread and one connection for all that a process follows, made with the first and ended with the last.
What it calls only says that there may be something new: who is called reads, and so is decided and recorded
anew. Where the connection breaks off everything is looked at again; while there is none, at the usual
interval.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from strongroom.caller import frames
from strongroom.caller.channel import ASKED, Broken
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.caller.channel import Channel
    from strongroom.caller.frames import Key, Run

__all__ = ["Notices"]

_INTERVAL = 5.0  # seconds between two looks at what nobody tells of
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds before the next attempt to connect


class Notices:
    """
    Tell those who follow that there may be something new.

    Threads: may be used from several at once; a forked child makes its own.

    Args:
        connect: gives a connection of our own, whose quiet lasts so many seconds at most.
        run: gives for which run the code that follows is running, or None.
        claim: gives the frame that says so.
    """

    def __init__(
        self,
        connect: Callable[[float], Channel],
        run: Callable[[], Run | None],
        claim: Callable[[Run | None], bytes],
    ) -> None:
        self._connect = connect
        self._run_now = run
        self._claim = claim
        self._runs: dict[Key, Run | None] = {}
        self._turn = threading.Lock()
        self._followed: dict[Key, list[Callable[[], None]]] = {}
        self._asked: dict[int, Key] = {}
        self._untold: set[Key] = set()
        self._channel: Channel | None = None
        self._number = ASKED
        self._is_running = False
        self._stirred = threading.Event()

    def listen(self, key: Key, wake: Callable[[], None]) -> Callable[[], None]:
        """
        Call *wake*, from a thread of ours, whenever *key* may have changed; give what ends that.

        Args:
            key: kind, name, team.
            wake: must not wait.
        """
        with self._turn:
            is_new = key not in self._followed
            if is_new:
                self._runs[key] = self._run_now()
            self._followed.setdefault(key, []).append(wake)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="strongroom notices", daemon=True).start()
            elif is_new and self._channel is not None:
                self._follow(self._channel, (key,))
        return lambda: self._end(key, wake)

    def _end(self, key: Key, wake: Callable[[], None]) -> None:
        with self._turn:
            wakes = self._followed.get(key, [])
            if wake in wakes:
                wakes.remove(wake)
            if wakes or key not in self._followed:
                return
            del self._followed[key]
            self._runs.pop(key, None)
            self._untold.discard(key)
            if self._channel is not None:
                # Said of the last one too: the end of a connection may be an accident.
                self._say(self._channel, frames.UNFOLLOW, key)
                if not self._followed:
                    self._channel.shut()
        self._stirred.set()

    def forked(self) -> None:
        """Let go of the connection, which is the parent's: it must end when the parent does."""
        if self._channel is not None:
            self._channel.close()

    # --- the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        looked = monotonic()
        while not self._is_over():
            try:
                channel = self._connect(_INTERVAL)
                pause = _FIRST_PAUSE
                self._hear(channel)
            except (Broken, StrongroomError):
                pass
            with self._turn:
                self._channel = None
            if monotonic() - looked >= _INTERVAL:
                looked = monotonic()
                self._wake(self._all())
            self._stirred.wait(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _is_over(self) -> bool:
        with self._turn:
            self._stirred.clear()
            self._is_running = bool(self._followed)
            return not self._is_running

    def _hear(self, channel: Channel) -> None:
        with self._turn:
            if not self._followed:
                return
            self._asked.clear()
            self._untold = set(self._followed)
            self._follow(channel, tuple(self._followed))
            self._channel = channel
        while True:
            found = channel.wait_frame()
            if found is not None:
                self._take(*found)
            elif self._untold:
                self._wake(tuple(self._untold))

    def _take(self, type_: int, number: int, payload: bytes) -> None:
        if type_ == frames.NOTICE:
            try:
                notice = frames.read_notice(payload)
            except frames.BrokenFrameError:
                notice = None
            self._wake(self._all() if notice is None else (notice[:3],))
            return
        key = self._asked.pop(number, None)
        if key is None:
            if type_ == frames.ERROR and number <= ASKED:
                raise Broken
            return
        if type_ == frames.FOLLOW | frames.ANSWER:
            self._untold.discard(key)
        # What changed before the agent began to tell was not told.
        self._wake((key,))

    def _wake(self, keys: Iterable[Key]) -> None:
        with self._turn:
            wakes = [wake for key in keys for wake in self._followed.get(key, ())]
        for wake in wakes:
            wake()

    def _all(self) -> tuple[Key, ...]:
        with self._turn:
            return tuple(self._followed)

    def _follow(self, channel: Channel, keys: Iterable[Key]) -> None:
        for key in keys:
            self._untold.add(key)
            run = self._runs.get(key)
            is_said = run == channel.claimed
            channel.claimed = run
            self._say(channel, frames.FOLLOW, key, ahead=b"" if is_said else self._claim(run))

    def _say(self, channel: Channel, type_: int, key: Key, *, ahead: bytes = b"") -> None:
        self._number += 1
        if type_ == frames.FOLLOW:
            self._asked[self._number] = key
        with suppress(Broken, StrongroomError):  # the thread finds the connection ended
            channel.send(ahead + frames.frame(type_, self._number, frames.pack_ref(*key)))
