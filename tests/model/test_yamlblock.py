"""Plain YAML read without a scanner means what it means with one, or is left to that one."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model import yaml11
from strongroom.model.yaml11 import parse_yaml
from strongroom.model.yamlblock import read_block
from strongroom.model.yamlscalar import format_scalar

TESTS = Path(__file__).parents[1]
VECTORS = json.loads((TESTS / "vectors" / "yaml11.json").read_text())["cases"]

# What scalars are made of, and what gives a line its meaning; joined at random they are mostly read,
# often refused, and now and then at the very edge.
PIECES = [
    *"abcnoyxuU019",
    *"_/.~+$(;^-:,[]{}#&*!|>%@`?=<'\"\\ \n\t\r",
    *("\xa0", "é", "🔑", "\ufeff", "\x7f", "\x00"),
    *(": ", " #", "''", "\\n", "\\\\", '\\"', "\\ ", "\\\n  ", "\\x41", "\\u00e9", "\\ud83d", "\\U0001F511"),
    *(
        "\\U00110000",
        "\\q",
        "\n  ",
        "\n    ",
        "\n\n   ",
        "\n \n  ",
        "  ",
        "---",
        "...",
        "- ",
        "? ",
        "<<",
        "null",
    ),
    *(
        "true",
        "0x1F",
        "12:30",
        "1.5",
        "2002-12-14",
        "k",
        "k: ",
        "k:\n",
        "\nk: ",
        "\n  k: ",
        "\n  k:",
        "''\n",
        '""',
    ),
]
SCALAR = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
QUOTED = st.tuples(st.sampled_from(["'{}'", '"{}"']), SCALAR).map(lambda pair: pair[0].replace("{}", pair[1]))
NAME = st.one_of(st.sampled_from(["a", "b", "c/d", "e f", "'g'", '"h"', "no", "1", "a"]), SCALAR, QUOTED)
FIELD = st.tuples(NAME, st.one_of(SCALAR, QUOTED)).map(": ".join)
ENTRY = st.one_of(
    FIELD,
    st.tuples(NAME, st.lists(FIELD, max_size=3)).map(lambda pair: "\n  ".join([f"{pair[0]}:", *pair[1]])),
)
BETWEEN = st.sampled_from(["\n", "\n", "\n\n", "\n# c: d\n", "\n  # c\n \n", "\n---\n", "\n..."])
START = st.sampled_from(["", "", "", "\n", "# a\n", "---\n", "# a\n---\n\n", "--- ", "%YAML 1.2\n---\n", " "])
TEXT = st.tuples(
    START,
    ENTRY,
    st.lists(st.tuples(BETWEEN, ENTRY).map("".join), max_size=2).map("".join),
    st.sampled_from(["", "\n", "\n\n", "\n# e", "\n# e\n", "\n...\n"]),
).map("".join)


def slowly(text):
    try:
        if yaml11._UNCERTAIN.search(text):
            return None
        return yaml11._read_any(text)
    except InvalidInputError:
        return None


def is_same(one, other):
    # `1 == True == 1.0`, and `.nan` is not itself: the spelling tells them apart. Order counts too.
    return repr(one) == repr(other)


@given(text=TEXT)
def test_any_text_means_the_same_with_and_without_a_scanner(text):
    found = read_block(text)
    assert found is None or is_same(found, slowly(text))


@pytest.mark.parametrize("case", VECTORS, ids=[case["name"] for case in VECTORS])
def test_vector_means_the_same_with_and_without_a_scanner(case):
    found = read_block(case["text"])
    assert found is None or is_same(found, slowly(case["text"]))


TEXT_VALUE = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)


@given(entries=st.dictionaries(st.from_regex(r"\A[a-z]{1,8}\Z"), TEXT_VALUE, min_size=1, max_size=4))
def test_what_we_write_is_read_without_a_scanner(entries):
    text = "".join(f"k_{name}: {format_scalar(value)}\n" for name, value in entries.items())
    assert read_block(text) == {f"k_{name}": value for name, value in entries.items()}


@pytest.mark.parametrize("folder", ["airflow3", "airflow2"])
def test_real_export_is_read_without_a_scanner_and_means_the_same(folder):
    text = (TESTS / "data" / folder / "connections.yaml").read_text()
    found = read_block(text)
    assert found is not None
    assert len(found) == 60
    assert is_same(found, slowly(text))


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("a b", "a b"),
        ("a:b#c", "a:b#c"),
        ("one\n    two\n\n    three", "one two\nthree"),
        ("'it''s'", "it's"),
        ("'one  \n\n\n     two '", "one\n\ntwo "),
        (r'"\x41\u00e9\U0001F511\n\e"', "Aé🔑\n\x1b"),
        ('"one \\\n    \\  two\n   three"', "one   two three"),
        ("0x1F", 31),
        ("-5", -5),
        ("~", None),
        ("yes", True),
        ("::1", "::1"),
    ],
)
def test_value_is_read_without_a_scanner(value, read):
    assert read_block(f"a:\n  b: {value}\nc: {value}") == {"a": {"b": read}, "c": read}
    assert parse_yaml(f"a:\n  b: {value}\nc: {value}") == {"a": {"b": read}, "c": read}


def test_empty_lines_and_comments_between_entries_are_skipped():
    text = "\n# one: 1\n---\n\na:\n\n  # two\n  b: c\n# three\n  d: e\n \nf: g\n\n# four\n"
    assert read_block(text) == slowly(text) == {"a": {"b": "c", "d": "e"}, "f": "g"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a:",
        "a:\nb: c",
        "a: b\na: c",
        "a: b\n  c: d",
        "a:\n  b:",
        "a:\n    b: c",
        "  a: b",
        "a: [b]",
        "a: &b c",
        "a: !!str b",
        "a: |\n  b",
        "a: b # c",
        "a: b ",
        "a:  b",
        "a: b: c",
        "a: b\n---\nc: d",
        "---\n---\na: b",
        "a: b\n# c\n  d",
        "1: a",
        "no: a",
        "<<: a",
        "--- \na: b",
        "a: 'b\nc'",
        "a: 'b\n  \n  c'",
        'a: "\\ud83d"',
        'a: "\\q"',
        "a: 0b_",
        "a: \tb",
        "a: b\r\n",
        "\ufeffa: b",
        "n" * 201 + ": a",
    ],
)
def test_everything_else_is_left_to_the_scanner(text):
    assert read_block(text) is None


@pytest.mark.parametrize("unit", [" ", ":", "a ", "\n ", "''", '\\"', "\\\n ", "a\n   ", "\n#"])
@pytest.mark.parametrize("start", ["a: ", "a: '", 'a: "', "", "'"])
def test_hostile_repetition_is_left_without_going_over_it_again(start, unit):
    # A second look at every character would take minutes here.
    assert read_block(start + unit * 300_000 + "\n%") is None
