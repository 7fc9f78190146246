"""A PostgreSQL that speaks TLS on a port of 127.0.0.1, with accounts that log in by password: Debian's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg

from parts import databases

PASSWORD = "p w'\\:@%?#"  # what an address and libpq's own words would trip over


class TlsServer:
    """
    Attributes:
        port: of 127.0.0.1; what is not TLS is refused there.
        ca: the file that vouches for its certificate, which is for 127.0.0.1 alone.
        socket: the folder of its Unix socket, where `postgres` needs no password.
    """

    def __init__(self, folder, authority):
        (programs,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:] or [None]
        if programs is None:
            databases.missing("Debian's PostgreSQL")
        self._user = (
            {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        )
        self.folder, self.ca = folder, authority.file
        self.port = _free_port()
        data = folder / "data"
        if self._user:
            shutil.chown(folder, "postgres")
        how = [
            "--auth=trust",
            "--auth-host=scram-sha-256",
            "--encoding=utf8",
            "-N",
            "-U",
            "postgres",
            "-D",
            data,
        ]
        assert self._run(programs / "initdb", *how).wait(60) == 0
        for made, name in zip(
            authority.issue("tls-server", "127.0.0.1"), ("server.crt", "server.key"), strict=True
        ):
            shutil.copyfile(made, data / name)
            (data / name).chmod(0o600)
            if self._user:
                shutil.chown(data / name, "postgres")
        (data / "pg_hba.conf").write_text(
            "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\nhostnossl all all all reject\n"
        )
        settings = (
            "ssl=on",
            "fsync=off",
            f"ssl_cert_file={data}/server.crt",
            f"ssl_key_file={data}/server.key",
        )
        arguments = [part for setting in settings for part in ("-c", setting)]
        self.process = self._run(
            programs / "postgres", "-D", data, "-h", "127.0.0.1", "-p", self.port, "-k", folder, *arguments
        )
        databases.wait_for(self._answers)
        self.run("CREATE DATABASE store", "CREATE USER keeper", "ALTER DATABASE store OWNER TO keeper")
        self.change_password(PASSWORD)

    def change_password(self, password):
        with self._admin() as admin:
            admin.execute(psycopg.sql.SQL("ALTER USER keeper PASSWORD {}").format(password))

    def run(self, *statements):
        with self._admin() as admin:
            for statement in statements:
                admin.execute(statement)

    def place(self, **arguments):
        """Give the address of its database, over TLS."""
        told = {"sslrootcert": str(self.ca), **arguments}
        host = told.pop("host", "127.0.0.1")
        query = "&".join(f"{name}={value}" for name, value in told.items())
        return f"postgresql://keeper@{host}:{self.port}/store?{query}"

    def stop(self):
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _admin(self):
        return closing(
            psycopg.connect(host=str(self.folder), port=self.port, user="postgres", autocommit=True)
        )

    def _run(self, *command):
        return subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **self._user,
        )

    def _answers(self):
        with suppress(psycopg.Error), self._admin():
            return True
        return self.process.poll() is not None


@contextmanager
def tls_server(authority):
    """Run one for the block."""
    server = TlsServer(Path(tempfile.mkdtemp(prefix="srtls")), authority)
    try:
        yield server
    finally:
        server.stop()


def _free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
