"""
A role of a real PostgreSQL whose password a test rotates, and who is logged in by it.

    from parts.rotating import Rotating

    def test_something():
        with Rotating() as role:
            write(Change(ref=ORDERS, secret=Secret(role.connection)))
            role.rotate()                  # the old password is refused from here on
            write(Change(ref=ORDERS, secret=Secret(role.connection)))

Sessions that are open stay open, as after any ALTER ROLE.
"""

from __future__ import annotations

import json
import os
from contextlib import closing
from itertools import count
from pathlib import Path

from parts import databases

_GROUP = "rotated"
_numbers = count()


class Rotating:
    """
    One role, dropped at the end with its sessions.

    Attributes:
        name: of the role.
        password: the one that is good now.
    """

    def __init__(self):
        self.name = f"rotating_{os.getpid()}_{next(_numbers)}"
        self._server = databases.postgresql()
        self._turns = 0
        _guard(self._server)
        self._run(f"CREATE USER {self.name} IN ROLE {_GROUP}")
        self.rotate()

    def __enter__(self):
        return self

    def __exit__(self, *_details):
        self.end_sessions()
        self._run(f"DROP USER {self.name}")

    @property
    def password(self):
        return f"p/w:@%?# {self.name} {self._turns}"

    @property
    def connection(self):
        """Give the text of a connection with the password that is good now."""
        return self.with_password(self.password)

    def with_password(self, password):
        """Give the text of a connection with *password*, good or not."""
        return json.dumps(
            {
                "conn_type": "postgres",
                "host": self._server.socket,
                "login": self.name,
                "password": password,
                "schema": "postgres",
            }
        )

    def rotate(self):
        """Have another password from now on, and give it."""
        self._turns += 1
        self._run(f"ALTER USER {self.name} PASSWORD '{self.password}'")
        return self.password

    def sessions(self):
        """Give the process ids of its sessions, the oldest first."""
        with closing(self._server.admin()) as opened:
            asked = "SELECT pid FROM pg_stat_activity WHERE usename = %s ORDER BY backend_start"
            return [pid for (pid,) in opened.execute(asked, (self.name,)).fetchall()]

    def end_sessions(self):
        with closing(self._server.admin()) as opened:
            asked = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
            opened.execute(asked, (self.name,)).fetchall()

    def _run(self, statement):
        self._server.run(statement)


def _guard(server):
    """Have *server* ask the roles of the group for their password; once, whoever comes first."""
    rules = Path(server.socket) / "pg_hba.conf"
    line = f"local all +{_GROUP} scram-sha-256\n"
    if line not in (text := rules.read_text()):
        before = _loaded(server)
        rules.write_text(line + text)
        server.run(f"CREATE ROLE {_GROUP} NOLOGIN", "SELECT pg_reload_conf()")
        databases.wait_for(lambda: _loaded(server) > before)


def _loaded(server):
    """Give when the server last read its rules, as a new session knows it."""
    with closing(server.admin()) as opened:
        return opened.execute("SELECT pg_conf_load_time()").fetchone()[0]
