"""A house of deployments: what they share, and what none is told of another."""

from __future__ import annotations

import threading

import pytest

from parts.house import ADMIN, ANNA, BEN, Notebook, Site, named, variables
from strongroom.assembly import create_room, open_house
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    InvalidInputError,
    NotFoundError,
    NotRecordedError,
    ReadOnlyError,
    SealedError,
)
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Actor, Assurance, Role, Scope
from strongroom.service.entries import Change

A, B = variables("a", "b")


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture
def house(site):
    with site.house() as house:
        yield house


def write(house, deployment, name, text="x", **others):
    ref = Ref("variable", name, others.pop("team", None))
    house.room(deployment, ADMIN).entries.write(Change(ref=ref, secret=Secret(text), **others))


# --- rooms ---------------------------------------------------------------------------------------------


def test_the_deployments_of_the_settings_are_open_the_first_one_first(house):
    assert house.names == ("prod", "staging")
    assert house.first == "prod"
    assert house.room(None, ADMIN).deployment == "prod"
    assert house.room("staging", ADMIN).deployment == "staging"


def test_a_deployment_that_is_not_there_is_not_found(house):
    with pytest.raises(NotFoundError, match="no such deployment"):
        house.room("live", ADMIN)


def test_a_room_is_remembered_for_its_actor_and_shares_its_parts(house):
    room = house.room(None, ANNA)
    assert house.room(None, ANNA) is room
    assert room.as_actor(BEN) is house.room(None, BEN)
    assert room.as_actor(ANNA) is room
    assert room.actor == ANNA
    assert house.room(None, BEN) is not room


def test_closing_the_room_of_an_actor_closes_nothing(house):
    write(house, "prod", "a")
    house.room(None, ANNA).close()
    assert house.room(None, ADMIN).lookup.variable("a") == "x"


def test_rooms_of_many_actors_are_bounded(house):
    for number in range(5000):
        house.room(None, Actor(f"person:p{number}"))
    assert len(house.deployment().root._others) <= 4096


def test_a_house_makes_nothing(tmp_path):
    environ = {"STRONGROOM_HOME": str(tmp_path)}
    with pytest.raises(BackendConfigError, match="deployment default"):
        open_house(environ=environ, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_deployment_without_a_store_is_told_by_name_and_the_others_open(tmp_path):
    site = Site(tmp_path)
    (tmp_path / "staging.key").unlink()
    with pytest.raises(SealedError, match="deployment staging: "), site.house():
        pass
    told = {}
    with site.house(on_trouble=told.__setitem__) as house:
        assert house.names == ("prod",)
        assert list(house.troubles) == ["staging"] == list(told)
        with pytest.raises(NotFoundError):
            house.deployment("staging")


def test_where_no_deployment_opens_there_is_no_house(tmp_path):
    told = {}
    with pytest.raises(BackendConfigError):
        open_house(environ={"STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path, on_trouble=told.__setitem__)
    assert list(told) == ["default"]


def test_a_chain_without_a_store_cannot_be_served(tmp_path):
    (tmp_path / "strongroom.toml").write_text('chain = ["env"]')
    with pytest.raises(BackendConfigError, match="has no store"):
        open_house(tmp_path / "strongroom.toml", environ={"STRONGROOM_HOME": str(tmp_path)}, cwd=tmp_path)


def test_a_room_without_a_house_serves_its_owner_alone(tmp_path):
    environ = {"STRONGROOM_HOME": str(tmp_path)}
    with create_room(environ=environ, cwd=tmp_path) as room:
        room.entries.write(Change(ref=A, secret=Secret("x")))
        assert room.lookup.variable("a") == "x"
        stranger = room.as_actor(ANNA)
        with pytest.raises(AccessDeniedError):
            stranger.lookup.variable("a")  # the owner's cache holds it
        with pytest.raises(AccessDeniedError):
            stranger.inventory.page()


def test_a_house_closes_its_watchers(site):
    before = set(threading.enumerate())
    with site.house() as house:
        house.start()
        house.start()
        started = [thread.name for thread in set(threading.enumerate()) - before]
        assert started.count("strongroom-changes") == 1  # one store, two deployments
        assert started.count("strongroom-uses") == 1
    assert {thread.name for thread in set(threading.enumerate()) - before} <= {"strongroom-registry"}


def test_a_house_closes_what_records_for_it(site):
    closed = []

    class Closing(Notebook):
        def close(self):
            closed.append(self)

    with site.house(recorder=lambda _settings: Closing()):
        pass
    assert len(closed) == 2


# --- nothing crosses ------------------------------------------------------------------------------------


def test_an_entry_of_one_deployment_is_in_no_other(house):
    write(house, "prod", "a")
    with pytest.raises(NotFoundError):
        house.room("staging", ADMIN).lookup.variable("a")
    assert house.room("staging", ADMIN).inventory.page() == []
    assert house.room("staging", ADMIN).inventory.counts().variables == 0


def test_one_name_in_two_deployments_is_two_people(site, house):
    site.allow(named("a"), "prod")
    write(house, "prod", "a")
    write(house, "staging", "a")
    assert house.room("prod", ANNA).lookup.variable("a") == "x"
    with pytest.raises(AccessDeniedError):
        house.room("staging", ANNA).lookup.variable("a")


def test_what_is_done_in_one_deployment_is_recorded_there(site, house):
    write(house, "staging", "a")
    assert site.notebooks["prod"].events == []
    assert ("write", "a", "done") in site.notebooks["staging"].acts()


def test_an_actor_is_told_of_the_deployment_he_is_of_alone(house):
    write(house, "prod", "a")
    write(house, "prod", "b", team="data")
    room = house.room("prod", ADMIN)
    assert room.deployments.list() == ["prod"]
    found = room.deployments.describe("prod")
    assert [backend.name for backend in found.chain] == ["native"]
    assert (found.teams, found.counts.variables) == (("data",), 2)
    for name in ("staging", "nowhere"):
        with pytest.raises(NotFoundError, match=r"^there is no such deployment$"):
            room.deployments.describe(name)


def test_teams_and_counts_are_of_what_the_actor_may_see(site, house):
    write(house, "prod", "a")
    write(house, "prod", "b", team="data")
    site.allow(named("a"))
    found = house.room("prod", ANNA).deployments.describe("prod")
    assert (found.teams, found.counts.variables, found.counts.connections) == ((), 1, 0)


def test_keys_tell_an_actor_of_one_team_nothing_of_the_others(site, house):
    write(house, "prod", "a", team="data")
    write(house, "prod", "a", team="web")
    site.allow(named())
    member = Actor("person:cleo", Assurance.HOST_USER, roles=(Role("viewer", "data"),))
    assert [key.team for key in house.room("prod", member).keys.status()] == ["data"]
    bounded = Actor("service:ci", Assurance.HOST_USER, (Role("viewer"),), Scope(teams=("web",)))
    assert [key.team for key in house.room("prod", bounded).keys.status()] == ["web"]
    assert len(house.room("prod", ADMIN).keys.status()) == 3


# --- mode -----------------------------------------------------------------------------------------------


def test_read_only_mode_refuses_changes_and_can_be_ended(site, house):
    write(house, "staging", "a")
    house.set_mode(ADMIN, read_only=True, reason="moving the disk")
    with pytest.raises(ReadOnlyError, match="for the time being"):
        write(house, "staging", "a", "y")
    with pytest.raises(ReadOnlyError):
        house.room("staging", ADMIN).entries.delete(A)
    assert house.room("staging", ADMIN).lookup.variable("a") == "x"
    assert ("write", "a", "denied") in site.notebooks["staging"].acts()
    house.set_mode(ADMIN, read_only=False)
    write(house, "staging", "a", "y")


def test_the_mode_is_changed_by_who_administers_the_first_deployment_and_recorded(site, house):
    site.allow(lambda *_: True, "staging")
    with pytest.raises(AccessDeniedError):
        house.set_mode(ANNA, read_only=True)
    assert not house.mode.read_only
    house.set_mode(ADMIN, log_level="debug", reason="looking")
    assert [(event.outcome, event.reason) for event in site.notebooks["prod"].events] == [
        ("denied", "the rules"),
        ("begun", "mode log_level=debug: looking"),
        ("done", "mode log_level=debug: looking"),
    ]
    assert (house.may_set_mode(ADMIN), house.may_set_mode(ANNA)) == (True, False)


def test_a_mode_that_cannot_be_recorded_is_not_changed(site, house):
    site.notebooks["prod"].is_full = True
    with pytest.raises(NotRecordedError):
        house.set_mode(ADMIN, read_only=True)
    assert not house.mode.read_only


def test_who_watches_the_mode_is_told(house):
    levels = []
    house.mode.watch(lambda mode: levels.append(mode.log_level))
    house.set_mode(ADMIN, log_level="warning")
    assert levels == ["info", "warning"]
    with pytest.raises(InvalidInputError, match="no such log level"):
        house.set_mode(ADMIN, log_level="loud")


def test_nobody_is_told_of_read_only_mode_who_may_not_write_anyway(house):
    house.set_mode(ADMIN, read_only=True)
    with pytest.raises(AccessDeniedError):
        house.room(None, ANNA).entries.write(Change(ref=A, secret=Secret("x")))
