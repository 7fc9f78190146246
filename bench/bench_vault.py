"""
One secret out of a real OpenBao: the transport and the vault backend beside a raw socket, hvac and Airflow.

The raw socket is the limit: the request is bytes made before, the answer is read to its
Content-Length and decoded by msgspec, nothing is checked. All of them ask in interleaved rounds of
one run; cold figures are whole processes from byte-compiled packages.
"""

from __future__ import annotations

import compileall
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import msgspec

import strongroom
from bench import peers
from strongroom.backends.vault import Vault, VaultOptions
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.vendors.transport import Transport, TransportOptions
from strongroom.vendors.vault_options import VaultAuth

TITLE = "Read-through to OpenBao (KV v2, kept connection), and cold login + read"
ROUNDS = 21
COLD_ROUNDS = 11
PATH = "/v1/secret/data/connections/orders_db"
HEADERS = {"x-vault-token": Secret(peers.TOKEN)}
READ = Ref("connection", "orders_db")
WITHIN = "≤ 1.4 of the raw socket"
_LENGTH = re.compile(rb"Content-Length: ([0-9]+)")

HVAC = """
import sys, time, hvac
client = hvac.Client(url=sys.argv[1], token=sys.argv[2])
def read():
    kv = client.secrets.kv.v2
    return kv.read_secret_version(path="connections/orders_db", raise_on_deleted_version=True)
assert read()
print("ready", flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.perf_counter()
        read()
        times.append(time.perf_counter() - start)
    times.sort()
    print(times[len(times) // 2] * 1e6, flush=True)
"""
COLD_TRANSPORT = """
import json, sys
from datetime import timedelta
from strongroom.model.secret import Secret
from strongroom.vendors.transport import Transport, TransportOptions
transport = Transport(TransportOptions(place="vault", url=sys.argv[1]))
body = f'{{"role_id": "{sys.argv[2]}", "secret_id": "{sys.argv[3]}"}}'.encode()
login = transport.request("POST", "/v1/auth/approle/login", body=Secret(body), is_repeatable=False)
headers = {"x-vault-token": Secret(json.loads(login.body)["auth"]["client_token"])}
assert json.loads(transport.request("GET", "/v1/secret/data/variables/region", headers=headers).body)["data"]
"""
COLD_BACKEND = """
import sys
from datetime import datetime, timezone
from strongroom.backends.vault import Vault, VaultOptions
from strongroom.vendors.vault_options import VaultAuth
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
auth = VaultAuth(method="approle", role_id=sys.argv[2], secret_id=Secret(sys.argv[3]))
backend = Vault("vault", VaultOptions(url=sys.argv[1], auth=auth), lambda: datetime.now(timezone.utc))
assert backend.read(Ref("variable", "region")).secret.reveal() == "eu-west-1"
"""
COLD_LIBRARY = "import strongroom; assert strongroom.variable('region') == 'eu-west-1'"
COLD_HVAC = """
import sys, hvac
client = hvac.Client(url=sys.argv[1])
client.auth.approle.login(sys.argv[2], sys.argv[3])
assert client.secrets.kv.v2.read_secret_version(path="variables/region", raise_on_deleted_version=True)
"""


def measure() -> list[dict[str, object]]:
    with peers.openbao() as address, _Counter(address) as counter:
        return [*_warm(address), *_requests(counter), *_cold(address)]


# --- warm ---------------------------------------------------------------------------------------


def _warm(address: str) -> list[dict[str, object]]:
    transport = Transport(TransportOptions(place="vault", url=address))
    backend = _backend(address)
    raw = _Raw(address)
    ours: dict[str, Callable[[], object]] = {
        "raw": raw.read,
        "transport": lambda: json.loads(transport.request("GET", PATH, headers=HEADERS).body),
        "backend": lambda: backend.read(READ),
    }
    with peers.vault_backend(address) as airflow, _hvac(address) as hvac:
        figures = _rounds(ours, {"airflow": airflow, "hvac": hvac})
    transport.close()
    backend.close()
    raw.close()
    return [
        _row("Transport.request, one read", figures, "transport", "raw", WITHIN),
        _row("vault backend, one read", figures, "backend", "raw", WITHIN),
        _row("vault backend, one read", figures, "backend", "hvac", "reported"),
        _row("vault backend, one read", figures, "backend", "airflow", "reported"),
    ]


def _rounds(
    ours: dict[str, Callable[[], object]], theirs: dict[str, subprocess.Popen[str]]
) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in (*ours, *theirs)}
    for _ in range(ROUNDS):
        for name, read in ours.items():
            times[name].append(_round_us(read))
        for name, child in theirs.items():
            times[name].append(peers.round_us(child))
    return {name: median(values) for name, values in times.items()}


def _round_us(read: Callable[[], object]) -> float:
    times = []
    for _ in range(peers.READS):
        start = time.perf_counter()
        read()
        times.append(time.perf_counter() - start)
    return median(times) * 1e6


def _backend(address: str) -> Vault:
    auth = VaultAuth(method="token", token=Secret(peers.TOKEN))
    return Vault("vault", VaultOptions(url=address, auth=auth), lambda: datetime.now(timezone.utc))


class _Raw:
    """What cannot be undercut from Python: no header is read but one."""

    def __init__(self, address: str) -> None:
        port = int(address.rsplit(":", 1)[1])
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Vault-Token: {peers.TOKEN}\r\n\r\n"
        self._request = head.encode()

    def read(self) -> object:
        self._socket.sendall(self._request)
        data = self._socket.recv(65536)
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._socket.recv(65536)
        found = _LENGTH.search(data, 0, end)
        assert found is not None
        while len(data) < end + 4 + int(found[1]):
            data += self._socket.recv(65536)
        return msgspec.json.decode(data[end + 4 :])

    def close(self) -> None:
        self._socket.close()


@contextmanager
def _hvac(address: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [peers.python(), "-c", HVAC, address, peers.TOKEN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline().strip() == "ready"
    try:
        yield child
    finally:
        child.stdin.close()
        child.wait(30)


# --- how many requests --------------------------------------------------------------------------


class _Counter:
    """Pass bytes on to a server and count the requests among them; its answers come `late_seconds` late."""

    def __init__(self, address: str) -> None:
        self._behind = ("127.0.0.1", int(address.rsplit(":", 1)[1]))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.count = 0
        self.reads = 0  # of secrets, among them
        self.late_seconds = 0.0

    def __enter__(self) -> _Counter:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(self._behind)
            threading.Thread(target=self._pass, args=(near, far, b" HTTP/1.1\r\n"), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, None), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, mark: bytes | None) -> None:
        with one, other:
            try:
                while data := one.recv(65536):
                    self.count += data.count(mark) if mark else 0
                    self.reads += data.count(b"GET /v1/secret/") if mark else 0
                    if self.late_seconds and mark is None:
                        time.sleep(self.late_seconds)
                    other.sendall(data)
            except OSError:
                return


def _requests(counter: _Counter) -> list[dict[str, object]]:
    transport = Transport(TransportOptions(place="vault", url=counter.address))
    backend = _backend(counter.address)
    backend.read(READ)
    rows = []
    for name, read in (
        ("Transport.request, requests a read", lambda: transport.request("GET", PATH, headers=HEADERS)),
        ("vault backend, requests a read", lambda: backend.read(READ)),
    ):
        before = counter.count
        for _ in range(100):
            read()
        figures = {"ours": (counter.count - before) / 100, "one": 1.0}
        rows.append(_row(name, figures, "ours", "one", "exactly 1"))
    transport.close()
    backend.close()
    return rows


# --- cold ---------------------------------------------------------------------------------------


def _cold(address: str) -> list[dict[str, object]]:
    compileall.compile_dir(str(Path(strongroom.__file__).parent), quiet=2)
    role = _role(address)
    with tempfile.TemporaryDirectory() as home:
        environment = _home(home, address, role)
        commands = {
            "transport": [sys.executable, "-c", COLD_TRANSPORT, address, *role],
            "backend": [sys.executable, "-c", COLD_BACKEND, address, *role],
            "library": [sys.executable, "-c", COLD_LIBRARY],
            "hvac": [peers.python(), "-c", COLD_HVAC, address, *role],
            "bare": [sys.executable, "-c", "pass"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(COLD_ROUNDS):
            for name, argv in commands.items():
                times[name].append(_wall_ms(argv, environment))
    figures = {name: median(values) for name, values in times.items()}
    note = f"peer: hvac, AppRole login and one read; bare Python {figures['bare']:.0f} ms"
    return [
        {**_row(f"cold: {name}", figures, key, "hvac", target), "unit": "ms", "note": note}
        for name, key, target in (
            ("Transport, login + read", "transport", "≤ 60 ms"),
            ("vault backend, login + read", "backend", "≤ 60 ms"),
            ("strongroom.variable over vault", "library", "reported"),
        )
    ]


def _role(address: str) -> tuple[str, str]:
    """Make an AppRole that may read, and give its role_id and secret_id."""
    transport = Transport(TransportOptions(place="vault", url=address))

    def call(method: str, path: str, body: dict[str, object] | None = None) -> dict[str, dict[str, str]]:
        data = None if body is None else json.dumps(body).encode()
        reply = transport.request(method, f"/v1/{path}", headers=HEADERS, body=data)
        assert reply.status < 300, f"OpenBao answered {reply.status}"
        return json.loads(reply.body or b"{}")

    call("POST", "sys/auth/approle", {"type": "approle"})
    call("POST", "sys/policies/acl/bench", {"policy": 'path "secret/*" { capabilities = ["read", "list"] }'})
    call("POST", "auth/approle/role/bench", {"token_policies": "bench", "token_ttl": "1h"})
    role_id = call("GET", "auth/approle/role/bench/role-id")["data"]["role_id"]
    secret_id = call("POST", "auth/approle/role/bench/secret-id", {})["data"]["secret_id"]
    transport.close()
    return role_id, secret_id


def _home(home: str, address: str, role: tuple[str, str]) -> dict[str, str]:
    secret = Path(home) / "secret-id"
    secret.touch(mode=0o600)
    secret.write_text(role[1])
    settings = Path(home) / "strongroom.toml"
    settings.write_text(
        f'chain = ["vault"]\n[backend.vault]\nkind = "vault"\nurl = "{address}"\n'
        f'auth = {{ method = "approle", role_id = "{role[0]}", secret_id = {{ file = "{secret}" }} }}\n'
    )
    return {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "STRONGROOM_HOME": home,
        "STRONGROOM_CONFIG": str(settings),
    }


def _wall_ms(argv: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL, cwd=environment["HOME"])
    return (time.perf_counter() - start) * 1000


_NOTES = {
    "raw": "peer: raw socket, request made before, msgspec; nothing checked",
    "hvac": "peer: hvac, warm, one session",
    "airflow": "peer: Airflow's VaultBackend, warm",
    "one": "counted by a proxy over 100 reads",
}


def _row(path: str, figures: dict[str, float], ours: str, peer: str, target: str) -> dict[str, object]:
    return {
        "path": path,
        "ours": figures[ours],
        "peer": figures[peer],
        "unit": "requests" if peer == "one" else "µs",
        "ratio": figures[ours] / figures[peer],
        "target": target,
        "note": _NOTES[peer],
    }
