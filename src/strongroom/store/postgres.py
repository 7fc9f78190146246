"""
A store in a PostgreSQL: its connections in each process, its one writer, its bell.

Rules of this file:

1. A read is one round trip of a prepared statement in autocommit, spoken through libpq itself: psycopg's
   own cursors take four times as long.
2. Whoever waits for the server does so for a bounded time, and can be interrupted; a session whose answer
   was not awaited is closed.
3. Writers come one after the other by the lock of one row, which counts them: a reader that finds another
   number than before knows that somebody committed.
4. libpq's messages quote addresses and statements: states and words of our own are all that leaves
   `postgres_session.py`, and what they mean is all that leaves this file.
5. Nothing is taken from libpq's own environment, files and defaults that decides whom we speak to:
   `postgres_address.py`.

Pooling by PgBouncer (1.21 or newer, `max_prepared_statements` on) works in its transaction mode: nothing
is set for a session.
"""

from __future__ import annotations

from contextlib import contextmanager
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
from strongroom.store.postgres_session import (
    READ_MILLISECONDS,
    PostgresError,
    PostgresSession,
    connected,
    reason_of,
)
from strongroom.store.server import ServerEngine, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg
    import sqlalchemy as sa

    from strongroom.model.secret import Secret
    from strongroom.store.engine import Connection

__all__ = ["PostgresEngine"]

_LONG_MILLISECONDS = 30_000  # `READ_MILLISECONDS` inside a transaction: a backup reads for longer
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
            session = cast("PostgresSession", connection)
            session.milliseconds = _LONG_MILLISECONDS
            try:
                session.run(
                    f"BEGIN; SET LOCAL lock_timeout = {_MIGRATE_LOCK_MILLISECONDS};"
                    # It idles while another session migrates.
                    " SET LOCAL idle_in_transaction_session_timeout = 0;"
                    f" SELECT pg_advisory_xact_lock({_LOCK})"
                )
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
            raise self.foreign()
        return str(found[0])

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
            raise self.translate(PostgresError(error.sqlstate or "", reason_of(str(error)))) from None
        finally:
            engine.dispose()

    # --- reading -------------------------------------------------------------------------------------

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        session = cast("PostgresSession", connection)
        session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        session.milliseconds = _LONG_MILLISECONDS
        try:
            yield
        finally:
            session.milliseconds = READ_MILLISECONDS
            session.end()

    def turn(self, connection: Connection) -> int:
        row = connection.execute(_BELL).fetchone()
        return 0 if row is None else (int(row[0]) << 64) + int(row[1])

    def bell(self) -> PostgresBell:
        return PostgresBell(self._listening, self.translate)

    def _listening(self) -> PostgresSession:
        try:
            session = cast("PostgresSession", self.connect())
            session.run(f"LISTEN {_CHANNEL}")
        except PostgresError as error:
            raise self.translate(error) from None
        return session

    # --- writing -------------------------------------------------------------------------------------

    def take_turn(self, session: Session) -> None:
        mine = cast("PostgresSession", session)
        mine.milliseconds = _LONG_MILLISECONDS
        if mine.run(_BEGIN) != b"UPDATE 1":
            mine.run(_FIRST_TURN)
            mine.run(_TURN)

    def commit(self, session: Session) -> None:
        mine = cast("PostgresSession", session)
        if mine.run(f"NOTIFY {_CHANNEL}; COMMIT") != b"COMMIT":
            raise PostgresError("25P02")  # a statement failed, and somebody went on nevertheless
        mine.milliseconds = READ_MILLISECONDS

    def resume_numbers(self, connection: Connection) -> None:
        connection.execute(_RESUME)

    def translate(self, error: Exception) -> StrongroomError:
        state = error.state if isinstance(error, PostgresError) else ""
        if state in _NOT_TEXT:
            return InvalidInputError("a text holds a character that the database of the store cannot keep")
        if state in _BUSY:
            return self.busy()
        if state.startswith(_UNIQUE_CLASS):
            return self.contradicting()
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
            connected(pgconn)
            pgconn.nonblocking = 1
        except self._driver.Error:
            pgconn.finish()
            raise PostgresError("") from None
        except BaseException:
            pgconn.finish()
            raise
        return PostgresSession(pgconn, self._driver.Error, self._driver.adapt.Transformer())

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
