"""
A real `strongroom serve` for tests, in a process of its own: one that can be killed, stopped and restarted.

    with server_process(tmp_path, 'chain = ["native"]\n') as server:
        server.address, server.port, server.pid
        with server.room() as room:          # the store behind it, as the local owner
            token = room.access.tokens.issue("ci", roles=[Role("admin")]).token.reveal()
        server.kill(); server.start()        # on the same port

`parts/server.py` runs one in a thread of the test, which starts sooner and lets a test look behind it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import contextmanager

from parts import warm
from parts.agent import START_SECONDS, until
from strongroom import assembly


class ServerProcess:
    """A server's process over the store in the folder *home*."""

    def __init__(self, home, settings, *, prefix=(), environ=None):
        self.home = home
        self.port = 0
        self._prefix = [str(part) for part in prefix]
        self._file = home / "strongroom.toml"
        self._file.touch(mode=0o600)
        self._file.write_text(settings)
        self._log = home / "server.log"
        self._out = home / "server.out"
        self._process = None
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "STRONGROOM_HOME": str(home),
            "STRONGROOM_CONFIG": str(self._file),
            **(environ or {}),
        }

    def make(self):
        """Make the store and the key."""
        assembly.create_room(self._file, environ=self.environ).close()

    def room(self):
        """Open what it serves beside it, as the local owner."""
        return assembly.open_room(self._file, environ=self.environ)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self._process.pid

    def start(self):
        said = ["serve", "--port", str(self.port)]
        with self._log.open("ab") as log, self._out.open("wb") as out:
            how = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": log, "cwd": self.home}
            if self._prefix:
                command = [*self._prefix, sys.executable, "-m", "strongroom", *said]
                self._process = subprocess.Popen(command, env=self.environ, **how)
            else:
                self._process = warm.Popen(said, env=self.environ, **how)
        found = until(self._said, what="the server", alive=self._process, told=self.log)
        self.port = int(found.group(1))
        return self

    def _said(self):
        return re.search(r"http://127\.0\.0\.1:(\d+)", self._out.read_text())

    def kill(self):
        self._process.kill()
        self._process.wait(START_SECONDS)

    def stop(self):
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(START_SECONDS * 2)  # a drain takes up to 30 s
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"the server did not end: {self.log()}") from None

    def log(self):
        return self._log.read_text(errors="replace")


@contextmanager
def server_process(home, settings='chain = ["native"]\n', *, prefix=(), environ=None):
    """Make a store in *home* and serve it. *prefix* as of `parts.agent.agent`."""
    server = ServerProcess(home, settings, prefix=prefix, environ=environ)
    server.make()
    try:
        yield server.start()
    finally:
        server.stop()
