"""What `[keys]` is: when keys of the store are replaced, and how fast what stands under old ones is moved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.errors import SettingsError
from strongroom.settings.table import check_most

if TYPE_CHECKING:
    from strongroom.settings.table import Table

__all__ = ["KeySettings", "keys_of"]

_MOST_DAYS = 3650  # ten years; 0 says never


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """
    `[keys]`: the keys inside the store.

    Args:
        rotate_after_days: age at which a server replaces the key that seals by itself; 0 for never. It is
            replaced at 2**28 sealed values in any case.
        rewrap_rate: entries a second that are moved to a new key at most; 0 for as fast as it goes.
    """

    rotate_after_days: float = 90.0
    rewrap_rate: float = 2500.0


def keys_of(table: Table) -> KeySettings:
    """
    Make `[keys]` of its table.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    found = table.build(KeySettings)
    for name in ("rotate_after_days", "rewrap_rate"):
        if getattr(found, name) < 0:
            raise SettingsError(f"{table.prefix}{name} must be at least 0", key=table.prefix + name)
        check_most(getattr(found, name), table.prefix + name)
    if found.rotate_after_days > _MOST_DAYS:
        raise SettingsError(
            f"{table.prefix}rotate_after_days must be at most {_MOST_DAYS}",
            key=f"{table.prefix}rotate_after_days",
        )
    return found
