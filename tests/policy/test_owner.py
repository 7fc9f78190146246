from __future__ import annotations

import pytest

from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance, OwnerPolicy

OWNER = Actor("local:1000", Assurance.HOST_USER)


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize("ref", [None, Ref("connection", "orders_db"), Ref("variable", "x", "data")])
def test_the_local_owner_may_do_everything(action, ref):
    decision = OwnerPolicy(OWNER).decide(OWNER, action, ref)
    assert decision.is_allowed
    assert decision.policies == ("local-owner",)
    assert "whoever may read the settings and the key may read the room" in decision.reason


@pytest.mark.parametrize("action", list(Action))
@pytest.mark.parametrize(
    "other", [Actor("local:1001", Assurance.HOST_USER), Actor("local:1000", Assurance.CLAIMED)]
)
def test_nobody_else_may_do_anything(action, other):
    decision = OwnerPolicy(OWNER).decide(other, action, Ref("connection", "orders_db"))
    assert not decision.is_allowed
    assert decision.reason == "not the local owner"


def test_actions_are_the_words_of_the_design():
    words = "list describe read reveal write delete rotate test administer break_glass"
    assert [action.value for action in Action] == words.split()


def test_levels_of_assurance_are_ordered():
    assert sorted(Assurance) == list(Assurance)
    assert [int(level) for level in Assurance] == [0, 1, 2, 3, 4]
