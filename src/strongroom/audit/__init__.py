"""
What happened: an append-only, hash-chained log of canonical JSON, shared by processes.

Not for values: a record names what was asked for and how it ended. Not for deciding either
(`service/guard.py`).

Shape of the folder (0700), every file 0600:

- `<seq>.jsonl`: a segment, named by the number of its first record in 20 digits. One record a line:
  JSON with sorted keys, no spaces, UTF-8 (RFC 8785 for the strings and integers used here). `hash`
  is the SHA-256 of that line without its `hash` member; `prev` is the hash of the record before,
  across segments; zeros before the first.
- `head`: number and hash of the last acknowledged record, padded to 128 bytes, so that cutting
  records off the end is found.
- `lock`: empty; whoever appends holds it (flock).

Rules of this file:

1. A record is synced before `append` returns; the head follows, so it never runs ahead of a crash.
2. A torn line at the end is what a crash leaves of a record nobody was answered for. It is cut off,
   and a `repair` record says so. Anything else that does not fit is never smoothed over: the chain
   goes on behind the gap, and `verify` finds it.
3. Who owns the files can rebuild the whole chain; docs/audit.md says so.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from dataclasses import Field, dataclass, fields
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, BinaryIO

from strongroom.errors import BackendUnavailableError, NotRecordedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["AuditLog", "Event", "Record", "Verdict"]

MAX_REASON_CHARACTERS = 500
_MAX_VERSION_CHARACTERS = 250  # a foreign store's version may be of any length; a record may not
ZERO = "0" * 64  # stands before the first record
_REPAIR = "repair"  # the log's own action
_HEAD_BYTES = 128
_BLOCK_BYTES = 65_536  # read backwards in steps of this
_LOCK_DELAYS_SECONDS = (0.0,) * 3 + (0.0005,) * 2000 + (0.01,) * 400  # 5 s in all
_MAX_LINE_BYTES = 65_536  # a record is under 4 KiB; more is no record
_SEGMENT_DIGITS = 20
_ENCODE = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_HASH_MEMBER = b',"hash":"'  # cannot stand inside a string: there its quotes are escaped
_HASH_MEMBER_BYTES = len(_HASH_MEMBER) + 64 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    What is to be recorded; the log adds number, time and chain.

    Args:
        action: the word of the action; `repair` is the log's own.
        outcome: found, absent, denied, unavailable, invalid, begun, done or failed.
        kind, name, team: what was asked for; None where the act is about the whole room.
        reason: why it was done or refused; at most 500 characters are kept.
        version: of the entry; at most 250 characters are kept.
    """

    actor: str
    assurance: int
    action: str
    outcome: str
    kind: str | None = None
    name: str | None = None
    team: str | None = None
    reason: str = ""
    backend: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Event):
    """
    One line of the log.

    Args:
        seq: number of the record, from 0, without gaps.
        at: wall clock, UTC, as `2026-01-31T12:00:00.000000Z`.
        prev: hash of the record before, 64 hexadecimal digits; zeros for the first.
        hash: SHA-256 of the canonical JSON of everything else in the record.
    """

    seq: int
    at: str
    deployment: str
    prev: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    How a verification ended.

    Args:
        count: good records from the start.
        index: number of the first bad record, or None.
        reason: what is wrong there, or "".
        repairs: numbers of the records that tell of a torn end that was cut off after a crash.
    """

    is_ok: bool
    count: int
    index: int | None = None
    reason: str = ""
    repairs: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tail:
    """Where the log ends: the last record, and the segment and size it ends at."""

    seq: int
    hash: str
    segment: str | None
    size: int


_NOTHING = _Tail(-1, ZERO, None, 0)
_logs: weakref.WeakSet[AuditLog] = weakref.WeakSet()


class AuditLog:
    """
    The log in one folder.

    Threads and processes: any number may append at once; a fork opens its files anew.

    Args:
        folder: made on the first append (0700) if it is not there.
        clock: wall clock, UTC.
        segment_bytes: a segment that has reached this size is followed by a new one.
    """

    def __init__(
        self,
        folder: Path,
        *,
        deployment: str,
        clock: Callable[[], datetime],
        segment_bytes: int = 67_108_864,  # 64 MiB
    ) -> None:
        self.folder = folder
        self._deployment = deployment
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._turn = threading.Lock()
        self._tail: _Tail | None = None
        self._lock: int = -1
        self._head: int = -1
        self._segment: int = -1
        _logs.add(self)

    # --- appending -------------------------------------------------------------------------------

    def append(self, *events: Event) -> None:
        """
        Make *events* durable, in order, before returning.

        Raises:
            NotRecordedError: they could not be written; none of them is acknowledged.
        """
        if not events:
            return
        with self._turn:
            try:
                with self._locked():
                    self._append(events)
            except OSError as error:
                self._tail = None
                raise self._refusal(error) from None

    def close(self) -> None:
        """Let go of the files. A later append opens them again."""
        with self._turn:
            self._close()

    def _refusal(self, error: OSError) -> NotRecordedError:
        return NotRecordedError(
            f"the audit record cannot be written to {self.folder} ({_why(error)}), so nothing is answered",
            folder=str(self.folder),
            hint=f"make {self.folder} writable with free space, or set audit.path",
        )

    def _append(self, events: tuple[Event, ...]) -> None:
        tail = self._tail
        if tail is None or not self._stands(tail):
            tail = self._recover()
        if tail.segment is None or tail.size >= self._segment_bytes:
            tail = self._begin_segment(tail)
        self._write(tail, events)

    def _write(self, tail: _Tail, events: tuple[Event, ...]) -> _Tail:
        at = _stamp(self._clock())
        seq, prev, lines = tail.seq, tail.hash, []
        for event in events:
            seq += 1
            line, prev = self._line(event, seq, at, prev)
            lines.append(line)
        data = b"".join(lines)
        self._tail = None  # unknown until the sync has said yes
        try:
            _write_all(self._segment, data)
            os.fdatasync(self._segment)
        except OSError:
            self._undo(tail.size)
            raise
        self._tail = end = _Tail(seq, prev, tail.segment, tail.size + len(data))
        os.pwrite(self._head, _head_bytes(seq, prev), 0)
        return end

    def _undo(self, size: int) -> None:
        # Half a batch must not stand as if it had been acknowledged. If this fails too, the next
        # append finds a torn line and repairs it.
        with suppress(OSError):
            os.ftruncate(self._segment, size)

    def _line(self, event: Event, seq: int, at: str, prev: str) -> tuple[bytes, str]:
        members = {
            "action": event.action,
            "actor": event.actor,
            "assurance": event.assurance,
            "at": at,
            "backend": event.backend,
            "deployment": self._deployment,
            "kind": event.kind,
            "name": event.name,
            "outcome": event.outcome,
            "prev": prev,
            "reason": event.reason[:MAX_REASON_CHARACTERS],
            "seq": seq,
            "team": event.team,
            "version": None if event.version is None else event.version[:_MAX_VERSION_CHARACTERS],
        }
        body = _ENCODE(members).encode("utf-8", "replace")
        digest = hashlib.sha256(body).hexdigest()
        split = body.index(b',"kind":')  # `hash` sorts right before `kind`
        return b"%b%b%b%b" % (
            body[:split],
            _HASH_MEMBER,
            digest.encode(),
            b'"' + body[split:] + b"\n",
        ), digest

    def _begin_segment(self, tail: _Tail) -> _Tail:
        name = f"{tail.seq + 1:0{_SEGMENT_DIGITS}d}.jsonl"
        self._open_segment(name, create=True)
        _sync_folder(self.folder)
        return _Tail(tail.seq, tail.hash, name, 0)

    # --- the end of the log ----------------------------------------------------------------------

    def _stands(self, tail: _Tail) -> bool:
        """Tell whether nobody else has appended since: same last segment, same file, same size."""
        if tail.segment is None or tail.segment != _last(_segments(self.folder)):
            return False
        found = (self.folder / tail.segment).stat()
        ours = os.fstat(self._segment)
        return (found.st_ino, found.st_dev, found.st_size) == (ours.st_ino, ours.st_dev, tail.size)

    def _recover(self) -> _Tail:
        """Find the end of the log, cut a torn line off, and record whatever does not fit."""
        head = self._open_head()
        tail, torn = self._read_end()
        if torn:
            os.ftruncate(self._segment, tail.size)
        tail, event = _settle(tail, head, torn)
        if event is None:
            return tail
        if tail.segment is None:
            tail = self._begin_segment(tail)
        return self._write(tail, (event,))

    def _read_end(self) -> tuple[_Tail, int]:
        """Give the last whole record and how many bytes of an unfinished one follow it."""
        names = _segments(self.folder)
        if not names:
            return _NOTHING, 0
        self._open_segment(names[-1], create=False)
        size = os.fstat(self._segment).st_size
        lines, whole = _last_lines(self._segment, 1)
        if not lines and len(names) > 1:
            # A crash came between making the segment and its first record.
            with (self.folder / names[-2]).open("rb") as file:
                lines, _ = _last_lines(file.fileno(), 1)
        seq, digest = _identity(lines[0]) if lines else (-1, ZERO)
        return _Tail(seq, digest, names[-1], whole), size - whole

    # --- files -----------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock < 0:
            if not self.folder.is_dir():
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync_folder(self.folder.parent)
            self._lock = _open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        _take(self._lock)
        try:
            # A log that was removed or replaced under a running process is not silently begun anew.
            if not os.path.samestat(os.fstat(self._lock), (self.folder / "lock").stat()):
                raise OSError(errno.ESTALE, "the audit folder was replaced")
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _open_head(self) -> _Tail | None:
        """Open the head file (made anew where it is missing) and give what it says, if that is sound."""
        # Forgotten before it is closed: Ctrl-C in between must not leave a number that some other
        # file will have next.
        old, self._head = self._head, -1
        _close(old)
        path = self.folder / "head"
        try:
            self._head = _open(path, os.O_RDWR)
        except FileNotFoundError:
            self._head = _open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            os.pwrite(self._head, _head_bytes(-1, ZERO), 0)
            os.fsync(self._head)
            _sync_folder(self.folder)
            return None
        return _parse_head(os.pread(self._head, _HEAD_BYTES, 0))

    def _open_segment(self, name: str, *, create: bool) -> None:
        old, self._segment = self._segment, -1
        _close(old)
        flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT | os.O_EXCL if create else 0)
        self._segment = _open(self.folder / name, flags)

    def _close(self) -> None:
        files = (self._lock, self._head, self._segment)
        self._lock = self._head = self._segment = -1
        self._tail = None
        for file in files:
            _close(file)

    def _after_fork(self) -> None:
        # The child shares our open files with the parent, and with them the parent's flock.
        self._close()
        self._turn = threading.Lock()

    # --- looking back ----------------------------------------------------------------------------

    def tail(self, n: int) -> list[Record]:
        """
        Give the last *n* records, oldest first; reads from the end, whatever the size of the log.

        A line that is no record (a torn end, an edit) is left out; `verify` is what finds it.

        Raises:
            BackendUnavailableError: the log cannot be read.
        """
        lines: list[bytes] = []
        with self._reading():
            for name in reversed(_segments(self.folder)):
                with _open_to_read(self.folder / name) as file:
                    lines[:0], _ = _last_lines(file.fileno(), n - len(lines))
                if len(lines) >= n:
                    break
        return [record for record in map(_record, lines) if record is not None]

    def verify(self) -> Verdict:
        """
        Check every record: its own hash, its number, its link to the one before, and the head.

        Works offline on a copy of the folder. Sees the log as it stood when it began.

        Raises:
            BackendUnavailableError: the log cannot be read, or a stopped process holds its lock.
        """
        with self._reading():
            with self._shared():
                sizes = {name: (self.folder / name).stat().st_size for name in _segments(self.folder)}
                head = _read_head(self.folder / "head")
            checker = _Checker(None if head is None else _parse_head(head))
            for name, size in sizes.items():
                with _open_to_read(self.folder / name) as file:
                    checker.check_segment(file, size)
        checker.check_end(has_head=head is not None)
        return checker.verdict()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BackendUnavailableError(
                f"the audit log in {self.folder} cannot be read ({_why(error)})",
                backend="audit",
                hint=f"look at the files in {self.folder} and at who may read them",
            ) from None

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Hold appenders off for a moment, where there is a lock to hold."""
        try:
            file = os.open(self.folder / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            yield  # a copy without its lock, or no log yet: nobody appends here
            return
        try:
            _take(file, fcntl.LOCK_SH)
            yield
        finally:
            os.close(file)


def _drop_files_after_fork() -> None:
    for log in list(_logs):
        log._after_fork()  # noqa: SLF001 -- the class registers its own instances


os.register_at_fork(after_in_child=_drop_files_after_fork)


# --- checking ------------------------------------------------------------------------------------


class _Checker:
    """Walk the records from the first and stop at the first that is bad."""

    def __init__(self, head: _Tail | None) -> None:
        # Only verifying needs msgspec; a process that reads one secret must not pay for it.
        import msgspec  # noqa: PLC0415

        numbers = {"assurance": int, "seq": int}
        shape = msgspec.defstruct(
            "Line",
            [(member.name, numbers.get(member.name, str | None)) for member in _members()],
            forbid_unknown_fields=True,
        )
        self._decode = msgspec.json.Decoder(shape).decode
        self._encode = msgspec.json.Encoder().encode
        self._broken = (msgspec.MsgspecError, UnicodeError, RecursionError)
        self._head = head
        self._count = 0
        self._prev = ZERO
        self._reason = ""
        self._repairs: list[int] = []

    def check_segment(self, file: BinaryIO, size: int) -> None:
        """Check the lines in the first *size* bytes; does nothing once something was bad."""
        while size > 0 and not self._reason:
            line = file.readline(min(size, _MAX_LINE_BYTES))
            size -= len(line)
            if not line.endswith(b"\n") and size <= 0:
                return  # torn by a crash, or cut: the head tells which
            self._reason = self._fault(line[:-1])
            if not self._reason:
                self._count += 1

    def _fault(self, line: bytes) -> str:
        """Tell what is wrong with the next line; "" when it is good."""
        try:
            record: Any = self._decode(line)
        except self._broken:
            return "this line is not a record"
        fault = self._broken_link(record, line)
        if not fault and record.action == _REPAIR:
            if record.outcome != "done":
                return str(record.reason)
            self._repairs.append(record.seq)
        self._prev = record.hash
        return fault

    def _broken_link(self, record: Any, line: bytes) -> str:  # noqa: ANN401 -- a struct made at run time
        checks = (
            (self._encode(record) == line, "this line is not canonical"),
            (record.seq == self._count, "a record is missing here, or stands in the wrong place"),
            (record.prev == self._prev, "this record does not follow the one before"),
            (_digest(line) == record.hash, "this record was changed"),
            (self._head_agrees(record.seq, record.hash), "the head file names another record here"),
        )
        return next((fault for is_good, fault in checks if not is_good), "")

    def _head_agrees(self, seq: int, digest: str) -> bool:
        return self._head is None or self._head.seq != seq or self._head.hash == digest

    def check_end(self, *, has_head: bool) -> None:
        if self._reason or (not has_head and self._count == 0):
            return
        if self._head is None:
            self._reason = "the head file is damaged" if has_head else "the head file is missing"
        elif self._head.seq >= self._count:
            self._reason = f"the log is cut off: the head file names record {self._head.seq}"

    def verdict(self) -> Verdict:
        return Verdict(
            is_ok=not self._reason,
            count=self._count,
            index=self._count if self._reason else None,
            reason=self._reason,
            repairs=tuple(self._repairs),
        )


# --- shapes --------------------------------------------------------------------------------------


def _members() -> list[Field[Any]]:
    return sorted(fields(Record), key=lambda member: member.name)


def _stamp(now: datetime) -> str:
    return now.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _digest(line: bytes) -> str:
    """Give the hash a line should have: of its bytes without the `hash` member."""
    start = line.index(_HASH_MEMBER)
    return hashlib.sha256(line[:start] + line[start + _HASH_MEMBER_BYTES :]).hexdigest()


def _record(line: bytes) -> Record | None:
    try:
        return Record(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None


def _identity(line: bytes) -> tuple[int, str]:
    """Give number and hash of a line; of one that is no record, those before the first: verify finds it."""
    record = _record(line)
    return (record.seq, record.hash) if record and isinstance(record.seq, int) else (-1, ZERO)


def _head_bytes(seq: int, digest: str) -> bytes:
    return _ENCODE({"hash": digest, "seq": seq}).encode().ljust(_HEAD_BYTES - 1) + b"\n"


def _parse_head(data: bytes) -> _Tail | None:
    try:
        head = json.loads(data)
        return _Tail(int(head["seq"]), str(head["hash"]), None, 0)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _repair(what: str, outcome: str) -> Event:
    return Event(actor="strongroom", assurance=0, action=_REPAIR, outcome=outcome, reason=what)


def _settle(tail: _Tail, head: _Tail | None, torn: int) -> tuple[_Tail, Event | None]:
    """Decide where the chain goes on, and what to say about it. What is missing stays missing."""
    if head is None:
        if tail.segment is None:
            return tail, None  # a new log
        return tail, _repair("the head file was missing or damaged", "failed")
    if head.seq > tail.seq:
        missing = _Tail(head.seq, head.hash, tail.segment, tail.size)
        return missing, _repair("records before this one are missing", "failed")
    if torn:
        return tail, _repair(f"cut off {torn} bytes of an unfinished record", "done")
    return tail, None


# --- files ---------------------------------------------------------------------------------------


def _segments(folder: Path) -> list[str]:
    """Give the names of the segments in order; [] where there is no folder."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 -- on every append: Path objects cost ten times as much
    except FileNotFoundError:
        return []
    return sorted(name for name in names if name.endswith(".jsonl") and name[:-6].isdigit())


def _last(names: list[str]) -> str | None:
    return names[-1] if names else None


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _take(lock: int, kind: int = fcntl.LOCK_EX) -> None:
    """Take the lock within 5 s: a stopped process that holds it must not hang every other."""
    for delay in _LOCK_DELAYS_SECONDS:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(delay)
        else:
            return
    raise OSError(errno.ETIMEDOUT, "the audit lock is held by another process")


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def _open_to_read(path: Path) -> Iterator[BinaryIO]:
    # Not blocking: a named pipe in the place of a file must hold nobody up.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, f"{path.name} is no plain file")
        yield file


def _read_head(path: Path) -> bytes | None:
    try:
        with _open_to_read(path) as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return None


def _close(file: int) -> None:
    if file >= 0:
        os.close(file)


def _why(error: OSError) -> str:
    return (os.strerror(error.errno) if error.errno else type(error).__name__).lower()


def _last_lines(file: int, count: int) -> tuple[list[bytes], int]:
    """Give the last *count* whole lines, and the size up to the end of the last whole one."""
    start = os.fstat(file).st_size
    data = b""
    while start > 0 and data.count(b"\n") <= count:
        step = min(start, _BLOCK_BYTES)
        start -= step
        data = os.pread(file, step, start) + data
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].split(b"\n")[:-1]
    # The first may have been cut by the block, unless the block began the file.
    return lines[-count:] if count else [], start + whole
