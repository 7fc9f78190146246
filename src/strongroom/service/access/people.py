"""People: who may log in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from strongroom.errors import ConflictError, NotFoundError
from strongroom.model.principal import PERSON as PREFIX
from strongroom.model.principal import canonical
from strongroom.policy import Role
from strongroom.registry import ABSENT, Change
from strongroom.service.access.desk import standing
from strongroom.service.access.ending import codes_of, memberships_of, sessions_of
from strongroom.service.access.roles import granted
from strongroom.service.access.shape import (
    BREAK_GLASS,
    LOCKOUT,
    LOGIN,
    PERSON,
    SESSION,
    SUBJECT,
    LastLogin,
    Lockout,
    Person,
    Session,
    decoded,
    encoded,
)
from strongroom.service.access.standing import roles_of
from strongroom.service.access.throttle import is_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.model.secret import Secret
    from strongroom.registry import Row, Snapshot
    from strongroom.service.access.desk import Desk, Done

__all__ = ["People", "PersonRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRow:
    """
    What may be shown of a person.

    Args:
        actor: how policies and records call him.
        is_linked: he is somebody of the identity provider.
        is_locked: too many wrong passwords; ends by itself.
        sessions: how many stand.
        login_at: when he last logged in with his password.
    """

    name: str
    actor: str
    is_disabled: bool
    has_password: bool
    is_linked: bool
    is_locked: bool
    roles: tuple[Role, ...]
    sessions: int
    created_at: datetime
    created_by: str
    login_at: datetime | None


class People:
    """
    Keep people, as one actor.

    Every act raises `AccessDeniedError` where policy says no, `NotRecordedError` where it cannot be
    recorded, and what `Registry.change` raises.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def find(self, name: str) -> PersonRow:
        """
        Give one person.

        Raises:
            NotFoundError: there is none of this name.
        """
        wanted = canonical(name)

        def find(snapshot: Snapshot) -> PersonRow:
            standing(snapshot, PERSON, wanted, f"person {wanted}")
            return next(row for row in self._rows(snapshot) if row.name == wanted)

        return self._desk.look(find)

    def _rows(self, snapshot: Snapshot) -> list[PersonRow]:
        roles, now = roles_of(snapshot), self._desk.now()
        open_ = [decoded(row, Session) for row in snapshot.of(SESSION).values()]
        counts: dict[str, int] = {}
        for session in open_:
            counts[session.actor] = counts.get(session.actor, 0) + 1
        locked = {row.id for row in snapshot.of(LOCKOUT).values() if decoded(row, Lockout).until > now}
        return [
            self._row(snapshot, snapshot.of(PERSON)[name], roles, counts, locked)
            for name in sorted(snapshot.of(PERSON))
        ]

    def _row(
        self,
        snapshot: Snapshot,
        row: Row,
        roles: dict[str, tuple[Role, ...]],
        counts: dict[str, int],
        locked: set[str],
    ) -> PersonRow:
        person, actor = decoded(row, Person), PREFIX + row.id
        login = snapshot.of(LOGIN).get(row.id)
        account = self._desk.gate.attempts.key_of(row.id) if locked else ""
        return PersonRow(
            name=row.id,
            actor=actor,
            is_disabled=person.is_disabled,
            has_password=person.verifier is not None,
            is_linked=bool(person.subject),
            is_locked=any(is_of(key, account) for key in locked),
            roles=roles.get(actor, ()),
            sessions=counts.get(actor, 0),
            created_at=person.created_at,
            created_by=person.created_by,
            login_at=None if login is None else decoded(login, LastLogin).at,
        )

    def add(self, name: str, password: Secret[str] | None = None, *, roles: Sequence[Role] = ()) -> Done:
        """
        Add a person.

        Args:
            name: in any spelling; `canonical` gives the one it has.
            password: None for a person who logs in by link until one is set.
            roles: what the person may take part in.

        Raises:
            ConflictError: there is one of this name, in whichever spelling.
            InvalidInputError: the name, the password or a role is none.
        """
        wanted = canonical(name)
        self._desk.require()
        gate = self._desk.gate
        verifier = None if password is None else gate.passwords.verifier(wanted, password)
        now, by = self._desk.now(), self._desk.actor.id
        body = encoded(Person(created_at=now, created_by=by, verifier=verifier))

        def decide(snapshot: Snapshot) -> list[Change]:
            if wanted in snapshot.of(PERSON):
                raise ConflictError(f"there is a person {wanted} already", hint="choose another name")
            given = [granted(role, PREFIX + wanted, by=by, now=now) for role in roles]
            return [Change(PERSON, wanted, body, ABSENT), *given]

        return self._desk.change(decide, reason=_told(f"add person {wanted}", roles))

    def set_password(self, name: str, password: Secret[str]) -> Done:
        """
        Set a person's password; all his sessions and login codes end.

        Raises:
            NotFoundError: there is none of this name.
            InvalidInputError: it is no good password.
        """
        wanted = canonical(name)
        self._desk.require()
        verifier = self._desk.gate.passwords.verifier(wanted, password)
        return self._replace(wanted, f"set the password of person {wanted}", verifier=verifier)

    def disable(self, name: str) -> Done:
        """
        Let a person in no more; all his sessions and login codes end.

        Raises:
            NotFoundError: there is none of this name.
        """
        wanted = canonical(name)
        return self._replace(wanted, f"disable person {wanted}", is_disabled=True)

    def enable(self, name: str) -> Done:
        """
        Let a person in again.

        Raises:
            NotFoundError: there is none of this name.
        """
        wanted = canonical(name)
        return self._replace(wanted, f"enable person {wanted}", is_disabled=False)

    def _replace(self, name: str, reason: str, **fields: object) -> Done:
        def decide(snapshot: Snapshot) -> list[Change]:
            row = standing(snapshot, PERSON, name, f"person {name}")
            fresh = msgspec.structs.replace(decoded(row, Person), **fields)
            return [
                Change(PERSON, name, encoded(fresh)),
                *([Change(BREAK_GLASS, name, None)] if name in snapshot.of(BREAK_GLASS) else []),
                *sessions_of(snapshot, PREFIX + name),
                *codes_of(snapshot, PREFIX + name),
            ]

        return self._desk.change(decide, reason=reason)

    def delete(self, name: str) -> Done:
        """
        Take a person away, with sessions, login codes and roles. Somebody of this name who is added later is
        another person, whom policies and grants that name him do not tell apart.

        Raises:
            NotFoundError: there is none of this name.
        """
        wanted = canonical(name)

        def decide(snapshot: Snapshot) -> list[Change]:
            person = decoded(standing(snapshot, PERSON, wanted, f"person {wanted}"), Person)
            actor = PREFIX + wanted
            return [
                Change(PERSON, wanted, None),
                Change(LOGIN, wanted, None),
                *([Change(SUBJECT, person.subject, None)] if person.subject else []),
                *([Change(BREAK_GLASS, wanted, None)] if wanted in snapshot.of(BREAK_GLASS) else []),
                *sessions_of(snapshot, actor),
                *codes_of(snapshot, actor),
                *memberships_of(snapshot, actor),
            ]

        return self._desk.change(decide, reason=f"delete person {wanted}")

    def unlink(self, name: str) -> Done:
        """
        Let a person be nobody of the identity provider any more; sessions and roles by group end. The next
        who comes with that name is taken for him where settings link names (`access.oidc.link_existing`).

        Raises:
            NotFoundError: there is none of this name, or nobody is linked with him.
        """
        wanted = canonical(name)

        def decide(snapshot: Snapshot) -> list[Change]:
            row = standing(snapshot, PERSON, wanted, f"person {wanted}")
            person, actor = decoded(row, Person), PREFIX + wanted
            if not person.subject:
                raise NotFoundError(f"person {wanted} is nobody of the identity provider")
            fresh = msgspec.structs.replace(person, subject="")
            return [
                Change(PERSON, wanted, encoded(fresh)),
                Change(SUBJECT, person.subject, None),
                *sessions_of(snapshot, actor),
                *codes_of(snapshot, actor),
                *memberships_of(snapshot, actor, by_group=True),
            ]

        return self._desk.change(decide, reason=f"unlink person {wanted} from the identity provider")

    def unlock(self, name: str) -> Done:
        """
        End the wait after too many wrong passwords.

        Raises:
            NotFoundError: there is none of this name.
        """
        wanted = canonical(name)
        attempts = self._desk.gate.attempts

        def decide(snapshot: Snapshot) -> list[Change]:
            standing(snapshot, PERSON, wanted, f"person {wanted}")
            return attempts.unlocked(snapshot, attempts.key_of(wanted))

        return self._desk.change(decide, reason=f"unlock person {wanted}")

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[PersonRow]:
        """Give everybody, by name."""
        return self._desk.look(self._rows)


def _told(what: str, roles: Sequence[Role]) -> str:
    """Say in the record which roles come with it."""
    if not roles:
        return what
    names = ", ".join(role.name if role.team is None else f"{role.name} of {role.team}" for role in roles)
    return f"{what} as {names}"
