"""Grants and names: what a right for a time means, and which names are free."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import ConflictError, InvalidInputError
from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance
from strongroom.policy.alike import check_free, outline
from strongroom.policy.cedar import CedarPolicy
from strongroom.policy.grant import MAX_NAMES, Right, check_right, rule_of_right

NAMES = ("pay", "pay/db", "pay/eu/db", "payroll", "payroll/db", "orders", 'a"b', "x*", "pay/*x")
ANNA = Actor("person:anna", Assurance.HOST_USER)
READ = (Action.READ,)


def allows(right, ref, action=Action.READ, actor=ANNA):
    rule = rule_of_right("grant:g", check_right(right))
    policy = CedarPolicy([rule], revision="1", deployment="prod")
    return policy.decide(actor, action, ref).is_allowed


def plain(right, ref, action):
    """Say the same in other words."""

    def fits(pattern):
        return ref.name.startswith(pattern[:-1]) if pattern.endswith("/*") else ref.name == pattern

    return (
        action in right.actions
        and (not right.kinds or ref.kind in right.kinds)
        and ref.team == right.team
        and (not right.names or "*" in right.names or any(map(fits, right.names)))
    )


rights = st.builds(
    Right,
    st.just("person:anna"),
    st.lists(st.sampled_from([Action.READ, Action.REVEAL, Action.LIST]), min_size=1, max_size=3).map(tuple),
    st.lists(st.sampled_from(["connection", "variable"]), max_size=2, unique=True).map(tuple),
    st.lists(st.sampled_from(["pay", "pay/*", "pay/eu/*", "orders", 'a"b', "*"]), max_size=4).map(tuple),
    st.none() | st.sampled_from(["data", "other"]),
)


@settings(max_examples=100, deadline=None)
@given(rights)
def test_grant_allows_what_it_says_and_nothing_else(right):
    rule = rule_of_right("grant:g", check_right(right))
    policy = CedarPolicy([rule], revision="1", deployment="prod")
    for name in NAMES:
        for kind in ("connection", "variable"):
            for team in (None, "data"):
                for action in Action:
                    ref = Ref(kind, name, team)
                    assert policy.decide(ANNA, action, ref).is_allowed == plain(right, ref, action)


def test_PO08_pattern_is_of_whole_segments():
    right = Right("person:anna", READ, names=("pay/*",))
    assert allows(right, Ref("variable", "pay/db"))
    assert not allows(right, Ref("variable", "pay"))
    assert not allows(right, Ref("variable", "payroll"))
    assert not allows(Right("person:anna", READ, names=("pay",)), Ref("variable", "payroll"))


@pytest.mark.parametrize(
    "pattern", ["pay*", "*pay", "p?y", "[a]", "pay/*/x", "/", "", "pay/", "/*", "..", "a\\b"]
)
def test_other_patterns_are_refused(pattern):
    with pytest.raises(InvalidInputError):
        check_right(Right("person:anna", READ, names=(pattern,)))


def test_grant_is_for_one_actor_and_of_one_team():
    right = Right("person:anna", READ)
    assert allows(right, Ref("variable", "x"))
    assert not allows(right, Ref("variable", "x", "data"))
    assert not allows(right, Ref("variable", "x"), actor=Actor("service:anna", Assurance.HOST_USER))
    assert not allows(right, None, Action.LIST)


@pytest.mark.parametrize(
    "right",
    [
        Right("anna", READ),
        Right("person:", READ),
        Right("person:anna", ()),
        Right("person:anna", (Action.ADMINISTER,)),
        Right("person:anna", READ, kinds=("secret",)),
        Right("person:anna", READ, team="a/b"),
        Right("person:anna", READ, names=tuple(f"v{number}" for number in range(MAX_NAMES + 1))),
    ],
)
def test_right_that_makes_no_sense_is_refused(right):
    with pytest.raises(InvalidInputError):
        check_right(right)


def test_right_has_one_spelling():
    right = check_right(Right("person:ANNA", (Action.WRITE, Action.READ, Action.READ), names=("b", "a", "b")))
    assert right == Right("person:anna", (Action.READ, Action.WRITE), (), ("b", "a"), None)
    assert check_right(Right("person:anna", READ, names=("a", "*"))).names == ()


# --- names that look alike -----------------------------------------------------------------------------

TAKEN = ("admin", "op", "viewer", "orders-readers", "model")


@pytest.mark.parametrize(
    "name",
    [
        "adm1n",
        "admln",
        "0p",
        "v1ewer",
        "vlewer",
        "orders_readers",
        "orders.readers",
        "rnodel",
        "0rders-reader5",
    ],
)
def test_AA07_name_that_looks_like_another_is_refused(name):
    with pytest.raises(ConflictError, match="looks like another one"):
        check_free(name, TAKEN, what="the id of a policy")


@pytest.mark.parametrize("name", ["Admin", "ADMIN", "\uff41dmin", "\u24d0dmin"])
def test_AA07_spelling_of_a_name_is_that_name(name):
    assert check_free(name, TAKEN, what="it") == "admin"


@pytest.mark.parametrize(
    "name", [" admin", "admin ", "ad min", "\u0430dmin", "admin\u200b", "a\u0301dmin", "", "-admin", "a" * 65]
)
def test_AA07_what_is_no_name_is_refused_and_not_quoted(name):
    with pytest.raises(InvalidInputError) as refused:
        check_free(name, TAKEN, what="the id of a policy")
    assert "dmin" not in str(refused.value)


def test_outline_is_the_same_for_what_looks_alike():
    assert outline("modern") == outline("rnodem") or outline("modern") != outline("model")
    assert outline("vvatch") == outline("watch")
    assert outline("a-b") == outline("a_b") == outline("a.b")
    assert outline("reader") != outline("reaper")
