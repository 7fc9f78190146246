"""A folder of files for one command: private, in memory where the system has such a place, gone with it."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from strongroom.model.secret import Secret

__all__ = ["place_in_memory", "private_folder", "replace_file"]


@contextmanager
def private_folder(files: Mapping[str, Secret[str]], environ: Mapping[str, str]) -> Iterator[Path]:
    """
    Write *files* into a new folder that only this user may enter, and remove it afterwards.

    It stands in memory where the system has such a place: `XDG_RUNTIME_DIR`, else `/dev/shm`; else in
    the folder for temporary files.

    Raises:
        InvalidInputError: a file could not be written; nothing is left behind.
    """
    folder = Path(tempfile.mkdtemp(prefix="strongroom-", dir=place_in_memory(environ)))  # 0700
    try:
        for name, text in files.items():
            _write_file(folder / name, text)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            sys.stderr.write(f"strongroom: warning: remove {folder} yourself: it could not be removed\n")


def _write_file(path: Path, text: Secret[str]) -> None:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:  # noqa: PTH123 -- a descriptor, opened with its mode
            file.write(text.reveal().encode())
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise InvalidInputError(f"the file {path.name} cannot be written: {why}") from None


def replace_file(path: Path, text: Secret[str]) -> None:
    """
    Write *path* anew, as a whole: whoever reads it meanwhile reads the old or the new.

    Raises:
        InvalidInputError, OSError: it could not be written; nothing of *text* is left behind.
    """
    draft = path.with_name(f".{path.name}.new"[-255:])
    with suppress(FileNotFoundError):
        draft.unlink()
    try:
        _write_file(draft, text)
        draft.rename(path)
    except (InvalidInputError, OSError):
        with suppress(OSError):
            draft.unlink()
        raise


def place_in_memory(environ: Mapping[str, str]) -> str | None:
    """Give a folder that is never written to a disk, or None for the usual place of such files."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    # XDG Base Directory Specification: owned by the user, mode 0700, else not to be used.
    with suppress(OSError):
        found = Path(runtime).stat()
        is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
        if runtime.startswith("/") and is_private and found.st_uid == os.geteuid():
            return runtime
    shared = "/dev/shm"  # noqa: S108 -- mkdtemp makes a folder of our own in it
    return shared if os.access(shared, os.W_OK | os.X_OK) else None
