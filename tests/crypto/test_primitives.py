import hmac

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from strongroom.crypto import _primitives
from strongroom.errors import BackendConfigError, TamperedError


@given(key=st.binary(min_size=32, max_size=32), info=st.binary(max_size=300))
def test_expand_is_hkdf_expand_and_one_hmac(key, info):
    derived = _primitives.expand(key, info)
    assert derived == hmac.digest(key, info + b"\x01", "sha512")
    assert derived == HKDFExpand(SHA512(), 64, info).derive(key)


def test_gcm_siv_gives_the_example_of_rfc_8452():
    # RFC 8452 appendix C.2, the second example of 8 bytes of plaintext without AAD.
    cipher = _primitives.SivCipher(bytes.fromhex("01" + "00" * 31))
    nonce = bytes.fromhex("030000000000000000000000")
    expected = bytes.fromhex("c2ef328e5c71c83b843122130f7364b761e0b97427e3df28")
    assert cipher.seal(nonce, bytes.fromhex("0100000000000000"), b"") == expected
    assert cipher.open(nonce, expected, b"") == bytes.fromhex("0100000000000000")


def test_argon2id_gives_the_example_of_its_reference():
    # The reference implementation's test for version 0x13: t=2, m=2^8 KiB, p=1.
    derived = _primitives.argon2id(b"password", b"somesalt", memory_kib=256, iterations=2, lanes=1)
    assert derived.hex() == "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"


def test_a_random_source_that_repeats_itself_stops_sealing(monkeypatch):
    monkeypatch.setattr(_primitives, "_urandom", lambda size: b"\x05" * size)
    _primitives.draw(56)
    with pytest.raises(BackendConfigError, match="repeats itself"):
        _primitives.draw(56)


def test_no_part_of_a_key_is_remembered():
    key = _primitives.new_key()
    assert len(key) == 32
    assert _primitives._drawn_before not in key


def lacking(*_args, **_kwargs):
    raise UnsupportedAlgorithm("text of the library")


@pytest.mark.parametrize(
    ("missing", "act"),
    [
        ("AESGCMSIV", lambda: _primitives.SivCipher(b"k" * 32)),
        ("Argon2id", lambda: _primitives.argon2id(b"p", b"s" * 16, memory_kib=8, iterations=1, lanes=1)),
    ],
)
def test_an_openssl_without_the_algorithm_is_named(monkeypatch, missing, act):
    monkeypatch.setattr(_primitives, missing, lacking)
    with pytest.raises(BackendConfigError, match="OpenSSL") as refused:
        act()
    assert "text of the library" not in str(refused.value)
    assert "3.2" in refused.value.hint


def test_memory_that_is_not_to_be_had_is_said(monkeypatch):
    def greedy(**_kwargs):
        raise MemoryError

    monkeypatch.setattr(_primitives, "Argon2id", greedy)
    with pytest.raises(BackendConfigError, match="64 MiB"):
        _primitives.argon2id(b"p", b"s" * 16, memory_kib=65_536, iterations=1, lanes=1)


def test_a_failed_tag_is_tampered_without_the_library_in_the_chain():
    with pytest.raises(TamperedError) as refused:
        _primitives.SivCipher(b"k" * 32).open(b"n" * 12, b"w" * 48, b"")
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
