"""
Start a command and, where its output is masked or its files are to be removed, stay beside it.

Rules of this file:

1. With nothing to do afterwards, this process becomes the command: no second process holds the values,
   and terminal, signals and exit code are the command's own.
2. Otherwise the command is a child in the same process group, so a terminal's Ctrl-C reaches it by
   itself; only signals that somebody sent to this process are passed on.
3. From before the first file is written until the last is gone, signals are taken one by one
   (`sigwaitinfo`), so none can leave the files behind. `kill -9` can.
4. What the command wrote is passed on to the last byte, whatever ended it.
5. Where what it was given changes, it is started anew, or told by a signal. One that ended by itself, or was
   told to end by somebody else, is not started again.

Not for deciding what the command is given (`run.py`), for its files (`folder.py`), nor how signals are taken
(`signals.py`).
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol

from strongroom.cli.folder import private_folder, replace_file
from strongroom.cli.signals import ENDING, next_signal, next_signal_within, signals_held, wake_up
from strongroom.errors import InvalidInputError
from strongroom.model.masking import BytesMaskingStream, Masker

if TYPE_CHECKING:
    from strongroom.model.secret import Secret

__all__ = [
    "CANNOT_EXECUTE",
    "FILES",
    "NOT_FOUND",
    "CannotStartError",
    "Given",
    "Watch",
    "become",
    "supervise",
]

FILES = "STRONGROOM_FILES"
"""The variable that names the folder of files."""

NOT_FOUND = 127  # POSIX.1-2024, Shell & Utilities §2.8.2, as for the next one
CANNOT_EXECUTE = 126

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)  # a command expects them as the shell leaves them
_CHUNK_BYTES = 65_536  # what a pipe holds on Linux; the masker is fastest at this size
_STDOUT, _STDERR = 1, 2
_GRACE_SECONDS = 10.0  # for a command that is told to end because it is started anew


class Given(NamedTuple):
    """
    What a command is given.

    Args:
        environ: its whole environment, but for `STRONGROOM_FILES`.
        files: text by path below the folder of files; None for no folder.
        masker: what is hidden in its output; None for nothing.
    """

    environ: Mapping[str, str]
    files: Mapping[str, Secret[str]] | None = None
    masker: Masker | None = None

    def __repr__(self) -> str:
        # The environment holds the values in the clear.
        return f"Given({len(self.environ)} variables, {len(self.files or {})} files)"


class Watch(Protocol):
    """
    Looks whether what a command was given is still so.

    Attributes:
        signal: how the command is told; None: it is started anew.
    """

    signal: int | None

    def begin(self, wake: Callable[[], None]) -> None:
        """Look from now on, on threads of its own; call *wake* when there is something to `take`."""
        ...

    def take(self) -> Given | None:
        """Give what the command is to be given now, once; None where that is what it has."""
        ...

    def close(self) -> None:
        """Look no more."""
        ...


class CannotStartError(InvalidInputError):
    """
    The command was not started.

    Attributes:
        exit_code: 127 where it was not found, 126 where it cannot be executed.
    """

    def __init__(self, message: str, *, exit_code: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


def become(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """
    Replace this process by *command*, which is looked up on the PATH in *environ*.

    Raises:
        CannotStartError: nothing was replaced.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _IGNORED_BY_PYTHON}
    try:
        os.execvpe(command[0], list(command), environ)  # noqa: S606 -- the user's own command, no shell
    except OSError as error:
        for number, handler in before.items():
            signal.signal(number, handler)
        raise _why_not(error, command[0]) from None


def supervise(
    command: Sequence[str],
    environ: Mapping[str, str],
    *,
    masker: Masker | None = None,
    files: Mapping[str, Secret[str]] | None = None,
    watch: Watch | None = None,
) -> int:
    """
    Run *command* to its end and give its exit code: its own, or 128 and the signal that killed it.

    Args:
        command: looked up on the PATH of this process.
        environ: its whole environment; with *files*, `STRONGROOM_FILES` is added.
        masker: what is hidden in its stdout and stderr; None passes them on untouched.
        files: text by path below a private folder that is gone when this returns.
        watch: looks whether these are still so.

    Raises:
        CannotStartError: it was not started; nothing is left behind.
        InvalidInputError: a file could not be written.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with signals_held() as before, _folder(files, environ) as folder:
        run = _Run(command, before, folder)
        run.start(Given(environ, files, masker))
        if watch is None:
            return run.wait()
        # Its threads inherit that signals are held: none of them can take one from us.
        watch.begin(wake_up)
        try:
            return run.wait_and_renew(watch)
        finally:
            watch.close()


# --- the child -----------------------------------------------------------------------------------


class _Run:
    """A command, started once or again."""

    def __init__(self, command: Sequence[str], mask: set[int], folder: Path | None) -> None:
        self._command = command
        self._mask = mask
        self._folder = folder
        self._child: _Child

    def start(self, given: Given) -> None:
        environ = given.environ
        if self._folder is not None:
            environ = {**environ, FILES: str(self._folder)}
        self._child = _Child(given.masker)
        self._child.start(self._command, environ, self._mask)

    def wait(self) -> int:
        """Wait for the end; gives the exit code."""
        code = self._child.wait()
        assert code is not None  # noqa: S101 -- nobody asked it to return before
        return code

    def wait_and_renew(self, watch: Watch) -> int:
        """Wait for the end, giving the command anew what is another meanwhile."""
        while True:
            pending: list[Given] = []

            def look(found: list[Given] = pending) -> bool:
                given = watch.take()
                found += () if given is None else (given,)
                return given is not None

            code = self._child.wait(look)
            if code is not None:
                return code
            code = self._renew(pending[0], watch.signal)
            if code is not None:
                return code

    def _renew(self, given: Given, number: int | None) -> int | None:
        """Hand *given* over; gives an exit code where that was the end."""
        if number is None:
            code = self._child.end()
            if code is not None:
                return code
        if self._folder is not None and given.files is not None:
            for name, text in given.files.items():
                replace_file(self._folder / name, text)
        if number is None:
            self.start(given)
        else:
            self._child.tell(number, given.masker)
        return None


class _Child:
    """A started command, the threads that pass on its output, and how it ended."""

    def __init__(self, masker: Masker | None) -> None:
        self._masker = masker
        self._pumps: list[_Pump] = []
        self._process = 0
        self._code: int | None = None

    def start(self, command: Sequence[str], environ: Mapping[str, str], mask: set[int]) -> None:
        sinks = () if self._masker is None else (_STDOUT, _STDERR)
        pipes = [(*os.pipe(), sink) for sink in sinks]
        try:
            self._process = os.posix_spawnp(
                command[0],
                list(command),
                environ,
                file_actions=[(os.POSIX_SPAWN_DUP2, write, sink) for _, write, sink in pipes],
                setsigmask=mask,
                setsigdef=_IGNORED_BY_PYTHON,
            )
        except OSError as error:
            for read, _, _ in pipes:
                os.close(read)
            raise _why_not(error, command[0]) from None
        finally:
            for _, write, _ in pipes:
                os.close(write)
        if self._masker is not None:
            self._pumps = [_Pump(read, sink, self._masker, wake_up) for read, _, sink in pipes]
            for pump in self._pumps:
                pump.start()

    def wait(self, look: Callable[[], bool] = lambda: False) -> int | None:
        """
        Pass signals on until the command has ended and all it wrote has left; gives its exit code. None where
        *look*, asked whenever somebody woke us, says that there is something to do before.

        What it left running may hold its output open; then an ending signal ends the wait.
        """
        while self._code is None or not all(pump.is_done for pump in self._pumps):
            number, is_from_terminal = next_signal()
            if number == signal.SIGCHLD:
                self._reap()
                if self._code is None and look():
                    return None
            elif self._code is None and not is_from_terminal:
                os.kill(self._process, number)
            elif self._code is not None and number in ENDING:
                break
        return self._shown_code(self._code)

    def end(self) -> int | None:
        """
        End the command to start it anew: SIGTERM, and SIGKILL after a while. Gives its exit code where
        somebody told it, or us, to end meanwhile, so that it is not to be started again.
        """
        os.kill(self._process, signal.SIGTERM)
        until = time.monotonic() + _GRACE_SECONDS
        was_told = False
        while self._code is None:
            found = next_signal_within(until - time.monotonic())
            if found is None:
                os.kill(self._process, signal.SIGKILL)
                until += _GRACE_SECONDS
            elif found[0] == signal.SIGCHLD:
                self._reap()
            else:
                was_told = was_told or found[0] in ENDING
                if not found[1]:
                    os.kill(self._process, found[0])
        return self._shown_code(self._code) if was_told else None

    def tell(self, number: int, masker: Masker | None) -> None:
        """Tell the command by a signal that its files are new; mask what *masker* hides from now on."""
        if masker is not None:
            for pump in self._pumps:
                pump.renew(masker)
        os.kill(self._process, number)

    @staticmethod
    def _shown_code(code: int) -> int:
        return code if code >= 0 else 128 - code

    def _reap(self) -> None:
        if self._code is None:
            process, status = os.waitpid(self._process, os.WNOHANG)
            if process:
                self._code = os.waitstatus_to_exitcode(status)


class _Pump(threading.Thread):
    """Pass on one of the command's outputs, masked, until it is closed at either end."""

    def __init__(self, source: int, sink: int, masker: Masker, on_done: Callable[[], None]) -> None:
        super().__init__(name=f"strongroom output {sink}", daemon=True)
        self.is_done = False
        self._source = source
        self._sink = sink
        self._stream = BytesMaskingStream(masker)
        self._next: Masker | None = None
        self._on_done = on_done

    def renew(self, masker: Masker) -> None:
        """Mask with *masker* whatever is written from now on."""
        self._next = masker

    def run(self) -> None:
        # When whoever reads us is gone, closing the pipe tells the command so, as if it wrote there itself.
        with suppress(OSError):
            while piece := os.read(self._source, _CHUNK_BYTES):
                masker, self._next = self._next, None
                if masker is not None:
                    _write_all(self._sink, self._stream.flush())
                    self._stream = BytesMaskingStream(masker)
                _write_all(self._sink, self._stream.feed(piece))
            _write_all(self._sink, self._stream.flush())
        os.close(self._source)
        self.is_done = True
        self._on_done()


def _write_all(sink: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(sink, rest) :]
        except BlockingIOError:  # somebody we share the terminal with made it non-blocking
            select.select([], [sink], [])


def _why_not(error: OSError, program: str) -> CannotStartError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return CannotStartError(f"{program}: command not found", exit_code=NOT_FOUND)
    if error.errno == errno.E2BIG:
        return CannotStartError(
            f"{program}: the values are too large for an environment",
            exit_code=CANNOT_EXECUTE,
            hint="say --files to hand them over in files",
        )
    why = os.strerror(error.errno or 0).lower()
    return CannotStartError(f"{program}: cannot be executed: {why}", exit_code=CANNOT_EXECUTE)


def _folder(
    files: Mapping[str, Secret[str]] | None, environ: Mapping[str, str]
) -> AbstractContextManager[Path | None]:
    return nullcontext() if files is None else private_folder(files, environ)
