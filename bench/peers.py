"""
The peers, run for real: an OpenBao development server, hvac, and Airflow's own VaultBackend.

They live in `.venv-airflow3`, which `scripts/make-peers` makes on first use. A peer that measures warm reads
runs in a child process that does one round per line of input, so that rounds interleave with ours.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".venv-airflow3"
TOKEN = "bench-root"
READS = 200

WARM = """
import sys, time
from airflow.providers.hashicorp.secrets.vault import VaultBackend
backend = VaultBackend(url=sys.argv[1], token=sys.argv[2], mount_point="secret")
assert backend.get_conn_value("orders_db")
print("ready", flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.perf_counter()
        backend.get_conn_value("orders_db")
        times.append(time.perf_counter() - start)
    times.sort()
    print(times[len(times) // 2] * 1e6, flush=True)
"""
HVAC = """
import sys, hvac
client = hvac.Client(url=sys.argv[1], token=sys.argv[2])
assert client.secrets.kv.v2.read_secret_version(path="variables/region", raise_on_deleted_version=True)
"""
AIRFLOW = """
import sys
from airflow.providers.hashicorp.secrets.vault import VaultBackend
assert VaultBackend(url=sys.argv[1], token=sys.argv[2], mount_point="secret").get_variable("region")
"""


def python() -> str:
    """Give the Python of the peers' environment, made on first use and byte-compiled."""
    subprocess.run([ROOT / "scripts" / "make-peers", sys.executable], check=True)
    if not (VENV / ".done").exists():
        raise SystemExit("the peers could not be installed")
    return str(VENV / "bin" / "python")


@contextmanager
def openbao() -> Iterator[str]:
    """Run a development server that holds one variable and one connection; give its address."""
    python()
    port = _free_port()
    environment = {**os.environ, "BAO_DEV_ROOT_TOKEN_ID": TOKEN}
    with tempfile.TemporaryDirectory() as home:
        server = subprocess.Popen(
            [VENV / "bin" / "bao", "server", "-dev", f"-dev-listen-address=127.0.0.1:{port}"],
            env={**environment, "HOME": home},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(port)
            _put(port, "variables/region", {"value": "eu-west-1"})
            _put(port, "connections/orders_db", {"conn_uri": "postgres://svc:pw@db.example.com:5432/orders"})
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(10)


@contextmanager
def vault_backend(address: str) -> Iterator[subprocess.Popen[str]]:
    """Run Airflow's VaultBackend against *address*; ask it for rounds with `round_us`."""
    with tempfile.TemporaryDirectory() as home:
        child = subprocess.Popen(
            [python(), "-c", WARM, address, TOKEN],
            env=airflow_environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdin is not None
        assert child.stdout is not None
        while child.stdout.readline().strip() != "ready":
            if child.poll() is not None:
                raise SystemExit("the peer VaultBackend did not start")
        try:
            yield child
        finally:
            child.stdin.close()
            child.wait(30)


def round_us(child: subprocess.Popen[str]) -> float:
    """Run one round and give its median in microseconds."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{READS}\n")
    child.stdin.flush()
    return float(child.stdout.readline())


def airflow_import_seconds(connections: dict[str, object]) -> float:
    """Time `airflow connections import` of *connections* into a fresh SQLite database, without its start."""
    with tempfile.TemporaryDirectory() as home:
        airflow = [_airflow_command()]
        _airflow([*airflow, "db", "migrate"], home)
        first = Path(home) / "one.json"
        first.write_text(json.dumps({"first": {"conn_type": "http"}}))
        many = Path(home) / "many.json"
        many.write_text(json.dumps(connections))
        start = _airflow([*airflow, "connections", "import", str(first)], home)
        return _airflow([*airflow, "connections", "import", str(many)], home) - start


def airflow_database(home: Path, key: str) -> None:
    """Make a metadata database of Airflow's own in *home*, without connections."""
    home.mkdir()
    _airflow([_airflow_command(), "db", "migrate"], str(home), AIRFLOW__CORE__FERNET_KEY=key)
    with closing(sqlite3.connect(home / "airflow.db")) as opened, opened:
        opened.execute("DELETE FROM connection")


def fill_airflow_database(home: Path, rows: Iterable[tuple[object, ...]]) -> None:
    """
    Add connections to the database in *home*.

    Each row: conn_id, conn_type, description, host, schema, login, port, and password and extra, sealed.
    """
    with closing(sqlite3.connect(home / "airflow.db")) as opened, opened:
        opened.executemany(
            "INSERT INTO connection (conn_id, conn_type, description, host, schema, login, port, password,"
            " extra, is_encrypted, is_extra_encrypted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, 1)",
            rows,
        )


def airflow_export_seconds(home: Path, key: str) -> float:
    """Time `airflow connections export` of what stands below *home*, the whole command."""
    command = [_airflow_command(), "connections", "export", str(home / "out.json")]
    return _airflow(command, str(home), AIRFLOW__CORE__FERNET_KEY=key)


def _airflow_command() -> str:
    return str(Path(python()).parent / "airflow")


def _airflow(argv: list[str], home: str, **environ: str) -> float:
    begun = time.perf_counter()
    subprocess.run(
        argv,
        env=airflow_environment(home) | environ,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begun


def airflow_environment(home: str) -> dict[str, str]:
    """Give an environment in which Airflow starts without a configuration of its own."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            _call(port, "GET", "/v1/sys/health", None)
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the OpenBao development server did not start")


def _put(port: int, path: str, data: dict[str, str]) -> None:
    _call(port, "POST", f"/v1/secret/data/{path}", {"data": data})


def _call(port: int, method: str, path: str, body: object) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, json.dumps(body) if body else None, {"X-Vault-Token": TOKEN})
    reply = connection.getresponse()
    reply.read()
    connection.close()
    if reply.status >= 300:
        raise SystemExit(f"the OpenBao development server answered {reply.status}")
