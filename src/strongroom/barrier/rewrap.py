"""
The job that puts every version and entry under the key that seals now, while everybody reads and writes.

Rules of this file:

1. What is left is asked of an index (versions by key), so nothing is done twice and nothing is passed
   over, whenever the job is killed and whoever goes on with it.
2. A batch is read and sealed anew outside any transaction, and written in a short one, each row only where
   its MAC is still the one that was read.
3. A row that fails authentication is left as it is and counted: to seal it anew would make it right.
4. One process is at work at a time. Each batch says so in its own transaction; one that was stopped for
   longer than a lease finds another in its place, and writes nothing any more.
5. While a thread of this process reads, the job sleeps, and while the job runs a thread that wants the
   interpreter waits 0.05 ms for it and not 5. To sleep after every few rows whether anybody reads or not
   takes as long as the rows.
"""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from functools import partial
from itertools import chain
from secrets import token_bytes
from typing import TYPE_CHECKING

from strongroom.barrier.proof import resealed
from strongroom.barrier.status import LEASE_SECONDS, Job
from strongroom.barrier.writing import worn_out
from strongroom.crypto.keyring import MAX_WRAPS
from strongroom.errors import ConflictError, InvalidInputError, TamperedError
from strongroom.store import rotation
from strongroom.store.record import micros, moment, ref_of
from strongroom.store.rotation import Moved

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime

    from strongroom.barrier.keychain import Keychain
    from strongroom.barrier.proof import Proof
    from strongroom.crypto.keyring import Keyring
    from strongroom.model.ref import Ref
    from strongroom.store.rotation import JobRow, Standing
    from strongroom.store.rows import EntryRow, KekRow, VersionRow
    from strongroom.store.store import Store
    from strongroom.store.transaction import Transaction

__all__ = ["Rewrap"]

_BATCH = 24  # rows: so short a transaction that nobody waits for it
_BATCH_BYTES = 8_388_608  # 8 MiB of sealed values, after which a batch ends
_PAGE = 8  # rows read at once: 8 MiB at most
_PIECE = 4  # rows written without a pause
_NAP_SECONDS = 0.002  # at most, after each row
_YIELDS = 20  # at most, of some 0.1 ms each
_SWITCH_SECONDS = 0.00005


class _Batch:
    """
    What one transaction writes, under one key.

    Attributes:
        damaged: ids of entries, with the number of a version, or 0 for all.
        reached: the id of the last entry in it.
    """

    __slots__ = ("damaged", "keyring", "marks", "reached", "versions", "weight")

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self.versions: list[Moved] = []
        self.marks: list[tuple[bytes, bytes, bytes]] = []
        self.damaged: set[tuple[bytes, int]] = set()
        self.reached = b""
        self.weight = 0

    def add(self, row: VersionRow, mac: bytes) -> None:
        """Put a version, sealed anew, in the place of the one with *mac*."""
        self.versions.append(Moved(row.entry_id, row.number, row.sealed, row.kek_id, row.mac, mac))
        self.weight += len(row.sealed)

    def pieces(self) -> Iterator[tuple[list[Moved], list[tuple[bytes, bytes, bytes]]]]:
        """Give it in parts that are written without a pause."""
        for first in range(0, max(len(self.versions), len(self.marks)), _PIECE):
            yield self.versions[first : first + _PIECE], self.marks[first : first + _PIECE]


class Rewrap:
    """
    Do the job of one deployment.

    Args:
        readers: the threads of this process that read now, which go first.

    Threads: safe; of two that run, one is refused.
    """

    def __init__(
        self,
        store: Store,
        keychain: Keychain,
        proof: Proof,
        clock: Callable[[], datetime],
        *,
        readers: Collection[int] = (),
    ) -> None:
        self._readers = readers
        self._store = store
        self._keychain = keychain
        self._proof = proof
        self._clock = clock

    def status(self) -> Job | None:
        """
        Tell how far the job is; None where none was ever begun.

        Raises:
            BackendUnavailableError: the store gave no answer.
        """
        row = self._row()
        if row is None:
            return None
        return Job(
            state=row.state,
            started_at=moment(row.started_at),
            started_by=row.started_by,
            total=row.total,
            done=row.done,
            damaged=row.damaged,
            is_at_work=row.state == "running" and self._is_held(row),
            finished_at=None if row.finished_at is None else moment(row.finished_at),
        )

    def run(
        self,
        *,
        rate: float = 0.0,
        progress: Callable[[int, int], None] | None = None,
        is_ended: Callable[[], bool] = lambda: False,
        before_end: Callable[[], object] = lambda: None,
    ) -> Job | None:
        """
        Work until nothing is left, and give how it ended; None where there was nothing to do.

        Args:
            rate: entries a second at most; 0 for as fast as it goes.
            progress: called with how many versions are done, and of how many, after each batch.
            is_ended: asked after each batch; the job is left to whoever goes on with it.
            before_end: called when no version is left, before the job counts as finished.

        Raises:
            ConflictError: another process is at work on it, or took it over.
            SealedError: a key is not to be had.
            BackendUnavailableError: the store cannot be read or written now; what is done stays done.
        """
        row = self._taken()
        if row is None:
            return None
        work = _Work(row, _Pace(rate, self._readers), progress, is_ended)
        try:
            with _yielding():
                if self._is_worked_off(work):
                    before_end()
                    self._write(work, None, state="finished", finished_at=self._now())
        finally:
            self._let_go(work.row)
        return self.status()

    def _is_worked_off(self, work: _Work) -> bool:
        """Work key by key; False where it was ended before."""
        for key in self._keychain.rows():
            if key.state == "deactivated" and not self._is_left_behind(key, work):
                return False
        return True

    # --- who is at work ------------------------------------------------------------------------

    def _row(self) -> JobRow | None:
        return self._store.ask(lambda connection: rotation.job(connection, self._keychain.deployment))

    def _taken(self) -> JobRow | None:
        """Make this the one at work, from the beginning: what is done is not found again."""
        holder = token_bytes(16)
        with self._store.write() as transaction:
            row = rotation.job(transaction.connection, self._keychain.deployment)
            if row is None or row.state != "running":
                return None
            if self._is_held(row):
                raise ConflictError("another process re-wraps this store now", hint="strongroom keys status")
            now = self._now()
            rotation.take(transaction.connection, row.deployment, holder, now)
        return row._replace(holder=holder, beat_at=now, reached=b"", damaged=0)

    def _let_go(self, row: JobRow) -> None:
        """Let another process go on at once."""
        with self._store.write() as transaction:
            rotation.beat(transaction.connection, row._replace(beat_at=0))

    def _is_held(self, row: JobRow) -> bool:
        # Either way: a clock that was put back must not hold a job for hours.
        return bool(row.holder) and abs(self._now() - row.beat_at) < LEASE_SECONDS * 1e6

    def _now(self) -> int:
        return micros(self._clock())

    # --- batches -------------------------------------------------------------------------------

    def _is_left_behind(self, key: KekRow, work: _Work) -> bool:
        """Put every row that names *key* under the one that seals now; False where it was ended before."""
        for batch in chain(self._versions(key, work.pace), self._entries(key, work.pace)):
            work.damaged |= batch.damaged
            self._write(work, batch, reached=batch.reached, damaged=len(work.damaged))
            if work.progress is not None:
                work.progress(min(work.row.done, work.row.total), work.row.total)
            if work.is_ended():
                return False
            work.pace.wait()
        return True

    def _versions(self, key: KekRow, pace: _Pace) -> Iterator[_Batch]:
        """Give every version under *key* sealed anew, with the new MAC of its entry."""
        after, many = (b"", 0), 0
        batch = _Batch(self._keychain.current(key.team))
        while found := self._store.ask(
            partial(rotation.versions_under, kek_id=key.id, after=after, limit=_PAGE)
        ):
            self._add(found, key, batch, pace)
            after, many = (found[-1].version.entry_id, found[-1].version.number), many + len(found)
            if many >= _BATCH or batch.weight >= _BATCH_BYTES:
                yield batch
                batch, many = _Batch(self._keychain.current(key.team)), 0
        if many:
            yield batch

    def _add(self, found: Sequence[Standing], key: KekRow, batch: _Batch, pace: _Pace) -> None:
        pace.breathe(0)
        ref = None
        for entry, row in found:
            is_next = row.entry_id != batch.reached
            # Anew on every page, where it costs little: what was read before may have been written meanwhile.
            if is_next or row is found[0].version:
                batch.reached = row.entry_id
                ref = self._marked(entry, row.entry_id, key, batch)
                pace.breathe(int(is_next))
            if ref is not None:
                self._seal(ref, row, batch)
                pace.breathe(0)

    def _entries(self, key: KekRow, pace: _Pace) -> Iterator[_Batch]:
        """Give a new MAC for every entry that names *key* though no version of it does."""
        find = partial(rotation.entries_naming, deployment=self._keychain.deployment, kek_id=key.id)
        after = b""
        while found := self._store.ask(partial(find, after=after, limit=_BATCH)):
            batch = _Batch(self._keychain.current(key.team))
            for entry in found:
                self._marked(entry, entry.id, key, batch)
                pace.breathe(1)
            after = batch.reached = found[-1].id
            yield batch

    def _marked(self, entry: EntryRow | None, entry_id: bytes, key: KekRow, batch: _Batch) -> Ref | None:
        """Add an entry's new MAC to *batch* and give its name; None where it is damaged."""
        ref = None if entry is None else ref_of(entry.kind, entry.name, entry.team)
        if entry is None or ref is None or (entry.deployment, entry.team) != (key.deployment, key.team):
            batch.damaged.add((entry_id, 0))  # it is not where its key is
            return None
        try:
            mark = self._proof.remarked(entry, ref, batch.keyring)
        except TamperedError:
            batch.damaged.add((entry_id, 0))
            return None
        if mark != entry.mac:
            batch.marks.append((mark, entry.id, entry.mac))
        return ref

    def _seal(self, ref: Ref, row: VersionRow, batch: _Batch) -> None:
        """Add an authentic version, sealed anew, to *batch*."""
        try:
            self._proof.check_version(ref, row, batch.keyring)
            batch.add(resealed(ref, row, batch.keyring), row.mac)
        except (TamperedError, InvalidInputError):
            batch.damaged.add((row.entry_id, row.number))

    def _write(self, work: _Work, batch: _Batch | None, **changed: object) -> None:
        """Write a batch and how far the job is, if it is still this process's."""
        row = work.row._replace(beat_at=self._now(), **changed)  # type: ignore[arg-type]  # its columns
        with self._store.write() as transaction:
            connection = transaction.connection
            if batch is not None:
                for versions, marks in batch.pieces():
                    row = row._replace(done=row.done + rotation.move(connection, versions, marks))
                    work.pace.breathe(0)
                if batch.versions:
                    self._count(transaction, batch.versions[0].kek_id, len(batch.versions))
            if not rotation.beat(connection, row):
                raise ConflictError("another process took the job over", hint="strongroom keys status")
        work.row = row

    def _count(self, transaction: Transaction, key_id: bytes, uses: int) -> None:
        made = rotation.add_wraps(transaction.connection, key_id, uses, MAX_WRAPS)
        if made is not None and made > MAX_WRAPS:
            raise worn_out(key_id)


class _Work:
    """One run of the job: how far it is, and who is told."""

    def __init__(
        self,
        row: JobRow,
        pace: _Pace,
        progress: Callable[[int, int], None] | None,
        is_ended: Callable[[], bool],
    ) -> None:
        self.row = row
        self.pace = pace
        self.progress = progress
        self.is_ended = is_ended
        self.damaged: set[tuple[bytes, int]] = set()


@contextmanager
def _yielding() -> Iterator[None]:
    """Let other threads of this process in sooner (rule 5)."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(before, _SWITCH_SECONDS))
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class _Pace:
    """Keeps a job to so many entries a second, and behind whoever reads."""

    def __init__(self, rate: float, readers: Collection[int]) -> None:
        self._rate = rate
        self._readers = readers
        self._free_at = time.monotonic()

    def breathe(self, count: int) -> None:
        """Sleep for as long as *count* entries ask for and a nap at most, or while somebody reads."""
        for _ in range(_YIELDS):
            if not self._readers:
                break
            time.sleep(0)
        if self._rate <= 0:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now - 1.0) + count / self._rate
        if self._free_at > now:
            time.sleep(min(self._free_at - now, _NAP_SECONDS))

    def wait(self) -> None:
        """Wait as long as the entries up to now ask for."""
        if self._rate > 0:
            time.sleep(max(0.0, self._free_at - time.monotonic()))
