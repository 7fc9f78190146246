"""
A store in a SQLite file: its connections in each process, its one writer, its bell.

Rules of this file:

1. Readers run beside each other and beside the one writer; there are as many connections as there were
   readers at once.
2. What a fork inherited is kept and never touched.
3. A file that was replaced while it was open (a backup brought back) is noticed, by readers within
   a second and by writers before they acknowledge: what went into the old one would be lost.

What is special about the file, and what SQLite's codes mean: `sqlite.py`.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections import deque
from contextlib import closing, contextmanager, suppress
from os import getpid
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, TypeVar, cast

from strongroom.errors import BackendConfigError, BackendUnavailableError
from strongroom.store import sqlite
from strongroom.store.engine import ID_BYTES, Connection, Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import sqlalchemy as sa

    from strongroom.errors import StrongroomError
    from strongroom.store.sqlite import FileConnection

__all__ = ["TABLES", "SqliteEngine"]

TABLES = Path(__file__).with_name("sqlite_tables.sql")
"""What the migrations come to, written by scripts/freeze_tables.py."""

_ADD_ID = "INSERT INTO settings (\"key\", value) VALUES ('store_id', ?)"
_LOOK_SECONDS = 1.0  # a look costs as much as a fifth of a read

T = TypeVar("T")


class SqliteEngine(Engine):
    """
    One file.

    Raises:
        BackendConfigError: *place* is the URL of another database, or cannot be a file.
    """

    kind = "sqlite"
    errors = (sqlite3.Error,)
    path: Path

    def __init__(self, place: str | Path, *, name: str = "native") -> None:
        self.name = name
        self.path = sqlite.locate(place)
        self.address = str(self.path)
        self._local = _Local(self.path, sqlite.identity(self.path))

    # --- the tables as a whole -----------------------------------------------------------------------

    def creating(self) -> AbstractContextManager[None]:
        return sqlite.creating(self.path)

    def prepare(self) -> str | None:
        return sqlite.prepare(self.path, name=self.name)

    def revision(self) -> str | None:
        return sqlite.revision(self.path, name=self.name)

    def make(self) -> None:
        """Run what the migrations come to: they load Alembic and SQLAlchemy, 0.7 s of a cold process."""
        try:
            with closing(sqlite.connect(self.path)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                for statement in TABLES.read_text().partition("\n")[2].split(";\n"):
                    connection.execute(statement)
                connection.execute(_ADD_ID, (secrets.token_hex(ID_BYTES),))
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self.translate(error) from None

    @contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        import sqlalchemy as sa  # noqa: PLC0415 -- 0.3 s that only migrating pays

        engine = sqlite.engine(self.path)
        try:
            with engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            origin = error.orig if isinstance(error.orig, sqlite3.Error) else sqlite3.Error()
            raise self.translate(origin) from None
        finally:
            engine.dispose()

    def start(self) -> None:
        self._local = _Local(self.path, sqlite.identity(self.path))
        self.id = self._id_in(self._local)

    # --- reading -------------------------------------------------------------------------------------

    def borrow(self) -> Connection:
        return self._here().borrow(self.name)

    def give_back(self, connection: Connection) -> None:
        reader = cast("FileConnection", connection)
        # Not to `self._local`: another file may have taken the place of this one meanwhile.
        cast("_Local", reader.home).give_back(reader)

    def repeat(self, connection: Connection, error: Exception, query: Callable[[Connection], T]) -> T:
        """
        Repeat *query* taking damaged text as it comes, where that was the trouble: one row that was
        made unreadable must fail alone, when it is authenticated, and not the page it stands on.
        """
        if not isinstance(error, sqlite3.Error) or not sqlite.is_text_damage(error):
            raise self.translate(error) from None
        try:
            with self.lenient(connection):
                return query(connection)
        except sqlite3.Error as again:
            raise self.translate(again) from None

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")

    @contextmanager
    def lenient(self, connection: Connection) -> Iterator[None]:
        opened = cast("sqlite3.Connection", connection)
        opened.text_factory = sqlite.damaged_text
        try:
            yield
        finally:
            opened.text_factory = str

    def data_version(self) -> int:
        try:
            return self._here().data_version(self.name)
        except sqlite3.Error as error:
            raise self.translate(error) from None

    # --- writing -------------------------------------------------------------------------------------

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        local = self._here(looks=True)
        try:
            with local.writing(self.name) as connection:
                yield connection
        except sqlite3.Error as error:
            raise self.translate(error) from None
        if local.identity != sqlite.identity(self.path):
            # What was written lies in a file that nobody will open again: not to be acknowledged.
            local.look_at = 0.0  # readers look at once
            raise self._gone()

    def translate(self, error: Exception) -> StrongroomError:
        known = error if isinstance(error, sqlite3.Error) else sqlite3.Error()
        return sqlite.translate(known, name=self.name)

    def close(self) -> None:
        if self._local.pid == getpid():
            self._local.close()

    # --- connections ---------------------------------------------------------------------------------

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
            self._bring_up_to_date()
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

    def _bring_up_to_date(self) -> None:
        from strongroom.store.store import require_current  # noqa: PLC0415 -- it stands on this file

        require_current(SqliteEngine(self.path, name=self.name))

    def _id_in(self, local: _Local) -> bytes:
        connection = local.borrow(self.name)
        try:
            return self.id_on(connection)
        except sqlite3.Error as error:
            raise self.translate(error) from None
        finally:
            local.give_back(connection)

    def _gone(self) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"the file of the store {self.name} was taken away or replaced while it was open",
            backend=self.name,
            hint="bring it back, then look whether the last change is in it",
        )


_ABANDONED: list[_Local] = []


class _Queue:
    """
    A lock that goes to who waits longest. A `Lock` goes to who asks next, which is the thread that has just
    let go of it: one that writes without pause would keep the others out until they give up.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_held = False
        self._waiting: deque[Lock] = deque()

    def enter(self, seconds: float) -> bool:
        """Wait until it is this thread's turn, and tell whether it came in time."""
        with self._lock:
            if not self._is_held:
                self._is_held = True
                return True
            turn = Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=seconds):
            return True
        with self._lock, suppress(ValueError):
            self._waiting.remove(turn)
            return False
        return True  # it came meanwhile

    def leave(self) -> None:
        """Let the next one in."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False


class _Local:
    """The connections of one process: readers handed out in turn, one writer, one bell."""

    def __init__(self, path: Path, identity: tuple[int, int] | None, *, generation: int = 0) -> None:
        self.pid = getpid()
        self.identity = identity
        self.generation = generation
        self.look_at = 0.0
        self.lock = Lock()  # held while the connections to a replaced file are renewed
        self._path = path
        self._readers: deque[FileConnection] = deque()
        self._is_closed = False
        self._lock = Lock()
        self._writing = _Queue()
        self._writer: sqlite3.Connection | None = None
        self._bell: sqlite3.Connection | None = None

    def borrow(self, name: str) -> FileConnection:
        """Give a connection that nobody else uses; there are as many as there were readers at once."""
        try:
            return self._readers.pop()
        except IndexError:
            pass
        self.require_open(name)
        try:
            opened = sqlite.connect(self._path, is_reader=True)
        except sqlite3.Error as error:
            raise sqlite.translate(error, name=name) from None
        opened.home = self
        return opened

    def give_back(self, connection: FileConnection) -> None:
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

    @contextmanager
    def writing(self, name: str) -> Iterator[sqlite3.Connection]:
        """
        Give the one writer inside a transaction, which began IMMEDIATE: one that read first and wrote
        later could find that another process wrote in between, and SQLite could only refuse it.
        """
        self.require_open(name)
        if not self._writing.enter(sqlite.BUSY_SECONDS):
            raise sqlite.busy(name)
        try:
            if self._writer is None:
                self._writer = sqlite.connect(self._path)
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            finally:
                self._undo()
        finally:
            if self._is_closed:
                self._close_writer()
            self._writing.leave()

    def _undo(self) -> None:
        """End a transaction that did not commit; a connection that cannot is not used again."""
        if self._writer is None or not self._writer.in_transaction:
            return
        with suppress(sqlite3.Error):
            self._writer.execute("ROLLBACK")
        if self._writer.in_transaction:
            self._close_writer()

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def require_open(self, name: str) -> None:
        """Refuse to work after `close`."""
        if self._is_closed:
            raise BackendUnavailableError(f"the store {name} was closed", backend=name)

    def close(self) -> None:
        """Close every connection; those lent out are closed when they come back."""
        self._is_closed = True
        if self._writing.enter(0.0):
            self._close_writer()
            self._writing.leave()
        with self._lock:
            if self._bell is not None:
                self._bell.close()
            self._bell = None
        with suppress(IndexError):
            while True:
                self._readers.pop().close()
