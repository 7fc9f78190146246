"""YAML equal to PyYAML as Airflow uses it, or refused."""

import json
import math
from datetime import date
from pathlib import Path

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.yaml11 import parse_yaml
from strongroom.model.yamlscalar import format_scalar

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "yaml11.json").read_text())["cases"]

# Airflow reads these and we do not: docs/compatibility.md, "Files".
REFUSED_BY_US = {
    "dup",
    "date key",
    "flow question",
    "scalar '\\ta'",
    "scalar 'a\\tb'",
    "scalar \"'a\\u2028b'\"",
    "scalar '!!binary aGk='",
    "scalar '!!set {a, b}'",
    "scalar '!!omap [a: 1]'",
}
# Airflow's scanner (libyaml) refuses an unknown directive, PyYAML's own and ours ignore it.
READ_BY_US = {"version unknown": {"a": 1}}
# A nested name that is not text is given as JSON would write it.
AS_JSON_NAMES = {"merge with int key"}


def tagged(value):
    if isinstance(value, dict):
        return {"map": [[tagged(name), tagged(item)] for name, item in value.items()]}
    if isinstance(value, list):
        return {"list": [tagged(item) for item in value]}
    if isinstance(value, date):
        return {"date": value.isoformat()}
    name = {type(None): "null"}.get(type(value), type(value).__name__)
    return {name: str(value) if name == "int" else repr(value) if name == "float" else value}


def expected_of(case):
    text = json.dumps(case["expected"])
    loaded = json.loads(text)

    def dates(node):
        if isinstance(node, list):
            return [dates(item) for item in node]
        if isinstance(node, dict):
            if "datetime" in node:
                return {"date": node["datetime"][:10]}
            return {name: dates(item) for name, item in node.items()}
        return node

    return dates(loaded)


@pytest.mark.parametrize("case", VECTORS, ids=[case["name"] for case in VECTORS])
def test_text_means_what_it_means_to_airflow_or_is_refused(case):
    expected = expected_of(case)
    if case["name"] in READ_BY_US:
        assert parse_yaml(case["text"]) == READ_BY_US[case["name"]]
        return
    if "error" in expected or case["name"] in REFUSED_BY_US:
        with pytest.raises(InvalidInputError) as caught:
            parse_yaml(case["text"])
        assert caught.value.__context__ is None
        return
    if case["name"] in AS_JSON_NAMES:
        assert parse_yaml(case["text"]) == {"x": {"1": "a", "2": "b"}}
        return
    assert tagged(parse_yaml(case["text"])) == expected


def test_nan_is_read_as_nan():
    assert math.isnan(parse_yaml("k: .nan\n")["k"])


def test_nested_names_that_are_not_text_are_named_as_json_names_them():
    text = "k: {1: a, no: b, ~: c, 1.5: d, 0x10: e}\n"
    assert parse_yaml(text) == {
        "k": json.loads(json.dumps({1: "a", False: "b", None: "c", 1.5: "d", 16: "e"}))
    }


def test_nested_names_that_json_would_merge_are_refused():
    with pytest.raises(InvalidInputError):
        parse_yaml("k: {1: a, '1': b}\n")


def test_alias_bomb_is_refused_before_it_grows():
    lines = ["a0: &a0 [" + ", ".join(["x"] * 10) + "]"]
    lines += [f"a{level}: &a{level} [" + ", ".join([f"*a{level - 1}"] * 10) + "]" for level in range(1, 12)]
    with pytest.raises(InvalidInputError) as caught:
        parse_yaml("\n".join(lines) + "\n")
    assert caught.value.limit == 64 * 1024 * 1024


def test_depth_of_64_is_read_and_65_is_refused():
    assert parse_yaml("[" * 64 + "]" * 64)
    with pytest.raises(InvalidInputError) as caught:
        parse_yaml("[" * 65 + "]" * 65)
    assert caught.value.limit == 64


def test_depth_hidden_behind_aliases_is_refused():
    text = "a: &a " + "[" * 40 + "]" * 40 + "\nb: " + "[" * 40 + "*a" + "]" * 40 + "\n"
    with pytest.raises(InvalidInputError) as caught:
        parse_yaml(text)
    assert caught.value.limit == 64


def test_ten_thousand_levels_are_refused_without_exhausting_the_stack():
    with pytest.raises(InvalidInputError):
        parse_yaml("[" * 10_000)


@pytest.mark.parametrize(
    "text", ["k: 'cAnArY", "k: !!cAnArY x", "k: [cAnArY", "k: *cAnArY", "cAnArY: 1\ncAnArY: 2", "k: @cAnArY"]
)
def test_errors_carry_a_line_and_no_text(text):
    with pytest.raises(InvalidInputError) as caught:
        parse_yaml(text)
    assert "line" in str(caught.value)
    assert caught.value.offset is not None
    assert "cAnArY" not in str(caught.value) + repr(caught.value.__dict__)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "a\nb\r\n\tc",
        '"q" \\ \'',
        "\x00\x01\x1b\x7f\x85\xa0",
        "\u2028\u2029\ufeff\ufffe",
        "é🔑",
        "no",
        "{a: 1}",
        "# x",
        "a" * 300,
    ],
)
def test_written_text_is_read_back(text):
    assert parse_yaml(f"k: {format_scalar(text)}\n") == {"k": text}


@pytest.mark.parametrize("word", ["y", "N", "Yes", "nULL", "off", "true", "null"])
def test_words_that_some_yaml_takes_for_something_else_are_quoted(word):
    assert format_scalar(word) == f'"{word}"'


def test_numbers_and_nothing_are_written_bare():
    assert [format_scalar(value) for value in (5432, None, "5432", "word")] == [
        "5432",
        "null",
        '"5432"',
        "word",
    ]
