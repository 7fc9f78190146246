"""Where a server is, and whether a token may be sent there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import SettingsError
from strongroom.model.machine import is_loopback
from strongroom.vendors.stream import Address

if TYPE_CHECKING:
    from pathlib import Path


class ServerAddress(NamedTuple):
    """
    Where a server is, and how it is spoken to.

    Args:
        url: `https://host[:port][/base]`.
        deployment: which of its deployments; None for the first.
        ca: a PEM file of authorities in place of the system's.
        allows_plain_http: http to another machine was asked for in so many words.
        setting: what named the url, for messages: `STRONGROOM_URL`, `the profile prod`.
        client_cert: a PEM file to show who we are, with its chain.
        client_key: of `client_cert`, PEM.
    """

    url: str
    deployment: str | None = None
    ca: Path | None = None
    allows_plain_http: bool = False
    setting: str = "STRONGROOM_URL"
    client_cert: Path | None = None
    client_key: Path | None = None


def checked(address: ServerAddress) -> Address:
    """Refuse a url that is none, or that would show the token to everybody on the way."""
    found = Address.of(address.url)
    if found is None:
        raise SettingsError(
            f"{address.setting} is not the url of a server",
            key=address.setting,
            hint="write https://host[:port], without user, query and fragment",
        )
    if not (found.is_tls or address.allows_plain_http or is_loopback(found.host)):
        raise SettingsError(
            f"{address.setting} says http to another machine: the token and every value would be readable "
            "on the way",
            key=address.setting,
            hint="say https; where something else keeps the way safe, STRONGROOM_ALLOW_PLAIN_HTTP=1 "
            "or --plain-http of strongroom login and strongroom agent enrol",
        )
    if address.ca is not None and not address.ca.exists():
        raise SettingsError(
            f"the authorities of the server are to stand in {address.ca}, which is not there",
            key="STRONGROOM_CA",
            hint="name a PEM file, or a folder of them",
        )
    return found
