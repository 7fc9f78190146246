"""
SQLite files that somebody else writes, read without leaving a trace where that can be done.

Rules of this file:

1. The file is opened by SQLite alone. Closing a descriptor of our own would end every lock that this
   process holds on the file, those of an Airflow that runs in it too (sqlite.org/howtocorrupt.html, §2.2).
2. A file is at rest while nothing stands beside it: `-wal` and `-shm` (whoever reads a database in WAL
   mode makes them), `-journal`. Then nobody writes, and it is read as a plain file, without locks. What was
   read counts only if the file is still at rest and the same.
3. Such a connection is kept for the next question about the same file: it holds no lock and hides
   nothing from others. Any other ends with its question, so that Airflow's own last connection can tidy up.

Source: sqlite.org/wal.html, "Read-Only Databases"; sqlite.org/uri.html, `immutable`.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
import weakref
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from strongroom.errors import AccessDeniedError, StrongroomError
from strongroom.vendors.database import POOL_SIZE, Database, until

if TYPE_CHECKING:
    from datetime import timedelta

    from strongroom.vendors.database import Question, Row
    from strongroom.vendors.database_url import DatabaseUrl

__all__ = ["SqliteDatabase"]

_Signature = tuple[int, ...]
_Kept = dict[int, list[tuple[_Signature, sqlite3.Connection]]]

_BESIDE = ("-journal", "-wal", "-shm")
# A younger change could be followed by one with the same time: clocks of files tick each 10 ms at worst,
# and on some file systems each 2 s, which shows in times of whole seconds.
_SETTLED_SECONDS = 0.05
_COARSE_SETTLED_SECONDS = 2.0
_STEPS = 10_000  # of SQLite's machine between two looks at the clock


class SqliteDatabase(Database):
    """Raises BackendConfigError on making where the URL names no file, or not all of its path."""

    def __init__(self, url: DatabaseUrl, *, place: str, timeout: timedelta) -> None:
        super().__init__(url, place=place, timeout=timeout)
        hint = "name one, as in sqlite:////opt/airflow/airflow.db (four slashes)"
        path = Path(url.database)
        if url.database in ("", ":memory:") or url.database.startswith("file:") or "\0" in url.database:
            raise self.misconfigured("is no file", hint=hint)
        if not path.is_absolute() or (url.host, url.user, url.password, url.port) != (None,) * 4:
            # Airflow refuses it too: which file it is would depend on where the process stands.
            raise self.misconfigured("is not named by the whole path of its file", hint=hint)
        self.path = path
        # By process id: a parent's connections are kept untouched in a forked child.
        self._kept: _Kept = {}
        weakref.finalize(self, _close_all, self._kept)

    def ask(self, question: Question) -> list[Row]:
        seconds = self.seconds()
        ends_at = until(seconds)
        try:
            rows = self._asked_at_rest(question, ends_at)
            if rows is None:
                with closing(self._opened("mode=ro", ends_at)) as opened:
                    rows = _asked(opened, question, ends_at)
        except (sqlite3.Error, OSError) as error:
            raise self._judged(error, question, seconds) from None
        return rows

    def close(self) -> None:
        _close_all(self._kept)

    # --- a file at rest ---------------------------------------------------------------------------

    def _asked_at_rest(self, question: Question, ends_at: float) -> list[Row] | None:
        """Give the rows; None where the file is not at rest, or was not throughout."""
        before = self._rest()
        if before is None or not _settled(before, ends_at):
            return None
        connection = self._taken(before) or self._opened("immutable=1", ends_at)
        try:
            rows = _asked(connection, question, ends_at)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.DatabaseError) and self._rest() != before:
                return None
            raise
        if self._rest() != before:
            connection.close()
            return None
        self._give_back(before, connection)
        return rows

    def _rest(self) -> _Signature | None:
        """Tell the file apart from any other and from itself after a change; None where it is in use."""
        # SQLite keeps its files beside what a link leads to.
        path = os.path.realpath(self.path) if self.path.is_symlink() else str(self.path)
        status = os.stat(path)  # noqa: PTH116 -- a third of the time of a Path
        if not stat.S_ISREG(status.st_mode):
            raise self.misconfigured(f"is no file: {self.path}", hint="name Airflow's airflow.db")
        if any(os.path.lexists(path + ending) for ending in _BESIDE):
            return None
        return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_dev, status.st_ino)

    def _taken(self, signature: _Signature) -> sqlite3.Connection | None:
        kept = self._kept.get(os.getpid(), [])
        while kept:
            try:
                of, connection = kept.pop()  # atomic, as `append` is
            except IndexError:  # another thread took the last one
                break
            if of == signature:
                return connection
            connection.close()
        return None

    def _give_back(self, signature: _Signature, connection: sqlite3.Connection) -> None:
        kept = self._kept.setdefault(os.getpid(), [])
        if len(kept) < POOL_SIZE:
            kept.append((signature, connection))
        else:
            connection.close()

    # --- opening and asking -----------------------------------------------------------------------

    def _opened(self, how: str, ends_at: float) -> sqlite3.Connection:
        opened = sqlite3.connect(
            f"file:{quote(str(self.path))}?{how}",
            uri=True,
            timeout=max(ends_at - time.monotonic(), 0.0),
            isolation_level=None,
            check_same_thread=False,  # one thread at a time has it
        )
        # What is no UTF-8 spoils its own row, not the page.
        opened.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
        return opened

    # --- trouble ----------------------------------------------------------------------------------

    def _judged(self, error: sqlite3.Error | OSError, question: Question, seconds: float) -> StrongroomError:
        if isinstance(error, FileNotFoundError):
            return self.misconfigured(f"is not there: {self.path}", hint="name Airflow's airflow.db")
        if isinstance(error, PermissionError):
            why = f"{self.path} may not be read by this user"
            return AccessDeniedError(f"the database of {self.place}: {why}", reason=why)
        return self._judged_sqlite(str(error), question, seconds)

    def _judged_sqlite(self, text: str, question: Question, seconds: float) -> StrongroomError:
        # SQLite's own constant texts: Python 3.10 gives no codes.
        if text.startswith("no such table"):
            return self.no_table(question.table)
        if text.startswith("no such column"):
            return self.misconfigured(f"has no column {question.column} in the table {question.table}")
        if "not a database" in text or "malformed" in text:
            what = "is damaged" if "malformed" in text else "is no SQLite file"
            return self.misconfigured(what, hint=f"look at what {self.path} is")
        if "interrupted" in text:
            return self.unavailable(f"gave no answer within {seconds:.3g} s")
        return self._not_opened(text)

    def _not_opened(self, text: str) -> StrongroomError:
        if "locked" in text or "busy" in text:
            return self.unavailable("is locked by another process", hint="try again when it is done")
        if os.path.lexists(f"{os.path.realpath(self.path)}-journal"):
            return self.unavailable(
                "was left in the middle of a change, which nobody may undo who only reads",
                hint="start Airflow, which undoes it",
            )
        return self.unavailable(
            "cannot be opened for reading",
            hint=f"let this user read {self.path} and the files -wal and -shm beside it",
        )


def _settled(signature: _Signature, ends_at: float) -> bool:
    """Tell whether a further change would show, waiting for it if that is soon."""
    changed = signature[0] / 1e9
    is_coarse = signature[0] % 1_000_000_000 == 0
    age = abs(time.time() - changed)
    if is_coarse or age >= _SETTLED_SECONDS:
        return not is_coarse or age >= _COARSE_SETTLED_SECONDS
    # To ask at once would make `-wal` and `-shm` for a database in WAL mode, and leave them behind.
    time.sleep(min(_SETTLED_SECONDS - age, max(ends_at - time.monotonic(), 0.0)))
    return True


def _asked(opened: sqlite3.Connection, question: Question, ends_at: float) -> list[Row]:
    opened.set_progress_handler(lambda: time.monotonic() > ends_at, _STEPS)
    found = opened.execute(*_statement(question))
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _statement(question: Question) -> tuple[str, tuple[object, ...]]:
    # SQLite compares text by its bytes unless told otherwise: the order of code points.
    # In brackets: what stands in double quotes and is no column, SQLite takes for a text.
    table, column = f"[{question.table}]", f"[{question.column}]"
    if question.equals is not None:
        return f"SELECT * FROM {table} WHERE {column} = ?", (question.equals,)  # noqa: S608 -- names of ours
    order = f"{column} COLLATE BINARY"
    # What is no text, no name equals; and it would stand behind all texts, whatever it says.
    statement = (
        f"SELECT * FROM {table} WHERE {order} {question.comparison} CAST(? AS TEXT)"  # noqa: S608 -- as above
        f" AND typeof({column}) = 'text' ORDER BY {order} LIMIT ?"
    )
    # As bytes, because the last name of a page may be no UTF-8.
    return statement, (question.start.encode("utf-8", "surrogateescape"), question.limit)


def _close_all(kept: _Kept) -> None:
    for _, connection in kept.pop(os.getpid(), []):
        connection.close()
