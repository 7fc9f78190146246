"""Who there is, and how each proves it. (Interface; filled in by the next commits.)"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from strongroom.model.secret import Secret
    from strongroom.policy import Actor, Role, Scope

__all__ = ["Access", "Identity", "Issued", "Login"]


class Identity(NamedTuple):
    """
    Who was authenticated, and how.

    Args:
        actor: with roles, scope and source; assurance HOST_USER; no run.
        how: "token", "session" or "basic".
        id: of the token or session, public; "" for basic with a password.
        expires: when the credential ends, None where it does not.
        since: when a session was begun by a password or code; when a token was issued.
    """

    actor: Actor
    how: str
    id: str
    expires: datetime | None
    since: datetime


class Login(NamedTuple):
    """A session that began: its token is shown once."""

    token: Secret[str]
    identity: Identity


class Issued(NamedTuple):
    """A token that was issued: shown once."""

    token: Secret[str]
    id: str
    name: str
    expires: datetime | None


class Access:
    """
    Attributes:
        people: list() add(name, password|None) set_password(name, password) disable(name) enable(name) delete(name) unlock(name)
        tokens: list() issue(name, roles=…, expires=…, scope=…) -> Issued, revoke(id_or_name)
        roles: list() grant(role, actor, team=None) revoke(role, actor, team=None) of(actor) -> tuple[Role, ...]
        sessions: list(actor=None) revoke(id) revoke_all(actor)
    """

    def as_actor(self, actor: Actor) -> Access: ...

    # --- for faces, before anybody is known -----------------------------------------------------
    def authenticate(self, token: str, *, source: str) -> Identity: ...
    def basic(self, name: str, password: Secret[str], *, source: str) -> Identity: ...
    def login(self, name: str, password: Secret[str], *, source: str, replaces: str | None = None) -> Login: ...
    def login_with_code(self, code: str, *, source: str, replaces: str | None = None) -> Login: ...
    def logout(self, identity: Identity) -> None: ...
    def change_password(self, identity: Identity, old: Secret[str], new: Secret[str]) -> None: ...

    # --- for an administrator --------------------------------------------------------------------
    def login_link(self, person: str | None = None, *, lifetime: timedelta | None = None) -> Secret[str]:
        """Give a single-use code (10 min) that begins a session as *person*, or as the local owner."""
