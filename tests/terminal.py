"""A pseudo-terminal of a given width, for tests of what people see and are asked."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from pathlib import Path

import strongroom
from parts import warm

_PROGRAM = (
    "import os, sys\n"
    f"sys.path.insert(0, {str(Path(strongroom.__file__).parents[1])!r})  # the one under test, not another\n"
    "os.open(os.ttyname(0), os.O_RDWR)  # the first one a session opens becomes its own\n"
    "from strongroom.cli.main import run\n"
    "run()\n"
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_SECONDS = 60  # only a test that hangs waits so long


@dataclass
class Seen:
    code: int
    raw: str

    @property
    def text(self) -> str:
        """What was shown, without its colours."""
        return _COLOUR.sub("", self.raw)


def on_terminal(arguments, environ, *, answers=(), columns=80, cwd=None, is_cold=False) -> Seen:
    """
    Run `strongroom` on a terminal; each of *answers* is (what is shown last, what is typed then), the latter
    as such or made of all that was shown. It starts warm (parts/warm.py) unless that is said.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    how = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "cwd": cwd, "start_new_session": True}
    how["env"] = {**environ, "TERM": "xterm"}
    if is_cold:
        process = subprocess.Popen([sys.executable, "-c", _PROGRAM, *arguments], **how)
    else:
        process = warm.Popen(arguments, on_terminal=True, **how)
    os.close(theirs)
    shown = _talk(ours, list(answers))
    os.close(ours)
    return Seen(process.wait(_SECONDS), shown.decode().replace("\r\n", "\n"))


def _talk(ours: int, answers: list) -> bytes:
    shown, asked = b"", 0
    while select.select([ours], [], [], _SECONDS)[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says EIO when the other end is closed
            return shown
        if not piece:
            return shown
        shown += piece
        if answers and answers[0][0].encode() in shown[asked:]:
            asked = len(shown)
            typed = answers.pop(0)[1]
            typed = typed(_COLOUR.sub("", shown.decode())) if callable(typed) else typed
            os.write(ours, typed if isinstance(typed, bytes) else typed.encode())
    raise AssertionError(f"nothing more was shown after {shown[-200:]!r}")
