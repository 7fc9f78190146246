"""Settings that work and are risky all the same: long memories, unverified stores, silent fall-through."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from strongroom.insight.finding import Finding
from strongroom.model.machine import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.settings import BackendSettings, Settings

__all__ = ["bounds", "transport"]

MAX_TTL = 3_600.0  # s: a changed or withdrawn secret is used for at most an hour
MAX_STALE = 86_400.0  # s: an outage is bridged for a day; after that nobody still watches it
MAX_REVOKE = 300.0  # s: who was signed out while nobody could see it looks on for five minutes at most
MAX_ABSENT = 300.0  # s: a secret made just now is found within five minutes

_HTTP = re.compile(r"http://(?:[^/@?#]*@)?(\[[^\]]*\]|[^/:?#]*)", re.IGNORECASE)
_NO = frozenset({"false", "no", "off", "0"})
_VERIFY = ("verify", "verify_ssl", "ssl_verify")


def bounds(settings: Settings) -> Iterator[Finding]:
    """Look at how long values and sessions are remembered, and at each backend."""
    cache = settings.cache
    if cache.ttl > MAX_TTL:
        yield Finding(
            name="long-ttl",
            level="warning",
            what=f"cache.ttl is {cache.ttl:g} s: a changed or withdrawn secret is used for so long",
            fix=f"cache.ttl = {MAX_TTL:g} or less; the default is 300",
        )
    if cache.stale_if_error > MAX_STALE:
        yield Finding(
            name="long-stale",
            level="warning",
            what=f"cache.stale_if_error is {cache.stale_if_error:g} s: while a store is down, old values are"
            " used for so long",
            fix=f"cache.stale_if_error = {MAX_STALE:g} or less; the default is 900",
        )
    if cache.absent_ttl > MAX_ABSENT:
        yield Finding(
            name="long-absent-ttl",
            level="warning",
            what=f"cache.absent_ttl is {cache.absent_ttl:g} s: a new entry is not found for so long",
            fix=f"cache.absent_ttl = {MAX_ABSENT:g} or less; the default is 10",
        )
    if settings.access.revoke_bound > MAX_REVOKE:
        yield Finding(
            name="long-revoke-bound",
            level="warning",
            what=f"access.revoke_bound is {settings.access.revoke_bound:g} s: while the database is down, who"
            " was signed out or disabled meanwhile looks at pages for so long",
            fix=f"access.revoke_bound = {MAX_REVOKE:g} or less; the default is 60",
        )
    for backend in settings.backend.values():
        yield from _backend(backend)


def _backend(backend: BackendSettings) -> Iterator[Finding]:
    key = f"backend.{backend.name}"
    if backend.on_unavailable == "next":
        yield Finding(
            name="falls-through",
            level="note",
            what=f'{key}.on_unavailable is "next": while it is down, a lower backend may answer otherwise',
            fix=f'{key}.on_unavailable = "stale" or "stop"',
        )
    if _says(backend.options.get("follow_symlinks"), is_on=True):
        yield Finding(
            name="follows-links",
            level="note",
            what=f"{key}.follow_symlinks is on: whoever may change the link chooses the file",
            fix="keep it for files that a platform mounts through links, as Kubernetes does",
        )
    yield from transport(key, backend.options)


def transport(where: str, options: Mapping[str, object]) -> Iterator[Finding]:
    """Tell what *options*, called *where*, say about reaching a store unverified or in clear."""
    for key, value in sorted(options.items()):
        if isinstance(value, Mapping):
            yield from transport(f"{where}.{key}", value)
        elif key in _VERIFY and _says(value, is_on=False):
            yield Finding(
                name="tls-unverified",
                level="warning",
                what=f"{where}: {key} is false: whoever stands between may pose as the store",
                fix='name the store\'s own authority instead: ca = "/path/ca.pem"',
            )
        elif isinstance(value, str) and _is_plain(value):
            yield Finding(
                name="plain-http",
                level="error",
                what=f"{where}: {key} is http:// to another machine: tokens and secrets travel in clear",
                fix="use https://",
            )


def _says(value: object, *, is_on: bool) -> bool:
    if isinstance(value, str):
        return value.lower() == "true" if is_on else value.lower() in _NO
    return value is is_on


def _is_plain(url: str) -> bool:
    found = _HTTP.match(url)
    if found is None:
        return False
    host = found[1].strip("[]").lower()
    return not is_loopback(host) and not host.endswith(".localhost")
