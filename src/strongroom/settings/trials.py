"""What `[tests]` is: which connections a server tests by itself, from where and how often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.errors import SettingsError

if TYPE_CHECKING:
    from strongroom.settings.table import Table

__all__ = ["TrialSettings", "trials_of"]

_LEAST_SECONDS = 60.0
_MOST_SECONDS = 2_592_000.0  # 30 days
_SERVER, _AGENT = "server", "agent:"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSettings:
    """
    `[tests]`: tests of connections that nobody needs to ask for.

    Args:
        every_seconds: from the beginning of one round to that of the next; 0 for no rounds.
        on: `server`, or `agent:NAME`.
        names: patterns of the connections that are tested.
    """

    every_seconds: float = 0.0
    on: str = "server"
    names: tuple[str, ...] = ("*",)


def trials_of(table: Table) -> TrialSettings:
    """
    Make `[tests]` of its table.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    found = table.build(TrialSettings)
    if found.every_seconds and not _LEAST_SECONDS <= found.every_seconds <= _MOST_SECONDS:
        raise SettingsError(
            f"{table.prefix}every_seconds must be 0, or from {_LEAST_SECONDS:.0f} to {_MOST_SECONDS:.0f}",
            key=f"{table.prefix}every_seconds",
        )
    if found.on != _SERVER and not (found.on.startswith(_AGENT) and len(found.on) > len(_AGENT)):
        raise SettingsError(
            f"{table.prefix}on must be server or agent:NAME",
            key=f"{table.prefix}on",
            hint='on = "agent:worker-1"',
        )
    return found
