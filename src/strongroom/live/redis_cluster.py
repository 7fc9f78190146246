"""
A Redis cluster: a `redis.RedisCluster` whose sessions follow the connection's user and password.

Which nodes there are is the cluster's own word, after those that the connection names, and the library keeps
a pool for each. A connection that leads to another cluster needs another client.

Rules of this file: those of `redis.py`. Nodes that do not answer are the library's own trouble, once it has
found the cluster: it asks the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import StrongroomError
from strongroom.live.families import loaded
from strongroom.live.fields import Options
from strongroom.live.redis import Login, arguments, greeting, told
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from strongroom.live.around import Asked
    from strongroom.live.held import Held

__all__ = ["client"]

_NUMBER = "strongroom_number"  # on a session: what was known when it was taken


def client(redis: ModuleType, held: Held, asked: Asked) -> object:
    """
    Give a client that has found its cluster.

    Raises:
        BackendConfigError: a field or an option cannot be read.
        AccessDeniedError: the cluster refused the credentials, or the user may not ask it for its nodes.
        BackendUnavailableError: no node answers.
    """
    given = _arguments(redis, held, asked)
    ends: list[Callable[[], None]] = []
    kind = _class_of(redis, held, lambda: [end() for end in ends])
    errors = loaded("redis.exceptions", held, extra="redis")
    try:
        made = kind(**given)
    except TypeError:
        raise trouble("options", "unknown", name=held.name, detail="options") from None
    except (errors.RedisError, errors.RedisClusterException, StrongroomError) as error:
        raise _ours(held, error) from None
    ends.append(held.lasts(made))
    return made


def _arguments(redis: ModuleType, held: Held, asked: Asked) -> dict[str, Any]:
    given = arguments(held, held.known, asked)
    host, port, is_tls = given.pop("host"), given.pop("port"), given.pop("ssl")
    if given.pop("db"):
        raise trouble("options", "malformed", name=held.name, detail="extra.db", hint="a cluster has one, 0")
    login = Login(held)
    given["startup_nodes"] = [redis.cluster.ClusterNode(*node) for node in _nodes(held)]
    # By an address the library takes a class of pools; neither user nor password stands in it.
    where = f"[{host}]" if ":" in host else host
    given["url"] = f"{'rediss' if is_tls else 'redis'}://{where}:{port}"
    given["connection_pool_class"] = _pool_class(redis, held)
    if login.is_needed:
        given["credential_provider"] = login
    return given


def _nodes(held: Held) -> list[tuple[str, int]]:
    text = Options(held.name, held.known.connection).text("startup_nodes") or ""
    found = []
    for node in filter(None, (part.strip() for part in text.split(","))):
        host, _, port = node.rpartition(":")
        if not host or not port.isascii() or not port.isdecimal():
            raise trouble("options", "malformed", name=held.name, detail="extra.startup_nodes")
        found.append((host.strip("[]"), int(port)))
    return found


def _class_of(redis: ModuleType, held: Held, closed: Callable[[], object]) -> Any:  # noqa: ANN401 -- a class
    """Give the library's class, with our way to sign in and an end of the following."""
    kind: Any = redis.RedisCluster

    def on_connect(self: Any, session: Any) -> None:  # noqa: ANN401 -- the library's
        login = session.credential_provider or Login(held)
        greeting(held, login, lambda entered: kind.on_connect(self, entered))(session)

    def close(self: Any) -> None:  # noqa: ANN401 -- the library's
        kind.close(self)
        closed()

    return type(kind.__name__, (kind,), {"on_connect": on_connect, "close": close})


def _pool_class(redis: ModuleType, held: Held) -> Any:  # noqa: ANN401 -- a class
    """Give the library's class of pools; no session of it is used again once the connection has changed."""
    kind: Any = redis.ConnectionPool

    def get_connection(self: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 -- the library's
        number = held.known.number
        if getattr(self, _NUMBER, number) != number:
            self.disconnect(inuse_connections=False)
        setattr(self, _NUMBER, number)
        session = kind.get_connection(self, *arguments, **options)
        setattr(session, _NUMBER, number)
        return session

    def release(self: Any, session: Any) -> None:  # noqa: ANN401 -- the library's
        if getattr(session, _NUMBER, None) != held.known.number:
            session.disconnect()
        kind.release(self, session)

    return type(kind.__name__, (kind,), {"get_connection": get_connection, "release": release})


def _ours(held: Held, error: Exception) -> StrongroomError:
    """Give our error for one with which looking for the cluster ended."""
    beneath: BaseException | None = error
    while beneath is not None:
        if isinstance(beneath, StrongroomError):
            return beneath
        beneath = beneath.__cause__ or beneath.__context__
    return told(held, error.__cause__ if isinstance(error.__cause__, Exception) else error)
