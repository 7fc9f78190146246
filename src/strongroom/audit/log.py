"""
The log itself: appending to it, and reading its end.

Shape of the folder (0700), every file 0600:

- `<seq>.jsonl`: a segment, named by the number of its first record in 20 digits. One record a line
  (`record.py`), in one chain across segments. Behind the last line of the last segment NULs may stand: room
  that was taken beforehand.
- `head`: number and hash of the last acknowledged record, padded to 128 bytes, so that cutting
  records off the end is found.
- `lock`: empty; whoever appends holds it (flock).

What else may stand there is described in docs/audit.md.

Rules of this file:

1. A record is synced before `append` returns; the head follows, so it never runs ahead of a crash.
2. A torn line at the end is what a crash leaves of a record nobody was answered for. It is cut off,
   and a `repair` record says so. Anything else that does not fit is never smoothed over: the chain
   goes on behind the gap, and `verify` finds it.
3. Who owns the files can rebuild the whole chain; docs/audit.md says so, and what is done about it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import threading
import time
import weakref
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from strongroom.audit.record import ZERO, Event, read_line, spell, stamp
from strongroom.errors import BackendUnavailableError, NotRecordedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from strongroom.audit.record import Record, Verdict

    Speller = Callable[[Event, int, str, str, str], tuple[bytes, str]]

__all__ = [
    "AuditLog",
    "Tail",
    "close_file",
    "end_of_data",
    "head_bytes",
    "open_to_read",
    "parse_head",
    "read_head",
    "reading",
    "segment_name",
    "segments_of",
    "shared",
    "sync_folder",
    "take_lock",
    "why",
]

REPAIR = "repair"  # the log's own action
_HEAD_BYTES = 128
_BLOCK_BYTES = 65_536  # read backwards in steps of this
_WINDOW_BYTES = 2_097_152  # 2 MiB: the room behind the lines is mostly less
_LOCK_DELAYS_SECONDS = (0.0,) * 3 + (0.0005,) * 2000 + (0.01,) * 400  # 5 s in all
_SEGMENT_DIGITS = 20
_SEGMENT_SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class Tail:
    """
    Where the log ends: the last record, and the segment and size it ends at.

    Args:
        size: of the lines in the segment.
        room: size of the file, with the NULs behind the lines.
    """

    seq: int
    hash: str
    segment: str | None = None
    size: int = 0
    room: int = 0


_NOTHING = Tail(-1, ZERO)
_logs: weakref.WeakSet[AuditLog] = weakref.WeakSet()


class AuditLog:
    """
    The log in one folder.

    Threads and processes: any number may append at once; a fork opens its files anew.

    Args:
        folder: made on the first append (0700) if it is not there.
        clock: wall clock, UTC.
        segment_bytes: a segment that has reached this size is followed by a new one.
        room_bytes: taken in the file beforehand, so that a sync need not write where the file ends; for
            who appends very much.
        speller: gives the line of an event and its hash.
    """

    def __init__(
        self,
        folder: Path,
        *,
        deployment: str,
        clock: Callable[[], datetime],
        segment_bytes: int = 67_108_864,  # 64 MiB
        room_bytes: int = 0,
        speller: Speller = spell,
    ) -> None:
        self.folder = folder
        self.deployment = deployment
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._room_bytes = room_bytes
        self._spell = speller
        self._turn = threading.Lock()
        self._tail: Tail | None = None
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

    def look(self) -> None:
        """
        See whether the log could be appended to and stands where it stood; writes nothing.

        Raises:
            NotRecordedError: its folder was removed or replaced, its last segment is gone or another, or it
                cannot be opened.
        """
        with self._turn:
            if self._lock < 0 and not self.folder.is_dir():
                return  # made with the first record
            try:
                with self._locked():
                    if self._tail is not None and not self._is_there(self._tail):
                        raise OSError(errno.ESTALE, "the last segment was removed or replaced")  # noqa: TRY301 -- told below
            except OSError as error:
                raise self._refusal(error) from None

    def hand_over(self) -> tuple[Tail, int]:
        """
        Settle the end of the log as an append would, and give it with its last segment's file (a descriptor,
        the caller's) to whoever goes on appending alone (`spool.py`). A log without a segment gets one.

        Raises:
            NotRecordedError: it cannot be written.
        """
        with self._turn:
            try:
                with self._locked():
                    tail = self._recover()
                    if tail.segment is None:
                        tail = self._begin_segment(tail)
                    return tail, os.dup(self._segment)
            except OSError as error:
                raise self._refusal(error) from None
            finally:
                self._close()

    def close(self) -> None:
        """Let go of the files. A later append opens them again."""
        with self._turn:
            if self._tail is not None and self._tail.room > self._tail.size:
                with suppress(OSError), self._locked():
                    if self._stands(self._tail):
                        os.ftruncate(self._segment, self._tail.size)
            self._close()

    def _refusal(self, error: OSError) -> NotRecordedError:
        return NotRecordedError(
            f"the audit record cannot be written to {self.folder} ({why(error)}), so nothing is answered",
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

    def _write(self, tail: Tail, events: tuple[Event, ...]) -> Tail:
        at = stamp(self._clock())
        seq, prev, lines = tail.seq, tail.hash, []
        for event in events:
            seq += 1
            line, prev = self._spell(event, seq, at, prev, self.deployment)
            lines.append(line)
        data = b"".join(lines)
        self._tail = None  # unknown until the sync has said yes
        try:
            room = self._make_room(tail, len(data))
            _write_all(self._segment, data, tail.size)
            os.fdatasync(self._segment)
        except OSError:
            self._undo(tail.size)
            raise
        size = tail.size + len(data)
        self._tail = end = Tail(seq, prev, tail.segment, size, max(room, size))
        os.pwrite(self._head, head_bytes(seq, prev), 0)
        return end

    def _make_room(self, tail: Tail, size: int) -> int:
        """Take room for *size* bytes more, and for what comes after them, where it is used up."""
        if not self._room_bytes or tail.size + size <= tail.room:
            return tail.room
        room = tail.size + size + self._room_bytes
        try:
            # Zeros, not a hole: only blocks that are written once are synced without a journal entry.
            _write_all(self._segment, bytes(room - tail.size), tail.size)
        except OSError:
            os.ftruncate(self._segment, tail.size)  # what must be written may fit all the same
            return tail.size
        return room

    def _undo(self, size: int) -> None:
        # Half a batch must not stand as if it had been acknowledged. If this fails too, the next
        # append finds a torn line and repairs it.
        with suppress(OSError):
            os.ftruncate(self._segment, size)

    def _begin_segment(self, tail: Tail) -> Tail:
        if tail.room > tail.size:
            os.ftruncate(self._segment, tail.size)
        name = segment_name(tail.seq + 1)
        self._open_segment(name, create=True)
        sync_folder(self.folder)
        return Tail(tail.seq, tail.hash, name)

    # --- the end of the log ----------------------------------------------------------------------

    def _stands(self, tail: Tail) -> bool:
        """Tell whether nobody else has appended since: same last segment, same file, same end."""
        if not self._is_there(tail) or os.fstat(self._segment).st_size != tail.room:
            return False
        return tail.room == tail.size or os.pread(self._segment, 1, tail.size) == b"\0"

    def _is_there(self, tail: Tail) -> bool:
        if tail.segment is None or tail.segment != _last(segments_of(self.folder)):
            return False
        found, ours = (self.folder / tail.segment).stat(), os.fstat(self._segment)
        return os.path.samestat(found, ours)

    def _recover(self) -> Tail:
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

    def _read_end(self) -> tuple[Tail, int]:
        """Give the last whole record and how many bytes of an unfinished one follow it."""
        names = segments_of(self.folder)
        if not names:
            return _NOTHING, 0
        self._open_segment(names[-1], create=False)
        end, room = end_of_data(self._segment), os.fstat(self._segment).st_size
        lines, whole = _last_lines(self._segment, 1)
        torn = end - whole
        if end < room and not torn:
            # A machine that went down may have kept a later part of what was written, and not an earlier.
            torn = len(os.pread(self._segment, room - end, end).rstrip(b"\0"))
        if not lines and len(names) > 1:
            # A crash came between making the segment and its first record.
            with (self.folder / names[-2]).open("rb") as file:
                lines, _ = _last_lines(file.fileno(), 1)
        seq, digest = _identity(lines[0]) if lines else (-1, ZERO)
        return Tail(seq, digest, names[-1], whole, whole if torn else room), torn

    # --- files -----------------------------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if self._lock < 0:
            if not self.folder.is_dir():
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_folder(self.folder.parent)
            self._lock = _open(self.folder / "lock", os.O_RDWR | os.O_CREAT)
        take_lock(self._lock)
        try:
            # A log that was removed or replaced under a running process is not silently begun anew.
            if not os.path.samestat(os.fstat(self._lock), (self.folder / "lock").stat()):
                raise OSError(errno.ESTALE, "the audit folder was replaced")
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _open_head(self) -> Tail | None:
        """Open the head file (made anew where it is missing) and give what it says, if that is sound."""
        # Forgotten before it is closed: Ctrl-C in between must not leave a number that some other
        # file will have next.
        old, self._head = self._head, -1
        close_file(old)
        path = self.folder / "head"
        try:
            self._head = _open(path, os.O_RDWR)
        except FileNotFoundError:
            self._head = _open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            os.pwrite(self._head, head_bytes(-1, ZERO), 0)
            os.fsync(self._head)
            sync_folder(self.folder)
            return None
        return parse_head(os.pread(self._head, _HEAD_BYTES, 0))

    def _open_segment(self, name: str, *, create: bool) -> None:
        old, self._segment = self._segment, -1
        close_file(old)
        flags = os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0)
        self._segment = _open(self.folder / name, flags)

    def _close(self) -> None:
        files = (self._lock, self._head, self._segment)
        self._lock = self._head = self._segment = -1
        self._tail = None
        for file in files:
            close_file(file)

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
        with reading(self.folder):
            for name in reversed(segments_of(self.folder)):
                with open_to_read(self.folder / name) as file:
                    lines[:0], _ = _last_lines(file.fileno(), n - len(lines))
                if len(lines) >= n:
                    break
        return [record for record in map(read_line, lines) if record is not None]

    def verify(self) -> Verdict:
        """
        Check every record: its own hash, its number, its link to the one before, and the head.

        Works offline on a copy of the folder. Sees the log as it stood when it began. For signatures and
        witnesses: `verify.verify_log`.

        Raises:
            BackendUnavailableError: the log cannot be read, or a stopped process holds its lock.
        """
        from strongroom.audit.verify import verify_log  # noqa: PLC0415 -- reading a secret does without

        return verify_log(self.folder)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn what the system says about files of the log into our error."""
    try:
        yield
    except OSError as error:
        raise BackendUnavailableError(
            f"the audit log in {folder} cannot be read ({why(error)})",
            backend="audit",
            hint=f"look at the files in {folder} and at who may read them",
        ) from None


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """Hold appenders off for a moment, where there is a lock to hold."""
    try:
        file = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        yield  # a copy without its lock, or no log yet: nobody appends here
        return
    try:
        take_lock(file, fcntl.LOCK_SH)
        yield
    finally:
        os.close(file)


def _drop_files_after_fork() -> None:
    for log in list(_logs):
        log._after_fork()  # noqa: SLF001 -- the class registers its own instances


os.register_at_fork(after_in_child=_drop_files_after_fork)


# --- shapes --------------------------------------------------------------------------------------


def _identity(line: bytes) -> tuple[int, str]:
    """Give number and hash of a line; of one that is no record, those before the first: verify finds it."""
    record = read_line(line)
    return (record.seq, record.hash) if record and isinstance(record.seq, int) else (-1, ZERO)


def head_bytes(seq: int, digest: str) -> bytes:
    """Give what the head file says."""
    return f'{{"hash":"{digest}","seq":{seq}}}'.encode().ljust(_HEAD_BYTES - 1) + b"\n"


def parse_head(data: bytes) -> Tail | None:
    """Read a head file; None where it is damaged."""
    try:
        head = json.loads(data)
        return Tail(int(head["seq"]), str(head["hash"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _repair(what: str, outcome: str) -> Event:
    return Event(actor="strongroom", assurance=0, action=REPAIR, outcome=outcome, reason=what)


def _settle(tail: Tail, head: Tail | None, torn: int) -> tuple[Tail, Event | None]:
    """Decide where the chain goes on, and what to say about it. What is missing stays missing."""
    if head is None:
        if tail.segment is None:
            return tail, None  # a new log
        return tail, _repair("the head file was missing or damaged", "failed")
    if head.seq > tail.seq:
        missing = Tail(head.seq, head.hash, tail.segment, tail.size, tail.room)
        return missing, _repair("records before this one are missing", "failed")
    if torn:
        return tail, _repair(f"cut off {torn} bytes of an unfinished record", "done")
    return tail, None


# --- files ---------------------------------------------------------------------------------------


def segment_name(seq: int) -> str:
    """Give the name of the segment that begins with record number *seq*."""
    return f"{seq:0{_SEGMENT_DIGITS}d}{_SEGMENT_SUFFIX}"


def segments_of(folder: Path) -> list[str]:
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


def take_lock(lock: int, kind: int = fcntl.LOCK_EX) -> None:
    """Take the lock within 5 s: a stopped process that holds it must not hang every other."""
    for delay in _LOCK_DELAYS_SECONDS:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(delay)
        else:
            return
    raise OSError(errno.ETIMEDOUT, "the audit lock is held by another process")


def _write_all(file: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, at)
        view, at = view[written:], at + written


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* durable."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextmanager
def open_to_read(path: Path) -> Iterator[BinaryIO]:
    """Open a plain file that nobody can be held up by. Raises OSError."""
    # Not blocking: a named pipe in the place of a file must hold nobody up.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, f"{path.name} is no plain file")
        yield file


def read_head(path: Path) -> bytes | None:
    """Give the head file as it is, None where there is none. Raises OSError."""
    try:
        with open_to_read(path) as file:
            return file.read(_HEAD_BYTES)
    except FileNotFoundError:
        return None


def close_file(file: int) -> None:
    """Close *file*, if it is one."""
    if file >= 0:
        os.close(file)


def why(error: OSError) -> str:
    """Give the system's own words, which name no file."""
    return (os.strerror(error.errno) if error.errno else type(error).__name__).lower()


def end_of_data(file: int) -> int:
    """Give where the lines in *file* end: at its end, or where the room behind them begins."""
    size = os.fstat(file).st_size
    if not size or os.pread(file, 1, size - 1) != b"\0":
        return size
    window = _WINDOW_BYTES
    while True:
        start = max(0, size - window)
        data = os.pread(file, size - start, start)
        if not start or not data.startswith(b"\0"):
            return start + data.index(b"\0")
        window *= 2


def _last_lines(file: int, count: int) -> tuple[list[bytes], int]:
    """Give the last *count* whole lines, and the size up to the end of the last whole one."""
    start = end_of_data(file)
    data = b""
    while start > 0 and data.count(b"\n") <= count:
        step = min(start, _BLOCK_BYTES)
        start -= step
        data = os.pread(file, step, start) + data
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].split(b"\n")[:-1]
    # The first may have been cut by the block, unless the block began the file.
    return lines[-count:] if count else [], start + whole
