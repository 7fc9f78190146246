"""Names of a store that lists without order: asked for whole, once, and given in order a page at a time."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import BackendUnavailableError
from strongroom.vendors.index import NameIndex, NameIndexes


class Counting:
    def __init__(self, names):
        self.names = names
        self.asked = 0
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self):
        self.asked += 1
        self.gate.wait(10)
        return list(self.names)


@given(
    st.sets(st.text("ab/é#", max_size=4)),
    st.text("ab", max_size=2),
    st.text("ab", max_size=2),
    st.integers(1, 4),
)
def test_page_is_what_sorting_and_cutting_all_of_them_gives(names, prefix, after, limit):
    index = NameIndex(lambda: list(names) * 2)
    wanted = [name for name in sorted(names) if name.startswith(prefix) and (not after or name > after)]
    assert index.names(prefix=prefix, after=after, limit=limit) == wanted[:limit]


def test_listing_serves_for_a_while_and_is_asked_for_anew_after_a_change():
    fetch, now = Counting(["b", "a"]), [0.0]
    index = NameIndex(fetch, timer=lambda: now[0])
    assert index.names(limit=1) == ["a"]
    assert index.names(after="a") == ["b"]
    assert fetch.asked == 1
    fetch.names = ["c"]
    index.forget()
    assert index.names() == ["c"]
    now[0] = 10.0
    assert index.names() == ["c"]
    assert fetch.asked == 3


def test_those_who_come_together_wait_for_one_listing():
    fetch = Counting(["a"])
    fetch.gate.clear()
    index = NameIndex(fetch)
    with ThreadPoolExecutor(8) as pool:
        told = [pool.submit(index.names) for _ in range(8)]
        fetch.gate.set()
        assert {tuple(one.result()) for one in told} == {("a",)}
    assert fetch.asked == 1


def test_failure_is_told_and_not_kept():
    answers = [BackendUnavailableError("no", backend="x"), None]

    def fetch():
        error = answers.pop(0)
        if error is not None:
            raise error
        return ["a"]

    index = NameIndex(fetch)
    with pytest.raises(BackendUnavailableError):
        index.names()
    assert index.names() == ["a"]


def test_what_was_asked_before_a_change_is_not_kept_after_it():
    fetch = Counting(["old"])
    fetch.gate.clear()
    index = NameIndex(fetch)
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(index.names)
        while not fetch.asked:
            os.sched_yield()
        index.forget()
        fetch.names = ["new"]
        fetch.gate.set()
        told.result()
    assert index.names() == ["new"]
    assert fetch.asked == 2


def test_a_change_at_the_moment_a_listing_ends_is_not_forgotten():
    fetch, changes = Counting(["old"]), [1]

    def timer():
        if fetch.asked and changes:  # somebody writes while the answer is put away
            changes.pop()
            fetch.names = ["new"]
            index.forget()
        return 0.0

    index = NameIndex(fetch, timer=timer)
    assert index.names() == ["old"]
    assert index.names() == ["new"]


def test_each_kind_and_team_is_listed_for_itself_and_all_are_asked_anew_after_a_change():
    asked = []

    def fetch(kind, team):
        asked.append((kind, team))
        return [f"{team or 'all'}-{kind}"]

    indexes = NameIndexes(fetch)
    for _ in range(2):
        assert indexes.names("variable") == ["all-variable"]
        assert indexes.names("variable", "data", prefix="data") == ["data-variable"]
        assert indexes.names("connection", after="all-d") == []
    wanted = [("variable", None), ("variable", "data"), ("connection", None)]
    assert asked == wanted
    indexes.forget()
    assert indexes.names("variable", "data") == ["data-variable"]
    assert asked == [*wanted, ("variable", "data")]
