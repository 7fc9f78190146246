"""The barrier itself: entries read, written, listed, each authenticated on its way."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import get_ident
from typing import TYPE_CHECKING, NamedTuple

from strongroom.barrier.keychain import Keychain
from strongroom.barrier.listing import Listing
from strongroom.barrier.proof import Proof
from strongroom.barrier.writing import BATCH, Writing, absent, expect, number_of
from strongroom.errors import ConflictError, SealedError, StrongroomError, TamperedError
from strongroom.model.entry import Draft, Entry, Metadata, Outline, Summary, VersionInfo
from strongroom.model.ref import Kind, Ref, check_deployment
from strongroom.store.record import metadata_of, micros, ref_of, stands, version_info
from strongroom.store.rows import ChangeRow, EntryRow, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from strongroom.barrier.rewrap import Rewrap
    from strongroom.barrier.rotation import Rotation
    from strongroom.barrier.status import KeyStatus
    from strongroom.crypto.keyring import Keyring
    from strongroom.crypto.wrapping import Wrapper
    from strongroom.store.rows import KekRow, VersionRow, WrapRow
    from strongroom.store.store import Store

SWEEPER = "strongroom:sweep"
"""The author of deletions that `sweep` makes."""

ROTATOR = "strongroom:keys"
"""The author of keys that are made because the one before was worn or old."""

_SWEPT_BY_A_WRITE = 100  # expired entries: so that no write pays for all of a long absence
_ALL = -1  # as SQLite's LIMIT


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
        on_worn: told when a key has sealed so much that it was replaced, or should have been.
    """

    def __init__(
        self, store: Store, wrappers: Sequence[Wrapper], *, deployment: str, clock: Callable[[], datetime]
    ) -> None:
        """Use `create` or `open`, which see to it that there is a key."""
        self.name = store.name
        self.deployment = check_deployment(deployment)
        self._store = store
        self._clock = clock
        self._keychain = Keychain(store, wrappers, deployment)
        self._proof = Proof(self._keychain, store.name)
        self._listing = Listing(store, self._proof, name=store.name, deployment=deployment, clock=clock)
        self._readers: set[int] = set()  # threads
        self.on_worn: Callable[[str], None] | None = None

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
                barrier._keychain.first(transaction, "", clock())
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
        if not barrier._keychain.reload("").keys:
            raise SealedError(
                f"the store {store.name} has no key for the deployment {deployment}", hint="strongroom init"
            )
        return barrier

    def forget(self) -> None:
        """Forget the keys, and leave the store open to others. Safe to call twice."""
        self._keychain.forget()

    def close(self) -> None:
        """Forget the keys and close the store. Safe to call twice."""
        self._keychain.forget()
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
        reader = get_ident()
        self._readers.add(reader)  # a job of this process waits meanwhile
        try:
            return self._read(ref)
        finally:
            self._readers.discard(reader)

    def _read(self, ref: Ref) -> Entry | None:
        row = self._store.current(self.deployment, ref.team or "", ref.kind, ref.name)
        if row is None:
            return None
        keyring = self._proof.authenticate(row, ref)
        now = self._clock()
        if not stands(row, micros(now)):
            return None
        return Entry(
            ref=ref,
            secret=self._proof.opened(row.sealed, keyring, row.id, row.current_version, ref),
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
        self._proof.authenticate(row, ref)
        return metadata_of(row)

    def read_version(self, ref: Ref, version: str) -> Entry:
        """
        Give one version, whether the entry is deleted or not, with the metadata that stands now.

        Raises:
            NotFoundError: there is no such version.
            TamperedError, SealedError, BackendUnavailableError: as `read`.
        """
        row, keyring = self._known(ref)
        found = self._store.version(row.id, number_of(ref, version))
        if found is None:
            raise absent(ref, version)
        return Entry(
            ref=ref,
            secret=self._proof.secret_of(ref, found, keyring),
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
        keyring = self._proof.authenticate(row, ref)
        while self._store.has_version(row.id, row.current_version + 1):
            newer = self._store.current(self.deployment, ref.team or "", ref.kind, ref.name)
            if newer is None or newer.current_version <= row.current_version:
                # An older state of the row was put back, and what came after it was left behind.
                raise self._proof.tampered(ref)
            row, keyring = newer, self._proof.authenticate(newer, ref)  # it was written meanwhile
        is_standing = stands(row, micros(self._clock()))
        seen: dict[bytes, str] = {}
        found: list[VersionInfo] = []
        for number in range(1, row.current_version + 1):
            # One at a time: a hundred versions of a mebibyte must not stand in memory together.
            version = self._store.version(row.id, number)
            if version is None:
                raise self._proof.tampered(ref)
            secret = self._proof.secret_of(ref, version, keyring)
            fingerprint = keyring.fingerprint(secret.reveal().encode())
            is_current = is_standing and number == row.current_version
            found.append(version_info(version, is_current=is_current, same_as=seen.get(fingerprint)))
            seen[fingerprint] = str(number)
        return found[::-1]

    def prove(self, row: EntryRow, versions: Iterable[VersionRow]) -> int:
        """
        Authenticate an entry's row and all its versions, open their values, and give how many those are.

        Args:
            row: of this deployment, from anywhere.
            versions: every one of it, oldest first; taken one by one.

        Raises:
            TamperedError: one is not what was written, or is missing, or is one too many.
            SealedError: the key that sealed it is not to be had.
        """
        ref = ref_of(row.kind, row.name, row.team)
        if ref is None:
            raise TamperedError(
                "an entry is stored under a name that is none", hint="restore the store from a backup"
            )
        keyring = self._proof.authenticate(row, ref)
        count = 0
        for count, version in enumerate(versions, start=1):
            if (version.entry_id, version.number) != (row.id, count):
                raise self._proof.tampered(ref)
            self._proof.secret_of(ref, version, keyring)
        if count != row.current_version:
            raise self._proof.tampered(ref)
        return count

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
        return self._keychain.teams()

    def keys(self) -> list[KeyStatus]:
        """Give every key of the deployment, by team and number, without loading any."""
        return self._keychain.statuses()

    def prove_keys(self) -> int:
        """
        Unwrap every key of every team, see by its canary that it is the one, and give how many there are.

        Raises:
            SealedError: no wrapper opens one.
            TamperedError: it is not what was stored.
            BackendConfigError: an outer key is kept in the open.
        """
        return sum(len(self._keychain.reload(team).keys) for team in ("", *self.teams()))

    def escrow(self, row: KekRow, wraps: Sequence[WrapRow], by: Sequence[Wrapper]) -> list[WrapRow]:
        """
        Give a stored key of the deployment wrapped anew by each of *by*: for a backup, and out of one.

        Raises:
            SealedError: no wrapper opens it, or one of *by* has no outer key.
            TamperedError: it is not what was stored.
            BackendConfigError: an outer key is kept in the open.
        """
        return self._keychain.escrow(row, wraps, by)

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
                if progress is not None and len(made) % BATCH == 0:
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
                raise absent(ref)
            secret = self._proof.opened(row.sealed, writing.keyring(ref), row.id, row.current_version, ref)
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
                raise absent(ref)
            found = writing.transaction.version(row.id, number_of(ref, version))
            if found is None:
                raise absent(ref, version)
            metadata = replace(metadata_of(row), conn_type=found.conn_type)
            return writing.write(
                Draft(
                    ref=ref,
                    secret=self._proof.secret_of(ref, found, writing.keyring(ref)),
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
            expect(ref, expected_version, row)
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
                raise absent(ref)
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

    def _swept(self, writing: Writing, now: int, limit: int) -> int:
        swept = 0
        for row in writing.transaction.expired(self.deployment, now, limit):
            ref = ref_of(row.kind, row.name, row.team)
            with suppress(SealedError):
                if ref is not None and self._proof.is_authentic(row, ref):
                    writing.change(row._replace(is_deleted=1, changed_by=SWEEPER), version=None)
                    swept += 1
        return swept

    @contextmanager
    def _writing(self) -> Iterator[Writing]:
        with self._store.write() as transaction:
            writing = Writing(self._keychain, self._proof, transaction, self._clock())
            yield writing
            writing.flush()
        # Only now: a key whose transaction was undone must not seal anything.
        self._keychain.adopt(writing.keyrings)
        for team in writing.worn:
            self._replace_worn(team)

    def _replace_worn(self, team: str) -> None:
        """Replace a key that has sealed so much that it should be; what was written stands whatever comes."""
        from strongroom.crypto.keyring import ALARM_WRAPS  # noqa: PLC0415 -- once in 2**28 writes

        told = f"the key of {f'the team {team}' if team else 'the deployment'} sealed {ALARM_WRAPS} values"
        try:
            self.rotation.rotate([team], author=ROTATOR)
        except StrongroomError as error:
            told = f"{told} and could not be replaced: {error}"
        else:
            told = f"{told} and was replaced"
        if self.on_worn is not None:
            self.on_worn(told)

    # --- keys ----------------------------------------------------------------------------------

    @property
    def rotation(self) -> Rotation:
        """What changes keys."""
        from strongroom.barrier.rotation import Rotation  # noqa: PLC0415 -- only who changes keys loads it

        return Rotation(self._store, self._keychain, self._clock)

    @property
    def rewrap(self) -> Rewrap:
        """The job that puts every row under the newest key."""
        from strongroom.barrier.rewrap import Rewrap  # noqa: PLC0415 -- as above

        return Rewrap(self._store, self._keychain, self._proof, self._clock, readers=self._readers)

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
        return self._keychain.mac_row(table, columns)

    def check_row(self, table: str, columns: Iterable[object], mac: object) -> None:
        """
        Compare *mac*, as `mac_row` gave it for the same table and columns, in constant time.

        Raises:
            TamperedError: the row or its authentication was changed.
            SealedError: its key is not to be had.
        """
        self._keychain.check_row(table, columns, mac)

    # --- helping -------------------------------------------------------------------------------

    def _known(self, ref: Ref) -> tuple[EntryRow, Keyring]:
        row = self._store.current(self.deployment, ref.team or "", ref.kind, ref.name)
        if row is None:
            raise absent(ref)
        return row, self._proof.authenticate(row, ref)

    def outline(
        self, kind: Kind, *, team: str | None = None, after: str = "", limit: int = 1000
    ) -> Sequence[Outline]:
        """
        Give what the entries of `list` may be put in order by, as it is stored: nothing is authenticated,
        so it is good for an order and for nothing else.

        Raises:
            BackendUnavailableError: as `read`.
        """
        return self._listing.outline(kind, team=team, after=after, limit=limit)

    def named(self, kind: Kind, names: Sequence[str], *, team: str | None = None) -> Sequence[Summary]:
        """
        Give the entries of *names* as `list` does, ordered by name; nothing of those that are nowhere.

        Raises:
            SealedError, BackendUnavailableError: as `read`.
        """
        return self._listing.named(kind, names, team=team)

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
        return self._listing.page(wanted, kind)


def _without_past_expiry(metadata: Metadata, now: datetime) -> Metadata:
    if metadata.expires_at is not None and metadata.expires_at <= now:
        return replace(metadata, expires_at=None)
    return metadata
