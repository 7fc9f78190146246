"""
What version 2 of the key-value engine says of the versions at a path: numbers and times, no values.

Source: `GET <mount>/metadata/<path>` of OpenBao 2.7, run against it.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from strongroom.vendors.vault_answer import member

__all__ = ["KeyFacts", "KeyVersion", "facts_in"]

# RFC 3339 with up to nine digits of a second, of which Python 3.10 reads six and no "Z".
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_SKEW = timedelta(minutes=1)  # what was deleted just now by the server's clock may be ahead of ours
_NUMBER = re.compile(r"[1-9]\d{0,17}", re.ASCII)


class KeyVersion(NamedTuple):
    """
    One version.

    Args:
        number: from 1.
        created_at: UTC.
        is_deleted: softly; what it held is kept.
        is_destroyed: what it held is gone.
    """

    number: int
    created_at: datetime
    is_deleted: bool
    is_destroyed: bool


class KeyFacts(NamedTuple):
    """
    What is known of the versions at a path.

    Args:
        current: the number of the latest one; 0 before the first.
        versions: those that are kept, newest first.
    """

    current: int
    versions: tuple[KeyVersion, ...]

    @property
    def latest(self) -> KeyVersion | None:
        """The latest version, deleted or not."""
        return next((version for version in self.versions if version.number == self.current), None)

    @property
    def stands(self) -> bool:
        """Whether the latest version is there to be read."""
        latest = self.latest
        return latest is not None and not (latest.is_deleted or latest.is_destroyed)


def facts_in(data: object, now: datetime) -> KeyFacts | None:
    """Give what *data* of an answer says, as it is *now* (UTC); None when it is none of the server's."""
    current, versions = member(data, int, "current_version"), member(data, dict, "versions")
    if current is None or versions is None:
        return None
    found = [_version(number, told, now) for number, told in versions.items()]
    if None in found:
        return None
    known = sorted((one for one in found if one is not None), reverse=True)
    return KeyFacts(current, tuple(known))


def _version(number: object, told: object, now: datetime) -> KeyVersion | None:
    created, deleted = (member(told, str, key) for key in ("created_time", "deletion_time"))
    created_at = _time(created or "")
    if not isinstance(number, str) or not _NUMBER.fullmatch(number) or created_at is None or deleted is None:
        return None
    deleted_at = _time(deleted)
    return KeyVersion(
        number=int(number),
        created_at=created_at,
        is_deleted=deleted_at is not None and deleted_at <= now + _SKEW,
        is_destroyed=member(told, bool, "destroyed") or False,
    )


def _time(text: str) -> datetime | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    moment, fraction, zone = found.groups()
    try:
        at = datetime.fromisoformat(moment + ("+00:00" if zone == "Z" else zone)).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None
    return at + timedelta(microseconds=int((fraction or "0")[:6].ljust(6, "0")))
