"""
What a service manager and the agent tell each other, by the protocols of systemd.

Without one nothing here does anything.

Source: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Manager", "sockets_of"]

_FIRST = 3  # SD_LISTEN_FDS_START
_MAX_SOCKETS = 16


class Manager:
    """
    The service manager, as the agent speaks to it.

    Args:
        environ: where it says how to reach it.

    Attributes:
        beat_seconds: tell it so often that all is well; None where it does not ask.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is one without a file, unix(7).
        self._address = f"\0{name[1:]}" if name.startswith("@") else name if name.startswith("/") else None
        self.beat_seconds = _beat(environ)

    def ready(self, status: str) -> None:
        """Say that connections are accepted."""
        self._tell("READY=1", f"STATUS={status}", f"MAINPID={os.getpid()}")

    def reloading(self) -> None:
        """Say that the settings are taken anew; `ready` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Say that what is under way is answered, and then all ends."""
        self._tell("STOPPING=1", "STATUS=answering what is under way")

    def beat(self) -> None:
        """Say that all is well."""
        self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        # Nobody there is no reason to answer nobody.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.setblocking(False)  # noqa: FBT003 -- the socket's own way
            to.sendto("\n".join(lines).encode(), self._address)


def _beat(environ: Mapping[str, str]) -> float | None:
    microseconds = environ.get("WATCHDOG_USEC", "")
    mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    if not (mine and microseconds.isascii() and microseconds.isdigit() and int(microseconds)):
        return None
    return int(microseconds) / 2_000_000  # half of what it waits, as its manual advises


def sockets_of(environ: Mapping[str, str]) -> dict[str, socket.socket]:
    """
    Give the sockets that were handed over, listened on already: `agent` and, where one has that name, `http`.

    Raises:
        SettingsError: one of them is no listening unix socket.
    """
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit():
        return {}
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, socket.socket] = {}
    for index in range(min(int(count), _MAX_SOCKETS)):
        name = names[index] if index < len(names) else ""
        found["http" if name.startswith("http") else "agent"] = _socket(_FIRST + index)
    return found


def _socket(file: int) -> socket.socket:
    try:
        os.set_inheritable(file, False)  # noqa: FBT003 -- the system's own way
        made = socket.socket(fileno=file)
    except OSError:
        made = None
    if made is None or not _is_listening(made):
        raise SettingsError(
            "what the service manager handed over is no listening unix stream socket",
            key="agent.socket",
            hint="ListenStream= in the socket unit",
        )
    made.setblocking(False)  # noqa: FBT003 -- the socket's own way
    return made


def _is_listening(made: socket.socket) -> bool:
    is_stream = made.family == socket.AF_UNIX and made.type == socket.SOCK_STREAM
    return is_stream and bool(made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
