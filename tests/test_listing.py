"""The inventory of several backends as one list, a page at a time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from strongroom.backend import Backend
from strongroom.chain import Chain, Link
from strongroom.listing import merged, not_listable
from strongroom.model.ref import Ref
from strongroom.testing.fakes import Flaky, Memory, Slow, frozen_clock


def variables(*names, team=None):
    return {Ref("variable", name, team): "x" for name in names}


def chain(*links) -> Chain:
    return Chain([one if isinstance(one, Link) else Link(backend=one) for one in links], clock=frozen_clock)


def told(page):
    return [
        (line.ref.name, line.summary.backend, [below.backend for below in line.shadowed])
        for line in page.lines
    ]


def test_names_come_in_order_with_the_backend_that_answers_first():
    asked = chain(
        Memory("first", variables("b", "d")), Memory("second", variables("a", "b", "e")), Memory("third")
    )
    assert told(merged(asked, "variable")) == [
        ("a", "second", []),
        ("b", "first", ["second"]),
        ("d", "first", []),
        ("e", "second", []),
    ]


def test_a_page_ends_at_its_limit_and_the_next_goes_on_after_it():
    asked = chain(Memory("first", variables("a", "c")), Memory("second", variables("a", "b")))
    page = merged(asked, "variable", limit=2)
    assert [line.ref.name for line in page.lines] == ["a", "b"]
    rest = merged(asked, "variable", after="b", limit=2)
    assert [line.ref.name for line in rest.lines] == ["c"]


def test_only_the_kind_team_and_prefix_asked_for_are_listed():
    entries = {
        **variables("ax", "ay", "b"),
        **variables("ax", team="data"),
        Ref("connection", "ax"): "{}",
    }
    asked = chain(Memory("first", entries))
    assert [line.ref.name for line in merged(asked, "variable", prefix="a").lines] == ["ax", "ay"]
    assert [line.ref for line in merged(asked, "variable", team="data").lines] == [
        Ref("variable", "ax", "data")
    ]


def test_a_backend_is_listed_only_for_names_it_is_asked_for():
    first = Link(backend=Memory("first", variables("prod/a", "other")), match=("prod/*",))
    asked = chain(first, Memory("second", variables("other")))
    assert told(merged(asked, "variable")) == [("other", "second", []), ("prod/a", "first", [])]


def test_trouble_in_one_backend_is_told_and_the_others_are_listed():
    flaky = Flaky("vault", variables("a"))
    flaky.fail()
    page = merged(chain(flaky, Memory("native", variables("a", "b"))), "variable")
    assert [name for name, _, _ in told(page)] == ["a", "b"]
    assert [backend for backend, _ in page.trouble] == ["vault"]


def test_a_backend_that_lists_out_of_order_is_in_trouble_and_ends():
    class Backwards(Memory):
        def list(self, kind, **asked):
            return super().list(kind, **asked)[::-1]

    page = merged(chain(Backwards("odd", variables("a", "b")), Memory("native", variables("c"))), "variable")
    assert page.trouble[0][0] == "odd"
    assert "c" in [name for name, _, _ in told(page)]


def test_a_backend_that_leaves_the_machine_is_listed_on_its_own_threads():
    far = Slow("far", variables("a"))
    far.is_local = False
    assert told(merged(chain(far), "variable")) == [("a", "far", [])]


def test_backends_that_cannot_list_are_named():
    class Silent(Backend):
        name = "silent"
        is_local = True

        def read(self, ref):
            return None

    asked = chain(Silent(), Memory("native", variables("a")))
    assert not_listable(asked) == ("silent",)
    assert told(merged(asked, "variable")) == [("a", "native", [])]


NAMES = st.sets(st.text("abc", min_size=1, max_size=3), max_size=12)


@given(st.lists(NAMES, max_size=4), st.integers(1, 5))
def test_pages_together_are_the_whole_in_order_each_name_once(held, limit):
    asked = chain(*(Memory(str(index), variables(*names)) for index, names in enumerate(held)))
    after, seen = "", []
    while lines := merged(asked, "variable", after=after, limit=limit).lines:
        assert len(lines) <= limit
        seen += [(line.ref.name, line.summary.backend, len(line.shadowed)) for line in lines]
        after = lines[-1].ref.name
    expected = [
        (
            name,
            next(str(index) for index, names in enumerate(held) if name in names),
            sum(name in names for names in held) - 1,
        )
        for name in sorted(set().union(*held))
    ]
    assert seen == expected
