"""
Simulated agents: each holds a change stream of its own, and reads what it hears of at once.

`python -m bench.listen PORT < tokens`, a token a line, one for each agent. Prints `ready` when all are
connected; then, for each value written under the name `pushed`, one line of JSON: the seconds from the
moment that stands in the value (of the monotonic clock) to its being there, for every agent. Ends with its
input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import uvloop

BODY = json.dumps({"refs": [{"kind": "variable", "name": "pushed"}]}, separators=(",", ":")).encode()


class Agent:
    def __init__(self, port: int, token: str, told: asyncio.Queue[tuple[str, float]]) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n".encode()
        self._told = told

    async def connect(self) -> None:
        self._stream, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"GET /v1/changes HTTP/1.1\r\n" + self._head + b"\r\n")
        self._kept = writer
        status = await self._stream.readline()
        assert b" 200 " in status, status
        await self._stream.readuntil(b": listening\n\n")
        self._answers, self._asking = await asyncio.open_connection("127.0.0.1", self._port)
        await self._read()  # its use is on record before, as that of an agent that serves it is

    async def listen(self) -> None:
        while line := await self._stream.readline():
            if line.startswith(b"data:") and b'"pushed"' in line:
                text = await self._read()
                await self._told.put((text, time.monotonic()))

    async def _read(self) -> str:
        length = b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        self._asking.write(b"POST /v1/read HTTP/1.1\r\n" + self._head + length + BODY)
        head = (await self._answers.readuntil(b"\r\n\r\n")).lower()
        at = head.index(b"content-length: ") + 16
        body = await self._answers.readexactly(int(head[at : head.index(b"\r\n", at)]))
        (found,) = json.loads(body)["results"]
        return str(found["value"])


async def run(port: int, tokens: list[str]) -> None:
    told: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
    agents = [Agent(port, token, told) for token in tokens]
    for start in range(0, len(agents), 20):
        await asyncio.gather(*(agent.connect() for agent in agents[start : start + 20]))
    listening = [asyncio.ensure_future(agent.listen()) for agent in agents]
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.buffer.readline)
    print("ready", flush=True)
    seen: dict[str, list[float]] = {}
    while not ended.done():
        try:
            text, at = await asyncio.wait_for(told.get(), 0.2)
        except (TimeoutError, asyncio.TimeoutError):
            continue
        times = seen.setdefault(text, [])
        times.append(at - float(text))
        if len(times) == len(agents):
            print(json.dumps(times), flush=True)
    for one in listening:
        one.cancel()


if __name__ == "__main__":
    given = []
    for line in sys.stdin.buffer:
        if not line.strip():
            break
        given.append(line.decode().strip())
    uvloop.run(run(int(sys.argv[1]), given))
