"""
TLS as a test looks at it: is it spoken, is the certificate trusted and for this host, and how long does it
last?

A handshake of its own, before any driver's: a driver says that it failed, rarely why, and never how many days
are left.

Rules of this file:

1. What the connection asks for is checked, no more: where it takes any certificate, so does this step, and
   tells the days that are left all the same.
2. Nothing is sent but the handshake, and what a protocol says before it: no name of a user, no credential.
"""

from __future__ import annotations

import ssl
import struct
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal, NamedTuple

from strongroom.live.probing.failed import FailedError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from strongroom.live.trouble import Reason

__all__ = ["Begin", "Plan", "days_left", "shake_hands"]

Begin = Literal["at once", "postgres", "mysql", "smtp"]
"""How TLS is begun: by itself, or inside a protocol."""

_DAY = timedelta(days=1)
_NOT_YET, _EXPIRED, _OTHER_NAME, _OTHER_ADDRESS = 9, 10, 62, 64  # x509_vfy.h, X509_V_ERR_*
# By how OpenSSL's symbols for records end: what came is no TLS.
_PLAIN = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
    "UNKNOWN_PROTOCOL",
)
_SSL_REQUEST = struct.pack("!ii", 8, 80_877_103)  # PostgreSQL: Message Formats, SSLRequest
_CLIENT_SSL, _CLIENT_PROTOCOL_41 = 0x0800, 0x0200  # MariaDB: Connection, capabilities
_UTF8MB4 = 45
_LONGEST_LINE = 1024
_MOST_LINES = 100


class Plan(NamedTuple):
    """
    How a connection uses TLS.

    Args:
        name: the host that the certificate is for, where that is checked.
        begin: how it is begun.
        is_needed: False goes on without, where the service speaks none.
        is_checked: who signed the certificate is checked.
        is_name_checked: and for which host it is.
        ca: what is trusted, as PEM; None: what this machine trusts.
        client: files of a certificate and its key to show, or None.
    """

    name: str
    begin: Begin = "at once"
    is_needed: bool = True
    is_checked: bool = True
    is_name_checked: bool = True
    ca: str | None = None
    client: tuple[str, str | None, str | None] | None = None


def shake_hands(connection: socket.socket, plan: Plan) -> int | None:
    """
    Begin TLS on *connection* and give the days that its certificate lasts; None where none is spoken or
    needed.

    Raises:
        FailedError: of the step `tls`.
    """
    try:
        if not _BEGIN[plan.begin](connection):
            if plan.is_needed:
                raise FailedError("plaintext")
            return None
        with _context(plan).wrap_socket(connection, server_hostname=plan.name) as tls:
            certificate = tls.getpeercert(binary_form=True)
    except ssl.SSLError as error:
        raise FailedError(_reason(error)) from None
    except TimeoutError:
        raise FailedError("timeout") from None
    except OSError:
        raise FailedError("other") from None
    return (
        None
        if certificate is None
        else days_left(certificate, datetime.fromtimestamp(time.time(), timezone.utc))
    )


def _context(plan: Plan) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = plan.is_checked and plan.is_name_checked
    context.verify_mode = ssl.CERT_REQUIRED if plan.is_checked else ssl.CERT_NONE
    try:
        if plan.ca is not None:
            context.load_verify_locations(cadata=plan.ca)
        elif plan.is_checked:
            context.load_default_certs()
        if plan.client is not None:
            certificate, key, password = plan.client
            # A password is given so that an encrypted key fails here and does not ask at a terminal.
            context.load_cert_chain(certificate, key, password=password or "")
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise FailedError("malformed") from None
    return context


def _reason(error: ssl.SSLError) -> Reason:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _EXPIRED:
            return "expired"
        return "wrong_host" if error.verify_code in (_OTHER_NAME, _OTHER_ADDRESS) else "untrusted"
    return "plaintext" if (error.reason or "").endswith(_PLAIN) else "other"


# --- how it is begun ---------------------------------------------------------------------------------


def _at_once(_connection: socket.socket) -> bool:
    return True


def _postgres(connection: socket.socket) -> bool:
    connection.sendall(_SSL_REQUEST)
    return _exactly(connection, 1) == b"S"


def _mysql(connection: socket.socket) -> bool:
    """Read the server's greeting, and ask for TLS where it has that."""
    length = int.from_bytes(_exactly(connection, 4)[:3], "little")
    greeting = _exactly(connection, min(length, _LONGEST_LINE))
    # Protocol 10, the release up to a NUL, 4 bytes of a number, 8 of a salt, a filler, then the capabilities.
    at = greeting.find(b"\0") + 14
    if greeting[:1] != b"\n" or len(greeting) < at + 2:
        raise FailedError("other")
    if not int.from_bytes(greeting[at : at + 2], "little") & _CLIENT_SSL:
        return False
    asked = struct.pack("<IIB23x", _CLIENT_SSL | _CLIENT_PROTOCOL_41, 1 << 24, _UTF8MB4)
    connection.sendall(len(asked).to_bytes(3, "little") + b"\1" + asked)
    return True


def _smtp(connection: socket.socket) -> bool:
    _replied(connection, b"220")
    connection.sendall(b"EHLO strongroom.invalid\r\n")
    lines = _replied(connection, b"250")
    if not any(line[4:].strip().upper() == b"STARTTLS" for line in lines):
        connection.sendall(b"QUIT\r\n")
        return False
    connection.sendall(b"STARTTLS\r\n")
    _replied(connection, b"220")
    return True


_BEGIN: dict[Begin, Callable[[socket.socket], bool]] = {
    "at once": _at_once,
    "postgres": _postgres,
    "mysql": _mysql,
    "smtp": _smtp,
}


def _replied(connection: socket.socket, code: bytes) -> list[bytes]:
    """Read a reply of one or more lines: RFC 5321 §4.2.1."""
    lines: list[bytes] = []
    while len(lines) < _MOST_LINES:
        # A byte at a time, so that nothing of the handshake after it is taken.
        line = b""
        while not line.endswith(b"\n") and len(line) < _LONGEST_LINE:
            line += _exactly(connection, 1)
        lines.append(line)
        if line[:3] != code:
            raise FailedError("other")
        if line[3:4] != b"-":
            return lines
    raise FailedError("other")


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = connection.recv(count - len(found))
        if not piece:
            raise FailedError("other")
        found += piece
    return found


# --- how long it lasts -------------------------------------------------------------------------------


def days_left(certificate: bytes, now: datetime) -> int | None:
    """
    Give the whole days from *now* to the end of *certificate*, negative after it; None where it cannot be
    read.

    Source: X.509 as RFC 5280 §4.1: a sequence of version, serial number, algorithm, issuer, validity …; the
    standard library reads the fields of a certificate only once it has checked it.
    """
    try:
        fields = _members(_members(certificate)[0][1])[0][1]
        members = _members(fields)
        if members[0][0] == 0xA0:  # the version, which the oldest certificates leave out  # noqa: PLR2004
            members = members[1:]
        ends = _members(members[3][1])[1]
    except IndexError:
        return None
    # RFC 5280 §4.1.2.5: years of two digits before 2050.
    form = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}.get(ends[0])
    try:
        end = datetime.strptime(ends[1].decode("ascii"), form or "").replace(tzinfo=timezone.utc)
    except ValueError:  # UnicodeDecodeError is one
        return None
    return (end - now) // _DAY


def _members(data: bytes) -> list[tuple[int, bytes]]:
    """Give (tag, content) of each value in *data*: X.690 §8.1, lengths of up to four bytes."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at + 1 < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            wide = length & 0x7F
            length = int.from_bytes(data[at : at + wide], "big")
            at += wide
        found.append((tag, data[at : at + length]))
        at += length
    return found
