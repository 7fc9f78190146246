"""
The record of one process that answers many: in the kernel before an answer, on the disk soon after, and
handed on from there.

A log as `log.py` describes it, which this process alone appends to. Beside its files stand:

- `owner`: held (flock) by the process that appends; not empty while it does, so that an end without a word
  is told of in a `resume` record.
- `unrecorded`: how many uses were served and not recorded since when; 128 bytes that exist from the
  beginning, so that they can be counted on a full disk.
- `delivered`: what the server has (`delivery.py`).

Rules of this file:

1. `append` returns when the kernel has the records: they outlive the process. They are synced within
   `SYNC_SECONDS` by a thread, and the head follows within as much again.
2. `append_strict` returns when they are synced; so does `append` where everything is to be durable. What
   gathers while one sync is under way is the next one: no timer, no task.
3. What is not on the disk yet of the server's is bounded. A spool that is full, or a disk that is, refuses
   what waits for the sync and counts the rest: one `dropped` record tells of them when there is room again.
4. Records are handed on once they are durable, and never before.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import select
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from strongroom.audit.log import (
    AuditLog,
    end_of_data,
    head_bytes,
    open_to_read,
    segments_of,
    sync_folder,
    why,
)
from strongroom.audit.record import Event, spell, stamp
from strongroom.audit.segment import Segment, begin
from strongroom.audit.share import Shares
from strongroom.errors import NotRecordedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from strongroom.audit.log import Speller
    from strongroom.audit.record import Record

__all__ = ["DROPPED", "OWNER", "Carrier", "Spool"]

DROPPED = "dropped"  # the action of the record that counts what was served unrecorded
OWNER = "owner"
SYNC_SECONDS = 0.05
_GATHER_SECONDS = 0.04  # of these; the sync itself takes the rest
_AGAIN_SECONDS = 0.5  # after trouble with the disk
_CHECK_SECONDS = 0.25  # between two looks whether the files were removed under us
_RINGS = 4096  # bytes, of a bell that was rung so often at once
_UNRECORDED = "unrecorded"
_UNRECORDED_BYTES = 128
_MAX_SEGMENT_BYTES = 4_194_304  # 4 MiB; the delivered part of the one in use cannot be let go
_SEGMENTS = 16  # of a full spool
_ROOM_BYTES = 262_144  # 256 KiB behind the lines: about 600 records
_TRIES_TO_BEGIN = 5  # before a segment is begun with a sync under the lock
_FULL = "the spool is full of records that the server does not have"
_SHARE = "one user's records fill all but the last quarter of the spool, which is kept for the others"
_RESUMED = Event(
    actor="strongroom",
    assurance=0,
    action="resume",
    outcome="done",
    reason="what wrote before ended without saying so: the last records before this may have had no answer",
)


class Carrier(Protocol):
    """What hands the records on (`delivery.py`)."""

    def start(self) -> None: ...
    def close(self) -> None: ...
    def status(self) -> Mapping[str, object]: ...


class Spool:
    """
    The log of one agent: a recorder for threads and loops.

    Threads: may be used from several threads and loops at once; not after a fork.

    Args:
        folder: of the log, made (0700) if it is not there; no other process may append.
        deployment: whose uses these are.
        clock: wall clock, UTC.
        is_durable: everything waits for its sync.
        max_bytes: of lines in the folder; None where nobody takes them, so that it is the log for good.
        on_trouble: told in one sentence what is wrong, and when that is over; on a thread.
        on_durable: told, on a thread, that there are more durable records.
        speller: gives the line of an event and its hash.
    """

    def __init__(  # noqa: PLR0913 -- what a log has, and its bounds
        self,
        folder: Path,
        *,
        deployment: str,
        clock: Callable[[], datetime],
        is_durable: bool = False,
        max_bytes: int | None = None,
        on_trouble: Callable[[str], None] = lambda _text: None,
        on_durable: Callable[[], None] = lambda: None,
        speller: Speller = spell,
    ) -> None:
        self.folder = folder
        self.deployment = deployment
        self.is_durable = is_durable
        self.max_bytes = max_bytes
        self.on_durable = on_durable
        self._clock = clock
        self._tell = on_trouble
        self._spell = speller
        self._segment_bytes = min(_MAX_SEGMENT_BYTES, (max_bytes or 2**40) // _SEGMENTS)
        self._turn = threading.Lock()
        self._bell = _Bell()
        self._thread: threading.Thread | None = None
        self._is_ended = False
        self._files: _Files | None = None
        self._segment: Segment | None = None
        self._is_named = True
        self._seq, self._hash = -1, ""
        self._durable, self._durable_hash = -1, ""
        self._stated, self._state_at = -1, 0.0
        self._check_at = 0.0
        self._used = 0
        self._shares = None if max_bytes is None else Shares(max_bytes)
        self._is_dirty = False
        self._waiting: list[_Waiter] = []
        self._dropped, self._since = 0, ""
        self._trouble, self._again, self._tell_at = "", 0.0, 0.0
        self._news: list[str] = []
        self._carrier: Carrier | None = None

    # --- recording ---------------------------------------------------------------------------------

    def append(self, *events: Event) -> None:
        """
        Hand *events* to the kernel, in order; where that cannot be they are counted, and served all the same.

        Raises:
            NotRecordedError: everything is to be durable, and they could not be.
        """
        if self.is_durable:
            self.append_strict(*events)
        elif events:
            self._record(events, None)

    def append_strict(self, *events: Event) -> None:
        """
        Make *events* durable, in order, before returning.

        Raises:
            NotRecordedError: they could not be, or the spool is full.
        """
        if events:
            future: Future[None] = Future()
            self._record(events, _Waiter(None, partial(_settle, future)))
            future.result()

    def aappend(self, *events: Event) -> Awaitable[None]:
        """Do what `append` does, for the running loop. Raises at once, or where it is awaited."""
        if self.is_durable:
            return self.aappend_strict(*events)
        if events:
            self._record(events, None)
        return _DONE

    def aappend_strict(self, *events: Event) -> Awaitable[None]:
        """Do what `append_strict` does, for the running loop. Raises at once, or where it is awaited."""
        if not events:
            return _DONE
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._record(events, _Waiter(loop, partial(_settle, future)))
        return future

    def record(
        self,
        events: Sequence[Event],
        done: Callable[[NotRecordedError | None], object],
        *,
        is_strict: bool = False,
    ) -> None:
        """
        Do what `aappend` does, or `aappend_strict`, with no future: *done* is told on the running loop.

        Args:
            events: as there.
            done: called once, with why they are not on record or None; at once where that is known.
            is_strict: they are to be durable.
        """
        error = None
        try:
            if events and (is_strict or self.is_durable):
                self._record(events, _Waiter(asyncio.get_running_loop(), done))
                return
            if events:
                self._record(events, None)
        except NotRecordedError as refused:
            error = refused
        done(error)

    def _record(self, events: Sequence[Event], waiter: _Waiter | None) -> None:
        with self._turn:
            try:
                self._write(events)
            except NotRecordedError:
                if waiter is not None:
                    raise
                self._drop(events)
                return
            if waiter is not None:
                self._waiting.append(waiter)
                is_news = len(self._waiting) == 1
            else:
                is_news = not self._is_dirty
            self._is_dirty = True
        if is_news:
            self._bell.ring()

    def _write(self, events: Sequence[Event]) -> None:
        """Hand *events* to the kernel. Raises NotRecordedError."""
        segment = self._segment or self._open()
        if self._trouble and (segment.is_suspect or time.monotonic() < self._again):
            raise self._refusal(self._trouble)
        if self._is_full():
            raise self._fail(_FULL)
        shares = self._shares
        if shares is not None and shares.is_over(events[0].actor, self._used):
            raise self._refusal(_SHARE)
        if self._dropped and not self._is_ended and time.monotonic() >= self._tell_at:
            self._tell_dropped(segment)
        self._put(segment, events)
        if self._trouble:
            self._note("")

    def _put(self, segment: Segment, events: Sequence[Event]) -> None:
        at = stamp(self._clock())
        seq, digest, spell_, deployment = self._seq, self._hash, self._spell, self.deployment
        lines = []
        for event in events:
            seq += 1
            line, digest = spell_(event, seq, at, digest, deployment)
            lines.append(line)
        data = lines[0] if len(lines) == 1 else b"".join(lines)
        try:
            segment.write(data)
        except OSError as error:
            self._again = time.monotonic() + _AGAIN_SECONDS
            raise self._fail(why(error)) from None
        self._seq, self._hash = seq, digest
        self._used += len(data)
        if self._shares is not None:
            self._shares.take(events[0].actor, len(data))

    # --- what was not recorded ---------------------------------------------------------------------

    def _drop(self, events: Sequence[Event]) -> None:
        """Count *events* as served and not recorded."""
        if not self._dropped:
            self._since = stamp(self._clock())
        self._dropped += sum(map(_uses_of, events))
        if self._files is not None:
            self._files.count(self._dropped, self._since)

    def _tell_dropped(self, segment: Segment) -> None:
        event = Event(
            actor="strongroom",
            assurance=0,
            action=DROPPED,
            outcome="failed",
            reason=f"served without a record: {self._trouble or _SHARE}",
            count=self._dropped,
            since=self._since,
            until=stamp(self._clock()),
        )
        self._put(segment, (event,))
        self._is_dirty = True
        self._dropped = 0
        # Of a flood that goes on, one such record a second tells enough.
        self._tell_at = time.monotonic() + _AGAIN_SECONDS
        if self._files is not None:
            self._files.count(0, "")

    # --- the thread that syncs ---------------------------------------------------------------------

    def start(self) -> None:
        """
        Open the log and begin to sync. The first record does the same.

        Raises:
            NotRecordedError: another process appends, or it cannot be written; it is tried again by itself.
        """
        with self._turn:
            if self._segment is None:
                self._open()

    def _run(self) -> None:
        while not self._is_ended:
            if self._stated != self._durable:
                is_rung = self._bell.wait(_GATHER_SECONDS)
                self._state(is_last=not is_rung)
                if not (is_rung or self._trouble or self._dropped):
                    continue
            else:
                self._bell.wait(_AGAIN_SECONDS if self._trouble or self._dropped else None)
            if not self._is_urgent():
                self._bell.wait(_GATHER_SECONDS)
            self._cycle()
        for _ in range(2):  # the second for what the first had to say of uses without a record
            self._cycle()
        self._state(is_last=True)

    def _state(self, *, is_last: bool) -> None:
        """Say in the head file what is durable: now and then, as nobody's answer waits for it."""
        files, now = self._files, time.monotonic()
        if files is not None and (is_last or now >= self._state_at):
            self._state_at = now + SYNC_SECONDS
            if files.write_head(self._durable, self._durable_hash):
                self._stated = self._durable

    def _is_urgent(self) -> bool:
        return bool(self._waiting or self._is_ended or self._news)

    def _cycle(self) -> None:
        """Sync what was written, tell who waits, and look after the files."""
        with self._turn:
            waiting, self._waiting = self._waiting, []
            news, self._news = self._news, []
            self._is_dirty = False
            segment, seq, digest = self._segment, self._seq, self._hash
            lines = [] if segment is None else segment.unsynced()
        for each in news:
            self._tell(each)
        if segment is None:
            self._try_again(waiting)
            return
        if waiting or seq != self._durable or not self._is_named:
            error = self._sync(segment, lines)
            if error is None:
                self._durable, self._durable_hash = seq, digest
            _land(waiting, error)
            if error is not None:
                return
            self.on_durable()
        with suppress(OSError):
            self._look_after(segment)

    def _sync(self, segment: Segment, lines: list[bytes]) -> NotRecordedError | None:
        was_suspect = segment.is_suspect
        try:
            if not self._is_named:
                sync_folder(self.folder)
                self._is_named = True
            self._check_there(segment)
            segment.sync(lines)
        except OSError as error:
            with self._turn:
                segment.keep(lines)
                self._is_dirty = True
                refused = self._fail(why(error))
                if error.errno == errno.ENOENT:
                    self._let_go()  # the segment was removed: the chain goes on behind the gap
                return refused
        if was_suspect:
            with self._turn:
                self._note("")
        return None

    def _check_there(self, segment: Segment) -> None:
        """See now and then that the files are those that were opened: a log is not silently begun anew."""
        now = time.monotonic()
        if now < self._check_at:
            return
        if self._files is not None:
            self._files.check()
        if os.stat(segment.name).st_ino != segment.number:  # noqa: PTH116 -- a Path costs five times as much
            raise OSError(errno.ENOENT, "the last segment was removed or replaced")
        self._check_at = now + _CHECK_SECONDS

    def _look_after(self, segment: Segment) -> None:
        with self._turn:
            is_clear = not self._is_full() and not segment.is_suspect and time.monotonic() >= self._again
            if self._dropped and is_clear and time.monotonic() >= self._tell_at:
                with suppress(NotRecordedError):
                    self._tell_dropped(segment)
                    self._note("")
                    self._bell.ring()
        while segment.lacks_room(min(_ROOM_BYTES, self._segment_bytes)) and not self._is_ended:
            with self._turn:
                segment.take_room()
        if segment.size >= self._segment_bytes and not segment.is_suspect:
            self._begin_next(segment)

    def _begin_next(self, segment: Segment) -> None:
        for left in reversed(range(_TRIES_TO_BEGIN)):
            with self._turn:
                if segment.is_synced or not left:
                    lines = segment.unsynced()
                    if lines:
                        self._sync_or_keep(segment, lines)
                    self._segment = begin(self.folder, self._seq + 1)
                    self._is_named = False
                    break
                lines = segment.unsynced()
            self._sync_or_keep(segment, lines)
        segment.close()
        sync_folder(self.folder)
        self._is_named = True

    def _sync_or_keep(self, segment: Segment, lines: list[bytes]) -> None:
        try:
            segment.sync(lines)
        except OSError:
            segment.keep(lines)
            raise

    def _try_again(self, waiting: Sequence[_Waiter]) -> None:
        _land(waiting, self._refusal(self._trouble))
        with self._turn, suppress(NotRecordedError):
            if not self._is_ended and time.monotonic() >= self._again:
                self._open()

    # --- handing on --------------------------------------------------------------------------------

    def hand_on(self, carrier: Carrier) -> None:
        """Let *carrier* hand the records on, from now until `close`."""
        self._carrier = carrier
        carrier.start()

    @property
    def durable(self) -> int:
        """How many records are on the disk."""
        return self._durable + 1

    @property
    def is_filling(self) -> bool:
        """Whether what waits for the server should go at once."""
        return self.max_bytes is not None and self._used * 2 >= self.max_bytes

    def let_go(self, seq: int) -> None:
        """
        Remove the segments that hold no record after number *seq*: somebody else has them. One with records
        stays, so that the log says by itself where it ends.

        Raises:
            OSError: they cannot be removed.
        """
        names = segments_of(self.folder)
        if names and not _size_of(self.folder / names[-1]):
            names.pop()
        going = [name for name, following in pairwise(names) if int(following[:-6]) <= seq + 1]
        for name in going:
            size = _size_of(self.folder / name)
            (self.folder / name).unlink()
            with self._turn:
                if self._shares is not None:
                    self._shares.give_back(self._used, self._used - size)
                self._used -= size
        if going:
            sync_folder(self.folder)
            with self._turn:
                if self._trouble == _FULL and not self._is_full():
                    self._note("")

    def status(self) -> Mapping[str, object]:
        """Tell how it stands: numbers, and what is wrong."""
        return {
            "mode": "durable" if self.is_durable else "spooled",
            "records": self._seq + 1,
            "durable": self.durable,
            "bytes": self._used,
            "max_bytes": self.max_bytes,
            "unrecorded": self._dropped,
            "trouble": self._trouble,
            **({} if self._carrier is None else self._carrier.status()),
        }

    def close(self) -> None:
        """Sync what was written, and let go. Safe to call twice."""
        with self._turn:
            is_first, self._is_ended = not self._is_ended, True
            thread = self._thread
            self._bell.ring()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if not is_first:
            return
        if self._carrier is not None:
            self._carrier.close()  # after the last sync: what was recorded last goes, too
        with self._turn:
            waiting, self._waiting = self._waiting, []
            self._let_go(is_well=not self._trouble)
        _land(waiting, self._refusal("the log is closed"))

    # --- files -------------------------------------------------------------------------------------

    def _open(self) -> Segment:
        """Open the log where it ends. Raises NotRecordedError."""
        if self._is_ended:
            raise self._refusal("the log is closed")
        if self._trouble and time.monotonic() < self._again:
            raise self._refusal(self._trouble)
        self._again = time.monotonic() + _AGAIN_SECONDS
        try:
            return self._opened()
        except OSError as error:
            self._let_go()
            raise self._fail(why(error)) from None
        except NotRecordedError as error:
            self._let_go()
            self._note(str(error))
            raise
        finally:
            self._begin_thread()

    def _opened(self) -> Segment:
        files = self._files = self._files or _Files(self.folder)
        log = AuditLog(self.folder, deployment=self.deployment, clock=self._clock, speller=self._spell)
        tail, file = log.hand_over()
        files.open_head()
        segment = Segment(self.folder / str(tail.segment), file, tail.size, max(tail.room, tail.size))
        self._segment, self._is_named = segment, False
        self._seq, self._hash = tail.seq, tail.hash
        # What another process left with the kernel counts as durable here, so it must be.
        os.fdatasync(file)
        self._durable, self._durable_hash = tail.seq, tail.hash
        self._state(is_last=True)
        self._used = sum(_size_of(self.folder / name) for name in segments_of(self.folder))
        if not self._dropped:
            self._dropped, self._since = files.counted(log.tail(1))
        if files.take_mark():
            self._put(segment, (_RESUMED,))
            self._is_dirty = True
        if self._trouble:
            self._note("")
        self._again = 0.0
        self._bell.ring()
        return segment

    def _begin_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="strongroom-spool", daemon=True)
            self._thread.start()

    def _let_go(self, *, is_well: bool = False) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.close()
        files = self._files
        if files is not None and (self._is_ended or is_well):
            self._files = None
            files.close(is_well=is_well)

    # --- trouble -----------------------------------------------------------------------------------

    def _is_full(self) -> bool:
        if self.max_bytes is None or self._used < self.max_bytes:
            return False
        # A segment that was just begun takes one more: only behind it can the one before be let go.
        return self._segment is None or self._segment.size > 0

    def _fail(self, what: str) -> NotRecordedError:
        self._note(what)
        return self._refusal(what)

    def _note(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._news.append(trouble or "records are written again")
            self._bell.ring()

    def _refusal(self, what: str) -> NotRecordedError:
        return NotRecordedError(
            f"the audit record cannot be written to {self.folder} ({what}), so nothing is answered",
            folder=str(self.folder),
            hint="strongroom agent status says more",
        )


class _Waiter(NamedTuple):
    """Who waits for a sync: told on *loop*, or on the thread that syncs where that is None."""

    loop: asyncio.AbstractEventLoop | None
    done: Callable[[NotRecordedError | None], object]


class _Bell:
    """
    Wakes one thread.

    A pipe and not a lock: whoever rings lets go of the interpreter while he does, so that the thread he wakes
    begins its sync at once, instead of waking only to wait until he is done.
    """

    def __init__(self) -> None:
        self._heard, self._rope = os.pipe()
        os.set_blocking(self._rope, False)
        self._poll = select.poll()
        self._poll.register(self._heard, select.POLLIN)
        self._is_rung = False

    def __del__(self) -> None:
        # Not before: somebody may ring when the other thread has ended already.
        os.close(self._heard)
        os.close(self._rope)

    def ring(self) -> None:
        if not self._is_rung:
            self._is_rung = True
            with suppress(BlockingIOError):  # it was rung often enough
                os.write(self._rope, b"!")

    def wait(self, seconds: float | None) -> bool:
        if seconds is not None and not self._poll.poll(seconds * 1000):
            return False
        os.read(self._heard, _RINGS)
        # What was done before a ring that comes just here is seen all the same: by the spool's lock.
        self._is_rung = False
        return True


class _Done:
    """What is done already, awaited: no future, no turn of the loop."""

    def __await__(self) -> Iterator[None]:
        return iter(())


_DONE: Awaitable[None] = _Done()  # type: ignore[assignment]  # an iterator stands for a generator


class _Files:
    """
    What stands beside the segments.

    Raises:
        OSError: they cannot be opened.
        NotRecordedError: another process appends.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(folder.parent)
        self._name = str(folder / OWNER)
        self._owner = _open(folder / OWNER)
        self._number = os.fstat(self._owner).st_ino
        self._head = self._lock = self._unrecorded = -1
        try:
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock = _open(folder / "lock")
            self._unrecorded = _open(folder / _UNRECORDED)
            if os.fstat(self._unrecorded).st_size < _UNRECORDED_BYTES:
                self.count(0, "")
        except BlockingIOError:
            os.close(self._owner)
            raise NotRecordedError(
                f"another agent writes to {folder}",
                folder=str(folder),
                hint="set agent.state to another folder",
            ) from None
        except OSError:
            self.close(is_well=False)
            raise

    def open_head(self) -> None:
        """Open the head file, which the log has made by now."""
        if self._head < 0:
            self._head = _open(self._folder / "head")

    def check(self) -> None:
        """Raise OSError where the folder is not the one that was opened."""
        try:
            found = os.stat(self._name)  # noqa: PTH116 -- a Path costs five times as much
        except FileNotFoundError:
            found = None
        if found is None or found.st_ino != self._number:
            raise OSError(errno.ESTALE, "the audit folder was replaced")

    def write_head(self, seq: int, digest: str) -> bool:
        """Say what is durable; False where somebody looks just now, so that it must be said later."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.pwrite(self._head, head_bytes(seq, digest), 0)
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        except OSError:
            return False
        return True

    def count(self, number: int, since: str) -> None:
        """Say how many uses were served without a record."""
        with suppress(OSError):
            data = json.dumps({"count": number, "since": since}).encode().ljust(_UNRECORDED_BYTES - 1) + b"\n"
            os.pwrite(self._unrecorded, data, 0)

    def counted(self, last: Sequence[Record]) -> tuple[int, str]:
        """Give what `count` was told before a crash, unless the *last* record tells of it."""
        try:
            found = json.loads(os.pread(self._unrecorded, _UNRECORDED_BYTES, 0))
            number, since = int(found["count"]), str(found["since"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""
        if last and last[0].action == DROPPED and last[0].since == since:
            self.count(0, "")
            return 0, ""
        return number, since

    def take_mark(self) -> bool:
        """Say that a process writes; tell whether one ended without saying that it does not."""
        with suppress(OSError):
            if os.fstat(self._owner).st_size:
                return True
            os.pwrite(self._owner, b"a process writes here\n", 0)
        return False

    def close(self, *, is_well: bool) -> None:
        """Let go; *is_well*: nothing was lost."""
        if is_well:
            with suppress(OSError):
                os.ftruncate(self._owner, 0)
        for file in (self._head, self._lock, self._unrecorded, self._owner):
            if file >= 0:
                os.close(file)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _size_of(path: Path) -> int:
    with open_to_read(path) as file:
        return end_of_data(file.fileno())


def _uses_of(event: Event) -> int:
    if event.count is not None:
        return event.count
    return sum(ref.uses for ref in event.refs) or 1


def _land(waiting: Sequence[_Waiter], error: NotRecordedError | None) -> None:
    """Tell who waits that the records are durable, or why not."""
    of_loops: dict[asyncio.AbstractEventLoop, list[Callable[[NotRecordedError | None], object]]] = {}
    for loop, done in waiting:
        if loop is None:
            _tell([done], error)
        else:
            of_loops.setdefault(loop, []).append(done)
    for loop, several in of_loops.items():
        with suppress(RuntimeError):  # the loop ended: nobody waits any more
            loop.call_soon_threadsafe(_tell, several, error)


def _tell(
    several: Sequence[Callable[[NotRecordedError | None], object]], error: NotRecordedError | None
) -> None:
    for done in several:
        # Each its own: a traceback is put together on the error.
        done(error and NotRecordedError(str(error), folder=error.folder, hint=error.hint))


def _settle(future: Any, error: NotRecordedError | None) -> None:  # noqa: ANN401 -- of a loop, or of threads
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
