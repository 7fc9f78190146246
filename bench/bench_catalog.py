"""The catalog of connection types: what it costs the process that asks for one, and for all."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

TITLE = "Catalog of connection types"
ROUNDS = 15
# Beside what every process that parses a connection has imported.
PROGRAM = """
import time
import strongroom.model.connection
start = time.perf_counter()
from strongroom import catalog
{work}
print((time.perf_counter() - start) * 1000)
"""
WORK = {
    "one type": ("catalog.find('postgres')", "reported"),
    "55 types": ("for name in catalog.names()[:55]: catalog.find(name)", "≤ 5 ms"),
    "every type": ("for name in catalog.names(): catalog.find(name)", "reported"),
}


def measure() -> list[dict[str, object]]:
    times: dict[str, list[float]] = {name: [] for name in WORK}
    for _ in range(ROUNDS):
        for name, (work, _) in WORK.items():
            argv = [sys.executable, "-c", PROGRAM.format(work=work)]
            ended = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
            times[name].append(float(ended.stdout))
    return [
        {
            "path": f"{name} in a fresh process",
            "ours": median(times[name]),
            "unit": "ms",
            "target": target,
            "note": "no peer: Airflow imports the hooks of its providers, or reads their metadata at start",
        }
        for name, (_, target) in WORK.items()
    ]
