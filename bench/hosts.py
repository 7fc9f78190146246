"""
What runs on a host beside its tasks: our agent, and OpenBao's own proxy, each as a real process.

    with openbao() as address, agent(home, settings, environ) as one, bao_proxy(home, address) as proxy:
        one.socket, proxy       # paths of unix sockets
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from bench import peers

PROXY = """
vault {{ address = "{address}" }}
auto_auth {{
  method "approle" {{
    config = {{
      role_id_file_path = "{home}/role-id"
      secret_id_file_path = "{home}/secret-id"
      remove_secret_id_file_after_reading = false
    }}
  }}
}}
api_proxy {{ use_auto_auth_token = true }}
cache {{ }}
listener "unix" {{
  address = "{home}/proxy.sock"
  tls_disable = true
}}
"""
POLICY = """
path "secret/*" { capabilities = ["read"] }
path "auth/token/create" { capabilities = ["update"] }
"""


class Agent:
    """Our agent: where it listens and who it is."""

    def __init__(self, socket_path: Path, pid: int) -> None:
        self.socket = socket_path
        self.pid = pid

    def environ(self, home: Path) -> dict[str, str]:
        """Give the environment of a process that asks it."""
        return {"PATH": os.environ["PATH"], "HOME": str(home), "STRONGROOM_SOCKET": str(self.socket)}


@contextmanager
def agent(home: Path, settings: str, environ: Mapping[str, str] | None = None) -> Iterator[Agent]:
    """Run our agent with *settings*; its state stands in *home*, whose path is short."""
    file = home / "agent.toml"
    file.touch(mode=0o600)
    file.write_text(settings)
    path = home / "run" / "agent.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "strongroom", "agent", "--socket", str(path)],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "STRONGROOM_HOME": str(home),
            "STRONGROOM_CONFIG": str(file),
            **(environ or {}),
        },
        stdout=subprocess.DEVNULL,
        stderr=None if "BENCH_SHOW" in os.environ else subprocess.DEVNULL,
    )
    try:
        _wait(path, process)
        yield Agent(path, process.pid)
    finally:
        _end(process)


@contextmanager
def bao_proxy(home: Path, address: str) -> Iterator[Path]:
    """Run `bao proxy` with its cache on, logged in by AppRole; give its socket."""
    _role(home, address)
    config = home / "proxy.hcl"
    config.write_text(PROXY.format(address=address, home=home))
    process = subprocess.Popen(
        [peers.VENV / "bin" / "bao", "proxy", f"-config={config}"],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    path = home / "proxy.sock"
    try:
        _wait(path, process)
        yield path
    finally:
        _end(process)


def _role(home: Path, address: str) -> None:
    if "approle/" not in _ask(address, "GET", "sys/auth")["data"]:  # another benchmark may have asked before
        _ask(address, "POST", "sys/auth/approle", {"type": "approle"})
    _ask(address, "PUT", "sys/policies/acl/bench", {"policy": POLICY})
    _ask(address, "POST", "auth/approle/role/bench", {"token_policies": "bench"})
    role = _ask(address, "GET", "auth/approle/role/bench/role-id")
    secret = _ask(address, "POST", "auth/approle/role/bench/secret-id")
    (home / "role-id").write_text(role["data"]["role_id"])
    (home / "secret-id").write_text(secret["data"]["secret_id"])


def _ask(address: str, method: str, path: str, body: object = None):
    asked = urllib.request.Request(
        f"{address}/v1/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-Vault-Token": peers.TOKEN},
        method=method,
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def _wait(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
            return
        time.sleep(0.01)
    raise SystemExit(f"nobody answers at {path}; BENCH_SHOW=1 shows why")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
