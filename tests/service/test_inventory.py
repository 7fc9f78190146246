from __future__ import annotations

import pytest

from strongroom.backends.env import Env, EnvOptions
from strongroom.chain import Link
from strongroom.errors import BackendUnavailableError
from strongroom.model.ref import Ref
from strongroom.testing.fakes import Flaky, Memory, frozen_clock


def held(*names: str, kind: str = "variable", team: str | None = None) -> dict[Ref, str]:
    return {Ref(kind, name, team): "x" for name in names}


def names(rows) -> list[str]:
    return [row.ref.name for row in rows]


def test_backends_are_merged_by_name_and_the_first_answers(house):
    room = house.room(Memory("upper", held("a", "c")), Memory("lower", held("a", "b", "d")))
    rows = room.inventory.page("variable")
    assert [(row.ref.name, row.backend, row.shadowed) for row in rows] == [
        ("a", "upper", ("lower",)),
        ("b", "lower", ()),
        ("c", "upper", ()),
        ("d", "lower", ()),
    ]
    assert house.records() == []


def test_pages_follow_each_other_across_kinds(house):
    entries = {**held("a", "b"), **held("x", "y", kind="connection"), **held("z", kind="config")}
    room = house.room(Memory("native", entries))
    seen, after = [], None
    while page := room.inventory.page(after=after, limit=2):
        assert len(page) <= 2
        seen += [(row.ref.kind, row.ref.name) for row in page]
        after = page[-1].ref
    assert seen == [
        ("config", "z"),
        ("connection", "x"),
        ("connection", "y"),
        ("variable", "a"),
        ("variable", "b"),
    ]


def test_a_long_listing_is_fetched_a_page_at_a_time(house):
    native = Memory("native", held(*(f"n{number:05}" for number in range(2500))))
    room = house.room(native)
    assert len(room.inventory.page("variable", limit=10_000)) == 2500
    native.calls.clear()
    room.inventory.page("variable", limit=10)
    assert len(native.calls) == 1


def test_prefix_and_team_choose(house):
    room = house.room(Memory("native", {**held("ab", "ac", "b"), **held("ad", team="data")}))
    assert names(room.inventory.page("variable", prefix="a")) == ["ab", "ac"]
    assert names(room.inventory.page("variable", team="data")) == ["ad"]


def test_a_backend_that_is_not_asked_for_a_name_does_not_list_it(house):
    room = house.room(Link(backend=Memory("native", held("a", "b")), match=("a*",)))
    assert names(room.inventory.page()) == ["a"]


def test_a_backend_that_cannot_list_is_named(house):
    class ReadOnly:
        name = "vault"
        is_local = True

        def read(self, _ref):
            return None

        def close(self):
            pass

    room = house.room(ReadOnly(), Memory("native", held("a")))
    assert room.inventory.not_listable == ("vault",)
    assert names(room.inventory.page()) == ["a"]


def test_a_backend_that_is_down_is_an_error_and_not_a_shorter_list(house):
    native = Flaky("native", held("a"))
    native.fail()
    with pytest.raises(BackendUnavailableError):
        house.room(native).inventory.page()


def test_whoever_listens_is_told_which_backend_is_down_and_gets_the_rest(house):
    native = Flaky("native", held("a"))
    native.fail()
    room = house.room(native, Memory("lower", held("b")))
    trouble = {}
    rows = room.inventory.page("variable", on_trouble=trouble.__setitem__)
    assert names(rows) == ["b"]
    assert {name: type(error) for name, error in trouble.items()} == {"native": BackendUnavailableError}


def test_clashes_pass_over_a_backend_that_is_down(house):
    native = Flaky("native", held("a"))
    native.fail()
    assert house.room(native).inventory.clashes() == []


def test_names_that_the_environment_cannot_tell_apart_clash(house):
    env = Env("env", EnvOptions(), {"AIRFLOW_VAR_REGION": "eu"}, frozen_clock)
    room = house.room(env, Memory("native", held("region", "Region", "other")))
    (clash,) = room.inventory.clashes()
    assert (clash.backend, clash.spelling) == ("env", "AIRFLOW_VAR_REGION")
    assert {ref.name for ref in clash.refs} == {"region", "Region"}


def test_without_two_spellings_nothing_clashes(house):
    env = Env("env", EnvOptions(), {"AIRFLOW_VAR_REGION": "eu"}, frozen_clock)
    assert house.room(env, Memory("native", held("region"))).inventory.clashes() == []
