"""
The keys of one deployment in one store: found, unwrapped, checked and made.

Not for plaintext, and not for what keys do to rows: `proof.py`, `writing.py`. A key is used only after
its canary proved that it is the one that was stored, in the state that was stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from strongroom.barrier.status import KeyStatus
from strongroom.crypto.keyring import Kek, Keyring, Place, State
from strongroom.crypto.wrapping import no_key_opens
from strongroom.errors import (
    BackendConfigError,
    InvalidInputError,
    SealedError,
    StrongroomError,
    TamperedError,
)
from strongroom.store import rotation
from strongroom.store.record import covered, is_time, micros, moment
from strongroom.store.rows import KekRow, WrapRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from strongroom.crypto.wrapping import Wrapper
    from strongroom.store.store import Store
    from strongroom.store.transaction import Transaction

__all__ = ["KEY_ID_BYTES", "Keychain", "row_of"]

KEY_ID_BYTES = 16  # a key's id, which begins every MAC made under it

_KEK_COLUMNS = [bytes, str, str, int, str, int, bytes]


class Keychain:
    """
    The keyrings of one deployment, by team, as they were last read.

    Threads: safe. Consistency: a key that came since is found when a row names it, and by every write.

    Attributes:
        deployment: whose keys these are.
    """

    def __init__(self, store: Store, wrappers: Sequence[Wrapper], deployment: str) -> None:
        self.deployment = deployment
        self._store = store
        self._wrappers = tuple(wrappers)
        self._keyrings: dict[str, Keyring] = {}

    # --- finding -------------------------------------------------------------------------------

    def holding(self, team: str, key_id: bytes) -> Keyring:
        """Give the keyring of *team*, read anew when it does not hold *key_id*: it may have come since."""
        keyring = self._keyrings.get(team)
        if keyring is None or not keyring.holds(key_id):
            keyring = self.reload(team)
        return keyring

    def standing(self, transaction: Transaction, team: str, now: datetime) -> Keyring:
        """Give the keyring of *team* as it stands in *transaction*; a team without one gets one."""
        stored = transaction.keks(self.deployment, team)
        if not stored:
            return self.first(transaction, team, now)
        known = self._keyrings.get(team)
        return known if known is not None and _are(known, stored) else self.reload(team)

    def current(self, team: str) -> Keyring:
        """
        Give the keyring of *team* as it stands now: another process may have made a new key since.

        Raises:
            SealedError, TamperedError, BackendConfigError: as `reload`.
        """
        known = self._keyrings.get(team)
        return known if known is not None and _are(known, self.rows(team)) else self.reload(team)

    def reload(self, team: str) -> Keyring:
        """
        Read the keys of *team* anew.

        Raises:
            SealedError: no wrapper opens one of them.
            TamperedError: a stored key was changed.
            BackendConfigError: an outer key is kept in the open.
        """
        known = self._keyrings.get(team)
        keyring = Keyring(self.place(team), [self._kek(row, known) for row in self.rows(team)])
        self._keyrings[team] = keyring
        return keyring

    def adopt(self, keyrings: Mapping[str, Keyring]) -> None:
        """Go on with *keyrings*, whose transaction stands."""
        self._keyrings.update(keyrings)

    def forget(self) -> None:
        """Forget every key, and let go of what holds the outer ones."""
        self._keyrings.clear()
        for wrapper in self._wrappers:
            wrapper.close()

    @property
    def is_empty(self) -> bool:
        """Tell whether no key is in memory."""
        return not self._keyrings

    def teams(self) -> list[str]:
        """Give the teams that have a key here, in order."""
        return sorted({row.team for row in self.rows() if row.team})

    def statuses(self) -> list[KeyStatus]:
        """Give every key of the deployment, by team and number, without loading any."""
        rows = self.rows()
        made = {(row.team, row.number): moment(row.created_at) for row in rows}
        return [self._status(row, made.get((row.team, row.number + 1))) for row in rows]

    def _status(self, row: KekRow, replaced_at: datetime | None) -> KeyStatus:
        return KeyStatus(
            id=row.id.hex(),
            number=row.number,
            team=row.team or None,
            state=cast("State", row.state),
            wrapped_by=tuple(_told(wrap, self._wrappers) for wrap in self._store.wraps(row.id)),
            sealed_versions=self._store.sealed_versions(row.id),
            created_at=moment(row.created_at),
            wraps=self._store.ask(lambda connection: rotation.wraps_of(connection, row.id)),
            replaced_at=replaced_at,
        )

    def escrow(self, row: KekRow, wraps: Sequence[WrapRow], by: Sequence[Wrapper]) -> list[WrapRow]:
        """
        Give a stored key wrapped anew by each of *by*; [] of a destroyed one.

        Raises:
            SealedError: no wrapper opens it, or one of *by* has no outer key.
            TamperedError: it is not what was stored.
            BackendConfigError: an outer key is kept in the open.
        """
        if row.state == "destroyed":
            return []
        # One that is in memory was proven when it came there, and its outer key may be gone since.
        known = self._keyrings.get(row.team)
        kek = known.find(row.id) if known is not None and row.id in known.openers else self._load(row, wraps)
        return [
            WrapRow(kek.id, index, wrapper.kind, wrapper.name, kek.wrapped(by=wrapper))
            for index, wrapper in enumerate(by, start=1)
        ]

    # --- rows that are no entries --------------------------------------------------------------

    def mac_row(self, table: str, columns: Iterable[object]) -> bytes:
        """
        Authenticate a row of the deployment that is no entry.

        Raises:
            InvalidInputError: a column is of a type no row has.
            SealedError: there is no active key.
        """
        return self.current("").row_mac(covered(table, columns))

    def check_row(self, table: str, columns: Iterable[object], mac: object) -> None:
        """
        Compare *mac*, as `mac_row` gave it for the same table and columns, in constant time.

        Raises:
            TamperedError: the row or its authentication was changed.
            SealedError: its key is not to be had.
        """
        try:
            message = covered(table, columns)
        except InvalidInputError:
            raise TamperedError("a stored row has a column of another type") from None
        key_id = mac[:KEY_ID_BYTES] if isinstance(mac, bytes) else b""
        keyring = self.holding("", key_id)
        if not keyring.holds(key_id):
            # Keys are never taken out of a store, so no row can honestly name another.
            raise TamperedError("a stored row names a key that never was")
        if any(key.id == key_id and key.state == "destroyed" for key in keyring.keys):
            # No row did when it was destroyed; what was handed out under it (a receipt, a cursor) has ended.
            raise TamperedError("a row names a key that was destroyed")
        keyring.check_row_mac(message, mac)

    # --- loading and making ----------------------------------------------------------------------

    def rows(self, team: str | None = None) -> list[KekRow]:
        """Give the rows of keys, refusing columns of another type: nothing has authenticated them yet."""
        found = self._store.keks(self.deployment, team)
        if all(
            type(row.id) is bytes and type(row.number) is int and is_time(row.created_at) for row in found
        ):
            return found
        raise self._sealed([TamperedError("a stored key has a column of another type")])

    def place(self, team: str) -> Place:
        """Give where the keys of *team* belong."""
        return Place(store_id=self._store.id, deployment=self.deployment, team=team)

    def _kek(self, row: KekRow, known: Keyring | None) -> Kek:
        """Give a stored key: the one in memory where that is the same, whatever its state is now."""
        if [type(column) for column in row] != _KEK_COLUMNS:
            raise self._sealed([TamperedError("a stored key has a column of another type")])
        state = cast("State", row.state)
        if state == "destroyed":
            return Kek(place=self.place(row.team), id=row.id, number=row.number, state=state, secret=None)
        # Unwrapping may take a key service, or a tenth of a second of argon2id; the canary tells as much.
        for kept in () if known is None else known.keys:
            if kept.is_loaded and (kept.id, kept.number) == (row.id, row.number):
                kek = kept.becoming(state)
                try:
                    _check_canary(kek, row)
                except TamperedError as refusal:
                    raise self._sealed([refusal]) from None
                return kek
        return self._load(row, self._store.wraps(row.id))

    def _load(self, row: KekRow, wraps: Sequence[WrapRow]) -> Kek:
        """Unwrap one key with whichever wrapper fits, and see by its canary that it is the one."""
        refusals: list[StrongroomError] = []
        if [type(column) for column in row] != _KEK_COLUMNS:
            raise self._sealed([TamperedError("a stored key has a column of another type")])
        for wrap in wraps:
            for wrapper in self._wrappers:
                if wrapper.kind != wrap.kind:
                    continue
                try:
                    kek = self._unwrapped(row, wrap, wrapper)
                except (SealedError, BackendConfigError, TamperedError, InvalidInputError) as refusal:
                    refusals.append(refusal)
                else:
                    return kek
        raise self._sealed(refusals)

    def _sealed(self, refusals: Sequence[StrongroomError]) -> StrongroomError:
        """Give the refusal that tells most: a key kept in the open or a changed row before a wrong key."""
        store = self._store.name
        for refusal in refusals:
            if isinstance(refusal, BackendConfigError):
                return refusal
        for refusal in refusals:
            if isinstance(refusal, (TamperedError, InvalidInputError)):
                return TamperedError(
                    f"a key stored in {store} failed authentication; start refused, nothing overwritten",
                    hint="restore the store from a backup",
                )
        return no_key_opens(f"the store {store}", refusals)

    def first(self, transaction: Transaction, team: str, now: datetime) -> Keyring:
        """
        Make the first key of *team* in *transaction*.

        Raises:
            SealedError: there are entries that had one.
            BackendConfigError: no wrapper is configured.
        """
        # The key without a team is the first of the deployment: no row at all may be there before it.
        if transaction.has_entries(self.deployment, team or None):
            raise SealedError(
                f"the keys of the deployment {self.deployment} are gone from the store {self._store.name}; "
                "start refused, nothing overwritten",
                hint="restore the store from a backup",
            )
        kek = Kek.generate(self.place(team), number=1)
        transaction.add_kek(row_of(kek, now), self.wrapped(kek))
        return Keyring(kek.place, [kek])

    def wrapped(self, kek: Kek) -> list[WrapRow]:
        """
        Wrap *kek* with every wrapper of the settings.

        Raises:
            BackendConfigError: none is configured, or one keeps its outer key in the open.
            SealedError: one has no outer key, or gives no answer now.
        """
        if not self._wrappers:
            raise BackendConfigError(
                "no outer key is configured, so no key can be made", hint="strongroom init"
            )
        return [
            WrapRow(kek.id, index, wrapper.kind, wrapper.name, kek.wrapped(by=wrapper))
            for index, wrapper in enumerate(self._wrappers, start=1)
        ]

    def prove(self, row: KekRow, wraps: Sequence[WrapRow]) -> None:
        """
        See that each of *wraps* alone gives the key of *row* back, by its canary.

        Raises:
            SealedError, TamperedError, BackendConfigError: one does not.
        """
        for wrap, wrapper in zip(wraps, self._wrappers, strict=True):
            self._unwrapped(row, wrap, wrapper)

    def _unwrapped(self, row: KekRow, wrap: WrapRow, wrapper: Wrapper) -> Kek:
        """Give the key of *row* out of one wrap, proven by its canary."""
        kek = Kek.unwrapped(
            wrap.wrapped,
            by=wrapper,
            place=self.place(row.team),
            id=row.id,
            number=row.number,
            state=cast("State", row.state),
        )
        _check_canary(kek, row)
        return kek


def row_of(kek: Kek, made_at: datetime) -> KekRow:
    """Give the row of a loaded key in its state, with the canary that proves it."""
    columns = (kek.id, kek.place.deployment, kek.place.team, kek.number, kek.state, micros(made_at))
    return KekRow(*columns, canary=kek.mark(covered("kek", columns)))


def _told(wrap: WrapRow, wrappers: Sequence[Wrapper]) -> str:
    """Name an outer key for people, with the version of it that wrapped, where it has versions."""
    for wrapper in wrappers:
        if (wrapper.kind, wrapper.name) == (wrap.kind, wrap.name):
            return f"{wrap.kind} {wrap.name} {wrapper.detail(wrap.wrapped)}".rstrip()
    return f"{wrap.kind} {wrap.name}"


def _are(keyring: Keyring, stored: Sequence[KekRow]) -> bool:
    """Tell whether the keys in memory are those stored, in the states stored."""
    return [(key.id, key.state) for key in keyring.keys] == [(kek.id, kek.state) for kek in stored]


def _check_canary(kek: Kek, row: KekRow) -> None:
    # Wrapping authenticates the key; only this tells whether its state and time are what was written.
    if row.canary[:KEY_ID_BYTES] != kek.id:
        raise TamperedError("a stored key has the canary of another")
    Keyring(kek.place, [kek]).check_row_mac(covered("kek", row[:-1]), row.canary)
