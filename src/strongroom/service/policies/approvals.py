"""Requests for a second person, and what comes of them; what they are is `request.py`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.errors import AccessDeniedError, ConflictError
from strongroom.policy import Action
from strongroom.policy.cedar import NEEDS_APPROVAL
from strongroom.policy.grant import Right
from strongroom.registry import Change
from strongroom.service.policies import request
from strongroom.service.policies.book import rows_of
from strongroom.service.policies.documents import Documents, Draft
from strongroom.service.policies.grants import Grants
from strongroom.service.policies.request import Approval, Proposal, approval_of, checked_reason
from strongroom.service.policies.shape import APPROVAL, SWITCH, SwitchBody, encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.model.ref import Ref
    from strongroom.service.policies.desk import Desk

__all__ = ["Approvals", "write_switch"]


class Approvals:
    """
    Look at requests and decide about them as one actor.

    Threads: may be used from several threads at once.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def list(self) -> list[Approval]:
        """Give the requests, newest first; whoever does not administer sees his own."""
        now = self._desk.now
        found = [approval_of(row, now) for row in rows_of(self._desk.snapshot, APPROVAL)]
        if not self._desk.is_administrator:
            found = [one for one in found if one.actor == self._desk.actor.id]
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    def ask(self, ref: Ref, *, reason: str) -> Approval:
        """
        Ask for a second person to agree to a reveal of what stands under *ref* now.

        Raises:
            AccessDeniedError: an approval would not make it allowed.
            ConflictError: it is allowed without, was asked for already, or too many wait.
            NotFoundError: nothing stands there.
        """
        reason = checked_reason(reason)
        policy = self._desk.book.current()
        facts = self._desk.facts(policy, ref)
        decision = policy.decide(self._desk.actor, Action.REVEAL, ref, facts)
        if decision.is_allowed:
            raise ConflictError("this reveal is allowed without a request", hint="reveal it")
        if decision.reason != NEEDS_APPROVAL or self._desk.sources is None:
            self._desk.tell(Action.REVEAL, ref, "denied", decision.reason)
            raise AccessDeniedError(f"{self._desk.actor.id} may not reveal {ref}", reason=decision.reason)
        version = self._desk.sources.version(ref)
        proposal = Proposal("reveal", reason, {"version": version}, ref)
        return self._desk.request(proposal)

    def approve(self, id_: str, *, seen: str | None = None) -> Approval:
        """
        Agree to a request; what it asks for is done, or may be done once.

        Args:
            id_: of the request.
            seen: the hash of what was looked at; another content is not approved.

        Raises:
            NotFoundError: there is none of that id.
            AccessDeniedError: it is his own, or he is no administrator or no person.
            ConflictError: it was decided, is over, or what it rests on has changed.
        """
        self._desk.look()
        snapshot, now = self._desk.snapshot, self._desk.now
        found = request.find(snapshot, id_)
        why = f"{found[1].action} {id_} approved"
        try:
            body = request.decided(found, self._desk.actor, now, seen=seen, wall=self._desk.wall)
        except AccessDeniedError as error:
            self._desk.tell(Action.ADMINISTER, None, "denied", f"{why}: {error.reason}")
            raise
        more = (Change(APPROVAL, id_, encoded(body), found[0].revision),)

        def work() -> Approval:
            self._perform(body.action, msgspec.json.decode(body.content), body.actor, more)
            return approval_of(self._desk.snapshot.of(APPROVAL)[id_], now)

        return self._desk.guard.act(self._desk.actor, Action.ADMINISTER, None, work, reason=why)

    def reject(self, id_: str) -> Approval:
        """
        Turn a request down, or take one's own back; also in read-only mode.

        Raises:
            NotFoundError, ConflictError: as `approve`.
            AccessDeniedError: it is another's, and he does not administer.
        """
        snapshot, now = self._desk.snapshot, self._desk.now
        row = snapshot.of(APPROVAL).get(id_)
        if row is None or approval_of(row, now).actor != self._desk.actor.id:
            self._desk.look()
        found = request.find(snapshot, id_)
        body = request.closed(found, self._desk.actor, now)
        why = f"{body.action} {id_} rejected"
        self._desk.tell(Action.ADMINISTER, None, "begun", why)
        self._desk.registry.put(APPROVAL, id_, encoded(body), expected=found[0].revision)
        self._desk.tell(Action.ADMINISTER, None, "done", why)
        return approval_of(self._desk.snapshot.of(APPROVAL)[id_], now)

    def spend(self, ref: Ref, version: str | None) -> bool:
        """
        Use up the approval of a reveal, before its value leaves; tells whether there was one.

        Raises:
            AccessDeniedError: another version stands than was agreed to, or it was used meanwhile.
        """
        changes = request.spent(self._desk.actor, ref, version, self._desk.snapshot, self._desk.now)
        if changes is None:
            self._require_without(ref)
            return False
        try:
            self._desk.registry.put_many(changes)
        except ConflictError:
            raise AccessDeniedError(
                f"the approval to reveal {ref} was used already", reason="approval used"
            ) from None
        return True

    def _require_without(self, ref: Ref) -> None:
        # What was allowed by an approval that somebody has used meanwhile is not allowed any more.
        policy = self._desk.book.current()
        decision = policy.decide(self._desk.actor, Action.REVEAL, ref, self._desk.facts(policy, ref))
        if not decision.is_allowed:
            raise AccessDeniedError(f"{self._desk.actor.id} may not reveal {ref}", reason=decision.reason)

    def _perform(self, action: str, content: dict[str, Any], by: str, more: Sequence[Change]) -> None:
        """Do what was agreed to, in one transaction with the agreement."""
        if action == "policy.put":
            self._put(content, by, more)
        elif action == "policy.delete":
            documents, id_, base = Documents(self._desk), content["id"], content["base"]
            snapshot = self._desk.snapshot
            documents.check_base(snapshot, id_, base)
            documents.check(documents.changed(snapshot, (), [id_]), snapshot)
            documents.delete(id_, base, more)
        elif action == "grant.add":
            lasting, reason = timedelta(seconds=content.pop("seconds")), content.pop("reason")
            Grants(self._desk).write(
                msgspec.convert([content[name] for name in Right._fields], Right), lasting, reason, by, more
            )
        elif action == "switch":
            write_switch(self._desk, content["name"], is_on=content["is_on"], by=by, more=more)
        else:
            self._desk.registry.put_many(more)

    def _put(self, content: dict[str, Any], by: str, more: Sequence[Change]) -> None:
        documents, base, snapshot = Documents(self._desk), content.pop("base"), self._desk.snapshot
        draft = Draft(**content)
        documents.check_base(snapshot, str(draft.id), base)
        documents.check(documents.changed(snapshot, [draft], ()), snapshot)
        documents.write(draft, base, by, more)


def write_switch(desk: Desk, name: str, *, is_on: bool, by: str, more: Sequence[Change] = ()) -> bool:
    """Write what was allowed, as *by*, and *more* with it."""
    body = SwitchBody(is_on=is_on, changed_at=desk.wall, changed_by=by)
    desk.registry.put_many([Change(SWITCH, name, encoded(body)), *more])
    return is_on
