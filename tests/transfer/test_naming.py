"""The table of names to change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.ref import Ref
from strongroom.transfer.naming import names_to_change, places_to_change, rename_all


def places(names):
    return {name: (None, name) for name in names}


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("a\\b", "a_b"),
        ("a\nb", "a_b"),
        ("line\n", "line"),
        ("/abs", "abs"),
        ("a//b", "a/b"),
        ("a/../b", "a/b"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("zero\u200bwidth", "zerowidth"),
        ("\u202eevil", "evil"),
        ("x" * 300, "x" * 250),
    ],
)
def test_name_gets_the_nearest_legal_one(name, suggestion):
    (row,) = names_to_change([name, "fine"])
    assert (row.name, row.suggestion) == (name, suggestion)
    assert row.reason


def test_suggestions_never_meet_each_other_or_the_rest():
    rows = names_to_change(["a_b", "a\\b", "a\nb", "", ".."])
    assert [row.suggestion for row in rows] == ["a_b_2", "a_b_3", "unnamed", "unnamed_2"]


def test_names_that_are_one_when_normalised_are_told():
    (row,) = names_to_change(["caf\u00e9", "cafe\u0301"])
    assert (row.name, row.suggestion) == ("cafe\u0301", "café_2")


def test_legal_names_stay_out_of_the_table():
    assert names_to_change(["a", "a b", "a:b#%*", "a/b", "é"]) == ()


@given(st.lists(st.text(max_size=20), max_size=6, unique=True))
def test_every_suggestion_is_legal_and_free(names):
    rows = names_to_change(names)
    for row in rows:
        Ref("variable", row.suggestion)
    renamed = rename_all(places(names), {row.name: row.suggestion for row in rows})
    assert places_to_change(renamed) == ()


def test_rename_of_what_is_not_there_is_refused():
    with pytest.raises(InvalidInputError):
        rename_all(places(["a"]), {"b": "c"})


def test_rename_that_makes_one_of_two_is_refused():
    with pytest.raises(InvalidInputError):
        rename_all(places(["a", "b"]), {"a": "b"})


def test_one_name_of_two_teams_is_no_clash():
    both = {"_a___x": ("a", "x"), "_b___x": ("b", "x"), "_b___y\\": ("b", "y\\")}
    assert [(row.name, row.suggestion) for row in places_to_change(both)] == [("_b___y\\", "y_")]
    assert rename_all(both, {"_b___x": "z"})["_b___x"] == ("b", "z")


def test_rename_that_makes_one_of_two_of_a_team_is_refused():
    with pytest.raises(InvalidInputError):
        rename_all({"x": ("a", "x"), "_a___y": ("a", "y")}, {"_a___y": "x"})
