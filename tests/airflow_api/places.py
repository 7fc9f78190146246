"""A real `strongroom serve`, a real Airflow, and the published clients: each a process of its own."""

from __future__ import annotations

import http.client
import json
import os
import re
import selectors
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from cli_shell import Shell
from inside_airflow.place import FERNET_KEY, end_group

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 60
FRESH = "fresh"
SETTINGS = """
[server.limits]
identity_per_second = 100000
identity_burst = 100000
stranger_per_second = 100000
stranger_burst = 100000

[deployments.other]

[deployments.fresh]
"""
PASSWORD = "correct horse battery staple 7"


def require(venv, what):
    """Skip where *venv* was not made; in CI that is a failure."""
    if (ROOT / venv / ".done").exists():
        return ROOT / venv / "bin"
    why = f"{what} is not here: run scripts/make-peers"
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self):
        return json.loads(self.body)


def ask(port, method, path, body=None, *, token=None, headers=None):
    """Send one request to a port of this machine. A body that is no bytes is sent as JSON."""
    given = {"Authorization": f"Bearer {token}"} if token else {}
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        given["Content-Type"] = "application/json"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, given | (headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


class Strongroom:
    """`strongroom serve` over a store of its own."""

    def __init__(self, home):
        self.home = home
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(home), "STRONGROOM_HOME": str(home)}
        if "PYTHONPATH" in os.environ:  # a copy of the source may be what is tested
            self.environ["PYTHONPATH"] = os.environ["PYTHONPATH"]
        (home / "strongroom.toml").write_text(SETTINGS)
        (home / "strongroom.toml").chmod(0o600)
        for more in ([], ["--deployment", "other"], ["--deployment", FRESH]):
            self.run("init", *more)
        with (home / "serve.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command(), "serve", "--port", "0", "--output", "json"],
                env=self.environ,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self.address = self._address()
        except BaseException:
            self.close()
            raise
        self.port = int(self.address.rpartition(":")[2])

    def _command(self):
        return [sys.executable, "-m", "strongroom"]

    def _address(self):
        found = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            end = time.monotonic() + START_SECONDS
            while b"}" not in found:
                assert time.monotonic() < end, "the server did not start"
                if selector.select(0.2):
                    more = os.read(self._process.stdout.fileno(), 65_536)
                    assert more, (self.home / "serve.log").read_text()
                    found += more
        return json.loads(found)["address"]

    def run(self, *arguments, given=""):
        """Run a command over the same store, in this process."""
        shell = Shell(self.home)
        shell.environ = self.environ
        done = shell(list(arguments), given)
        assert done.code == 0, done.err
        return done.out

    def token(self, name, role, *more):
        arguments = ("access", "tokens", "issue", "--name", name, "--role", role, "--output", "json", *more)
        return json.loads(self.run(*arguments))["token"]

    def ask(self, method, path, body=None, **more):
        return ask(self.port, method, path, body, **more)

    def close(self):
        self._process.terminate()
        try:
            self._process.wait(40)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Client:
    """A published client, behind a line of JSON in and a line out."""

    def __init__(self, venv, what, script, home):
        python = require(venv, what) / "python"
        with (home / f"{script}.log").open("wb") as log:
            self._process = subprocess.Popen(
                [python, Path(__file__).with_name(script)],
                env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONUTF8": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._log = home / f"{script}.log"

    def send(self, asked):
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        return json.loads(line)

    def methods(self, api):
        return set(self.send({"methods": api})["methods"])

    def close(self):
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Airflow:
    """
    A real Airflow 3 api-server over SQLite, with one person for each role.

    Args:
        inside: the `Place` of Airflow 3 (`inside_airflow.place`).
        home: an AIRFLOW_HOME of it, with a migrated database.
    """

    def __init__(self, inside, home):
        programs = require(".venv-airflow3", "real Airflow")
        self.port = _free_port()
        self.home = home
        self._environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(home),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "AIRFLOW__CORE__FERNET_KEY": FERNET_KEY,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,op:op,user:user,viewer:viewer",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "PYTHONUTF8": "1",
        }
        roles = ("admin", "op", "user", "viewer")
        (home / "passwords.json").write_text(json.dumps(dict.fromkeys(roles, PASSWORD)))
        server = ["-m", "airflow", "api-server", "--host", "127.0.0.1", "--apps", "core", "--port", self.port]
        self._process = inside.start(home, server, self._environ, out="airflow.log", err="airflow.err")
        try:
            self._wait()
            self.tokens = {role: self._token(role) for role in roles}
        except BaseException:
            self.close()
            raise

    def _wait(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            assert self._process.poll() is None, (self.home / "airflow.err").read_text()
            try:
                if ask(self.port, "GET", "/api/v2/version").status == 200:
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.1)
        raise AssertionError("real Airflow did not start")

    def _token(self, role):
        said = {"username": role, "password": PASSWORD}
        return ask(self.port, "POST", "/auth/token", said).json()["access_token"]

    def ask(self, method, path, body=None, **more):
        return ask(self.port, method, path, body, **more)

    def close(self):
        # Its workers are processes of its own; they end with the group it leads, and nothing of it is kept.
        end_group(self._process)
        shutil.rmtree(self.home / "logs", ignore_errors=True)


def _free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def documented():
    """The numbers of docs/airflow-api.md, each with its text."""
    text = (ROOT / "docs" / "airflow-api.md").read_text()
    return dict(re.findall(r"^\| (A\d+) \| (.*) \|$", text, re.MULTILINE))
