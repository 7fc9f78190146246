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
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.errors import BackendConfigError
from strongroom.vendors.http1 import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["Trust", "Tunnel"]

_MAX_FILES = 1_000  # of a folder of CA certificates
_RECEIVE_BYTES = 65_536
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
_STEPS = {10: "expired", 62: "wrong_host", 64: "wrong_host"}
_HINTS = {
    9: "check the clock of this machine",
    10: "have the server's certificate renewed",
    23: "have the server's certificate replaced",
    62: "spell the host in url as the certificate does",
    64: "spell the host in url as the certificate does",
}
_UNTRUSTED = "set ca to the PEM file of the authority that signed it"
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

    def tunnel(self, host: str, take: Callable[[], bytes], give: Callable[[bytes], None]) -> Tunnel:
        """
        Give TLS to *host* over a connection, the handshake still to be done.

        Args:
            host: the name or address the certificate must be for.
            take: gives what came next on the connection, b"" at its end.
            give: sends all of what it is given.

        Raises:
            BackendConfigError: a file cannot be used.
        """
        return Tunnel(self._context(), host, take, give)

    def _context(self) -> ssl.SSLContext:
        signature = tuple(self._signatures())
        held = self._held
        if held is None or held[0] != signature:
            held = signature, self._build()
            self._held = held
        return held[1]

    def _signatures(self) -> Iterator[tuple[int, ...]]:
        ca = self._files_of(self._ca) if self._ca is not None and self._verify else ()
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
        for path in self._files_of(ca):
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

    def _files_of(self, ca: Path) -> tuple[Path, ...]:
        # Every file of a folder, whatever it is called: OpenSSL itself would take only names that are hashes.
        try:
            if not ca.is_dir():
                return (ca,)
            return tuple(sorted(path for path in ca.iterdir() if path.is_file()))[:_MAX_FILES]
        except OSError:  # a folder that may not be read
            raise self._unusable(ca) from None

    def _unusable(self, path: Path) -> BackendConfigError:
        return BackendConfigError(
            f"the file {path} for TLS of the backend {self._place} cannot be used",
            hint="it must exist, be readable, and hold certificates in PEM",
        )


class Tunnel:
    """
    TLS over a connection that somebody else reads and writes, so that OpenSSL never waits.

    Threads: one at a time.
    """

    def __init__(
        self, context: ssl.SSLContext, host: str, take: Callable[[], bytes], give: Callable[[bytes], None]
    ) -> None:
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes, server_hostname=host)
        self._take = take
        self._give = give
        self._has_answered = False

    @property
    def has_more(self) -> bool:
        """There is something that came and was not received."""
        return self._came.pending > 0 or self._tls.pending() > 0

    def shake_hands(self) -> datetime | None:
        """
        Agree, check who it is, and tell when its certificate ends (UTC); None when it was not checked.

        Raises:
            Failure: no agreement, or it is not who it should be.
        """
        self._drive(self._tls.do_handshake)
        ends = (self._tls.getpeercert() or {}).get("notAfter")
        if not isinstance(ends, str):
            return None
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), timezone.utc)

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self._has_answered = False
        self._drive(lambda: self._tls.write(data))

    def receive(self) -> bytes:
        """Give what came next, b"" at the end."""
        data = self._drive(lambda: self._tls.read(_RECEIVE_BYTES))
        self._has_answered = True
        return data

    def _drive(self, step: Callable[[], T]) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._flush()
                self._feed(self._take())
            except ssl.SSLError as error:
                with suppress(Failure):  # it is told why, if it still listens
                    self._flush()
                raise self._failure(error) from None
            else:
                self._flush()
                return done

    def _feed(self, data: bytes) -> None:
        if data:
            self._came.write(data)
        else:
            self._came.write_eof()

    def _flush(self) -> None:
        if self._goes.pending:
            self._give(self._goes.read())

    def _failure(self, error: ssl.SSLError) -> Failure:
        if self._has_answered:
            return Failure("closed the connection in the middle of its answer")
        if isinstance(error, ssl.SSLCertVerificationError):
            code = error.verify_code
            reason = _REASONS.get(code, f"does not pass the check (OpenSSL's number {code})")
            hint, step = _HINTS.get(code, _UNTRUSTED), ("tls", _STEPS.get(code, "untrusted"))
            return Failure(f"shows a certificate that {reason}", hint=hint, step=step)
        if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
            return Failure("closed the connection without an answer", is_unanswered=True)
        for symbols, (words, hint) in _SYMBOLS.items():
            if (error.reason or "").endswith(symbols):
                is_clear = "WRONG_VERSION_NUMBER" in symbols
                return Failure(words, hint=hint, step=("tls", "plaintext" if is_clear else "other"))
        return Failure("failed in TLS", step=("tls", "other"))
