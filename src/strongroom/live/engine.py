"""
SQL databases: an `sqlalchemy.Engine`, or an `AsyncEngine`, whose sessions follow their connection.

Not for what SQLAlchemy is told of a connection (`dialect.py`), nor for who logs in (`login_token.py`).

Rules of this file:

1. The engine knows no password: each session is opened with the one that is known at that moment.
2. A pooled session of an older content is replaced when it is next checked out. Where the newer credentials
   are refused and lead to the same place, the older session goes on: a rotation may take its time.
3. Refused credentials are asked about once, and tried once more; errors of connecting are ours, errors of
   statements are SQLAlchemy's.
4. A session belongs to the process that opened it.
5. What is disposed of lets go of its connection when the last session that was out then is back.
"""

from __future__ import annotations

import os
import threading
import weakref
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from strongroom.errors import StrongroomError
from strongroom.live import dialect as dialects
from strongroom.live.families import loaded
from strongroom.live.login_token import Login, Logins
from strongroom.live.refusal import Refusal, closer, refusal_of
from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import TypeVar

    from strongroom.live.around import Asked
    from strongroom.live.held import Held, Known
    from strongroom.model.connection import Connection

    T = TypeVar("T")

__all__ = ["aclient", "client"]

_KEY = "strongroom"  # of a pooled session, in what SQLAlchemy keeps beside it
_PYMYSQL = "mysql+pymysql"
_GREETING_SECONDS = 10  # PyMySQL's own, for the machine to answer
_PATIENCE = timedelta(seconds=1)  # between two tries to replace a session whose successor is refused
_BRINGING = (
    "mssql",
    "redshift",
    "snowflake",
    "trino",
)  # types whose extra, of their name, brings SQLAlchemy too
_RESERVED = ("creator", "module", "pool", "plugins", "strategy", "_is_async", "_initialize")


def client(held: Held, asked: Asked) -> object:
    """
    Give an engine for the connection *held*; nothing is connected to yet.

    Raises:
        BackendConfigError: a library is missing, or an option or a field cannot be used.
    """
    return _made(held, asked, is_asynchronous=False)


async def aclient(held: Held, asked: Asked) -> object:
    """Give an `AsyncEngine`; where SQLAlchemy has no driver for `asyncio`, what `client` gives."""
    is_asynchronous = dialects.has_asynchronous(held.known.connection.conn_type)
    return _made(held, asked, is_asynchronous=is_asynchronous)


def _made(held: Held, asked: Asked, *, is_asynchronous: bool) -> object:
    conn_type = held.known.connection.conn_type
    extra = conn_type if conn_type in _BRINGING else "sql"
    sa = loaded("sqlalchemy", held, extra=extra)
    maker = sa
    if is_asynchronous:
        maker = loaded("sqlalchemy.ext.asyncio", held, extra=extra)
    release = int(sa.__version__.partition(".")[0])
    scheme = dialects.scheme_of(held, release, is_asynchronous=is_asynchronous).name
    connecting = _Connecting(held, asked, sa, scheme, is_asynchronous=is_asynchronous)
    make = maker.create_async_engine if is_asynchronous else maker.create_engine
    try:
        engine = make(connecting.url(), **connecting.options)
    except (TypeError, ValueError, ImportError, sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        refusal = _not_made(error, held, sa, scheme)
    else:
        connecting.attach(engine.sync_engine if is_asynchronous else engine)
        return engine
    raise refusal


def _not_made(error: Exception, held: Held, sa: ModuleType, scheme: str) -> StrongroomError:
    if isinstance(error, (ImportError, sa.exc.NoSuchModuleError)):
        return trouble("driver", "missing", name=held.name, detail=scheme)
    return trouble(
        "options", "unknown", name=held.name, hint="correct what options= says: create_engine's own"
    )


class _Session:
    """What is remembered of a pooled session."""

    __slots__ = ("connection", "is_fresh", "number", "process", "retry_at")

    def __init__(self, known: Known) -> None:
        self.connection = known.connection
        self.number = known.number
        self.process = os.getpid()
        self.is_fresh = True
        self.retry_at: datetime | None = None


class _Connecting:
    """Opens the sessions of one engine, and looks at each that is checked out."""

    def __init__(
        self, held: Held, asked: Asked, sa: ModuleType, scheme: str, *, is_asynchronous: bool
    ) -> None:
        self._held = held
        self._around = asked.around
        self._sa = sa
        self._scheme = scheme
        self._is_asynchronous = is_asynchronous
        self._logins = Logins(asked.around)
        # What comes next for a session that is being replaced.
        self._ready: dict[object, tuple[object, Known] | StrongroomError] = {}
        self._open = _Open()
        # Of each record of a pool that has opened a session; none holds its pool up.
        self._records: dict[int, weakref.ref[Any]] = {}
        self._ended: Callable[[], None] | None = None
        self._locks: dict[int, threading.Lock] = {}
        self.options = dict(asked.options)
        args: object = self.options.pop("connect_args", None) or {}
        if any(name in self.options for name in _RESERVED) or not isinstance(args, dict):
            raise trouble(
                "options",
                "unknown",
                name=held.name,
                hint=f"leave out {', '.join(_RESERVED[:3])} from options=",
            )
        self._args: dict[str, Any] = args

    def url(self) -> object:
        """Give the URL of the engine: where it leads, without a password and without what is asked of TLS."""
        connection = self._held.known.connection
        return self._url(self._told(connection, Login(connection.login, None)))

    @unframed
    def _told(self, connection: Connection, login: Login) -> dialects.Address:
        return dialects.address(self._held, connection, self._scheme, login, self._around)

    def _url(self, told: dialects.Address) -> Any:  # noqa: ANN401 -- of the SQLAlchemy that is there
        return self._sa.engine.URL.create(
            told.scheme,
            username=told.user,
            password=told.password,
            host=told.host,
            port=told.port,
            database=told.database,
            query=told.query,
        )

    def attach(self, engine: Any) -> None:  # noqa: ANN401 -- as above
        """Have *engine* open its sessions here; follow for as long as it is used."""
        self._engine = weakref.ref(engine)
        self._dialect = engine.dialect
        self._pool = weakref.ref(engine.pool)
        listen = self._sa.event.listen
        listen(engine, "do_connect", self._connect)
        listen(engine, "checkout", self._check_out)
        listen(engine, "engine_disposed", self._disposed)
        for event in ("close", "detach"):
            listen(engine, event, self._open.leave)
        self._begin()

    # --- its life ------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        engine = self._engine()
        if engine is not None:
            self._ended = self._held.lasts(engine, self._open.close)

    def _begin_again(self) -> None:
        """Hold the connection anew, once: since the disposal it may be held no more."""
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if self._ended is not None:
                return
            self._begin()
            if self._held.is_closed:
                self._held = self._around.held(self._held.ref.name, self._held.ref.team)
                self._begin()

    def _disposed(self, engine: Any) -> None:  # noqa: ANN401 -- as above
        pool, self._pool = self._pool(), weakref.ref(engine.pool)
        ended, self._ended = self._ended, None
        if ended is None:
            return
        if pool is not None and self._out():  # not before, since to listen costs each session that comes back
            self._sa.event.listen(pool, "checkin", self._open.back)
        self._open.when_back(self._out, partial(self._let_go, ended))

    def _out(self) -> set[int]:
        """Give which sessions of this process are out of their pools, by the driver's connection."""
        process = os.getpid()
        records = [record for found in list(self._records.values()) if (record := found()) is not None]
        return {
            id(record.dbapi_connection)
            for record in records
            if record.in_use and (session := record.info.get(_KEY)) is not None and session.process == process
        }

    def _let_go(self, ended: Callable[[], None]) -> None:
        self._open.is_disposed = True
        ended()
        self._open.is_disposed = False

    # --- sessions -----------------------------------------------------------------------------------------

    def _connect(self, dialect: Any, record: Any, _args: object, _kwargs: object) -> object:  # noqa: ANN401
        """Open a session for the pool; SQLAlchemy calls this instead of the driver."""
        if self._ended is None:  # it was disposed of, and is used again
            self._waited(self._begin_again)
        ready = self._ready.pop(record, None)
        if ready is None:
            ready = self._opened(dialect)
        if isinstance(ready, StrongroomError):
            raise ready from None
        opened, known = ready
        if not self._is_asynchronous:  # only a loop could close those
            self._open.add(opened)
        if record is not None:
            record.info[_KEY] = _Session(known)
            key = id(record)
            self._records[key] = weakref.ref(record, lambda _ended: self._records.pop(key, None))
        return opened

    def _opened(self, dialect: Any) -> tuple[object, Known]:  # noqa: ANN401
        """
        Open a session with what is known; once more with newer credentials, where these are refused.

        Raises:
            AccessDeniedError, BackendConfigError, BackendUnavailableError: there is none.
        """
        known = self._held.known
        found, login = self._tried(dialect, known)
        if isinstance(found, Refusal) and found.may_be_credentials:
            newer = self._waited(lambda: self._logins.newer(self._held, known, login))
            if newer is not None:
                known, (found, _) = newer, self._tried(dialect, newer)
        if isinstance(found, Refusal):
            raise trouble(found.step, found.reason, name=self._held.name) from None
        return found, known

    def _tried(self, dialect: Any, known: Known) -> tuple[object, Login]:  # noqa: ANN401
        """Give a session of the driver, or why there is none, and who logged in."""
        login = self._waited(lambda: self._logins.login(self._held, known.connection))
        told = self._told(known.connection, login)
        try:
            args, kwargs = dialect.create_connect_args(self._url(told))
            kwargs = {**kwargs, **told.args, **self._args}
            return self._spoken(dialect.connect(*args, **self._bounded(kwargs)), kwargs), login
        except (dialect.dbapi.Error, OSError, RuntimeError, *self._foreign()) as error:
            found = refusal_of(error)
            if self._scheme.startswith("postgresql"):
                found = self._waited(lambda: closer(found, told.host, told.port, told.args))
            return found, login
        except (TypeError, ValueError, LookupError, self._sa.exc.ArgumentError):
            return Refusal("options", "unknown"), login

    def _foreign(self) -> tuple[type[Exception], ...]:
        """Give what the driver raises beside what PEP 249 has."""
        if self._scheme != "trino":
            return ()
        return (loaded("trino.exceptions", self._held, extra="trino").HttpError,)

    def _bounded(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Have PyMySQL wait no longer for the greeting of a server than for its machine."""
        if self._scheme != _PYMYSQL:
            return kwargs
        return {"read_timeout": kwargs.get("connect_timeout", _GREETING_SECONDS), **kwargs}

    def _spoken(self, opened: Any, kwargs: dict[str, Any]) -> object:  # noqa: ANN401 -- a driver's
        """Give *opened* once the service has let it in."""
        if self._scheme == _PYMYSQL and "read_timeout" not in kwargs:
            opened._read_timeout = None  # noqa: SLF001 -- statements take their time; there is no other way
        if self._scheme == "trino":  # whose client says nothing to anybody before the first statement
            cursor = opened.cursor()
            cursor.execute("SELECT 1")
            cursor.fetchall()
        return opened

    def _waited(self, work: Callable[[], T]) -> T:
        """Do what may take its time; on a thread where a loop would wait."""
        if not self._is_asynchronous:
            return work()
        from asyncio import to_thread  # noqa: PLC0415 -- only where there is a loop

        result: T = self._sa.util.await_only(to_thread(work))
        return result

    def _check_out(self, _opened: object, record: Any, proxy: Any) -> None:  # noqa: ANN401
        """Look whether a session of the pool is still what its connection says; at most microseconds."""
        session: _Session | None = record.info.get(_KEY)
        if session is None:
            return
        if session.is_fresh:
            session.is_fresh = False
        elif session.process != os.getpid():
            # Its socket is the parent's as well: let go of it without a word to the server.
            record.dbapi_connection = proxy.dbapi_connection = None
            raise self._sa.exc.DisconnectionError
        elif session.number != self._held.known.number:
            self._follow(record, session)

    def _follow(self, record: Any, session: _Session) -> None:  # noqa: ANN401
        """Replace *session*, unless it means the same, or the newer credentials are refused yet."""
        known, now = self._held.known, self._around.now()
        if _means(known.connection) == _means(session.connection):
            session.number = known.number
            return
        if session.retry_at is not None and now < session.retry_at:
            return
        try:
            self._ready[record] = self._opened(self._dialect)
        except StrongroomError as error:
            is_refused = (getattr(error, "step", ""), getattr(error, "reason", "")) == (
                "authentication",
                "credentials",
            )
            if is_refused and _place(known.connection) == _place(session.connection):
                session.retry_at = now + _PATIENCE
                return
            self._ready[record] = error
        raise self._sa.exc.DisconnectionError


class _Open:
    """
    The driver's own connections of one engine: closed when nobody has the engine any more, and at the end.

    It holds neither engine nor pool, which hold each other: whoever holds one of them keeps it alive.
    """

    def __init__(self) -> None:
        self._opened: dict[int, tuple[int, Any]] = {}
        self._waiting: list[tuple[set[int], Callable[[], None]]] = []
        self.is_disposed = False

    def add(self, opened: Any) -> None:  # noqa: ANN401 -- a driver's
        self._opened[id(opened)] = os.getpid(), opened

    def leave(self, opened: Any, *_details: object) -> None:  # noqa: ANN401
        """Forget what the pool closes, or gives away."""
        self._opened.pop(id(opened), None)
        self.back(opened)

    def back(self, opened: object, *_details: object) -> None:
        """Take note that *opened* is out no more; close it, where its pool is disposed of and would not."""
        key = id(opened)
        for waiting in list(self._waiting) if self._waiting else ():
            if key in waiting[0]:
                waiting[0].discard(key)
                self._close(self._opened.pop(key, None))
            self._tell(waiting)

    def when_back(self, out: Callable[[], set[int]], call: Callable[[], None]) -> None:
        """Call *call* once what *out* gives now is back: at once, where that is nothing."""
        waiting = out(), call
        self._waiting.append(waiting)
        # What came back in between told nobody.
        waiting[0].intersection_update(out())
        self._tell(waiting)

    def _tell(self, waiting: tuple[set[int], Callable[[], None]]) -> None:
        if not waiting[0]:
            with suppress(ValueError):  # another thread was faster
                self._waiting.remove(waiting)
                waiting[1]()

    def close(self) -> None:
        """Close what this process has opened; what its parent has is the parent's to close."""
        if self.is_disposed:  # by SQLAlchemy, which leaves what is in use
            return
        while self._opened:
            self._close(self._opened.popitem()[1])

    def _close(self, held: tuple[int, Any] | None) -> None:
        if held is not None and held[0] == os.getpid():
            with suppress(Exception):  # the engine is gone, and who would hear of it too
                held[1].close()


def _means(connection: Connection) -> tuple[object, ...]:
    """Give what of *connection* a session depends on."""
    return (_place(connection), connection.login, connection.password)


def _place(connection: Connection) -> tuple[object, ...]:
    """Give where *connection* leads, whoever logs in."""
    return (
        connection.conn_type,
        connection.host,
        connection.port,
        connection.schema,
        connection.extra,
    )
