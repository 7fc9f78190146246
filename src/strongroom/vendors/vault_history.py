"""
What stood in a key-value engine of version 2 before: the versions of an entry, and what they held.

Not for the engine itself (`vault_kv.py`) or for what an object means (`backends/vault.py`).

Rules of this file:

1. The versions of an entry in a secret that holds many are those of the secret in which it stands.
2. What was deleted is not read: the engine gives it only after it was brought back.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from strongroom.backend.parallel import together
from strongroom.errors import StrongroomError
from strongroom.model.entry import VersionInfo
from strongroom.model.secret import Secret
from strongroom.vendors.vault_kv import Kept

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.backend import Naming
    from strongroom.model.ref import Ref
    from strongroom.vendors.vault_kv import KeyValue
    from strongroom.vendors.vault_version import KeyFacts, KeyVersion

__all__ = ["Home", "KvHistory"]

_COMPARED = 20  # versions that are looked into, the newest first
_THREADS = 8
_MOST_DIGITS = 18  # of a number of 64 bits


class Home(NamedTuple):
    """
    Where the versions of an entry are.

    Args:
        secret: its path.
        key: of the entry in a secret that holds many; None where it is a secret of its own.
    """

    secret: str
    key: str | None


class KvHistory:
    """
    Give versions of entries.

    Args:
        kv: the engine.
        naming: where entries stand.
        place: the backend's name, for the names of threads.

    Threads: may be used from several threads at once.
    """

    def __init__(self, kv: KeyValue, naming: Naming, *, place: str) -> None:
        self._kv = kv
        self._naming = naming
        self._place = place

    def known(self, ref: Ref) -> tuple[Home, KeyFacts] | None:
        """
        Give where the versions of *ref* are and what is known of them: of its paths the first that ever held
        something; None when none did.

        Raises:
            As `KeyValue.facts`.
        """
        for home in self._homes(ref):
            facts = self._kv.facts(home.secret)
            if facts is not None and facts.versions:
                return home, facts
        return None

    def rows(self, ref: Ref) -> list[VersionInfo]:
        """
        Give every version, newest first, as `Versioned.history` does.

        Raises:
            As `known`; of a secret that holds many as `KeyValue.get` too.
        """
        found = self.known(ref)
        if found is None:
            return []
        home, facts = found
        held = self._looked_into(home, facts)
        mine = [one for one in facts.versions if home.key is None or one.number in held]
        return [
            VersionInfo(
                version=str(one.number),
                created_at=one.created_at,
                author="",
                comment="destroyed" if one.is_destroyed else "",
                is_current=one.number == facts.current and facts.stands,
                same_as=_same_as(one, mine[order + 1 :], held),
            )
            for order, one in enumerate(mine)
        ]

    def held(self, ref: Ref, version: str) -> tuple[Home, Kept] | None:
        """
        Give what *version* of *ref* held, and where; None when there is none that can be read.

        Raises:
            As `KeyValue.get`, and `known` where it may stand under several paths.
        """
        is_number = version.isascii() and version.isdigit() and len(version) <= _MOST_DIGITS
        homes = self._homes(ref)
        if len(homes) > 1:
            found = self.known(ref)
            homes = [] if found is None else [found[0]]
        if not homes or not is_number or int(version) == 0:
            return None
        kept = self.held_in(homes[0], int(version))
        return None if kept is None else (homes[0], kept)

    def held_in(self, home: Home, number: int) -> Kept | None:
        """
        Give what stood at *home* as version *number*, of a secret that holds many the part under its key.

        Raises:
            As `KeyValue.get`.
        """
        kept = self._kv.get(home.secret, number)
        if kept is None or home.key is None:
            return kept
        held = kept.held if isinstance(kept.held, dict) else {}
        return Kept(held[home.key], kept.version) if home.key in held else None

    def _homes(self, ref: Ref) -> list[Home]:
        return [Home(*(self._naming.holder(path) or (path, None))) for path in self._naming.paths(ref)]

    def _looked_into(self, home: Home, facts: KeyFacts) -> dict[int, Secret[str]]:
        """Give what the newest versions held, of those that may be read."""
        numbers = [one.number for one in facts.versions if not (one.is_deleted or one.is_destroyed)]
        answers = together(
            lambda number: self._look(home, number),
            numbers[:_COMPARED],
            threads=_THREADS,
            late=lambda: None,
            place=self._place,
        )
        found: dict[int, Secret[str]] = {}
        for number, answer in answers.items():
            # Which versions hold the same is told where it can be; which hold an entry at all must be.
            if isinstance(answer, StrongroomError) and home.key is not None:
                raise answer
            if isinstance(answer, Secret):
                found[number] = answer
        return found

    def _look(self, home: Home, number: int) -> Secret[str] | StrongroomError | None:
        try:
            kept = self.held_in(home, number)
            return None if kept is None else Secret(json.dumps(kept.held, sort_keys=True))
        except StrongroomError as error:
            return error
        except RecursionError:  # deeper than anything that can be an entry
            return None


def _same_as(one: KeyVersion, older: Sequence[KeyVersion], held: Mapping[int, Secret[str]]) -> str | None:
    mine = held.get(one.number)
    same = (str(other.number) for other in older if mine is not None and held.get(other.number) == mine)
    return next(same, None)
