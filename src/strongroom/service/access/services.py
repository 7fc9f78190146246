"""Services: programs that prove themselves with a token of ours, or with what an issuer signed for them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from strongroom.errors import NotFoundError
from strongroom.model.principal import SERVICE as PREFIX
from strongroom.model.principal import canonical
from strongroom.policy import Role
from strongroom.registry import Change
from strongroom.service.access.shape import SERVICE, TOKEN, Service, Token, decoded, encoded
from strongroom.service.access.standing import roles_of

if TYPE_CHECKING:
    from strongroom.registry import Snapshot
    from strongroom.service.access.desk import Desk, Done

__all__ = ["ServiceRow", "Services"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRow:
    """
    What may be shown of a service.

    Args:
        issuers: by whose tokens it is known, as the settings call them.
        has_token: it has one of ours.
        is_disabled: nothing proves it.
        seen, source: when and from where it was last heard of; by what others signed, as far as this
            process knows. None for never.
    """

    name: str
    actor: str
    roles: tuple[Role, ...]
    issuers: tuple[str, ...]
    has_token: bool
    is_disabled: bool
    seen: datetime | None
    source: str


class Services:
    """Look at services, disable and enable them, as one actor. Every act raises what those of `People` do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def disable(self, name: str) -> Done:
        """
        Let nothing prove a service any more: no token of ours, and nothing an issuer signs.

        Raises:
            NotFoundError: there is no such service.
        """
        return self._change(name, is_disabled=True)

    def enable(self, name: str) -> Done:
        """
        Let a service that was disabled prove itself again.

        Raises:
            NotFoundError: there is no such service.
        """
        return self._change(name, is_disabled=False)

    def _change(self, name: str, *, is_disabled: bool) -> Done:
        wanted = canonical(name)
        known = self._desk.gate.services

        def decide(snapshot: Snapshot) -> list[Change]:
            row = snapshot.of(SERVICE).get(wanted)
            if row is None and PREFIX + wanted not in known:
                raise NotFoundError(f"there is no service {wanted}")
            before = Service() if row is None else decoded(row, Service)
            after = msgspec.structs.replace(before, is_disabled=is_disabled)
            if after == before:
                return []
            # What neither has a token nor is disabled has no row.
            return [Change(SERVICE, wanted, None if after == Service() else encoded(after))]

        verb = "disable" if is_disabled else "enable"
        return self._desk.change(decide, reason=f"{verb} service {wanted}")

    def _rows(self, snapshot: Snapshot) -> list[ServiceRow]:
        known, roles = self._desk.gate.services, roles_of(snapshot)
        names = {*snapshot.of(SERVICE), *(actor.removeprefix(PREFIX) for actor in known)}
        return [self._row(snapshot, name, known.get(PREFIX + name, ()), roles) for name in sorted(names)]

    def _row(
        self,
        snapshot: Snapshot,
        name: str,
        issuers: tuple[str, ...],
        roles: dict[str, tuple[Role, ...]],
    ) -> ServiceRow:
        row = snapshot.of(SERVICE).get(name)
        body = Service() if row is None else decoded(row, Service)
        held = snapshot.of(TOKEN).get(body.token)
        seen, source = self._desk.gate.uses.last_heard(name)
        if held is not None:
            used, place = self._desk.gate.uses.last_use(held, decoded(held, Token))
            if used is not None and (seen is None or used > seen):
                seen, source = used, place
        return ServiceRow(
            name=name,
            actor=PREFIX + name,
            roles=roles.get(PREFIX + name, ()),
            issuers=issuers,
            has_token=held is not None,
            is_disabled=body.is_disabled,
            seen=seen,
            source=source,
        )

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[ServiceRow]:
        """Give every service that has a token or is in a rule of an issuer, by name."""
        return self._desk.look(self._rows)
