"""
One target of `fuzz.py` under atheris, in the environment that has it:

    .venv-atheris/bin/python tests/parts/atheris_run.py codec|agent|client|http CORPUS [options of libFuzzer]

with `src` on PYTHONPATH. Runs until it finds something or its time is over.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

# In place of this folder, where modules stand that are named as those of Python.
sys.path[0] = str(Path(__file__).parent.parent)
with atheris.instrument_imports(include=["strongroom"]):
    from parts import fuzz


def target_of(name):
    """Give what is called with bytes."""
    if name == "codec":
        return fuzz.codec
    home = tempfile.mkdtemp(prefix="srm-fuzz-")
    if name == "client":
        return fuzz.ClientEnd(home).hear
    end = fuzz.AgentEnd(home)
    if name == "http":
        return lambda data: end.answers(fuzz.pieces_of(data))
    # A first byte of 255 leaves out the HELLO, so that what stands before it is tried, too.
    hello = [fuzz.HELLO]
    return lambda data: end.frames(([] if data[:1] == b"\xff" else hello) + fuzz.pieces_of(data))


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target_of(sys.argv[1]))
    atheris.Fuzz()
