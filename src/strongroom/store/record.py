"""
What the columns of a row mean, and the bytes its authentication covers.

Pure: no key, no plaintext, no clock, no database. Times are whole microseconds since 1970 UTC; a
team of '' means none.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from struct import Struct
from struct import error as struct_error
from typing import TYPE_CHECKING, cast

from strongroom.errors import InvalidInputError
from strongroom.model.entry import Metadata, VersionInfo
from strongroom.model.ref import Ref
from strongroom.store.rows import EntryRow

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.model.ref import Kind
    from strongroom.store.rows import VersionRow

__all__ = [
    "check_texts",
    "covered",
    "entry_row",
    "is_time",
    "metadata_of",
    "micros",
    "moment",
    "ref_of",
    "stands",
    "tags_in",
    "version_info",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
# In another zone a time may lie a day outside what UTC can say; it could never be read again.
_EARLIEST = (datetime.min.replace(tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
_LATEST = (datetime.max.replace(tzinfo=timezone.utc) - _EPOCH) // _MICROSECOND
_LENGTH = Struct(">cI").pack
_INTEGER = Struct(">cq").pack
_TEXT_HEADS = tuple(_LENGTH(b"s", length) for length in range(256))  # nearly every text is so short


def covered(table: str, columns: Iterable[object]) -> bytes:
    """
    Give the bytes of a row that its MAC covers.

    Returns:
        `srm/v1/row/<table>` ‖ 0, then for each column its type (1) and its content: `n` nothing ·
        `i` a signed integer (8, big-endian) · `s` UTF-8 and `b` bytes, each after its length (4,
        big-endian). Injective: two different rows never give the same bytes.

    Raises:
        InvalidInputError: a column is of another type, out of range, or no UTF-8 can spell it.
    """
    parts = [b"srm/v1/row/", table.encode(), b"\x00"]
    try:
        for column in columns:
            kind = type(column)  # exact types: a row of SQLite has no others, and this is every read
            if column is None:
                parts.append(b"n")
            elif kind is str:
                encoded = cast("str", column).encode()
                length = len(encoded)
                parts.append(_TEXT_HEADS[length] if length < 256 else _LENGTH(b"s", length))  # noqa: PLR2004 -- as there
                parts.append(encoded)
            elif kind is int:
                parts.append(_INTEGER(b"i", column))
            elif kind is bytes:
                parts += (_LENGTH(b"b", len(cast("bytes", column))), cast("bytes", column))
            else:
                raise InvalidInputError("a row has a column of the wrong type")
    except (struct_error, UnicodeEncodeError):
        raise InvalidInputError("a row holds text or a number that cannot be stored") from None
    return b"".join(parts)


def entry_row(ref: Ref, metadata: Metadata) -> EntryRow:
    """
    Give the row of a new entry, still without id, deployment, version, author, time and MAC.

    Raises:
        InvalidInputError: a time does not say its zone or is none a column can hold, or what must be
            text is none.
    """
    check_texts(conn_type=metadata.conn_type, description=metadata.description, owner=metadata.owner)
    if any(type(tag) is not str for tag in metadata.tags):
        raise InvalidInputError("a tag beside a value is not text", hint="give a str")
    return EntryRow(
        id=b"",
        deployment="",
        team=ref.team or "",
        kind=ref.kind,
        name=ref.name,
        current_version=0,
        is_deleted=0,
        conn_type=metadata.conn_type,
        description=metadata.description,
        tags=json.dumps(sorted(set(metadata.tags)), ensure_ascii=False) if metadata.tags else "[]",
        owner=metadata.owner,
        remind_at=_maybe_micros(metadata.remind_at),
        not_after=_maybe_micros(metadata.not_after),
        expires_at=_maybe_micros(metadata.expires_at),
        has_references=int(metadata.references),
        changed_at=0,
        changed_by="",
        mac=b"",
    )


def check_texts(**texts: object) -> None:
    """
    Refuse what a column of text would keep as something else: SQLite turns a number put there into
    text, and the row would fail its authentication for ever after; PostgreSQL takes no NUL.

    Raises:
        InvalidInputError: one is neither a plain `str` nor None, or holds a NUL.
    """
    for what, text in texts.items():
        if text is None:
            continue
        if type(text) is not str:
            raise InvalidInputError(f"the {what} beside a value is not text", hint="give a str")
        if "\0" in text:
            raise InvalidInputError(f"the {what} beside a value holds a NUL", hint="leave it out")


def metadata_of(row: EntryRow) -> Metadata:
    """Give the public facts of an authenticated row."""
    return Metadata(
        description=row.description,
        tags=() if row.tags == "[]" else _tags(row.tags),
        owner=row.owner,
        conn_type=row.conn_type,
        remind_at=_maybe_moment(row.remind_at),
        not_after=_maybe_moment(row.not_after),
        expires_at=_maybe_moment(row.expires_at),
        references=bool(row.has_references),
    )


@lru_cache(maxsize=1024)  # many entries have the same, and a list reads them by the thousand
def _tags(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def tags_in(text: object) -> tuple[str, ...]:
    """Give the tags of a row nobody has authenticated; none where there is no list of texts."""
    try:
        found = _tags(text) if type(text) is str and text != "[]" else ()
    except (TypeError, ValueError, RecursionError):
        return ()
    return found if all(type(tag) is str for tag in found) else ()


def version_info(row: VersionRow, *, is_current: bool, same_as: str | None) -> VersionInfo:
    """Give the line of a history for an authenticated version."""
    return VersionInfo(
        version=str(row.number),
        created_at=moment(row.created_at),
        author=row.author,
        comment=row.comment,
        is_current=is_current,
        same_as=same_as,
    )


def stands(row: EntryRow, now: int) -> bool:
    """Tell whether an entry is neither deleted nor expired at *now*."""
    return not row.is_deleted and (row.expires_at is None or row.expires_at > now)


def ref_of(kind: str, name: str, team: str) -> Ref | None:
    """Give the Ref of a row nobody has authenticated, None where it is not even a legal one."""
    try:
        return Ref(cast("Kind", kind), name, team or None)
    except InvalidInputError:
        return None


def micros(time: datetime) -> int:
    """
    Give *time* as a column holds it.

    Raises:
        InvalidInputError: it does not say its zone.
    """
    if time.tzinfo is None:
        raise InvalidInputError("a time must say its zone")
    return (time - _EPOCH) // _MICROSECOND


def moment(column: int) -> datetime:
    """Give the time that a column holds, in UTC."""
    return _EPOCH + timedelta(microseconds=column)


def is_time(column: object) -> bool:
    """Tell whether *column* holds a time that `moment` can give."""
    return type(column) is int and _EARLIEST <= column <= _LATEST


def _maybe_micros(time: datetime | None) -> int | None:
    if time is None:
        return None
    if not isinstance(time, datetime):
        raise InvalidInputError("a time beside a value is no date with a time", hint="give a datetime")
    column = micros(time)
    if not is_time(column):
        raise InvalidInputError("a time beside a value is outside the years 1 to 9999 in UTC")
    return column


def _maybe_moment(column: int | None) -> datetime | None:
    return None if column is None else moment(column)
