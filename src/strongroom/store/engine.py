"""
What a store asks of a database, and which database a place names.

The statements stand once, in `rows.py` and `transaction.py`, in the SQL that SQLite and PostgreSQL share:
`?` for parameters, `"key"` quoted, `CAST(? AS TEXT)` for a name as bytes, `INSERT … ON CONFLICT (…) DO
UPDATE SET x = excluded.x`. What a database spells otherwise its engine translates, once a statement.

An engine keeps these promises to `store.py`:

1. A read is one round trip outside any transaction and loads no SQLAlchemy.
2. Writers of one store come one after the other, of all processes and hosts: nobody else writes between
   a read in `begin` and the commit.
3. What was committed is on the disk when `begin` ends, and seen by every read that starts afterwards.
4. A connection belongs to the process that opened it: a forked child opens its own.
5. No error carries a password, an address with one, a statement, or a word of the driver.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from strongroom.errors import BackendConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import sqlalchemy as sa

    from strongroom.errors import StrongroomError
    from strongroom.model.secret import Secret

__all__ = ["ID_BYTES", "Bell", "Connection", "Cursor", "Engine", "engine_of"]

ID_BYTES = 16
"""Of a store's id."""

T = TypeVar("T")


class Cursor(Protocol):
    """The answer to a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows were written; -1 where it was asked for rows."""
        ...

    def fetchone(self) -> Any:  # noqa: ANN401 -- a row's types are its reader's business
        """Give the next row as a tuple, or None."""
        ...

    def fetchall(self) -> list[Any]:
        """Give the rows that are left."""
        ...


class Connection(Protocol):
    """What statements are run on: sqlite3's own connection, or one that answers as it does."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor:
        """Run one statement."""
        ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Run one statement once for each of *parameters*."""
        ...


class Bell(Protocol):
    """Rings when somebody commits; may miss some."""

    def wait(self, seconds: float) -> bool:
        """
        Wait until it rings, and tell whether it did; at most *seconds*.

        Raises:
            BackendUnavailableError, BackendConfigError: the database gives no answer.
        """
        ...

    def close(self) -> None:
        """Let who waits go on, and no wait be one any more."""
        ...

    def end(self) -> None:
        """Let go of everything; nobody waits any more."""
        ...


class Engine(ABC):
    """
    One database that holds the tables of a store.

    Trust: what it gives back was authenticated by nobody yet.
    Threads: safe; a borrowed connection is one thread's.
    Consistency: as the promises above.

    Attributes:
        kind: `sqlite`, `postgresql` or `mariadb`.
        name: what the settings call the store, for errors.
        address: where it is, for people: a path, or an address without user and password.
        path: of its file; None where it is none.
        errors: what its driver raises, for `translate`.
        id: of the store that is meant, once it is known: another one in its place is refused.
    """

    kind: str
    name: str
    address: str
    path: Path | None = None
    errors: tuple[type[Exception], ...]
    id: bytes | None = None

    # --- the tables as a whole -----------------------------------------------------------------------

    @abstractmethod
    def creating(self) -> AbstractContextManager[None]:
        """Hold off every other process that makes or migrates this store."""

    @abstractmethod
    def prepare(self) -> str | None:
        """
        Make what tables need to stand in, and give the revision of those that are there, None for none;
        call under `creating`.

        Raises:
            BackendConfigError: what stands there is not ours.
            BackendUnavailableError: it cannot be reached or written now.
        """

    @abstractmethod
    def revision(self) -> str | None:
        """
        Give the schema revision, None where there are no tables yet, without touching anything.

        Raises:
            BackendConfigError: there is nothing there, or it is not ours.
            BackendUnavailableError: it cannot be read now.
        """

    @abstractmethod
    def make(self) -> None:
        """Make the tables of the newest revision where there are none; call under `creating`."""

    @abstractmethod
    def migrating(self) -> AbstractContextManager[sa.Connection]:
        """
        Give a connection of SQLAlchemy's for one migration, committed when the block ends.

        Raises:
            BackendUnavailableError: the disk is full or failing, or another process writes.
        """

    @abstractmethod
    def start(self) -> None:
        """
        Begin to work on the tables that stand, and set `id`.

        Raises:
            BackendConfigError: the store has lost its id.
            BackendUnavailableError: it cannot be read now.
        """

    # --- reading -------------------------------------------------------------------------------------

    @abstractmethod
    def borrow(self) -> Connection:
        """
        Give a connection that nobody else uses, in autocommit.

        Raises:
            BackendUnavailableError, BackendConfigError: there is no getting one.
        """

    @abstractmethod
    def give_back(self, connection: Connection) -> None:
        """Take a borrowed connection back; what is broken, or outlived `close`, is closed."""

    @abstractmethod
    def repeat(self, connection: Connection, error: Exception, query: Callable[[Connection], T]) -> T:
        """
        Ask again where that can help after *error*, on *connection* or another one; else raise our error.

        Args:
            connection: the borrowed one.
            error: one of `errors`.
            query: only reads.
        """

    @abstractmethod
    def snapshot(self, connection: Connection) -> AbstractContextManager[None]:
        """Let every read on *connection* inside the block see one and the same moment."""

    @abstractmethod
    def lenient(self, connection: Connection) -> AbstractContextManager[None]:
        """Give text that is none as `damaged` text inside the block, so that one row fails alone."""

    @abstractmethod
    def data_version(self) -> int:
        """
        Give a number that differs from the last one given in this process when anything was committed
        since by anybody.

        Raises:
            BackendUnavailableError: the database gave no answer.
        """

    def bell(self) -> Bell | None:
        """Give what rings at each commit, where the database has such a thing. It may miss some."""
        return None

    # --- writing -------------------------------------------------------------------------------------

    @abstractmethod
    def begin(self) -> AbstractContextManager[Connection]:
        """
        Begin the one writing transaction: it stands when the block ends, or nothing of it does.

        Raises:
            BackendUnavailableError: another writer held on too long, or the database failed. Where it
                failed while committing, whether it stands is only known by looking.
            TamperedError, ReadOnlyError: as `translate`.
        """

    def resume_numbers(self, connection: Connection) -> None:  # noqa: B027 -- most databases see to it themselves
        """
        Let the numbers of changes that the database gives go on after the greatest that stands: rows were put
        in with theirs.
        """

    @abstractmethod
    def translate(self, error: Exception) -> StrongroomError:
        """Give our error for one of `errors`."""

    @abstractmethod
    def close(self) -> None:
        """Let go of every connection. Safe to call twice, and in a forked child."""

    # --- what all share ------------------------------------------------------------------------------

    def id_on(self, connection: Connection) -> bytes:
        """
        Read the id of the store.

        Raises:
            BackendConfigError: it has none.
        """
        row = connection.execute("SELECT value FROM settings WHERE \"key\" = 'store_id'").fetchone()
        with suppress(TypeError, ValueError):
            found = bytes.fromhex(row[0])
            if len(found) == ID_BYTES:
                return found
        raise BackendConfigError(f"the store {self.name} has lost its id", hint="restore it from a backup")


def engine_of(
    place: str | Path, *, name: str = "native", password: Callable[[], Secret[str]] | None = None
) -> Engine:
    """
    Give the engine for *place*; nothing is opened yet.

    Args:
        place: a path, `sqlite:///<path>`, `postgresql://…` or `mariadb://…`.
        name: of the store in the settings, for errors.
        password: gives the password of the database's user; asked for each connection.

    Raises:
        BackendConfigError: it is the address of another kind of database, or its driver is missing.
    """
    scheme = os.fspath(place).partition("://")[0]
    if scheme in ("postgresql", "postgres"):
        from strongroom.store.postgres import PostgresEngine  # noqa: PLC0415 -- only what is configured

        return PostgresEngine(os.fspath(place), name=name, password=password)
    if scheme in ("mariadb", "mysql"):
        from strongroom.store.mariadb import MariadbEngine  # noqa: PLC0415 -- as above

        return MariadbEngine(os.fspath(place), name=name, password=password)
    from strongroom.store.sqlite_engine import SqliteEngine  # noqa: PLC0415 -- as above

    return SqliteEngine(place, name=name)
