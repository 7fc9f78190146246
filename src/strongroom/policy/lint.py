"""
What is wrong with a policy, and what is doubtful about it, told to whoever writes it.

Not for deciding: a policy with warnings counts as it stands.

Rules of this file:

1. An error names what is misspelt and, where there is one, the word that was probably meant.
2. Of the text only words of the policy language and names in it are repeated, never a literal that
   Cedar could not read.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import InvalidInputError
from strongroom.model.principal import canonical
from strongroom.model.ref import KINDS, Ref
from strongroom.policy import Action
from strongroom.policy.rule import Remark, conjuncts, path_of, walk
from strongroom.policy.schema import FACTS, PRINCIPALS, ROLES, RUN, entry_id
from strongroom.policy.text import check_text, place_of, statements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.policy.rule import Rule
    from strongroom.policy.text import Place

    Read = Callable[[str, str], tuple[Rule, ...]]
    Check = Callable[[str], list[tuple[int | None, str]]]

__all__ = ["remarks_of"]

_ATTRIBUTES: Final = {
    "Entry": ("deployment", "kind", "name", "team", *FACTS),
    "Room": ("deployment",),
    "Run": RUN,
    "context": ("assurance", "approved", "run", "source", "user"),
}
_TYPES = (*PRINCIPALS.values(), "Role", "Folder", "Entry", "Room")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def remarks_of(id_: str, text: str, *, roles: frozenset[str], read: Read, check: Check) -> tuple[Remark, ...]:
    """
    Say what is wrong with a document, errors first.

    Args:
        id_: of the document.
        text: Cedar.
        roles: names of the roles there are.
        read: takes the document apart.
        check: asks Cedar's own validator.
    """
    try:
        text = check_text(text)
        rules = read(id_, text)
    except InvalidInputError as error:
        return (_unreadable(error, text, read, check),)
    found = [_translated(complaint, number, rules, text) for number, complaint in check(text)]
    for rule in rules:
        found += _errors(id_, rule)
        found += _warnings(rule, roles | frozenset(ROLES))
    unique = dict.fromkeys(found)
    return tuple(sorted(unique, key=lambda remark: remark.severity != "error"))


# --- what is no Cedar ------------------------------------------------------------------------------------


def _unreadable(error: InvalidInputError, text: str, read: Read, check: Check) -> Remark:
    if error.offset is not None and isinstance(text, str):
        where = place_of(text, error.offset)
        return _error(str(error), hint=error.hint, line=where.line, column=where.column)
    if error.limit is not None or not isinstance(text, str):
        return _error(str(error), hint=error.hint)
    for offset, statement in statements(text):
        try:
            read("statement", statement)
        except InvalidInputError as found:
            if found.hint is not None and "slots" in str(found):
                return _error(str(found), hint=found.hint, line=place_of(text, offset).line)
            said = check(statement)
            return _broken(text, offset, statement, said[0][1] if said else "")
    return _error(str(error), hint=error.hint)


def _broken(text: str, offset: int, statement: str, said: str) -> Remark:
    """Tell where a statement stops being Cedar."""
    where = place_of(text, offset)
    token = re.search(r"`([^`\s\"]{1,40})`", said)
    if token is not None and token[1] in statement:
        where = place_of(text, offset + statement.index(token[1]))
        return _error(f"this is no Cedar at or after {token[1]}", line=where.line, column=where.column)
    hint = 'a policy is: permit (principal in Role::"op", action, resource) when { … };'
    if "end of input" in said:
        return _error("this is no Cedar: it ends too early", hint=hint, line=where.line)
    return _error("this is no Cedar", hint=hint, line=where.line)


# --- what the validator says -----------------------------------------------------------------------------

_PATTERNS: Final = (
    (re.compile(r"attribute `(\w+)` on entity type `(\w+)` not found"), "_attribute"),
    (re.compile(r"attribute `run\.(\w+)` in context for .* not found"), "_run"),
    (re.compile(r"attribute `(\w+)` in context for .* not found"), "_context"),
    (re.compile(r"unrecognized action `Action::\"([^\"`]{1,40})\"`"), "_action"),
    (re.compile(r"unrecognized entity type `(\w{1,40})`"), "_type"),
    (re.compile(r"unable to guarantee safety of access to optional attribute `(\w+)`"), "_optional"),
    (re.compile(r"unexpected type: expected (.+) but saw (.+)$"), "_mismatch"),
    (re.compile(r"the types (\w+) and (\w+) are not compatible"), "_incompatible"),
    (re.compile(r"unable to find an applicable action"), "_applicable"),
    (re.compile(r"failed to parse as (?:an |a )?(IP address|decimal|datetime|duration)"), "_literal"),
    (re.compile(r"empty set literals"), "_empty"),
)


def _translated(complaint: str, number: int | None, rules: tuple[Rule, ...], text: str) -> Remark:
    id_ = rules[number].id if number is not None and number < len(rules) else None
    for pattern, name in _PATTERNS:
        if found := pattern.search(complaint):
            message, hint, word = _SAYINGS[name](*found.groups())
            where = _find(word, number, text)
            line, column = (None, None) if where is None else where
            return _error(message, hint=hint, policy=id_, line=line, column=column)
    return _error("the schema does not allow this", hint="docs/policy.md lists what there is", policy=id_)


def _find(word: str, number: int | None, text: str) -> Place | None:
    """Give where *word* stands in a statement; without a word, where the statement begins."""
    if number is None:
        return None
    offset, statement = list(statements(text))[number]
    found = re.search(rf"\b{re.escape(word)}\b", statement) if word else None
    return place_of(text, offset + (found.start() if found else 0))


def _near(word: str, known: tuple[str, ...]) -> str | None:
    close = get_close_matches(word.lower(), known, 1, 0.5)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"


def _say_attribute(name: str, kind: str) -> tuple[str, str | None, str]:
    if kind == "Room" and name in _ATTRIBUTES["Entry"]:
        return f"a room has no {name}", 'say that only entries are meant: "resource is Entry"', name
    what = {"Entry": "an entry", "Room": "a room", "Run": "a run"}.get(kind, kind)
    return f"{what} has no attribute {name}", _near(name, _ATTRIBUTES.get(kind, ())), name


def _say_context(name: str) -> tuple[str, str | None, str]:
    return f"the context has no attribute {name}", _near(name, _ATTRIBUTES["context"]), name


def _say_run(name: str) -> tuple[str, str | None, str]:
    return f"a run has no attribute {name}", _near(name, RUN), name


def _say_action(name: str) -> tuple[str, str | None, str]:
    return f"there is no action {name}", _near(name, tuple(action.value for action in Action)), name


def _say_type(name: str) -> tuple[str, str | None, str]:
    close = get_close_matches(name, _TYPES, 1, 0.5)
    known = f"did you mean {close[0]}?" if close else f"there are: {', '.join(_TYPES)}"
    return f"there is no type {name}", known, name


def _say_optional(name: str) -> tuple[str, str | None, str]:
    return (
        f"not every request has {name}",
        f"ask first: context has {name} && context.{name}…",
        name,
    )


def _say_mismatch(wanted: str, seen: str) -> tuple[str, str | None, str]:
    shorten = re.compile(r"__cedar::internal::|[^\w<>, ]")
    return f"a {shorten.sub('', seen)} stands where {shorten.sub('', wanted)} is needed", None, ""


def _say_applicable() -> tuple[str, str | None, str]:
    return "it can never concern anything: no action fits what it names", None, ""


def _say_incompatible(one: str, other: str) -> tuple[str, str | None, str]:
    return f"a {one} and a {other} are never equal", "compare what is of one type", ""


def _say_literal(what: str) -> tuple[str, str | None, str]:
    return f"this is no {what}", 'as in ip("10.0.0.0/8")' if what == "IP address" else None, ""


def _say_empty() -> tuple[str, str | None, str]:
    return "a set with nothing in it fits nothing", "name what is meant", ""


_SAYINGS: Final[dict[str, Callable[..., tuple[str, str | None, str]]]] = {
    "_attribute": _say_attribute,
    "_context": _say_context,
    "_run": _say_run,
    "_action": _say_action,
    "_type": _say_type,
    "_optional": _say_optional,
    "_mismatch": _say_mismatch,
    "_applicable": _say_applicable,
    "_incompatible": _say_incompatible,
    "_literal": _say_literal,
    "_empty": _say_empty,
}


# --- what the validator cannot know -----------------------------------------------------------------------


def _errors(document: str, rule: Rule) -> Iterator[Remark]:
    if rule.id != document and not rule.id.startswith(f"{document}."):
        yield _error(
            f"its @id is not {document}, and does not begin with {document} and a dot",
            hint=f'an @id names the document it stands in, or the file: @id("{document}.…")',
            policy=None,
        )
    elif not _is_canonical(rule.id):
        yield _error("its @id is no name", hint="1 to 64 of a-z, 0-9, '.', '_', '@' or '-'")
    for operator, operands in walk(rule.tree):
        if operator == "has" and isinstance(operands, dict) and operands.get("left") == {"Var": "resource"}:
            yield _error(
                "every entry has this attribute, so that asking for it says nothing",
                hint='compare with "", or say that an entry is meant: resource is Entry',
                policy=rule.id,
            )
    for kind, name in sorted(rule.uses.literals):
        yield from _principal(kind, name, rule)
    for atom in sorted(rule.uses.atoms, key=lambda atom: (atom.test, atom.text)):
        if (atom.test == "under" and not _is_name(atom.text)) or (
            atom.test == "entry" and not _is_entry(atom.text)
        ):
            yield _no_such(atom.test, rule)


def _no_such(test: str, rule: Rule) -> Remark:
    if test == "under":
        return _error(
            "it names a folder that no name can be in", hint='as in Folder::"pay/eu"', policy=rule.id
        )
    return _error(
        "it names an entry that cannot be",
        hint='as in Entry::"connection:pay/db", of a team Entry::"connection@data:pay/db"',
        policy=rule.id,
    )


def _principal(kind: str, name: str, rule: Rule) -> Iterator[Remark]:
    if kind in ("Room", "Action", "Local"):
        return
    try:
        found = canonical(name)
    except InvalidInputError:
        yield _error(f"it names a {kind} that cannot be", hint="names hold a-z, 0-9, . _ @ -", policy=rule.id)
        return
    if found != name:
        yield _error(
            f"no {kind} is spelt like this: names are in lower case",
            hint=f'{kind}::"{found}"',
            policy=rule.id,
        )


def _is_canonical(name: str) -> bool:
    try:
        return canonical(name) == name
    except InvalidInputError:
        return False


def _is_name(name: str) -> bool:
    try:
        return Ref("variable", name).name == name
    except InvalidInputError:
        return False


def _is_entry(text: str) -> bool:
    before, colon, name = text.partition(":")
    kind, at, team = before.partition("@")
    known = next((known for known in KINDS if known == kind), None)
    if not colon or known is None:
        return False
    try:
        return entry_id(Ref(known, name, team if at else None)) == text
    except InvalidInputError:
        return False


# --- what is doubtful ---------------------------------------------------------------------------------------


def _warnings(rule: Rule, roles: frozenset[str]) -> Iterator[Remark]:
    if _believes_claims(rule):
        yield _warning(
            "it believes what a request says of its run, which anybody may say",
            hint="add what proof is needed: context.run.assurance >= 2",
            policy=rule.id,
        )
    elif {"run.dag_id", "run.task_id"} & rule.uses.context and "run.bundle" not in rule.uses.context:
        yield _warning(
            "any bundle may define a DAG of that name",
            hint='name the bundle too: context.run.bundle == "…"',
            policy=rule.id,
        )
    for operator, operands in walk(rule.tree):
        if operator == "like" and isinstance(operands, dict) and (glued := _glued(operands["pattern"])):
            yield _warning(
                f"{glued}* also fits what only begins so, as {glued}roll",
                hint=f'for everything below it: resource in Folder::"{glued}"',
                policy=rule.id,
            )
    for atom in sorted(rule.uses.atoms, key=lambda atom: atom.text):
        if atom.test == "is" and not _is_name(atom.text):
            yield _warning(
                "no entry can have a name it compares with",
                hint="names are in Unicode's NFC, without a slash at either end",
                policy=rule.id,
            )
    unknown = sorted(name for kind, name in rule.uses.literals if kind == "Role" and name not in roles)
    for name in unknown:
        yield _warning(f"nobody has the role {name}", hint=_near(name, tuple(sorted(roles))), policy=rule.id)
    if _is_wide(rule):
        yield _warning(
            "it allows everybody everything it names", hint="name a role, or add a condition", policy=rule.id
        )


def _is_wide(rule: Rule) -> bool:
    return rule.is_permit and not rule.conditions and rule.principal == (None, None, None)


def _believes_claims(rule: Rule) -> bool:
    """
    Tell whether a request could turn the answer by what it says of its run.

    What allows must demand proof beside the claim; so must what a prohibition makes an exception of. A claim
    that alone forbids, or takes a right away, is evaded by not making it.
    """
    trusting = "when" if rule.is_permit else "unless"
    conditions = rule.tree.get("conditions") or []
    proven = rule.is_permit and any(
        _has_floor(condition["body"]) for condition in conditions if condition["kind"] == trusting
    )
    for condition in conditions:
        if not _claims(condition["body"]):
            continue
        if condition["kind"] != trusting or not (proven or _has_floor(condition["body"])):
            return True
    return False


def _claims(body: dict[str, Any]) -> bool:
    paths = (path_of({operator: operands}) for operator, operands in walk({"conditions": [{"body": body}]}))
    return any(
        path is not None and path[:2] == ("context", "run") and path[2:] != ("assurance",) and len(path) > 2  # noqa: PLR2004 -- context.run.X
        for path in paths
    )


def _has_floor(body: dict[str, Any]) -> bool:
    return any(_is_floor(part) for part in conjuncts(body))


def _is_floor(node: Any) -> bool:  # noqa: ANN401 -- JSON
    """Tell whether *node* is `context.run.assurance >= 1`, or as good."""
    ((operator, operands),) = node.items()
    if operator not in (">=", ">", "==", "<=", "<"):
        return False
    left, right = operands["left"], operands["right"]
    if operator in ("<=", "<"):
        left, right = right, left
        operator = {"<=": ">=", "<": ">"}[operator]
    level = right.get("Value")
    if path_of(left) != ("context", "run", "assurance") or not isinstance(level, int):
        return False
    return level >= (0 if operator == ">" else 1)


def _glued(pattern: list[Any]) -> str | None:
    """Give the text before the only wildcard of `pay*`, which stands at the end of a word."""
    if pattern[-1:] != ["Wildcard"] or "Wildcard" in pattern[:-1] or len(pattern) == 1:
        return None
    text = "".join(part["Literal"] for part in pattern[:-1])
    return text if text[-1].isalnum() else None


def _error(message: str, **rest: Any) -> Remark:  # noqa: ANN401 -- the fields of Remark
    return Remark(severity="error", message=message, **rest)


def _warning(message: str, **rest: Any) -> Remark:  # noqa: ANN401 -- as above
    return Remark(severity="warning", message=message, **rest)
