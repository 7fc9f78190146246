"""JSON is read as Python reads it, or refused by number in bounded time."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.jsontext import MAX_DEPTH, decode, is_unicode

WORDS = r"""{ } [ ] , : x 1 "a" "b" " \ "\"" "[{" "\ud800" -0.0 1e5 1e999 NaN -Infinity true null"""
TOKENS = st.lists(st.sampled_from([*WORDS.split(" "), " ", "\n", "\t"]), max_size=24).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def refusal(text, **options) -> InvalidInputError:
    with pytest.raises(InvalidInputError) as caught:
        decode(text, **options)
    return caught.value


@given(TOKENS)
def test_a_text_is_read_as_python_reads_it_or_refused(text):
    try:
        found = decode(text)
    except InvalidInputError as error:
        rule, offset = error.rule, error.offset
    else:
        assert repr(found) == repr(json.loads(text))
        return
    assert offset is not None
    assert 0 <= offset <= len(text)
    try:
        json.loads(text)
    except ValueError:
        assert rule == "R13"
    else:
        assert rule in {"R15", "R16"}


@given(VALUES)
def test_whatever_json_can_say_is_read(value):
    assert repr(decode(json.dumps(value))) == repr(value)


def _depths(text):
    depth = 0
    for mark in text.replace('"["', ""):
        depth += (mark in "[{") - (mark in "]}")
        if depth < 0:
            return  # the parser stops here
        yield depth


@given(st.lists(st.sampled_from(["[", "]", "{", "}", '"["', ","])).map("".join), st.integers(0, 6))
def test_a_text_deeper_than_the_bound_is_refused_and_never_parsed_twice_as_deep(text, bound):
    deepest = max(_depths(text), default=0)
    if deepest > bound:
        assert refusal(text, max_depth=bound).rule in {"R13", "R14"}
    if deepest > 2 * bound:
        assert refusal(text, max_depth=bound).rule == "R14"


@pytest.mark.parametrize("is_object", [True, False])
def test_the_bound_is_64_levels(is_object):
    opening, closing = ('{"a":', "}") if is_object else ("[", "]")
    decode(opening * MAX_DEPTH + "1" + closing * MAX_DEPTH)
    error = refusal(opening * (MAX_DEPTH + 1) + "1" + closing * (MAX_DEPTH + 1))
    assert (error.rule, error.limit, error.offset) == ("R14", MAX_DEPTH, MAX_DEPTH * len(opening))


def test_brackets_inside_strings_are_no_depth():
    text = json.dumps(["[" * 1000, '"{\\"', "\\", "{" * 1000])
    assert decode(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "rule", "offset"),
    [
        ("", "R13", 0),
        ("{", "R13", 1),
        ("[1] x", "R13", 4),
        ('{"a": 1, "a": 2} x', "R13", 17),
        ("NaNette", "R13", 3),
        ('{"a": 1, "b": {"a": 1, "c": 2, "c": 3}}', "R15", 31),
        ('{"a": 1, "\\u0061": 2}', "R15", 9),
        ("[1, NaN]", "R16", 4),
        ("[-1e999]", "R16", 1),
        ('["NaN", Infinity]', "R16", 8),
        ("9" * 4301, "R16", 0),
        ("[-" + "9" * 4301 + "]", "R16", 1),
    ],
)
def test_a_refusal_has_its_number_and_its_place(text, rule, offset):
    error = refusal(text)
    assert (error.rule, error.offset) == (rule, offset)
    assert error.__context__ is None


def test_the_largest_whole_number_has_4300_digits():
    assert decode("9" * 4300) == int("9" * 4300)
    assert decode("-" + "9" * 4299) == -int("9" * 4299)


def test_a_large_text_is_refused_without_looking_for_the_place():
    error = refusal("[" + "1," * 40_000 + "NaN]")
    assert (error.rule, error.offset) == ("R16", None)


def test_messages_name_what_was_read():
    assert str(refusal("x", what="extra")) == "extra is not valid JSON"


@given(st.text(st.characters(), max_size=5))
def test_unicode_text_is_what_utf8_can_write(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        assert not is_unicode(text)
    else:
        assert is_unicode(text)
