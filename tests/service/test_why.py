"""Why an answer is what it is: which policies hold, which nearly do, and who is told of them."""

from __future__ import annotations

import pytest

from parts.server import serving
from strongroom.errors import AccessDeniedError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Action, Actor, Assurance, Role, Run
from strongroom.service.policies import Draft

ORDERS = Ref("connection", "pay/orders")
POLICIES = """
@id("team") @description("what the data team reads")
permit (principal in Role::"data", action == Action::"read", resource in Folder::"pay");
@id("team.pci") @description("card data needs a verified run")
forbid (principal, action == Action::"read", resource in Folder::"pay")
unless { context.run.assurance >= 2 };
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("why"), 'deployment = "prod"') as server:
        root = server.house.deployment().root
        for name, role in (("anna", "admin"), ("dora", "data"), ("olga", "op"), ("vera", "viewer")):
            root.access.people.add(name, Secret("four plain words here"), roles=[Role(role)])
        root.policies.put(Draft(POLICIES, "team"))
        yield server.house


def as_(house, name, role):
    return house.room(None, Actor(f"person:{name}", Assurance.HOST_USER, (Role(role),))).policies


@pytest.fixture(scope="module")
def anna(house):
    return as_(house, "anna", "admin")


def by_id(found):
    return {one.id: one for one in found.weighed}


def test_the_answer_is_the_one_that_can_gives(anna):
    for action in (Action.READ, Action.WRITE, Action.REVEAL):
        for who in ("person:dora", "person:olga", "person:anna"):
            assert anna.why(action, ORDERS, actor=who).decision == anna.can(action, ORDERS, actor=who)


def test_what_forbids_stands_before_what_would_have_allowed(anna):
    found = anna.why(Action.READ, ORDERS, actor="person:dora")
    assert not found.decision.is_allowed
    holding = [one.id for one in found.weighed if one.holds]
    assert holding == ["team.pci", "team"]


def test_a_prohibition_whose_exception_holds_is_told_as_not_met(anna):
    run = Run(Assurance.VERIFIED_RUN)
    found = anna.why(Action.READ, ORDERS, actor="person:dora", run=run)
    assert found.decision.is_allowed
    assert by_id(found)["team.pci"].misses == ("condition",)
    assert by_id(found)["team"].holds
    assert found.depends_on == ("run.assurance",)


def test_what_is_for_another_role_names_that_role(anna):
    found = anna.why(Action.WRITE, ORDERS, actor="person:vera")
    assert found.decision.reason == "no policy allows it"
    assert by_id(found)["op"].misses == ("who",)
    assert by_id(found)["op"].needs == ("Role", "op")


def test_a_role_that_would_not_help_is_no_hint(anna):
    near = by_id(anna.why(Action.REVEAL, ORDERS, actor="person:vera"))
    assert "op.variables" not in near  # it is for who has the role op, and about variables alone
    near = by_id(anna.why(Action.REVEAL, Ref("variable", "x"), actor="person:vera"))
    assert near["op.variables"].needs == ("Role", "op")


def test_what_is_for_another_folder_says_so(anna):
    found = anna.why(Action.READ, Ref("connection", "payroll"), actor="person:dora")
    assert by_id(found)["team"].misses == ("what",)
    assert "team.pci" not in by_id(found)


def test_the_room_is_asked_about_as_well(anna):
    found = anna.why(Action.LIST, None, actor="person:olga")
    assert found.decision.is_allowed
    assert by_id(found)["op.room"].holds


def test_who_does_not_administer_asks_of_himself_and_hears_of_what_decided_alone(house):
    dora = as_(house, "dora", "data")
    found = dora.why(Action.READ, ORDERS)
    assert {one.id for one in found.weighed} == set(found.decision.policies) == {"team.pci"}
    assert dora.why(Action.WRITE, ORDERS).weighed == ()
    with pytest.raises(AccessDeniedError):
        dora.why(Action.READ, ORDERS, actor="person:anna")
