"""Cedar's answers, as we ask for them, are those of a second evaluator that shares nothing with them."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parts.reference_policy import Said, decide, might_allow, text_of
from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance, Facts, Role, Run
from strongroom.policy.cedar import CedarPolicy, parse

ROLES = ("op", "data", "pci")
TEAMS = (None, "red", "blue")
NAMES = ("pay", "pay/db", "pay/eu/db", "payroll", "payroll/db", "x*y", "pa", "orders")
TAGS = ("pci", "shared")
KINDS = ("connection", "variable")
ADDRESSES = ("", "10.1.2.3", "192.0.2.7", "::1", "/run/socket")

words = st.sampled_from([action.value for action in Action])
refs = st.builds(Ref, st.sampled_from(KINDS), st.sampled_from(NAMES), st.sampled_from(TEAMS))


def maybe(strategy):
    return st.none() | strategy


said = st.builds(
    Said,
    effect=st.sampled_from(["permit", "permit", "permit", "forbid"]),
    role=maybe(st.sampled_from(ROLES)),
    person=st.none() | st.none() | st.sampled_from(["anna", "bert"]),
    type=maybe(st.sampled_from(["Person", "Service", "Local"])),
    actions=st.lists(words, max_size=4, unique=True).map(tuple),
    only_entries=st.booleans(),
    folder=maybe(st.sampled_from(["pay", "pay/eu", "payroll"])),
    entry=st.none() | st.none() | st.none() | refs,
    kind=maybe(st.sampled_from(KINDS)),
    team=maybe(st.sampled_from(["", "red"])),
    name=st.none() | st.none() | st.sampled_from(NAMES),
    like=st.none() | st.sampled_from(["pay*", "*db", "pay/*", "*"]),
    names=st.just(()) | st.lists(st.sampled_from(NAMES), max_size=3).map(tuple),
    tag=maybe(st.sampled_from(TAGS)),
    conn_type=maybe(st.sampled_from(["postgres", ""])),
    unless_tag=st.none() | st.none() | st.sampled_from(TAGS),
    dag_id=st.none() | st.sampled_from(["daily", ""]),
    floor=maybe(st.integers(0, 3)),
    identity=maybe(st.integers(0, 2)),
    network=st.none() | st.none() | st.sampled_from(["10.0.0.0/8", "0.0.0.0/0", "::/0"]),
    is_negated=st.sampled_from([False, False, False, True]),
)
runs = st.builds(Run, st.sampled_from(list(Assurance)), dag_id=maybe(st.sampled_from(["daily", "weekly"])))
actors = st.builds(
    Actor,
    st.sampled_from(["person:anna", "person:bert", "service:ci", "local:0"]),
    st.sampled_from(list(Assurance)),
    st.lists(st.builds(Role, st.sampled_from(ROLES), st.sampled_from(TEAMS)), max_size=3, unique=True).map(
        tuple
    ),
    st.none(),
    maybe(runs),
    st.sampled_from(ADDRESSES),
)
facts = st.builds(
    Facts, st.lists(st.sampled_from(TAGS), unique=True).map(tuple), maybe(st.sampled_from(["postgres"]))
)
requests = st.tuples(actors, st.sampled_from(list(Action)), st.none() | refs, maybe(facts))


def compiled(policies):
    rules = [rule for id_, one in policies.items() for rule in parse(id_, text_of(id_, one))]
    return CedarPolicy(rules, revision="1", deployment="prod")


def expected(policies, actor, action, ref, known):
    """Opening a listing takes a role of any one team; everything else is one question."""
    if ref is not None or action is not Action.LIST:
        return decide(policies, actor, action, ref, known if ref is not None else None)
    teams = [None, *(role.team for role in actor.roles if role.team)]
    answers, listed = [], set()
    for team in teams:
        roles = tuple(Role(role.name) for role in actor.roles if role.team in (None, team))
        seen = Actor(actor.id, actor.assurance, roles, None, actor.run, actor.source)
        answers.append(decide(policies, seen, action, None, None))
        listed |= {id_ for id_, one in policies.items() if might_allow(one, seen, action)}
    found = next((answer for answer in answers if answer[0]), answers[0])
    if found != (False, ()):
        return found
    return bool(listed), tuple(sorted(listed))


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(said, min_size=1, max_size=6), st.lists(requests, min_size=1, max_size=12))
def test_cedar_decides_as_the_reference_does(list_of_said, asked):
    policies = {f"p{number}": one for number, one in enumerate(list_of_said)}
    policy = compiled(policies)
    for actor, action, ref, known in asked:
        is_allowed, ids = expected(policies, actor, action, ref, known)
        # Asked twice, and past the memory of whole questions: none of the three may differ.
        first = policy.decide(actor, action, ref, known)
        again = policy.decide(actor, action, ref, known)
        weighed = policy.weigh(actor, action, ref, known)
        assert first == again == weighed
        assert first.is_allowed == is_allowed, (policies, actor, action, ref, known, first)
        if ids is not None:
            assert first.policies == ids


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(said, min_size=2, max_size=6), st.lists(requests, min_size=1, max_size=8))
def test_removing_a_permit_never_widens_and_removing_a_forbid_never_narrows(list_of_said, asked):
    policies = {f"p{number}": one for number, one in enumerate(list_of_said)}
    whole = compiled(policies)
    for left_out, one in policies.items():
        rest = compiled({id_: said for id_, said in policies.items() if id_ != left_out})
        for request in asked:
            before, after = whole.decide(*request).is_allowed, rest.decide(*request).is_allowed
            assert not (after and not before) if one.effect == "permit" else not (before and not after)


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(said, min_size=1, max_size=6), actors, st.sampled_from(list(Action)))
def test_what_is_said_to_cover_everything_allows_every_entry(list_of_said, actor, action):
    policies = {f"p{number}": one for number, one in enumerate(list_of_said)}
    policy = compiled(policies)
    if policy.covers(actor, action):
        for kind in KINDS:
            for name in NAMES:
                for team in TEAMS:
                    assert policy.decide(actor, action, Ref(kind, name, team)).is_allowed


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(said, min_size=1, max_size=6), st.lists(st.tuples(refs, facts), min_size=2, max_size=8), actors
)
def test_entries_of_one_class_are_decided_alike(list_of_said, entries, actor):
    policy = compiled({f"p{number}": one for number, one in enumerate(list_of_said)})
    classes = {}
    for ref, known in entries:
        answers = tuple(policy.weigh(actor, action, ref, known) for action in Action)
        assert classes.setdefault(policy.class_of(ref, known), answers) == answers
