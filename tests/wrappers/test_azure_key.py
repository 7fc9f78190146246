"""Keys wrapped by an RSA key of Azure Key Vault, against a strict fake of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from parts.azure import CLIENT, SECRET, TENANT
from parts.azure_keys import AzureWithKeys
from parts.certificates import Authority
from parts.outer_keys import CONTEXT, KEY, OuterKeyContract
from strongroom.errors import BackendConfigError, SealedError
from strongroom.model.secret import Secret
from strongroom.vendors.sessions import Sessions
from strongroom.wrappers.azure_key import AzureKeyOptions, AzureKeyWrapper


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with AzureWithKeys(Authority(tmp_path_factory.mktemp("azure"))) as azure:
        yield azure


@pytest.fixture
def azure(running):
    running.clear()
    running.key("strongroom")
    yield running
    assert running.wrong == []


def made(azure, key="strongroom", **more):
    said = {
        "vault_url": azure.vault_url,
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "client_secret": Secret(SECRET),
        "authority": azure.entra,
        "ca": azure.ca,
        "timeout": timedelta(seconds=2),
    }
    return AzureKeyWrapper(AzureKeyOptions(key=key, **said | more), sessions=Sessions(), environ={})


class TestAzureKey(OuterKeyContract):
    @pytest.fixture(autouse=True)
    def service(self, azure):
        self.azure = azure

    def make(self, key="strongroom"):
        return made(self.azure, key)

    def another(self):
        self.azure.key("another")
        return "another"

    def nowhere(self):
        return "nowhere"

    def disable(self):
        self.azure.disabled.add("strongroom")

    def enable(self):
        self.azure.disabled.clear()

    def destroy(self):
        self.azure.keys.pop("strongroom")  # deleted softly: nothing of it answers until it is recovered

    def deny(self):
        self.azure.key_rights = frozenset({"get"})

    def rotate(self):
        self.azure.renew("strongroom")

    def trouble(self, status):
        self.azure.answers += [(status, None, {})] * 3

    def down(self):
        self.azure.is_down = True

    def keys(self):
        return sorted(self.azure.keys)


def test_the_version_that_wrapped_is_the_one_that_is_asked(azure):
    wrapper = made(azure)
    blob = wrapper.wrap(KEY, context=CONTEXT)
    (first, _), *_ = azure.keys["strongroom"]
    assert wrapper.detail(blob) == first
    azure.renew("strongroom")
    azure.requests.clear()
    wrapper.unwrap(blob, context=CONTEXT)
    assert azure.requests == [("POST", f"/keys/strongroom/{first}/unwrapkey", True)]


@pytest.mark.parametrize("version", ["../../secrets/x", "a" * 31, "A" * 32, "", "a" * 32 + "/.."])
def test_a_version_that_was_planted_leads_nowhere_else(azure, version):
    wrapper = made(azure)
    blob = wrapper.wrap(KEY, context=CONTEXT)
    start = 5 + len(wrapper.kind)
    planted = blob[:start] + bytes([len(version)]) + version.encode() + blob[start + 33 :]
    azure.requests.clear()
    with pytest.raises(SealedError):
        wrapper.unwrap(planted, context=CONTEXT)
    assert azure.requests == []


def test_what_the_vault_wraps_is_bound_here(azure):
    # Wrapped for two places, the one-purpose keys exchanged: what the vault does not bind is bound by ours.
    wrapper = made(azure)
    here = wrapper.wrap(KEY, context=b"here")
    there = wrapper.wrap(KEY, context=b"there")
    start = 5 + len(wrapper.kind) + 33
    with pytest.raises(Exception) as caught:  # noqa: PT011 -- either of two
        wrapper.unwrap(here[: start + 258] + there[start + 258 :], context=b"here")
    assert type(caught.value).__name__ in ("TamperedError", "SealedError")


@pytest.mark.parametrize(
    ("more", "setting"),
    [
        ({"key": "a/b"}, "key"),
        ({"key": ""}, "key"),
        ({"key": "a\n"}, "key"),
        ({"vault_url": "http://x.vault.azure.net"}, "vault_url"),
        ({"vault_url": "https://x.vault.azure.net/keys/a"}, "vault_url"),
    ],
)
def test_what_names_no_key_is_refused_by_the_setting(azure, more, setting):
    with pytest.raises(BackendConfigError, match=rf"store\.wrappers\.{setting}"):
        made(azure, **more)


def test_a_firewall_is_told_from_a_missing_right(azure):
    wrapper = made(azure)
    blob = wrapper.wrap(KEY, context=CONTEXT)
    azure.key_rights, azure.denial = frozenset({"get"}), "ForbiddenByFirewall"
    with pytest.raises(SealedError, match="firewall"):
        wrapper.unwrap(blob, context=CONTEXT)
