"""
What `[server]` is: how `strongroom serve` listens, whom it lets in, and how much.

It stands once, at the top of the file: one process serves all of its deployments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from strongroom.errors import SettingsError
from strongroom.model.machine import is_loopback
from strongroom.settings.table import check_most

if TYPE_CHECKING:
    from strongroom.settings.table import Table

__all__ = ["DEFAULT_PORT", "LimitSettings", "ServerSettings", "server_of"]

DEFAULT_PORT = 8250
LogLevel = Literal["debug", "info", "warning", "error"]
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\]", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """
    `[server.limits]`: how much one caller may ask. A rate of 0 sets no limit.

    Args:
        identity_per_second: requests of one identity, beside reads.
        identity_burst: of these at once.
        read_per_second: Refs one identity reads by `/v1/read`.
        read_burst: of these at once.
        stranger_per_second: requests without a valid identity from one source.
        stranger_burst: of these at once.
        paths: requests a second of one identity on one route: `{ "/v1/audit/verify" = 0.1 }`.
    """

    identity_per_second: float = 200.0
    identity_burst: float = 400.0
    read_per_second: float = 500_000.0
    read_burst: float = 1_000_000.0
    stranger_per_second: float = 5.0
    stranger_burst: float = 50.0
    paths: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """
    `[server]`.

    Args:
        host: the address to listen on.
        port: 0 takes a free one.
        tls_cert: the certificate with its chain, PEM; with it the server speaks TLS.
        tls_key: its key, PEM, closed to others.
        tls_client_ca: authorities of client certificates, PEM: agents may show one.
        allow_plain_http: speak plain HTTP on an address that is not loopback: a proxy does the TLS.
        allowed_hosts: names the server answers for; () for loopback's own where it listens there, else any.
        trusted_proxies: networks that are believed what they say of the client.
        max_connections: connections at once.
        receipt_seconds: for a request to arrive whole.
        idle_seconds: for the next request on a kept connection.
        drain_seconds: for what is under way when the server is told to stop.
        threads: handlers at once.
        log_level: how much is logged; changed at run time too.
        read_only: begin in read-only mode.
        autostart: `strongroom up` starts the server behind.
        test_connections: let people test connections from the server.
        test_networks: networks and host names such a test may reach.
        metrics_names: count reads of each entry by name, for at most 10,000 of them.
        limits: how much one caller may ask.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    allow_plain_http: bool = False
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    max_connections: int = 4000
    receipt_seconds: float = 10.0
    idle_seconds: float = 75.0
    drain_seconds: float = 30.0
    threads: int = 40
    log_level: LogLevel = "info"
    read_only: bool = False
    autostart: bool = True
    test_connections: bool = False
    test_networks: tuple[str, ...] = ()
    metrics_names: bool = False
    limits: LimitSettings = field(default_factory=LimitSettings)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def has_tls(self) -> bool:
        """Whether the server speaks TLS itself."""
        return self.tls_cert is not None


def server_of(table: Table) -> ServerSettings:
    """
    Make the settings of the server.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    limits = table.section("limits").build(LimitSettings)
    rest = {key: value for key, value in table.values.items() if key != "limits"}
    found = type(table)(rest, table.prefix, table.folder).build(ServerSettings, given={"limits": limits})
    _check_numbers(found, table.prefix)
    _check_limits(limits, f"{table.prefix}limits.")
    _check_names(found, table.prefix)
    if (found.tls_cert is None) != (found.tls_key is None):
        missing = "tls_key" if found.tls_key is None else "tls_cert"
        raise SettingsError(
            f"{table.prefix}{missing} is missing: a certificate and its key belong together",
            key=table.prefix + missing,
        )
    if found.tls_client_ca is not None and found.tls_cert is None:
        raise SettingsError(
            f"{table.prefix}tls_client_ca needs TLS: a certificate is shown in its handshake",
            key=f"{table.prefix}tls_client_ca",
            hint="set server.tls_cert and server.tls_key",
        )
    return found


def check_reach(settings: ServerSettings) -> None:
    """
    Refuse to speak plain HTTP to other machines, unless that was said.

    Raises:
        SettingsError: it would.
    """
    if settings.is_loopback or settings.has_tls or settings.allow_plain_http:
        return
    raise SettingsError(
        "the server would speak plain HTTP where other machines reach it, and secrets would go bare",
        key="server.host",
        hint="set server.tls_cert and server.tls_key, or behind a proxy that does it server.allow_plain_http",
    )


def _check_numbers(found: ServerSettings, prefix: str) -> None:
    if not 0 <= found.port <= 65_535:  # noqa: PLR2004 -- TCP's own bound
        raise SettingsError(f"{prefix}port must be from 0 to 65535", key=f"{prefix}port")
    for key, least, most in (
        ("max_connections", 1, 1_000_000),
        ("threads", 1, 1000),
        ("receipt_seconds", 1, 3600),
        ("idle_seconds", 1, 3600),
        ("drain_seconds", 0, 3600),
    ):
        if not least <= getattr(found, key) <= most:
            raise SettingsError(f"{prefix}{key} must be from {least} to {most}", key=prefix + key)


def _check_limits(limits: LimitSettings, prefix: str) -> None:
    for kind in ("identity", "read", "stranger"):
        rate, burst = getattr(limits, f"{kind}_per_second"), getattr(limits, f"{kind}_burst")
        for key, value, least in ((f"{kind}_per_second", rate, 0), (f"{kind}_burst", burst, 1)):
            if value < least:
                raise SettingsError(f"{prefix}{key} must be at least {least}", key=prefix + key)
            check_most(value, prefix + key)
    for path, rate in limits.paths.items():
        given: object = rate  # what stands in a table of any keys was not looked at yet
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        if not path.startswith("/") or not is_number or rate <= 0:
            raise SettingsError(
                f"{prefix}paths must give each path a number of requests a second",
                key=f"{prefix}paths",
                hint='paths = { "/v1/audit/verify" = 0.1 }',
            )


def _check_names(found: ServerSettings, prefix: str) -> None:
    for host in found.allowed_hosts:
        if not _HOST.fullmatch(host.lower()) or "*" in host:
            raise SettingsError(
                f"{prefix}allowed_hosts must hold names without port", key=f"{prefix}allowed_hosts"
            )
    if not found.trusted_proxies:
        return
    import ipaddress  # noqa: PLC0415 -- a process that reads needs no networks

    for network in found.trusted_proxies:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            is_network = False
        else:
            is_network = True
        if not is_network:
            raise SettingsError(
                f"{prefix}trusted_proxies must hold addresses or networks",
                key=f"{prefix}trusted_proxies",
                hint='trusted_proxies = ["10.0.0.0/8"]',
            )
