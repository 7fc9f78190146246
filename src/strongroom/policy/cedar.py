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
from collections import Counter
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import cedarpy
import msgspec

from strongroom.errors import InvalidInputError
from strongroom.policy import Action, Decision
from strongroom.policy.lint import remarks_of
from strongroom.policy.rule import Remark, Rule, Uses, rule_of, together
from strongroom.policy.schema import PRINCIPALS, SCHEMA, address, entry_id, folders, roles_for, said
from strongroom.policy.text import check_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from strongroom.model.ref import Ref
    from strongroom.policy import Actor, Facts
    from strongroom.policy import Scope as Bounds
    from strongroom.policy.rule import Atom

    Approved = frozenset[tuple[str, str, Ref]]

__all__ = ["MAX_RULES", "NEEDS_APPROVAL", "CedarPolicy", "check_weight", "is_within", "parse", "validate"]

MAX_RULES: Final = 10_000
"""Policies of one deployment at most, grants included."""

_MAX_CANDIDATES = 500  # policies that may concern one request; each takes Cedar about a microsecond
_MAX_SHARED = 200  # of those, that concern everybody or name one role or actor
_SMALL = 64  # so many are asked all together: picking some of them out would cost a parse
_MAX_REMEMBERED = 32_768
_MAX_QUESTIONS = 8_192

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


def _check(text: str) -> tuple[list[tuple[str, str]], str | None]:
    """Ask Cedar's validator: (statement, complaint) for each, or what its parser says."""
    result = cedarpy.validate_policies(text, _schema)
    if result.validation_passed:
        return [], None
    if any(not error.policy_id for error in result.errors):
        return [], str(result.errors[0].error)
    return [(error.policy_id, error.error) for error in result.errors], None


def _set_of(rules: Iterable[Rule]) -> cedarpy.PolicySet:
    trees = {rule.id: rule.tree for rule in rules}
    whole = {"templates": {}, "staticPolicies": trees, "templateLinks": []}
    return cedarpy.PolicySet.from_json_str(json.dumps(whole))


# --- from rules to decisions ---------------------------------------------------------------------------


class _Slice(NamedTuple):
    """The rules that could concern one sort of request, and what they look at."""

    rules: tuple[Rule, ...]
    uses: Uses
    context: tuple[str, ...]
    attributes: tuple[str, ...]
    atoms: tuple[Any, ...]
    handle: list[cedarpy.PolicySet]  # empty until it is asked


class _Who(NamedTuple):
    """An actor as policies tell actors apart: by what they name of him."""

    type: str
    id: str
    roles: tuple[str, ...]


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
        _check_rules(rules)
        self.rules = tuple(rules)
        self.revision = revision
        self.deployment = deployment
        self.valid_until = valid_until
        self.approved = approved
        uses = together(rules)
        self._uses = uses
        self.needs_facts = uses.needs_facts
        self._attributes = tuple(sorted(uses.attributes))
        self._atoms = tuple(sorted(uses.atoms, key=_spelling))
        self._index = _Index(self.rules)
        self._whole = [_set_of(self.rules)] if len(self.rules) <= _SMALL else []
        self._slices: dict[tuple[_Who, str, str, bool], _Slice | None] = {}
        self._questions: dict[tuple[object, ...], Decision] = {}
        self._table: dict[tuple[object, ...], Decision] = {}
        self._key = _keying(uses)
        self.remembered: Callable[..., Decision | None] = _remembering(self._table, self._key)

    def decide(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:
        """Decide about *ref*, or about the room where it is None; what cannot be decided is denied."""
        key = self._key(actor, action, ref, facts)
        found = self._table.get(key)
        if found is None:
            found = self.weigh(actor, action, ref, facts)
            if len(self._table) >= _MAX_REMEMBERED:
                self._table.clear()
            self._table[key] = found
        return found

    def weigh(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:
        """Decide without remembering the one question, for whoever asks about everything there is."""
        refusal = _out_of_bounds(actor.scope, action, ref)
        if refusal is not None:
            return refusal
        if ref is None:
            return self._weigh_room(actor, action)
        return self._ask(actor, roles_for(actor, ref.team), action, ref, facts)

    def covers(self, actor: Actor, action: Action) -> bool:
        """Tell whether *actor* may do that to every entry, whatever is known of it; False where unsure."""
        if actor.scope is not None and any(actor.scope):
            return False
        everywhere = roles_for(actor, None)
        somewhere = frozenset(role.name for role in actor.roles)
        for roles in {everywhere, somewhere}:
            found = self._slice(self._who(actor, roles), action, "Entry", has_facts=True)
            if found is None or any(not rule.is_permit for rule in found.rules):
                return False
            if not any(rule.is_unconditional for rule in found.rules):
                return False
        return self._who(actor, everywhere).type != ""

    def looks_at(self, actor: Actor, action: Action, ref: Ref | None) -> frozenset[str]:
        """Give what such decisions look at beside who asks for what: `source`, `run.dag_id` and the like."""
        roles = roles_for(actor, None if ref is None else ref.team)
        kind = "Room" if ref is None else "Entry"
        found = self._slice(self._who(actor, roles), action, kind, has_facts=True)
        return frozenset() if found is None else found.uses.context - {"assurance", "approved"}

    def class_of(self, ref: Ref, facts: Facts) -> object:
        """Give what is equal for two entries that no rule can tell apart, whoever asks for what."""
        known = tuple(_known(ref, facts, self._attributes).values())
        return (ref.kind, ref.team, known, ref.name if self._uses.is_name_whole else _bits(self._atoms, ref))

    def _weigh_room(self, actor: Actor, action: Action) -> Decision:
        """
        Decide about the room as a whole, where only roles for all of it count.

        Opening a listing is the exception: what stands in it is decided one by one, so that a role for
        one team is enough.
        """
        roles = [roles_for(actor, None)]
        if action is Action.LIST:
            roles += [
                roles_for(actor, team) for team in dict.fromkeys(role.team for role in actor.roles) if team
            ]
        decisions = [self._ask(actor, one, action, None, None) for one in roles]
        return next((found for found in decisions if found.is_allowed), decisions[0])

    # --- one question ------------------------------------------------------------------------------------

    def _ask(
        self, actor: Actor, roles: frozenset[str], action: Action, ref: Ref | None, facts: Facts | None
    ) -> Decision:
        who = self._who(actor, roles)
        if not who.type:
            return Decision(is_allowed=False, reason="nobody of this kind is known to policies")
        found = self._slice(who, action, "Room" if ref is None else "Entry", has_facts=facts is not None)
        if found is None:
            return Decision(is_allowed=False, reason="too many policies could decide here, so none may")
        if not found.rules:
            return _NOTHING
        question = _Question(self, found, who, action, actor, ref, facts)
        decision = self._questions.get(question.key)
        if decision is None:
            decision = question.answer()
            if len(self._questions) >= _MAX_QUESTIONS:
                self._questions.clear()
            self._questions[question.key] = decision
        return decision

    def _who(self, actor: Actor, roles: frozenset[str]) -> _Who:
        prefix, _, name = actor.id.partition(":")
        kind = PRINCIPALS.get(prefix, "")
        named = self._uses.literals
        return _Who(
            kind,
            name if (kind, name) in named else "",
            tuple(sorted(role for role in roles if ("Role", role) in named)),
        )

    def _slice(self, who: _Who, action: Action, kind: str, *, has_facts: bool) -> _Slice | None:
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
        if len(rules) <= _MAX_CANDIDATES:
            # All together decide as those would that can be meant: the scopes of the others fit nothing here.
            made = _slice_of(rules, self._whole if len(rules) == len(candidates) else [])
        if len(self._slices) >= _MAX_QUESTIONS:
            self._slices.clear()
        self._slices[key] = made
        return made


_NOTHING: Final = Decision(is_allowed=False, reason="no policy allows it")

NEEDS_APPROVAL: Final = "a second person has to approve it"
"""The reason of a denial that an approval would turn."""


class _Index:
    """Finds the rules that could concern somebody by what their scopes name."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._by: dict[tuple[str, str], list[tuple[int, Rule]]] = {}
        for number, rule in enumerate(rules):
            self._by.setdefault(self.named(rule), []).append((number, rule))

    @staticmethod
    def named(rule: Rule) -> tuple[str, str]:
        """Give whom the scope of a rule names; of one that names nobody, ("", type)."""
        scope = rule.principal
        return scope.equals or scope.within or ("", scope.type or "")

    def candidates(self, who: _Who, action: str, kind: str) -> tuple[Rule, ...]:
        """Give the rules whose scopes fit, in their order."""
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


def _number(entry: tuple[int, Rule]) -> int:
    return entry[0]


def _slice_of(rules: tuple[Rule, ...], handle: list[cedarpy.PolicySet]) -> _Slice:
    uses = together(rules)
    return _Slice(
        rules=rules,
        uses=uses,
        context=tuple(sorted(uses.context)),
        attributes=tuple(sorted(uses.attributes)),
        atoms=tuple(sorted(uses.atoms, key=_spelling)),
        handle=list(handle),
    )


def _spelling(atom: Atom) -> tuple[str, str]:
    return atom.test, atom.text


class _Question:
    """
    One request as its slice of rules sees it.

    Attributes:
        key: equal for two requests exactly where no rule of the slice can tell them apart.
    """

    __slots__ = (
        "_actor",
        "_attributes",
        "_context",
        "_parents",
        "_policy",
        "_ref",
        "_slice",
        "_who",
        "_word",
        "key",
    )

    def __init__(  # noqa: PLR0913, PLR0917 -- all that a decision depends on
        self,
        policy: CedarPolicy,
        found: _Slice,
        who: _Who,
        action: Action,
        actor: Actor,
        ref: Ref | None,
        facts: Facts | None,
    ) -> None:
        self._policy = policy
        self._slice = found
        self._who = who
        self._word = action.value
        self._actor = actor
        self._ref = ref
        self._context = {name: self._say(name) for name in found.context}
        self._attributes = {} if ref is None else _known(ref, facts, found.attributes)
        bits: object = None
        self._parents: tuple[str, ...] = ()
        if ref is not None:
            above = frozenset(folders(ref.name))
            self._parents = tuple(sorted(found.uses.folders & above))
            bits = ref if found.uses.is_name_whole else _bits(found.atoms, ref)
        self.key: tuple[object, ...] = (
            who,
            self._word,
            ref is None,
            facts is None,
            tuple(self._context.values()),
            tuple(self._attributes.values()),
            bits,
        )

    def _say(self, name: str) -> object:
        if name.startswith("run."):
            return said(self._actor.run, name[4:])
        if name == "assurance":
            return int(self._actor.assurance)
        if name == "approved":
            return (self._actor.id, self._word, self._ref) in self._policy.approved
        return address(self._actor.source)

    def answer(self) -> Decision:
        """Ask Cedar."""
        decision = self._asked()
        if decision.is_allowed or self._context.get("approved") is not False:
            return decision
        self._context["approved"] = True
        if not self._asked().is_allowed:
            return decision
        return Decision(is_allowed=False, reason=NEEDS_APPROVAL, policies=decision.policies)

    def _asked(self) -> Decision:
        if not self._slice.handle:
            self._slice.handle.append(_set_of(self._slice.rules))
        try:
            result = cedarpy.is_authorized(self._request(), self._slice.handle[0], self._entities())
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 -- the engine's panics are no Exceptions; whatever it is, it denies
            return Decision(is_allowed=False, reason="the policies could not be weighed")
        return _decision(result)

    def _request(self) -> dict[str, Any]:
        resource = _uid("Room", self._policy.deployment)
        if self._ref is not None:
            resource = _uid("Entry", entry_id(self._ref))
        return {
            "principal": self._principal,
            "action": _uid("Action", self._word),
            "resource": resource,
            "context": _json(self._asking()),
        }

    @property
    def _principal(self) -> dict[str, str]:
        return _uid(self._who.type, self._actor.id.partition(":")[2])

    def _asking(self) -> dict[str, object]:
        """Give the context, only what any rule looks at."""
        asking: dict[str, object] = {}
        run: dict[str, object] = {}
        for name, value in self._context.items():
            if name.startswith("run."):
                run[name[4:]] = value
            elif name != "source":
                asking[name] = value
            elif value is not None:
                asking[name] = {"__extn": {"fn": "ip", "arg": value}}
        if run:
            asking["run"] = run
        return asking

    def _entities(self) -> str:
        parents = [_uid("Role", role) for role in self._who.roles]
        entities: list[object] = [{"uid": self._principal, "attrs": {}, "parents": parents}]
        ref = self._ref
        attributes: dict[str, object] = {"deployment": self._policy.deployment}
        if ref is None:
            room = {"uid": _uid("Room", self._policy.deployment), "attrs": attributes, "parents": []}
            return _json([*entities, room])
        attributes |= self._attributes
        attributes |= {"kind": ref.kind, "name": ref.name, "team": ref.team or ""}
        above = [_uid("Folder", folder) for folder in self._parents]
        return _json(
            [*entities, {"uid": _uid("Entry", entry_id(ref)), "attrs": attributes, "parents": above}]
        )


def _uid(kind: str, id_: str) -> dict[str, str]:
    return {"type": kind, "id": id_}


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _bits(atoms: tuple[Atom, ...], ref: Ref) -> tuple[bool, ...]:
    entry = entry_id(ref)
    return tuple([atom.holds(ref, entry) for atom in atoms])


def _known(ref: Ref, facts: Facts | None, attributes: tuple[str, ...]) -> dict[str, object]:
    """Give what is known of *ref* of the *attributes* looked at, but for its name."""
    known: dict[str, object] = {"kind": ref.kind, "team": ref.team or ""}
    if facts is not None:
        known |= {
            "tags": frozenset(facts.tags),
            "conn_type": facts.conn_type or "",
            "owner": facts.owner or "",
        }
    return {name: known[name] for name in attributes if name in known}


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


def _keying(uses: Uses) -> Callable[..., tuple[object, ...]]:
    """Give what turns the arguments of a decision into all that it may depend on, cheaply."""
    has_run = any(name.startswith("run.") for name in uses.context)
    has_source = "source" in uses.context
    needs_facts = uses.needs_facts

    def plain(
        actor: Actor, action: Action, ref: Ref | None, _facts: Facts | None = None
    ) -> tuple[object, ...]:
        return actor.id, actor.roles, actor.scope, actor.assurance._value_, action._value_, ref

    def full(actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> tuple[object, ...]:
        return (
            actor.id,
            actor.roles,
            actor.scope,
            actor.assurance._value_,
            action._value_,
            ref,
            actor.run if has_run else None,
            actor.source if has_source else None,
            facts if needs_facts else None,
        )

    return full if has_run or has_source or needs_facts else plain


def _remembering(
    table: dict[tuple[object, ...], Decision], key: Callable[..., tuple[object, ...]]
) -> Callable[..., Decision | None]:
    def remembered(
        actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None
    ) -> Decision | None:
        return table.get(key(actor, action, ref, facts))

    return remembered


def _check_rules(rules: Sequence[Rule]) -> None:
    if len(rules) > MAX_RULES:
        raise InvalidInputError(f"a deployment has at most {MAX_RULES} policies", limit=MAX_RULES)
    ids = [rule.id for rule in rules]
    if len(set(ids)) < len(ids):
        twice = sorted({id_ for id_ in ids if ids.count(id_) > 1}) if len(ids) <= _MAX_CANDIDATES else []
        raise InvalidInputError(
            f"several policies have one id{': ' + ', '.join(twice) if twice else ''}",
            hint="an @id is given once in a deployment",
        )


def check_weight(rules: Iterable[Rule]) -> None:
    """
    Refuse rules of which too many could concern one request.

    Raises:
        InvalidInputError: that many concern everybody, or somebody who is named.
    """
    named = Counter(_Index.named(rule) for rule in rules)
    shared = sum(count for (kind, _), count in named.items() if not kind)
    if shared > _MAX_SHARED:
        raise InvalidInputError(
            f"at most {_MAX_SHARED} policies may concern everybody",
            limit=_MAX_SHARED,
            hint='name a role or an actor: principal in Role::"…"',
        )
    if any(kind and count > _MAX_SHARED for (kind, _), count in named.items()):
        raise InvalidInputError(
            f"at most {_MAX_SHARED} policies and grants may name one role or actor", limit=_MAX_SHARED
        )


# --- the bounds of a credential --------------------------------------------------------------------------


def _out_of_bounds(  # noqa: PLR0911 -- one bound, one refusal
    scope: Bounds | None, action: Action, ref: Ref | None
) -> Decision | None:
    """Give the refusal of what a credential is not good for, whatever its holder may; else None."""
    if scope is None:
        return None
    if scope.actions and action.value not in scope.actions:
        return _beyond("actions")
    if ref is None:
        # A listing is filtered by name; whatever else is done to the room is done to every name in it.
        is_narrow = bool(scope.kinds or scope.names or scope.teams)
        return _beyond("entries") if is_narrow and action is not Action.LIST else None
    if scope.kinds and ref.kind not in scope.kinds:
        return _beyond("kinds")
    if scope.teams and (ref.team or "") not in scope.teams:
        return _beyond("teams")
    if scope.names and not _globs(scope.names).fullmatch(ref.name):
        return _beyond("names")
    return None


def is_within(scope: Bounds | None, action: Action, ref: Ref | None) -> bool:
    """Tell whether a credential with these bounds is good for that."""
    return _out_of_bounds(scope, action, ref) is None


def _beyond(what: str) -> Decision:
    return Decision(
        is_allowed=False,
        reason=f"the credential is not good for it: outside its {what}",
        policies=("credential-scope",),
    )


@lru_cache(maxsize=1024)
def _globs(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(name) for name in names))
