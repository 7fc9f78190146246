"""A house as it is served: decisions by the policies and people that stand in the store of a deployment."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from datetime import timedelta
from threading import Barrier, Thread

import pytest

from parts.house import Site, variables
from strongroom.assembly import local_owner
from strongroom.errors import AccessDeniedError, StrongroomError
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action, Actor, Assurance, Role
from strongroom.policy.grant import Right
from strongroom.service.entries import Change
from strongroom.service.policies import Draft

A, B = variables("a", "b")
ROLES = ("admin", "op", "reader", "user", "viewer")


def person(name, *roles, team=None):
    return Actor(f"person:{name}", Assurance.HOST_USER, tuple(Role(role, team) for role in roles))


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


@pytest.fixture
def house(site):
    with site.house(policy=None) as house:
        put(house.room(None, local_owner()), A, B, Ref("variable", "x", "data"))
        yield house


def put(room, *refs, **others):
    room.entries.write_many([Change(ref=ref, secret=Secret("x"), **others) for ref in refs])


def outcome(act):
    try:
        act()
    except AccessDeniedError:
        return "denied"
    return "allowed"


def acts(room):
    return {
        "list": outcome(room.inventory.page),
        "describe": outcome(lambda: room.entries.describe(A)),
        "read": outcome(lambda: room.lookup.entry(A)),
        "reveal": outcome(lambda: room.entries.reveal(A, reason="why")),
        "write": outcome(lambda: put(room, A)),
        "keys": outcome(room.keys.status),
        "people": outcome(lambda: list(room.access.people.list())),
        "policies": outcome(room.policies.list),
    }


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("admin", {"list", "describe", "read", "reveal", "write", "keys", "people", "policies"}),
        ("op", {"list", "describe", "reveal", "write", "keys"}),
        ("reader", {"list", "describe", "read"}),
        ("user", {"list"}),
        ("viewer", {"list"}),
        ("", set()),
    ],
)
def test_AA02_a_role_may_what_its_policy_says_and_nothing_else(house, role, allowed):
    room = house.room(None, person("anna", *([role] if role else [])))
    assert {name for name, told in acts(room).items() if told == "allowed"} == allowed


@pytest.mark.parametrize("role", ROLES)
def test_a_role_of_another_deployment_is_none_here(house, role):
    """Roles come with the identity of a deployment; the other one's policies know another person."""
    nobody = person("anna")
    assert house.room("prod", person("anna", role)).actor != nobody
    assert set(acts(house.room("staging", nobody)).values()) == {"denied"}


def test_RT10_a_role_for_one_team_sees_that_team_alone(house):
    room = house.room(None, person("cleo", "reader", team="data"))
    assert room.inventory.page() == []
    assert [row.ref.name for row in room.inventory.page(team="data")] == ["x"]
    assert room.deployments.describe("prod").teams == ("data",)
    assert room.deployments.describe("prod").counts.variables == 1
    assert asyncio.run(room.reader.aread_many([A]))[0].outcome == "denied"


def test_a_policy_that_forbids_by_tag_holds_at_once_for_everything(house):
    owner, anna = house.room(None, local_owner()), house.room(None, person("anna", "admin"))
    put(owner, A, metadata=Metadata(tags=("pii",)))
    assert anna.lookup.variable("a") == "x"
    text = (
        '@id("no-pii") forbid (principal, action, resource is Entry) when { resource.tags.contains("pii") };'
    )
    owner.policies.put(Draft(text))
    with pytest.raises(AccessDeniedError):
        anna.lookup.variable("a")
    assert anna.lookup.variable("b") == "x"
    assert [row.ref.name for row in anna.inventory.page()] == ["b"]
    put(anna, Ref("variable", "new"))
    with pytest.raises(AccessDeniedError):
        put(anna, B, metadata=Metadata(tags=("pii",)))
    absent = Ref("variable", "nowhere")
    with pytest.raises(AccessDeniedError) as held:
        anna.entries.describe(A)
    with pytest.raises(AccessDeniedError) as missing:
        anna.entries.describe(absent)
    assert str(held.value).replace('"a"', '"nowhere"') == str(missing.value)
    assert house.deployment().guard.needs_facts


def test_an_approved_reveal_is_good_once_however_many_ask_at_once(house):
    owner = house.room(None, local_owner())
    owner.policies.require_two("two-person-reveal", is_on=True)
    anna = person("anna", "admin")
    room = house.room(None, anna)
    with pytest.raises(AccessDeniedError):
        room.entries.reveal(A, reason="why")
    request = room.policies.approvals.ask(A, reason="incident")
    house.room(None, person("ben", "admin")).policies.approvals.approve(request.id)
    start, told = Barrier(6), []

    def reveal():
        start.wait()
        told.append(outcome(lambda: room.entries.reveal(A, reason="incident")))

    threads = [Thread(target=reveal) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told.count("allowed") == 1
    with pytest.raises(AccessDeniedError):
        room.entries._revealed(A)  # as one that was decided before another used the approval up


def test_a_grant_ends_for_readers_that_have_everything_at_hand(house):
    owner = house.room(None, local_owner())
    anna = person("anna")
    owner.access.people.add("anna")
    assert outcome(lambda: house.room(None, anna).lookup.entry(A)) == "denied"
    right = Right(anna.id, (Action.READ,), names=("a",))
    grant = owner.policies.grants.add(right, lasting=timedelta(hours=1), reason="incident")
    assert house.room(None, anna).lookup.variable("a") == "x"
    owner.policies.grants.revoke(grant.id)
    assert outcome(lambda: house.room(None, anna).lookup.entry(A)) == "denied"
    assert house.deployment().reading.reader(anna).peek(A) is None


def test_CR11_rows_of_who_may_that_were_changed_by_hand_deny_everybody_and_are_recorded(site, house):
    owner = house.room(None, local_owner())
    owner.policies.put(Draft('@id("mine") permit (principal == Person::"anna", action, resource);'))
    with contextlib.closing(sqlite3.connect(site.folder / "store.db")) as raw:
        raw.execute("UPDATE registry SET body = replace(body, 'anna', 'mall') WHERE deployment = 'prod'")
        raw.commit()
    room = house.room(None, person("root", "admin"))
    deadline = time.monotonic() + 10
    while outcome(lambda: room.entries.describe(A)) != "denied":
        assert time.monotonic() < deadline
    assert outcome(lambda: room.lookup.entry(A)) == outcome(room.inventory.page) == "denied"
    events = site.notebooks["prod"].events
    assert sum("changed by hand" in event.reason for event in events) == 1


def test_whoever_is_denied_learns_nothing_from_an_error_either(house):
    nobody = house.room(None, person("mallory"))
    for ref in (A, Ref("variable", "nowhere")):
        with pytest.raises(StrongroomError) as caught:
            nobody.lookup.explain(ref)
        assert isinstance(caught.value, AccessDeniedError)
