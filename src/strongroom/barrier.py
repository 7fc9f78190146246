"""
The one place where plaintext meets the store.

Above it are Secrets, below it rows of ciphertext. Not for policy, audit, caching or references:
whoever holds a Barrier may read and write everything of its deployment.

Rules of this file:

1. A row is authenticated before any of it is believed, deleted or expired included; a row that
   fails is `TamperedError` for its own name, and no other name suffers.
2. Every change of value or metadata is a new version with author, time and comment; so
   `expected_version` guards both, and a follower sees both. Deleting and undeleting keep the
   version: they only hide and show it. All of them leave a line in `changes`, in the same
   transaction.
3. A key is made with its store (`create`) or with the first write of a team, inside that
   transaction, and never because a key was not found beside rows that need one.
4. Nothing is acknowledged before its transaction is on the disk.
5. The clock is read once an operation.

What is authenticated in a row, and how, says `store/record.py`; what is bound to a sealed value says
docs/envelope.md.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from secrets import token_bytes
from typing import TYPE_CHECKING, NamedTuple, cast

from strongroom.crypto import envelope
from strongroom.crypto.envelope import Context
from strongroom.crypto.keyring import Kek, Keyring, Place, State
from strongroom.errors import (
    BackendConfigError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
    SealedError,
    StrongroomError,
    TamperedError,
)
from strongroom.model.entry import (
    MAX_VALUE_BYTES,
    MUST_BE_ABSENT,
    Draft,
    Entry,
    EntryState,
    Metadata,
    Outline,
    Summary,
    VersionInfo,
)
from strongroom.model.ref import Kind, Ref, check_deployment
from strongroom.model.secret import Secret
from strongroom.store.record import (
    check_texts,
    covered,
    entry_row,
    is_time,
    metadata_of,
    micros,
    moment,
    ref_of,
    stands,
    version_info,
)
from strongroom.store.rows import ChangeRow, EntryRow, KekRow, Page, VersionRow, WrapRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from strongroom.crypto.wrapping import Wrapper
    from strongroom.store.store import Store
    from strongroom.store.transaction import Transaction

__all__ = ["MAX_METADATA_BYTES", "Barrier", "Change", "KeyStatus"]

MAX_METADATA_BYTES = 65_536  # 64 KiB: everything of one row beside its value
SWEEPER = "strongroom:sweep"
"""The author of deletions that `sweep` makes."""

_BATCH = 500  # drafts sealed before they are handed to the database: bounds memory at full speed
_BATCH_BYTES = 8_388_608  # 8 MiB of sealed values, whatever their number
_SWEPT_BY_A_WRITE = 100  # expired entries: so that no write pays for all of a long absence
_ALL = -1  # as SQLite's LIMIT
_KEY_ID_BYTES = 16
_KEK_COLUMNS = [bytes, str, str, int, str, int, bytes]


class Change(NamedTuple):
    """
    One line of `changes`: what changed, not how.

    Attributes:
        sequence: grows with every change; ask on from the last one seen.
        version: the version that stands now, or None where the entry was deleted.
    """

    sequence: int
    ref: Ref
    version: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatus:
    """
    One key of the deployment.

    Attributes:
        id: hexadecimal; public.
        number: counts the keys of one team from 1.
        wrapped_by: kind and name of each outer key, as `file /path`, as they were at wrapping.
        sealed_versions: how many versions only this key opens.
    """

    id: str
    number: int
    team: str | None
    state: State
    wrapped_by: tuple[str, ...]
    sealed_versions: int
    created_at: datetime


class Barrier:
    """
    Read and write the entries of one deployment in one store.

    Trust: the store is not trusted with more than keeping bytes; see `store.py` for what a writer
    of the file could do unseen.
    Threads: safe. A forked child may go on using it.
    Consistency: a read that starts after a write returned sees it, in every process.

    Attributes:
        name: of its store in the settings.
        deployment: whose entries these are.
    """

    def __init__(
        self, store: Store, wrappers: Sequence[Wrapper], *, deployment: str, clock: Callable[[], datetime]
    ) -> None:
        """Use `create` or `open`, which see to it that there is a key."""
        self.name = store.name
        self.deployment = check_deployment(deployment)
        self._store = store
        self._wrappers = tuple(wrappers)
        self._clock = clock
        self._keyrings: dict[str, Keyring] = {}

    @classmethod
    def create(
        cls, store: Store, wrappers: Sequence[Wrapper], *, deployment: str, clock: Callable[[], datetime]
    ) -> Barrier:
        """
        Make the first key of *deployment*, wrapped by every one of *wrappers*; where there is one
        already, open it. Of two processes that create at once, one makes the key and the other opens it.

        Raises:
            SealedError: there is a key, and none of *wrappers* opens it; or its rows are gone.
            BackendConfigError: no wrapper was given, or one keeps its outer key in the open.
            BackendUnavailableError: the store cannot be written now.
        """
        barrier = cls(store, wrappers, deployment=deployment, clock=clock)
        with store.write() as transaction:
            if not transaction.keks(deployment, ""):
                barrier._first_key(transaction, "", clock())
        return cls.open(store, wrappers, deployment=deployment, clock=clock)

    @classmethod
    def open(
        cls, store: Store, wrappers: Sequence[Wrapper], *, deployment: str, clock: Callable[[], datetime]
    ) -> Barrier:
        """
        Open *deployment* with whichever of *wrappers* fits.

        Raises:
            SealedError: no key was ever made for it, or none of *wrappers* opens it.
            TamperedError: a stored key was changed.
            BackendConfigError: an outer key is kept in the open.
        """
        barrier = cls(store, wrappers, deployment=deployment, clock=clock)
        if not barrier._reload("").keys:
            raise SealedError(
                f"the store {store.name} has no key for the deployment {deployment}", hint="strongroom init"
            )
        return barrier

    def close(self) -> None:
        """Forget the keys and close the store. Safe to call twice."""
        self._keyrings.clear()
        self._store.close()

    # --- reading -------------------------------------------------------------------------------

    def read(self, ref: Ref) -> Entry | None:
        """
        Give the entry under exactly *ref*, or None when there is none, it is deleted, or expired.

        Raises:
            TamperedError: its row or its sealed bytes are not what was written.
            SealedError: the key that sealed it is not to be had.
            BackendUnavailableError: the store gave no answer.
        """
        row = self._store.current(self.deployment, ref.team or "", ref.kind, ref.name)
        if row is None:
            return None
        keyring = self._authenticate(row, ref)
        now = self._clock()
        if not stands(row, micros(now)):
            return None
        return Entry(
            ref=ref,
            secret=self._opened(row.sealed, keyring, row.id, row.current_version, ref),
            backend=self.name,
            version=str(row.current_version),
            read_at=now,
            metadata=metadata_of(row),
        )

    def known(self, ref: Ref) -> Metadata | None:
        """
        Give what is public about an entry, deleted or not, without opening its value; None where the name
        was never held.

        Raises:
            TamperedError, SealedError, BackendUnavailableError: as `read`.
        """
        row = self._store.current(self.deployment, ref.team or "", ref.kind, ref.name)
        if row is None:
            return None
        self._authenticate(row, ref)
        return metadata_of(row)

    def read_version(self, ref: Ref, version: str) -> Entry:
        """
        Give one version, whether the entry is deleted or not, with the metadata that stands now.

        Raises:
            NotFoundError: there is no such version.
            TamperedError, SealedError, BackendUnavailableError: as `read`.
        """
        row, keyring = self._known(ref)
        found = self._store.version(row.id, _number(ref, version))
        if found is None:
            raise _absent(ref, version)
        return Entry(
            ref=ref,
            secret=self._secret_of(ref, found, keyring),
            backend=self.name,
            version=version,
            read_at=self._clock(),
            metadata=replace(metadata_of(row), conn_type=found.conn_type),
        )

    def history(self, ref: Ref) -> list[VersionInfo]:
        """
        Give every version, newest first; empty when the name was never held.

        Equal values are told by fingerprints made on the spot; none is stored or given out.

        Raises:
            TamperedError, SealedError, BackendUnavailableError: as `read`.
        """
        row = self._store.current(self.deployment, ref.team or "", ref.kind, ref.name)
        if row is None:
            return []
        keyring = self._authenticate(row, ref)
        if self._store.has_version(row.id, row.current_version + 1):
            # An older state of the row was put back, and what came after it was left behind.
            raise self._tampered(ref)
        is_standing = stands(row, micros(self._clock()))
        seen: dict[bytes, str] = {}
        found: list[VersionInfo] = []
        for number in range(1, row.current_version + 1):
            # One at a time: a hundred versions of a mebibyte must not stand in memory together.
            version = self._store.version(row.id, number)
            if version is None:
                raise self._tampered(ref)
            secret = self._secret_of(ref, version, keyring)
            fingerprint = keyring.fingerprint(secret.reveal().encode())
            is_current = is_standing and number == row.current_version
            found.append(version_info(version, is_current=is_current, same_as=seen.get(fingerprint)))
            seen[fingerprint] = str(number)
        return found[::-1]

    def changes(self, after: int = 0, limit: int = 1000) -> list[Change]:
        """Give up to *limit* changes after the number *after*, oldest first; none: there are no more."""
        while rows := self._store.changes(self.deployment, after, limit):
            found = [
                Change(row.sequence, ref, None if row.version is None else str(row.version))
                for row in rows
                if (ref := ref_of(row.kind, row.name, row.team)) is not None
            ]
            if found:
                return found
            after = rows[-1].sequence  # planted ones must not look like the end
        return []

    def pruned_to(self) -> int:
        """Give the sequence number up to which changes were forgotten, 0 where none were."""
        return self._store.pruned_to(self.deployment)

    def prune_changes(self, keep: int) -> None:
        """
        Forget the older changes where there are more than twice *keep*, so that the newest *keep* stay.

        Raises:
            BackendUnavailableError: as `write`.
        """
        if self._store.prunable(self.deployment, 2 * keep) is None:
            return
        up_to = self._store.prunable(self.deployment, keep)
        if up_to is not None:
            with self._store.write() as transaction:
                transaction.prune_changes(self.deployment, up_to)

    def note_changes(self, refs: Iterable[Ref]) -> None:
        """
        Leave a line for each of *refs*, which another backend of this deployment changed.

        Raises:
            BackendUnavailableError: as `write`.
        """
        with self._store.write() as transaction:
            transaction.add_changes(
                self.deployment, [ChangeRow(0, ref.team or "", ref.kind, ref.name, None) for ref in refs]
            )

    def last_sequence(self) -> int:
        """Give the sequence number of the newest change, 0 before the first."""
        return self._store.last_sequence()

    def data_version(self) -> int:
        """
        Give a number that differs from the last one given when anything was written since, by this
        process or another: the bell to ask `changes`.
        """
        return self._store.data_version()

    def teams(self) -> list[str]:
        """Give the teams that have a key here, in order."""
        return sorted({row.team for row in self._keks() if row.team})

    def keys(self) -> list[KeyStatus]:
        """Give every key of the deployment, by team and number, without loading any."""
        return [
            KeyStatus(
                id=row.id.hex(),
                number=row.number,
                team=row.team or None,
                state=cast("State", row.state),
                wrapped_by=tuple(f"{wrap.kind} {wrap.name}" for wrap in self._store.wraps(row.id)),
                sealed_versions=self._store.sealed_versions(row.id),
                created_at=moment(row.created_at),
            )
            for row in self._keks()
        ]

    # --- writing -------------------------------------------------------------------------------

    def write(self, draft: Draft) -> str:
        """
        Write one entry and give its new version. A deleted or expired one counts as absent, and
        its versions go on where they stopped.

        Raises:
            ConflictError: another version stands than the one expected.
            InvalidInputError: value or metadata is over its limit, or no UTF-8 can spell it.
            TamperedError: the row that stands there fails authentication.
            SealedError, BackendUnavailableError: as `read`.
        """
        return self.write_many([draft])[0]

    def write_many(
        self, drafts: Iterable[Draft], *, progress: Callable[[int], None] | None = None
    ) -> list[str]:
        """
        Write all of *drafts* in order, or none, in one transaction, and give their new versions.

        Args:
            drafts: taken one by one, so they may be made on the way.
            progress: called with the number done, every 500.

        Raises:
            ConflictError, InvalidInputError, TamperedError, SealedError, BackendUnavailableError:
                as `write`; nothing of *drafts* stands then.
        """
        made: list[str] = []
        with self._writing() as writing:
            for draft in drafts:
                made.append(writing.write(draft))
                if progress is not None and len(made) % _BATCH == 0:
                    progress(len(made))
            writing.flush()  # what was written over an expired entry must not look expired any more
            self._swept(writing, writing.micros, _SWEPT_BY_A_WRITE)
        if progress is not None:
            progress(len(made))
        return made

    def edit(
        self,
        ref: Ref,
        metadata: Metadata,
        *,
        expected_version: str | None = None,
        author: str,
        comment: str = "",
    ) -> str:
        """
        Replace the metadata of an entry and keep its value, as a new version.

        Raises:
            NotFoundError: there is none.
            ConflictError, TamperedError, SealedError, BackendUnavailableError: as `write`.
        """
        with self._writing() as writing:
            row = writing.standing(ref)
            if row is None:
                raise _absent(ref)
            secret = self._opened(row.sealed, writing.keyring(ref), row.id, row.current_version, ref)
            return writing.write(
                Draft(
                    ref=ref,
                    secret=secret,
                    metadata=metadata,
                    expected_version=expected_version,
                    author=author,
                    comment=comment,
                )
            )

    def rollback(
        self, ref: Ref, version: str, *, expected_version: str | None = None, author: str, comment: str = ""
    ) -> str:
        """
        Write the value and connection type of an older version as a new one, and give that one.

        The rest of the metadata stays as it is now. A deleted entry comes back.

        Raises:
            NotFoundError: there is no such version.
            ConflictError, TamperedError, SealedError, BackendUnavailableError: as `write`.
        """
        with self._writing() as writing:
            row = writing.row(ref)
            if row is None:
                raise _absent(ref)
            found = writing.transaction.version(row.id, _number(ref, version))
            if found is None:
                raise _absent(ref, version)
            metadata = replace(metadata_of(row), conn_type=found.conn_type)
            return writing.write(
                Draft(
                    ref=ref,
                    secret=self._secret_of(ref, found, writing.keyring(ref)),
                    metadata=_without_past_expiry(metadata, writing.now),
                    expected_version=expected_version,
                    author=author,
                    comment=comment,
                )
            )

    def delete(self, ref: Ref, *, expected_version: str | None = None, author: str) -> bool:
        """
        Hide an entry, keeping its versions, and tell whether there was one.

        Raises:
            ConflictError: another version stands than the one expected.
            TamperedError, BackendUnavailableError: as `write`.
        """
        with self._writing() as writing:
            row = writing.standing(ref)
            _expect(ref, expected_version, row)
            if row is None:
                return False
            writing.change(row._replace(is_deleted=1, changed_by=author), version=None)
            return True

    def undelete(self, ref: Ref, *, author: str) -> str:
        """
        Show a deleted or expired entry again and give its version; an expiry that is past is dropped.

        Raises:
            NotFoundError: nothing was ever held under this name.
            ConflictError: it is not deleted.
            TamperedError, BackendUnavailableError: as `write`.
        """
        with self._writing() as writing:
            row = writing.row(ref)
            if row is None:
                raise _absent(ref)
            if stands(row, writing.micros):
                raise ConflictError(f"{ref} is not deleted", current_version=str(row.current_version))
            expires_at = row.expires_at if row.expires_at and row.expires_at > writing.micros else None
            shown = row._replace(is_deleted=0, expires_at=expires_at, changed_by=author)
            writing.change(shown, version=row.current_version)
            return str(row.current_version)

    def sweep(self, now: datetime) -> int:
        """
        Delete what expired before *now* and give how many; each write does it too, a little at a time.

        Rows that fail authentication, or whose team's key is not to be had, stay as they are.

        Raises:
            BackendUnavailableError: as `write`.
        """
        with self._writing() as writing:
            return self._swept(writing, micros(now), _ALL)

    def _swept(self, writing: _Writing, now: int, limit: int) -> int:
        swept = 0
        for row in writing.transaction.expired(self.deployment, now, limit):
            ref = ref_of(row.kind, row.name, row.team)
            with suppress(SealedError):
                if ref is not None and self._is_authentic(row, ref):
                    writing.change(row._replace(is_deleted=1, changed_by=SWEEPER), version=None)
                    swept += 1
        return swept

    @contextmanager
    def _writing(self) -> Iterator[_Writing]:
        with self._store.write() as transaction:
            writing = _Writing(self, transaction, self._clock())
            yield writing
            writing.flush()
        # Only now: a key whose transaction was undone must not seal anything.
        self._keyrings.update(writing.keyrings)

    # --- rows that are no entries --------------------------------------------------------------

    @property
    def store(self) -> Store:
        """Give the store, for the rows of who may: `registry/`."""
        return self._store

    def mac_row(self, table: str, columns: Iterable[object]) -> bytes:
        """
        Authenticate a row of the deployment that is no entry.

        Raises:
            InvalidInputError: a column is of a type no row has.
            SealedError: there is no active key.
        """
        keyring = self._keyrings.get("") or self._reload("")
        return keyring.row_mac(covered(table, columns))

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
        key_id = mac[:_KEY_ID_BYTES] if isinstance(mac, bytes) else b""
        keyring = self._keyring("", key_id)
        if not _holds(keyring, key_id):
            # Keys are never taken out of a store, so no row can honestly name another.
            raise TamperedError("a stored row names a key that never was")
        keyring.check_row_mac(message, mac)

    # --- authentication ------------------------------------------------------------------------

    def _authenticate(self, row: EntryRow, ref: Ref, keyring: Keyring | None = None) -> Keyring:
        """Give the keyring of *ref*'s team if *row* is as it was written."""
        return self._check(ref, "entry", row[:-2], row.mac, keyring)

    def _is_authentic(self, row: EntryRow, ref: Ref) -> bool:
        try:
            self._authenticate(row, ref)
        except TamperedError:
            return False
        return True

    def _check(
        self, ref: Ref, table: str, columns: tuple[object, ...], mac: object, keyring: Keyring | None = None
    ) -> Keyring:
        try:
            message = covered(table, columns)
            key_id = mac[:_KEY_ID_BYTES] if isinstance(mac, bytes) else b""
            if keyring is None:
                keyring = self._keyring(ref.team or "", key_id)
            if not _holds(keyring, key_id):
                # Keys are never taken out of a store, so no row can honestly name another.
                raise self._tampered(ref)
            keyring.check_row_mac(message, mac)
        except (TamperedError, InvalidInputError):
            raise self._tampered(ref) from None
        return keyring

    def _keyring(self, team: str, key_id: bytes) -> Keyring:
        """Give the keyring of *team*, read anew when it does not hold *key_id*: it may have come since."""
        keyring = self._keyrings.get(team)
        if keyring is None or not _holds(keyring, key_id):
            keyring = self._reload(team)
        return keyring

    def _opened(
        self, sealed: bytes | None, keyring: Keyring, row_id: bytes, number: int, ref: Ref
    ) -> Secret[str]:
        context = Context(ref.kind, "value", row_id, number, ref.name)
        try:
            if sealed is None:
                raise self._tampered(ref)
            return Secret(envelope.open(sealed, keyring=keyring, context=context).decode())
        except SealedError:
            if _holds(keyring, envelope.key_id_of(sealed or b"")):
                raise
            # Keys are never taken out of a store, so no value can honestly name another.
            raise self._tampered(ref) from None
        except (TamperedError, UnicodeDecodeError):
            raise self._tampered(ref) from None
        except InvalidInputError as newer:
            raise MalformedEntryError(
                f"{ref} is sealed in a newer format than this release reads",
                backend=self.name,
                ref=str(ref),
                hint=newer.hint,
            ) from None

    def _secret_of(self, ref: Ref, row: VersionRow, keyring: Keyring) -> Secret[str]:
        self._check(ref, "version", (*row[:2], *row[3:-1]), row.mac, keyring)
        return self._opened(row.sealed, keyring, row.entry_id, row.number, ref)

    def _tampered(self, ref: Ref) -> TamperedError:
        return TamperedError(
            f"{ref} in the backend {self.name} failed authentication: "
            "what is stored was changed, moved or damaged",
            hint="find out who could write the store, then restore it from a backup",
        )

    def _known(self, ref: Ref) -> tuple[EntryRow, Keyring]:
        row = self._store.current(self.deployment, ref.team or "", ref.kind, ref.name)
        if row is None:
            raise _absent(ref)
        return row, self._authenticate(row, ref)

    def _summary(self, row: EntryRow, kind: Kind, now: int) -> Summary | None:
        ref = ref_of(kind, row.name, row.team)
        if ref is None:
            return None
        if not self._is_authentic(row, ref):
            return Summary(
                ref=ref,
                backend=self.name,
                state=EntryState.TAMPERED,
                problem="what is stored was changed, moved or damaged",
            )
        return Summary(
            ref=ref,
            backend=self.name,
            version=str(row.current_version),
            changed_at=moment(row.changed_at),
            metadata=metadata_of(row),
            is_deleted=not stands(row, now),
            state=EntryState.OK,  # checked when it was written
        )

    # --- keys ----------------------------------------------------------------------------------

    def _reload(self, team: str) -> Keyring:
        keks = [self._load(kek, self._store.wraps(kek.id)) for kek in self._keks(team)]
        keyring = Keyring(self._place(team), keks)
        self._keyrings[team] = keyring
        return keyring

    def _keks(self, team: str | None = None) -> list[KekRow]:
        """Give the rows of keys, refusing columns of another type: nothing has authenticated them yet."""
        found = self._store.keks(self.deployment, team)
        if all(
            type(row.id) is bytes and type(row.number) is int and is_time(row.created_at) for row in found
        ):
            return found
        raise self._sealed([TamperedError("a stored key has a column of another type")])

    def _place(self, team: str) -> Place:
        return Place(store_id=self._store.id, deployment=self.deployment, team=team)

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
                    kek = Kek.unwrapped(
                        wrap.wrapped,
                        by=wrapper,
                        place=self._place(row.team),
                        id=row.id,
                        number=row.number,
                        state=cast("State", row.state),
                    )
                    _check_canary(kek, row)
                except (SealedError, BackendConfigError, TamperedError, InvalidInputError) as refusal:
                    refusals.append(refusal)
                else:
                    return kek
        raise self._sealed(refusals)

    def _sealed(self, refusals: Sequence[StrongroomError]) -> StrongroomError:
        """Give the refusal that tells most: a key kept in the open or a changed row before a wrong key."""
        for refusal in refusals:
            if isinstance(refusal, BackendConfigError):
                return refusal
        for refusal in refusals:
            if isinstance(refusal, (TamperedError, InvalidInputError)):
                return TamperedError(
                    f"a key stored in {self.name} failed authentication; start refused, nothing overwritten",
                    hint="restore the store from a backup",
                )
        reason = f"{refusals[0]}; " if refusals else ""
        return SealedError(
            f"{reason}no configured key opens the store {self.name}: start refused, nothing overwritten",
            hint=(refusals[0].hint if refusals else None)
            or "configure the key file or passphrase the store was made with",
        )

    def _first_key(self, transaction: Transaction, team: str, now: datetime) -> Keyring:
        # The key without a team is the first of the deployment: no row at all may be there before it.
        if transaction.has_entries(self.deployment, team or None):
            raise SealedError(
                f"the keys of the deployment {self.deployment} are gone from the store {self.name}; "
                "start refused, nothing overwritten",
                hint="restore the store from a backup",
            )
        if not self._wrappers:
            raise BackendConfigError(
                "no outer key is configured, so no key can be made", hint="strongroom init"
            )
        kek = Kek.generate(self._place(team), number=1)
        keyring = Keyring(kek.place, [kek])
        columns = (kek.id, self.deployment, team, kek.number, kek.state, micros(now))
        transaction.add_kek(
            KekRow(*columns, canary=keyring.row_mac(covered("kek", columns))),
            [
                WrapRow(kek.id, index, wrapper.kind, wrapper.name, kek.wrapped(by=wrapper))
                for index, wrapper in enumerate(self._wrappers, start=1)
            ],
        )
        return keyring

    def outline(
        self, kind: Kind, *, team: str | None = None, after: str = "", limit: int = 1000
    ) -> Sequence[Outline]:
        """
        Give what the entries of `list` may be put in order by, as it is stored: nothing is authenticated,
        so it is good for an order and for nothing else.

        Raises:
            BackendUnavailableError: as `read`.
        """
        now = micros(self._clock())
        wanted = Page(self.deployment, team or "", kind, "", after, limit, now, with_deleted=False)
        found: Sequence[Outline] = []
        while len(found) < limit:
            rows = self._store.outline(wanted._replace(limit=limit - len(found)))
            found = [*found, *(one for row in rows if (one := _outlined(kind, row)) is not None)]
            if not rows or type(rows[-1][0]) is not str:
                break
            wanted = wanted._replace(after=rows[-1][0])
        return found

    def named(self, kind: Kind, names: Sequence[str], *, team: str | None = None) -> Sequence[Summary]:
        """
        Give the entries of *names* as `list` does, ordered by name; nothing of those that are nowhere.

        Raises:
            SealedError, BackendUnavailableError: as `read`.
        """
        now = micros(self._clock())
        wanted = Page(self.deployment, team or "", kind, "", "", 0, now, with_deleted=False)
        ordered = sorted(set(names))
        return [
            summary
            for start in range(0, len(ordered), _BATCH)
            for row in self._store.named(wanted, ordered[start : start + _BATCH])
            if (summary := self._summary(row, kind, now)) is not None
        ]

    # --- listing: last, because from here on `list` is not the builtin ------------------------------

    def list(  # noqa: PLR0913 -- which of them
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
        with_deleted: bool = False,
        only_deleted: bool = False,
    ) -> list[Summary]:
        """
        Give up to *limit* entries of exactly this *kind* and *team*, ordered by name (by code
        point), names greater than *after* only.

        A row that fails authentication is listed by its name alone, as tampered.

        Args:
            kind: exactly this kind.
            team: exactly this team's, or the global ones.
            prefix: only names that begin so.
            after: only names greater than this one.
            limit: entries at most.
            with_deleted: those that were softly deleted too.
            only_deleted: none but those.

        Raises:
            SealedError, BackendUnavailableError: as `read`.
        """
        now = micros(self._clock())
        wanted = Page(
            self.deployment, team or "", kind, prefix, after, limit, now, with_deleted, only_deleted
        )
        found: list[Summary] = []
        while len(found) < limit:
            rows = self._store.page(wanted._replace(limit=limit - len(found)))
            found += (one for row in rows if (one := self._summary(row, kind, now)) is not None)
            if len(found) == limit or not rows or type(rows[-1].name) is not str:
                break  # bytes planted as a name sort after every text
            # A planted row whose name is not legal is passed over: a page cut short by it would read
            # as the end of the list.
            wanted = wanted._replace(after=rows[-1].name)
        return found


class _Writing:
    """One transaction of a Barrier: its rows gathered, its keys kept until it stands."""

    def __init__(self, barrier: Barrier, transaction: Transaction, now: datetime) -> None:
        self.transaction = transaction
        self.now = now
        self.micros = micros(now)
        self.keyrings: dict[str, Keyring] = {}
        self._barrier = barrier
        self._gathered: set[Ref] = set()
        self._added: list[EntryRow] = []
        self._changed: list[EntryRow] = []
        self._versions: list[VersionRow] = []
        self._changes: list[ChangeRow] = []
        self._bytes = 0

    def row(self, ref: Ref) -> EntryRow | None:
        """Give the authentic row of *ref*, deleted or not, as this transaction sees it."""
        if ref in self._gathered:
            self.flush()
        row = self.transaction.current(self._barrier.deployment, ref.team or "", ref.kind, ref.name)
        if row is not None:
            self._barrier._authenticate(row, ref, self.keyring(ref))  # noqa: SLF001 -- the other half of one class
        return row

    def standing(self, ref: Ref) -> EntryRow | None:
        """Give the row of *ref* unless it is deleted or expired."""
        row = self.row(ref)
        return row if row is not None and stands(row, self.micros) else None

    def keyring(self, ref: Ref) -> Keyring:
        """Give the keyring of *ref*'s team as it stands in this transaction; a team without one gets one."""
        team = ref.team or ""
        if team not in self.keyrings:
            self.keyrings[team] = self._current_keyring(team)
        return self.keyrings[team]

    def _current_keyring(self, team: str) -> Keyring:
        barrier = self._barrier
        stored = self.transaction.keks(barrier.deployment, team)
        if not stored:
            return barrier._first_key(self.transaction, team, self.now)  # noqa: SLF001 -- as above
        known = barrier._keyrings.get(team)  # noqa: SLF001 -- as above
        if known is not None and [(key.id, key.state) for key in known.keys] == [
            (kek.id, kek.state) for kek in stored
        ]:
            return known
        return barrier._reload(team)  # noqa: SLF001 -- as above

    def write(self, draft: Draft) -> str:
        """Gather one write and give the version it will have."""
        ref = draft.ref
        row = self.row(ref)
        _expect(ref, draft.expected_version, row if row is not None and stands(row, self.micros) else None)
        keyring = self.keyring(ref)
        row_id = token_bytes(16) if row is None else row.id
        number = 1 if row is None else row.current_version + 1
        if row is not None and self.transaction.has_version(row_id, number):
            raise self._barrier._tampered(ref)  # noqa: SLF001 -- as above; an older state was put back
        version = _version_row(draft, keyring, row_id, number, self.micros)
        self._versions.append(version)
        self._bytes += len(version.sealed)
        entry = entry_row(ref, draft.metadata)._replace(
            id=row_id,
            deployment=self._barrier.deployment,
            current_version=number,
            changed_at=self.micros,
            changed_by=draft.author,
        )
        (self._added if row is None else self._changed).append(_authenticated(entry, ref, keyring))
        self._note(ref, number)
        return str(number)

    def change(self, row: EntryRow, *, version: int | None) -> None:
        """Gather a change of an entry's row that makes no version."""
        ref = Ref(cast("Kind", row.kind), row.name, row.team or None)
        changed = row._replace(changed_at=self.micros)
        self._changed.append(_authenticated(changed, ref, self.keyring(ref)))
        self._note(ref, version)

    def _note(self, ref: Ref, version: int | None) -> None:
        self._changes.append(ChangeRow(0, ref.team or "", ref.kind, ref.name, version))
        self._gathered.add(ref)
        if len(self._changes) >= _BATCH or self._bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what was gathered to the database."""
        self.transaction.add_entries(self._added)
        self.transaction.change_entries(self._changed)
        self.transaction.add_versions(self._versions)
        self.transaction.add_changes(self._barrier.deployment, self._changes)
        for gathered in (self._added, self._changed, self._versions, self._changes):
            gathered.clear()
        self._gathered.clear()
        self._bytes = 0


def _check_canary(kek: Kek, row: KekRow) -> None:
    # Wrapping authenticates the key; only this tells whether its state and time are what was written.
    if row.canary[:_KEY_ID_BYTES] != kek.id:
        raise TamperedError("a stored key has the canary of another")
    Keyring(kek.place, [kek]).check_row_mac(covered("kek", row[:-1]), row.canary)


# --- rows and what they mean -------------------------------------------------------------------


def _outlined(kind: Kind, row: tuple[object, ...]) -> Outline | None:
    """Give what *row* may be put in order by; a column of another type counts as empty."""
    name, changed_at, conn_type, description, expires_at = row
    if type(name) is not str or ref_of(kind, name, "") is None:
        return None
    return Outline(
        name,
        changed_at if is_time(changed_at) else None,  # type: ignore[arg-type]  # told by `is_time`
        conn_type if type(conn_type) is str else None,
        description if type(description) is str else None,
        expires_at if type(expires_at) is int else None,
    )


def _authenticated(row: EntryRow, ref: Ref, keyring: Keyring) -> EntryRow:
    return row._replace(mac=_mac(ref, "entry", row[:-2], keyring))


def _mac(ref: Ref, table: str, columns: tuple[object, ...], keyring: Keyring) -> bytes:
    message = covered(table, columns)
    if len(message) > MAX_METADATA_BYTES:
        raise InvalidInputError(
            f"what stands beside the value of {ref} is over {MAX_METADATA_BYTES} bytes",
            limit=MAX_METADATA_BYTES,
            hint="shorten its description, tags, owner or comment",
        )
    return keyring.row_mac(message)


def _version_row(draft: Draft, keyring: Keyring, row_id: bytes, number: int, now: int) -> VersionRow:
    ref = draft.ref
    check_texts(author=draft.author, comment=draft.comment)
    key = keyring.active
    context = Context(ref.kind, "value", row_id, number, ref.name)
    sealed = envelope.seal(_plaintext(draft), key=key, context=context)
    public = (key.id, draft.metadata.conn_type, now, draft.author, draft.comment)
    mac = _mac(ref, "version", (row_id, number, *public), keyring)
    return VersionRow(row_id, number, sealed, *public, mac=mac)


def _plaintext(draft: Draft) -> bytes:
    try:
        plaintext = draft.secret.reveal().encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(
            f"the value of {draft.ref} holds half of a surrogate pair", offset=error.start
        ) from None
    if len(plaintext) > MAX_VALUE_BYTES:
        raise InvalidInputError(
            f"the value of {draft.ref} is over {MAX_VALUE_BYTES} bytes", limit=MAX_VALUE_BYTES
        )
    return plaintext


def _without_past_expiry(metadata: Metadata, now: datetime) -> Metadata:
    if metadata.expires_at is not None and metadata.expires_at <= now:
        return replace(metadata, expires_at=None)
    return metadata


def _expect(ref: Ref, expected: str | None, standing: EntryRow | None) -> None:
    if expected is None:
        return
    current = None if standing is None else str(standing.current_version)
    if expected == MUST_BE_ABSENT and current is not None:
        raise ConflictError(
            f"{ref} exists already", current_version=current, hint="edit it, or choose another name"
        )
    if expected not in (MUST_BE_ABSENT, current):
        raise ConflictError(
            f"{ref} was changed meanwhile", current_version=current, hint="read it again, then repeat"
        )


def _absent(ref: Ref, version: str | None = None) -> NotFoundError:
    # Versions are numbers here; anything else was typed by somebody and may be a secret by mistake.
    if version is not None and version.isdecimal() and version.isascii():
        return NotFoundError(f"{ref} has no version {version[:20]}")
    return NotFoundError(f"there is no {ref}" if version is None else f"{ref} has no such version")


def _number(ref: Ref, version: str) -> int:
    if not (version.isascii() and version.isdecimal() and len(version) < 19):  # noqa: PLR2004 -- fits 63 bits
        raise _absent(ref, version)
    return int(version)


def _holds(keyring: Keyring, key_id: bytes) -> bool:
    return keyring.holds(key_id)
