"""
A backup made: every row of a store as it stood in one moment, sealed and signed, while writers go on.

Rules of this file:

1. How far the record of what happened has come is noted before the rows are read. So every change that is not
   in the backup stands behind that place in the record, and what a restore loses can be told.
2. Every key that opens anything is wrapped to the recipients too. One that cannot be opened here fails the
   backup: it would be found out when nothing else is left.
3. Nothing stands under the name of the file before all of it is on the disk.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_bytes
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from strongroom.audit.checkpoint import Keeper
from strongroom.audit.follow import durable
from strongroom.audit.record import stamp
from strongroom.barrier import Barrier
from strongroom.errors import BackendConfigError, SealedError, TamperedError
from strongroom.service.backup.file import Chunk, Draft, write_chunk
from strongroom.service.backup.manifest import Key, Manifest, Place, Table
from strongroom.store import rows, table, whole
from strongroom.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from strongroom.audit.checkpoint import Signed
    from strongroom.crypto.wrapping import Wrapper
    from strongroom.store.engine import Connection

__all__ = ["RECOVERY", "Made", "Sealing", "Source", "make"]

RECOVERY = "recovery"
"""The chunk of every backup that is no table: id of a key, and the key wrapped to the recipients."""

_CHUNK_BYTES = 4_194_304  # 4 MiB of rows in a chunk, and the last row over that
_CHUNK_ROWS = 5_000
_SIGN_SECONDS = 5.0  # another process signs for milliseconds, at most once a second
_SIGN_AGAIN_SECONDS = 0.05
_DESTROYED = "destroyed"
T = TypeVar("T")


class Sealing(Protocol):
    """Who a backup is for."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The recipients."""
        ...

    def seal(self, plaintext: bytes) -> bytes:
        """Seal so that any of them opens it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """
    What a backup is made of.

    Args:
        store: whose rows.
        barriers: every deployment in it that is known here, by name.
        keepers: who signs the record of each; the backup is signed by that of *deployment*.
        deployment: who makes it.
        release: of Strongroom.
    """

    store: Store
    barriers: Mapping[str, Barrier]
    keepers: Mapping[str, Keeper]
    deployment: str
    release: str


class Made(NamedTuple):
    """
    A backup that was made.

    Args:
        path: of its file.
        size: of it, in bytes.
        key: the verifier key of who signed it, as text.
        manifest: what is in it.
    """

    path: Path
    size: int
    key: str
    manifest: Manifest


def make(
    source: Source,
    path: Path,
    *,
    sealing: Sealing,
    wrapper: Wrapper,
    clock: Callable[[], datetime],
    progress: Callable[[int, int], None],
) -> Made:
    """
    Write a backup of *source* to *path*.

    Args:
        source: what it is made of.
        path: of a file that is not there yet.
        sealing: for whom.
        wrapper: wraps keys to the same.
        clock: wall clock, UTC.
        progress: told rows done, and all.

    Raises:
        ConflictError: there is something at *path*.
        SealedError: a key of the store cannot be opened here.
        TamperedError: a key, a row or the record of what happened is not what was written.
        BackendConfigError: the signing key or *path* cannot be used.
        BackendUnavailableError: the store gave no answer, or the disk is full.
    """
    with Draft(path) as draft:
        signer, records = _records(source)
        with source.store.snapshot() as connection:
            at = stamp(clock())
            backup = token_bytes(16)
            draft.begin(
                {
                    "at": at,
                    "id": backup.hex(),
                    "recipients": sealing.texts,
                    "release": source.release,
                    "what": "a backup of a store of Strongroom: strongroom backup verify FILE",
                }
            )
            writing = _Writing(draft, sealing, backup)
            keys = _escrow(source, connection, writing, wrapper)
            tables = writing.tables(connection, progress)
            manifest = Manifest(
                id=backup.hex(),
                store=source.store.id.hex(),
                at=at,
                release=source.release,
                schema=table.revision(connection),
                sequence=rows.last_sequence(connection),
                recipients=sealing.texts,
                records=records,
                keys=keys,
                tables=tables,
                header=draft.header.hex(),
                chunks=tuple(digest.hex() for digest in draft.chunks),
            )
        keeper, text = source.keepers[source.deployment], manifest.format(signer.checkpoint.origin)
        note = _again(lambda: keeper.sign_text(text))
        draft.finish(note.format().encode())
        return Made(path.absolute(), draft.size, _key_of(source), manifest)


def _key_of(source: Source) -> str:
    from strongroom.audit.checkpoint import public_of  # noqa: PLC0415 -- who reads backups does without

    with suppress(OSError, ValueError):
        return "".join(key.format() for key in public_of(source.keepers[source.deployment].key)[:1])
    return ""


# --- the record of what happened -----------------------------------------------------------------


def _records(source: Source) -> tuple[Signed, tuple[Place, ...]]:
    """Sign the record of every deployment, and give where it stands; the maker's own must be signed."""
    own: Signed | None = None
    places: list[Place] = []
    for name, keeper in sorted(source.keepers.items()):
        try:
            signed = _again(keeper.sign)
            size = durable(keeper.folder)
        except (BackendConfigError, TamperedError):
            if name == source.deployment:
                raise
            continue  # the log of another deployment may be another user's to read
        except (OSError, ValueError):
            raise TamperedError("the head of the audit log cannot be read") from None
        own = signed if name == source.deployment else own
        places.append(
            Place(deployment=name, size=size, checkpoint="" if signed is None else signed.note.format())
        )
    if own is None:
        raise BackendConfigError("the audit log of the deployment is empty, so nothing signs the backup")
    return own, tuple(places)


def _again(sign: Callable[[], T]) -> T:
    """Give what *sign* gives; a server's own process may be at the key, for a moment."""
    deadline = time.monotonic() + _SIGN_SECONDS
    while True:
        try:
            return sign()
        except BackendConfigError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_SIGN_AGAIN_SECONDS)


# --- keys ----------------------------------------------------------------------------------------


def _escrow(source: Source, connection: Connection, writing: _Writing, wrapper: Wrapper) -> tuple[Key, ...]:
    """Wrap every key that opens anything to the recipients too, and give what all of them are called."""
    keys: list[Key] = []
    kept: list[tuple[object, ...]] = []
    for name in table.deployments(connection):
        barrier = source.barriers.get(name)
        for row in rows.keks(connection, name):
            if barrier is None and row.state != _DESTROYED:
                raise SealedError(
                    f"the store holds the deployment {name} too, and nothing here opens its keys",
                    hint="make the backup with the settings that name it",
                )
            if barrier is not None:
                kept += [
                    (wrap.kek_id, wrap.wrapped)
                    for wrap in barrier.escrow(row, rows.wraps(connection, row.id), [wrapper])
                ]
            keys.append(
                Key(id=row.id.hex(), deployment=name, team=row.team, number=row.number, state=row.state)
            )
    writing.write(RECOVERY, kept)
    writing.flush()
    return tuple(keys)


class _Writing:
    """Rows gathered into chunks."""

    def __init__(self, draft: Draft, sealing: Sealing, backup: bytes) -> None:
        self._draft = draft
        self._sealing = sealing
        self._backup = backup
        self._chunk: Chunk | None = None
        self._bytes = 0

    def tables(self, connection: Connection, progress: Callable[[int, int], None]) -> dict[str, Table]:
        """Write every table, and give what each holds."""
        total, done = sum(table.count(connection).values()), 0
        found: dict[str, Table] = {}

        def each(name: str, batch: Sequence[tuple[object, ...]]) -> None:
            nonlocal done
            self.write(name, batch)
            done += len(batch)
            progress(done, total)

        for name in table.names():
            held = whole.gathered(connection, name, each)
            self.flush()
            found[name] = Table(columns=table.columns(name), rows=held.rows, digest=held.digest.hex())
        return found

    def write(self, name: str, found: Sequence[tuple[object, ...]]) -> None:
        """Gather rows of one table, and write what is enough for a chunk."""
        for row in found:
            if self._chunk is None:
                self._chunk, self._bytes = Chunk(name, []), 0
            self._chunk.rows.append(row)
            self._bytes += sum(len(column) for column in row if isinstance(column, (bytes, str)))
            if self._bytes >= _CHUNK_BYTES or len(self._chunk.rows) == _CHUNK_ROWS:
                self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        if self._chunk is not None:
            data = write_chunk(self._backup, len(self._draft.chunks), self._chunk)
            self._draft.add(self._sealing.seal(data))
            self._chunk = None
