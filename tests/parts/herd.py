"""
Many cold processes at once: each is started, waits at a gate, and then imports, connects and reads.

    with herd(one.environ, 200, names) as processes:
        found = processes.release()       # (seconds to the first value, seconds to the last) of each

Each reads every name once, in an order of its own, and holds what it got against what was said.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager

# Nothing but what every Python has is loaded before the gate opens.
PROGRAM = r"""
import os, sys
gate, number, count = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
names, expected = sys.argv[4].split(","), sys.argv[5]
from time import monotonic
print("waiting", flush=True)
os.read(gate, 1)
begun = monotonic()
import strongroom
first = None
for index in range(len(names)):
    name = names[(index + number * len(names) // count) % len(names)]
    text = strongroom.variable(name)
    if text != expected + name:
        sys.exit("a wrong value")
    first = first or monotonic()
ended = monotonic()
print([first - begun, ended - begun])
"""


class Herd:
    """Processes that wait at a gate."""

    def __init__(self, processes, gate):
        self._processes = processes
        self._gate = gate

    def release(self, seconds=60):
        """Open the gate; give seconds to the first and to the last value of each."""
        os.close(self._gate)
        self._gate = None
        found = []
        for process in self._processes:
            out, err = process.communicate(timeout=seconds)
            assert process.returncode == 0, err
            found.append(tuple(json.loads(out)))
        return found

    def end(self):
        if self._gate is not None:
            os.close(self._gate)
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


@contextmanager
def herd(environ, count, names, *, expected=""):
    """
    Start *count* processes that read the variables *names* once they may.

    Args:
        expected: what stands before the name in each value.
    """
    inner, outer = os.pipe()
    processes = []
    one = Herd(processes, outer)
    try:
        for number in range(count):
            arguments = [str(inner), str(number), str(count), ",".join(names), expected]
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, *arguments],
                    env=environ,
                    pass_fds=[inner],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        for process in processes:
            assert process.stdout.readline() == "waiting\n", process.communicate()
        os.close(inner)
        inner = None
        yield one
    finally:
        if inner is not None:
            os.close(inner)
        one.end()
