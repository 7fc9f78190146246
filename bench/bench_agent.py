"""
The host agent beside a bare echo on the same kind of socket: one client, eight clients, durable, idle, memory.

The echo gives back what it is sent, by uvloop, and does nothing else; its client is the cheapest there can be
(a socket, bytes made before, whole answers read). Ours is asked by that client too, which shows what the agent
costs, and by the client that programs use, which shows what they wait. Rounds are interleaved. Policy is Cedar
from a file, and uses are recorded.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.hosts import agent

TITLE = "Reads through the agent of a host"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "1.0"))
IDLE_SECONDS = float(os.environ.get("BENCH_IDLE_SECONDS", "20"))
CLIENTS = 8
ENTRIES = 10_000
VALUE = "x" * 64

SETTINGS = """
chain = ["file"]
[cache]
ttl = 3600
max_entries = 20000
[backend.file]
variables_file_path = "{home}/variables.json"
[agent]
policy = "{home}/agent.cedar"
audit = "{audit}"
log_level = "error"
"""
POLICY = '@id("agent") permit (principal, action == Action::"read", resource);\n'


def measure() -> list[dict[str, object]]:
    """Measure real processes."""
    with tempfile.TemporaryDirectory(prefix="srm") as folder:
        home = Path(folder)
        _fill(home)
        with echo(home) as peer:
            with agent(home / "a", SETTINGS.format(home=home, audit="spooled")) as one:
                rows = _spooled(one.socket, peer, one.pid)
            with agent(home / "b", SETTINGS.format(home=home, audit="durable")) as one:
                rows += _durable(one.socket, home)
    return rows


def _fill(home: Path) -> None:
    for name in ("a", "b"):
        (home / name).mkdir()
    (home / "variables.json").write_text(json.dumps({f"v{number}": VALUE for number in range(ENTRIES)}))
    (home / "agent.cedar").write_text(POLICY)
    for each in home.iterdir():
        each.chmod(0o700 if each.is_dir() else 0o600)


def _spooled(path: Path, peer: Path, pid: int) -> list[dict[str, object]]:
    rounds = [
        (_run("echo", peer, 1), _run("frames", path, 1), _run("client", path, 1)) for _ in range(ROUNDS)
    ]
    echoed, bare, client = ([one[index].p50 for one in rounds] for index in range(3))
    crowds = [
        (_run("echo", peer, CLIENTS), _run("frames", path, CLIENTS), _run("client", path, CLIENTS))
        for _ in range(ROUNDS)
    ]
    many_echo, many_bare, many_client = ([one[index].per_second for one in crowds] for index in range(3))
    return [
        _row(
            "warm read, 1 client, p50",
            bare,
            echoed,
            "µs",
            "≤ 40, ≤ 3x echo",
            "bare client; the agent's own cost",
        ),
        _row(
            "warm read, 1 client of ours, p50",
            client,
            echoed,
            "µs",
            "≤ 40, ≤ 3x echo",
            "AgentClient.variable",
        ),
        _row("warm reads, 8 clients", many_bare, many_echo, "reads/s", "≥ 35k, ≥ 0.5x echo", "bare clients"),
        _row(
            "warm reads, 8 clients of ours",
            many_client,
            many_echo,
            "reads/s",
            "≥ 35k, ≥ 0.5x echo",
            "AgentClient.variable",
        ),
        *_rest(path, pid),
    ]


def _rest(path: Path, pid: int) -> list[dict[str, object]]:
    """Tell what it takes with everything remembered, and what it does when nobody asks."""
    _worker_all(path)
    memory = _memory_mb(pid)
    time.sleep(1.0)
    before = _cpu_seconds(pid)
    time.sleep(IDLE_SECONDS)
    idle = (_cpu_seconds(pid) - before) / IDLE_SECONDS * 100
    return [
        {
            "path": f"memory with {ENTRIES:,} entries",
            "ours": memory,
            "unit": "MB",
            "target": "≤ 60",
            "note": "resident, Cedar loaded",
        },
        {
            "path": "CPU while nobody asks",
            "ours": idle,
            "unit": "%",
            "target": "< 0.1",
            "note": f"over {IDLE_SECONDS:g} s",
        },
    ]


def _durable(path: Path, home: Path) -> list[dict[str, object]]:
    found = [(_run("fresh", path, 1).p50, _sync_microseconds(home)) for _ in range(ROUNDS)]
    ours, synced = [one[0] for one in found], [one[1] for one in found]
    row = _row(
        "first read of a name, durable, p50",
        ours,
        synced,
        "µs",
        "≤ sync + 120",
        "each use on the disk before the answer; the peer is one fdatasync of 400 bytes",
    )
    row["ratio"] = None
    return [row]


def _row(
    path: str, ours: list[float], peer: list[float], unit: str, target: str, note: str
) -> dict[str, object]:
    mine, theirs = median(ours), median(peer)
    return {
        "path": path,
        "ours": mine,
        "peer": theirs,
        "unit": unit,
        "ratio": mine / theirs,
        "target": target,
        "note": note,
    }


class Found:
    """What clients saw: the median of one read in µs, and reads a second of all together."""

    def __init__(self, told: list[tuple[int, float]], seconds: float) -> None:
        self.p50 = median(p50 for _, p50 in told)
        self.per_second = sum(count for count, _ in told) / seconds


def _run(mode: str, path: Path, clients: int) -> Found:
    """Have so many processes ask for `SECONDS`, from the same moment on."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.bench_agent", mode, str(path), str(SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        for _ in range(clients)
    ]
    for one in started:
        one.stdout.readline()
    for one in started:
        one.stdin.write("go\n")
        one.stdin.flush()
    return Found([tuple(json.loads(one.communicate()[0])) for one in started], SECONDS)


# --- a client ---------------------------------------------------------------------------------------


def _client(mode: str, path: str, seconds: float) -> tuple[int, float]:
    ask = {"echo": _echoed, "frames": _framed, "client": _asked, "fresh": _fresh}[mode](path)
    for _ in range(1 if mode == "fresh" else 200):
        ask()
    print("ready", flush=True)
    sys.stdin.readline()
    clock, taken = time.perf_counter, []
    begun = now = clock()
    until = begun + seconds
    while now < until:
        ask()
        after = clock()
        taken.append(after - now)
        now = after
    return len(taken), median(taken) * 1e6


def _echoed(path: str):
    one = _connected(path)
    send, receive, question = one.sendall, one.recv, b"q" * 20

    def ask() -> None:
        send(question)
        receive(65536)

    return ask


def _framed(path: str):
    from strongroom.client import frames  # noqa: PLC0415 -- not for the echo

    one = _connected(path)
    one.sendall(frames.frame(frames.HELLO, 1, frames.pack_hello("bench")))
    one.recv(65536)
    send, receive, question = one.sendall, one.recv, frames.pack_read(1, "variable", "v7")

    def ask() -> None:
        send(question)
        receive(65536)

    return ask


def _asked(path: str):
    from strongroom.client.agent import AgentClient  # noqa: PLC0415 -- as above

    client = AgentClient(path)
    return lambda: client.variable("v7")


def _fresh(path: str):
    from strongroom.client import frames  # noqa: PLC0415 -- as above

    one = _connected(path)
    one.sendall(frames.frame(frames.HELLO, 1, frames.pack_hello("bench")))
    one.recv(65536)
    # Everything is remembered, and no use of it is on record yet: another run each time, so that each is
    # decided and recorded anew.
    names = iter(range(10**9))
    one.sendall(frames.pack_read(1, "variable", "v7"))
    one.recv(65536)

    def ask() -> None:
        run = (None, None, f"run-{os.getpid()}-{next(names)}", None, None, None)
        one.sendall(
            frames.frame(frames.CLAIM, 1, frames.pack_claim(run)) + frames.pack_read(2, "variable", "v7")
        )
        data = b""
        while len(data) < 100:
            data += one.recv(65536)

    return ask


def _connected(path: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    return one


def _worker_all(path: Path) -> None:
    from strongroom.client.agent import AgentClient  # noqa: PLC0415 -- as above

    client = AgentClient(str(path))
    for first in range(0, ENTRIES, 500):
        client.read_many([("variable", f"v{number}", None) for number in range(first, first + 500)])
    client.close()


# --- the peer, and what is looked at ------------------------------------------------------------------

ECHO = """
import asyncio, sys, uvloop
class Echo(asyncio.Protocol):
    def connection_made(self, transport): self.write = transport.write
    def data_received(self, data): self.write(data)
async def main():
    server = await asyncio.get_running_loop().create_unix_server(Echo, sys.argv[1])
    print("ready", flush=True)
    await server.serve_forever()
uvloop.run(main())
"""


@contextmanager
def echo(home: Path) -> Iterator[Path]:
    """Run the bare echo; give its socket."""
    path = home / "echo.sock"
    process = subprocess.Popen([sys.executable, "-c", ECHO, str(path)], stdout=subprocess.PIPE)
    try:
        process.stdout.readline()
        yield path
    finally:
        process.kill()
        process.wait()


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _sync_microseconds(home: Path) -> float:
    taken = []
    with (home / "synced").open("wb", buffering=0) as file:
        file.write(b"\0" * 65536)
        os.fsync(file.fileno())
        for number in range(100):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), b"r" * 400, number * 400)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begun)
    return median(taken) * 1e6


if __name__ == "__main__":
    print(json.dumps(_client(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
