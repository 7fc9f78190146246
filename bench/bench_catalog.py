"""
The catalog of connection types: what it costs the process that asks for one, and for all.

Told is the least time of the processor of many fresh processes, whose bytecode an earlier one wrote: what
else the machine does is not the catalog's cost.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

TITLE = "Catalog of connection types"
ROUNDS = 25
# Beside what every process that parses a connection has imported.
PROGRAM = """
import time
import strongroom.model.connection
start = time.process_time()
from strongroom import catalog
{work}
print((time.process_time() - start) * 1000)
"""
WORK = {
    "one type": ("catalog.find('postgres')", "reported"),
    "55 types": ("for name in catalog.names()[:55]: catalog.find(name)", "≤ 5 ms"),
    "every type": ("for name in catalog.names(): catalog.find(name)", "reported"),
}


def measure() -> list[dict[str, object]]:
    times: dict[str, list[float]] = {name: [] for name in WORK}
    with tempfile.TemporaryDirectory() as bytecode:
        environ = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(ROUNDS):
            for name, (work, _) in WORK.items():
                argv = [sys.executable, "-c", PROGRAM.format(work=work)]
                ended = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, env=environ)
                times[name].append(float(ended.stdout))
    return [
        {
            "path": f"{name} in a fresh process",
            "ours": min(times[name]),
            "unit": "ms",
            "target": target,
            "note": "no peer: Airflow imports the hooks of its providers, or reads their metadata at start",
        }
        for name, (_, target) in WORK.items()
    ]
