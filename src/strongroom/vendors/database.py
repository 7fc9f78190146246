"""
Read rows of a database that is not ours, in SQLite, PostgreSQL and MariaDB or MySQL. Never writes.

Not for what the rows mean (`metadata.py`) or for our own store.

Rules of this file:

1. Reading only is enforced by the database, not by good intentions: SQLite opens the file so, PostgreSQL
   begins every transaction so, MariaDB the session.
2. Every question is one statement in one transaction of its own, so that a pooler between us and
   PostgreSQL may hand each to another server. All columns are asked for: what there is says which
   version wrote it, and an upgrade meanwhile is seen at once.
3. A question waits no longer than its caller: the database is told to give up, too.
4. No foreign exception leaves, and no word of it: drivers quote statements, values and URLs.
5. A driver is imported only where it is configured.
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from strongroom.bulkhead import seconds_left
from strongroom.errors import BackendConfigError, BackendUnavailableError, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from strongroom.vendors.database_url import DatabaseUrl

__all__ = ["Database", "PooledDatabase", "Question", "Row", "open_database"]

ConnectionT = TypeVar("ConnectionT")
Row = dict[str, Any]
"""One row: what the driver gives, by the name of the column."""

POOL_SIZE = 8  # connections of one process to one database


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """
    Rows of *table*, all columns: the one whose *column* is *equals*, or a page ordered by it.

    Args:
        table: a name of ours, never a caller's.
        column: likewise; text in the database, ordered here by code point.
        equals: exactly this; the database's collation may find a neighbour, which the caller drops.
        start: where *equals* is None, only these and greater ones.
        is_after: *start* itself is left out.
        limit: how many at most.
    """

    table: str
    column: str
    equals: str | None = None
    start: str = ""
    is_after: bool = False
    limit: int = 1

    @property
    def comparison(self) -> str:
        """How a column stands to *start*, in SQL."""
        return ">" if self.is_after else ">="


class Database(ABC):
    """
    A database to read from.

    Threads: every method may be called from several threads at once, and after a fork; but a process that
    forks while another of its threads reads a SQLite file in use may leave the child with a lock inside
    SQLite that nobody will release. (One at rest was never seen to.)

    Attributes:
        place: what messages call it: the name of the backend.
    """

    def __init__(
        self, url: DatabaseUrl, *, place: str, timeout: timedelta, schema: str | None = None
    ) -> None:
        """
        Take note of where it is; nothing is opened.

        Args:
            url: where it is.
            place: what messages call it.
            timeout: for connecting and for each question, the caller's deadline aside.
            schema: where PostgreSQL and MariaDB keep the tables, if not where the user looks first.

        Raises:
            BackendConfigError: the driver is not installed.
        """
        self.url = url
        self.place = place
        self.schema = schema
        self._timeout = timeout.total_seconds()

    @abstractmethod
    def ask(self, question: Question) -> list[Row]:
        """
        Give the rows.

        Raises:
            BackendConfigError: wrong user or password, no such database, table or column.
            AccessDeniedError: the user may not read the table.
            BackendUnavailableError: no answer now: down, locked, too slow.
        """

    def close(self) -> None:  # noqa: B027 -- optional
        """Let go of every connection of this process. Safe to call twice."""

    def seconds(self) -> float:
        """
        Tell how long a question may take now.

        Raises:
            BackendUnavailableError: no time is left.
        """
        left = seconds_left()
        seconds = self._timeout if left is None else min(self._timeout, left)
        if seconds <= 0:
            raise self.unavailable("was not asked: no time is left")
        return seconds

    def unavailable(self, why: str, *, hint: str | None = None) -> BackendUnavailableError:
        """Make the error for a database that gives no answer now."""
        return BackendUnavailableError(f"the database of {self.place} {why}", backend=self.place, hint=hint)

    def misconfigured(self, why: str, *, hint: str | None = None) -> BackendConfigError:
        """Make the error for a database that will never answer like this."""
        return BackendConfigError(f"the database of {self.place} {why}", hint=hint)

    def no_table(self, table: str) -> BackendConfigError:
        """Make the error for a database without the table."""
        return self.misconfigured(
            f"has no table {table}",
            hint="name the database that Airflow uses, or make its tables with `airflow db migrate`",
        )


class PooledDatabase(Database, Generic[ConnectionT]):
    """
    A database behind a server: at most eight connections a process, kept for the next question.

    A connection that the server dropped meanwhile is replaced once. After any trouble a connection is
    closed, because nobody knows what state it is in.
    """

    def __init__(
        self, url: DatabaseUrl, *, place: str, timeout: timedelta, schema: str | None = None
    ) -> None:
        super().__init__(url, place=place, timeout=timeout, schema=schema)
        # By process id, and a parent's pool is kept untouched: closing its sockets here would end its
        # sessions there.
        self._pools: dict[int, _Pool[ConnectionT]] = {}

    @abstractmethod
    def connect(self, seconds: float) -> ConnectionT:
        """Open a connection within *seconds*; raises the driver's errors."""

    @abstractmethod
    def query(self, connection: ConnectionT, question: Question, seconds: float) -> list[Row]:
        """Put one question; raises the driver's errors."""

    @abstractmethod
    def disconnect(self, connection: ConnectionT) -> None:
        """Close; may raise anything."""

    @abstractmethod
    def judged(self, error: Exception, question: Question, seconds: float) -> StrongroomError:
        """Say in our words what the driver's *error* means."""

    @abstractmethod
    def is_lost(self, error: Exception) -> bool:
        """Tell whether *error* says that the connection was dropped before the question was answered."""

    def ask(self, question: Question) -> list[Row]:
        seconds = self.seconds()
        trouble: StrongroomError | None = None
        with self._pool().seat(self, seconds) as pool:
            kept = pool.take()
            if kept is not None:
                try:
                    return self._asked(pool, kept, question, seconds)
                except Exception as error:  # noqa: BLE001 -- the seam where a driver's errors end
                    trouble = None if self.is_lost(error) else self._trouble(error, question, seconds)
            if trouble is None:
                try:
                    return self._asked(pool, self.connect(self.seconds()), question, self.seconds())
                except Exception as error:  # noqa: BLE001 -- as above
                    trouble = self._trouble(error, question, seconds)
        raise trouble

    def close(self) -> None:
        pool = self._pools.get(os.getpid())
        while pool is not None and (connection := pool.take()) is not None:
            self._drop(connection)

    def _pool(self) -> _Pool[ConnectionT]:
        process = os.getpid()
        return self._pools.get(process) or self._pools.setdefault(process, _Pool())

    def _asked(
        self, pool: _Pool[ConnectionT], connection: ConnectionT, question: Question, seconds: float
    ) -> list[Row]:
        try:
            rows = self.query(connection, question, seconds)
        except BaseException:
            self._drop(connection)
            raise
        pool.give_back(connection)
        return rows

    def _drop(self, connection: ConnectionT) -> None:
        with suppress(Exception):  # it is given up either way
            self.disconnect(connection)

    def _trouble(self, error: Exception, question: Question, seconds: float) -> StrongroomError:
        return error if isinstance(error, StrongroomError) else self.judged(error, question, seconds)


class _Pool(Generic[ConnectionT]):
    """Idle connections of one process, the last used on top."""

    def __init__(self) -> None:
        self._idle: list[ConnectionT] = []
        self._seats = threading.BoundedSemaphore(POOL_SIZE)

    @contextmanager
    def seat(self, database: Database, seconds: float) -> Iterator[_Pool[ConnectionT]]:
        if not self._seats.acquire(timeout=seconds):
            raise database.unavailable(f"has {POOL_SIZE} questions under way already")
        try:
            yield self
        finally:
            self._seats.release()

    def take(self) -> ConnectionT | None:
        # Both are atomic: a race between two threads ends in one of them finding the list empty.
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def give_back(self, connection: ConnectionT) -> None:
        self._idle.append(connection)


def open_database(url: DatabaseUrl, *, place: str, timeout: timedelta, schema: str | None = None) -> Database:
    """
    Give the database of *url*. Nothing is opened yet.

    Args:
        url: where it is.
        place: what messages call it: the name of the backend.
        timeout: for connecting and for each question.
        schema: where the tables are, if not where the user looks first.

    Raises:
        BackendConfigError: its driver is not installed, or the URL says too little.
    """
    if url.dialect == "sqlite":
        from strongroom.vendors.database_sqlite import SqliteDatabase  # noqa: PLC0415 -- rule 5

        return SqliteDatabase(url, place=place, timeout=timeout)
    if url.dialect == "postgresql":
        from strongroom.vendors.database_postgresql import PostgresqlDatabase  # noqa: PLC0415

        return PostgresqlDatabase(url, place=place, timeout=timeout, schema=schema)
    from strongroom.vendors.database_mariadb import MariadbDatabase  # noqa: PLC0415

    return MariadbDatabase(url, place=place, timeout=timeout, schema=schema)


def driver_missing(driver: str, extra: str) -> BackendConfigError:
    """Make the error for a driver that is not installed."""
    return BackendConfigError(
        f"{driver} is not installed, which reads this kind of database",
        hint=f"pip install 'strongroom[{extra}]'",
    )


def until(seconds: float) -> float:
    """Give the moment (`time.monotonic`) that is *seconds* away."""
    return time.monotonic() + seconds
