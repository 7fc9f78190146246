"""
Who was authenticated, and what is kept of it so that the next request costs a look into a table.

Not for finding it out: that is the gate's (`gate.py`).
"""

from __future__ import annotations

from dataclasses import replace as replaced
from typing import TYPE_CHECKING, NamedTuple

from strongroom.service.access.shape import AGENT, BREAK_GLASS, PERSON, ROLE, SERVICE, SESSION, TOKEN
from strongroom.service.access.standing import roles_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from strongroom.model.secret import Secret
    from strongroom.policy import Actor, Role
    from strongroom.registry import Snapshot
    from strongroom.service.access.shape import Glass

__all__ = ["Held", "Identity", "Login", "Memo"]

_MOST_SOURCES = 16  # of one credential, remembered


class Identity(NamedTuple):
    """
    Who was authenticated, and how.

    Args:
        actor: with roles, scope and source, and no run.
        how: "token", "session" or "basic"; "jwt" for what somebody else signed.
        id: of the token or session, public; "" for a name and password.
        expires: when the credential ends at the latest, None where it does not.
        since: when the session's person proved who he is, or the token was issued.
        glass: the person broke the glass: an administrator until it ends, whatever roles he has.
    """

    actor: Actor
    how: str
    id: str
    expires: datetime | None
    since: datetime
    glass: Glass | None = None


class Login(NamedTuple):
    """A session that began. Its *token* is shown this once."""

    token: Secret[str]
    identity: Identity


class Held:
    """What is known of one credential for as long as nothing of it changes."""

    __slots__ = (
        "actor",
        "again",
        "expires",
        "glass",
        "how",
        "id",
        "identities",
        "idle",
        "key",
        "seen",
        "since",
    )

    def __init__(  # noqa: PLR0913 -- one field each
        self,
        key: tuple[str, str],
        actor: Actor,
        *,
        how: str,
        since: datetime,
        seen: datetime,
        expires: datetime | None,
        idle: timedelta | None = None,
        glass: Glass | None = None,
        again: datetime | None = None,
        id: str | None = None,  # noqa: A002 -- as of `Identity`
    ) -> None:
        self.key = key
        self.actor = actor
        self.how = how
        self.id = key[1] if id is None else id
        self.since = since
        self.seen = seen
        self.expires = expires
        self.idle = idle
        self.glass = glass
        self.again = again if glass is None else glass.expires  # when it is to be looked at again
        self.identities: dict[str, Identity] = {}

    def identity(self, source: str) -> Identity:
        """Give who it is, asking from the address *source*."""
        actor = replaced(self.actor, source=source)
        found = Identity(actor, self.how, self.id, self.expires, self.since, self.glass)
        if len(self.identities) < _MOST_SOURCES:
            self.identities[source] = found
        return found


class Memo:
    """What was made of one snapshot; the next one takes over what its rows did not change."""

    __slots__ = ("held", "kinds", "roles", "snapshot")

    def __init__(self, snapshot: Snapshot, before: Memo | None) -> None:
        self.snapshot = snapshot
        self.roles: Mapping[str, tuple[Role, ...]]
        self.kinds = tuple(
            snapshot.of(kind) for kind in (TOKEN, SESSION, PERSON, SERVICE, AGENT, BREAK_GLASS, ROLE)
        )
        same = [one is other for one, other in zip(self.kinds, before.kinds, strict=True)] if before else []
        self.held: dict[bytes, Held] = before.held if before and all(same) else {}
        self.roles = before.roles if before and same[-1] else roles_of(snapshot)
