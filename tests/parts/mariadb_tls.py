"""A MariaDB that speaks TLS on a port of 127.0.0.1: Debian's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pymysql

from parts import databases

PASSWORD = "p/w:@%?#"


class TlsServer:
    """
    Attributes:
        port: of 127.0.0.1.
        ca: the file that vouches for its certificate, which is for 127.0.0.1 alone.
    """

    def __init__(self, folder, authority):
        command = databases.laid_out_mariadb(folder)
        self.folder, self.ca, self.port = folder, authority.file, _free_port()
        certificate, key = (Path(folder) / name for name in ("server.crt", "server.key"))
        for issued, ours in zip(authority.issue("mariadb", "127.0.0.1"), (certificate, key), strict=True):
            shutil.copyfile(issued, ours)
        if os.geteuid() == 0:
            for path in (certificate, key):
                shutil.chown(path, "mysql")
        listens = [f"--socket={folder / 's'}", f"--port={self.port}", "--bind-address=127.0.0.1"]
        speaks = [f"--ssl-cert={certificate}", f"--ssl-key={key}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([*command, *listens, *speaks], **quiet)
        databases.wait_for(self._answers)
        self.run("CREATE DATABASE store", f"CREATE USER keeper@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
        self.run("GRANT ALL ON store.* TO keeper@'127.0.0.1'")

    def run(self, *statements):
        with closing(self._admin()) as admin, closing(admin.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)

    def stop(self):
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _admin(self):
        return pymysql.connect(
            unix_socket=str(self.folder / "s"), user="root", autocommit=True, ssl_disabled=True
        )

    def _answers(self):
        return self.process.poll() is not None or databases.mariadb_answers(self.folder / "s")


@contextmanager
def tls_server(authority):
    """Run one for the block."""
    server = TlsServer(Path(tempfile.mkdtemp(prefix="srmytls")), authority)
    try:
        yield server
    finally:
        server.stop()


def _free_port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
