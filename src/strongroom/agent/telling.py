"""
Tell that a file of the agent's changed: a program without a shell, or a process by a signal.

Rules of this file:

1. Who is told is given no secret: not in its arguments, not in its environment, not by what it inherits.
2. A signal reaches only a process of the user who wrote its id down, or whom root or the agent wrote down.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.errors import BackendConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.settings.agent import FileSettings

__all__ = ["NOTICE_SECONDS", "notify"]

NOTICE_SECONDS = 30  # that a program which is told of a change may take
_INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "TZ", "USER", "XDG_RUNTIME_DIR")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PID_BYTES = 32


def notify(name: str, file: FileSettings, environ: Mapping[str, str]) -> None:
    """
    Tell whoever wants to know that *file* changed.

    Raises:
        BackendConfigError: nobody could be told.
    """
    if file.on_change:
        _run(name, file, environ)
    if file.signal is not None and file.pid_file is not None:
        number = signal.Signals[f"SIG{file.signal.removeprefix('SIG')}"]
        _send(number, str(file.pid_file))


def _run(name: str, file: FileSettings, environ: Mapping[str, str]) -> None:
    # What this process was given to log in with is nothing for a program of somebody else's.
    handed = {key: environ[key] for key in _INHERITED if key in environ}
    handed = {"PATH": _PATH} | handed | {"STRONGROOM_FILE": name, "STRONGROOM_FILE_PATH": str(file.path)}
    quiet = subprocess.DEVNULL  # what it prints may quote what it read
    try:
        process = subprocess.Popen(  # noqa: S603 -- a list from the settings, no shell
            file.on_change,
            env=handed,
            cwd="/",
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
            start_new_session=True,
        )
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise BackendConfigError(f"the program of on_change cannot be run: {why}") from None
    try:
        code = process.wait(NOTICE_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise BackendConfigError(
            f"the program of on_change took more than {NOTICE_SECONDS} s and was ended",
            hint="have it tell and return, as systemctl --no-block does",
        ) from None
    if code:
        raise BackendConfigError(f"the program of on_change ended with {code}")


def _send(number: signal.Signals, path: str) -> None:
    try:
        pid, writer = _pid_in(path)
        process = os.pidfd_open(pid)
    except (OSError, ValueError, OverflowError):
        raise BackendConfigError(
            f'"{path}" holds the id of no process', hint="is the service running?"
        ) from None
    try:
        # Whoever may write the file must not have others' processes signalled by an agent that root started.
        if writer not in (0, os.geteuid()) and writer != _user_of(pid):
            raise BackendConfigError(f'"{path}" names a process of another user than its writer')
        signal.pidfd_send_signal(process, number)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise BackendConfigError(f'the process in "{path}" cannot be signalled: {why}') from None
    finally:
        os.close(process)


def _pid_in(path: str) -> tuple[int, int]:
    """Give the id of the process in *path*, and who wrote it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        pid = int(os.read(descriptor, _PID_BYTES))
    finally:
        os.close(descriptor)
    if pid <= 1 or pid == os.getpid() or found.st_mode & 0o002:
        raise ValueError(pid)
    return pid, found.st_uid


def _user_of(pid: int) -> int:
    # The folder of a process that is not dumpable is root's whoever it runs as; its status tells.
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:  # noqa: PTH123 -- no path
        for line in lines:
            if line.startswith("Uid:"):
                return int(line.split()[1])
    return -1
