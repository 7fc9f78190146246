"""The backends of the room: what stands where in the chain, and how each is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.backend import Checkable, Health, Listable, Versioned, Writable
from strongroom.errors import StrongroomError
from strongroom.policy import Action

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.backend import Backend
    from strongroom.chain import Chain, Link
    from strongroom.policy import Actor
    from strongroom.service.guard import Guard

__all__ = ["BackendRow", "Backends", "Checked", "unmade"]

_ABILITIES: tuple[tuple[str, type], ...] = (
    ("write", Writable),
    ("list", Listable),
    ("versions", Versioned),
    ("check", Checkable),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendRow:
    """
    One backend of the chain.

    Args:
        order: place in the chain, from 1.
        abilities: any of read, write, list, versions, check.
        match: patterns of the names it is asked for; () for all.
        kinds: kinds it is asked for; () for all.
        on_unavailable: stale, stop or next.
    """

    order: int
    name: str
    kind: str
    abilities: tuple[str, ...]
    match: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    on_unavailable: str = "stale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """How one backend is and how long it took to say so."""

    name: str
    health: Health
    milliseconds: float


def unmade(name: str, error: StrongroomError) -> Checked:
    """Give how the backend *name* is, which cannot be made as it is configured."""
    return Checked(name=name, health=Health.failed(error), milliseconds=0.0)


class Backends:
    """
    Tell about backends as one actor.

    Args:
        kinds: the kind of each backend by its name.

    Threads: may be used from several threads at once.
    """

    def __init__(
        self,
        chain: Chain,
        guard: Guard,
        actor: Actor,
        *,
        kinds: Mapping[str, str],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chain = chain
        self._guard = guard
        self._actor = actor
        self._kinds = kinds
        self._timer = timer

    def check(self) -> tuple[Checked, ...]:
        """
        Ask each backend how it is, in the chain's order; one that cannot tell is `unknown`. Trouble
        of a store is an answer here, not an error.
        """
        return self._guard.act(
            self._actor, Action.TEST, None, lambda: tuple(self._checked(link) for link in self._chain.links)
        )

    def _checked(self, link: Link) -> Checked:
        begun = self._timer()
        try:
            health = self._chain.ask(link, lambda: _health(link.backend))
        except StrongroomError as error:
            health = Health.failed(error)
        return Checked(name=link.name, health=health, milliseconds=(self._timer() - begun) * 1000)

    def list(self) -> list[BackendRow]:
        """Give the backends in the order they are asked."""
        return self._guard.act(
            self._actor,
            Action.LIST,
            None,
            lambda: [self._row(order, link) for order, link in enumerate(self._chain.links, 1)],
        )

    def _row(self, order: int, link: Link) -> BackendRow:
        abilities = [
            word
            for word, ability in _ABILITIES
            if isinstance(link.backend, ability) and (ability is not Writable or link.is_writable)
        ]
        return BackendRow(
            order=order,
            name=link.name,
            kind=self._kinds.get(link.name, link.name),
            abilities=("read", *abilities),
            match=link.match,
            kinds=link.kinds,
            on_unavailable=link.on_unavailable,
        )


def _health(backend: Backend) -> Health:
    if isinstance(backend, Checkable):
        return backend.check()
    return Health(status="unknown", message="cannot be told without a real read")
