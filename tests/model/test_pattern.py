"""Names chosen at run time: what a pattern is, and that no value leaves its place."""

from __future__ import annotations

from enum import IntEnum
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.pattern import fill
from strongroom.model.ref import Ref

CANARY = "kanarienvogel"


@pytest.mark.parametrize(
    ("pattern", "values", "name"),
    [
        ("warehouse_{tenant}", {"tenant": "acme"}, "warehouse_acme"),
        ("{tenant}/warehouse", {"tenant": "acme"}, "acme/warehouse"),
        ("{tenant}/{stage}", {"tenant": "a_b", "stage": "prod"}, "a_b/prod"),
        ("{a}_{b}", {"a": "x", "b": "y_z"}, "x_y_z"),
        ("shard_{number}", {"number": 7}, "shard_7"),
        ("{{{tenant}}}", {"tenant": "acme"}, "{acme}"),
        ("a{{b}}_{c}", {"c": "1"}, "a{b}_1"),
        ("{t}-{t}", {"t": "x"}, "x-x"),
        ("caf\u0065\u0301_{t}", {"t": "x"}, "caf\u00e9_x"),
        ("{t}_db", {"t": "Ünïcode name"}, "Ünïcode name_db"),
    ],
)
def test_a_pattern_is_filled(pattern, values, name):
    assert fill(pattern, values) == name


def test_a_member_of_an_enum_is_the_number_or_text_it_holds():
    class Shard(IntEnum):
        FIRST = 1

    assert fill("shard_{number}", {"number": Shard.FIRST}) == "shard_1"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "a/b",
        "/",
        "..",
        ".",
        "../x",
        "a\\b",
        "a\nb",
        "a\0",
        "\u202ea",
        "\u200b",
        "\u0301x",
        "x" * 251,
        "x" * 100_000,
        True,
        None,
        1.5,
        b"x",
        ["x"],
    ],
)
def test_what_is_no_segment_of_a_name_is_refused_and_not_repeated(value):
    with pytest.raises(InvalidInputError) as caught:
        fill("warehouse_e{tenant}", {"tenant": value})
    if isinstance(value, str) and len(value) > 2:
        assert value not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("digits", [250, 5000])
def test_a_number_too_long_for_a_name_is_refused_in_our_words(digits):
    for number in (10**digits, -(10**digits)):
        with pytest.raises(InvalidInputError, match="the value of tenant"):
            fill("warehouse_{tenant}", {"tenant": number})


def test_a_secret_given_as_a_value_does_not_come_back_in_the_message():
    with pytest.raises(InvalidInputError, match="tenant") as caught:
        fill("warehouse_{tenant}", {"tenant": f"{CANARY}/x"})
    assert CANARY not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("pattern", "values", "words"),
    [
        ("warehouse_{tenant}", {"tennant": "acme"}, "no value for tenant"),
        ("warehouse", {"tenant": "acme"}, "no parameter tenant"),
        ("{a}_{b}", {"a": "1"}, "no value for b"),
        ("{a}", {"a": "1", "b": "2", "c": "3"}, "no parameter b, c"),
    ],
)
def test_a_value_too_few_or_too_many_is_named(pattern, values, words):
    with pytest.raises(InvalidInputError, match=words):
        fill(pattern, values)


def test_a_parameter_called_like_an_argument_is_explained():
    with pytest.raises(InvalidInputError) as caught:
        fill("{team}_{tenant}", {"tenant": "acme"})
    assert caught.value.hint == "team has a meaning of its own; call the parameter otherwise"


@pytest.mark.parametrize(
    "pattern",
    [
        "{tenant.__class__}",
        "{tenant[0]}",
        "{tenant!r}",
        "{tenant:>10}",
        "{}",
        "{0}",
        "{ tenant }",
        "{tenant",
        "tenant}",
        "{{tenant}",
        "x{",
    ],
)
def test_nothing_but_a_word_stands_in_braces(pattern):
    with pytest.raises(InvalidInputError):
        fill(pattern, {"tenant": "acme"})


@pytest.mark.parametrize(
    ("pattern", "values"),
    [
        ("{a}{b}", {"a": "1", "b": "2"}),
        ("{a}_{b}", {"a": "acme_eu", "b": "x"}),
        ("{a}_{b}", {"a": "acme_", "b": "x"}),
        ("{a}aa{b}", {"a": "xa", "b": "y"}),
    ],
)
def test_what_could_be_another_pair_of_values_is_refused(pattern, values):
    with pytest.raises(InvalidInputError):
        fill(pattern, values)


def test_a_filled_name_is_as_long_as_names_are():
    with pytest.raises(InvalidInputError) as caught:
        fill("w" * 200 + "{t}", {"t": "x" * 51})
    assert caught.value.limit == 250
    with pytest.raises(InvalidInputError):
        fill("w" * 1001 + "{t}", {"t": "x"})


PATTERNS = ["{a}/{b}", "{a}_{b}", "{a}--{b}", "{a}_x_{b}", "{a}aa{b}", "t/{a}.{b}/w"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_two_ways_to_fill_a_pattern_never_give_one_name(pattern):
    words = ["".join(word) for size in (1, 2, 3) for word in product("a_-x", repeat=size)]
    values = [(a, b) for a in words for b in words[:40]]
    names = [name for a, b in values if (name := filled(pattern, {"a": a, "b": b})) is not None]
    assert len(names) == len(set(names)) > len(words)


def filled(pattern, values):
    try:
        return fill(pattern, values)
    except InvalidInputError:
        return None


@given(st.text(max_size=30))
def test_a_tenant_stays_below_its_place_whatever_it_calls_itself(tenant):
    name = filled("tenants/{a}/warehouse", {"a": tenant})
    if name is not None:
        head, _, tail = name.split("/")
        assert (head, tail) == ("tenants", "warehouse")
        assert Ref("connection", name).name == name
