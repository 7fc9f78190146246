"""
Bytes of anybody's making for both ends of the agent's socket, and what must hold whatever they are.

Used by hypothesis in the suite (tests/agent/test_fuzz.py) and by atheris in `make trials` (`atheris_run.py`).
"""

from __future__ import annotations

import asyncio
import io
import json
import socket
import threading
from contextlib import suppress
from pathlib import Path

import uvloop

from strongroom import assembly
from strongroom.agent.answers import Answers
from strongroom.agent.door import Peers
from strongroom.agent.floor import Floor
from strongroom.agent.http import Web
from strongroom.agent.protocol import Line
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient
from strongroom.errors import StrongroomError
from strongroom.service.journal import Journal

ROOT = Path(__file__).parent.parent.parent
VECTORS = ROOT / "tests" / "vectors" / "frames.json"
TARGETS = ("codec", "agent", "client", "http")
_READERS = (
    "read_answer",
    "read_claim",
    "read_hello",
    "read_json",
    "read_notice",
    "read_read",
    "read_read_many",
    "read_refusal",
    "read_results",
    "read_version",
)
_SECONDS = 20
HELLO = frames.frame(frames.HELLO, 1, frames.pack_hello("fuzz"))


def codec(data):
    """Whatever stands in a payload, reading it gives a value or the one error, and so does finding frames."""
    for name in _READERS:
        with suppress(frames.BrokenFrameError):
            getattr(frames, name)(data)
    frames.read_text(data)
    at = 0
    with suppress(frames.BrokenFrameError):
        while (found := frames.take(data, at, frames.MAX_REQUEST_BYTES)) is not None:
            assert at < found[3] <= len(data), "a frame that does not go on"
            assert len(found[2]) <= frames.MAX_REQUEST_BYTES
            at = found[3]
    with suppress(frames.BrokenFrameError):
        kind, name, team, flags = frames.read_read(data)
        again = frames.pack_read(7, kind, name, team, flags)
        _, number, payload, end = frames.take(again, 0, frames.MAX_REQUEST_BYTES)
        assert (number, end) == (7, len(again))
        assert frames.read_read(payload) == (kind, name, team, flags)


def whole_frames(data, limit):
    """Give the frames that *data* is made of; fails where it is anything else."""
    found, at = [], 0
    while at < len(data):
        one = frames.take(data, at, limit)
        assert one is not None, "the last frame is cut off"
        found.append(one[:3])
        at = one[3]
    return found


class AgentEnd:
    """An agent's end of connections, in this process: real host, real loop, real sockets."""

    def __init__(self, home):
        home = Path(home)
        settings = home / "agent.toml"
        settings.touch(mode=0o600)
        settings.write_text('chain = ["env"]\n')
        environ = {"HOME": str(home), "STRONGROOM_HOME": str(home), "AIRFLOW_VAR_REGION": "eu"}
        self.host = assembly.open_host(settings, environ=environ)
        self.loop = uvloop.new_event_loop()
        self.surprises = []
        self.loop.set_exception_handler(lambda _loop, context: self.surprises.append(context))
        self.log = io.StringIO()
        journal = Journal("debug", name="fuzz", stream=self.log)

        async def make():
            peers = Peers(self.host.may_connect, lambda _uid, _count: None, self.loop.call_later)
            self.floor = Floor(
                self.host,
                Answers(self.host),
                admit=peers.admit,
                admin=_no_orders,
                journal=journal,
                version="fuzz",
            )
            self.web = Web(self.host, peers, on_trouble=self.surprises.append)
            self.web.start(self.loop)

        self.loop.run_until_complete(make())

    def close(self):
        self.loop.call_soon(self.web.close)
        self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.host.close()

    def speak(self, pieces, *, http=False):
        """Send *pieces* one by one, say that this was all, and give what comes back until the end."""
        return self.loop.run_until_complete(asyncio.wait_for(self._speak(pieces, http=http), _SECONDS))

    async def _speak(self, pieces, *, http):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        make = self.web.unix if http else lambda: Line(self.floor)
        await self.loop.connect_accepted_socket(make, theirs)
        found = bytearray()
        # By the socket itself: a stream forgets what came before the connection was reset.
        with ours:
            with suppress(OSError):
                for piece in pieces:
                    await self.loop.sock_sendall(ours, piece)
                    await asyncio.sleep(0)
                ours.shutdown(socket.SHUT_WR)
            with suppress(OSError):
                while part := await self.loop.sock_recv(ours, 65536):
                    found += part
        return bytes(found)

    def frames(self, pieces):
        """Speak frames; what comes back is whole frames, and nothing surprised the agent."""
        found = whole_frames(self.speak(pieces), frames.MAX_ANSWER_BYTES)
        for type_, _, payload in found:
            if type_ == frames.ERROR:
                assert frames.read_refusal(payload).code != "error", self.log.getvalue()
        assert not self.surprises, self.surprises
        return found

    def answers(self, pieces):
        """Speak HTTP; what comes back is whole answers, none of them a failure of the agent."""
        data = self.speak(pieces, http=True)
        found = []
        while data:
            head, mark, rest = data.partition(b"\r\n\r\n")
            assert mark, "the head of an answer is cut off"
            assert head.startswith(b"HTTP/1.1 "), head[:20]
            status = int(head[9:12])
            assert status != 500, self.surprises
            found.append(status)
            length = [line[16:] for line in head.split(b"\r\n") if line.startswith(b"content-length: ")]
            if not length:
                break  # a stream
            is_whole = len(rest) >= int(length[0])
            data = rest[int(length[0]) :] if is_whole else b""
            assert is_whole or pieces_are_head(pieces), "an answer is cut off"
        assert not self.surprises, self.surprises
        return found


def pieces_are_head(pieces):
    """Tell whether HEAD is asked somewhere, whose answer has a length and no body."""
    return b"HEAD" in b"".join(pieces)


async def _no_orders(_peer, _order):
    return {}


class ClientEnd:
    """A client's end, in front of an agent that says whatever it is told to."""

    def __init__(self, home):
        folder = Path(home) / "impostor"
        folder.mkdir(mode=0o700)
        path = folder / "agent.sock"
        self._bound = socket.socket(socket.AF_UNIX)
        self._bound.bind(str(path))
        self._bound.listen(64)
        self._says = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        self.client = AgentClient(str(path), patience=0.0, timeout=1.0)

    def _serve(self):
        while True:
            try:
                connection, _ = self._bound.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(5)
                connection.recv(65536)
                connection.sendall(self._says)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

    def close(self):
        self.client.close()
        self._bound.shutdown(socket.SHUT_RDWR)
        self._bound.close()
        self._thread.join(5)

    def hear(self, data):
        """Ask while the agent says *data*: an answer, or an error of ours."""
        self._says = data
        for ask in (
            lambda: self.client.read("variable", "region"),
            lambda: self.client.read_many([("variable", "region", None), ("connection", "db", None)]),
            lambda: self.client.explain("variable", "region"),
        ):
            with suppress(StrongroomError):
                ask()
            self.client.close()


def pieces_of(data):
    """Cut *data* into pieces at places it tells itself, so that a fuzzer finds cuts, too."""
    if len(data) < 2:
        return [data]
    cut = data[0] % len(data)
    return [piece for piece in (data[1:cut], data[cut:]) if piece]


def corpus(folder, target):
    """Write the frozen vectors, and what is said over HTTP, as a corpus for *target* into *folder*."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    seeds = [b"GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\n\r\n"] if target == "http" else frozen()
    if target == "http":
        body = b'{"refs":[{"kind":"variable","name":"region"}]}'
        head = (
            b"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
        )
        seeds.append(head + b"%d\r\n\r\n" % len(body) + body)
        seeds.append(b"GET /v1/explain/variable/region?team=red HTTP/1.1\r\nHost: localhost\r\n\r\n")
    if target == "codec":
        seeds += [seed[9:] for seed in seeds]
    for number, seed in enumerate(seeds):
        (Path(folder) / f"seed-{number}").write_bytes(seed)


def frozen():
    """Give every frame of the frozen vectors."""
    if not VECTORS.exists():
        return []

    def found(value):
        if isinstance(value, str):
            with suppress(ValueError):
                yield bytes.fromhex(value)
        for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from found(part)

    return [data for data in found(json.loads(VECTORS.read_text(encoding="utf-8"))) if len(data) >= 9]
