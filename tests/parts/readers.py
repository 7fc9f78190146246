"""
Many who read at once from a server, each on a connection of its own, and what they were told.

`python tests/parts/readers.py PORT TOKEN READERS NAMES`: each asks for one of `v0` to `v<NAMES - 1>` after
the other, by `POST /v1/read`, and expects `value of <name>`, until standard input ends. A line of JSON for
every second of it is written while it goes on: answers, those that were wrong, those that said that it is
unavailable, and the 50th and 99th percentile of how many milliseconds they took.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time


class Readers:
    """All of them, and what they met in this second."""

    def __init__(self, port, token, names):
        self.port, self.names = port, names
        self.head = (
            "POST /v1/read HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
            f"{token}\r\nContent-Type: application/json\r\n"
        ).encode()
        self.random = random.Random(7)
        self.again()

    def again(self):
        self.took, self.wrong, self.unavailable, self.first_wrong = [], 0, 0, ""

    async def read_on(self):
        while True:
            try:
                await self._connected()
            except (OSError, asyncio.IncompleteReadError):
                self.wrong += 1
                self.first_wrong = self.first_wrong or "the connection was lost"
                await asyncio.sleep(0.1)

    async def _connected(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        while True:
            name = f"v{self.random.randrange(self.names)}"
            body = json.dumps({"refs": [{"kind": "variable", "name": name}]}).encode()
            started = time.perf_counter()
            writer.write(self.head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            self.judge(name, await reader.readexactly(length), time.perf_counter() - started)

    def judge(self, name, body, seconds):
        self.took.append(seconds * 1000)
        told = json.loads(body)
        (found,) = told.get("results") or [{}]
        if found.get("value") == f"value of {name}":
            return
        if told.get("error", found.get("error", {})).get("code") in ("unavailable", "backend_unavailable"):
            self.unavailable += 1
            return
        self.wrong += 1
        self.first_wrong = self.first_wrong or body.decode()[:300]


def quantile(took, share):
    return round(sorted(took)[int(len(took) * share)], 2) if took else None


async def main():
    port, token, count, names = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    readers = Readers(port, token, names)
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    tasks = [asyncio.ensure_future(readers.read_on()) for _ in range(count)]
    while not ended.done():
        await asyncio.wait([ended], timeout=1.0)
        line = {
            "at": time.time(),
            "answers": len(readers.took),
            "wrong": readers.wrong,
            "first_wrong": readers.first_wrong,
            "unavailable": readers.unavailable,
            "p50_ms": quantile(readers.took, 0.5),
            "p99_ms": quantile(readers.took, 0.99),
        }
        readers.again()
        print(json.dumps(line), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
