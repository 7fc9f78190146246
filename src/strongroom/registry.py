"""
Who may: typed rows of a deployment that nobody changes unseen.

People, tokens, sessions, roles, policies, grants and the like are rows (kind, id, body) in the store.
What a body means is the business of whoever wrote it. The store is not trusted with more than keeping
bytes.

Rules of this file:

1. Every row carries a MAC under the deployment's key over all its columns: a row that was edited,
   moved or planted is noticed.
2. One head carries the revision, the count and a digest over the MACs of all live rows, with a MAC of
   its own: a row that was deleted, or put back as it stood before, is noticed.
3. The anchor, a file outside the store, holds the highest revision acknowledged: rows and head put
   back together, as by an old copy of the file, are noticed.
4. Whatever is noticed, nothing of the registry is believed until it is put right: every question is
   answered with `TamperedError`, and the alarm is raised once.
5. A change by another process on the host is seen within 0.5 s, and never later than one second after
   it: who cannot look for that long gives no answer at all.

The digest is SHA-256 over the digests of 256 buckets, each SHA-256 over the sorted MACs of its rows (a
row's bucket is the first byte of its MAC), so that a write costs one bucket and not all rows.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import weakref
from contextlib import contextmanager, suppress
from hashlib import sha256
from hmac import compare_digest
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol

from strongroom.errors import (
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    StrongroomError,
    TamperedError,
)
from strongroom.store.rows import HeadRow, RegistryRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from strongroom.store.store import Store
    from strongroom.store.transaction import Transaction

__all__ = ["ABSENT", "MAX_BODY_BYTES", "Change", "Registry", "Row", "Seal", "Snapshot"]

ABSENT = 0
"""What `expected` says of a row that must not be there."""

MAX_BODY_BYTES = 1_048_576  # 1 MiB

_LOOK_SECONDS = 0.25  # between two looks at the bell
_TRUST_SECONDS = 0.75  # how long the watcher's last look counts; with a look every 0.25 s: within a second
_ANCHOR_SECONDS = 1.0  # between two writes of the anchor by one process
_FULL_SECONDS = 60.0  # all rows are read and authenticated anew at least this often
_FULL_SHARE = 100  # a full look may take a hundredth of the time
_LEAP = 1_000_000
_KIND = re.compile(r"[a-z][a-z_-]{0,30}", re.ASCII)
_PLAIN_ID = re.compile(r"[!-~]{1,100}", re.ASCII)
_MAX_ID = 512  # characters
_KEY_ID_BYTES = 16
_BUCKETS = 256
_ANCHOR_BYTES = 256
_EMPTY = sha256(b"").digest()


class Row(NamedTuple):
    """
    One live row.

    Args:
        revision: of the registry when this row was written.
    """

    kind: str
    id: str
    body: bytes
    revision: int


class Change(NamedTuple):
    """
    One change of `put_many`.

    Args:
        body: what to write; None deletes.
        expected: the revision of the row that must stand, ABSENT for none, None for whatever stands.
    """

    kind: str
    id: str
    body: bytes | None
    expected: int | None = None


class Snapshot(NamedTuple):
    """
    The whole registry at one revision. It does not change.

    Args:
        revision: grows by one with every `put_many`; 0 before the first.
        rows: kind → id → row. The mapping of a kind is the same object until a row of that kind changes,
            so that what was made of it can be kept by identity.
    """

    revision: int
    rows: Mapping[str, Mapping[str, Row]]

    def of(self, kind: str) -> Mapping[str, Row]:
        """Give the rows of one kind by id; empty where there are none."""
        return self.rows.get(kind) or _NO_ROWS


_NO_ROWS: Mapping[str, Row] = {}


class Seal(Protocol):
    """What the registry needs of a barrier: MACs under the key of the deployment."""

    def mac_row(self, table: str, columns: Iterable[object]) -> bytes:
        """Authenticate a row."""
        ...

    def check_row(self, table: str, columns: Iterable[object], mac: object) -> None:
        """Compare in constant time; raise TamperedError."""
        ...


class Registry:
    """
    The rows of one deployment in one store.

    Trust: what it gives was authenticated as a whole; see the rules above.
    Threads: safe. A forked child may go on using it; the watcher stays with the parent.
    Consistency: own writes are seen at once, those of other processes within a second.

    Attributes:
        seal: the barrier, for what else is to be authenticated as a row is.

    Args:
        seal: the barrier of the deployment.
        anchor: a file outside the store that holds the highest revision acknowledged, made when it is
            first needed; None for none.
        on_alarm: called once for each time the rows turn out to be tampered with, from whichever thread
            noticed.
    """

    def __init__(
        self,
        store: Store,
        seal: Seal,
        *,
        deployment: str,
        anchor: Path | None = None,
        on_alarm: Callable[[TamperedError], None] | None = None,
    ) -> None:
        self.deployment = deployment
        self.seal = seal
        self._store = store
        self._seal = seal
        self._anchor = _Anchor(anchor, seal, deployment, store.id)
        self._alarms = [] if on_alarm is None else [on_alarm]
        self._callbacks: list[Callable[[Snapshot], None]] = []
        self._ticks: list[Callable[[], None]] = []
        self._closers: list[Callable[[], None]] = []
        self._state = _State.empty()
        self._has_looked = False
        self._trouble: TamperedError | None = None
        self._untold: TamperedError | None = None
        self._good_until = 0.0
        self._bell = -1
        self._is_rung = True
        self._full_after = 0.0
        self._full_before = 0.0
        self._looking = Lock()
        self._ended = Event()
        self._watcher: Thread | None = None
        _registries.add(self)

    def _after_fork(self) -> None:
        # The watcher is the parent's, and it may have held the lock at that moment.
        self._looking = Lock()
        self._watcher = None
        self._good_until = 0.0
        self._anchor.after_fork()

    # --- reading -------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """
        Give the rows as they stand.

        Raises:
            TamperedError: a row or the head was changed by hand, or an older state was put back; the alarm
                and `problems` say more.
            BackendUnavailableError: the store gave no answer for a second.
            SealedError: the key is not to be had.
        """
        if monotonic() >= self._good_until:
            self.look()
        if self._trouble is not None:
            # To whoever asks, known or not: that it is so, and not which name it is about.
            raise TamperedError(_PREFIX.rstrip(": "), hint=_HINT)
        return self._state.snapshot

    def look(self) -> None:
        """
        Look now whether anything changed; `snapshot` and the watcher do.

        Raises:
            BackendUnavailableError, SealedError: as `snapshot`. Tampering is kept for `snapshot` to tell.
        """
        with self._looking:
            before = self._state.snapshot.revision
            self._look()
            lasts = _TRUST_SECONDS if self._watcher is not None else _LOOK_SECONDS
            self._good_until = monotonic() + lasts
            is_changed = self._state.snapshot.revision != before
            untold, self._untold = self._untold, None
        if untold is not None:
            for alarm in list(self._alarms):
                alarm(untold)
        if is_changed:
            self._tell()

    def _look(self) -> None:
        bell = self._store.data_version()
        self._is_rung = self._is_rung or bell != self._bell
        self._bell = bell
        now = monotonic()
        is_due = now >= (self._full_before if self._trouble is None else self._full_after)
        if is_due or not self._has_looked:
            self._look_at_all()
        elif self._is_rung and self._trouble is None:
            if self._store.head(self.deployment) != self._state.head:
                self._follow()
            elif now >= self._full_after:
                # Somebody wrote, and not to the registry; or to the registry, and not as we do.
                self._look_at_all()

    def _follow(self) -> None:
        """Take over what others wrote; where rows were deleted all of them are read."""
        base = self._state
        try:
            head, rows = self._store.registry(self.deployment, base.snapshot.revision)
            self._install(self._advanced(base, head, rows))
        except _MismatchError:
            self._look_at_all()
        except TamperedError as error:
            self._alarm(error)

    def _look_at_all(self) -> None:
        started = monotonic()
        least = self._least()  # before the rows are read: others may raise it meanwhile
        try:
            head, rows = self._store.registry(self.deployment)
            self._install(self._whole(head, rows, least))
        except TamperedError as error:
            self._alarm(error)
        else:
            self._trouble = None
        self._has_looked = True
        self._is_rung = False
        ended = monotonic()
        self._full_after = ended + max(1.0, _FULL_SHARE * (ended - started))
        self._full_before = ended + max(_FULL_SECONDS, _FULL_SHARE * (ended - started))

    def _least(self) -> int:
        return max(self._state.snapshot.revision, self._anchor.read())

    def _install(self, state: _State) -> None:
        # A thread that wrote meanwhile may be ahead of one that looked.
        if state.snapshot.revision > self._state.snapshot.revision or self._state.head is None:
            self._state = state

    def _alarm(self, error: TamperedError) -> None:
        if self._trouble is None:
            self._untold = error
        self._trouble = error

    # --- authenticating ------------------------------------------------------------------------

    def _check_head(self, head: HeadRow | None, least: int) -> None:
        """Refuse a head that is not ours, or older than *least*."""
        if head is None:
            if least:
                raise _older()
            return
        if [type(column) for column in head] != [str, int, int, bytes, bytes]:
            raise _tampered("its head has a column of another type")
        try:
            self._seal.check_row("registry-head", head[:-1], head.mac)
        except TamperedError:
            raise _tampered("its head failed authentication") from None
        if head.revision < least:
            raise _older()

    def _authentic(self, row: RegistryRow, known: _State) -> Row:
        found = known.snapshot.of(row.kind).get(row.id) if type(row.kind) is str else None
        if (
            found is not None
            and found[2:] == (row.body, row.revision)
            and known.macs[row.kind, row.id] == row.mac
        ):
            return found  # authenticated before
        # Another type of column is refused by the MAC: what it covers names the type of each.
        try:
            self._seal.check_row("registry", row[:-1], row.mac)
        except TamperedError:
            raise _tampered(f"{_called(row.kind, row.id)} failed authentication") from None
        return Row(row.kind, row.id, row.body, row.revision)

    def _whole(self, head: HeadRow | None, rows: Sequence[RegistryRow], least: int) -> _State:
        known = self._state
        self._check_head(head, least)
        if known.head is not None and head is not None and head != known.head:
            self._check_successor(head, known.head)
        kinds: dict[str, dict[str, Row]] = {}
        macs = {}
        for row in rows:
            found = self._authentic(row, known)
            kinds.setdefault(found.kind, {})[found.id] = found
            macs[found.kind, found.id] = row.mac
        buckets = _Buckets.of(macs.values())
        self._check_digest(head, len(macs), buckets)
        snapshot = Snapshot(0 if head is None else head.revision, _kept(kinds, known.snapshot))
        return _State(snapshot, macs, buckets, head)

    def _check_successor(self, head: HeadRow, known: HeadRow) -> None:
        if head.revision == known.revision:
            raise _tampered("another history was put in its place")

    def _check_digest(self, head: HeadRow | None, count: int, buckets: _Buckets) -> None:
        if head is None:
            if count:
                raise _tampered("its head is missing")
        elif head.row_count != count or not compare_digest(head.digest, buckets.digest()):
            raise _tampered("a row was deleted, or put back as it stood before")

    def _advanced(self, base: _State, head: HeadRow | None, rows: Sequence[RegistryRow]) -> _State:
        """
        Give the state after *rows* were written over *base*.

        Raises:
            _MismatchError: that is not all that happened.
            TamperedError: a row or the head is not ours.
        """
        self._check_head(head, base.snapshot.revision)
        if head is None:
            return base
        if base.head is not None and head != base.head:
            self._check_successor(head, base.head)
        changes = [(self._authentic(row, base), row.mac) for row in rows]
        advanced = base.changed(changes, (), revision=head.revision)
        try:
            self._check_digest(head, len(advanced.macs), advanced.buckets)
        except TamperedError:
            raise _MismatchError from None
        return advanced._replace(head=head)

    # --- writing -------------------------------------------------------------------------------

    # `id` is the column's word, here and below.
    def put(self, kind: str, id: str, body: bytes, *, expected: int | None = None) -> int:  # noqa: A002
        """
        Write one row and give the new revision, which is the row's too.

        Raises:
            As `put_many`.
        """
        return self.put_many([Change(kind, id, body, expected)])

    def delete(self, kind: str, id: str, *, expected: int | None = None) -> bool:  # noqa: A002
        """
        Delete one row and tell whether there was one.

        Raises:
            As `put_many`.
        """
        return self._do(lambda _snapshot: [Change(kind, id, None, expected)])[1]

    def put_many(self, changes: Iterable[Change]) -> int:
        """
        Do all of *changes* or none, and give the revision that stands then: one more, or the same where
        nothing was to be done. It is on the disk when this returns.

        Raises:
            ConflictError: a row is not the one expected; nothing was done.
            InvalidInputError: kind, id or body is not what a row can hold.
            TamperedError: the registry was changed by hand; nothing was done.
            SealedError, BackendUnavailableError: as `snapshot`; and another process writes.
        """
        wanted = list(changes)
        return self._do(lambda _snapshot: wanted)[0]

    def change(self, decide: Callable[[Snapshot], Iterable[Change]]) -> int:
        """
        Do what *decide* gives for the rows as they stand in the very moment of writing.

        Args:
            decide: called once while nobody else can write, so it is quick; what it raises undoes all.

        Raises:
            As `put_many`.
        """
        return self._do(decide)[0]

    def _do(self, decide: Callable[[Snapshot], Iterable[Change]]) -> tuple[int, bool]:
        """Do as `change`, and tell also whether there was anything to do."""
        self.snapshot()  # raises what is wrong, before anything is held
        with self._transaction() as (transaction, base):
            wanted = list(decide(base.snapshot))
            for change in wanted:
                _check(change)
            _expect(wanted, base.snapshot)
            made = self._made(wanted, base)
            if made is not None:
                transaction.change_registry(*made[1:])
        state = base if made is None else made[0]
        return self._keep(state), made is not None

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Transaction, _State]]:
        """Begin a write, and give with it the state that stands inside it."""
        with self._store.write() as transaction:
            base = self._state
            head = transaction.head(self.deployment)
            if head != base.head:
                base = self._caught_up(transaction, base, head)
            yield transaction, base

    def _caught_up(self, transaction: Transaction, base: _State, head: HeadRow | None) -> _State:
        try:
            rows = transaction.registry(self.deployment, base.snapshot.revision)
            return self._advanced(base, head, rows)
        except _MismatchError:
            return self._whole(head, transaction.registry(self.deployment), base.snapshot.revision)

    def _made(
        self, wanted: Sequence[Change], base: _State
    ) -> tuple[_State, HeadRow, list[RegistryRow], list[tuple[str, str]]] | None:
        revision = base.snapshot.revision + 1
        last = {(change.kind, change.id): change for change in wanted}.values()
        deleted = [
            (change.kind, change.id)
            for change in last
            if change.body is None and (change.kind, change.id) in base.macs
        ]
        written = [
            self._sealed(Row(change.kind, change.id, change.body, revision))
            for change in last
            if change.body is not None
        ]
        if not deleted and not written:
            return None
        pairs = [(Row(*row[1:-1]), row.mac) for row in written]
        state = base.changed(pairs, deleted, revision=revision)
        head = self._head(state)
        return state._replace(head=head), head, written, deleted

    def _sealed(self, row: Row) -> RegistryRow:
        columns = (self.deployment, *row)
        return RegistryRow(*columns, mac=self._seal.mac_row("registry", columns))

    def _head(self, state: _State) -> HeadRow:
        columns = (
            self.deployment,
            state.snapshot.revision,
            len(state.macs),
            state.buckets.digest(),
        )
        return HeadRow(*columns, mac=self._seal.mac_row("registry-head", columns))

    def _keep(self, state: _State) -> int:
        """Believe what was committed, and tell."""
        self._install(state)
        self._anchor.reach(state.snapshot.revision)
        self._tell()
        return state.snapshot.revision

    # --- putting right -------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """
        Tell everything that is wrong, a clause each; empty where nothing is.

        Raises:
            BackendUnavailableError, SealedError: as `snapshot`.
        """
        least = self._least()
        head, rows = self._store.registry(self.deployment)
        _, found = self._sifted(rows)
        try:
            self._check_head(head, least)
            if not found:
                self._whole(head, rows, least)
        except TamperedError as error:
            found.append(_clause(error))
        return found

    def accept(self, *, dropping: Iterable[str] = ()) -> list[str]:
        """
        Take the rows as they stand for right, drop those that fail authentication, and give what was
        wrong. For a person who knows why it happened: rows that were deleted or put back stay so.

        Args:
            dropping: kinds that are dropped altogether.

        Raises:
            BackendUnavailableError, SealedError: as `put_many`.
        """
        found = self.problems()
        least = self._least()
        without = frozenset(dropping)
        with self._store.write() as transaction:
            authentic, _ = self._sifted(transaction.registry(self.deployment))
            revisions = [row.revision for row, _ in authentic]
            # A leap: a process that knew more than can be told from here goes along.
            revision = max([least, *revisions, self._revision_of(transaction.head(self.deployment))]) + _LEAP
            kept = [(row, mac) for row, mac in authentic if row.kind not in without]
            state = _State.empty().changed(kept, (), revision=revision)
            head = self._head(state)
            transaction.clear_registry(self.deployment)
            rows = [RegistryRow(self.deployment, *row, mac) for row, mac in kept]
            transaction.change_registry(head, rows, ())
        self._trouble = None
        self._state = state._replace(head=head)
        self._keep(self._state)
        return found

    def _revision_of(self, head: HeadRow | None) -> int:
        """Give the revision of a head that is ours, 0 of any other: it could be as high as numbers go."""
        try:
            self._check_head(head, 0)
        except TamperedError:
            return 0
        return 0 if head is None else head.revision

    def _sifted(self, rows: Sequence[RegistryRow]) -> tuple[list[tuple[Row, bytes]], list[str]]:
        good, bad = [], []
        for row in rows:
            try:
                good.append((self._authentic(row, self._state), row.mac))
            except TamperedError as error:
                bad.append(_clause(error))
        return good, bad

    # --- watching ------------------------------------------------------------------------------

    def watch(self, callback: Callable[[Snapshot], None]) -> None:
        """
        Call *callback* with the rows after every change: own ones from the thread that made them, those
        of other processes from a thread of the registry's, within 0.5 s. It must not block or raise.
        """
        self._callbacks.append(callback)
        self.start()

    def on_alarm(self, callback: Callable[[TamperedError], None]) -> None:
        """Call *callback* too when the rows turn out to be tampered with."""
        self._alarms.append(callback)

    def every_look(self, callback: Callable[[], None]) -> None:
        """Call *callback* from the watcher with each of its looks, whether anything changed or not."""
        self._ticks.append(callback)

    def on_close(self, callback: Callable[[], None]) -> None:
        """Call *callback* when this is closed, before anything is let go of."""
        self._closers.append(callback)

    def start(self) -> None:
        """Look at the bell four times a second from now on, from a thread that dies with this registry."""
        if self._watcher is None:
            thread = Thread(
                target=_watch, args=(weakref.ref(self), self._ended), daemon=True, name="strongroom-registry"
            )
            self._watcher = thread
            thread.start()

    def _tell(self) -> None:
        for callback in list(self._callbacks):
            callback(self._state.snapshot)

    def tick(self) -> None:
        """Let the anchor catch up, and call what waits for every look; the watcher does."""
        self._anchor.flush()
        for callback in list(self._ticks):
            callback()

    def close(self) -> None:
        """End the watcher and let the anchor catch up. Safe to call twice; the store stays open."""
        self._ended.set()
        closers, self._closers = self._closers, []
        try:
            for closer in closers:
                closer()
        finally:
            self._callbacks.clear()
            self._ticks.clear()
            self._anchor.flush()


_registries: weakref.WeakSet[Registry] = weakref.WeakSet()


def _after_fork() -> None:
    for registry in list(_registries):
        registry._after_fork()  # noqa: SLF001 -- the class registers its own instances


os.register_at_fork(after_in_child=_after_fork)


def _watch(registry: weakref.ref[Registry], ended: Event) -> None:
    while not ended.wait(_LOOK_SECONDS):
        found = registry()
        if found is None:
            return
        # What keeps it from looking is told by `snapshot`, once the last look is too old.
        with suppress(StrongroomError):
            found.look()
        with suppress(StrongroomError):
            found.tick()
        del found


# --- states ----------------------------------------------------------------------------------------


class _MismatchError(Exception):
    """Rows alone do not lead from one state to the next: some were deleted."""


class _Buckets(NamedTuple):
    """The MACs of all live rows by their first byte, and the digest of each bucket."""

    macs: tuple[frozenset[bytes], ...]
    digests: tuple[bytes, ...]

    @classmethod
    def of(cls, macs: Iterable[bytes]) -> _Buckets:
        """Sort *macs* into buckets."""
        sorted_out: list[set[bytes]] = [set() for _ in range(_BUCKETS)]
        for mac in macs:
            sorted_out[_bucket(mac)].add(mac)
        buckets = tuple(map(frozenset, sorted_out))
        return cls(buckets, tuple(map(_digest, buckets)))

    def changed(self, gone: Iterable[bytes], added: Iterable[bytes]) -> _Buckets:
        """Give the buckets without *gone* and with *added*; only those that change are computed."""
        touched: dict[int, set[bytes]] = {}
        for mac in gone:
            touched.setdefault(_bucket(mac), set(self.macs[_bucket(mac)])).discard(mac)
        for mac in added:
            touched.setdefault(_bucket(mac), set(self.macs[_bucket(mac)])).add(mac)
        macs, digests = list(self.macs), list(self.digests)
        for index, bucket in touched.items():
            macs[index] = frozenset(bucket)
            digests[index] = _digest(macs[index])
        return _Buckets(tuple(macs), tuple(digests))

    def digest(self) -> bytes:
        """Give the digest over all buckets: 32 bytes."""
        return sha256(b"".join(self.digests)).digest()


def _bucket(mac: bytes) -> int:
    return mac[_KEY_ID_BYTES]  # the key's id stands first; nobody chooses what follows


def _digest(macs: frozenset[bytes]) -> bytes:
    # MACs are all of one length, so joining them is injective.
    return sha256(b"".join(sorted(macs))).digest() if macs else _EMPTY


class _State(NamedTuple):
    """Everything that is known and authentic at one revision."""

    snapshot: Snapshot
    macs: Mapping[tuple[str, str], bytes]
    buckets: _Buckets
    head: HeadRow | None

    @classmethod
    def empty(cls) -> _State:
        """Give the state before the first write."""
        return cls(Snapshot(0, {}), {}, _Buckets.of(()), None)

    def changed(
        self, written: Sequence[tuple[Row, bytes]], deleted: Sequence[tuple[str, str]], *, revision: int
    ) -> _State:
        """Give the state after rows were written, each with its MAC, and others deleted; without its head."""
        macs = dict(self.macs)
        kinds = dict(self.snapshot.rows)
        fresh: dict[str, dict[str, Row]] = {}
        gone = [macs.pop(key) for key in deleted]
        for kind, row_id in deleted:
            fresh.setdefault(kind, dict(kinds.get(kind, {}))).pop(row_id)
        for row, mac in written:
            key = (row.kind, row.id)
            if key in macs:
                gone.append(macs[key])
            macs[key] = mac
            fresh.setdefault(row.kind, dict(kinds.get(row.kind, {})))[row.id] = row
        kinds.update(fresh)
        buckets = self.buckets.changed(gone, [mac for _, mac in written])
        return _State(Snapshot(revision, kinds), macs, buckets, None)


def _kept(kinds: Mapping[str, dict[str, Row]], known: Snapshot) -> dict[str, Mapping[str, Row]]:
    """Give *kinds* with the mapping known before wherever nothing in it changed."""
    return {
        kind: known.rows[kind] if kind in known.rows and known.rows[kind] == rows else rows
        for kind, rows in kinds.items()
    }


# --- refusing --------------------------------------------------------------------------------------


def _check(change: Change) -> None:
    if not _KIND.fullmatch(change.kind):
        raise InvalidInputError("a kind of rows is a short word of a-z")
    if not 0 < len(change.id) <= _MAX_ID:
        raise InvalidInputError(f"the id of a row has 1 to {_MAX_ID} characters", limit=_MAX_ID)
    if change.body is not None and len(change.body) > MAX_BODY_BYTES:
        raise InvalidInputError(f"a row has at most {MAX_BODY_BYTES} bytes", limit=MAX_BODY_BYTES)


def _expect(wanted: Sequence[Change], snapshot: Snapshot) -> None:
    for change in wanted:
        if change.expected is None:
            continue
        row = snapshot.of(change.kind).get(change.id)
        current = ABSENT if row is None else row.revision
        if current != change.expected:
            is_new = change.expected == ABSENT
            raise ConflictError(
                f"the {change.kind} {'exists already' if is_new else 'was changed meanwhile'}",
                current_version=None if row is None else str(current),
                hint="choose another name" if is_new else "look at it again, then repeat",
            )


_HINT = "find out who could write the store; then, on its host: strongroom access check"
_PREFIX = "the registry of who may was changed by hand: "


def _tampered(what: str) -> TamperedError:
    return TamperedError(f"{_PREFIX}{what}", hint=_HINT)


def _older() -> TamperedError:
    return _tampered("it is older than what was acknowledged, as after an old copy was brought back")


def _clause(error: TamperedError) -> str:
    return str(error).removeprefix(_PREFIX)


def _called(kind: object, row_id: object) -> str:
    """Name a row in a message; what was planted as a name is not repeated unless it is plain."""
    if isinstance(kind, str) and isinstance(row_id, str) and _KIND.fullmatch(kind):
        return f'{kind} "{row_id}"' if _PLAIN_ID.fullmatch(row_id) else f"a {kind}"
    return "a row"


# --- the anchor ------------------------------------------------------------------------------------


class _Anchor:
    """
    The highest revision that was acknowledged, in a file outside the store.

    A file that is missing, damaged or of another store says nothing. One that cannot be written is left
    as it is: it only makes an old state put back harder to pass off.
    """

    def __init__(self, path: Path | None, seal: Seal, deployment: str, store_id: bytes) -> None:
        self._path = path
        self._seal = seal
        self._names = (deployment, store_id)
        self._reached = 0
        self._written = 0
        self._again_at = 0.0
        self._lock = Lock()

    def after_fork(self) -> None:
        """Forget a lock that another thread of the parent may have held."""
        self._lock = Lock()

    def read(self) -> int:
        """Give the revision it holds, 0 where it holds none."""
        if self._path is None:
            return 0
        try:
            with self._path.open("rb") as file:
                return self._parsed(file.read(_ANCHOR_BYTES))
        except OSError:
            return 0

    def _parsed(self, data: bytes) -> int:
        try:
            said = json.loads(data)
            revision, mac = int(said["revision"]), bytes.fromhex(said["mac"])
            self._seal.check_row("registry-anchor", (*self._names, revision), mac)
        except (ValueError, TypeError, KeyError, RecursionError, TamperedError):
            return 0
        return revision

    def reach(self, revision: int) -> None:
        """Hold *revision*: at once, or with the next `flush` when the last write was a moment ago."""
        self._reached = max(self._reached, revision)
        if monotonic() >= self._again_at:
            self.flush()

    def flush(self) -> None:
        """Write what was reached since."""
        if self._path is None or self._reached <= self._written:
            return
        with self._lock:
            reached = self._reached
            with suppress(OSError, BackendUnavailableError):
                self._write(self._path, reached)
            self._written = reached
            self._again_at = monotonic() + _ANCHOR_SECONDS

    def _write(self, path: Path, revision: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(path, flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._parsed(os.pread(file, _ANCHOR_BYTES, 0)) >= revision:
                return
            mac = self._seal.mac_row("registry-anchor", (*self._names, revision))
            line = json.dumps({"mac": mac.hex(), "revision": revision})
            os.pwrite(file, line.ljust(_ANCHOR_BYTES - 1).encode() + b"\n", 0)
            os.fdatasync(file)
        finally:
            os.close(file)
