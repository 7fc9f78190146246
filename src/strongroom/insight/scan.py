"""
Look through files for secrets written into code, within bounds.

Not for what is a secret (`literals.py`).

Rules of this file:

1. No symbolic link inside a folder is followed, nothing but regular files is opened.
2. The work is bounded: files of 1 MiB, 2,000 of them, 3 s; what was left out is said.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.insight.literals import scan_image, scan_python

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Scan", "Spot", "python_texts", "scan_tree", "text_of"]

MAX_FILE_BYTES = 1_048_576  # 1 MiB
MAX_FILES = 2_000
MAX_SECONDS = 3.0
_MAX_ENTRIES = 50_000  # names of folders looked at, files or not
_IMAGE_NAME = re.compile(r"(?:.*[._-])?(?:dockerfile|containerfile)(?:[._-].*)?", re.IGNORECASE)
_COMPOSE_NAME = re.compile(r"(?:docker-)?compose(?:[._-].*)?\.ya?ml", re.IGNORECASE)
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a literal stands: the file, its line from 1, and the rule that saw it."""

    path: Path
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} ({self.rule})"


@dataclass(slots=True)
class Scan:
    """
    What was scanned so far.

    Args:
        clock: monotonic seconds.

    Attributes:
        spots: what was found, in the order of files.
        files: how many files were read.
        skipped: how many were not: too large, unreadable or no UTF-8.
        stopped: why it ended early, or "".
    """

    spots: list[Spot]
    files: int = 0
    skipped: int = 0
    stopped: str = ""
    clock: Callable[[], float] = time.monotonic
    until: float = 0.0

    @classmethod
    def begin(cls, clock: Callable[[], float] = time.monotonic) -> Scan:
        """Begin: the time counts from now."""
        return cls(spots=[], clock=clock, until=clock() + MAX_SECONDS)

    def goes_on(self) -> bool:
        """Tell whether another file may be looked at; keeps the reason where not."""
        if not self.stopped and self.files + self.skipped >= MAX_FILES:
            self.stopped = f"after {MAX_FILES} files"
        if not self.stopped and self.clock() > self.until:
            self.stopped = f"after {MAX_SECONDS:g} s"
        return not self.stopped


def scan_tree(folder: Path, scan: Scan, *, is_project: bool = False) -> None:
    """
    Scan the Python files below *folder*, or of a project's own folder the Dockerfiles and compose files
    that stand in it.

    Args:
        folder: may itself be a symbolic link, as of a git-sync; one inside it is not followed.
        scan: takes what is found.
        is_project: look at Dockerfiles and compose files, not below.
    """
    wanted = _is_image if is_project else _is_python
    look = scan_image if is_project else scan_python
    for path, text in _texts(folder, scan, wanted, is_deep=not is_project):
        scan.spots.extend(Spot(path, line, rule) for line, rule in look(text))


def python_texts(folder: Path, scan: Scan) -> Iterator[str]:
    """Give the text of each Python file below *folder*, within the bounds of *scan*, which counts them."""
    for _, text in _texts(folder, scan, _is_python, is_deep=True):
        yield text


def _texts(
    folder: Path, scan: Scan, wanted: Callable[[str], bool], *, is_deep: bool
) -> Iterator[tuple[Path, str]]:
    """Give the files whose names are *wanted*, with their texts, and count each in *scan*."""
    for path in _files(folder, scan, is_deep=is_deep):
        if not wanted(path.name):
            continue
        if not scan.goes_on():
            return
        text = text_of(path)
        if text is None:
            scan.skipped += 1
        else:
            scan.files += 1
            yield path, text


def _is_python(name: str) -> bool:
    return name.endswith(".py")


def _is_image(name: str) -> bool:
    return bool(_IMAGE_NAME.fullmatch(name) or _COMPOSE_NAME.fullmatch(name))


def _files(folder: Path, scan: Scan, *, is_deep: bool) -> Iterator[Path]:
    """Give regular files, a folder at a time in order of their names; links are passed over."""
    folders, seen = [folder], 0
    while folders:
        here = folders.pop()
        try:
            with os.scandir(here) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        seen += len(found)
        if seen > _MAX_ENTRIES:
            scan.stopped = scan.stopped or f"after {_MAX_ENTRIES} names"
        if not scan.goes_on():
            return
        below = []
        for entry in found:
            if entry.is_file(follow_symlinks=False):
                yield Path(entry.path)
            elif is_deep and entry.is_dir(follow_symlinks=False) and not _is_skipped(entry.name):
                below.append(Path(entry.path))
        folders.extend(reversed(below))


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _SKIPPED_FOLDERS


def text_of(path: Path) -> str | None:
    """Give the text of a regular file of at most 1 MiB, or None; a symbolic link is not followed."""
    # Between listing and opening the file may become a link or a pipe.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        file = os.open(path, flags)
    except OSError:
        return None
    with os.fdopen(file, "rb") as opened:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_FILE_BYTES:
            return None
        try:
            return opened.read(MAX_FILE_BYTES).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            return None
