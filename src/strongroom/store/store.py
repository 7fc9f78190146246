"""
Our own tables, on SQLite: rows in, rows out, no key and no plaintext.

What a thief of the file learns: the names, kinds and teams of entries, their descriptions, tags,
owners, connection types and dates, who wrote each version when and with which comment, how many
versions there are and about how long each value is; and of who may the names of people, services and
roles, policies, and when and from where who logged in. Not a value, no key that opens one, and nothing
to guess a password or a token against.
What someone who can *write* the file can do unseen: take whole entries away, hide one from
listings, or put an entry back as it stood before, which its history and its next write notice
unless the newer versions are taken away as well. Anything less fails authentication in
`barrier.py`. Of who may (people, tokens, roles, policies) nothing can be changed unseen:
`registry/`.

Rules of this file:

1. Reading opens no transaction and loads no SQLAlchemy; writing is one transaction at a time.
2. A connection belongs to the process that opened it: a forked child opens its own.
3. A store is never made because none was found: only `create=True` makes one.
4. A store of a newer schema is refused and left exactly as it is.
5. A file that was replaced while it was open (a backup brought back) is noticed, by readers within
   a second and by writers before they acknowledge: what went into the old one would be lost.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from os import getpid
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from strongroom.errors import BackendConfigError, BackendUnavailableError
from strongroom.store import rows, sqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import sqlalchemy as sa

    from strongroom.store.rows import (
        ChangeRow,
        EntryRow,
        HeadRow,
        KekRow,
        Page,
        RegistryRow,
        VersionRow,
        WrapRow,
    )
    from strongroom.store.transaction import Transaction

__all__ = ["REVISION", "Store"]

REVISION = "0002"
"""The newest revision under `migrations/versions`; later ones sort after earlier ones."""

_ID_BYTES = 16
_LOOK_SECONDS = 1.0  # a look costs as much as a fifth of a read

T = TypeVar("T")


class Store:
    """
    The tables of one store file.

    Trust: what it gives back was authenticated by nobody yet.
    Threads: safe; readers run beside each other and beside the one writer.
    Consistency: a read that starts after a write returned sees it, in this and every other process.

    Attributes:
        name: what the settings call it, for errors.
        path: its file.
        id: 16 random bytes made with the store, bound into everything sealed for it.
    """

    def __init__(self, path: Path, *, name: str = "native") -> None:
        """Take the current store at *path*; `open` is the way to one that may need work first."""
        self.path = path
        self.name = name
        self._local = _Local(path, sqlite.identity(path))
        self.id = self._id_in(self._local)

    @classmethod
    def open(cls, place: str | Path, *, create: bool = False, name: str = "native") -> Store:
        """
        Open the store at *place*, a path or `sqlite:///<path>`; an older one is brought up to date.

        Args:
            place: on a local disk; WAL does not work over a network.
            name: of the store in the settings, for errors.
            create: make it if there is none; one that is there is opened as it is.

        Raises:
            BackendConfigError: there is none, it is not ours, of a newer schema, or its file or
                folder belongs to or can be written by other users.
            BackendUnavailableError: it cannot be reached now.
        """
        path = sqlite.locate(place)
        if create:
            with sqlite.creating(path):
                _bring_up_to_date(path, name, found=sqlite.prepare(path, name=name))
        else:
            _require_current(path, name)
        return cls(path, name=name)

    def close(self) -> None:
        """Let go of every connection. Safe to call twice; nothing works afterwards."""
        if self._local.pid == getpid():
            self._local.close()

    # --- reading -------------------------------------------------------------------------------

    def current(self, deployment: str, team: str, kind: str, name: str) -> EntryRow | None:
        """Give the entry under exactly this name (team '' for none) with its current sealed bytes."""
        local = self._here()
        connection = local.borrow(self.name)
        try:
            return rows.current(connection, deployment, team, kind, name)
        except sqlite3.Error as error:
            return self._again(
                connection, error, lambda: rows.current(connection, deployment, team, kind, name)
            )
        finally:
            local.give_back(connection)

    def version(self, entry_id: bytes, number: int) -> VersionRow | None:
        """Give one version of an entry."""
        return self._read(lambda connection: rows.version(connection, entry_id, number))

    def has_version(self, entry_id: bytes, number: int) -> bool:
        """Tell whether an entry has one version, without reading it."""
        return self._read(lambda connection: rows.has_version(connection, entry_id, number))

    def versions(self, entry_id: bytes) -> list[VersionRow]:
        """Give every version of an entry, newest first."""
        return self._read(lambda connection: rows.versions(connection, entry_id))

    def page(self, wanted: Page) -> list[EntryRow]:
        """Give entries in the order of their names, by code point, without their sealed bytes."""
        return self._read(lambda connection: rows.page(connection, wanted))

    def outline(self, wanted: Page) -> list[tuple[object, object, object, object, object]]:
        """Give what the entries of `page` may be put in order by; nothing has authenticated it."""
        return self._read(lambda connection: rows.outline(connection, wanted))

    def named(self, wanted: Page, names: Sequence[str]) -> list[EntryRow]:
        """Give those of at most 500 *names* that `page` would give."""
        return self._read(lambda connection: rows.named(connection, wanted, names))

    def keks(self, deployment: str, team: str | None = None) -> list[KekRow]:
        """Give the keys of one team ('' for none), or of the whole deployment, oldest first."""
        return self._read(lambda connection: rows.keks(connection, deployment, team))

    def wraps(self, kek_id: bytes) -> list[WrapRow]:
        """Give the wrapped forms of one key."""
        return self._read(lambda connection: rows.wraps(connection, kek_id))

    def is_wrapped_by(self, kind: str, name: str) -> bool:
        """Tell whether any key here, of whichever deployment, is wrapped by this wrapper."""
        return self._read(lambda connection: rows.is_wrapped_by(connection, kind, name))

    def sealed_versions(self, kek_id: bytes) -> int:
        """Count the versions sealed under one key."""
        return self._read(lambda connection: rows.sealed_versions(connection, kek_id))

    def changes(self, deployment: str, after: int, limit: int) -> list[ChangeRow]:
        """Give up to *limit* changes after the sequence number *after*, oldest first."""
        return self._read(lambda connection: rows.changes(connection, deployment, after, limit))

    def pruned_to(self, deployment: str) -> int:
        """Give the sequence number up to which changes of *deployment* were forgotten, 0 where none were."""
        return self._read(lambda connection: rows.pruned_to(connection, deployment))

    def prunable(self, deployment: str, keep: int) -> int | None:
        """Give the number up to which changes may be forgotten, so that the newest *keep* stay, or None."""
        return self._read(lambda connection: rows.prunable(connection, deployment, keep))

    def last_sequence(self) -> int:
        """Give the sequence number of the newest change, 0 before the first."""
        return self._read(rows.last_sequence)

    def head(self, deployment: str) -> HeadRow | None:
        """Give the head of a deployment's registry, None where nothing was ever written to it."""
        return self._read(lambda connection: rows.head(connection, deployment))

    def registry(self, deployment: str, after: int | None = None) -> tuple[HeadRow | None, list[RegistryRow]]:
        """Give the head and the rows, all or those written after *after*, both of one moment."""

        def query(connection: sqlite3.Connection) -> tuple[HeadRow | None, list[RegistryRow]]:
            connection.execute("BEGIN")
            try:
                return rows.head(connection, deployment), rows.registry(connection, deployment, after)
            finally:
                connection.execute("ROLLBACK")

        return self._read(query)

    def data_version(self) -> int:
        """
        Give a number that differs from the last one given in this process when anything was written
        since, by this process or another. It is a bell only: read `changes` to learn what.
        """
        try:
            return self._here().data_version(self.name)
        except sqlite3.Error as error:
            raise sqlite.translate(error, name=self.name) from None

    # --- writing -------------------------------------------------------------------------------

    def write(self) -> AbstractContextManager[Transaction]:
        """
        Begin the one writing transaction: it stands when the block ends, or nothing of it does.

        Raises:
            BackendUnavailableError: another writer held on for 2.5 s, or the disk is full or failing.
            TamperedError: the file is damaged.
            ReadOnlyError: the file cannot be written.
        """
        return self._write()

    @contextmanager
    def _write(self) -> Iterator[Transaction]:
        require_tools()
        from strongroom.store.transaction import begin  # noqa: PLC0415 -- SQLAlchemy: 0.3 s

        local = self._here(looks=True)
        with begin(local.engine(self.name), name=self.name) as transaction:
            yield transaction
        if local.identity != sqlite.identity(self.path):
            # What was written lies in a file that nobody will open again: not to be acknowledged.
            local.look_at = 0.0  # readers look at once
            raise self._gone()

    # --- connections ---------------------------------------------------------------------------

    def _here(self, *, looks: bool = False) -> _Local:
        """
        Give this process's connections, to the file that stands at `path`.

        Args:
            looks: look now whether it was replaced, and not only once a second.
        """
        local = self._local
        if local.pid != getpid():
            # Closing what we inherited could fold the log or drop locks under the parent's feet
            # (https://www.sqlite.org/howtocorrupt.html §2.6), so it is kept and never touched.
            # No lock: one could have been held by another thread at the moment of the fork.
            _ABANDONED.append(local)
            local = self._local = _Local(self.path, local.identity)
        now = monotonic()
        if looks or now >= local.look_at:
            if local.identity != sqlite.identity(self.path):
                local.look_at = 0.0  # until the right file stands there, nobody goes on with the old one
                return self._renewed(local)
            local.look_at = now + _LOOK_SECONDS
        return local

    def _renewed(self, old: _Local) -> _Local:
        """
        Go over to the file that was put in the place of the one that is open: a backup of this store.

        Raises:
            BackendUnavailableError: there is no file.
            BackendConfigError: it is another store, or one that `open` would refuse.
        """
        old.require_open(self.name)
        with old.lock:
            if self._local is not old:
                return self._local
            identity = sqlite.identity(self.path)
            if identity is None:
                raise self._gone()
            _require_current(self.path, self.name)
            fresh = _Local(self.path, identity, generation=old.generation + 1)
            if self._id_in(fresh) != self.id:
                fresh.close()
                raise BackendConfigError(
                    f"the file of the store {self.name} was replaced by another store",
                    hint="bring the right one back, or start this process again",
                )
            self._local = fresh
        old.close()
        return fresh

    def _gone(self) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"the file of the store {self.name} was taken away or replaced while it was open",
            backend=self.name,
            hint="bring it back, then look whether the last change is in it",
        )

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        local = self._here()
        connection = local.borrow(self.name)
        try:
            return query(connection)
        except sqlite3.Error as error:
            return self._again(connection, error, lambda: query(connection))
        finally:
            local.give_back(connection)

    def _again(self, connection: sqlite3.Connection, error: sqlite3.Error, query: Callable[[], T]) -> T:
        """
        Repeat *query* taking damaged text as it comes, where that was the trouble: one row that was
        made unreadable must fail alone, when it is authenticated, and not the page it stands on.
        """
        if not sqlite.is_text_damage(error):
            raise sqlite.translate(error, name=self.name) from None
        connection.text_factory = sqlite.damaged_text
        try:
            return query()
        except sqlite3.Error as again:
            raise sqlite.translate(again, name=self.name) from None
        finally:
            connection.text_factory = str

    def _id_in(self, local: _Local) -> bytes:
        connection = local.borrow(self.name)
        try:
            row = connection.execute("SELECT value FROM settings WHERE key = 'store_id'").fetchone()
        except sqlite3.Error as error:
            raise sqlite.translate(error, name=self.name) from None
        finally:
            local.give_back(connection)
        with suppress(TypeError, ValueError):
            found = bytes.fromhex(row[0])
            if len(found) == _ID_BYTES:
                return found
        raise BackendConfigError(f"the store {self.name} has lost its id", hint="restore it from a backup")


_ABANDONED: list[_Local] = []


class _Local:
    """The connections of one process: readers handed out in turn, one writer, one bell."""

    def __init__(self, path: Path, identity: tuple[int, int] | None, *, generation: int = 0) -> None:
        self.pid = getpid()
        self.identity = identity
        self.generation = generation
        self.look_at = 0.0
        self.lock = Lock()  # held while the connections to a replaced file are renewed
        self._path = path
        self._readers: deque[sqlite3.Connection] = deque()
        self._is_closed = False
        self._lock = Lock()
        self._engine: sa.Engine | None = None
        self._bell: sqlite3.Connection | None = None

    def borrow(self, name: str) -> sqlite3.Connection:
        """Give a connection that nobody else uses; there are as many as there were readers at once."""
        try:
            return self._readers.pop()
        except IndexError:
            pass
        self.require_open(name)
        try:
            return sqlite.connect(self._path, is_reader=True)
        except sqlite3.Error as error:
            raise sqlite.translate(error, name=name) from None

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Take a connection back, or close it when the store was closed meanwhile."""
        if self._is_closed:
            connection.close()
        else:
            self._readers.append(connection)

    def data_version(self, name: str) -> int:
        """Give SQLite's own count of what the others committed."""
        self.require_open(name)
        # The number counts what *other* connections commit, so the bell needs one of its own.
        with self._lock:
            if self._bell is None:
                self._bell = sqlite.connect(self._path, is_reader=True)
            rung = int(self._bell.execute("PRAGMA data_version").fetchone()[0])
        return (self.generation << 32) + rung  # a new file counts from the start

    def engine(self, name: str) -> sa.Engine:
        """Give the one writer."""
        self.require_open(name)
        with self._lock:
            if self._engine is None:
                self._engine = sqlite.engine(self._path)
            return self._engine

    def require_open(self, name: str) -> None:
        """Refuse to work after `close`."""
        if self._is_closed:
            raise BackendUnavailableError(f"the store {name} was closed", backend=name)

    def close(self) -> None:
        """Close every connection; those lent out are closed when they come back."""
        self._is_closed = True
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
            if self._bell is not None:
                self._bell.close()
            self._bell = None
        with suppress(IndexError):
            while True:
                self._readers.pop().close()


def _require_current(path: Path, name: str) -> None:
    """Migrate an older store; refuse an empty or a newer one."""
    found = sqlite.revision(path, name=name)
    if found is None:
        raise BackendConfigError("the store was never finished", hint="strongroom init")
    if found != REVISION:
        with sqlite.creating(path):
            # Asked again under the lock: another process may have migrated it meanwhile.
            _bring_up_to_date(path, name, found=sqlite.revision(path, name=name))


@cache
def require_tools() -> None:
    """
    Refuse where what writes a store is not installed; reading needs nothing of it.

    Raises:
        BackendConfigError: SQLAlchemy 2 or Alembic is missing (they need Python 3.11), or it is the
            SQLAlchemy 1.4 of Airflow 2.
    """
    # Only who writes needs it, and it costs a cold process more than reading the value does.
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415

    try:
        is_two = int(version("sqlalchemy").partition(".")[0]) >= 2  # noqa: PLR2004 -- the series we are written for
        version("alembic")
    except PackageNotFoundError:
        is_two = False
    if not is_two:
        raise BackendConfigError(
            "making or writing a store needs SQLAlchemy 2 and Alembic, which are not installed here",
            hint="pip install 'strongroom[store]', with Python 3.11 or newer; reading works without",
        )


def _bring_up_to_date(path: Path, name: str, *, found: str | None) -> None:
    if found == REVISION:
        return
    if found is not None and found > REVISION:
        raise BackendConfigError(
            "the store was written by a newer version of Strongroom; it was left as it is",
            hint="upgrade this installation",
        )
    require_tools()
    from strongroom.store import migration  # noqa: PLC0415 -- Alembic: 0.4 s

    migration.run(path, name=name)
    if found is not None:
        _tell(name, found)


def _tell(name: str, found: str) -> None:
    """Say that the store was changed by nothing but being opened, and what that means for others."""
    import logging  # noqa: PLC0415 -- costs a cold process more than a read, and stores are seldom old

    logging.getLogger("strongroom.store").warning(
        "the store %s was brought up to date (schema %s to %s);"
        " older versions of Strongroom do not open it any more",
        name,
        found,
        REVISION,
    )
