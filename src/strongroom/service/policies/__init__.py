"""
Policies as a use case: which there are, what they come to, and changing them.

Not for deciding about entries: `service/guard.py` does, by what `current` gives.

Rules of this file:

1. Only who administers looks at policies, grants and approvals of others, and every look that is refused is
   recorded. Anybody may ask what he himself may do.
2. Every change is checked as a whole before it is written: each policy by the schema, all of them together,
   and that whoever makes it could undo it.
3. Where two people are needed for changes, a change is asked for and done when another agrees
   (`approvals.py`). Only the local owner switches that off alone: he has the key and the store anyway.
4. Taking a right away is possible in read-only mode too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, InvalidInputError
from strongroom.service.policies.actors import is_local
from strongroom.service.policies.approvals import Approvals, write_switch
from strongroom.service.policies.book import SWITCHES, Book, Document, switched
from strongroom.service.policies.desk import Desk, Sources
from strongroom.service.policies.documents import Documents, Draft, check_version, id_in
from strongroom.service.policies.grants import Grant, Grants
from strongroom.service.policies.questions import Questions
from strongroom.service.policies.reach import Flip, May, Simulation
from strongroom.service.policies.request import Approval, Proposal, checked_reason
from strongroom.service.policies.shape import POLICY
from strongroom.service.policies.why import Weighed, Why

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.policy import Actor
    from strongroom.policy.cedar import CedarPolicy
    from strongroom.policy.rule import Remark
    from strongroom.registry import Registry
    from strongroom.service.guard import Guard
    from strongroom.service.policies.book import Denying

__all__ = [
    "Approval",
    "Document",
    "Draft",
    "Flip",
    "Grant",
    "May",
    "Policies",
    "Simulation",
    "Sources",
    "Weighed",
    "Why",
]


class Policies:
    """
    Look at policies and change them as one actor.

    Threads: may be used from several threads at once.

    Args:
        clock: wall clock, UTC.
        sources: what answers about entries; without them only what needs none can be asked.

    Attributes:
        current: gives the policy that decides now; the same object until it is no longer the one.
        remembered: gives the one that decided last, for who looks while nobody can tell.
        grants: rights for a time.
        approvals: what waits for a second person.
        questions: `can`, `why`, `who_can`, `what_can`, `simulate` and `compare`, which are called here too.
        spend: uses up the approval of a reveal, see `Approvals.spend`.
    """

    def __init__(
        self,
        registry: Registry,
        guard: Guard,
        actor: Actor,
        *,
        clock: Callable[[], datetime],
        sources: Sources | None = None,
    ) -> None:
        self._join(Desk(registry, guard, actor, Book(registry, clock=clock), sources))

    def _join(self, desk: Desk) -> None:
        self._desk = desk
        self._documents = Documents(desk)
        self.current: Callable[[], CedarPolicy | Denying] = desk.book.current
        self.remembered: Callable[[], CedarPolicy | Denying] = desk.book.remembered
        self.grants = Grants(desk)
        self.approvals = Approvals(desk)
        self.questions = Questions(desk)
        self.can = self.questions.can
        self.why = self.questions.why
        self.who_can = self.questions.who_can
        self.what_can = self.questions.what_can
        self.simulate = self.questions.simulate
        self.compare = self.questions.compare
        self.spend = self.approvals.spend

    def as_actor(self, actor: Actor) -> Policies:
        """Give the same as *actor*, who has been authenticated."""
        made = object.__new__(Policies)
        made._join(self._desk._replace(actor=actor))
        return made

    @property
    def is_fresh(self) -> bool:
        """Whether `current` knows what decides without waiting for the store."""
        return self._desk.book.registry.is_fresh

    @property
    def revision(self) -> str:
        """What tells the policies in force from any others; 12 characters, the same in every process."""
        return self._desk.book.current().revision

    def list(self) -> list[Document]:
        """
        Give every policy ordered by id, those that come with the product first.

        Raises:
            AccessDeniedError: he does not administer.
        """
        self._desk.look()
        return self._desk.book.documents(self._desk.snapshot)

    def show(self, id_: str) -> Document:
        """
        Give one policy.

        Raises:
            NotFoundError: there is none of that id.
            AccessDeniedError: as `list`.
        """
        self._desk.look()
        return self._documents.find(id_)

    def validate(self, draft: Draft) -> tuple[Remark, ...]:
        """
        Say what is wrong with a text, or doubtful; errors first. Nothing is changed.

        Raises:
            AccessDeniedError: as `list`.
        """
        self._desk.look()
        return self._documents.remarks(draft.id or id_in(draft.text) or "policy", draft.text)

    def switches(self) -> dict[str, bool]:
        """
        Tell for what two people are needed.

        Raises:
            AccessDeniedError: as `list`.
        """
        self._desk.look()
        on = switched(self._desk.snapshot)
        return {name: name in on for name in SWITCHES}

    def put(self, draft: Draft, *, expected: str | None = None) -> Document | Approval:
        """
        Write a policy, new or in the place of the one of its id.

        Args:
            draft: what to write.
            expected: the version that must stand, "" for none; unsaid, whatever stands now.

        Returns:
            the policy; or the request, where two people are needed.

        Raises:
            InvalidInputError: it is no policy; the message says where and what.
            ConflictError: the id looks like another one, another version stands, or he could not undo it.
            AccessDeniedError: he does not administer.
        """
        self._desk.look()
        snapshot = self._desk.snapshot
        id_ = self._documents.free_id(draft, snapshot)
        standing = snapshot.of(POLICY).get(id_)
        version = "" if standing is None else str(standing.revision)
        check_version(expected, version)
        draft = draft._replace(id=id_)
        self._documents.check(self._documents.changed(snapshot, [draft], ()), snapshot)
        content = {**draft._asdict(), "base": version}
        proposal = Proposal("policy.put", _comment(draft.comment, f"policy {id_}"), content)
        return self._desk.propose(
            proposal, lambda: self._documents.write(draft, version, self._desk.actor.id, ())
        )

    def set_enabled(
        self, id_: str, *, is_enabled: bool, expected: str | None = None, comment: str = ""
    ) -> Document | Approval:
        """
        Switch a policy on or off; the way for those that come with the product.

        Raises:
            NotFoundError: there is none of that id.
            As `put`.
        """
        self._desk.look()
        found = self._documents.find(id_)
        if not found.is_shipped:
            draft = Draft(found.text, found.id, found.description, is_enabled, comment)
            return self.put(draft, expected=found.version if expected is None else expected)
        if id_ == "local-owner":
            raise ConflictError("the local owner is the way back in and cannot be switched off")
        return self.put(Draft(found.text, found.id, "", is_enabled, comment), expected=expected)

    def delete(self, id_: str, *, expected: str | None = None, comment: str = "") -> Document | Approval:
        """
        Delete a policy, and give it as it stood; or the request, where two people are needed.

        Raises:
            NotFoundError: there is none of that id.
            ConflictError: it comes with the product; or as `put`.
        """
        self._desk.look()
        snapshot = self._desk.snapshot
        found = self._documents.find(id_, snapshot)
        if found.is_shipped:
            raise ConflictError(
                f"the policy {id_} comes with the product", hint=f"strongroom access policies disable {id_}"
            )
        check_version(expected, found.version)
        self._documents.check(self._documents.changed(snapshot, (), [id_]), snapshot)
        content = {"id": id_, "base": found.version}
        proposal = Proposal("policy.delete", _comment(comment, f"policy {id_}"), content)
        return self._desk.propose(proposal, lambda: self._documents.delete(id_, found.version, ()))

    def require_two(self, name: str, *, is_on: bool) -> bool | Approval:
        """
        Switch on or off that two people are needed.

        Args:
            name: `two-person-reveal` or `two-person-changes`.
            is_on: whether they are.

        Returns:
            what stands; or the request, where switching it off needs a second person itself.

        Raises:
            InvalidInputError: there is no such switch.
            AccessDeniedError: he does not administer.
        """
        self._desk.look()
        if name not in SWITCHES:
            raise InvalidInputError("there is no such switch", hint=f"one of {', '.join(SWITCHES)}")
        proposal = Proposal("switch", f"{name} {'on' if is_on else 'off'}", {"name": name, "is_on": is_on})

        def work() -> bool:
            return write_switch(self._desk, name, is_on=is_on, by=self._desk.actor.id)

        if is_on or is_local(self._desk.actor):
            return self._desk.do(f"switch: {proposal.reason}", work)
        return self._desk.propose(proposal, work)


def _comment(comment: str, what: str) -> str:
    return f"{what}: {checked_reason(comment)}" if comment.strip() else what
