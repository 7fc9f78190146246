"""
A store in the database of a server: what its engines share. The sessions of a process, who may use them, and
what is done when one is lost.

Rules of this file:

1. A session is one thread's at a time. There are at most so many in a process; who finds none waits, for a
   bounded time.
2. A fork inherits nothing: what it was given is kept and never touched, because closing it would say goodbye
   in the parent's name.
3. What only reads is asked once more on a new session where the old one was lost. What writes is not: whether
   its commit stood is only known by looking.
4. A new session must meet the same store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from os import getpid
from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING, TypeVar, cast

from strongroom.errors import BackendConfigError, BackendUnavailableError, TamperedError
from strongroom.store.engine import Connection, Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from strongroom.store.engine import Cursor

__all__ = ["ServerEngine", "Session"]

_WAIT_SECONDS = 2.5  # for a session that somebody else has; below the 3 s a backend has

T = TypeVar("T")


class Session(ABC):
    """
    One session with the server: a `Connection`.

    Attributes:
        is_broken: it is not used again.
        is_gone: its place in the pool was given up before it came back.
        pool: where it is given back to.
        generation: how often the pool had lost its server when it was opened.
    """

    pool: _Pool
    generation: int

    def __init__(self) -> None:
        self.is_broken = False
        self.is_gone = False

    @abstractmethod
    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        """Run one statement."""

    @abstractmethod
    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Run one statement once for each of *parameters*."""

    @abstractmethod
    def end(self) -> None:
        """Undo the transaction; where that fails it is broken."""

    @abstractmethod
    def close(self) -> None:
        """Say goodbye; never raises an error of the driver."""


class ServerEngine(Engine):
    """
    One database of a server.

    Args:
        name: of the store in the settings, for errors.
        address: for people, without user and password.
        most: sessions of this process at once.
    """

    def __init__(self, *, name: str, address: str, most: int) -> None:
        self.name = name
        self.address = address
        self._most = most
        self._pool = _Pool(most)

    # --- what each says for itself -------------------------------------------------------------------

    @abstractmethod
    def connect(self) -> Session:
        """
        Open a session in autocommit.

        Raises: one of `errors`.
        """

    @abstractmethod
    def is_lost(self, error: Exception) -> bool:
        """Tell whether the session ended, so that what was asked may be asked again."""

    @abstractmethod
    def take_turn(self, session: Session) -> None:
        """Begin a transaction, and wait until no other writer is in one."""

    @abstractmethod
    def commit(self, session: Session) -> None:
        """Let it stand, on the disk."""

    @abstractmethod
    def turn(self, connection: Connection) -> int:
        """Give what another number comes of whenever anybody committed."""

    # --- reading -------------------------------------------------------------------------------------

    def make(self) -> None:
        from strongroom.store import migration  # noqa: PLC0415 -- Alembic: 0.4 s

        migration.run(self)

    def lenient(self, connection: Connection) -> AbstractContextManager[None]:  # noqa: ARG002 -- as the promise
        return nullcontext()  # a column of text holds nothing else in a server

    def data_version(self) -> int:
        connection = self.borrow()
        try:
            return self.turn(connection)
        except self.errors as error:
            return self.repeat(connection, error, self.turn)
        finally:
            self.give_back(connection)

    def start(self) -> None:
        with self.lent() as session:
            self.id = self.id_on(session)

    def borrow(self) -> Session:
        pool = self._here()
        session = pool.take()
        if session is not None:
            return session
        try:
            session = pool.wait()
        except TimeoutError:
            what = f"is busy: all {self._most} sessions of this process are in use"
            raise self.unavailable(what) from None
        if session is not None:
            return session
        try:
            return self._opened(pool)
        except BaseException as error:
            pool.lose()
            if isinstance(error, self.errors):
                raise self.translate(error) from None
            raise

    def _opened(self, pool: _Pool) -> Session:
        generation = pool.generation  # before: it may be lost while it is opened
        session = self.connect()
        session.pool, session.generation = pool, generation
        try:
            self._require_same(session)
        except BaseException:
            session.close()
            raise
        return session

    def _require_same(self, session: Session) -> None:
        """Refuse another store in the place of the one that was opened: nothing of it is ours."""
        if self.id is not None and self.id_on(session) != self.id:
            raise BackendConfigError(
                f"the database of the store {self.name} was replaced by another store",
                hint="bring the right one back, or start this process again",
            )

    def give_back(self, connection: Connection) -> None:
        session = cast("Session", connection)
        session.pool.put(session)

    @contextmanager
    def lent(self) -> Iterator[Session]:
        """Give a session for the block, and our errors for the driver's."""
        session = self.borrow()
        try:
            yield session
        except self.errors as error:
            raise self.translate(error) from None
        finally:
            self.give_back(session)

    def repeat(self, connection: Connection, error: Exception, query: Callable[[Connection], T]) -> T:
        """Repeat *query* on a new session where the old one was lost."""
        if not self.is_lost(error):
            raise self.translate(error) from None
        session = cast("Session", connection)
        session.pool.give_up(session)  # or everybody who lost one would wait for a place that none gives back
        self._here().forget()  # those that wait spoke to the same server
        with self.lent() as fresh:
            return query(fresh)

    # --- writing -------------------------------------------------------------------------------------

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        session = self._begun()
        try:
            try:
                yield session
                self.commit(session)
            except BaseException:
                session.end()
                raise
        except self.errors as error:
            raise self.translate(error) from None
        finally:
            self.give_back(session)

    def _begun(self) -> Session:
        """Give a session whose turn it is; one that was lost while it waited in the pool is replaced."""
        session = self.borrow()
        try:
            self.take_turn(session)
        except self.errors as error:
            if not self.is_lost(error):
                session.end()
                self.give_back(session)
                raise self.translate(error) from None
            session.is_broken = True
        except BaseException:
            session.is_broken = True
            self.give_back(session)
            raise
        else:
            return session
        self.give_back(session)
        self._here().forget()
        return self._begun_anew()

    def _begun_anew(self) -> Session:
        session = self.borrow()
        try:
            self.take_turn(session)
        except BaseException as error:
            session.is_broken = True
            self.give_back(session)
            if isinstance(error, self.errors):
                raise self.translate(error) from None
            raise
        return session

    def close(self) -> None:
        if self._pool.pid == getpid():
            self._pool.close()

    # --- errors --------------------------------------------------------------------------------------

    def busy(self) -> BackendUnavailableError:
        """Give the error for a writer that waited in vain."""
        return BackendUnavailableError(
            f"the store {self.name} is busy with other writes",
            backend=self.name,
            retry_after=timedelta(seconds=1),
        )

    def unavailable(self, what: str) -> BackendUnavailableError:
        """Give the error for a database that *what*."""
        return BackendUnavailableError(f"the database of the store {self.name} {what}", backend=self.name)

    def contradicting(self) -> TamperedError:
        """Give the error for rows at odds: every write has looked first, inside its transaction."""
        return TamperedError(
            f"the rows of the store {self.name} contradict each other", hint="restore it from a backup"
        )

    def foreign(self) -> BackendConfigError:
        """Give the error for a database that is somebody else's."""
        return BackendConfigError(
            f"the database of the store {self.name} holds tables that are not of Strongroom",
            hint="give the store a database of its own; this one was left as it was",
        )

    def _here(self) -> _Pool:
        pool = self._pool
        if pool.pid != getpid():
            # No lock: one could have been held by another thread at the moment of the fork.
            _ABANDONED.append(pool)
            pool = self._pool = _Pool(self._most)
        if pool.is_closed:
            raise BackendUnavailableError(f"the store {self.name} was closed", backend=self.name)
        return pool


_ABANDONED: list[_Pool] = []


class _Pool:
    """
    The sessions of one process: those that wait for work, and how many there are.

    Lending one out and taking it back touches no lock while nobody waits for one.
    """

    def __init__(self, most: int) -> None:
        self.pid = getpid()
        self.is_closed = False
        self.generation = 0
        self._most = most
        self._open = 0
        self._waiters = 0
        self._waiting: deque[Session] = deque()
        self._changed = Condition()

    def take(self) -> Session | None:
        """Give a session that waits, or None; the one that worked last knows the most."""
        try:
            return self._waiting.pop()
        except IndexError:
            return None

    def wait(self) -> Session | None:
        """
        Give a session that somebody gives back, or None where one more may be opened, which is counted
        already: `lose` if it was not.

        Raises:
            TimeoutError: nobody gave one back in time.
        """
        until = monotonic() + _WAIT_SECONDS
        with self._changed:
            # Counted first: who gives one back looks at the count afterwards.
            self._waiters += 1
            try:
                while (session := self.take()) is None:
                    if self._open < self._most:
                        self._open += 1
                        return None
                    if not self._changed.wait(max(0.0, until - monotonic())):
                        raise TimeoutError
                return session
            finally:
                self._waiters -= 1

    def put(self, session: Session) -> None:
        """Take a session back; what is broken, or outlived `forget` or `close`, is closed."""
        if session.is_gone:
            return
        if session.is_broken or session.generation != self.generation:
            self.give_up(session)
            return
        self._waiting.append(session)
        if self.is_closed:  # looked at last: it may be closed meanwhile
            self.forget()
        elif self._waiters:
            with self._changed:
                self._changed.notify()

    def give_up(self, session: Session) -> None:
        """Close a session that is lent out still, and let another be opened in its place."""
        session.is_broken = session.is_gone = True
        session.close()
        self.lose()

    def lose(self) -> None:
        """Count one less, and let somebody who waits open another."""
        with self._changed:
            self._open -= 1
            self._changed.notify()

    def forget(self) -> None:
        """Close those that wait; those lent out are closed when they come back."""
        with self._changed:
            self.generation += 1
        while (session := self.take()) is not None:
            session.close()
            self.lose()

    def close(self) -> None:
        """Close those that wait, for good."""
        self.is_closed = True
        self.forget()
