"""Sessions: who is logged in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from strongroom.errors import NotFoundError
from strongroom.model.principal import check_actor
from strongroom.registry import Change
from strongroom.service.access.ending import codes_of, sessions_of
from strongroom.service.access.shape import SESSION, Session, decoded

if TYPE_CHECKING:
    from strongroom.registry import Snapshot
    from strongroom.service.access.desk import Desk, Done

__all__ = ["SessionRow", "Sessions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """
    What may be shown of a session, never its token.

    Args:
        how: `password` or `code`.
        source: where it was begun from.
        seen: when it was last used; up to a minute late where another process serves it.
        expires: its absolute end.
    """

    id: str
    actor: str
    how: str
    source: str
    begun: datetime
    seen: datetime
    expires: datetime


class Sessions:
    """
    Look at sessions and end them, as one actor: his own always, those of others as an administrator.

    Every act raises what those of `People` do.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def _rows(self, snapshot: Snapshot, actor: str | None) -> list[SessionRow]:
        now, found = self._desk.now(), []
        for row in snapshot.of(SESSION).values():
            body = decoded(row, Session)
            seen, _ = self._desk.gate.uses.last_use(row, body)
            last = seen or body.seen
            is_over = now >= body.expires or now - last >= timedelta(seconds=body.idle_seconds)
            if not is_over and actor in (None, body.actor):
                found.append(
                    SessionRow(
                        id=row.id,
                        actor=body.actor,
                        how=body.how,
                        source=body.source,
                        begun=body.begun,
                        seen=last,
                        expires=body.expires,
                    )
                )
        return sorted(found, key=lambda one: (one.begun, one.id), reverse=True)

    def revoke(self, session: str) -> Done:
        """
        End one session.

        Raises:
            NotFoundError: there is none with this id; the same for one that is another's.
        """
        row = self._desk.registry.snapshot().of(SESSION).get(session)
        if row is not None and decoded(row, Session).actor == self._desk.actor.id:
            return self._desk.gate.end_own(self._desk.actor, session)
        self._desk.require()
        if row is None:
            raise NotFoundError("there is no such session", hint="strongroom access sessions list")
        whose = decoded(row, Session).actor
        return self._desk.change(
            lambda _snapshot: [Change(SESSION, session, None)], reason=f"end session {session} of {whose}"
        )

    def revoke_all(self, actor: str) -> Done:
        """
        End every session of *actor*, and every login code for him.

        Raises:
            InvalidInputError: it is no actor.
        """
        whose = check_actor(actor)
        return self._desk.change(
            lambda snapshot: [*sessions_of(snapshot, whose), *codes_of(snapshot, whose)],
            reason=f"end every session of {whose}",
        )

    # Last, because from here on `list` is not the builtin.
    def list(self, actor: str | None = None) -> list[SessionRow]:
        """
        Give the sessions that stand, newest first.

        Args:
            actor: only his; None for everybody's.
        """
        if actor is not None and actor == self._desk.actor.id:
            return self._rows(self._desk.rows(), actor)
        whose = None if actor is None else check_actor(actor)
        return self._desk.look(lambda snapshot: self._rows(snapshot, whose))
