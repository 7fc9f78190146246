"""
The process that owns appending in a server, seen from the server.

Not what that process does (`desk.py`), nor how records get there (`channel.py`).

Rules of this file:

1. One process for all logs of a server. It is started anew when it ends; what it had not answered is not
   acknowledged, and the log says so once it goes on.
2. It outlives the server by what was handed to it: it ends when it has written everything and nobody is
   left, so neither a signal to the whole group nor a killed server loses a record that was answered for.
3. What it needs to know, secrets of witnesses and sinks among it, goes over a socket: never argv, never
   the environment.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.audit.channel import LoopChannel, ThreadChannel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from concurrent.futures import Future
    from pathlib import Path
    from typing import Any

    from strongroom.audit.desk import Plan
    from strongroom.audit.record import Event

__all__ = ["RemoteLog", "Writer"]

_BACKOFF_SECONDS = (0.0, 0.05, 0.2, 1.0, 5.0)
_SETTLED_SECONDS = 10.0  # a process that lived for so long may be started anew at once
_DRAIN_SECONDS = 15.0
_MAX_MESSAGE_BYTES = 131_072
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from strongroom.audit.desk import main; main(int(sys.argv[2]))"
)


class Writer:
    """
    The process, and the logs it writes.

    Args:
        on_trouble: told in one sentence what is wrong with the process, its checkpoints, witnesses and
            sinks, and when that is over; on a thread.

    Threads: may be used from several threads and loops at once; not after a fork.

    Attributes:
        restarts: how often the process was started anew.
    """

    def __init__(self, *, on_trouble: Callable[[str], None] | None = None) -> None:
        self.restarts = 0
        self._tell = on_trouble or (lambda _text: None)
        self._turn = threading.RLock()
        self._logs: list[RemoteLog] = []
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closing = False
        self._watcher: threading.Thread | None = None
        self._ended = threading.Event()

    def open(self, plan: Plan) -> RemoteLog:
        """Let the process write the log of *plan*; it is started with the first."""
        with self._turn:
            log = RemoteLog(self, plan, len(self._logs))
            self._logs.append(log)
            if self._watcher is None:
                self._start()
                self._watcher = threading.Thread(target=self._watch, name="strongroom-writer", daemon=True)
                self._watcher.start()
            elif self._control is not None:
                self._say({"open": plan.to_dict()})
            return log

    @property
    def pid(self) -> int | None:
        """The id of the process that there is now."""
        process = self._process
        return None if process is None else process.pid

    def close(self) -> None:
        """End the process when it has written everything and signed the end. Safe to call twice."""
        for log in list(self._logs):
            log._let_go()  # noqa: SLF001 -- the logs are this writer's own
        with self._turn:
            if self._is_closing or self._watcher is None:
                return
            self._is_closing = True
            self._say({"close": True})
        self._ended.set()
        self._watcher.join(_DRAIN_SECONDS)
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        self._watcher.join(1)

    # --- the process -------------------------------------------------------------------------------

    def _start(self) -> None:
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = json.dumps([part for part in sys.path if part])
        # Apart from our group, so that Ctrl-C ends the server first, which then lets it finish.
        self._process = subprocess.Popen(  # noqa: S603 -- this Python, and our own program
            [sys.executable, "-I", "-c", _PROGRAM, path, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            cwd="/",
            start_new_session=True,
        )
        theirs.close()
        self._control = mine
        for log in self._logs:
            self._say({"open": log.plan.to_dict()})

    def _say(self, message: Mapping[str, Any], *files: int) -> bool:
        """Tell the process; False where there is none."""
        if self._control is None:
            return False
        try:
            socket.send_fds(self._control, [json.dumps(message).encode()], list(files))
        except OSError:
            return False
        return True

    def connect(self, number: int) -> socket.socket | None:
        """Give a new channel to the log of that number; None while there is no process."""
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with self._turn, theirs:
            if self._is_closing or not self._say({"channel": number}, theirs.fileno()):
                mine.close()
                return None
        return mine

    def kill(self) -> None:
        """Give the process up: it answers nobody. Another one is started."""
        with self._turn, suppress(OSError):
            if self._process is not None:
                self._process.kill()

    def _watch(self) -> None:
        failures = 0
        while True:
            started = time.monotonic()
            self._listen()
            if not self._lost():
                return
            failures = 0 if time.monotonic() - started > _SETTLED_SECONDS else failures + 1
            self._ended.wait(_BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)])
            with self._turn:
                if self._is_closing:
                    return
                self.restarts += 1
                self._start()

    def _listen(self) -> None:
        """Hear what the process says, until it ends."""
        control = self._control
        while control is not None:
            try:
                data = control.recv(_MAX_MESSAGE_BYTES)
            except OSError:
                return
            if not data:
                return
            message = json.loads(data)
            if "trouble" in message:
                self._tell(str(message["trouble"]))
            elif "state" in message:
                self._logs[message["log"]]._state = message["state"]  # noqa: SLF001 -- as in `close`

    def _lost(self) -> bool:
        """Let go of a process that ended; tell whether another one must be started."""
        with self._turn:
            control, self._control = self._control, None
            process, is_closing = self._process, self._is_closing
            if control is not None:
                control.close()
        status = None
        if process is not None:
            with suppress(subprocess.TimeoutExpired):
                status = process.wait(_DRAIN_SECONDS if is_closing else 1)
            if status is None:
                process.kill()
                status = process.wait()
        if is_closing:
            return False
        self._tell(f"the process that writes the audit records ended ({status}) and is started anew")
        return True


class RemoteLog:
    """
    A log that another process appends to: a recorder for threads and for loops.

    Threads: may be used from several threads and loops at once.

    Attributes:
        folder: of the log.
        plan: what the process was told of it.
    """

    def __init__(self, writer: Writer, plan: Plan, number: int) -> None:
        self.folder: Path = plan.folder
        self.plan = plan
        self._writer = writer
        self._number = number
        self._state: Mapping[str, Any] = {}
        self._threads = ThreadChannel(plan.folder, self._connect, writer.kill)
        self._loops: dict[asyncio.AbstractEventLoop, LoopChannel] = {}
        self._turn = threading.Lock()
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: LoopChannel | None = None

    def append(self, *events: Event) -> None:
        """
        Make *events* durable, in order, before returning.

        Raises:
            NotRecordedError: they could not be written, or nobody said so within 5 s.
        """
        if events:
            self._threads.append(events).result()

    def submit(self, *events: Event) -> Future[None]:
        """Hand *events* over; the future ends when they are durable, or with what `append` raises."""
        return self._threads.append(events)

    def aappend(self, *events: Event) -> Awaitable[None]:
        """Do what `append` does for the running loop; the awaitable ends when the events are durable."""
        loop = asyncio.get_running_loop()
        channel = self._channel
        if channel is None or self._loop is not loop:
            channel = self._channel_of(loop)
        return channel.append(events)

    def lag(self) -> tuple[int, float]:
        """Tell how many requests wait for their sync, and the seconds the oldest has waited."""
        waiting = [self._threads.waiting, *(channel.waiting for channel in list(self._loops.values()))]
        return sum(map(len, waiting)), max(each.age() for each in waiting)

    def state(self) -> Mapping[str, Any]:
        """Tell how the process said its checkpoints, witnesses and sinks stand; at most a second old."""
        return self._state

    def close(self) -> None:
        """Wait for what is under way and let go; the process ends with the last log. Safe to call twice."""
        self._let_go()
        with self._writer._turn:  # noqa: SLF001 -- its writer
            self._is_closed = True
            is_last = all(log._is_closed for log in self._writer._logs)  # noqa: SLF001 -- as above
        if is_last:
            self._writer.close()

    def _let_go(self) -> None:
        self._threads.close()
        with self._turn:
            loops, self._loops = self._loops, {}
            self._channel = None
        for loop, channel in loops.items():
            if loop.is_closed() or not loop.is_running():
                channel.close()
            else:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(channel.close)

    def _connect(self) -> socket.socket | None:
        return self._writer.connect(self._number)

    def _channel_of(self, loop: asyncio.AbstractEventLoop) -> LoopChannel:
        with self._turn:
            for gone in [each for each in self._loops if each.is_closed()]:
                self._loops.pop(gone).close()
            channel = self._loops.get(loop)
            if channel is None:
                channel = LoopChannel(loop, self.folder, self._connect, self._writer.kill)
                self._loops[loop] = channel
            self._loop, self._channel = loop, channel
            return channel
