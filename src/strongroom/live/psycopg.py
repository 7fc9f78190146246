"""
PostgreSQL and Redshift by psycopg itself: a maker of connections that follows, without a pool.

    with strongroom.client("orders_db", driver="psycopg") as maker:
        with maker.connect() as connection:
            connection.execute("SELECT 1")

Rules of this file:

1. Each connection is opened with what is known at that moment, and never changed afterwards.
2. Refused credentials are asked about once, and tried once more; errors of connecting are ours, those of
   statements are psycopg's.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from strongroom.live.dialect import extra_of, libpq_args
from strongroom.live.families import loaded
from strongroom.live.login_token import Logins
from strongroom.live.refusal import Refusal, closer, refusal_of
from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed

if TYPE_CHECKING:
    from types import ModuleType, TracebackType

    from strongroom.live.around import Asked
    from strongroom.live.held import Held, Known
    from strongroom.live.login_token import Login

__all__ = ["AsyncMaker", "Maker", "aclient", "client"]

_FACTORIES = {"dictcursor": "dict_row", "realdictcursor": "dict_row", "namedtuplecursor": "namedtuple_row"}


def client(held: Held, asked: Asked) -> object:
    """
    Give a `Maker` for the connection *held*; nothing is connected to yet.

    Raises:
        BackendConfigError: psycopg is missing.
    """
    return Maker(held, asked, loaded("psycopg", held, extra="postgres"))


async def aclient(held: Held, asked: Asked) -> object:
    """Give an `AsyncMaker`, as `client`."""
    return AsyncMaker(held, asked, loaded("psycopg", held, extra="postgres"))


class _Connecting:
    """What both makers share."""

    def __init__(self, held: Held, asked: Asked, psycopg: ModuleType) -> None:
        self._held = held
        self._options = dict(asked.options)
        self._psycopg = psycopg
        self._logins = Logins(asked.around)
        self._opened: weakref.WeakSet[Any] = weakref.WeakSet()
        self._release = held.lasts(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._held.ref})"

    @unframed
    def _arguments(self, known: Known, more: dict[str, Any]) -> tuple[dict[str, Any], Login]:
        """Give what psycopg is told of *known*, and who logs in. May ask a cloud for a token."""
        connection = known.connection
        login = self._logins.login(self._held, connection)
        args = libpq_args(self._held, connection, login)
        default = 5439 if connection.conn_type == "redshift" else None
        said = {
            "host": connection.host,
            "port": login.port or connection.port or default,
            "user": login.user,
            "password": None if login.password is None else login.password.reveal(),
            "dbname": connection.schema or None,
        }
        if any(isinstance(value, str) and "\0" in value for value in said.values()):  # C cuts it short there
            raise trouble("options", "malformed", name=self._held.name, detail="a field with a NUL in it")
        found = {key: value for key, value in said.items() if value is not None and value != ""}
        return {**self._rows(known), **found, **args, **self._options, **more}, login

    def _holding(self, opened: Any) -> object:  # noqa: ANN401 -- psycopg's
        """Give *opened*, which holds its maker, and so its connection, for as long as somebody has it."""
        self._opened.add(opened)
        weakref.finalize(opened, _hold, self).atexit = False
        return opened

    def _let_go(self) -> None:
        """Follow for nobody but the connections that are open still."""
        for opened in list(self._opened):
            if not opened.closed:
                self._held.lasts(opened)
        self._release()

    def _rows(self, known: Known) -> dict[str, Any]:
        said = extra_of(known.connection).get("cursor")
        if not said:
            return {}
        factory = _FACTORIES.get(str(said).lower())
        if factory is None:
            raise trouble("options", "malformed", name=self._held.name, detail="extra.cursor")
        return {"row_factory": getattr(self._psycopg.rows, factory)}

    def _refused(self, error: Exception, arguments: dict[str, Any]) -> Refusal:
        if isinstance(error, (TypeError, ValueError)):
            return Refusal("options", "unknown")
        return closer(refusal_of(error), arguments.get("host"), arguments.get("port"), arguments)


def _hold(_maker: _Connecting) -> None:
    """Let go of a maker whose connection is gone."""


class Maker(_Connecting):
    """
    Makes connections of psycopg. A context manager: closed at the end, it follows no more.

    Threads: may be used from several threads at once, and after a fork.
    """

    def connect(self, **more: Any) -> Any:  # noqa: ANN401 -- psycopg.Connection of whatever rows
        """
        Give a new `psycopg.Connection`, to close oneself.

        Args:
            more: arguments of `psycopg.connect`, over what the connection says.

        Raises:
            AccessDeniedError, BackendConfigError, BackendUnavailableError: there is none; `step` and
                `reason` say why.
        """
        known = self._held.known
        found, login = self._tried(known, more)
        if isinstance(found, Refusal) and found.may_be_credentials:
            newer = self._logins.newer(self._held, known, login)
            if newer is not None:
                found, _ = self._tried(newer, more)
        if isinstance(found, Refusal):
            raise trouble(found.step, found.reason, name=self._held.name) from None
        return found

    def _tried(self, known: Known, more: dict[str, Any]) -> tuple[object, Login]:
        arguments, login = self._arguments(known, more)
        try:
            return self._holding(self._psycopg.connect(**arguments)), login
        except (self._psycopg.Error, OSError, TypeError, ValueError) as error:
            return self._refused(error, arguments), login

    def close(self) -> None:
        """Follow no more, but for the connections that are open and stay so. Safe to call twice."""
        self._let_go()

    def __enter__(self) -> Maker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncMaker(_Connecting):
    """
    Makes asynchronous connections of psycopg; `async with` closes it.

    Threads: as `Maker`.
    """

    async def connect(self, **more: Any) -> Any:  # noqa: ANN401 -- psycopg.AsyncConnection of whatever rows
        """Give a new `psycopg.AsyncConnection`; arguments and errors as `Maker.connect`."""
        from asyncio import to_thread  # noqa: PLC0415 -- who calls this has it loaded

        known = self._held.known
        found, login = await self._tried(known, more)
        if isinstance(found, Refusal) and found.may_be_credentials:
            newer = await to_thread(self._logins.newer, self._held, known, login)
            if newer is not None:
                found, _ = await self._tried(newer, more)
        if isinstance(found, Refusal):
            raise trouble(found.step, found.reason, name=self._held.name) from None
        return found

    async def _tried(self, known: Known, more: dict[str, Any]) -> tuple[object, Login]:
        from asyncio import to_thread  # noqa: PLC0415 -- as above

        arguments, login = await to_thread(self._arguments, known, more)
        try:
            return self._holding(await self._psycopg.AsyncConnection.connect(**arguments)), login
        except (self._psycopg.Error, OSError, TypeError, ValueError) as error:
            return await to_thread(self._refused, error, arguments), login

    async def close(self) -> None:
        """As `Maker.close`."""
        self._let_go()

    async def __aenter__(self) -> AsyncMaker:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
