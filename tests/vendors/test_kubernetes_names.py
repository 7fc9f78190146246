"""Names as Kubernetes can spell them: there and back, and nothing else."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from strongroom.vendors.kubernetes_names import (
    is_label_key,
    is_label_value,
    read_key,
    read_name,
    spelled,
    spelled_key,
)

DNS = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
KEY = re.compile(r"(?!\.{1,2}$)(?!\.\.)[-._a-zA-Z0-9]{1,253}")
NAMES = st.text(min_size=1, max_size=30) | st.text(alphabet="ab0x41-_./Z", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("airflow-connections-orders_db", "airflow-connections-orders--db"),
        ("data/region", "data---region"),
        ("orders.db", "orders.db"),
        ("Prod", "0x50rod"),
        ("a--b", "a0x2d0x2db"),
        ("_x", "0x5fx"),
        ("0x41", "0x30x41"),
        ("é", "0xc30xa9"),
        ("..", "0x2e0x2e"),
        ("a\n", "a0x0a"),
    ],
)
def test_name_of_an_object_reads_well_and_is_reversible(name, spelling):
    assert spelled(name) == spelling
    assert read_name(spelling) == name


@given(NAMES)
@example("a-_b")
@example("x0")
def test_every_spelling_is_a_name_of_dns_and_reads_back(name):
    spelling = spelled(name)
    if spelling is None:
        assert len(name) > 253 // 16 or not name.isprintable() or "\ud800" <= max(name) <= "\udfff"
        return
    assert DNS.fullmatch(spelling)
    assert len(spelling) <= 253
    assert read_name(spelling) == name


@given(NAMES, NAMES)
def test_two_names_never_share_a_spelling(one, other):
    if one != other:
        assert spelled(one) is None or spelled(one) != spelled(other)
        assert spelled_key(one) is None or spelled_key(one) != spelled_key(other)


@given(st.text(alphabet="abx0f41-._/%", max_size=14))
def test_what_nobody_spelled_is_nobodys_name(text):
    name = read_name(text)
    assert name is None or spelled(name) == text
    key = read_key(text)
    assert key is None or spelled_key(key) == text


@given(NAMES)
def test_every_key_is_one_and_reads_back(name):
    key = spelled_key(name)
    if key is not None:
        assert KEY.fullmatch(key)
        assert read_key(key) == name


@pytest.mark.parametrize("name", ["orders_db", "ORDERS.db-1", "_x", "a..b", "-x"])
def test_name_that_can_be_a_key_is_one(name):
    assert spelled_key(name) == name


@pytest.mark.parametrize("name", ["", "n" * 254, "é" * 32, "\ud800"])
def test_name_that_is_empty_or_too_long_has_no_spelling(name):
    assert spelled(name) is None


@pytest.mark.parametrize(
    "text", ["", "n" * 64, "-x", "x-", "a b", "a/b", "a,b=c", "a\n", "é", "a)", "!a", "x."]
)
def test_text_that_is_no_value_of_a_label(text):
    assert not is_label_value(text)


@pytest.mark.parametrize("text", ["a", "n" * 63, "A_b.c-d", "0"])
def test_text_that_is_a_value_of_a_label(text):
    assert is_label_value(text)


def test_label_has_a_domain_or_none():
    assert is_label_key("airflow.apache.org/connection-id")
    assert is_label_key("team")
    assert not any(map(is_label_key, ("", "a b", "A/b", "a/", "/b", "a/b/c", "a,b", "x=y", "a\n")))
