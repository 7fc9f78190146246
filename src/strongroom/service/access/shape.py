"""
What the rows of access hold: bodies as strict JSON, and ids.

Not for what faces show (`__init__.py`). A body that does not fit its shape is `TamperedError`: its row
was authenticated, so only a newer release can have written it.
"""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

from strongroom.errors import MalformedEntryError
from strongroom.policy import Role, Scope  # noqa: TC001 -- as above

if TYPE_CHECKING:
    from strongroom.registry import Row

__all__ = [
    "AGENT",
    "AGENT_LOGIN",
    "BREAK_GLASS",
    "CODE",
    "INVITATION",
    "LOCKOUT",
    "LOGIN",
    "PERSON",
    "ROLE",
    "SERVICE",
    "SESSION",
    "SUBJECT",
    "TOKEN",
    "USED_TOKEN",
    "Agent",
    "AgentLogin",
    "Code",
    "Glass",
    "Invitation",
    "LastLogin",
    "Lockout",
    "Membership",
    "Person",
    "Service",
    "Session",
    "Subject",
    "Token",
    "UsedToken",
    "Verifier",
    "body_of",
    "decoded",
    "encoded",
    "membership_id",
]

PERSON, SERVICE, TOKEN, SESSION = "person", "service", "token", "session"
CODE, ROLE, LOCKOUT, LOGIN = "code", "role", "lockout", "login"
AGENT, AGENT_LOGIN, INVITATION = "agent", "agent_login", "invitation"
SUBJECT, BREAK_GLASS, USED_TOKEN = "subject", "break_glass", "used_token"


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A body."""


class Verifier(_Body, frozen=True, kw_only=True):
    """
    What a password is checked against.

    Args:
        salt: 16 random bytes.
        memory_kib, iterations, lanes: what argon2id costs.
        mac: over name, salt, cost and what argon2id gave, under the deployment's key: who has the store
            alone has nothing to guess against.
    """

    salt: bytes
    memory_kib: int
    iterations: int
    lanes: int
    mac: bytes


class Person(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """
    A person; the row's id is the name.

    Args:
        subject: the id of the row of who he is at an identity provider; "" where he logs in here alone.
    """

    created_at: datetime
    created_by: str
    verifier: Verifier | None = None
    is_disabled: bool = False
    subject: str = ""


class Subject(_Body, frozen=True, kw_only=True):
    """
    Which person somebody of an identity provider is; the row's id is the digest of issuer and subject.

    Args:
        name: the person's.
        issuer, subject: as the provider has them.
    """

    name: str
    issuer: str
    subject: str
    linked_at: datetime


class LastLogin(_Body, frozen=True, kw_only=True):
    """
    When and from where a person logged in last; the row's id is the name.

    Apart from `Person`, whose row changes only with what he is.
    """

    at: datetime
    source: str


class Service(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """
    That a service of this name has a token, or is disabled; the row's id is the name.

    Args:
        token: the id of the token's row; "" without one.
        is_disabled: nothing proves it: no token of ours, and no issuer's.
    """

    token: str = ""
    is_disabled: bool = False


class Token(_Body, frozen=True, kw_only=True):
    """
    A token of a service.

    Args:
        digest: SHA-256 of the token; the row's id is its first 8 bytes in hexadecimal.
        seen, source: when and from where it was last used; written now and then.
    """

    digest: bytes
    name: str
    created_at: datetime
    created_by: str
    expires: datetime | None = None
    scope: Scope | None = None
    comment: str = ""
    seen: datetime | None = None
    source: str = ""


class Session(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """
    A session of a person, or of the local owner.

    Args:
        digest: as that of a token.
        how: what it was begun with; `key` and `certificate` are an agent's.
        expires: its absolute end.
        idle_seconds: without use for this long, it ends.
        seen: when it was last used; written now and then.
        proven: when its person proved who he is, where that was not when it was begun.
        provider_session: how an identity provider calls the session it came from.
    """

    digest: bytes
    actor: str
    how: Literal["password", "code", "key", "certificate", "oidc"]
    source: str
    begun: datetime
    expires: datetime
    idle_seconds: int
    seen: datetime
    proven: datetime | None = None
    provider_session: str = ""


class Code(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """
    A code that begins one session as *actor*.

    Args:
        challenge: S256 of what whoever uses it must have (RFC 7636); "" for a code that is enough by itself.
        how, proven, provider_session: as of the session.
    """

    digest: bytes
    actor: str
    created_by: str
    expires: datetime
    challenge: str = ""
    how: Literal["code", "oidc"] = "code"
    proven: datetime | None = None
    provider_session: str = ""


class Glass(_Body, frozen=True, kw_only=True):
    """
    That a person broke the glass: an administrator until it ends; the row's id is the name.

    Args:
        reason: why, in his words.
        source: the address he did it from.
    """

    reason: str
    begun: datetime
    expires: datetime
    source: str


class Agent(_Body, frozen=True, kw_only=True):
    """
    An enrolled agent; the row's id is its name.

    Args:
        public: the key it proves itself with, 32 bytes of Ed25519; empty where a certificate does.
        fingerprint: of the host it was enrolled on; empty where a certificate may be shown from any.
        created_by: who invited it.
        source: the address it was enrolled from; "" where it was not.
    """

    public: bytes
    fingerprint: bytes
    created_at: datetime
    created_by: str
    source: str
    scope: Scope | None = None
    comment: str = ""


class AgentLogin(_Body, frozen=True, kw_only=True):
    """
    The last login of an agent; the row's id is its name.

    Apart from `Agent`, whose row changes only with what it is.

    Args:
        claimed: microseconds since 1970 by the clock of its host, as it signed them.
        at: by ours.
    """

    claimed: int
    at: datetime
    source: str


class Invitation(_Body, frozen=True, kw_only=True):
    """
    A code that enrols one agent.

    Args:
        digest: as that of a token; the row's id likewise.
    """

    digest: bytes
    name: str
    created_by: str
    expires: datetime
    roles: tuple[Role, ...] = ()
    scope: Scope | None = None
    comment: str = ""


class Membership(_Body, frozen=True, kw_only=True, omit_defaults=True):
    """
    That *actor* has *role*, for *team* or everywhere; the row's id is all three.

    Args:
        by_group: it comes with a group at the identity provider, and goes with it; its row's id says so too.
    """

    role: str
    actor: str
    created_at: datetime
    created_by: str
    team: str | None = None
    by_group: bool = False


class Lockout(_Body, frozen=True, kw_only=True):
    """That attempts are refused until then; the row's id says whose."""

    until: datetime
    failures: int


class UsedToken(_Body, frozen=True, kw_only=True):
    """
    A token of Airflow that verified a run; the row's id is the SHA-256 of its issuer and its own id.

    Args:
        holder: the SHA-256 of who used it; empty where nobody may use it again.
        until: then it may be forgotten.
    """

    holder: bytes
    until: datetime


BodyT = TypeVar("BodyT", bound=_Body)
_decoders: dict[type, msgspec.json.Decoder[_Body]] = {}
encoded = msgspec.json.Encoder().encode


def decoded(row: Row, shape: type[BodyT]) -> BodyT:
    """
    Give the body of an authenticated row.

    Raises:
        MalformedEntryError: another release wrote it.
    """
    return body_of(row.body, shape, row.kind)


def body_of(body: bytes, shape: type[BodyT], kind: str) -> BodyT:
    """Give *body* in its shape; as `decoded`."""
    decoder = _decoders.get(shape)
    if decoder is None:
        decoder = _decoders[shape] = msgspec.json.Decoder(shape)
    try:
        return decoder.decode(body)  # type: ignore[return-value]  # the decoder of that shape
    except msgspec.MsgspecError:
        raise MalformedEntryError(
            f"a row of access ({kind}) is of a form this release does not know",
            backend="registry",
            ref=kind,
            hint="run the release that wrote it",
        ) from None


def membership_id(role: str, team: str | None, actor: str, *, by_group: bool = False) -> str:
    """Give the id of a membership: no name, team or actor holds a `|`."""
    return f"{role}|{team or ''}|{actor}{'|group' if by_group else ''}"
