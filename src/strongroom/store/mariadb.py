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
import socket
import ssl
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from strongroom.errors import (
    BackendConfigError,
    ReadOnlyError,
    StrongroomError,
)
from strongroom.store.server import ServerEngine, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import sqlalchemy as sa

    from strongroom.model.secret import Secret
    from strongroom.store.engine import Connection

__all__ = ["MariadbEngine"]

_CONNECT_SECONDS = 2.0  # below the 3 s a backend has
_LOCK_SECONDS = 2  # whole seconds are all that InnoDB takes
_READ_SECONDS = 2.5  # without a byte from the server; below the 3 s a backend has
_LONG_SECONDS = 30.0  # the same, inside a transaction: a move reads, and a batch writes, for longer
_MAX_CONNECTIONS = 32  # of one process: a server takes 151 unless told otherwise
_LEAST_PACKET = 4_194_304  # 4 MiB: a value of 1 MiB, sealed, each byte of it escaped
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
_REFUSED = (1045, 1698, 1130, 1251, 4151)  # user, password, host, or an account that is locked
_EXPIRED = (1820, 1862)
_NO_WAY_IN = 2059  # a way to log in that is not to be had here
_CLEAR = 2061  # the password is asked for in clear
_NO_DATABASE = (1044, 1049)
_MAY_NOT = (1142, 1143, 1227, 1370)
_BUSY = (1020, 1205, 1213)
_READ_ONLY = (1290, 1792, 1836)
_CONTRADICTS = (1062, 1048, 1451, 1452)
_FULL = (1021, 1114, 3)
_NO_ROOM = (1040, 1203, 1226)
_NOT_OURS = (1146, 1054)
_BY_STATEMENT = 1665
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

    def __str__(self) -> str:
        """Give it for people, without a user."""
        if self.socket is not None:
            return f"mariadb:///{self.database}?unix_socket={self.socket}"
        host = f"[{self.host}]" if ":" in (self.host or "") else self.host
        return f"mariadb://{host}:{self.port}/{self.database}"


class MariadbEngine(ServerEngine):
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
        at = _address(place)
        super().__init__(name=name, address=str(at), most=_MAX_CONNECTIONS)
        self._at = at
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

    # --- the tables as a whole -----------------------------------------------------------------------

    @contextmanager
    def creating(self) -> Iterator[None]:
        # A session's lock, which ends with it: a migration commits several times.
        with self.lent() as connection:
            cast("_Session", connection).wait(_LONG_SECONDS)
            taken = connection.execute(
                "SELECT GET_LOCK(CONCAT('strongroom/', DATABASE()), ?)", (_LOCK_SECONDS * 5,)
            )
            if taken.fetchone()[0] != 1:
                raise self.busy()
            try:
                yield
            finally:
                with suppress(*self.errors):
                    connection.execute("SELECT RELEASE_LOCK(CONCAT('strongroom/', DATABASE()))")
                cast("_Session", connection).wait(_READ_SECONDS)

    def prepare(self) -> str | None:
        return self.revision()

    def revision(self) -> str | None:
        with self.lent() as connection:
            names = connection.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
            ).fetchall()
            if not names:
                return None
            if ("schema_revision",) not in names:
                raise self.foreign()
            row = connection.execute("SELECT version_num FROM schema_revision").fetchone()
            return None if row is None else str(row[0])

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
        super().start()
        with self.lent() as connection:
            most = connection.execute("SELECT @@max_allowed_packet").fetchone()[0]
        if int(most) < _LEAST_PACKET:
            # A larger statement only ends its session, which looks like a server that is away.
            raise BackendConfigError(
                f"the database of the store {self.name} takes no statement as large as a value may be",
                hint=f"max_allowed_packet = {_LEAST_PACKET} or more; 16 MiB is usual",
            )

    # --- reading -------------------------------------------------------------------------------------

    def connect(self) -> Session:
        return _Session(self._connected())

    def is_lost(self, error: Exception) -> bool:
        return _number(error) in _GONE

    @contextmanager
    def snapshot(self, connection: Connection) -> Iterator[None]:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        cast("_Session", connection).wait(_LONG_SECONDS)
        try:
            yield
        finally:
            cast("_Session", connection).end()

    def turn(self, connection: Connection) -> int:
        row = connection.execute(_BELL).fetchone()
        return 0 if row is None else int(row[0])

    # --- writing -------------------------------------------------------------------------------------

    def take_turn(self, session: Session) -> None:
        cast("_Session", session).wait(_LONG_SECONDS)
        session.execute("START TRANSACTION")
        if not session.execute(_TURN).rowcount:
            session.execute(_FIRST_TURN)
            session.execute(_TURN)

    def commit(self, session: Session) -> None:
        session.execute("COMMIT")
        cast("_Session", session).wait(_READ_SECONDS)

    def translate(self, error: Exception) -> StrongroomError:
        number = _number(error)
        if number in _BUSY:
            return self.busy()
        if number in _CONTRADICTS:
            return self.contradicting()
        if number in _READ_ONLY:
            return ReadOnlyError(
                f"the database of the store {self.name} cannot be written", hint="ask who runs it"
            )
        if number in _MISCONFIGURED:
            what, hint = _MISCONFIGURED[number]
            return BackendConfigError(f"the database of the store {self.name} {what}", hint=hint)
        return self.unavailable(_REASONS.get(number, "gives no answer"))

    def _connected(self) -> Any:  # noqa: ANN401 -- PyMySQL comes without types
        at = self._at
        found: dict[str, Any] = {"ssl_disabled": True} if at.tls is None else {"ssl": _tls(at.tls)}
        if self._password is not None:
            found["password"] = self._password().reveal().encode()  # PyMySQL would take text for Latin-1
        made = self._driver.connect(
            **found,
            host=at.host or "localhost",
            user=at.user,
            database=at.database,
            charset="utf8mb4",
            autocommit=True,
            read_timeout=_READ_SECONDS,
            write_timeout=_READ_SECONDS,
            init_command=_INIT,
            local_infile=False,  # a server could ask for our files
            # How many rows were found, not how many of them differed.
            client_flag=self._driver.constants.CLIENT.FOUND_ROWS,
            auth_plugin_map={} if at.tls is not None else {"mysql_clear_password": self._clear_refused},
            defer_connect=True,
        )
        # Its own way leaves its end open to the garbage collector where nobody listens.
        opened = _opened(at)
        try:
            made.connect(opened)
        except RuntimeError:  # PyMySQL, of a package that a way to log in would need
            opened.close()
            raise self._driver.err.OperationalError(_NO_WAY_IN, "") from None
        except BaseException:
            opened.close()
            raise
        return made

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
    **dict.fromkeys(_EXPIRED, ("wants another password of its user", "give the user a new one there")),
    _NO_WAY_IN: (
        "asks for a way to log in that is not known here",
        "identify its user by a password (mysql_native_password)",
    ),
    _BY_STATEMENT: ("repeats statements where rows are meant", "binlog_format = MIXED or ROW"),
    _CLEAR: ("asks for the password in clear", "let its user log in another way, or speak TLS: ssl_ca=FILE"),
}
_REASONS = {
    **dict.fromkeys(_FULL, "has no room left on its disk"),
    **dict.fromkeys(_NO_ROOM, "has no connection left"),
    _TLS: "cannot be spoken to as TLS is set",
}


class _Session(Session):
    """One session, asked as sqlite3's own connection is."""

    def __init__(self, session: Any) -> None:  # noqa: ANN401 -- PyMySQL comes without types
        super().__init__()
        self._session = session

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> _Cursor:
        cursor = self._session.cursor()
        self._ask(cursor.execute, _spelled(sql), _given(sql, parameters))
        return _Cursor(cursor)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> _Cursor:
        cursor = self._session.cursor()
        self._ask(cursor.executemany, _spelled(sql), [_given(sql, each) for each in parameters])
        return _Cursor(cursor)

    def _ask(self, ask: Callable[[str, Any], object], sql: str, parameters: object) -> None:
        try:
            ask(sql, parameters)
        except BaseException as error:
            # Lost, or interrupted while the answer was on its way: nobody else may take it for his.
            if not isinstance(error, Exception) or _number(error) in _GONE:
                self.is_broken = True
            raise

    def wait(self, seconds: float) -> None:
        """Wait so long for every answer from now on."""
        self._session._read_timeout = self._session._write_timeout = seconds  # noqa: SLF001 -- it has no other way

    def end(self) -> None:
        """Undo the transaction; a session that cannot is not used again."""
        self.wait(_READ_SECONDS)
        if self.is_broken:
            return
        try:
            self.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 -- whatever it was, the session is of no use any more
            self.is_broken = True

    def close(self) -> None:
        with suppress(Exception):
            if self.is_broken:
                self._session._force_close()  # noqa: SLF001 -- without waiting for who is gone
            else:
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


def _opened(at: _Address) -> socket.socket:
    if at.socket is None:
        opened = socket.create_connection((at.host or "", at.port), _CONNECT_SECONDS)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return opened
    opened = socket.socket(socket.AF_UNIX)
    try:
        opened.settimeout(_CONNECT_SECONDS)
        opened.connect(at.socket)
    except BaseException:
        opened.close()
        raise
    return opened


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
