"""
A right for a time, as the policy it is while it lasts.

Not for when it lasts: that is whose clock says so (`service/policies/book.py`).

Rules of this file:

1. A pattern is a whole name, `pay/*` for all below `pay`, or `*`. Nothing else: `pay*` would mean `payroll`.
2. A grant never turns what a policy forbids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import InvalidInputError
from strongroom.model.principal import check_actor
from strongroom.model.ref import KINDS, Kind, Ref, check_team
from strongroom.policy import Action
from strongroom.policy.rule import rule_of
from strongroom.policy.schema import PRINCIPALS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.policy.rule import Rule

__all__ = ["MAX_NAMES", "Right", "check_right", "rule_of_right"]

MAX_NAMES = 32

_GRANTABLE = frozenset(Action) - {Action.ADMINISTER, Action.BREAK_GLASS}


class Right(NamedTuple):
    """
    What is granted.

    Args:
        actor: whom, as `person:anna`.
        actions: what he may do.
        kinds: of entries; empty for all.
        names: patterns; empty for all.
        team: whose entries, None for the global ones.
    """

    actor: str
    actions: tuple[Action, ...]
    kinds: tuple[Kind, ...] = ()
    names: tuple[str, ...] = ()
    team: str | None = None


def check_right(right: Right) -> Right:
    """
    Give *right* in its one spelling.

    Raises:
        InvalidInputError: an actor, kind, name or team is none; it allows nothing, or to administer.
    """
    actor = check_actor(right.actor)
    if not right.actions or not set(right.actions) <= _GRANTABLE:
        raise InvalidInputError(
            "a grant names one action or more, and neither administer nor break_glass",
            hint="who administers has a role",
        )
    if not set(right.kinds) <= set(KINDS):
        raise InvalidInputError("a kind is connection, variable or config")
    if len(right.names) > MAX_NAMES:
        raise InvalidInputError(f"a grant has at most {MAX_NAMES} names", limit=MAX_NAMES)
    if right.team is not None:
        check_team(right.team)
    names = tuple(dict.fromkeys(_checked(name) for name in right.names))
    return Right(
        actor,
        tuple(sorted(set(right.actions), key=list(Action).index)),
        tuple(dict.fromkeys(right.kinds)),
        () if "*" in names else names,
        right.team,
    )


def _checked(pattern: str) -> str:
    if pattern == "*":
        return pattern
    stem = pattern.removesuffix("/*")
    if "*" in stem or "?" in stem or "[" in stem:
        raise InvalidInputError(
            "a pattern is a name, NAME/* for all below it, or *",
            hint="pay* would also mean payroll; write pay/* or each name",
        )
    name = Ref("variable", stem).name
    return name if stem == pattern else f"{name}/*"


def rule_of_right(id_: str, right: Right) -> Rule:
    """Give the policy that *right*, checked, is."""
    prefix, _, name = right.actor.partition(":")
    conditions: list[dict[str, Any]] = [_is("team", right.team or "")]
    if right.kinds:
        conditions.append(_one_of("kind", right.kinds))
    if right.names:
        conditions.append(_any(_fits(pattern) for pattern in right.names))
    return rule_of(
        id_,
        {
            "effect": "permit",
            "principal": {"op": "==", "entity": {"type": PRINCIPALS[prefix], "id": name}},
            "action": {
                "op": "in",
                "entities": [{"type": "Action", "id": action.value} for action in right.actions],
            },
            "resource": {"op": "is", "entity_type": "Entry"},
            "conditions": [{"kind": "when", "body": body} for body in conditions],
        },
    )


def _attribute(name: str) -> dict[str, Any]:
    return {".": {"left": {"Var": "resource"}, "attr": name}}


def _is(name: str, value: str) -> dict[str, Any]:
    return {"==": {"left": _attribute(name), "right": {"Value": value}}}


def _one_of(name: str, values: tuple[str, ...]) -> dict[str, Any]:
    members = [{"Value": value} for value in values]
    return {"contains": {"left": {"Set": members}, "right": _attribute(name)}}


def _fits(pattern: str) -> dict[str, Any]:
    if not pattern.endswith("/*"):
        return _is("name", pattern)
    letters: list[Any] = [{"Literal": letter} for letter in pattern[:-1]]
    return {"like": {"left": _attribute("name"), "pattern": [*letters, "Wildcard"]}}


def _any(bodies: Iterator[dict[str, Any]]) -> dict[str, Any]:
    first, *rest = bodies
    for body in rest:
        first = {"||": {"left": first, "right": body}}
    return first
