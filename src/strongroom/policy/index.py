"""Which rules could concern a request, found by what their scopes name, and what these look at."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from strongroom.errors import InvalidInputError
from strongroom.policy.rule import together

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from strongroom.policy import Decision
    from strongroom.policy.rule import Atom, Rule, Uses

__all__ = [
    "MAX_CANDIDATES",
    "MAX_RULES",
    "MAX_SHARED",
    "MAX_WEIGHT",
    "Index",
    "Slice",
    "Who",
    "check_rules",
    "check_weight",
    "in_order",
    "slice_of",
]

MAX_RULES: Final = 10_000
"""Policies of one deployment at most, grants included."""

MAX_CANDIDATES: Final = 500
"""Policies that may concern one request at most; each takes Cedar about a microsecond."""

MAX_SHARED: Final = 200
"""Of those, policies that concern everybody, or name one role or actor."""

MAX_WEIGHT: Final = 40_000
"""Nodes of all policies that may concern one request; Cedar weighs about 20 in a microsecond."""


class Who(NamedTuple):
    """
    An actor as policies tell actors apart: by what they name of him.

    Args:
        id: "" where no policy names him.
        roles: those that policies name, in order.
    """

    type: str
    id: str
    roles: tuple[str, ...]


class Slice(NamedTuple):
    """
    The rules that could concern one sort of request, and what they look at.

    Args:
        context: attributes of the context, in order.
        attributes: of the entry, in order.
        atoms: tests of its name, in order.
        handle: what the engine made of the rules; empty until it is asked.
        answers: given before, by all that they could depend on.
    """

    rules: tuple[Rule, ...]
    uses: Uses
    context: tuple[str, ...]
    attributes: tuple[str, ...]
    atoms: tuple[Atom, ...]
    handle: list[Any]
    answers: dict[tuple[object, ...], Decision]


def slice_of(rules: tuple[Rule, ...], handle: list[Any]) -> Slice:
    """Join what *rules* look at; *handle* stands for them and perhaps for others that fit nothing here."""
    uses = together(rules)
    return Slice(
        rules=rules,
        uses=uses,
        context=tuple(sorted(uses.context)),
        attributes=tuple(sorted(uses.attributes)),
        atoms=in_order(uses),
        handle=list(handle),
        answers={},
    )


def in_order(uses: Uses) -> tuple[Atom, ...]:
    """Give the tests of a name, always in the same order."""
    return tuple(sorted(uses.atoms, key=_spelling))


def _spelling(atom: Atom) -> tuple[str, str]:
    return atom.test, atom.text


class Index:
    """The rules of a policy by whom their scopes name."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._by: dict[tuple[str, str], list[tuple[int, Rule]]] = {}
        for number, rule in enumerate(rules):
            self._by.setdefault(_named(rule), []).append((number, rule))

    def candidates(self, who: Who, action: str, kind: str) -> tuple[Rule, ...]:
        """Give the rules whose scopes may fit, in their order."""
        names = [("", ""), ("", who.type), (who.type, who.id), *(("Role", role) for role in who.roles)]
        found = [entry for name in dict.fromkeys(names) for entry in self._by.get(name, ())]
        parents = frozenset(who.roles)
        return tuple(
            rule
            for _, rule in sorted(found, key=_number)
            if action in rule.actions
            and rule.principal.may_fit(who.type, who.id, parents)
            and rule.resource.may_fit(kind, "", None)
        )


def _named(rule: Rule) -> tuple[str, str]:
    """Give whom the scope of a rule names; of one that names nobody, ("", type)."""
    scope = rule.principal
    return scope.equals or scope.within or ("", scope.type or "")


def _number(entry: tuple[int, Rule]) -> int:
    return entry[0]


def check_rules(rules: Sequence[Rule]) -> None:
    """
    Refuse rules that cannot be in force together.

    Raises:
        InvalidInputError: there are too many, or two have one id.
    """
    if len(rules) > MAX_RULES:
        raise InvalidInputError(f"a deployment has at most {MAX_RULES} policies", limit=MAX_RULES)
    twice = [id_ for id_, count in Counter(rule.id for rule in rules).items() if count > 1]
    if twice:
        raise InvalidInputError(
            f"several policies have the id {min(twice)}", hint="an @id is given once in a deployment"
        )


def check_weight(rules: Iterable[Rule]) -> None:
    """
    Refuse rules of which too many could concern one request.

    Raises:
        InvalidInputError: that many concern everybody, or somebody who is named.
    """
    counts, weights = Counter[str](), Counter[str]()
    for rule in rules:
        kind, name = _named(rule)
        whom = f"{kind} {name}" if kind else "everybody"
        counts[whom] += 1
        weights[whom] += rule.weight
    for whom, count in counts.items():
        if count > MAX_SHARED:
            raise InvalidInputError(
                f"at most {MAX_SHARED} policies and grants may concern {whom}",
                limit=MAX_SHARED,
                hint='name others: principal in Role::"…"',
            )
        if weights[whom] > MAX_WEIGHT // 4:
            raise InvalidInputError(
                f"the policies that concern {whom} say too much to be weighed in time", limit=MAX_WEIGHT // 4
            )
