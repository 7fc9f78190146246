"""Lines by what they say: bitmaps, words and orders after any changes."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from strongroom.service import facets
from strongroom.service.facets import Facets, mask_of, slots_in


class Line(NamedTuple):
    name: str
    owner: str
    tags: tuple[str, ...]


LINES = st.builds(
    Line,
    st.sampled_from([f"n{number}" for number in range(9)]),
    st.sampled_from(["", "ada", "mei"]),
    st.lists(st.sampled_from(["pci", "eu"]), unique=True, max_size=2).map(tuple),
)


def made():
    return Facets(
        {"owner": lambda line: (line.owner,), "tag": lambda line: line.tags},
        lambda line: f"{line.name} {' '.join(f'#{tag}' for tag in line.tags)}",
        lambda line: (line.name,),
        {"owner": lambda line: line.owner},
    )


def names(found, mask, order="name", **more):
    return [found.lines[slot].name for slot in found.page(mask, order, 0, 100, **more)]


@given(st.lists(LINES, max_size=9, unique_by=lambda line: line.name), st.lists(LINES, max_size=20), st.data())
def test_every_answer_is_that_of_all_lines_looked_through_after_any_changes(start, changes, data):
    found, held = made(), {line.name: line for line in start}
    found.fill(start)
    slots = {line.name: slot for slot, line in enumerate(start)}
    draft = found.drafted("owner") if data.draw(st.booleans()) else None
    if draft is None:
        found.order("owner")  # kept while lines change; the order of names is made after
        assert found.drafted("owner") is None
    for line in changes:
        if line.name not in held:
            slots[line.name] = found.add(line)
        elif data.draw(st.booleans()):
            found.change(slots[line.name], line)
        else:
            found.remove(slots.pop(line.name))
            del held[line.name]
            continue
        held[line.name] = line
    if draft is not None:  # made aside of the lines as they were, and put right
        found.keep("owner", draft(lambda: None))
    lines = list(held.values())
    assert len(found) == len(lines)
    assert names(found, found.alive) == sorted(held)
    assert names(found, found.having("tag", "pci")) == sorted(one.name for one in lines if "pci" in one.tags)
    assert names(found, found.containing("#eu")) == sorted(one.name for one in lines if "eu" in one.tags)
    by_owner = sorted(lines, key=lambda one: (one.owner, one.name))
    assert names(found, found.alive, "owner") == [one.name for one in by_owner]
    assert names(found, found.alive, "owner", is_down=True) == [one.name for one in by_owner][::-1]
    counts = {value: count for value, count in found.counts("owner", found.alive).items() if count}
    assert counts == {
        owner: sum(one.owner == owner for one in lines) for owner in {one.owner for one in lines}
    }


@given(st.sets(st.integers(0, 200)))
def test_a_set_of_slots_is_given_back_as_it_was(slots):
    flags = bytearray(201)
    for slot in slots:
        flags[slot] = 1
    assert list(slots_in(mask_of(bytes(flags)))) == sorted(slots)


def test_values_beyond_the_bitmaps_are_still_found():
    found = made()
    count = facets._MOST_VALUES + 5
    found.fill([Line(f"n{number:04}", f"owner {number}", ()) for number in range(count)])
    assert len(found.counts("owner", found.alive)) == facets._MOST_VALUES
    assert names(found, found.having("owner", f"owner {count - 1}")) == [f"n{count - 1:04}"]
    assert found.having("owner", "nobody else") == 0


def test_a_page_begins_where_it_is_asked_to():
    found = made()
    found.fill([Line(f"n{number}", "ada" if number % 2 else "", ()) for number in range(9)])
    ada = found.having("owner", "ada")
    assert [found.lines[slot].name for slot in found.page(ada, "name", 1, 2)] == ["n3", "n5"]
    assert found.page(ada, "name", 4, 2) == []
    assert [found.lines[slot].name for slot in found.page(found.alive, "name", 7, 5)] == ["n7", "n8"]
