"""Tokens: what services prove themselves with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.model.principal import SERVICE as PREFIX
from strongroom.model.principal import canonical
from strongroom.model.ref import KINDS, check_team
from strongroom.model.secret import Secret
from strongroom.policy import Action, Role, Scope
from strongroom.registry import Change
from strongroom.service.access import token as tokens
from strongroom.service.access.ending import token_gone
from strongroom.service.access.roles import granted
from strongroom.service.access.shape import SERVICE, TOKEN, Service, Token, decoded, encoded
from strongroom.service.access.standing import roles_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.registry import Row, Snapshot
    from strongroom.service.access.desk import Desk, Done

__all__ = ["MAX_LIFETIME", "Issued", "TokenRow", "Tokens", "check_comment", "check_scope"]

MAX_LIFETIME = timedelta(days=3650)
MAX_COMMENT_CHARACTERS = 250
_MAX_PATTERNS, _MAX_PATTERN_CHARACTERS = 100, 250
METRICS = "metrics"  # what a token that reads figures and nothing else is good for


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """
    What may be shown of a token, never the token.

    Args:
        id: public; of 16 hexadecimal digits.
        actor: whom it proves.
        seen, source: when and from where it was last used; None for never.
    """

    id: str
    name: str
    actor: str
    roles: tuple[Role, ...]
    scope: Scope | None
    comment: str
    created_at: datetime
    created_by: str
    expires: datetime | None
    is_expired: bool
    seen: datetime | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """
    A token that was issued.

    Args:
        token: shown this once.
        row: what may be shown of it from now on.
        version: the revision of the registry since then.
    """

    token: Secret[str]
    row: TokenRow
    version: str


class Tokens:
    """Keep tokens, as one actor. Every act raises what those of `People` do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def _rows(self, snapshot: Snapshot) -> list[TokenRow]:
        roles = roles_of(snapshot)
        rows = [self._row(row, roles) for row in snapshot.of(TOKEN).values()]
        return sorted(rows, key=lambda row: (row.name, row.id))

    def _row(self, row: Row, roles: dict[str, tuple[Role, ...]]) -> TokenRow:
        body = decoded(row, Token)
        seen, source = self._desk.gate.uses.last_use(row, body)
        return TokenRow(
            id=row.id,
            name=body.name,
            actor=PREFIX + body.name,
            roles=roles.get(PREFIX + body.name, ()),
            scope=body.scope,
            comment=body.comment,
            created_at=body.created_at,
            created_by=body.created_by,
            expires=body.expires,
            is_expired=body.expires is not None and body.expires <= self._desk.now(),
            seen=seen,
            source=source,
        )

    def issue(
        self,
        name: str,
        *,
        roles: Sequence[Role] = (),
        lifetime: timedelta | None = None,
        scope: Scope | None = None,
        comment: str = "",
    ) -> Issued:
        """
        Issue a token for the service *name*.

        Args:
            name: of the service, in any spelling; it has one token at a time.
            roles: the service's from now on.
            lifetime: from now; at most ten years. None for until it is revoked.
            scope: what the token is good for at most, whatever policy would allow its roles.
            comment: public.

        Raises:
            ConflictError: the service has a token.
            InvalidInputError: name, role, lifetime, scope or comment is none.
        """
        wanted, now = canonical(name), self._desk.now()
        check_scope(scope)
        _check_lifetime(lifetime)
        check_comment(comment)
        token = tokens.draw(tokens.TOKEN)
        body = Token(
            digest=tokens.digest_of(token.reveal()),
            name=wanted,
            created_at=now,
            created_by=self._desk.actor.id,
            expires=None if lifetime is None else now + lifetime,
            scope=None if scope is None or not any(scope) else scope,
            comment=comment,
        )
        row_id = tokens.id_of(body.digest)
        actor = PREFIX + wanted
        given = [granted(role, actor, by=self._desk.actor.id, now=now) for role in roles]

        def decide(snapshot: Snapshot) -> list[Change]:
            return [
                *self._room(snapshot, wanted),
                Change(TOKEN, row_id, encoded(body), 0),
                Change(SERVICE, wanted, encoded(Service(token=row_id))),
                *given,
            ]

        done = self._desk.change(decide, reason=f"issue token {row_id} to service {wanted}{_as(roles)}")
        snapshot = self._desk.registry.snapshot()
        row = self._row(snapshot.of(TOKEN)[row_id], roles_of(snapshot))
        return Issued(token=token, row=row, version=done.version)

    def _room(self, snapshot: Snapshot, name: str) -> list[Change]:
        """Make room for the one token of a service: what has expired goes, with the roles it had."""
        row = snapshot.of(SERVICE).get(name)
        if row is None:
            return []
        if decoded(row, Service).is_disabled:
            raise ConflictError(
                f"the service {name} is disabled", hint=f"strongroom access services enable {name}"
            )
        held = snapshot.of(TOKEN).get(decoded(row, Service).token)
        if held is None:
            return []
        expires = decoded(held, Token).expires
        if expires is None or expires > self._desk.now():
            raise ConflictError(
                f"the service {name} has a token", hint="revoke it, or issue one to another name"
            )
        return token_gone(snapshot, held)

    def revoke(self, token: str) -> Done:
        """
        Take a token away, by its id or the name of its service, with the roles the service had.

        Raises:
            NotFoundError: there is none; what was typed is not repeated: it may be the token itself.
        """
        wanted = token.strip().casefold()
        found: list[str] = []

        def decide(snapshot: Snapshot) -> list[Change]:
            row = snapshot.of(TOKEN).get(wanted)
            if row is None:
                service = snapshot.of(SERVICE).get(wanted)
                row = None if service is None else snapshot.of(TOKEN).get(decoded(service, Service).token)
            if row is None:
                raise NotFoundError("there is no such token", hint="strongroom access tokens list")
            found.append(row.id)
            return token_gone(snapshot, row)

        self._desk.require()
        known = self._named(wanted)
        return self._desk.change(decide, reason=f"revoke token {known}")

    def _named(self, wanted: str) -> str:
        """Give the id and service of a token for the record, as far as it is one."""
        snapshot = self._desk.registry.snapshot()
        service = snapshot.of(SERVICE).get(wanted)
        row = snapshot.of(TOKEN).get(wanted if service is None else decoded(service, Service).token)
        return "that is not there" if row is None else f"{row.id} of service {decoded(row, Token).name}"

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[TokenRow]:
        """Give every token, by name; one that has expired for another 30 days."""
        return self._desk.look(self._rows)


def _as(roles: Sequence[Role]) -> str:
    """Say *roles* at the end of a reason; nothing where there are none."""
    told = [role.name if role.team is None else f"{role.name} of {role.team}" for role in roles]
    return f" as {', '.join(told)}" if told else ""


def _check_lifetime(lifetime: timedelta | None) -> None:
    if lifetime is not None and not timedelta(0) < lifetime <= MAX_LIFETIME:
        raise InvalidInputError("a token lasts from a moment to ten years", limit=MAX_LIFETIME.days)


def check_comment(comment: str) -> None:
    """
    Refuse a comment that is too long or does not print.

    Raises:
        InvalidInputError: it is one.
    """
    if len(comment) > MAX_COMMENT_CHARACTERS or not (comment.isprintable()):
        raise InvalidInputError(
            f"a comment has at most {MAX_COMMENT_CHARACTERS} printable characters",
            limit=MAX_COMMENT_CHARACTERS,
        )


def check_scope(scope: Scope | None) -> None:
    """
    Refuse a scope with a word that means nothing: it would bound what nobody meant.

    Raises:
        InvalidInputError: it has one, or too many words.
    """
    if scope is None:
        return
    actions = {action.value for action in Action} | {METRICS}
    for said, known, what in ((scope.actions, actions, "actions"), (scope.kinds, set(KINDS), "kinds")):
        if not set(said) <= known:
            raise InvalidInputError(
                f"the scope names unknown {what}", hint=f"known: {', '.join(sorted(known))}"
            )
    for team in scope.teams:
        if team:
            check_team(team)
    if sum(map(len, scope)) > _MAX_PATTERNS:
        raise InvalidInputError(f"a scope has at most {_MAX_PATTERNS} words", limit=_MAX_PATTERNS)
    for pattern in scope.names:
        if not 0 < len(pattern) <= _MAX_PATTERN_CHARACTERS or not pattern.isprintable():
            raise InvalidInputError(
                f"a pattern of names has 1 to {_MAX_PATTERN_CHARACTERS} printable characters",
                limit=_MAX_PATTERN_CHARACTERS,
            )
