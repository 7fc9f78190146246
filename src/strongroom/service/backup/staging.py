"""
A backup laid out beside: in a store of its own that nobody uses, proven to the last value.

Nothing of it is plaintext on the disk: rows are sealed as they were, and keys wrapped to the recipients.

Rules of this file:

1. What a backup says of itself is compared with what was read back from the staged store: rows and digest of
   every table.
2. A backup of an older schema is laid out in that schema and brought up to date there; one of a newer is
   refused.
3. Every key is proven by its canary, every row authenticated and every value opened, of every deployment.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import TYPE_CHECKING, NamedTuple, Protocol

from strongroom.barrier import Barrier
from strongroom.errors import (
    BackendConfigError,
    SealedError,
    TamperedError,
)
from strongroom.registry import Registry
from strongroom.service.backup.making import RECOVERY
from strongroom.service.backup.manifest import newer
from strongroom.service.opening import open_all
from strongroom.store import migration, rows, table, whole
from strongroom.store.engine import engine_of
from strongroom.store.store import REVISION, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from strongroom.crypto.wrapping import Wrapper
    from strongroom.service.backup.file import Reader
    from strongroom.service.backup.manifest import Manifest
    from strongroom.store.engine import Connection

__all__ = ["Opening", "Proven", "Staged", "staged"]

_DESTROYED = "destroyed"
_RECOVERY_NUMBER = 0  # of a wrapped key that is of the backup alone; those of a store begin with 1


class Opening(Protocol):
    """Who can open a backup."""

    def open(self, sealed: bytes) -> bytes:
        """Open what was sealed to one of his recipients."""
        ...


class Proven(NamedTuple):
    """
    What of one deployment was opened.

    Args:
        keys: of every team, by their canaries.
        entries: deleted ones included.
        versions: whose values were opened.
        who: kinds of rows of who may, authenticated as a whole.
    """

    keys: int
    entries: int
    versions: int
    who: int


class Staged:
    """
    A backup laid out beside.

    Attributes:
        store: that nobody else uses.
        manifest: of the backup.
        barriers: every deployment in it, opened by the recovery identity.
    """

    def __init__(
        self, store: Store, manifest: Manifest, wrapper: Wrapper, *, clock: Callable[[], datetime]
    ) -> None:
        self.store = store
        self.manifest = manifest
        self._clock = clock
        self.barriers: Mapping[str, Barrier] = {
            name: Barrier.open(store, [wrapper], deployment=name, clock=clock)
            for name in manifest.deployments
            if any(key.deployment == name and key.state != _DESTROYED for key in manifest.keys)
        }

    def prove(self, progress: Callable[[int, int], None]) -> dict[str, Proven]:
        """
        Open everything there is, and give how much that was.

        Raises:
            TamperedError: a row, a value or a key is not what was written.
            SealedError: a key is missing.
        """
        total, before = self.manifest.tables["versions"].rows, 0
        found: dict[str, Proven] = {}
        for name, barrier in self.barriers.items():
            done = before
            opened = open_all(barrier, progress=lambda number, done=done: progress(done + number, total))  # type: ignore[misc]  # bound now
            found[name] = Proven(*opened)
            before += opened.versions
        self._check_whole(found)
        return found

    def _check_whole(self, found: Mapping[str, Proven]) -> None:
        """Refuse rows that no list reaches: planted ones, under names that are none."""
        entries, versions = (
            sum(each.entries for each in found.values()),
            sum(each.versions for each in found.values()),
        )
        with self.store.snapshot() as connection:
            held = table.count(connection)
        if (entries, versions) != (held["entries"], held["versions"]):
            raise TamperedError("the backup holds rows that belong to no entry; nothing was changed")

    def accept(
        self, anchors: Mapping[str, Path], *, dropping: tuple[str, ...], over: Store | None = None
    ) -> None:
        """
        Make what stands here the newest there is: who may is older than it was, and meant to be.

        Args:
            anchors: of each deployment, the file that holds the highest revision acknowledged.
            dropping: kinds of rows that are not brought back.
            over: the store that this will take the place of.
        """
        for name, barrier in self.barriers.items():
            # A copy: the anchor itself says what stands in the store that is still in use.
            anchor = self.store.path.with_name(f"{name}.anchor")
            try:
                anchor.write_bytes(anchors[name].read_bytes())
            except (KeyError, OSError):
                anchor = self.store.path.with_name(f"{name}.none")
            registry = Registry(self.store, barrier, deployment=name, anchor=anchor)
            try:
                is_known = over is not None and over.head(name) is not None
                # Nobody who may is older, too, than somebody: only where there never was any it is left out.
                if is_known or anchor.exists() or self.store.head(name) is not None:
                    registry.accept(dropping=dropping)
            finally:
                registry.close()

    def rewrap(self, wrappers: Mapping[str, list[Wrapper]]) -> None:
        """
        Wrap the keys of the deployments that are known here by the wrappers of their settings, and take those
        of the backup away.

        Raises:
            SealedError, BackendConfigError: an outer key cannot be used.
        """
        with self.store.snapshot() as connection:
            made = [
                wrap
                for name, barrier in self.barriers.items()
                if name in wrappers
                for row in rows.keks(connection, name)
                for wrap in barrier.escrow(row, rows.wraps(connection, row.id), wrappers[name])
            ]
        with self.store.write() as transaction:
            transaction.connection.execute("DELETE FROM kek_wraps WHERE number = ?", (_RECOVERY_NUMBER,))
            for key_id in {wrap.kek_id for wrap in made}:
                transaction.connection.execute("DELETE FROM kek_wraps WHERE kek_id = ?", (key_id,))
            table.insert(transaction.connection, "kek_wraps", made)
            # Whoever follows the store reads everything again, so no line of then is of use.
            transaction.connection.execute("DELETE FROM changes")

    def check_wrapped(self, wrappers: Mapping[str, list[Wrapper]]) -> None:
        """
        Unwrap the keys of the deployments that are known here by each of *wrappers* alone, as their settings
        will: a key that is the same opens what it opened in `prove`.

        Raises:
            SealedError, BackendConfigError: an outer key cannot be used.
            TamperedError: it gave back another key than it was given.
        """
        for name in self.barriers.keys() & wrappers.keys():
            for wrapper in wrappers[name]:
                own = Barrier.open(self.store, [wrapper], deployment=name, clock=self._clock)
                own.prove_keys()

    def close(self) -> None:
        """Let go of keys and files."""
        for barrier in self.barriers.values():
            barrier.close()
        self.store.close()


@contextmanager
def staged(
    reader: Reader,
    opening: Opening,
    wrapper: Wrapper,
    *,
    beside: Path,
    clock: Callable[[], datetime],
    progress: Callable[[int, int], None],
) -> Iterator[Staged]:
    """
    Lay a backup out for as long as the block runs.

    Args:
        reader: of the backup, whose signature was checked.
        opening: opens its chunks.
        wrapper: unwraps its keys.
        beside: a folder of ours; a folder in it is made, and removed at the end.
        clock: wall clock, UTC.
        progress: told rows done, and all.

    Raises:
        SealedError: the identity is none of its recipients'.
        TamperedError: it is not what its manifest says.
        InvalidInputError: it is of a newer schema.
        BackendUnavailableError: there is no room on the disk.
    """
    _check_schema(reader.manifest)
    try:
        folder = Path(mkdtemp(prefix=".strongroom-restore-", dir=beside))
    except OSError:
        raise BackendConfigError(
            f'no folder can be made in "{beside}"', hint="make it writable for this user"
        ) from None
    try:
        store = _laid_out(reader, opening, folder / "store.db", progress)
        made = None
        try:
            made = Staged(store, reader.manifest, wrapper, clock=clock)
            yield made
        finally:
            (store if made is None else made).close()
    finally:
        rmtree(folder, ignore_errors=True)


def _check_schema(manifest: Manifest) -> None:
    if manifest.schema > REVISION:
        raise newer()


def _laid_out(reader: Reader, opening: Opening, path: Path, progress: Callable[[int, int], None]) -> Store:
    """Make the staged store, fill it, compare it with the manifest, and bring it up to date."""
    manifest = reader.manifest
    if manifest.schema == REVISION:
        Store.open(path, create=True).close()
    else:
        _make_older(path, manifest.schema)
    engine = engine_of(path)
    engine.start()
    try:
        with engine.begin() as connection:
            connection.execute("DELETE FROM settings")  # the id of its own: the only row of a new store
            keys = _fill(connection, reader, opening, progress)
            _compare(connection, manifest)
            _add_keys(connection, manifest, keys)
    finally:
        engine.close()
    return Store.open(path)


def _make_older(path: Path, schema: str) -> None:
    engine = engine_of(path)
    try:
        with engine.creating():
            engine.prepare()
            migration.run(engine, target=schema)
    finally:
        engine.close()


def _fill(
    connection: Connection, reader: Reader, opening: Opening, progress: Callable[[int, int], None]
) -> list[tuple[object, ...]]:
    """Write every row down, and give the keys that are wrapped to the recipients."""
    manifest, done, keys = reader.manifest, 0, []
    total = sum(each.rows for each in manifest.tables.values())
    for chunk in reader.chunks(opening.open):
        if chunk.table == RECOVERY:
            keys += chunk.rows
            continue
        said = manifest.tables.get(chunk.table)
        if said is None or any(len(row) != len(said.columns) for row in chunk.rows):
            raise _not_as_said(chunk.table)
        table.insert(connection, chunk.table, chunk.rows, of=said.columns)
        done += len(chunk.rows)
        progress(done, total)
    return keys


def _compare(connection: Connection, manifest: Manifest) -> None:
    for name, said in manifest.tables.items():
        found = whole.gathered(connection, name, lambda _name, _rows: None, of=said.columns)
        if (found.rows, found.digest.hex()) != (said.rows, said.digest):
            raise _not_as_said(name)


def _not_as_said(name: str) -> TamperedError:
    return TamperedError(f"the table {name} of the backup is not what its manifest says; nothing was changed")


def _add_keys(connection: Connection, manifest: Manifest, keys: list[tuple[object, ...]]) -> None:
    """Let the recovery identity unwrap the keys, beside whatever else does."""
    wanted = {bytes.fromhex(key.id) for key in manifest.keys if key.state != _DESTROYED}
    if {key[0] for key in keys} != wanted or any(len(key) != 2 for key in keys):  # noqa: PLR2004 -- an id and a key
        raise SealedError("the backup does not hold every key of its store", hint="take another backup")
    table.insert(
        connection,
        "kek_wraps",
        [(key_id, _RECOVERY_NUMBER, RECOVERY, RECOVERY, wrapped) for key_id, wrapped in keys],
        of=("kek_id", "number", "kind", "name", "wrapped"),
    )
