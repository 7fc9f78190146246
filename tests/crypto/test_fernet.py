"""Fernet tokens as Airflow makes them."""

import base64

import pytest
from cryptography.fernet import Fernet as Real
from cryptography.fernet import MultiFernet
from hypothesis import given
from hypothesis import strategies as st

from strongroom.crypto.fernet import Fernet
from strongroom.errors import BackendConfigError
from strongroom.model.entry import EntryState
from strongroom.model.secret import Secret

OLD, NEW, OTHER = (Real.generate_key().decode() for _ in range(3))
# Vector "generate" of the specification (github.com/fernet/spec, generate.json and verify.json).
SPEC_KEY = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
SPEC_TOKEN = (
    "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
)


def opener(*keys):
    return Fernet([Secret(key) for key in keys])


def test_vector_of_the_specification_opens():
    state, text = opener(SPEC_KEY).open(SPEC_TOKEN)
    assert (state, text.reveal()) == (EntryState.OK, "hello")


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_whatever_airflow_seals_with_any_of_the_keys_opens(text):
    for sealer in (Real(OLD), Real(NEW), MultiFernet([Real(NEW), Real(OLD)])):
        state, secret = opener(NEW, OLD).open(sealer.encrypt(text.encode()).decode())
        assert (state, secret.reveal()) == (EntryState.OK, text)


@given(st.text(max_size=100))
def test_text_that_is_no_token_is_told_apart_from_a_wrong_key(text):
    assert opener(NEW).open(text) == (EntryState.NOT_A_TOKEN, None)


def test_wrong_key_and_a_changed_token_look_the_same():
    token = Real(OTHER).encrypt(b"x").decode()
    assert opener(NEW, OLD).open(token) == (EntryState.WRONG_KEY, None)
    assert opener().open(token) == (EntryState.WRONG_KEY, None)
    changed = bytearray(base64.urlsafe_b64decode(Real(NEW).encrypt(b"x")))
    changed[-1] ^= 1
    assert opener(NEW).open(base64.urlsafe_b64encode(changed).decode())[0] is EntryState.WRONG_KEY


def test_bytes_that_are_no_text_are_unparsable():
    assert opener(NEW).open(Real(NEW).encrypt(b"\xff").decode()) == (EntryState.UNPARSABLE, None)


# Named, because NEW differs from process to process, and workers that collect other names run no test.
@pytest.mark.parametrize("key", ["", "x", NEW[:-4], "é" * 44], ids=["empty", "short", "cut", "no ASCII"])
def test_key_that_is_none_is_refused_and_not_repeated(key):
    with pytest.raises(BackendConfigError, match="the Fernet key is no Fernet key") as caught:
        opener(key)
    assert not key or key not in f"{caught.value!r}{caught.value.hint}".replace("Fernet", "")
    assert NEW not in repr(opener(NEW))
