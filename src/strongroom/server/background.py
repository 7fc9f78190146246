"""
The server that runs behind on this machine: which one it is, starting it, ending it.

Rules of this file:

1. A server holds a lock on `server.lock` beside the store for as long as it lives. Whether one runs is
   whether the lock is held, never a number in a file that somebody else's process may have by now.
2. The file says the address and the process; it is written by the server once it accepts connections.
3. Whoever starts one waits until it accepts connections, or is told why it does not.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    SettingsError,
    StrongroomError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import ModuleType

    from strongroom.settings import Settings

__all__ = ["Running", "awaited", "engine", "find", "held", "start", "stop", "tell_ready", "tell_trouble"]

_LOCK = "server.lock"
_LOG = "server.log"
_START_SECONDS = 20.0
_STEP_SECONDS = 0.02
_MAX_LOG_BYTES = 10_485_760  # 10 MiB; a larger one is begun anew
_MAX_TOLD_BYTES = 65_536


class Running(NamedTuple):
    """
    A server that runs here.

    Args:
        address: as in `http://127.0.0.1:8250`; "" where it is about to start.
        pid: its process.
        log: the file it logs to; None where it logs to its terminal.
    """

    address: str
    pid: int
    log: str | None = None


def find(settings: Settings) -> Running | None:
    """Give the server that runs over the store of *settings*, or None."""
    try:
        number = os.open(_lock_of(settings), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _read(number)
        return None
    finally:
        os.close(number)


def awaited(settings: Settings) -> Running | None:
    """Give what `find` gives, once a server that is about to start accepts connections."""
    deadline = time.monotonic() + _START_SECONDS
    while (found := find(settings)) is not None and not found.address:
        if time.monotonic() > deadline:
            return None
        time.sleep(_STEP_SECONDS)
    return found


@contextmanager
def held(settings: Settings) -> Iterator[Callable[[str], None]]:
    """
    Be the server of *settings* within; call what is given with the address once connections are accepted.

    Raises:
        ConflictError: another one is.
    """
    path = _lock_of(settings)
    number = -1
    with suppress(OSError):  # a store nobody can write beside is served all the same
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    is_taken = False
    try:
        if number >= 0:
            _take(number)
            is_taken = True
        yield lambda address: _write(number, address)
    finally:
        if is_taken:  # else it tells where the other one is
            with suppress(OSError):
                os.ftruncate(number, 0)
        if number >= 0:
            os.close(number)


def start(settings: Settings, arguments: Sequence[str], *, environ: Mapping[str, str]) -> Running:
    """
    Start a server behind, and give it once it accepts connections.

    Args:
        settings: what it will read too.
        arguments: of `strongroom`, up to and with `serve`.
        environ: its environment.

    Raises:
        BackendUnavailableError: it did not start in time.
        StrongroomError: as it told itself.
    """
    log = settings.store.path.with_name(_LOG)
    reading, writing = os.pipe()
    try:
        with _log_file(log) as output:
            process = subprocess.Popen(  # noqa: S603 -- this very program
                [sys.executable, "-m", "strongroom", *arguments, "--ready-fd", str(writing)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(writing,),
                env=dict(environ),
                start_new_session=True,
            )
    finally:
        os.close(writing)
    try:
        told = _told(reading)
    finally:
        os.close(reading)
    if "address" in told:
        process.returncode = 0  # it goes on without us: nobody waits for it
        return Running(str(told["address"]), process.pid, str(log))
    with suppress(ProcessLookupError):
        process.terminate()
    process.wait()
    # Somebody else may have started one in the same moment: then that is the one.
    other = awaited(settings) if told.get("code") == ConflictError.code else None
    if other is not None:
        return other
    raise _refusal(told, log)


def stop(settings: Settings, seconds: float) -> Running | None:
    """
    End the server that runs over the store of *settings*; give which one it was, None where there was none.

    Raises:
        BackendUnavailableError: it did not end within *seconds*.
    """
    found = find(settings)
    if found is None:
        return None
    if found.pid > 0:
        with suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while find(settings) is not None:
        if time.monotonic() > deadline:
            raise BackendUnavailableError(
                f"the server (process {found.pid}) did not end within {seconds:.0f} s", backend="server"
            )
        time.sleep(_STEP_SECONDS)
    return found


def engine() -> ModuleType:
    """
    Give the module that serves.

    Raises:
        BackendConfigError: the extra `server` is not installed.
    """
    try:
        return import_module("strongroom.server.serve")
    except ImportError:
        pass
    raise BackendConfigError(
        "what serves HTTP is not installed", hint="pip install 'strongroom[server]' (Python 3.11 or newer)"
    )


def tell_ready(number: int, address: str) -> None:
    """Tell whoever started this process that connections are accepted at *address*."""
    _tell(number, {"address": address})


def tell_trouble(number: int, error: StrongroomError) -> None:
    """Tell whoever started this process why it does not serve."""
    _tell(number, {"code": error.code, "message": str(error), "hint": error.hint})


def _tell(number: int, told: Mapping[str, object]) -> None:
    with suppress(OSError):  # nobody waits any more
        os.write(number, json.dumps(told).encode())
        os.close(number)


def _told(reading: int) -> dict[str, object]:
    """Wait for what the new server tells; {} where it ends, or is silent for too long."""
    data = b""
    deadline = time.monotonic() + _START_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            break
        part = os.read(reading, _MAX_TOLD_BYTES)
        if not part:
            break
        data += part
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(told: Mapping[str, object], log: Path) -> StrongroomError:
    if "message" not in told:
        return BackendUnavailableError(
            "the server did not start", backend="server", hint=f"{log} may tell why"
        )
    hint = told.get("hint")
    return SettingsError(
        f"the server did not start: {told['message']}", hint=hint if isinstance(hint, str) else None
    )


def _lock_of(settings: Settings) -> Path:
    return settings.store.path.with_name(_LOCK)


def _take(number: int) -> None:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        other = _read(number)
    else:
        return
    where = f" at {other.address}" if other.address else ""
    raise ConflictError(
        f"a server runs over this store already{where} (process {other.pid})",
        hint="strongroom serve --stop ends it",
    )


def _write(number: int, address: str) -> None:
    if number < 0:
        return
    data = json.dumps({"address": address, "pid": os.getpid()}).encode()
    os.ftruncate(number, 0)
    os.pwrite(number, data, 0)


def _read(number: int) -> Running:
    with suppress(ValueError, TypeError, KeyError):
        found = json.loads(os.pread(number, _MAX_TOLD_BYTES, 0))
        return Running(str(found["address"]), int(found["pid"]))
    return Running("", 0)


@contextmanager
def _log_file(path: Path) -> Iterator[int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    number = os.open(path, flags, 0o600)
    try:
        if os.fstat(number).st_size > _MAX_LOG_BYTES:
            os.ftruncate(number, 0)
        yield number
    finally:
        os.close(number)
