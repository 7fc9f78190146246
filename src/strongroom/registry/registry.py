"""The registry of one deployment: read, written, put right and watched."""

from __future__ import annotations

import os
import weakref
from contextlib import contextmanager, suppress
from copy import copy
from datetime import timedelta
from threading import Event, Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING

from strongroom.errors import BackendUnavailableError, StrongroomError, TamperedError
from strongroom.registry.anchor import Anchor
from strongroom.registry.proof import MismatchError, Proof
from strongroom.registry.row import Change, Row, check, expect
from strongroom.registry.seal import clause, refusal
from strongroom.registry.state import State
from strongroom.store.rows import RegistryRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from strongroom.registry.row import Snapshot
    from strongroom.registry.seal import Seal
    from strongroom.store.rows import HeadRow
    from strongroom.store.store import Store
    from strongroom.store.transaction import Transaction

_LOOK_SECONDS = 0.25  # between two looks at the bell
_SILENT_SECONDS = 0.5  # for which a look without an answer speaks for all who come; the watcher looks on
_TRUST_SECONDS = 0.75  # how long the watcher's last look counts; with a look every 0.25 s: within a second
_FULL_SECONDS = 60.0  # all rows are read and authenticated anew at least this often
_FULL_SHARE = 100  # a full look may take a hundredth of the time
_LEAP = 1_000_000


class Registry:
    """
    The rows of one deployment in one store.

    Trust: what it gives was authenticated as a whole; see the rules above.
    Threads: safe. A forked child may go on using it; the watcher stays with the parent.
    Consistency: own writes are seen at once, those of other processes within a second.

    Attributes:
        seal: the barrier, for what else is to be authenticated as a row is.
        memory: as given.
        looked_at: when the last good look began, by the timer.

    Args:
        seal: the barrier of the deployment.
        anchor: a file outside the store that holds the highest revision acknowledged, made when it is
            first needed; None for none.
        on_alarm: called once for each time the rows turn out to be tampered with, from whichever thread
            noticed.
        memory: how long after the last good look its rows are remembered while the store gives no answer.
        timer: seconds that only go up, those of a suspended machine included.
    """

    def __init__(  # noqa: PLR0913 -- what a registry stands on
        self,
        store: Store,
        seal: Seal,
        *,
        deployment: str,
        anchor: Path | None = None,
        on_alarm: Callable[[TamperedError], None] | None = None,
        memory: timedelta = timedelta(),
        timer: Callable[[], float] = monotonic,
    ) -> None:
        self.deployment = deployment
        self.seal = seal
        self.memory = memory
        self._timer = timer
        self._silence: BackendUnavailableError | None = None
        self._silent_at = self._silent_until = 0.0
        self.looked_at = 0.0
        self._store = store
        self._proof = Proof(seal, deployment)
        self._anchor = Anchor(anchor, seal, deployment, store.id)
        self._alarms = [] if on_alarm is None else [on_alarm]
        self._callbacks: list[Callable[[Snapshot], None]] = []
        self._ticks: list[Callable[[], None]] = []
        self._closers: list[Callable[[], None]] = []
        self._state = State.empty()
        self._has_looked = False
        self._trouble: TamperedError | None = None
        self._untold: TamperedError | None = None
        self._good_until = 0.0
        self._bell = -1
        self._is_rung = True
        self._full_after = 0.0
        self._full_before = 0.0
        self._looking = Lock()
        self._installing = Lock()
        self._ended = Event()
        self._watcher: Thread | None = None
        _registries.add(self)

    def _after_fork(self) -> None:
        # The watcher is the parent's, and it may have held the locks at that moment.
        self._looking = Lock()
        self._installing = Lock()
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
            silence = self._known_silence()
            if silence is not None:
                raise copy(silence)
            self.look()
        if self._trouble is not None:
            # To whoever asks, known or not: that it is so, and not which name it is about.
            raise refusal()
        return self._state.snapshot

    def look(self) -> None:
        """
        Look now whether anything changed; `snapshot` and the watcher do.

        Raises:
            BackendUnavailableError, SealedError: as `snapshot`. Tampering is kept for `snapshot` to tell.
        """
        asked = self._timer()
        with self._looking:
            if self._silence is not None and self._silent_at > asked:
                raise copy(self._silence)  # it began later than we came: however many wait, they wait for one
            before = self._state.snapshot.revision
            self._look_or_note()
            lasts = _TRUST_SECONDS if self._watcher is not None else _LOOK_SECONDS
            self._good_until = monotonic() + lasts
            is_changed = self._state.snapshot.revision != before
            untold, self._untold = self._untold, None
        if untold is not None:
            for alarm in list(self._alarms):
                alarm(untold)
        if is_changed:
            self._tell()

    def _look_or_note(self) -> None:
        """Look, and keep since when nobody answers."""
        started = self._timer()
        try:
            self._look()
        except BackendUnavailableError as error:
            # A store that was moved lives on elsewhere: what was known of it here is of no more use.
            self._silence, self._silent_at = None if self._store.is_moved else error, started
            self._silent_until = monotonic() + _SILENT_SECONDS
            raise
        except BaseException:
            self._silence = None
            raise
        self._silence, self.looked_at = None, started

    @property
    def is_fresh(self) -> bool:
        """Whether `snapshot` gives the rows without asking the store, so that it cannot wait for it."""
        return monotonic() < self._good_until

    @property
    def is_prompt(self) -> bool:
        """Whether `snapshot` asks nobody: `is_fresh`, or it says at once that the store is silent."""
        return self.is_fresh or self._known_silence() is not None

    def _known_silence(self) -> BackendUnavailableError | None:
        """Give the trouble of the last look where the watcher is about to look again: others need not."""
        is_known = self._watcher is not None and monotonic() < self._silent_until
        return self._silence if is_known else None

    @property
    def silence(self) -> BackendUnavailableError | None:
        """
        The trouble that came of the last look, once the one before counts no more; None where the store
        answers, or was moved.
        """
        return None if self.is_fresh else self._silence

    def silent_for(self) -> float:
        """Give how many seconds ago the last good look began."""
        return self._timer() - self.looked_at

    def remembered(self) -> Snapshot:
        """
        Give the rows as they stood at the last good look, for as long as `memory` says; as they stand where
        the store answers. Only for who looks: what was revoked since is not seen.

        Raises:
            As `snapshot`; BackendUnavailableError where the last good look is too long ago.
        """
        silence = self.silence
        if silence is None or not self._has_looked:
            return self.snapshot()
        if self._trouble is not None:
            raise refusal()
        if self.silent_for() >= self.memory.total_seconds():
            raise copy(silence)
        return self._state.snapshot

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
            self._install(self._proof.advanced(base, head, rows))
        except MismatchError:
            self._look_at_all()
        except TamperedError as error:
            self._alarm(error)

    def _look_at_all(self) -> None:
        started = monotonic()
        least = self._least()  # before the rows are read: others may raise it meanwhile
        try:
            head, rows = self._store.registry(self.deployment)
            self._install(self._proof.whole(head, rows, self._state, least))
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

    def _install(self, state: State) -> None:
        # A thread that wrote meanwhile may be ahead of one that looked: what it wrote must not be unseen.
        with self._installing:
            if state.snapshot.revision > self._state.snapshot.revision or self._state.head is None:
                self._state = state

    def _alarm(self, error: TamperedError) -> None:
        if self._trouble is None:
            self._untold = error
        self._trouble = error

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
                check(change)
            expect(wanted, base.snapshot)
            made = self._made(wanted, base)
            if made is not None:
                transaction.change_registry(*made[1:])
        state = base if made is None else made[0]
        return self._keep(state), made is not None

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Transaction, State]]:
        """Begin a write, and give with it the state that stands inside it."""
        with self._store.write() as transaction:
            base = self._state
            head = transaction.head(self.deployment)
            if head != base.head:
                base = self._caught_up(transaction, base, head)
            yield transaction, base

    def _caught_up(self, transaction: Transaction, base: State, head: HeadRow | None) -> State:
        try:
            rows = transaction.registry(self.deployment, base.snapshot.revision)
            return self._proof.advanced(base, head, rows)
        except MismatchError:
            return self._proof.whole(
                head, transaction.registry(self.deployment), self._state, base.snapshot.revision
            )

    def _made(
        self, wanted: Sequence[Change], base: State
    ) -> tuple[State, HeadRow, list[RegistryRow], list[tuple[str, str]]] | None:
        revision = base.snapshot.revision + 1
        last = {(change.kind, change.id): change for change in wanted}.values()
        deleted = [
            (change.kind, change.id)
            for change in last
            if change.body is None and (change.kind, change.id) in base.macs
        ]
        written = [
            self._proof.sealed(Row(change.kind, change.id, change.body, revision))
            for change in last
            if change.body is not None
        ]
        if not deleted and not written:
            return None
        pairs = [(Row(*row[1:-1]), row.mac) for row in written]
        state = base.changed(pairs, deleted, revision=revision)
        head = self._proof.head(state)
        return state._replace(head=head), head, written, deleted

    def _keep(self, state: State) -> int:
        """Believe what was committed, and tell."""
        self._install(state)
        self._anchor.reach(state.snapshot.revision)
        self._tell()
        return state.snapshot.revision

    def reseal(self, key_id: bytes) -> int:
        """
        Authenticate every row anew that another key than *key_id*, which seals now, vouches for, and give
        how many. What stands in a row, and its own revision, stay.

        Raises:
            As `put_many`.
        """
        self.snapshot()
        with self._transaction() as (transaction, base):
            old = [key for key, mac in base.macs.items() if not mac.startswith(key_id)]
            if not old and (base.head is None or base.head.mac.startswith(key_id)):
                return 0
            rows = [self._proof.sealed(base.snapshot.of(kind)[row_id]) for kind, row_id in old]
            pairs = [(Row(*row[1:-1]), row.mac) for row in rows]
            state = base.changed(pairs, (), revision=base.snapshot.revision + 1)
            head = self._proof.head(state)
            transaction.change_registry(head, rows, ())
        self._keep(state._replace(head=head))
        return len(rows)

    # --- putting right -------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """
        Tell everything that is wrong, a clause each; empty where nothing is.

        Raises:
            BackendUnavailableError, SealedError: as `snapshot`.
        """
        least = self._least()
        head, rows = self._store.registry(self.deployment)
        _, found = self._proof.sifted(rows, self._state)
        try:
            self._proof.check_head(head, least)
            if not found:
                self._proof.whole(head, rows, self._state, least)
        except TamperedError as error:
            found.append(clause(error))
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
            authentic, _ = self._proof.sifted(transaction.registry(self.deployment), self._state)
            revisions = [row.revision for row, _ in authentic]
            # A leap: a process that knew more than can be told from here goes along.
            revision = (
                max([least, *revisions, self._proof.revision_of(transaction.head(self.deployment))]) + _LEAP
            )
            kept = [(row, mac) for row, mac in authentic if row.kind not in without]
            state = State.empty().changed(kept, (), revision=revision)
            head = self._proof.head(state)
            transaction.clear_registry(self.deployment)
            rows = [RegistryRow(self.deployment, *row, mac) for row, mac in kept]
            transaction.change_registry(head, rows, ())
        self._trouble = None
        self._state = state._replace(head=head)
        self._keep(self._state)
        return found

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
