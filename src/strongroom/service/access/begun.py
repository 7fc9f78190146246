"""A session about to begin: decided when its person was proven, and again on the rows it goes into."""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Literal, NamedTuple

from strongroom.errors import ConflictError
from strongroom.registry import Change
from strongroom.service.access import token as tokens
from strongroom.service.access.ending import rows_of
from strongroom.service.access.shape import SESSION, Session, decoded, encoded

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.registry import Row, Snapshot

__all__ = ["Begun"]

_MOST_SESSIONS = 100  # of one actor; one more ends the one used longest ago


class Begun(NamedTuple):
    """
    A session about to begin.

    Args:
        rows: that must stand unchanged for it.
        changes: done with it.
        proven, provider_session: as of `shape.Session`.
    """

    actor: str
    how: Literal["password", "code", "key", "certificate", "oidc"]
    source: str
    replaces: str | None
    rows: list[Row]
    changes: list[Change]
    proven: datetime | None = None
    provider_session: str = ""

    def changes_in(self, snapshot: Snapshot, row_id: str, session: Session) -> list[Change]:
        """Give everything to write, in the moment of writing."""
        for row in self.rows:
            if snapshot.of(row.kind).get(row.id) != row:
                raise ConflictError("what the session was to begin with has changed")
        ended = [] if self.replaces is None else _replaced(snapshot, self.replaces)
        mine = [
            row for row in rows_of(snapshot, SESSION, self.actor) if decoded(row, Session).actor == self.actor
        ]
        mine.sort(key=lambda row: decoded(row, Session).seen)
        surplus = [Change(SESSION, row.id, None) for row in mine[: max(0, len(mine) - _MOST_SESSIONS + 1)]]
        return [*surplus, *ended, *self.changes, Change(SESSION, row_id, encoded(session))]


def _replaced(snapshot: Snapshot, token: str) -> list[Change]:
    digest = tokens.digest_of(token)
    row = snapshot.of(SESSION).get(tokens.id_of(digest))
    if row is None or not compare_digest(decoded(row, Session).digest, digest):
        return []
    return [Change(SESSION, row.id, None)]
