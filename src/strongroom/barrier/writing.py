"""
One transaction of a Barrier: its rows gathered, its keys kept until it stands.

Every change of value or metadata is a new version with author, time and comment. Deleting and undeleting
keep the version: they only hide and show it. All of them leave a line in `changes`.
"""

from __future__ import annotations

from collections import Counter
from secrets import token_bytes
from typing import TYPE_CHECKING, cast

from strongroom.barrier.proof import authenticated, version_row
from strongroom.crypto.keyring import ALARM_WRAPS, MAX_WRAPS
from strongroom.errors import ConflictError, NotFoundError, SealedError
from strongroom.model.entry import MUST_BE_ABSENT
from strongroom.model.ref import Kind, Ref
from strongroom.store import rotation
from strongroom.store.record import entry_row, micros, stands
from strongroom.store.rows import ChangeRow, EntryRow, VersionRow

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.barrier.keychain import Keychain
    from strongroom.barrier.proof import Proof
    from strongroom.crypto.keyring import Keyring
    from strongroom.model.entry import Draft
    from strongroom.store.transaction import Transaction

__all__ = ["BATCH", "Writing", "absent", "expect", "number_of", "worn_out"]

BATCH = 500  # drafts sealed before they are handed to the database: bounds memory at full speed

_BATCH_BYTES = 8_388_608  # 8 MiB of sealed values, whatever their number


class Writing:
    """
    The rows of one transaction.

    Threads: one. Consistency: nobody else writes meanwhile.

    Attributes:
        transaction: of the store.
        now: read once.
        micros: *now* as a column holds it.
        keyrings: by team, to be adopted once the transaction stands.
        worn: teams whose key has sealed so much that it should be replaced.
    """

    def __init__(self, keychain: Keychain, proof: Proof, transaction: Transaction, now: datetime) -> None:
        self.transaction = transaction
        self.now = now
        self.micros = micros(now)
        self.keyrings: dict[str, Keyring] = {}
        self.worn: set[str] = set()
        self._keychain = keychain
        self._proof = proof
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
        row = self.transaction.current(self._keychain.deployment, ref.team or "", ref.kind, ref.name)
        if row is not None:
            self._proof.authenticate(row, ref, self.keyring(ref))
        return row

    def standing(self, ref: Ref) -> EntryRow | None:
        """Give the row of *ref* unless it is deleted or expired."""
        row = self.row(ref)
        return row if row is not None and stands(row, self.micros) else None

    def keyring(self, ref: Ref) -> Keyring:
        """Give the keyring of *ref*'s team as it stands in this transaction; a team without one gets one."""
        team = ref.team or ""
        if team not in self.keyrings:
            self.keyrings[team] = self._keychain.standing(self.transaction, team, self.now)
        return self.keyrings[team]

    def write(self, draft: Draft) -> str:
        """Gather one write and give the version it will have."""
        ref = draft.ref
        row = self.row(ref)
        expect(ref, draft.expected_version, row if row is not None and stands(row, self.micros) else None)
        keyring = self.keyring(ref)
        row_id = token_bytes(16) if row is None else row.id
        number = 1 if row is None else row.current_version + 1
        if row is not None and self.transaction.has_version(row_id, number):
            raise self._proof.tampered(ref)  # an older state was put back
        version = version_row(draft, keyring, row_id, number, self.micros)
        self._versions.append(version)
        self._bytes += len(version.sealed)
        entry = entry_row(ref, draft.metadata)._replace(
            id=row_id,
            deployment=self._keychain.deployment,
            current_version=number,
            changed_at=self.micros,
            changed_by=draft.author,
        )
        (self._added if row is None else self._changed).append(authenticated(entry, ref, keyring))
        self._note(ref, number)
        return str(number)

    def change(self, row: EntryRow, *, version: int | None) -> None:
        """Gather a change of an entry's row that makes no version."""
        ref = Ref(cast("Kind", row.kind), row.name, row.team or None)
        changed = row._replace(changed_at=self.micros)
        self._changed.append(authenticated(changed, ref, self.keyring(ref)))
        self._note(ref, version)

    def _note(self, ref: Ref, version: int | None) -> None:
        self._changes.append(ChangeRow(0, ref.team or "", ref.kind, ref.name, version))
        self._gathered.add(ref)
        if len(self._changes) >= BATCH or self._bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what was gathered to the database."""
        self.transaction.add_entries(self._added)
        self.transaction.change_entries(self._changed)
        self.transaction.add_versions(self._versions)
        self._count_uses()
        self.transaction.add_changes(self._keychain.deployment, self._changes)
        for gathered in (self._added, self._changed, self._versions, self._changes):
            gathered.clear()
        self._gathered.clear()
        self._bytes = 0

    def _count_uses(self) -> None:
        for key_id, uses in Counter(version.kek_id for version in self._versions).items():
            made = rotation.add_wraps(self.transaction.connection, key_id, uses, ALARM_WRAPS)
            if made is not None and made > MAX_WRAPS:
                raise worn_out(key_id)
            if made is not None:
                self.worn.update(
                    team for team, keyring in self.keyrings.items() if keyring.active.id == key_id
                )


def worn_out(key_id: bytes) -> SealedError:
    """Give the error of a key that has sealed as much as is safe."""
    return SealedError(
        f"the key {key_id.hex()} has sealed {MAX_WRAPS} values and seals no more",
        hint="strongroom keys rotate",
    )


def expect(ref: Ref, expected: str | None, standing: EntryRow | None) -> None:
    """Refuse, as a conflict, where another version stands than the one *expected*."""
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


def absent(ref: Ref, version: str | None = None) -> NotFoundError:
    """Give the error of an entry, or of one version of it, that is not there."""
    # Versions are numbers here; anything else was typed by somebody and may be a secret by mistake.
    if version is not None and version.isdecimal() and version.isascii():
        return NotFoundError(f"{ref} has no version {version[:20]}")
    return NotFoundError(f"there is no {ref}" if version is None else f"{ref} has no such version")


def number_of(ref: Ref, version: str) -> int:
    """Give the number that *version* names; NotFoundError where it is none."""
    if not (version.isascii() and version.isdecimal() and len(version) < 19):  # noqa: PLR2004 -- fits 63 bits
        raise absent(ref, version)
    return int(version)
