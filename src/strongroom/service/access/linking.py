"""
Which person somebody of an identity provider is, and which roles come with his groups. Decided on rows alone.

Rules of this file:

1. A person is issuer and subject. The name is taken from a claim at the first login, and from then on it is
   his: another subject that claims it is refused, and so is one that claims the name of somebody who was here
   before, unless the settings say that those are linked.
2. Roles that come with groups are made anew at each login, apart from those that were granted.
3. Who has no role at all is refused: a provider that lets everybody in says nothing of us.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from strongroom.errors import InvalidInputError, NotAuthenticatedError
from strongroom.model.principal import PERSON as PREFIX
from strongroom.model.principal import canonical
from strongroom.policy import Role
from strongroom.registry import ABSENT, Change
from strongroom.service.access.refusals import NOBODY
from strongroom.service.access.shape import (
    PERSON,
    ROLE,
    SUBJECT,
    Membership,
    Person,
    Subject,
    decoded,
    encoded,
    membership_id,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from strongroom.registry import Row, Snapshot
    from strongroom.vendors.oidc import Proof

__all__ = ["Linked", "Rules", "UnknownPersonError", "link", "subject_id"]

_MAX_GROUPS = 2_000


class UnknownPersonError(NotAuthenticatedError):
    """
    Somebody is proven and is nobody here.

    Attributes:
        actor: who he would have been, where that is known.
        reason: for the record.
        has_left: *actor* is linked with whom was proven, and is in no group any more that has a role.
    """

    def __init__(
        self, message: str, *, reason: str, actor: str = NOBODY, hint: str, has_left: bool = False
    ) -> None:
        super().__init__(message, hint=hint)
        self.actor = actor
        self.reason = reason
        self.has_left = has_left


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """
    What the settings say of people of the provider (`settings.oidc.OidcSettings`).

    Args:
        name_claim, groups_claim: a claim, or the way into one.
        roles: by group.
        default_roles: of everybody.
        link_existing: who comes first with the name of a person that is here is that person.
    """

    name_claim: str = "preferred_username"
    groups_claim: str = "groups"
    roles: Mapping[str, tuple[Role, ...]] = field(default_factory=dict)
    default_roles: tuple[Role, ...] = ()
    link_existing: bool = False


class Linked(NamedTuple):
    """
    A person by the word of the provider.

    Args:
        name: his, here.
        rows: that must stand as they are when *changes* are made.
        changes: that make him who he is from now on.
        roles: that come with his groups.
    """

    name: str
    rows: list[Row]
    changes: list[Change]
    roles: tuple[Role, ...]


def subject_id(issuer: str, subject: str) -> str:
    """Give the id of the row that says which person *subject* of *issuer* is."""
    text = f"{len(issuer)}:{issuer}{subject}"  # the length first: no two pairs share one
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:48]


def link(snapshot: Snapshot, proof: Proof, rules: Rules, *, now: datetime) -> Linked:
    """
    Give the person that *proof* is of, and the changes that make him so.

    Raises:
        UnknownPersonError: he is nobody here: the name is none or another's, he is disabled, or has no role.
    """
    row_id = subject_id(proof.issuer, proof.subject)
    known = snapshot.of(SUBJECT).get(row_id)
    name = _claimed(proof.claims, rules.name_claim) if known is None else decoded(known, Subject).name
    row, actor = snapshot.of(PERSON).get(name), PREFIX + name
    if row is not None:
        _check_may_link(decoded(row, Person), row_id, name, rules)
    changes = _made(row, row_id, name, proof, now) if known is None or row is None else []
    if row is not None and decoded(row, Person).is_disabled:
        raise UnknownPersonError(
            f"person {name} is not let in",
            reason="a disabled person of the identity provider",
            actor=actor,
            hint="an administrator: strongroom access people enable",
        )
    roles = _roles(proof.claims, rules)
    if not roles and not any(_is_granted(one, actor) for one in snapshot.of(ROLE).values()):
        raise UnknownPersonError(
            f"person {name} has no role here: none of the groups has one",
            reason="a person of the identity provider without any role",
            actor=actor,
            hint="access.oidc.roles says which group has which; or strongroom access roles grant",
            has_left=known is not None and row is not None,
        )
    rows = [one for one in (row, known) if one is not None]
    return Linked(name, rows, [*changes, *_turned(snapshot, actor, roles, now)], roles)


def _made(row: Row | None, row_id: str, name: str, proof: Proof, now: datetime) -> list[Change]:
    """Give the changes that make somebody a person from now on."""
    body = Subject(name=name, issuer=proof.issuer, subject=proof.subject, linked_at=now)
    link_ = Change(SUBJECT, row_id, encoded(body))
    if row is None:
        person = Person(created_at=now, created_by="identity provider", subject=row_id)
        return [link_, Change(PERSON, name, encoded(person), ABSENT)]
    person = msgspec.structs.replace(decoded(row, Person), subject=row_id)
    return [link_, Change(PERSON, name, encoded(person), row.revision)]


def _check_may_link(person: Person, row_id: str, name: str, rules: Rules) -> None:
    if person.subject == row_id or (not person.subject and rules.link_existing):
        return
    raise UnknownPersonError(
        f"the name {name} is another person's here",
        reason="another subject of the identity provider with the name of a person",
        actor=PREFIX + name,
        hint="an administrator looks who that is: strongroom access people list, then people unlink"
        if person.subject
        else "access.oidc.link_existing links people who were here before; or people delete",
    )


def _claimed(claims: Mapping[str, Any], way: str) -> str:
    found = _at(claims, way)
    try:
        name = canonical(found) if isinstance(found, str) else ""
    except InvalidInputError:
        name = ""
    if name:
        return name
    raise UnknownPersonError(
        "the identity provider gives no name that can be used here",
        reason="a person of the identity provider without a name",
        hint=f"access.oidc.name_claim is {way}: it must hold 1 to 64 of a-z, 0-9, '.', '_', '@' or '-'",
    )


def _roles(claims: Mapping[str, Any], rules: Rules) -> tuple[Role, ...]:
    found = _at(claims, rules.groups_claim)
    groups = [found] if isinstance(found, str) else found if isinstance(found, list) else []
    roles = set(rules.default_roles)
    for group in groups[:_MAX_GROUPS]:
        if isinstance(group, str):
            roles.update(rules.roles.get(group, ()))
    return tuple(sorted(roles, key=lambda role: (role.name, role.team or "")))


def _at(claims: Mapping[str, Any], way: str) -> object:
    """Give the claim of the name *way*, or what stands on the way into one."""
    if way in claims:
        return claims[way]
    found: object = claims
    for step in way.split("/"):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _turned(snapshot: Snapshot, actor: str, roles: tuple[Role, ...], now: datetime) -> Iterable[Change]:
    """Give the changes after which *actor* has exactly *roles* by group."""
    wanted = {membership_id(role.name, role.team, actor, by_group=True): role for role in roles}
    for row in snapshot.of(ROLE).values():
        member = decoded(row, Membership)
        if member.by_group and member.actor == actor and row.id not in wanted:
            yield Change(ROLE, row.id, None)
    for row_id, role in wanted.items():
        if row_id not in snapshot.of(ROLE):
            body = Membership(
                role=role.name,
                actor=actor,
                team=role.team,
                created_at=now,
                created_by="identity provider",
                by_group=True,
            )
            yield Change(ROLE, row_id, encoded(body))


def _is_granted(row: Row, actor: str) -> bool:
    member = decoded(row, Membership)
    return member.actor == actor and not member.by_group
