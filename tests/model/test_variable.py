"""A variable: its text, what it says as JSON, and its item in a variables file."""

from __future__ import annotations

import json
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret
from strongroom.model.variable import Variable

CANARY = "canary-c0de"
LARGEST = 1_048_576
TEXT = st.text(st.characters(exclude_categories=("Cs",)))


def variable(text, **rest) -> Variable:
    return Variable(key="k", value=Secret(text), **rest)


@given(TEXT, st.none() | TEXT)
def test_what_is_written_for_a_file_is_read_back_to_the_same_variable(text, description):
    given_variable = variable(text, description=description)
    item = json.loads(json.dumps(given_variable.to_document().reveal()))
    assert Variable.from_document("k", item) == given_variable


@pytest.mark.parametrize(
    ("item", "text", "description"),
    [
        ("eu-west-1", "eu-west-1", None),
        ("", "", None),
        ("1", "1", None),
        (1, "1", None),
        (1.50, "1.5", None),
        (True, "true", None),
        (None, "null", None),
        ([1, "x"], '[\n  1,\n  "x"\n]', None),
        ({"a": 1}, '{\n  "a": 1\n}', None),
        ({}, "{}", None),
        ({"value": "x"}, "x", None),
        ({"value": "x", "description": "d"}, "x", "d"),
        ({"value": {"a": 1}, "description": None}, '{\n  "a": 1\n}', None),
        ({"value": {"value": 1}}, '{\n  "value": 1\n}', None),
        ({"value": "x", "other": "dropped"}, "x", None),
        ({"description": "d"}, '{\n  "description": "d"\n}', None),
        ("\u00fc", "\u00fc", None),
        (["\u00fc"], '[\n  "\\u00fc"\n]', None),
    ],
)
def test_an_item_of_a_file_reads_as_airflow_imports_it(item, text, description):
    assert Variable.from_document("k", item) == variable(text, description=description)


def test_an_item_that_json_has_no_form_for_is_refused():
    endless: list = []
    endless.append(endless)
    for item in (b"x", {1, 2}, object(), endless, {"value": b"x"}):
        with pytest.raises(InvalidInputError) as caught:
            Variable.from_document("k", item)
        assert caught.value.rule == "R20"
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ('"x"', "x"), ('{"a": [1, null]}', {"a": [1, None]}), (" true\n", True)]
)
def test_a_value_that_is_json_is_given_as_what_it_says(text, value):
    assert variable(text).json() == value


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (CANARY, "R13"),
        ("", "R13"),
        (f'{{"{CANARY}":1,"{CANARY}":2}}', "R15"),
        ("NaN", "R16"),
        ("[" * 65, "R14"),
    ],
)
def test_a_value_that_is_no_json_is_refused_without_telling_it(text, rule):
    with pytest.raises(InvalidInputError) as caught:
        variable(text).json()
    assert caught.value.rule == rule
    assert CANARY not in str(caught.value) + repr(caught.value)


def test_a_value_may_have_a_mebibyte_and_no_more():
    assert variable("x" * LARGEST)
    assert variable("")
    for text in ("x" * (LARGEST + 1), "\u20ac" * (LARGEST // 3 + 1)):
        with pytest.raises(InvalidInputError) as caught:
            variable(text)
        assert (caught.value.rule, caught.value.limit) == ("R2", LARGEST)


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"value": "x"}, "R18"),
        ({"value": Secret(5)}, "R18"),
        ({"value": Secret(None)}, "R18"),
        ({"value": Secret("\ud800")}, "R3"),
        ({"value": Secret("x"), "description": 5}, "R18"),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused(fields, rule):
    with pytest.raises(InvalidInputError) as caught:
        Variable(key="k", **fields)
    assert caught.value.rule == rule


def test_a_variable_does_not_print_its_value():
    shown = variable(CANARY, description="d")
    assert CANARY not in repr(shown) + f"{shown}" + repr(shown.to_document())
    for serialise in (pickle.dumps, json.dumps, msgspec.json.encode, hash):
        with pytest.raises(TypeError):
            serialise(shown)


def test_variables_are_equal_when_every_field_is():
    assert variable("x") == variable("x")
    assert variable("x") != variable("y")
    assert variable("x") != variable("x", description="d")
    assert variable("x") != Variable(key="other", value=Secret("x"))
    assert variable("x") != "x"
