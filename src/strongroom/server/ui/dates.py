"""
Moments as people read them: in the reader's zone, with the exact instant on hover and for machines.

    {{ when(row.at) }}   <time datetime="2026-11-21T10:05:00Z" title="…">21 Nov 11:05</time>
    {{ ago(row.at) }}    12 min, 4 h, 6 d: how long since, or until
    {{ clock(row.at) }}  11:05:09, of today's
    {{ hm(row.at) }}     11:05
    {{ day(row.at) }}    21 Nov, 21 Nov 2025

The zone is what the browser says of itself (cookie `tz`); UTC where it says nothing.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from strongroom.server.ui.texts import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["dates_in", "span", "zone_of"]

_MOST_ZONE = 64  # characters
_UNITS = (("y", 365 * 86400), ("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@lru_cache(maxsize=512)
def zone_of(name: str) -> tzinfo:
    """Give the time zone of that IANA name; UTC where there is none."""
    if name and len(name) <= _MOST_ZONE and not name.startswith((".", "/")) and ".." not in name:
        with suppress(KeyError, ValueError, OSError):
            return ZoneInfo(name)
    return timezone.utc


def span(length: timedelta) -> str:
    """Give how long *length* is, in its largest unit: `6 d`, `4 h`, `12 min`, `9 s`."""
    seconds = abs(int(length.total_seconds()))
    for unit, size in _UNITS:
        if seconds >= size:
            return _counted(unit, seconds // size)
    return _counted("s", 0)


@lru_cache(maxsize=2048)
def _counted(unit: str, count: int) -> str:
    return str(say(f"dates.{unit}", count=count))


def dates_in(zone: tzinfo, now: datetime) -> Mapping[str, Callable[[datetime | None], Markup]]:
    """Give what templates print moments with, for a reader in *zone* at *now*."""
    here = now.astimezone(zone)

    def when(at: datetime | None) -> Markup:
        return _time(at, lambda local: f"{_day(local, here)} {local:%H:%M}")

    def day(at: datetime | None) -> Markup:
        return _time(at, lambda local: _day(local, here))

    def clock(at: datetime | None) -> Markup:
        return _time(at, lambda local: f"{local:%H:%M:%S}")

    def hm(at: datetime | None) -> Markup:
        return _time(at, lambda local: f"{local:%H:%M}")

    def ago(at: datetime | None) -> Markup:
        return _time(at, lambda local: span(here - local))

    def _time(at: datetime | None, shown: Callable[[datetime], str]) -> Markup:
        if at is None:
            return Markup("&ndash;")
        aware = at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)
        exact = aware.astimezone(timezone.utc)
        local = aware.astimezone(zone)
        # A page has a hundred of these, and `Markup.format` takes three times as long.
        title, text = escape(f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"), escape(shown(local))
        whole = f'<time datetime="{exact:%Y-%m-%dT%H:%M:%SZ}" title="{title}">{text}</time>'
        return Markup(whole)  # noqa: S704 -- every part was escaped

    return {"when": when, "day": day, "clock": clock, "hm": hm, "ago": ago}


def _day(local: datetime, here: datetime) -> str:
    month = say(f"dates.month_{local.month}")
    return f"{local.day} {month}" if local.year == here.year else f"{local.day} {month} {local.year}"
