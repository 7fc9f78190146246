"""A backend over the fakes of Google by either transport, and what others put where it looks."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from parts.google_model import Fault, sm
from strongroom.backends.gcp_secret_manager import GoogleSecretManager, GoogleSecretManagerOptions
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY


def clock():
    return datetime.now(timezone.utc)


@pytest.fixture(params=["grpc", "rest"])
def opened(request, google):
    """Make a backend over a project of its own, by either transport."""
    made = []

    def make(**options):
        port = google.grpc_port if request.param == "grpc" else google.http_port
        given = {
            "project_id": None if "project_id" in options else google.project(),
            "gcp_keyfile_dict": Secret(google.key()),
            "endpoint": f"http://127.0.0.1:{port}",
            "transport": request.param,
        }
        made.append(GoogleSecretManager("gcp", GoogleSecretManagerOptions(**{**given, **options}), clock))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def connection(name, team=None):
    return Ref("connection", name, team)


def variable(name, team=None):
    return Ref("variable", name, team)


def text(backend, ref):
    entry = backend.read(ref)
    return None if entry is None else entry.secret.reveal()


def draft(ref, text, expected=None):
    return Draft(ref=ref, secret=Secret(text), expected_version=expected, author="ann")


def secret_of(backend, name):
    return f"projects/{backend.options.project_id}/secrets/airflow-variables-{name}"


def put(google, backend, path, data):
    """Put it there as another tool does: without a checksum, and without annotations."""
    parent = f"projects/{backend.options.project_id}"
    secret = sm.Secret(replication=sm.Replication(automatic=sm.Replication.Automatic()))
    google.model._CreateSecret(sm.CreateSecretRequest(parent=parent, secret_id=path, secret=secret))
    payload = sm.SecretPayload(data=data)
    google.model._AddSecretVersion(
        sm.AddSecretVersionRequest(parent=f"{parent}/secrets/{path}", payload=payload)
    )


def become(google, backend, name, version, state):
    request = sm.DisableSecretVersionRequest(name=f"{secret_of(backend, name)}/versions/{version}")
    google.model._become(request, sm.SecretVersion.State[state])


def fail(google, after, status="UNAVAILABLE"):
    """Let *after* questions be answered, and refuse the next in words that must not show."""
    google.model.faults += [None] * after + [Fault(status, CANARY)]


def text_of_all(backend):
    return [text(backend, row.ref) for row in backend.list("variable")]
