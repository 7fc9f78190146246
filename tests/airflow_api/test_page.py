"""Patterns against SQLite's own, and the parts of pages that need no server."""

from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.server.airflow_api.masking import (
    NothingToKeepError,
    hidden_places,
    is_telling,
    keep_hidden,
    redacted,
    redacted_text,
)
from strongroom.server.airflow_api.page import like

LETTERS = st.text("abAB%_.|/ [\\", max_size=12)
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "token", "b"]), inner),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def sqlite():
    with sqlite3.connect(":memory:") as connection:
        yield connection


@given(LETTERS, LETTERS)
def test_a_pattern_matches_what_sqlite_matches(sqlite, pattern, text):
    (expected,) = sqlite.execute("SELECT lower(?) LIKE lower(?)", (text, pattern)).fetchone()
    assert like(pattern)(text) == bool(expected)


@given(JSON)
def test_what_was_shown_and_comes_back_is_what_was_stored(value):
    if value == "***" or "***" in hidden_places(value):
        return
    assert keep_hidden(redacted(value), value) == value or _has_hidden_container(value)


def _has_hidden_container(value):
    # Three stars in a key's place cannot be told from a hidden value: none of these values has them.
    return bool(hidden_places(value))


@given(JSON)
def test_nothing_below_a_telling_key_is_shown(value):
    shown = redacted({"token": value})["token"]
    leaves = [shown]
    while leaves:
        one = leaves.pop()
        if isinstance(one, dict):
            leaves += one.values()
        elif isinstance(one, list):
            leaves += one
        else:
            assert one in (None, "***")


@pytest.mark.parametrize(
    "name", ["password", "MY-API_KEY", " Token ", "db.passwd.x", "service account", "proxies2"]
)
def test_a_name_tells_of_a_secret_as_in_airflow(name):
    assert is_telling(name)


@pytest.mark.parametrize("name", ["pwd", "pass", "credential", "key", "ssh_key", "client_id", ""])
def test_a_name_that_airflow_does_not_know_tells_nothing(name):
    assert not is_telling(name)


def test_text_that_looks_like_json_and_cannot_be_read_is_hidden_whole():
    assert redacted_text('{"password": "x", "password": "y"}') == "***"
    assert redacted_text("[" * 100 + "]" * 100) == "***"
    assert redacted_text("plain") == "plain"
    assert redacted_text("NaN") == "NaN"


@pytest.mark.parametrize(
    ("new", "old"), [("***", None), ("***", {"a": 1}), (["***"], ["x", "y"]), ({"b": "***"}, {"a": 1})]
)
def test_stars_that_stand_for_nothing_are_refused(new, old):
    with pytest.raises(NothingToKeepError):
        keep_hidden(new, old)
