"""
The versions of one secret of a vault, in the order they were made, and which of them repeat another.

A vault dates versions to the second and lists them in no order, so that of two of the same second only the
current one is known to be the later.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from strongroom.backend.parallel import together
from strongroom.errors import StrongroomError
from strongroom.model.entry import VersionInfo
from strongroom.vendors.azure_names import AUTHOR_TAG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from strongroom.vendors.azure_answer import SecretItem
    from strongroom.vendors.azure_vault import KeyVault

__all__ = ["age", "history_of"]

_MAX_COMPARED = 50  # versions that are read, to tell which repeat another


def age(item: SecretItem) -> float:
    """Give when a version was made, in seconds since 1970."""
    return item.created.timestamp() if item.created is not None else 0.0


def history_of(
    vault: KeyVault, name: str, current: SecretItem, *, threads: int, now: datetime
) -> list[VersionInfo]:
    """
    Give every version of the secret *name*, newest first.

    Args:
        vault: asked for the versions, and for the values of the newest of them.
        name: as the vault spells it.
        current: the version that stands.
        threads: how many values are read at once.
        now: stands for a moment that the vault does not tell.
    """
    items = sorted(vault.versions(name), key=lambda one: (one.version == current.version, age(one)))
    prints = _fingerprints(vault, name, [one.version for one in items][-_MAX_COMPARED:], threads)
    return [
        VersionInfo(
            version=one.version,
            created_at=one.created or now,
            author=one.tags.get(AUTHOR_TAG, ""),
            is_current=one.version == current.version,
            same_as=_same(one, items[:place], prints),
        )
        for place, one in reversed(list(enumerate(items)))
    ]


def _same(one: SecretItem, older: Sequence[SecretItem], prints: Mapping[str, bytes | None]) -> str | None:
    mine = prints.get(one.version)
    alike = (other.version for other in reversed(older) if prints.get(other.version) == mine)
    return None if mine is None else next(alike, None)


def _fingerprints(
    vault: KeyVault, name: str, versions: Sequence[str], threads: int
) -> dict[str, bytes | None]:
    """Give what tells the values of *versions* apart, and means nothing outside this call."""
    key = os.urandom(16)

    def print_of(version: str) -> bytes | None:
        try:
            item = vault.get(name, version)
        except StrongroomError:
            return None  # a version that may not be read repeats nothing
        if item is None or item.value is None:
            return None
        return hashlib.blake2b(item.value.encode("utf-8", "surrogatepass"), key=key).digest()

    return together(print_of, versions, threads=threads, late=lambda: None, place=vault.place)
