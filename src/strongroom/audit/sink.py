"""
Copies of records elsewhere: a file of lines, syslog, HTTP.

Rules of this file:

1. A sink reads the log on from where it was, so that nothing is kept in memory, nothing is lost while it is
   down, and records of other processes go too. What it had is kept in `sinks/` of the log's folder.
2. At least once: after a crash the last batch may go twice; the number of a record tells.
3. Each has a thread of its own and a deadline for each batch. One that hangs holds nothing else up, and no
   sink stands between a record and its answer.
4. Where a sink sends to comes from the settings alone.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from strongroom.audit.export import ocsf, syslog
from strongroom.audit.follow import Position, durable, position_of, read_on
from strongroom.audit.log import why
from strongroom.audit.record import read_line
from strongroom.errors import BackendUnavailableError, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["DEADLINE_SECONDS", "Courier", "Sink", "first_seq", "sink_of", "sinks_in"]

DEADLINE_SECONDS = 5.0
_BATCH = 500
_HTTP_BATCH = 100
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 30.0
_FOLDER = "sinks"


class Sink(Protocol):
    """
    A place that records are copied to.

    Attributes:
        name: in the settings.
        batch: lines taken at once.
    """

    name: str
    batch: int

    def take(self, lines: Sequence[bytes]) -> None:
        """
        Take *lines*, all or none.

        Raises:
            OSError, StrongroomError: it could not, not within `DEADLINE_SECONDS`.
        """
        ...


class LineSink:
    """Append lines as they are to a file, which may be rotated under us."""

    batch = _BATCH

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path

    def take(self, lines: Sequence[bytes]) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        file = os.open(self._path, flags, 0o600)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "this is no plain file")
            data = b"".join(lines)
            written = os.write(file, data)
            if written != len(data):
                os.ftruncate(file, found.st_size)
                raise OSError(errno.ENOSPC, "short write")
            os.fdatasync(file)
        finally:
            os.close(file)


class SyslogSink:
    """Send records as messages of RFC 5424: over UDP (RFC 5426), TCP (RFC 6587 §3.4.1) or a local socket."""

    batch = _BATCH

    def __init__(self, name: str, *, path: Path | None = None, address: str | None = None) -> None:
        self.name = name
        self._path = path
        parts = urlsplit(address or "")
        self._scheme, self._host, self._port = parts.scheme, parts.hostname or "", parts.port or 514
        self._stream: socket.socket | None = None

    def take(self, lines: Sequence[bytes]) -> None:
        messages = [syslog(record).encode() for line in lines if (record := read_line(line)) is not None]
        try:
            if self._scheme == "tcp":
                self._over_stream(b"".join(b"%d %b" % (len(each), each) for each in messages))
            else:
                self._one_by_one(messages)
        except OSError:
            self._drop()
            raise

    def _over_stream(self, data: bytes) -> None:
        if self._stream is None:
            self._stream = socket.create_connection((self._host, self._port), timeout=DEADLINE_SECONDS)
        elif _is_over(self._stream):
            raise OSError(errno.EPIPE, "the other side ended")
        self._stream.settimeout(DEADLINE_SECONDS)
        self._stream.sendall(data)

    def _one_by_one(self, messages: Sequence[bytes]) -> None:
        to: Any
        if self._path is not None:
            kind, to = socket.AF_UNIX, str(self._path)
        else:
            found = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)
            kind, to = found[0][0], found[0][4]
        with socket.socket(kind, socket.SOCK_DGRAM) as out:
            out.settimeout(DEADLINE_SECONDS)
            out.connect(to)
            for message in messages:
                out.send(message)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()


def _is_over(stream: socket.socket) -> bool:
    """Tell whether the other side ended: what is sent then is lost without a word."""
    stream.setblocking(False)  # noqa: FBT003 -- the name of the system
    try:
        return not stream.recv(1024)
    except BlockingIOError:
        return False


class HttpSink:
    """Post records as a JSON array of OCSF events, or as lines."""

    batch = _HTTP_BATCH

    def __init__(self, name: str, url: str, *, form: str = "ocsf", token: str | None = None) -> None:
        from strongroom.model.secret import Secret  # noqa: PLC0415 -- only who has one
        from strongroom.vendors.transport import Transport, TransportOptions  # noqa: PLC0415 -- as above

        self.name = name
        self._form = form
        parts = urlsplit(url)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        seconds = timedelta(seconds=DEADLINE_SECONDS)
        base = f"{parts.scheme}://{parts.netloc}"
        self._transport = Transport(
            TransportOptions(
                place=name, url=base, timeout=seconds, total_timeout=seconds, max_body_bytes=65_536
            )
        )
        media = "application/json" if form == "ocsf" else "application/x-ndjson"
        self._headers: dict[str, str | Secret[str]] = {"Content-Type": media}
        if token is not None:
            self._headers["Authorization"] = Secret(f"Bearer {token}")

    def take(self, lines: Sequence[bytes]) -> None:
        body = b"".join(lines)
        if self._form == "ocsf":
            events = [ocsf(record) for line in lines if (record := read_line(line)) is not None]
            body = json.dumps(events, ensure_ascii=False).encode()
        reply = self._transport.request("POST", self._path, headers=self._headers, body=body)
        if not 200 <= reply.status < 300:  # noqa: PLR2004 -- HTTP's successes
            raise BackendUnavailableError(f"it answered {reply.status}", backend=self.name)


class Courier:
    """
    What carries a log to one sink.

    Args:
        folder: of the log.
        sink: where to.
        start: number of the first record that is for it, where it never had one.
        wait: waits for records or for so many seconds, and tells whether to go on.
        on_trouble: told what is wrong, and when that is over.

    Attributes:
        seq: number of the record that goes next; -1 before that is known.
        trouble: what is wrong, or "".
    """

    def __init__(
        self,
        folder: Path,
        sink: Sink,
        *,
        start: int,
        wait: Callable[[float], bool],
        on_trouble: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.folder = folder
        self.sink = sink
        self.seq = -1
        self.trouble = ""
        self._start = start
        self._wait = wait
        self._tell = on_trouble
        self._since = 0.0

    @property
    def hangs(self) -> bool:
        """Whether a batch is under way for longer than its deadline."""
        return self._since > 0 and time.monotonic() - self._since > DEADLINE_SECONDS + 1

    def run(self) -> None:
        """Carry until `wait` says no."""
        pause = _FIRST_WAIT_SECONDS
        while True:
            goes_on = self._wait(pause if self.trouble else _FIRST_WAIT_SECONDS)
            try:
                self.carry()  # at the end, too: what was recorded last
            except (OSError, StrongroomError, LookupError, ValueError) as error:
                self._note(_why(error))
                pause = min(pause * 2, _LONGEST_WAIT_SECONDS)
            else:
                self._note("")
                pause = _FIRST_WAIT_SECONDS
            if not goes_on:
                return

    def carry(self) -> None:
        """
        Carry what is durable and not there yet.

        Raises:
            OSError, StrongroomError: the sink did not take it.
            LookupError: records are gone that it never had.
        """
        position = self._position()
        end = durable(self.folder)
        while position.seq < end:
            lines, after = read_on(self.folder, position, end, max_records=self.sink.batch)
            if not lines:
                return
            self._since = time.monotonic()
            try:
                self.sink.take(lines)
            finally:
                self._since = 0.0
            position = after
            self._keep(position)

    def _position(self) -> Position:
        position = _kept(self.folder, self.sink.name)
        if position is None or (position.segment and not (self.folder / position.segment).exists()):
            # It is new, or the segment was archived.
            position = position_of(self.folder, self._start if position is None else position.seq)
            if self.folder.is_dir():
                self._keep(position)
        self.seq = position.seq
        return position

    def _keep(self, position: Position) -> None:
        folder = self.folder / _FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        draft = folder / f".{self.sink.name}"
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(file, "wb") as opened:
            opened.write(json.dumps(position._asdict()).encode())
        draft.replace(folder / self.sink.name)
        self.seq = position.seq

    def _note(self, trouble: str) -> None:
        if trouble != self.trouble:
            said = trouble or "takes records again"
            self._tell(f"the audit sink {self.sink.name}: {said}")
        self.trouble = trouble


def _kept(folder: Path, name: str) -> Position | None:
    """Give where the sink *name* was; None where that is not known."""
    try:
        found = json.loads((folder / _FOLDER / name).read_bytes())
        return Position(int(found["seq"]), str(found["segment"]), int(found["offset"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def first_seq(folder: Path, name: str) -> int:
    """Give the number of the record that goes to the sink *name* next: of one that is new, what comes now."""
    found = _kept(folder, name)
    if found is not None:
        return found.seq
    with suppress(OSError, ValueError):
        return durable(folder)
    return 0


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return "no answer in time" if isinstance(error, TimeoutError) else why(error)
    return str(error) if isinstance(error, (StrongroomError, LookupError)) else "the log cannot be read"


def sink_of(found: Mapping[str, Any]) -> Sink:
    """Make a sink of its settings in plain JSON."""
    kind, name = found["kind"], found["name"]
    path = Path(found["path"]) if found.get("path") else None
    if kind == "jsonl" and path is not None:
        return LineSink(name, path)
    if kind == "syslog":
        return SyslogSink(name, path=path, address=found.get("address"))
    return HttpSink(name, found["url"], form=found.get("form", "ocsf"), token=found.get("token"))


def sinks_in(folder: Path) -> dict[str, int]:
    """Give for every sink there ever was the number of the record that goes to it next."""
    found = {}
    with suppress(FileNotFoundError):
        for path in sorted((folder / _FOLDER).iterdir()):
            with suppress(ValueError, KeyError, TypeError, OSError):
                if not path.name.startswith("."):
                    found[path.name] = int(json.loads(path.read_bytes())["seq"])
    return found
