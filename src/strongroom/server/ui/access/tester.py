"""`/access/tester`: can X do Y to Z, and why. The question stands in the address; nothing is done."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import InvalidInputError
from strongroom.model.ref import KINDS, Ref
from strongroom.policy import Action, Assurance, Run
from strongroom.server.endpoint import Endpoint
from strongroom.server.ui.access.shared import ACTIONS, MAX_NAME, access_page, asked, known, sentence, wrong
from strongroom.server.ui.frame import Twin
from strongroom.wire.failure import FieldError
from strongroom.wire.shape import Asked

if TYPE_CHECKING:
    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.policies import Weighed, Why

__all__ = ["ENDPOINTS"]


class Question(Asked, kw_only=True):
    """What the address asks."""

    who: str = ""
    action: str = ""
    kind: str = ""
    name: str = ""
    team: str = ""
    dag: str = ""
    task: str = ""
    bundle: str = ""
    level: str = ""
    source: str = ""


_FIELDS = ("who", "action", "kind", "name", "team", "dag", "task", "bundle", "level", "source")
_AT = {"actor": "who", "who acts": "who", "kind": "kind", "name": "name", "team": "team", "address": "source"}


class Step(NamedTuple):
    """
    One step of the reasoning.

    Args:
        outcome: `hit`, `plain`, `bad` or `skip`, as the steps of every page.
        key: of its text, below `access.tester`.
        one: the statement it is about; None for a step about the question itself.
        document: the policy that statement stands in; "" for a grant.
    """

    outcome: str
    key: str
    one: Weighed | None = None
    document: str = ""


def tester(call: Call) -> Answer:
    """Ask, where something is asked, and show the answer with its steps."""
    given = {name: asked(call, name, most=MAX_NAME) for name in _FIELDS}
    why, refused = None, None
    if given["action"]:
        try:
            why = _ask(call, given)
        except InvalidInputError as error:
            refused = wrong(error, _AT, "name")
    is_admin = call.place.guard.can(call.identity.actor, Action.ADMINISTER, None).is_allowed
    documents = [one.id for one in call.room.policies.list()] if is_admin else []
    return access_page(
        call,
        "tester.html",
        "tester",
        twin=_twin(given),
        wrong=refused,
        given=given,
        why=why,
        because="" if why is None else sentence(why.decision.reason),
        sentence=sentence,
        steps=[] if why is None else _steps(why, documents),
        actions=ACTIONS,
        kinds=KINDS,
        levels=[(int(level), level.level, level.meaning) for level in Assurance],
        is_admin=is_admin,
        known=known(call.room.access.roles.list() if is_admin else ()),
        has_run=any(given[name] for name in ("dag", "task", "bundle", "level", "source")),
    )


def _ask(call: Call, given: dict[str, str]) -> Why:
    if given["action"] not in ACTIONS:
        raise FieldError("there is no such action", field="action")
    return call.room.policies.why(
        Action(given["action"]),
        _ref(given),
        actor=given["who"] or None,
        run=_run(given),
        source=given["source"] or None,
    )


def _ref(given: dict[str, str]) -> Ref | None:
    kind = given["kind"]
    if not kind:
        return None
    if kind not in KINDS:
        raise FieldError("there is no such kind", field="kind")
    if not given["name"]:
        raise FieldError("an entry has a kind and a name", field="name")
    return Ref(kind, given["name"], given["team"] or None)


def _run(given: dict[str, str]) -> Run | None:
    level = given["level"]
    if level and level not in {str(int(one)) for one in Assurance}:
        raise FieldError("there is no such level", field="level")
    said = [given[name] or None for name in ("dag", "task", "bundle")]
    if not any(said) and not level:
        return None
    return Run(Assurance(int(level or 0)), dag_id=said[0], task_id=said[1], bundle=said[2])


def _steps(why: Why, documents: list[str]) -> list[Step]:
    """Give the reasoning in the order it is decided: bounds, prohibitions, what allows, what nearly does."""
    if "credential-scope" in why.decision.policies:
        return [Step("bad", "scope")]
    steps = [Step("hit", "scoped")] if _is_bound(why) else []
    is_forbidden = any(one.holds and not one.is_permit for one in why.weighed)
    told = [one for one in why.weighed if _is_told(one, why)]
    steps += [_step(one, _document(one.id, documents), is_forbidden=is_forbidden) for one in told]
    if not any(one.holds for one in why.weighed) and not why.decision.is_allowed:
        steps.insert(len(steps) - sum(not one.holds for one in told), Step("bad", "nothing"))
    return steps


def _is_told(one: Weighed, why: Why) -> bool:
    """Tell whether a statement says anything to whoever asks: who may already needs no other way to it."""
    if one.holds or not one.is_permit:
        return True
    return not why.decision.is_allowed and not one.id.startswith("grant:")


def _is_bound(why: Why) -> bool:
    scope = why.question.actor.scope
    return scope is not None and any(scope)


def _step(one: Weighed, document: str, *, is_forbidden: bool) -> Step:
    if one.holds and not one.is_permit:
        return Step("bad", "forbids", one, document)
    if one.holds:
        return Step(
            "plain" if is_forbidden else "hit", "would_allow" if is_forbidden else "allows", one, document
        )
    if not one.is_permit:
        return Step("plain", "exempt", one, document)
    return Step("skip", f"misses_{one.misses[0]}", one, document)


def _document(statement: str, documents: list[str]) -> str:
    """Give the policy a statement stands in: that of its id, or of what stands before a dot of it."""
    if statement in documents:
        return statement
    fitting = [id_ for id_ in documents if statement.startswith(f"{id_}.")]
    return max(fitting, key=len, default="")


def _twin(given: dict[str, str]) -> Twin:
    if not given["action"]:
        return Twin("strongroom access why read connection orders_db", "POST", "/v1/why")
    words = ["strongroom", "access", "why", given["action"]]
    words += [given["kind"], given["name"]] if given["kind"] else []
    options = (
        ("who", "--as"),
        ("team", "--team"),
        ("dag", "--dag-id"),
        ("task", "--task-id"),
        ("bundle", "--bundle"),
        ("level", "--assurance"),
        ("source", "--source"),
    )
    for name, option in options:
        words += [option, given[name]] if given[name] else []
    return Twin(" ".join(quote(word) for word in words), "POST", "/v1/why")


ENDPOINTS = (
    Endpoint(
        "GET", "/access/tester", tester, "Ask whether somebody may, and why", "page", asks=Question, cost=2.0
    ),
)
