"""Which addresses are this machine's own: what goes there, nobody reads on the way."""

from __future__ import annotations

__all__ = ["is_loopback", "is_private_way"]


def is_loopback(host: str) -> bool:
    """Tell whether *host* is an address, or the name, that only this machine reaches."""
    from ipaddress import ip_address  # noqa: PLC0415 -- a process that reads needs no networks

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_private_way(url: str) -> bool:
    """Tell whether nobody reads along on the way to *url*: by TLS, or within this machine."""
    from urllib.parse import urlsplit  # noqa: PLC0415 -- as in `is_loopback`

    try:
        parts = urlsplit(url)
    except ValueError:  # half an address of IPv6
        return False
    return parts.scheme == "https" or is_loopback(parts.hostname or "")
