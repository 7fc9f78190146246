"""Lists kept in order: what changes is moved, and what cannot be kept is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.entry import Outline
from strongroom.service.ordered import Way, _whole
from strongroom.service.shelf import Rank, Shelf

COLUMNS = ("name", "changed_at", "conn_type", "description", "backend")
WORDS = st.none() | st.sampled_from(["", "a", "b"])
OUTLINES = st.builds(
    lambda name, changed, kind, text: Outline(name, changed, kind, text, None),
    st.sampled_from([f"n{number}" for number in range(8)]),
    st.none() | st.integers(0, 3),
    WORDS,
    WORDS,
)
FOUND = st.tuples(st.sampled_from(["x", "y"]), OUTLINES)
CHANGES = st.lists(st.tuples(st.booleans(), FOUND), max_size=20)


def rank_of(column, found):
    backend, outline = found
    if column == "changed_at":
        return (outline.changed_at or 0, outline.name)
    if column == "name":
        return ("", outline.name)
    said = backend if column == "backend" else getattr(outline, column)
    return ("" if said is None else f"={said}", outline.name)


@given(st.lists(FOUND, max_size=8), CHANGES, st.data())
def test_every_order_is_that_of_all_names_sorted_after_any_changes(start, changes, data):
    held = {found[1].name: found for found in start}
    kept = Shelf([held[name] for name in sorted(held)])
    kept.order("changed_at")  # made before the changes, the others after them
    for is_there, found in changes:
        name = found[1].name
        held.pop(name, None)
        if is_there:
            held[name] = found
        kept.put(name, found if is_there else None)
    column, is_down = data.draw(st.sampled_from(COLUMNS)), data.draw(st.booleans())
    expected = sorted((rank_of(column, found) for found in held.values()), reverse=is_down)
    key = kept.key(column)
    assert [key(slot) for slot in kept.slots(column, is_down=is_down)] == expected
    if expected:
        after, is_with = data.draw(st.sampled_from(expected)), data.draw(st.booleans())
        slots = kept.slots(column, is_down=is_down, after=Rank(*after), is_with=is_with)
        assert [key(slot) for slot in slots] == expected[expected.index(after) + (not is_with) :]


def test_what_has_an_end_is_told_when_that_has_come():
    kept = Shelf([("x", Outline("a", 1, None, None, 100)), ("x", Outline("b", 1, None, None, None))])
    assert kept.ended(99) == []
    assert kept.ended(100) == ["a"]
    kept.put("a", None)
    assert kept.ended(100) == []
    assert len(kept) == 1


def test_more_names_than_are_kept_are_refused():
    with pytest.raises(InvalidInputError) as caught:
        Shelf([("x", Outline(f"n{number}", 1, None, None, None)) for number in range(4)], most=3)
    assert caught.value.limit == 3


@pytest.mark.parametrize(
    ("ways", "whole"),
    [
        ([Way("name"), Way("conn_type")], (Way("name"),)),
        ([Way("conn_type", True)], (Way("conn_type", True),)),
        ([Way("conn_type"), Way("name")], (Way("conn_type"),)),
        ([Way("conn_type"), Way("name", True)], (Way("conn_type"), Way("name", True))),
        (
            [Way("conn_type"), Way("description", True)],
            (Way("conn_type"), Way("description", True), Way("name")),
        ),
    ],
)
def test_nothing_after_the_name_counts(ways, whole):
    assert _whole(ways) == whole
