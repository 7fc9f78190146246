"""
A real server for tests: on a free port of 127.0.0.1, in a thread of the test process.

    from parts.server import serving

    def test_something(tmp_path):
        with serving(tmp_path) as server:
            token = server.token("ci", "admin")
            answer = server.ask("POST", "/v1/read", {"refs": […]}, token=token)
            assert answer.status == 200 and answer.json()["results"] == […]

`server.house` is what it serves, so that a test may look behind it. Nothing of it touches the user's home.
"""

from __future__ import annotations

import http.client
import io
import json
import threading
import time
from contextlib import contextmanager

from parts.http import Answer
from strongroom import assembly
from strongroom.policy import Role
from strongroom.server import tls
from strongroom.server.app import make_app
from strongroom.server.logs import Journal
from strongroom.server.serve import Server, recorders, uses_of
from strongroom.settings import load

START_SECONDS = 20


class Running:
    """
    A server that runs.

    Attributes:
        address: `http://127.0.0.1:PORT`.
        house, app, door: what it serves, and its own parts.
        log: what it has logged so far.
    """

    def __init__(self, server, house, lines):
        self.server = server
        self.house = house
        self.app = server.app
        self.door = server.door
        self.address = server.address
        self.port = int(server.address.rpartition(":")[2])
        self._lines = lines

    @property
    def log(self):
        return self._lines.getvalue()

    def logged(self, wanted):
        """Wait for the first line of the log that *wanted* says yes to: a thread writes them."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for line in map(json.loads, self.log.splitlines()):
                if wanted(line):
                    return line
            time.sleep(0.01)
        raise AssertionError(f"never logged: {self.log}")

    def token(self, name="test", role="admin", *, deployment=None, **more):
        """Issue a token as the local owner, and give its text."""
        root = self.house.deployment(deployment).root
        return root.access.tokens.issue(name, roles=[Role(role)], **more).token.reveal()

    def ask(self, method, path, body=None, *, token=None, headers=None):
        """Send one request on a connection of its own. A body that is no bytes is sent as JSON."""
        given = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            given["Content-Type"] = "application/json"
        connection = self.connect()
        try:
            connection.request(method, path, body, given | (headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)


@contextmanager
def serving(home, settings="", *, environ=None, served=None, make=True, port=0):
    """
    Serve what stands in the folder *home*.

    Args:
        settings: text of a settings file; `[server]` in it counts but host and port.
        served: the APIs; all of them if unsaid.
        make: make the store first.
        port: 0 takes a free one.
    """
    environ = {"HOME": str(home), "STRONGROOM_HOME": str(home)} | (environ or {})
    file = home / "strongroom.toml"
    file.touch(mode=0o600)
    file.write_text(settings)
    environ |= {"STRONGROOM_CONFIG": str(file), "STRONGROOM__SERVER__PORT": str(port)}
    found = load(file, environ=environ)
    if make:
        for name in (found.deployment, *found.others):
            assembly.create_room(file, environ=environ, deployment=name).close()
    lines = io.StringIO()
    journal = Journal(found.server.log_level, stream=lines)
    house = assembly.open_house(file, environ=environ, recorder=recorders(journal, environ), uses=uses_of)
    house.start()
    ready = threading.Event()
    try:
        app = make_app(house, found.server, journal=journal, served=served)
        server = Server(
            house,
            found.server,
            journal=journal,
            app=app,
            context=tls.context_of(found.server),
            on_ready=lambda _: ready.set(),
        )
        thread = threading.Thread(target=server.run_until_told, daemon=True)
        thread.start()
        assert ready.wait(START_SECONDS), f"the server did not start: {lines.getvalue()}"
        try:
            yield Running(server, house, lines)
        finally:
            server.should_exit = True
            thread.join(START_SECONDS)
            assert not thread.is_alive(), "the server did not end"
    finally:
        house.close()
        journal.close()
