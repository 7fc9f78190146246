"""Cursors: opaque, authenticated, good for one question by one actor."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.server.api.cursor import Cursors

CURSORS = Cursors(b"k" * 32)


def call(actor="person:anna", deployment="prod", query=None, params=None):
    identity = SimpleNamespace(actor=SimpleNamespace(id=actor))
    return SimpleNamespace(identity=identity, deployment=deployment, query=query or {}, params=params or {})


@given(st.lists(st.text() | st.integers(min_value=0, max_value=2**53), min_size=1, max_size=3))
def test_a_cursor_gives_back_the_place_it_was_made_of(position):
    assert CURSORS.read(call(), "entries", CURSORS.write(call(), "entries", position)) == position


def test_a_cursor_is_good_for_another_size_of_page():
    made = CURSORS.write(call(query={"limit": ["10"]}), "entries", ["variable", "x"])
    assert CURSORS.read(call(query={"limit": ["99"], "cursor": [made]}), "entries", made) == ["variable", "x"]


@pytest.mark.parametrize(
    "other",
    [
        {"actor": "person:otto"},
        {"deployment": "test"},
        {"query": {"prefix": ["a"]}},
        {"params": {"name": "x"}},
    ],
)
def test_RT09_a_cursor_of_another_actor_deployment_or_question_is_refused(other):
    made = CURSORS.write(call(), "entries", ["variable", "x"])
    with pytest.raises(InvalidInputError, match="was not given out"):
        CURSORS.read(call(**other), "entries", made)


def test_a_cursor_of_another_list_is_refused():
    with pytest.raises(InvalidInputError):
        CURSORS.read(call(), "inventory", CURSORS.write(call(), "entries", ["variable", "x"]))


@given(
    st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
)
def test_a_forged_cursor_is_refused(text):
    with pytest.raises(InvalidInputError) as caught:
        CURSORS.read(call(), "entries", text)
    assert not text or len(text) < 4 or text not in str(caught.value)


def test_every_bit_of_a_cursor_counts():
    made = CURSORS.write(call(), "entries", ["variable", "orders"])
    raw = bytearray(base64.urlsafe_b64decode(made + "=" * (-len(made) % 4)))
    for index in range(len(raw) * 8):
        raw[index // 8] ^= 1 << index % 8
        with pytest.raises(InvalidInputError):
            CURSORS.read(call(), "entries", base64.urlsafe_b64encode(raw).decode().rstrip("="))
        raw[index // 8] ^= 1 << index % 8


def test_a_cursor_is_not_another_spelling_of_itself():
    made = CURSORS.write(call(), "entries", ["variable", "orders"])
    for other in (made + "=", made + "A", " " + made, made + "\n"):
        with pytest.raises(InvalidInputError):
            CURSORS.read(call(), "entries", other)
