"""
One connection to one place: TCP, TLS around it where the url says so, and an end to every wait.

Sockets never block: each wait is a `poll` with what is left of the time, so one deadline holds for
connecting, the handshake, every byte sent and every byte received.
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from strongroom.vendors.http1 import Failure, is_ambiguous

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.vendors.tls import Trust, Tunnel

__all__ = ["Address", "Deadline", "Stream", "connect"]

_RECEIVE_BYTES = 65_536
_MAX_ADDRESSES = 8  # of one host name
# No user, query or fragment; the host as DNS or an address spells it.
_URL = re.compile(
    r"(https?)://(?P<host>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<base>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*)",
    re.IGNORECASE,
)
_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """
    Where a url points.

    Args:
        is_tls: it begins with https.
        host: name or address, without brackets.
        port: 1 to 65535.
        authority: what the Host header says.
        base: the path all others stand below, without a slash at its end; "" for none.
    """

    is_tls: bool
    host: str
    port: int
    authority: str
    base: str

    @classmethod
    def of(cls, url: str) -> Address | None:
        """Give the address of `http(s)://host[:port][/base]`; None for anything else."""
        found = _URL.fullmatch(url)
        if found is None or is_ambiguous(found["base"]):
            return None
        scheme, host = found[1].lower(), found["host"]
        port = int(found["port"] or _PORTS[scheme])
        if not 0 < port < 65_536:  # noqa: PLR2004 -- RFC 9293 §3.1: 16 bits
            return None
        authority = host if port == _PORTS[scheme] else f"{host}:{port}"
        return cls(scheme == "https", host.strip("[]"), port, authority, found["base"].rstrip("/"))


class Deadline:
    """
    How long may still be waited.

    Args:
        total_seconds: from now, for all waits together.
        step_seconds: for each one.
        is_fair: long enough that whoever is late by it is slow.
    """

    __slots__ = ("_ends_at", "_step", "_total", "is_fair")

    def __init__(self, total_seconds: float, step_seconds: float, *, is_fair: bool = True) -> None:
        self.is_fair = is_fair
        self._total = total_seconds
        self._step = step_seconds
        self._ends_at = time.monotonic() + total_seconds

    def seconds(self) -> float:
        """
        Give how long the next wait may take.

        Raises:
            Failure: the time is over.
        """
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise self.failure()
        return min(left, self._step)

    def failure(self) -> Failure:
        """Give what to raise when a wait has taken all it may."""
        seconds = self._total if time.monotonic() >= self._ends_at else self._step
        return Failure(
            f"gave no whole answer within {seconds:.3g} s",
            hint="check how busy it is, or raise timeout",
            is_timeout=True,
        )


class Stream:
    """
    One connection. Used by one thread at a time; closed by whoever has it.

    Attributes:
        rested_at: when it was last put aside, by the clock of who did.
    """

    __slots__ = ("_deadline", "_has_answered", "_in", "_out", "_socket", "_tls", "rested_at")

    def __init__(self, plain: socket.socket, deadline: Deadline) -> None:
        self.rested_at = 0.0
        self._deadline = deadline
        self._has_answered = False
        self._socket = plain
        self._tls: Tunnel | None = None
        self._in, self._out = select.poll(), select.poll()
        self._in.register(plain, select.POLLIN)
        self._out.register(plain, select.POLLOUT)

    def secure(self, trust: Trust, host: str) -> datetime | None:
        """
        Put TLS around it, and tell when the certificate of the other side ends.

        Raises:
            BackendConfigError: a certificate file cannot be used.
            Failure: the handshake fails.
        """
        self._tls = trust.tunnel(host, self._take, self._give)
        return self._tls.shake_hands()

    def send(self, data: bytes, deadline: Deadline) -> None:
        """
        Send all of *data*; what `receive` gives next answers it.

        Where the other side hangs up meanwhile, that is no failure yet: it may have said why.
        """
        self._deadline = deadline
        self._has_answered = False
        try:
            if self._tls is None:
                self._give(data)
            else:
                self._tls.send(data)
        except Failure as failure:
            if not failure.is_unanswered:
                raise

    def receive(self) -> bytes:
        """Give what came next, b"" at the end."""
        data = self._take() if self._tls is None else self._tls.receive()
        self._has_answered = True
        return data

    def wait_until(self, deadline: Deadline) -> None:
        """Wait no longer than *deadline* for what `receive` gives from now on."""
        self._deadline = deadline

    @property
    def is_disturbed(self) -> bool:
        """The other side has closed it, or said something nobody asked for."""
        return bool(self._in.poll(0)) or (self._tls is not None and self._tls.has_more)

    def interrupt(self) -> None:
        """End the wait of another thread, which then finds it closed; that thread closes it."""
        with suppress(OSError):  # it was closed already, by either end
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close this process's end and send nothing. Safe to call twice."""
        self._socket.close()

    def _take(self) -> bytes:
        while True:
            self._await(self._in)
            try:
                return self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._failure(error) from None

    def _give(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self._socket.send(view) :]
            except BlockingIOError:
                self._await(self._out)
            except OSError as error:
                raise self._failure(error) from None

    def _await(self, ready: select.poll) -> None:
        # Rounded up: a poll of 0 ms would spin through the last millisecond.
        if not ready.poll(int(self._deadline.seconds() * 1000) + 1):
            raise self._deadline.failure()

    def _failure(self, error: OSError) -> Failure:
        if self._has_answered:
            return Failure("closed the connection in the middle of its answer")
        return _unreached(error)


def connect(address: Address, deadline: Deadline) -> Stream:
    """
    Open a connection to *address*, without TLS yet. Every address of the name gets its share of the time.

    Raises:
        Failure: there is no such name, or nobody answers there.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[:_MAX_ADDRESSES]
    except (OSError, UnicodeError) as error:
        is_passing = getattr(error, "errno", None) == socket.EAI_AGAIN
        raise Failure(
            "has a host name that cannot be resolved",
            hint="check the host in url",
            is_unanswered=True,
            step=("name", "unavailable" if is_passing else "unknown"),
        ) from None
    failure = Failure("has a host name without addresses", is_unanswered=True)
    ends_at = time.monotonic() + deadline.seconds()
    for at, (family, kind, protocol, _, where) in enumerate(found):
        seconds = max(ends_at - time.monotonic(), 0.0) / (len(found) - at)
        try:
            return _open(socket.socket(family, kind, protocol), where, deadline, seconds)
        except Failure as one:
            failure = one
        except OSError as error:  # no file descriptors left, or a family this machine does not have
            failure = _unreached(error)
    raise failure


def _open(plain: socket.socket, where: object, deadline: Deadline, seconds: float) -> Stream:
    is_open = False
    try:
        plain.settimeout(0)  # never blocks
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = plain.connect_ex(where)  # type: ignore[arg-type]  # as getaddrinfo gives it
        if number == errno.EINPROGRESS:
            ready = select.poll()
            ready.register(plain, select.POLLOUT)
            if not ready.poll(int(seconds * 1000) + 1):
                raise deadline.failure()
            number = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise _unreached(OSError(number, ""))
        is_open = True
        return Stream(plain, deadline)
    finally:
        if not is_open:
            plain.close()


def _unreached(error: OSError) -> Failure:
    # The system's own words for an error number hold nothing of a request.
    why = os.strerror(error.errno).lower() if error.errno else type(error).__name__
    reason = {errno.ECONNREFUSED: "refused", errno.ETIMEDOUT: "timeout"}.get(error.errno or 0, "unavailable")
    return Failure(
        f"cannot be reached: {why}",
        hint="check that it runs, and url",
        is_unanswered=True,
        step=("tcp", reason),
    )
