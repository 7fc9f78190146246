"""
Testing whether the host of a connection can be reached by TCP. Off unless the settings switch it on.

What a driver would do with a connection is up to whoever wrote it, so no driver is started and nothing of the
connection but its host and port is used: no scheme, no option, no socket path (facts SS03, SS05).

Rules of this file:

1. Only what `server.test_networks` lists is asked: addresses in a network, or host names. A name that is
   listed may lead to public and private addresses, to loopback, link-local (where clouds answer with their
   credentials), multicast and unspecified ones only where a network lists those too.
2. A name is resolved once, and the address that was looked at is the one that is connected to.
3. Every answer takes the same time and says one of two things, so that it tells no more about a network
   than that; one actor gets five a minute.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from strongroom import catalog
from strongroom.errors import AccessDeniedError, InvalidInputError, RateLimitedError
from strongroom.policy import Action
from strongroom.server.limits import Buckets, Rate
from strongroom.service.trials import SERVER, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strongroom.model.connection import Connection
    from strongroom.model.ref import Ref
    from strongroom.server.endpoint import Call
    from strongroom.service.entries import Described

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address

__all__ = ["ANSWER_SECONDS", "is_listed", "is_on", "reached", "tried"]

ANSWER_SECONDS = 2.0
_PATIENCE_SECONDS = 1.8
_AT_ONCE = 4
_PER_MINUTE = 5
_MAX_PORT = 65_535


def tried(call: Call, ref: Ref) -> Trial:
    """
    Test the connection *ref* as it is stored, and keep how it went.

    Raises:
        AccessDeniedError: tests are switched off here, or not this actor's.
        InvalidInputError: it is no connection.
        NotFoundError: there is none.
        RateLimitedError: too many tests.
    """
    if not is_on(call):
        raise AccessDeniedError(
            "testing connections is switched off here",
            reason="settings",
            hint="server.test_connections = true",
        )
    if ref.kind != "connection":
        raise InvalidInputError("only a connection can be tested")
    found: list[Described] = []

    def find() -> Connection | None:
        found.append(call.room.entries.describe(ref))
        return found[0].connection

    is_reached = reached(call, ref, find)
    trial = Trial(
        at=datetime.now(timezone.utc),
        by=call.identity.actor.id,
        place=SERVER,
        is_reached=is_reached,
        version=found[0].version if found else None,
    )
    call.place.trials.keep(found[0].ref if found else ref, trial)
    return trial


def is_on(call: Call) -> bool:
    """Tell whether connections may be tested here at all."""
    return call.house.settings.server.test_connections


def reached(call: Call, ref: Ref, find: Callable[[], Connection | None]) -> bool:
    """
    Tell whether the host of a connection can be reached; the answer takes the same time whatever it is.

    Args:
        call: the request; its actor must be allowed to test *ref*.
        ref: the connection.
        find: gives what is stored or said of it, once that is allowed.

    Raises:
        AccessDeniedError: the actor may not test *ref*.
        RateLimitedError: too many tests.
        Whatever *find* raises.
    """
    with _one_turn():
        begun = time.monotonic()
        is_reached = _tested(call, ref, find)
        time.sleep(max(0.0, begun + ANSWER_SECONDS - time.monotonic()))
    return is_reached


@contextmanager
def _one_turn() -> Iterator[None]:
    """Hold one of the few turns: a test keeps a thread of the server waiting."""
    if not _TURNS.acquire(blocking=False):
        raise RateLimitedError(
            "other tests are under way",
            retry_after=timedelta(seconds=ANSWER_SECONDS),
            hint="wait and try again",
        )
    try:
        yield
    finally:
        _TURNS.release()


def _tested(call: Call, ref: Ref, find: Callable[[], Connection | None]) -> bool:
    actor = call.identity.actor
    listed = call.house.settings.server.test_networks

    def work() -> bool:
        _ALLOWANCE.take((call.deployment, actor.id))
        connection = find()
        target = None if connection is None else _target(connection)
        return target is not None and _asked(*target, listed)

    return call.place.guard.act(actor, Action.TEST, ref, work)


def _asked(host: str, port: int, listed: Sequence[str]) -> bool:
    until = time.monotonic() + _PATIENCE_SECONDS
    # The system's resolver has no deadline of its own, so it is waited for from here.
    flight = _RESOLVING.submit(_resolved, host, port)
    try:
        addresses = flight.result(_PATIENCE_SECONDS)
    except (FutureTimeoutError, OSError, UnicodeError):
        return False
    if not addresses or not all(is_listed(host, address, listed) for address in addresses):
        return False
    try:
        with socket.create_connection((str(addresses[0]), port), max(0.05, until - time.monotonic())):
            return True
    except OSError:
        return False


def _resolved(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    texts = dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found)
    return [_plain(ipaddress.ip_address(text)) for text in texts]


def _plain(address: Address) -> Address:
    """Give what an address leads to: one of IPv4 may be written as one of IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        return inner or address
    return address


_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: IPv4 behind a translator


def is_listed(host: str, address: Address, listed: Sequence[str]) -> bool:
    """Tell whether *address*, to which *host* leads, may be asked."""
    is_named = False
    for one in listed:
        try:
            network = ipaddress.ip_network(one, strict=False)
        except ValueError:
            is_named = is_named or one.lower().rstrip(".") == host.lower().rstrip(".")
            continue
        if address.version == network.version and address in network:
            return True
    is_special = (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
    )
    return is_named and not is_special


def _target(connection: Connection) -> tuple[str, int] | None:
    host = connection.host or ""
    port = connection.port or _default_port(connection.conn_type)
    if not host or port is None or not 0 < port <= _MAX_PORT or len(host) > 255:  # noqa: PLR2004 -- the longest DNS name
        return None
    # A socket path, a URI, several hosts, a zone: nothing of that is one host.
    if any(character in host for character in "/\\@,;%?#[] \t\r\n\0"):
        return None
    return host, port


def _default_port(conn_type: str | None) -> int | None:
    found = catalog.find(conn_type or "")
    field = None if found is None else found.standard_field("port")
    return field.default if field is not None and isinstance(field.default, int) else None


class _Allowance:
    """Five tests a minute for each actor."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets = Buckets(Rate(_PER_MINUTE / 60, _PER_MINUTE), "of tests of one identity")

    def take(self, who: tuple[str, str]) -> None:
        """
        Take one.

        Raises:
            RateLimitedError: there is none left now.
        """
        with self._lock:
            self._buckets.take(who)


_ALLOWANCE = _Allowance()
_TURNS = threading.Semaphore(_AT_ONCE)
_RESOLVING = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="strongroom-resolve")
