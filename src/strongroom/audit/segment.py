"""
The segment that one process alone appends to: written at once, synced apart from that.

Not for a log that several processes append to (`log.py`), nor for deciding when to sync (`spool.py`).

Rules of this file:

1. What `write` took is with the kernel: it outlives the process. What `sync` took is on the disk.
2. A sync that failed says nothing of what it should have written, and the next one would say yes without
   writing it (a page that failed counts as clean). So lines are kept until a sync took them, and written
   again before the next one.
3. A write that failed leaves nothing of itself.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.audit.log import segment_name

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Segment", "begin"]

_ROOM_STEP_BYTES = 65_536  # taken at once: writing so much holds the other threads up for some 20 µs


class Segment:
    """
    An open segment.

    Threads: `write`, `unsynced` and `take_room` under one lock of the caller's; `sync` beside them, by one
    thread at a time.

    Args:
        path: its file.
        file: its descriptor, which becomes this object's.
        size: of the lines in it.
        room: size of the file.

    Attributes:
        name, file, size: as given, as they stand now.
        number: of the file in its file system.
        is_suspect: a sync failed, so what it was about must be written again.
    """

    def __init__(self, path: Path, file: int, size: int, room: int) -> None:
        self.name = str(path)
        self.file = file
        self.number = os.fstat(file).st_ino
        self.size = size
        self.is_suspect = False
        self._room = room
        self._lines: list[bytes] = []
        self._synced = size
        self._takes_room = True

    @property
    def is_synced(self) -> bool:
        """Whether nothing was written since the last sync."""
        return self._synced == self.size

    def write(self, data: bytes) -> None:
        """
        Hand *data*, whole lines, to the kernel.

        Raises:
            OSError: it could not be written, and nothing of it stands there.
        """
        try:
            if os.pwrite(self.file, data, self.size) != len(data):
                raise OSError(errno.ENOSPC, "short write")  # noqa: TRY301 -- undone like any other
        except OSError:
            self._undo()
            raise
        self.size += len(data)
        self._lines.append(data)

    def _undo(self) -> None:
        # If this fails as well, the next to open the log finds a torn line at its end, and cuts it off.
        with suppress(OSError):
            os.ftruncate(self.file, self.size)
        self._room = self.size

    def unsynced(self) -> list[bytes]:
        """Give what was written and not synced, for `sync`."""
        lines, self._lines = self._lines, []
        return lines

    def sync(self, lines: list[bytes]) -> None:
        """
        Make *lines*, from `unsynced`, durable.

        Raises:
            OSError: they may not be; hand them to `keep`.
        """
        if self.is_suspect:
            data = b"".join(lines)
            if os.pwrite(self.file, data, self._synced) != len(data):
                raise OSError(errno.ENOSPC, "short write")
        os.fdatasync(self.file)
        self.is_suspect = False
        self._synced += sum(map(len, lines))

    def keep(self, lines: list[bytes]) -> None:
        """Take back what `sync` failed to make durable."""
        self._lines[:0] = lines
        self.is_suspect = True

    def lacks_room(self, least: int) -> bool:
        """Tell whether less than *least* bytes are taken behind the lines, and more should be."""
        return self._takes_room and self._room - self.size < least

    def take_room(self) -> None:
        """Take some more room behind the lines, so that a sync need not write where the file ends."""
        end = max(self._room, self.size)
        try:
            # Zeros, not a hole: only blocks that are written once are synced without a journal entry.
            self._room = end + os.pwrite(self.file, bytes(_ROOM_STEP_BYTES), end)
        except OSError:
            self._takes_room = False  # what must be written may fit all the same
            with suppress(OSError):
                os.ftruncate(self.file, end)

    def close(self) -> None:
        """Give the room back and let go of the file. Raises nothing."""
        with suppress(OSError):
            os.ftruncate(self.file, self.size)
        with suppress(OSError):
            os.close(self.file)


def begin(folder: Path, seq: int) -> Segment:
    """
    Begin the segment whose first record is number *seq*; its name is durable once the folder is synced.

    Raises:
        OSError: it cannot be made.
    """
    path = folder / segment_name(seq)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    return Segment(path, file, 0, 0)
