"""The floor of announced runs: it only ever refuses more."""

from __future__ import annotations

import pytest

from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance, HostPolicy, Run
from strongroom.policy.announced import AnnouncedOnly, announced_only

REF = Ref("variable", "x")
UNTOLD = [None, Run(Assurance.CLAIMED, "d"), Run(Assurance.CLAIMED, "d", announced=False)]
TOLD = Run(Assurance.CLAIMED, "d", announced=True)


def user(run):
    return Actor("local:1000", Assurance.HOST_USER, run=run)


@pytest.mark.parametrize("run", UNTOLD)
@pytest.mark.parametrize("action", [Action.READ, Action.REVEAL, Action.WRITE, Action.DELETE])
def test_no_value_is_for_a_run_that_was_not_announced(run, action):
    found = AnnouncedOnly(HostPolicy()).decide(user(run), action, REF)
    assert not found.is_allowed
    assert found.policies == ("agent.announced",)
    assert AnnouncedOnly(HostPolicy()).knows(user(run), action, REF)


@pytest.mark.parametrize("action", Action)
def test_what_it_lets_through_is_decided_as_without_it(action):
    inner = HostPolicy()
    for actor in (user(TOLD), Actor("person:anna", run=TOLD)):
        assert AnnouncedOnly(inner).decide(actor, action, REF) == inner.decide(actor, action, REF)


@pytest.mark.parametrize("action", [Action.LIST, Action.DESCRIBE])
def test_what_there_is_may_be_seen_as_without_it(action):
    assert AnnouncedOnly(HostPolicy()).decide(user(None), action, REF).is_allowed


def test_the_policy_is_the_same_object_while_the_one_above_it_is():
    policies = [HostPolicy(), HostPolicy(owners=frozenset({"local:0"}))]
    now = [policies[0]]
    current = announced_only(lambda: now[0])
    first = current()
    assert current() is first
    now[0] = policies[1]
    assert current() is not first
