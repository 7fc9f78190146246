"""
What a host's chain holds, for one user of its machine: names without values, and when each was last read.

Rules of this file:

1. Who may connect may ask; what he is shown is decided name by name, since a server that decides for an agent
   decides about entries alone.
2. Somebody else's decisions are asked for many names at once. Where nobody could decide, that is told as the
   trouble it is: a name that is left out was decided on.
"""

from __future__ import annotations

import threading
from copy import copy
from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.audit.uses import Uses
from strongroom.policy import Action, Preparing
from strongroom.service.inventory import Inventory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from strongroom.audit.uses import Use, Window
    from strongroom.chain import Chain
    from strongroom.model.ref import Ref
    from strongroom.policy import Actor
    from strongroom.service.guard import Guard

__all__ = ["LastReads", "host_inventory"]

_MAX_REFS = 50_000  # of which it is remembered when they were read; about 200 bytes each


class LastReads(Uses):
    """
    Remembers which uses are on record, and when each entry was last read by anybody.

    That is known to the length of a window (a minute): repeats inside one are only counted.

    Args:
        timer, clock: as of `Uses`.
        max_refs: remembered; beyond it the one read longest ago is forgotten.
    """

    def __init__(
        self, *, timer: Callable[[], float], clock: Callable[[], datetime], max_refs: int = _MAX_REFS
    ) -> None:
        super().__init__(timer=timer, clock=clock)
        self._now = clock
        self._max_refs = max_refs
        self._last: dict[Ref, datetime] = {}
        self._noting = threading.Lock()

    def open(self, use: Use) -> Window | None:
        """Open the window of *use*, whose record is durable; None where every use is to be recorded."""
        found = super().open(use)
        if use.answer is not None and use.decision.is_allowed:
            self._note(use.ref)
        return found

    def _note(self, ref: Ref) -> None:
        with self._noting:
            self._last.pop(ref, None)  # so that it stands last
            self._last[ref] = self._now()
            if len(self._last) > self._max_refs:
                del self._last[next(iter(self._last))]

    def last_read(self, ref: Ref) -> datetime | None:
        """Tell when *ref* was last read since this process began, as it was asked for; None: not at all."""
        return self._last.get(ref)

    def last_reads(self) -> Mapping[Ref, datetime]:
        """Tell when each entry was last read since this process began; not a copy, and it grows."""
        return MappingProxyType(self._last)


def host_inventory(
    chain: Chain,
    guard: Guard,
    actor: Actor,
    *,
    clock: Callable[[], datetime],
    read_at: Callable[[Ref], datetime | None] | None = None,
) -> Inventory:
    """
    Give what *actor* may see of what *chain* holds.

    Args:
        chain: that is listed.
        guard: decides.
        actor: who looks.
        clock: wall clock, UTC.
        read_at: tells when a name was last read; None where nobody knows.
    """

    def prepare(refs: Sequence[Ref]) -> None:
        policy = guard.current()
        if not isinstance(policy, Preparing):
            return
        policy.prepare(actor, Action.LIST, refs)
        policy = guard.current()  # another by now, where the server's has changed meanwhile
        for ref in refs:
            trouble = policy.decide(actor, Action.LIST, ref).trouble
            if trouble is not None:
                raise copy(trouble)

    return Inventory(chain, guard, actor, clock=clock, prepare=prepare, read_at=read_at)
