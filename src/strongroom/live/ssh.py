"""
SSH and SFTP: a `paramiko.SSHClient` or a `paramiko.SFTPClient` that follows its connection.

Both open channels (a command, a shell, a session of SFTP) on a line to the machine, and the line is what is
signed in. A channel opened after a change goes over a new line; those that are open stay on theirs, which is
closed once it has none.

Rules of this file:

1. A line is made when a channel is first wanted, and anew where the connection has changed or the line broke.
2. What is under way is never cut, and never begun again: nobody knows how much of it was done.
3. A forked child leaves the lines of its parent alone.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

from strongroom.errors import AccessDeniedError
from strongroom.live.families import loaded
from strongroom.live.fields import Options
from strongroom.live.ssh_login import Dial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.live.around import Asked
    from strongroom.live.held import Held

__all__ = ["Lines", "client"]


def client(held: Held, asked: Asked) -> object:
    """
    Give a `paramiko.SSHClient`, or with the driver `sftp` a `paramiko.SFTPClient`.

    Raises:
        BackendConfigError: paramiko is not installed, or an option is not known.
    """
    paramiko: Any = loaded("paramiko", held, extra="ssh")
    lines = Lines(held, Dial(held, asked.options))
    made = (_files if asked.driver == "sftp" else _shell)(paramiko, lines)
    lines.ended = held.lasts(made, lines.close)
    return made


# --- lines --------------------------------------------------------------------------------------


class _Line:
    """One connected client of the library's; `uses` counts those who are about to open a channel on it."""

    __slots__ = ("client", "number", "uses")

    def __init__(self, client: Any, number: int) -> None:  # noqa: ANN401 -- paramiko has no types
        self.client = client
        self.number = number
        self.uses = 0

    @property
    def is_up(self) -> bool:
        transport = self.client.get_transport()
        return transport is not None and transport.is_active()

    @property
    def is_busy(self) -> bool:
        # Channels that somebody else opened on it count as well, and only the library knows those.
        return self.uses > 0 or (self.is_up and len(self.client.get_transport()._channels) > 0)  # noqa: SLF001


class Lines:
    """
    Hold the line to a machine, and those that something still runs on.

    Args:
        held: the connection.
        dial: makes a line.

    Threads: safe.
    """

    def __init__(self, held: Held, dial: Dial) -> None:
        self.held = held
        self.ended: Callable[[], None] = self.close
        self._dial = dial
        self._anew()

    def _anew(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._current: _Line | None = None
        self._retired: list[_Line] = []

    @contextmanager
    def lent(self) -> Iterator[_Line]:
        """
        Give a line that is up and signed in with what is known now, to open a channel on.

        Raises:
            AccessDeniedError: the credentials are refused, and there are none newer.
            BackendUnavailableError, BackendConfigError: as `Dial`.
        """
        if self._process != os.getpid():
            self._left = (self._current, self._retired)  # kept, so that nothing closes them
            self._anew()
        with self._lock:
            line = self._renewed()
            line.uses += 1
        try:
            yield line
        finally:
            with self._lock:
                line.uses -= 1

    def _renewed(self) -> _Line:
        line = self._current
        if line is None or line.number != self.held.known.number or not line.is_up:
            self._current = self._dialled()
            if line is not None:
                self._retired.append(line)
        self._sweep()
        return self._current  # type: ignore[return-value]  # made above

    def _dialled(self) -> _Line:
        known = self.held.known
        try:
            return _Line(self._dial(known), known.number)
        except AccessDeniedError:
            newer = self.held.refreshed(known)
            if newer is None:
                raise
        return _Line(self._dial(newer), newer.number)

    def _sweep(self) -> None:
        """Close the lines that nothing runs on any more."""
        for line in [line for line in self._retired if not line.is_busy]:
            self._retired.remove(line)
            line.client.close()

    def close(self) -> None:
        """End all lines, and whatever runs on them."""
        if self._process != os.getpid():
            return
        with self._lock:
            lines = [*self._retired, *([self._current] if self._current else [])]
            self._current, self._retired = None, []
        for line in lines:
            line.client.close()


# --- the library's objects ----------------------------------------------------------------------


def _shell(paramiko: Any, lines: Lines) -> Any:  # noqa: ANN401 -- paramiko has no types
    """Give an SSHClient whose channels go over *lines*."""
    kind: Any = paramiko.SSHClient

    def over(name: str) -> Callable[..., Any]:
        @wraps(getattr(kind, name))
        def method(_self: object, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- the library's
            if name == "exec_command" and len(arguments) < _TIMEOUT_PLACE:
                options.setdefault("timeout", _command_seconds(lines.held))
            with lines.lent() as line:
                return getattr(line.client, name)(*arguments, **options)

        return method

    def connect(_self: object) -> None:
        """Connect now, and not when a channel is first wanted."""
        with lines.lent():
            pass

    def close(_self: object) -> None:
        """Close what is open, and end the following."""
        lines.ended()

    members = {name: over(name) for name in ("exec_command", "invoke_shell", "open_sftp", "get_transport")}
    return type("SSHClient", (kind,), {**members, "connect": connect, "close": close})()


_TIMEOUT_PLACE = 3  # of `exec_command`'s arguments


def _command_seconds(held: Held) -> float | None:
    return Options(held.name, held.known.connection).number("cmd_timeout", default=0) or None


class _Session:
    """The session of SFTP that an SFTPClient of ours stands for, and the folder it is in."""

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._number = 0
        self._files: Any = None
        self._folder: str | None = None

    def files(self) -> Any:  # noqa: ANN401 -- paramiko has no types
        """Give the library's client for what is known now; files that are open stay with theirs."""
        if self._process != os.getpid():
            self._left, self._files = self._files, None
            self._lock, self._process = threading.RLock(), os.getpid()
        with self._lock:
            files = self._files
            if files is None or self._number != self.lines.held.known.number or files.get_channel().closed:
                with self.lines.lent() as line:
                    files = line.client.open_sftp()
                if self._folder is not None:
                    files.chdir(self._folder)
                self._files, self._number = files, line.number
            return files

    def chdir(self, path: str | None) -> None:
        """Go to another folder, where later sessions begin, too."""
        with self._lock:
            files = self.files()
            files.chdir(path)
            self._folder = files.getcwd()


def _files(paramiko: Any, lines: Lines) -> Any:  # noqa: ANN401 -- as above
    """Give an SFTPClient whose acts are those of the session there is."""
    kind: Any = paramiko.SFTPClient
    session = _Session(lines)

    def over(name: str) -> Callable[..., Any]:
        @wraps(getattr(kind, name))
        def method(_self: object, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- the library's
            return getattr(session.files(), name)(*arguments, **options)

        return method

    def close(_self: object) -> None:
        """Close what is open, and end the following."""
        lines.ended()

    acts = [name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))]
    members = {name: over(name) for name in acts if name != "from_transport"}

    def chdir(_self: object, path: str | None = None) -> None:
        """Go to another folder."""
        session.chdir(path)

    def begin(_self: object) -> None:
        """Open nothing yet."""

    return type("SFTPClient", (kind,), {**members, "__init__": begin, "chdir": chdir, "close": close})()
