"""
SQLite files that somebody else writes, read without leaving a trace where that can be done.

A connection is opened for each question (0.2 ms): none is kept, so that a file that was replaced is seen,
and Airflow's own last connection can tidy up after itself.

A database in WAL mode needs the files `-wal` and `-shm` beside it even to be read, and whoever reads first
makes them. While both are missing nobody has the database open, so it is read as a plain file, and what was
read counts only if still nobody has come and the file is the same.

Source: sqlite.org/wal.html, "Read-Only Databases"; sqlite.org/uri.html, `immutable`.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from strongroom.errors import AccessDeniedError, StrongroomError
from strongroom.vendors.database import Database, until

if TYPE_CHECKING:
    from datetime import timedelta

    from strongroom.vendors.database import Question, Row
    from strongroom.vendors.database_url import DatabaseUrl

__all__ = ["SqliteDatabase"]

_WAL = 2  # byte 18 of the header: the version a writer needs
_WRITER_VERSION = 18
_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
_SETTLED_SECONDS = 2.0  # a younger change could be followed by one with the same time (2 s on FAT)
_STEPS = 10_000  # of SQLite's machine between two looks at the clock


class SqliteDatabase(Database):
    """Raises BackendConfigError on making where the URL names no file."""

    def __init__(self, url: DatabaseUrl, *, place: str, timeout: timedelta) -> None:
        super().__init__(url, place=place, timeout=timeout)
        if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
            raise self.misconfigured(
                "is no file", hint="name one, as in sqlite:////opt/airflow/airflow.db (four slashes)"
            )
        self.path = Path(url.database)

    def ask(self, question: Question) -> list[Row]:
        seconds = self.seconds()
        ends_at = until(seconds)
        try:
            if self._is_at_rest():
                before = self._signature()
                rows = self._asked(question, ends_at, "immutable=1")
                if rows is not None and self._is_at_rest() and self._signature() == before:
                    return rows
            rows = self._asked(question, ends_at, "mode=ro")
        except (sqlite3.Error, OSError) as error:
            raise self._judged(error, question, seconds) from None
        return rows or []

    def _asked(self, question: Question, ends_at: float, how: str) -> list[Row] | None:
        """Give the rows; None where a file read at rest was not at rest."""
        address = f"file:{quote(str(self.path.absolute()))}?{how}"
        left = max(ends_at - time.monotonic(), 0.0)
        try:
            with closing(sqlite3.connect(address, uri=True, timeout=left, isolation_level=None)) as opened:
                opened.set_progress_handler(lambda: time.monotonic() > ends_at, _STEPS)
                # What is no UTF-8 spoils its own row, not the page.
                opened.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
                opened.execute("PRAGMA query_only = 1")
                found = opened.execute(*_statement(question))
                names = [column[0] for column in found.description]
                return [dict(zip(names, row, strict=True)) for row in found]
        except sqlite3.DatabaseError:
            if how == "mode=ro" or self._is_at_rest():
                raise
            return None

    def _is_at_rest(self) -> bool:
        with self.path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        if header and not header.startswith(_MAGIC):
            raise self.misconfigured("is no SQLite file", hint=f"look at what {self.path} is")
        is_wal = len(header) == _HEADER_BYTES and header[_WRITER_VERSION] == _WAL
        if not is_wal or any(Path(f"{self.path}{ending}").exists() for ending in ("-wal", "-shm")):
            return False
        return abs(time.time() - self.path.stat().st_mtime) > _SETTLED_SECONDS

    def _signature(self) -> tuple[int, ...]:
        status = self.path.stat()
        return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def _judged(self, error: sqlite3.Error | OSError, question: Question, seconds: float) -> StrongroomError:
        if isinstance(error, FileNotFoundError):
            return self.misconfigured(f"is not there: {self.path}", hint="name Airflow's airflow.db")
        if isinstance(error, PermissionError):
            why = f"{self.path} may not be read by this user"
            return AccessDeniedError(f"the database of {self.place}: {why}", reason=why)
        return self._judged_sqlite(str(error), question, seconds)

    def _judged_sqlite(self, text: str, question: Question, seconds: float) -> StrongroomError:
        # SQLite's own constant texts: Python 3.10 gives no codes.
        if "locked" in text or "busy" in text:
            return self.unavailable("is locked by another process", hint="try again when it is done")
        if text.startswith("no such table"):
            return self.no_table(question.table)
        if text.startswith("no such column"):
            return self.misconfigured(f"has no column {question.column} in the table {question.table}")
        if "interrupted" in text:
            return self.unavailable(f"gave no answer within {seconds:.3g} s")
        if "not a database" in text or "malformed" in text:
            return self.misconfigured("is damaged or no SQLite file", hint=f"look at what {self.path} is")
        return self.unavailable(
            "cannot be opened for reading",
            hint=f"let this user read {self.path} and the files -wal and -shm beside it",
        )


def _statement(question: Question) -> tuple[str, tuple[object, ...]]:
    # SQLite compares text by its bytes unless told otherwise: the order of code points.
    # In brackets: what stands in double quotes and is no column, SQLite takes for a text.
    table, column = f"[{question.table}]", f"[{question.column}]"
    if question.equals is not None:
        return f"SELECT * FROM {table} WHERE {column} = ?", (question.equals,)  # noqa: S608 -- names of ours
    order = f"{column} COLLATE BINARY"
    statement = f"SELECT * FROM {table} WHERE {order} {question.comparison} ? ORDER BY {order} LIMIT ?"  # noqa: S608 -- as above
    return statement, (question.start, question.limit)
