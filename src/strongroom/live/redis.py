"""
Redis: a `redis.Redis`, or a `redis.asyncio.Redis`, that follows its connection.

The library takes each of its sessions from a pool. What it is given here stands before one pool of its own
for each content of the connection, so that whatever changes is followed, the host as well as the password.

Rules of this file:

1. A password is given to the library when it signs in and at no other time: its pools print what they hold.
2. A session is never cut while it is used, and not used again once the connection has changed.
3. Refused credentials are tried again once, if there are newer ones, and never by the library's own retries.
4. Where a server tells by itself to go elsewhere (its notices of maintenance), nobody goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import StrongroomError
from strongroom.live.families import loaded
from strongroom.live.fields import Options
from strongroom.live.reaching import cause_of
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

    from strongroom.live.around import Asked
    from strongroom.live.held import Held, Known
    from strongroom.live.trouble import Reason, Step
    from strongroom.model.connection import Connection

    Greet = Callable[[Any], Any]

__all__ = ["Login", "aclient", "arguments", "client", "greeting", "told"]

_PORT = 6379
_AGAIN = "strongroom_again"  # on a session that is tried once more
_NO_CLUSTER = "strongroom.client gives a client of a cluster; there is no asynchronous one"
_CHECKS = ("required", "optional", "none")
_NOT_ASKED = frozenset(
    (
        "connection_class",
        "connection_pool",
        "connection_pool_class",
        "credential_provider",
        "password",
        "redis_connect_func",
        "url",
        "username",
    )
)
"""Arguments of the constructor that following needs for itself."""


def client(held: Held, asked: Asked) -> object:
    """
    Give a `redis.Redis`, or a `redis.RedisCluster` where the connection says `cluster`.

    Raises:
        BackendConfigError: redis is not installed, or a field or an option cannot be read.
    """
    redis = loaded("redis", held, extra="redis")
    if _is_cluster(held):
        from strongroom.live import redis_cluster  # noqa: PLC0415 -- few are

        return redis_cluster.client(redis, held, asked)
    pool = _Pool(held, lambda login: _pool(redis, held, asked, login, greeting(held, login)))
    made = _class_of(redis.Redis, close=_closing(redis.Redis))(connection_pool=pool)
    made.auto_close_connection_pool = True  # it is closed with the client
    pool.ended = held.lasts(made, pool.disconnect)
    return made


async def aclient(held: Held, asked: Asked) -> object:
    """Give a `redis.asyncio.Redis`; of a cluster there is none. Raises as `client`."""
    redis = loaded("redis.asyncio", held, extra="redis")
    if _is_cluster(held):
        raise trouble("options", "unknown", name=held.name, detail="extra.cluster", hint=_NO_CLUSTER)
    pool = _AsyncPool(held, lambda login: _pool(redis, held, asked, login, _agreeting(held, login)))
    made = _class_of(redis.Redis, aclose=_aclosing(redis.Redis))(connection_pool=pool)
    made.auto_close_connection_pool = True
    pool.ended = held.lasts(made)  # without a loop nobody could wait for its sessions to end
    return made


def _class_of(kind: Any, **members: Callable[..., Any]) -> Any:  # noqa: ANN401 -- a class of the library's
    return type(kind.__name__, (kind,), members)


def _closing(kind: Any) -> Callable[..., None]:  # noqa: ANN401 -- as above
    """Give a `close` that ends the following, whatever the library's release does to its pool."""

    def close(self: Any) -> None:  # noqa: ANN401 -- as above
        kind.close(self)
        if getattr(self, "auto_close_connection_pool", False):
            self.connection_pool.close()

    return close


def _aclosing(kind: Any) -> Callable[..., Awaitable[None]]:  # noqa: ANN401 -- as above
    async def aclose(self: Any, close_connection_pool: bool | None = None) -> None:  # noqa: ANN401, FBT001
        await kind.aclose(self, close_connection_pool)
        if close_connection_pool or (close_connection_pool is None and self.auto_close_connection_pool):
            await self.connection_pool.aclose()

    return aclose


# --- what the connection says -------------------------------------------------------------------


def _is_cluster(held: Held) -> bool:
    return Options(held.name, held.known.connection).flag("cluster", default=False)


def arguments(held: Held, known: Known, asked: Asked) -> dict[str, Any]:
    """
    Give the constructor's arguments: where to, TLS, and what was asked for.

    Raises:
        BackendConfigError: a field cannot be read, or an option is one that following needs for itself.
    """
    connection = known.connection
    extra = Options(held.name, connection)
    for name in _NOT_ASKED.intersection(asked.options):
        raise trouble("options", "unknown", name=held.name, detail=name, hint="the connection says it")
    given: dict[str, Any] = {
        "host": connection.host or "localhost",
        "port": connection.port or _PORT,
        "db": int(extra.number("db", default=0)),
        "ssl": extra.flag("ssl", default=False),
    }
    if given["ssl"]:
        given |= _tls(held, extra)
    return {**given, **asked.options}


def _tls(held: Held, extra: Options) -> dict[str, Any]:
    checks = (extra.text("ssl_cert_reqs") or "required").lower().removeprefix("cert_")
    if checks not in _CHECKS:
        raise trouble("options", "malformed", name=held.name, detail="extra.ssl_cert_reqs")
    # Every certificate of the authority would do for this service if its name were not looked at.
    checks_name = extra.flag("ssl_check_hostname", default=True) and checks != "none"
    files = {name: extra.text(name) for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")}
    return {"ssl_cert_reqs": checks, "ssl_check_hostname": checks_name, **files}


def _pool(redis: ModuleType, held: Held, asked: Asked, login: Login, greet: Greet) -> Any:  # noqa: ANN401
    """Have the library make its pool for what *login* knows."""
    given = arguments(held, login.known, asked) | {"redis_connect_func": greet}
    if login.is_needed:
        given["credential_provider"] = login
    try:
        made = redis.Redis(**_without_notices(held, given))
    except TypeError:
        raise trouble("options", "unknown", name=held.name, detail="options") from None
    made.auto_close_connection_pool = False  # only its pool is used
    return made.connection_pool


def _without_notices(held: Held, given: dict[str, Any]) -> dict[str, Any]:
    try:
        notices = loaded("redis.maint_notifications", held, extra="redis")
    except StrongroomError:
        return given  # a release that has none
    return {"maint_notifications_config": notices.MaintNotificationsConfig(enabled=False)} | given


# --- signing in ---------------------------------------------------------------------------------


class Login:
    """
    Give the credentials for the sessions of one pool: those known now, if they are for the same place.

    A credential provider of the library's.

    Threads: safe.
    """

    __slots__ = ("_held", "known")

    def __init__(self, held: Held) -> None:
        self._held = held
        self.known = held.known

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to sign in with."""
        return bool(self.known.connection.login or self.known.connection.password)

    def get_credentials(self) -> tuple[str, ...]:
        """Give user and password, or the password alone: the library's word for it."""
        newest = self._held.known
        if newest.number != self.known.number and _is_same_place(newest.connection, self.known.connection):
            self.known = newest
        connection = self.known.connection
        password = connection.password.reveal() if connection.password else ""
        return (connection.login, password) if connection.login else (password,) if password else ()

    async def get_credentials_async(self) -> tuple[str, ...]:
        """Give the same."""
        return self.get_credentials()

    def renewed(self) -> bool:
        """Tell whether there are newer credentials for the same place than those refused; asks once."""
        newer = self._held.refreshed(self.known)
        return newer is not None and _is_same_place(newer.connection, self.known.connection)


def _is_same_place(one: Connection, other: Connection) -> bool:
    """Tell whether the two differ in nothing but who signs in: a password goes nowhere else."""
    return all(getattr(one, name) == getattr(other, name) for name in ("host", "port", "extra"))


def greeting(held: Held, login: Login, enter: Greet | None = None) -> Greet:
    """
    Give what signs a new session in, by *enter* or the library's own way, and once more after a refusal.

    A refusal is told as an error of ours, since the library would try again on its own; the rest is its own.
    """
    errors = loaded("redis.exceptions", held, extra="redis")

    def greet(session: Any) -> None:  # noqa: ANN401 -- the library's
        try:
            session.on_connect() if enter is None else enter(session)
            if not login.is_needed:  # whether a password is wanted shows at the first command
                session.send_command("PING", check_health=False)
                session.read_response()
        except errors.AuthenticationError as error:
            session.disconnect()
            if getattr(session, _AGAIN, False) or not login.renewed():
                raise told(held, error) from None
            _reconnected(session)

    return greet


def _reconnected(session: Any) -> None:  # noqa: ANN401 -- as above
    # The library ends a session that was refused. What it does to a new one it does twice here: at most,
    # it asks for a subscription again.
    setattr(session, _AGAIN, True)
    try:
        session.connect()
    finally:
        setattr(session, _AGAIN, False)


def _agreeting(held: Held, login: Login) -> Greet:
    """Give the same for asynchronous sessions."""
    from asyncio import to_thread  # noqa: PLC0415 -- who needs it has it loaded

    errors = loaded("redis.exceptions", held, extra="redis")

    async def greet(session: Any) -> None:  # noqa: ANN401 -- the library's
        try:
            await session.on_connect()
            if not login.is_needed:
                await session.send_command("PING", check_health=False)
                await session.read_response()
        except errors.AuthenticationError as error:
            await session.disconnect()
            if getattr(session, _AGAIN, False) or not await to_thread(login.renewed):
                raise told(held, error) from None
            await _areconnected(session)

    return greet


async def _areconnected(session: Any) -> None:  # noqa: ANN401 -- as above
    setattr(session, _AGAIN, True)
    try:
        await session.connect()
    finally:
        setattr(session, _AGAIN, False)


def told(held: Held, error: Exception) -> StrongroomError:
    """Give our error for one of the library's while it connected."""
    errors = loaded("redis.exceptions", held, extra="redis")
    if isinstance(error, errors.AuthenticationError):
        is_given = bool(held.known.connection.password)
        return trouble("authentication", "credentials" if is_given else "missing", name=held.name)
    found = cause_of(error)
    if found is not None:
        return trouble(*found, name=held.name)
    kinds: tuple[tuple[type[Exception], Step, Reason], ...] = (
        (errors.NoPermissionError, "authentication", "forbidden"),
        (errors.TimeoutError, "authentication", "timeout"),
        (errors.BusyLoadingError, "authentication", "unavailable"),
    )
    for kind, step, reason in kinds:
        if isinstance(error, kind):
            return trouble(step, reason, name=held.name)
    if isinstance(error, errors.ResponseError) and "DB index" in str(error):  # the answer to SELECT
        return trouble("read", "unknown", name=held.name)
    return trouble("authentication", "other", name=held.name)


# --- pools --------------------------------------------------------------------------------------


class _Before:
    """
    Stand before the library's pools: one for what is known now, and those that sessions are still out of.

    Args:
        held: the connection.
        make: has the library make a pool for a login.

    Threads: safe; no lock is held, so that a fork finds none. Two threads may each make a pool for the same
        content; what comes back to the one that is not kept is closed.
    """

    def __init__(self, held: Held, make: Callable[[Login], Any]) -> None:
        self._held = held
        self._make = make
        self._number = held.known.number
        self._login = Login(held)
        self._pool = make(self._login)
        self.ended: Callable[[], None] = _nothing

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- whatever else the library asks of its pool
        if name == "_pool":  # of one that is being copied
            raise AttributeError(name)
        return getattr(self._pool, name)

    def __repr__(self) -> str:
        return f"<pool of {self._held.name}>"

    def _renew(self) -> Any:  # noqa: ANN401 -- the library's
        """Make a pool for what is known now, if that is something else; give the one it replaces."""
        number = self._held.known.number
        if number == self._number:
            return None
        login = Login(self._held)
        before, self._pool, self._login, self._number = self._pool, self._make(login), login, number
        return before

    def _is_outdated(self) -> bool:
        """Tell whether something newer is known than what was tried last."""
        return self._held.known.number != self._login.known.number


class _Pool(_Before):
    def get_connection(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- the library's own
        """Give a session with what is known now."""
        try:
            return self._lent(*arguments, **options)
        except StrongroomError:
            if not self._is_outdated():
                raise
        return self._lent(*arguments, **options)  # it was refused, and leads elsewhere now

    def _lent(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- as above
        before = self._renew()
        if before is not None:
            before.disconnect(inuse_connections=False)
        pool = self._pool
        try:
            session = pool.get_connection(*arguments, **options)
        except _foreign(self._held) as error:
            if _is_exhausted(error):
                raise
            raise told(self._held, error) from None
        session.strongroom_pool = pool
        return session

    def release(self, session: Any) -> None:  # noqa: ANN401 -- the library's
        """Take a session back; one of a pool that was replaced ends."""
        pool = session.strongroom_pool
        pool.release(session)
        if pool is not self._pool:
            pool.disconnect(inuse_connections=False)

    def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 -- the library's
        """End the sessions."""
        self._pool.disconnect(inuse_connections)

    def close(self) -> None:
        """End the sessions and the following."""
        self.disconnect()
        self.ended()


class _AsyncPool(_Before):
    async def get_connection(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- the library's
        """Give a session with what is known now."""
        try:
            return await self._lent(*arguments, **options)
        except StrongroomError:
            if not self._is_outdated():
                raise
        return await self._lent(*arguments, **options)

    async def _lent(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- as above
        before = self._renew()
        if before is not None:
            await before.disconnect(inuse_connections=False)
        pool = self._pool
        try:
            session = await pool.get_connection(*arguments, **options)
        except _foreign(self._held) as error:
            if _is_exhausted(error):
                raise
            raise told(self._held, error) from None
        session.strongroom_pool = pool
        return session

    async def release(self, session: Any) -> None:  # noqa: ANN401 -- the library's
        """Take a session back; one of a pool that was replaced ends."""
        pool = session.strongroom_pool
        await pool.release(session)
        if pool is not self._pool:
            await pool.disconnect(inuse_connections=False)

    async def disconnect(self, inuse_connections: bool = True) -> None:  # noqa: FBT001, FBT002 -- as above
        """End the sessions."""
        await self._pool.disconnect(inuse_connections)

    async def aclose(self) -> None:
        """End the sessions and the following."""
        await self.disconnect()
        self.ended()


def _foreign(held: Held) -> tuple[type[Exception], ...]:
    """Give the library's errors while it connects."""
    errors = loaded("redis.exceptions", held, extra="redis")
    return (errors.RedisError, OSError)


def _is_exhausted(error: BaseException) -> bool:
    """Tell whether as many sessions are out as were asked for, which is no trouble of the connection."""
    return "Too many connections" in str(error)  # its own words; old releases have no error of its own


def _nothing() -> None:
    """End nothing."""
