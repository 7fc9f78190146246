"""
What is special about SQLite: its file, its connections, its error codes.

Rules of this file:

1. The file is 0600 in a folder nobody else may write; SQLite gives its WAL and shared-memory files
   the mode of the file they belong to, whatever the umask.
2. A commit is on the disk when it returns: WAL with `synchronous=FULL`.
3. SQLite's messages quote SQL and paths: only what a code means leaves this file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    ReadOnlyError,
    StrongroomError,
    TamperedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy as sa

__all__ = [
    "BUSY_SECONDS",
    "FileConnection",
    "connect",
    "creating",
    "engine",
    "identity",
    "locate",
    "prepare",
    "revision",
    "translate",
]

BUSY_SECONDS = 2.5
"""How long a write waits for another one before it answers *unavailable*; below the 3 s a backend has."""

_URL = "sqlite:///"
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_EMPTY_HINT = "strongroom init"


def locate(place: str | Path) -> Path:
    """
    Give the file that *place* names: a path, or `sqlite:///<path>`.

    Raises:
        BackendConfigError: it is the URL of another database, or cannot be a file.
    """
    text = os.fspath(place)
    if text.startswith(_URL):
        text = text[len(_URL) :]
    elif "://" in text:
        raise BackendConfigError(
            "there is no such kind of store",
            hint=f"give a path, or an address that begins with postgresql://, mariadb:// or {_URL}",
        )
    try:
        # Resolved once: a later chdir, or a link put in its place, must not lead to another file.
        path = Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # no such home, a loop of links, a NUL
        path = None
    # os.path: a folder that cannot be looked into is told by whoever opens the file.
    if path is None or os.path.isdir(path):  # noqa: PTH112 -- Path.is_dir raises
        raise BackendConfigError("the store must be a file", hint="give the path of a file")
    return path


@contextmanager
def creating(path: Path) -> Iterator[None]:
    """
    Hold the folder of *path* against every other process that creates or migrates a store in it.

    The lock is on the folder, not on the file: closing any descriptor of the file would drop the
    locks SQLite holds on it in this process.
    """
    _make_folder(path.parent)
    _check_owned(path.parent, "the folder of the store")
    try:
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _no_file(error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prepare(path: Path, *, name: str) -> str | None:
    """
    Make the empty file of a store if there is none, and give the revision of what stands there,
    None for an empty file, which is put into WAL mode; call under `creating`.

    Raises:
        BackendConfigError: what stands there is not ours, or belongs to or is writable by others.
        BackendUnavailableError: the disk is full or cannot be written.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise _no_file(error) from None
    found = revision(path, name=name, is_ours_to_finish=True)
    if found is None:
        try:
            with closing(connect(path)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.Error as error:
            raise translate(error, name=name) from None
    return found


def revision(path: Path, *, name: str, is_ours_to_finish: bool = False) -> str | None:
    """
    Give the schema revision of the store at *path*, None for an empty file, without touching it.

    Args:
        path: of the file.
        name: of the store in the settings, for errors.
        is_ours_to_finish: undo what a creation left half done when it was killed.

    Raises:
        BackendConfigError: there is no file, it is not a store, or others own it or may write it.
        BackendUnavailableError: it cannot be read now.
    """
    _check_owned(path, "the store")
    _check_owned(path.parent, "the folder of the store")
    try:
        # Read-only, so that closing it cannot fold the log into a file that is not ours to change.
        with closing(_open(path, "ro")) as connection:
            return _revision(connection)
    except sqlite3.Error as error:
        if _code(error) == _NOTADB:
            raise _not_a_store() from None
        # Only a file that never got as far as WAL has a journal to undo, which takes writing.
        if getattr(error, "sqlite_errorcode", 0) != _READONLY_ROLLBACK:
            raise translate(error, name=name) from None
    if not is_ours_to_finish:
        raise BackendConfigError("the store was never finished", hint=_EMPTY_HINT)
    try:
        with closing(_open(path, "rw")) as connection:
            return _revision(connection)
    except sqlite3.Error as error:
        raise translate(error, name=name) from None


def _revision(connection: sqlite3.Connection) -> str | None:
    tables = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    if not tables:
        return None
    if "schema_revision" not in tables:
        raise _not_a_store()
    row = connection.execute("SELECT version_num FROM schema_revision").fetchone()
    if row is None:
        raise _not_a_store()
    return str(row[0])


class FileConnection(sqlite3.Connection):
    """
    A connection to the file of a store.

    Attributes:
        home: where it is given back to.
    """

    home: object = None


def connect(path: Path, *, is_reader: bool = False) -> FileConnection:
    """
    Open the existing file *path*, in autocommit.

    Args:
        path: of the file.
        is_reader: refuse every write.

    Threads: any one thread at a time.
    Raises: `sqlite3.Error`, for the caller to `translate`.
    """
    connection = _open(path, "rw")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA fullfsync=ON")  # macOS: its fsync alone does not reach the disk
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA trusted_schema=OFF")  # a planted view or trigger may not call functions
    if is_reader:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA cache_size=-8192")  # KiB: the rows of about 10,000 entries, once read
    return connection


def engine(path: Path) -> sa.Engine:
    """Give SQLAlchemy's engine with one connection, for migrations; each transaction begins IMMEDIATE."""
    import sqlalchemy as sa  # noqa: PLC0415 -- 0.3 s that only migrating pays

    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    made = sa.create_engine(
        "sqlite://",
        creator=lambda: connect(path),
        poolclass=sa.pool.QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=BUSY_SECONDS,
        # Statements carry names and ciphertext; neither belongs in an error message.
        hide_parameters=True,
    )
    sa.event.listen(made, "begin", begin)
    return made


# Primary result codes, https://www.sqlite.org/rescode.html; the module names them from Python 3.11 on only.
_BUSY, _LOCKED, _NOMEM, _READONLY, _IOERR = 5, 6, 7, 8, 10
_CORRUPT, _FULL, _CANTOPEN, _CONSTRAINT, _NOTADB = 11, 13, 14, 19, 26
_READONLY_ROLLBACK = 776  # an extended one


def translate(error: sqlite3.Error, *, name: str) -> StrongroomError:
    """
    Give our error for SQLite's, for the store called *name*.

    Busy, full and failing disks are *unavailable*; a damaged file is *tampered*; a read-only one
    is *read-only*.
    """
    code = _code(error)
    if is_text_damage(error):
        return TamperedError(
            f"a row of the store {name} holds text that is no UTF-8", hint="restore it from a backup"
        )
    if code in (_CORRUPT, _NOTADB):
        return TamperedError(
            f"the file of the store {name} is damaged", hint="restore it from a backup; keep the damaged one"
        )
    if code == _CONSTRAINT:
        # Every write has looked first, inside its transaction, so the rows themselves are at odds.
        return TamperedError(
            f"the rows of the store {name} contradict each other", hint="restore it from a backup"
        )
    if code == _READONLY:
        return ReadOnlyError(
            f"the file of the store {name} cannot be written", hint="check the disk and its mode"
        )
    if code in (_BUSY, _LOCKED):
        return busy(name)
    reason = _REASONS.get(code, "failed")
    return BackendUnavailableError(f"the store {name} {reason}", backend=name)


_REASONS = {
    _FULL: "has no room left on its disk",
    _IOERR: "could not read or write its disk",
    _CANTOPEN: "could not open its file",
    _NOMEM: "has no memory left",
}


def busy(name: str) -> BackendUnavailableError:
    """Give the error for a writer that waited `BUSY_SECONDS` in vain."""
    return BackendUnavailableError(
        f"the store {name} is busy with other writes", backend=name, retry_after=timedelta(seconds=1)
    )


def identity(path: Path) -> tuple[int, int] | None:
    """Tell which file stands at *path* now, None where there is none to be seen."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def is_text_damage(error: sqlite3.Error) -> bool:
    """Tell whether a text column held bytes that are no UTF-8; the module gives no code for it."""
    return isinstance(error, sqlite3.OperationalError) and _code(error) == 0


def damaged_text(content: bytes) -> str:
    """Give a text that no UTF-8 can spell, so that it can equal nothing that was ever written."""
    return content.decode("utf-8", "surrogateescape")


def _code(error: sqlite3.Error) -> int:
    # Errors of the module itself (a closed connection) carry no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _open(path: Path, mode: str) -> FileConnection:
    # By URI and mode, so that a store that vanished is an error and not a new empty file.
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
        factory=FileConnection,
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        return
    except OSError as error:
        raise _no_file(error) from None


def _check_owned(path: Path, what: str) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise BackendConfigError(f"{what} does not exist: {path}", hint=_EMPTY_HINT) from None
    except OSError as error:
        raise _no_file(error) from None
    is_folder = stat.S_ISDIR(status.st_mode)
    if not is_folder and not stat.S_ISREG(status.st_mode):
        # Opening a named pipe would wait for somebody to write into it.
        raise BackendConfigError(f"{what} is no plain file: {path}", hint="name another file")
    # A folder of root's (a mount point, /var/lib) is as safe as our own: root can do anything anyway.
    if status.st_uid != os.geteuid() and not (is_folder and status.st_uid == 0):
        raise BackendConfigError(f"{what} belongs to another user: {path}", hint="run as its owner")
    # A sticky folder is refused too: in /tmp anyone may lay a log file beside a store that has none.
    if status.st_mode & _OTHERS_WRITE:
        raise BackendConfigError(f"{what} can be written by other users: {path}", hint=f"chmod go-w {path}")


def _not_a_store() -> BackendConfigError:
    return BackendConfigError(
        "the file is not a store of Strongroom", hint="name another file; this one was left as it was"
    )


def _no_file(error: OSError) -> StrongroomError:
    reason = os.strerror(error.errno or 0)
    if error.errno in _TEMPORARY:
        return BackendUnavailableError(f"the file of the store cannot be reached: {reason}", backend="native")
    return BackendConfigError(
        f"the file of the store cannot be reached: {reason}", hint="check its path and who may go there"
    )


_TEMPORARY = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)
