"""
A store in a PostgreSQL: its connections in each process, its one writer, its bell.

Rules of this file:

1. A read is one round trip of a prepared statement in autocommit, spoken through libpq itself: psycopg's
   own cursors take four times as long.
2. Whoever waits for the server does so for a bounded time, and can be interrupted; a session whose answer
   was not awaited is closed.
3. Writers come one after the other by the lock of one row, which counts them: a reader that finds another
   number than before knows that somebody committed.
4. libpq's messages quote addresses and statements: only what a state means leaves this file.
5. Nothing is taken from libpq's own environment, files and defaults that decides whom we speak to:
   `postgres_address.py`.

Pooling by PgBouncer (1.21 or newer, `max_prepared_statements` on) works in its transaction mode: nothing
is set for a session.
"""

from __future__ import annotations

import select
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    ReadOnlyError,
    StrongroomError,
    TamperedError,
)
from strongroom.store.postgres_address import Address
from strongroom.store.postgres_bell import PostgresBell
from strongroom.store.server import ServerEngine, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    import psycopg
    import sqlalchemy as sa
    from psycopg.abc import Transformer
    from psycopg.pq.abc import PGconn, PGresult

    from strongroom.model.secret import Secret
    from strongroom.store.engine import Connection

__all__ = ["PostgresEngine"]

_CONNECT_SECONDS = 2.5  # below the 3 s a backend has
_READ_MILLISECONDS = 2500  # without a byte from the server
_LONG_MILLISECONDS = 30_000  # the same, inside a transaction: a backup reads, and a batch writes, for longer
_LOCK_MILLISECONDS = 2500
_IDLE_MILLISECONDS = 60_000  # a writer that was stopped in its turn holds the others up no longer
_MIGRATE_LOCK_MILLISECONDS = 10_000

_TURN = "UPDATE settings SET value = (value::bigint + 1)::text WHERE key = 'turn'"
_BEGIN = (
    # The turn is waited for: whatever a role was told, what is read after it is of after it.
    "BEGIN ISOLATION LEVEL READ COMMITTED;"
    f" SET LOCAL lock_timeout = {_LOCK_MILLISECONDS};"
    f" SET LOCAL idle_in_transaction_session_timeout = {_IDLE_MILLISECONDS};"
    # Whoever runs the server may ask for more than the disk, and not for less.
    " SELECT set_config('synchronous_commit', 'on', true)"
    f" WHERE current_setting('synchronous_commit') = 'off'; {_TURN}"
)
_FIRST_TURN = "INSERT INTO settings (\"key\", value) VALUES ('turn', '1') ON CONFLICT (\"key\") DO NOTHING"
# Our own writers count their turns. Of who changes who may by hand, the server's statistics tell within
# seconds, if it keeps any.
_HANDS = " + ".join(
    f"coalesce(pg_stat_get_tuples_{what}(to_regclass('{table}')), 0)"
    for table in ("registry", "registry_heads")
    for what in ("inserted", "updated", "deleted")
)
_BELL = f"SELECT value, {_HANDS} FROM settings WHERE \"key\" = 'turn'"  # noqa: S608 -- constants
_CHANNEL = "strongroom"
_RESUME = (
    "SELECT setval(pg_get_serial_sequence('changes', 'sequence'), greatest(max(sequence), 1),"
    " max(sequence) IS NOT NULL) FROM changes"
)
_LOCK = 0x7374726F6E67726D  # "strongrm": of who makes or migrates a store in this database
_TABLES = "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_NOT_TEXT = ("22021", "22P05")
_UNIQUE_CLASS = "23"
_READ_ONLY = "25006"
_LOGIN_CLASS = "28"
_NO_DATABASE = ("3D000", "3F000")
_BUSY = ("55P03", "40001", "40P01")
_TOO_LONG = ("57014", "25P03")
_MAY_NOT = "42501"
_NOT_OURS_CLASS = "42"
_DAMAGED_CLASS = "XX"  # XX001 is a damaged page, XX002 a damaged index
_DAMAGED = ("XX001", "XX002")
_DISK = ("53100", "58030")
_FULL_CLASS = "53"


class PostgresError(Exception):
    """
    What a server said, without its words.

    Args:
        state: SQLSTATE, or '' where there was no answer.
        told: of a connection that was not to be had: why, as one of our own words, or ''.
    """

    def __init__(self, state: str, told: str = "") -> None:
        super().__init__(state, told)
        self.state = state
        self.told = told

    @property
    def is_lost(self) -> bool:
        """Whether the session ended, by the server's end or on the way; what was asked may be asked again."""
        return not self.state or self.state.startswith(("08", "57P"))


class PostgresEngine(ServerEngine):
    """
    One database of a PostgreSQL server.

    Args:
        place: `postgresql://user@host:port/database?…`; see `postgres_address.py`.
        name: of the store in the settings, for errors.
        password: gives the password; asked for each connection, so that it may change.

    Raises:
        BackendConfigError: *place* is none, or psycopg is missing.
    """

    kind = "postgresql"
    errors = (PostgresError,)

    def __init__(
        self, place: str, *, name: str = "native", password: Callable[[], Secret[str]] | None = None
    ) -> None:
        at = Address.parse(place)
        super().__init__(name=name, address=str(at), most=at.pool_size)
        self._at = at
        self._password = password
        try:
            import psycopg  # noqa: PLC0415 -- only where it is configured
        except ImportError:
            raise BackendConfigError(
                "a store in a PostgreSQL needs psycopg, which is not installed here",
                hint="pip install 'strongroom[postgres]'",
            ) from None
        self._driver = psycopg

    # --- the tables as a whole -----------------------------------------------------------------------

    @contextmanager
    def creating(self) -> Iterator[None]:
        with self.lent() as connection:
            session = cast("_Session", connection)
            session.run(
                f"BEGIN; SET LOCAL lock_timeout = {_MIGRATE_LOCK_MILLISECONDS};"
                f" SELECT pg_advisory_xact_lock({_LOCK})"
            )
            try:
                yield
            finally:
                session.end()

    def prepare(self) -> str | None:
        found = self.revision()
        if found is None:
            self._require_text()
        return found

    def _require_text(self) -> None:
        with self.lent() as connection:
            row = connection.execute("SELECT current_setting('server_encoding')").fetchone()
        if row[0] != "UTF8":
            raise BackendConfigError(
                f"the database of the store {self.name} cannot keep every text",
                hint="create it with the encoding UTF8",
            )

    def revision(self) -> str | None:
        with self.lent() as connection:
            names = {row[0] for row in connection.execute(_TABLES).fetchall()}
            if not names:
                return None
            found = None
            if "schema_revision" in names:
                found = connection.execute("SELECT version_num FROM schema_revision").fetchone()
        if found is None:
            raise BackendConfigError(
                f"the database of the store {self.name} holds tables that are not of Strongroom",
                hint="give the store a database of its own; this one was left as it was",
            )
        return str(found[0])

    def make(self) -> None:
        from strongroom.store import migration  # noqa: PLC0415 -- Alembic: 0.4 s

        migration.run(self)

    @contextmanager
    def migrating(self) -> Iterator[sa.Connection]:
        import sqlalchemy as sa  # noqa: PLC0415 -- 0.3 s that only migrating pays

        import strongroom.store.postgres_table  # noqa: F401, PLC0415 -- says how columns are spelled there

        def opened() -> psycopg.Connection[tuple[Any, ...]]:
            found: psycopg.Connection[tuple[Any, ...]]
            found = self._driver.connect(self._at.conninfo(self._password).decode())
            return found

        engine = sa.create_engine(
            "postgresql+psycopg://", creator=opened, poolclass=sa.pool.NullPool, hide_parameters=True
        )
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_MIGRATE_LOCK_MILLISECONDS}")
                yield connection
        except sa.exc.DBAPIError as error:
            raise self.translate(PostgresError(getattr(error.orig, "sqlstate", None) or "")) from None
        except self._driver.Error as error:
            raise self.translate(PostgresError(error.sqlstate or "", _told(str(error)))) from None
        finally:
            engine.dispose()

    # --- reading -------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        session = cast("_Session", connection)
        session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        session.milliseconds = _LONG_MILLISECONDS
        try:
            yield
        finally:
            session.milliseconds = _READ_MILLISECONDS
            session.end()

    def lenient(self, connection: Connection) -> AbstractContextManager[None]:  # noqa: ARG002 -- as the promise
        return nullcontext()  # a column of text holds nothing else here

    def data_version(self) -> int:
        connection = self.borrow()
        try:
            return _turn(connection)
        except PostgresError as error:
            return self.repeat(connection, error, _turn)
        finally:
            self.give_back(connection)

    def bell(self) -> PostgresBell:
        return PostgresBell(self._listening, self.translate)

    def _listening(self) -> _Session:
        try:
            session = cast("_Session", self.connect())
            session.run(f"LISTEN {_CHANNEL}")
        except PostgresError as error:
            raise self.translate(error) from None
        return session

    # --- writing -------------------------------------------------------------------------------------

    def take_turn(self, session: Session) -> None:
        mine = cast("_Session", session)
        mine.milliseconds = _LONG_MILLISECONDS
        if mine.run(_BEGIN) != b"UPDATE 1":
            mine.run(_FIRST_TURN)
            mine.run(_TURN)

    def commit(self, session: Session) -> None:
        mine = cast("_Session", session)
        if mine.run(f"NOTIFY {_CHANNEL}; COMMIT") != b"COMMIT":
            raise PostgresError("25P02")  # a statement failed, and somebody went on nevertheless
        mine.milliseconds = _READ_MILLISECONDS

    def resume_numbers(self, connection: Connection) -> None:
        connection.execute(_RESUME)

    def translate(self, error: Exception) -> StrongroomError:
        state = error.state if isinstance(error, PostgresError) else ""
        if state in _NOT_TEXT:
            return InvalidInputError("a text holds a character that the database of the store cannot keep")
        if state in _BUSY:
            return self.busy()
        if state.startswith(_UNIQUE_CLASS):
            # Every write has looked first, inside its transaction, so the rows themselves are at odds.
            return TamperedError(
                f"the rows of the store {self.name} contradict each other", hint="restore it from a backup"
            )
        if state in _DAMAGED:
            return TamperedError(
                f"the database of the store {self.name} is damaged", hint="restore it from a backup"
            )
        if state == _READ_ONLY:
            return ReadOnlyError(
                f"the database of the store {self.name} cannot be written",
                hint="it may be a standby: name the primary, or target_session_attrs=read-write",
            )
        return self._misconfigured(error) or self._unavailable(state)

    def _misconfigured(self, error: Exception) -> BackendConfigError | None:
        state, told = (error.state, error.told) if isinstance(error, PostgresError) else ("", "")
        if state.startswith(_LOGIN_CLASS):
            told = "login"
        elif state in _NO_DATABASE:
            told = "database"
        elif state == _MAY_NOT:
            told = "right"
        elif state.startswith(_NOT_OURS_CLASS):
            told = "table"
        what = _WRONG.get(told)
        if what is None:
            return None
        return BackendConfigError(f"the database of the store {self.name} {what[0]}", hint=what[1])

    def _unavailable(self, state: str) -> BackendUnavailableError:
        if state in _DISK:
            reason = "has no room left on its disk, or cannot reach it"
        elif state.startswith(_FULL_CLASS):
            reason = "has no connection left"
        elif state in _TOO_LONG:
            reason = "took too long"
        elif state and not PostgresError(state).is_lost:
            reason = f"failed ({state})"
        else:
            reason = "gives no answer"
        return self.unavailable(reason)

    # --- connections ---------------------------------------------------------------------------------

    def connect(self) -> Session:
        pgconn = self._driver.pq.PGconn.connect_start(self._at.conninfo(self._password))
        try:
            _finish_connecting(pgconn)
            pgconn.nonblocking = 1
        except self._driver.Error:
            pgconn.finish()
            raise PostgresError("") from None
        except BaseException:
            pgconn.finish()
            raise
        return _Session(pgconn, self._driver.Error, self._driver.adapt.Transformer())

    def is_lost(self, error: Exception) -> bool:
        return isinstance(error, PostgresError) and error.is_lost


_WRONG = {
    "login": ("refuses the user or the password", "correct store.url or store.password"),
    "database": ("is not there", "create it, or correct store.url"),
    "right": (
        "does not let its user do that",
        "let the user own the database: ALTER DATABASE … OWNER TO …",
    ),
    "table": ("lacks a table or a column", "strongroom store status"),
    "certificate": (
        "cannot be spoken to as TLS is set",
        "look at sslmode and sslrootcert in store.url",
    ),
    "setting": (
        "has an argument in its address that cannot be",
        "correct what stands after '?' in store.url",
    ),
}


def _turn(connection: Connection) -> int:
    row = connection.execute(_BELL).fetchone()
    return 0 if row is None else (int(row[0]) << 64) + int(row[1])


# --- a session -------------------------------------------------------------------------------------

_POLL_OK, _POLL_READING, _POLL_WRITING = 3, 1, 2  # PostgresPollingStatusType
_FATAL, _PIPELINE_SYNC, _PIPELINE_ABORTED, _TUPLES = 7, 10, 11, 2  # ExecStatusType
_BAD = 1  # ConnStatusType
_SQLSTATE = ord("C")  # PG_DIAG_SQLSTATE
_MOST_PREPARED = 128  # of a session; a page of names is a statement for each number of them
_BATCH = 100  # statements sent before their answers are awaited


class _Answer:
    """The rows of one statement, all of them."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[tuple[Any, ...]], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def fetchone(self) -> Any:  # noqa: ANN401 -- a row's types are its reader's business
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows


class _Session(Session):
    """
    One session, asked as sqlite3's own connection is.

    Attributes:
        milliseconds: how long is waited for the next byte.
    """

    def __init__(self, pgconn: PGconn, errors: type[Exception], transformer: Transformer) -> None:
        super().__init__()
        self.milliseconds = _READ_MILLISECONDS
        self._errors = errors
        self._pgconn = pgconn
        self._poll = select.poll()
        self._poll.register(pgconn.socket, select.POLLIN)
        self._prepared: dict[str, _Statement] = {}
        self._transformer = transformer  # psycopg's own way from bytes to values, in C

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> _Answer:
        statement = self._prepared.get(sql) or self._prepare(sql)
        values, formats = statement.given(parameters)
        try:
            self._pgconn.send_query_prepared(statement.name, values, formats, 1)
            self._flush()
            return self._answer(self._result())
        except BaseException as error:  # noqa: BLE001 -- raised
            raise self._met(error) from None

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> _Answer:
        statement = self._prepared.get(sql) or self._prepare(sql)
        given = [statement.given(each) for each in parameters]
        count = 0
        try:
            for start in range(0, len(given), _BATCH):
                count += self._batch(statement.name, given[start : start + _BATCH])
        except BaseException as error:  # noqa: BLE001 -- raised
            raise self._met(error) from None
        return _Answer([], count)

    def run(self, sql: str) -> bytes:
        """Run statements without parameters in one round trip, and give how the last one ended."""
        try:
            self._pgconn.send_query(sql.encode())
            self._flush()
            return self._result().command_status or b""
        except BaseException as error:  # noqa: BLE001 -- raised
            raise self._met(error) from None

    def end(self) -> None:
        """Undo the transaction; a session that cannot is not used again."""
        self.milliseconds = _READ_MILLISECONDS
        if self.is_broken:
            return
        try:
            self.run("ROLLBACK")
        except PostgresError:
            self.is_broken = True

    def close(self) -> None:
        self._pgconn.finish()

    # --- as one that listens: `postgres_bell.py` -------------------------------------------------------

    def fileno(self) -> int:
        """Give the socket that can be read when something has arrived."""
        return self._pgconn.socket

    def drained(self) -> bool:
        """Take what has arrived, and tell whether a notification was in it."""
        try:
            self._pgconn.consume_input()
            is_rung = False
            while self._pgconn.notifies() is not None:
                is_rung = True
        except BaseException as error:  # noqa: BLE001 -- raised
            raise self._met(error) from None
        return is_rung

    # --- how it is spoken to -------------------------------------------------------------------------

    def _prepare(self, sql: str) -> _Statement:
        # Beyond the most one is prepared each time, under no name: the server keeps the others in memory.
        is_kept = len(self._prepared) < _MOST_PREPARED
        statement = _Statement(f"s{len(self._prepared)}".encode() if is_kept else b"", *_spelled(sql))
        try:
            self._pgconn.send_prepare(statement.name, statement.sql)
            self._flush()
            self._result()
        except BaseException as error:  # noqa: BLE001 -- raised
            raise self._met(error) from None
        if is_kept:
            self._prepared[sql] = statement
        return statement

    def _batch(self, name: bytes, given: Sequence[tuple[list[bytes | None], list[int]]]) -> int:
        """Send statements one behind the other, and await their answers together."""
        pgconn = self._pgconn
        pgconn.enter_pipeline_mode()
        failed: PostgresError | None = None
        count = 0
        for values, formats in given:
            pgconn.send_query_prepared(name, values, formats, 1)
        pgconn.pipeline_sync()
        self._flush()
        while True:
            result = self._next()
            if result is None:
                continue
            status = result.status
            if status == _PIPELINE_SYNC:
                break
            if status == _FATAL:
                failed = PostgresError(_state(result))
            elif status != _PIPELINE_ABORTED:
                count += result.command_tuples or 0
        pgconn.exit_pipeline_mode()
        if failed is not None:
            raise failed
        return count

    def _result(self) -> PGresult:
        """Give the last result of what was sent; raise what the first failing statement met."""
        found: PGresult | None = None
        failed: str | None = None
        while (result := self._next()) is not None:
            if result.status == _FATAL:
                failed = _state(result)
            found = result
        if failed is not None:
            raise self._failure(failed)
        if found is None:
            self.is_broken = True
            raise PostgresError("")
        return found

    def _answer(self, result: PGresult) -> _Answer:
        count = result.ntuples
        if not count:
            return _Answer([], result.command_tuples or 0 if result.status != _TUPLES else -1)
        self._transformer.set_pgresult(result)
        return _Answer(self._transformer.load_rows(0, count, tuple), -1)

    def _failure(self, state: str) -> PostgresError:
        failure = PostgresError(state)
        if failure.is_lost or self._pgconn.status == _BAD:
            self.is_broken = True
            return PostgresError("" if self._pgconn.status == _BAD else state)
        return failure

    def _next(self) -> PGresult | None:
        """Give the next result once it is there, None after the last one."""
        pgconn = self._pgconn
        while pgconn.is_busy():
            self._wait()
        return pgconn.get_result()

    def _flush(self) -> None:
        """Send what is to be sent, and take in what comes meanwhile: the server may not listen before."""
        while self._pgconn.flush():
            self._poll.modify(self._pgconn.socket, select.POLLIN | select.POLLOUT)
            try:
                self._wait()
            finally:
                self._poll.modify(self._pgconn.socket, select.POLLIN)

    def _wait(self) -> None:
        if not self._poll.poll(self.milliseconds):
            self.is_broken = True
            raise PostgresError("")
        self._pgconn.consume_input()

    def _met(self, error: BaseException) -> BaseException:
        """
        Give what is raised for *error*: of what psycopg raises where libpq refuses to send or receive
        nothing but that, and of what interrupted us just that.
        """
        if isinstance(error, PostgresError):
            return error
        # An answer may still come: nobody else may take it for his.
        self.is_broken = True
        return PostgresError("") if isinstance(error, self._errors) else error


class _Statement:
    """
    One prepared statement of one session.

    Args:
        name: of it in the session.
        sql: as the server was given it.
        names: which parameters are names as bytes.
    """

    __slots__ = ("_names", "name", "sql")

    def __init__(self, name: bytes, sql: bytes, names: frozenset[int]) -> None:
        self.name = name
        self.sql = sql
        self._names = names

    def given(self, parameters: Sequence[Any]) -> tuple[list[bytes | None], list[int]]:
        """Give *parameters* as bytes, and of each whether it is binary (1) or its text (0)."""
        values: list[bytes | None] = []
        formats: list[int] = []
        for one in parameters:
            kind = type(one)
            if kind is str:
                values.append(one.encode())
                formats.append(1)  # with its length: as text it would end at a NUL
            elif kind is bytes or kind is bytearray or kind is memoryview:
                values.append(_name(one) if len(values) in self._names else bytes(one))
                formats.append(1)
            else:
                values.append(None if one is None else b"%d" % one)
                formats.append(0)
        return values, formats


_NAME_AS_BYTES = "CAST(? AS TEXT)"


@lru_cache(maxsize=512)  # there are about fifty, and a few more by how many names they ask for
def _spelled(sql: str) -> tuple[bytes, frozenset[int]]:
    """Give *sql* as PostgreSQL takes it, and which of its parameters are names as bytes."""
    names: set[int] = set()
    parts: list[str] = []
    for piece in sql.replace(_NAME_AS_BYTES, "?\0").split("?"):
        number = len(parts)
        if piece.startswith("\0"):
            names.add(number - 1)
            parts.append(f"::text{piece[1:]}")
        else:
            parts.append(piece)
    spelled = parts[0] + "".join(f"${number}{part}" for number, part in enumerate(parts[1:], 1))
    return spelled.encode(), frozenset(names)


def _name(name: bytes) -> bytes:
    """
    Give a name as text can hold it. What no UTF-8 can spell, or holds a NUL, equals no name here; it ends
    with U+10FFFF instead, which is no character and stands where the bytes would in the order of names.
    """
    try:
        if b"\0" not in name:
            name.decode()
            return name
        end = name.index(b"\0")
    except UnicodeDecodeError as error:
        end = error.start
        return name[:end] + "\U0010ffff".encode()
    return name[:end] + b"\x01"


def _state(result: PGresult) -> str:
    return (result.error_field(_SQLSTATE) or b"").decode("ascii", "replace")


def _finish_connecting(pgconn: PGconn) -> None:
    until = monotonic() + _CONNECT_SECONDS
    poll = select.poll()
    while True:
        if int(pgconn.status) == _BAD:
            raise PostgresError("", _told(pgconn.error_message.decode("utf-8", "replace")))
        status = int(pgconn.connect_poll())
        if status == _POLL_OK:
            return
        if status not in (_POLL_READING, _POLL_WRITING):
            raise PostgresError("", _told(pgconn.error_message.decode("utf-8", "replace")))
        # It may be another socket each time: libpq tries one address after the other.
        socket = pgconn.socket
        poll.register(socket, select.POLLIN if status == _POLL_READING else select.POLLOUT)
        ready = poll.poll(max(0.0, until - monotonic()) * 1000)
        poll.unregister(socket)
        if not ready:
            raise PostgresError("")


# libpq tells why it could not connect in words only; these are PostgreSQL's in English.
_WORDS = (
    ("login", ("authentication failed", "pg_hba.conf", "no password supplied", 'role "')),
    ("database", ('database "',)),
    ("setting", ("invalid value", "invalid connection option", "invalid integer", "weak sslmode")),
    ("certificate", ("certificate", "SSL", "TLS")),
)


def _told(text: str) -> str:
    if "too many" in text or "remaining connection slots" in text or "starting up" in text:
        return ""
    for told, words in _WORDS:
        if any(word in text for word in words):
            return told
    return ""
