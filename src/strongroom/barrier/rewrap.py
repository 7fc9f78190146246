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
"""

from __future__ import annotations

import time
from functools import partial
from secrets import token_bytes
from typing import TYPE_CHECKING, NamedTuple

from strongroom.barrier.proof import resealed
from strongroom.barrier.status import LEASE_SECONDS, Job
from strongroom.barrier.writing import worn_out
from strongroom.crypto.keyring import MAX_WRAPS
from strongroom.errors import ConflictError, InvalidInputError, TamperedError
from strongroom.store import rotation
from strongroom.store.record import micros, moment, ref_of
from strongroom.store.rotation import Moved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from strongroom.barrier.keychain import Keychain
    from strongroom.barrier.proof import Proof
    from strongroom.crypto.keyring import Keyring
    from strongroom.store.rotation import JobRow
    from strongroom.store.rows import KekRow, VersionRow
    from strongroom.store.store import Store
    from strongroom.store.transaction import Transaction

__all__ = ["Rewrap"]

_ENTRIES = 25  # in a batch: so short a transaction that nobody waits for it
_VERSIONS = 16  # of one entry read at once: 16 MiB at most
_BATCH_BYTES = 8_388_608  # 8 MiB of sealed values, after which a batch ends
_NAP_SECONDS = 0.0  # after each entry: whoever waits for the interpreter gets it


class _Batch(NamedTuple):
    """What one transaction writes. Damaged are ids of entries, with the number of a version, or 0 for all."""

    versions: list[Moved]
    marks: list[tuple[bytes, bytes, bytes]]
    reached: bytes
    damaged: set[tuple[bytes, int]]


class Rewrap:
    """
    Do the job of one deployment.

    Threads: safe; of two that run, one is refused.
    """

    def __init__(self, store: Store, keychain: Keychain, proof: Proof, clock: Callable[[], datetime]) -> None:
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
        work = _Work(row, _Pace(rate), progress, is_ended)
        try:
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
        for find in (self._under, self._naming):
            reached = b""
            while ids := find(key, reached):
                batch = self._batch(key, ids)
                reached = batch.reached
                work.damaged |= batch.damaged
                self._write(work, batch, reached=reached, damaged=len(work.damaged))
                if work.progress is not None:
                    work.progress(min(work.row.done, work.row.total), work.row.total)
                if work.is_ended():
                    return False
                work.pace.wait(len(ids))
        return True

    def _under(self, key: KekRow, after: bytes) -> list[bytes]:
        return self._store.ask(lambda connection: rotation.entries_under(connection, key.id, after, _ENTRIES))

    def _naming(self, key: KekRow, after: bytes) -> list[bytes]:
        deployment = self._keychain.deployment
        return self._store.ask(
            lambda connection: rotation.entries_naming(connection, deployment, key.id, after, _ENTRIES)
        )

    def _batch(self, key: KekRow, ids: list[bytes]) -> _Batch:
        """Seal the rows of as many entries of *ids* anew as one transaction should hold."""
        keyring = self._keychain.current(key.team)
        made = _Batch([], [], b"", set())
        weight = 0
        for entry_id in ids:
            made = made._replace(reached=entry_id)
            try:
                weight += self._entry(entry_id, key, keyring, made)
            except TamperedError:
                made.damaged.add((entry_id, 0))
            if weight >= _BATCH_BYTES:
                break
            time.sleep(_NAP_SECONDS)
        return made

    def _entry(self, entry_id: bytes, key: KekRow, keyring: Keyring, made: _Batch) -> int:
        """Add an entry's new MAC and its versions under *key*, sealed anew, to *made*; give their bytes."""
        entry = self._store.ask(lambda connection: rotation.entry(connection, entry_id))
        ref = None if entry is None else ref_of(entry.kind, entry.name, entry.team)
        if entry is None or ref is None or (entry.deployment, entry.team) != (key.deployment, key.team):
            raise TamperedError("an entry is not where its key is")
        mark = self._proof.remarked(entry, ref, keyring)
        weight = 0
        for row in self._versions(entry_id, key.id):
            try:
                self._proof.check_version(ref, row, keyring)
                new = resealed(ref, row, keyring)
            except (TamperedError, InvalidInputError):
                made.damaged.add((entry_id, row.number))
            else:
                made.versions.append(
                    Moved(row.entry_id, row.number, new.sealed, new.kek_id, new.mac, row.mac)
                )
                weight += len(new.sealed)
        if mark != entry.mac:
            made.marks.append((mark, entry.id, entry.mac))
        return weight

    def _versions(self, entry_id: bytes, key_id: bytes) -> Iterator[VersionRow]:
        after = 0
        while True:
            rows = self._store.ask(
                partial(
                    rotation.versions_under, entry_id=entry_id, kek_id=key_id, after=after, limit=_VERSIONS
                )
            )
            yield from rows
            if len(rows) < _VERSIONS:
                return
            after = rows[-1].number

    def _write(self, work: _Work, batch: _Batch | None, **changed: object) -> None:
        """Write a batch and how far the job is, if it is still this process's."""
        row = work.row._replace(beat_at=self._now(), **changed)  # type: ignore[arg-type]  # its columns
        with self._store.write() as transaction:
            connection = transaction.connection
            if batch is not None:
                row = row._replace(done=row.done + rotation.move(connection, batch.versions, batch.marks))
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


class _Pace:
    """Keeps a job to so many entries a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = time.monotonic()

    def wait(self, count: int) -> None:
        """Wait as long as *count* entries ask for."""
        if self._rate <= 0:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now - 1.0) + count / self._rate
        time.sleep(max(0.0, self._free_at - now))
