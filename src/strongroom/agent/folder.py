"""
Files of the agent's: read, and replaced as a whole, in folders that nobody else could swap.

Not for what stands in them (`lastgood.py`, `outputs.py`).

Rules of this file:

1. The way to a folder is walked name by name, each through the descriptor of the one before. A symbolic link
   on it is followed only where root made it in a folder of root's, as `/var/run`.
2. A folder that everybody may write to must be sticky, unless that is said to be wanted, and the last one
   must be root's, mine, or the file's owner's. What is only read may also stand where nobody can write: on a
   read-only mount, as the settings of a pod do.
3. A file is replaced by another that is whole, has its mode and owner, and is on disk before it has the name.
   What cannot be written leaves the old one as it is, and nothing beside it.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import BackendConfigError, BackendUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from strongroom.errors import StrongroomError

__all__ = ["Looks", "open_folder", "read_file", "replace_file"]

_MAX_LINKS = 8  # root's own, on the way to one folder
_TRANSIENT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EINTR, errno.EMFILE, errno.ENFILE})
_CHUNK_BYTES = 1_048_576


class Looks(NamedTuple):
    """
    How a file looks from outside.

    Args:
        mode: its permission bits.
        uid, gid: whose it is; None for who writes it.
        is_shared: everybody may write to its folder, and so may take it away or put another in its place.
    """

    mode: int = 0o600
    uid: int | None = None
    gid: int | None = None
    is_shared: bool = False


def read_file(path: Path, *, max_bytes: int, is_private: bool = True) -> bytes | None:
    """
    Give what stands in the file at *path*, None where there is none.

    Args:
        path: where it is.
        max_bytes: what is longer is refused.
        is_private: it must be mine and closed to others; else it must be mine or root's, and nobody else may
            write to it.

    Raises:
        BackendConfigError: it is a link, no file, too long, or not to be trusted.
        BackendUnavailableError: the disk does not give it now.
    """
    try:
        if not is_private and (content := _read_only(path, max_bytes)) is not None:
            return content
        with open_folder(path) as folder:
            descriptor = os.open(
                path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder
            )
            try:
                _judge_file(path, os.fstat(descriptor), is_private=is_private)
                return _all(descriptor, path, max_bytes)
            finally:
                os.close(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _trouble(error, path, "read") from None


def replace_file(path: Path, content: bytes, looks: Looks = Looks()) -> bool:  # noqa: B008 -- immutable
    """
    Make *content* stand at *path*, whole and on disk; tell whether that changed anything.

    Raises:
        BackendConfigError: *path* or its folder is not to be trusted, or may not be written.
        BackendUnavailableError: there is no space, or the disk fails.
    """
    try:
        with open_folder(path, owner=looks.uid, is_shared=looks.is_shared) as folder:
            if _stands(folder, path, content, looks):
                return False
            _replace(folder, path.name, content, looks)
    except FileNotFoundError:
        raise BackendConfigError(
            f'the folder of "{path}" is not there', hint=f'make it: mkdir -p "{path.parent}"'
        ) from None
    except OSError as error:
        raise _trouble(error, path, "written") from None
    return True


def _read_only(path: Path, max_bytes: int) -> bytes | None:
    """Give what stands in a file on a read-only mount, through whatever links; None where it is on none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
            return None
        _judge_file(path, os.fstat(descriptor), is_private=False)
        return _all(descriptor, path, max_bytes)
    finally:
        os.close(descriptor)


@contextmanager
def open_folder(path: Path, *, owner: int | None = None, is_shared: bool = False) -> Iterator[int]:
    """
    Give a descriptor of the folder that the file *path* stands in, judged (rules 1 and 2).

    Raises:
        BackendConfigError: it is not to be trusted.
        FileNotFoundError, OSError: it cannot be opened.
    """
    folder = _walk(path, is_shared=is_shared)
    try:
        found = os.fstat(folder)
        if found.st_uid not in {0, os.geteuid(), owner}:
            raise _untrusted(path.parent, "belongs to another user", "use a folder of root's or of the owner")
        yield folder
    finally:
        os.close(folder)


def _walk(path: Path, *, is_shared: bool) -> int:
    """Open the folder of *path* name by name."""
    names = list(reversed(_names(path.parent)))
    folder, links = _root(), 0
    try:
        while names:
            name = names.pop()
            target = _link(folder, name, path, links)
            if target is not None:
                links += 1
                names += reversed([part for part in target.split("/") if part])
                if target.startswith("/"):
                    folder = _instead(folder, _root())
                continue
            flags = os.O_PATH if names else os.O_RDONLY
            inner = os.open(name, flags | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            folder = _instead(folder, inner)
            if not is_shared:
                _judge_folder(folder, path)
    except BaseException:
        os.close(folder)
        raise
    return folder


def _root() -> int:
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _names(folder: Path) -> list[str]:
    return [name for name in os.path.normpath(folder.absolute()).split("/") if name] or ["."]


def _instead(before: int, after: int) -> int:
    os.close(before)
    return after


def _link(folder: int, name: str, path: Path, links: int) -> str | None:
    """Give where *name* leads if it is a link that may be followed, None if it is none."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        return None
    holder = os.fstat(folder)
    is_roots = found.st_uid == 0 and holder.st_uid == 0 and not holder.st_mode & 0o022
    if not is_roots or links >= _MAX_LINKS:
        raise _untrusted(path.parent, "is reached through a symbolic link", "name the folder it points to")
    return os.readlink(name, dir_fd=folder)


def _judge_folder(folder: int, path: Path) -> None:
    mode = os.fstat(folder).st_mode
    if mode & 0o002 and not mode & stat.S_ISVTX:
        raise _untrusted(path.parent, "is, or stands in, a folder that everybody may write to", "chmod o-w")


def _judge_file(path: Path, found: os.stat_result, *, is_private: bool) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise _untrusted(path, "is no regular file", "take it away")
    mine = {os.geteuid()} if is_private else {0, os.geteuid()}
    if found.st_uid not in mine:
        raise _untrusted(path, "belongs to another user", "take it away, or give it to the agent's user")
    if found.st_mode & (0o077 if is_private else 0o022):
        raise _untrusted(path, "is open to other users", f'chmod {"600" if is_private else "go-w"} "{path}"')


def _all(descriptor: int, path: Path, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    left = max_bytes + 1
    while left > 0 and (piece := os.read(descriptor, min(left, _CHUNK_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    if left <= 0:
        raise _untrusted(path, f"has more than {max_bytes} bytes", "take it away")
    return b"".join(pieces)


# --- writing -------------------------------------------------------------------------------------


def _stands(folder: int, path: Path, content: bytes, looks: Looks) -> bool:
    """Tell whether the file is there already as it should be; refuse what is no file of ours."""
    try:
        found = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(found.st_mode):
        what = "is a symbolic link" if stat.S_ISLNK(found.st_mode) else "is no regular file"
        raise _untrusted(path, what, "take it away, or name another path")
    if found.st_uid not in {0, os.geteuid(), looks.uid}:
        raise _untrusted(path, "belongs to another user", "take it away, or name another path")
    if not _looks_so(found, looks) or found.st_size != len(content):
        return False
    try:
        descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return False  # its owner took it from us meanwhile, or we may not read it: written anew
    try:
        return _all(descriptor, path, len(content)) == content
    finally:
        os.close(descriptor)


def _looks_so(found: os.stat_result, looks: Looks) -> bool:
    uid = os.geteuid() if looks.uid is None else looks.uid
    is_group = looks.gid is None or found.st_gid == looks.gid
    return stat.S_IMODE(found.st_mode) == looks.mode and found.st_uid == uid and is_group


def _replace(folder: int, name: str, content: bytes, looks: Looks) -> None:
    # One name for all drafts of a file, so that what a crash left behind is gone with the next.
    draft = f".{name}.strongroom-new"
    with suppress(FileNotFoundError):
        os.unlink(draft, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o600, dir_fd=folder)
    try:
        try:
            _write(descriptor, content)
            if looks.uid is not None or looks.gid is not None:
                uid, gid = (-1 if each is None else each for each in (looks.uid, looks.gid))
                os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, looks.mode)  # after chown, and whatever the umask took away
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft, dir_fd=folder)
        raise
    os.fsync(folder)


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest[:_CHUNK_BYTES]) :]


def _untrusted(path: Path, what: str, hint: str) -> BackendConfigError:
    return BackendConfigError(f'"{path}" {what}', hint=hint)


def _trouble(error: OSError, path: Path, verb: str) -> StrongroomError:
    why = os.strerror(error.errno or 0).lower()
    if error.errno == errno.ELOOP:
        return _untrusted(path, "is a symbolic link", "take it away, or name another path")
    if error.errno in _TRANSIENT:
        return BackendUnavailableError(f'"{path}" cannot be {verb} now: {why}', backend="agent")
    return BackendConfigError(
        f'"{path}" cannot be {verb}: {why}', hint=f"look at the rights of its folder for uid {os.geteuid()}"
    )
