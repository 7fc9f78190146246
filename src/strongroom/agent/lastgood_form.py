"""
The last good copy as bytes: what is written down of an entry, and what the copy is bound to.

Shape: `SRLG` ‖ version (1) ‖ length of the header (4, big-endian) ‖ header in JSON ‖ sealed part. Sealed is a
`Content` in MessagePack; how: `crypto/parcel.py`.
"""

from __future__ import annotations

import struct
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal

import msgspec

from strongroom.errors import InvalidInputError
from strongroom.model.entry import Entry, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.cache import Held

__all__ = [
    "Content",
    "Header",
    "RefusedError",
    "Row",
    "context_of",
    "date_of",
    "decoded",
    "encoded",
    "entry_of",
    "row_of",
    "split",
]

_MAGIC = b"SRLG"
_VERSION = 1
_START = struct.Struct(">4sBI")  # magic, version, length of the header
_MAX_HEADER_BYTES = 65_536


class RefusedError(InvalidInputError):
    """A last good copy is not to be used."""


class Header(msgspec.Struct, frozen=True):
    """What stands before the sealed part, and is bound to it."""

    deployment: str
    host: str
    generation: int
    written_at: float  # seconds since 1970 UTC
    boot: str
    booted: float  # seconds since the machine started


class _Quiet(msgspec.Struct):
    """What holds plaintext: a traceback's locals and a debugger print its class alone."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return []


class Row(_Quiet, array_like=True):
    """One entry; times in seconds, dates since 1970 UTC."""

    kind: Literal["connection", "variable", "config"]
    name: str
    team: str | None
    held_as: tuple[str, str | None]  # name and team under which its backend holds it
    text: str
    backend: str
    version: str | None
    read_at: float
    lifetime: float | None
    age: float  # when the copy was written
    about: About


class About(msgspec.Struct, array_like=True):
    """Its metadata."""

    description: str | None
    tags: tuple[str, ...]
    owner: str | None
    conn_type: str | None
    remind_at: float | None
    not_after: float | None
    expires_at: float | None
    references: bool


class Content(_Quiet):
    """What is sealed: entries, and what others keep, by name."""

    rows: list[Row]
    others: dict[str, bytes]


def context_of(header: Header) -> bytes:
    """
    Give what stands before the sealed part and is bound to it.

    Returns:
        `SRLG` ‖ version (1) ‖ length of the header (4, big-endian) ‖ the header in JSON.
    """
    text = msgspec.json.encode(header)
    return _START.pack(_MAGIC, _VERSION, len(text)) + text


def split(data: bytes) -> tuple[Header, bytes, bytes]:
    """
    Give the header, the bytes that are bound, and the sealed part.

    Raises:
        RefusedError: it is none, cut short, damaged or of another format.
    """
    if len(data) < _START.size or not data.startswith(_MAGIC):
        raise RefusedError("it is no last good copy", hint="it is replaced by the next")
    _, version, length = _START.unpack_from(data)
    if version != _VERSION:
        raise RefusedError(f"it is of format {version}, and this release reads format {_VERSION}")
    end = _START.size + length
    if length > _MAX_HEADER_BYTES or len(data) < end:
        raise RefusedError("it is cut short", hint="it is replaced by the next")
    try:
        header = msgspec.json.decode(data[_START.size : end], type=Header)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise RefusedError("its header is damaged", hint="it is replaced by the next") from None
    return header, data[:end], data[end:]


def encoded(content: Content) -> bytes:
    """Give what is sealed of *content*."""
    return msgspec.msgpack.encode(content)


def decoded(content: bytes) -> Content:
    """
    Give what the sealed part holds.

    Raises:
        RefusedError: another release wrote it.
    """
    try:
        return msgspec.msgpack.decode(content, type=Content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise RefusedError("what it holds is in another form than this release writes") from None


def row_of(held: Held) -> Row:
    """Give *held* as a row."""
    (kind, name, team), entry = held.ref, held.entry
    about = entry.metadata
    return Row(
        kind=kind,
        name=name,
        team=team,
        held_as=(entry.ref.name, entry.ref.team),
        text=entry.secret.reveal(),
        backend=entry.backend,
        version=entry.version,
        read_at=entry.read_at.timestamp(),
        lifetime=None if entry.lifetime is None else entry.lifetime.total_seconds(),
        age=held.age.total_seconds(),
        about=About(
            about.description,
            about.tags,
            about.owner,
            about.conn_type,
            _seconds(about.remind_at),
            _seconds(about.not_after),
            _seconds(about.expires_at),
            about.references,
        ),
    )


def entry_of(row: Row) -> Entry:
    """Give the entry of a row."""
    name, team = row.held_as
    about = row.about
    return Entry(
        ref=Ref(row.kind, name, team),
        secret=Secret(row.text),
        backend=row.backend,
        version=row.version,
        read_at=date_of(row.read_at),
        lifetime=None if row.lifetime is None else timedelta(seconds=row.lifetime),
        metadata=Metadata(
            description=about.description,
            tags=about.tags,
            owner=about.owner,
            conn_type=about.conn_type,
            remind_at=_date_or_none(about.remind_at),
            not_after=_date_or_none(about.not_after),
            expires_at=_date_or_none(about.expires_at),
            references=about.references,
        ),
    )


def _seconds(date: datetime | None) -> float | None:
    return None if date is None else date.timestamp()


def date_of(seconds: float) -> datetime:
    """Give the date of seconds since 1970 UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc)


def _date_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else date_of(seconds)
