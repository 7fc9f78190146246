"""Keys wrapped by Google Cloud KMS, against a strict fake of it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta

import pytest

from parts.google import google, google_servers
from parts.google_kms import KeyService
from parts.outer_keys import OuterKeyContract
from strongroom.errors import BackendConfigError, SealedError
from strongroom.model.secret import Secret
from strongroom.vendors.sessions import Sessions
from strongroom.wrappers.gcp_kms import GcpKmsOptions, GcpKmsWrapper

__all__ = ["google", "google_servers"]

CONTEXT = b"store and deployment"


@pytest.fixture
def kms(google):
    service = KeyService(google)
    yield service
    service.stop()


def made(google, kms, key, **more):
    options = GcpKmsOptions(
        key=key,
        kms_endpoint=kms.url,
        gcp_keyfile_dict=Secret(google.key()),
        timeout=timedelta(seconds=2),
        **more,
    )
    return GcpKmsWrapper(options, sessions=Sessions(), environ={})


class TestGcpKms(OuterKeyContract):
    @pytest.fixture(autouse=True)
    def service(self, google, kms):
        self.google, self.kms = google, kms
        self.key = kms.key("home")

    def make(self, key=None):
        return made(self.google, self.kms, key or self.key)

    def another(self):
        return self.kms.key("home")

    def nowhere(self):
        return f"{self.key}-nowhere"

    def disable(self):
        self.kms.state(self.key, "DISABLED")

    def enable(self):
        self.kms.state(self.key, "ENABLED")

    def destroy(self):
        self.kms.state(self.key, "DESTROY_SCHEDULED")

    def deny(self):
        self.kms.allowed.clear()

    def rotate(self):
        self.kms.rotate(self.key)

    def trouble(self, status):
        self.kms.answers += [
            (status, {"error": {"code": status, "message": "x", "status": "UNAVAILABLE"}})
        ] * 3

    def down(self):
        self.kms.is_down = True

    def keys(self):
        return sorted(self.kms._keys)


def test_the_version_that_wrapped_is_told(google, kms):
    key = kms.key("home")
    wrapper = made(google, kms, key)
    first = wrapper.wrap(bytes(32), context=CONTEXT)
    kms.rotate(key)
    second = wrapper.wrap(bytes(32), context=CONTEXT)
    assert (wrapper.detail(first), wrapper.detail(second)) == ("1", "2")
    assert wrapper.unwrap(first, context=CONTEXT) == wrapper.unwrap(second, context=CONTEXT) == bytes(32)


@pytest.mark.parametrize("member", ["ciphertext", "ciphertextCrc32c", "verifiedPlaintextCrc32c"])
def test_what_arrives_damaged_is_no_answer(google, kms, member):
    key = kms.key("home")
    wrapper = made(google, kms, key)
    status, answer = (
        200,
        {
            "name": f"{key}/cryptoKeyVersions/1",
            "ciphertext": "AAAA",
            "ciphertextCrc32c": "1614066137",
            "verifiedPlaintextCrc32c": True,
            "verifiedAdditionalAuthenticatedDataCrc32c": True,
        },
    )
    kms.answers.append((status, {name: value for name, value in answer.items() if name != member}))
    with pytest.raises(SealedError, match="arrived damaged") as caught:
        wrapper.wrap(bytes(32), context=CONTEXT)
    assert caught.value.retry_after is not None


def test_a_token_that_is_refused_is_replaced_once(google, kms):
    wrapper = made(google, kms, kms.key("home"))
    blob = wrapper.wrap(os.urandom(32), context=CONTEXT)
    kms.answers.append((401, {"error": {"code": 401, "message": "x", "status": "UNAUTHENTICATED"}}))
    wrapper.unwrap(blob, context=CONTEXT)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "k",
        "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
        "projects/p/../locations/l/keyRings/r/cryptoKeys/k",
        "projects/home/locations/global/keyRings/r/cryptoKeys/k:decrypt",
        "projects/home/locations/global/keyRings/r/cryptoKeys/k\n",
    ],
)
def test_what_is_no_key_is_refused_by_the_setting(key):
    with pytest.raises(BackendConfigError, match=r"store\.wrappers\.key"):
        GcpKmsWrapper(GcpKmsOptions(key=key), sessions=Sessions(), environ={})


@pytest.mark.parametrize("url", ["ftp://x", "https://h/path", "https://u@h", "nothing"])
def test_what_is_no_address_is_refused_by_the_setting(google, kms, url):
    options = replace(made(google, kms, kms.key("home"))._options, kms_endpoint=url)
    with pytest.raises(BackendConfigError, match=r"store\.wrappers\.kms_endpoint"):
        GcpKmsWrapper(options, sessions=Sessions(), environ={})


def test_a_page_of_somebody_else_is_no_key_service(google, kms):
    wrapper = made(google, kms, kms.key("home"))
    kms.answers.append((404, None))
    with pytest.raises(BackendConfigError, match="is not Cloud KMS"):
        wrapper.wrap(bytes(32), context=CONTEXT)
    assert json.dumps(wrapper.name)
