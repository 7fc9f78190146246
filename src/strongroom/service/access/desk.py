"""
What the nouns of access share: the rows, who acts, and that every act is authorised and recorded.

Everything here needs `administer` of the deployment as a whole. Looking is decided like acting, and recorded
only where it is denied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from strongroom.errors import NotFoundError
from strongroom.policy import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from strongroom.policy import Actor
    from strongroom.registry import Change, Registry, Row, Snapshot
    from strongroom.service.access.gate import Gate
    from strongroom.service.guard import Guard

__all__ = ["Desk", "Done", "rows_for", "standing"]

T = TypeVar("T")


class Done(NamedTuple):
    """
    An act that was done.

    Args:
        version: the revision of the registry since then; it is in the record of the act.
    """

    version: str


class Desk:
    """One actor at the rows of who may."""

    def __init__(self, gate: Gate, guard: Guard, actor: Actor) -> None:
        self.gate = gate
        self.actor = actor
        self._guard = guard

    @property
    def registry(self) -> Registry:
        """The rows."""
        return self.gate.registry

    def now(self) -> datetime:
        """The time."""
        return self.gate.clock()

    def look(self, work: Callable[[Snapshot], T]) -> T:
        """
        Give what *work* makes of the rows, if the actor may see them.

        Raises:
            AccessDeniedError: he may not.
            TamperedError, BackendUnavailableError, SealedError: as `Registry.snapshot`.
        """
        self.require()
        return work(self.rows())

    def rows(self) -> Snapshot:
        """Give the rows as they stand; to who is known by what is remembered, as they stood."""
        return rows_for(self.registry, self.actor)

    def require(self, action: Action = Action.ADMINISTER) -> None:
        """
        Refuse an actor who may not do *action*, before anything costs anything.

        Raises:
            AccessDeniedError: he may not; recorded.
        """
        self._guard.check(self.actor, action, None, None)

    def change(self, decide: Callable[[Snapshot], Iterable[Change]], *, reason: str) -> Done:
        """
        Do what *decide* gives for the rows as they stand, if the actor may, and record it.

        Raises:
            AccessDeniedError: he may not.
            NotRecordedError: it cannot be recorded.
            As `Registry.change`.
        """
        return self.act(lambda: Done(str(self.registry.change(decide))), reason=reason)

    def may(self) -> bool:
        """Tell whether the actor may administer, without recording anything."""
        return self._guard.can(self.actor, Action.ADMINISTER, None).is_allowed

    def administer(self, work: Callable[[], T], *, reason: str, action: Action = Action.ADMINISTER) -> T:
        """Do *work* though the deployment is read-only; as `Guard.administer`."""
        return self._guard.administer(self.actor, work, reason=reason, action=action)

    def act(self, work: Callable[[], T], *, reason: str) -> T:
        """Do *work* if the actor may, and record it; as `Guard.act`."""
        return self._guard.act(self.actor, Action.ADMINISTER, None, work, reason=reason)


def rows_for(registry: Registry, actor: Actor) -> Snapshot:
    """Give the rows that *actor*, who looks at them, is shown. Raises as `Registry.remembered`."""
    return registry.snapshot() if actor.as_of is None else registry.remembered()


def standing(snapshot: Snapshot, kind: str, row_id: str, what: str) -> Row:
    """
    Give a row that must be there.

    Raises:
        NotFoundError: it is not; *what* names it for people.
    """
    row = snapshot.of(kind).get(row_id)
    if row is None:
        raise NotFoundError(f"there is no {what}")
    return row
