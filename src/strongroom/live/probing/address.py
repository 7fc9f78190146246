"""
Where a test may go: hosts, the addresses they lead to, and which of those may be asked.

Rules of this file:

1. A name is looked up once, and the address that was looked at is the one that every driver is led to.
2. What is listed are networks, or host names. A name that is listed may lead to public and private addresses;
   to loopback, link-local (where clouds answer with their credentials), multicast and unspecified ones only
   where a network lists those too. An address written in another way is the address it leads to.
3. Where a list is kept, a host that is none, one without an address and one that leads elsewhere are one
   answer, given after the same time, so that a test tells nothing of a network it may not ask.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, NoReturn

from strongroom.live.probing.failed import FailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Address = ipaddress.IPv4Address | ipaddress.IPv6Address
    Look = Callable[..., list[Any]]

__all__ = ["REFUSAL_SECONDS", "Pins", "is_host", "is_listed", "plain"]

REFUSAL_SECONDS = 2.0
"""After which an address is refused, whatever the reason."""
_PATIENCE_SECONDS = 1.8
_LONGEST = 253  # characters of a DNS name: RFC 1035 §2.3.4, without the root's dot
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: IPv4 behind a translator


def is_host(text: str) -> bool:
    """Tell whether *text* is one host: no socket's path, URI, list of hosts, zone or user-info is."""
    return 0 < len(text) <= _LONGEST and not any(
        character in text for character in "/\\@,;%?#[]= \t\r\n\0'\""
    )


def plain(address: Address) -> Address:
    """Give what an address leads to: one of IPv4 may be written as one of IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        return inner or address
    return address


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


class Pins:
    """
    The hosts of one test and the addresses they lead to, looked up once.

    Args:
        listed: what may be asked; None: everything.

    Threads: safe; at worst a host is looked up twice, and the first answer stays.
    """

    def __init__(self, listed: Sequence[str] | None) -> None:
        self._listed = listed
        self._look: Look = socket.getaddrinfo
        self._found: dict[str, tuple[str, ...]] = {}

    @property
    def is_limited(self) -> bool:
        """Only what is listed may be asked."""
        return self._listed is not None

    def pin(self, host: str) -> tuple[str, ...]:
        """
        Give the addresses of *host*, one at least; the same whenever it is asked for.

        Raises:
            FailedError: `address` where a list is kept and these are not of it; else `name`.
        """
        key = host.lower().rstrip(".")
        if key not in self._found:
            found = self._looked_up(host) if self._listed is None else self._allowed(host, self._listed)
            self._found.setdefault(key, found)
        return self._found[key]

    def prefer(self, host: str, address: str) -> None:
        """Lead every driver to *address*, which answers, and not to others of *host*."""
        self._found[host.lower().rstrip(".")] = (address,)

    def has(self, address: str) -> bool:
        """Tell whether a host of this test leads to *address*; a name is none, whoever looks it up."""
        try:
            asked = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(asked == ipaddress.ip_address(one) for found in self._found.values() for one in found)

    def _allowed(self, host: str, listed: Sequence[str]) -> tuple[str, ...]:
        begun = time.monotonic()
        found = _soon(lambda: self._addresses(host)) if is_host(host) else None
        if found and all(is_listed(host, plain(one), listed) for one in found):
            return tuple(map(str, found))
        time.sleep(max(0.0, begun + REFUSAL_SECONDS - time.monotonic()))
        raise FailedError("forbidden", step="address")

    def _looked_up(self, host: str) -> tuple[str, ...]:
        try:
            found = self._addresses(host)
        except socket.gaierror as error:
            is_for_now = error.errno == socket.EAI_AGAIN
            raise FailedError("unavailable" if is_for_now else "unknown", step="name") from None
        except (OSError, UnicodeError):
            raise FailedError("unknown", step="name") from None
        if not found:
            raise FailedError("unknown", step="name")
        return tuple(map(str, found))

    def _addresses(self, host: str) -> list[Address]:
        found = self._look(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        texts = dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found)
        return [ipaddress.ip_address(text) for text in texts]

    def lead(self, refuse: Callable[[], NoReturn]) -> None:
        """
        Have this process find no address but those of its pins, whichever library asks.

        Args:
            refuse: ends the process; called where a library asks for a host that is not listed, so that it
                cannot try another way.
        """
        look = self._look

        def led(host: Any, port: Any, *more: Any, **named: Any) -> list[Any]:  # noqa: ANN401 -- as getaddrinfo
            text = host.decode("idna") if isinstance(host, bytes) else host
            if not isinstance(text, str) or not text:
                return look(host, port, *more, **named)
            found: list[Any] = []
            for address in self._pinned(text, refuse):
                found += look(address, port, *more, **named)
            return found

        socket.getaddrinfo = led

    def _pinned(self, host: str, refuse: Callable[[], NoReturn]) -> tuple[str, ...]:
        try:
            return self.pin(host)
        except FailedError:
            if self.is_limited:
                refuse()
            raise socket.gaierror(socket.EAI_NONAME, "no address") from None


def _soon(look: Callable[[], list[Address]]) -> list[Address] | None:
    """Give what *look* gives; None where it fails or is too slow: the system's resolver has no deadline."""
    found: list[list[Address]] = []

    def run() -> None:
        try:
            found.append(look())
        except (OSError, UnicodeError):
            return

    thread = threading.Thread(target=run, name="strongroom name", daemon=True)
    thread.start()
    thread.join(_PATIENCE_SECONDS)
    return found[0] if found else None
