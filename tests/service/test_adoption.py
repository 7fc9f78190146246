from __future__ import annotations

from strongroom.backends.env import Env, EnvOptions
from strongroom.chain import Link
from strongroom.errors import AccessDeniedError
from strongroom.model.ref import Ref
from strongroom.service.adoption import bring_in
from strongroom.testing.fakes import Flaky, Memory, frozen_clock

CANARY = "canary-9a11"


def connection(name: str, team: str | None = None) -> Ref:
    return Ref("connection", name, team)


def variable(name: str, team: str | None = None) -> Ref:
    return Ref("variable", name, team)


def outcomes(lines) -> dict[str, str]:
    return {line.name: line.outcome for line in lines}


def test_what_the_chain_answers_is_written_and_what_the_store_holds_stays(house):
    held = {connection("a"): f"postgres://u:{CANARY}@h", variable("b"): "new", variable("c"): "3"}
    found = house.room(Memory("upper", held), Memory("lower", {variable("c"): "hidden"}))
    memory = Memory("store", {variable("b"): "old"})
    store = house.room(memory)
    lines = bring_in(found, store, [*held])
    assert outcomes(lines) == {"a": "imported", "b": "skipped", "c": "imported"}
    assert store.lookup.variable("b") == "old"
    assert store.lookup.variable("c") == "3"
    assert store.lookup.connection("a").password.reveal() == CANARY
    assert CANARY not in repr(lines)


def test_one_that_cannot_be_had_or_does_not_parse_stops_no_other(house):
    held = {connection("good"): "http://h", connection("bad"): f"://{CANARY}", variable("gone"): "x"}
    place = Memory("place", held)
    found, store = house.room(place), house.room(Memory("store"))
    refs = [*held, variable("never")]
    lines = bring_in(found, store, refs)
    assert outcomes(lines) == {"good": "imported", "bad": "refused", "gone": "imported", "never": "refused"}
    assert CANARY not in repr(lines)


def test_a_place_that_denies_refuses_its_own_entries_only(house):
    broken = Flaky("broken", {variable("a"): "x"})
    broken.fail(error=AccessDeniedError("no", reason="no"))
    link = Link(backend=broken, match=("a",))
    found = house.room(link, Memory("rest", {variable("b"): "y"}))
    store = house.room(Memory("store"))
    lines = bring_in(found, store, [variable("a"), variable("b")])
    assert outcomes(lines) == {"a": "refused", "b": "imported"}


def test_entries_of_a_team_stay_the_teams(house):
    environ = {"AIRFLOW_VAR__DATA___REGION": "eu"}
    found = house.room(Env("env", EnvOptions(), environ, frozen_clock))
    store = house.room(Memory("store"))
    lines = bring_in(found, store, [variable("region", "data")])
    assert outcomes(lines) == {"region": "imported"}
    assert store.lookup.variable("region", team="data") == "eu"


def test_reading_is_recorded_as_a_reveal_and_writing_as_a_write(house):
    found, store = house.room(Memory("place", {variable("a"): "x"})), house.room(Memory("store"))
    bring_in(found, store, [variable("a")])
    assert next((record.action, record.reason) for record in house.records()) == (
        "reveal",
        "up: brought into the store",
    )
    assert "write" in {record.action for record in house.records()}
