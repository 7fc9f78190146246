"""The anchor: the highest revision acknowledged, in a file outside the store."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

from strongroom.errors import BackendUnavailableError, TamperedError

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.registry.seal import Seal

_ANCHOR_SECONDS = 1.0  # between two writes of the anchor by one process
_ANCHOR_BYTES = 256


class Anchor:
    """
    The highest revision that was acknowledged, in a file outside the store.

    A file that is missing, damaged or of another store says nothing. One that cannot be written is left
    as it is: it only makes an old state put back harder to pass off.
    """

    def __init__(self, path: Path | None, seal: Seal, deployment: str, store_id: bytes) -> None:
        self._path = path
        self._seal = seal
        self._names = (deployment, store_id)
        self._reached = 0
        self._written = 0
        self._again_at = 0.0
        self._lock = Lock()

    def after_fork(self) -> None:
        """Forget a lock that another thread of the parent may have held."""
        self._lock = Lock()

    def read(self) -> int:
        """Give the revision it holds, 0 where it holds none."""
        if self._path is None:
            return 0
        try:
            with self._path.open("rb") as file:
                return self._parsed(file.read(_ANCHOR_BYTES))
        except OSError:
            return 0

    def _parsed(self, data: bytes) -> int:
        try:
            said = json.loads(data)
            revision, mac = int(said["revision"]), bytes.fromhex(said["mac"])
            self._seal.check_row("registry-anchor", (*self._names, revision), mac)
        except (ValueError, TypeError, KeyError, RecursionError, TamperedError):
            return 0
        return revision

    def reach(self, revision: int) -> None:
        """Hold *revision*: at once, or with the next `flush` when the last write was a moment ago."""
        self._reached = max(self._reached, revision)
        if monotonic() >= self._again_at:
            self.flush()

    def flush(self) -> None:
        """Write what was reached since."""
        if self._path is None or self._reached <= self._written:
            return
        with self._lock:
            reached = self._reached
            with suppress(OSError, BackendUnavailableError):
                self._write(self._path, reached)
            self._written = reached
            self._again_at = monotonic() + _ANCHOR_SECONDS

    def _write(self, path: Path, revision: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(path, flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self._parsed(os.pread(file, _ANCHOR_BYTES, 0)) >= revision:
                return
            mac = self._seal.mac_row("registry-anchor", (*self._names, revision))
            line = json.dumps({"mac": mac.hex(), "revision": revision})
            os.pwrite(file, line.ljust(_ANCHOR_BYTES - 1).encode() + b"\n", 0)
            os.fdatasync(file)
        finally:
            os.close(file)
