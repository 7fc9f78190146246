"""Who may do what, at a server: the `policies` of a remote room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from strongroom.caller import path_of, ref_in, spelled
from strongroom.errors import InvalidInputError
from strongroom.place import elsewhere
from strongroom.policy import Action, Actor, Decision, Role
from strongroom.policy.grant import Right
from strongroom.policy.rule import Remark
from strongroom.service.policies import (
    Approval,
    Document,
    Draft,
    Flip,
    Grant,
    May,
    Policies,
    Simulation,
    Weighed,
    Why,
)
from strongroom.service.policies.approvals import Approvals
from strongroom.service.policies.grants import Grants
from strongroom.service.policies.why import Question
from strongroom.wire import policy as wire
from strongroom.wire.entry import Name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import timedelta

    from strongroom.caller import Client
    from strongroom.model.ref import Ref
    from strongroom.model.secret import Secret
    from strongroom.policy import Run

__all__ = ["RemotePolicies"]

_PAGE = 500


class RemotePolicies(Policies):
    """Look at policies and change them as whoever the token is of. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.grants = _Grants(client)
        self.approvals = _Approvals(client)
        self._answered_by = ""
        self.can = self._can
        self.why = self._why
        self.who_can = self._who_can
        self.what_can = self._what_can
        self.simulate = self._simulate

    @property
    def revision(self) -> str:
        """
        What tells the policies in force from any others: those that `can` was answered by last, as whoever
        may ask it of himself need not see them all; before that, those the server shows.
        """
        return self._answered_by or self._client.get("/policies", wire.Policies).revision

    def show(self, id_: str) -> Document:
        """Give one policy. As `Policies.show`."""
        return _document(self._client.get(_path("/policies", id_), wire.PolicyRow))

    def validate(self, draft: Draft) -> tuple[Remark, ...]:
        """Say what is wrong with a text, or doubtful; errors first. As `Policies.validate`."""
        told = self._client.post("/policies/validate", wire.Validated, _text(draft), is_repeatable=True)
        return tuple(
            Remark(
                severity=one.severity,
                message=one.message,
                hint=one.hint,
                policy=one.policy,
                line=one.line,
                column=one.column,
            )
            for one in told.remarks
        )

    def switches(self) -> dict[str, bool]:
        """Tell for what two people are needed."""
        return self._client.get("/approvals/switches", wire.Switches).switches

    def put(self, draft: Draft, *, expected: str | None = None) -> Document | Approval:
        """Write a policy, or ask for it where two people are needed. As `Policies.put`."""
        method, path = ("POST", "/policies") if draft.id is None else ("PUT", _path("/policies", draft.id))
        if draft.id is None:
            expected = None  # a new one, by the id its text says
        return self._changed(method, path, _text(draft), expected)

    def set_enabled(
        self, id_: str, *, is_enabled: bool, expected: str | None = None, comment: str = ""
    ) -> Document | Approval:
        """Switch a policy on or off. As `Policies.set_enabled`."""
        body = spelled(wire.PatchPolicy(is_enabled=is_enabled, comment=comment))
        return self._changed("PATCH", _path("/policies", id_), body, expected)

    def delete(self, id_: str, *, expected: str | None = None, comment: str = "") -> Document | Approval:
        """Delete a policy, and give it as it stood; the server takes no *comment*. As `Policies.delete`."""
        del comment
        return self._changed("DELETE", _path("/policies", id_), None, expected)

    def _changed(self, method: str, path: str, body: Any, expected: str | None) -> Document | Approval:  # noqa: ANN401 -- as `Client`
        told = self._client.ask_for(
            method, path, wire.PolicyRow, wire.ApprovalRow, body, expected_version=expected
        )
        return _approval(told) if isinstance(told, wire.ApprovalRow) else _document(told)

    def require_two(self, name: str, *, is_on: bool) -> bool | Approval:
        """Switch on or off that two people are needed. As `Policies.require_two`."""
        body = spelled(wire.SetSwitch(is_on=is_on))
        path = _path("/approvals/switches", name)
        told = self._client.ask_for("PUT", path, wire.Switches, wire.ApprovalRow, body)
        return _approval(told) if isinstance(told, wire.ApprovalRow) else told.switches.get(name, False)

    # --- what they come to -------------------------------------------------------------------------

    def _can(
        self,
        action: Action,
        ref: Ref | None,
        *,
        actor: str | None = None,
        run: Run | None = None,
        source: str | None = None,
    ) -> Decision:
        question = _question(action, ref, actor, run, source)
        told = self._client.post("/can", wire.DecisionRow, question, is_repeatable=True)
        self._answered_by = told.revision
        return _decision(told)

    def _why(
        self,
        action: Action,
        ref: Ref | None,
        *,
        actor: str | None = None,
        run: Run | None = None,
        source: str | None = None,
    ) -> Why:
        question = _question(action, ref, actor, run, source)
        told = self._client.post("/why", wire.WhyRow, question, is_repeatable=True)
        self._answered_by = told.revision
        who = Actor(told.actor, roles=tuple(Role(role.name, role.team) for role in told.roles))
        return Why(
            decision=Decision(told.is_allowed, told.reason, tuple(told.policies)),
            question=Question(who, action, ref, None),
            weighed=tuple(_weighed(one) for one in told.weighed),
            depends_on=tuple(told.depends_on),
            revision=told.revision,
        )

    def _who_can(self, ref: Ref | None) -> list[May]:
        if ref is None:
            raise elsewhere("it is told who may do what with the room as a whole")
        told = self._client.get(path_of("/access/entry", ref), wire.EntryAccess, {"team": ref.team})
        return [_may(one) for one in told.actors]

    def _what_can(self, actor: str, *, action: Action | None = None) -> Iterator[May]:
        cursor: str | None = None
        while True:
            query = {"action": None if action is None else action.value, "limit": _PAGE, "cursor": cursor}
            page = self._client.get(_path("/access/actor", actor), wire.ActorAccess, query)
            yield from map(_may, page.entries)
            cursor = page.cursor
            if cursor is None:
                return

    def _simulate(
        self, put: Iterable[Draft] = (), delete: Iterable[str] = (), *, limit: int = 100
    ) -> Simulation:
        request = wire.SimulateRequest(put=[_shape(one) for one in put], delete=list(delete), limit=limit)
        told = self._client.post("/policies/simulate", wire.Simulated, spelled(request), is_repeatable=True)
        return Simulation(
            flips=tuple(
                Flip(
                    one.actor,
                    Action(one.action),
                    _ref(one.kind, one.name, one.team),
                    _decision(one.before),
                    _decision(one.after),
                )
                for one in told.flips
            ),
            total=told.total,
            actors=told.actors,
            entries=told.entries,
            is_complete=told.is_complete,
        )

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- nothing is given
        # What of the local noun is not laid anew above reaches here.
        if name in ("_desk", "_documents", "questions", "compare", "spend", "current"):
            raise elsewhere("policies decide")
        raise AttributeError(name)

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[Document]:
        """Give every policy, those that come with the product first."""
        return [_document(row) for row in self._client.get("/policies", wire.Policies).policies]


class _Grants(Grants):
    def __init__(self, client: Client) -> None:
        self._client = client

    def add(self, right: Right, *, lasting: timedelta, reason: str) -> Grant | Approval:
        request = wire.NewGrant(
            actor=right.actor,
            actions=[action.value for action in right.actions],
            kinds=list(right.kinds),
            names=list(right.names),
            team=right.team,
            seconds=int(lasting.total_seconds()),
            reason=reason,
        )
        told = self._client.ask_for("POST", "/grants", wire.GrantRow, wire.ApprovalRow, spelled(request))
        return _approval(told) if isinstance(told, wire.ApprovalRow) else _grant(told)

    def revoke(self, id_: str) -> Grant:
        stood = next((one for one in self.list() if one.id == id_), None)
        self._client.change("DELETE", _path("/grants", id_), None, is_repeatable=False)
        if stood is None:  # it was there for the server, which refuses otherwise
            raise InvalidInputError("the grant is ended; what it was cannot be told")
        return stood

    def list(self) -> list[Grant]:
        return [_grant(row) for row in self._client.get("/grants", wire.Grants).grants]


class _Approvals(Approvals):
    def __init__(self, client: Client) -> None:
        self._client = client

    def ask(self, ref: Ref, *, reason: str) -> Approval:
        del ref, reason
        raise elsewhere("an approval is asked for by itself (`--reveal` asks for it)")

    def approve(self, id_: str, *, seen: str | None = None) -> Approval:
        body = spelled(wire.Approve(content_hash=seen))
        path = _path("/approvals", id_) + "/approve"
        return _approval(self._client.post(path, wire.ApprovalRow, body, is_change=True))

    def reject(self, id_: str) -> Approval:
        path = _path("/approvals", id_) + "/reject"
        return _approval(self._client.post(path, wire.ApprovalRow))

    def spend(self, ref: Ref, version: str | None) -> bool:
        del ref, version
        raise elsewhere("approvals are used up")

    def list(self) -> list[Approval]:
        return [_approval(row) for row in self._client.get("/approvals", wire.Approvals).approvals]


# --- from and to the wire --------------------------------------------------------------------------------


def _path(below: str, id_: str) -> str:
    if id_ in ("", ".", ".."):
        raise InvalidInputError("this is the id of nothing")
    return f"{below}/{quote(id_, safe='')}"


def _shape(draft: Draft) -> wire.PolicyText:
    return wire.PolicyText(**draft._asdict())


def _text(draft: Draft) -> Any:  # noqa: ANN401 -- as `spelled`
    return spelled(_shape(draft))


def _question(
    action: Action, ref: Ref | None, actor: str | None, run: Run | None, source: str | None
) -> Secret[bytes]:
    return spelled(
        wire.CanRequest(
            action=action.value,
            actor=actor,
            source=source,
            run=None if run is None else _supposed(run),
            **_named(ref),
        )
    )


def _named(ref: Ref | None) -> dict[str, Any]:
    return {} if ref is None else ref._asdict()


def _ref(kind: Any, name: str | None, team: str | None) -> Ref | None:  # noqa: ANN401 -- of the wire
    return None if kind is None or name is None else ref_in(Name(kind=kind, name=name, team=team))


def _supposed(run: Run) -> wire.SupposedRun:
    return wire.SupposedRun(
        assurance=int(run.assurance),
        dag_id=run.dag_id,
        task_id=run.task_id,
        run_id=run.run_id,
        map_index=run.map_index,
        try_number=run.try_number,
        bundle=run.bundle,
    )


def _decision(row: wire.DecisionRow) -> Decision:
    return Decision(row.is_allowed, row.reason, tuple(row.policies))


def _weighed(row: wire.WeighedRow) -> Weighed:
    kind, _, name = (row.needs or "").partition("::")
    needs = (kind, name.strip('"')) if name else None
    return Weighed(row.id, row.is_permit, row.description, tuple(row.misses), needs)


def _document(row: wire.PolicyRow) -> Document:
    return Document(
        id=row.id,
        text=row.text,
        description=row.description,
        is_enabled=row.is_enabled,
        is_shipped=row.is_shipped,
        version=row.version,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )


def _may(row: wire.May) -> May:
    return May(
        actor=row.actor,
        ref=_ref(row.kind, row.name, row.team),
        actions=tuple(Action(action) for action in row.actions),
        policies=tuple(row.policies),
        depends_on=tuple(row.depends_on),
    )


def _grant(row: wire.GrantRow) -> Grant:
    right = Right(
        row.actor,
        tuple(Action(action) for action in row.actions),
        tuple(row.kinds),
        tuple(row.names),
        row.team,
    )
    return Grant(row.id, right, row.reason, row.created_at, row.created_by, row.ends_at)


def _approval(row: wire.ApprovalRow) -> Approval:
    return Approval(
        id=row.id,
        action=row.action,
        ref=_ref(row.kind, row.name, row.team),
        actor=row.actor,
        reason=row.reason,
        state=row.state,
        content=msgspec.json.encode(row.content).decode(),
        content_hash=row.content_hash,
        created_at=row.created_at,
        ends_at=row.ends_at,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
    )
