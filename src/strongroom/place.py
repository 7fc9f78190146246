"""
Where to ask: an agent, a server, or the settings of this machine.

Decided once per process, the first that applies: `STRONGROOM_SOCKET` (agent), `STRONGROOM_URL`
(server), settings (library). If that place cannot answer, nothing else does.

Every process that reads a secret imports this file, so it imports nothing itself but the errors.
"""

from __future__ import annotations

from strongroom.errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AGENT", "LIBRARY", "SERVER", "Place", "find", "require_library"]

AGENT = "agent"
SERVER = "server"
LIBRARY = "library"


class Place:
    """
    Where this process asks.

    Attributes:
        kind: `AGENT`, `SERVER` or `LIBRARY`.
        setting: the variable that decided, or None for the library.
    """

    __slots__ = ("kind", "setting")

    def __init__(self, kind: str, setting: str | None = None) -> None:
        self.kind = kind
        self.setting = setting


def find(environ: Mapping[str, str]) -> Place:
    """Give the place that *environ* names. An empty variable counts as unset."""
    if environ.get("STRONGROOM_SOCKET"):
        return Place(AGENT, "STRONGROOM_SOCKET")
    if environ.get("STRONGROOM_URL"):
        return Place(SERVER, "STRONGROOM_URL")
    return Place(LIBRARY)


def require_library(environ: Mapping[str, str]) -> None:
    """
    Refuse to open a room on this machine where *environ* names another place.

    Raises:
        SettingsError: an agent or a server is named; this version speaks to neither, and asking the
            local stores instead could give other values.
    """
    place = find(environ)
    if place.setting is not None:
        raise SettingsError(
            f"{place.setting} names {'an' if place.kind == AGENT else 'a'} {place.kind}, "
            "and this version of strongroom reads only the stores of this machine",
            key=place.setting,
            hint=f"unset {place.setting} to use the settings of this machine",
        )
