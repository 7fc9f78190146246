"""
A slow wire: passes bytes to a port of this machine, brings answers back late, and counts requests.

`python -m bench.latency PORT SECONDS [CERTIFICATE KEY]` prints the port it listens on, and the one on which
it tells how many requests of HTTP/1.1 it has seen. Given a certificate it speaks TLS to whoever asks. It is a
process of its own, so that what it costs is not taken from what is measured.

A request that it has seen before, byte for byte, it answers as the store did, and as late: the stores of the
tests are Python, and would be what is measured.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_REQUEST = b" HTTP/1.1\r\n"


class Wire:
    """What all connections share: what was answered to what, and how many requests there were."""

    def __init__(self, behind: int, seconds: float) -> None:
        self.seconds = seconds
        self.behind = behind
        self.requests = 0
        self.answers: dict[bytes, bytes] = {}


class Near(asyncio.Protocol):
    """The end that whoever asks speaks to."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.transport: asyncio.Transport | None = None
        self.far: asyncio.Transport | None = None
        self.asked = b""
        self.answered = b""
        self.waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a stream's
        self._task = asyncio.ensure_future(self._reach())

    async def _reach(self) -> None:
        loop = asyncio.get_running_loop()
        self.far, _ = await loop.create_connection(lambda: Far(self), "127.0.0.1", self.wire.behind)
        for data in self.waiting:
            self.far.write(data)

    def data_received(self, data: bytes) -> None:
        self.wire.requests += data.count(_REQUEST)
        if self.asked:
            self.wire.answers[self.asked] = self.answered  # whoever asks again has all of the answer
        is_whole = data.startswith(b"GET ") and data.endswith(b"\r\n\r\n")
        self.asked, self.answered = (data if is_whole else b""), b""
        known = self.wire.answers.get(data) if is_whole else None
        if known is not None:
            self.asked = b""
            self.say(known)
        elif self.far is None:
            self.waiting.append(data)
        else:
            self.far.write(data)

    def say(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.wire.seconds, self._write, data)

    def _write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.far is not None:
            self.far.close()


class Far(asyncio.Protocol):
    """The end towards the store."""

    def __init__(self, near: Near) -> None:
        self.near = near

    def data_received(self, data: bytes) -> None:
        self.near.answered += data
        self.near.say(data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.near.transport is not None:
            asyncio.get_running_loop().call_later(2 * self.near.wire.seconds, self.near.transport.close)


async def run(behind: int, seconds: float, context: ssl.SSLContext | None) -> None:
    wire = Wire(behind, seconds)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Near(wire), "127.0.0.1", 0, ssl=context, backlog=256)

    async def tell(_near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        back.write(f"{wire.requests}\n".encode())
        await back.drain()
        back.close()

    counter = await asyncio.start_server(tell, "127.0.0.1", 0)
    print(*(one.sockets[0].getsockname()[1] for one in (server, counter)), flush=True)
    await asyncio.Event().wait()


class Slow:
    """A running wire: its port, and what it has counted."""

    def __init__(self, port: int, counter: int) -> None:
        self.port = port
        self._counter = counter

    @property
    def requests(self) -> int:
        with socket.create_connection(("127.0.0.1", self._counter)) as asked:
            return int(asked.makefile().readline())


@contextmanager
def slow(port: int, seconds: float, certificate: tuple[Path, Path] | None = None) -> Iterator[Slow]:
    """Stand a wire before *port* that answers *seconds* late."""
    command = [sys.executable, "-m", "bench.latency", str(port), str(seconds), *map(str, certificate or ())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield Slow(*map(int, child.stdout.readline().split()))
        finally:
            child.terminate()


if __name__ == "__main__":
    front = None
    if len(sys.argv) > 3:
        front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        front.load_cert_chain(sys.argv[3], sys.argv[4])
    asyncio.run(run(int(sys.argv[1]), float(sys.argv[2]), front))
