"""
TLS of the server itself: the certificate, its key, and nothing older than TLS 1.2.

A certificate is replaced without a restart: `reload` reads both files anew, for the handshakes to come. If
they are wrong the old ones stay. Authorities of client certificates are added so; one that is taken out of
the file counts until the next start.
"""

from __future__ import annotations

import os
import ssl
import stat
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import SettingsError

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from strongroom.settings import ServerSettings

__all__ = ["context_of", "reload"]


def context_of(settings: ServerSettings) -> ssl.SSLContext | None:
    """
    Give the context to listen with; None where TLS is not configured.

    Raises:
        SettingsError: a file cannot be read, is open to others, or the two do not belong together.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    _check(settings.tls_cert, "tls_cert", closed=0o022, hint="chmod go-w it")
    _check(settings.tls_key, "tls_key", closed=0o077, hint="chmod 600 it")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Forward secrecy and authenticated encryption only; TLS 1.3's own suites are all of that kind.
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _load(context, settings.tls_cert, settings.tls_key)
    if settings.tls_client_ca is not None:
        _trust(context, settings.tls_client_ca)
    return context


class Shown(NamedTuple):
    """
    What counts of a TLS client certificate, which the handshake has checked.

    Args:
        names: URI and DNS names (SAN).
        ends: when it does, in seconds since 1970 UTC: a connection, and a session that is taken up again
            without another check, may outlast it.
    """

    names: tuple[str, ...]
    ends: float


def shown_by(transport: asyncio.BaseTransport) -> Shown | None:
    """Give the certificate the other side of a connection has shown; None where it showed none."""
    connection = transport.get_extra_info("ssl_object")
    seen = None if connection is None else connection.getpeercert()
    if not seen:
        return None
    names = tuple(name for kind, name in seen.get("subjectAltName", ()) if kind in ("URI", "DNS"))
    return Shown(names, ssl.cert_time_to_seconds(seen["notAfter"]))


def reload(context: ssl.SSLContext, settings: ServerSettings) -> None:
    """
    Take the certificate and key that stand in the files now.

    Raises:
        SettingsError: as `context_of`; the old ones stay.
    """
    # Tried on another context first: a failed load leaves half of the pair behind.
    if context_of(settings) is not None and settings.tls_cert is not None and settings.tls_key is not None:
        _load(context, settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca is not None:
            _trust(context, settings.tls_client_ca)


def _trust(context: ssl.SSLContext, path: Path) -> None:
    """Let clients show certificates of these authorities; who shows another is turned away."""
    _check(path, "tls_client_ca", closed=0o022, hint="chmod go-w it")
    try:
        context.load_verify_locations(path)
    except (ssl.SSLError, OSError):
        pass
    else:
        context.verify_mode = ssl.CERT_OPTIONAL
        return
    raise SettingsError("server.tls_client_ca holds no certificates in PEM", key="server.tls_client_ca")


def _check(path: Path, key: str, *, closed: int, hint: str) -> None:
    try:
        found = path.stat()
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise SettingsError(f"server.{key} cannot be read ({reason})", key=f"server.{key}") from None
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"server.{key} is no file", key=f"server.{key}")
    if found.st_uid not in (0, os.geteuid()):
        raise SettingsError(f"server.{key} belongs to another user", key=f"server.{key}")
    if found.st_mode & closed:
        raise SettingsError(f"server.{key} is open to others", key=f"server.{key}", hint=hint)


def _load(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    try:
        # An empty password, so that a sealed key is refused instead of asked for on a terminal.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError):
        pass
    else:
        return
    raise SettingsError(
        "server.tls_cert and server.tls_key are no certificate and its key in PEM without a passphrase",
        key="server.tls_cert",
    )
