"""Google Secret Manager as a backend, through Google's own SDK, over gRPC and over REST."""

from datetime import datetime, timezone

import pytest

from parts.google import google, google_servers
from parts.proxy import Proxy
from strongroom.backend import Checkable, Listable, Provisioning, Versioned, Writable
from strongroom.backends.gcp_secret_manager import GoogleSecretManager, GoogleSecretManagerOptions
from strongroom.model.entry import MUST_BE_ABSENT, Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import HARD_TEXTS, BackendContract

__all__ = ["google", "google_servers"]


def clock():
    return datetime.now(timezone.utc)


class Contract(BackendContract):
    """The contract over one transport, through a proxy that can be taken down."""

    transport = "grpc"
    has_compare_and_set = False
    # Google refuses an empty payload.
    hard_texts = {label: text for label, text in HARD_TEXTS.items() if text}

    @pytest.fixture(autouse=True)
    def servers(self, google):
        self.google = google
        port = google.grpc_port if self.transport == "grpc" else google.http_port
        with Proxy("127.0.0.1", port, is_tls=self.transport == "grpc") as self.proxy:
            yield

    def make(self, tmp_path):
        self.project = self.google.project()
        options = GoogleSecretManagerOptions(
            project_id=self.project,
            gcp_keyfile_dict=Secret(self.google.key()),
            endpoint=f"http://127.0.0.1:{self.proxy.port}",
            transport=self.transport,
            use_team_secrets_path=True,
        )
        return GoogleSecretManager("gcp", options, clock)

    def down(self, backend):
        self.proxy.become("refuse")

    def deny(self, backend, ref):
        beginning = f"projects/{self.project}/secrets/{backend.naming.path(ref)}"
        self.google.model.denied.add(("secretmanager.versions.access", beginning))


class TestOverGrpc(Contract):
    pass


class TestOverRest(Contract):
    transport = "rest"
