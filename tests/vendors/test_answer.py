"""What answers of any vendor have in common."""

from __future__ import annotations

from datetime import timedelta

import pytest

from strongroom.vendors.answer import MAX_WAIT, json_in, wait_in


@pytest.mark.parametrize(
    ("said", "wait"),
    [
        ("0", timedelta(0)),
        ("7", timedelta(seconds=7)),
        ("999999999", MAX_WAIT),
        ("9999999999", None),
        ("1.5", None),
        ("-1", None),
        ("٣", None),
        ("²", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", None),
        ("", None),
    ],
)
def test_a_wait_is_believed_in_plain_seconds_and_for_an_hour_at_most(
    said: str, wait: timedelta | None
) -> None:
    assert wait_in({"retry-after": said}) == wait


def test_who_says_nothing_of_waiting_asks_for_none() -> None:
    assert wait_in({}) is None


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, "<html>"])
def test_what_is_no_json_gives_the_default_whatever_it_is(body: bytes | str) -> None:
    assert json_in(body) is None
    assert json_in(body, "none") == "none"


def test_json_is_given_with_its_null_told_from_no_json() -> None:
    assert json_in(b'{"a": [1]}') == {"a": [1]}
    assert json_in("null", "none") is None
