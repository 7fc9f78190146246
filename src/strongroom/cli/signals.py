"""
Signals taken one by one, by a process that stays beside a command.

While they are held none ends the process, so that nothing of it is left behind; who takes one passes it on.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["ENDING", "next_signal", "next_signal_within", "signals_held", "wake_up"]

_FORWARDED = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
    }
)
ENDING = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
_SI_KERNEL = 128  # sigaction(2): sent by the kernel, as a terminal does to its whole foreground group
_LOOK_SECONDS = 0.05  # between two looks for a signal, where no call waits for so long


@contextmanager
def signals_held() -> Iterator[set[int]]:
    """Keep signals for `next_signal`; gives the mask that stood before, for the child."""
    # What is ignored by default may not be kept waiting (POSIX.1-2024, §2.4.1), unless there is a handler.
    handlers = {number: signal.signal(number, _ignore) for number in (signal.SIGCHLD, signal.SIGWINCH)}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD})
    try:
        yield set(before)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _ignore(_number: int, _frame: object) -> None:
    pass


def wake_up() -> None:
    """Have the main thread look: it is told of a child's end, whether there was one or not."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGCHLD)


def next_signal() -> tuple[int, bool]:
    """Wait for a signal; tell also whether a terminal sent it, and so to the command as well."""
    wanted = {*_FORWARDED, signal.SIGCHLD}
    if hasattr(signal, "sigwaitinfo"):
        found = signal.sigwaitinfo(wanted)
        return found.si_signo, found.si_code == _SI_KERNEL
    # macOS cannot tell who sent it: these three come from the terminal where there is one.
    number = signal.sigwait(wanted)
    return number, sys.stdin.isatty() and number in (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH)


def next_signal_within(seconds: float) -> tuple[int, bool] | None:
    """Do what `next_signal` does, for so long; None where there was none."""
    wanted = {*_FORWARDED, signal.SIGCHLD}
    if hasattr(signal, "sigtimedwait"):
        found = signal.sigtimedwait(wanted, max(0.0, seconds))
        return None if found is None else (found.si_signo, found.si_code == _SI_KERNEL)
    # macOS has no such call: look again and again.
    until = time.monotonic() + seconds
    while not signal.sigpending() & wanted:
        if time.monotonic() > until:
            return None
        time.sleep(_LOOK_SECONDS)
    return next_signal()
