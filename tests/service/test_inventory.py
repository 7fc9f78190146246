from __future__ import annotations

from datetime import timedelta

import pytest

from strongroom.backends.env import Env, EnvOptions
from strongroom.backends.file import File, FileOptions
from strongroom.chain import Link
from strongroom.errors import BackendUnavailableError, InvalidInputError
from strongroom.model.entry import EntryState, Metadata, Summary
from strongroom.model.ref import Ref
from strongroom.service.inventory import Choice, Counts
from strongroom.testing.fakes import Denying, Flaky, Memory, frozen_clock, utc_now


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


def test_an_entry_that_answers_for_several_names_counts_once(house):
    env = Env("env", EnvOptions(), {"AIRFLOW_VAR_X": "1", "AIRFLOW_VAR_Y": "1"}, house.clock)
    inventory = house.room(env, Memory("native", held("x", "X"))).inventory
    tally = inventory.tally()
    assert sum(len(page) for page in inventory.pages(tally=tally)) == 3
    assert tally.entries == {"env": 2, "native": 2}


def test_without_two_spellings_nothing_clashes(house):
    env = Env("env", EnvOptions(), {"AIRFLOW_VAR_REGION": "eu"}, frozen_clock)
    assert house.room(env, Memory("native", held("region"))).inventory.clashes() == []


# --- states --------------------------------------------------------------------------------------


def connections(**texts: str) -> dict[Ref, str]:
    return {Ref("connection", name): text for name, text in texts.items()}


def test_rows_tell_type_state_and_problem(house):
    room = house.room(Memory("native", connections(good="http://h", bad="postgres://h:port/db")))
    bad, good = room.inventory.page("connection")
    assert (good.metadata.conn_type, good.state, good.problem, good.is_readable) == (
        "http",
        EntryState.OK,
        "",
        True,
    )
    assert (bad.metadata.conn_type, bad.state, bad.is_readable) == (None, EntryState.UNPARSABLE, False)
    assert bad.problem == "the port is not a whole number from 0 to 65535 (R8)"


def test_entry_is_expired_from_its_not_after_on(house):
    native = Memory("native", clock=house.clock)
    native.put(Ref("variable", "a"), "x", Metadata(not_after=house.clock() + timedelta(days=1)))
    room = house.room(native)
    assert room.inventory.page()[0].state is EntryState.OK
    house.clock.advance(days=1)
    (row,) = room.inventory.page()
    assert (row.state, row.problem) == (EntryState.EXPIRED, "past its not_after")


def test_date_of_an_entry_that_does_not_parse_does_not_hide_why(house):
    native = Memory("native", clock=house.clock)
    native.put(Ref("connection", "a"), "broken", Metadata(not_after=house.clock()))
    (row,) = house.room(native).inventory.page()
    assert row.state is EntryState.UNPARSABLE


def test_text_with_references_is_not_judged_before_they_are_resolved(house):
    text = '{"conn_type": "http", "port": "${variable/port}"}'
    link = Link(backend=Memory("native", connections(a=text)), references=True)
    (row,) = house.room(link).inventory.page()
    assert (row.state, row.problem) == (EntryState.UNKNOWN, "")


class NamesOnly:
    """A place that tells its names, and would have to be asked for each value."""

    name = "far"
    is_local = True

    def read(self, _ref):
        raise AssertionError("a listing reads nothing")

    def list(self, kind, *, team=None, prefix="", after="", limit=1000):
        found = [Ref(kind, name, team) for name in ("a", "b") if kind == "connection" and name > after]
        return [Summary(ref=ref, backend=self.name) for ref in found]

    def close(self):
        pass


def test_what_nobody_looked_at_is_told_apart_from_what_is_well_and_is_no_problem(house):
    near = Memory("near", connections(a="http://h"))
    inventory = house.room(near, NamesOnly()).inventory
    rows = [row for page in inventory.pages(choice=Choice(with_shadowed=True)) for row in page]
    assert [(row.ref.name, row.backend, row.state) for row in rows] == [
        ("a", "near", EntryState.OK),
        ("a", "far", EntryState.UNKNOWN),
        ("b", "far", EntryState.UNKNOWN),
    ]
    assert all(row.is_readable for row in rows)
    assert inventory.counts().unreadable == 0
    assert list(inventory.pages(choice=Choice(only_problems=True))) == []


# --- what answers --------------------------------------------------------------------------------


def test_name_an_environment_answers_under_another_spelling_is_shadowed_by_it(house):
    env = Env("env", EnvOptions(), {"AIRFLOW_CONN_ORDERS_DB": "http://h"}, frozen_clock)
    room = house.room(env, Memory("native", connections(Orders_DB="ftp://h", other="ftp://h")))
    assert [(row.ref.name, row.backend, row.shadowed) for row in room.inventory.page()] == [
        ("Orders_DB", "env", ("native",)),
        ("orders_db", "env", ()),
        ("other", "native", ()),
    ]
    for row in room.inventory.page():
        assert room.lookup.explain(row.ref).backend == row.backend


def test_environment_below_is_shadowed_under_another_spelling(house):
    env = Env("env", EnvOptions(), {"AIRFLOW_VAR_REGION": "eu"}, frozen_clock)
    room = house.room(Memory("upper", held("Region")), env)
    assert [(row.ref.name, row.backend, row.shadowed) for row in room.inventory.page()] == [
        ("Region", "upper", ("env",)),
        ("region", "env", ()),
    ]


def test_global_entry_of_a_higher_backend_shadows_a_teams_own(house):
    upper, lower = Memory("upper", held("a")), Memory("lower", {**held("a", "b", team="data"), **held("c")})
    room = house.room(upper, lower)
    rows = room.inventory.page(team="data")
    assert [(row.ref, row.backend, row.shadowed) for row in rows] == [
        (Ref("variable", "a", "data"), "upper", ("lower",)),
        (Ref("variable", "b", "data"), "lower", ()),
    ]
    for row in rows:
        assert room.lookup.explain(row.ref).backend == row.backend


def test_without_team_fallback_a_global_entry_shadows_no_teams_own(house):
    upper = Link(backend=Memory("upper", held("a")), team_fallback=False)
    (row,) = house.room(upper, Memory("lower", held("a", team="data"))).inventory.page(team="data")
    assert (row.backend, row.shadowed) == ("lower", ())


def test_teams_own_entry_hides_nothing_that_is_everybodys(house):
    room = house.room(Memory("native", {**held("a"), **held("a", team="data")}))
    (row,) = room.inventory.page(team="data")
    assert (row.backend, row.shadowed) == ("native", ())


# --- which rows ----------------------------------------------------------------------------------


def told(room, **choice):
    pages = room.inventory.pages(choice=Choice(**choice))
    return [(row.ref.name, row.backend, row.shadowed_by) for page in pages for row in page]


def test_shadowed_entries_are_rows_after_the_one_that_hides_them(house):
    room = house.room(*(Memory(name, held("a", name)) for name in ("x", "y", "z")))
    assert told(room, with_shadowed=True) == [
        ("a", "x", None),
        ("a", "y", "x"),
        ("a", "z", "x"),
        ("x", "x", None),
        ("y", "y", None),
        ("z", "z", None),
    ]


def test_one_backends_entries_are_shown_hidden_or_not(house):
    room = house.room(Memory("x", held("a")), Memory("y", held("a", "b")))
    assert told(room, backends=("y",)) == [("a", "y", "x"), ("b", "y", None)]
    with pytest.raises(InvalidInputError) as caught:
        room.inventory.pages(choice=Choice(backends=("nope",)))
    assert caught.value.hint == "its backends: x, y"


def test_states_choose_rows(house):
    upper = Memory("upper", connections(a="http://h", b="broken"))
    room = house.room(upper, Memory("lower", connections(a="broken", c="http://h")))
    assert told(room, only_problems=True) == [("b", "upper", None)]
    assert told(room, only_problems=True, with_shadowed=True) == [
        ("a", "lower", "upper"),
        ("b", "upper", None),
    ]
    assert told(room, states=(EntryState.OK,)) == [("a", "upper", None), ("c", "lower", None)]


def test_pages_hold_whole_names_and_end_at_the_limit(house):
    room = house.room(Memory("x", held("a", "b", "c")), Memory("y", held("a", "b", "c")))
    pages = list(room.inventory.pages(choice=Choice(with_shadowed=True), size=2, limit=3))
    assert [[row.ref.name for row in page] for page in pages] == [["a", "a", "b", "b"], ["c", "c"]]
    short = list(room.inventory.pages(size=2, limit=1))
    assert [names(page) for page in short] == [["a"]]


def test_pages_read_each_backend_once_from_end_to_end(house):
    native = Memory("native", held(*(f"n{number:05}" for number in range(2500))))
    room = house.room(native)
    assert sum(len(page) for page in room.inventory.pages("variable", size=100)) == 2500
    assert len(native.calls) == 3


def test_silent_backend_is_waited_for_once(house):
    native = Flaky("native", held("a"))
    native.fail()
    trouble = []
    pages = house.room(native).inventory.pages(on_trouble=lambda name, _: trouble.append(name))
    assert list(pages) == []
    assert trouble == ["native"]
    assert len(native.calls) == 1


def test_refusing_backend_is_asked_for_each_kind(house):
    trouble = []
    room = house.room(Denying("vault", held("a")), Memory("native", held("b")))
    pages = list(room.inventory.pages(on_trouble=lambda name, error: trouble.append((name, error.code))))
    assert names(pages[0]) == ["b"]
    assert trouble == [("vault", "access_denied")] * 3


# --- counts and clashes --------------------------------------------------------------------------


def test_everything_is_counted_in_one_pass(house):
    env = Env("env", EnvOptions(), {"AIRFLOW_VAR_REGION": "eu", "AIRFLOW_CONN_BAD": "x"}, frozen_clock)
    native = Memory("native", {**held("region", "Region", "b"), **connections(good="http://h")})
    room = house.room(env, native, Memory("empty"))
    assert room.inventory.counts() == Counts(
        connections=2, variables=3, places=2, shadowed=2, unreadable=1, clashes=1
    )
    assert len([call for call in native.calls if call[0] == "list"]) == 3  # one page a kind


def test_counts_tell_trouble_or_pass_it_on(house):
    native = Flaky("native", held("a"))
    native.fail()
    room = house.room(native, Memory("lower", held("b")))
    with pytest.raises(BackendUnavailableError):
        room.inventory.counts()
    trouble = {}
    assert room.inventory.counts(on_trouble=trouble.__setitem__).variables == 1
    assert set(trouble) == {"native"}


def test_names_that_are_one_in_nfkc_look_alike(house):
    room = house.room(Memory("native", held("\ufb01le", "file", "other")), Memory("more", held("\uff46ile")))
    (clash,) = room.inventory.clashes()
    assert (clash.backend, {ref.name for ref in clash.refs}) == (None, {"\ufb01le", "file", "\uff46ile"})
    assert clash.problem.endswith("look alike")


def test_names_that_look_alike_in_different_kinds_do_not_clash(house):
    room = house.room(Memory("native", {**held("file"), **held("\ufb01le", kind="connection")}))
    assert room.inventory.clashes() == []


def test_file_that_holds_an_environment_cannot_tell_names_apart_either(house):
    path = house.folder / ".env"
    path.write_text("AIRFLOW_VAR_REGION=eu\n")
    dotenv = File("dotenv", FileOptions(environment=path), utc_now)
    room = house.room(dotenv, Memory("native", held("region", "Region")))
    (clash,) = room.inventory.clashes()
    assert clash.problem == (
        'dotenv cannot keep variable "Region", variable "region" apart: all are AIRFLOW_VAR_REGION there'
    )


def test_plain_file_keeps_every_name_apart(house):
    path = house.folder / "v.json"
    path.write_text('{"region": "eu"}')
    plain = File("plain", FileOptions(variables=path), utc_now)
    assert house.room(plain, Memory("native", held("region", "Region"))).inventory.clashes() == []


def test_names_that_several_backends_spell_alike_are_one_clash(house):
    envs = [Env(name, EnvOptions(), {}, frozen_clock) for name in ("env", "more")]
    room = house.room(*envs, Memory("native", held("FILE", "file")))
    (clash,) = room.inventory.clashes()
    assert (clash.backend, clash.spelling) == ("env", "AIRFLOW_VAR_FILE")
    assert room.inventory.counts().clashes == 1
