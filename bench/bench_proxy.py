"""
A warm read on a host: our agent beside OpenBao's own proxy, cache on, both on a unix socket of one machine.

OpenBao's proxy caches tokens it made and leased secrets of them. A secret of the key-value engine it does not
cache: each read goes to the server (`X-Cache: MISS`). So there are two rows: what a task waits for when it
reads a secret, and what the proxy's cache takes when it does have the answer, which is that of a token it was
asked for before. Its client is as cheap as one can be: bytes made before on a kept socket, read to the
Content-Length. Ours is the client that tasks have, with policy and record on.
"""

from __future__ import annotations

import re
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench import peers
from bench.hosts import agent, bao_proxy
from strongroom.caller.agent import AgentClient

TITLE = "Warm read on a host: our agent beside OpenBao's proxy with its cache"
ROUNDS = 15
READS = 500

SETTINGS = """
chain = ["vault"]
[backend.vault]
url = "{address}"
token = {{ env = "TOKEN" }}
[agent]
log_level = "error"
"""
_LENGTH = re.compile(rb"content-length: ([0-9]+)", re.IGNORECASE)


def measure() -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="srm-") as folder, peers.openbao() as address:
        home = Path(folder)
        with (
            agent(home, SETTINGS.format(address=address), {"TOKEN": peers.TOKEN}) as one,
            bao_proxy(home, address) as proxy,
        ):
            client = AgentClient(str(one.socket))
            secret = Raw(proxy, "GET", "/v1/secret/data/variables/region")
            token = Raw(proxy, "POST", "/v1/auth/token/create", b'{"ttl":"1h","policies":["default"]}')
            assert client.read("variable", "region").text == "eu-west-1"
            assert secret.read() == "MISS"
            token.read()
            assert token.read() == "HIT"
            reads = {
                "ours": lambda: client.read("variable", "region"),
                "secret": secret.read,
                "token": token.read,
            }
            figures = _rounds(reads)
            assert secret.read() == "MISS"
            client.close()
    return [
        _row(
            "warm read of a variable", figures, "secret", "peer: a KV secret, which its cache does not hold"
        ),
        _row("warm read of a variable", figures, "token", "peer: an answer its cache does hold (a token)"),
    ]


def _rounds(reads: dict[str, Callable[[], object]]) -> dict[str, tuple[float, float]]:
    times: dict[str, list[float]] = {name: [] for name in reads}
    worst: dict[str, list[float]] = {name: [] for name in reads}
    for _ in range(ROUNDS):
        for name, read in reads.items():
            each = []
            for _ in range(READS):
                start = time.perf_counter()
                read()
                each.append((time.perf_counter() - start) * 1e6)
            each.sort()
            times[name].append(each[len(each) // 2])
            worst[name].append(each[int(len(each) * 0.99)])
    return {name: (median(times[name]), median(worst[name])) for name in reads}


class Raw:
    """One request on a kept socket, and whether the proxy's cache had the answer."""

    def __init__(self, path: Path, method: str, target: str, body: bytes = b"") -> None:
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))

    def read(self) -> str:
        self._socket.sendall(self._request)
        data = self._socket.recv(65536)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._socket.recv(65536)
        head = data[:end]
        assert head.startswith(b"HTTP/1.1 200"), head
        found = _LENGTH.search(head)
        assert found is not None
        while len(data) < end + 4 + int(found[1]):
            data += self._socket.recv(65536)
        return "HIT" if b"X-Cache: HIT" in head else "MISS"


def _row(path: str, figures: dict[str, tuple[float, float]], peer: str, note: str) -> dict[str, object]:
    ours, theirs = figures["ours"], figures[peer]
    return {
        "path": path,
        "ours": ours[0],
        "peer": theirs[0],
        "unit": "µs",
        "ratio": ours[0] / theirs[0],
        "target": "reported" if peer == "token" else "≤ 40 µs",
        "note": f"{note}; p99 {ours[1]:.0f} µs, peer {theirs[1]:.0f} µs",
    }
