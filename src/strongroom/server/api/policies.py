"""`/policies`, `/can`, `/access`: which policies there are, what they come to, and changing them."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidInputError
from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance, Run
from strongroom.server.api.approvals import approval_of
from strongroom.server.api.asked import Condition, bounded, entry_of
from strongroom.server.api.cursor import CURSORS
from strongroom.server.api.sessions import roles_of
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.service.policies import Approval, Draft
from strongroom.wire.entry import TeamQuery
from strongroom.wire.failure import FieldError
from strongroom.wire.policy import (
    AccessQuery,
    ActorAccess,
    CanRequest,
    DecisionRow,
    EntryAccess,
    FlipRow,
    May,
    PatchPolicy,
    Policies,
    PolicyRow,
    PolicyText,
    Remark,
    Simulated,
    SimulateRequest,
    Validated,
    WeighedRow,
    WhyRow,
)
from strongroom.wire.shape import MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.policy import Decision
    from strongroom.server.endpoint import Call
    from strongroom.service.policies import Document, Weighed
    from strongroom.service.policies import May as Found
    from strongroom.service.policies import Policies as Noun

__all__ = ["ENDPOINTS"]

_MAX_TEXT = 65_536  # characters of one policy


# --- which there are ---------------------------------------------------------------------------------


def policies(call: Call) -> Policies:
    """Give every policy, those that come with the product first."""
    noun = call.room.policies
    return Policies(policies=[_row(one) for one in noun.list()], revision=noun.revision)


def policy(call: Call) -> Answer:
    """Give one policy."""
    found = call.room.policies.show(call.params["id"])
    return Answer(_row(found), etag=found.version)


def add(call: Call) -> Answer:
    """Add a policy; where two people are needed, ask for it."""
    body = call.take(PolicyText)
    return _changed(call.room.policies.put(_draft(body, body.id), expected=""), status=201)


def put(call: Call) -> Answer:
    """Write a policy, new or over what stands; where two people are needed, ask for it."""
    body, condition, id_ = call.take(PolicyText), Condition.of(call), call.params["id"]
    if body.id not in (None, id_):
        raise FieldError("the path has another id", field="$.id")
    noun = call.room.policies

    def work() -> Document | Approval:
        if condition.match == "*":
            noun.show(id_)  # something must stand
        return noun.put(_draft(body, id_), expected=condition.expected_version)

    return _changed(condition.around(work))


def patch(call: Call) -> Answer:
    """Switch a policy on or off; where two people are needed, ask for it."""
    body, condition = call.take(PatchPolicy), Condition.of(call)
    noun, comment = call.room.policies, bounded(body.comment, field="comment")
    return _changed(
        condition.around(
            lambda: noun.set_enabled(
                call.params["id"],
                is_enabled=body.is_enabled,
                expected=_expected(condition),
                comment=comment,
            )
        )
    )


def delete(call: Call) -> Answer:
    """Delete a policy; where two people are needed, ask for it."""
    condition, noun = Condition.of(call), call.room.policies
    return _changed(condition.around(lambda: noun.delete(call.params["id"], expected=_expected(condition))))


def _expected(condition: Condition) -> str | None:
    if condition.none_match is not None:
        raise InvalidInputError("If-None-Match makes no sense of what must stand")
    return condition.expected_version


def _draft(body: PolicyText, id_: str | None) -> Draft:
    if len(body.text) > _MAX_TEXT:
        raise InvalidInputError(f"a policy has at most {_MAX_TEXT} characters", limit=_MAX_TEXT)
    return Draft(
        text=body.text,
        id=id_,
        description=bounded(body.description, field="description"),
        is_enabled=body.is_enabled,
        comment=bounded(body.comment, field="comment"),
    )


def _changed(found: Document | Approval, *, status: int = 200) -> Answer:
    if isinstance(found, Approval):
        return Answer(approval_of(found), status=202)
    return Answer(_row(found), status=status, etag=found.version)


def _row(found: Document) -> PolicyRow:
    return PolicyRow(
        id=found.id,
        text=found.text,
        description=found.description,
        is_enabled=found.is_enabled,
        is_shipped=found.is_shipped,
        version=found.version,
        changed_at=found.changed_at,
        changed_by=found.changed_by,
    )


def validate(call: Call) -> Validated:
    """Say what is wrong with a text, or doubtful; nothing is changed."""
    body = call.take(PolicyText)
    remarks = [
        Remark(
            severity=one.severity,
            message=one.message,
            hint=one.hint,
            policy=one.policy,
            line=one.line,
            column=one.column,
        )
        for one in call.room.policies.validate(_draft(body, body.id))
    ]
    return Validated(is_valid=all(one.severity != "error" for one in remarks), remarks=remarks)


# --- what they come to -------------------------------------------------------------------------------


def can(call: Call) -> DecisionRow:
    """Tell whether somebody may do something now; anybody may ask it of himself."""
    body, noun = call.take(CanRequest), call.room.policies
    found = noun.can(Action(body.action), _ref(body), actor=body.actor, run=_run(body), source=body.source)
    return _decision(found, noun.revision)


def why(call: Call) -> WhyRow:
    """Answer as `can`, and tell what the answer rests on."""
    body = call.take(CanRequest)
    found = call.room.policies.why(
        Action(body.action), _ref(body), actor=body.actor, run=_run(body), source=body.source
    )
    return WhyRow(
        actor=found.question.actor.id,
        roles=roles_of(found.question.actor.roles),
        is_allowed=found.decision.is_allowed,
        reason=found.decision.reason,
        policies=list(found.decision.policies),
        weighed=[_weighed(one) for one in found.weighed],
        depends_on=list(found.depends_on),
        revision=found.revision,
    )


def _weighed(one: Weighed) -> WeighedRow:
    return WeighedRow(
        id=one.id,
        is_permit=one.is_permit,
        description=one.description,
        misses=list(one.misses),
        needs=None if one.needs is None else f'{one.needs[0]}::"{one.needs[1]}"',
    )


def simulate(call: Call) -> Simulated:
    """Tell what a change of policies would turn; nothing is changed."""
    body, noun = call.take(SimulateRequest), call.room.policies
    if len(body.questions) > MAX_BATCH:
        raise InvalidInputError(f"there are more than {MAX_BATCH} questions", limit=MAX_BATCH)
    drafts = [_draft(one, one.id) for one in body.put]
    if body.questions:
        return _compared(noun, body, drafts)
    found = noun.simulate(drafts, body.delete, limit=body.limit)
    now, then = noun.revision, ""
    flips = [
        FlipRow(
            actor=flip.actor,
            action=flip.action.value,
            **_ref_of(flip.ref),
            before=_decision(flip.before, now),
            after=_decision(flip.after, then),
        )
        for flip in found.flips
    ]
    return Simulated(
        before=[],
        after=[],
        flips=flips,
        total=found.total,
        actors=found.actors,
        entries=found.entries,
        is_complete=found.is_complete,
    )


def _compared(noun: Noun, body: SimulateRequest, drafts: Iterable[Draft]) -> Simulated:
    questions = [(_asking(noun, one), Action(one.action), _ref(one)) for one in body.questions]
    pairs = noun.compare(questions, drafts, body.delete)
    return Simulated(
        before=[_decision(before, noun.revision) for before, _ in pairs],
        after=[_decision(after, "") for _, after in pairs],
        flips=[],
        total=sum(before.is_allowed != after.is_allowed for before, after in pairs),
        actors=len({actor.id for actor, _, _ in questions}),
        entries=len({ref for _, _, ref in questions}),
        is_complete=True,
    )


def _asking(noun: Noun, one: CanRequest) -> Actor:
    if one.actor is None:
        raise FieldError("a simulation asks about somebody", field="$.questions[].actor")
    who = noun.questions.actor(one.actor)
    run = _run(one)
    who = who if run is None else replace(who, run=run)
    return who if one.source is None else replace(who, source=one.source)


def _run(one: CanRequest) -> Run | None:
    run = one.run
    if run is None:
        return None
    level = Assurance(run.assurance)
    return Run(level, run.dag_id, run.task_id, run.run_id, run.map_index, run.try_number, run.bundle)


def _ref(one: CanRequest) -> Ref | None:
    if one.name is None and one.kind is None and one.team is None:
        return None
    if one.name is None or one.kind is None:
        raise FieldError("an entry has a kind and a name", field="$.name" if one.name is None else "$.kind")
    return Ref(one.kind, one.name, one.team)


def _decision(found: Decision, revision: str) -> DecisionRow:
    return DecisionRow(
        is_allowed=found.is_allowed, reason=found.reason, policies=list(found.policies), revision=revision
    )


def who_can(call: Call) -> EntryAccess:
    """Tell everybody who may do anything with an entry, whether or not there is one."""
    ref = entry_of(call, call.asked(TeamQuery).team)
    found = call.room.policies.who_can(ref)
    return EntryAccess(kind=ref.kind, name=ref.name, team=ref.team, actors=[_may(one) for one in found])


def what_can(call: Call) -> ActorAccess:
    """Tell every entry that somebody may do anything with; anybody may ask it of himself."""
    asked, who = call.asked(AccessQuery), call.params["id"]
    position = CURSORS.read(call, "access", asked.cursor)
    action = None if asked.action is None else Action(asked.action)
    found = call.room.policies.what_can(who, action=action)
    later = (one for one in found if position is None or _place(one) > position)
    rows = list(islice(later, asked.limit + 1))
    cursor = None
    if len(rows) > asked.limit:
        rows.pop()
        cursor = CURSORS.write(call, "access", _place(rows[-1]))
    return ActorAccess(actor=who, entries=[_may(one) for one in rows], cursor=cursor)


def _place(one: Found) -> list[str | int]:
    ref = one.ref
    return ["", "", ""] if ref is None else [ref.team or "", ref.kind, ref.name]


def _may(one: Found) -> May:
    return May(
        actor=one.actor,
        **_ref_of(one.ref),
        actions=[action.value for action in one.actions],
        policies=list(one.policies),
        depends_on=list(one.depends_on),
    )


def _ref_of(ref: Ref | None) -> dict[str, Any]:
    if ref is None:
        return {"kind": None, "name": None, "team": None}
    return {"kind": ref.kind, "name": ref.name, "team": ref.team}


ENDPOINTS = (
    Endpoint("GET", "/policies", policies, "List policies", "policies", gives=Policies),
    Endpoint(
        "POST",
        "/policies",
        add,
        "Add a policy",
        "policies",
        takes=PolicyText,
        gives=PolicyRow,
        status=201,
        errors=(202, 409, 412),
        is_change=True,
        needs_proof=True,
    ),
    # Before the pattern that would take their words for ids.
    Endpoint(
        "POST",
        "/policies/validate",
        validate,
        "Say what is wrong with a policy",
        "policies",
        takes=PolicyText,
        gives=Validated,
    ),
    Endpoint(
        "POST",
        "/policies/simulate",
        simulate,
        "Tell what a change of policies would turn",
        "policies",
        takes=SimulateRequest,
        gives=Simulated,
        cost=10.0,
    ),
    Endpoint("GET", "/policies/{id}", policy, "Show a policy", "policies", gives=PolicyRow),
    Endpoint(
        "PUT",
        "/policies/{id}",
        put,
        "Write a policy",
        "policies",
        takes=PolicyText,
        gives=PolicyRow,
        errors=(202, 409, 412),
        is_change=True,
        needs_proof=True,
    ),
    Endpoint(
        "PATCH",
        "/policies/{id}",
        patch,
        "Switch a policy on or off",
        "policies",
        takes=PatchPolicy,
        gives=PolicyRow,
        errors=(202, 409, 412),
        is_change=True,
        needs_proof=True,
    ),
    Endpoint(
        "DELETE",
        "/policies/{id}",
        delete,
        "Delete a policy",
        "policies",
        gives=PolicyRow,
        errors=(202, 409, 412),
        is_change=True,
        needs_proof=True,
    ),
    Endpoint("POST", "/can", can, "Ask whether somebody may", "access", takes=CanRequest, gives=DecisionRow),
    Endpoint(
        "POST",
        "/why",
        why,
        "Ask whether somebody may, and why",
        "access",
        takes=CanRequest,
        gives=WhyRow,
        cost=2.0,
    ),
    Endpoint(
        "GET",
        "/access/entry/{kind}/{name:path}",
        who_can,
        "Tell who may do what with an entry",
        "access",
        asks=TeamQuery,
        gives=EntryAccess,
        cost=5.0,
    ),
    Endpoint(
        "GET",
        "/access/actor/{id}",
        what_can,
        "Tell what somebody may do",
        "access",
        asks=AccessQuery,
        gives=ActorAccess,
        cost=10.0,
    ),
)
