"""
Look whether what `strongroom run` handed over is still so.

Not for what a command is given (`gift.py`) nor for starting it anew (`child.py`).

Rules of this file:

1. One thread opens a room, follows every entry, and reads all of them again when one changes. Several that
   change together are one change.
2. The command is disturbed only where what it would be given now is another.
3. Trouble of reading disturbs nothing: it is told once, and tried again.
"""

from __future__ import annotations

import signal as signals
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from strongroom.cli.gift import Gift, Values, read_values
from strongroom.errors import InvalidInputError, StrongroomError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from datetime import timedelta

    from strongroom.cli.child import Given
    from strongroom.service.room import Room

__all__ = ["MOST", "RESTART", "Following", "signal_of"]

MOST = 100
"""Entries that are followed at most: each is asked for again and again."""

RESTART = "restart"
_SIGNALS = ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH")
_QUIET_SECONDS = 0.5  # without another change; then what belongs together is there
_LONGEST_SECONDS = 5.0  # that changes may go on coming before they count
_RETRY_SECONDS = 5.0


def signal_of(how: str) -> int | None:
    """
    Give the signal that *how* names, None where it says `restart`.

    Raises:
        InvalidInputError: it is neither.
    """
    if how.lower() == RESTART:
        return None
    name = how.upper().removeprefix("SIG")
    if name not in _SIGNALS:
        raise InvalidInputError(
            "--watch is restart or the name of a signal",
            hint=f"--watch=restart, or one of {', '.join(_SIGNALS)}",
        )
    return signals.Signals[f"SIG{name}"]


class Following:
    """
    Follow the entries that a command was given.

    Args:
        open_room: opens the room they are read from.
        gifts: what is read, and where it stands.
        values: what the command was given.
        make: makes of values what the command is given.
        signal: as of `child.Watch`.
        tell: is told, once for each, what keeps it from reading.
        interval: between two looks, where nobody tells of changes; as `Lookup.follow` if unsaid.
    """

    def __init__(
        self,
        open_room: Callable[[], AbstractContextManager[Room]],
        gifts: Sequence[Gift],
        values: Values,
        *,
        make: Callable[[Values], Given],
        signal: int | None,
        tell: Callable[[StrongroomError], None],
        interval: timedelta | None = None,
    ) -> None:
        self.signal = signal
        self._open_room = open_room
        self._gifts = gifts
        self._values = values
        self._make = make
        self._tell = tell
        self._interval = interval
        self._told = ""
        self._wake: Callable[[], None] = lambda: None
        self._pending: Given | None = None
        self._changed = threading.Condition()
        self._changes = 0
        self._is_ended = False

    def begin(self, wake: Callable[[], None]) -> None:
        """Look from now on; call *wake* when there is something to `take`."""
        self._wake = wake
        threading.Thread(target=self._run, name="strongroom watch", daemon=True).start()

    def take(self) -> Given | None:
        """Give what the command is to be given now, once."""
        given, self._pending = self._pending, None
        return given

    def close(self) -> None:
        """Look no more. What is being asked for meanwhile is not waited for."""
        with self._changed:
            self._is_ended = True
            self._changed.notify_all()

    # --- the thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_ended:
            try:
                with self._open_room() as room, ExitStack() as followed:
                    for ref in dict.fromkeys(gift.ref for gift in self._gifts):
                        followed.enter_context(room.lookup.follow(ref, self._hear, interval=self._interval))
                    self._follow(room)
            except StrongroomError as error:
                self._say(error)
                self._pause(_RETRY_SECONDS)

    def _follow(self, room: Room) -> None:
        seen = -1  # at the start, too: it may have changed before we followed
        while not self._is_ended:
            if seen != self._changes:
                seen = self._changes
                self._read(room)
            self._wait_past(seen)
            self._settle()

    def _wait_past(self, seen: int, seconds: float | None = None) -> bool:
        """Wait for a change after the one counted *seen*, or the end; tell whether there was one."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_ended or self._changes != seen, seconds)

    def _read(self, room: Room) -> None:
        values = read_values(self._gifts, room.lookup)
        self._told = ""
        if values.texts != self._values.texts:
            self._values = values
            self._pending = self._make(values)
            self._wake()

    def _hear(self, _entry: object) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _settle(self) -> None:
        """Wait until no other change comes for a little while."""
        left = _LONGEST_SECONDS
        while left > 0 and self._wait_past(self._changes, _QUIET_SECONDS) and not self._is_ended:
            left -= _QUIET_SECONDS

    def _say(self, error: StrongroomError) -> None:
        if str(error) != self._told and not self._is_ended:
            self._told = str(error)
            self._tell(error)

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._is_ended, seconds)
