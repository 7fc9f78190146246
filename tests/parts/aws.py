"""
AWS for tests: two emulators that know little of each other, and an endpoint that says what it is told to.

    from parts.aws import ministack, moto, hermetic     # fixtures; one server of each kind a process

    def test_something(ministack):
        access = ministack.access()                     # options: region, endpoint, a key
        ministack.asked("secretsmanager", "CreateSecret", Name="a", SecretString="x")

| | moto | ministack |
|---|---|---|
| permissions | everybody may everything | enforced, where made by `Ministack(auth=True)` |
| a plain read after AWSCURRENT was moved | gives the old version, so stages are always said | right |
| listens on | 127.0.0.1 | 127.0.0.1 by `BIND_HOST` (everywhere unless told) |

They live in an environment of their own (`scripts/make-peers`), since ministack pins another botocore.
Without it tests skip, and fail where `CI` is set. Servers listen on free ports, keep nothing, and are ended
by their id.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import boto3
import pytest

from parts.openbao import free_port, shared, until
from parts.proxy import Proxy, Scripted, reply
from strongroom.model.secret import Secret

CLOUDS = Path(__file__).parents[2] / ".venv-clouds" / "bin"
REGION = "eu-west-1"
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def moto():
    with shared(Moto) as server:
        yield server


@pytest.fixture(scope="session")
def ministack():
    with shared(Ministack) as server:
        yield server


@pytest.fixture(scope="session")
def guarded():
    """A ministack that enforces IAM policies."""
    with shared(Guarded) as server:
        yield server


@pytest.fixture
def hermetic(monkeypatch, tmp_path):
    """An environment without anybody's AWS settings, and no metadata service to ask."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    return tmp_path


def prefix():
    """A prefix that no other test has."""
    return f"t{next(_numbers)}-{os.getpid()}"


class Emulator:
    """A running emulator and what a test may want of it."""

    program = ""

    def __init__(self):
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="strongroom-aws-"))
        log = (self.folder / "log").open("wb")
        with log:
            self._process = subprocess.Popen(
                [binary(self.program), *self.arguments()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **self.environ()},
            )
        try:
            until(self._answers, what=f"{self.program} to answer", alive=self._process)
        except BaseException:
            self.stop()
            raise

    def arguments(self):
        return ()

    def environ(self):
        return {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _answers(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("GET", self.health)
            answer = connection.getresponse()
            answer.read()
            return answer.status < 500
        return False

    def stop(self):
        for key in [key for key in _clients if key[0] == self.url]:
            _clients.pop(key).close()
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def access(self, **more):
        """Options of access: this server, a region and a key that everybody knows."""
        return access(self.url, **more)

    def asked(self, service, operation, *, region=REGION, key=(KEY, SECRET), **arguments):
        """Ask by boto3 itself, beside everything of ours."""
        return client(self.url, service, region, key)._make_api_call(operation, arguments)


class Moto(Emulator):
    program = "moto_server"
    health = "/moto-api/data.json"

    def arguments(self):
        return "-H", "127.0.0.1", "-p", str(self.port)


class Ministack(Emulator):
    program = "ministack"
    health = "/_ministack/health"
    auth = "false"

    def environ(self):
        return {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "SERVICES": "secretsmanager,ssm,sts,iam,kms",
            "AUTH": self.auth,
            "LOG_LEVEL": "WARNING",
        }


class Guarded(Ministack):
    """It looks at policies; its root may everything."""

    auth = "true"

    def user(self, policy):
        """Make a user with *policy* (IAM JSON) and give its key."""
        name = f"user{next(_numbers)}"
        root = ("test", "test")
        self.asked("iam", "CreateUser", key=root, UserName=name)
        self.asked("iam", "PutUserPolicy", key=root, UserName=name, PolicyName="least", PolicyDocument=policy)
        made = self.asked("iam", "CreateAccessKey", key=root, UserName=name)["AccessKey"]
        return made["AccessKeyId"], made["SecretAccessKey"]


class Endpoint(Scripted):
    """
    A strict endpoint that says what emulators cannot: `say(service_and_operation, body) -> bytes`.

    What is not signed, not JSON or of another shape than AWS's protocol is refused with a status of its own.
    """

    def __init__(self, say):
        self.asked = []
        self._say_aws = say
        super().__init__(self._judge)

    def access(self, **more):
        return access(self.url(), **more)

    def _judge(self, request):
        head, _, body = request.partition(b"\r\n\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.decode().split("\r\n")[1:])
        }
        target = headers.get("x-amz-target", "")
        self.asked.append((target, body))
        if head.split(b" ")[:2] != [b"POST", b"/"] or "AWS4-HMAC-SHA256" not in headers.get(
            "authorization", ""
        ):
            return reply(418, {}, b"not a signed question")
        if target and not isinstance(json.loads(body), dict):
            return reply(418, {}, b"no object")
        return self._say_aws(target.partition(".")[2], body)


class Untagging(Proxy):
    """A proxy that, once `is_armed`, answers one question about a tag with trouble."""

    is_armed = False

    def _pass_on(self, connection, behind, request):
        if self.is_armed and (b".TagResource" in request or b".AddTagsToResource" in request):
            self.is_armed = False
            connection.sendall(refusal("InternalServerError", status=500))
            return True
        return super()._pass_on(connection, behind, request)


def refusal(code, words="", status=400, **headers):
    """What AWS says of a question it does not answer."""
    said = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "r", **headers}
    return reply(status, said, json.dumps({"__type": f"com.amazon#{code}", "message": words}).encode())


def good(**answer):
    return reply(200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(answer).encode())


def access(url, **more):
    return {
        "region_name": REGION,
        "endpoint_url": url,
        "sts_endpoint_url": url,
        "timeout": timedelta(seconds=20),  # an emulator imports a service at its first question
        "aws_access_key_id": KEY,
        "aws_secret_access_key": lambda: Secret(SECRET),
        **more,
    }


def client(url, service, region=REGION, key=(KEY, SECRET)):
    """A plain boto3 client."""
    found = _clients.get((url, service, region, key))
    if found is None:
        found = boto3.Session().client(
            service,
            region_name=region,
            endpoint_url=url,
            aws_access_key_id=key[0],
            aws_secret_access_key=key[1],
        )
        _clients[url, service, region, key] = found
    return found


_clients = {}


def binary(name):
    """Give the path of *name*, or skip; where `CI` is set it must be there."""
    found = CLOUDS / name
    if not found.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"no {name} here: scripts/make-peers")
    return str(found)
