"""
One policy as a tree: whom it may concern, and what its answer depends on.

Nothing is decided here: that is Cedar's (`cedar.py`). What a policy looks at tells which requests are one
question to it, so that each question is asked once; what is not understood counts as looking at everything.

Source: https://docs.cedarpolicy.com/policies/json-format.html
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from strongroom.policy import Action
from strongroom.policy.schema import FACTS, RUN

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from strongroom.model.ref import Ref

    Tree = Mapping[str, Any]

__all__ = [
    "Atom",
    "Remark",
    "Rule",
    "Scope",
    "Uses",
    "conjuncts",
    "is_deeper",
    "path_of",
    "rule_of",
    "together",
    "walk",
]

ALL_ACTIONS: Final = frozenset(action.value for action in Action)
_MAX_ATOMS = 256  # tests of a name, 0.1 µs each; more, and the name itself is what counts
_OPERANDS = ("left", "right", "arg", "if", "then", "else", "in")
_ALWAYS = frozenset({"deployment", "kind", "name", "team"})  # known of every entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """
    What is to be said of a policy.

    Args:
        severity: an error stands in the way of the policy, a warning does not.
        message: one clause; names what is wrong.
        hint: what to write instead.
        policy: the id of the statement.
        line, column: where, from 1; None for the whole text.
    """

    severity: Literal["error", "warning"]
    message: str
    hint: str | None = None
    policy: str | None = None
    line: int | None = None
    column: int | None = None


class Scope(NamedTuple):
    """
    What a scope says of a principal or resource: all that is said must hold.

    Args:
        type: it is of this type; None for any.
        equals: it is this one, (type, id).
        within: it is this one or in it, (type, id).
    """

    type: str | None = None
    equals: tuple[str, str] | None = None
    within: tuple[str, str] | None = None

    def may_fit(self, kind: str, id_: str, parents: frozenset[str] | None) -> bool:
        """
        Tell whether something could be meant.

        Args:
            kind: its type.
            id_: its id.
            parents: ids of the roles it is in; None where its parents are not looked at.
        """
        if self.type is not None and self.type != kind:
            return False
        if self.equals is not None:
            return self.equals[0] == kind if parents is None else self.equals == (kind, id_)
        if self.within is None or parents is None:
            return (
                self.within is None or self.within[0] == kind or (self.within[0], kind) == ("Folder", "Entry")
            )
        return self.within == (kind, id_) or (self.within[0] == "Role" and self.within[1] in parents)


class Atom(NamedTuple):
    """
    One test of a name that gives yes or no.

    Args:
        parts: of a pattern, what stands between its wildcards.
    """

    test: Literal["is", "like", "under", "entry"]
    text: str
    parts: tuple[str, ...] = ()

    def holds(self, ref: Ref, entry: str) -> bool:
        """Tell whether it holds of *ref*, whose id is *entry*."""
        if self.test == "is":
            return ref.name == self.text
        if self.test == "entry":
            return entry == self.text
        if self.test == "like":
            return _fits(self.parts, ref.name)
        return ref.name == self.text or ref.name.startswith(f"{self.text}/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """
    What a policy looks at.

    Args:
        context: attributes of `context`, those of the run as `run.dag_id`.
        attributes: of the entry.
        atoms: tests of its name.
        is_name_whole: the name is looked at in a way that no test of it stands for.
        folders: ids of folders that are named.
        literals: principals and roles that are named, as (type, id).
    """

    context: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()
    atoms: frozenset[Atom] = frozenset()
    is_name_whole: bool = False
    folders: frozenset[str] = frozenset()
    literals: frozenset[tuple[str, str]] = frozenset()

    @property
    def needs_facts(self) -> bool:
        """Whether it looks at what is only known of an entry that was looked at."""
        return not self.attributes.isdisjoint(FACTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """
    One policy.

    Args:
        id: stands in decisions and records.
        is_permit: it allows; else it forbids.
        tree: as Cedar's JSON has it.
        actions: words of `Action` it may concern.
        conditions: how many `when` and `unless` it has.
        weight: nodes of its tree, a measure of how long it takes to weigh.
    """

    id: str
    is_permit: bool
    tree: Tree
    principal: Scope
    actions: frozenset[str]
    resource: Scope
    uses: Uses
    conditions: int = 0
    weight: int = 1
    description: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_unconditional(self) -> bool:
        """Whether it concerns every entry whatever is known of it."""
        return not self.conditions and self._is_of_all

    @property
    def is_alike(self) -> bool:
        """Whether it says the same of every entry: all it looks at is how somebody was proven."""
        uses = self.uses
        looks = uses.attributes or uses.atoms or uses.is_name_whole or uses.folders
        return self._is_of_all and not looks and uses.context <= {"assurance"}

    @property
    def _is_of_all(self) -> bool:
        whole = self.resource.equals is None and self.resource.within is None
        return whole and self.resource.type in (None, "Entry")


def rule_of(id_: str, tree: Tree) -> Rule:
    """
    Take a policy apart.

    Args:
        id_: its id from here on.
        tree: Cedar's JSON of one policy without slots.
    """
    notes: dict[str, str] = dict(tree.get("annotations") or {})
    conditions = tree.get("conditions") or []
    return Rule(
        id=id_,
        is_permit=tree["effect"] == "permit",
        tree={key: value for key, value in tree.items() if key != "annotations"},
        principal=_scope(tree["principal"]),
        actions=_actions(tree["action"]),
        resource=_scope(tree["resource"]),
        uses=_Reader().read(tree),
        conditions=len(conditions),
        weight=sum(1 for _ in walk(tree)) + 4,  # the scope
        description=notes.get("description", ""),
        annotations=notes,
    )


def together(rules: Iterable[Rule]) -> Uses:
    """Give what *rules* look at together."""
    uses = [rule.uses for rule in rules]
    atoms = frozenset[Atom]().union(*(one.atoms for one in uses))
    return Uses(
        context=frozenset[str]().union(*(one.context for one in uses)),
        attributes=frozenset[str]().union(*(one.attributes for one in uses)),
        atoms=atoms,
        is_name_whole=any(one.is_name_whole for one in uses) or len(atoms) > _MAX_ATOMS,
        folders=frozenset[str]().union(*(one.folders for one in uses)),
        literals=frozenset[tuple[str, str]]().union(*(one.literals for one in uses)),
    )


def is_deeper(tree: Any, limit: int) -> bool:  # noqa: ANN401 -- JSON
    """Tell whether JSON nests deeper than *limit*."""
    level = [tree]
    for _ in range(limit):
        level = [
            inner
            for node in level
            for inner in (node.values() if isinstance(node, dict) else node)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def walk(tree: Tree) -> Iterator[tuple[str, Any]]:
    """Give every (operator, operands) of the conditions of a policy, in no order."""
    rest: list[Any] = [condition["body"] for condition in tree.get("conditions") or []]
    while rest:
        node = rest.pop()
        if isinstance(node, dict):
            yield from node.items()
            rest.extend(node.values())
        elif isinstance(node, list):
            rest.extend(node)


def conjuncts(body: Tree) -> Iterator[Tree]:
    """Give what *body* joins by `&&`: each must hold for all of it."""
    rest = [body]
    while rest:
        node = rest.pop()
        if "&&" in node:
            rest += [node["&&"]["left"], node["&&"]["right"]]
        else:
            yield node


def path_of(node: Any) -> tuple[str, ...] | None:  # noqa: ANN401 -- JSON
    """Give ("context", "run", "dag_id") of `context.run.dag_id`, None of anything else."""
    return _path(node["."]) if isinstance(node, dict) and "." in node else None


def _uid(entity: Tree) -> tuple[str, str]:
    found: Tree = entity.get("__entity", entity)
    return found["type"], found["id"]


def _scope(said: Tree) -> Scope:
    operator = said["op"]
    if operator == "==":
        return Scope(equals=_uid(said["entity"]))
    if operator == "in":
        return Scope(within=_uid(said["entity"]))
    if operator == "is":
        inner = said.get("in")
        return Scope(type=said["entity_type"], within=_uid(inner["entity"]) if inner else None)
    return Scope()


def _actions(said: Tree) -> frozenset[str]:
    if said["op"] == "All":
        return ALL_ACTIONS
    entities = said["entities"] if "entities" in said else [said["entity"]]
    return frozenset(_uid(entity)[1] for entity in entities)


class _Reader:
    """Finds what a tree looks at, without recursing: a policy may nest as deep as `text.py` lets it."""

    def __init__(self) -> None:
        self._context: set[str] = set()
        self._attributes: set[str] = set()
        self._atoms: set[Atom] = set()
        self._folders: set[str] = set()
        self._literals: set[tuple[str, str]] = set()
        self._is_name_whole = False

    def read(self, tree: Tree) -> Uses:
        for part in ("principal", "resource"):
            scope = _scope(tree[part])
            for uid in (scope.equals, scope.within):
                if uid is not None:
                    self._literal(*uid)
        rest: list[Any] = [condition["body"] for condition in tree.get("conditions") or []]
        while rest:
            rest.extend(self._visit(rest.pop()))
        return Uses(
            context=frozenset(self._context),
            attributes=frozenset(self._attributes),
            atoms=frozenset(self._atoms),
            is_name_whole=self._is_name_whole,
            folders=frozenset(self._folders),
            literals=frozenset(self._literals),
        )

    def _visit(self, node: Any) -> Iterator[Any]:  # noqa: ANN401 -- JSON
        """Note what an expression itself says; give the expressions in it that are not understood yet."""
        if not isinstance(node, dict) or len(node) != 1:
            self._unknown()
            return
        ((operator, operands),) = node.items()
        if operator == "Value":
            self._value(operands)
        elif operator == "Var":
            self._whole(operands)
        elif operator == "Record":
            yield from operands.values()
        elif isinstance(operands, list):  # a set, or the arguments of a function
            yield from operands
        else:
            yield from self._operation(operator, operands)

    def _operation(self, operator: str, operands: Tree) -> Iterator[Any]:
        if operator in (".", "has") and operands["attr"] in FACTS:
            self._attributes.add(operands["attr"])
        if operator == "." and (path := _path(operands)):
            self._attribute(*path)
        elif operator == "has" and _is_var(operands["left"], "context"):
            self._attribute("context", operands["attr"])
        elif operator in ("in", "is", "==", "!=") and _is_var(operands["left"]):
            # Which one it is and what it is in is told by the literals beside it.
            beside = [operands[key] for key in ("right", "in") if key in operands]
            yield from beside
            if not all(_is_literal(one) for one in beside):
                self._whole(operands["left"]["Var"])
        elif (atoms := _atoms(operator, operands)) is not None:
            self._atoms.update(atoms)
            self._attributes.add("name")
        else:
            yield from (operands[key] for key in _OPERANDS if key in operands)
            if not any(key in operands for key in _OPERANDS):
                self._unknown()

    def _value(self, value: Any) -> None:  # noqa: ANN401 -- JSON
        if isinstance(value, dict) and "__entity" in value:
            self._literal(*_uid(value))
        elif isinstance(value, (dict, list)):
            self._unknown()

    def _unknown(self) -> None:
        """Take it that what is not understood looks at everything."""
        self._whole("context")
        self._whole("resource")
        self._attributes.update(FACTS)

    def _whole(self, variable: str) -> None:
        if variable == "context":
            self._context.update(
                ("assurance", "approved", "source", "user", *(f"run.{name}" for name in RUN))
            )
        elif variable == "resource":
            # Its facts are looked at by name, wherever that is done.
            self._attributes |= _ALWAYS
            self._is_name_whole = True

    def _attribute(self, variable: str, *path: str) -> None:
        if variable == "context":
            if path[0] == "run":
                self._context.update([f"run.{path[1]}"] if len(path) > 1 else [f"run.{name}" for name in RUN])
            else:
                self._context.add(path[0])
        elif variable == "resource":
            self._attributes.add(path[0])
            self._is_name_whole |= path[0] == "name"

    def _literal(self, kind: str, id_: str) -> None:
        if kind == "Folder":
            self._folders.add(id_)
            self._atoms.add(Atom("under", id_))
        elif kind == "Entry":
            self._atoms.add(Atom("entry", id_))
        else:
            self._literals.add((kind, id_))


def _is_var(node: Any, name: str | None = None) -> bool:  # noqa: ANN401 -- JSON
    return isinstance(node, dict) and set(node) == {"Var"} and name in (None, node["Var"])


def _is_literal(node: Any) -> bool:  # noqa: ANN401 -- JSON
    if not isinstance(node, dict):
        return False
    if "Set" in node:
        return all(_is_literal(member) for member in node["Set"])
    return isinstance(node.get("Value"), dict) and "__entity" in node["Value"]


def _path(node: Any) -> tuple[str, ...] | None:  # noqa: ANN401 -- JSON
    """Give variable and attributes of `context.run.dag_id`, None of anything else."""
    names: list[str] = []
    while isinstance(node, dict) and "attr" in node:
        names.append(node["attr"])
        inner = node["left"]
        if _is_var(inner):
            return (inner["Var"], *reversed(names))
        node = inner.get(".") if isinstance(inner, dict) else None
    return None


def _is_name(node: Any) -> bool:  # noqa: ANN401 -- JSON
    return path_of(node) == ("resource", "name")


def _text(node: Any) -> str | None:  # noqa: ANN401 -- JSON
    value = node.get("Value") if isinstance(node, dict) else None
    return value if isinstance(value, str) else None


def _atoms(operator: str, operands: Tree) -> list[Atom] | None:
    """Read a test of the entry's name against something written out; None where it is none."""
    if operator == "like" and _is_name(operands["left"]):
        parts = [""]
        for part in operands["pattern"]:
            if part == "Wildcard":
                parts.append("")
            else:
                parts[-1] += part["Literal"]
        return [Atom("like", "*".join(parts), tuple(parts))]
    if operator in ("==", "!="):
        left, right = operands["left"], operands["right"]
        text = _text(right) if _is_name(left) else _text(left) if _is_name(right) else None
        return None if text is None else [Atom("is", text)]
    if operator == "contains" and _is_name(operands["right"]) and "Set" in operands["left"]:
        texts = [_text(member) for member in operands["left"]["Set"]]
        return [Atom("is", text) for text in texts if text is not None] if None not in texts else None
    return None


def _fits(parts: tuple[str, ...], name: str) -> bool:
    """
    Tell whether *name* is *parts* with anything between them.

    Each part is taken where it comes first, which is right wherever the whole fits, and takes a bounded
    time where a regular expression of many wildcards does not.
    """
    if len(parts) == 1:
        return name == parts[0]
    first, *middle, last = parts
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
