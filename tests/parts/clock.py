"""
A wall clock that jumps, for one process: libfaketime moves `CLOCK_REALTIME` and leaves the others alone.

    wall = Wall(tmp_path)
    with agent(tmp_path, SETTINGS, environ=wall.environ) as one:
        wall.jump("+10y")                 # from now on, for that process; "+0" is the real time again

Without the library tests skip, and fail where `CI` is set. It breaks `time.sleep`, which nothing does that
runs under it.
"""

from __future__ import annotations

from pathlib import Path

from parts.agent import missing

_PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")
JUMPS = ("+1h", "-1h", "+10y", "-10y")


class Wall:
    """
    The wall clock of the processes that have its environment.

    Attributes:
        environ: what puts a process under it.
    """

    def __init__(self, folder):
        found = [path for place in _PLACES for path in Path("/").glob(place.lstrip("/"))]
        if not found:
            missing("libfaketime is not here: run scripts/system-packages")
        self._file = folder / "wall-clock"
        self.jump("+0")
        self.environ = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, offset):
        """Be *offset* (`+1h`, `-10y`) away from the real time."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.replace(self._file)
