"""
What Python itself says went wrong on the way to a service, as a step and a reason of `trouble.py`.

Drivers wrap what sockets, the DNS and TLS say in errors of their own; here the first of those is looked for
behind them. Not for what a service says once it is reached: each family knows that of its own.
"""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.live.trouble import Reason, Step

__all__ = ["cause_of"]

# OpenSSL's X509_V_ERR_CERT_HAS_EXPIRED, …_HOSTNAME_MISMATCH and …_IP_ADDRESS_MISMATCH.
_REFUSED: dict[int, Reason] = {10: "expired", 62: "wrong_host", 64: "wrong_host"}
# What OpenSSL says where the other side answered in clear.
_CLEAR = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "HTTPS_PROXY_REQUEST",
    "UNKNOWN_PROTOCOL",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
)
# The parts of OpenSSL that read certificates and keys, and its words where they do not fit one another.
_READING = ("PEM", "X509", "ASN1", "DECODER", "PKCS12")
_UNREADABLE = ("KEY_VALUES_MISMATCH", "PEM_LIB", "NO_CERTIFICATE_OR_CRL_FOUND", "BAD_DECRYPT", "ASN1_LIB")
_UNREACHABLE = (
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EHOSTDOWN,
    errno.ENETDOWN,
    errno.EADDRNOTAVAIL,
    errno.EPERM,  # what a firewall of this machine says
)


def cause_of(error: BaseException) -> tuple[Step, Reason] | None:
    """
    Give the step and the reason behind *error*; None where neither a socket, the DNS nor TLS failed.

    Nothing of any message is looked at but OpenSSL's own words for what happened.
    """
    for each in _behind(error):
        found = _read(each)
        if found is not None:
            return found
    return None


def _behind(error: BaseException) -> Iterator[BaseException]:
    """Give *error* and what it was raised from or during, each once."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _read(error: BaseException) -> tuple[Step, Reason] | None:
    if isinstance(error, ssl.SSLError):
        return _of_tls(error)
    if isinstance(error, socket.gaierror):
        return ("name", "unavailable" if error.errno == socket.EAI_AGAIN else "unknown")
    if isinstance(error, UnicodeError):
        is_of_name = bool(error.args) and "idna" in str(error.args[0])  # no name that DNS could hold
        return ("name", "unknown") if is_of_name else None
    if isinstance(error, OSError):
        return _of_socket(error)
    return getattr(error, "way", None)  # of our own transport: it says what was on the way


def _of_tls(error: ssl.SSLError) -> tuple[Step, Reason]:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ("tls", _REFUSED.get(error.verify_code, "untrusted"))
    said = error.reason or ""
    if "CERTIFICATE_REQUIRED" in said:
        return ("authentication", "missing")
    if "ALERT" in said and ("CERTIFICATE" in said or "UNKNOWN_CA" in said):
        return ("authentication", "credentials")  # what the service says of a certificate of ours
    # It names no reason where one of its parts failed in another.
    if error.library in _READING or said in _UNREADABLE or "PEM lib" in str(error):
        return ("tls", "malformed")
    return ("tls", "plaintext" if said in _CLEAR else "other")


def _of_socket(error: OSError) -> tuple[Step, Reason] | None:
    if isinstance(error, ConnectionRefusedError):
        return ("tcp", "refused")
    if isinstance(error, TimeoutError):
        is_greeted = "handshake" in str(error)  # Python's own word; who speaks no TLS waits for more, too
        return ("tls" if is_greeted else "tcp", "timeout")
    if isinstance(error, ConnectionError):
        return ("authentication", "other")  # it ended the conversation
    if error.errno in _UNREACHABLE:
        return ("tcp", "unavailable")
    if isinstance(error, (FileNotFoundError, IsADirectoryError)) or error.errno == errno.EACCES:
        return ("tls", "malformed")  # of all files, drivers read but those of certificates
    # Several addresses that failed each in its own way have no number.
    return ("tcp", "unavailable") if type(error) is OSError else None
