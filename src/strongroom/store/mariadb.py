"""
A store in a MariaDB: its connections in each process, its one writer, its bell.

Rules of this file:

1. A password is no part of the address; neither leaves this file in an error, nor a word of the server.
2. Writers come one after the other by the lock of one row, which counts them: a reader that finds another
   number than before knows that somebody committed.
3. Text compares by its bytes, trailing spaces included (`utf8mb4_nopad_bin`), which is the order of code
   points, as in every engine.
4. MariaDB commits each change of a table by itself. So a migration asks for each only where it is not yet
   so, and writes the new revision last: killed anywhere, it is done again from its beginning.
5. What the session needs to mean the same everywhere (strictness, quotes, isolation) it is told when it
   begins; no server's configuration is relied on.
"""

from __future__ import annotations

import os
import re
import ssl
from collections import deque
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import lru_cache
from os import getpid
from pathlib import Path
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    ReadOnlyError,
    StrongroomError,
    TamperedError,
)
from strongroom.store.engine import Connection, Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import sqlalchemy as sa

    from strongroom.model.secret import Secret

__all__ = ["MariadbEngine"]

T = TypeVar("T")

_CONNECT_SECONDS = 2  # below the 3 s a backend has
_LOCK_SECONDS = 2  # whole seconds are all that InnoDB takes
_ANSWER_SECONDS = 30  # of one statement; what a lookup waits for is bounded above, and a move has long ones
_MAX_CONNECTIONS = 32  # of one process: a server takes 151 unless told otherwise
_WAIT_SECONDS = 2.5  # for one of them
_INIT = (
    "SET SESSION sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION',"
    " default_storage_engine = InnoDB, tx_isolation = 'READ-COMMITTED', time_zone = '+00:00',"
    f" innodb_lock_wait_timeout = {_LOCK_SECONDS}, lock_wait_timeout = {_LOCK_SECONDS},"
    " foreign_key_checks = 1, unique_checks = 1"
)
_TURN = "UPDATE settings SET value = CAST(value AS UNSIGNED) + 1 WHERE \"key\" = 'turn'"
_FIRST_TURN = "INSERT IGNORE INTO settings (\"key\", value) VALUES ('turn', '0')"
_BELL = "SELECT value FROM settings WHERE \"key\" = 'turn'"

# https://mariadb.com/kb/en/mariadb-error-code-reference/
_REFUSED = (1045, 1698, 1130, 1251, 2059)  # user, password, host, or a way to log in that is not known
_CLEAR = 2061  # the password is asked for in clear
_NO_DATABASE = (1044, 1049)
_MAY_NOT = (1142, 1143, 1227, 1370)
_BUSY = (1205, 1213)
_READ_ONLY = (1290, 1792, 1836)
_CONTRADICTS = (1062, 1048, 1451, 1452)
_FULL = (1021, 1114, 3)
_NO_ROOM = (1040, 1203, 1226)
_NOT_OURS = (1146, 1054)
_TLS = 2026
_GONE = (0, 1053, 1152, 1927, 2002, 2003, 2006, 2013, 2014, 2055, 4031)


class _Address(NamedTuple):
    """Where the database is and as whom, without a password."""

    host: str | None
    port: int
    socket: str | None
    user: str
    database: str
    tls: dict[str, object] | None


class MariadbEngine(Engine):
    """
    One database of a MariaDB server.

    Args:
        place: `mariadb://user@host:port/database`, or with `?unix_socket=/path`. `ssl_ca=FILE` speaks TLS to
            a server that the file vouches for; `ssl_cert` and `ssl_key` prove who we are. Beyond this machine
            TLS is required.
        name: of the store in the settings, for errors.
        password: gives the password; asked for each connection, so that it may change.

    Raises:
        BackendConfigError: *place* is none, or PyMySQL is missing.
    """

    kind = "mariadb"

    def __init__(
        self, place: str, *, name: str = "native", password: Callable[[], Secret[str]] | None = None
    ) -> None:
        self.name = name
        self._at = _address(place)
        self._password = password
        try:
            import pymysql  # type: ignore[import-untyped]  # noqa: PLC0415 -- only where it is configured
        except ImportError:
            raise BackendConfigError(
                "a store in a MariaDB needs PyMySQL, which is not installed here",
                hint="pip install 'strongroom[mariadb]'",
            ) from None
        self._driver = pymysql
        self.errors = (pymysql.err.Error, OSError)
        where = self._at.socket or f"{self._at.host}:{self._at.port}"
        self.address = (
            f"mariadb://{where}/{self._at.database}"
            if self._at.socket is None
            else (f"mariadb:///{self._at.database}?unix_socket={where}")
        )
        self._pool = _Pool()

    # --- the tables as a whole -----------------------------------------------------------------------

    @contextmanager
    def creating(self) -> Iterator[None]:
        # A session's lock, which ends with it: a migration commits several times.
        with self._lent() as connection:
            taken = connection.execute(
                "SELECT GET_LOCK(CONCAT('strongroom/', DATABASE()), ?)", (_LOCK_SECONDS * 5,)
            )
            if taken.fetchone()[0] != 1:
                raise self._busy()
            try:
                yield
            finally:
                with suppress(*self.errors):
                    connection.execute("SELECT RELEASE_LOCK(CONCAT('strongroom/', DATABASE()))")

    def prepare(self) -> str | None:
        return self.revision()

    def revision(self) -> str | None:
        with self._lent() as connection:
            names = connection.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
            ).fetchall()
            if not names:
                return None
            if ("schema_revision",) not in names:
                raise BackendConfigError(
                    "the database holds tables that are not of Strongroom",
                    hint="give the store a database of its own; this one was left as it was",
                )
            row = connection.execute("SELECT version_num FROM schema_revision").fetchone()
            return None if row is None else str(row[0])

    def make(self) -> None:
        from strongroom.store import migration  # noqa: PLC0415 -- Alembic: 0.4 s

        migration.run(self)

    @contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        import sqlalchemy as sa  # noqa: PLC0415 -- 0.3 s that only migrating pays

        from strongroom.store import mariadb_tables  # noqa: PLC0415 -- as above

        engine = sa.create_engine(
            "mariadb+pymysql://", creator=self._connected, poolclass=sa.pool.NullPool, hide_parameters=True
        )
        mariadb_tables.apply_to(engine)
        try:
            with engine.begin() as connection:
                yield connection
        except sa.exc.DBAPIError as error:
            origin = error.orig if isinstance(error.orig, self.errors) else OSError()
            raise self.translate(origin) from None
        finally:
            engine.dispose()

    def start(self) -> None:
        with self._lent() as connection:
            self.id = self.id_on(connection)

    # --- reading -------------------------------------------------------------------------------------

    def borrow(self) -> Connection:
        pool = self._here()
        found = pool.take()
        if found is not None:
            return found
        if not pool.slots.acquire(timeout=_WAIT_SECONDS):
            raise self._busy()
        # One may have come back while this thread waited for its turn.
        found = pool.take()
        if found is not None:
            pool.slots.release()
            return found
        try:
            connection = _Connection(self._connected(), pool)
            self._require_same(connection)
        except BaseException as error:
            pool.slots.release()
            if isinstance(error, self.errors):
                raise self.translate(error) from None
            raise
        return connection

    def _require_same(self, connection: _Connection) -> None:
        """Refuse another store in the place of the one that was opened: nothing of it is ours."""
        if self.id is None:
            return
        try:
            if self.id_on(connection) == self.id:
                return
        except BaseException:
            connection.close()
            raise
        connection.close()
        raise BackendConfigError(
            f"the database of the store {self.name} was replaced by another store",
            hint="bring the right one back, or start this process again",
        )

    def give_back(self, connection: Connection) -> None:
        cast("_Connection", connection).give_back()

    def repeat(self, connection: Connection, error: Exception, query: Callable[[Connection], T]) -> T:
        """Repeat *query* on a new connection where the old one was lost: it only reads."""
        cast("_Connection", connection).is_broken = True
        if _number(error) not in _GONE:
            raise self.translate(error) from None
        self._here().forget()  # those that wait were connected to the same server
        with self._lent() as fresh:
            return query(fresh)

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        try:
            yield
        finally:
            cast("_Connection", connection).end("ROLLBACK")

    def lenient(self, connection: Connection) -> AbstractContextManager[None]:  # noqa: ARG002 -- as the promise
        return nullcontext()  # a column of text holds nothing else here

    def data_version(self) -> int:
        def query(connection: Connection) -> int:
            row = connection.execute(_BELL).fetchone()
            return 0 if row is None else int(row[0])

        connection = self.borrow()
        try:
            return query(connection)
        except self.errors as error:
            return self.repeat(connection, error, query)
        finally:
            self.give_back(connection)

    # --- writing -------------------------------------------------------------------------------------

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        connection = self._begun()
        try:
            yield connection
            connection.execute("COMMIT")
        except self.errors as error:
            connection.is_broken = True
            raise self.translate(error) from None
        except BaseException:
            connection.end("ROLLBACK")
            raise
        finally:
            connection.give_back()

    def _begun(self) -> _Connection:
        """Give a connection whose turn it is; one that was lost while it waited in the pool is replaced."""
        for is_last in (False, True):
            connection = cast("_Connection", self.borrow())
            try:
                connection.execute("START TRANSACTION")
                if not connection.execute(_TURN).rowcount:
                    connection.execute(_FIRST_TURN)
                    connection.execute(_TURN)
            except self.errors as error:
                connection.is_broken = True
                connection.give_back()
                if is_last or _number(error) not in _GONE:
                    raise self.translate(error) from None
                self._here().forget()
            else:
                return connection
        raise AssertionError("the second time either returns or raises")

    def translate(self, error: Exception) -> StrongroomError:
        number = _number(error)
        if number in _BUSY:
            return self._busy()
        if number in _CONTRADICTS:
            return TamperedError(
                f"the rows of the store {self.name} contradict each other", hint="restore it from a backup"
            )
        if number in _READ_ONLY:
            return ReadOnlyError(
                f"the database of the store {self.name} cannot be written", hint="ask who runs it"
            )
        if number in _MISCONFIGURED:
            what, hint = _MISCONFIGURED[number]
            return BackendConfigError(f"the database of the store {self.name} {what}", hint=hint)
        return self._unavailable(_REASONS.get(number, "gives no answer"))

    def _busy(self) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"the store {self.name} is busy with other writes",
            backend=self.name,
            retry_after=timedelta(seconds=1),
        )

    def _unavailable(self, what: str) -> BackendUnavailableError:
        return BackendUnavailableError(f"the database of the store {self.name} {what}", backend=self.name)

    def close(self) -> None:
        if self._pool.pid == getpid():
            self._pool.close()

    # --- connections ---------------------------------------------------------------------------------

    @contextmanager
    def _lent(self) -> Iterator[_Connection]:
        connection = cast("_Connection", self.borrow())
        try:
            yield connection
        except self.errors as error:
            connection.is_broken = True
            raise self.translate(error) from None
        finally:
            connection.give_back()

    def _here(self) -> _Pool:
        pool = self._pool
        if pool.pid != getpid():
            # The parent's connections: closing them would say goodbye to its server.
            _ABANDONED.append(pool)
            pool = self._pool = _Pool()
        if pool.is_closed:
            raise BackendUnavailableError(f"the store {self.name} was closed", backend=self.name)
        return pool

    def _connected(self) -> Any:  # noqa: ANN401 -- PyMySQL comes without types
        at = self._at
        if at.socket is not None and not Path(at.socket).exists():
            # PyMySQL would leave its own end open to the garbage collector.
            raise self._unavailable("gives no answer")
        found: dict[str, Any] = (
            {"unix_socket": at.socket} if at.socket else {"host": at.host, "port": at.port}
        )
        if at.tls is not None:
            found["ssl"] = _tls(at.tls)
        else:
            found["ssl_disabled"] = True
        if self._password is not None:
            found["password"] = self._password().reveal().encode()  # PyMySQL would take text for Latin-1
        return self._driver.connect(
            **found,
            user=at.user,
            database=at.database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_ANSWER_SECONDS,
            write_timeout=_ANSWER_SECONDS,
            init_command=_INIT,
            local_infile=False,  # a server could ask for our files
            # How many rows were found, not how many of them differed.
            client_flag=self._driver.constants.CLIENT.FOUND_ROWS,
            auth_plugin_map={} if at.tls is not None else {"mysql_clear_password": self._clear_refused},
        )

    def _clear_refused(self, _session: object) -> None:
        # Without TLS nobody is given the password in clear, who only has to ask PyMySQL for it.
        raise self._driver.err.OperationalError(_CLEAR, "")


_MISCONFIGURED = {
    **dict.fromkeys(_REFUSED, ("refuses the user or the password", "correct store.url or store.password")),
    **dict.fromkeys(
        _NO_DATABASE, ("is not there, or not for this user", "create it, and grant it all on it")
    ),
    **dict.fromkeys(_MAY_NOT, ("does not let its user do that", "grant it all on its own database")),
    **dict.fromkeys(_NOT_OURS, ("lacks a table or a column", "strongroom store status tells what is there")),
    _CLEAR: ("asks for the password in clear", "let its user log in another way, or speak TLS: ssl_ca=FILE"),
}
_REASONS = {
    **dict.fromkeys(_FULL, "has no room left on its disk"),
    **dict.fromkeys(_NO_ROOM, "has no connection left"),
    _TLS: "cannot be spoken to as TLS is set",
}
_ABANDONED: list[_Pool] = []


class _Pool:
    """The connections of one process that wait for work, and how many there may be."""

    def __init__(self) -> None:
        self.pid = getpid()
        self.is_closed = False
        self.slots = BoundedSemaphore(_MAX_CONNECTIONS)
        self.generation = 0
        self._waiting: deque[_Connection] = deque()
        self._lock = Lock()

    def take(self) -> _Connection | None:
        with suppress(IndexError):
            return self._waiting.pop()
        return None

    def put(self, connection: _Connection) -> None:
        with self._lock:
            is_kept = not self.is_closed and connection.generation == self.generation
            if is_kept:
                self._waiting.append(connection)
        if not is_kept:
            self.drop(connection)

    def drop(self, connection: _Connection) -> None:
        connection.close()
        self.slots.release()

    def forget(self) -> None:
        """Close those that wait; those lent out are closed when they come back."""
        with self._lock:
            self.generation += 1
            waiting, self._waiting = self._waiting, deque()
        for connection in waiting:
            self.drop(connection)

    def close(self) -> None:
        with self._lock:
            self.is_closed = True
        self.forget()


class _Connection:
    """One session, asked as sqlite3's own connection is."""

    def __init__(self, session: Any, pool: _Pool) -> None:  # noqa: ANN401 -- PyMySQL comes without types
        self.is_broken = False
        self.generation = pool.generation
        self._session = session
        self._pool = pool

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> _Cursor:
        cursor = self._session.cursor()
        cursor.execute(_spelled(sql), _given(sql, parameters))
        return _Cursor(cursor)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> _Cursor:
        cursor = self._session.cursor()
        cursor.executemany(_spelled(sql), [_given(sql, each) for each in parameters])
        return _Cursor(cursor)

    def end(self, statement: str) -> None:
        """End a transaction; a session that cannot is not used again."""
        try:
            self.execute(statement)
        except Exception:  # noqa: BLE001 -- whatever it was, the session is of no use any more
            self.is_broken = True

    def give_back(self) -> None:
        if self.is_broken:
            self._pool.drop(self)
        else:
            self._pool.put(self)

    def close(self) -> None:
        with suppress(Exception):
            self._session.close()


class _Cursor:
    """An answer, whole in memory."""

    def __init__(self, cursor: Any) -> None:  # noqa: ANN401 -- PyMySQL comes without types
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        return int(self._cursor.rowcount)

    def fetchone(self) -> Any:  # noqa: ANN401 -- as the promise
        return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        return list(self._cursor.fetchall())


# --- statements ------------------------------------------------------------------------------------

_NAME_AS_BYTES = "CAST(? AS TEXT)"
_UPSERT = re.compile(r"ON CONFLICT\s*\([^)]*\)\s*DO UPDATE SET", re.IGNORECASE)
_EXCLUDED = re.compile(r"\bexcluded\.(\"?\w+\"?)", re.IGNORECASE)


@lru_cache(maxsize=512)  # there are about fifty, and a few more by how many names they ask for
def _spelled(sql: str) -> str:
    """Give *sql* as PyMySQL and MariaDB take it."""
    sql = sql.replace("%", "%%").replace(_NAME_AS_BYTES, "?")
    sql = _EXCLUDED.sub(r"VALUES(\1)", _UPSERT.sub("ON DUPLICATE KEY UPDATE", sql))
    return sql.replace("?", "%s")


def _given(sql: str, parameters: Sequence[Any]) -> tuple[Any, ...]:
    """Give *parameters* with names that came as bytes as text."""
    if _NAME_AS_BYTES not in sql:
        return tuple(parameters)
    return tuple(_text(one) if isinstance(one, bytes) else one for one in parameters)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        # Equal to no name, as U+10FFFF is no character, and about where it would stand in their order.
        return name.decode(errors="replace") + "\U0010ffff"


def _number(error: Exception) -> int:
    number = error.args[0] if error.args else 0
    return number if isinstance(number, int) and not isinstance(error, OSError) else 0


# --- addresses -------------------------------------------------------------------------------------

_OPTIONS = ("unix_socket", "ssl_ca", "ssl_cert", "ssl_key")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def _address(place: str) -> _Address:
    """
    Take an address apart.

    Raises:
        BackendConfigError: it is none, or holds a password.
    """
    try:
        parts = urlsplit(place)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        port, password = parts.port or 3306, parts.password
    except ValueError:
        raise _wrong("is none") from None
    if password is not None:
        raise BackendConfigError(
            "store.url holds a password", hint='say it apart: store.password = { file = "…" }'
        )
    unknown = [name for name in options if name not in _OPTIONS]
    if unknown or parts.fragment:
        raise _wrong(f"may say {', '.join(_OPTIONS)} after its database, and nothing else")
    database = unquote(parts.path[1:])
    if not database or "/" in database:
        raise _wrong("must name one database: mariadb://user@host/database")
    socket, host = options.pop("unix_socket", None), parts.hostname
    if (socket is None) == (host is None):
        raise _wrong("must name a host, or a unix_socket without one")
    tls: dict[str, object] | None = {name[4:]: path for name, path in options.items()} or None
    if tls is not None and "ca" not in tls:
        raise _wrong("must say ssl_ca where it speaks TLS")
    if tls is None and host is not None and host not in _LOOPBACK:
        raise _wrong("leaves this machine without TLS; say ssl_ca=FILE after its database")
    user = unquote(parts.username or "") or _me()
    return _Address(host, port, socket, user, database, tls)


def _wrong(what: str) -> BackendConfigError:
    return BackendConfigError(
        f"store.url {what}", hint="mariadb://user@host/database?ssl_ca=/etc/ssl/database.pem"
    )


def _me() -> str:
    import pwd  # noqa: PLC0415 -- only where the address names nobody

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise _wrong("must name a user") from None


def _tls(files: dict[str, object]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(files["ca"]))
        if "cert" in files:
            context.load_cert_chain(str(files["cert"]), str(files["key"]) if "key" in files else None)
    except (OSError, ValueError):
        raise BackendConfigError(
            "a file of TLS that store.url names cannot be used", hint="look at ssl_ca, ssl_cert and ssl_key"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
