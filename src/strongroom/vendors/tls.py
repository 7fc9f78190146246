"""
TLS as we speak it: version 1.2 or newer, the server's name checked, certificates from files that may change.

Imported only when a url says https: `ssl` costs a cold process more than all else here.

Rules of this file:

1. Nothing falls back: a CA file that is missing, empty or no PEM is an error, never the system's instead.
2. Files are looked at for each new connection and read again when they changed, so that renewed
   certificates are used without a restart.
3. No error holds OpenSSL's own text: it quotes host names and paths. Its numbers are put in our words.
"""

from __future__ import annotations

import ssl
import stat
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.errors import BackendConfigError
from strongroom.vendors.http1 import Failure

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Trust", "certificate_ends", "failure_of"]

_MAX_FILES = 1_000  # of a folder of CA certificates
_MAX_FILE_BYTES = 16 * 1024 * 1024

# The numbers are OpenSSL's X509_V_ERR_*: openssl-verification-options(1), x509_vfy.h.
_REASONS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself",
    19: "is signed by an authority that is not trusted here",
    20: "is signed by an authority that is not trusted here",
    21: "comes without that of its authority",
    23: "is revoked",
    62: "is for another host name",
    64: "is for another address",
}
_HINTS = {
    9: "check the clock of this machine",
    10: "have the server's certificate renewed",
    23: "have the server's certificate replaced",
    62: "spell the host in url as the certificate does",
    64: "spell the host in url as the certificate does",
}
_UNTRUSTED = "set ca to the PEM file of the authority that signed it; verify = false would check nothing"
# By how OpenSSL's symbols for alerts and records end (ssl.SSLError.reason).
_SYMBOLS = {
    ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "UNKNOWN_CA"): (
        "refuses the TLS connection",
        "it may want a client certificate, from an authority it knows",
    ),
    ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"): (
        "does not speak TLS",
        "check whether url should begin with http:",
    ),
    ("PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW"): (
        "speaks no TLS that is new enough",
        "TLS 1.2 is the oldest that is spoken here",
    ),
}


class Trust:
    """
    Whom we trust and who we are, as files say it.

    Args:
        place: the backend's name, for messages.
        ca: a PEM file, or a folder of them, in place of the system's; None means the system's.
        client_cert: a PEM file to show, or None.
        client_key: its key where it is not in the same file.
        verify: False checks nothing of the server.

    Threads: may be used from several at once; at worst files are read twice.
    """

    def __init__(
        self, place: str, *, ca: Path | None, client_cert: Path | None, client_key: Path | None, verify: bool
    ) -> None:
        self._place = place
        self._ca = ca
        self._client_cert = client_cert
        self._client_key = client_key
        self._verify = verify
        self._held: tuple[tuple[object, ...], ssl.SSLContext] | None = None

    def wrap(self, plain: socket.socket, host: str) -> ssl.SSLSocket:
        """
        Give *plain* with TLS around it, the handshake still to be done. *plain* is used up.

        Raises:
            BackendConfigError: a file cannot be used.
            OSError: the connection has ended already.
        """
        return self._context().wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)

    def _context(self) -> ssl.SSLContext:
        signature = tuple(self._signatures())
        held = self._held
        if held is None or held[0] != signature:
            held = signature, self._build()
            self._held = held
        return held[1]

    def _signatures(self) -> Iterator[tuple[int, ...]]:
        ca = _files_of(self._ca) if self._ca is not None and self._verify else ()
        for path in (*ca, self._client_cert, self._client_key):
            if path is not None:
                try:
                    status = path.stat()
                except OSError:
                    raise self._unusable(path) from None
                if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for its writer
                    raise self._unusable(path)
                yield status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def _build(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name from the start
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not self._verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif self._ca is None:
            context.load_default_certs()
        else:
            self._load_ca(context, self._ca)
        if self._client_cert is not None:
            self._load_client(context, self._client_cert)
        return context

    def _load_ca(self, context: ssl.SSLContext, ca: Path) -> None:
        for path in _files_of(ca):
            try:
                with path.open("rb") as stream:
                    # Bundles hold names of authorities in other alphabets between the certificates.
                    context.load_verify_locations(
                        cadata=stream.read(_MAX_FILE_BYTES).decode("ascii", "ignore")
                    )
            except (OSError, ValueError):  # ssl.SSLError is an OSError
                raise self._unusable(path) from None
        if not context.cert_store_stats()["x509_ca"]:
            raise self._unusable(ca)

    def _load_client(self, context: ssl.SSLContext, certificate: Path) -> None:
        try:
            # A password is given so that an encrypted key fails here and does not ask at the terminal.
            context.load_cert_chain(certificate, self._client_key, password="")
        except (OSError, ValueError):
            raise BackendConfigError(
                f"the client certificate of the backend {self._place} cannot be used",
                hint="it must be PEM, its key unencrypted, readable and of that certificate",
            ) from None

    def _unusable(self, path: Path) -> BackendConfigError:
        return BackendConfigError(
            f"the file {path} for TLS of the backend {self._place} cannot be used",
            hint="it must exist, be readable, and hold certificates in PEM",
        )


def _files_of(ca: Path) -> tuple[Path, ...]:
    # Every file of a folder, whatever it is called: OpenSSL itself would take only names that are hashes.
    if not ca.is_dir():
        return (ca,)
    return tuple(sorted(path for path in ca.iterdir() if path.is_file()))[:_MAX_FILES]


def certificate_ends(connection: ssl.SSLSocket) -> datetime | None:
    """Tell when the certificate of the other side ends (UTC); None when it was not checked."""
    ends = (connection.getpeercert() or {}).get("notAfter")
    if not isinstance(ends, str):
        return None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), timezone.utc)


def failure_of(error: OSError) -> Failure | None:
    """Put a failure of TLS in our words; None when it is one of the connection below."""
    if isinstance(error, ssl.SSLCertVerificationError):
        code = error.verify_code
        reason = _REASONS.get(code, f"does not pass the check (OpenSSL's number {code})")
        return Failure(f"shows a certificate that {reason}", hint=_HINTS.get(code, _UNTRUSTED))
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return Failure("closed the connection without an answer", is_unanswered=True)
    if not isinstance(error, ssl.SSLError):
        return None
    for symbols, (words, hint) in _SYMBOLS.items():
        if (error.reason or "").endswith(symbols):
            return Failure(words, hint=hint)
    return Failure("failed in TLS")
