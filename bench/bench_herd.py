"""
A herd: 200 cold processes ask for the same 50 names at once, of our agent and of OpenBao's own proxy.

All processes are started and wait at a gate. From its opening each imports its client, connects and reads
50 names one after the other; the peer's client is the cheapest there can be (`_socket` and bytes made
before). Upstream calls are counted before the store, those of the peer by its own word (`X-Cache: MISS`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from bench import peers
from bench.bench_vault import _Counter
from bench.hosts import agent, bao_proxy

TITLE = "Herd: 200 cold processes ask for 50 names at once"
PROCESSES = int(os.environ.get("BENCH_PROCESSES", "200"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
NAMES = [f"v{number}" for number in range(50)]

SETTINGS = """
chain = ["vault"]
[backend.vault]
url = "{address}"
token = {{ env = "TOKEN" }}
[agent]
log_level = "error"
"""
# Both print seconds from the gate to the last value, and how many answers came from behind a cache.
OURS = """
import os, sys
gate, names = int(sys.argv[1]), sys.argv[3].split(",")
from time import monotonic
print("waiting", flush=True)
os.read(gate, 1)
begun = monotonic()
import strongroom
for name in names:
    assert strongroom.variable(name) == "of " + name
print([monotonic() - begun, 0])
"""
PEER = """
import os, sys
gate, path, names = int(sys.argv[1]), sys.argv[2], sys.argv[3].split(",")
from time import monotonic
print("waiting", flush=True)
os.read(gate, 1)
begun = monotonic()
import _socket
one = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
one.connect(path)
missed = 0
for name in names:
    one.sendall(b"GET /v1/secret/data/variables/%s HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" % name.encode())
    data = one.recv(65536)
    while b"\\r\\n\\r\\n" not in data or not data.endswith(b"}\\n"):
        data += one.recv(65536)
    assert b'"value":"of %s"' % name.encode() in data, data
    missed += b"X-Cache: MISS" in data
print([monotonic() - begun, missed])
"""


def measure() -> list[dict[str, object]]:
    ours, peer = [], []
    with peers.openbao() as address:
        port = int(address.rpartition(":")[2])
        for name in NAMES:
            peers._put(port, f"variables/{name}", {"value": f"of {name}"})
        for _ in range(ROUNDS):
            ours.append(_ours(address))
            peer.append(_peer(address))
    return _rows(ours, peer)


def _ours(address: str) -> tuple[list[float], int]:
    """Give the seconds of each process and the upstream calls, of an agent that has just started."""
    with tempfile.TemporaryDirectory(prefix="srm-") as folder, _Counter(address) as counter:
        home = Path(folder)
        with agent(home, SETTINGS.format(address=counter.address), {"TOKEN": peers.TOKEN}) as one:
            before = counter.count
            found = _herd(OURS, str(one.socket), one.environ(home))
            return [seconds for seconds, _ in found], counter.count - before


def _peer(address: str) -> tuple[list[float], int]:
    with tempfile.TemporaryDirectory(prefix="srm-") as folder:
        home = Path(folder)
        with bao_proxy(home, address) as proxy:
            found = _herd(PEER, str(proxy), {"PATH": os.environ["PATH"], "HOME": folder})
            return [seconds for seconds, _ in found], sum(missed for _, missed in found)


def _herd(program: str, path: str, environ: dict[str, str]) -> list[tuple[float, int]]:
    inner, outer = os.pipe()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(inner), path, ",".join(_turned(number))],
            env=environ,
            pass_fds=[inner],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    os.close(inner)
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
    os.close(outer)
    found = []
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        seconds, missed = json.loads(out)
        found.append((seconds, missed))
    return found


def _turned(number: int) -> list[str]:
    """Give the names in an order of the process's own."""
    at = number * len(NAMES) // PROCESSES
    return NAMES[at:] + NAMES[:at]


def _rows(
    ours: list[tuple[list[float], int]], peer: list[tuple[list[float], int]]
) -> list[dict[str, object]]:
    note = "peer: OpenBao's proxy, cache on, which holds no KV secret; gate to the last of 50 values"

    def row(path: str, one: float, other: float, unit: str, target: str) -> dict[str, object]:
        return {
            "path": path,
            "ours": one,
            "peer": other,
            "unit": unit,
            "ratio": one / other,
            "target": target,
            "note": note,
        }

    calls = row("upstream calls", max(c for _, c in ours), max(c for _, c in peer), "calls", "≤ 50")
    times = [
        row(name, *(median(_part(sorted(each), part) for each, _ in runs) for runs in (ours, peer)), "s", to)
        for name, part, to in (
            ("a process has its 50 values, p50", 0.5, "reported"),
            ("a process has its 50 values, p99", 0.99, "≤ 2 s"),
        )
    ]
    return [calls, *times]


def _part(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
