"""
A real Redis on ports of 127.0.0.1, in clear and over TLS, whose users' passwords can be changed.

    with redis_server(tmp_path, authority) as server:
        server.change_password("app", "new")

Where `redis-server` is missing the test skips, and fails under CI.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import redis

from parts import databases

OWNER = "the-owner's own"
PASSWORD = "p w'\\:@%?#ü"  # what an address and Redis' own words would trip over


class RedisServer:
    """
    Attributes:
        port, tls_port: of 127.0.0.1.
        ca: the file that vouches for its certificate, which is for localhost alone.
        admin: a client of its own administrator.
    """

    def __init__(self, folder, authority, *, cluster=False, client_ca=None):
        program = shutil.which("redis-server")
        if program is None:
            databases.missing("redis-server")
        self.port, self.tls_port, self.ca = _free_port(), _free_port(), authority.file
        certificate, key = authority.issue("redis", "localhost")
        settings = {
            "bind": "127.0.0.1",
            "port": self.port,
            "tls-port": self.tls_port,
            "tls-cert-file": certificate,
            "tls-key-file": key,
            "tls-ca-cert-file": client_ca or authority.file,
            "tls-auth-clients": "optional" if client_ca is None else "yes",
            "save": '""',
            "dir": folder,
            "daemonize": "no",
            "databases": 4,
            **({"cluster-enabled": "yes", "cluster-port": _free_port()} if cluster else {}),
        }
        file = folder / "redis.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
        file.chmod(0o600)
        self.process = subprocess.Popen(
            [program, file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
        )
        self.admin = redis.Redis(port=self.port, username="owner", password=OWNER)
        self._is_cluster = cluster

    def begin(self):
        """Wait for it, and let nobody in but its administrator."""
        with redis.Redis(port=self.port) as first:
            databases.wait_for(lambda: _answers(first) or self.process.poll() is not None)
            first.execute_command("ACL", "SETUSER", "owner", "on", f">{OWNER}", "~*", "&*", "+@all")
            if self._is_cluster:
                first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
                databases.wait_for(lambda: first.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        self.admin.execute_command("ACL", "SETUSER", "default", "off")

    def add_user(self, name, password, *rules):
        self.admin.execute_command("ACL", "SETUSER", name, "reset", "on", f">{password}", *rules)

    def change_password(self, name, password):
        """Change it; who has signed in stays so, as Redis does it."""
        self.admin.execute_command("ACL", "SETUSER", name, "resetpass", f">{password}")

    def add_password(self, name, password):
        """Let it count beside those there are."""
        self.admin.execute_command("ACL", "SETUSER", name, f">{password}")

    def sessions(self, name):
        """Give the ids of the sessions that a user has now."""
        return {session["id"] for session in self.admin.client_list() if session["user"] == name}

    def end_sessions(self, name):
        self.admin.execute_command("CLIENT", "KILL", "USER", name)

    def refusals(self):
        """Count the attempts to sign in that were refused, as its own log does."""
        return sum(entry["count"] for entry in self.admin.acl_log() if _text(entry["reason"]) == "auth")

    def forget_refusals(self):
        self.admin.acl_log_reset()

    def stop(self):
        self.admin.close()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()


@contextmanager
def redis_server(folder, authority, **how):
    """Run one for the block."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    server = RedisServer(folder, authority, **how)
    try:
        server.begin()
        yield server
    finally:
        server.stop()


def _answers(client):
    with suppress(redis.exceptions.ConnectionError):
        return client.ping()
    return False


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
