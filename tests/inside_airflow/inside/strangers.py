"""
`airflow_class` around the classes of stores without a backend of ours; pytest runs this file within Airflow.

Akeyless and Yandex Lockbox are fakes of what those classes' own SDKs ask. FOLDER holds `crt` and `key` of
localhost, which GRPC_DEFAULT_SSL_ROOTS_FILE_PATH lets gRPC trust.
"""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from yandex.cloud.endpoint import api_endpoint_pb2, api_endpoint_service_pb2, api_endpoint_service_pb2_grpc
from yandex.cloud.iam.v1 import iam_token_service_pb2, iam_token_service_pb2_grpc
from yandex.cloud.lockbox.v1 import (
    payload_pb2,
    payload_service_pb2_grpc,
    secret_pb2,
    secret_service_pb2,
    secret_service_pb2_grpc,
)

from strongroom.backends.airflow_class import AirflowClass, AirflowClassOptions
from strongroom.errors import AccessDeniedError, BackendUnavailableError
from strongroom.model.connection import Connection
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

HELD = {"airflow/connections/db": "postgres://u:pass-word@h/s", "airflow/variables/region": "eu"}
CONNECTION, REGION, NOBODY = Ref("connection", "db"), Ref("variable", "region"), Ref("variable", "nobody")


def around(path, **kwargs):
    options = AirflowClassOptions(path=path, kwargs=kwargs)
    return AirflowClass("theirs", options, lambda: datetime.now(timezone.utc))


def holds(backend):
    found = Connection.parse(backend.read(CONNECTION).secret.reveal())
    assert (found.conn_type, found.login, found.password.reveal()) == ("postgres", "u", "pass-word")
    assert [one and one.secret.reveal() for one in backend.read_many([REGION, NOBODY])] == ["eu", None]
    assert backend.check().status == "ready"


# --- Akeyless ----------------------------------------------------------------------------------------


class Answers(BaseHTTPRequestHandler):
    def log_message(self, *_): ...

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = self._answer(asked)
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, asked):
        if self.path == "/auth":
            return (200, {"token": "t-1"}) if asked["access-key"] == "known" else (401, {"error": "no"})
        found = {name: HELD.get(name.lstrip("/")) for name in asked["names"] if asked["token"] == "t-1"}
        found = {name: text for name, text in found.items() if text}
        return (200, found) if found else (404, {"error": "not found"})


@pytest.fixture
def akeyless():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def of_akeyless(url):
    path = "airflow.providers.akeyless.secrets.akeyless.AkeylessBackend"
    return around(path, api_url=url, access_id="p-1", access_key=Secret("known"))


def test_akeyless_is_read(akeyless):
    holds(of_akeyless(akeyless))


def test_akeyless_that_is_down_is_unavailable():
    with pytest.raises(BackendUnavailableError):
        of_akeyless("http://127.0.0.1:1").read(REGION)


# --- Yandex Lockbox ----------------------------------------------------------------------------------


class Lockbox(
    api_endpoint_service_pb2_grpc.ApiEndpointServiceServicer,
    iam_token_service_pb2_grpc.IamTokenServiceServicer,
):
    """Where the services are, and who may ask them."""

    address = ""
    refusal: grpc.StatusCode | None = None

    def List(self, _request, _context):
        names = ("iam", "lockbox", "lockbox-payload", "endpoint")
        found = [api_endpoint_pb2.ApiEndpoint(id=name, address=self.address) for name in names]
        return api_endpoint_service_pb2.ListApiEndpointsResponse(endpoints=found)

    def Create(self, request, context):
        if request.yandex_passport_oauth_token != "known":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
        return iam_token_service_pb2.CreateIamTokenResponse(iam_token="t-1")


class Names(secret_service_pb2_grpc.SecretServiceServicer):
    def __init__(self, box):
        self._box = box

    def List(self, _request, context):
        if self._box.refusal is not None:
            context.abort(self._box.refusal, "no")
        current = secret_pb2.Version(id="1")
        found = [secret_pb2.Secret(id=name, name=name, current_version=current) for name in HELD]
        return secret_service_pb2.ListSecretsResponse(secrets=found)


class Payloads(payload_service_pb2_grpc.PayloadServiceServicer):
    def Get(self, request, _context):
        entry = payload_pb2.Payload.Entry(key="text", text_value=HELD[request.secret_id])
        return payload_pb2.Payload(version_id="1", entries=[entry])


@contextmanager
def serving(box):
    folder = Path(os.environ["FOLDER"])
    server = grpc.server(ThreadPoolExecutor(4))
    api_endpoint_service_pb2_grpc.add_ApiEndpointServiceServicer_to_server(box, server)
    iam_token_service_pb2_grpc.add_IamTokenServiceServicer_to_server(box, server)
    secret_service_pb2_grpc.add_SecretServiceServicer_to_server(Names(box), server)
    payload_service_pb2_grpc.add_PayloadServiceServicer_to_server(Payloads(), server)
    pair = [((folder / "key").read_bytes(), (folder / "crt").read_bytes())]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
    box.address = f"localhost:{port}"
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


@pytest.fixture
def lockbox():
    box = Lockbox()
    with serving(box):
        path = "airflow.providers.yandex.secrets.lockbox.LockboxSecretBackend"
        said = {"yc_oauth_token": Secret("known"), "folder_id": "f", "endpoint": box.address}
        yield box, around(path, **said)


def test_lockbox_is_read(lockbox):
    holds(lockbox[1])


@pytest.mark.parametrize(
    ("status", "told"),
    [("PERMISSION_DENIED", AccessDeniedError), ("UNAVAILABLE", BackendUnavailableError)],
)
def test_lockbox_that_refuses_is_denied_and_one_that_is_down_is_not(lockbox, status, told):
    box, backend = lockbox
    box.refusal = grpc.StatusCode[status]
    with pytest.raises(told):
        backend.read(REGION)
