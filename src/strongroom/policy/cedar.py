"""
Decide with Cedar.

Rules of this file:

1. Cedar alone decides. What stands before it tells which requests are one question to all policies they
   could concern (`rule.Uses`), so that each question is asked once a revision.
2. Nothing is allowed that no policy allows, and what any policy forbids is not, whatever others say; so
   for every action, listing too.
3. A policy that fails denies: one that was left out because of an error could have been the one that
   forbids. Without facts only policies that need none may allow.
4. A decision takes a bounded time: how many policies may concern one request is limited, and so is what
   each may hold (`text.py`).
5. No clock: what ends on time is not in the rules of the next revision (`service/policies.py`).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from strongroom.errors import BackendConfigError, InvalidInputError
from strongroom.model.ref import Ref
from strongroom.policy import Action, Decision
from strongroom.policy.bounds import out_of_bounds
from strongroom.policy.index import (
    MAX_CANDIDATES,
    MAX_WEIGHT,
    Index,
    Slice,
    Who,
    check_rules,
    in_order,
    slice_of,
)
from strongroom.policy.lint import remarks_of
from strongroom.policy.question import Question, key_of, known, tested
from strongroom.policy.rule import Rule, Uses, is_deeper, rule_of, together
from strongroom.policy.schema import PRINCIPALS, SCHEMA, roles_for
from strongroom.policy.text import check_text

try:
    import cedarpy
except ModuleNotFoundError:
    raise BackendConfigError(
        "policies are decided by Cedar, which is not installed here", hint='pip install "strongroom[server]"'
    ) from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from strongroom.policy import Actor, Facts
    from strongroom.policy.question import Approved
    from strongroom.policy.rule import Remark

    _Asked = tuple[object, ...]
    _Key = Callable[..., _Asked]
    _Remembered = Callable[..., Decision | None]

__all__ = ["NEEDS_APPROVAL", "CedarPolicy", "parse", "validate"]

_MAX_DEPTH = 100  # of a policy's JSON: Cedar reads 128, the set around it included
_SMALL = 64  # so many are asked all together: picking some of them out would cost a parse
_FEW = 3  # unless it is these: a parse of so few costs less than asking the others
_MAX_KEPT = 1_024  # characters of run and source that are kept for a decision
_MAX_REMEMBERED = 32_768
_MAX_ANSWERS = 8_192
_MAX_SLICES = 2_048

_schema = cedarpy.Schema.from_str(SCHEMA)
_FAILED = re.compile(r"error while evaluating policy `([^`]*)`")


# --- from text to rules --------------------------------------------------------------------------------


def parse(id_: str, text: str) -> tuple[Rule, ...]:
    """
    Read one document.

    Args:
        id_: of the document; the id of its only statement, and of those that have no `@id` of their own
            with their number.
        text: Cedar.

    Raises:
        InvalidInputError: it is no Cedar, or more than `text.check_text` lets through.
    """
    text = check_text(text)
    try:
        found = msgspec.json.decode(cedarpy.policies_to_json_str(text))
    except (ValueError, RecursionError):
        # What the parser says quotes the text; `validate` tells more.
        raise InvalidInputError(
            "the text is no Cedar policy", hint="strongroom access policies validate says where"
        ) from None
    if found["templates"]:
        raise InvalidInputError(
            "a policy must not have slots (?principal, ?resource)", hint="name whom it concerns, or a role"
        )
    trees = found["staticPolicies"]
    if any(is_deeper(tree, _MAX_DEPTH) for tree in trees.values()):
        raise InvalidInputError(
            "a policy joins too many conditions, one in the other",
            limit=_MAX_DEPTH,
            hint='make it several policies, or compare with a set: ["a", "b"].contains(resource.name)',
        )
    if not trees:
        raise InvalidInputError("the text holds no policy", hint="it begins with permit or forbid")
    return tuple(
        rule_of(_statement_id(id_, trees[name], number, len(trees)), trees[name])
        for number, name in enumerate(sorted(trees, key=lambda name: int(name.removeprefix("policy"))), 1)
    )


def _statement_id(document: str, tree: Mapping[str, Any], number: int, count: int) -> str:
    said = (tree.get("annotations") or {}).get("id")
    if said:
        return str(said)
    return document if count == 1 else f"{document}.{number}"


def validate(id_: str, text: str, *, roles: Iterable[str] = ()) -> tuple[Remark, ...]:
    """
    Say what is wrong with a document, or doubtful about it.

    Args:
        id_: of the document.
        text: Cedar.
        roles: names of the roles there are; others are remarked on.

    Returns:
        errors first; none of them where it may become a policy.
    """
    return remarks_of(id_, text, roles=frozenset(roles), read=parse, check=_check)


def _check(text: str) -> list[tuple[int | None, str]]:
    """Ask Cedar's validator: (number of the statement, complaint) for each; none where it is content."""
    result = cedarpy.validate_policies(text, _schema)
    if result.validation_passed:
        return []
    found = [(_number(error.policy_id), str(error.error)) for error in result.errors]
    return found or [(None, "refused")]


def _number(policy_id: str) -> int | None:
    number = policy_id.removeprefix("policy")
    return int(number) if number.isascii() and number.isdigit() else None


def _set_of(rules: Iterable[Rule]) -> cedarpy.PolicySet:
    trees = {rule.id: rule.tree for rule in rules}
    whole = {"templates": {}, "staticPolicies": trees, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(whole))


# --- from rules to decisions ---------------------------------------------------------------------------


class CedarPolicy:
    """
    Decide by a fixed set of rules.

    Args:
        rules: what is in force; ids are unique.
        revision: of all rules together; stands beside decisions.
        deployment: whose entries these are.
        valid_until: when the set of rules ends to be the one in force, for whoever has a clock.
        approved: (id of the actor, action, ref) a second person has agreed to.

    Attributes:
        remembered: gives the decision made before on the same question, None where there was none; takes
            no lock and asks nobody. Takes the arguments of `decide`.
        needs_facts: whether any rule looks at what is public about an entry.

    Raises:
        InvalidInputError: there are too many rules, or two of one id.

    Threads: may be used from several threads at once.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        revision: str,
        deployment: str,
        valid_until: datetime | None = None,
        approved: Approved = frozenset(),
    ) -> None:
        check_rules(rules)
        self.rules = tuple(rules)
        self.revision = revision
        self.deployment = deployment
        self.valid_until = valid_until
        self.approved = approved
        uses = together(rules)
        self._uses = uses
        self.needs_facts = uses.needs_facts
        self._attributes = tuple(sorted(uses.attributes))
        self._atoms = in_order(uses)
        self._index = Index(self.rules)
        self._whole = [_set_of(self.rules)] if len(self.rules) <= _SMALL else []
        self._slices: dict[tuple[Who, str, str, bool], Slice | None] = {}
        self._answered = 0
        self._whos: dict[tuple[object, ...], Who] = {}
        self._table: dict[tuple[object, ...], Decision] = {}
        self._key, self.remembered = _remembering(uses, self._table)

    def decide(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:
        """Decide about *ref*, or about the room where it is None; what cannot be decided is denied."""
        found = self.remembered(actor, action, ref, facts)
        if found is None:
            found = self.weigh(actor, action, ref, facts)
            if not _is_short(actor):
                return found
            if len(self._table) >= _MAX_REMEMBERED:
                self._table.clear()
            self._table[self._key(actor, action, ref, facts)] = found
        return found

    def knows(self, actor: Actor, action: Action, ref: Ref | None) -> bool:  # noqa: ARG002 -- the promise of Policy
        """Nobody is asked."""
        return True

    def weigh(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:
        """Decide without remembering the one question, for whoever asks about everything there is."""
        refusal = out_of_bounds(actor.scope, action, ref)
        if refusal is not None:
            return refusal
        if ref is None:
            return self._weigh_room(actor, action)
        return self._ask(actor, self._who(actor, ref.team), action, ref, facts)

    def covers(self, actor: Actor, action: Action) -> bool:
        """Tell whether *actor* may do that to every entry, whatever is known of it; False where unsure."""
        if actor.scope is not None and any(actor.scope):
            return False
        everywhere = self._who(actor, None)
        somewhere = self._seen(actor.id, frozenset(role.name for role in actor.roles))
        for who in {everywhere, somewhere}:
            found = self._slice(who, action, "Entry", has_facts=True)
            if found is None or any(not rule.is_permit for rule in found.rules):
                return False
            if not any(
                rule.is_unconditional or self._allows_all(rule, actor, action) for rule in found.rules
            ):
                return False
        return everywhere.type != ""

    def _allows_all(self, rule: Rule, actor: Actor, action: Action) -> bool:
        """Tell whether *rule* looks at nothing but how *actor* was proven, and allows what he asks."""
        if not rule.is_alike:
            return False
        alone = CedarPolicy([rule], revision=self.revision, deployment=self.deployment)
        return alone.weigh(actor, action, _ANY).is_allowed

    def looks_at(self, actor: Actor, action: Action, ref: Ref | None) -> frozenset[str]:
        """Give what such decisions look at beside who asks for what: `source`, `user`, or of the run."""
        kind = "Room" if ref is None else "Entry"
        who = self._who(actor, None if ref is None else ref.team)
        found = self._slice(who, action, kind, has_facts=True)
        return frozenset() if found is None else found.uses.context - {"assurance", "approved"}

    def class_of(self, ref: Ref, facts: Facts) -> object:
        """Give what is equal for two entries that no rule can tell apart, whoever asks for what."""
        looked_at = tuple(known(ref, facts, self._attributes).values())
        name = ref.name if self._uses.is_name_whole else tested(self._atoms, ref)
        return (ref.kind, ref.team, looked_at, name)

    def _weigh_room(self, actor: Actor, action: Action) -> Decision:
        """
        Decide about the room as a whole, where only roles for all of it count.

        Opening a listing is the exception: what stands in it is decided one by one, so that a role for
        one team is enough, or a policy that may let him see any entry.
        """
        teams: list[str | None] = [None]
        if action is Action.LIST:
            teams += dict.fromkeys(role.team for role in actor.roles if role.team)
        decisions = [self._ask(actor, self._who(actor, team), action, None, None) for team in teams]
        found = next((one for one in decisions if one.is_allowed), decisions[0])
        if action is not Action.LIST or found is not _NOTHING:
            return found
        return self._may_see_any(actor, teams)

    def _may_see_any(self, actor: Actor, teams: Iterable[str | None]) -> Decision:
        slices = (self._slice(self._who(actor, team), Action.LIST, "Entry", has_facts=True) for team in teams)
        # What could have been about the room was weighed before, with its conditions.
        ids = {
            rule.id
            for found in slices
            if found is not None
            for rule in found.rules
            if rule.is_permit and not rule.resource.may_fit("Room", "", None)
        }
        if not ids:
            return _NOTHING
        policies = tuple(sorted(ids))
        return Decision(
            is_allowed=True, reason=f"may list what is allowed by {', '.join(policies)}", policies=policies
        )

    # --- one question ------------------------------------------------------------------------------------

    def _ask(self, actor: Actor, who: Who, action: Action, ref: Ref | None, facts: Facts | None) -> Decision:
        if not who.type:
            return Decision(is_allowed=False, reason="nobody of this kind is known to policies")
        found = self._slice(who, action, "Room" if ref is None else "Entry", has_facts=facts is not None)
        if found is None:
            return Decision(is_allowed=False, reason="too many policies could decide here, so none may")
        if not found.rules:
            return _NOTHING
        key = key_of(found, actor, action, ref, facts, self.approved)
        decision = found.answers.get(key)
        if decision is None:
            decision = _answer(
                Question(found, who, actor, action, ref, facts, self.deployment, self.approved)
            )
            if _is_short(actor):
                self._keep(found, key, decision)
        return decision

    def _keep(self, found: Slice, key: tuple[object, ...], decision: Decision) -> None:
        # Losing an answer costs asking again, so what several threads forget at once is no harm.
        self._answered += 1
        if self._answered > _MAX_ANSWERS:
            self._answered = 0
            for one in list(self._slices.values()):
                if one is not None:
                    one.answers.clear()
        found.answers[key] = decision

    def _who(self, actor: Actor, team: str | None) -> Who:
        """Give *actor* as the rules see him before what *team* owns."""
        key = (actor.id, actor.roles, team)
        found = self._whos.get(key)
        if found is None:
            if len(self._whos) >= _MAX_ANSWERS:
                self._whos.clear()
            found = self._whos[key] = self._seen(actor.id, roles_for(actor, team))
        return found

    def _seen(self, id_: str, roles: frozenset[str]) -> Who:
        prefix, _, name = id_.partition(":")
        kind = PRINCIPALS.get(prefix, "") if name else ""
        named = self._uses.literals
        return Who(
            kind,
            name if (kind, name) in named else "",
            tuple(sorted(role for role in roles if ("Role", role) in named)),
        )

    def _slice(self, who: Who, action: Action, kind: str, *, has_facts: bool) -> Slice | None:
        """Give the rules that could concern such a request; None where they are too many to weigh."""
        key = (who, action.value, kind, has_facts)
        try:
            return self._slices[key]
        except KeyError:
            pass
        rules = candidates = self._index.candidates(who, action.value, kind)
        if not has_facts:
            # Without facts only what needs none may allow; what forbids fails, and denies.
            rules = tuple(rule for rule in candidates if not (rule.is_permit and rule.uses.needs_facts))
        made = None
        if len(rules) <= MAX_CANDIDATES and sum(rule.weight for rule in rules) <= MAX_WEIGHT:
            # All together decide as those would that can be meant: the scopes of the others fit nothing here.
            is_whole = len(rules) == len(candidates) and len(rules) > _FEW
            made = slice_of(rules, self._whole if is_whole else [])
        if len(self._slices) >= _MAX_SLICES:
            self._slices.clear()
        self._slices[key] = made
        return made


def _is_short(actor: Actor) -> bool:
    """Tell whether what *actor* brings may be kept: a request may say of its run whatever it likes."""
    brought = (actor.source, actor.user, *(text for text in actor.run or () if isinstance(text, str)))
    return sum(map(len, brought)) <= _MAX_KEPT


_ANY: Final = Ref("variable", "any")
_NOTHING: Final = Decision(is_allowed=False, reason="no policy allows it")

NEEDS_APPROVAL: Final = "a second person has to approve it"
"""The reason of a denial that an approval would turn."""


def _answer(question: Question) -> Decision:
    """Ask Cedar; where an approval is looked at and there is none, whether one would help."""
    decision = _asked(question)
    if decision.is_allowed or "approved" not in question.found.context:
        return decision
    if not _asked(question, is_approved=True).is_allowed:
        return decision
    return Decision(is_allowed=False, reason=NEEDS_APPROVAL, policies=decision.policies)


def _asked(question: Question, *, is_approved: bool | None = None) -> Decision:
    handle = question.found.handle
    try:
        if not handle:
            handle.append(_set_of(question.found.rules))
        result = cedarpy.is_authorized(
            question.request(is_approved=is_approved), handle[0], question.entities()
        )
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 -- the engine's panics are no Exceptions; whatever it is, it denies
        return Decision(is_allowed=False, reason="the policies could not be weighed")
    return _decision(result)


def _decision(result: cedarpy.AuthzResult) -> Decision:
    failed = [found[1] for error in result.diagnostics.errors if (found := _FAILED.search(error))]
    if result.diagnostics.errors:
        names = ", ".join(sorted(failed))
        return Decision(
            is_allowed=False,
            reason=f"could not be weighed: {names or 'a policy'}",
            policies=tuple(sorted(failed)),
        )
    policies = tuple(sorted(result.diagnostics.reasons))
    if result.allowed:
        return Decision(is_allowed=True, reason=f"allowed by {', '.join(policies)}", policies=policies)
    if policies:
        return Decision(is_allowed=False, reason=f"forbidden by {', '.join(policies)}", policies=policies)
    return _NOTHING


# --- remembering -----------------------------------------------------------------------------------------


def _remembering(uses: Uses, table: dict[tuple[object, ...], Decision]) -> tuple[_Key, _Remembered]:
    """
    Give what turns the arguments of a decision into all that it may depend on, and what looks it up.

    The look-up is written out a second time, as most decisions of a process end in it: a call of the first
    would cost it a third. It tells what is remembered, so it never has to be asked twice.
    """
    has_run = any(name.startswith("run.") for name in uses.context)
    has_source = "source" in uses.context
    has_user = "user" in uses.context
    needs_facts = uses.needs_facts
    get = table.get

    def plain_key(actor: Actor, action: Action, ref: Ref | None, _facts: Facts | None = None) -> _Asked:
        return actor.id, actor.roles, actor.scope, actor.assurance._value_, action._value_, ref

    def plain(actor: Actor, action: Action, ref: Ref | None, _facts: Facts | None = None) -> Decision | None:
        return get((actor.id, actor.roles, actor.scope, actor.assurance._value_, action._value_, ref))

    def full_key(actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> _Asked:
        return (
            *plain_key(actor, action, ref),
            actor.run if has_run else None,
            actor.source if has_source else None,
            actor.user if has_user else None,
            facts if needs_facts else None,
        )

    def full(actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision | None:
        return get(full_key(actor, action, ref, facts))

    return (full_key, full) if has_run or has_source or has_user or needs_facts else (plain_key, plain)
