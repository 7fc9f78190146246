"""
What the process that owns appending does.

Not how a server speaks to it (`writer.py`, `channel.py`).

Rules of this file:

1. What gathers while one batch is synced is the next batch: no timer. Every frame is answered once its
   records are durable, or with why they are not.
2. Whatever else is done (signing, witnesses, sinks, letting old records go) is done on threads of its own,
   reads the log as anybody would, and never stands between a record and its answer.
3. It ends when its server is gone and everything is written; signals are the server's to hear.
"""

from __future__ import annotations

import fcntl
import json
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from strongroom.audit.channel import VERDICT, Sent, frames
from strongroom.audit.duties import Duties
from strongroom.audit.line import spell_quickly
from strongroom.audit.log import AuditLog
from strongroom.audit.record import Event
from strongroom.errors import NotRecordedError

__all__ = ["Plan", "main"]

_RECEIVE_BYTES = 1_048_576
_ROOM_BYTES = 1_048_576  # 1 MiB: about 2,500 records
_LOOK_SECONDS = 0.5
_MARK = "open"  # stands in the folder while a process writes
_PR_SET_DUMPABLE = 4
_SWITCH_SECONDS = 0.0005  # so that a thread that formats records for a sink holds no batch up


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What the process is told of one log.

    Args:
        folder: of the log.
        deployment: whose it is.
        segment_bytes: as of `AuditLog`.
        duties: settings of what is done beside appending, as plain JSON; secrets among them.
    """

    folder: Path
    deployment: str
    segment_bytes: int = 67_108_864
    duties: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return {
            "folder": str(self.folder),
            "deployment": self.deployment,
            "segment_bytes": self.segment_bytes,
            "duties": dict(self.duties),
        }

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Plan:
        """Read what `to_dict` gives."""
        return cls(**{**found, "folder": Path(found["folder"])})


class _Log:
    """One log, and what is done for it."""

    def __init__(self, plan: Plan, tell: Callable[[str], None]) -> None:
        self.plan = plan
        self._tell = tell
        self.log = AuditLog(
            plan.folder,
            deployment=plan.deployment,
            clock=_now,
            segment_bytes=plan.segment_bytes,
            room_bytes=_ROOM_BYTES,
            speller=spell_quickly,
        )
        self.why: str = ""
        self.told: dict[str, Any] = {}
        self._mark = -1
        self.duties = Duties(self.log, plan.duties, clock=_now, tell=tell)
        self.duties.start()

    def append(self, events: list[Sent]) -> NotRecordedError | None:
        """Make *events* durable; give why they are not."""
        try:
            if self._mark < 0:
                self._take_mark()
            self.log.append(*events)  # type: ignore[arg-type]  # the members of an Event
            if self._mark < 0:
                self._take_mark()  # the folder was made just now
        except NotRecordedError as error:
            self._note(str(error))
            return error
        if self.why:
            self._note("")
        return None

    def _note(self, why: str) -> None:
        if why != self.why:
            self.why = why
            self._tell(why or "the audit log is written again")

    @property
    def refusal(self) -> NotRecordedError:
        """What is answered to what is no event."""
        return NotRecordedError("this is no record of what happened", folder=str(self.plan.folder))

    def look(self) -> None:
        """See whether the log stands where it stood."""
        if not self.plan.folder.exists() and self._mark < 0:
            return  # nothing was written yet
        try:
            self._take_mark()
            self.log.look()
        except NotRecordedError as error:
            self._note(str(error))
        else:
            if self.why and self._has_space():
                self._note("")

    def state(self) -> dict[str, Any]:
        """Tell how it stands, as plain JSON."""
        return {"trouble": self.why, **self.duties.state()}

    def _has_space(self) -> bool:
        """Tell whether a record would fit, by what the disk says of itself."""
        with suppress(OSError):
            found = os.statvfs(self.plan.folder)
            return found.f_bavail * found.f_frsize > _ROOM_BYTES and os.access(self.plan.folder, os.W_OK)
        return False

    def _take_mark(self) -> None:
        """Say that a process writes, and tell of one that ended without saying that it does not."""
        if self._mark >= 0 or not self.plan.folder.is_dir():
            return  # the folder is made with the first record
        with suppress(OSError):
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            self._mark = os.open(self.plan.folder / _MARK, flags, 0o600)
            with suppress(BlockingIOError):
                fcntl.flock(self._mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(self._mark).st_size:
                    self.log.append(_RESUMED)
                else:
                    os.write(self._mark, b"a process writes here\n")
            fcntl.flock(self._mark, fcntl.LOCK_SH | fcntl.LOCK_NB)

    def close(self) -> None:
        self.log.close()
        self.duties.finish()
        if self._mark < 0:
            return
        with suppress(OSError):
            fcntl.flock(self._mark, fcntl.LOCK_EX | fcntl.LOCK_NB)  # unless another server writes, too
            (self.plan.folder / _MARK).unlink()


_RESUMED = Event(
    actor="strongroom",
    assurance=0,
    action="resume",
    outcome="done",
    reason="what wrote before ended without saying so: the last records before this may have had no answer",
)


class _Channel:
    """One end of a channel: frames in, verdicts out."""

    def __init__(self, end: socket.socket, log: _Log) -> None:
        self.end = end
        self.log = log
        self.rest = b""
        self.count = 0

    def receive(self) -> list[list[Sent] | None] | None:
        """Give the frames that are there; None where nobody sends any more."""
        try:
            data = self.end.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            return None
        found, self.rest = frames(self.rest + data if self.rest else data)
        return found

    def answer(self, number: int, error: NotRecordedError | None) -> None:
        """Answer *number* frames alike."""
        first, last = self.count + 1, self.count + number
        self.count = last
        text = b"" if error is None else f"{error}\0{error.hint or ''}".encode()
        # Whoever is gone waits for nothing.
        with suppress(OSError):
            self.end.setblocking(True)  # noqa: FBT003 -- the name of the system
            self.end.sendall(VERDICT.pack(error is None, first, last, len(text)) + text)
            self.end.setblocking(False)  # noqa: FBT003 -- as above


class Desk:
    """The logs and channels of one server."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._logs: list[_Log] = []
        self._channels: dict[int, _Channel] = {}
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._is_ending = False
        self._looked = time.monotonic()

    def run(self) -> None:
        """Write until the server is gone and everything is written."""
        while not self._is_ending or self._channels:
            ready = self._poll.poll(int(_LOOK_SECONDS * 1000))
            waiting: dict[_Log, list[tuple[_Channel, list[list[Sent] | None]]]] = {}
            for file, _ in ready:
                if file == self._control.fileno():
                    self._listen()
                    continue
                channel = self._channels.get(file)
                if channel is None:
                    continue
                found = channel.receive()
                if found is None:
                    self._drop(channel)
                elif found:
                    waiting.setdefault(channel.log, []).append((channel, found))
            for log, batch in waiting.items():
                self._write(log, batch)
            self._look()
        for log in self._logs:
            log.close()

    def _write(self, log: _Log, batch: list[tuple[_Channel, list[list[Sent] | None]]]) -> None:
        events = [event for _, found in batch for each in found if each for event in each]
        error = log.append(events) if events else None
        for channel, found in batch:
            if None not in found:
                channel.answer(len(found), error)
                continue
            for each in found:
                channel.answer(1, log.refusal if each is None else error)

    def _listen(self) -> None:
        try:
            data, files, _, _ = socket.recv_fds(self._control, 131_072, 4)
        except OSError:
            data, files = b"", []
        if not data:
            self._end()
            return
        message = json.loads(data)
        if "open" in message:
            self._logs.append(_Log(Plan.from_dict(message["open"]), self._tell))
        elif "channel" in message:
            self._take(socket.socket(fileno=files[0]), self._logs[message["channel"]])
        elif "close" in message:
            self._end()

    def _end(self) -> None:
        if not self._is_ending:
            self._is_ending = True
            with suppress(KeyError, OSError):
                self._poll.unregister(self._control)

    def _take(self, end: socket.socket, log: _Log) -> None:
        end.setblocking(False)  # noqa: FBT003 -- the name of the system
        self._channels[end.fileno()] = _Channel(end, log)
        self._poll.register(end, select.POLLIN)

    def _drop(self, channel: _Channel) -> None:
        self._poll.unregister(channel.end)
        del self._channels[channel.end.fileno()]
        channel.end.close()

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        for number, log in enumerate(self._logs):
            log.look()
            state = log.state()
            if state != log.told:
                log.told = state
                self._say({"state": state, "log": number})

    def _tell(self, trouble: str) -> None:
        self._say({"trouble": trouble})

    def _say(self, message: Mapping[str, Any]) -> None:
        # Not waited for: whoever does not listen must not hold a record up.
        with suppress(OSError):
            self._control.send(json.dumps(message).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def main(control: int) -> None:
    """Be that process. *control* is the socket to the server."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(each, signal.SIG_IGN)
    _harden()
    sys.setswitchinterval(_SWITCH_SECONDS)
    Desk(socket.socket(fileno=control)).run()
    # Threads that hang in a dead file system must not hold the process.
    os._exit(0)


def _harden() -> None:
    """Keep the signing key in memory: no core dump, and no debugger of another process."""
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 -- only there

        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _now() -> datetime:
    return datetime.now(timezone.utc)
