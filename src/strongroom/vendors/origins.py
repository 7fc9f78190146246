"""
The hardened HTTP client for SDKs: they sign and log in, our `Transport` carries.

An SDK asks whole urls, of its service and of whoever it logs in with. `Origins` keeps one `Transport` for
each origin (scheme, host and port) it is asked for, all with the same bounds.

Rules of this file:

1. What holds for a `Transport` holds here: no redirect, no proxy of the environment, bounded answers,
   deadlines, a circuit and one retry in ten. The SDK's own retries are to be turned off.
2. Headers that say how bytes travel are left to the transport; what an SDK says of them is dropped.
3. What authenticates a request is handed on as a Secret, so that no frame shows it.
4. A vendor has few origins: more than `MAX_ORIGINS` is refused, so that no answer can make us ask the world.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import urlsplit

from strongroom.errors import BackendUnavailableError
from strongroom.model.secret import Secret
from strongroom.vendors.transport import Transport, TransportOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta
    from pathlib import Path

    from typing_extensions import Unpack

    from strongroom.vendors.http1 import Reply

__all__ = ["MAX_ORIGINS", "Bounds", "Origins"]

MAX_ORIGINS = 16
_OURS = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "expect",
        "te",
        "upgrade",
        "user-agent",
    )
)
_SECRET = ("authorization", "token", "key", "secret", "cookie", "assertion")  # parts of names of headers


class Bounds(TypedDict, total=False):
    """What `Origins` may be given: the members of `TransportOptions` that do not say where."""

    timeout: timedelta
    total_timeout: timedelta | None
    ca: Path | None
    client_cert: Path | None
    client_key: Path | None
    verify: bool
    max_body_bytes: int
    is_answer: Callable[[Reply], bool]


class Origins:
    """
    Carry the requests of one vendor's SDK.

    Args:
        place: the backend's name, for messages and logs.
        clock: as of `Transport`.
        bounds: as of `TransportOptions`, for every origin.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(
        self, place: str, *, clock: Callable[[], float] = time.monotonic, **bounds: Unpack[Bounds]
    ) -> None:
        self._place = place
        self._bounds = bounds
        self._clock = clock
        self._is_closed = False
        # `setdefault` is atomic: of two threads that make the same one, both get the first.
        self._transports: dict[str, Transport] = {}
        TransportOptions(place=place, url="http://localhost", **bounds)  # what cannot be is said at once

    def __repr__(self) -> str:
        return f"Origins({self._place!r})"

    @property
    def is_circuit_open(self) -> bool:
        """Whether one of the origins is not asked for a while, because it failed."""
        return any(transport.is_circuit_open for transport in tuple(self._transports.values()))

    @property
    def certificate_ends(self) -> datetime | None:
        """When the first of the servers' certificates ends (UTC); None while none was seen."""
        every = (transport.certificate_ends for transport in tuple(self._transports.values()))
        return min((ends for ends in every if ends is not None), default=None)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str | bytes | Secret[str]],
        body: bytes | str | Secret[bytes] | None = None,
        *,
        is_repeatable: bool = True,
    ) -> Reply:
        """
        Ask once and give the answer, whatever its status is.

        Args:
            method: capital letters.
            url: whole, escaped; its fragment is dropped.
            headers: as the SDK gives them; names in any case, values as text or bytes.
            body: text is sent as UTF-8.
            is_repeatable: as of `Transport.request`.

        Raises:
            As `Transport.request`; BackendConfigError also for a url that is none.
        """
        parts = urlsplit(url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        data = body.encode() if isinstance(body, str) else body
        return self.at(f"{parts.scheme}://{parts.netloc.lower()}").request(
            method,
            path,
            headers={name: _shielded(name, value) for name, value in headers.items() if not _is_ours(name)},
            body=Secret(data) if isinstance(data, (bytes, bytearray)) else data,
            is_repeatable=is_repeatable,
        )

    def at(self, origin: str) -> Transport:
        """
        Give the transport to `http(s)://host[:port]`, the same one each time.

        Raises:
            BackendConfigError: it is no origin.
            BackendUnavailableError: closed, or there are `MAX_ORIGINS` others.
        """
        found = self._transports.get(origin)
        if found is not None:
            return found
        if self._is_closed or len(self._transports) >= MAX_ORIGINS:
            why = "is closed" if self._is_closed else f"would ask more than {MAX_ORIGINS} servers"
            raise BackendUnavailableError(f"the backend {self._place} {why}", backend=self._place)
        options = TransportOptions(place=self._place, url=origin, **self._bounds)
        return self._transports.setdefault(origin, Transport(options, clock=self._clock))

    def close(self) -> None:
        """Close what is at rest and refuse further requests. Safe to call twice."""
        self._is_closed = True
        for transport in tuple(self._transports.values()):
            transport.close()


def _is_ours(name: str) -> bool:
    return name.lower() in _OURS


def _shielded(name: str, value: str | bytes | Secret[str]) -> str | Secret[str]:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    if isinstance(text, str) and any(part in name.lower() for part in _SECRET):
        return Secret(text)
    return text
