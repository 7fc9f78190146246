"""
What a server decided, kept over a restart: as bytes for the last good copy, and back.

Not for sealing or writing it (`agent/lastgood.py`), nor for how long it is good (`decisions.py`).

Rules of this file:

1. Decisions on strict entries are not kept.
2. What comes back is as old as it is, and is asked anew before it counts: only where nobody answers it is
   good, for as long as it would have been without the restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from strongroom.errors import InvalidInputError
from strongroom.model.ref import Ref
from strongroom.policy import Action, Assurance, Decision, Run

if TYPE_CHECKING:
    from datetime import timedelta

    from strongroom.service.decisions import Decisions

__all__ = ["KeptDecisions"]


class _Row(msgspec.Struct, array_like=True):
    """One decision; *run* is None where it is the same for all."""

    user: str
    action: str
    kind: str
    name: str
    team: str | None
    run: tuple[str | int | bool | None, ...] | None  # the members of a `Run`, in their order
    is_of_any_run: bool
    is_allowed: bool
    reason: str
    policies: tuple[str, ...]


class _Content(msgspec.Struct):
    revision: str
    silent: float  # seconds since the server gave a sign
    rows: list[_Row]


class KeptDecisions:
    """
    The decisions of *decisions*, as the last good copy keeps them.

    Threads: may be used from several threads at once.
    """

    def __init__(self, decisions: Decisions) -> None:
        self._decisions = decisions

    def mark(self) -> object:
        """Give something that is another when there is something else to keep."""
        return self._decisions.mark()

    def keep(self) -> bytes:
        """Give them as bytes; none where this agent is nobody."""
        revision, silent, found = self._decisions.remembered()
        rows = [
            _Row(
                user,
                action.value,
                ref.kind,
                ref.name,
                ref.team,
                None if run is None else tuple(run._replace(receipt=None, pending=None)),
                is_any,
                decision.is_allowed,
                decision.reason,
                decision.policies,
            )
            for user, action, ref, run, is_any, decision in found
        ]
        return msgspec.msgpack.encode(_Content(revision, silent, rows)) if rows else b""

    def restore(self, content: bytes, age: timedelta) -> None:
        """
        Take back what `keep` gave *age* ago.

        Raises:
            InvalidInputError: it is in another form.
        """
        try:
            found = msgspec.msgpack.decode(content, type=_Content)
            rows = [
                (
                    row.user,
                    Action(row.action),
                    Ref(row.kind, row.name, row.team),  # type: ignore[arg-type]  # it was one
                    None if row.run is None else Run(Assurance(row.run[0]), *row.run[1:]),  # type: ignore[arg-type]  # as kept
                    row.is_of_any_run,
                    Decision(is_allowed=row.is_allowed, reason=row.reason, policies=row.policies),
                )
                for row in found.rows
            ]
        except (msgspec.MsgspecError, ValueError, TypeError, IndexError):
            raise InvalidInputError("what a server decided is kept in another form") from None
        self._decisions.bring_back(found.revision, rows, found.silent + age.total_seconds())
