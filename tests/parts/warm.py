"""
Commands of `strongroom` as processes that start warm: each is forked from one of this test process's own that
imported them before, because imports are most of what a command costs.

    with warm.Popen(["connections", "list"], env=environ, stdout=PIPE, text=True) as running:
        ...
    done = warm.run(["read", "region"], env=environ, capture_output=True, text=True)

All but the start is as of `python -m strongroom`: arguments, environment, streams, folder, session, signals,
exit code. What the start itself shows (which modules come, what Python makes of its own variables and of
streams that are closed, what stands in /proc of it) is asked of one that starts cold.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from contextlib import suppress
from importlib import import_module
from itertools import chain
from pathlib import Path

import strongroom
from strongroom.cli.app import COMMANDS

_PROGRAM = """
import sys
from parts.warm import Seed
Seed(int(sys.argv[1])).grow()
from strongroom.cli.main import run
run()
"""
_MOST_BYTES = 131_072  # of one request, environment and all
_STATUS_BYTES = 16  # a number, as text
_GONE = signal.SIGKILL.value  # what a process is told to have ended by whose seed went first

# What the commands import when they are under way; where there is no store, some of it is not there.
_LATER = (
    "strongroom.agent.serve",
    "strongroom.assembly.house",
    "strongroom.cli.behind",
    "strongroom.cli.value",
    "strongroom.remote",
    "strongroom.server.background",
    "strongroom.server.serve",
    "strongroom.store.migration",
    "strongroom.testing",
    "rich.table",
    "ruamel.yaml",
)


class Popen(subprocess.Popen):
    """
    `subprocess.Popen` of a command of `strongroom`, given its arguments.

    *on_terminal* makes what stands as its stdin the terminal of its session.
    """

    def __init__(self, arguments, *, on_terminal=False, **how):
        self._on_terminal = on_terminal
        super().__init__([str(argument) for argument in arguments], **how)

    # These three stand where Popen forks, waits and asks; their parameters are those of Python 3.10 to 3.13.

    def _execute_child(self, arguments, *given):
        pipes = given[9:15]
        asked = {
            "arguments": arguments,
            "folder": os.fspath(given[4] or Path.cwd()),
            "environ": dict(os.environ if given[5] is None else given[5]),
            "is_leader": given[20],
            "on_terminal": self._on_terminal,
        }
        theirs = [end if end != -1 else own for own, end in enumerate((pipes[0], pipes[3], pipes[5]))]
        self._line, line = socket.socketpair()
        with line:
            socket.send_fds(_seed(), [json.dumps(asked).encode()], [line.fileno(), *theirs])
        self.pid = int(self._line.recv(_STATUS_BYTES))
        self._child_created = True
        self._close_pipe_fds(*pipes)

    def _try_wait(self, wait_flags):
        self._line.setblocking(not wait_flags & os.WNOHANG)
        try:
            told = self._line.recv(_STATUS_BYTES)
        except BlockingIOError:
            return 0, 0
        self._line.close()
        return self.pid, int(told or _GONE)

    def _internal_poll(self, *_how, **_more):
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):
            try:
                if self.returncode is None and (ended := self._try_wait(os.WNOHANG))[0]:
                    self._handle_exitstatus(ended[1])
            finally:
                self._waitpid_lock.release()
        return self.returncode


def run(arguments, *, input=None, timeout=None, check=False, **how):  # noqa: A002 -- as subprocess has it
    """`subprocess.run` of a command."""
    if input is not None:
        how["stdin"] = subprocess.PIPE
    if how.pop("capture_output", False):
        how["stdout"] = how["stderr"] = subprocess.PIPE
    with Popen(arguments, **how) as running:
        try:
            out, err = running.communicate(input, timeout)
        except BaseException:
            running.kill()
            raise
    done = subprocess.CompletedProcess(running.args, running.returncode, out, err)
    if check:
        done.check_returncode()
    return done


# --- the process that the others are forked from ----------------------------------------------------

_starting = threading.Lock()
_started = []


def _seed():
    """Give the line to the one of this process; it ends when the line does."""
    with _starting:
        if not _started:
            _started.append(_sow())
    return _started[0]


def _sow():
    ours, line = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    paths = [
        Path(__file__).parents[1],
        Path(strongroom.__file__).parents[1],
    ]
    with line:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(line.fileno())],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, paths))},
            pass_fds=[line.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests
        )

    def stop():
        ours.close()
        process.wait()

    atexit.register(stop)
    return ours


class Seed:
    """
    Forks a command for each request on the socket *number*; `grow` returns in each, and never here.

    One thread, and nothing of a request stays: each command begins as the first does.
    """

    def __init__(self, number):
        for name in (*(f"strongroom.cli.{noun}" for noun in chain(*COMMANDS.values())), *_LATER):
            with suppress(ImportError):
                import_module(name)
        gc.freeze()  # or the first collection of each child would copy every page
        self._requests = socket.socket(fileno=number)
        self._woken, self._waking = socket.socketpair()
        self._lines = {}

    def grow(self):
        self._waking.setblocking(False)
        signal.set_wakeup_fd(self._waking.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._requests, self._woken], [], [])
            if self._woken in ready:
                self._woken.recv(4096)
                self._tell_ended()
            elif self._fork():
                return

    def _fork(self):
        data, handles, *_ = socket.recv_fds(self._requests, _MOST_BYTES, 4)
        if not data:
            os._exit(0)
        child = os.fork()
        if not child:
            self._forget()
            _become(handles, **json.loads(data))
            return True
        for stream in handles[1:]:
            os.close(stream)
        self._lines[child] = socket.socket(fileno=handles[0])
        self._lines[child].sendall(b"%d" % child)
        return False

    def _tell_ended(self):
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                with suppress(OSError), self._lines.pop(ended[0]) as line:
                    line.sendall(b"%d" % ended[1])

    def _forget(self):
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in (self._requests, self._woken, self._waking, *self._lines.values()):
            each.close()


def _become(handles, *, arguments, folder, environ, is_leader, on_terminal):
    """Let this process be what was asked for, up to its first line."""
    if is_leader:
        os.setsid()
    for number, handle in enumerate(handles[1:]):
        os.dup2(handle, number)
    for handle in handles:
        os.close(handle)
    if on_terminal:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv = [str(Path(strongroom.__file__).with_name("__main__.py")), *arguments]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        was = getattr(sys, name)
        raw = open(number, "wb" if number else "rb", closefd=False)  # noqa: SIM115 -- to the end, as Python's own
        how = {"encoding": was.encoding, "errors": was.errors, "line_buffering": number == 2 or raw.isatty()}
        stream = io.TextIOWrapper(raw, **how)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
