"""When each credential was last used: known in memory at once, written down now and then."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import msgspec

from strongroom.registry import Change
from strongroom.service.access.ending import token_gone
from strongroom.service.access.shape import (
    BREAK_GLASS,
    CODE,
    INVITATION,
    SERVICE,
    SESSION,
    TOKEN,
    Code,
    Glass,
    Invitation,
    Session,
    Token,
    decoded,
    encoded,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.registry import Row, Snapshot

__all__ = ["Uses"]

_SEEN_SESSION, _SEEN_TOKEN = (
    timedelta(seconds=60),
    timedelta(seconds=300),
)  # between two writes of "last used"
_KEPT_EXPIRED = timedelta(days=30)  # a token that expired is still listed for this long
_NEVER = datetime.min.replace(tzinfo=timezone.utc)


class Uses:
    """
    Remember the last use of each credential of one deployment, as far as this process knows.

    Threads: safe; every act on it is one on a dict.

    Attributes:
        seen: when and from where, by the kind and id of the credential.
    """

    __slots__ = ("_kept", "seen")

    def __init__(self) -> None:
        self.seen: dict[tuple[str, str], tuple[datetime, str]] = {}
        self._kept: dict[tuple[str, str], datetime] = {}

    def last_heard(self, service: str) -> tuple[datetime | None, str]:
        """Give when and from where a service last showed what others signed, as far as this process knows."""
        return self.seen.get((SERVICE, service), (None, ""))

    def last_use(self, row: Row, body: Session | Token) -> tuple[datetime | None, str]:
        """Give when and from where a credential was last used, as far as this process knows."""
        at, source = self.seen.get((row.kind, row.id), (None, ""))
        if at is None or (body.seen is not None and body.seen > at):
            return body.seen, body.source
        return at, source

    def touched(self, snapshot: Snapshot) -> Iterable[Change]:
        """Give the changes that write down what was used since it was last written, when that is due."""
        shapes: tuple[tuple[str, type[Session | Token], timedelta], ...] = (
            (SESSION, Session, _SEEN_SESSION),
            (TOKEN, Token, _SEEN_TOKEN),
        )
        for kind, shape, interval in shapes:
            for key in [key for key in list(self.seen) if key[0] == kind]:
                at, source = self.seen[key]
                row = snapshot.of(kind).get(key[1])
                if row is None:
                    del self.seen[key]
                    self._kept.pop(key, None)
                elif key not in self._kept or at - self._kept[key] >= interval:
                    body = decoded(row, shape)
                    self._kept[key] = body.seen or _NEVER
                    if at - self._kept[key] >= interval:
                        yield Change(kind, row.id, encoded(_used(body, at, source)), row.revision)

    def swept(self, snapshot: Snapshot, now: datetime) -> list[Change]:
        """Give the changes that take away what has ended before *now*: sessions, codes, old tokens."""
        gone = [
            row
            for row in snapshot.of(SESSION).values()
            if _is_over(decoded(row, Session), now) and self.seen.get((SESSION, row.id), (now, ""))[0] <= now
        ]
        gone += [row for row in snapshot.of(CODE).values() if decoded(row, Code).expires <= now]
        gone += [row for row in snapshot.of(INVITATION).values() if decoded(row, Invitation).expires <= now]
        gone += [row for row in snapshot.of(BREAK_GLASS).values() if decoded(row, Glass).expires <= now]
        changes = [Change(row.kind, row.id, None, row.revision) for row in gone]
        for row in snapshot.of(TOKEN).values():
            expires = decoded(row, Token).expires
            if expires is not None and expires + _KEPT_EXPIRED <= now:
                changes += token_gone(snapshot, row)
        return changes


def _used(body: Session | Token, at: datetime, source: str) -> Session | Token:
    """Give a body that says when its credential was last used; a session's source is where it was begun."""
    if isinstance(body, Token):
        return msgspec.structs.replace(body, seen=at, source=source)
    return msgspec.structs.replace(body, seen=at)


def _is_over(session: Session, now: datetime) -> bool:
    return (
        session.expires <= now
        or session.seen + timedelta(seconds=session.idle_seconds) + _SEEN_SESSION <= now
    )
