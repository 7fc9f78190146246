"""
Sessions that go on while the store gives no answer: for a bounded time, to look at pages, and on record.

Not for what may be looked at: `service/guard.py` decides, and refuses everything that is no look.

Rules of this file:

1. A session goes on where this very process served it while the store answered, as the rows stood at the last
   good look: what had ended by then has ended, and its own ends count as ever.
2. What ended since cannot be seen: `Registry.memory` bounds for how long (`access.revoke_bound`).
3. Only sessions of people do. Programs and agents wait, and agents have a bound of their own.
4. What was taken in need is not remembered: who broke the glass has the roles of every day.
5. That a session goes on is on record before anything is answered, once in each silence.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace as replaced
from datetime import timedelta
from hashlib import sha256
from hmac import compare_digest
from threading import Lock
from typing import TYPE_CHECKING

from strongroom.model.principal import LOCAL
from strongroom.model.principal import PERSON as PERSON_PREFIX
from strongroom.service.access import token as tokens
from strongroom.service.access.identity import Held
from strongroom.service.access.shape import SESSION, Session, decoded
from strongroom.service.access.standing import actor_of, is_standing, roles_of, scope_of

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.registry import Snapshot
    from strongroom.service.access.gate import Gate
    from strongroom.service.access.identity import Identity

__all__ = ["Remembering"]


class Remembering:
    """
    Whom one gate remembers.

    Threads: safe.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._turn = Lock()
        self._since: datetime | None = None
        self._silence: object = None
        self._told: set[str] = set()

    def identity(self, token: str, *, source: str, is_use: bool) -> Identity:
        """
        Give whose session *token* was at the last good look.

        Raises:
            As `Gate.recognise`.
        """
        gate = self._gate
        snapshot = gate.registry.remembered()
        silence = gate.registry.silence
        if silence is None:  # it answers again
            return gate.authenticate(token, source=source, is_use=is_use)
        held = self._held(snapshot, sha256(token.encode("utf-8", "surrogatepass")).digest())
        if held is None:
            raise copy(silence)
        now = gate.clock()
        gate.check_lasts(held, now, source)
        since = self._told_of(held, source, now)
        if is_use:
            gate.uses.seen[held.key] = (now, source)
        found = held.identity(source)
        return found._replace(actor=replaced(found.actor, as_of=since))

    def _held(self, snapshot: Snapshot, digest: bytes) -> Held | None:
        """Find a session that was served here; None for whatever else it is."""
        row = snapshot.of(SESSION).get(tokens.id_of(digest))
        used = None if row is None else self._gate.uses.seen.get((SESSION, row.id))
        if row is None or used is None:
            return None
        session = decoded(row, Session)
        if not compare_digest(session.digest, digest) or not session.actor.startswith((PERSON_PREFIX, LOCAL)):
            return None
        if not is_standing(snapshot, session.actor):
            return None
        return Held(
            (SESSION, row.id),
            actor_of(session.actor, roles_of(snapshot), scope_of(snapshot, session.actor)),
            how="session",
            since=session.proven or session.begun,
            seen=max(session.seen, used[0]),
            expires=session.expires,
            idle=timedelta(seconds=session.idle_seconds),
        )

    def _told_of(self, held: Held, source: str, now: datetime) -> datetime:
        """Put on record that a session goes on, and give the moment of what is remembered."""
        with self._turn:
            since = self._moment(now)
            if held.id not in self._told:
                seconds = self._gate.registry.memory.total_seconds()
                reason = (
                    f"session {held.id} looks on by what was known at {since:%H:%M:%S}Z, for {seconds:g}"
                    f" seconds at most: the store gives no answer, and what was revoked since is not seen"
                    f"{_from(source)}"
                )
                self._gate.record(held.actor.id, "unavailable", reason)
                self._told.add(held.id)
            return since

    def _moment(self, now: datetime) -> datetime:
        """Give when the last good look was, the same throughout one silence."""
        looked_at = self._gate.registry.looked_at
        if self._since is None or self._silence != looked_at:
            self._silence, self._told = looked_at, set()
            self._since = now - timedelta(seconds=self._gate.registry.silent_for())
        return self._since


def _from(source: str) -> str:
    return f", from {source}" if source else ""
