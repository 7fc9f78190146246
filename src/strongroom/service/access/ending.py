"""
What ends with somebody: the changes that take away what names him.

They are made of one snapshot, to be written with whatever is their cause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.model import principal
from strongroom.registry import Change
from strongroom.service.access.shape import (
    CODE,
    ROLE,
    SERVICE,
    SESSION,
    TOKEN,
    Code,
    Membership,
    Service,
    Session,
    Token,
    decoded,
    encoded,
)
from strongroom.service.access.standing import is_disabled

if TYPE_CHECKING:
    from strongroom.registry import Row, Snapshot

__all__ = ["codes_of", "memberships_of", "rows_of", "sessions_of", "token_gone"]


def rows_of(snapshot: Snapshot, kind: str, actor: str) -> list[Row]:
    """Give the rows of *kind* that name *actor*, and perhaps a few more: cheaper than reading each."""
    # No actor's id holds what JSON escapes.
    wanted = b'"actor":"' + actor.encode() + b'"'
    return [row for row in snapshot.of(kind).values() if wanted in row.body]


def sessions_of(snapshot: Snapshot, actor: str) -> list[Change]:
    """Give the changes that end every session of *actor*."""
    return [
        Change(SESSION, row.id, None)
        for row in rows_of(snapshot, SESSION, actor)
        if decoded(row, Session).actor == actor
    ]


def codes_of(snapshot: Snapshot, actor: str) -> list[Change]:
    """Give the changes that end every login code of *actor*."""
    return [
        Change(CODE, row.id, None)
        for row in rows_of(snapshot, CODE, actor)
        if decoded(row, Code).actor == actor
    ]


def memberships_of(snapshot: Snapshot, actor: str, *, by_group: bool = False) -> list[Change]:
    """Give the changes that take every role from *actor*; *by_group*, those alone that came with a group."""
    members = [(row.id, decoded(row, Membership)) for row in rows_of(snapshot, ROLE, actor)]
    return [
        Change(ROLE, row_id, None)
        for row_id, member in members
        if member.actor == actor and (member.by_group or not by_group)
    ]


def token_gone(snapshot: Snapshot, row: Row) -> list[Change]:
    """Give the changes that take a token away, and its service with its roles; a disabled one stays."""
    name = decoded(row, Token).name
    kept = encoded(Service(is_disabled=True)) if is_disabled(snapshot, name) else None
    return [
        Change(TOKEN, row.id, None),
        Change(SERVICE, name, kept),
        *memberships_of(snapshot, principal.SERVICE + name),
    ]
