"""
What makes a row ours: the MAC beside it and the seal around its value, made and checked.

Here alone a stored value becomes a Secret, and a Secret a stored value. A row that fails is
`TamperedError` for its own name, and no other name suffers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.barrier.keychain import KEY_ID_BYTES
from strongroom.crypto import envelope
from strongroom.crypto.envelope import Context
from strongroom.errors import InvalidInputError, MalformedEntryError, SealedError, TamperedError
from strongroom.model.entry import MAX_VALUE_BYTES
from strongroom.model.secret import Secret
from strongroom.store.record import check_texts, covered
from strongroom.store.rows import VersionRow

if TYPE_CHECKING:
    from strongroom.barrier.keychain import Keychain
    from strongroom.crypto.keyring import Keyring
    from strongroom.model.entry import Draft
    from strongroom.model.ref import Ref
    from strongroom.store.rows import EntryRow

__all__ = ["MAX_METADATA_BYTES", "Proof", "authenticated", "resealed", "version_row"]

MAX_METADATA_BYTES = 65_536  # 64 KiB: everything of one row beside its value


class Proof:
    """
    Check rows and open values of one deployment.

    Args:
        name: of the store in the settings, for errors.
    """

    def __init__(self, keychain: Keychain, name: str) -> None:
        self._keychain = keychain
        self._name = name

    def authenticate(self, row: EntryRow, ref: Ref, keyring: Keyring | None = None) -> Keyring:
        """Give the keyring of *ref*'s team if *row* is as it was written."""
        return self.check(ref, "entry", row[:-2], row.mac, keyring)

    def remarked(self, row: EntryRow, ref: Ref, keyring: Keyring) -> bytes:
        """Give the MAC that *row*, which must be as it was written, has under the key that seals now."""
        self.authenticate(row, ref, keyring)
        return keyring.row_mac(covered("entry", row[:-2]))

    def is_authentic(self, row: EntryRow, ref: Ref) -> bool:
        """Tell whether *row* is as it was written; raises SealedError where its key is not to be had."""
        try:
            self.authenticate(row, ref)
        except TamperedError:
            return False
        return True

    def check(
        self, ref: Ref, table: str, columns: tuple[object, ...], mac: object, keyring: Keyring | None = None
    ) -> Keyring:
        """
        Give the keyring under which *mac* is that of *columns*.

        Args:
            ref: whose row it is, for the team's keys and for the error.
            table: its name, which is covered too.
            columns: as they are stored.
            mac: likewise; of any type.
            keyring: where it is at hand; looked for otherwise.

        Raises:
            TamperedError: it is not, or no key of that id ever was.
            SealedError: the key is not to be had.
        """
        try:
            message = covered(table, columns)
            key_id = mac[:KEY_ID_BYTES] if isinstance(mac, bytes) else b""
            if keyring is None or not keyring.holds(key_id):  # it may have come since
                keyring = self._keychain.holding(ref.team or "", key_id)
            if not keyring.holds(key_id):
                # Keys are never taken out of a store, so no row can honestly name another.
                raise self.tampered(ref)
            keyring.check_row_mac(message, mac)
        except (TamperedError, InvalidInputError):
            raise self.tampered(ref) from None
        return keyring

    def opened(
        self, sealed: bytes | None, keyring: Keyring, row_id: bytes, number: int, ref: Ref
    ) -> Secret[str]:
        """
        Open the value of version *number* of the entry whose row is *row_id*.

        Raises:
            TamperedError: it is not what was sealed there, or there is none.
            SealedError: its key is not to be had.
            MalformedEntryError: a newer release sealed it.
        """
        context = Context(ref.kind, "value", row_id, number, ref.name)
        try:
            if sealed is None:
                raise self.tampered(ref)
            return Secret(envelope.open(sealed, keyring=keyring, context=context).decode())
        except SealedError:
            if keyring.holds(envelope.key_id_of(sealed or b"")):
                raise
            # Keys are never taken out of a store, so no value can honestly name another.
            raise self.tampered(ref) from None
        except (TamperedError, UnicodeDecodeError):
            raise self.tampered(ref) from None
        except InvalidInputError as newer:
            raise MalformedEntryError(
                f"{ref} is sealed in a newer format than this release reads",
                backend=self._name,
                ref=str(ref),
                hint=newer.hint,
            ) from None

    def secret_of(self, ref: Ref, row: VersionRow, keyring: Keyring) -> Secret[str]:
        """Authenticate a version and open its value; raises what `check` and `opened` do."""
        # A re-wrap may have come between: the version is then under a newer key than its entry was.
        keyring = self.check_version(ref, row, keyring)
        return self.opened(row.sealed, keyring, row.entry_id, row.number, ref)

    def check_version(self, ref: Ref, row: VersionRow, keyring: Keyring) -> Keyring:
        """Give the keyring that opens *row* if it is as it was written."""
        return self.check(ref, "version", (*row[:2], *row[3:-1]), row.mac, keyring)

    def tampered(self, ref: Ref) -> TamperedError:
        """Give the error of a row that is not what was written."""
        return TamperedError(
            f"{ref} in the backend {self._name} failed authentication: "
            "what is stored was changed, moved or damaged",
            hint="find out who could write the store, then restore it from a backup",
        )


def authenticated(row: EntryRow, ref: Ref, keyring: Keyring) -> EntryRow:
    """Give *row* with its MAC, under the key that seals."""
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


def version_row(draft: Draft, keyring: Keyring, row_id: bytes, number: int, now: int) -> VersionRow:
    """
    Seal the value of *draft* as version *number* of the row *row_id*.

    Raises:
        InvalidInputError: value or metadata is over its limit, or no UTF-8 can spell it.
    """
    ref = draft.ref
    check_texts(author=draft.author, comment=draft.comment)
    key = keyring.active
    context = Context(ref.kind, "value", row_id, number, ref.name)
    sealed = envelope.seal(_plaintext(draft), key=key, context=context)
    public = (key.id, draft.metadata.conn_type, now, draft.author, draft.comment)
    return _marked(ref, VersionRow(row_id, number, sealed, *public, mac=b""), keyring)


def resealed(ref: Ref, row: VersionRow, keyring: Keyring) -> VersionRow:
    """
    Give an authenticated version under the key that seals now.

    Raises:
        TamperedError, SealedError, InvalidInputError: its value does not open.
    """
    if envelope.key_id_of(row.sealed) != row.kek_id:
        raise TamperedError("a sealed value names another key than its row")
    context = Context(ref.kind, "value", row.entry_id, row.number, ref.name)
    sealed = envelope.reseal(row.sealed, keyring=keyring, context=context)
    return _marked(ref, row._replace(sealed=sealed, kek_id=keyring.active.id), keyring)


def _marked(ref: Ref, row: VersionRow, keyring: Keyring) -> VersionRow:
    return row._replace(mac=_mac(ref, "version", (*row[:2], *row[3:-1]), keyring))


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
