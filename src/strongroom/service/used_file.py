"""
Tokens that an agent without a server used: in its memory, and in a file that outlives it (`used-tokens` in
its state folder, 0600).

Each line is the digest of the token and that of who used it, in hexadecimal, and the second in which it may
be forgotten. Nothing of a token can be told from it. A line is with the kernel before the token counts as
used: a crash of the machine may lose the last ones, as it ends every supervisor, too.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from strongroom.errors import BackendUnavailableError
from strongroom.service.runs import Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["UsedInFile"]

_LINE = re.compile(rb"([0-9a-f]{64}) ([0-9a-f]{64}|-) ([0-9]{1,12})")
_MAX_BYTES = 16_777_216  # 16 MiB: as many as are remembered


class UsedInFile(Remembered):
    """
    A `service.runs.Once` in a file of one agent. Threads: safe.

    Args:
        path: of the file; it is made with the first token, and holds only what counts still from then on.
        clock: tells the time, in UTC.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime]) -> None:
        super().__init__(clock)
        self._path = path
        self._file = -1
        for digest, holder, until in _read(path):
            self.learn(digest, holder, until)

    def _noted(self, digest: bytes, holder: bytes, until: datetime) -> None:
        try:
            if self._file < 0:
                self._file = self._opened()
            os.write(self._file, _line(digest, holder, until))
        except OSError as error:
            raise BackendUnavailableError(
                f"which tokens were used cannot be kept ({os.strerror(error.errno or 0).lower()})",
                backend="runs",
                hint=f"see what stands at {self._path}",
            ) from None

    def _opened(self) -> int:
        """Write anew what counts, and give the file to add to."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path.with_name(f"{self._path.name}.new")
        with suppress(FileNotFoundError):
            draft.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(draft, flags, 0o600)
        try:
            os.write(file, b"".join(_line(digest, *used) for digest, used in self._used.items()))
            draft.rename(self._path)
        except OSError:
            os.close(file)
            raise
        return file


def _line(digest: bytes, holder: bytes, until: datetime) -> bytes:
    return f"{digest.hex()} {holder.hex() or '-'} {int(until.timestamp())}\n".encode()


def _read(path: Path) -> Iterator[tuple[bytes, bytes, datetime]]:
    """Give what stands in the file; lines that a crash cut short, and any others, are passed over."""
    try:
        with path.open("rb") as file:
            lines = file.read(_MAX_BYTES).splitlines()
    except OSError:
        return
    for line in lines:
        found = _LINE.fullmatch(line)
        if found is not None:
            holder = b"" if found[2] == b"-" else bytes.fromhex(found[2].decode())
            until = datetime.fromtimestamp(int(found[3]), tz=timezone.utc)
            yield bytes.fromhex(found[1].decode()), holder, until
