"""The backends of the room: what stands where in the chain, and how each is."""

from __future__ import annotations

from dataclasses import dataclass

from strongroom.backend import Health

__all__ = ["BackendRow", "Backends", "Checked"]


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


class Backends:
    """Tell about backends as one actor. Threads: may be used from several threads at once."""

    def list(self) -> list[BackendRow]:
        """Give the backends in the order they are asked."""
        raise NotImplementedError

    def check(self) -> list[Checked]:
        """Ask each backend how it is; one that cannot tell is `unknown`. Never raises for trouble of a store."""
        raise NotImplementedError
