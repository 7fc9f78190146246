"""Keys wrapped by the transit engine, against a real OpenBao."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest

from parts.openbao import bao
from parts.outer_keys import CONTEXT, KEY, OuterKeyContract
from parts.proxy import Proxy
from strongroom.errors import BackendConfigError, SealedError
from strongroom.model.secret import Secret
from strongroom.vendors.sessions import Sessions
from strongroom.wrappers.transit import TransitOptions, TransitWrapper

__all__ = ["bao"]

_numbers = itertools.count(1)


@pytest.fixture
def mount(bao):
    path = f"transit{next(_numbers)}"
    bao.api("POST", f"sys/mounts/{path}", {"type": "transit"})
    bao.api("POST", f"{path}/keys/strongroom", {})
    return path


def made(url, mount, token="root", key="strongroom", **more):
    options = TransitOptions(
        url=url, mount_point=mount, key=key, token=Secret(token), timeout=timedelta(seconds=2), **more
    )
    return TransitWrapper(options, sessions=Sessions())


class TestTransit(OuterKeyContract):
    can_disable = False

    @pytest.fixture(autouse=True)
    def service(self, bao, mount):
        self.bao, self.mount = bao, mount
        rules = f'path "{mount}/*" {{ capabilities = ["update"] }}'
        self.policy = bao.policy(rules)
        self.token = bao.token(self.policy)
        with Proxy("127.0.0.1", bao.port) as self.proxy:
            yield

    def make(self, key="strongroom"):
        return made(self.proxy.url(), self.mount, self.token, key)

    def another(self):
        self.bao.api("POST", f"{self.mount}/keys/another", {})
        return "another"

    def nowhere(self):
        return "nowhere"

    def destroy(self):
        self.bao.api("POST", f"{self.mount}/keys/strongroom/config", {"deletion_allowed": True})
        self.bao.api("DELETE", f"{self.mount}/keys/strongroom")

    def deny(self):
        self.bao.api(
            "PUT", f"sys/policies/acl/{self.policy}", {"policy": 'path "x" { capabilities = ["deny"] }'}
        )

    def rotate(self):
        self.bao.api("POST", f"{self.mount}/keys/strongroom/rotate")

    def trouble(self, status):
        self.proxy.answer(status, {"Content-Type": "application/json"}, b'{"errors":[]}')

    def down(self):
        self.proxy.stop()

    def keys(self):
        return self.bao.api("LIST", f"{self.mount}/keys")["data"]["keys"]


def test_who_may_make_keys_makes_none_by_wrapping(bao, mount):
    # The server's `encrypt` makes a key for whoever may create one, and the root token may.
    nowhere = made(bao.url, mount, key="nowhere")
    with pytest.raises(SealedError, match="is nowhere"):
        nowhere.wrap(KEY, context=CONTEXT)
    assert bao.api("LIST", f"{mount}/keys")["data"]["keys"] == ["strongroom"]


def test_the_version_that_wrapped_is_told(bao, mount):
    wrapper = made(bao.url, mount)
    first = wrapper.wrap(KEY, context=CONTEXT)
    bao.api("POST", f"{mount}/keys/strongroom/rotate")
    assert (wrapper.detail(first), wrapper.detail(wrapper.wrap(KEY, context=CONTEXT))) == ("v1", "v2")


def test_a_version_that_may_not_be_used_any_more_is_told(bao, mount):
    wrapper = made(bao.url, mount)
    blob = wrapper.wrap(KEY, context=CONTEXT)
    bao.api("POST", f"{mount}/keys/strongroom/rotate")
    bao.api("POST", f"{mount}/keys/strongroom/config", {"min_decryption_version": 2})
    with pytest.raises(SealedError, match="may not be used at the version") as caught:
        wrapper.unwrap(blob, context=CONTEXT)
    assert caught.value.hint == "lower its min_decryption_version"
    assert wrapper.unwrap(wrapper.wrap(KEY, context=CONTEXT), context=CONTEXT) == KEY


def test_a_derived_key_is_told_and_used(bao, mount):
    bao.api("POST", f"{mount}/keys/derived", {"derived": True})
    with pytest.raises(SealedError) as caught:
        made(bao.url, mount, key="derived").wrap(KEY, context=CONTEXT)
    assert caught.value.hint == "set derived = true"
    wrapper = made(bao.url, mount, key="derived", derived=True)
    blob = wrapper.wrap(KEY, context=CONTEXT)
    assert wrapper.unwrap(blob, context=CONTEXT) == KEY
    with pytest.raises(SealedError):
        wrapper.unwrap(blob, context=b"another")


@pytest.mark.parametrize("kind", ["rsa-2048", "ed25519"])
def test_a_key_that_binds_nothing_is_not_used(bao, mount, kind):
    bao.api("POST", f"{mount}/keys/other", {"type": kind})
    with pytest.raises(SealedError, match="binds nothing"):
        made(bao.url, mount, key="other").wrap(KEY, context=CONTEXT)


@pytest.mark.parametrize("kind", ["chacha20-poly1305", "aes128-gcm96"])
def test_other_ciphers_that_bind_serve_as_well(bao, mount, kind):
    bao.api("POST", f"{mount}/keys/other", {"type": kind})
    wrapper = made(bao.url, mount, key="other")
    assert wrapper.unwrap(wrapper.wrap(KEY, context=CONTEXT), context=CONTEXT) == KEY


def test_an_engine_that_is_nowhere_is_told(bao, mount):
    with pytest.raises(SealedError, match="no engine is mounted there"):
        made(bao.url, f"{mount}x").wrap(KEY, context=CONTEXT)


def test_who_may_wrap_and_not_unwrap_is_told_before_anything_is_kept(bao, mount):
    token = bao.token(bao.policy(f'path "{mount}/encrypt/strongroom" {{ capabilities = ["update"] }}'))
    with pytest.raises(SealedError) as caught:
        made(bao.url, mount, token).wrap(KEY, context=CONTEXT)
    assert f'path "{mount}/decrypt/strongroom"' in (caught.value.hint or "")


@pytest.mark.parametrize("key", ["", "a/b", "../sys/seal", "a\n", "a b", "é"])
def test_what_is_no_key_is_refused_by_the_setting(key):
    with pytest.raises(BackendConfigError, match=r"store\.wrappers\.key"):
        made("http://127.0.0.1:1", "transit", key=key)


def test_a_planted_ciphertext_of_no_such_form_is_not_sent(bao, mount):
    wrapper = made(bao.url, mount)
    head = b"SRW\x01\x07transit\x02v1"
    for planted in (b"x", b"vault:v1:../", b"vault:v0:AAAA", b"vault:v1:AAAA\n", b"vault:v1:" + b"A" * 2000):
        with pytest.raises(SealedError, match="none of its ciphertexts"):
            wrapper.unwrap(head + planted, context=CONTEXT)
