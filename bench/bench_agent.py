"""
The host agent beside a bare echo on the same kind of socket: one client, eight, durable, idle, memory.

The echo gives back what it is sent, by uvloop, and does nothing else; its client is the cheapest there can
be (a socket, bytes made before, whole answers read). Ours is asked by that client too, which shows what the
agent costs, and by the one that programs use, which shows what they wait. Rounds are interleaved. Policy is
Cedar from a file, uses are recorded. Memory and idling are those of an agent with the `vault` backend only,
after 10,000 entries were read through it.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench import peers
from bench.hosts import agent
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient

TITLE = "Reads through the agent of a host"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "1.0"))
IDLE_SECONDS = float(os.environ.get("BENCH_IDLE_SECONDS", "30"))
ENTRIES = int(os.environ.get("BENCH_ENTRIES", "10000"))
CLIENTS = 8
FIRST = 5000  # entries, then another run reads them from the first one on
WARM = 200  # questions before those that count
FAST, MANY = "≤ 40 µs, ≤ 3x echo", "≥ 35k, ≥ 0.5x echo"

FILE = """
chain = ["file"]
[cache]
ttl = 3600
[backend.file]
variables_file_path = "{home}/variables.json"
[agent]
policy = "{home}/agent.cedar"
audit = "{audit}"
log_level = "error"
"""
VAULT = """
chain = ["vault"]
[cache]
ttl = 3600
[backend.vault]
url = "{address}"
token = {{ env = "TOKEN" }}
[agent]
log_level = "error"
"""
POLICY = '@id("agent") permit (principal, action == Action::"read", resource);\n'
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


def measure() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="srm") as folder:
        home = Path(folder)
        values = json.dumps({f"v{number}": "x" * 64 for number in range(FIRST)})
        for name, text in (("variables.json", values), ("agent.cedar", POLICY)):
            (home / name).touch(mode=0o600)
            (home / name).write_text(text)
        for name in "abcd":
            (home / name).mkdir(mode=0o700)
        with echo(home) as peer, agent(home / "a", FILE.format(home=home, audit="spooled")) as one:
            rows = _warm(one.socket, peer)
        settings = FILE.format(home=home, audit="durable")
        with agent(home / "b", settings) as one:
            rows += _durable(one.socket, home, "decided by Cedar")
        with agent(home / "d", settings.replace("policy = ", "# policy = ")) as one:
            rows += _durable(one.socket, home, "whoever may connect")
        return rows + _quiet(home / "c")


def _warm(path: Path, peer: Path) -> list[dict[str, object]]:
    rows = []
    for clients, unit, target in ((1, "µs", FAST), (CLIENTS, "reads/s", MANY)):
        seen: dict[str, list[float]] = {"echo": [], "frames": [], "client": []}
        for _ in range(ROUNDS):
            for mode, found in seen.items():
                found.append(_run(mode, peer if mode == "echo" else path, clients)[clients > 1])
        what = "warm read, p50" if clients == 1 else f"warm reads, {clients} clients"
        for mode, who in (("frames", "bare client"), ("client", "our client")):
            rows.append(_row(f"{what}, {who}", median(seen[mode]), median(seen["echo"]), unit, target))
    return rows


def _durable(path: Path, home: Path, policy: str) -> list[dict[str, object]]:
    seen: dict[str, list[float]] = {"first": [], "fresh": [], "sync": []}
    for _ in range(ROUNDS):
        for mode in ("first", "fresh"):
            seen[mode].append(_run(mode, path, 1)[0])
        seen["sync"].append(_sync_us(home))
    notes = {
        "first": "one run, an entry that it has not read yet each time, which the agent remembers",
        "fresh": "another run claimed each time, so that its reader is new, too",
    }
    return [
        _row(
            f"first uses, durable, {policy}, {what}, p50",
            median(seen[mode]),
            median(seen["sync"]),
            "µs",
            "≤ sync + 120 µs",
        )
        | {"ratio": None, "note": f"{notes[mode]}; the peer is one fdatasync"}
        for mode, what in (("first", "new entries"), ("fresh", "new runs"))
    ]


def _quiet(home: Path) -> list[dict[str, object]]:
    with peers.openbao() as address:
        port = int(address.rpartition(":")[2])
        for number in range(ENTRIES):
            peers._put(port, f"variables/v{number}", {"value": "x" * 64})
        with agent(home, VAULT.format(address=address), {"TOKEN": peers.TOKEN}) as one:
            client = AgentClient(str(one.socket))
            for first in range(0, ENTRIES, 500):
                names = range(first, min(first + 500, ENTRIES))
                client.read_many([("variable", f"v{number}", None) for number in names])
            client.close()
            memory = _memory_mb(one.pid)
            time.sleep(2.0)
            before = _cpu_seconds(one.pid)
            time.sleep(IDLE_SECONDS)
            idle = (_cpu_seconds(one.pid) - before) / IDLE_SECONDS * 100
    note = f"the vault backend only; over {IDLE_SECONDS:g} s"
    return [
        _row(f"memory with {ENTRIES:,} entries", memory, None, "MB", "≤ 60 MB") | {"note": note},
        _row("processor while nobody asks", idle, None, "%", "< 0.1 %") | {"note": note},
    ]


def _row(path: str, ours: float, peer: float | None, unit: str, target: str) -> dict[str, object]:
    ratio = None if peer is None else ours / peer
    return {"path": path, "ours": ours, "peer": peer, "unit": unit, "ratio": ratio, "target": target}


def _run(mode: str, path: Path, clients: int) -> tuple[float, float]:
    """Have so many processes ask for `SECONDS` at once: the median in µs, and reads a second of all."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.bench_agent", mode, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        for _ in range(clients)
    ]
    for one in started:
        assert one.stdout is not None
        one.stdout.readline()
    for one in started:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    told = [json.loads(one.communicate()[0]) for one in started]
    return median(p50 for _, p50 in told), sum(count for count, _ in told) / SECONDS


# --- one client -------------------------------------------------------------------------------------


def _client(mode: str, path: str) -> tuple[int, float]:
    ask = {"echo": _echoed, "frames": _framed, "client": _asked, "fresh": _fresh, "first": _first}[mode](path)
    for _ in range(WARM):
        ask()
    print("ready", flush=True)
    sys.stdin.readline()
    clock, taken = time.perf_counter, []
    now = clock()
    until = now + SECONDS
    while now < until:
        ask()
        after = clock()
        taken.append(after - now)
        now = after
    return len(taken), median(taken) * 1e6


def _echoed(path: str) -> Callable[[], object]:
    return _exchange(_connected(path), b"q" * 20)


def _framed(path: str) -> Callable[[], object]:
    return _exchange(_greeted(path), frames.pack_read(1, "variable", "v7"))


def _asked(path: str) -> Callable[[], object]:
    client = AgentClient(path)
    return lambda: client.variable("v7")


def _fresh(path: str) -> Callable[[], object]:
    one, numbers = _greeted(path), iter(range(10**9))
    question = frames.pack_read(2, "variable", "v7")

    def ask() -> None:
        run = (None, None, f"run-{os.getpid()}-{next(numbers)}", None, None, None)
        one.sendall(frames.frame(frames.CLAIM, 1, frames.pack_claim(run)) + question)
        data = b""
        while len(data) < 2 * frames.HEAD_BYTES + 64:  # an empty answer, and one with the value
            data += one.recv(65536)

    return ask


def _first(path: str) -> Callable[[], object]:
    client = AgentClient(path)
    for first in range(0, FIRST, 500):  # by no run, so that all of them are remembered
        client.read_many([("variable", f"v{number}", None) for number in range(first, first + 500)])
    client.close()
    one, numbers = _greeted(path), iter(range(10**9))

    def ask() -> None:
        number = next(numbers)
        if not number % FIRST:
            run = (None, None, f"first-{os.getpid()}-{number}", None, None, None)
            one.sendall(frames.frame(frames.CLAIM, 1, frames.pack_claim(run)))
            one.recv(65536)
        one.sendall(frames.pack_read(2, "variable", f"v{number % FIRST}"))
        one.recv(65536)

    return ask


def _exchange(one: socket.socket, question: bytes) -> Callable[[], object]:
    send, receive = one.sendall, one.recv

    def ask() -> None:
        send(question)
        receive(65536)

    return ask


def _greeted(path: str) -> socket.socket:
    one = _connected(path)
    one.sendall(frames.frame(frames.HELLO, 1, frames.pack_hello("bench")))
    one.recv(65536)
    return one


def _connected(path: str) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    return one


# --- the peer, and what is looked at ------------------------------------------------------------------


@contextmanager
def echo(home: Path) -> Iterator[Path]:
    """Run the bare echo; give its socket."""
    path = home / "echo.sock"
    process = subprocess.Popen([sys.executable, "-c", ECHO, str(path)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield path
    finally:
        process.kill()
        process.wait()


def _memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def _cpu_seconds(pid: int) -> float:
    """Give what all its threads took, those that ended too; counted in hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _sync_us(home: Path) -> float:
    taken = []
    with (home / "synced").open("wb", buffering=0) as file:
        file.write(b"\0" * 65_536)
        os.fsync(file.fileno())
        for number in range(100):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), b"r" * 400, number * 400)
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - begun)
    return median(taken) * 1e6


if __name__ == "__main__":
    print(json.dumps(_client(sys.argv[1], sys.argv[2])))
