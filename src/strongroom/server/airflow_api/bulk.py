"""
`PATCH /connections` and `PATCH /variables` of Airflow 3: many changes in one request.

Rules of this file:

1. Before anything is done, every change must be allowed by the verb that happens to the entry, as far as is
   known without looking: one that is not refuses the request, as in Airflow (facts RT06, AA03).
2. The answer is 200 whatever the actions meet: each has its own list of successes and errors. What one action
   writes is written in one batch.
3. An action that names one entry twice is an error of that action: which of the two was meant is not guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import StrongroomError
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.server.airflow_api import connections, variables
from strongroom.server.airflow_api.body import NO_OBJECT, Problems, body_of, texts_of
from strongroom.server.airflow_api.masking import kept_header
from strongroom.server.airflow_api.named import delete_one, ref_of, standing
from strongroom.server.airflow_api.refusal import RefusedError, status_and_detail
from strongroom.server.endpoint import MAX_BATCH, Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from strongroom.model.ref import Kind
    from strongroom.server.airflow_api.body import Loc
    from strongroom.server.endpoint import Call
    from strongroom.service.entries import Change, Described

__all__ = ["change_connections", "change_variables"]

_MEMBERS = {
    "create": {"action", "entities", "action_on_existence"},
    "update": {"action", "entities", "update_mask", "action_on_non_existence"},
    "delete": {"action", "entities", "action_on_non_existence"},
}
_ON_EXISTENCE = ("fail", "skip", "overwrite")
_ON_NON_EXISTENCE = ("fail", "skip")


class _Noun(NamedTuple):
    """What differs between the two kinds."""

    kind: Kind
    key: str
    many: str
    checked: Callable[[object, Problems, Loc], dict[str, Any]]
    created: Callable[[Ref, dict[str, Any]], Change]
    patched: Callable[[Call, Described, dict[str, Any], Iterable[str] | None], tuple[Change, list[str]]]


def _patched_connection(
    _call: Call, found: Described, said: dict[str, Any], _mask: Iterable[str] | None
) -> tuple[Change, list[str]]:
    change, _, kept = connections.patched(found, said)  # Airflow leaves the mask of these aside
    return change, kept


_CONNECTIONS = _Noun(
    "connection",
    "connection_id",
    "connections with these connection_ids",
    connections.checked,
    lambda ref, said: connections.created(ref, said)[0],
    _patched_connection,
)
_VARIABLES = _Noun(
    "variable",
    "key",
    "variables with these keys",
    variables.checked,
    lambda ref, said: variables.created(ref, said)[0],
    variables.patched,
)


class _Todo(NamedTuple):
    """One action, checked: its entities by name, in order; of a deletion they are None."""

    action: str
    names: list[str]
    entities: list[dict[str, Any] | None]
    otherwise: str
    mask: list[str] | None


def change_connections(call: Call) -> Answer:
    """Change many connections."""
    return _Bulk(call, _CONNECTIONS).done()


def change_variables(call: Call) -> Answer:
    """Change many variables."""
    return _Bulk(call, _VARIABLES).done()


class _Bulk:
    """One request of many changes."""

    def __init__(self, call: Call, noun: _Noun) -> None:
        self._call = call
        self._noun = noun
        self._kept: list[str] = []
        self._results: dict[str, dict[str, list[Any]] | None] = dict.fromkeys(("create", "update", "delete"))

    def done(self) -> Answer:
        todos = _todos(body_of(self._call), self._noun)
        self._authorise(todos)
        for todo in todos:
            result = self._results[todo.action]
            if result is None:
                result = self._results[todo.action] = {"success": [], "errors": []}
            try:
                result["success"] += self._act(todo)
            except StrongroomError as error:
                status, detail = status_and_detail(error)
                words = detail if isinstance(detail, str) else _in_words(detail)
                result["errors"].append({"error": words, "status_code": status})
        return Answer(self._results, headers=kept_header(self._kept))

    def _authorise(self, todos: Iterable[_Todo]) -> None:
        actor, guard = self._call.identity.actor, self._call.place.guard
        for todo in todos:
            verb = Action.DELETE if todo.action == "delete" else Action.WRITE
            for name in todo.names:
                ref = _ref(self._noun.kind, name)
                if ref is not None and not guard.can(actor, verb, ref).is_allowed:
                    # Where only what is public about it forbids it, the service refuses and records that.
                    guard.check(actor, verb, ref, None)

    def _act(self, todo: _Todo) -> list[str]:
        twice = {name for name in todo.names if todo.names.count(name) > 1}
        if twice:
            raise RefusedError(409, f"The {self._noun.many} are named twice: {_listed(twice)}.")
        if todo.action == "create":
            return self._create(todo)
        if todo.action == "update":
            return self._update(todo)
        return self._delete(todo)

    def _standing(self, todo: _Todo) -> dict[str, Described]:
        entries = self._call.room.entries
        found = {name: standing(entries, self._noun.kind, name) for name in todo.names}
        return {name: one for name, one in found.items() if one is not None}

    def _create(self, todo: _Todo) -> list[str]:
        found = self._standing(todo)
        if found and todo.otherwise == "fail":
            raise RefusedError(409, f"The {self._noun.many}: {_listed(found)} already exist.")
        changes: list[Change] = []
        done: list[str] = []
        for name, said in zip(todo.names, todo.entities, strict=True):
            assert said is not None  # noqa: S101 -- only deletions have none
            old = found.get(name)
            if old is not None and todo.otherwise == "skip":
                continue
            if old is None:
                changes.append(self._noun.created(ref_of(self._noun.kind, name), said))
            else:
                changes.append(self._over(old, said, None))
            done.append(name)
        return self._written(changes, done)

    def _update(self, todo: _Todo) -> list[str]:
        found = self._standing(todo)
        self._check_there(todo, found)
        changes = [
            self._over(found[name], said, todo.mask)
            for name, said in zip(todo.names, todo.entities, strict=True)
            if name in found and said is not None
        ]
        return self._written(changes, [name for name in todo.names if name in found])

    def _delete(self, todo: _Todo) -> list[str]:
        found = self._standing(todo)
        self._check_there(todo, found)
        kind = self._noun.kind
        return [name for name in todo.names if name in found and delete_one(self._call, kind, name)]

    def _check_there(self, todo: _Todo, found: dict[str, Described]) -> None:
        missing = set(todo.names) - found.keys()
        if missing and todo.otherwise == "fail":
            raise RefusedError(404, f"The {self._noun.many}: {_listed(missing)} were not found.")

    def _over(self, old: Described, said: dict[str, Any], mask: list[str] | None) -> Change:
        change, kept = self._noun.patched(self._call, old, said, mask)
        self._kept += [f"{old.ref.name}: {place}" for place in kept]
        return change

    def _written(self, changes: list[Change], names: list[str]) -> list[str]:
        if changes:
            self._call.room.entries.write_many(changes)
        return names


# --- what is said ----------------------------------------------------------------------------------------


def _todos(body: object, noun: _Noun) -> list[_Todo]:
    """
    Read the actions.

    Raises:
        RefusedError: 422: they are not as they must be; 413: they are too many.
    """
    problems = Problems()
    actions = _list_in(body, "actions", problems, ("body",))
    if isinstance(body, dict):
        _refuse_others(body, {"actions"}, problems, ("body",))
    found = [
        _todo(action, noun, problems, ("body", "actions", index)) for index, action in enumerate(actions)
    ]
    problems.check()
    if sum(len(todo.names) for todo in found) > MAX_BATCH:
        raise RefusedError(413, f"one request changes at most {MAX_BATCH} entities")
    return found


def _todo(body: object, noun: _Noun, problems: Problems, loc: Loc) -> _Todo:
    action = body.get("action") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(action, str) or action not in _MEMBERS:
        problems.add("enum", (*loc, "action"), "Input should be 'create', 'update' or 'delete'")
        return _Todo("create", [], [], "fail", None)
    loc = (*loc, action)
    entities = _list_in(body, "entities", problems, loc)
    read = _names_of if action == "delete" else _entities_of
    names, said = read(entities, noun, problems, (*loc, "entities"))
    mask = body.get("update_mask")
    if mask is not None and action == "update":
        mask = texts_of(mask, problems, (*loc, "update_mask"))
    otherwise = _otherwise(body, action, problems, loc)
    _refuse_others(body, _MEMBERS[action], problems, loc)
    return _Todo(action, names, said, otherwise, mask)


def _entities_of(
    entities: list[object], noun: _Noun, problems: Problems, loc: Loc
) -> tuple[list[str], list[dict[str, Any] | None]]:
    said = [noun.checked(entity, problems, (*loc, index)) for index, entity in enumerate(entities)]
    return [str(one.get(noun.key)) for one in said], list(said)


def _names_of(
    entities: list[object], noun: _Noun, problems: Problems, loc: Loc
) -> tuple[list[str], list[dict[str, Any] | None]]:
    """Give the names of what is to be deleted; a whole entity stands for its name, as in Airflow's schema."""
    names: list[str] = []
    for index, entity in enumerate(entities):
        name = entity.get(noun.key) if isinstance(entity, dict) else entity
        if isinstance(name, str):
            names.append(name)
        else:
            problems.add("string_type", (*loc, index), "Input should be a valid string")
    return names, [None] * len(names)


def _otherwise(body: dict[str, Any], action: str, problems: Problems, loc: Loc) -> str:
    name = "action_on_existence" if action == "create" else "action_on_non_existence"
    allowed = _ON_EXISTENCE if action == "create" else _ON_NON_EXISTENCE
    said = body.get(name, "fail")
    if said in allowed:
        return str(said)
    *some, last = (f"'{word}'" for word in allowed)
    problems.add("enum", (*loc, name), f"Input should be {', '.join(some)} or {last}")
    return "fail"


def _list_in(body: object, name: str, problems: Problems, loc: Loc) -> list[object]:
    if not isinstance(body, dict):
        problems.add("model_attributes_type", loc, NO_OBJECT)
        return []
    if name not in body:
        problems.add("missing", (*loc, name), "Field required")
        return []
    found = body[name]
    if not isinstance(found, list):
        problems.add("list_type", (*loc, name), "Input should be a valid list")
        return []
    return found


def _refuse_others(body: dict[str, Any], known: set[str], problems: Problems, loc: Loc) -> None:
    for _ in body.keys() - known:
        problems.add("extra_forbidden", loc, "Extra inputs are not permitted")


def _ref(kind: Kind, name: str) -> Ref | None:
    """Give the Ref of *name*, None where that is no name: there is nothing that could be changed."""
    try:
        return Ref(kind, name)
    except StrongroomError:
        return None


def _listed(names: Iterable[str]) -> str:
    return "{" + ", ".join(repr(name) for name in sorted(names)) + "}"


def _in_words(detail: object) -> str:
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in detail)
    return "it exists already"
