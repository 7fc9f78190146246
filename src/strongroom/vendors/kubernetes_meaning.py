"""
What a change of a Secret means to who watches entries: which of them changed, and to which version.

A Secret that is an entry is known by its name and labels. One that holds many is read when it changed: which
of its entries did is told by comparing fingerprints, whose key is new in every process.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from strongroom.backend import Watched
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from strongroom.model.ref import Ref
    from strongroom.vendors.kubernetes_objects import Event, Outline

__all__ = ["SecretMeaning"]

_KEY = os.urandom(16)


class SecretMeaning:
    """
    As `kubernetes_watch.Meaning`.

    Args:
        refs_of: gives the entries a Secret is.
        holders: names of Secrets that hold many.
        entries_in: reads one of those, and gives each of its entries with what is stored.
    """

    def __init__(
        self,
        refs_of: Callable[[Outline], frozenset[Ref]],
        holders: Collection[str],
        entries_in: Callable[[str], Mapping[Ref, str]],
    ) -> None:
        self._refs_of = refs_of
        self._holders = holders
        self._entries_in = entries_in
        self._known: dict[str, frozenset[Ref]] = {}
        self._prints: dict[str, dict[Ref, bytes]] = {}

    def begin(self, outlines: Sequence[Outline]) -> None:
        """
        As of `Meaning`.

        Raises:
            StrongroomError: a Secret that holds many cannot be read.
        """
        meant = ((outline.name, self._refs_of(outline)) for outline in outlines)
        self._known = {name: refs for name, refs in meant if refs}
        there = {outline.name for outline in outlines}.intersection(self._holders)
        self._prints = {name: self._printed(name) for name in there}

    def told(self, event: Event) -> Watched | None:
        if event.name in self._holders:
            return self._told_of_many(event)
        was = self._known.pop(event.name, frozenset())
        now = self._refs_of(event) if event.kind != "DELETED" else frozenset()
        if now:
            self._known[event.name] = now
        changed = {ref: event.version if ref in now else None for ref in was | now}
        return Watched(refs=changed) if changed else None

    def _told_of_many(self, event: Event) -> Watched:
        was = self._prints.pop(event.name, {})
        try:
            now = self._printed(event.name) if event.kind != "DELETED" else {}
        except StrongroomError:
            return Watched(is_gap=True)  # that something changed is known, and not what
        self._prints[event.name] = now
        changed = [ref for ref in was.keys() | now.keys() if was.get(ref) != now.get(ref)]
        # What the others hold is the same; their version is that of the Secret all the same, and is another.
        return Watched(refs={ref: event.version if ref in now else None for ref in changed})

    def _printed(self, name: str) -> dict[Ref, bytes]:
        entries = self._entries_in(name).items()
        return {
            ref: hashlib.blake2b(text.encode(), key=_KEY, digest_size=8).digest() for ref, text in entries
        }
