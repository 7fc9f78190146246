"""
A load generator: closed loops of one request after the other on each of some connections.

`python -m bench.load HOST PORT CONNECTIONS SECONDS < requests`: the requests stand one after the other on
standard input, each as its length in 8 bytes and then its bytes; they are sent in turn. Prints one line of
JSON: answers a second, those that were not 200, and quantiles of how long each took. It speaks as little
HTTP as it can, so that it is not what is measured: an answer is read to its Content-Length.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

_LENGTH = b"content-length: "


class _Loop(asyncio.Protocol):
    def __init__(self, work: _Work) -> None:
        self._work = work
        self._data = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._work.next())

    def data_received(self, data: bytes) -> None:
        if self._data:
            data = self._data + data
        head = data.find(b"\r\n\r\n")
        if head < 0:
            self._data = data
            return
        start = data.lower().find(_LENGTH, 0, head) if data.find(_LENGTH, 0, head) < 0 else data.find(_LENGTH)
        end = data.index(b"\r\n", start)
        if len(data) < head + 4 + int(data[start + len(_LENGTH) : end]):
            self._data = data
            return
        self._data = b""
        self._work.done(data, time.perf_counter() - self._sent)
        if self._work.is_on:
            self._send()


class _Work:
    def __init__(self, requests: list[bytes]) -> None:
        self._requests = requests
        self._index = -1
        self.is_on = True
        self.times: list[float] = []
        self.wrong = 0
        self.first_wrong = ""

    def next(self) -> bytes:
        self._index += 1
        if self._index == len(self._requests):
            self._index = 0
        return self._requests[self._index]

    def done(self, data: bytes, seconds: float) -> None:
        if data[9:12] != b"200" or b'"error":{' in data:
            self.wrong += 1
            self.first_wrong = self.first_wrong or data[:2000].decode("latin-1")
        self.times.append(seconds)


async def run(
    host: str, port: int, connections: int, seconds: float, requests: list[bytes]
) -> dict[str, object]:
    work = _Work(requests)
    loop = asyncio.get_running_loop()
    begun = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: _Loop(work), host, port)
    await asyncio.sleep(seconds)
    work.is_on = False
    took = time.perf_counter() - begun
    times = sorted(work.times)
    count = len(times)
    return {
        "per_second": count / took,
        "wrong": work.wrong,
        "first_wrong": work.first_wrong,
        "p50_ms": times[count // 2] * 1000 if count else None,
        "p99_ms": times[min(count - 1, int(count * 0.99))] * 1000 if count else None,
    }


def _read() -> list[bytes]:
    data = sys.stdin.buffer.read()
    requests, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "big")
        requests.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    return requests


if __name__ == "__main__":
    host, port, connections, seconds = sys.argv[1:]
    found = uvloop.run(run(host, int(port), int(connections), float(seconds), _read()))
    print(json.dumps(found))
