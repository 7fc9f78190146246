"""Connections over others: what their JSON says beside a connection's own fields."""

from __future__ import annotations

import json

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.overlay import join, split


@pytest.mark.parametrize(
    ("text", "own", "rest"),
    [
        ('{"host": "h"}', {"host": "h"}, {}),
        ('{"host": "h", "password": null}', {"host": "h", "password": None}, {}),
        ('{"extends": "b", "host": "h"}', {"host": "h"}, {"extends": "b"}),
        ('{"extends": "b", "password": null}', {}, {"extends": "b", "password": None}),
        ('{"port": "${variable/port}", "host": "h"}', {"host": "h"}, {"port": "${variable/port}"}),
        ('{"extends": "b", "extra": "{\\"a\\": 1}"}', {"extra": {"a": 1}}, {"extends": "b"}),
    ],
)
def test_a_text_is_taken_apart_and_put_together_again(text, own, rest):
    plain, kept = split(text)
    assert (json.loads(plain), kept) == (own, rest)
    again = json.loads(join(plain, kept))
    assert again == {**own, **rest}


def test_a_uri_extends_nothing():
    assert split("postgres://h") == ("postgres://h", {})


def test_a_field_that_was_filled_in_is_no_longer_taken_away():
    assert json.loads(join('{"password": "new"}', {"extends": "b", "password": None})) == {
        "extends": "b",
        "password": "new",
    }


@pytest.mark.parametrize("text", ['{"extends": 5}', '{"extends"', "{]"])
def test_what_is_no_overlay_is_refused(text):
    with pytest.raises(InvalidInputError):
        split(text)
