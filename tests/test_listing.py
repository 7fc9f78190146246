"""The inventory of several backends as one list, a page at a time."""

from __future__ import annotations

import threading
from datetime import timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.backend import Backend
from strongroom.chain import Chain, Link
from strongroom.errors import BackendUnavailableError
from strongroom.listing import Listing, not_listable
from strongroom.model.ref import Ref
from strongroom.testing.fakes import Flaky, Memory, Slow, frozen_clock


def variables(*names, team=None):
    return {Ref("variable", name, team): "x" for name in names}


def chain(*links) -> Chain:
    return Chain([one if isinstance(one, Link) else Link(backend=one) for one in links], clock=frozen_clock)


def told(chain, after="", **asked):
    return [
        (line.ref.name, line.summary.backend, [below.backend for below in line.shadowed])
        for line in Listing(chain, "variable", **asked).after(after)
    ]


def names(chain, after="", **asked):
    return [name for name, _, _ in told(chain, after, **asked)]


def test_names_come_in_order_with_the_backend_that_answers_first():
    asked = chain(
        Memory("first", variables("b", "d")), Memory("second", variables("a", "b", "e")), Memory("third")
    )
    assert told(asked) == [
        ("a", "second", []),
        ("b", "first", ["second"]),
        ("d", "first", []),
        ("e", "second", []),
    ]


def test_a_listing_goes_on_after_a_name():
    asked = chain(Memory("first", variables("a", "c")), Memory("second", variables("a", "b")))
    assert names(asked, after="a") == ["b", "c"]
    assert names(asked, after="b") == ["c"]


def test_a_backend_is_asked_only_as_far_as_somebody_reads_on():
    backend = Memory("first", variables(*"abcdef"))
    lines = Listing(chain(backend), "variable", page=2).after()
    assert [line.ref.name for line in islice(lines, 2)] == ["a", "b"]
    # One page more than was read, to see that the last name does not come again.
    assert backend.calls == [("list", None)] * 2


def test_only_the_kind_team_and_prefix_asked_for_are_listed():
    entries = {
        **variables("ax", "ay", "b"),
        **variables("ax", team="data"),
        Ref("connection", "ax"): "{}",
    }
    asked = chain(Memory("first", entries))
    assert names(asked, prefix="a") == ["ax", "ay"]
    (line,) = Listing(asked, "variable", team="data").after()
    assert line.ref == Ref("variable", "ax", "data")


def test_a_backend_is_listed_only_for_names_it_is_asked_for():
    first = Link(backend=Memory("first", variables("prod/a", "other")), match=("prod/*",))
    assert told(chain(first, Memory("second", variables("other")))) == [
        ("other", "second", []),
        ("prod/a", "first", []),
    ]


def test_trouble_in_one_backend_is_raised():
    flaky = Flaky("vault", variables("a"))
    flaky.fail()
    with pytest.raises(BackendUnavailableError):
        names(chain(flaky, Memory("native", variables("b"))))


def test_trouble_may_be_told_instead_and_the_others_are_listed():
    flaky, trouble = Flaky("vault", variables("a")), []
    flaky.fail()
    asked = chain(flaky, Memory("native", variables("a", "b")))
    assert names(asked, on_trouble=lambda name, error: trouble.append((name, error.code))) == ["a", "b"]
    assert trouble == [("vault", "backend_unavailable")]


def test_a_backend_that_lists_out_of_order_is_in_trouble():
    class Backwards(Memory):
        def list(self, kind, **asked):
            return super().list(kind, **asked)[::-1]

    with pytest.raises(BackendUnavailableError):
        names(chain(Backwards("odd", variables("a", "b"))))


def test_a_backend_that_never_ends_is_in_trouble():
    class Endless(Memory):
        def list(self, kind, **asked):
            return super().list(kind, **(asked | {"after": ""}))

    with pytest.raises(BackendUnavailableError):
        names(chain(Endless("odd", variables("a", "b"))), page=2)


def test_a_backend_that_leaves_the_machine_is_listed_on_its_own_threads():
    far = Slow("far", variables("a"))
    far.is_local = False
    assert told(chain(far)) == [("a", "far", [])]


def test_backends_that_cannot_list_are_named():
    class Silent(Backend):
        name = "silent"
        is_local = True

        def read(self, ref):
            return None

    asked = chain(Silent(), Memory("native", variables("a")))
    assert not_listable(asked) == ("silent",)
    assert told(asked) == [("a", "native", [])]


NAMES = st.sets(st.text("abc", min_size=1, max_size=3), max_size=12)


@given(st.lists(NAMES, max_size=4), st.integers(1, 5), st.integers(1, 5))
def test_pages_together_are_the_whole_in_order_each_name_once(held, limit, page):
    asked = chain(*(Memory(str(index), variables(*some)) for index, some in enumerate(held)))
    after, seen = "", []
    while lines := list(islice(Listing(asked, "variable", page=page).after(after), limit)):
        seen += [(line.ref.name, line.summary.backend, len(line.shadowed)) for line in lines]
        after = lines[-1].ref.name
    expected = [
        (
            name,
            next(str(index) for index, some in enumerate(held) if name in some),
            sum(name in some for some in held) - 1,
        )
        for name in sorted(set().union(*held))
    ]
    assert seen == expected


def test_backend_that_gives_no_answer_in_time_is_passed_over_and_the_rest_is_listed():
    far, trouble = Slow("far", variables("a")), []
    far.is_local = False
    far.hold()
    asked = chain(Link(backend=far, timeout=timedelta(milliseconds=50)), Memory("native", variables("b")))
    try:
        assert names(asked, on_trouble=lambda name, error: trouble.append((name, error.code))) == ["b"]
    finally:
        far.release()
    assert trouble == [("far", "backend_unavailable")]


def test_backend_that_fails_between_two_pages_is_told_of_and_the_rest_goes_on():
    class Breaking(Memory):
        def list(self, kind, **asked):
            if asked["after"]:
                raise BackendUnavailableError("gone", backend=self.name)
            return super().list(kind, **asked)

    trouble = []
    asked = chain(Breaking("far", variables(*"abcd")), Memory("native", variables("b", "e")))
    found = names(asked, page=2, on_trouble=lambda name, _: trouble.append(name))
    assert found == ["a", "b", "e"]
    assert trouble == ["far"]


def test_backend_that_folds_names_is_not_asked_again_once_it_is_silent():
    class Folded(Flaky):
        def spell(self, ref):
            return ref.name.upper()

        def folded(self, ref):
            raise AssertionError("asked again")

    folded, trouble = Folded("dotenv", variables("a")), []
    folded.fail()
    found = names(
        chain(folded, Memory("native", variables("A"))), on_trouble=lambda *told: trouble.append(told)
    )
    assert found == ["A"]
    assert len(trouble) == 1


def test_backends_that_leave_the_machine_are_waited_for_together():
    far = [Slow(name, variables(name)) for name in "abc"]
    for one in far:
        one.is_local = False
        one.hold()
    asked = chain(*far, Memory("native", variables("n")))
    found = []
    reader = threading.Thread(target=lambda: found.extend(names(asked)))
    reader.start()
    try:
        assert all([one.wait_until_asked() for one in far])  # noqa: C419 -- each is waited for
    finally:
        for one in far:
            one.release()
    reader.join(10)
    assert found == ["a", "b", "c", "n"]


def test_trouble_of_backends_that_were_asked_together_is_told_of_each():
    far, trouble = [Flaky(name, variables(name)) for name in "abc"], []
    for one in far:
        one.is_local = False
    far[0].fail()
    far[2].fail()
    assert names(chain(*far), on_trouble=lambda name, _: trouble.append(name)) == ["b"]
    assert trouble == ["a", "c"]


def test_backend_is_not_listed_for_a_kind_it_is_not_asked_for():
    backend = Memory("native", variables("a"))
    assert names(chain(Link(backend=backend, kinds=("connection",)))) == []
    assert backend.calls == []
