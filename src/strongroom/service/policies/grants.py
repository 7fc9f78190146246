"""Rights for a time: who has one, giving and taking it."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import InvalidInputError, NotFoundError
from strongroom.policy import Action
from strongroom.policy.grant import Right, check_right, rule_of_right
from strongroom.policy.index import check_weight
from strongroom.registry import ABSENT, Change
from strongroom.service.policies.actors import is_known
from strongroom.service.policies.book import right_of, rows_of
from strongroom.service.policies.request import Approval, Proposal, checked_reason
from strongroom.service.policies.shape import GRANT, GrantBody, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from strongroom.registry import Snapshot
    from strongroom.service.policies.desk import Desk

__all__ = ["MAX_GRANT", "Grant", "Grants"]

MAX_GRANT = timedelta(days=30)
_MAX_GRANTS = 5_000
_KEPT_FOR = timedelta(days=30)


class Grant(NamedTuple):
    """A right for a time, as it stands."""

    id: str
    right: Right
    reason: str
    created_at: datetime
    created_by: str
    ends_at: datetime


class Grants:
    """
    Look at grants and change them as one actor.

    Threads: may be used from several threads at once.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def list(self) -> list[Grant]:
        """Give every grant that has not ended, by its end; whoever does not administer sees his own."""
        now = self._desk.now
        found = [_grant(row.id, decoded(row, GrantBody)) for row in rows_of(self._desk.snapshot, GRANT)]
        if not self._desk.is_administrator:
            found = [grant for grant in found if grant.right.actor == self._desk.actor.id]
        return sorted((grant for grant in found if now < grant.ends_at), key=lambda grant: grant.ends_at)

    def add(self, right: Right, *, lasting: timedelta, reason: str) -> Grant | Approval:
        """
        Allow somebody something for a time.

        Args:
            right: what, and whom.
            lasting: for how long from now, at most 30 days.
            reason: why; kept in the record.

        Raises:
            InvalidInputError: it grants nothing that there is, or for too long.
            NotFoundError: nobody of that name is known.
            AccessDeniedError: he does not administer.
        """
        self._desk.look()
        if not timedelta() < lasting <= MAX_GRANT:
            raise InvalidInputError(
                f"a grant lasts up to {MAX_GRANT.days} days",
                hint="who needs it longer has a role or a policy",
            )
        right, reason = check_right(right), checked_reason(reason)
        snapshot = self._desk.snapshot
        if not is_known(right.actor, snapshot):
            raise NotFoundError(f"nobody is known as {right.actor}", hint="strongroom access people list")
        self._check(right, snapshot)
        content = {**right._asdict(), "seconds": lasting.total_seconds(), "reason": reason}
        proposal = Proposal("grant.add", reason, content)
        return self._desk.propose(
            proposal, lambda: self.write(right, lasting, reason, self._desk.actor.id, ())
        )

    def revoke(self, id_: str) -> Grant:
        """
        End a grant now, and give it as it stood; also in read-only mode.

        Raises:
            NotFoundError: there is none, or it has ended.
            AccessDeniedError: he does not administer, and it is not his own.
        """
        row = self._desk.snapshot.of(GRANT).get(id_)
        body = None if row is None else decoded(row, GrantBody)
        if body is None or body.actor != self._desk.actor.id:
            self._desk.look()
        if row is None or body is None or body.ends_at <= self._desk.now:
            raise NotFoundError("there is no such grant", hint="strongroom access grants list")

        def work() -> Grant:
            self._desk.registry.delete(GRANT, id_, expected=row.revision)
            return _grant(id_, body)

        why = f"grant {id_} revoked"
        if body.actor != self._desk.actor.id:
            return self._desk.guard.administer(self._desk.actor, work, reason=why)
        self._desk.tell(Action.ADMINISTER, None, "begun", why)  # whoever has a right may give it back
        grant = work()
        self._desk.tell(Action.ADMINISTER, None, "done", why)
        return grant

    def write(self, right: Right, lasting: timedelta, reason: str, by: str, more: Sequence[Change]) -> Grant:
        """Write what was checked, as *by*, and *more* with it."""
        now = self._desk.wall
        body = GrantBody(
            **right._asdict(), reason=reason, created_at=now, created_by=by, ends_at=now + lasting
        )
        id_ = f"g_{secrets.token_hex(8)}"
        snapshot = self._desk.snapshot
        over = [
            Change(GRANT, row.id, None, row.revision)
            for row in snapshot.of(GRANT).values()
            if decoded(row, GrantBody).ends_at + _KEPT_FOR <= now
        ]
        self._desk.registry.put_many([Change(GRANT, id_, encoded(body), ABSENT), *over, *more])
        return _grant(id_, body)

    def _check(self, right: Right, snapshot: Snapshot) -> None:
        now = self._desk.now
        lasting = [
            (row.id, body)
            for row in snapshot.of(GRANT).values()
            if now < (body := decoded(row, GrantBody)).ends_at
        ]
        if len(lasting) >= _MAX_GRANTS:
            raise InvalidInputError(f"a deployment has at most {_MAX_GRANTS} grants", limit=_MAX_GRANTS)
        own = [rule_of_right(id_, right_of(body)) for id_, body in lasting if body.actor == right.actor]
        check_weight([*own, rule_of_right("new", right)])


def _grant(id_: str, body: GrantBody) -> Grant:
    return Grant(id_, right_of(body), body.reason, body.created_at, body.created_by, body.ends_at)
