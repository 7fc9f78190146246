"""
The HTTP of an agent for tests: a real host and a real loop in a thread of the test process.

    from parts.web import web

    def test_something(tmp_path):
        with web(tmp_path, SETTINGS) as one:
            assert one.ask("POST", "/v1/read", {"refs": […]}).json()["results"] == […]

`one.host` is what it serves and `one.web` what answers, so that a test may look behind it.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from contextlib import contextmanager

import uvloop

from parts.http import Answer, exchange
from strongroom import assembly
from strongroom.agent.door import Peers
from strongroom.agent.http import Bounds, Web
from strongroom.model.secret import Secret

START_SECONDS = 20
TOKEN = "token-of-the-loopback-address"


class Running:
    """
    Attributes:
        host, web: what is served and what answers.
        socket: the path of the unix socket.
        port: of the loopback address.
    """

    def __init__(self, host, web, path, loop):
        self.host = host
        self.web = web
        self.socket = path
        self.loop = loop
        self.port = 0
        self.troubles = []
        self.servers = []

    def connect(self, *, tcp=False):
        """Give a plain connection."""
        if tcp:
            return socket.create_connection(("127.0.0.1", self.port), 20)
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(20)
        found.connect(str(self.socket))
        return found

    def send(self, data, *, tcp=False, shut=False):
        """Send bytes on a connection of their own and give all that comes back until it is closed."""
        with self.connect(tcp=tcp) as connection:
            return exchange(connection, data, shut=shut)

    def ask(self, method, path, body=None, *, headers=None, tcp=False):
        """Send one request on a connection of its own. A body that is no bytes is sent as JSON."""
        given = {"X-Strongroom-Token": TOKEN} if tcp else {}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given["Content-Type"] = "application/json"
        with self.speaking(tcp=tcp) as client:
            client.request(method, path, body, given | (headers or {}))
            answer = client.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    @contextmanager
    def speaking(self, *, tcp=False):
        """Give an `http.client` connection."""
        client = http.client.HTTPConnection("localhost", 1, timeout=20)
        client.sock = self.connect(tcp=tcp)
        try:
            yield client
        finally:
            client.close()

    def read(self, *names, **more):
        """Read variables, and give the results."""
        refs = [{"kind": "variable", "name": name} for name in names]
        answer = self.ask("POST", "/v1/read", {"refs": refs} | more)
        assert answer.status == 200, answer.body
        return answer.json()["results"]


@contextmanager
def web(home, settings='chain = ["env"]\n', *, environ=None, bounds=None, hosts=()):
    """Answer HTTP for what stands in the folder *home*, on a unix socket and on a loopback port."""
    file = home / "agent.toml"
    file.touch(mode=0o600)
    file.write_text(settings)
    given = {"HOME": str(home), "STRONGROOM_HOME": str(home), "STRONGROOM_CONFIG": str(file)} | (
        environ or {}
    )
    host = assembly.open_host(file, environ=given)
    host.start()
    loop = uvloop.new_event_loop()
    one_strangers = []
    peers = Peers(host.may_connect, lambda uid, count: one_strangers.append((uid, count)), loop.call_later)
    made = Web(host, peers, bounds=bounds or Bounds(), token=Secret(TOKEN), hosts=hosts)
    one = Running(host, made, home / "http.sock", loop)
    one.strangers = one_strangers
    made.routes._on_trouble = one.troubles.append
    thread = threading.Thread(target=_run, args=(loop, one), daemon=True)
    try:
        listening = threading.Event()
        loop.call_soon(lambda: loop.create_task(_listen(one, listening)))
        thread.start()
        assert listening.wait(START_SECONDS), "it never listened"
        yield one
    finally:
        loop.call_soon_threadsafe(made.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_SECONDS)
        host.close()


def _run(loop, one):
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        for server in one.servers:
            server.close()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _listen(one, listening):
    loop = one.loop
    one.web.start(loop)
    one.servers.append(await loop.create_unix_server(one.web.unix, str(one.socket)))
    server = await loop.create_server(one.web.tcp, "127.0.0.1", 0)
    one.servers.append(server)
    one.port = server.sockets[0].getsockname()[1]
    listening.set()
