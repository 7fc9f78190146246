"""
An outer key in a file: one line of text, mode 0600.

It protects against the theft of the store without the host. Whoever may read the file may open
the store; so may whoever reads a backup that holds both. Byte by byte: docs/envelope.md.

Rules of this file:

1. The file is judged on every load, through one open descriptor: a regular file, no link, mine or
   root's, closed to everybody else, in a directory where nobody else could swap it.
2. A key that is missing, damaged or another one is an error that names the path. Nothing is
   repaired, overwritten or made in its place.
3. `create` leaves a whole key or none, whenever it is interrupted.
"""

from __future__ import annotations

import base64
import binascii
import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.crypto import wrapping
from strongroom.crypto.wrapping import LoadedWrapper
from strongroom.errors import BackendConfigError, ConflictError, SealedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FileWrapper", "create"]

_MARK = "strongroom-key-v1"
_MAX_BYTES = 4096  # a line is 97; what is longer is some other file
_KEY_BYTES = 32


class FileWrapper(LoadedWrapper):
    """
    Wrap with the key in the file at *path*, read anew and judged anew for each call.

    Threads: safe. Nothing is read before the first call.
    """

    kind = "file"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path).absolute()
        self.name = str(self._path)

    def _load(self) -> bytes:
        return _load(self._path)

    def _another(self, mark: str) -> SealedError:
        return SealedError(
            f'the key file "{self._path}" holds another key than the one this store was sealed with',
            hint=f"bring back the key {mark}, or name the file that holds it",
        )


def create(path: str | os.PathLike[str]) -> FileWrapper:
    """
    Make a new key file at *path* and the directories that lead to it.

    Shape: `strongroom-key-v1 <label, 16 hex digits> <key, base64>` and a newline; file mode 0600,
    new directories 0700; all on disk before this returns.

    Raises:
        ConflictError: something is at *path* already; it is left as it is.
        BackendConfigError: the directory is not to be trusted, or cannot be written.
    """
    target = Path(path).absolute()
    key = wrapping.draw_key()
    line = f"{_MARK} {wrapping.label(key).hex()} {base64.b64encode(key).decode('ascii')}\n"
    try:
        _make_directories(target.parent)
        with _directory(target) as directory:
            _write_once(directory, target.name, line.encode("ascii"))
    except FileExistsError:
        raise ConflictError(
            f'"{target}" exists already and was left as it is', hint="name another path for the new key"
        ) from None
    except OSError as error:
        raise BackendConfigError(
            f'cannot make the key file "{target}": {_reason(error)}',
            hint="choose a directory of yours on a local disk",
        ) from None
    return FileWrapper(target)


def _write_once(directory: int, name: str, content: bytes) -> None:
    # Linking a finished file into place is exclusive like O_EXCL, and a crash leaves no half key there.
    draft = f".{name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o600, dir_fd=directory)
    try:
        try:
            os.fchmod(descriptor, 0o600)  # whatever the umask took away
            if os.write(descriptor, content) != len(content):
                raise OSError(errno.ENOSPC, "short write")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(draft, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(draft, dir_fd=directory)
    os.fsync(directory)


def _make_directories(directory: Path) -> None:
    if directory.exists():
        return
    _make_directories(directory.parent)
    with suppress(FileExistsError):  # another process was faster; the directory is judged next
        directory.mkdir(mode=0o700)
    descriptor = os.open(directory.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _load(path: Path) -> bytes:
    """Give the key in the file at *path*, or say what is wrong with it."""
    try:
        with _directory(path) as directory:
            content = _read(path, directory)
    except FileNotFoundError:
        raise SealedError(
            f'the key file "{path}" is missing', hint="bring it back, or name the file that holds the key"
        ) from None
    except OSError as error:
        raise SealedError(
            f'the key file "{path}" cannot be read: {_reason(error)}', hint="make it readable for this user"
        ) from None
    return _parse(content, path)


def _read(path: Path, directory: int) -> bytes:
    # O_NONBLOCK: opening a named pipe must not wait for its writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path.name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            raise _untrusted(path, "is a symbolic link", "name the file it points to") from None
        raise
    try:
        _judge_file(path, os.fstat(descriptor))
        return os.read(descriptor, _MAX_BYTES + 1)
    finally:
        os.close(descriptor)


def _judge_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _untrusted(path, "is not a regular file", "name the file that holds the key")
    if status.st_uid not in {os.geteuid(), 0}:
        raise _untrusted(path, "belongs to another user", f"chown it to the user with id {os.geteuid()}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise _untrusted(path, "is open to other users", f'chmod 600 "{path}"')


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    """Open the directory of *path* and judge it; what follows goes through this descriptor."""
    parent = path.parent
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if status.st_uid not in {os.geteuid(), 0}:
            raise _untrusted(parent, "belongs to another user", "keep the key in a directory of your own")
        # In a sticky directory (/tmp) others may add files but not touch mine.
        if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
            raise _untrusted(parent, "can be written by other users", f'chmod go-w "{parent}"')
        yield descriptor
    finally:
        os.close(descriptor)


def _parse(content: bytes, path: Path) -> bytes:
    try:
        mark, label, encoded = content.decode("ascii").removesuffix("\n").split(" ")
        key = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        raise _damaged(path) from None
    if mark != _MARK or len(key) != _KEY_BYTES or base64.b64encode(key).decode("ascii") != encoded:
        raise _damaged(path)
    # The label tells a damaged key from another whole one.
    if label != wrapping.label(key).hex():
        raise _damaged(path)
    return key


def _damaged(path: Path) -> SealedError:
    return SealedError(
        f'the key file "{path}" is damaged, or is no key file of strongroom',
        hint="bring it back from a backup; a new key would not open what is stored",
    )


def _untrusted(path: Path, what: str, fix: str) -> BackendConfigError:
    return BackendConfigError(f'"{path}", where the key is kept, {what}', hint=fix)


def _reason(error: OSError) -> str:
    # The name of the number (ENOSPC), not the system's text: that may quote more than the path.
    return errno.errorcode.get(error.errno or 0, "unknown reason")
