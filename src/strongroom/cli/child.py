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

Not for deciding what the command is given (`run.py`).
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn, Protocol

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
    "place_in_memory",
    "private_folder",
    "supervise",
]

FILES = "STRONGROOM_FILES"
"""The variable that names the folder of files."""

NOT_FOUND = 127  # POSIX.1-2024, Shell & Utilities §2.8.2, as for the next one
CANNOT_EXECUTE = 126

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
_ENDING = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM})
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)  # a command expects them as the shell leaves them
_SI_KERNEL = 128  # sigaction(2): sent by the kernel, as a terminal does to its whole foreground group
_CHUNK_BYTES = 65_536  # what a pipe holds on Linux; the masker is fastest at this size
_STDOUT, _STDERR = 1, 2
_LOOK_SECONDS = 0.05  # between two looks for a signal, where no call waits for so long
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
    with _signals_held() as before, _folder(files, environ) as folder:
        run = _Run(command, before, folder)
        run.start(Given(environ, files, masker))
        if watch is None:
            return run.wait()
        # Its threads inherit that signals are held: none of them can take one from us.
        watch.begin(_wake)
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
                _replace_file(self._folder / name, text)
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
            self._pumps = [_Pump(read, sink, self._masker, _wake) for read, _, sink in pipes]
            for pump in self._pumps:
                pump.start()

    def wait(self, look: Callable[[], bool] = lambda: False) -> int | None:
        """
        Pass signals on until the command has ended and all it wrote has left; gives its exit code. None where
        *look*, asked whenever somebody woke us, says that there is something to do before.

        What it left running may hold its output open; then an ending signal ends the wait.
        """
        while self._code is None or not all(pump.is_done for pump in self._pumps):
            number, is_from_terminal = _next_signal()
            if number == signal.SIGCHLD:
                self._reap()
                if self._code is None and look():
                    return None
            elif self._code is None and not is_from_terminal:
                os.kill(self._process, number)
            elif self._code is not None and number in _ENDING:
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
            found = _next_signal_within(until - time.monotonic())
            if found is None:
                os.kill(self._process, signal.SIGKILL)
                until += _GRACE_SECONDS
            elif found[0] == signal.SIGCHLD:
                self._reap()
            else:
                was_told = was_told or found[0] in _ENDING
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


# --- signals -------------------------------------------------------------------------------------


@contextmanager
def _signals_held() -> Iterator[set[int]]:
    """Keep signals for `_next_signal`; gives the mask that stood before, for the child."""
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


def _wake() -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGCHLD)


def _next_signal() -> tuple[int, bool]:
    """Wait for a signal; tell also whether a terminal sent it, and so to the command as well."""
    wanted = {*_FORWARDED, signal.SIGCHLD}
    if hasattr(signal, "sigwaitinfo"):
        found = signal.sigwaitinfo(wanted)
        return found.si_signo, found.si_code == _SI_KERNEL
    # macOS cannot tell who sent it: these three come from the terminal where there is one.
    number = signal.sigwait(wanted)
    return number, sys.stdin.isatty() and number in (signal.SIGINT, signal.SIGQUIT, signal.SIGWINCH)


def _next_signal_within(seconds: float) -> tuple[int, bool] | None:
    """Do what `_next_signal` does, for so long; None where there was none."""
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
    return _next_signal()


# --- files ---------------------------------------------------------------------------------------


def _folder(
    files: Mapping[str, Secret[str]] | None, environ: Mapping[str, str]
) -> AbstractContextManager[Path | None]:
    return nullcontext() if files is None else private_folder(files, environ)


@contextmanager
def private_folder(files: Mapping[str, Secret[str]], environ: Mapping[str, str]) -> Iterator[Path]:
    """
    Write *files* into a new folder that only this user may enter, and remove it afterwards.

    It stands in memory where the system has such a place: `XDG_RUNTIME_DIR`, else `/dev/shm`; else in
    the folder for temporary files.

    Raises:
        InvalidInputError: a file could not be written; nothing is left behind.
    """
    folder = Path(tempfile.mkdtemp(prefix="strongroom-", dir=place_in_memory(environ)))  # 0700
    try:
        for name, text in files.items():
            _write_file(folder / name, text)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            sys.stderr.write(f"strongroom: warning: remove {folder} yourself: it could not be removed\n")


def _write_file(path: Path, text: Secret[str]) -> None:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:  # noqa: PTH123 -- a descriptor, opened with its mode
            file.write(text.reveal().encode())
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise InvalidInputError(f"the file {path.name} cannot be written: {why}") from None


def _replace_file(path: Path, text: Secret[str]) -> None:
    """Write *path* anew, as a whole: whoever reads it meanwhile reads the old or the new."""
    draft = path.with_name(f".{path.name}.new"[-255:])
    with suppress(FileNotFoundError):
        draft.unlink()
    _write_file(draft, text)
    draft.rename(path)


def place_in_memory(environ: Mapping[str, str]) -> str | None:
    """Give a folder that is never written to a disk, or None for the usual place of such files."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    # XDG Base Directory Specification: owned by the user, mode 0700, else not to be used.
    with suppress(OSError):
        found = Path(runtime).stat()
        is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
        if runtime.startswith("/") and is_private and found.st_uid == os.geteuid():
            return runtime
    shared = "/dev/shm"  # noqa: S108 -- mkdtemp makes a folder of our own in it
    return shared if os.access(shared, os.W_OK | os.X_OK) else None
