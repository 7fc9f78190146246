"""What a policy looks at: what is not understood counts as everything, whatever its parts are called."""

from __future__ import annotations

import pytest

from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance, Facts, Run
from strongroom.policy.cedar import CedarPolicy, parse

ANNA = Actor("person:anna", Assurance.HOST_USER)


def uses(condition):
    return parse("p", f"permit (principal, action, resource is Entry) when {{ {condition} }};")[0].uses


def decided(condition, refs, facts=None, actor=ANNA):
    policy = CedarPolicy(
        parse("p", f"permit (principal, action, resource is Entry) when {{ {condition} }};"),
        revision="1",
        deployment="prod",
    )
    return [policy.decide(actor, Action.READ, ref, facts).is_allowed for ref in refs]


@pytest.mark.parametrize(
    "condition",
    [
        '{left: 1, x: resource.name}.x == "a"',
        '{Var: resource.name, left: true}.Var == "a"',
        '{"Value": resource.name}["Value"] == "a"',
        '{right: resource.name, "in": 1}.right == "a"',
        '[resource.name].contains("a")',
        '(if resource.name == "a" then 1 else 2) == 1',
        '[resource.name, "x"].containsAll(["a"])',
        '{"like": {"has": resource.name}}["like"]["has"] == "a"',
        'resource == Entry::"variable:a"',
        'Entry::"variable:a" == resource',
        'resource in [Folder::"a", Folder::"b/c"]',
        '[Entry::"variable:a"].contains(resource)',
        '!(resource.name != "a")',
        '"a" == resource.name',
        'resource["name"] == "a"',
    ],
)
def test_names_are_told_apart_by_whatever_looks_at_them(condition):
    refs = [Ref("variable", name) for name in ("a", "b", "a", "z", "b")]
    assert decided(condition, refs) == [True, False, True, False, False]
    assert decided(condition, reversed(refs)) == [False, False, True, False, True]


@pytest.mark.parametrize(
    "condition",
    [
        '{left: 1, x: resource.tags}.x.contains("t")',
        '(if resource.tags.contains("t") then 1 else 2) == 1',
        '[resource.owner].contains("t")',
        '{Var: resource.conn_type}.Var == "t"',
        'resource["owner"] == "t"',
        '(if true then resource else resource).tags.contains("t")',
        '{x: {y: resource}}.x.y.owner == "t"',
    ],
)
def test_facts_are_needed_by_whatever_looks_at_them(condition):
    assert uses(condition).needs_facts
    refs = [Ref("variable", "a")]
    assert decided(condition, refs) == [False]
    assert decided(condition, refs, Facts(("t",), "t", "t")) == [True]
    assert decided(condition, refs, Facts()) == [False]


@pytest.mark.parametrize(
    "condition",
    [
        '{left: 1, x: context.run}.x.dag_id == "d"',
        '{Var: context}.Var.run.dag_id == "d"',
        '(if true then context else context).run.dag_id == "d"',
        'context["run"]["dag_id"] == "d"',
        'context.run["dag_id"] == "d"',
        'context has run.dag_id && context.run.dag_id == "d"',
    ],
)
def test_runs_are_told_apart_by_whatever_looks_at_them(condition):
    claims = [
        Actor(ANNA.id, ANNA.assurance, run=Run(Assurance.CLAIMED, dag_id=dag)) for dag in ("d", "e", "d")
    ]
    policy = CedarPolicy(
        parse("p", f"permit (principal, action, resource) when {{ {condition} }};"),
        revision="1",
        deployment="prod",
    )
    assert [policy.decide(actor, Action.READ, None).is_allowed for actor in claims] == [True, False, True]


def test_what_is_not_looked_at_makes_no_difference():
    found = uses('resource.kind == "variable" && resource in Folder::"pay"')
    assert found.attributes == {"kind"}
    assert found.context == frozenset()
    assert not found.is_name_whole
    assert not found.needs_facts
    assert [atom.test for atom in found.atoms] == ["under"]
