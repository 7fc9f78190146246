"""Google Secret Manager over REST behind a faulty wire: by a key, and by the account of a machine."""

from datetime import datetime, timezone
from urllib.parse import urlsplit

from parts.faults import TEXT, FaultContract
from parts.google import google, google_servers
from parts.google_model import sm
from strongroom.backends.gcp_secret_manager import GoogleSecretManager, GoogleSecretManagerOptions
from strongroom.model.secret import Secret

__all__ = ["google", "google_servers"]  # fixtures


def clock():
    return datetime.now(timezone.utc)


class TestGoogle(FaultContract):
    def serve(self, request):
        self.google = request.getfixturevalue("google")
        self.google.machine = "vm@home.iam.gserviceaccount.com"
        self.project = self.google.project(self.google.account, self.google.machine)
        parent, path = f"projects/{self.project}", "airflow-variables-held"
        secret = sm.Secret(replication=sm.Replication(automatic=sm.Replication.Automatic()))
        self.google.model._CreateSecret(sm.CreateSecretRequest(parent=parent, secret_id=path, secret=secret))
        payload = sm.SecretPayload(data=TEXT.encode())
        self.google.model._AddSecretVersion(
            sm.AddSecretVersionRequest(parent=f"{parent}/secrets/{path}", payload=payload)
        )
        return self.google.http_port

    def make(self, url, *, timeout, ca=None):
        options = GoogleSecretManagerOptions(
            project_id=self.project,
            endpoint=url,
            transport="rest",
            timeout=timeout,
            ca=ca,
            **self.credentials(),
        )
        # A metadata server has no TLS.
        metadata = url if url.startswith("http:") else self.google.url
        environ = {"GCE_METADATA_HOST": urlsplit(metadata).netloc}
        return GoogleSecretManager("gcp", options, clock, environ=environ)

    def credentials(self):
        return {"gcp_keyfile_dict": Secret(self.google.key())}


class TestGoogleByTheMachine(TestGoogle):
    def credentials(self):
        return {}
