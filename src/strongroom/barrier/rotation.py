"""
New keys, other outer keys, and the end of old ones.

Rules of this file:

1. A key is active from its birth until the next one of its team, then deactivated: it opens, and seals
   nothing any more. Once no row names it, it may be destroyed. Whatever state it is in, its row stays.
   (NIST SP 800-57 part 1 §7.2 to §7.5. Not kept: pre-activation, for keys serve at once; suspended, for
   the whole store is what is sealed; compromised, for then the values are, and those are to be replaced.)
2. What is wrapped is unwrapped once by each wrapper, before it takes the place of anything.
3. Outer keys are asked before the transaction: a slow key service holds up nobody else's write. What was
   prepared is used only if the keys still stand as they stood then.
4. Nothing is destroyed while a row names it, damaged or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.barrier.keychain import row_of
from strongroom.barrier.status import Rotated
from strongroom.crypto.keyring import Kek
from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.store import rotation, rows
from strongroom.store.record import micros, moment
from strongroom.store.rotation import JobRow, Named

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from strongroom.barrier.keychain import Keychain
    from strongroom.store.rows import KekRow, WrapRow
    from strongroom.store.store import Store
    from strongroom.store.transaction import Transaction

__all__ = ["Rotation"]


class _Successor(NamedTuple):
    was: KekRow
    was_in: Kek
    row: KekRow
    wraps: list[WrapRow]


class Rotation:
    """
    Change the keys of one deployment.

    Threads: safe. Consistency: readers and writers of every process find the new key by themselves.
    """

    def __init__(self, store: Store, keychain: Keychain, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._keychain = keychain
        self._clock = clock

    def rotate(self, teams: Sequence[str], *, author: str) -> list[Rotated]:
        """
        Give each of *teams* ('' for none) a new active key, and leave a job to put their rows under it.

        Args:
            teams: whose keys.
            author: who does it, for the job.

        Raises:
            NotFoundError: a team has no key yet.
            ConflictError: another process changed the keys meanwhile; nothing was done.
            SealedError, BackendConfigError: an outer key is not to be had; nothing was done.
            BackendUnavailableError: the store cannot be written now.
        """
        now = self._clock()
        made = [self._successor(team, now) for team in dict.fromkeys(teams)]
        with self._store.write() as transaction:
            for one in made:
                self._replace(transaction, one)
            self._begin_job(transaction, author, micros(now))
        for one in made:
            self._keychain.reload(one.row.team)
        return [
            Rotated(one.row.team or None, one.row.number, one.row.id.hex(), one.was.id.hex()) for one in made
        ]

    def _successor(self, team: str, now: datetime) -> _Successor:
        stored = self._keychain.rows(team)
        if not stored:
            raise NotFoundError(
                f"the team {team} has no key yet" if team else "there is no key yet",
                hint="its first entry makes one",
            )
        keyring = self._keychain.current(team)
        was = next((row for row in reversed(stored) if row.state == "active"), stored[-1])
        kek = Kek.generate(self._keychain.place(team), number=stored[-1].number + 1)
        row = row_of(kek, now)
        wraps = self._keychain.wrapped(kek)
        self._keychain.prove(row, wraps)
        return _Successor(was, keyring.find(was.id), row, wraps)

    def _replace(self, transaction: Transaction, one: _Successor) -> None:
        standing = transaction.keks(one.row.deployment, one.row.team)
        if standing[-1].number + 1 != one.row.number or one.was not in standing:
            raise _changed()
        retired = one.was_in.becoming("deactivated")
        rotation.change_kek(transaction.connection, row_of(retired, moment(one.was.created_at)))
        transaction.add_kek(one.row, one.wraps)
        rotation.set_wraps(transaction.connection, one.row.id, 0)

    def _begin_job(self, transaction: Transaction, author: str, now: int) -> None:
        connection, deployment = transaction.connection, self._keychain.deployment
        old = [row.id for row in rows_of(transaction, deployment) if row.state == "deactivated"]
        total = rotation.versions_under_all(connection, old)
        rotation.put_job(
            connection, JobRow(deployment, "running", now, author, total, 0, 0, b"", b"", 0, None)
        )

    def resume(self, *, author: str) -> None:
        """
        Leave a job for whatever still stands under older keys, from the start.

        Raises:
            BackendUnavailableError: the store cannot be written now.
        """
        with self._store.write() as transaction:
            self._begin_job(transaction, author, micros(self._clock()))

    # --- outer keys ----------------------------------------------------------------------------

    def wrap_anew(self) -> int:
        """
        Wrap every key of the deployment with exactly the wrappers of the settings, and give how many keys.

        Outer keys that are in the settings no more open nothing from then on; one that is new opens all.

        Raises:
            SealedError, BackendConfigError: an outer key is not to be had; nothing was changed.
            TamperedError: a stored key was changed.
            ConflictError: another process changed the keys meanwhile; nothing was changed.
            BackendUnavailableError: the store cannot be written now.
        """
        keks = [row for row in self._keychain.rows() if row.state != "destroyed"]
        before = {row.id: self._store.wraps(row.id) for row in keks}
        made = {row.id: self._wrapped_anew(row) for row in keks}
        with self._store.write() as transaction:
            standing = [
                row for row in rows_of(transaction, self._keychain.deployment) if row.state != "destroyed"
            ]
            if standing != keks or any(transaction.wraps(row.id) != before[row.id] for row in keks):
                raise _changed()
            for row in keks:
                rotation.put_wraps(transaction.connection, row.id, made[row.id])
        return len(keks)

    def _wrapped_anew(self, row: KekRow) -> list[WrapRow]:
        keyring = self._keychain.current(row.team)
        if row.id not in keyring.openers:  # it was destroyed since
            raise _changed()
        wraps = self._keychain.wrapped(keyring.find(row.id))
        self._keychain.prove(row, wraps)
        return wraps

    # --- the end of a key ----------------------------------------------------------------------

    def find(self, prefix: str) -> KekRow:
        """
        Give the one key whose id begins with *prefix*, in hexadecimal.

        Raises:
            NotFoundError: there is none.
            InvalidInputError: there are several.
        """
        found = [row for row in self._keychain.rows() if prefix and row.id.hex().startswith(prefix.lower())]
        if not found:
            raise NotFoundError("there is no such key here", hint="strongroom keys status")
        if len(found) > 1:
            raise InvalidInputError("several keys begin so", hint="give more of its id")
        return found[0]

    def sealing(self) -> bytes:
        """
        Give the id of the key that seals for the deployment itself, and vouches for the rows of who may.

        Raises:
            SealedError: there is none, or it is not loaded.
        """
        return self._keychain.current("").active.id

    def named(self, key: KekRow) -> Named:
        """Count the rows that name *key*."""
        return self._store.ask(
            lambda connection: rotation.named(connection, self._keychain.deployment, key.id)
        )

    def destroy(self, key: KekRow) -> None:
        """
        Take every wrapped form of *key* away: nothing under it ever opens again. Its row stays.

        Raises:
            ConflictError: it is not deactivated, or rows name it.
            BackendUnavailableError: the store cannot be written now.
        """
        with self._store.write() as transaction:
            standing = next(
                (row for row in transaction.keks(key.deployment, key.team) if row.id == key.id), None
            )
            if standing is None or standing.state != "deactivated":
                raise _not_to_destroy(standing)
            named = rotation.named(transaction.connection, key.deployment, key.id)
            if named.total:
                raise still_named(named)
            gone = self._keychain.current(key.team).find(key.id).becoming("deactivated")
            columns = row_of(gone, moment(key.created_at))
            rotation.change_kek(transaction.connection, columns._replace(state="destroyed"))
            rotation.erase_wraps(transaction.connection, key.id)
        self._keychain.reload(key.team)


def rows_of(transaction: Transaction, deployment: str) -> list[KekRow]:
    """Give the keys of every team, as they stand in *transaction*."""
    return rows.keks(transaction.connection, deployment)


def still_named(named: Named) -> ConflictError:
    """Give the error of a key that rows name."""
    nouns = (("version", "versions"), ("entry", "entries"), ("row of who may", "rows of who may"))
    told = [
        f"{count} {one if count == 1 else many}"
        for (one, many), count in zip(nouns, named, strict=True)
        if count
    ]
    return ConflictError(
        f"the key is needed still by {', '.join(told)}",
        hint="strongroom keys rotate --resume, then strongroom keys status for what it left",
    )


def _not_to_destroy(row: KekRow | None) -> ConflictError:
    if row is not None and row.state == "active":
        return ConflictError("the key seals what is written now", hint="strongroom keys rotate")
    return ConflictError("the key is destroyed already")


def _changed() -> ConflictError:
    return ConflictError(
        "another process changed the keys meanwhile; nothing was done", hint="look at them, then repeat"
    )
