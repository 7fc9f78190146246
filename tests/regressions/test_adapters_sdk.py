"""What `test_adapters.py` tries of a refusal and a silence, on the stores whose SDKs insist on a login."""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timezone

import pytest

from parts.azure import CLIENT, SECRET, TENANT, Azure
from parts.certificates import Authority
from parts.google import google, google_servers
from parts.google_model import Fault
from strongroom.backends.azure_key_vault import AzureKeyVault, AzureKeyVaultOptions
from strongroom.backends.gcp_secret_manager import GoogleSecretManager, GoogleSecretManagerOptions
from strongroom.chain import Chain, Link
from strongroom.errors import AccessDeniedError, BackendUnavailableError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.fakes import Memory

__all__ = ["google", "google_servers"]  # fixtures

HELD = Ref("variable", "held")


def clock():
    return datetime.now(timezone.utc)


class OfGoogle:
    """Secret Manager by one transport; `deny` and `silence` are what it answers from then on."""

    def __init__(self, google, transport):
        self._model = google.model
        project = google.project()
        port = google.grpc_port if transport == "grpc" else google.http_port
        options = GoogleSecretManagerOptions(
            project_id=project,
            gcp_keyfile_dict=Secret(google.key()),
            endpoint=f"http://127.0.0.1:{port}",
            transport=transport,
        )
        self.backend = GoogleSecretManager("first", options, clock)
        self._resource = f"projects/{project}/"

    def deny(self):
        self._model.denied.add(("secretmanager.versions.access", self._resource))

    def silence(self):
        self._model.faults += [Fault("UNAVAILABLE", "not now")] * 20


class OfAzure:
    """Key Vault, likewise."""

    def __init__(self, azure):
        self._azure = azure
        options = AzureKeyVaultOptions(
            vault_url=azure.vault_url,
            tenant_id=TENANT,
            client_id=CLIENT,
            client_secret=Secret(SECRET),
            authority=azure.entra,
            ca=azure.ca,
        )
        self.backend = AzureKeyVault("first", options, clock, environ={})

    def deny(self):
        self._azure.rights[CLIENT] = frozenset({"set"})

    def silence(self):
        self._azure.answers = [(503, None, {})] * 20


@pytest.fixture(params=["grpc", "rest", "azure"])
def store(request, tmp_path):
    if request.param != "azure":
        yield OfGoogle(request.getfixturevalue("google"), request.param)
        return
    with Azure(Authority(tmp_path)) as azure:
        yield OfAzure(azure)


@pytest.fixture
def below(store):
    """Give a chain of the store above a memory that would answer with something older, by the rule given."""
    second = Memory("second", {HELD: "older"})

    def make(**link):
        return Chain([Link(backend=store.backend, **link), Link(backend=second)], clock=clock), second

    with closing(store.backend):
        yield make


@pytest.mark.parametrize("rule", ["stale", "stop", "next"])
def test_PO05_denial_ends_the_lookup_whoever_stands_below(store, below, rule):
    store.deny()
    chain, second = below(on_unavailable=rule)
    with pytest.raises(AccessDeniedError):
        chain.read(HELD)
    assert isinstance(chain.read_many([HELD])[0], AccessDeniedError)
    assert second.calls == []


def test_PO06_silence_is_never_answered_by_an_older_value_from_below(store, below):
    store.silence()
    chain, second = below()
    refs = [HELD, Ref("variable", "nobody")]
    with pytest.raises(BackendUnavailableError):
        chain.read(HELD)
    assert all(isinstance(one, BackendUnavailableError) for one in chain.read_many(refs))
    assert second.calls == []
