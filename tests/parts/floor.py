"""
The frames of an agent for tests: a real host, real connections, and a real loop in a thread of the process.

    from parts.floor import floor

    def test_something(tmp_path):
        with floor(tmp_path, SETTINGS, bounds=Bounds(receipt_seconds=0.2)) as one:
            with one.connect() as peer:
                assert peer.ask("variable", "region").text == "eu"

`one.floor` and `one.host` are what answers, so that a test may look behind it.
"""

from __future__ import annotations

import asyncio
import io
import os
import socket
import threading
from contextlib import contextmanager

import uvloop

from strongroom import assembly
from strongroom.agent.answers import Answers
from strongroom.agent.floor import Bounds, Floor, Peer
from strongroom.agent.protocol import Line
from strongroom.caller import frames
from strongroom.service.journal import Journal

SECONDS = 20


class Wire:
    """One connection, frame by frame, with nothing of our client in between."""

    def __init__(self, path, *, hello=True):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS)
        self._socket.connect(str(path))
        self._data = b""
        self._number = 10
        if hello:
            self.send(frames.frame(frames.HELLO, 1, frames.pack_hello("test")))
            assert self.receive()[:2] == (frames.HELLO | frames.ANSWER, 1)

    def send(self, data):
        self._socket.sendall(data)

    def receive(self):
        """Give type, id and payload of the next frame; None where the other end closed."""
        while (found := frames.take(self._data, 0, frames.MAX_ANSWER_BYTES)) is None:
            try:
                more = self._socket.recv(65536)
            except ConnectionResetError:
                more = b""
            if not more:
                return None
            self._data += more
        self._data = self._data[found[3] :]
        return found[:3]

    def ask(self, kind, name, team=None, flags=0):
        """Give the answer to one READ."""
        self._number += 1
        self.send(frames.pack_read(self._number, kind, name, team, flags))
        type_, number, payload = self.receive()
        assert (type_, number) == (frames.READ | frames.ANSWER, self._number)
        return frames.read_answer(payload)

    def error(self):
        """Give the id and the refusal of the next frame, which must be an ERROR."""
        type_, number, payload = self.receive()
        assert type_ == frames.ERROR
        return number, frames.read_refusal(payload)

    def is_ended(self):
        return self.receive() is None

    def close(self):
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_details):
        self.close()


class Running:
    def __init__(self, path, host):
        self.path = path
        self.host = host
        self.floor = None
        self.loop = None
        self.orders = []
        self.log = io.StringIO()
        self.refusal = None
        self.is_admin = True
        self.ended = None

    def connect(self, *, hello=True):
        return Wire(self.path, hello=hello)

    def do(self, work):
        """Run the coroutine *work* makes on the loop, and give what it gives."""
        return asyncio.run_coroutine_threadsafe(work(), self.loop).result(SECONDS)

    def admit(self, _transport):
        if self.refusal is not None:
            raise self.refusal
        return Peer(os.getpid(), os.getuid(), os.getgid(), is_admin=self.is_admin)

    async def admin(self, _peer, order):
        self.orders.append(order)
        return {"did": order.get("do")}

    async def serve(self, bounds, ready):
        self.loop = asyncio.get_running_loop()
        self.ended = asyncio.Event()
        journal = Journal(stream=self.log)
        self.floor = Floor(
            self.host,
            Answers(self.host),
            admit=self.admit,
            admin=self.admin,
            journal=journal,
            version="test",
            bounds=bounds,
        )
        server = await self.loop.create_unix_server(lambda: Line(self.floor), str(self.path))
        ready.set()
        await self.ended.wait()
        server.close()
        await self.floor.drain(1.0)
        journal.close()


@contextmanager
def floor(home, settings='chain = ["env"]\n', *, bounds=None, environ=None):
    """
    Answer frames for the settings, with what the environment holds.

    Args:
        home: an empty folder with a short path.
        settings: text of the settings file.
        bounds: of connections.
        environ: of the host: `STRONGROOM_VAR_REGION` and the like.
    """
    file = home / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text(settings)
    given = {"HOME": str(home), "STRONGROOM_HOME": str(home), **(environ or {})}
    ready = threading.Event()
    with assembly.open_host(file, environ=given) as host:
        host.start()
        one = Running(home / "agent.sock", host)
        thread = threading.Thread(target=uvloop.run, args=(one.serve(bounds or Bounds(), ready),))
        thread.start()
        assert ready.wait(SECONDS)
        try:
            yield one
        finally:
            one.loop.call_soon_threadsafe(one.ended.set)
            thread.join(SECONDS)
            assert not thread.is_alive()
