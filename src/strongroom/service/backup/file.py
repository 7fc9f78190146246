"""
A backup as a file: its parts one after the other, each in a frame.

Shape: `SRB` ‖ format (1) ‖ header ‖ chunks ‖ manifest, and nothing behind it. A part is its kind (1 byte:
H, C or M) ‖ its length (4, big-endian) ‖ its bytes. A header is JSON that tells people what the file is; a
chunk is rows sealed to the recipients; a manifest is the signed note that proves the rest.

Inside, a chunk is MessagePack: [id of the backup, number of the chunk, table, rows].

Rules of this file:

1. The file is 0600, stands under its name whole or not at all, and never takes the place of another.
2. Nothing a file says of a length is believed beyond a bound.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
from contextlib import suppress
from hashlib import sha256
from struct import Struct
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import msgspec

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    TamperedError,
)
from strongroom.service.backup.manifest import FORMAT, Manifest, newer, parse_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from strongroom.audit.note import Note

__all__ = ["MAX_CHUNK_BYTES", "Chunk", "Draft", "Reader", "read_chunk", "write_chunk"]

_MAGIC = b"SRB"
_FRAME = Struct(">cI")
_HEADER, _CHUNK, _MANIFEST = b"H", b"C", b"M"
_MAX_HEADER_BYTES = 65_536
_MAX_MANIFEST_BYTES = 67_108_864  # 64 MiB: the digests of half a million chunks
MAX_CHUNK_BYTES = 16_777_216  # 16 MiB: four times what a chunk is filled up to, plus one value


class Chunk(NamedTuple):
    """
    Rows of one table.

    Args:
        table: whose.
        rows: their columns, in order.
    """

    table: str
    rows: list[tuple[object, ...]]


def write_chunk(backup: bytes, number: int, chunk: Chunk) -> bytes:
    """Give *chunk* as it is sealed."""
    return msgspec.msgpack.encode([backup, number, chunk.table, chunk.rows])


def read_chunk(data: bytes, backup: bytes, number: int) -> Chunk:
    """
    Read what `write_chunk` gave for the same backup and number.

    Raises:
        TamperedError: it is another one, or none.
    """
    try:
        found: Any = msgspec.msgpack.decode(data)
        whose, which, table, rows = found
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        raise _damaged() from None
    if whose != backup or which != number or type(table) is not str or type(rows) is not list:
        raise TamperedError("a chunk of the backup stands in another's place", hint=_ANOTHER_COPY)
    if any(type(row) is not list for row in rows):
        raise _damaged()
    return Chunk(table, [tuple(row) for row in rows])


_ANOTHER_COPY = "take another copy of the file"


def _damaged() -> TamperedError:
    return TamperedError("the backup is damaged", hint=_ANOTHER_COPY)


class Draft:
    """
    A backup that is being written beside where it will stand; a context manager.

    Args:
        path: where it will stand.

    Raises:
        ConflictError: something stands there.
        BackendConfigError, BackendUnavailableError: nothing can be written there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        if os.path.lexists(self._path):
            raise _taken(self._path)
        self._draft = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file: BinaryIO = os.fdopen(os.open(self._draft, flags, 0o600), "wb")
        except OSError as error:
            raise _no_place(self._path, error) from None
        self.header = b""
        self.chunks: list[bytes] = []
        self.size = 0

    def begin(self, said: dict[str, object]) -> None:
        """Write the header, which says what people want to know of the file."""
        self._write(_MAGIC + bytes([FORMAT]))
        header = json.dumps({"format": FORMAT, **said}, sort_keys=True).encode()
        self.header = sha256(header).digest()
        self._part(_HEADER, header)

    def add(self, sealed: bytes) -> None:
        """Write one chunk."""
        self.chunks.append(sha256(sealed).digest())
        self._part(_CHUNK, sealed)

    def finish(self, note: bytes) -> None:
        """
        Write the manifest and put the file in its place, on the disk when this returns.

        Raises:
            ConflictError, BackendUnavailableError: as the class.
        """
        self._part(_MANIFEST, note)
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            # Linking is exclusive like O_EXCL: what came there meanwhile is not replaced.
            os.link(self._draft, self._path)
            self._draft.unlink()
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except FileExistsError:
            raise _taken(self._path) from None
        except OSError as error:
            raise _no_place(self._path, error) from None

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_details: object) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._draft.unlink()

    def _part(self, kind: bytes, data: bytes) -> None:
        self._write(_FRAME.pack(kind, len(data)) + data)

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise _no_place(self._path, error) from None
        self.size += len(data)


def _taken(path: Path) -> ConflictError:
    return ConflictError(
        f'"{path}" exists already and was left as it is', hint="give each backup a name of its own"
    )


def _no_place(path: Path, error: OSError) -> BackendConfigError | BackendUnavailableError:
    reason = os.strerror(error.errno or 0).lower()
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        return BackendUnavailableError(f"the backup cannot be written: {reason}", backend="backup")
    return BackendConfigError(f'no backup can be written to "{path}": {reason}', hint="name another place")


class Reader:
    """
    A backup that is being read.

    Args:
        path: of the file; read from its beginning as often as is asked for.

    Attributes:
        manifest: what it says it is; nothing has proven it yet.
        note: the manifest as it is signed.

    Raises:
        InvalidInputError: a newer release made it, it cannot be read, or is no backup.
        TamperedError: it is cut short, has parts in another order, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.note, self.manifest = self._proven()

    def _proven(self) -> tuple[Note, Manifest]:
        """Read the file once, and compare every part with what the manifest says of it."""
        header, chunks, last = b"", [], b""
        for kind, data in self._parts():
            if last or (kind == _HEADER) != (not header):
                raise _damaged()
            if kind == _HEADER:
                header = sha256(data).digest()
            elif kind == _CHUNK:
                chunks.append(sha256(data).digest())
            else:
                last = data
        if not last:
            raise _short()
        note, manifest = parse_manifest(last)
        _compare(manifest, header, chunks)
        return note, manifest

    def chunks(self, opened: Callable[[bytes], bytes]) -> Iterator[Chunk]:
        """
        Give the chunks in order, each opened by *opened*.

        Raises:
            As the class; and whatever *opened* raises.
        """
        number, backup = 0, bytes.fromhex(self.manifest.id)
        for kind, data in self._parts():
            if kind == _CHUNK:
                # Compared again: the file may have been replaced since it was proven.
                if sha256(data).hexdigest() != self.manifest.chunks[number]:
                    raise _damaged()
                yield read_chunk(opened(data), backup, number)
                number += 1
        if number != len(self.manifest.chunks):
            raise _short()

    def _parts(self) -> Iterator[tuple[bytes, bytes]]:
        try:
            with _opened(self._path) as file:
                start = file.read(len(_MAGIC) + 1)
                if start[: len(_MAGIC)] != _MAGIC:
                    raise InvalidInputError(
                        f'"{self._path}" is no backup of Strongroom', hint="name the file of a backup"
                    )
                if start[len(_MAGIC) :] != bytes([FORMAT]):
                    raise newer() if start[len(_MAGIC) :] > bytes([FORMAT]) else _damaged()
                while frame := file.read(_FRAME.size):
                    yield _part(file, frame)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise InvalidInputError(
                f'the backup "{self._path}" cannot be read: {reason}', hint="name the file of a backup"
            ) from None


def _part(file: BinaryIO, frame: bytes) -> tuple[bytes, bytes]:
    if len(frame) < _FRAME.size:
        raise _short()
    kind, length = _FRAME.unpack(frame)
    bounds = {_HEADER: _MAX_HEADER_BYTES, _CHUNK: 2 * MAX_CHUNK_BYTES, _MANIFEST: _MAX_MANIFEST_BYTES}
    if length > bounds.get(kind, -1):
        raise _damaged()
    data = file.read(length)
    if len(data) < length:
        raise _short()
    return kind, data


def _opened(path: Path) -> BinaryIO:
    # Not blocking: a named pipe in the place of a file must hold nobody up.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "no plain file")
    return file


def _compare(manifest: Manifest, header: bytes, chunks: Sequence[bytes]) -> None:
    found = [digest.hex() for digest in chunks]
    said = list(manifest.chunks)
    if found == said and header.hex() == manifest.header:
        return
    if sorted(found) == sorted(said) and found != said:
        raise TamperedError("the chunks of the backup stand in another order", hint=_ANOTHER_COPY)
    if len(found) < len(said) and set(found) <= set(said):
        raise _short()
    raise _damaged()


def _short() -> TamperedError:
    return TamperedError("the backup is cut short", hint="take another copy of the file, a whole one")
