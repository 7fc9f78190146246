"""The policies that come with the product: Airflow's roles, verb by verb and kind by kind."""

from __future__ import annotations

import pytest

from strongroom.model.ref import KINDS, Ref
from strongroom.policy import Action, Actor, Assurance, OwnerPolicy, Role
from strongroom.policy.cedar import CedarPolicy, parse, validate
from strongroom.policy.schema import ROLES
from strongroom.service.policies.book import shipped

NAMES = ("admin", "local-owner", "op", "reader", "user", "viewer", "two-person-reveal")
KEEPING = {"list", "describe", "write", "delete", "test"}
EVERYTHING = frozenset(action.value for action in Action)

# facts/airflow.md §5.1: viewer and user cannot GET connections or variables, op and admin have them whole.
# The differences are those of docs/policy.md, "Airflow's roles".
ENTRIES = {
    "viewer": {kind: set() for kind in KINDS},
    "user": {kind: set() for kind in KINDS},
    "op": {"connection": KEEPING, "variable": KEEPING | {"reveal"}, "config": set()},
    "admin": dict.fromkeys(KINDS, EVERYTHING),
    "reader": {kind: {"read", "list", "describe"} for kind in KINDS},
}
ROOM = {
    "viewer": {"list"},
    "user": {"list"},
    "op": {"list", "describe", "test"},
    "admin": EVERYTHING,
    "reader": {"list"},
}


@pytest.fixture(scope="module")
def policy():
    rules = [rule for name in NAMES[:-1] for rule in parse(name, shipped(name))]
    return CedarPolicy(rules, revision="1", deployment="prod")


def person(role, team=None):
    return Actor("person:anna", Assurance.HOST_USER, (Role(role, team),))


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("role", ROLES)
def test_AA02_role_may_do_with_each_kind_what_the_table_says(policy, role, kind, action):
    for team in (None, "data"):
        decision = policy.decide(person(role), action, Ref(kind, "orders_db", team))
        assert decision.is_allowed == (action.value in ENTRIES[role][kind])
        assert all(id_.partition(".")[0] == role for id_ in decision.policies)
        assert bool(decision.policies) == decision.is_allowed


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("role", ROLES)
def test_AA02_role_may_do_with_the_room_what_the_table_says(policy, role, action):
    assert policy.decide(person(role), action, None).is_allowed == (action.value in ROOM[role])


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("role", ROLES)
def test_AA02_role_of_a_team_ends_at_the_team(policy, role, action):
    allowed = {Ref("variable", "x", team) for team in (None, "data", "other")}
    allowed = {ref.team for ref in allowed if policy.decide(person(role, "data"), action, ref).is_allowed}
    assert allowed == ({"data"} if action.value in ENTRIES[role]["variable"] else set())


@pytest.mark.parametrize("action", list(Action))
def test_AA02_nobody_without_a_role_may_anything(policy, action):
    for id_ in ("person:anna", "service:ci", "agent:host-1"):
        for ref in (None, Ref("connection", "orders_db")):
            assert not policy.decide(Actor(id_, Assurance.ISOLATED_PROCESS), action, ref).is_allowed


@pytest.mark.parametrize("action", list(Action))
def test_local_owner_may_everything_and_only_as_the_host_proves_it(policy, action):
    owner = Actor("local:0", Assurance.HOST_USER)
    assert policy.decide(owner, action, Ref("variable", "x")).policies == ("local-owner",)
    assert OwnerPolicy(owner).decide(owner, action, None).policies == ("local-owner",)
    assert not policy.decide(Actor("local:0", Assurance.CLAIMED), action, None).is_allowed


@pytest.mark.parametrize("name", NAMES)
def test_shipped_policy_has_nothing_to_be_remarked_on(name):
    assert validate(name, shipped(name)) == ()


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_statement_says_what_it_is_for(name):
    for rule in parse(name, shipped(name)):
        assert rule.description
        assert rule.annotations["id"] == rule.id
        assert rule.id.partition(".")[0] == name


def test_roles_that_ship_with_policies_are_those_the_schema_knows():
    assert set(ROLES) == set(NAMES) - {"local-owner", "two-person-reveal"}
