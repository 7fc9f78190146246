"""Decisions by Cedar: what is allowed, what denies, and what bounds them."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timezone
from importlib.resources import files

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance, Facts, Role, Run, Scope
from strongroom.policy import cedar as engine
from strongroom.policy.cedar import NEEDS_APPROVAL, CedarPolicy, parse
from strongroom.policy.index import MAX_CANDIDATES, check_weight

ORDERS = Ref("connection", "orders_db")
VERIFIED = Assurance.VERIFIED_RUN


def policy(*texts, **more):
    rules = [rule for number, text in enumerate(texts) for rule in parse(f"p{number}", text)]
    return CedarPolicy(rules, revision="1", deployment="prod", **more)


def person(*roles, name="anna", **more):
    made = tuple(role if isinstance(role, Role) else Role(role) for role in roles)
    return Actor(f"person:{name}", more.pop("assurance", Assurance.HOST_USER), made, **more)


def allows(policy, actor, action=Action.READ, ref=ORDERS, facts=None):
    return policy.decide(actor, action, ref, facts).is_allowed


ALL = 'permit (principal in Role::"op", action, resource);'


# --- allowing and forbidding ---------------------------------------------------------------------------


def test_nothing_is_allowed_that_no_policy_allows():
    decision = policy(ALL).decide(person(), Action.READ, ORDERS)
    assert (decision.is_allowed, decision.reason, decision.policies) == (False, "no policy allows it", ())


def test_decision_names_the_policies_that_determined_it():
    both = policy('@id("p0") ' + ALL, '@id("p1.x") permit (principal is Person, action, resource is Entry);')
    decision = both.decide(person("op"), Action.READ, ORDERS)
    assert (decision.is_allowed, decision.reason, decision.policies) == (
        True,
        "allowed by p0, p1.x",
        ("p0", "p1.x"),
    )


@pytest.mark.parametrize("action", list(Action))
def test_PO08_what_one_forbids_is_denied_for_every_action_listing_too(action):
    denied = policy(ALL, 'forbid (principal, action, resource == Entry::"connection:orders_db");')
    decision = denied.decide(person("op"), action, ORDERS)
    assert (decision.is_allowed, decision.policies) == (False, ("p1",))
    assert decision.reason == "forbidden by p1"
    assert allows(denied, person("op"), action, Ref("connection", "orders_db2"))


@pytest.mark.parametrize(
    ("name", "is_in"),
    [
        ("pay", True),
        ("pay/db", True),
        ("pay/eu/db", True),
        ("payroll", False),
        ("payroll/db", False),
        ("pay_db", False),
        ("pay.db", False),
        ("x/pay", False),
        ("x/pay/db", False),
        ("Pay/db", False),
        ("pa", False),
    ],
)
def test_PO08_a_folder_holds_whole_segments(name, is_in):
    folder = policy('permit (principal in Role::"op", action, resource in Folder::"pay");')
    assert allows(folder, person("op"), ref=Ref("variable", name)) is is_in
    condition = policy(
        'permit (principal in Role::"op", action, resource is Entry) when { resource in Folder::"pay" };'
    )
    assert allows(condition, person("op"), ref=Ref("variable", name)) is is_in


def test_PO08_a_deny_of_one_folder_stands_inside_an_allowed_one():
    nested = policy(
        'permit (principal in Role::"op", action, resource in Folder::"pay");',
        'forbid (principal, action, resource in Folder::"pay/eu");',
    )
    assert allows(nested, person("op"), ref=Ref("variable", "pay/us"))
    assert not allows(nested, person("op"), Action.LIST, Ref("variable", "pay/eu/db"))
    assert allows(nested, person("op"), ref=Ref("variable", "pay/eurail"))


def test_a_star_in_a_name_is_a_star_and_no_wildcard():
    exact = policy('permit (principal in Role::"op", action, resource == Entry::"variable:x*");')
    assert allows(exact, person("op"), ref=Ref("variable", "x*"))
    assert not allows(exact, person("op"), ref=Ref("variable", "xy"))
    like = policy(
        r'permit (principal in Role::"op", action, resource is Entry) when { resource.name like "x\*y*" };'
    )
    assert allows(like, person("op"), ref=Ref("variable", "x*yz"))
    assert not allows(like, person("op"), ref=Ref("variable", "xxyz"))


@pytest.mark.parametrize(
    "name", ['a"b', "a b", "ä", "a'b", "a%b", "\U0001f511", "a:b", "Entry::x", "{x}", "a" * 250]
)
def test_every_legal_name_is_decided_by_what_it_is(name):
    ref = Ref("variable", name)
    assert allows(
        policy('permit (principal in Role::"op", action, resource is Entry);'), person("op"), ref=ref
    )
    only = policy(
        f'permit (principal, action, resource in Folder::"{name.replace(chr(34), chr(92) + chr(34))}");'
    )
    assert allows(only, person(), ref=ref)
    assert not allows(only, person(), ref=Ref("variable", "other"))


# --- roles and teams -----------------------------------------------------------------------------------


def test_role_of_a_team_counts_for_what_the_team_owns_and_nothing_else():
    actor = person(Role("op", "data"))
    assert allows(policy(ALL), actor, ref=Ref("variable", "x", "data"))
    assert not allows(policy(ALL), actor, ref=Ref("variable", "x", "other"))
    assert not allows(policy(ALL), actor, ref=Ref("variable", "x"))
    assert not allows(policy(ALL), actor, Action.ADMINISTER, None)


def test_role_for_everything_counts_for_teams_too():
    assert allows(policy(ALL), person("op"), ref=Ref("variable", "x", "data"))


def test_listing_is_opened_by_a_role_for_any_team():
    actor = person(Role("op", "data"))
    assert allows(policy(ALL), actor, Action.LIST, None)
    assert not allows(policy(ALL), actor, Action.DESCRIBE, None)
    assert not allows(policy(ALL), actor, Action.LIST, Ref("variable", "x"))


def test_forbidding_one_role_of_a_team_closes_no_listing_of_another():
    closed = policy(ALL, 'forbid (principal in Role::"guest", action, resource);')
    actor = person(Role("op", "data"), Role("guest", "other"))
    assert allows(closed, actor, Action.LIST, None)
    assert not allows(closed, actor, Action.LIST, Ref("variable", "x", "other"))
    assert not allows(closed, person("op", "guest"), Action.LIST, None)


@pytest.mark.parametrize("name", ["Op", "OP", " op", "op ", "\u043e\u0440", "o\u0440", "0p"])
def test_AA07_role_that_only_looks_like_another_is_none(name):
    assert not allows(policy(ALL), person(name))


def test_actor_of_an_unknown_kind_may_nothing():
    everything = policy("permit (principal, action, resource);")
    for id_ in ("robot:x", "person", "", "Person:anna", ":anna"):
        decision = everything.decide(Actor(id_, Assurance.HOST_USER), Action.READ, ORDERS)
        assert not decision.is_allowed


def test_who_is_named_is_told_from_others_of_the_same_roles():
    named = policy(
        'permit (principal == Person::"anna", action, resource);',
        'forbid (principal == Person::"bert", action, resource);',
    )
    assert allows(named, person())
    assert not allows(named, person(name="bert"))
    assert not allows(named, person(name="carl"))
    assert not allows(named, Actor("service:anna", Assurance.HOST_USER))


def test_listing_is_opened_by_a_policy_that_may_let_one_see_an_entry():
    folder = policy('permit (principal in Role::"op", action == Action::"list", resource in Folder::"pay");')
    decision = folder.decide(person("op"), Action.LIST, None)
    assert (decision.is_allowed, decision.policies) == (True, ("p0",))
    assert not allows(folder, person("op"), Action.DESCRIBE, None)
    assert not allows(folder, person(), Action.LIST, None)
    closed = policy(
        'permit (principal in Role::"op", action == Action::"list", resource in Folder::"pay");',
        "forbid (principal, action, resource is Room);",
    )
    assert not allows(closed, person("op"), Action.LIST, None)
    # What could be about the room was weighed with its conditions.
    floor = policy("permit (principal, action, resource) when { context.assurance >= 2 };")
    assert not allows(floor, person(), Action.LIST, None)


# --- context -------------------------------------------------------------------------------------------


def run(**more):
    return Run(more.pop("assurance", VERIFIED), **more)


FLOOR = (
    'permit (principal, action == Action::"read", resource is Entry)\n'
    'when { context.run.bundle == "core" && context.run.dag_id == "daily" && context.run.assurance >= 2 };'
)


def test_run_counts_with_the_proof_it_comes_with():
    floor = policy(FLOOR)
    asks = {"dag_id": "daily", "bundle": "core"}
    assert allows(floor, person(run=run(**asks)))
    assert not allows(floor, person(run=run(assurance=Assurance.CLAIMED, **asks)))
    assert not allows(floor, person(run=run(assurance=Assurance.HOST_USER, **asks)))
    assert not allows(floor, person(run=run(dag_id="daily", bundle="other")))
    assert not allows(floor, person(run=run(dag_id="daily2", bundle="core")))
    assert not allows(floor, person(run=run(bundle="core")))
    assert not allows(floor, person())


@pytest.mark.parametrize("claimed", ["Daily", "daily ", "daily.x", "dail", "x.daily"])
def test_PO13_dag_ids_are_compared_whole(claimed):
    assert not allows(policy(FLOOR), person(run=run(dag_id=claimed, bundle="core")))


def test_remembered_decision_of_one_run_is_none_of_another():
    floor = policy(FLOOR)
    asks = {"dag_id": "daily", "bundle": "core"}
    assert allows(floor, person(run=run(**asks)))
    claimed = person(run=run(assurance=Assurance.CLAIMED, **asks))
    assert floor.remembered(claimed, Action.READ, ORDERS) is None
    assert not allows(floor, claimed)
    assert floor.remembered(claimed, Action.READ, ORDERS).is_allowed is False


@pytest.mark.parametrize(
    ("source", "is_in"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("192.0.2.1", False),
        ("::1", False),
        ("", False),
        ("/run/strongroom.sock", False),
        ("10.1.2.3, 192.0.2.1", False),
        ("10.1.2.3/8", False),
        ("fe80::1%eth0", False),
        ("010.1.2.3", False),
    ],
)
def test_network_is_that_of_the_address_a_request_came_from(source, is_in):
    near = policy(
        'permit (principal, action, resource) when { context has source && context.source.isInRange(ip("10.0.0.0/8")) };'  # noqa: E501
    )
    assert allows(near, person(source=source)) is is_in


def test_assurance_of_the_identity_is_a_floor():
    floor = policy("permit (principal, action, resource) when { context.assurance >= 1 };")
    assert allows(floor, person())
    assert not allows(floor, person(assurance=Assurance.CLAIMED))


# --- facts ---------------------------------------------------------------------------------------------

PCI = 'forbid (principal, action, resource is Entry) when { resource.tags.contains("pci") };'


def test_without_facts_what_needs_them_allows_nothing_and_what_forbids_by_them_denies():
    tagged = policy(
        'permit (principal, action, resource is Entry) when { resource.tags.contains("shared") };'
    )
    assert tagged.needs_facts
    assert allows(tagged, person(), facts=Facts(("shared",)))
    assert not allows(tagged, person())
    assert not allows(tagged, person(), facts=Facts())
    forbidden = policy(ALL, PCI)
    assert allows(forbidden, person("op"), facts=Facts(("shared",)))
    assert not allows(forbidden, person("op"), facts=Facts(("pci",)))
    decision = forbidden.decide(person("op"), Action.READ, ORDERS)
    assert (decision.is_allowed, decision.policies) == (False, ("p1",))
    assert "could not be weighed" in decision.reason


def test_what_needs_no_facts_decides_without_them():
    plain = policy(ALL)
    assert not plain.needs_facts
    assert allows(plain, person("op"))
    mixed = policy(
        ALL, 'forbid (principal in Role::"guest", action, resource is Entry) when { resource.owner == "x" };'
    )
    assert mixed.needs_facts
    assert allows(mixed, person("op"))  # the prohibition concerns others
    assert not allows(mixed, person("op", "guest"))


def test_permit_that_needs_facts_does_not_stand_in_the_way_of_one_that_does_not():
    mixed = policy(
        ALL, 'permit (principal, action, resource is Entry) when { resource.tags.contains("shared") };'
    )
    assert allows(mixed, person("op"))
    assert not allows(mixed, person())


def test_type_and_owner_that_are_not_said_are_empty():
    unowned = policy(
        'permit (principal, action, resource is Entry) when { resource.owner == "" && resource.conn_type == "" };'  # noqa: E501
    )
    assert allows(unowned, person(), facts=Facts())
    assert not allows(unowned, person(), facts=Facts(owner="anna"))


def test_room_has_no_facts_to_wait_for():
    assert allows(policy(ALL, PCI), person("op"), Action.ADMINISTER, None)


# --- errors --------------------------------------------------------------------------------------------


def test_PO09_policy_that_fails_denies_though_another_allows():
    failing = policy(
        ALL,
        "forbid (principal, action, resource is Entry) when { 9223372036854775807 + context.assurance > 0 };",
    )
    decision = failing.decide(person("op"), Action.READ, ORDERS)
    assert (decision.is_allowed, decision.policies, decision.reason) == (
        False,
        ("p1",),
        "could not be weighed: p1",
    )
    permitting = policy(
        ALL,
        "permit (principal, action, resource is Entry) when { 9223372036854775807 + context.assurance > 0 };",
    )
    assert not allows(permitting, person("op"))


def test_PO09_missing_attribute_denies():
    # No schema lets this through; the engine itself must still not allow.
    missing = policy(ALL, 'forbid (principal, action, resource is Entry) when { resource.nowhere == "x" };')
    assert not allows(missing, person("op"), facts=Facts())


def test_PO09_engine_that_fails_denies(monkeypatch):
    class Panic(BaseException):
        """As those of the engine, no Exception."""

    def fail(*_arguments):
        raise Panic

    everything = policy(ALL)
    monkeypatch.setattr(engine.cedarpy, "is_authorized", fail)
    decision = everything.decide(person("op"), Action.READ, ORDERS)
    assert (decision.is_allowed, decision.reason) == (False, "the policies could not be weighed")


def test_PO09_ten_thousand_rules_are_decided_in_time():
    rules = [
        rule
        for number in range(10_000)
        for rule in parse(
            f"p{number}",
            f'permit (principal == Person::"p{number}", action, resource in Folder::"f{number}");',
        )
    ]
    huge = CedarPolicy(rules, revision="1", deployment="prod")
    assert allows(huge, person(name="p77"), ref=Ref("variable", "f77/x"))
    assert not allows(huge, person(name="p77"), ref=Ref("variable", "f78/x"))
    looked_at = huge._index.candidates(huge._who(person(name="p77"), None), "read", "Entry")
    assert len(looked_at) == 1  # what the engine is asked does not grow with the rules


def test_PO09_where_too_many_could_decide_none_may():
    rules = [
        rule
        for number in range(MAX_CANDIDATES + 1)
        for rule in parse(f"p{number}", "permit (principal, action, resource);")
    ]
    decision = CedarPolicy(rules, revision="1", deployment="prod").decide(person(), Action.READ, ORDERS)
    assert (decision.is_allowed, decision.policies) == (False, ())
    assert "too many" in decision.reason
    with pytest.raises(InvalidInputError, match="concern everybody"):
        check_weight(rules)


def test_more_rules_than_a_deployment_may_have_are_refused():
    rule = parse("p", ALL)[0]
    with pytest.raises(InvalidInputError, match="at most 10000"):
        CedarPolicy([rule] * 10_001, revision="1", deployment="prod")


def test_two_rules_of_one_id_are_refused():
    with pytest.raises(InvalidInputError, match="the id p"):
        CedarPolicy([*parse("p", ALL), *parse("p", PCI)], revision="1", deployment="prod")


def test_role_that_is_a_member_of_itself_is_only_a_role():
    # Roles hold no roles, so there is no cycle to walk; a policy cannot make one.
    assert allows(
        policy('permit (principal, action, resource) when { principal in Role::"op" };'), person("op")
    )


# --- bounds of a credential ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "action", "ref", "is_good"),
    [
        (Scope(), Action.WRITE, ORDERS, True),
        (Scope(actions=("read",)), Action.READ, ORDERS, True),
        (Scope(actions=("read",)), Action.LIST, ORDERS, False),
        (Scope(actions=("read",)), Action.ADMINISTER, None, False),
        (Scope(kinds=("variable",)), Action.READ, ORDERS, False),
        (Scope(teams=("",)), Action.READ, ORDERS, True),
        (Scope(teams=("",)), Action.READ, Ref("variable", "x", "data"), False),
        (Scope(teams=("data",)), Action.READ, ORDERS, False),
        (Scope(names=("orders_*",)), Action.READ, ORDERS, True),
        (Scope(names=("orders",)), Action.READ, ORDERS, False),
        (Scope(names=("pay/*",)), Action.READ, Ref("variable", "pay/x"), True),
        (Scope(names=("pay/*",)), Action.READ, Ref("variable", "payroll"), False),
        (Scope(names=("pay",)), Action.READ, Ref("variable", "payroll"), False),
        (Scope(names=("pay/*",)), Action.LIST, None, True),
        (Scope(names=("pay/*",)), Action.ADMINISTER, None, False),
        (Scope(teams=("data",)), Action.DESCRIBE, None, False),
    ],
)
def test_credential_is_good_for_what_it_is_bounded_to(scope, action, ref, is_good):
    decision = policy(ALL).decide(person("op", scope=scope), action, ref)
    assert decision.is_allowed is is_good
    assert is_good or decision.policies == ("credential-scope",)


def test_the_local_owner_sees_all_there_is_in_his_session_too():
    owner = policy((files("strongroom.policy") / "shipped" / "local-owner.cedar").read_text("utf-8"))
    local = Actor("local:1000", Assurance.HOST_USER)
    assert owner.covers(local, Action.DESCRIBE)
    assert not owner.covers(replace(local, assurance=Assurance.CLAIMED), Action.DESCRIBE)
    floored = "permit (principal is Local, action, resource) when { context.assurance >= 1 && %s };"
    for condition in ('resource.name == "any"', 'resource in Folder::"any"', 'context.run.dag_id == ""'):
        assert not policy(floored % condition).covers(local, Action.DESCRIBE)


def test_nothing_covers_everything_where_a_credential_is_bounded_or_anything_is_forbidden():
    everything = policy(ALL)
    assert everything.covers(person("op"), Action.LIST)
    assert not everything.covers(person("op", scope=Scope(actions=("list",))), Action.LIST)
    assert not everything.covers(person(Role("op", "data")), Action.LIST)
    assert not everything.covers(person(), Action.LIST)
    assert not policy(ALL, PCI).covers(person("op"), Action.LIST)
    guest = policy(ALL, 'forbid (principal in Role::"guest", action, resource);')
    assert guest.covers(person("op"), Action.LIST)
    assert not guest.covers(person("op", Role("guest", "data")), Action.LIST)
    assert not policy("permit (principal, action, resource is Room);").covers(person(), Action.LIST)


# --- approvals -----------------------------------------------------------------------------------------

TWO = 'forbid (principal, action == Action::"reveal", resource) unless { context.approved };'


def test_AA13_denial_that_an_approval_would_turn_says_so():
    two = policy(ALL, TWO)
    decision = two.decide(person("op"), Action.REVEAL, ORDERS)
    assert (decision.is_allowed, decision.reason, decision.policies) == (False, NEEDS_APPROVAL, ("p1",))
    assert two.decide(person(), Action.REVEAL, ORDERS).reason == "forbidden by p1"
    assert allows(two, person("op"))


def test_AA13_approval_is_for_one_actor_one_action_one_entry():
    approved = policy(ALL, TWO, approved=frozenset({("person:anna", "reveal", ORDERS)}))
    assert allows(approved, person("op"), Action.REVEAL)
    assert not allows(approved, person("op", name="bert"), Action.REVEAL)
    assert not allows(approved, person("op"), Action.REVEAL, Ref("connection", "orders_db", "data"))
    assert not allows(approved, person("op"), Action.REVEAL, Ref("variable", "orders_db"))
    assert not allows(approved, person("op"), Action.REVEAL, Ref("connection", "other"))


# --- remembering ---------------------------------------------------------------------------------------


def test_nothing_is_remembered_before_it_was_decided():
    fresh = policy(ALL)
    assert fresh.remembered(person("op"), Action.READ, ORDERS) is None
    decision = fresh.decide(person("op"), Action.READ, ORDERS)
    assert fresh.remembered(person("op"), Action.READ, ORDERS) is decision
    assert fresh.remembered(person("op"), Action.READ, Ref("connection", "other")) is None
    assert fresh.remembered(person(), Action.READ, ORDERS) is None


def test_flood_of_names_is_remembered_within_bounds(monkeypatch):
    monkeypatch.setattr(engine, "_MAX_REMEMBERED", 100)
    bounded = policy(ALL)
    for number in range(1000):
        assert allows(bounded, person("op"), ref=Ref("variable", f"v{number}"))
    assert len(bounded._table) <= 100


def test_what_a_request_says_of_its_run_is_not_kept_at_any_length():
    floor = policy(FLOOR)
    for number in range(50):
        assert not allows(floor, person(run=run(dag_id=f"{number}" * 10_000, bundle="core")))
    assert not floor._table
    assert not any(found.answers for found in floor._slices.values())


@pytest.mark.parametrize("count", [40, 120])
def test_PO09_pattern_of_many_wildcards_takes_no_time(count):
    stars = policy(
        f'forbid (principal, action, resource is Entry) when {{ resource.name like "{"*a" * count}*b" }};',
        ALL,
    )
    assert allows(stars, person("op"), ref=Ref("variable", "a" * 249 + "c"))
    assert not allows(stars, person("op"), ref=Ref("variable", "a" * 249 + "b"))


def test_PO09_policies_that_say_too_much_to_be_weighed_in_time_are_refused_and_deny():
    names = ", ".join(f'"v{number}"' for number in range(4_000))
    text = f"forbid (principal, action, resource is Entry) when {{ [{names}].contains(resource.name) }};"
    rules = [rule for number in range(12) for rule in parse(f"p{number}", text)]
    with pytest.raises(InvalidInputError, match="say too much"):
        check_weight(rules)
    heavy = CedarPolicy([*rules, *parse("all", ALL)], revision="1", deployment="prod")
    assert "too many" in heavy.decide(person("op"), Action.READ, ORDERS).reason


def test_names_that_no_policy_tells_apart_are_one_question(monkeypatch):
    asked = []
    real = engine.cedarpy.is_authorized

    def counted(*arguments):
        asked.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(engine.cedarpy, "is_authorized", counted)
    folder = policy('permit (principal in Role::"op", action, resource in Folder::"pay");')
    for number in range(500):
        folder.decide(person("op", name=f"p{number % 5}"), Action.READ, Ref("variable", f"v{number}"))
        folder.decide(person("op"), Action.READ, Ref("variable", f"pay/v{number}"))
    assert len(asked) == 2


def test_threads_may_ask_at_once():
    shared = policy(ALL, PCI, FLOOR)
    wrong = []

    def ask(number):
        for turn in range(200):
            ref = Ref("variable", f"v{turn}")
            if not allows(shared, person("op"), ref=ref, facts=Facts()):
                wrong.append(ref)
            if allows(shared, person(name=f"x{number}"), ref=ref, facts=Facts()):
                wrong.append(ref)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_policy_knows_no_clock_and_keeps_what_it_was_told():
    until = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert policy(ALL, valid_until=until).valid_until == until
    assert "time" not in vars(engine)
