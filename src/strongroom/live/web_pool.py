"""The connections of one client over HTTP, a pool for each way to a service, and when they end."""

from __future__ import annotations

import os
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed
from strongroom.live.web import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Pool", "Pools", "context_of"]

_MAX_FILES = 1_000  # of a folder of authorities
_MAX_FILE_BYTES = 16 * 1024 * 1024

T = TypeVar("T")

_ANY = Way()


class Pool(Generic[T]):
    """One transport of the library's own, and how many answers over it are still read."""

    def __init__(self, inner: T) -> None:
        self.inner = inner
        self.users = 0
        self.is_retired = False


class Pools(Generic[T]):
    """
    Keep the transports of one client.

    Args:
        name: of the connection.
        make: the library's own transport, for one way.
        options: for *make*; a `transport` among them is used in its place.

    Threads: safe. After a fork the child has none of its parent's.
    """

    def __init__(self, name: str, make: Callable[..., T], options: Mapping[str, Any]) -> None:
        self._name = name
        self._make = make
        self._options = dict(options)
        self._pools: dict[tuple[Way, str | None], Pool[T]] = {}
        self._begin()

    @unframed
    def take(self, way: Way, scheme: str, host: str) -> tuple[Pool[T], list[T]]:
        """Give the pool for a request, and the transports that have to be closed: of ways that changed."""
        if self._process != os.getpid():
            self._begin()
        if "transport" in self._options:  # the caller's own, whatever the connection says of the way
            way = _ANY
        key = way, way.proxy_for(scheme, host)
        with self._lock:
            closing = self._retired(way)
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = Pool(self._made(*key))
            pool.users += 1
        return pool, closing

    def give_back(self, pool: Pool[T]) -> bool:
        """Take note that an answer was read; tells whether the pool has to be closed."""
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            pool.users -= 1
            return pool.is_retired and pool.users == 0

    def end(self) -> list[T]:
        """Give all transports, to be closed; none in a forked child, where they are the parent's."""
        if self._process != os.getpid():
            self._begin()
        with self._lock:
            pools, self._pools = list(self._pools.values()), {}
        return [pool.inner for pool in pools]

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()  # another thread of the parent may have held its one
        self._pools = {}

    def _retired(self, way: Way) -> list[T]:
        ended = []
        for key in [key for key in self._pools if key[0] != way]:
            pool = self._pools.pop(key)
            pool.is_retired = True
            if pool.users == 0:
                ended.append(pool.inner)
        return ended

    def _made(self, way: Way, proxy: str | None) -> T:
        options = dict(self._options)
        given: T | None = options.pop("transport", None)
        if given is not None:
            return given
        verify = options.pop("verify", None) or context_of(way, self._name)
        try:
            return self._make(verify=verify, proxy=proxy, trust_env=False, **options)
        except ImportError:  # SOCKS and HTTP/2 are extras of the library's
            raise trouble(
                "driver", "missing", name=self._name, hint="pip install 'httpx2[socks,http2]'"
            ) from None


def context_of(way: Way, name: str) -> ssl.SSLContext:
    """
    Give TLS as *way* says it: 1.2 or newer; nothing falls back to the system's authorities.

    Raises:
        BackendConfigError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name from the start
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if not way.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif way.ca is None:
            context.load_default_certs()
        else:
            _trust(context, Path(way.ca))
        if way.cert is not None:
            # A password is given so that an encrypted key fails here and does not ask at the terminal.
            context.load_cert_chain(way.cert, way.key, password="")
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise trouble("tls", "malformed", name=name) from None
    return context


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    # Every file of a folder, whatever it is called: OpenSSL itself would take only names that are hashes.
    files = sorted(path for path in ca.iterdir() if path.is_file())[:_MAX_FILES] if ca.is_dir() else [ca]
    for path in files:
        with path.open("rb") as stream:
            context.load_verify_locations(cadata=stream.read(_MAX_FILE_BYTES).decode("ascii", "ignore"))
    if not context.cert_store_stats()["x509_ca"]:
        raise ValueError("no authority")
