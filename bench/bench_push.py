"""
From a write on the server to the new value at 200 agents: real server, real change streams, simulated agents.

Each simulated agent (`bench/listen.py`) holds a stream, hears of the change and reads the value. The peer is
OpenBao's own agent, which renders a file: it has no push, and looks at its interval, here one second where it
comes as five minutes. Writes of both are spread over time, interleaved in one run.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench import peers
from bench.bench_server import _server
from strongroom import assembly
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role

TITLE = "Push: a write on the server to the value at 200 agents"
AGENTS = int(os.environ.get("BENCH_AGENTS", "200"))
WRITES = int(os.environ.get("BENCH_WRITES", "15"))

SERVER = """
import os
from strongroom.server.serve import serve
from strongroom.settings import load
serve(load(environ=dict(os.environ)), environ=dict(os.environ))
"""
RENDER = """
vault {{ address = "{address}" }}
auto_auth {{
  method "token_file" {{ config = {{ token_file_path = "{home}/token" }} }}
}}
template_config {{ static_secret_render_interval = "1s" }}
template {{
  contents    = "{{{{ with secret \\"secret/data/pushed\\" }}}}{{{{ .Data.data.value }}}}{{{{ end }}}}"
  destination = "{home}/rendered"
}}
"""


def measure() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        environment = _home(home)
        writer, tokens = _fill(environment)
        with (
            _server("push", SERVER, environment) as server,
            _listening(server.port, tokens) as listening,
            peers.openbao() as address,
            _rendering(home, address) as rendered,
        ):
            pushed, looked = _rounds(server.port, writer, listening, address, rendered)
    times = sorted(seconds * 1000 for each in pushed for seconds in each)
    theirs = sorted(seconds * 1000 for seconds in looked)
    note = (
        f"peer: one OpenBao agent, rendering a file, looks each second (as it comes: 5 min); {WRITES} writes"
    )
    return [
        _row("write → value, p50", _part(times, 0.5), median(theirs), "reported", note),
        _row("write → value, p99", _part(times, 0.99), _part(theirs, 0.99), "≤ 1,000 ms", note),
        _row("write → value, the last of all", times[-1], theirs[-1], "reported", note),
    ]


def _rounds(port, writer, listening, address, rendered):
    pushed, looked = [], []
    for _ in range(WRITES):
        time.sleep(random.uniform(0.1, 0.6))
        _write(port, writer)
        pushed.append(json.loads(listening.stdout.readline()))
        assert len(pushed[-1]) == AGENTS
        looked.append(_look(address, rendered))
    return pushed, looked


def _write(port: int, token: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    body = json.dumps({"value": repr(time.monotonic())})
    connection.request("PUT", "/v1/entries/variable/pushed", body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status < 300, answer.status


def _look(address: str, rendered: Path) -> float:
    begun = time.monotonic()
    peers._put(int(address.rpartition(":")[2]), "pushed", {"value": repr(begun)})
    while not rendered.exists() or rendered.read_text() != repr(begun):
        assert time.monotonic() < begun + 30, "OpenBao's agent rendered nothing"
        time.sleep(0.002)
    return time.monotonic() - begun


@contextmanager
def _listening(port: int, tokens: list[str]) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.listen", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=peers.ROOT,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n".join([*tokens, "", ""]))
    child.stdin.flush()
    assert child.stdout.readline() == "ready\n"
    try:
        yield child
    finally:
        child.stdin.close()
        child.wait(30)


@contextmanager
def _rendering(home: Path, address: str) -> Iterator[Path]:
    (home / "token").write_text(peers.TOKEN)
    (home / "agent.hcl").write_text(RENDER.format(address=address, home=home))
    peers._put(int(address.rpartition(":")[2]), "pushed", {"value": "first"})
    child = subprocess.Popen(
        [peers.VENV / "bin" / "bao", "agent", f"-config={home / 'agent.hcl'}"],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    rendered = home / "rendered"
    try:
        deadline = time.monotonic() + 20
        while not rendered.exists():
            assert child.poll() is None, "OpenBao's agent did not start"
            assert time.monotonic() < deadline, "OpenBao's agent rendered nothing"
            time.sleep(0.01)
        yield rendered
    finally:
        child.terminate()
        child.wait(20)


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


def _fill(environment: dict[str, str]) -> tuple[str, list[str]]:
    """Make a store with one entry; give the token of who writes and those of the agents."""
    with assembly.create_room(environ=environment) as room:
        (native,) = (link.backend for link in room._parts.chain.links)
        native.write(Draft(ref=Ref("variable", "pushed"), secret=Secret("0.0"), author="bench"))
        issue = room.access.tokens.issue
        writer = issue("writer", roles=[Role("admin")]).token.reveal()
        agents = [issue(f"agent{n}", roles=[Role("admin")]).token.reveal() for n in range(AGENTS)]
    return writer, agents


def _part(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def _row(path: str, ours: float, peer: float, target: str, note: str) -> dict[str, object]:
    return {
        "path": f"{path}, {AGENTS} agents",
        "ours": ours,
        "peer": peer,
        "unit": "ms",
        "ratio": ours / peer,
        "target": target,
        "note": note,
    }
