"""
`POST /v1/read` of the real server beside a bare ASGI callable on the same engine, and OpenBao's KV reads.

Each is a process of its own, asked by the load generator (`bench/load.py`) in interleaved rounds of one
run. The bare callable does what any such server must: parse the JSON, look into a dict, write JSON; on
uvicorn as it comes. Ours has a token, a policy, an audit log on the disk and 100,000 entries.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from bench import peers
from strongroom import assembly
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role

TITLE = "Server: POST /v1/read, one worker, token and policy on"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "2"))
ENTRIES = 100_000
CONNECTIONS = 16
BATCH = 50

BARE = """
import sys, msgspec, uvicorn
VALUES = {("variable", f"v{i}", None): "x" * 64 for i in range(1000)}
class Name(msgspec.Struct):
    kind: str
    name: str
    team: str | None = None
class Request(msgspec.Struct):
    refs: list[Name]
DECODE, ENCODE = msgspec.json.Decoder(Request).decode, msgspec.json.encode
async def app(scope, receive, send):
    body = (await receive())["body"]
    found = [
        {"kind": ref.kind, "name": ref.name, "value": VALUES[ref.kind, ref.name, ref.team], "version": "1"}
        for ref in DECODE(body).refs
    ]
    data = ENCODE({"results": found})
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})
how = {"access_log": False, "log_level": "error", "lifespan": "off", "loop": "uvloop", "http": "httptools"}
uvicorn.run(app, port=int(sys.argv[1]), **how)
"""

OURS = """
import os, sys
from strongroom.server import serve as engine
from strongroom.service.reading import EachUse
from strongroom.settings import load
settings = load(environ=dict(os.environ))
if sys.argv[2] == "each":
    engine.uses_of = lambda settings: EachUse()
engine.serve(settings, environ=dict(os.environ))
"""


def measure() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        environment = _home(home)
        token = _fill(environment)
        with (
            _server("bare", BARE, environment) as bare,
            _server("repeated", OURS, environment) as repeated,
            _server("each", OURS, environment) as each,
            peers.openbao() as bao,
        ):
            memory = _memory_mb(repeated.pid)
            one = _requests(token, [[f"v{i}"] for i in range(100)])
            many = _requests(token, [[f"v{i * BATCH + j}" for j in range(BATCH)] for i in range(20)])
            openbao = [_bao_request()]
            plans = {
                "bare": (bare.port, one),
                "repeated": (repeated.port, one),
                "each": (each.port, one),
                "bare batch": (bare.port, many),
                "batch": (repeated.port, many),
                "openbao": (int(bao.rpartition(":")[2]), openbao),
            }
            for port, requests in plans.values():
                load(port, requests, 0.5)
            rounds: dict[str, list[dict[str, float]]] = {name: [] for name in plans}
            for _ in range(ROUNDS):
                for name, (port, requests) in plans.items():
                    rounds[name].append(load(port, requests, SECONDS))
            memory = _memory_mb(repeated.pid)
            return _rows(rounds, memory, repeated.started)


def load(port: int, requests: Sequence[bytes], seconds: float) -> dict[str, float]:
    given = b"".join(len(request).to_bytes(8, "big") + request for request in requests)
    argv = [sys.executable, "-m", "bench.load", "127.0.0.1", str(port), str(CONNECTIONS), str(seconds)]
    done = subprocess.run(argv, input=given, capture_output=True, check=True, cwd=peers.ROOT)
    found = json.loads(done.stdout)
    assert not found["wrong"], found["first_wrong"]
    return found


class _Process:
    def __init__(self, process: subprocess.Popen[bytes], port: int, started: float) -> None:
        self.pid = process.pid
        self.port = port
        self.started = started


@contextmanager
def _server(name: str, program: str, environment: dict[str, str]) -> Iterator[_Process]:
    port = peers._free_port()
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(port), name],
        env={**environment, "STRONGROOM__SERVER__PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL if "BENCH_SHOW" not in os.environ else None,
    )
    try:
        _wait(port)
        yield _Process(process, port, time.perf_counter() - begun)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _wait(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise SystemExit("a server did not start")


def _home(home: Path) -> dict[str, str]:
    file = home / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text('chain = ["native"]\n[server]\nlog_level = "error"\n')
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "STRONGROOM_HOME": str(home),
        "STRONGROOM_CONFIG": str(file),
        "PYTHONPATH": str(peers.ROOT),
    }


def _fill(environment: dict[str, str]) -> str:
    """Make the store with its entries, and give a token that may read them."""
    with assembly.create_room(environ=environment) as room:
        (native,) = (link.backend for link in room._parts.chain.links)
        for start in range(0, ENTRIES, 1000):
            native.write_many(
                [
                    Draft(ref=Ref("variable", f"v{index}"), secret=Secret("x" * 64), author="bench")
                    for index in range(start, start + 1000)
                ]
            )
        return room.access.tokens.issue("bench", roles=[Role("admin")]).token.reveal()


def _requests(token: str, batches: Sequence[Sequence[str]]) -> list[bytes]:
    made = []
    for names in batches:
        refs = [{"kind": "variable", "name": name} for name in names]
        body = json.dumps({"refs": refs}, separators=(",", ":")).encode()
        head = (
            "POST /v1/read HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def _bao_request() -> bytes:
    return (
        "GET /v1/secret/data/variables/region HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"X-Vault-Token: {peers.TOKEN}\r\n\r\n"
    ).encode()


def _memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(line)


def _rows(
    rounds: dict[str, list[dict[str, float]]], memory: float, started: float
) -> list[dict[str, object]]:
    rate = {name: median(found["per_second"] for found in each) for name, each in rounds.items()}
    p99 = {name: median(found["p99_ms"] for found in each) for name, each in rounds.items()}

    def row(path: str, ours: str, peer: str, target: str, unit: str = "requests/s") -> dict[str, object]:
        return {
            "path": path,
            "ours": rate[ours],
            "peer": rate[peer],
            "unit": unit,
            "ratio": rate[ours] / rate[peer],
            "target": target,
            "note": f"p99 {p99[ours]:.2f} ms; peer: {_PEERS[peer]}, p99 {p99[peer]:.2f} ms",
        }

    batch = row("batches of 50", "batch", "bare batch", "≥ 150,000 Refs/s", "Refs/s")
    batch["ours"], batch["peer"] = rate["batch"] * BATCH, rate["bare batch"] * BATCH
    return [
        row("repeated uses", "repeated", "bare", "≥ 0.65 of bare ASGI"),
        row("every request a first use, durable", "each", "bare", "≥ 0.4 of bare ASGI, p99 ≤ 5 ms"),
        batch,
        row("every request a first use, durable", "each", "openbao", "reported"),
        row("repeated uses", "repeated", "openbao", "reported"),
        {"path": "memory with 100,000 entries", "ours": memory, "unit": "MB", "target": "≤ 150 MB"},
        {"path": "start to the first connection", "ours": started, "unit": "s", "target": "≤ 2 s"},
    ]


_PEERS = {
    "bare": "bare ASGI on uvicorn",
    "bare batch": "bare ASGI on uvicorn",
    "openbao": "OpenBao KV v2, development server",
}
