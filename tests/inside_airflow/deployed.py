"""
Airflow 3 as it is deployed: scheduler with LocalExecutor, API server and dag processor, each a process of its
own, with tokens signed by an Ed25519 key.

    with Deployed(place, folder, dags={"etl.py": "…"}, environ={…}) as airflow:
        run = airflow.run("etl")            # {"state", "tasks", "xcoms", "run_id"}
        airflow.get("/api/v2/dags/etl/details")

It takes half a minute to start: tests share one (`Place.once`).
"""

from __future__ import annotations

import base64
import json
import socket
import time
import urllib.error
import urllib.request
from contextlib import suppress
from urllib.parse import quote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from inside_airflow.place import SHORTLY, end_group

ISSUER = "https://airflow.test"
ADMIN, VIEWER = ("admin", "of-the-admin"), ("strongroom", "of-the-viewer")
_START_SECONDS = 150
_RUN_SECONDS = 150
_ENDED = ("success", "failed")
_OURS = ("scheduler", "dag-processor", "api-server")


class Deployed:
    """
    One Airflow.

    Args:
        place: of version 3.
        folder: where it leaves what it writes.
        dags: texts of Dag files by name.
        environ: of its processes, beside what is needed here.
        is_signing: with a key of its own; False leaves it the shared secret that Airflow comes with.

    Attributes:
        address: of its API server.
        jwks: the file of its public keys.
        home: its AIRFLOW_HOME.
    """

    def __init__(self, place, folder, *, dags, environ=None, is_signing=True):
        self.home = place.home(folder, dags)
        self.folder = folder
        self._place = place
        self._environ = environ or {}
        self._processes = []
        self._token = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self._make_keys()
        self._is_signing = is_signing

    def _make_keys(self):
        key = Ed25519PrivateKey.generate()
        self._private = self.folder / "airflow.pem"
        self._private.touch(mode=0o600)
        self._private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
        # By the name that Airflow gives it: [api_auth] jwt_kid.
        shown = {"kty": "OKP", "crv": "Ed25519", "x": x, "use": "sig", "kid": "of-the-tests"}
        self.jwks = self.folder / "airflow.jwks.json"
        self.jwks.write_text(json.dumps({"keys": [shown]}))

    def settings(self, **more):
        """Give our table `[access.airflow]` for it; the password stands in AIRFLOW_PASSWORD."""
        said = {"issuer": ISSUER, "api": self.address, "jwks": str(self.jwks), "user": VIEWER[0]} | more
        lines = [f"{name} = {json.dumps(value)}" for name, value in said.items()]
        return "\n".join(["[access.airflow]", *lines, 'password = { env = "AIRFLOW_PASSWORD" }', ""])

    @property
    def password(self):
        """Give the environment that `settings` needs."""
        return {"AIRFLOW_PASSWORD": VIEWER[1]}

    @property
    def environ(self):
        passwords = self.folder / "passwords.json"
        passwords.write_text(json.dumps(dict((ADMIN, VIEWER))))
        return {
            **self._place.environ(self.home),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN[0]}:admin,{VIEWER[0]}:viewer",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "AIRFLOW__API__BASE_URL": self.address,
            "AIRFLOW__API__PORT": str(self._port),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__SECRET_KEY": "of the tests " * 4,
            "AIRFLOW__API_AUTH__JWT_ISSUER": ISSUER,
            **self._signing,
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            **self._environ,
        }

    @property
    def _signing(self):
        if not self._is_signing:
            return {"AIRFLOW__API_AUTH__JWT_SECRET": "of the tests " * 6}
        return {
            "AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH": str(self._private),
            "AIRFLOW__API_AUTH__TRUSTED_JWKS_URL": str(self.jwks),
            "AIRFLOW__API_AUTH__JWT_KID": "of-the-tests",
        }

    # --- its life --------------------------------------------------------------------------------------

    def __enter__(self):
        environ = self.environ
        try:
            for name in _OURS:
                log = f"{name}.log"
                process = self._place.start(self.folder, [SHORTLY, name], environ, out=log, err=log)
                self._processes.append(process)
            self.until(self._is_up, "the API server", _START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in self._processes:
            end_group(process)

    def log(self, name="scheduler"):
        """Give what one of its processes wrote."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def said(self):
        """Give all that its processes and tasks wrote, by name."""
        found = {f"{name}.log": self.log(name) for name in _OURS}
        for file in (self.home / "logs").rglob("*"):
            if file.is_file():
                found[str(file.relative_to(self.home))] = file.read_text(errors="replace")
        return found

    def until(self, is_so, what, seconds):
        """Wait until *is_so* gives something, and give it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = is_so()
            if found:
                return found
            for name, process in zip(_OURS, self._processes, strict=False):
                assert process.poll() is None, f"{name} ended: {self.log(name)[-3000:]}"
            time.sleep(0.2)
        told = "\n".join(f"--- {name}\n{self.log(name)[-2500:]}" for name in _OURS)
        raise AssertionError(f"{what} did not come\n{told}")

    def _is_up(self):
        with suppress(OSError, AssertionError):
            user, password = ADMIN
            said = self._ask("POST", "/auth/token", {"username": user, "password": password})
            self._token = said["access_token"]
            return True
        return False

    # --- what is asked of it ----------------------------------------------------------------------------

    def get(self, path):
        return self._ask("GET", path)

    def _ask(self, method, path, body=None):
        headers = {"content-type": "application/json"}
        if self._token is not None:
            headers["authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(self.address + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read()[:500]!r}") from None

    def begin(self, dag_id, **conf):
        """Have one run of a Dag begun, once it is known, and give its run id."""

        def triggered():
            with suppress(AssertionError):
                self._ask("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})
                said = {"logical_date": None, "conf": conf}
                return self._ask("POST", f"/api/v2/dags/{dag_id}/dagRuns", said)["dag_run_id"]
            return None

        return self.until(triggered, f"the Dag {dag_id}", _START_SECONDS)

    def ended(self, dag_id, run_id):
        """Wait for the end of a run, and give its state, its tasks' states, and what they returned."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
        state = self.until(
            lambda: next((one for one in (self.get(path)["state"],) if one in _ENDED), None),
            f"the end of {dag_id}",
            _RUN_SECONDS,
        )
        tasks, xcoms = {}, {}
        for one in self.get(f"{path}/taskInstances")["task_instances"]:
            index = one["map_index"]
            name = one["task_id"] if index < 0 else f"{one['task_id']}[{index}]"
            tasks[name] = one["state"]
            with suppress(AssertionError):
                xcoms[name] = self.get(
                    f"{path}/taskInstances/{one['task_id']}/xcomEntries/return_value"
                    f"?map_index={index}&deserialize=true"
                )["value"]
        return {"state": state, "tasks": tasks, "xcoms": xcoms, "run_id": run_id}

    def run(self, dag_id, **conf):
        """Begin a run and wait for its end."""
        return self.ended(dag_id, self.begin(dag_id, **conf))
