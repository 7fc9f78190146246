"""
The part of an Airflow that verifies runs: its key, and its REST API with the login, strictly as 3.3 has them.

    with AirflowServer(folder) as airflow:
        ti = airflow.instance("etl", "load", "r1")          # an Instance at work
        token = airflow.sign(ti)                            # as the scheduler signs it
        settings = airflow.settings()                       # the table [access.airflow]

`airflow.asked` counts what was asked for; `airflow.saying(503)` makes it answer otherwise for a time;
`ti.state` and the others may be changed.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ISSUER = "https://airflow.test"
AUDIENCE = "urn:airflow.apache.org:task"
USER, PASSWORD = "strongroom", "s3cret-of-airflow"


def packed(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Instance:
    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1
    try_number: int = 1
    state: str = "queued"
    bundle: str | None = "dags-folder"
    bundle_version: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def path(self):
        names = [quote(name, safe="") for name in (self.dag_id, self.run_id, self.task_id)]
        path = "/api/v2/dags/{}/dagRuns/{}/taskInstances/{}".format(*names)
        return path if self.map_index < 0 else f"{path}/{self.map_index}"

    def shown(self):
        version = {"bundle_name": self.bundle, "bundle_version": self.bundle_version, "version_number": 1}
        return {
            "id": self.id,
            "dag_id": self.dag_id,
            "task_id": self.task_id,
            "dag_run_id": self.run_id,
            "map_index": self.map_index,
            "try_number": self.try_number,
            "state": self.state,
            "hostname": "",
            "pid": None,
            "dag_version": version,
        }

    def claim(self, **more):
        """Give what a supervisor says of it."""
        said = {
            "dag": self.dag_id,
            "task": self.task_id,
            "run": self.run_id,
            "map": self.map_index,
            "try": self.try_number,
            "bundle": self.bundle,
            "ti": self.id,
            "version": None,
            "team": None,
            "source": "task",
        }
        return tuple((said | more).values())


class AirflowServer:
    """
    Answer as an Airflow does.

    Args:
        folder: where the set of its public keys is written: `jwks`.

    Attributes:
        asked: paths, in the order they were asked for.
        logins: how often somebody logged in.
        answers: a status for every question but logins, in place of the right answer; None for that.
        tokens: for its REST API, that are good.
    """

    def __init__(self, folder):
        self.key = Ed25519PrivateKey.generate()
        self.jwks = folder / "airflow.jwks.json"
        public = self.key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        canonical = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": packed(public)}, separators=(",", ":"))
        self.kid = packed(sha256(canonical.encode()).digest())  # RFC 7638, as Airflow names it
        shown = {"kty": "OKP", "crv": "Ed25519", "x": packed(public), "use": "sig", "kid": self.kid}
        self.jwks.write_text(json.dumps({"keys": [shown]}))
        self.instances = {}
        self.asked = []
        self.logins = 0
        self.answers = None
        self.tokens = set()

    def instance(self, dag_id="etl", task_id="load", run_id="manual__1", **more):
        made = Instance(dag_id, task_id, run_id, **more)
        self.instances[made.path] = made
        return made

    def sign(self, instance, *, scope="workload", lasts=600, key=None, head=None, **claims):
        now = int(time.time())
        said = {
            "sub": instance.id,
            "scope": scope,
            "jti": uuid.uuid4().hex,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "nbf": now,
            "iat": now,
            "exp": now + lasts,
        } | claims
        said = {name: value for name, value in said.items() if value is not None}
        header = {"alg": "EdDSA", "kid": self.kid, "typ": "JWT"} | (head or {})
        signed = f"{packed(json.dumps(header).encode())}.{packed(json.dumps(said).encode())}"
        return f"{signed}.{packed((key or self.key).sign(signed.encode()))}"

    def settings(self, **more):
        """Give the table `[access.airflow]`; the password stands in AIRFLOW_PASSWORD."""
        said = {"issuer": ISSUER, "api": self.address, "jwks": str(self.jwks), "user": USER} | more
        lines = [f"{name} = {json.dumps(value)}" for name, value in said.items()]
        return "\n".join(["[access.airflow]", *lines, 'password = { env = "AIRFLOW_PASSWORD" }', ""])

    environ = {"AIRFLOW_PASSWORD": PASSWORD}  # noqa: RUF012 -- never changed

    # --- its server ------------------------------------------------------------------------------------

    def __enter__(self):
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
                outer.asked.append(self.path)
                if outer.answers is not None:
                    self.say(outer.answers, {"detail": "not now"})
                elif token not in outer.tokens:
                    self.say(401, {"detail": "Invalid JWT token"})
                elif self.path not in outer.instances:
                    self.say(404, {"detail": "there is no such Task Instance"})
                else:
                    self.say(200, outer.instances[self.path].shown())

            def do_POST(self):
                said = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path != "/auth/token" or said != {"username": USER, "password": PASSWORD}:
                    self.say(401, {"detail": "Invalid credentials"})
                    return
                outer.logins += 1
                token = f"login-{outer.logins}"
                outer.tokens.add(token)
                self.say(201, {"access_token": token})

            def say(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @contextmanager
    def saying(self, status):
        """Answer *status* to every question meanwhile."""
        self.answers = status
        try:
            yield
        finally:
            self.answers = None
