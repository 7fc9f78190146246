"""
Where to ask: an agent, a server, or the settings of this machine.

Decided once per process, the first that applies: `STRONGROOM_SOCKET` (agent), `STRONGROOM_URL` or
`STRONGROOM_PROFILE` (server), settings (library). If that place cannot answer, nothing else does.

Every process that reads a secret imports this file, so it imports nothing itself but the errors.
"""

from __future__ import annotations

from strongroom.errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["AGENT", "LIBRARY", "SERVER", "Place", "elsewhere", "find", "require_library"]

AGENT = "agent"
SERVER = "server"
LIBRARY = "library"
_SERVERS = ("STRONGROOM_URL", "STRONGROOM_PROFILE")


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
    for setting in _SERVERS:
        if environ.get(setting):
            return Place(SERVER, setting)
    return Place(LIBRARY)


def require_library(environ: Mapping[str, str], *, what: str | None = None) -> None:
    """
    Refuse to open a room on this machine where *environ* names another place.

    Args:
        environ: the environment.
        what: is to be done, as in `keys are rotated`; for the message.

    Raises:
        SettingsError: an agent or a server is named; asking the local stores instead could give other
            values.
    """
    place = find(environ)
    if place.kind == AGENT:
        raise SettingsError(
            "STRONGROOM_SOCKET names an agent, and this version of strongroom speaks to none",
            key="STRONGROOM_SOCKET",
            hint="unset STRONGROOM_SOCKET to use the settings of this machine",
        )
    if place.setting is not None:
        raise elsewhere(what or "this is done", setting=place.setting)


def elsewhere(what: str, *, setting: str | None = None) -> SettingsError:
    """
    Give the error of what is done only beside the store, and not through a server.

    Args:
        what: as in `keys are rotated`.
        setting: the variable that names the server, where that is known.
    """
    names = " and ".join(_SERVERS) if setting is None else setting
    unset = f"unset {names}" if setting == _SERVERS[0] else f"leave --profile out and unset {names}"
    return SettingsError(
        f"{'a server is asked' if setting is None else f'{setting} names a server'}, and {what} only on the"
        " machine that has the store",
        key=setting,
        hint=f"do it there; or {unset} to use the settings of this machine",
    )
